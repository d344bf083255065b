"""LoRA arithmetic against formulas written down again in double precision, for every layout and form."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from safetensors.torch import save_file

from engine.contracts.errors import InvalidRequest
from engine.models.adapters.apply import Applied, adapted, layer_names
from engine.models.adapters.blocks import block_of, read_blocks, weight_of_block
from engine.models.adapters.read import adapter_of, read_adapter

Tensors = dict[str, torch.Tensor]
Floats = npt.NDArray[np.float64]
RANK, ALPHA, STRENGTH = 4, 2.0, 0.7
LINEAR, CONV = "down_blocks.0.attentions.0.to_q", "down_blocks.0.resnets.0.conv1"


class Net(torch.nn.Module):
    """A linear layer and a 3×3 convolution under the names a U-Net has for them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.down_blocks = torch.nn.ModuleList([torch.nn.Module()])
        block: Any = self.down_blocks[0]
        attention, resnet = torch.nn.Module(), torch.nn.Module()
        attention.to_q = torch.nn.Linear(12, 8)
        resnet.conv1 = torch.nn.Conv2d(6, 8, 3)
        block.attentions = torch.nn.ModuleList([attention])
        block.resnets = torch.nn.ModuleList([resnet])


@pytest.fixture
def net() -> Net:
    return Net().requires_grad_(False)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape))) * 0.3


def d(tensor: torch.Tensor) -> Floats:
    return tensor.double().numpy()


def kohya(layer: str) -> str:
    return "lora_unet_" + layer.replace(".", "_")


def lora(weight: torch.Tensor, style: str, layer: str, *, dora: bool = False) -> tuple[Tensors, Floats]:
    """The tensors of a LoRA in a layout, and what it must make of the weight at strength 1, in double precision."""
    out, rest = weight.shape[0], weight.shape[1:]
    down, up = random(RANK, *rest), random(out, RANK, *[1] * (weight.ndim - 2), seed=1)
    change = (d(up).reshape(out, RANK) @ d(down).reshape(RANK, -1)).reshape(weight.shape)
    names = {
        "kohya": (f"{kohya(layer)}.lora_down.weight", f"{kohya(layer)}.lora_up.weight", f"{kohya(layer)}."),
        "diffusers": (f"unet.{layer}.lora.down.weight", f"unet.{layer}.lora.up.weight", f"unet.{layer}."),
        "peft": (f"base_model.model.{layer}.lora_A.weight", f"base_model.model.{layer}.lora_B.weight",
                 f"base_model.model.{layer}."),
        "comfyui": (f"diffusion_model.{layer}.lora_down.weight", f"diffusion_model.{layer}.lora_up.weight",
                    f"diffusion_model.{layer}."),
    }[style]  # fmt: skip
    tensors = {names[0]: down, names[1]: up}
    if style in ("kohya", "comfyui"):
        tensors[f"{names[2]}alpha"] = torch.tensor(ALPHA)
        change *= ALPHA / RANK
    wanted = d(weight) + change
    if dora:
        magnitude = random(out, seed=5).abs() + 0.5
        tensors[f"{names[2]}{'lora_magnitude_vector' if style == 'peft' else 'dora_scale'}"] = (
            magnitude if style == "peft" else magnitude.reshape(out, *[1] * (weight.ndim - 1))
        )
        lengths = np.sqrt((wanted.reshape(out, -1) ** 2).sum(1))
        wanted = wanted * (d(magnitude) / lengths).reshape(out, *[1] * (weight.ndim - 1))
    return tensors, wanted


def loha(weight: torch.Tensor, layer: str, *, core: bool = False) -> tuple[Tensors, Floats]:
    out, inner = weight.shape[0], int(np.prod(weight.shape[1:]))
    name = kohya(layer)
    if not core:
        parts = [random(out, RANK), random(RANK, inner, seed=1), random(out, RANK, seed=2), random(RANK, inner, seed=3)]
        change = (d(parts[0]) @ d(parts[1])) * (d(parts[2]) @ d(parts[3]))
        tensors = dict(zip(("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"), parts, strict=True))
    else:
        kernel = weight.shape[2:]
        parts = [random(RANK, out), random(RANK, weight.shape[1], seed=1), random(RANK, out, seed=2),
                 random(RANK, weight.shape[1], seed=3)]  # fmt: skip
        cores = [random(RANK, RANK, *kernel, seed=4), random(RANK, RANK, *kernel, seed=5)]
        halves = []
        for t, a, b in ((cores[0], parts[0], parts[1]), (cores[1], parts[2], parts[3])):
            half = np.zeros(weight.shape)
            for i in range(RANK):
                for j in range(RANK):
                    half += d(a)[i][:, None, None, None] * d(b)[j][None, :, None, None] * d(t)[i, j][None, None]
            halves.append(half)
        change = halves[0] * halves[1]
        tensors = dict(zip(("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"), parts, strict=True))
        tensors |= {"hada_t1": cores[0], "hada_t2": cores[1]}
    named = {f"{name}.{role}": tensor for role, tensor in tensors.items()} | {f"{name}.alpha": torch.tensor(ALPHA)}
    return named, d(weight) + change.reshape(weight.shape) * ALPHA / RANK


def lokr(weight: torch.Tensor, layer: str, form: str) -> tuple[Tensors, Floats]:
    """W₁ is 2×2 (of the first two axes), W₂ the rest; "whole" has no rank and so no α."""
    name = kohya(layer)
    first = random(2, 2)
    second_shape = (weight.shape[0] // 2, weight.shape[1] // 2, *weight.shape[2:])
    tensors: Tensors = {"lokr_w1": first, "alpha": torch.tensor(ALPHA)}
    if form == "whole":
        second = random(*second_shape, seed=1)
        tensors["lokr_w2"], scale = second, 1.0
    else:
        a, b = random(second_shape[0], RANK, seed=1), random(RANK, int(np.prod(second_shape[1:])), seed=2)
        tensors |= {"lokr_w2_a": a, "lokr_w2_b": b.reshape(RANK, *second_shape[1:]) if weight.ndim == 2 else b}
        second, scale = (a @ b).reshape(second_shape), ALPHA / RANK
    change = np.zeros(weight.shape)
    p, q = second_shape[:2]
    for i in range(2):
        for j in range(2):
            change[i * p : (i + 1) * p, j * q : (j + 1) * q] = d(first)[i, j] * d(second)
    return {f"{name}.{role}": tensor for role, tensor in tensors.items()}, d(weight) + change * scale


CASES: dict[str, tuple[str, Callable[[torch.Tensor, str], tuple[Tensors, Floats]]]] = {
    **{f"{style} {kind}": (layer, lambda w, at, s=style: lora(w, s, at))  # type: ignore[misc]
       for style in ("kohya", "diffusers", "peft", "comfyui") for kind, layer in (("linear", LINEAR), ("conv", CONV))},
    **{f"DoRA {style} {kind}": (layer, lambda w, at, s=style: lora(w, s, at, dora=True))  # type: ignore[misc]
       for style, kind, layer in (("kohya", "linear", LINEAR), ("peft", "linear", LINEAR), ("kohya", "conv", CONV))},
    "LoHa linear": (LINEAR, loha),
    "LoHa conv": (CONV, loha),
    "LoHa conv with cores": (CONV, lambda w, at: loha(w, at, core=True)),
    "LoKr whole": (LINEAR, lambda w, at: lokr(w, at, "whole")),
    "LoKr low-rank": (LINEAR, lambda w, at: lokr(w, at, "low-rank")),
    "LoKr conv whole": (CONV, lambda w, at: lokr(w, at, "whole")),
    "whole difference": (CONV, lambda w, at: ({f"{kohya(at)}.diff": random(*w.shape)}, d(w) + d(random(*w.shape)))),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("strength", [1.0, STRENGTH, -1.0])
def test_merged_equals_the_formula(net: Net, case: str, strength: float) -> None:
    layer, make = CASES[case]
    weight = dict(net.named_parameters())[f"{layer}.weight"]
    tensors, wanted = make(weight, layer)
    found = adapted(net, "unet", [Applied(adapter_of(tensors, case), strength)])
    assert set(found) == {f"{layer}.weight"}
    expected = d(weight) + strength * (wanted - d(weight))
    assert np.abs(d(found[f"{layer}.weight"]) - expected).max() <= 1e-6


def test_a_stack_is_summed_before_it_is_rounded(net: Net) -> None:
    """In bfloat16 a hundred small changes would each be rounded away; their sum is not."""
    half = Net().bfloat16().requires_grad_(False)
    weight = dict(half.named_parameters())[f"{LINEAR}.weight"]
    tensors, wanted = lora(weight, "kohya", LINEAR)
    one = adapter_of(tensors, "one")
    found = adapted(half, "unet", [Applied(one, 0.01)] * 100)[f"{LINEAR}.weight"]
    once = adapted(half, "unet", [Applied(one, 1.0)])[f"{LINEAR}.weight"]
    assert float((found.float() - once.float()).abs().max()) <= 2**-8
    assert np.abs(d(once) - wanted).max() <= np.abs(wanted).max() * 2**-8


def test_added_and_removed_a_hundred_times_the_masters_are_the_same_bytes(net: Net) -> None:
    before = {name: parameter.clone() for name, parameter in net.named_parameters()}
    tensors, _ = lora(before[f"{LINEAR}.weight"], "kohya", LINEAR, dora=True)
    adapter = adapter_of(tensors, "one")
    for _ in range(100):
        assert adapted(net, "unet", [Applied(adapter, 1.0)])
        assert adapted(net, "unet", []) == {}
    assert all(torch.equal(parameter, before[name]) for name, parameter in net.named_parameters())


def test_biases_and_norms_that_came_with_it_count(net: Net) -> None:
    bias = random(8)
    adapter = adapter_of({f"{kohya(LINEAR)}.diff_b": bias, f"{kohya(CONV)}.w_norm": random(8, 6, 3, 3)}, "n")
    found = adapted(net, "unet", [Applied(adapter, 0.5)])
    own = dict(net.named_parameters())
    assert torch.allclose(found[f"{LINEAR}.bias"], own[f"{LINEAR}.bias"] + 0.5 * bias, atol=1e-7)
    assert torch.allclose(found[f"{CONV}.weight"], own[f"{CONV}.weight"] + 0.5 * random(8, 6, 3, 3), atol=1e-7)


def test_blocks_have_weights_of_their_own(net: Net) -> None:
    own = dict(net.named_parameters())
    tensors = lora(own[f"{LINEAR}.weight"], "kohya", LINEAR)[0] | lora(own[f"{CONV}.weight"], "kohya", CONV)[0]
    adapter = adapter_of(tensors, "one")
    whole = adapted(net, "unet", [Applied(adapter, 1.0)])
    assert adapted(net, "unet", [Applied(adapter, 1.0, (("IN*", 0.0),))]) == {}
    half = adapted(net, "unet", [Applied(adapter, 1.0, read_blocks("all:0, in01: 0.5"))])
    for key in whole:
        assert torch.allclose(half[key] - own[key], (whole[key] - own[key]) * 0.5, atol=1e-6)


@pytest.mark.parametrize(
    ("target", "block"),
    [
        ("conv_in", "IN00"), ("down_blocks.0.attentions.1.proj_in", "IN02"),
        ("down_blocks.0.downsamplers.0.conv", "IN03"),
        ("down_blocks.3.resnets.1.conv1", "IN11"), ("mid_block.attentions.0.proj_in", "MID"),
        ("up_blocks.0.resnets.0.conv1", "OUT00"), ("up_blocks.3.attentions.2.proj_in", "OUT11"),
        ("up_blocks.1.upsamplers.0.conv", "OUT05"), ("transformer_blocks.18.attn.to_q", "D18"),
        ("single_transformer_blocks.37.proj_mlp", "S37"), ("layers.3.attention.to_q", "L03"),
        ("text_model.encoder.layers.0.mlp.fc1", "BASE"), ("time_embedding.linear_1", "BASE"),
    ],
)  # fmt: skip
def test_blocks_are_named_as_people_know_them(target: str, block: str) -> None:
    assert block_of(target) == block


def test_the_nearest_name_of_a_block_wins() -> None:
    weights = read_blocks("ALL:0.1, IN*:0.2\nIN04:0.3; D*:2")
    assert [weight_of_block(b, weights) for b in ("IN04", "IN05", "MID", "D07")] == [0.3, 0.2, 0.1, 2.0]
    for wrong in ("IN4:1", "IN04", "IN04:x", "IN04:1000", "NOPE:1"):
        with pytest.raises(InvalidRequest, match="is no block with a weight"):
            read_blocks(wrong)


def flux_like() -> Any:
    """Two Flux blocks, 8 wide, as diffusers has them; the original keeps q, k, v (and the MLP) in one matrix."""
    import diffusers

    torch.manual_seed(0)
    model = diffusers.FluxTransformer2DModel(
        patch_size=1, in_channels=4, num_layers=1, num_single_layers=1, attention_head_dim=4, num_attention_heads=2,
        joint_attention_dim=8, pooled_projection_dim=8, axes_dims_rope=(2, 2, 0),
    )  # fmt: skip
    return model.requires_grad_(False)


def test_fused_matrices_of_the_original_are_shared_out() -> None:
    model = flux_like()
    own = dict(model.named_parameters())
    qkv = {"lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight": random(RANK, 8),
           "lora_unet_double_blocks_0_img_attn_qkv.lora_up.weight": random(24, RANK, seed=1)}  # fmt: skip
    linear1 = {"lora_unet_single_blocks_0_linear1.lora_down.weight": random(RANK, 8, seed=3),
               "lora_unet_single_blocks_0_linear1.lora_up.weight": random(56, RANK, seed=4)}  # fmt: skip
    found = adapted(model, "transformer", [Applied(adapter_of(qkv | linear1, "f"), 1.0)], "flux")
    down, up = qkv.values()
    change = up @ down
    for index, name in enumerate(("to_q", "to_k", "to_v")):
        key = f"transformer_blocks.0.attn.{name}.weight"
        assert torch.allclose(found[key] - own[key], change[8 * index : 8 * index + 8], atol=1e-6)
    down, up = linear1.values()
    change = up @ down
    key = "single_transformer_blocks.0.proj_mlp.weight"
    assert torch.allclose(found[key] - own[key], change[24:], atol=1e-6)
    assert len(found) == 7


def test_xlabs_processors_are_read() -> None:
    model = flux_like()
    tensors = {"double_blocks.0.processor.qkv_lora2.down.weight": random(RANK, 8),
               "double_blocks.0.processor.qkv_lora2.up.weight": random(24, RANK)}  # fmt: skip
    found = adapted(model, "transformer", [Applied(adapter_of(tensors, "x"), 1.0)], "flux")
    assert set(found) == {f"transformer_blocks.0.attn.add_{n}_proj.weight" for n in "qkv"}


def test_names_of_both_layouts_lead_to_the_module() -> None:
    names = layer_names(flux_like(), "transformer", "flux")
    assert names["double_blocks_0_img_attn_proj"][0].target == "transformer_blocks.0.attn.to_out.0"
    assert names["transformer_blocks_0_attn_to_out_0"][0].target == "transformer_blocks.0.attn.to_out.0"


@pytest.mark.parametrize(
    ("tensors", "sentence"),
    [
        ({"lora_unet_nowhere.lora_down.weight": (2, 4), "lora_unet_nowhere.lora_up.weight": (4, 2)}, "does not have"),
        ({"lora_unet_a.lora_down.weight": (2, 2)}, "is not whole"),
        ({"lora_unet_a.lokr_w1": (2, 2)}, "is not whole"),
        ({"lora_unet_a.oft_blocks": (2, 2)}, "is an OFT"),
        ({"model.weight": (2, 2)}, "belongs to no LoRA layout"),
        ({f"{kohya(LINEAR)}.lora_down.weight": (2, 5), f"{kohya(LINEAR)}.lora_up.weight": (8, 2)}, "is 8×5 and the"),
        ({}, "there is no LoRA layer"),
    ],
)
def test_what_does_not_fit_is_one_sentence(
    net: Net, tmp_path: Path, tensors: dict[str, tuple[int, ...]], sentence: str
) -> None:
    save_file({key: torch.zeros(shape) for key, shape in tensors.items()}, tmp_path / "odd.safetensors")
    with pytest.raises(InvalidRequest, match=sentence):
        adapted(net, "unet", [Applied(read_adapter(tmp_path / "odd.safetensors"), 1.0)])
