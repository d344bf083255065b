"""Batches made picture by picture and sides of the guidance one after the other, for want of memory."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import pytest
import torch

from engine.contracts.references import ModelRef
from engine.graph.values import (
    Conditioning,
    ControlHandle,
    LatentValue,
    Patch,
    ReferencePicture,
)
from engine.memory.planner import Phase, Plan
from engine.memory.words import effect
from engine.nodes.condition.region import entity, region
from engine.nodes.condition.shape import reference_latent
from engine.nodes.condition.text import encode_text
from engine.nodes.control.apply import control, control_pair
from engine.nodes.latent.empty import empty
from engine.nodes.latent.picture import encode_image, set_noise_mask
from engine.nodes.sample.k_sampler import k_sampler
from tests.failure_room import folders
from tests.families import room
from tests.families.tiny_parts import EDGE
from tests.memory_room import Room, SimulatedCard

pytestmark = pytest.mark.filterwarnings("ignore:.*is deprecated:FutureWarning")  # diffusers' own
COUNT = 2


@dataclass(frozen=True)
class Given:
    """What a run is given for a batch, and for each of its pictures alone."""

    positive: Conditioning
    negative: Conditioning
    latent: LatentValue
    patches: tuple[Patch, ...] = ()


Given_: TypeAlias = Callable[[Room, tuple[int, ...]], Given]  # for the pictures of these places


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Room]]:
    made: dict[str, Room] = {}

    def of(family: str) -> Room:
        if family not in made:
            folder = folders(tmp_path_factory.mktemp(family), {family})[family]
            made[family] = Room(folder, family, SimulatedCard())
        return made[family]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield of
    for each in made.values():
        each.session.free()


def prompts(made: Room) -> tuple[Conditioning, Conditioning]:
    ctx: Any = made
    _, clip, _ = made.handles()
    return encode_text(ctx, clip, "a red boat at sea"), encode_text(ctx, clip, "")


def blank(made: Room, places: tuple[int, ...]) -> LatentValue:
    ctx: Any = made
    return replace(empty(ctx, EDGE, EDGE, len(places)), indices=places)


def pictures(places: tuple[int, ...], seed: int = 5) -> Any:
    """A different picture for each place."""
    return room.picture(batch=COUNT, seed=seed)[list(places)]


def patches(made: Room, places: tuple[int, ...]) -> Given:
    """A LoRA, FreeU and a rule of guidance: of the model, so shared."""
    lora = Patch("lora", (("weights", ModelRef(kind="lora", name="drawn")), ("strength", 1.0)))
    freeu = Patch("freeu", (("b1", 1.3), ("b2", 1.4), ("s1", 0.9), ("s2", 0.2)))
    return Given(*prompts(made), blank(made, places), (lora, freeu, Patch("rescale_cfg", (("multiplier", 0.7),))))


def controls(made: Room, places: tuple[int, ...]) -> Given:
    """A control picture for each, shared by both sides, and one for all of them on the positive side alone."""
    ctx: Any = made
    net = ControlHandle(ModelRef(kind="controlnet", name="edges"), made.handles()[0].family)
    positive, negative = control_pair(ctx, *prompts(made), net, pictures(places))
    return Given(control(ctx, positive, net, pictures((0,), seed=6), 0.5), negative, blank(made, places))


def latent_controls(made: Room, places: tuple[int, ...]) -> Given:
    """A control picture for each that is read as a latent, and a picture to look at."""
    ctx: Any = made
    net = ControlHandle(ModelRef(kind="controlnet", name="edges"), made.handles()[0].family)
    positive, negative = prompts(made)
    seen = encode_image(ctx, made.handles()[2], pictures((0, 1), seed=7))
    positive = reference_latent(ctx, positive, seen)
    return Given(control(ctx, positive, net, pictures(places), 0.6), negative, blank(made, places))


def entities(made: Room, places: tuple[int, ...]) -> Given:
    """A thing with a prompt and a place of its own."""
    ctx: Any = made
    positive, negative = prompts(made)
    return Given(entity(ctx, positive, negative, room.mask()), negative, blank(made, places))


def regions(made: Room, places: tuple[int, ...]) -> Given:
    """A second prompt for a half of the picture."""
    ctx: Any = made
    positive, negative = prompts(made)
    return Given(region(ctx, positive, negative, room.mask()), negative, blank(made, places))


def looking(made: Room, places: tuple[int, ...]) -> Given:
    """A picture that the network looks at through its own attention."""
    ctx: Any = made
    looked = encode_image(ctx, made.handles()[2], pictures((1,), seed=8))
    settings = {"reference": ReferencePicture(looked), "strength": 1.0, "fidelity": 0.5, "start": 0.0, "end": 1.0}
    return Given(*prompts(made), blank(made, places), (Patch("reference_only", tuple(settings.items())),))


def masked(made: Room, places: tuple[int, ...]) -> Given:
    """A picture and a mask for each."""
    ctx: Any = made
    latent = encode_image(ctx, made.handles()[2], pictures(places))
    masks = np.concatenate([room.mask(), room.mask()[:, ::-1, ::-1]])[list(places)]
    return Given(*prompts(made), replace(set_noise_mask(ctx, latent, masks.copy()), indices=places))


CASES = (
    ("sd15", patches), ("sd15", controls), ("sd15", regions), ("sd15", looking), ("sd15", masked),
    ("qwen_image", latent_controls), ("qwen_image", entities), ("flux", entities),
)  # fmt: skip


def sampled(made: Room, given: Given, fail_at: str = "") -> torch.Tensor:
    """The latents; memory runs out twice when the progress `fail_at` is told."""
    left = [2]

    def progress(done: float, total: float, text: str = "") -> None:
        if fail_at and text.startswith(fail_at) and left[0]:
            left[0] -= 1
            raise torch.OutOfMemoryError("CUDA out of memory.")

    made.progress = progress  # type: ignore[method-assign]
    made.logs.clear()
    ctx: Any = made
    model, _, _ = made.handles(given.patches)
    latent = k_sampler(
        ctx, model, given.positive, given.negative, given.latent, seed=3, steps=2, cfg=4.0, sampler="euler_ancestral",
        scheduler="normal",
    )  # fmt: skip
    return latent.samples


@pytest.mark.parametrize(("family", "of"), CASES, ids=lambda case: getattr(case, "__name__", case))
def test_each_picture_of_a_batch_is_as_it_would_be_alone(rooms: Callable[[str], Room], family: str, of: Given_) -> None:
    made = rooms(family)
    every = tuple(range(COUNT))
    split = sampled(made, of(made, every), fail_at="step 0 of")
    assert [line for line in made.logs if "one picture after the other" in line]
    alone = [sampled(made, of(made, (place,))) for place in every]
    assert torch.equal(split, torch.cat(alone))
    assert not torch.equal(alone[0], alone[1])
    together = sampled(made, of(made, every))
    torch.testing.assert_close(together, split, rtol=0, atol=1e-4)  # products of other shapes
    later = sampled(made, of(made, every), fail_at="step 1 of")
    torch.testing.assert_close(later, split, rtol=0, atol=1e-4)
    assert any(line.endswith("after step 1, one picture after the other.") for line in made.logs)


@pytest.mark.parametrize(("family", "of"), CASES, ids=lambda case: getattr(case, "__name__", case))
def test_sides_apart_equal_sides_together_to_rounding(rooms: Callable[[str], Room], family: str, of: Given_) -> None:
    """What one side leaves behind (a reference that was looked at, a control that was asked) is not the other's."""
    made = rooms(family)
    given = of(made, (0,))
    together = sampled(made, given)
    assert made.session.memory is not None
    made.session.memory.hold_to(plan(apart=True))
    try:
        torch.testing.assert_close(sampled(made, given), together, rtol=0, atol=1e-4)
    finally:
        made.session.memory.hold_to(None)


def plan(**given: Any) -> Plan:
    phases = tuple(Phase(name, 0, 0.0) for name in ("text", "denoise", "decode"))
    return replace(Plan(0, "all", 16, 0, 0, False, phases, 0, 0.0, False), **given)


def test_a_plan_says_honestly_what_it_does_to_the_picture() -> None:
    assert plan().keeps_arithmetic
    assert effect(plan()) == ""
    for other in (plan(apart=True), plan(bits=8), plan(vae_tile=256)):
        assert not other.keeps_arithmetic
        assert effect(other)
    assert "last bits" in effect(plan(apart=True))
