"""Names and shapes of tensors as the original model code makes them, written after that code, not after the converter.

Each generator walks the constructor it is named for: openaimodel.UNetModel and cldm.ControlNet (CompVis), AutoencoderKL
(CompVis; Flux and Flux.2: flux/modules/autoencoder.py), WanVAE_ (wan/modules/vae.py), open_clip.CLIP's text tower,
MMDiT (sd3_impls/mmdit.py), Flux (flux/model.py), Chroma, Flux2 (flux2/model.py), QwenImageTransformer2DModel,
Z-Image's NextDiT as ComfyUI packs it, and transformers' CLIP, T5, Qwen2.5-VL, Qwen3 and Mistral checkpoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

Layout = dict[str, tuple[int, ...]]


def linear(name: str, inputs: int, outputs: int, *, bias: bool = True) -> Layout:
    return {f"{name}.weight": (outputs, inputs), **({f"{name}.bias": (outputs,)} if bias else {})}


def conv(name: str, inputs: int, outputs: int, *kernel: int) -> Layout:
    return {f"{name}.weight": (outputs, inputs, *kernel), f"{name}.bias": (outputs,)}


def norm(name: str, width: int) -> Layout:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def under(prefix: str, layout: Layout) -> Layout:
    return {prefix + name: shape for name, shape in layout.items()}


# Latent diffusion


def _res_block(name: str, inputs: int, outputs: int, embedding: int) -> Layout:
    found = {
        **norm(f"{name}.in_layers.0", inputs), **conv(f"{name}.in_layers.2", inputs, outputs, 3, 3),
        **linear(f"{name}.emb_layers.1", embedding, outputs), **norm(f"{name}.out_layers.0", outputs),
        **conv(f"{name}.out_layers.3", outputs, outputs, 3, 3),
    }  # fmt: skip
    return found if inputs == outputs else found | conv(f"{name}.skip_connection", inputs, outputs, 1, 1)


def _spatial_transformer(name: str, width: int, depth: int, context: int, flat: bool) -> Layout:
    found = norm(f"{name}.norm", width)
    for end in ("proj_in", "proj_out"):
        found |= linear(f"{name}.{end}", width, width) if flat else conv(f"{name}.{end}", width, width, 1, 1)
    for number in range(depth):
        block = f"{name}.transformer_blocks.{number}"
        for attention, source in (("attn1", width), ("attn2", context)):
            found |= linear(f"{block}.{attention}.to_q", width, width, bias=False)
            found |= linear(f"{block}.{attention}.to_k", source, width, bias=False)
            found |= linear(f"{block}.{attention}.to_v", source, width, bias=False)
            found |= linear(f"{block}.{attention}.to_out.0", width, width)
        found |= linear(f"{block}.ff.net.0.proj", width, 8 * width) | linear(f"{block}.ff.net.2", 4 * width, width)
        for index in (1, 2, 3):
            found |= norm(f"{block}.norm{index}", width)
    return found


def _encoder(
    channels: int, base: int, mults: Sequence[int], depths: Sequence[int], context: int, flat: bool, layers: int = 2
) -> tuple[Layout, list[int], int]:
    """(input_blocks and middle_block, the channels of the skips, those of the middle)"""
    found = conv("input_blocks.0.0", channels, base, 3, 3)
    skips, width, number = [base], base, 1
    for level, mult in enumerate(mults):
        for _ in range(layers):
            found |= _res_block(f"input_blocks.{number}.0", width, mult * base, 4 * base)
            width = mult * base
            if depths[level]:
                found |= _spatial_transformer(f"input_blocks.{number}.1", width, depths[level], context, flat)
            skips.append(width)
            number += 1
        if level + 1 < len(mults):
            found |= conv(f"input_blocks.{number}.0.op", width, width, 3, 3)
            skips.append(width)
            number += 1
    middle = depths[-1] or depths[-2]
    found |= _res_block("middle_block.0", width, width, 4 * base)
    found |= _spatial_transformer("middle_block.1", width, middle, context, flat)
    found |= _res_block("middle_block.2", width, width, 4 * base)
    return found, skips, width


def _time(base: int, label: int, guidance: int = 0) -> Layout:
    found = linear("time_embed.0", base, 4 * base) | linear("time_embed.2", 4 * base, 4 * base)
    if label:
        found |= linear("label_emb.0.0", label, 4 * base) | linear("label_emb.0.2", 4 * base, 4 * base)
    return found | (linear("time_embed.cond_proj", guidance, base, bias=False) if guidance else {})


def unet(
    channels: int, base: int, mults: Sequence[int], depths: Sequence[int], context: int, *, flat: bool = False,
    label: int = 0, guidance: int = 0, layers: int = 2,
) -> Layout:  # fmt: skip
    found, skips, width = _encoder(channels, base, mults, depths, context, flat, layers)
    number = 0
    for level, mult in reversed(list(enumerate(mults))):
        for layer in range(layers + 1):
            found |= _res_block(f"output_blocks.{number}.0", width + skips.pop(), mult * base, 4 * base)
            width, place = mult * base, 1
            if depths[level]:
                found |= _spatial_transformer(f"output_blocks.{number}.1", width, depths[level], context, flat)
                place = 2
            if level and layer == layers:
                found |= conv(f"output_blocks.{number}.{place}.conv", width, width, 3, 3)
            number += 1
    return {**_time(base, label, guidance), **found, **norm("out.0", base), **conv("out.2", base, 4, 3, 3)}


def controlnet(
    base: int, mults: Sequence[int], depths: Sequence[int], context: int, *, flat: bool = False, layers: int = 2
) -> Layout:
    found, skips, width = _encoder(4, base, mults, depths, context, flat, layers)
    for number, channels in enumerate(skips):
        found |= conv(f"zero_convs.{number}.0", channels, channels, 1, 1)
    found |= conv("middle_block_out.0", width, width, 1, 1)
    hint = [3, 16, 16, 32, 32, 96, 96, 256]
    for number in range(7):
        found |= conv(f"input_hint_block.{2 * number}", hint[number], hint[number + 1], 3, 3)
    return {**_time(base, 0), **found, **conv("input_hint_block.14", 256, base, 3, 3)}


def kl(latent: int, base: int = 128, *, quant: str = "outside", layers: int = 2) -> Layout:
    """`quant`: "outside" (CompVis), "" (SD3, Flux.1), "inside" the two halves, with batch statistics (Flux.2)."""
    mults = (1, 2, 4, 4)
    wide = base * mults[-1]

    def block(name: str, inputs: int, outputs: int) -> Layout:
        found = norm(f"{name}.norm1", inputs) | conv(f"{name}.conv1", inputs, outputs, 3, 3)
        found |= norm(f"{name}.norm2", outputs) | conv(f"{name}.conv2", outputs, outputs, 3, 3)
        return found if inputs == outputs else found | conv(f"{name}.nin_shortcut", inputs, outputs, 1, 1)

    def middle(half: str) -> Layout:
        found = block(f"{half}.mid.block_1", wide, wide) | norm(f"{half}.mid.attn_1.norm", wide)
        for name in ("q", "k", "v", "proj_out"):
            found |= conv(f"{half}.mid.attn_1.{name}", wide, wide, 1, 1)
        return found | block(f"{half}.mid.block_2", wide, wide)

    found, width = conv("encoder.conv_in", 3, base, 3, 3), base
    for level, mult in enumerate(mults):
        for layer in range(layers):
            found |= block(f"encoder.down.{level}.block.{layer}", width, mult * base)
            width = mult * base
        if level + 1 < len(mults):
            found |= conv(f"encoder.down.{level}.downsample.conv", width, width, 3, 3)
    found |= middle("encoder") | norm("encoder.norm_out", wide) | conv("encoder.conv_out", wide, 2 * latent, 3, 3)
    found |= conv("decoder.conv_in", latent, wide, 3, 3) | middle("decoder")
    for level, mult in reversed(list(enumerate(mults))):
        for layer in range(layers + 1):
            found |= block(f"decoder.up.{level}.block.{layer}", width, mult * base)
            width = mult * base
        if level:
            found |= conv(f"decoder.up.{level}.upsample.conv", width, width, 3, 3)
    found |= norm("decoder.norm_out", base) | conv("decoder.conv_out", base, 3, 3, 3)
    if quant:
        inside = quant == "inside"
        found |= conv("encoder.quant_conv" if inside else "quant_conv", 2 * latent, 2 * latent, 1, 1)
        found |= conv("decoder.post_quant_conv" if inside else "post_quant_conv", latent, latent, 1, 1)
        if inside:
            found |= {f"bn.running_{name}": (4 * latent,) for name in ("mean", "var")} | {"bn.num_batches_tracked": ()}
    return found


def wan_vae(base: int = 96, latent: int = 16) -> Layout:
    """WanVAE_(dim=96, z_dim=16): dim_mult 1, 2, 4, 4; two residual blocks; time is halved on the last two levels."""

    def block(name: str, inputs: int, outputs: int) -> Layout:
        found: Layout = {f"{name}.residual.0.gamma": (inputs, 1, 1, 1)}
        found |= {f"{name}.residual.3.gamma": (outputs, 1, 1, 1)}
        found |= conv(f"{name}.residual.2", inputs, outputs, 3, 3, 3)
        found |= conv(f"{name}.residual.6", outputs, outputs, 3, 3, 3)
        return found if inputs == outputs else found | conv(f"{name}.shortcut", inputs, outputs, 1, 1, 1)

    def middle(half: str, width: int) -> Layout:
        found = block(f"{half}.middle.0", width, width) | {f"{half}.middle.1.norm.gamma": (width, 1, 1)}
        found |= conv(f"{half}.middle.1.to_qkv", width, 3 * width, 1, 1)
        return found | conv(f"{half}.middle.1.proj", width, width, 1, 1) | block(f"{half}.middle.2", width, width)

    widths = [base * mult for mult in (1, 1, 2, 4, 4)]
    found, number = conv("encoder.conv1", 3, base, 3, 3, 3), 0
    for level, (inputs, outputs) in enumerate(pairwise(widths)):
        for layer in range(2):
            found |= block(f"encoder.downsamples.{number}", outputs if layer else inputs, outputs)
            number += 1
        if level < 3:
            found |= conv(f"encoder.downsamples.{number}.resample.1", outputs, outputs, 3, 3)
            if level:
                found |= conv(f"encoder.downsamples.{number}.time_conv", outputs, outputs, 3, 1, 1)
            number += 1
    top = widths[-1]
    found |= middle("encoder", top) | {"encoder.head.0.gamma": (top, 1, 1, 1)}
    found |= conv("encoder.head.2", top, 2 * latent, 3, 3, 3) | conv("conv1", 2 * latent, 2 * latent, 1, 1, 1)
    found |= conv("conv2", latent, latent, 1, 1, 1) | conv("decoder.conv1", latent, top, 3, 3, 3)
    found |= middle("decoder", top)
    number, widths = 0, [base * mult for mult in (4, 4, 4, 2, 1)]
    for level, (inputs, outputs) in enumerate(pairwise(widths)):
        start = inputs // 2 if level else inputs  # each upsampler halves the channels
        for layer in range(3):
            found |= block(f"decoder.upsamples.{number}", outputs if layer else start, outputs)
            number += 1
        if level < 3:
            found |= conv(f"decoder.upsamples.{number}.resample.1", outputs, outputs // 2, 3, 3)
            if level < 2:
                found |= conv(f"decoder.upsamples.{number}.time_conv", outputs, 2 * outputs, 3, 1, 1)
            number += 1
    return found | {"decoder.head.0.gamma": (base, 1, 1, 1)} | conv("decoder.head.2", base, 3, 3, 3, 3)


# Text encoders


def hf_clip(width: int, layers: int, feed: int, *, projection: int = 0, positions: bool = True) -> Layout:
    found: Layout = {
        "text_model.embeddings.token_embedding.weight": (49408, width),
        "text_model.embeddings.position_embedding.weight": (77, width),
        **norm("text_model.final_layer_norm", width),
    }
    if positions:
        found["text_model.embeddings.position_ids"] = (1, 77)
    for number in range(layers):
        block = f"text_model.encoder.layers.{number}"
        for name in ("k_proj", "v_proj", "q_proj", "out_proj"):
            found |= linear(f"{block}.self_attn.{name}", width, width)
        found |= norm(f"{block}.layer_norm1", width) | norm(f"{block}.layer_norm2", width)
        found |= linear(f"{block}.mlp.fc1", width, feed) | linear(f"{block}.mlp.fc2", feed, width)
    return found | (linear("text_projection", width, projection, bias=False) if projection else {})


def open_clip(width: int, layers: int) -> Layout:
    found: Layout = {
        "positional_embedding": (77, width), "text_projection": (width, width), "logit_scale": (),
        "token_embedding.weight": (49408, width), **norm("ln_final", width),
    }  # fmt: skip
    for number in range(layers):
        block = f"transformer.resblocks.{number}"
        found |= {f"{block}.attn.in_proj_weight": (3 * width, width), f"{block}.attn.in_proj_bias": (3 * width,)}
        found |= linear(f"{block}.attn.out_proj", width, width)
        found |= norm(f"{block}.ln_1", width) | norm(f"{block}.ln_2", width)
        found |= linear(f"{block}.mlp.c_fc", width, 4 * width) | linear(f"{block}.mlp.c_proj", 4 * width, width)
    return found


def t5(*, words: Sequence[str] = ("shared", "encoder.embed_tokens")) -> Layout:
    found: Layout = {f"{name}.weight": (32128, 4096) for name in words}
    for number in range(24):
        block = f"encoder.block.{number}.layer"
        for name in ("q", "k", "v", "o"):
            found |= linear(f"{block}.0.SelfAttention.{name}", 4096, 4096, bias=False)
        if not number:
            found[f"{block}.0.SelfAttention.relative_attention_bias.weight"] = (32, 64)
        found |= {f"{block}.0.layer_norm.weight": (4096,), f"{block}.1.layer_norm.weight": (4096,)}
        for name in ("wi_0", "wi_1"):
            found |= linear(f"{block}.1.DenseReluDense.{name}", 4096, 10240, bias=False)
        found |= linear(f"{block}.1.DenseReluDense.wo", 10240, 4096, bias=False)
    return found | {"encoder.final_layer_norm.weight": (4096,)}


def language_model(
    prefix: str, width: int, feed: int, layers: int, words: int, *, heads: int, groups: int, head: int = 128,
    biased: bool = False, normed: bool = False, last: bool = True,
) -> Layout:  # fmt: skip
    found: Layout = {f"{prefix}embed_tokens.weight": (words, width)}
    for number in range(layers):
        block = f"{prefix}layers.{number}"
        found |= linear(f"{block}.self_attn.q_proj", width, heads * head, bias=biased)
        for name in ("k_proj", "v_proj"):
            found |= linear(f"{block}.self_attn.{name}", width, groups * head, bias=biased)
        found |= linear(f"{block}.self_attn.o_proj", heads * head, width, bias=False)
        if normed:
            found |= {f"{block}.self_attn.{name}_norm.weight": (head,) for name in "qk"}
        for name in ("gate_proj", "up_proj"):
            found |= linear(f"{block}.mlp.{name}", width, feed, bias=False)
        found |= linear(f"{block}.mlp.down_proj", feed, width, bias=False)
        found |= {f"{block}.{name}.weight": (width,) for name in ("input_layernorm", "post_attention_layernorm")}
    return found | ({f"{prefix}norm.weight": (width,)} if last else {})


def qwen_vision(prefix: str = "visual.") -> Layout:
    found: Layout = {f"{prefix}patch_embed.proj.weight": (1280, 3, 2, 14, 14), f"{prefix}merger.ln_q.weight": (1280,)}
    for number in range(32):
        block = f"{prefix}blocks.{number}"
        found |= {f"{block}.norm1.weight": (1280,), f"{block}.norm2.weight": (1280,)}
        found |= linear(f"{block}.attn.qkv", 1280, 3840) | linear(f"{block}.attn.proj", 1280, 1280)
        for name in ("gate_proj", "up_proj"):
            found |= linear(f"{block}.mlp.{name}", 1280, 3420)
        found |= linear(f"{block}.mlp.down_proj", 3420, 1280)
    return found | linear(f"{prefix}merger.mlp.0", 5120, 5120) | linear(f"{prefix}merger.mlp.2", 5120, 3584)


# Transformers


def sd3(depth: int, *, positions: int, normed: bool, dual: int = 0, head: int = 64, text: int = 4096) -> Layout:
    """MMDiT: hidden size 64·depth; the first `dual` blocks have a second attention; the last reads the text only."""
    width = head * depth
    found: Layout = {"pos_embed": (1, positions * positions, width), **conv("x_embedder.proj", 16, width, 2, 2)}
    found |= linear("t_embedder.mlp.0", 256, width) | linear("t_embedder.mlp.2", width, width)
    found |= linear("y_embedder.mlp.0", 2048, width) | linear("y_embedder.mlp.2", width, width)
    found |= linear("context_embedder", text, width)
    for number in range(depth):
        for name in ("context_block", "x_block"):
            block, last = f"joint_blocks.{number}.{name}", name == "context_block" and number == depth - 1
            twice = name == "x_block" and number < dual
            for attention in ("attn", "attn2") if twice else ("attn",):
                found |= linear(f"{block}.{attention}.qkv", width, 3 * width)
                if normed:
                    found |= {f"{block}.{attention}.ln_{letter}.weight": (head,) for letter in "qk"}
                if not last:
                    found |= linear(f"{block}.{attention}.proj", width, width)
            parts = 2 if last else 9 if twice else 6
            found |= linear(f"{block}.adaLN_modulation.1", width, parts * width)
            if not last:
                found |= linear(f"{block}.mlp.fc1", width, 4 * width) | linear(f"{block}.mlp.fc2", 4 * width, width)
    return found | linear("final_layer.linear", width, 64) | linear("final_layer.adaLN_modulation.1", width, 2 * width)


def _stream_blocks(width: int, double: int, single: int, *, bias: bool, modulated: bool, fused: tuple[int, int],
                   feed: tuple[int, int]) -> Layout:  # fmt: skip
    """DoubleStreamBlock and SingleStreamBlock; `fused` = rows of linear1 and columns of linear2, `feed` of the MLP."""
    found: Layout = {}
    for number in range(double):
        for stream in ("img", "txt"):
            block = f"double_blocks.{number}.{stream}"
            if modulated:
                found |= linear(f"{block}_mod.lin", width, 6 * width)
            found |= linear(f"{block}_attn.qkv", width, 3 * width, bias=bias)
            found |= {f"{block}_attn.norm.{name}_norm.scale": (128,) for name in ("query", "key")}
            found |= linear(f"{block}_attn.proj", width, width, bias=bias)
            found |= linear(f"{block}_mlp.0", width, feed[0], bias=bias)
            found |= linear(f"{block}_mlp.2", feed[1], width, bias=bias)
    for number in range(single):
        block = f"single_blocks.{number}"
        if modulated:
            found |= linear(f"{block}.modulation.lin", width, 3 * width)
        found |= linear(f"{block}.linear1", width, fused[0], bias=bias)
        found |= linear(f"{block}.linear2", fused[1], width, bias=bias)
        found |= {f"{block}.norm.{name}_norm.scale": (128,) for name in ("query", "key")}
    return found


def _embedder(name: str, inputs: int, width: int, *, bias: bool = True) -> Layout:
    return linear(f"{name}.in_layer", inputs, width, bias=bias) | linear(f"{name}.out_layer", width, width, bias=bias)


def flux(channels: int = 64, *, guided: bool = True, width: int = 3072, double: int = 19, single: int = 38) -> Layout:
    found = linear("img_in", channels, width) | linear("txt_in", 4096, width)
    found |= _embedder("time_in", 256, width) | _embedder("vector_in", 768, width)
    found |= _embedder("guidance_in", 256, width) if guided else {}
    found |= _stream_blocks(width, double, single, bias=True, modulated=True, fused=(7 * width, 5 * width),
                            feed=(4 * width, 4 * width))  # fmt: skip
    return found | linear("final_layer.linear", width, 64) | linear("final_layer.adaLN_modulation.1", width, 2 * width)


def chroma(width: int = 3072, double: int = 19, single: int = 38) -> Layout:
    found = linear("img_in", 64, width) | linear("txt_in", 4096, width) | linear("final_layer.linear", width, 64)
    guide = "distilled_guidance_layer"
    found |= linear(f"{guide}.in_proj", 64, 5120) | linear(f"{guide}.out_proj", 5120, width)
    for number in range(5):
        found |= _embedder(f"{guide}.layers.{number}", 5120, 5120) | {f"{guide}.norms.{number}.scale": (5120,)}
    return found | _stream_blocks(width, double, single, bias=True, modulated=False, fused=(7 * width, 5 * width),
                                  feed=(4 * width, 4 * width))  # fmt: skip


def flux2(width: int, double: int, single: int, text: int, *, guided: bool) -> Layout:
    """Flux2: no biases, one modulation for all blocks of a kind, gated MLPs of 3·width."""
    found = linear("img_in", 128, width, bias=False) | linear("txt_in", text, width, bias=False)
    found |= _embedder("time_in", 256, width, bias=False)
    found |= _embedder("guidance_in", 256, width, bias=False) if guided else {}
    for stream in ("img", "txt"):
        found |= linear(f"double_stream_modulation_{stream}.lin", width, 6 * width, bias=False)
    found |= linear("single_stream_modulation.lin", width, 3 * width, bias=False)
    found |= _stream_blocks(width, double, single, bias=False, modulated=False, fused=(9 * width, 4 * width),
                            feed=(6 * width, 3 * width))  # fmt: skip
    found |= linear("final_layer.linear", width, 128, bias=False)
    return found | linear("final_layer.adaLN_modulation.1", width, 2 * width, bias=False)


def qwen_image(width: int = 3072, layers: int = 60) -> Layout:
    found = linear("img_in", 64, width) | linear("txt_in", 3584, width) | {"txt_norm.weight": (3584,)}
    found |= linear("time_text_embed.timestep_embedder.linear_1", 256, width)
    found |= linear("time_text_embed.timestep_embedder.linear_2", width, width)
    for number in range(layers):
        block = f"transformer_blocks.{number}"
        for stream in ("img", "txt"):
            found |= linear(f"{block}.{stream}_mod.1", width, 6 * width)
            found |= linear(f"{block}.{stream}_mlp.net.0.proj", width, 4 * width)
            found |= linear(f"{block}.{stream}_mlp.net.2", 4 * width, width)
        for name in ("to_q", "to_k", "to_v", "add_q_proj", "add_k_proj", "add_v_proj", "to_out.0", "to_add_out"):
            found |= linear(f"{block}.attn.{name}", width, width)
        for name in ("norm_q", "norm_k", "norm_added_q", "norm_added_k"):
            found[f"{block}.attn.{name}.weight"] = (128,)
    return found | linear("norm_out.linear", width, 2 * width) | linear("proj_out", width, 64)


def z_image(width: int = 3840, layers: int = 30, text: int = 2560) -> Layout:
    found: Layout = {"x_pad_token": (1, width), "cap_pad_token": (1, width), "norm_final.weight": (width,)}
    found |= linear("x_embedder", 64, width) | linear("t_embedder.mlp.0", 256, 1024)
    found |= linear("t_embedder.mlp.2", 1024, 256) | {"cap_embedder.0.weight": (text,)}
    found |= linear("cap_embedder.1", text, width) | linear("final_layer.linear", width, 64)
    found |= linear("final_layer.adaLN_modulation.1", 256, width)
    feed = int(width / 3 * 8)
    for blocks, count in (("layers", layers), ("noise_refiner", 2), ("context_refiner", 2)):
        for number in range(count):
            block = f"{blocks}.{number}"
            found |= linear(f"{block}.attention.qkv", width, 3 * width, bias=False)
            found |= linear(f"{block}.attention.out", width, width, bias=False)
            found |= {f"{block}.attention.{letter}_norm.weight": (128,) for letter in "qk"}
            for name, inputs, outputs in (("w1", width, feed), ("w2", feed, width), ("w3", width, feed)):
                found |= linear(f"{block}.feed_forward.{name}", inputs, outputs, bias=False)
            for name in ("attention_norm1", "attention_norm2", "ffn_norm1", "ffn_norm2"):
                found[f"{block}.{name}.weight"] = (width,)
            if blocks != "context_refiner":
                found |= linear(f"{block}.adaLN_modulation.0", 256, 4 * width)
    return found
