"""The table by which weights are told apart: which tensors a kind of model has, and how wide they are.

A signature holds when all of `has` are there, none of `lacks`, and each of `dims` (tensor, axis, sizes) has one of the
sizes. They are tried from top to bottom and the first that holds counts, so a special kind stands before the one it
extends. Names are those of the original repositories, after a leading `model.diffusion_model.` and the like is taken
off. Nothing matches by default: what no signature describes is unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from engine.models.model_file import FileKind

Shapes = Mapping[str, tuple[int, ...]]
Dim = tuple[str, int, tuple[int, ...]]


@dataclass(frozen=True)
class Signature:
    """One kind of model. `fits` defaults to the family alone."""

    kind: FileKind
    family: str
    has: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    dims: tuple[Dim, ...] = ()
    variant: str = ""
    layout: str = ""
    fits: tuple[str, ...] = ()

    def holds(self, shapes: Shapes) -> bool:
        return (
            all(name in shapes for name in self.has)
            and not any(name in shapes for name in self.lacks)
            and all(_size(shapes, name, axis) in sizes for name, axis, sizes in self.dims)
        )


def _size(shapes: Shapes, name: str, axis: int) -> int:
    shape = shapes.get(name, ())
    return shape[axis] if -len(shape) <= axis < len(shape) else -1


def first(signatures: tuple[Signature, ...], shapes: Shapes) -> Signature | None:
    """The first signature that holds."""
    return next((signature for signature in signatures if signature.holds(shapes)), None)


def _model(family: str, *has: str, dims: tuple[Dim, ...] = (), lacks: tuple[str, ...] = (), variant: str = "",
           layout: str = "") -> Signature:  # fmt: skip
    return Signature("diffusion_model", family, has, lacks, dims, variant, layout)


_LDM2 = "input_blocks.2.1.transformer_blocks.0.attn2.to_k.weight"
_LDM4 = "input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight"
_HF0 = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight"
_HF1 = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.weight"
_LDM_IN, _HF_IN = "input_blocks.0.0.weight", "conv_in.weight"
_FLUX = "double_blocks.0.img_attn.norm.key_norm.scale"
_FLUX_HF = ("single_transformer_blocks.0.attn.to_q.weight", "transformer_blocks.0.attn.add_k_proj.weight")
_FLUX2 = "single_stream_modulation.lin.weight"
_FLUX2_HF = "single_transformer_blocks.0.attn.to_qkv_mlp_proj.weight"
_SD3 = "joint_blocks.0.context_block.adaLN_modulation.1.bias"
_SD3_HF = ("transformer_blocks.0.attn.add_k_proj.weight", "pos_embed.proj.weight", "context_embedder.weight")
_QWEN = ("transformer_blocks.0.img_mod.1.weight", "txt_norm.weight")
_WAN = ("head.modulation", "patch_embedding.weight", "blocks.0.cross_attn.k.weight")
_WAN_HF = ("scale_shift_table", "patch_embedding.weight", "blocks.0.attn2.to_k.weight")
_ZCAP = "cap_embedder.1.weight"

# The denoiser of a picture or video model.
DENOISERS: tuple[Signature, ...] = (
    # SVD before SD 1: the same names with temporal layers between them.
    _model("svd", "input_blocks.1.1.time_stack.0.attn1.to_k.weight", dims=((_LDM_IN, 1, (8,)),), layout="ldm"),
    _model("svd", "down_blocks.0.attentions.0.temporal_transformer_blocks.0.attn1.to_k.weight",
           dims=((_HF_IN, 1, (8,)),), layout="diffusers"),
    _model("sd15", dims=((_LDM2, -1, (768,)), (_LDM_IN, 0, (320,))), layout="ldm"),
    _model("sd2", dims=((_LDM2, -1, (1024,)), (_LDM_IN, 1, (7,))), variant="x4-upscaler", layout="ldm"),
    _model("sd2", "label_emb.0.0.weight", dims=((_LDM2, -1, (1024,)),), variant="unclip", layout="ldm"),
    _model("sd2", dims=((_LDM2, -1, (1024,)), (_LDM_IN, 0, (320,))), layout="ldm"),
    _model("sdxl_refiner", "label_emb.0.0.weight", dims=((_LDM4, -1, (1280,)), (_LDM_IN, 0, (384,))),
           layout="ldm"),
    _model("sdxl", "label_emb.0.0.weight", dims=((_LDM4, -1, (2048,)), (_LDM_IN, 0, (320,))), layout="ldm"),
    _model("sd15", dims=((_HF0, -1, (768,)), (_HF_IN, 0, (320,))), layout="diffusers"),
    _model("sd2", dims=((_HF0, -1, (1024,)), (_HF_IN, 0, (320,))), layout="diffusers"),
    _model("sdxl_refiner", "add_embedding.linear_1.weight", dims=((_HF1, -1, (1280,)), (_HF_IN, 0, (384,))),
           layout="diffusers"),
    _model("sdxl", "add_embedding.linear_1.weight", dims=((_HF1, -1, (2048,)), (_HF_IN, 0, (320,))),
           layout="diffusers"),
    _model("sd3", _SD3, "joint_blocks.0.x_block.attn2.qkv.weight", variant="3.5 medium", layout="ldm"),
    _model("sd3", _SD3, "joint_blocks.37.x_block.mlp.fc1.weight", variant="3.5 large", layout="ldm"),
    _model("sd3", _SD3, "joint_blocks.0.x_block.attn.qkv.weight", variant="3 medium", layout="ldm",
           lacks=("joint_blocks.24.x_block.attn.qkv.weight",)),
    _model("sd3", *_SD3_HF, "transformer_blocks.37.attn.to_q.weight", variant="3.5 large", layout="diffusers"),
    _model("sd3", *_SD3_HF, "transformer_blocks.0.attn2.to_q.weight", variant="3.5 medium", layout="diffusers"),
    _model("sd3", *_SD3_HF, lacks=("single_transformer_blocks.0.attn.to_q.weight",), variant="3 medium",
           layout="diffusers"),
    # Flux.2 before Flux.1; Chroma, HunyuanVideo and Flux.1 share double_blocks.
    _model("flux2", _FLUX2, dims=(("img_in.weight", 0, (6144,)),), variant="dev", layout="original"),
    _model("flux2", _FLUX2, dims=(("img_in.weight", 0, (4096,)),), variant="klein 9B", layout="original"),
    _model("flux2", _FLUX2, dims=(("img_in.weight", 0, (3072,)),), variant="klein 4B", layout="original"),
    _model("flux2", _FLUX2, "double_blocks.0.img_attn.qkv.weight", layout="original"),
    _model("flux2", _FLUX2_HF, dims=(("x_embedder.weight", 0, (6144,)),), variant="dev", layout="diffusers"),
    _model("flux2", _FLUX2_HF, dims=(("x_embedder.weight", 0, (4096,)),), variant="klein 9B", layout="diffusers"),
    _model("flux2", _FLUX2_HF, dims=(("x_embedder.weight", 0, (3072,)),), variant="klein 4B", layout="diffusers"),
    _model("chroma", _FLUX, "distilled_guidance_layer.in_proj.bias", layout="original"),
    _model("chroma", *_FLUX_HF, "distilled_guidance_layer.in_proj.bias", layout="diffusers"),
    _model("flux", _FLUX, dims=(("img_in.weight", 1, (384,)),), variant="fill", layout="original"),
    _model("flux", _FLUX, dims=(("img_in.weight", 1, (128,)),), variant="control", layout="original"),
    _model("flux", _FLUX, "guidance_in.in_layer.weight", variant="dev", layout="original"),
    _model("flux", _FLUX, dims=(("img_in.weight", 1, (64,)),), variant="schnell", layout="original"),
    _model("flux", *_FLUX_HF, dims=(("x_embedder.weight", 1, (384,)), ("x_embedder.weight", 0, (3072,))),
           variant="fill", layout="diffusers"),
    _model("flux", *_FLUX_HF, dims=(("x_embedder.weight", 1, (128,)), ("x_embedder.weight", 0, (3072,))),
           variant="control", layout="diffusers"),
    _model("flux", *_FLUX_HF, "time_text_embed.guidance_embedder.linear_1.weight",
           dims=(("x_embedder.weight", 1, (64,)),), variant="dev", layout="diffusers"),
    _model("flux", *_FLUX_HF, "time_text_embed.text_embedder.linear_1.weight",
           dims=(("x_embedder.weight", 1, (64,)),), variant="schnell", layout="diffusers"),
    _model("hunyuan_video", "txt_in.individual_token_refiner.blocks.0.adaLN_modulation.1.bias",
           "double_blocks.0.img_attn_qkv.weight", layout="original"),
    _model("qwen_image", *_QWEN, "time_text_embed.addition_t_embedding.weight", variant="layered", layout="diffusers"),
    _model("qwen_image", *_QWEN, lacks=("controlnet_blocks.0.weight",), layout="diffusers"),
    _model("wan", *_WAN, "vace_blocks.0.after_proj.bias", variant="VACE", layout="original"),
    _model("wan", *_WAN, "motion_encoder.dec.direction.weight", variant="animate", layout="original"),
    _model("wan", *_WAN, "img_emb.proj.0.bias", variant="2.1 image to video", layout="original"),
    _model("wan", *_WAN, dims=(("patch_embedding.weight", 1, (48,)),), variant="2.2 5B", layout="original"),
    _model("wan", *_WAN, dims=(("patch_embedding.weight", 1, (36,)),), variant="2.2 image to video",
           layout="original"),
    _model("wan", *_WAN, dims=(("patch_embedding.weight", 1, (16,)),), variant="text to video", layout="original"),
    _model("wan", *_WAN_HF, dims=(("patch_embedding.weight", 1, (16, 36, 48)),), layout="diffusers"),
    _model("z_image", "layers.0.adaLN_modulation.0.weight", dims=((_ZCAP, 0, (3840,)),)),
    _model("lumina2", "layers.0.adaLN_modulation.1.weight", dims=((_ZCAP, 0, (2304,)),)),
    _model("ltx", "av_ca_a2v_gate_adaln_single.emb.timestep_embedder.linear_1.weight", variant="2", layout="original"),
    _model("ltx", "patchify_proj.weight", "transformer_blocks.0.scale_shift_table", layout="original"),
    _model("ltx", "proj_in.weight", "transformer_blocks.0.scale_shift_table", "time_embed.linear.weight",
           "caption_projection.linear_1.weight", layout="diffusers"),
    _model("cogvideox", "patch_embed.text_proj.weight", "transformer_blocks.0.norm1.linear.weight",
           layout="diffusers"),
    _model("mochi", "blocks.0.attn.qkv_x.weight", "t5_yproj.weight", layout="original"),
    _model("pixart", "t_block.1.weight", "y_embedder.y_embedding", "blocks.0.cross_attn.kv_linear.weight",
           layout="original"),
    _model("sana", "blocks.0.cross_attn.q_linear.weight", "blocks.0.mlp.inverted_conv.conv.weight",
           layout="original"),
    _model("sana", "transformer_blocks.0.ff.conv_inverted.weight", "caption_norm.weight", layout="diffusers"),
    _model("auraflow", "double_layers.0.attn.w2q.weight", "cond_seq_linear.weight", layout="original"),
    _model("hidream", "double_stream_blocks.0.block.adaLN_modulation.1.bias", layout="original"),
    _model("hunyuan_dit", "mlp_t5.0.weight", "blocks.0.attn1.Wqkv.weight", layout="original"),
    _model("cascade", "clip_txt_mapper.weight", "clf.1.weight", variant="stage C", layout="original"),
    _model("cascade", "clip_mapper.weight", "clf.1.weight", variant="stage B", layout="original"),
    _model("cosmos", "x_embedder.proj.1.weight", "blocks.block0.blocks.0.block.attn.to_q.0.weight", variant="1"),
    _model("cosmos", "x_embedder.proj.1.weight", "blocks.0.self_attn.q_proj.weight", variant="2"),
    _model("kandinsky5", "visual_transformer_blocks.0.cross_attention.key_norm.weight",
           "text_transformer_blocks.0.self_attention.to_key.weight", layout="diffusers"),
    _model("omnigen2", "time_caption_embed.timestep_embedder.linear_1.bias", "ref_image_patch_embedder.weight"),
)  # fmt: skip

# Input channels of a U-Net → what is joined to the latent.
CHANNEL_VARIANTS: Mapping[int, str] = {4: "", 9: "inpaint", 8: "instruct", 5: "depth"}

_CN_IN = "controlnet_cond_embedding.conv_in.weight"
_IP1, _IP0 = "ip_adapter.1.to_k_ip.weight", "ip_adapter.0.to_k_ip.weight"
_MOTION = "motion_modules.0.temporal_transformer"
_PE = f"down_blocks.0.{_MOTION}.transformer_blocks.0.attention_blocks.0.pos_encoder.pe"
_PE_HF = "down_blocks.0.motion_modules.0.transformer_blocks.0.pos_embed.pe"


def _control(family: str, *has: str, dims: tuple[Dim, ...] = (), variant: str = "", layout: str = "") -> Signature:
    return Signature("controlnet", family, has, (), dims, variant, layout)


# What stands beside a model and steers it. Tried before the denoisers, whose tensors a ControlNet repeats.
STEERING: tuple[Signature, ...] = (
    _control("sdxl", "lora_controlnet", "input_hint_block.0.weight", dims=((f"{_LDM4[:-7]}.down", -1, (2048,)),),
             variant="control-LoRA", layout="ldm"),
    _control("unknown", "lora_controlnet", "input_hint_block.0.weight", variant="control-LoRA", layout="ldm"),
    _control("sd15", "control_model.zero_convs.0.0.weight", dims=((f"control_model.{_LDM2}", -1, (768,)),),
             layout="ldm"),
    _control("sd2", "control_model.zero_convs.0.0.weight", dims=((f"control_model.{_LDM2}", -1, (1024,)),),
             layout="ldm"),
    _control("sdxl", "control_model.zero_convs.0.0.weight", dims=((f"control_model.{_LDM4}", -1, (2048,)),),
             layout="ldm"),
    _control("unknown", "control_model.zero_convs.0.0.weight", "control_model.input_hint_block.0.weight",
             layout="ldm"),
    _control("animatediff", _CN_IN, _PE,
             variant="sparse", layout="original"),
    _control("sdxl", _CN_IN, "task_embedding", "control_add_embedding.linear_1.weight",
             dims=((_HF1, -1, (2048,)),), variant="union", layout="diffusers"),
    _control("sdxl", _CN_IN, "add_embedding.linear_1.weight", dims=((_HF1, -1, (2048,)),), layout="diffusers"),
    _control("sdxl", _CN_IN, "add_embedding.linear_1.weight", variant="small", layout="diffusers"),
    _control("sd15", _CN_IN, dims=((_HF0, -1, (768,)),), layout="diffusers"),
    _control("sd2", _CN_IN, dims=((_HF0, -1, (1024,)),), layout="diffusers"),
    _control("unknown", _CN_IN, "controlnet_down_blocks.0.weight", layout="diffusers"),
    _control("flux", "controlnet_blocks.0.weight", "controlnet_mode_embedder.weight", "controlnet_x_embedder.weight",
             dims=(("x_embedder.weight", 0, (3072,)),), variant="union", layout="diffusers"),
    _control("flux", "controlnet_blocks.0.weight", "controlnet_x_embedder.weight",
             "transformer_blocks.0.norm1_context.linear.weight", dims=(("x_embedder.weight", 0, (3072,)),),
             layout="diffusers"),
    _control("flux", "controlnet_blocks.0.weight", "input_hint_block.0.weight",
             "double_blocks.0.img_attn.qkv.weight", layout="XLabs"),
    _control("qwen_image", "controlnet_blocks.0.weight", "controlnet_x_embedder.weight",
             "transformer_blocks.0.img_mod.1.weight", layout="diffusers"),
    _control("qwen_image", "controlnet_blocks.0.y_rms.weight", "controlnet_blocks.0.input_proj.weight",
             variant="blockwise", layout="DiffSynth"),
    _control("sd3", "controlnet_blocks.0.weight", "pos_embed_input.proj.weight", layout="diffusers"),
    _control("z_image", "control_all_x_embedder.2-1.weight", "control_layers.0.adaLN_modulation.0.weight"),
    Signature("ip_adapter", "sd15", (_IP1,), dims=((_IP1, -1, (768,)),)),
    Signature("ip_adapter", "sdxl", (_IP1,), dims=((_IP1, -1, (2048,)),)),
    Signature("ip_adapter", "flux", (_IP0, "image_proj.norm.weight"), dims=((_IP0, 0, (3072,)),), layout="InstantX"),
    Signature("ip_adapter", "flux", ("double_blocks.0.processor.ip_adapter_double_stream_k_proj.weight",),
              layout="XLabs"),
    Signature("ip_adapter", "flux", ("redux_up.weight", "redux_down.weight"), variant="redux"),
    Signature("ip_adapter", "unknown", (_IP1, "image_proj.norm.weight")),
    Signature("t2i_adapter", "sdxl", ("adapter.body.0.resnets.0.block1.weight",),
              dims=(("adapter.conv_in.weight", 1, (256, 768)),), layout="diffusers"),
    Signature("t2i_adapter", "sd15", ("adapter.body.0.resnets.0.block1.weight",),
              dims=(("adapter.conv_in.weight", 1, (64, 192)),), layout="diffusers"),
    Signature("t2i_adapter", "sdxl", ("body.0.block1.weight", "body.7.block2.weight"),
              dims=(("conv_in.weight", 1, (256, 768)),), layout="original"),
    Signature("t2i_adapter", "sd15", ("body.0.block1.weight", "body.7.block2.weight"),
              dims=(("conv_in.weight", 1, (64, 192)),), layout="original"),
    Signature("t2i_adapter", "sd15", ("adapter.body.0.out_conv.weight", "adapter.body.0.resnets.0.block1.weight"),
              variant="light", layout="diffusers"),
    Signature("t2i_adapter", "sd15", ("body.0.in_conv.weight", "body.0.body.0.block1.weight"), variant="light",
              layout="original"),
    Signature("t2i_adapter", "sd15", ("style_embedding", "transformer_layes.0.attn.in_proj_weight"), variant="style",
              layout="original"),
    # The motion of SDXL has three levels; that of SD 1.5 four, and since v2 one in the middle.
    Signature("motion_adapter", "sdxl", (_PE,), (f"down_blocks.3.{_MOTION}.norm.bias",), variant="beta",
              layout="original"),
    Signature("motion_adapter", "sd15", (_PE, f"mid_block.{_MOTION}.norm.bias"), variant="v2", layout="original"),
    Signature("motion_adapter", "sd15", (_PE,), dims=((_PE, 1, (24,)),), variant="v1", layout="original"),
    Signature("motion_adapter", "sd15", (_PE,), dims=((_PE, 1, (32,)),), variant="v3", layout="original"),
    Signature("motion_adapter", "sd15", (_PE_HF, "mid_block.motion_modules.0.norm.bias"), variant="v2",
              layout="diffusers"),
    Signature("motion_adapter", "sd15", (_PE_HF, "down_blocks.3.motion_modules.0.norm.bias"), layout="diffusers"),
    Signature("motion_adapter", "sdxl", (_PE_HF,), variant="beta", layout="diffusers"),
)  # fmt: skip
