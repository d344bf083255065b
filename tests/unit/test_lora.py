"""LoRAs on the starter's UNet and text encoder: exact for each layout, stacked, and gone without a trace."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from engine.contracts.errors import InvalidRequest, MissingModel, UnsafeModel
from engine.contracts.references import ModelRef
from engine.models.adapters.apply import Applied, adapted
from engine.models.adapters.read import read_adapter
from engine.nodes.condition.text import encode_text
from engine.nodes.latent.empty import empty
from engine.nodes.load.checkpoint import checkpoint
from engine.nodes.load.parts import lora, lora_model_only
from engine.nodes.sample.k_sampler import k_sampler
from tests.benchmarks.tiny_models import STARTER
from tests.unit.sampling_room import Recorder

SETTINGS: dict[str, Any] = {"seed": 7, "steps": 2, "cfg": 4.0, "sampler": "ddim", "scheduler": "normal"}
RANK, ALPHA = 3, 1.5


class Library(Recorder):
    """The starter, and LoRA files by name in a folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(STARTER)
        self.loras = folder

    def locate(self, ref: ModelRef) -> Path:
        if ref.kind != "lora":
            return STARTER
        path = self.loras / f"{ref.name}.safetensors"
        if not path.exists():
            raise MissingModel(f"there is no LoRA “{ref.name}”")
        return path


def ref(name: str) -> ModelRef:
    return ModelRef(kind="lora", name=name)


def layers_of(module: Any, ends: tuple[str, ...], count: int = 4) -> list[tuple[str, torch.Tensor]]:
    found = [(n, p) for n, p in module.named_parameters() if n.endswith(ends) and p.ndim >= 2]
    return [(name.removesuffix(".weight"), weight) for name, weight in found[:count]]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Four files with the same change in four layouts, and what it does to each weight."""
    folder = tmp_path_factory.mktemp("loras")
    ctx: Any = Library(folder)
    family = ctx.session.family(checkpoint(ctx)[0].weights)
    unet, encoder = family._parts("unet"), family._parts("text_encoder")
    generator = torch.Generator().manual_seed(1)
    ctx.changes = {"unet": {}, "text_encoder": {}}
    files: dict[str, dict[str, torch.Tensor]] = {"kohya": {}, "peft": {}, "diffusers": {}, "old": {}}
    attention = layers_of(unet, ("attn1.to_q.weight", "attn2.to_out.0.weight"))
    convolutions = layers_of(unet, ("conv1.weight",), 1)
    text = layers_of(encoder, ("q_proj.weight", "fc1.weight"))
    for part, name, weight in [("unet", *x) for x in attention + convolutions] + [("text_encoder", *x) for x in text]:
        down = torch.randn((RANK, *weight.shape[1:]), generator=generator) * 0.2
        up = torch.randn((weight.shape[0], RANK, *[1] * (weight.ndim - 2)), generator=generator) * 0.2
        ctx.changes[part][f"{name}.weight"] = (up.flatten(1) @ down.flatten(1)).reshape(weight.shape)
        inner = name if part == "unet" else "text_model." + name.removeprefix("text_model.")
        flat = ("lora_unet_" if part == "unet" else "lora_te_") + inner.replace(".", "_")
        files["kohya"] |= {
            f"{flat}.lora_down.weight": down, f"{flat}.lora_up.weight": up, f"{flat}.alpha": torch.tensor(ALPHA),
        }  # fmt: skip
        dotted = f"{part}.{inner}"
        files["peft"] |= {
            f"base_model.model.{dotted}.lora_A.weight": down, f"base_model.model.{dotted}.lora_B.weight": up,
        }  # fmt: skip
        files["diffusers"] |= {f"{dotted}.lora.down.weight": down, f"{dotted}.lora.up.weight": up}
        if part == "unet" and "attn" in name:
            old = dotted.replace(".to_out.0", ".processor.to_out_lora").replace(".to_q", ".processor.to_q_lora")
            files["old"] |= {f"{old}.down.weight": down, f"{old}.up.weight": up}
    for name, tensors in files.items():
        save_file({key: value.contiguous() for key, value in tensors.items()}, folder / f"{name}.safetensors")
    return ctx


@pytest.mark.parametrize(
    ("layout", "scale"), [("kohya", ALPHA / RANK), ("peft", 1.0), ("diffusers", 1.0), ("old", 1.0)]
)
@pytest.mark.parametrize("strength", [1.0, -0.7])
def test_merging_is_exact(library: Any, layout: str, scale: float, strength: float) -> None:
    family = library.session.family(checkpoint(library)[0].weights)
    file = read_adapter(library.loras / f"{layout}.safetensors")
    seen = 0
    for part in ("unet", "text_encoder"):
        module = family._parts(part)
        found = adapted(module, part, [Applied(file, strength)])
        masters = dict(module.named_parameters())
        for key, weight in found.items():
            expected = masters[key].double() + strength * scale * library.changes[part][key].double()
            assert float((weight.double() - expected).abs().max()) <= 1e-6, key
        seen += len(found)
    assert seen == (9 if layout != "old" else 4)


def pictures(ctx: Any, model: Any, clip: Any) -> tuple[Any, Any]:
    positive, negative = encode_text(ctx, clip, "a red circle"), encode_text(ctx, clip, "")
    latent = k_sampler(ctx, model, positive, negative, empty(ctx, 64, 64), **SETTINGS)
    return positive[0].embedding, latent.samples


def test_a_lora_changes_model_and_words_and_leaves_no_trace(library: Any) -> None:
    model, clip, _ = checkpoint(library)
    family = library.session.family(model.weights)
    masters = {n: p.clone() for n, p in family._parts("unet").named_parameters()}
    words, latent = pictures(library, model, clip)
    for _ in range(3):
        with_model, with_clip = lora(library, model, clip, ref("kohya"), 1.0, 0.5)
        changed_words, changed = pictures(library, with_model, with_clip)
        assert not torch.equal(changed_words, words)
        assert not torch.equal(changed, latent)
        again = pictures(library, model, clip)
        assert torch.equal(again[0], words)
        assert torch.equal(again[1], latent)
    assert all(torch.equal(p, masters[n]) for n, p in family._parts("unet").named_parameters())


def test_strength_zero_is_no_lora_at_all(library: Any) -> None:
    model, clip, _ = checkpoint(library)
    assert lora(library, model, clip, ref("kohya"), 0.0, 0.0) == (model, clip)
    only = lora_model_only(library, model, ref("peft"), 0.8)
    assert [dict(p.settings)["strength"] for p in only.patches] == [0.8]
    assert dict(only.patches[0].settings)["weights"].fingerprint


def test_a_stack_adds_up_and_opposites_cancel(library: Any) -> None:
    model, _, _ = checkpoint(library)
    family = library.session.family(model.weights)
    file = read_adapter(library.loras / "peft.safetensors")
    unet = family._parts("unet")
    twice = adapted(unet, "unet", [Applied(file, 0.5), Applied(file, 0.5)])
    once = adapted(unet, "unet", [Applied(file, 1.0)])
    away = adapted(unet, "unet", [Applied(file, 1.0), Applied(file, -1.0)])
    for key, master in ((k, dict(unet.named_parameters())[k]) for k in once):
        np.testing.assert_allclose(twice[key], once[key], atol=1e-6)
        np.testing.assert_allclose(away[key], master, atol=1e-6)


@pytest.mark.parametrize(
    ("tensors", "sentence"),
    [
        ({"lora_unet_nowhere.lora_down.weight": (2, 4), "lora_unet_nowhere.lora_up.weight": (4, 2)}, "does not have"),
        ({"lora_unet_a.hada_w1_a": (2, 2)}, "is not whole"),
        ({"lora_unet_a.oft_blocks": (2, 2)}, "is an OFT"),
        ({"lora_unet_a.dora_scale": (2, 2)}, "is not whole"),
        ({"lora_unet_a.lora_down.weight": (2, 2)}, "is not whole"),
        ({"model.weight": (2, 2)}, "belongs to no LoRA layout"),
    ],
)
def test_a_lora_that_does_not_fit_is_one_sentence(
    library: Any, tensors: dict[str, tuple[int, ...]], sentence: str
) -> None:
    save_file({k: torch.zeros(s) for k, s in tensors.items()}, library.loras / "odd.safetensors")
    model, clip, _ = checkpoint(library)
    patched, _ = lora(library, model, clip, ref("odd"))
    positive = encode_text(library, clip, "red")
    with pytest.raises(InvalidRequest, match=sentence):
        k_sampler(library, patched, positive, positive, empty(library, 64, 64), **SETTINGS)


def test_a_pickle_is_never_read(tmp_path: Path) -> None:
    (tmp_path / "x.pt").write_bytes(b"cposix\nsystem\n")
    with pytest.raises(UnsafeModel, match="safetensors only"):
        read_adapter(tmp_path / "x.pt")


def test_a_missing_lora_is_named(library: Any) -> None:
    model, clip, _ = checkpoint(library)
    with pytest.raises(MissingModel, match="no LoRA “gone”"):
        lora(library, model, clip, replace(ref("gone")))
