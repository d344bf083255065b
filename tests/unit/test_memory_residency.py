"""Models on a card that is simulated: every way of keeping them makes the same picture, and none leaves anything."""

from __future__ import annotations

import contextlib
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.contracts.references import ModelRef
from engine.graph.values import Patch
from engine.memory.planner import RUNGS, Phase, Plan, Residency
from engine.memory.quantise import can_quantise, quantise
from engine.memory.residency import Treatment
from tests.failure_room import write_lora
from tests.families import room
from tests.memory_room import Pixels, Room, SimulatedCard

FAMILIES = ("sd15", "sdxl", "flux")
pytestmark = pytest.mark.filterwarnings("ignore:.*is deprecated:FutureWarning")  # diffusers' own


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {name: room.family_module(name).tiny(tmp_path_factory.mktemp(name)) for name in FAMILIES}


@pytest.fixture(scope="module")
def resident(folders: dict[str, Path]) -> dict[str, tuple[Pixels, int]]:
    """The picture with everything on the card, and the card's peak."""
    made = {}
    for name, folder in folders.items():
        card = SimulatedCard()
        watching = card.watching() if name == "sd15" else contextlib.nullcontext()
        with watching, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made[name] = Room(folder, name, card).run(steps=2), card.peak
    return made


def plan(residency: Residency, *, bits: int = 16, pinned: int = 0, apart: bool = False) -> Plan:
    phases = tuple(Phase(name, 0, 0.0) for name in ("text", "denoise", "decode"))
    return Plan(RUNGS[residency], residency, bits, pinned, 0, apart, phases, 0, 0.0, False)


def psnr(one: Pixels, other: Pixels) -> float:
    error = float(np.mean((one.astype(np.float64) - other) ** 2))
    return float(-10 * np.log10(max(error, 1e-20)))


@pytest.mark.parametrize(("residency", "pinned"), [*((rung, 2 * (rung == "pinned")) for rung in RUNGS), ("disk", 1)])
def test_every_rung_makes_the_same_picture(
    folders: dict[str, Path], resident: dict[str, tuple[Pixels, int]], residency: Residency, pinned: int
) -> None:
    card = SimulatedCard()
    made = Room(folders["sd15"], "sd15", card)
    memory = made.session.memory
    assert memory is not None
    memory.hold_to(replace(plan(residency, pinned=pinned), kept=pinned if residency == "disk" else 0))
    with card.watching():
        picture = made.run(steps=2)
    whole, peak = resident["sd15"]
    np.testing.assert_array_equal(picture, whole)
    assert card.peak <= peak
    if residency not in ("all", "text_first"):
        assert memory.placed_bytes < sum(part.weights for part in memory.parts)
    del picture
    made.session.free()
    assert card.settled() == 0


@pytest.mark.parametrize("family", ["sdxl", "flux"])
@pytest.mark.parametrize("residency", ["pinned", "leaves"])
def test_other_families_stream_alike(
    folders: dict[str, Path], resident: dict[str, tuple[Pixels, int]], family: str, residency: Residency
) -> None:
    made = Room(folders[family], family, SimulatedCard())
    assert made.session.memory is not None
    made.session.memory.hold_to(plan(residency, pinned=2))
    np.testing.assert_array_equal(made.run(steps=2), resident[family][0])


@pytest.mark.parametrize(
    ("bits", "least", "residency"), [(8, 30.0, "all"), (8, 30.0, "pinned"), (8, 30.0, "leaves"), (4, 25.0, "blocks")]
)
def test_fewer_bits_stay_near(
    folders: dict[str, Path], resident: dict[str, tuple[Pixels, int]], bits: int, least: float, residency: Residency
) -> None:
    card = SimulatedCard()
    made = Room(folders["sd15"], "sd15", card)
    assert made.session.memory is not None
    made.session.memory.hold_to(plan(residency, bits=bits, pinned=3 if residency == "pinned" else 0))
    with card.watching():
        picture = made.run(steps=2)
    whole, peak = resident["sd15"]
    assert psnr(picture, whole) >= least
    assert not np.array_equal(picture, whole)
    assert card.peak < peak


@pytest.mark.parametrize("residency", ["blocks", "leaves"])
def test_merged_adapters_are_streamed_like_the_model(folders: dict[str, Path], residency: Residency) -> None:
    """Two stacks one after the other, then none: buffers that were packed before are packed anew."""
    streamed = Room(folders["sd15"], "sd15", SimulatedCard())
    whole = Room(folders["sd15"], "sd15", SimulatedCard())
    write_lora(folders["sd15"])
    assert streamed.session.memory is not None
    streamed.session.memory.hold_to(plan(residency))
    seen = []
    for strength in (1.0, 0.5, 0.0):
        lora = Patch("lora", (("weights", ModelRef(kind="lora", name="drawn")), ("strength", strength)))
        mine = streamed.run(patches=(lora,), steps=1)
        np.testing.assert_array_equal(mine, whole.run(patches=(lora,), steps=1))
        seen.append(mine)
    assert not np.array_equal(seen[0], seen[1])
    assert not np.array_equal(seen[1], seen[2])


def test_weights_kept_in_float8_stream_as_they_are(folders: dict[str, Path]) -> None:
    kept = Patch("dtype", (("dtype", "fp8_e4m3fn"),))
    streamed = Room(folders["sd15"], "sd15", SimulatedCard())
    whole = Room(folders["sd15"], "sd15", SimulatedCard())
    assert streamed.session.memory is not None
    streamed.session.memory.hold_to(plan("blocks"))
    np.testing.assert_array_equal(streamed.run(patches=(kept,), steps=1), whole.run(patches=(kept,), steps=1))


def test_text_encoders_make_room_and_come_again(folders: dict[str, Path]) -> None:
    card = SimulatedCard()
    made = Room(folders["sdxl"], "sdxl", card)
    memory = made.session.memory
    assert memory is not None
    memory.hold_to(plan("text_first"))
    first = made.run(steps=1)
    placed = {part.role for part in memory.parts if part.bytes}
    assert placed == {"denoiser", "vae"}
    np.testing.assert_array_equal(made.run(steps=1), first)


def test_parts_stay_between_pictures_while_they_fit(folders: dict[str, Path]) -> None:
    card = SimulatedCard()
    made = Room(folders["sd15"], "sd15", card)
    with card.watching():
        made.run(steps=1)
        before = card.allocations
        made.run(steps=1)
        second = card.allocations - before
        assert made.session.memory is not None
        made.session.memory.make_bare()
        before = card.allocations
        made.run(steps=1)
        assert card.allocations - before > second + 100  # the weights, tensor by tensor


def test_the_masters_are_as_they_were(folders: dict[str, Path]) -> None:
    made = Room(folders["sd15"], "sd15", SimulatedCard())
    made.run(steps=1)
    unet = made.session.family(ModelRef(name="tiny"))._parts("unet")  # type: ignore[attr-defined]
    before = {name: (id(tensor), tensor.sum().item()) for name, tensor in unet.named_parameters()}
    assert made.session.memory is not None
    for residency in ("blocks", "leaves", "pinned"):
        made.session.memory.hold_to(plan(residency, bits=8, pinned=1))
        made.run(steps=1)
    made.session.memory.free()
    assert {name: (id(tensor), tensor.sum().item()) for name, tensor in unet.named_parameters()} == before
    stand_ins = {type(m.forward).__name__ for m in unet.modules() if m is not unet and "forward" in vars(m)}
    assert stand_ins == {"_Watched"}  # as they were loaded


def test_eight_and_four_bits_are_as_written() -> None:
    weight = torch.randn(7, 128, generator=torch.Generator().manual_seed(0))
    eight = quantise(weight, 8)
    assert (eight.data.dtype, eight.data.shape, eight.scale.dtype) == (torch.int8, (7, 128), torch.float16)
    assert eight.scale.shape == (7, 1)
    expected = (weight / eight.scale.float()).round().clamp(-127, 127)
    torch.testing.assert_close(eight.data.float(), expected, rtol=0, atol=0)
    assert float((eight.whole(torch.float32) - weight).abs().max()) <= float(eight.scale.max()) * 0.51 + 1e-3
    four = quantise(weight, 4)
    assert (four.data.dtype, four.data.shape, four.scale.shape) == (torch.uint8, (7, 64), (7, 2, 2))
    low, high = int(four.data[0, 0]) & 15, int(four.data[0, 0]) >> 4
    step, least = four.scale[0, 0].float()
    torch.testing.assert_close(four.whole(torch.float32)[0, :2], torch.tensor([low, high]) * step + least)
    assert float((four.whole(torch.float32) - weight).abs().max()) <= float(four.scale[..., 0].max()) * 0.51 + 4e-3
    assert quantise(weight[:, :100], 4).data.dtype == torch.int8  # no whole runs
    assert not can_quantise(torch.nn.Linear(2, 2), "bias", torch.zeros(2))


def test_the_next_treatment_is_always_smaller() -> None:
    ways = [Treatment()]
    while (way := ways[-1].smaller(8)) is not None:
        ways.append(way)
    assert ways == [
        Treatment(), Treatment("blocks", pinned=4), Treatment("blocks"), Treatment("leaves"),
    ]  # fmt: skip
    assert Treatment.of(replace(plan("disk"), bits=8)) == Treatment("blocks", 0, 8, True)
