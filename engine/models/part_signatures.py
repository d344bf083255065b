"""The table of signatures, second part: VAEs, text and image encoders, embeddings, enhancers, annotators."""

from __future__ import annotations

from engine.models.signatures import Dim, Signature

# Latents of 4 channels are alike in shape for SD 1.5, SD 2 and SDXL; those of 16 for SD 3, Flux.1, Chroma and Z-Image.
LATENT_4 = ("sd15", "sd2", "sdxl", "sdxl_refiner")
LATENT_16 = ("sd3", "flux", "chroma", "z_image")
CLIP_L = ("sd15", "sdxl", "sd3", "flux")


def _vae(family: str, *has: str, dims: tuple[Dim, ...] = (), lacks: tuple[str, ...] = (), variant: str = "",
         layout: str = "", fits: tuple[str, ...] = ()) -> Signature:  # fmt: skip
    return Signature("vae", family, has, lacks, dims, variant, layout, fits)


_LDM_VAE = "decoder.mid.block_1.conv1.weight"
_HF_VAE = "decoder.mid_block.resnets.0.conv1.weight"
_IN, _QUANT = "decoder.conv_in.weight", "quantize.embedding.weight"


def _latent(channels: int) -> tuple[Dim, ...]:
    return ((_IN, 1, (channels,)), (_IN, -1, (3,)))


VAES: tuple[Signature, ...] = (
    _vae("wan", "decoder.middle.0.residual.0.gamma", dims=(("decoder.conv1.weight", 1, (48,)),), variant="2.2",
         layout="original"),
    _vae("several", "decoder.middle.0.residual.0.gamma", dims=(("decoder.conv1.weight", 1, (16,)),),
         layout="original", fits=("wan", "qwen_image")),
    _vae("several", "decoder.mid_block.resnets.0.norm1.gamma", dims=((_IN, 1, (16,)),), layout="diffusers",
         fits=("wan", "qwen_image")),
    _vae("ltx", "per_channel_statistics.mean-of-means", "decoder.conv_in.conv.weight", layout="original"),
    _vae("hunyuan_video", "decoder.mid.block_1.conv1.conv.weight", dims=(("decoder.conv_in.conv.weight", 1, (16,)),),
         layout="original"),
    _vae("hunyuan_video", "decoder.mid_block.resnets.0.conv1.conv.weight", "quant_conv.weight",
         dims=(("decoder.conv_in.conv.weight", 1, (16,)),), layout="diffusers"),
    _vae("svd", "decoder.time_conv_out.weight", dims=((_IN, 1, (4,)),), layout="diffusers"),
    _vae("sana", "encoder.project_in.conv.bias", "decoder.stages.0.op_list.0.main.conv.conv.weight",
         layout="original"),
    *(
        _vae(family, block, dims=_latent(channels), lacks=(_QUANT,), layout=layout, fits=fits)
        for block, layout in ((_LDM_VAE, "ldm"), (_HF_VAE, "diffusers"))
        for channels, family, fits in ((4, "several", LATENT_4), (16, "several", LATENT_16), (32, "flux2", ()))
    ),
    # TAESD: a bare sequence of layers, decoder and encoder in files of their own.
    _vae("several", "3.conv.0.weight", "19.weight", dims=(("1.weight", 1, (4,)), ("19.weight", 0, (3,))),
         variant="tiny decoder", layout="taesd", fits=LATENT_4),
    _vae("several", "3.conv.0.weight", "19.weight", dims=(("1.weight", 1, (16,)), ("19.weight", 0, (3,))),
         variant="tiny decoder", layout="taesd", fits=LATENT_16),
    _vae("several", "1.conv.0.weight", "14.weight", dims=(("0.weight", 1, (3,)), ("14.weight", 0, (4,))),
         variant="tiny encoder", layout="taesd", fits=LATENT_4),
    _vae("several", "1.conv.0.weight", "14.weight", dims=(("0.weight", 1, (3,)), ("14.weight", 0, (16,))),
         variant="tiny encoder", layout="taesd", fits=LATENT_16),
)  # fmt: skip


def _text(family: str, variant: str, *has: str, dims: tuple[Dim, ...] = (), fits: tuple[str, ...] = (),
          lacks: tuple[str, ...] = (), layout: str = "transformers") -> Signature:  # fmt: skip
    return Signature("text_encoder", family, has, lacks, dims, variant, layout, fits)


_TOKENS = "text_model.embeddings.token_embedding.weight"
_T5Q = "encoder.block.0.layer.0.SelfAttention.q.weight"
_LLM = "model.layers.0.self_attn.q_proj.weight"
_WORDS = "model.embed_tokens.weight"
_GQ = "blk.0.attn_q.weight"

TEXT_ENCODERS: tuple[Signature, ...] = (
    _text("several", "CLIP-L", "text_model.encoder.layers.11.mlp.fc1.weight", dims=((_TOKENS, 1, (768,)),),
          lacks=("text_model.encoder.layers.12.mlp.fc1.weight", "vision_model.post_layernorm.weight"), fits=CLIP_L),
    _text("several", "OpenCLIP-G", "text_model.encoder.layers.31.mlp.fc1.weight", dims=((_TOKENS, 1, (1280,)),),
          fits=("sdxl", "sdxl_refiner", "sd3")),
    _text("sd2", "OpenCLIP-H", "text_model.encoder.layers.22.mlp.fc1.weight", dims=((_TOKENS, 1, (1024,)),)),
    _text("several", "OpenCLIP-G", "transformer.resblocks.31.mlp.c_fc.weight",
          dims=(("token_embedding.weight", 1, (1280,)),), fits=("sdxl", "sdxl_refiner", "sd3"), layout="open_clip"),
    _text("sd2", "OpenCLIP-H", "transformer.resblocks.22.mlp.c_fc.weight",
          dims=(("token_embedding.weight", 1, (1024,)),), layout="open_clip"),
    _text("wan", "UMT5-XXL", "encoder.block.1.layer.0.SelfAttention.relative_attention_bias.weight",
          dims=(("shared.weight", 0, (256384,)), (_T5Q, 1, (4096,)))),
    _text("several", "T5-XXL", dims=(("shared.weight", 0, (32128,)), (_T5Q, 1, (4096,))),
          lacks=("decoder.block.0.layer.0.SelfAttention.q.weight",),
          fits=("flux", "sd3", "chroma", "ltx", "pixart", "cogvideox", "mochi")),
    _text("auraflow", "Pile-T5-XL", dims=(("shared.weight", 0, (32128,)), (_T5Q, 1, (2048,)))),
    _text("qwen_image", "Qwen2.5-VL 7B", "model.layers.0.self_attn.q_proj.bias", "visual.blocks.0.attn.qkv.weight",
          dims=((_LLM, 1, (3584,)),)),
    _text("qwen_image", "Qwen2.5-VL 7B", "model.language_model.layers.0.self_attn.q_proj.bias",
          "model.visual.blocks.0.attn.qkv.weight", dims=(("model.language_model.embed_tokens.weight", 1, (3584,)),)),
    _text("several", "Qwen3 4B", "model.layers.0.self_attn.q_norm.weight",
          dims=((_LLM, 1, (2560,)), (_WORDS, 0, (151936,))), fits=("z_image", "flux2")),
    _text("flux2", "Qwen3 8B", "model.layers.0.self_attn.q_norm.weight",
          dims=((_LLM, 1, (4096,)), (_WORDS, 0, (151936,)))),
    _text("flux2", "Mistral Small 3", "model.layers.29.self_attn.q_proj.weight",
          dims=((_LLM, 1, (5120,)), (_LLM, 0, (4096,)), (_WORDS, 0, (131072,)))),
    _text("several", "Gemma 2 2B", "model.layers.0.pre_feedforward_layernorm.weight",
          dims=((_LLM, 1, (2304,)), (_WORDS, 0, (256000,))), fits=("lumina2", "sana")),
    _text("hunyuan_video", "LLaVA Llama 3 8B", dims=((_LLM, 1, (4096,)), (_WORDS, 0, (128320,)))),
)  # fmt: skip

# GGUF names language models' tensors its own way; `general.architecture` says which they are.
GGUF_TEXT_ENCODERS: tuple[tuple[str, Signature], ...] = (
    ("t5encoder", _text("wan", "UMT5-XXL", dims=(("token_embd.weight", 0, (256384,)),), layout="llama.cpp")),
    ("t5encoder", _text("several", "T5-XXL", "enc.blk.0.attn_q.weight",
                        dims=(("token_embd.weight", 0, (32128,)), ("token_embd.weight", 1, (4096,))),
                        fits=("flux", "sd3", "chroma", "ltx", "pixart", "cogvideox", "mochi"), layout="llama.cpp")),
    ("qwen2vl", _text("qwen_image", "Qwen2.5-VL 7B", "blk.0.attn_q.bias", dims=((_GQ, 1, (3584,)),),
                      layout="llama.cpp")),
    ("qwen3", _text("several", "Qwen3 4B", dims=((_GQ, 1, (2560,)),), fits=("z_image", "flux2"), layout="llama.cpp")),
    ("qwen3", _text("flux2", "Qwen3 8B", dims=((_GQ, 1, (4096,)),), layout="llama.cpp")),
    ("gemma2", _text("several", "Gemma 2 2B", dims=((_GQ, 1, (2304,)),), fits=("lumina2", "sana"),
                     layout="llama.cpp")),
)  # fmt: skip

# `general.architecture` of a denoiser in GGUF → the families it may name.
GGUF_DENOISERS: dict[str, tuple[str, ...]] = {
    "flux": ("flux", "flux2", "chroma"), "sd1": ("sd15",), "sd2": ("sd2",), "sdxl": ("sdxl", "sdxl_refiner"),
    "sd3": ("sd3",), "qwen_image": ("qwen_image",), "wan": ("wan",), "hyvid": ("hunyuan_video",), "ltxv": ("ltx",),
    "lumina2": ("lumina2", "z_image"), "chroma": ("chroma",), "cosmos": ("cosmos",), "hidream": ("hidream",),
    "aura": ("auraflow",), "flux2": ("flux2",), "z_image": ("z_image",),
}  # fmt: skip

_VISION = "vision_model.embeddings.class_embedding"


def _other(kind: str, variant: str, *has: str, dims: tuple[Dim, ...] = (), lacks: tuple[str, ...] = (),
           layout: str = "") -> Signature:  # fmt: skip
    return Signature(kind, "several", has, lacks, dims, variant, layout)  # type: ignore[arg-type]


_SWIN = "layers.0.residual_group.blocks.0.attn.relative_position_bias_table"

# Tools that do not belong to one family.
TOOLS: tuple[Signature, ...] = (
    Signature("vision_encoder", "several", ("vision_model.encoder.layers.31.mlp.fc1.weight",), (),
              ((_VISION, 0, (1280,)),), "CLIP ViT-H", "transformers", ("sd15", "sdxl")),
    Signature("vision_encoder", "sdxl", ("vision_model.encoder.layers.47.mlp.fc1.weight",), (),
              ((_VISION, 0, (1664,)),), "CLIP ViT-bigG", "transformers"),
    Signature("vision_encoder", "flux", ("vision_model.encoder.layers.23.mlp.fc1.weight",), (),
              ((_VISION, 0, (1024,)),), "CLIP ViT-L", "transformers"),
    Signature("vision_encoder", "flux", ("vision_model.head.attention.in_proj_weight",), (),
              (("vision_model.embeddings.patch_embedding.weight", 0, (1152,)),), "SigLIP", "transformers"),
    _other("face_restorer", "GFPGAN", "stylegan_decoder.style_mlp.1.weight",
           "stylegan_decoder.constant_input.weight", "final_linear.weight"),
    _other("face_restorer", "CodeFormer", "quantize.embedding.weight", "idx_pred_layer.1.weight", "position_emb"),
    _other("upscaler", "ESRGAN", "conv_first.weight", "body.0.rdb1.conv1.weight", "conv_up1.weight"),
    _other("upscaler", "ESRGAN", "conv_first.weight", "RRDB_trunk.0.RDB1.conv1.weight", "upconv1.weight"),
    _other("upscaler", "ESRGAN", "model.0.weight", "model.1.sub.0.RDB1.conv1.0.weight"),
    _other("upscaler", "HAT", "conv_first.weight",
           "layers.0.residual_group.overlap_attn.relative_position_bias_table"),
    _other("upscaler", "SwinIR", "conv_first.weight", _SWIN),
    _other("upscaler", "DAT", "conv_first.weight", "layers.0.blocks.0.attn.qkv.weight",
           "layers.0.blocks.0.ffn.fc1.weight"),
    _other("upscaler", "SPAN", "conv_1.sk.weight", "block_1.c1_r.sk.weight"),
    _other("upscaler", "OmniSR", "residual_layer.0.residual_layer.0.layer.0.fn.0.weight", "input.weight",
           "up.0.weight"),
    _other("upscaler", "Compact", dims=(("body.0.weight", 1, (3,)), ("body.0.weight", -1, (3,)),
                                        ("body.1.weight", 0, (64,)), ("body.2.weight", 1, (64,))),
           lacks=("conv_first.weight",)),
    _other("annotator", "HED", "norm", "block1.convs.0.weight", "block5.projection.weight"),
    _other("annotator", "lineart", "model0.1.weight", "model1.0.weight", "model4.1.weight"),
    _other("annotator", "Depth Anything", "backbone.encoder.layer.0.attention.attention.query.weight",
           "head.conv1.weight", "neck.reassemble_stage.layers.0.projection.weight", layout="transformers"),
    _other("annotator", "Depth Anything", "pretrained.blocks.0.attn.qkv.weight",
           "depth_head.scratch.output_conv1.weight", layout="original"),
    _other("annotator", "MiDaS", "pretrained.model.blocks.0.attn.qkv.weight", "scratch.output_conv.0.weight",
           layout="original"),
    _other("annotator", "OpenPose", "model0.conv1_1.weight", "model1_1.conv5_1_CPM_L1.weight"),
)  # fmt: skip
