"""Our loop gives diffusers' pictures: the fast part of tests/benchmarks/parity.py."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from engine.sampling.names import SAMPLERS, SCHEDULES
from tests.benchmarks.parity import TASKS, TO_ROUNDING, Bench, Case, has_counterpart, starts_midway

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),  # diffusers' own, about its own
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

COMPARED = [sampler for sampler in SAMPLERS if has_counterpart(sampler, "normal")]
BOTH = [(a, b) for a in SAMPLERS for b in SCHEDULES if has_counterpart(a, b)]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("parity"))


def comparable(schedule: str) -> None:
    if schedule == "beta" and importlib.util.find_spec("scipy") is None:
        pytest.skip("diffusers needs SciPy for its own beta sigmas; ours does not")


def allowed(sampler: str) -> float:
    return 1e-5 if sampler in TO_ROUNDING else 0.0


@pytest.mark.parametrize(("sampler", "schedule"), BOTH)
def test_txt2img_is_bit_equal_to_diffusers(bench: Bench, sampler: str, schedule: str) -> None:
    comparable(schedule)
    assert bench.difference(Case(sampler, schedule, steps=4)) <= allowed(sampler)


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("sampler", COMPARED)
def test_other_spacings_and_v_prediction_are_bit_equal(bench: Bench, sampler: str, spacing: str) -> None:
    assert bench.difference(Case(sampler, "normal", spacing=spacing, prediction="v_prediction", steps=4)) <= allowed(
        sampler
    )


@pytest.mark.parametrize("task", TASKS[1:])
@pytest.mark.parametrize("sampler", COMPARED)
def test_img2img_and_inpainting_are_bit_equal(bench: Bench, sampler: str, task: str) -> None:
    if not starts_midway(sampler):
        pytest.skip("diffusers weighs the slopes of LMS wrongly when it starts midway")
    assert bench.difference(Case(sampler, "normal", task, steps=5, strength=0.6)) <= allowed(sampler)


@pytest.mark.parametrize("task", TASKS[1:])
def test_full_strength_starts_as_diffusers_starts_it(bench: Bench, task: str) -> None:
    for sampler in ("euler", "dpmpp_2m", "ddim"):
        assert bench.difference(Case(sampler, "normal", task, steps=4, strength=1.0)) == 0.0


def test_no_guidance_is_bit_equal(bench: Bench) -> None:
    assert bench.difference(Case("euler", "normal", steps=4, cfg=1.0)) == 0.0


def test_a_batch_is_the_same_but_for_the_decoders_batch_size(bench: Bench) -> None:
    # We decode item by item and diffusers all at once; convolutions round differently with the batch size.
    assert bench.difference(Case("dpmpp_2m_sde", "karras", steps=4, batch=3)) <= 1e-5


def test_the_comparison_sees_a_difference(bench: Bench, tmp_path: Path) -> None:
    ours = bench.ours(Case("euler", "normal", steps=4))
    theirs = bench.theirs(Case("euler", "normal", steps=4, seed=43))
    assert abs(ours - theirs).max() > 0.01
