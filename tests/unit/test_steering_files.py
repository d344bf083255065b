"""ControlNets and T2I-Adapters in one file, by the names of the original code: the session gives diffusers' network.

The files are made of diffusers' own by the renaming the other way round.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from engine.contracts.errors import BadInput
from engine.contracts.references import ModelRef
from engine.models.identify import identify
from engine.sampling.session import Session
from tests.families.room import lively

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")
_RESNET = {"norm1": "in_layers.0", "conv1": "in_layers.2", "norm2": "out_layers.0", "conv2": "out_layers.3",
           "time_emb_proj": "emb_layers.1", "conv_shortcut": "skip_connection"}  # fmt: skip
Tensors = dict[str, torch.Tensor]


class At:
    def __init__(self, **paths: Path) -> None:
        self.paths = paths

    def locate(self, ref: ModelRef) -> Path:
        return self.paths[ref.name]


def loaded(path: Path) -> Any:
    return Session(At(it=path)).other(ModelRef(kind="controlnet", name="it"))


def same(found: Any, made: Any) -> bool:
    ours, theirs = found.state_dict(), made.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in theirs)


def controlnet(family: str, **more: Any) -> Any:
    """A narrow ControlNet whose telling width is the family's."""
    from diffusers import ControlNetModel

    torch.manual_seed(0)
    attended = ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D")
    every: dict[str, dict[str, Any]] = {
        "sd15": {"cross_attention_dim": 768, "attention_head_dim": 8},
        "sd2": {"cross_attention_dim": 1024, "attention_head_dim": [5, 10, 20], "use_linear_projection": True},
        "sdxl": {
            "cross_attention_dim": 2048, "attention_head_dim": [5, 10, 20], "use_linear_projection": True,
            "addition_embed_type": "text_time", "addition_time_embed_dim": 256,
            "transformer_layers_per_block": [1, 2, 3],
            "projection_class_embeddings_input_dim": 2816,
        },
    }  # fmt: skip
    settings = every[family]
    blocks = ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D") if family == "sdxl" else attended
    widths = (160, 160, 160) if family != "sd15" else (32, 64, 64)
    made = ControlNetModel(
        down_block_types=blocks, block_out_channels=widths, layers_per_block=2,
        conditioning_embedding_out_channels=(4, 8, 8, 16), **settings | more,
    )  # fmt: skip
    return lively(made)


def ldm_control(tensors: Tensors, levels: int, layers: int = 2) -> Tensors:
    """A ControlNet of diffusers by the names of cldm.py."""
    return {f"control_model.{_control_name(key, levels, layers)}": value for key, value in tensors.items()}


def _control_name(key: str, levels: int, layers: int) -> str:
    for theirs, ours in (
        ("time_embedding.linear_1", "time_embed.0"), ("time_embedding.linear_2", "time_embed.2"),
        ("add_embedding.linear_1", "label_emb.0.0"), ("add_embedding.linear_2", "label_emb.0.2"),
        ("conv_in", "input_blocks.0.0"), ("controlnet_mid_block", "middle_block_out.0"),
        ("controlnet_cond_embedding.conv_in", "input_hint_block.0"),
        ("controlnet_cond_embedding.conv_out", "input_hint_block.14"),
    ):  # fmt: skip
        if key.startswith(f"{theirs}."):
            return key.replace(theirs, ours, 1)
    if found := re.fullmatch(r"controlnet_cond_embedding\.blocks\.(\d+)\.(.*)", key):
        return f"input_hint_block.{2 * int(found[1]) + 2}.{found[2]}"
    if found := re.fullmatch(r"controlnet_down_blocks\.(\d+)\.(.*)", key):
        return f"zero_convs.{found[1]}.0.{found[2]}"
    if found := re.fullmatch(r"mid_block\.(resnets|attentions)\.(\d)\.(.*)", key):
        place = 1 if found[1] == "attentions" else 2 * int(found[2])
        return f"middle_block.{place}.{_inside(found[3])}"
    found = re.fullmatch(r"down_blocks\.(\d+)\.(resnets|attentions|downsamplers)\.(\d+)\.(.*)", key)
    assert found
    level, layer = int(found[1]), int(found[3])
    if found[2] == "downsamplers":
        return f"input_blocks.{(level + 1) * (layers + 1)}.0.{found[4].replace('conv', 'op')}"
    number = level * (layers + 1) + layer + 1
    return f"input_blocks.{number}.{0 if found[2] == 'resnets' else 1}.{_inside(found[4])}"


def _inside(name: str) -> str:
    head, _, leaf = name.rpartition(".")
    return f"{_RESNET[head]}.{leaf}" if head in _RESNET else name


@pytest.mark.parametrize("family", ["sd15", "sd2", "sdxl"])
@pytest.mark.parametrize("layout", ["ldm", "diffusers"])
def test_a_controlnet_in_one_file_is_diffusers_own(tmp_path: Path, family: str, layout: str) -> None:
    made = controlnet(family)
    tensors = dict(made.state_dict())
    path = tmp_path / "it.safetensors"
    save_file(ldm_control(tensors, 3) if layout == "ldm" else tensors, path)
    assert (identify(path).kind, identify(path).family) == ("controlnet", family)
    found = loaded(path)
    assert same(found, made)
    assert list(found.config.down_block_types) == list(made.config.down_block_types)
    latent, words, hint = (
        torch.randn(1, 4, 8, 8),
        torch.randn(1, 3, made.config.cross_attention_dim),
        torch.rand(1, 3, 64, 64),
    )
    told = {"text_embeds": torch.randn(1, 1280), "time_ids": torch.zeros(1, 6)} if family == "sdxl" else None
    with torch.no_grad():
        ours, theirs = (
            net(latent, 500, words, hint, added_cond_kwargs=told, return_dict=False)[1] for net in (found, made.eval())
        )
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)  # mapped files are aligned otherwise


def test_a_union_controlnet_in_one_file_knows_how_many_kinds_it_has(tmp_path: Path) -> None:
    from diffusers import ControlNetUnionModel

    made = lively(ControlNetUnionModel(
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), block_out_channels=(160, 160), layers_per_block=2,
        cross_attention_dim=2048, attention_head_dim=[5, 10], use_linear_projection=True,
        addition_embed_type="text_time", addition_time_embed_dim=256, projection_class_embeddings_input_dim=2816,
        conditioning_embedding_out_channels=(4, 8, 8, 16), num_control_type=8, num_trans_channel=16, num_trans_head=8,
        num_proj_channel=16,
    ))  # fmt: skip
    path = tmp_path / "union.safetensors"
    save_file(dict(made.state_dict()), path)
    found = loaded(path)
    assert type(found).__name__ == "ControlNetUnionModel"
    assert int(found.config.num_control_type) == 8
    assert same(found, made)


def original_adapter(tensors: Tensors, light: bool, blocks: int) -> Tensors:
    """A T2I-Adapter of diffusers by the names of ldm/modules/encoders/adapter.py."""
    out: Tensors = {}
    for key, value in tensors.items():
        name = key.removeprefix("adapter.")
        if light:
            name = name.replace(".resnets.", ".body.")
        elif found := re.fullmatch(r"body\.(\d+)\.resnets\.(\d+)\.(.*)", name):
            name = f"body.{int(found[1]) * blocks + int(found[2])}.{found[3]}"
        elif found := re.fullmatch(r"body\.(\d+)\.in_conv\.(.*)", name):
            name = f"body.{int(found[1]) * blocks}.in_conv.{found[2]}"
        out[name] = value
    return out


@pytest.mark.parametrize("layout", ["original", "diffusers"])
@pytest.mark.parametrize(
    ("kind", "inputs", "family", "settings"),
    [
        ("full_adapter", 3, "sd15", {"channels": [8, 16, 24, 24], "downscale_factor": 8}),
        ("full_adapter", 1, "sd15", {"channels": [8, 16, 24, 24], "downscale_factor": 8}),
        ("full_adapter_xl", 3, "sdxl", {"channels": [8, 16, 24, 24], "downscale_factor": 16}),
        ("light_adapter", 3, "sd15", {"channels": [8, 16, 24], "downscale_factor": 8, "num_res_blocks": 4}),
    ],
)
def test_an_adapter_in_one_file_is_diffusers_own(
    tmp_path: Path, layout: str, kind: str, inputs: int, family: str, settings: dict[str, Any]
) -> None:
    from diffusers import T2IAdapter

    torch.manual_seed(0)
    made = T2IAdapter(in_channels=inputs, adapter_type=kind, **{"num_res_blocks": 2, **settings}).eval()
    tensors = dict(made.state_dict())
    path = tmp_path / "it.safetensors"
    light = kind == "light_adapter"
    if layout == "original":
        tensors = original_adapter(tensors, light, settings.get("num_res_blocks", 2))
    save_file(tensors, path)
    assert (identify(path).kind, identify(path).family) == ("t2i_adapter", family)
    found = loaded(path)
    assert same(found, made)
    picture = torch.rand(1, inputs, 64, 64)
    with torch.no_grad():
        for ours, theirs in zip(found(picture), made(picture), strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_kinds_that_are_not_read_from_one_file_say_so(tmp_path: Path) -> None:
    path = tmp_path / "style.safetensors"
    save_file(
        {"style_embedding": torch.zeros(1, 8, 8), "transformer_layes.0.attn.in_proj_weight": torch.zeros(24, 8)}, path
    )
    with pytest.raises(BadInput, match="is not read from one file"):
        loaded(path)
