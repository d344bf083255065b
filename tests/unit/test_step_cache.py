"""The lossy step cache: the rule, that it forgets nothing and mixes nothing, and every family with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from engine.families.protocol import BindRequest
from engine.graph.numerics import noting
from engine.graph.values import ConditioningEntry, Patch
from engine.interchange.comfyui.importer import import_comfyui
from engine.nodes.condition.text import encode_text
from engine.nodes.latent.empty import empty
from engine.nodes.latent.picture import decode_image
from engine.nodes.model import patches as nodes
from engine.nodes.sample.k_sampler import k_sampler
from engine.nodes.sample.tiled import tiled_sampler
from engine.sampling.step_cache import Settings, StepCache, turns
from tests.families import room
from tests.memory_room import Room, SimulatedCard
from tests.unit.sampling_room import Recorder, handles

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),  # diffusers' own, about its own
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:diffusers"),
]


ANY = 1e9  # a threshold that nothing reaches


def patch(threshold: float = 0.2, start: float = 0.15, end: float = 0.95) -> Patch:
    return Patch("step_cache", (("threshold", threshold), ("start", start), ("end", end)))


class Echo:
    """A bound network whose two sides say twice and three times what they are given; it counts the calls."""

    def __init__(self) -> None:
        self.calls = 0

    def sides(self, x: torch.Tensor, timestep: torch.Tensor, fraction: float) -> tuple[torch.Tensor, ...]:
        self.calls += 1
        return 2 * x, 3 * x

    def combined(self, sides: Sequence[torch.Tensor], x: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        return sides[0] + 10 * sides[1] ** 2  # no straight line: the sides must be stood in for one by one

    def predict(self, x: torch.Tensor, timestep: torch.Tensor, fraction: float) -> torch.Tensor:
        return self.combined(self.sides(x, timestep, fraction), x, timestep)


NONE: tuple[ConditioningEntry, ...] = ()
REQUEST = BindRequest(NONE, NONE, 1.0, (1, 1, 2, 2))


def at(*values: float) -> torch.Tensor:
    return torch.stack([torch.full((1, 2, 2), value) for value in values])


def told(steps: StepCache, x: torch.Tensor, fraction: float) -> torch.Tensor:
    return steps.predict(x, torch.tensor(500.0), fraction)


def test_the_estimate_is_added_up_until_the_threshold_and_the_sides_are_stood_in_for() -> None:
    echo = Echo()
    steps = StepCache(Settings(0.2, 0.0, 1.0), echo, REQUEST)
    told(steps, at(1.0), 0.0)  # nothing is known
    told(steps, at(1.1), 0.1)  # the rate is not known yet: the faster side's is 3
    assert echo.calls == 2
    found = told(steps, at(1.12), 0.2)  # 3 · 0.02 / 2.2, the smaller side: 0.027
    assert echo.calls == 2
    stand_in = (1.12 + 1.1, 1.12 + 2.2)  # the input with the last difference to the answer
    torch.testing.assert_close(found, at(stand_in[0] + 10 * stand_in[1] ** 2))
    told(steps, at(1.2), 0.3)  # 0.027 + 3 · 0.1 / 2.2 = 0.164
    assert echo.calls == 2
    assert steps.memory is not None
    torch.testing.assert_close(steps.memory.spent, torch.tensor([0.16364]), rtol=1e-3, atol=0)
    exact = told(steps, at(1.25), 0.4)  # and 0.205 more
    assert echo.calls == 3
    torch.testing.assert_close(exact, at(2.5 + 10 * 3.75**2))
    assert float(steps.memory.spent) == 0.0
    assert steps.told() == "0.2 from 0 to 1, 2 of 5 calls left out"


def test_nothing_is_left_out_outside_of_its_share_of_the_run() -> None:
    echo = Echo()
    steps = StepCache(Settings(3.0, 0.3, 0.7), echo, REQUEST)
    for number in range(10):
        told(steps, at(1.0 + number / 1000), number / 10)
    assert steps.memory is not None
    assert (echo.calls, steps.memory.left) == (6, 4)  # 0.3 to 0.6


def test_a_prompt_or_a_control_that_comes_or_goes_is_heard() -> None:
    def entry(start: float, end: float, **extras: Any) -> ConditioningEntry:
        return ConditioningEntry(torch.zeros(1, 1, 1), steps=(start, end), extras=tuple(extras.items()))

    class Control:
        steps = (0.25, 1.0)

    adapter = Patch("ip_adapter", (("start", 0.0), ("end", 0.9)))
    request = replace(
        REQUEST, positive=(entry(0.0, 0.5), entry(0.5, 1.0)), negative=(entry(0.0, 1.0, controls=(Control(),)),),
        patches=(adapter, patch()),
    )  # fmt: skip
    assert turns(request) == (0.25, 0.5, 0.9)
    echo = Echo()
    steps = StepCache(Settings(3.0, 0.0, 1.0), echo, request)
    asked = []
    for number in range(10):
        before = echo.calls
        told(steps, at(1.0 + number / 1000), number / 10)
        asked.append(echo.calls > before)
    # Two calls to measure the rate, then one after each turn, and one to measure it anew.
    assert [place for place, heard in enumerate(asked) if heard] == [0, 1, 3, 4, 5, 6, 9]


def test_a_picture_is_the_same_alone_and_in_company() -> None:
    quiet, loud = [1.0, 1.01, 1.012, 1.013, 1.014, 1.015], [1.0, 1.5, 1.0, 1.5, 1.0, 1.5]
    both = StepCache(Settings(0.1, 0.0, 1.0), Echo(), replace(REQUEST, shape=(2, 1, 2, 2)))
    alone = [StepCache(Settings(0.1, 0.0, 1.0), Echo(), REQUEST) for _ in "ab"]
    for number, pair in enumerate(zip(quiet, loud, strict=True)):
        together = told(both, at(*pair), number / 10)
        each = [told(steps, at(value), number / 10) for steps, value in zip(alone, pair, strict=True)]
        assert torch.equal(together, torch.cat(each))
    (first, second), whole = (steps.memory for steps in alone), both.memory
    assert first is not None
    assert second is not None
    assert whole is not None
    assert (first.left, second.left, whole.left) == (4, 0, 0)  # a call is saved when all do without
    assert torch.equal(whole.of(0).x, first.x)
    assert torch.equal(whole.of(1).spent, second.spent)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return room.tiny_folders(tmp_path_factory.mktemp)


@pytest.mark.parametrize("family", room.families())
def test_every_family_is_asked_less_often(folder: Any, family: str) -> None:
    made = Room(folder(family), family)
    calls = []
    model, *_ = made.handles()
    made.session.network_of(made.session.denoiser(model)).register_forward_hook(lambda *_: calls.append(1))
    exact = made.run(steps=6)
    whole = len(calls)
    assert np.array_equal(made.run(steps=6, patches=(patch(threshold=0.0),)), exact)
    calls.clear()
    notes: dict[str, Any] = {}
    with noting(notes):
        cached = made.run(steps=6, patches=(patch(threshold=ANY, end=0.8),))
    per_call = whole // 6
    assert whole == 6 * per_call
    assert len(calls) == 3 * per_call  # the first two and the last: of 0.33, 0.5 and 0.67 none is asked
    assert notes == {"step_cache": "1e+09 from 0.15 to 0.8, 3 of 6 calls left out"}
    assert not np.array_equal(cached, exact)
    assert np.array_equal(made.run(steps=6, patches=(patch(threshold=ANY, end=0.8),)), cached)


@pytest.mark.parametrize(("sampler", "batch"), [("euler_ancestral", 1), ("dpmpp_2m", 2)])
def test_a_run_taken_up_again_after_memory_ran_out_leaves_out_the_same_steps(
    folder: Any, sampler: str, batch: int
) -> None:
    wanted: dict[str, Any] = {"steps": 6, "sampler": sampler, "patches": (patch(threshold=0.5),), "batch": batch}
    where = folder("sd15")  # before allocations are counted
    card, notes = SimulatedCard(), dict[str, Any]()
    with card.watching(), noting(notes):
        first = Room(where, "sd15", card)
        after: dict[float, int] = {}  # allocations until each step was done
        first.progress = lambda done, total, text="": after.setdefault(done, card.allocations)  # type: ignore[method-assign, assignment]
        plain = first.run(**wanted)
    left = int(notes["step_cache"].split(", ")[1].split()[0])
    assert 1 <= left <= 4
    again = SimulatedCard(failing=(after[4] + 3,))  # beside the network, so that the run goes on from its last step
    with again.watching():
        made = Room(where, "sd15", again)
        picture = made.run(**wanted)
    assert any("Memory ran out" in line or "ran out of memory" in line for line in made.logs)
    if batch == 1:
        assert np.array_equal(picture, plain)
    else:
        np.testing.assert_allclose(picture, plain, atol=1e-5)


def test_a_picture_in_windows_is_asked_for_less_often(folder: Any) -> None:
    made = Room(folder("sd15"), "sd15")
    ctx: Any = made
    model, clip, _ = made.handles()
    prompts = encode_text(ctx, clip, "a boat"), encode_text(ctx, clip, "")
    calls = []
    made.session.network_of(made.session.denoiser(model)).register_forward_hook(lambda *_: calls.append(1))

    def large(model: Any) -> torch.Tensor:
        calls.clear()
        latent = empty(ctx, 128, 64, 1)
        return tiled_sampler(
            ctx, model, *prompts, latent, seed=3, steps=6, tile_size=64, overlap=16, cfg=2.0, sampler="euler",
            scheduler="normal",
        ).samples  # fmt: skip

    exact, whole = large(model), len(calls)
    cached = large(replace(model, patches=(patch(threshold=ANY, end=0.8),)))
    assert len(calls) == whole // 2
    assert float((cached - exact).abs().max()) > 0


def test_on_the_starter_half_of_the_calls_make_nearly_the_picture() -> None:
    ctx: Any = Recorder()
    model, vae, positive, negative = handles(ctx)

    def picture(model: Any) -> Any:
        latent = empty(ctx, 64, 64, 1)
        made = k_sampler(ctx, model, positive, negative, latent, seed=3, steps=20, sampler="euler", scheduler="normal")
        return np.clip(decode_image(ctx, vae, made), 0, 1)

    exact = picture(model)
    notes: dict[str, Any] = {}
    with noting(notes):
        cached = picture(nodes.step_cache(ctx, model))
    left = int(notes["step_cache"].split(", ")[1].split()[0])
    assert left >= 7  # 9 of 20 here
    error = float(np.mean((cached - exact) ** 2))
    assert error > 0
    assert -10 * np.log10(error) >= 38  # 44.6 dB here


@pytest.mark.parametrize("name", ["EasyCache", "LazyCache"])
def test_comfyuis_nodes_come_over_with_their_thresholds(name: str) -> None:
    prompt = {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "one.safetensors"}},
        "2": {
            "class_type": name,
            "inputs": {
                "model": ["1", 0], "reuse_threshold": 0.3, "start_percent": 0.2, "end_percent": 0.9, "verbose": False
            },
        },
    }  # fmt: skip
    found = next(node for node in import_comfyui(prompt, "test").workflow.nodes if node.type == "model.step_cache")
    given = {key: value for key, value in found.inputs.items() if key != "model"}
    assert given == {"threshold": 0.3, "start": 0.2, "end": 0.9}
