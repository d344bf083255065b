"""Every kind of model file is told from its header alone; what is none of them stays unknown."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.contracts.errors import BadInput, InvalidDocument, UnsafeModel
from engine.models.identify import identify
from engine.models.model_file import ModelFile
from tests.benchmarks.tiny_models import STARTER
from tests.unit import model_headers as h
from tests.unit.model_headers import Sample, unique

W = 3072


def _denoisers() -> Iterator[Sample]:
    yield Sample("sd15", h.checkpoint(h.ldm_unet(768), h.SD1_TEXT), "checkpoint", "sd15")
    yield Sample("sd15 inpaint", h.checkpoint(h.ldm_unet(768, 9), h.SD1_TEXT), "checkpoint", "sd15", "inpaint")
    yield Sample("sd15 instruct", h.checkpoint(h.ldm_unet(768, 8), h.SD1_TEXT), "checkpoint", "sd15", "instruct")
    yield Sample("sd15 unet", h.prefixed("model.diffusion_model.", h.ldm_unet(768)), "diffusion_model", "sd15")
    yield Sample("sd15 unet hf", h.hf_unet(768), "diffusion_model", "sd15")
    lcm = {**h.hf_unet(768), "time_embedding.cond_proj.weight": (320, 256)}
    yield Sample("sd15 lcm", lcm, "diffusion_model", "sd15", "lcm")
    yield Sample("sd2", h.checkpoint(h.ldm_unet(1024), h.SD2_TEXT), "checkpoint", "sd2")
    yield Sample("sd2 depth", h.checkpoint(h.ldm_unet(1024, 5), h.SD2_TEXT), "checkpoint", "sd2", "depth")
    yield Sample("sd2 inpaint", h.checkpoint(h.ldm_unet(1024, 9), h.SD2_TEXT), "checkpoint", "sd2", "inpaint")
    yield Sample("sd x4 upscaler", h.checkpoint(h.ldm_unet(1024, 7), h.SD2_TEXT), "checkpoint", "sd2", "x4-upscaler")
    yield Sample("sd2 unet hf", h.hf_unet(1024), "diffusion_model", "sd2")
    yield Sample("sdxl", h.checkpoint(h.ldm_unet(2048, xl=True), h.XL_TEXT), "checkpoint", "sdxl")
    yield Sample("sdxl inpaint hf", h.hf_unet(2048, 9, xl=True), "diffusion_model", "sdxl", "inpaint")
    yield Sample(
        "sdxl instruct", h.checkpoint(h.ldm_unet(2048, 8, xl=True), h.XL_TEXT), "checkpoint", "sdxl", "instruct"
    )
    refiner = h.checkpoint(
        h.ldm_unet(1280, width=384, xl=True), h.prefixed("conditioner.embedders.0.model.", h.open_clip(1280, 32))
    )
    yield Sample("sdxl refiner", refiner, "checkpoint", "sdxl_refiner")
    playground = {
        **h.checkpoint(h.ldm_unet(2048, xl=True), h.XL_TEXT),
        "edm_mean": (1, 4, 1, 1),
        "edm_std": (1, 4, 1, 1),
    }
    yield Sample("playground", playground, "checkpoint", "sdxl", "playground")
    yield Sample("sdxl fp8", h.checkpoint(h.ldm_unet(2048, xl=True), h.XL_TEXT), "checkpoint", "sdxl", dtype="F8_E4M3")
    seen = {"conditioner.embedders.0.open_clip.model.visual.proj": (1280, 1024)}
    yield Sample("svd", h.checkpoint(h.svd_unet(), {**seen}),
                 "checkpoint", "svd")  # fmt: skip
    whole = {**h.prefixed("model.diffusion_model.", h.sd3(24, 1536)), **h.prefixed("first_stage_model.", h.ldm_vae(16)),
             **h.prefixed("text_encoders.clip_l.transformer.", h.clip(768, 12))}  # fmt: skip
    yield Sample("sd3 medium", whole, "checkpoint", "sd3", "3 medium")
    yield Sample("sd35 large", h.sd3(38, 2432), "diffusion_model", "sd3", "3.5 large")
    yield Sample("sd35 medium", h.sd3(24, 1536, dual=True), "diffusion_model", "sd3", "3.5 medium")
    yield Sample("flux dev", h.flux(), "diffusion_model", "flux", "dev", dtype="BF16")
    yield Sample("flux schnell", h.flux(guidance=False), "diffusion_model", "flux", "schnell")
    yield Sample("flux fill", h.flux(channels=384), "diffusion_model", "flux", "fill")
    yield Sample("flux canny", h.flux(channels=128), "diffusion_model", "flux", "control")
    whole = {**h.prefixed("model.diffusion_model.", h.flux()), **h.prefixed("vae.", h.ldm_vae(16)),
             **h.prefixed("text_encoders.clip_l.transformer.", h.clip(768, 12))}  # fmt: skip
    yield Sample("flux all in one fp8", whole, "checkpoint", "flux", "dev", dtype="F8_E4M3")
    yield Sample("flux dev hf", h.flux_hf(), "diffusion_model", "flux", "dev")
    yield Sample("flux fill hf", h.flux_hf(channels=384), "diffusion_model", "flux", "fill")
    yield Sample("flux schnell hf", h.flux_hf(guidance=False), "diffusion_model", "flux", "schnell")
    yield Sample("flux2 dev", h.flux2(6144, 15360), "diffusion_model", "flux2", "dev")
    yield Sample("flux2 klein 4b", h.flux2(3072, 7680), "diffusion_model", "flux2", "klein 4B")
    yield Sample("flux2 klein 9b", h.flux2(4096, 12288), "diffusion_model", "flux2", "klein 9B")
    yield Sample("chroma", h.chroma(), "diffusion_model", "chroma")
    yield Sample("qwen image", h.qwen_image(), "diffusion_model", "qwen_image")
    yield Sample("z image", h.z_image(), "diffusion_model", "z_image")
    yield Sample("lumina 2", h.lumina2(), "diffusion_model", "lumina2")
    yield Sample("wan 14b", h.wan(16, 5120, 40), "diffusion_model", "wan", "text to video")
    yield Sample("wan 5b", h.wan(48, 3072), "diffusion_model", "wan", "2.2 5B")
    i2v = {**h.wan(36, 5120, 40), "img_emb.proj.0.bias": (1280,)}
    yield Sample("wan i2v", i2v, "diffusion_model", "wan", "2.1 image to video")
    yield Sample("wan 2.2 i2v", h.wan(36, 5120, 40), "diffusion_model", "wan", "2.2 image to video")
    vace = {**h.wan(16, 1536), "vace_blocks.0.after_proj.bias": (1536,)}
    yield Sample("wan vace", vace, "diffusion_model", "wan", "VACE")
    hunyuan = {"txt_in.individual_token_refiner.blocks.0.adaLN_modulation.1.bias": (6144,),
               **{f"double_blocks.{i}.img_attn_qkv.weight": (9216, 3072) for i in range(20)}}  # fmt: skip
    yield Sample("hunyuan video", hunyuan, "diffusion_model", "hunyuan_video")
    ltx = {
        "patchify_proj.weight": (2048, 128),
        **{f"transformer_blocks.{i}.scale_shift_table": (6, 2048) for i in range(28)},
    }
    yield Sample("ltx", h.prefixed("model.diffusion_model.", ltx), "diffusion_model", "ltx")
    sana = {f"blocks.{i}.{name}": (2240, 2240) for i in range(20)
            for name in ("cross_attn.q_linear.weight", "mlp.inverted_conv.conv.weight")}  # fmt: skip
    yield Sample("sana", sana, "diffusion_model", "sana")
    aura = {"cond_seq_linear.weight": (3072, 2048), "double_layers.0.attn.w2q.weight": (3072, 3072)}
    yield Sample("auraflow", h.prefixed("model.", aura), "diffusion_model", "auraflow")
    mochi = {"t5_yproj.weight": (3072, 4096), "blocks.0.attn.qkv_x.weight": (9216, 3072)}
    yield Sample("mochi", mochi, "diffusion_model", "mochi")
    cascade = {"clip_txt_mapper.weight": (2048, 1280), "clf.1.weight": (16, 2048, 1, 1)}
    yield Sample("cascade c", cascade, "diffusion_model", "cascade", "stage C")
    for name, tensors, architecture, family, variant, dtype in (
        ("flux gguf", h.flux(), "flux", "flux", "dev", "Q4_K"),
        ("qwen image gguf", h.qwen_image(), "qwen_image", "qwen_image", "", "Q8_0"),
        ("sd3 gguf", h.sd3(38, 2432), "sd3", "sd3", "3.5 large", "Q5_0"),
        ("wan gguf", h.wan(16, 5120, 40), "wan", "wan", "text to video", "Q6_K"),
    ):
        stated = {"general.architecture": architecture}
        yield Sample(name, tensors, "diffusion_model", family, variant, stated, ".gguf", dtype)


def _parts() -> Iterator[Sample]:
    yield Sample("vae 4", h.ldm_vae(), "vae", "several")
    yield Sample("vae 4 hf", h.hf_vae(), "vae", "several")
    yield Sample("vae 16", h.ldm_vae(16), "vae", "several")
    yield Sample("vae flux2", h.hf_vae(32), "vae", "flux2")
    wan_vae = {"decoder.conv1.weight": (384, 16, 3, 3, 3), "decoder.middle.0.residual.0.gamma": (384, 1, 1, 1)}
    yield Sample("vae wan", wan_vae, "vae", "several")
    yield Sample("vae wan 22", {**wan_vae, "decoder.conv1.weight": (1024, 48, 3, 3, 3)}, "vae", "wan", "2.2")
    taesd = {"1.weight": (64, 4, 3, 3), "3.conv.0.weight": (64, 64, 3, 3), "19.weight": (3, 64, 3, 3)}
    yield Sample("taesd", taesd, "vae", "several", "tiny decoder")
    yield Sample("clip l", h.clip(768, 12), "text_encoder", "several", "CLIP-L")
    yield Sample("clip g", h.clip(1280, 32), "text_encoder", "several", "OpenCLIP-G")
    yield Sample("clip h", h.open_clip(1024, 23), "text_encoder", "sd2", "OpenCLIP-H")
    yield Sample("t5 xxl", h.t5(4096, 32128), "text_encoder", "several", "T5-XXL")
    yield Sample("t5 xxl fp8", h.t5(4096, 32128), "text_encoder", "several", "T5-XXL", dtype="F8_E4M3")
    yield Sample("umt5", h.t5(4096, 256384, every=True), "text_encoder", "wan", "UMT5-XXL")
    vl = {"visual.blocks.0.attn.qkv.weight": (3840, 1280), "model.layers.0.self_attn.q_proj.bias": (3584,)}
    yield Sample("qwen vl", h.llm(3584, 152064, 28, extra=vl), "text_encoder", "qwen_image", "Qwen2.5-VL 7B")
    norm = {"model.layers.0.self_attn.q_norm.weight": (128,)}
    yield Sample("qwen3 4b", h.llm(2560, 151936, 36, q=4096, extra=norm), "text_encoder", "several", "Qwen3 4B")
    yield Sample("qwen3 8b", h.llm(4096, 151936, 36, extra=norm), "text_encoder", "flux2", "Qwen3 8B")
    yield Sample("mistral", h.llm(5120, 131072, 40, q=4096), "text_encoder", "flux2", "Mistral Small 3")
    gemma = {"model.layers.0.pre_feedforward_layernorm.weight": (2304,)}
    yield Sample("gemma", h.llm(2304, 256000, 26, q=2048, extra=gemma), "text_encoder", "several", "Gemma 2 2B")
    t5 = {"token_embd.weight": (32128, 4096), "enc.blk.0.attn_q.weight": (4096, 4096)}
    yield Sample("t5 gguf", t5, "text_encoder", "several", "T5-XXL", {"general.architecture": "t5encoder"}, ".gguf")
    vision = {"vision_model.embeddings.class_embedding": (1280,),
              **{f"vision_model.encoder.layers.{i}.mlp.fc1.weight": (5120, 1280) for i in range(32)}}  # fmt: skip
    yield Sample("clip vision h", vision, "vision_encoder", "several", "CLIP ViT-H")
    yield Sample("embedding sd1", {"emb_params": (4, 768)}, "embedding", "sd15")
    yield Sample("embedding sd2", {"emb_params": (8, 1024)}, "embedding", "sd2")
    yield Sample("embedding xl", {"clip_l": (4, 768), "clip_g": (4, 1280)}, "embedding", "sdxl")
    yield Sample("embedding hf", {"<cat-toy>": (768,)}, "embedding", "sd15")
    yield Sample("esrgan x4", h.esrgan(), "upscaler", "several", "ESRGAN")
    yield Sample("esrgan x2", h.prefixed("params_ema.", h.esrgan(12)), "upscaler", "several", "ESRGAN")
    old = {
        "model.0.weight": (64, 3, 3, 3),
        **{f"model.1.sub.{i}.RDB1.conv1.0.weight": (32, 64, 3, 3) for i in range(23)},
    }
    yield Sample("esrgan old", old, "upscaler", "several", "ESRGAN")
    yield Sample("realesr compact", h.compact(4), "upscaler", "several", "Compact")
    swin = {"conv_first.weight": (180, 3, 3, 3),
            "layers.0.residual_group.blocks.0.attn.relative_position_bias_table": (225, 6)}  # fmt: skip
    yield Sample("swinir", swin, "upscaler", "several", "SwinIR")
    gfpgan = {"stylegan_decoder.style_mlp.1.weight": (512, 512),
              "stylegan_decoder.constant_input.weight": (1, 512, 4, 4),
              "final_linear.weight": (8192, 4096), "conv_body_first.weight": (32, 3, 1, 1)}  # fmt: skip
    yield Sample("gfpgan", gfpgan, "face_restorer", "several", "GFPGAN")
    former = {
        "position_emb": (256, 512),
        "idx_pred_layer.1.weight": (1024, 512),
        "quantize.embedding.weight": (1024, 256),
    }
    yield Sample("codeformer", former, "face_restorer", "several", "CodeFormer")
    hed = {"norm": (1, 3, 1, 1), "block1.convs.0.weight": (64, 3, 3, 3), "block5.projection.weight": (1, 512, 1, 1)}
    yield Sample("hed", hed, "annotator", "several", "HED")


def _steering() -> Iterator[Sample]:
    yield Sample("controlnet sd15", h.control_ldm(768), "controlnet", "sd15")
    yield Sample("controlnet sd2", h.control_ldm(1024), "controlnet", "sd2")
    yield Sample("controlnet sd15 hf", h.control_hf(768), "controlnet", "sd15")
    yield Sample("controlnet sdxl hf", h.control_hf(2048, xl=True), "controlnet", "sdxl")
    union = {
        **h.control_hf(2048, xl=True),
        "task_embedding": (6, 320),
        "control_add_embedding.linear_1.weight": (1280, 256),
    }
    yield Sample("controlnet union", union, "controlnet", "sdxl", "union")
    lora = {"lora_controlnet": (1,), "input_hint_block.0.weight": (16, 3, 3, 3),
            "input_blocks.4.1.transformer_blocks.0.attn2.to_k.down": (128, 2048)}  # fmt: skip
    yield Sample("control lora", lora, "controlnet", "sdxl", "control-LoRA")
    flux = {"controlnet_blocks.0.weight": (W, W), "controlnet_x_embedder.weight": (W, 64), "x_embedder.weight": (W, 64),
            "transformer_blocks.0.norm1_context.linear.weight": (6 * W, W)}  # fmt: skip
    yield Sample("controlnet flux", flux, "controlnet", "flux")
    mode = {**flux, "controlnet_mode_embedder.weight": (10, W)}
    yield Sample("controlnet flux union", mode, "controlnet", "flux", "union")
    qwen = {"controlnet_blocks.0.weight": (W, W), "controlnet_x_embedder.weight": (W, 64), "txt_norm.weight": (3584,),
            "transformer_blocks.0.img_mod.1.weight": (6 * W, W)}  # fmt: skip
    yield Sample("controlnet qwen", qwen, "controlnet", "qwen_image")
    sd3 = {"controlnet_blocks.0.weight": (1536, 1536), "pos_embed_input.proj.weight": (1536, 16, 2, 2)}
    yield Sample("controlnet sd3", sd3, "controlnet", "sd3")
    yield Sample("t2i sd15", h.t2i(192), "t2i_adapter", "sd15")
    yield Sample("t2i sketch", h.t2i(64), "t2i_adapter", "sd15")
    hf = {"adapter.conv_in.weight": (320, 768, 3, 3), "adapter.body.0.resnets.0.block1.weight": (320, 320, 3, 3)}
    yield Sample("t2i sdxl hf", hf, "t2i_adapter", "sdxl")
    yield Sample("ip sd15", h.ip_adapter(768), "ip_adapter", "sd15")
    yield Sample("ip plus sdxl", h.ip_adapter(2048, plus=True), "ip_adapter", "sdxl")
    face = {
        **h.ip_adapter(768),
        "ip_adapter.0.to_q_lora.down.weight": (128, 320),
        "ip_adapter.0.to_q_lora.up.weight": (320, 128),
    }
    yield Sample("ip faceid", face, "ip_adapter", "sd15")
    yield Sample(
        "redux", {"redux_up.weight": (12288, 1152), "redux_down.weight": (4096, 12288)}, "ip_adapter", "flux", "redux"
    )
    yield Sample("motion v1", h.motion(4, 24, middle=False), "motion_adapter", "sd15", "v1")
    yield Sample("motion v2", h.motion(4, 32, middle=True), "motion_adapter", "sd15", "v2")
    yield Sample("motion v3", h.motion(4, 32, middle=False), "motion_adapter", "sd15", "v3")
    yield Sample("motion sdxl", h.motion(3, 32, middle=False), "motion_adapter", "sdxl", "beta")


def _loras() -> Iterator[Sample]:
    yield Sample("lora sd15 kohya", h.kohya(h.sd_layers(768)), "lora", "sd15")
    yield Sample("lora sd2 kohya", h.kohya(h.sd_layers(1024)), "lora", "sd2")
    yield Sample("lora sdxl kohya", h.kohya(h.sd_layers(2048, xl=True)), "lora", "sdxl")
    start = "unet.down_blocks.1.attentions.0.transformer_blocks.0"
    hf = {f"{start}.attn1.to_k": (640, 640), f"{start}.attn2.to_k": (2048, 640)}
    yield Sample("lora sdxl peft", h.peft(hf), "lora", "sdxl")
    old = {f"unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.processor.to_k_lora.{way}.weight": shape
           for way, shape in (("down", (4, 768)), ("up", (320, 4)))}  # fmt: skip
    yield Sample("lora sd15 old diffusers", old, "lora", "sd15")
    yield Sample("loha sdxl", h.loha(h.sd_layers(2048, xl=True)), "lora", "sdxl", "LoHa")
    yield Sample("loha sd15", h.loha(h.sd_layers(768)), "lora", "sd15", "LoHa")
    yield Sample("lokr sdxl", h.lokr(h.sd_layers(2048, xl=True)), "lora", "sdxl", "LoKr")
    dora = {**h.kohya(h.sd_layers(768)), **{f"{name}.dora_scale": (320, 1) for name in h.sd_layers(768)}}
    yield Sample("dora sd15", dora, "lora", "sd15", "DoRA")
    peft_dora = {**h.peft(hf), **{f"{name}.lora_magnitude_vector": (640,) for name in hf}}
    yield Sample("dora sdxl peft", peft_dora, "lora", "sdxl", "DoRA")
    text = {f"lora_te2_text_model_encoder_layers_{i}_self_attn_q_proj": (1280, 1280) for i in range(32)}
    yield Sample("lora sdxl text only", h.kohya(text), "lora", "sdxl")
    flux = {"lora_unet_double_blocks_0_img_attn_qkv": (W, 3 * W), "lora_unet_single_blocks_0_linear1": (W, 7 * W)}
    yield Sample("lora flux kohya", h.kohya(flux), "lora", "flux")
    flux_hf = {
        "transformer.transformer_blocks.0.attn.to_q": (W, W),
        "transformer.single_transformer_blocks.0.attn.to_q": (W, W),
    }
    yield Sample("lora flux hf", h.peft(flux_hf), "lora", "flux")
    yield Sample("lora chroma", h.kohya(flux), "lora", "chroma", metadata={"modelspec.architecture": "chroma/lora"})
    klein = {"diffusion_model.double_blocks.0.img_attn.qkv": (4096, 12288)}
    yield Sample("lora flux2", h.peft(klein), "lora", "flux2")
    sd3 = {"lora_unet_joint_blocks_0_x_block_attn_qkv": (2432, 7296)}
    yield Sample("lora sd3", h.kohya(sd3), "lora", "sd3")
    qwen = {f"transformer.transformer_blocks.{i}.attn.to_q": (W, W) for i in range(60)}
    yield Sample("lora qwen", h.peft(qwen), "lora", "qwen_image")
    z = {f"diffusion_model.layers.{i}.attention.to_q": (3840, 3840) for i in range(30)}
    yield Sample("lora z image", h.peft(z), "lora", "z_image")
    wan = {f"diffusion_model.blocks.{i}.self_attn.q": (5120, 5120) for i in range(40)}
    yield Sample("lora wan", h.peft(wan), "lora", "wan")
    hunyuan = {f"transformer.double_blocks.{i}.img_attn_qkv": (W, 3 * W) for i in range(20)}
    yield Sample("lora hunyuan", h.peft(hunyuan), "lora", "hunyuan_video")
    place = "down_blocks.0.motion_modules.0.temporal_transformer.transformer_blocks.0.attention_blocks.0"
    moved = {
        f"{place}.processor.to_q_lora.{way}.weight": shape for way, shape in (("down", (4, 320)), ("up", (320, 4)))
    }
    yield Sample("motion lora", moved, "lora", "animatediff")
    # A LoRA all the same, of a model that is not known here.
    unknown = {f"lora_unet_strange_blocks_{i}_mixer": (777, 777) for i in range(9)}
    yield Sample("lora unknown", h.kohya(unknown), "lora", "unknown")
    language = {f"base_model.model.model.layers.{i}.self_attn.q_proj": (4096, 4096) for i in range(32)}
    yield Sample("lora of a language model", h.peft(language), "lora", "unknown")
    odd = {"lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k": (999, 320)}
    yield Sample("lora odd width", h.kohya(odd), "lora", "unknown")


SAMPLES = unique(sample for source in (_denoisers, _parts, _steering, _loras) for sample in source())

_WITHOUT_NORM = {name: shape for name, shape in h.flux().items() if "key_norm" not in name}
DECOYS: dict[str, h.Shapes] = {
    "random mlp": {"0.weight": (256, 64), "0.bias": (256,), "2.weight": (10, 256), "2.bias": (10,)},
    "llama 2": h.llm(4096, 32000, 32),
    "qwen2.5 7b without eyes": h.llm(3584, 152064, 28, extra={"model.layers.0.self_attn.q_proj.bias": (3584,)}),
    "stable audio": h.prefixed("model.model.", {"transformer.rotary_pos_emb.inv_freq": (32,),
                                                 "transformer.layers.0.self_attn.to_qkv.weight": (4608, 1536)}),
    "whisper": {"model.encoder.conv1.weight": (384, 80, 3), "model.decoder.embed_tokens.weight": (51865, 384)},
    "resnet 50": {"conv1.weight": (64, 3, 7, 7), "layer1.0.conv1.weight": (64, 64, 1, 1), "fc.weight": (1000, 2048)},
    "bert": {"embeddings.word_embeddings.weight": (30522, 768),
             "encoder.layer.0.attention.self.query.weight": (768, 768)},
    "t5 base": h.t5(768, 32128),
    "t5 whole": {**h.t5(4096, 32128), "decoder.block.0.layer.0.SelfAttention.q.weight": (4096, 4096)},
    "unconditional u-net": {"conv_in.weight": (128, 3, 3, 3), "down_blocks.0.resnets.0.conv1.weight": (128, 128, 3, 3)},
    "u-net of another text width": h.checkpoint(h.ldm_unet(999), h.SD1_TEXT),
    "sd width, another stem": h.ldm_unet(768, width=192),
    "flux without its norm": _WITHOUT_NORM,
    "vae of 7 channels": h.ldm_vae(7),
    "vqgan": {**h.ldm_vae(4), "quantize.embedding.weight": (8192, 4)},
    "one loose vector": {"weight": (768,)},
    "embedding beside others": {"emb_params": (4, 768), "head.weight": (10, 768)},
    "z-image with another width": {**h.z_image(), "cap_embedder.1.weight": (1234, 2560)},
    "compact with 5 inputs": {**h.compact(4), "body.0.weight": (64, 5, 3, 3)},
    "no tensor": {},
    "svd without its channels": {**h.svd_unet(), "input_blocks.0.0.weight": (99, 4, 3, 3)},
    "motion module of other frames": h.motion(4, 48, middle=False),
}  # fmt: skip


def test_there_are_enough_kinds() -> None:
    assert len(SAMPLES) >= 60
    assert len({(s.kind, s.family, s.variant, s.suffix) for s in SAMPLES}) >= 60


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_each_kind_is_told_from_its_header(sample: Sample, tmp_path: Path) -> None:
    found = identify(sample.write(tmp_path))
    assert (found.kind, found.family, found.variant) == (sample.kind, sample.family, sample.variant)
    assert ModelFile.from_json(json.loads(json.dumps(found.to_json()))) == found
    assert found.words()


@pytest.mark.parametrize("name", DECOYS)
def test_decoys_stay_unknown(name: str, tmp_path: Path) -> None:
    found = identify(h.write_safetensors(tmp_path / "decoy.safetensors", DECOYS[name]))
    assert (found.kind, found.family) == ("unknown", "unknown")
    assert found.words() == "not a model that is known here"


def test_a_language_model_in_gguf_stays_unknown_and_so_does_a_wrong_claim(tmp_path: Path) -> None:
    llama = {"token_embd.weight": (32000, 4096), "blk.0.attn_q.weight": (4096, 4096)}
    path = h.write_gguf(tmp_path / "a.gguf", llama, {"general.architecture": "llama"})
    assert identify(path).kind == "unknown"
    liar = h.write_gguf(tmp_path / "b.gguf", h.flux(), {"general.architecture": "sd1"})
    assert identify(liar).kind == "unknown"


def test_files_that_are_no_weights_are_unknown_and_cut_ones_refused(tmp_path: Path) -> None:
    note = tmp_path / "note.txt"
    note.write_text("a shopping list")
    assert (identify(note).kind, identify(note).container) == ("unknown", "other")
    whole = h.write_safetensors(tmp_path / "whole.safetensors", {"emb_params": (4, 768)})
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(whole.read_bytes()[:40])
    with pytest.raises(UnsafeModel, match="cut short"):
        identify(cut)
    short = tmp_path / "short.safetensors"
    short.write_bytes(whole.read_bytes()[:-1])
    with pytest.raises(UnsafeModel, match="outside the file"):
        identify(short)


def test_the_name_of_a_file_says_nothing(tmp_path: Path) -> None:
    path = h.write_safetensors(tmp_path / "sdxl_flux_lora.pt.safetensors", h.control_hf(768))
    assert (identify(path).kind, identify(path).family) == ("controlnet", "sd15")


@pytest.mark.parametrize(
    ("dtype", "precision"),
    [("F32", "fp32"), ("F16", "fp16"), ("BF16", "bf16"), ("F8_E4M3", "fp8_e4m3"), ("F8_E5M2", "fp8_e5m2")],
)
def test_precision_is_that_of_most_numbers(tmp_path: Path, dtype: str, precision: str) -> None:
    found = identify(h.write_safetensors(tmp_path / "a.safetensors", h.esrgan(), dtype=dtype))
    assert found.precision == precision
    assert found.parameters == sum(math.prod(shape) for shape in h.esrgan().values())
    assert found.size_bytes == (tmp_path / "a.safetensors").stat().st_size


def test_gguf_names_its_quantisation(tmp_path: Path) -> None:
    path = h.write_gguf(tmp_path / "f.gguf", h.flux(), {"general.architecture": "flux"}, "Q4_K")
    assert identify(path).precision == "Q4_K"


def test_what_a_file_says_of_itself_is_read(tmp_path: Path) -> None:
    tags = {"10_cat": {"sks cat": 20, "sitting": 12, "grass": 3}, "5_more": {"sks cat": 5}}
    told = {"ss_tag_frequency": json.dumps(tags), "ss_output_name": "my_cat", "modelspec.license": "CC-BY-4.0",
            "ss_v_parameterization": "True", "modelspec.thumbnail": "data:image/jpeg;base64,AAAA"}  # fmt: skip
    found = identify(h.write_safetensors(tmp_path / "cat.safetensors", h.kohya(h.sd_layers(768), 32), told))
    assert found.trigger_words == ("sks cat",)
    assert (found.title, found.licence, found.prediction, found.preview) == ("my_cat", "CC-BY-4.0", "v", "embedded")
    assert found.details["rank"] == "32"
    phrase = {"modelspec.trigger_phrase": "sks cat, toy ", **told}
    path = h.write_safetensors(tmp_path / "dog.safetensors", h.kohya(h.sd_layers(768)), phrase)
    (tmp_path / "dog.preview.png").write_bytes(b"")
    assert identify(path).trigger_words == ("sks cat", "toy")
    assert identify(path).preview == "dog.preview.png"
    plain = identify(h.write_safetensors(tmp_path / "plain.safetensors", h.kohya(h.sd_layers(768))))
    assert (plain.licence, plain.trigger_words, plain.prediction) == ("unknown", (), "")
    assert plain.details["rank"] == "16"


def test_metadata_never_beats_the_layers(tmp_path: Path) -> None:
    path = h.write_safetensors(
        tmp_path / "a.safetensors", h.kohya(h.sd_layers(768)), {"ss_base_model_version": "sdxl_base_v1-0"}
    )
    assert identify(path).family == "sd15"
    silent = h.kohya({"lora_unet_down_blocks_0_resnets_0_conv1": (320, 320)})
    path = h.write_safetensors(tmp_path / "b.safetensors", silent, {"ss_base_model_version": "sd_v1"})
    assert identify(path).family == "sd15"
    assert identify(h.write_safetensors(tmp_path / "c.safetensors", silent)).family == "unknown"


def test_upscalers_tell_their_factor(tmp_path: Path) -> None:
    for name, tensors, factor in (("a", h.esrgan(), "4"), ("b", h.esrgan(12), "2"), ("c", h.compact(2), "2")):
        assert identify(h.write_safetensors(tmp_path / f"{name}.safetensors", tensors)).details["factor"] == factor


def test_marker_tensors_state_the_prediction(tmp_path: Path) -> None:
    tensors = {**h.checkpoint(h.ldm_unet(2048, xl=True), h.XL_TEXT), "v_pred": ()}
    assert identify(h.write_safetensors(tmp_path / "v.safetensors", tensors)).prediction == "v"


def test_a_diffusers_folder_is_one_model(tmp_path: Path) -> None:
    found = identify(STARTER)
    assert (found.kind, found.family, found.container, found.prediction) == ("checkpoint", "sd15", "folder", "v")
    assert set(found.parts) == {"text encoder", "diffusion model", "vae"}
    assert found.parameters > 1_000_000
    for pipeline, family, variant in (
        ("FluxKontextPipeline", "flux", "kontext"), ("QwenImageEditPipeline", "qwen_image", "edit"),
        ("Flux2KleinPipeline", "flux2", ""), ("StableDiffusionXLInpaintPipeline", "sdxl", "inpaint"),
        ("ZImagePipeline", "z_image", ""), ("StableDiffusion3Pipeline", "sd3", ""), ("StrangePipeline", "unknown", ""),
    ):  # fmt: skip
        folder = tmp_path / pipeline
        folder.mkdir()
        (folder / "model_index.json").write_text(json.dumps({"_class_name": pipeline}))
        assert (identify(folder).family, identify(folder).variant) == (family, variant)
    with pytest.raises(BadInput, match=r"no model_index\.json"):
        identify(tmp_path)


def test_the_fingerprint_is_of_the_content(tmp_path: Path) -> None:
    a = h.write_safetensors(tmp_path / "a.safetensors", h.esrgan())
    b = tmp_path / "b.safetensors"
    b.write_bytes(a.read_bytes())
    assert identify(a).fingerprint == identify(b).fingerprint
    with b.open("rb+") as file:
        file.seek(-1, 2)
        file.write(b"\1")
    assert identify(a).fingerprint != identify(b).fingerprint


def test_a_damaged_document_is_refused() -> None:
    with pytest.raises(InvalidDocument):
        ModelFile.from_json({"kind": "spaceship"})
    with pytest.raises(InvalidDocument, match="wrong type"):
        ModelFile.from_json({"kind": "lora", "name": 3})


def test_nothing_heavy_is_loaded_to_identify() -> None:
    imports = "import sys; import engine.models.identify, engine.models.convert, studio_app.models.library"
    code = f"{imports}; sys.exit('torch' in sys.modules or 'numpy' in sys.modules or 'sqlite3' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False).returncode == 0
