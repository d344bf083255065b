"""Entities (EliGen) and LoRAs of single prompts, family by family: done where it can be, else refused in a sentence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from engine.contracts.errors import InvalidRequest
from engine.contracts.references import ModelRef
from engine.control.regions import attention_mask
from engine.families.entities import entity_words, lengths_of, regions_of
from engine.families.qwen_entities import EntityAttention, attending_by
from engine.graph.values import Conditioning, ConditioningEntry, Patch
from engine.nodes.condition.region import entity, prompt_lora, region
from engine.nodes.condition.shape import reference_latent, with_extra
from engine.nodes.condition.text import encode_text
from engine.nodes.latent.empty import empty
from engine.nodes.latent.picture import encode_image
from engine.nodes.sample.k_sampler import k_sampler
from tests.families import room
from tests.unit.sampling_room import Recorder, handles

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
CTX: Any = None
EDGE = room.EDGE
TRANSFORMERS = ("sd3", "flux", "chroma", "qwen_image", "z_image", "flux2")
Opened = Callable[[str], room.Tiny]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    """A family → its tiny model in fp32, written once."""
    made: dict[str, room.Tiny] = {}

    def tiny(family: str) -> room.Tiny:
        if family not in made:
            torch.manual_seed(0)
            made[family] = room.Tiny(room.family_module(family).tiny(tmp_path_factory.mktemp(family)), family)
        return made[family]

    return tiny


def prompt(tiny: room.Tiny, text: str = room.PROMPT) -> Conditioning:
    return encode_text(tiny.ctx, tiny.handles()[1], text)


def sampled(tiny: room.Tiny, positive: Conditioning, **more: Any) -> torch.Tensor:
    settings = {"seed": 3, "steps": 2, "cfg": 3.0, "sampler": "euler", "scheduler": "normal", **more}
    negative = prompt(tiny, room.NEGATIVE) if settings["cfg"] != 1 else ()
    model, latent = tiny.handles()[0], empty(tiny.ctx, EDGE, EDGE)
    found: torch.Tensor = k_sampler(tiny.ctx, model, positive, negative, latent, **settings).samples
    return found


def half(right: bool) -> Any:
    mask = np.zeros((1, EDGE, EDGE), np.float32)
    mask[:, :, EDGE // 2 :] = 1
    return mask if right else 1 - mask


# Qwen-Image's attention -----------------------------------------------------------------------------------------------


def qwen_network(layers: int = 1) -> Any:
    from diffusers import QwenImageTransformer2DModel

    torch.manual_seed(0)
    return QwenImageTransformer2DModel(
        in_channels=16, out_channels=4, num_layers=layers, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=8, axes_dims_rope=(4, 6, 6),
    ).eval()  # fmt: skip


@torch.no_grad()
def answer(network: Any, words: torch.Tensor, attention: EntityAttention | None) -> torch.Tensor:
    """[4, 4, channels] of a random picture of 8×8 cells."""
    tokens = torch.randn(1, 16, 16, generator=torch.Generator().manual_seed(1))
    asked = {"timestep": torch.tensor([0.5]), "img_shapes": [[(1, 4, 4)]], "return_dict": False}
    if attention is None:
        found: torch.Tensor = network(tokens, words, **asked)[0]
    else:
        with attending_by(network, attention):
            found = network(tokens, words, **asked)[0]
    return found.reshape(4, 4, -1)


def test_our_attention_is_diffusers_own_where_everything_is_seen() -> None:
    network, words = qwen_network(2), torch.randn(1, 5, 8)
    ours = answer(network, words, EntityAttention(torch.ones(21, 21, dtype=torch.bool), [5]))
    np.testing.assert_allclose(ours, answer(network, words, None), atol=1e-6)
    processors = {type(block.attn.processor).__name__ for block in network.transformer_blocks}
    assert processors == {"QwenDoubleStreamAttnProcessor2_0"}


def test_an_entitys_words_change_only_its_place_in_one_block_of_qwen() -> None:
    network = qwen_network()
    scene = (ConditioningEntry(torch.full((1, 4, 8), 0.5)),)

    def placed(value: float, tied: bool) -> torch.Tensor:
        thing = torch.randn(1, 3, 8, generator=torch.Generator().manual_seed(2)) + value
        (made,) = entity(CTX, scene, (ConditioningEntry(thing),), half(right=False))
        words, seen = entity_words(regions_of(made), made, (1, 4, 8, 8))
        everything = torch.ones_like(seen)
        return answer(network, words, EntityAttention(seen if tied else everything, lengths_of(regions_of(made), made)))

    apart = (placed(1.0, True) - placed(-1.0, True)).abs().amax(-1)
    assert float(apart[:, 2:].max()) == 0.0
    assert float(apart[:, :2].min()) > 1e-5
    assert float((placed(1.0, False) - placed(-1.0, False)).abs().amax(-1)[:, 2:].min()) > 1e-5


def test_each_prompts_positions_start_anew() -> None:
    """Two entities of the same words that see the same place are told the same, wherever they stand."""
    network, thing = qwen_network(), torch.randn(1, 3, 8)
    found = []
    for first in (torch.zeros(1, 2, 8), torch.zeros(1, 6, 8)):
        lengths = [first.shape[1], 3, 4]
        words = torch.cat([first, thing, torch.full((1, 4, 8), 0.5)], dim=1)
        covered = torch.zeros(2, 16, dtype=torch.bool)
        covered[1, :8] = True
        found.append(answer(network, words, EntityAttention(attention_mask(lengths, covered), lengths)))
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)


# Whole runs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["flux", "qwen_image"])
def test_two_entities_act_where_they_stand(opened: Opened, family: str) -> None:
    tiny = opened(family)
    plain = sampled(tiny, prompt(tiny))
    made = [plain]
    both = prompt(tiny)
    for right, text in ((False, "green"), (True, "a blue circle")):
        both = entity(tiny.ctx, both, prompt(tiny, text), half(right))
        made.append(sampled(tiny, both))
    assert all(bool(torch.isfinite(latent).all()) for latent in made)
    for latent, other in zip(made[1:], made, strict=False):
        assert float((latent - other).abs().max()) > 1e-4
    assert torch.equal(sampled(tiny, both), made[-1])
    assert torch.equal(sampled(tiny, prompt(tiny)), plain)  # nothing of them stays
    nowhere = entity(tiny.ctx, prompt(tiny), prompt(tiny, "green"), np.zeros((1, EDGE, EDGE), np.float32))
    np.testing.assert_allclose(sampled(tiny, nowhere), plain, atol=1e-4)


@pytest.mark.parametrize("family", ["flux", "qwen_image"])
def test_an_entity_changes_its_own_side_most(opened: Opened, family: str) -> None:
    tiny = opened(family)
    plain = sampled(tiny, prompt(tiny), steps=1, cfg=1.0)
    placed = entity(tiny.ctx, prompt(tiny), prompt(tiny, "green"), half(right=True))
    change = (sampled(tiny, placed, steps=1, cfg=1.0) - plain).abs().mean(dim=(0, 1, 2))
    assert float(change[4:].mean()) > 2 * float(change[:4].mean())


def test_entities_and_references_of_qwen_stand_together(opened: Opened) -> None:
    tiny = opened("qwen_image")
    latent = encode_image(tiny.ctx, tiny.handles()[2], room.picture())
    shown = reference_latent(tiny.ctx, prompt(tiny), latent)
    both = entity(tiny.ctx, shown, prompt(tiny, "green"), half(right=True))
    nowhere = entity(tiny.ctx, shown, prompt(tiny, "green"), np.zeros((1, EDGE, EDGE), np.float32))
    alone = sampled(tiny, shown)
    assert float((sampled(tiny, both) - alone).abs().max()) > 1e-4
    np.testing.assert_allclose(sampled(tiny, nowhere), alone, atol=1e-4)


@pytest.mark.parametrize("family", ["sd15", "sd2", "sdxl", "sd3", "chroma", "z_image", "flux2"])
@pytest.mark.parametrize("side", ["positive", "negative"])
def test_families_that_cannot_place_words_say_so(opened: Opened, family: str, side: str) -> None:
    tiny = opened(family)
    placed = entity(tiny.ctx, prompt(tiny), prompt(tiny, "green"), half(right=True))
    sides = (placed, prompt(tiny)) if side == "positive" else (prompt(tiny), placed)
    settings: dict[str, Any] = {"seed": 3, "steps": 1, "cfg": 3.0, "sampler": "euler", "scheduler": "normal"}
    with pytest.raises(InvalidRequest, match="can't be told which place reads which words"):
        k_sampler(tiny.ctx, tiny.handles()[0], *sides, empty(tiny.ctx, EDGE, EDGE), **settings)


# LoRAs of single prompts ----------------------------------------------------------------------------------------------


def patch_ref(patch: Patch) -> ModelRef:
    found: ModelRef = dict(patch.settings)["weights"]
    return found


def with_lora(tiny: room.Tiny, part: str) -> Patch:
    (tiny.folder / "loras").mkdir(exist_ok=True)
    return write_lora(tiny.part(part), part, tiny.folder / "loras" / "own.safetensors")


def write_lora(module: Any, part: str, path: Path) -> Patch:
    """A random LoRA on every attention's query of a network."""
    generator = torch.Generator().manual_seed(0)
    tensors: dict[str, torch.Tensor] = {}
    for name, parameter in module.named_parameters():
        if name.endswith(".to_q.weight"):
            layer = f"{part}.{name.removesuffix('.weight')}"
            rows, columns = parameter.shape
            tensors[f"{layer}.lora_A.weight"] = torch.randn(2, columns, generator=generator)
            tensors[f"{layer}.lora_B.weight"] = torch.randn(rows, 2, generator=generator)
    save_file(tensors, path)
    return Patch("lora", (("weights", ModelRef(name="own", kind="lora")), ("strength", 1.0)))


def laid(made: Conditioning, patch: Patch) -> Conditioning:
    return tuple(with_extra(entry, "patches", (patch,)) for entry in made)


@pytest.mark.parametrize("family", ["sd15", *TRANSFORMERS])
def test_a_lora_of_one_prompt_is_the_models_own_for_that_prompt(opened: Opened, family: str) -> None:
    tiny = opened(family)
    patch = with_lora(tiny, "unet" if family == "sd15" else "transformer")
    model = tiny.handles()[0]
    plain = sampled(tiny, prompt(tiny), cfg=1.0)
    own = sampled(tiny, laid(prompt(tiny), patch), cfg=1.0)
    assert float((own - plain).abs().max()) > 1e-4
    latent = empty(tiny.ctx, EDGE, EDGE)
    settings: dict[str, Any] = {"seed": 3, "steps": 2, "cfg": 1.0, "sampler": "euler", "scheduler": "normal"}
    whole = k_sampler(tiny.ctx, replace(model, patches=(patch,)), prompt(tiny), (), latent, **settings).samples
    assert torch.equal(own, whole)
    # The negative side is asked without it: another picture than with the LoRA on both.
    guided = sampled(tiny, laid(prompt(tiny), patch))
    both = k_sampler(
        tiny.ctx, replace(model, patches=(patch,)), prompt(tiny), prompt(tiny, room.NEGATIVE), latent,
        **settings | {"cfg": 3.0},
    ).samples  # fmt: skip
    assert float((guided - both).abs().max()) > 1e-5
    assert torch.equal(sampled(tiny, prompt(tiny), cfg=1.0), plain)


@pytest.mark.parametrize("family", ["sd15", "flux"])
def test_a_regions_lora_acts_in_the_region_only(opened: Opened, family: str) -> None:
    """In one step, which is linear in what the network says; the rest of the picture is as without the LoRA."""
    tiny = opened(family)
    patch = with_lora(tiny, "unet" if family == "sd15" else "transformer")
    found = []
    for own in (prompt(tiny, "green"), laid(prompt(tiny, "green"), patch)):
        placed = region(tiny.ctx, prompt(tiny), own, x=0.5, width=0.5, base=0.0, feather=0)
        found.append(sampled(tiny, placed, steps=1, cfg=1.0))
    change = (found[0] - found[1]).abs().amax(dim=(0, 1, 2))
    assert float(change[:4].max()) == 0.0
    assert float(change[4:].min()) > 1e-5


@pytest.fixture(scope="module")
def starter(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Patch]:
    """The shipped model, and a random LoRA on its self-attention."""
    folder = tmp_path_factory.mktemp("loras")

    class Library(Recorder):
        def locate(self, ref: ModelRef) -> Path:
            return folder / f"{ref.name}.safetensors" if ref.kind == "lora" else self.folder

    ctx = Library()
    family: Any = ctx.session.family(handles(ctx)[0].weights)
    unet = family._parts("unet")
    return ctx, write_lora(unet, "unet", folder / "own.safetensors")


def test_a_regions_lora_acts_on_the_starter_model(starter: tuple[Any, Patch]) -> None:
    ctx, patch = starter
    model, _, positive, here = handles(ctx, negative="a green square")
    settings: dict[str, Any] = {"seed": 3, "steps": 1, "cfg": 1.0, "sampler": "ddim", "scheduler": "normal"}
    found = []
    for own in (here, prompt_lora(ctx, here, patch_ref(patch), 0.0), prompt_lora(ctx, here, patch_ref(patch), 1.0)):
        placed = region(ctx, positive, own, x=0.5, width=0.5, base=0.0, feather=0)
        found.append(k_sampler(ctx, model, placed, (), empty(ctx, EDGE, EDGE), **settings).samples)
    assert torch.equal(found[0], found[1])
    change = (found[2] - found[0]).abs().amax(dim=(0, 1, 2))
    middle = len(change) // 2
    assert float(change[:middle].max()) == 0.0
    assert float(change[middle:].min()) > 1e-5
