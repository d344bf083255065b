"""After memory ran out: the run goes on and makes the same picture, or says plainly what would fit. Nothing stays."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.contracts.errors import OutOfMemory
from engine.contracts.references import ModelRef
from engine.graph.numerics import noting
from engine.memory.autoencoding import decoded, encoded
from engine.memory.blueprint import Blueprint
from engine.memory.choice import Chooser
from engine.memory.device import Card
from engine.memory.footprint import GIB, Footprint, ModelFootprint
from engine.memory.machine import PRESETS, Machine
from engine.memory.recovery import Correction, Corrections, is_out_of_memory
from engine.memory.request import Request
from engine.memory.residency import Residency
from tests.failure_room import SAMPLER, SCENES, Scene, Trial, folders, points, run_points, shared, tried
from tests.memory_room import Room, SimulatedCard

pytestmark = pytest.mark.filterwarnings("ignore:.*is deprecated:FutureWarning")  # diffusers' own


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return folders(tmp_path_factory.mktemp("models"), {"sd15"})


@pytest.fixture(scope="module")
def folder(models: dict[str, Path]) -> Path:
    return models["sd15"]


@pytest.fixture(scope="module")
def trial(folder: Path) -> Iterator[Trial]:
    made = Trial(Scene("sd15"), folder)
    gc.collect()
    gc.freeze()  # the collector is run after each failure; it need not look through every module each time
    yield made
    gc.unfreeze()
    made.room.session.free()


def test_a_failure_anywhere_leaves_the_same_picture(trial: Trial) -> None:
    ended = Counter(tried(trial, point) for point in points(trial, 12, seed=5))
    assert ended["equal"] >= 8
    assert ended["refused"] >= 1  # each allocation above a few bytes


@pytest.mark.full
def test_five_hundred_failures(tmp_path: Path) -> None:
    """Over 28 ways of running six families, in every phase: never anything but the picture or a refusal."""
    every = folders(tmp_path, {scene.family for scene in SCENES})
    ended: Counter[str] = Counter()
    for seed, scene, count in shared(500):
        ended += run_points(every, scene, count, seed)
    assert sum(ended.values()) == 500
    assert ended["equal"] >= 360  # seen: 392
    assert ended["to rounding"] <= 30  # seen: 12


@pytest.mark.parametrize("share", [0.9, 0.6, 0.5])
def test_a_smaller_card_makes_the_same_picture(trial: Trial, share: float) -> None:
    trial.card.limit = int(trial.peak * share)
    done = trial.run()
    np.testing.assert_array_equal(done.picture, trial.picture)
    assert trial.card.peak <= trial.card.limit
    assert done.said
    trial.card.limit = 1 << 40
    assert trial.end() == 0


def test_a_card_too_small_refuses_in_one_sentence(trial: Trial) -> None:
    trial.card.limit = 100_000
    done = trial.run()
    trial.card.limit = 1 << 40
    assert done.picture is None
    assert done.fix == "Make the picture smaller, or fewer at once"
    assert done.said[-1] == "Memory ran out; this is done again with nothing else on the card."
    assert trial.end() == 0


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


class _Tiled(Chooser):
    """What the autoencoder needs is said: 4 KiB a pixel."""

    def _footprint(self, model: Blueprint, request: Request) -> ModelFootprint:
        tiles = {edge: edge * edge << 12 for edge in (128, 256)}
        part = Footprint("transformer", "denoiser", 1, 1, (), 1, 1, 1.0)
        vae = Footprint("vae", "vae", 1, 1, (), 1, request.width * request.height << 12, 1.0)
        return ModelFootprint("sd15", "", (part, vae), tiles, 1, 1, 1)


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
    assert refused.value.fix == "Make it 1536 × 1536"


def test_a_model_that_cannot_be_foreseen_is_kept_whole_while_it_fits() -> None:
    memory = Residency(_Preset(PRESETS[8]))
    assert Chooser().hold(memory, Blueprint("no such family"), "one", Request()) is None
    assert memory.plan is None


def test_a_decode_that_does_not_fit_is_made_in_tiles(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At 256 × 256 only tiles of 128 fit, and the picture is near the whole one."""
    made = Room(folder, "sd15", SimulatedCard())
    ctx: Any = made
    family = made.session.autoencoder(made.handles()[2])
    latent = torch.randn(1, 4, 32, 32, generator=torch.Generator().manual_seed(0))
    whole = decoded(ctx, family, latent)
    own = type(family).decode

    def small(self: Any, samples: torch.Tensor) -> torch.Tensor:
        if samples.shape[-1] > 16:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return own(self, samples)

    monkeypatch.setattr(type(family), "decode", small)
    tiled = decoded(ctx, family, latent)
    assert tiled.shape == whole.shape
    assert float((tiled - whole).abs().mean()) < 0.1
    assert made.logs == ["Memory ran out; the picture is decoded in tiles of 128 pixels."]
    monkeypatch.setattr(type(family), "decode", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("CUDA")))
    with pytest.raises(OutOfMemory):
        decoded(ctx, family, latent)


def test_tiles_are_planned_before_anything_is_decoded_or_encoded(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a card of 640 MiB a picture of 512 goes through the autoencoder in tiles, with no failure before."""
    card = SimulatedCard(640 << 20)
    made = Room(folder, "sd15", card, chooser=_Tiled(tmp_path))
    ctx: Any = made
    family = made.session.autoencoder(made.handles()[2])
    seen: list[tuple[str, int]] = []

    def watched(name: str) -> None:
        own = getattr(type(family), name)

        def run(self: Any, given: torch.Tensor) -> torch.Tensor:
            seen.append((name, given.shape[-1]))
            done: torch.Tensor = own(self, given)
            return done

        monkeypatch.setattr(type(family), name, run)

    watched("encode")
    watched("decode")
    notes: dict[str, Any] = {}
    with noting(notes):
        latent = encoded(ctx, family, torch.zeros(1, 3, 512, 512))
        assert {edge for name, edge in seen if name == "encode"} <= {256, 64, 128}
        assert tuple(latent.shape) == (1, 4, 64, 64)
        assert tuple(decoded(ctx, family, latent).shape) == (1, 3, 512, 512)
    assert max(edge for name, edge in seen if name == "decode") == 256 // 8
    assert notes == {"vae_tile": 256}
    assert made.logs == []
    small: dict[str, Any] = {}
    with noting(small):
        decoded(ctx, family, latent[..., :8, :8])
    assert small == {}  # it fits whole


def test_a_model_that_does_not_fit_beside_others_is_loaded_without_them(folder: Path) -> None:
    made = Room(folder, "sd15", SimulatedCard())
    session = made.session
    ref = ModelRef(name="tiny")
    family: Any = session.family(ref)
    encoder = family._parts("text_encoder")
    assert session.memory is not None
    told: list[str] = []
    left = [1]

    def loaded() -> Any:
        if left[0]:
            left[0] -= 1
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")
        return torch.nn.Linear(2, 2)

    with session.memory.telling(told.append):
        first = session._load(("a",), loaded, "other", "first model")
    assert told == ["Memory ran out while a model was loaded; it is loaded again with no other kept."]
    assert session._load(("a",), loaded) is first
    assert family._parts("text_encoder") is not encoder  # it was let go of, and is read again
    left[0] = 2
    with pytest.raises(OutOfMemory) as refused:
        session._load(("b",), loaded, "other", "second model")
    assert refused.value.what == "there is too little memory to load the second model"
    assert refused.value.fix == "Close other programs, or use a smaller model or one with fewer bits"
    assert session._load(("b",), loaded) is not None  # the next job


def test_other_failures_of_loading_are_what_they_are(folder: Path) -> None:
    made = Room(folder, "sd15")

    def broken() -> Any:
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes"):
        made.session._load(("a",), broken)
