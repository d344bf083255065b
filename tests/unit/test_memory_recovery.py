"""After memory ran out: the run goes on and makes the same picture, or says plainly what would fit. Nothing stays."""

from __future__ import annotations

import gc
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.contracts.errors import OutOfMemory
from engine.contracts.job_events import JobEvent
from engine.contracts.job_spec import JobSpec
from engine.contracts.references import ModelRef
from engine.contracts.workflow import Link, Node, Workflow
from engine.graph.cache import ValueCache
from engine.graph.execute import execute
from engine.graph.registry import Registry
from engine.graph.services import Services
from engine.memory.blueprint import Blueprint
from engine.memory.choice import Chooser
from engine.memory.device import Card
from engine.memory.footprint import GIB, Footprint, ModelFootprint
from engine.memory.machine import PRESETS, Machine
from engine.memory.recovery import Correction, Corrections, is_out_of_memory
from engine.memory.request import Request
from engine.memory.residency import Residency
from tests.families import room
from tests.families.tiny_parts import EDGE
from tests.memory_room import Pixels, Room, SimulatedCard

REGISTRY = Registry.builtin()
SAMPLER = "euler_ancestral"  # draws noise at each step: going on must not draw twice


@pytest.fixture(scope="module", autouse=True)
def _collected_fast() -> Iterator[None]:
    """The collector is run after each failure; it need not look through every module each time."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(room.family_module("sd15").tiny(tmp_path_factory.mktemp("sd15")))


@pytest.fixture(scope="module")
def whole(folder: Path) -> tuple[Pixels, int, int]:
    """(the picture, allocations, peak) with room to spare."""
    card = SimulatedCard()
    with card.watching():
        picture = Room(folder, "sd15", card).run(sampler=SAMPLER, steps=2)
    return picture, card.allocations, card.peak


def job(steps: int) -> JobSpec:
    prompt = {"clip": Link("load", "clip")}
    nodes = (
        Node(id="load", type="load.checkpoint", inputs={"checkpoint": ModelRef(name="tiny")}),
        Node(id="p", type="condition.encode_text", inputs={**prompt, "text": "a red boat at sea"}),
        Node(id="n", type="condition.encode_text", inputs={**prompt, "text": ""}),
        Node(id="empty", type="latent.empty", inputs={"width": EDGE, "height": EDGE, "batch_size": 1}),
        Node(
            id="sample", type="sample.k_sampler",
            inputs={
                "model": Link("load", "model"), "positive": Link("p", "conditioning"),
                "negative": Link("n", "conditioning"), "latent": Link("empty", "latent"), "seed": 3, "steps": steps,
                "cfg": 4.0, "sampler": SAMPLER, "scheduler": "normal",
            },
        ),
        Node(id="decode", type="latent.decode_image",
             inputs={"vae": Link("load", "vae"), "latent": Link("sample", "latent")}),
    )  # fmt: skip
    return JobSpec(workflow=Workflow(nodes=nodes), targets=("decode",))


def outcome(folder: Path, card: SimulatedCard, steps: int = 2) -> tuple[Pixels | None, list[str]]:
    """(the picture or None for a clean refusal, what was said); checks that nothing of the run is left."""
    made = Room(folder, "sd15", card)
    services = Services(blobs=made, models=made, session=made.session)  # type: ignore[arg-type]  # no blob is read
    events: list[JobEvent] = []
    with card.watching():
        result = execute(
            job(steps), registry=REGISTRY, services=services, cache=ValueCache(1 << 24), on_event=events.append
        )
    picture: Pixels | None = None
    if result.outcome == "succeeded":
        picture = np.array(result.outputs["decode"]["image"])
    else:
        failure = result.failures[0]
        assert failure.hint  # what to do
        assert "memory" in failure.cause
    said = [str(event.data) for event in events if event.kind == "log"]
    del result, services
    made.session.free()
    assert card.settled() == 0
    return picture, said


def failed_at(folder: Path, whole: tuple[Pixels, int, int], count: int, seed: int) -> None:
    drawn = random.Random(seed)
    for _ in range(count):
        failing = drawn.sample(range(whole[1]), drawn.choice((1, 1, 1, 3)))
        picture, logs = outcome(folder, SimulatedCard(failing=failing), steps=2)
        if picture is not None and any("one side" in line for line in logs):
            np.testing.assert_allclose(picture, whole[0], atol=1e-5, err_msg=f"{failing} {logs}")  # other products
        elif picture is not None:
            np.testing.assert_array_equal(picture, whole[0], err_msg=f"{failing} {logs}")


def test_a_failure_anywhere_leaves_the_same_picture(folder: Path, whole: tuple[Pixels, int, int]) -> None:
    failed_at(folder, whole, 6, seed=1)


@pytest.mark.full
def test_five_hundred_failures(folder: Path, whole: tuple[Pixels, int, int]) -> None:
    failed_at(folder, whole, 500, seed=2)


@pytest.mark.parametrize("share", [0.9, 0.6, 0.5])
def test_a_smaller_card_makes_the_same_picture(folder: Path, whole: tuple[Pixels, int, int], share: float) -> None:
    card = SimulatedCard(int(whole[2] * share))
    picture, logs = outcome(folder, card, steps=2)
    np.testing.assert_array_equal(picture, whole[0])
    assert card.peak <= card.limit
    assert logs


def test_a_card_too_small_refuses_in_one_sentence(folder: Path) -> None:
    picture, logs = outcome(folder, SimulatedCard(100_000), steps=1)
    assert picture is None
    assert any("ran out" in line for line in logs)


def test_it_goes_on_from_the_last_finished_step(folder: Path) -> None:
    """The step fails in the solver, outside any network: only that step is made again."""
    card = SimulatedCard()
    made = Room(folder, "sd15", card)
    plain = made.run(sampler=SAMPLER, steps=4)
    seen: list[float] = []
    broken = [False]

    def progress(done: float, total: float, text: str = "") -> None:
        seen.append(done)
        if done == 2 and text.startswith("step") and not broken[0]:
            broken[0] = True
            raise torch.OutOfMemoryError("CUDA out of memory.")

    made.progress = progress  # type: ignore[method-assign]
    np.testing.assert_array_equal(made.run(sampler=SAMPLER, steps=4), plain)
    assert [int(done) for done in seen if done][:6] == [1, 2, 2, 3, 4, 1]
    assert [line for line in made.logs if "after step 2" in line]


def test_a_batch_goes_on_picture_by_picture(folder: Path) -> None:
    made = Room(folder, "sd15", SimulatedCard())
    plain = made.run(sampler=SAMPLER, steps=3, batch=2)
    count = [0]

    def progress(done: float, total: float, text: str = "") -> None:
        if done == 1 and text.startswith("step 1 of 3") and count[0] < 2:
            count[0] += 1
            raise torch.OutOfMemoryError("CUDA out of memory.")

    made.progress = progress  # type: ignore[method-assign]
    apart = made.run(sampler=SAMPLER, steps=3, batch=2)
    np.testing.assert_allclose(apart, plain, atol=1e-5)
    assert [line for line in made.logs if "one picture after the other" in line]


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        (torch.OutOfMemoryError("x"), True), (MemoryError(), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate"), True),
        (OSError(12, "Cannot allocate memory"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)  # fmt: skip
def test_what_counts_as_running_out(error: Exception, is_memory: bool) -> None:
    assert is_out_of_memory(error) is is_memory


def test_corrections_are_remembered(tmp_path: Path) -> None:
    path = tmp_path / "corrections.json"
    key = Corrections.key("model", 64, 64, 1, "card")
    Corrections(path).learn(key, below=700)
    again = Corrections(path)
    again.learn(key, below=900)  # known better
    again.learn(key, apart=True)
    assert Corrections(path).of(key) == Correction(700, True)
    path.write_text("[")
    assert Corrections(path).of(key) == Correction()


class _Preset(Card):
    """A card that is only spoken of."""

    def __init__(self, machine: Machine) -> None:
        super().__init__("cpu", machine.vram)
        self._machine = machine

    def machine(self) -> Machine:
        return self._machine


class _Known(Chooser):
    """What a model needs is said, not walked: weights of 1 + 12 + 0.2 GiB, and as much again by each megapixel."""

    def _footprint(self, model: Blueprint, request: Request) -> ModelFootprint:
        area = request.width * request.height * request.batch / 1024**2
        parts = (
            Footprint("text_encoder", "text", GIB, GIB, (), GIB // 4, GIB // 8, 1e11),
            Footprint("transformer", "denoiser", 12 * GIB, GIB, (GIB,) * 11, GIB // 2, round(area * GIB), 1e13),
            Footprint("vae", "vae", GIB // 5, GIB // 5, (), GIB // 9, round(area * GIB), 1e12),
        )
        tiles = {256: round(area * GIB / 16)}
        return ModelFootprint("flux", "dev", parts, tiles, 1, round(area * GIB / request.batch), 1)


def test_what_did_not_fit_is_not_chosen_again(tmp_path: Path) -> None:
    memory = Residency(_Preset(PRESETS[16]))
    model, request = Blueprint("flux", "dev"), Request()
    first = _Known(tmp_path).hold(memory, model, "one", request)
    assert first is not None
    assert memory.plan is first
    second = memory.next_plan("denoise")
    assert second is not None
    assert second.phases[1].peak < first.phases[1].peak
    again = _Known(tmp_path).hold(memory, model, "one", request)
    assert again is not None
    assert again.phases[1].peak < first.phases[1].peak
    other = _Known(tmp_path).hold(memory, model, "another", request)
    assert other == first


def test_nothing_fits_and_the_smallest_change_is_named() -> None:
    memory = Residency(_Preset(replace(PRESETS[4], vram=4 << 30, ram=64 << 30)))
    with pytest.raises(OutOfMemory) as refused:
        _Known().hold(memory, Blueprint("flux", "dev"), "one", Request(2048, 2048))
    assert "needs more than the 3.5 GiB of the card" in refused.value.what
    assert refused.value.fix == "Make it 768 × 768"


def test_a_model_that_cannot_be_foreseen_is_kept_whole_while_it_fits() -> None:
    memory = Residency(_Preset(PRESETS[8]))
    assert Chooser().hold(memory, Blueprint("no such family"), "one", Request()) is None
    assert memory.plan is None


def test_a_decode_that_does_not_fit_is_made_in_tiles(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At 256 × 256 only tiles of 128 fit, and the picture is near the whole one."""
    from engine.memory import attempts

    made = Room(folder, "sd15", SimulatedCard())
    ctx: Any = made
    family = made.session.autoencoder(made.handles()[2])
    latent = torch.randn(1, 4, 32, 32, generator=torch.Generator().manual_seed(0))
    whole = attempts.decoded(ctx, family, latent)
    own = type(family).decode

    def small(self: Any, samples: torch.Tensor) -> torch.Tensor:
        if samples.shape[-1] > 16:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return own(self, samples)

    monkeypatch.setattr(type(family), "decode", small)
    tiled = attempts.decoded(ctx, family, latent)
    assert tiled.shape == whole.shape
    assert float((tiled - whole).abs().mean()) < 0.1
    assert made.logs == ["Memory ran out; the picture is decoded in tiles of 128 pixels."]
    monkeypatch.setattr(type(family), "decode", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("CUDA")))
    with pytest.raises(OutOfMemory):
        attempts.decoded(ctx, family, latent)
