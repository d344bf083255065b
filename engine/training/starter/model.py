"""The parts of a starter model: made new by a preset, read from and written to an ordinary diffusers folder."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.training.starter import tokenizer as starter_tokenizer
from engine.training.starter.scenes import SceneMix

NOISE: dict[str, Any] = {
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.02,
    "num_train_timesteps": 1000,
    "prediction_type": "v_prediction",
    "clip_sample": False,
}
"""The noise schedule, in the words of diffusers' schedulers: Stable Diffusion's, with v-prediction."""

EXTRA_FILES = ("tessera.json", "README.md", "LICENSE")
"""What stands beside the parts in a shipped folder."""


@dataclass(frozen=True)
class Preset:
    """How large a model is, and how it is trained."""

    size: int
    autoencoder_channels: tuple[int, ...]
    denoiser_channels: tuple[int, ...]
    layers: int
    heads: int
    text_width: int
    text_layers: int
    batch: int
    learning_rate: float
    pool: int
    """Latents kept to draw batches from; renewed as training goes on."""
    mix: SceneMix = field(default_factory=SceneMix)


PRESETS = {
    "small": Preset(128, (16, 32, 64, 64), (48, 96, 128), 1, 4, 128, 2, batch=16, learning_rate=4e-4, pool=8_000),
    "large": Preset(256, (32, 64, 128, 128), (96, 192, 256), 2, 8, 256, 4, 256, learning_rate=6e-4, pool=60_000),
    "tiny": Preset(32, (8, 8, 8, 8), (8, 16), 1, 2, 16, 1, batch=2, learning_rate=1e-3, pool=16),
}
"""small: 128 px, for CPUs. large: 256 px, some 25 million parameters, for a GPU. tiny: for tests."""


@dataclass
class Parts:
    """The networks of a starter model, in float32, and its tokenizer."""

    tokenizer: Any
    text_encoder: Any
    vae: Any
    unet: Any

    @property
    def size(self) -> int:
        """Edge of its pictures in pixels."""
        return int(self.vae.config.sample_size)

    @property
    def scaling(self) -> float:
        """What a latent is multiplied by so that its standard deviation is about one."""
        return float(self.vae.config.scaling_factor)

    def token_ids(self, captions: list[str]) -> Any:
        """int64 [len(captions), 40]."""
        import torch

        length = starter_tokenizer.MAX_LENGTH
        tokens = self.tokenizer(captions, padding="max_length", max_length=length, truncation=True)
        return torch.tensor(tokens.input_ids)


def create(preset: Preset, scratch: Path) -> Parts:
    """New parts with random weights. `scratch`: a folder for the tokenizer's files."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    tokenizer = starter_tokenizer.build(scratch)
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=preset.text_width,
            intermediate_size=3 * preset.text_width,
            projection_dim=preset.text_width,
            num_hidden_layers=preset.text_layers,
            num_attention_heads=preset.heads,
            max_position_embeddings=starter_tokenizer.MAX_LENGTH,
            hidden_act="gelu",
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    levels = len(preset.autoencoder_channels)
    vae = AutoencoderKL(
        block_out_channels=preset.autoencoder_channels,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=1,
        mid_block_add_attention=False,
        sample_size=preset.size,
    )
    start_as_pooling(vae)
    attending = len(preset.denoiser_channels) - 1
    unet = UNet2DConditionModel(
        sample_size=preset.size // 2 ** (levels - 1),
        block_out_channels=preset.denoiser_channels,
        down_block_types=("DownBlock2D", *("CrossAttnDownBlock2D",) * attending),
        up_block_types=(*("CrossAttnUpBlock2D",) * attending, "UpBlock2D"),
        layers_per_block=preset.layers,
        cross_attention_dim=preset.text_width,
        attention_head_dim=preset.heads,  # diffusers' name for the number of heads
        norm_num_groups=4,
    )
    return Parts(tokenizer, text_encoder, vae, unet)


def load(folder: Path) -> Parts:
    """The parts of a diffusers folder, in float32."""
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer

    options: dict[str, Any] = {"dtype": torch.float32, "local_files_only": True}
    return Parts(
        CLIPTokenizer.from_pretrained(str(folder / "tokenizer"), local_files_only=True),
        CLIPTextModel.from_pretrained(str(folder / "text_encoder"), dtype=torch.float32, local_files_only=True),
        AutoencoderKL.from_pretrained(str(folder / "vae"), **options),
        UNet2DConditionModel.from_pretrained(str(folder / "unet"), **options),
    )


def save(parts: Parts, folder: Path, *, half: bool = False) -> None:
    """Write a diffusers folder; it appears whole or not at all. `half`: weights in float16. `parts` are not changed."""
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    fresh = folder.with_name(folder.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    scheduler = DDIMScheduler(**NOISE, set_alpha_to_one=False, steps_offset=1, timestep_spacing="trailing")
    text_encoder, vae, unet = parts.text_encoder, parts.vae, parts.unet
    if half:
        import copy

        text_encoder, vae, unet = (copy.deepcopy(part).half() for part in (text_encoder, vae, unet))
    StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=parts.tokenizer,
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(str(fresh))
    _write_tokenizer_tables(fresh / "tokenizer")
    for part in ("unet", "vae"):
        forget_origin(fresh / part / "config.json")
    replace_folder(fresh, folder)


def replace_folder(fresh: Path, folder: Path) -> None:
    """Put `fresh` in the place of `folder`; an interruption leaves one of them whole."""
    old = folder.with_name(folder.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def forget_origin(config: Path) -> None:
    """diffusers writes the folder that a part was loaded from; it is this machine's business and changes nothing."""
    settings = json.loads(config.read_text(encoding="utf-8"))
    settings.pop("_name_or_path", None)
    config.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def _write_tokenizer_tables(folder: Path) -> None:
    """vocab.json and merges.txt, which `save_pretrained` leaves out and other programs read."""
    table = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    (folder / "vocab.json").write_text(json.dumps(table["vocab"], ensure_ascii=False), encoding="utf-8")
    lines = [pair if isinstance(pair, str) else " ".join(pair) for pair in table["merges"]]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *lines]) + "\n", encoding="utf-8")


def start_as_pooling(vae: Any) -> None:
    """Set a new AutoencoderKL so that it averages blocks of pixels, and repeats them when decoding.

    Residual branches are zero and the skip path carries the picture: both signs of each colour in six channels. From
    there the reconstruction error after 200 steps is a quarter of that from the default start.
    """
    import torch

    with torch.no_grad():
        for name, parameter in vae.named_parameters():
            if ".conv2." in name:
                parameter.zero_()
        for name, module in vae.named_modules():
            if name.endswith("conv_shortcut") or ("upsamplers" in name and name.endswith(".conv")):
                _pass_through(module.weight)
            elif "downsamplers" in name and name.endswith(".conv"):
                _average_pairs(module.weight)
        for entry in (vae.encoder.conv_in, vae.decoder.conv_in):
            entry.weight[:7].mul_(0.1)
            for channel in range(3):
                entry.weight[channel, channel, 1, 1] += 1
                entry.weight[channel + 3, channel, 1, 1] -= 1
            entry.bias[6] = 1.0
        end = vae.encoder.conv_out
        end.weight.mul_(0.3)
        end.bias.zero_()
        for channel in range(3):
            end.weight[channel, :6].mul_(0.1)
            end.weight[channel, channel, 1, 1] += 1
            end.weight[channel, channel + 3, 1, 1] -= 1
        end.weight[4:].mul_(0.1)
        end.bias[4:] = -5.0  # logarithm of the variance: start almost without noise
        end = vae.decoder.conv_out
        end.weight.mul_(0.1)
        end.bias.zero_()
        for channel in range(3):
            end.weight[channel, channel, 1, 1] += 0.5
            end.weight[channel, channel + 3, 1, 1] -= 0.5
        for projection in (vae.quant_conv, vae.post_quant_conv):
            projection.weight.mul_(0.05)
            projection.bias.zero_()
            diagonal = range(len(projection.weight))
            projection.weight[diagonal, diagonal, 0, 0] += 1


def _pass_through(weight: Any) -> None:
    weight.mul_(0.25)
    middle = weight.shape[2] // 2
    for channel in range(min(weight.shape[:2])):
        weight[channel, channel, middle, middle] += 1


def _average_pairs(weight: Any) -> None:
    weight.mul_(0.25)
    for channel in range(min(weight.shape[:2])):
        weight[channel, channel, 0:2, 0:2] += 0.25
