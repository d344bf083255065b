"""Checkpoints in one file, made of a diffusers folder by the names of the original code (CompVis's and Stability's).

The renaming is written here the other way round than under test: from diffusers' blocks to LDM's numbers, after
kohya's and diffusers' own `convert_diffusers_to_original_*` scripts.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file, save_file

from engine.contracts.references import ModelRef
from engine.models.layouts import config_of
from engine.models.single_file import CONFIGS
from engine.nodes.condition.text import encode_text
from engine.nodes.latent.empty import empty
from engine.nodes.latent.picture import decode_image
from engine.nodes.load.checkpoint import checkpoint
from engine.nodes.sample.k_sampler import k_sampler
from engine.sampling.session import Session
from tests.benchmarks.tiny_models import STARTER
from tests.families import room

Tensors = dict[str, torch.Tensor]

_RESNET = {"norm1": "in_layers.0", "conv1": "in_layers.2", "norm2": "out_layers.0", "conv2": "out_layers.3",
           "time_emb_proj": "emb_layers.1", "conv_shortcut": "skip_connection"}  # fmt: skip


def read_part(folder: Path, part: str) -> tuple[Tensors, dict[str, Any]]:
    """(tensors, configuration) of a part of a diffusers folder."""
    file = next((folder / part).glob("*.safetensors"))
    return load_file(file), json.loads((folder / part / "config.json").read_text(encoding="utf-8"))


def ldm_unet(tensors: Mapping[str, torch.Tensor], config: Mapping[str, Any]) -> Tensors:
    """A U-Net of diffusers by the names of openaimodel.py."""
    layers, levels = int(config["layers_per_block"]), len(config["block_out_channels"])
    out: Tensors = {}
    for key, value in tensors.items():
        out[_unet_name(key, layers, levels, config)] = value
    return out


def _unet_name(key: str, layers: int, levels: int, config: Mapping[str, Any]) -> str:
    for theirs, ours in (
        ("time_embedding.linear_1", "time_embed.0"), ("time_embedding.linear_2", "time_embed.2"),
        ("add_embedding.linear_1", "label_emb.0.0"), ("add_embedding.linear_2", "label_emb.0.2"),
        ("conv_in", "input_blocks.0.0"), ("conv_norm_out", "out.0"), ("conv_out", "out.2"),
    ):  # fmt: skip
        if key.startswith(f"{theirs}."):
            return key.replace(theirs, ours, 1)
    inner = re.match(r"(down_blocks|up_blocks)\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.*)", key)
    if inner is None:
        middle = re.match(r"mid_block\.(resnets|attentions)\.(\d+)\.(.*)", key)
        assert middle is not None, key
        place = 1 if middle[1] == "attentions" else 2 * int(middle[2])
        return f"middle_block.{place}.{_inside(middle[3])}"
    side, level, kind, index, rest = inner[1], int(inner[2]), inner[3], int(inner[4]), inner[5]
    if side == "down_blocks":
        if kind == "downsamplers":
            return f"input_blocks.{(level + 1) * (layers + 1)}.0.{rest.replace('conv', 'op', 1)}"
        return f"input_blocks.{level * (layers + 1) + index + 1}.{int(kind == 'attentions')}.{_inside(rest)}"
    if kind == "upsamplers":
        attended = "CrossAttn" in config["up_block_types"][level]
        return f"output_blocks.{level * (layers + 1) + layers}.{1 + attended}.{rest}"
    return f"output_blocks.{level * (layers + 1) + index}.{int(kind == 'attentions')}.{_inside(rest)}"


def _inside(rest: str) -> str:
    head, _, tail = rest.partition(".")
    return f"{_RESNET[head]}.{tail}" if head in _RESNET else rest


def ldm_vae(tensors: Mapping[str, torch.Tensor], config: Mapping[str, Any]) -> Tensors:
    """An AutoencoderKL of diffusers by the names of ldm/modules/diffusionmodules/model.py."""
    levels = len(config["block_out_channels"])
    out: Tensors = {}
    for key, value in tensors.items():
        name = key
        for theirs, ours in (
            ("mid_block.resnets.0", "mid.block_1"), ("mid_block.resnets.1", "mid.block_2"),
            ("mid_block.attentions.0", "mid.attn_1"), ("conv_norm_out", "norm_out"), ("conv_shortcut", "nin_shortcut"),
            ("group_norm", "norm"), ("to_q", "q"), ("to_k", "k"), ("to_v", "v"), ("to_out.0", "proj_out"),
            ("downsamplers.0", "downsample"), ("upsamplers.0", "upsample"),
        ):  # fmt: skip
            name = name.replace(theirs, ours)
        name = re.sub(r"encoder\.down_blocks\.(\d+)\.resnets\.(\d+)", r"encoder.down.\1.block.\2", name)
        name = re.sub(r"encoder\.down_blocks\.(\d+)\.", r"encoder.down.\1.", name)
        for level in range(levels):
            name = name.replace(f"decoder.up_blocks.{level}.resnets", f"decoder.up.{levels - 1 - level}.block")
            name = name.replace(f"decoder.up_blocks.{level}.", f"decoder.up.{levels - 1 - level}.")
        matrix = ".mid.attn_1." in name and name.endswith(".weight") and value.ndim == 2
        out[name] = value[:, :, None, None].contiguous() if matrix else value
    return out


def open_clip(tensors: Mapping[str, torch.Tensor]) -> Tensors:
    """CLIPTextModelWithProjection of transformers by the names of open_clip."""
    out: Tensors = {}
    fused: dict[str, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        name = key.removeprefix("text_model.")
        if name == "text_projection.weight":
            out["text_projection"] = value.T.contiguous()
            continue
        match = re.match(r"encoder\.layers\.(\d+)\.self_attn\.([qkv])_proj\.(weight|bias)", name)
        if match:
            fused.setdefault(f"transformer.resblocks.{match[1]}.attn.in_proj_{match[3]}", {})[match[2]] = value
            continue
        for theirs, ours in (
            ("embeddings.token_embedding.weight", "token_embedding.weight"),
            ("embeddings.position_embedding.weight", "positional_embedding"), ("final_layer_norm", "ln_final"),
            ("encoder.layers.", "transformer.resblocks."), ("self_attn.out_proj", "attn.out_proj"),
            ("layer_norm1", "ln_1"), ("layer_norm2", "ln_2"), ("mlp.fc1", "mlp.c_fc"), ("mlp.fc2", "mlp.c_proj"),
        ):  # fmt: skip
            name = name.replace(theirs, ours)
        out[name] = value
    return out | {name: torch.cat([rows["q"], rows["k"], rows["v"]]) for name, rows in fused.items()}


def clip_l(tensors: Mapping[str, torch.Tensor]) -> Tensors:
    """CLIPTextModel with the `text_model.` that files have."""
    return {f"text_model.{key.removeprefix('text_model.')}": value for key, value in tensors.items()}


def prefixed(prefix: str, tensors: Mapping[str, torch.Tensor]) -> Tensors:
    return {prefix + name: value for name, value in tensors.items()}


def checkpoint_tensors(folder: Path) -> tuple[Tensors, dict[str, Any]]:
    """(every tensor of a tiny sd15 or sdxl folder as a checkpoint in LDM layout has it, the parts' configurations)."""
    unet, unet_config = read_part(folder, "unet")
    vae, vae_config = read_part(folder, "vae")
    text, text_config = read_part(folder, "text_encoder")
    configs = {"unet": unet_config, "vae": vae_config, "text_encoder": text_config}
    out = prefixed("model.diffusion_model.", ldm_unet(unet, unet_config))
    out |= prefixed("first_stage_model.", ldm_vae(vae, vae_config))
    if (folder / "text_encoder_2").is_dir():
        second, configs["text_encoder_2"] = read_part(folder, "text_encoder_2")
        out |= prefixed("conditioner.embedders.0.transformer.", clip_l(text))
        out |= prefixed("conditioner.embedders.1.model.", open_clip(second))
    else:
        out |= prefixed("cond_stage_model.transformer.", clip_l(text))
        out["cond_stage_model.transformer.text_model.embeddings.position_ids"] = torch.arange(77)[None]
    return out, configs


def write_checkpoint(folder: Path, path: Path, **metadata: str) -> Path:
    """A tiny folder as one file in LDM layout; its unusual sizes stand in its metadata."""
    tensors, configs = checkpoint_tensors(folder)
    save_file(tensors, path, {CONFIGS: json.dumps(configs), **metadata})
    return path


# --- tiny models whose telling widths are the true ones, so that their files are known for what they are


def write_folder(folder: Path, family: str = "sd15", words: int = 0, tokenizer: Path = STARTER / "tokenizer") -> Path:
    """A tiny random sd15 or sdxl model: narrow and shallow, but with the text widths of the family.

    words      of the text encoders' vocabulary; 0: those of `tokenizer`
    """
    from diffusers import UNet2DConditionModel

    torch.manual_seed(0)
    many = words or len(json.loads((tokenizer / "vocab.json").read_text(encoding="utf-8")))
    crossed = ("CrossAttnDownBlock2D", "DownBlock2D"), ("UpBlock2D", "CrossAttnUpBlock2D")
    settings: dict[str, Any] = {"cross_attention_dim": 768, "attention_head_dim": 8}
    if family == "sdxl":
        crossed = ("DownBlock2D", "CrossAttnDownBlock2D"), ("CrossAttnUpBlock2D", "UpBlock2D")
        settings = {
            "cross_attention_dim": 2048, "attention_head_dim": (5, 8), "use_linear_projection": True,
            "addition_embed_type": "text_time", "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 6 * 8 + 1280,
        }  # fmt: skip
    UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, layers_per_block=2, block_out_channels=(320, 64),
        down_block_types=crossed[0], up_block_types=crossed[1], **settings,
    ).save_pretrained(folder / "unet")  # fmt: skip
    room.write_autoencoder(folder / "vae", scaling_factor=0.13025 if family == "sdxl" else 0.18215)
    shutil.copytree(tokenizer, folder / "tokenizer")
    _write_clip(folder / "text_encoder", many, 768)
    if family == "sdxl":
        shutil.copytree(tokenizer, folder / "tokenizer_2")
        path = folder / "tokenizer_2" / "tokenizer_config.json"
        room.write_json(path, {**room.read_json(path), "pad_token": "!"})
        _write_clip(folder / "text_encoder_2", many, 1280, projected=True)
    (folder / "scheduler").mkdir()
    config = config_of(family, "base", "scheduler")
    room.write_json(folder / "scheduler" / "scheduler_config.json", config)
    pipeline = "StableDiffusionXLPipeline" if family == "sdxl" else "StableDiffusionPipeline"
    return room.write_index(folder, pipeline)


def _write_clip(folder: Path, words: int, width: int, *, projected: bool = False) -> None:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=words, hidden_size=width, intermediate_size=16, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=77, bos_token_id=words - 2, eos_token_id=words - 1, pad_token_id=words - 1,
        projection_dim=width, hidden_act="gelu" if projected else "quick_gelu",
    )  # fmt: skip
    made: Any = (CLIPTextModelWithProjection if projected else CLIPTextModel)(config)
    made.half().save_pretrained(folder)


class At:
    """A locator of models by name in a folder, over which a session works as for nodes."""

    wants_preview = False
    node_id = "node"

    def __init__(self, **paths: Path) -> None:
        self.paths = paths
        self.session = Session(self)
        self.logs: list[str] = []

    def locate(self, ref: ModelRef) -> Path:
        return self.paths[ref.name]

    def progress(self, done: float, total: float, text: str = "") -> None: ...

    def check_cancelled(self) -> None: ...

    def log(self, text: str, level: str = "info") -> None:
        self.logs.append(text)


def picture(ctx: Any, name: str, prompt: str = "a red circle", **settings: Any) -> npt.NDArray[np.float32]:
    """What the checkpoint `name` makes of a prompt at 64 px, in 2 steps."""
    return drawn(ctx, *checkpoint(ctx, ModelRef(name=name)), prompt, **settings)


def drawn(ctx: Any, model: Any, clip: Any, vae: Any, prompt: str = "a red circle") -> npt.NDArray[np.float32]:
    """What a denoiser, text encoders and an autoencoder make together."""
    positive, negative = encode_text(ctx, clip, prompt), encode_text(ctx, clip, "")
    latent = k_sampler(ctx, model, positive, negative, empty(ctx, 64, 64, 1), seed=3, steps=2, cfg=3.0)
    return decode_image(ctx, vae, latent)
