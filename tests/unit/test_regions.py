"""Regions: who sees whom, prompts and controls held to their places, LoRAs for one prompt, entities, references."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.contracts.errors import InvalidRequest
from engine.contracts.references import ModelRef
from engine.control.regions import attention_mask, covered_tokens, feathered, rectangle
from engine.families.entities import entity_words
from engine.graph.values import ConditioningEntry, Control, ControlHandle
from engine.nodes.condition.inpaint import inpaint_model
from engine.nodes.condition.region import entity, region
from engine.nodes.condition.text import encode_text
from engine.nodes.control.reference import reference_only
from engine.nodes.latent.empty import empty
from engine.nodes.sample.k_sampler import k_sampler
from engine.sampling.guidance import region_weight
from tests.benchmarks.tiny_models import write_tiny_sd15
from tests.families import room as families
from tests.families import sdxl
from tests.unit.sampling_room import Recorder, handles

CTX: Any = None
SETTINGS: dict[str, Any] = {"seed": 3, "steps": 3, "cfg": 3.0, "sampler": "ddim", "scheduler": "normal"}


def prompt(value: float = 0.0, tokens: int = 4) -> tuple[ConditioningEntry, ...]:
    return (ConditioningEntry(torch.full((1, tokens, 8), value)),)


def test_prompts_see_their_part_of_the_picture_and_never_each_other() -> None:
    covered = torch.tensor([[True, False, False, False], [False, False, True, True]])
    seen = attention_mask([2, 1, 3], covered)
    assert seen.shape == (10, 10)
    assert torch.equal(seen, seen.T)
    assert not seen[0:2, 2:6].any()
    assert not seen[2:3, 3:6].any()
    assert seen[0:2, 0:2].all()
    assert seen[3:6, 3:10].all()  # the whole picture's prompt and all of it
    assert seen[6:, 6:].all()
    assert seen[0, 6:].tolist() == [True, False, False, False]
    assert seen[2, 6:].tolist() == [False, False, True, True]
    turned = attention_mask([2, 1, 3], covered, pictures_first=True)
    assert torch.equal(turned[:4, 4:], seen[6:, :6])
    with pytest.raises(ValueError, match="1 prompts for 2 regions"):
        attention_mask([2, 3], covered)


def test_a_region_covers_the_tokens_that_its_mask_touches() -> None:
    mask = np.zeros((8, 8), np.float32)
    mask[0, 7] = 1
    assert covered_tokens([mask], 2, 2).tolist() == [[False, True, False, False]]
    assert covered_tokens([], 2, 2).shape == (0, 4)


def test_a_region_takes_its_place_from_what_holds_everywhere() -> None:
    made = region(CTX, prompt(0), prompt(1), x=0.5, width=0.5, base=0.25, feather=0, strength=2.0)
    like = torch.zeros(1, 4, 8, 8)
    everywhere, here = (region_weight(entry, like)[0, 0] * entry.strength for entry in made)
    assert everywhere[:, :4].eq(1).all()
    assert everywhere[:, 4:].eq(0.25).all()
    assert here[:, :4].eq(0).all()
    assert here[:, 4:].eq(2).all()
    both = region(CTX, made, prompt(2), x=0.0, width=0.5, base=0.0, feather=0)
    assert region_weight(both[0], like)[0, 0, :, :4].eq(0).all()
    assert region_weight(both[1], like)[0, 0].equal(region_weight(made[1], like)[0, 0])  # regions leave regions be


def test_a_region_fades_and_has_the_shape_it_was_painted_in() -> None:
    painted = np.zeros((1, 64, 64), np.float32)
    painted[:, :, 32:] = 1
    soft = region(CTX, prompt(0), prompt(1), mask=painted, base=0.0, feather=16)
    outside, inside = (np.asarray(entry.mask) for entry in soft)
    np.testing.assert_allclose(outside + inside, 1, atol=1e-6)
    assert 0.4 < inside[32, 31] < 0.6
    assert inside[32, 4] < 0.01
    assert np.array_equal(feathered(painted[0], 0), painted[0])
    assert rectangle(0.25, 0, 0.5, 1, edge=8)[0].tolist() == [0, 0, 1, 1, 1, 1, 0, 0]
    with pytest.raises(InvalidRequest, match="the region is empty"):
        region(CTX, prompt(), prompt(), width=0.0)


def test_a_regions_control_acts_in_the_region() -> None:
    control = Control(ControlHandle(ModelRef(kind="controlnet", name="x")), np.zeros((1, 8, 8, 3), np.float32))
    steered = (replace(prompt()[0], extras=(("controls", (control,)),)),)
    made = region(CTX, prompt(), steered, x=0.0, width=0.5, feather=0)
    (bound,) = dict(made[1].extras)["controls"]
    assert bound.mask[:, :256].all()
    assert not bound.mask[:, 256:].any()
    assert control.mask is None


def test_entities_stand_before_the_whole_pictures_prompt() -> None:
    mask = np.zeros((1, 16, 16), np.float32)
    mask[:, :, :8] = 1
    made = entity(CTX, entity(CTX, prompt(0, 4), prompt(1, 2), mask), prompt(2, 3), 1 - mask)
    words, seen = entity_words(dict(made[0].extras)["regions"], made[0], (1, 16, 4, 4), more=2)
    assert words[0, :, 0].tolist() == [1, 1, 2, 2, 2, 0, 0, 0, 0]
    assert seen.shape == (9 + 4 + 2, 9 + 4 + 2)
    assert seen[0, 9:].tolist() == [True, False, True, False, False, False]
    assert seen[8, 9:].all()
    wide = (ConditioningEntry(torch.zeros(1, 2, 9)),)
    with pytest.raises(InvalidRequest, match="other text encoders"):
        entity(CTX, prompt(), wide, mask)


def test_an_entitys_words_change_only_its_place_in_one_block_of_flux() -> None:
    from diffusers import FluxTransformer2DModel

    torch.manual_seed(0)
    network = FluxTransformer2DModel(
        in_channels=16, num_layers=1, num_single_layers=0, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=8, pooled_projection_dim=8, axes_dims_rope=(4, 4, 8),
    ).eval()  # fmt: skip
    mask = np.zeros((1, 16, 16), np.float32)
    mask[:, :, :8] = 1
    from engine.families.flow_transformer import position_ids

    tokens = torch.randn(1, 16, 16)

    def answer(value: float, tied: bool) -> torch.Tensor:
        made = entity(CTX, prompt(0.5), prompt(value), mask)
        words, seen = entity_words(dict(made[0].extras)["regions"], made[0], (1, 4, 8, 8))
        said = {"attention_mask": seen[None, None]} if tied else None
        with torch.no_grad():
            out: torch.Tensor = network(
                tokens, words, torch.zeros(1, 8), torch.tensor([0.5]), position_ids(4, 4, tokens.device, tokens.dtype),
                torch.zeros(words.shape[1], 3), joint_attention_kwargs=said, return_dict=False,
            )[0]  # fmt: skip
        return out.reshape(4, 4, -1)

    apart = (answer(1.0, True) - answer(-1.0, True)).abs().amax(-1)
    assert float(apart[:, 2:].max()) == 0.0
    assert float(apart[:, :2].min()) > 1e-5
    assert float((answer(1.0, False) - answer(-1.0, False)).abs().amax(-1)[:, 2:].min()) > 1e-5


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return Recorder(write_tiny_sd15(tmp_path_factory.mktemp("tiny")))


def sampled(ctx: Any, model: Any, seed: int = 3) -> torch.Tensor:
    _, _, positive, negative = handles(ctx)
    made: torch.Tensor = k_sampler(
        ctx, model, positive, negative, empty(ctx, 64, 64), **{**SETTINGS, "seed": seed}
    ).samples
    return made


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_reference_is_looked_at_and_leaves_no_trace(room: Any) -> None:
    model = handles(room)[0]
    plain = sampled(room, model)
    latents = [replace(empty(room, 64, 64), samples=torch.randn(1, 4, 8, 8)) for _ in range(2)]
    looked = [sampled(room, reference_only(room, model, latent)) for latent in latents]
    assert not torch.equal(looked[0], plain)
    assert not torch.equal(looked[0], looked[1])
    assert torch.equal(sampled(room, reference_only(room, model, latents[0])), looked[0])
    assert torch.equal(sampled(room, model), plain)
    for off in ({"strength": 0.0}, {"start": 0.99}):
        assert torch.equal(sampled(room, reference_only(room, model, latents[0], **off)), plain)
    loose = sampled(room, reference_only(room, model, latents[0], fidelity=0.0))
    assert not torch.equal(loose, looked[0])


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("channels", [4, 9])
def test_models_of_sdxl_look_at_a_reference_too(tmp_path: Path, channels: int) -> None:
    """With 9 channels the reference is seen under the same mask and kept picture as the picture is."""
    torch.manual_seed(0)
    folder = sdxl.write(tmp_path, channels)
    tiny = families.Tiny(folder, "sdxl")
    model, clip, vae = tiny.handles()
    positive, negative = (encode_text(tiny.ctx, clip, text) for text in (families.PROMPT, families.NEGATIVE))
    latent = empty(tiny.ctx, 64, 64)
    if channels == 9:
        picture, mask = families.picture(), families.mask()
        positive, negative, latent = inpaint_model(tiny.ctx, positive, negative, vae, picture, mask)

    def made(reference: torch.Tensor | None, **more: float) -> torch.Tensor:
        looking = model
        if reference is not None:
            seen = replace(empty(tiny.ctx, 64, 64), samples=reference)
            looking = reference_only(tiny.ctx, model, seen, **more)
        found: torch.Tensor = k_sampler(tiny.ctx, looking, positive, negative, latent, **SETTINGS).samples
        return found

    plain, one, two = made(None), *(torch.randn(1, 4, 8, 8) for _ in range(2))
    looked = made(one)
    assert bool(torch.isfinite(looked).all())
    assert float((looked - plain).abs().max()) > 1e-4
    assert float((looked - made(two)).abs().max()) > 1e-4
    assert torch.equal(made(one, start=0.99), plain)
    assert torch.equal(made(None), plain)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_reference_of_another_family_is_refused(room: Any) -> None:
    model = handles(room)[0]
    other = replace(empty(room, 64, 64), samples=torch.zeros(1, 16, 8, 8))
    with pytest.raises(InvalidRequest, match="another model's autoencoder"):
        sampled(room, reference_only(room, model, other))


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_looking_reads_the_references_tokens_beside_its_own(room: Any) -> None:
    """One layer: the answer is attention over both, and with a share of 0 the layer's own."""
    from engine.families.reference_only import Reference, _layers, looking

    unet = room.session.family(handles(room)[0].weights)._parts("unet")
    layer = _layers(unet, 1.0)[0]
    own, other = torch.randn(2, 5, layer.query_dim), torch.randn(1, 7, layer.query_dim)
    reference = Reference(torch.zeros(1), torch.zeros(1))
    with torch.no_grad():
        with looking(unet, reference, "keep"):
            layer(other)
        with looking(unet, reference, "read", torch.tensor([0.0, 1.0])):
            found = layer(own)
        both = torch.cat([own, other.expand(2, -1, -1)], dim=1)
        expected = layer(own, encoder_hidden_states=both)
        np.testing.assert_allclose(found[1], expected[1], atol=1e-6)
        np.testing.assert_allclose(found[0], layer(own)[0], atol=1e-6)
