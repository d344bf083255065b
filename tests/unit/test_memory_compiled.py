"""Compiled blocks whose weights are streamed, merged with adapters or kept in eight bits: compiled once for all."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch._inductor.config
from torch._dynamo.testing import CompileCounter

from engine.contracts.references import ModelRef
from engine.graph.values import Patch
from engine.memory.planner import RUNGS, Phase, Plan, Residency
from engine.memory.speed import Speed, arranged
from tests.failure_room import folders
from tests.memory_room import Pixels, Room, SimulatedCard

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),  # diffusers' own, about its own
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
LORA = (Patch("lora", (("weights", ModelRef(kind="lora", name="drawn")), ("strength", 1.0))),)


FULL = pytest.mark.full


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Path]]:
    made: dict[str, Path] = {}

    def of(family: str) -> Path:
        if family not in made:
            made.update(folders(tmp_path_factory.mktemp(family), {family}))
        return made[family]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield of


def network(made: Room) -> Any:
    return made.session.network_of(made.session.denoiser(made.handles()[0]))


def hold(made: Room, residency: Residency, bits: int) -> None:
    memory = made.session.memory
    assert memory is not None
    phases = tuple(Phase(name, 0, 0.0) for name in ("text", "denoise", "decode"))
    pinned = 1 if residency == "pinned" else 0
    memory.hold_to(Plan(RUNGS[residency], residency, bits, pinned, 0, False, phases, 0, 0.0, False))


def pictures(
    folder: Path, family: str, residency: Residency, bits: int, patches: tuple[Patch, ...], backend: Any
) -> tuple[Pixels, Pixels, Room]:
    """(as it is, compiled, the room of the second)."""
    bare = Room(folder, family, SimulatedCard())
    hold(bare, residency, bits)
    expected = bare.run(steps=2, patches=patches)
    bare.session.free()
    torch._dynamo.reset()
    made = Room(folder, family, SimulatedCard())
    # Compiled when it is loaded, before anything is streamed; convolutions stay as they lie, which rounds otherwise.
    assert "compiled" in arranged(network(made), "transformer", Speed(compiled=True, compiler=backend))
    hold(made, residency, bits)
    return expected, made.run(steps=2, patches=patches), made


@pytest.mark.parametrize(
    ("family", "residency", "bits", "patches"),
    [
        ("sd15", "blocks", 8, LORA), ("sd15", "leaves", 16, ()), pytest.param("sd15", "blocks", 16, (), marks=FULL),
        pytest.param("sd15", "pinned", 8, (), marks=FULL), pytest.param("sd15", "blocks", 16, LORA, marks=FULL),
        pytest.param("flux", "blocks", 16, (), marks=FULL), pytest.param("flux", "all", 8, (), marks=FULL),
    ],
)  # fmt: skip
def test_streamed_blocks_are_compiled_once_for_all_of_them(
    folder: Callable[[str], Path], family: str, residency: Residency, bits: int, patches: tuple[Patch, ...]
) -> None:
    counted = CompileCounter()
    expected, first, made = pictures(folder(family), family, residency, bits, patches, counted)
    np.testing.assert_allclose(first, expected, atol=1e-5)
    kinds = {"sd15": 1, "flux": 2}[family]
    # Twice a kind: dynamo takes a second look at sizes that change. None where layers are brought one by one.
    assert counted.frame_count <= (0 if residency == "leaves" else 2 * kinds)
    assert counted.frame_count or residency == "leaves"
    before = counted.frame_count
    np.testing.assert_array_equal(made.run(steps=3, patches=patches), made.run(steps=3, patches=patches))
    assert counted.frame_count == before  # neither another step nor another picture is compiled for
    made.session.free()


def test_layers_brought_one_by_one_leave_compiling_and_come_back(folder: Callable[[str], Path]) -> None:
    counted = CompileCounter()
    expected, first, made = pictures(folder("sd15"), "sd15", "leaves", 16, (), counted)
    np.testing.assert_array_equal(first, expected)
    assert counted.frame_count == 0
    hold(made, "blocks", 16)
    np.testing.assert_allclose(made.run(steps=2), expected, atol=1e-5)
    assert counted.frame_count > 0
    made.session.free()


@pytest.mark.full
@pytest.mark.parametrize(("bits", "patches"), [(16, ()), (16, LORA), (8, ())])
def test_inductor_makes_the_same_picture(
    folder: Callable[[str], Path], bits: int, patches: tuple[Patch, ...]
) -> None:  # fmt: skip
    torch._dynamo.utils.counters.clear()
    with torch._inductor.config.patch(compile_threads=1):  # its pool would outlive the test
        expected, compiled, made = pictures(folder("sd15"), "sd15", "blocks", bits, patches, "inductor")
    np.testing.assert_allclose(compiled, expected, atol=1e-5)
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    assert 1 <= graphs <= 2
    np.testing.assert_allclose(made.run(steps=2, patches=patches), expected, atol=1e-5)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == graphs
    made.session.free()
