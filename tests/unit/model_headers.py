"""Headers of model files in the layouts of the original repositories, written as sparse files of true size.

Names and widths are from the code that first wrote such files (CompVis and Stability's LDM, Black Forest Labs' flux,
Wan, Qwen, kohya's sd-scripts, LyCORIS, peft…), not from the tables under test; of repeated blocks there are as many as
in the real model, of each block its telling tensors.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from engine.models.gguf_header import TYPES

Tensors = dict[str, tuple[int, ...]]
Shapes = Mapping[str, tuple[int, ...]]
_BYTES = {"F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "U8": 1}


def write_safetensors(
    path: Path, tensors: Mapping[str, tuple[int, ...]], metadata: Mapping[str, str] | None = None, dtype: str = "F16"
) -> Path:
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    at = 0
    for name, shape in tensors.items():
        size = math.prod(shape) * _BYTES[dtype]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    raw = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(raw)) + raw)
        file.truncate(8 + len(raw) + at)
    return path


def write_gguf(
    path: Path, tensors: Mapping[str, tuple[int, ...]], metadata: Mapping[str, str | int], dtype: str = "Q8_0"
) -> Path:
    number, block, block_bytes = next((n, b, size) for n, (name, b, size) in TYPES.items() if name == dtype)

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value.encode())) + value.encode()

    # GGUF has at most 4 dimensions: larger kernels are flattened, with their shape beside them.
    shapes = {name: shape if len(shape) <= 4 else (shape[0], math.prod(shape[1:])) for name, shape in tensors.items()}
    flattened = {name: shape for name, shape in tensors.items() if len(shape) > 4}
    out = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata) + len(flattened))
    for name, shape in flattened.items():
        out += text(f"comfy.gguf.orig_shape.{name}")
        out += struct.pack(f"<IIQ{len(shape)}i", 9, 5, len(shape), *shape)
    for key, value in metadata.items():
        out += text(key) + (
            struct.pack("<I", 8) + text(value) if isinstance(value, str) else struct.pack("<II", 4, value)
        )
    at = 0
    for name, shape in shapes.items():
        fits = shape[-1] % block == 0
        kind, size = (number, math.prod(shape) // block * block_bytes) if fits else (0, math.prod(shape) * 4)
        out += text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *reversed(shape))
        out += struct.pack("<IQ", kind, at)
        at += -(-size // 32) * 32
    with path.open("wb") as file:
        file.write(out)
        file.truncate(-(-len(out) // 32) * 32 + at)
    return path


def prefixed(prefix: str, tensors: Shapes) -> Tensors:
    return {prefix + name: shape for name, shape in tensors.items()}


# --- U-Nets


def ldm_unet(context: int, channels: int = 4, width: int = 320, *, xl: bool = False) -> Tensors:
    out: Tensors = {
        "time_embed.0.weight": (4 * width, width),
        "input_blocks.0.0.weight": (width, channels, 3, 3),
        "input_blocks.0.0.bias": (width,),
        "middle_block.1.norm.weight": (4 * width,),
        "out.2.weight": (4, width, 3, 3),
    }
    blocks = [(4, 2), (5, 2), (7, 10), (8, 10)] if xl else [(i, 1) for i in (1, 2, 4, 5, 7, 8)]
    for block, depth in blocks:
        inner = width * (4 if block > 6 else 2 if block > 3 else 1)
        for layer in range(depth):
            start = f"input_blocks.{block}.1.transformer_blocks.{layer}"
            out[f"{start}.attn1.to_k.weight"] = (inner, inner)
            out[f"{start}.attn2.to_k.weight"] = (inner, context)
    if xl:
        out["label_emb.0.0.weight"] = (1280, 2816)
    return out


def hf_unet(context: int, channels: int = 4, width: int = 320, *, xl: bool = False) -> Tensors:
    out: Tensors = {
        "conv_in.weight": (width, channels, 3, 3), "time_embedding.linear_1.weight": (4 * width, width),
        "mid_block.attentions.0.norm.weight": (4 * width,), "conv_out.weight": (4, width, 3, 3),
    }  # fmt: skip
    for level in (1, 2) if xl else (0, 1, 2):
        out[f"down_blocks.{level}.attentions.0.transformer_blocks.0.attn1.to_k.weight"] = (width << level,) * 2
        out[f"down_blocks.{level}.attentions.0.transformer_blocks.0.attn2.to_k.weight"] = (width << level, context)
    if xl:
        out["add_embedding.linear_1.weight"] = (1280, 2816)
    return out


def svd_unet() -> Tensors:
    return {**ldm_unet(1024, 8), "input_blocks.1.1.time_stack.0.attn1.to_k.weight": (320, 320)}


def ldm_vae(channels: int = 4) -> Tensors:
    return {
        "encoder.conv_in.weight": (128, 3, 3, 3), "decoder.conv_in.weight": (512, channels, 3, 3),
        "decoder.mid.block_1.conv1.weight": (512, 512, 3, 3), "decoder.up.3.block.0.conv1.weight": (512, 512, 3, 3),
        "decoder.conv_out.weight": (3, 128, 3, 3),
    }  # fmt: skip


def hf_vae(channels: int = 4) -> Tensors:
    return {
        "encoder.conv_in.weight": (128, 3, 3, 3), "decoder.conv_in.weight": (512, channels, 3, 3),
        "decoder.mid_block.resnets.0.conv1.weight": (512, 512, 3, 3), "decoder.conv_out.weight": (3, 128, 3, 3),
    }  # fmt: skip


def clip(width: int, layers: int, last: bool = True) -> Tensors:
    out: Tensors = {"text_model.embeddings.token_embedding.weight": (49408, width),
                    "text_model.final_layer_norm.weight": (width,)}  # fmt: skip
    for layer in range(layers):
        out[f"text_model.encoder.layers.{layer}.mlp.fc1.weight"] = (4 * width, width)
    return out


def open_clip(width: int, layers: int) -> Tensors:
    out: Tensors = {"token_embedding.weight": (49408, width), "positional_embedding": (77, width)}
    for layer in range(layers):
        out[f"transformer.resblocks.{layer}.mlp.c_fc.weight"] = (4 * width, width)
    return out


def checkpoint(unet: Tensors, text: Tensors, vae: Tensors | None = None) -> Tensors:
    return {
        **prefixed("model.diffusion_model.", unet), **prefixed("first_stage_model.", vae or ldm_vae()), **text,
    }  # fmt: skip


SD1_TEXT = prefixed("cond_stage_model.transformer.", clip(768, 12))
SD2_TEXT = prefixed("cond_stage_model.model.", open_clip(1024, 23))
XL_TEXT = {**prefixed("conditioner.embedders.0.transformer.", clip(768, 12)),
           **prefixed("conditioner.embedders.1.model.", open_clip(1280, 32))}  # fmt: skip


# --- transformers


def flux(*, guidance: bool = True, channels: int = 64, hidden: int = 3072) -> Tensors:
    out: Tensors = {"img_in.weight": (hidden, channels), "txt_in.weight": (hidden, 4096),
                    "time_in.in_layer.weight": (hidden, 256), "vector_in.in_layer.weight": (hidden, 768),
                    "final_layer.linear.weight": (64, hidden)}  # fmt: skip
    if guidance:
        out["guidance_in.in_layer.weight"] = (hidden, 256)
    for block in range(19):
        out[f"double_blocks.{block}.img_attn.norm.key_norm.scale"] = (128,)
        out[f"double_blocks.{block}.img_attn.qkv.weight"] = (3 * hidden, hidden)
        out[f"double_blocks.{block}.img_mod.lin.weight"] = (6 * hidden, hidden)
    for block in range(38):
        out[f"single_blocks.{block}.linear1.weight"] = (7 * hidden, hidden)
    return out


def chroma() -> Tensors:
    kept = {name: shape for name, shape in flux(guidance=False).items() if "_mod." not in name}
    del kept["time_in.in_layer.weight"], kept["vector_in.in_layer.weight"]
    return {
        **kept,
        "distilled_guidance_layer.in_proj.bias": (5120,),
        "distilled_guidance_layer.in_proj.weight": (5120, 64),
    }


def flux2(hidden: int, text: int) -> Tensors:
    out: Tensors = {"img_in.weight": (hidden, 128), "txt_in.weight": (hidden, text),
                    "single_stream_modulation.lin.weight": (3 * hidden, hidden),
                    "double_stream_modulation_img.lin.weight": (6 * hidden, hidden)}  # fmt: skip
    for block in range(5):
        out[f"double_blocks.{block}.img_attn.norm.key_norm.scale"] = (128,)
        out[f"double_blocks.{block}.img_attn.qkv.weight"] = (3 * hidden, hidden)
        out[f"double_blocks.{block}.img_mlp.0.weight"] = (6 * hidden, hidden)
    return out


def flux_hf(*, guidance: bool = True, channels: int = 64) -> Tensors:
    out: Tensors = {"x_embedder.weight": (3072, channels), "context_embedder.weight": (3072, 4096),
                    "time_text_embed.text_embedder.linear_1.weight": (3072, 768)}  # fmt: skip
    if guidance:
        out["time_text_embed.guidance_embedder.linear_1.weight"] = (3072, 256)
    for block in range(19):
        out[f"transformer_blocks.{block}.attn.to_q.weight"] = (3072, 3072)
        out[f"transformer_blocks.{block}.attn.add_k_proj.weight"] = (3072, 3072)
    for block in range(38):
        out[f"single_transformer_blocks.{block}.attn.to_q.weight"] = (3072, 3072)
    return out


def sd3(blocks: int, hidden: int, *, dual: bool = False) -> Tensors:
    out: Tensors = {"x_embedder.proj.weight": (hidden, 16, 2, 2), "context_embedder.weight": (hidden, 4096),
                    "pos_embed": (1, 36864, hidden)}  # fmt: skip
    for block in range(blocks):
        out[f"joint_blocks.{block}.context_block.adaLN_modulation.1.bias"] = (6 * hidden,)
        out[f"joint_blocks.{block}.x_block.attn.qkv.weight"] = (3 * hidden, hidden)
        out[f"joint_blocks.{block}.x_block.mlp.fc1.weight"] = (4 * hidden, hidden)
        if dual and block < 13:
            out[f"joint_blocks.{block}.x_block.attn2.qkv.weight"] = (3 * hidden, hidden)
    return out


def qwen_image() -> Tensors:
    out: Tensors = {"img_in.weight": (3072, 64), "txt_in.weight": (3072, 3584), "txt_norm.weight": (3584,),
                    "time_text_embed.timestep_embedder.linear_1.weight": (3072, 256)}  # fmt: skip
    for block in range(60):
        out[f"transformer_blocks.{block}.img_mod.1.weight"] = (18432, 3072)
        out[f"transformer_blocks.{block}.attn.add_k_proj.weight"] = (3072, 3072)
        out[f"transformer_blocks.{block}.attn.to_q.weight"] = (3072, 3072)
    return out


def wan(channels: int, hidden: int, layers: int = 30) -> Tensors:
    out: Tensors = {"patch_embedding.weight": (hidden, channels, 1, 2, 2), "head.modulation": (1, 2, hidden),
                    "head.head.weight": (64, hidden), "text_embedding.0.weight": (hidden, 4096)}  # fmt: skip
    for block in range(layers):
        out[f"blocks.{block}.self_attn.q.weight"] = (hidden, hidden)
        out[f"blocks.{block}.cross_attn.k.weight"] = (hidden, hidden)
        out[f"blocks.{block}.modulation"] = (1, 6, hidden)
    return out


def z_image() -> Tensors:
    out: Tensors = {
        "cap_embedder.0.weight": (2560,),
        "cap_embedder.1.weight": (3840, 2560),
        "x_embedder.weight": (3840, 64),
    }
    for layer in range(30):
        out[f"layers.{layer}.adaLN_modulation.0.weight"] = (4 * 3840, 256)
        out[f"layers.{layer}.attention.qkv.weight"] = (3 * 3840, 3840)
    return out


def lumina2() -> Tensors:
    out: Tensors = {
        "cap_embedder.0.weight": (2304,),
        "cap_embedder.1.weight": (2304, 2304),
        "x_embedder.weight": (2304, 64),
    }
    for layer in range(26):
        out[f"layers.{layer}.adaLN_modulation.1.weight"] = (4 * 2304, 1024)
        out[f"layers.{layer}.attention.qkv.weight"] = (3840, 2304)
    return out


def t5(width: int, words: int, *, every: bool = False) -> Tensors:
    out: Tensors = {"shared.weight": (words, width), "encoder.final_layer_norm.weight": (width,)}
    for block in range(24):
        out[f"encoder.block.{block}.layer.0.SelfAttention.q.weight"] = (width, width)
        if every or block == 0:
            out[f"encoder.block.{block}.layer.0.SelfAttention.relative_attention_bias.weight"] = (32, 64)
    return out


def llm(hidden: int, words: int, layers: int, *, q: int = 0, extra: Shapes | None = None) -> Tensors:
    out: Tensors = {"model.embed_tokens.weight": (words, hidden), "model.norm.weight": (hidden,), **(extra or {})}
    for layer in range(layers):
        out[f"model.layers.{layer}.self_attn.q_proj.weight"] = (q or hidden, hidden)
        out[f"model.layers.{layer}.mlp.gate_proj.weight"] = (3 * hidden, hidden)
    return out


# --- LoRAs


def kohya(layers: Mapping[str, tuple[int, int]], rank: int = 16) -> Tensors:
    """`layers`: name with underscores → (inputs, outputs)."""
    out: Tensors = {}
    for name, (inputs, outputs) in layers.items():
        out[f"{name}.lora_down.weight"] = (rank, inputs)
        out[f"{name}.lora_up.weight"] = (outputs, rank)
        out[f"{name}.alpha"] = ()
    return out


def peft(layers: Mapping[str, tuple[int, int]], rank: int = 16) -> Tensors:
    out: Tensors = {}
    for name, (inputs, outputs) in layers.items():
        out[f"{name}.lora_A.weight"] = (rank, inputs)
        out[f"{name}.lora_B.weight"] = (outputs, rank)
    return out


def loha(layers: Mapping[str, tuple[int, int]], rank: int = 8) -> Tensors:
    out: Tensors = {}
    for name, (inputs, outputs) in layers.items():
        for half in ("w1", "w2"):
            out[f"{name}.hada_{half}_a"] = (outputs, rank)
            out[f"{name}.hada_{half}_b"] = (rank, inputs)
        out[f"{name}.alpha"] = ()
    return out


def lokr(layers: Mapping[str, tuple[int, int]], factor: int = 8, rank: int = 4) -> Tensors:
    out: Tensors = {}
    for name, (inputs, outputs) in layers.items():
        out[f"{name}.lokr_w1"] = (factor, factor)
        out[f"{name}.lokr_w2_a"] = (outputs // factor, rank)
        out[f"{name}.lokr_w2_b"] = (rank, inputs // factor)
        out[f"{name}.alpha"] = ()
    return out


def sd_layers(context: int, *, xl: bool = False, start: str = "lora_unet_") -> dict[str, tuple[int, int]]:
    level = 1 if xl else 0
    width = 640 if xl else 320
    name = f"{start}down_blocks_{level}_attentions_0_transformer_blocks_0_"
    return {f"{name}attn1_to_k": (width, width), f"{name}attn2_to_k": (context, width),
            f"{name}ff_net_0_proj": (width, 8 * width)}  # fmt: skip


# --- adapters


def motion(levels: int, frames: int, *, middle: bool) -> Tensors:
    out: Tensors = {}
    places = [f"down_blocks.{level}" for level in range(levels)] + (["mid_block"] if middle else [])
    for index, place in enumerate(places):
        width = min(320 << index, 1280)
        start = f"{place}.motion_modules.0.temporal_transformer"
        out[f"{start}.norm.bias"] = (width,)
        out[f"{start}.transformer_blocks.0.attention_blocks.0.pos_encoder.pe"] = (1, frames, width)
    return out


def ip_adapter(context: int, *, plus: bool = False) -> Tensors:
    out: Tensors = {"image_proj.norm.weight": (context,), "image_proj.proj.weight": (4 * context, 1024)}
    if plus:
        out = {"image_proj.latents": (1, 16, 768), "image_proj.norm_out.weight": (context,)}
    for block in (1, 3, 5):
        out[f"ip_adapter.{block}.to_k_ip.weight"] = (320, context)
        out[f"ip_adapter.{block}.to_v_ip.weight"] = (320, context)
    return out


def t2i(channels: int) -> Tensors:
    out: Tensors = {"conv_in.weight": (320, channels, 3, 3)}
    for block in range(8):
        out[f"body.{block}.block1.weight"] = out[f"body.{block}.block2.weight"] = (320, 320, 3, 3)
    return out


def control_ldm(context: int, *, xl: bool = False) -> Tensors:
    return prefixed("control_model.", {**ldm_unet(context, xl=xl), "zero_convs.0.0.weight": (320, 320, 1, 1),
                                       "input_hint_block.0.weight": (16, 3, 3, 3)})  # fmt: skip


def control_hf(context: int, *, xl: bool = False) -> Tensors:
    return {**hf_unet(context, xl=xl), "controlnet_cond_embedding.conv_in.weight": (16, 3, 3, 3),
            "controlnet_down_blocks.0.weight": (320, 320, 1, 1)}  # fmt: skip


def esrgan(channels: int = 3) -> Tensors:
    out: Tensors = {"conv_first.weight": (64, channels, 3, 3), "conv_last.weight": (3, 64, 3, 3)}
    for block in range(23):
        out[f"body.{block}.rdb1.conv1.weight"] = (32, 64, 3, 3)
    out["conv_up1.weight"] = out["conv_up2.weight"] = (64, 64, 3, 3)
    return out


def compact(factor: int, layers: int = 16) -> Tensors:
    out: Tensors = {"body.0.weight": (64, 3, 3, 3), "body.1.weight": (64,)}
    for layer in range(layers):
        out[f"body.{2 * layer + 2}.weight"] = (64, 64, 3, 3)
        out[f"body.{2 * layer + 3}.weight"] = (64,)
    out[f"body.{2 * layers + 2}.weight"] = (3 * factor**2, 64, 3, 3)
    return out


@dataclass(frozen=True)
class Sample:
    """One synthetic file and what it is. `suffix` .gguf writes GGUF with `metadata` as its key-values."""

    name: str
    tensors: Shapes
    kind: str
    family: str
    variant: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    suffix: str = ".safetensors"
    dtype: str = "F16"

    def write(self, folder: Path) -> Path:
        path = folder / (self.name.replace(" ", "_").replace("/", "_") + self.suffix)
        if self.suffix == ".gguf":
            return write_gguf(path, self.tensors, self.metadata, self.dtype)
        return write_safetensors(path, self.tensors, self.metadata, self.dtype)


def unique(samples: Iterator[Sample]) -> tuple[Sample, ...]:
    found = tuple(samples)
    assert len({sample.name for sample in found}) == len(found)
    return found
