"""What runs took is remembered, and the next plan is made with it; the window and the engine see the same machine."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from engine.contracts.job_spec import JobSpec
from engine.contracts.references import ModelRef
from engine.contracts.workflow import Workflow
from engine.graph.registry import Registry
from engine.memory.blueprint import Blueprint
from engine.memory.choice import Chooser
from engine.memory.device import Card
from engine.memory.footprint import GIB, Footprint, ModelFootprint
from engine.memory.machine import PRESETS, Machine
from engine.memory.measured import MOST, Measurements, Pace, Run, corrected
from engine.memory.planner import Phase, Plan, choose, steps_of, working
from engine.memory.request import Request
from engine.memory.residency import Residency
from engine.memory.words import time as in_words
from engine.models.file_info import identify_checkpoint
from studio_app.machine_memory import MemoryUse
from studio_app.models.index import ModelIndex
from studio_app.planning import Planned, Planner, machine_here
from studio_app.settings.store import Settings
from tests.families import room
from tests.memory_room import Room, SimulatedCard
from tests.unit.graph_nodes import n

MIB = 1 << 20


class Preset(Card):
    """A card that is only spoken of."""

    def __init__(self, machine: Machine) -> None:
        super().__init__("cpu", machine.vram)
        self._machine = machine

    @property
    def name(self) -> str:
        return self._machine.name

    def machine(self) -> Machine:
        return self._machine


class Known(Chooser):
    """A model whose footprint is said: 12 GiB in blocks, and 2 GiB alive beside them."""

    def _footprint(self, model: Blueprint, request: Request) -> ModelFootprint:
        parts = (
            Footprint("text_encoder", "text", GIB, GIB, (), GIB // 4, GIB // 8, 1e11),
            Footprint("transformer", "denoiser", 12 * GIB, GIB, (GIB,) * 11, GIB // 2, 2 * GIB, 1e13),
            Footprint("vae", "vae", GIB // 5, GIB // 5, (), GIB // 9, GIB // 2, 1e12),
        )
        return ModelFootprint("flux", "dev", parts, {256: GIB // 16}, 1, 2 * GIB, 1)


MODEL = Blueprint("flux", "dev")


def held(chooser: Chooser, card: Card, request: Request) -> tuple[Residency, int]:
    memory = Residency(card)
    plan = chooser.hold(memory, MODEL, "one", request)
    assert plan is not None
    return memory, next(phase.peak for phase in plan.phases if phase.name == "denoise")


def test_the_next_plan_keeps_more_on_the_card_once_less_was_seen(tmp_path: Path) -> None:
    request, machine = Request(steps=4), replace(PRESETS[16], vram=14 * GIB, ram=64 * GIB)
    chooser = Known(tmp_path)
    memory, first = held(chooser, Preset(machine), request)
    assert memory.plan is not None
    assert memory.plan.residency == "pinned"
    memory.seen["denoiser", 0, 0] = GIB // 2
    chooser.learn(memory, 0.0)
    memory, second = held(Known(tmp_path), Preset(machine), request)
    assert memory.plan is not None
    assert memory.plan.residency == "text_first"
    # Never less than was measured, and not much more.
    assert 12 * GIB + GIB // 2 <= second - GIB // 5 <= 12 * GIB + round(1.15 * GIB / 2)
    other, third = held(Known(tmp_path), Preset(machine), replace(request, width=512))
    assert third == first
    assert other.plan != memory.plan


def test_more_was_seen_than_foreseen_and_the_next_plan_leaves_that_much(tmp_path: Path) -> None:
    machine = replace(PRESETS[16], ram=64 * GIB)
    chooser = Known(tmp_path)
    memory, first = held(chooser, Preset(machine), Request())
    before = memory.plan
    assert before is not None
    memory.seen["denoiser", 0, 0] = 5 * GIB
    chooser.learn(memory, 0.0)
    memory, _ = held(Known(tmp_path), Preset(machine), Request())
    assert memory.plan is not None
    assert (before.residency, memory.plan.residency) == ("text_first", "pinned")
    weights = (2 + 1 + memory.plan.pinned) * GIB
    assert first != memory.plan.phases[1].peak
    assert memory.plan.phases[1].peak >= weights + 5 * GIB


def test_what_ran_out_of_memory_teaches_nothing(tmp_path: Path) -> None:
    chooser = Known(tmp_path)
    memory, _ = held(chooser, Preset(PRESETS[24]), Request())
    memory.seen["denoiser", 0, 0] = GIB
    memory._plan = replace(memory.plan, pinned=3) if memory.plan is not None else None
    chooser.learn(memory, 1.0)
    assert not (tmp_path / "measured.json").exists() or not json.loads((tmp_path / "measured.json").read_text())["runs"]


def test_a_decode_is_remembered_when_the_next_run_begins(tmp_path: Path) -> None:
    chooser, card = Known(tmp_path), Preset(PRESETS[24])
    memory, _ = held(chooser, card, Request())
    plan = memory.plan
    assert plan is not None
    memory.seen["vae", 128, 128] = 3 * GIB
    memory.seen["vae", 32, 32] = GIB  # a tile: of no plan held to
    again = chooser.hold(memory, MODEL, "one", Request())
    assert again is not None
    base = plan.phases[2].peak - working(GIB // 2)
    assert again.phases[2].peak == base + working(GIB // 2, 3 * GIB)


def test_steps_say_how_fast_the_card_and_its_line_are(tmp_path: Path) -> None:
    chooser, machine = Known(tmp_path), replace(PRESETS[24], ram=64 * GIB)
    memory, _ = held(chooser, Preset(machine), Request())
    assert memory.plan is not None
    assert not memory.plan.waits
    chooser.learn(memory, 0.5)
    facts = chooser.measured.card(machine.name)
    assert facts.rates["flux"] == pytest.approx(1e13 / 0.5)
    assert (facts.pid, facts.budget, facts.bandwidth) == (os.getpid(), machine.vram, machine.bandwidth)
    small = replace(PRESETS[8], ram=64 * GIB, name=machine.name)
    memory, _ = held(chooser, Preset(small), Request())
    plan = memory.plan
    assert plan is not None
    assert plan.waits
    assert plan.step == pytest.approx(sum([GIB] * (11 - plan.pinned)) / small.bandwidth)
    chooser.learn(memory, 2 * plan.step)
    assert chooser.measured.card(machine.name).line["flux"] == pytest.approx(small.bandwidth / 2)
    memory, _ = held(Known(tmp_path), Preset(small), Request())
    assert memory.plan is not None
    assert memory.plan.step == pytest.approx(2 * plan.step * (11 - memory.plan.pinned) / (11 - plan.pinned))


def test_peaks_fall_slowly_and_rise_at_once() -> None:
    kept = Measurements()
    kept.learn("run", Run({"denoise": 1000, "decode": 10}, 2.0))
    kept.learn("run", Run({"denoise": 400}))
    assert kept.run("run") == Run({"denoise": 900, "decode": 10}, 2.0)
    kept.learn("run", Run({"denoise": 2000}, 1.0))
    assert kept.run("run") == Run({"denoise": 2000, "decode": 10}, 1.0)


def test_the_file_is_bounded_shared_and_may_be_broken(tmp_path: Path) -> None:
    path = tmp_path / "measured.json"
    one, other = Measurements(path), Measurements(path)
    for number in range(MOST + 20):
        one.learn(str(number), Run({"denoise": number}))
    assert len(json.loads(path.read_text())["runs"]) == MOST
    assert other.run("5") is None
    assert other.run(str(MOST + 19)) == Run({"denoise": MOST + 19})
    assert [file.name for file in tmp_path.iterdir()] == ["measured.json"]
    path.write_text('{"version": 1, "runs": {"a": 3, "b": {"seen": []}}, "cards": {"c": {"rates": 4}}}')
    broken = Measurements(path)
    assert broken.run("a") is None
    assert broken.run("b") is None
    assert broken.card("c").rates == {}
    path.write_text("[")
    assert Measurements(path).run("a") is None


def test_steps_and_loras_change_no_measurement_but_sizes_do() -> None:
    key = Measurements.key("one", Request(), "card", "float16")
    assert Measurements.key("one", Request(steps=3, adapters=2), "card", "float16") == key
    for other in (Request(1024, 512), Request(batch=2), Request(controls=1), Request(window=512)):
        assert Measurements.key("one", other, "card", "float16") != key
    assert Measurements.key("one", Request(), "card", "bfloat16") != key


def test_a_model_never_measured_is_planned_by_arithmetic(tmp_path: Path) -> None:
    footprint = Known()._footprint(MODEL, Request())
    assert corrected(Measurements(), "one", "bfloat16", footprint, Request(), PRESETS[8]) == (footprint, PRESETS[8])


def test_what_was_seen_counts_only_for_runs_made_that_way() -> None:
    footprint = replace(Known()._footprint(MODEL, Request()), halves=2, seen={steps_of(16, apart=False): 3 * GIB})
    plan = choose(footprint, Request(), replace(PRESETS[24], ram=64 * GIB), "exact")
    assert plan is not None
    assert plan.phases[1].peak >= 12 * GIB + 3 * GIB
    assert steps_of(8, apart=True) == "apart/8"


def test_the_pace_of_steps() -> None:
    now = [0.0]
    told: list[int] = []
    pace = Pace(lambda state, first, total: told.append(state.index), lambda: now[0])

    class State:
        index = 0

    for index, at in ((0, 0.0), (1, 30.0), (2, 32.0), (3, 34.0)):  # the first loads the model
        state: Any = State()
        state.index, now[0] = index, at
        pace(state, 0, 3)
    now[0] = 34.5
    assert pace.step() == pytest.approx(4.5 / 2)
    assert told == [0, 1, 2, 3]
    state = State()
    state.index = 2  # a step made again
    pace(state, 0, 3)
    assert pace.step() == 0.0


class _Index:
    """The index of models, with the one in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def entry(self, ref: ModelRef) -> Any:
        info = identify_checkpoint(self._folder)
        return SimpleNamespace(name=ref.name, path=self._folder, family=info.family, info=info)


def asked(edge: int, steps: int) -> Workflow:
    return Workflow(
        nodes=(
            n("load", "load.checkpoint", checkpoint=ModelRef(name="tiny")),
            n("prompt", "condition.encode_text", clip="@load.clip", text="a boat"),
            n("empty", "latent.empty", width=edge, height=edge),
            n("sampler", "sample.k_sampler", model="@load.model", positive="@prompt.conditioning",
              negative="@prompt.conditioning", latent="@empty.latent", steps=steps, cfg=4.0),
        )
    )  # fmt: skip


def test_the_processor_says_how_long_once_it_has_done_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine measures, the window reads; of a size never made nothing is said."""
    monkeypatch.setattr("studio_app.planning.card_memory", lambda: None)
    folder = room.family_module("sd15").tiny(tmp_path / "sd15")
    kept = tmp_path / "cache"
    planner = Planner(cast(ModelIndex, _Index(folder)), kept / "estimates.json")
    registry, settings = Registry.builtin(), cast(Settings, None)

    def planned(edge: int, steps: int) -> Planned:
        found = planner.in_create(JobSpec(workflow=asked(edge, steps)), settings, registry)
        assert found is not None
        return found

    before = planned(room.EDGE, 8)
    assert before.seconds == 0
    assert before.words.endswith("of main memory.")
    Room(folder, "sd15", None, chooser=Chooser(kept)).run(steps=4)
    after = planned(room.EDGE, 8)
    (run,) = json.loads((kept / "measured.json").read_text())["runs"].values()
    assert run["step"] > 0
    assert after.seconds == pytest.approx(8 * run["step"])
    assert after.words == f"{before.words[:-1]}, about {in_words(after.seconds)}."
    assert planned(2 * room.EDGE, 8).seconds == 0


def test_the_window_and_the_engine_plan_for_the_same_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is free, not what there is; once the engine has planned in this process, with what it holds itself."""
    used = MemoryUse("A card", 6 * GIB, 16 * GIB, card=True)
    monkeypatch.setattr("studio_app.planning.card_memory", lambda: used)
    held = {"engine.vram_gib": 0.0, "engine.leave_gib": 1.0, "engine.device": "auto"}
    settings = SimpleNamespace(get=held.__getitem__)
    here = machine_here(cast(Settings, settings))
    assert here is not None
    assert (here.vram, here.name, here.flops) == (9 * GIB, "A card", PRESETS[16].flops)
    held |= {"engine.vram_gib": 4.0, "engine.leave_gib": 0.0}
    chosen = machine_here(cast(Settings, settings))
    assert chosen is not None
    assert chosen.vram == 4 * GIB
    held["engine.device"] = "cpu"
    assert machine_here(cast(Settings, settings)) is None
    planner = Planner(cast(ModelIndex, None), tmp_path / "estimates.json")
    asked_for = Request(guidance=False)
    before = planner.model(MODEL, asked_for, here)
    assert before.room == 9 * GIB
    # The engine finds a slower line and holds 5 GiB itself, which the driver counts as used.
    engine = replace(here, vram=14 * GIB, bandwidth=5e9)
    kept = Measurements(tmp_path / "measured.json")
    kept.note_card(engine)
    kept.note_rate("A card", "flux", operations=2e13)
    after = planner.model(MODEL, asked_for, here)
    memory = Residency(Preset(engine))
    held_to = Chooser(tmp_path).hold(memory, MODEL, "", asked_for)
    assert after.room == 14 * GIB
    assert after.plan == held_to
    assert before.plan != after.plan
    # Another process wrote it: its own memory is not ours.
    facts = json.loads((tmp_path / "measured.json").read_text())
    facts["cards"]["A card"]["pid"] = os.getpid() + 1
    (tmp_path / "measured.json").write_text(json.dumps(facts))
    assert Planner(cast(ModelIndex, None), tmp_path / "estimates.json").model(MODEL, asked_for, here).room == 9 * GIB


def test_a_real_run_on_a_simulated_card_is_measured(tmp_path: Path) -> None:
    """What the residency sees beside the weights is what the card counted."""
    folder = room.family_module("sd15").tiny(tmp_path / "sd15")
    card = SimulatedCard()
    made = Room(folder, "sd15", card)
    assert made.session.memory is not None
    with card.watching():
        made.run(steps=2)
    seen = made.session.memory.seen
    assert {role for role, _, _ in seen} == {"text", "denoiser", "vae"}
    assert 0 < seen["denoiser", 0, 0] < card.peak
    before = seen["denoiser", 0, 0]
    made = Room(folder, "sd15", again := SimulatedCard())
    assert made.session.memory is not None
    with again.watching():
        made.run(steps=2, batch=3)
    assert made.session.memory.seen["denoiser", 0, 0] > 2 * before


def test_a_text_encoder_planned_by_blocks_is_kept_so_and_reads_the_same(tmp_path: Path) -> None:
    """Its phase is planned with less of the card than its weights: it streams before it could fail."""
    folder = room.family_module("sd15").tiny(tmp_path / "sd15")
    made = Room(folder, "sd15", SimulatedCard())
    memory = made.session.memory
    assert memory is not None
    whole = made.run(steps=1)
    (text,) = (part for part in memory.parts if part.role == "text")
    phases = (Phase("text", text.weights // 2, 0.0), Phase("denoise", 0, 0.0))
    plan = Plan(0, "all", 16, 0, 0, False, phases, 0, 0.0, False)
    kinds = []
    for each in (replace(plan, phases=(Phase("text", 2 * text.weights, 0.0), phases[1])), plan):
        memory.hold_to(each)
        kinds.append(text.treatment.kind)
    assert kinds == ["whole", "blocks"]
    np.testing.assert_array_equal(made.run(steps=1), whole)
    assert not made.logs
