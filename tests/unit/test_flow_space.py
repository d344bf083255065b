"""The sigmas of flow models: bit for bit those that diffusers' pipelines give their scheduler."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler
from diffusers.pipelines.flux.pipeline_flux import calculate_shift
from diffusers.pipelines.flux2.pipeline_flux2 import compute_empirical_mu

from engine.contracts.errors import InvalidDocument, InvalidRequest
from engine.graph.values import Patch
from engine.sampling import schedules
from engine.sampling.flow_space import EmpiricalShift, FlowSpace, space_from_config
from engine.sampling.noise_space import NoiseSpace
from engine.sampling.patches import patched_space

FLUX = {"shift": 3.0, "use_dynamic_shifting": True, "base_shift": 0.5, "max_shift": 1.15}
QWEN = {
    "shift": 1.0, "use_dynamic_shifting": True, "base_shift": 0.5, "max_shift": 0.9, "base_image_seq_len": 256,
    "max_image_seq_len": 8192, "shift_terminal": 0.02, "time_shift_type": "exponential",
}  # fmt: skip
STATIC = {"shift": 3.0, "use_dynamic_shifting": False}
LINEAR = {**FLUX, "time_shift_type": "linear"}
SHAPE = (1, 16, 96, 64)  # 1,536 tokens
STEPS = (1, 4, 7, 20, 28, 50)


def even(steps: int) -> list[float]:
    return list(np.linspace(1.0, 1 / steps, steps))


def reference(config: dict[str, Any], steps: int, sigmas: list[float] | None, **more: Any) -> Any:
    """The scheduler as a pipeline sets it for a latent of SHAPE."""
    scheduler = FlowMatchEulerDiscreteScheduler(**config, **more)
    known = scheduler.config
    tokens = (SHAPE[2] // 2) * (SHAPE[3] // 2)
    mu = calculate_shift(
        tokens, known.base_image_seq_len, known.max_image_seq_len, known.base_shift, known.max_shift
    )  # fmt: skip
    given = {"num_inference_steps": steps} if sigmas is None else {"sigmas": sigmas}
    scheduler.set_timesteps(**given, mu=mu if known.use_dynamic_shifting else None)
    return scheduler


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("config", [FLUX, QWEN, STATIC, LINEAR], ids=["flux", "qwen", "static", "linear"])
def test_a_models_own_schedule_is_that_of_its_pipeline(config: dict[str, Any], steps: int) -> None:
    space = FlowSpace.from_config(config).resolved(SHAPE, steps)
    laid = schedules.build("normal", steps, space)
    if steps == 1:  # diffusers divides by nothing where one step is to be stretched
        assert laid.sigmas.tolist() == [1.0, 0.0]
        return
    wanted = reference(config, steps, even(steps))
    assert torch.equal(laid.sigmas, wanted.sigmas)
    assert torch.equal(laid.timesteps, wanted.timesteps)


@pytest.mark.parametrize("steps", STEPS)
def test_sd3_lays_its_steps_between_shifted_ends(steps: int) -> None:
    space = FlowSpace.from_config(STATIC, laid="ends")
    assert torch.equal(schedules.build("normal", steps, space).sigmas, reference(STATIC, steps, None).sigmas)


@pytest.mark.parametrize("steps", STEPS)
def test_z_image_lays_its_steps_in_single_precision(steps: int) -> None:
    given = torch.linspace(1.0, 1 / steps, steps).tolist()
    space = FlowSpace.from_config(STATIC, laid="even_single")
    assert torch.equal(schedules.build("normal", steps, space).sigmas, reference(STATIC, steps, given).sigmas)


@pytest.mark.parametrize("shape", [(1, 128, 64, 64), (1, 128, 96, 96)])
def test_flux_2_shifts_by_size_and_steps(shape: tuple[int, ...]) -> None:
    space = replace(FlowSpace.from_config(FLUX, patch=1), by_size=EmpiricalShift())
    for steps in (4, 28, 50):
        scheduler = FlowMatchEulerDiscreteScheduler(**FLUX)
        scheduler.set_timesteps(sigmas=even(steps), mu=compute_empirical_mu(shape[2] * shape[3], steps))
        assert torch.equal(schedules.build("normal", steps, space.resolved(shape, steps)).sigmas, scheduler.sigmas)


@pytest.mark.parametrize("name", ["karras", "exponential", "beta"])
@pytest.mark.parametrize("config", [FLUX, STATIC, QWEN], ids=["flux", "static", "qwen"])
def test_schedules_by_formula_are_the_schedulers(config: dict[str, Any], name: str) -> None:
    if name == "beta":
        pytest.importorskip("scipy")
    space = FlowSpace.from_config(config).resolved(SHAPE, 12)
    wanted = reference(config, 12, even(12), **{f"use_{name}_sigmas": True}).sigmas
    found = schedules.build(name, 12, space).sigmas
    assert torch.equal(found, wanted) if name != "beta" else torch.allclose(found, wanted, atol=1e-7)


def test_sgm_uniform_is_the_grid_of_diffusers_unipc() -> None:
    scheduler = UniPCMultistepScheduler(use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=3.0)
    scheduler.set_timesteps(9)
    laid = schedules.build("sgm_uniform", 9, FlowSpace(shift=3.0)).starting_below(1e-6)
    assert torch.equal(laid.sigmas, scheduler.sigmas)


@pytest.mark.parametrize("name", ["simple", "sgm_uniform", "ddim_uniform", "kl_optimal", "linear_quadratic"])
def test_every_schedule_falls_from_pure_noise_to_none(name: str) -> None:
    for space in (FlowSpace(shift=3.0), FlowSpace.from_config(QWEN).resolved(SHAPE, 11)):
        sigmas = schedules.build(name, 11, space).sigmas
        assert len(sigmas) == 12
        assert float(sigmas[0]) <= 1.0
        assert float(sigmas[0]) > (0.9 if name != "ddim_uniform" else 0.85)
        assert float(sigmas[-1]) == 0.0
        assert bool((sigmas[1:] < sigmas[:-1]).all())


def test_where_the_steps_divide_the_timesteps_simple_is_the_models_own() -> None:
    space = FlowSpace(shift=3.0)
    simple, own = (schedules.build(name, 20, space).sigmas for name in ("simple", "normal"))
    assert torch.allclose(simple, own, atol=1e-6)


def test_the_shift_grows_with_the_latent() -> None:
    space = FlowSpace.from_config(FLUX)
    middles = [schedules.build("normal", 8, space.resolved((1, 16, n, n), 8)).sigmas[4] for n in (32, 128, 256)]
    assert middles[0] < middles[1] < middles[2]
    assert torch.equal(
        schedules.build("normal", 8, space.resolved(None, 8)).sigmas,
        schedules.build("normal", 8, space.resolved((1, 16, 128, 128), 8)).sigmas,
    )  # where no size is known, that of 1024 × 1024 pixels


@pytest.mark.parametrize("space", [FlowSpace(shift=3.0), FlowSpace.from_config(FLUX).resolved(SHAPE, 1)])
def test_how_much_is_done_is_told_without_the_shift(space: FlowSpace) -> None:
    times = np.array([1.0, 0.75, 0.5, 0.2, 0.01])
    for time, sigma in zip(times, space.shifted(times), strict=True):
        assert space.done_at(space.timestep_of(float(sigma))) == pytest.approx(1.0 - time, abs=1e-6)
    assert space.done_at(0.0) == 1.0


def test_strength_is_counted_as_flow_pipelines_count_it() -> None:
    flow, discrete = FlowSpace(), NoiseSpace.from_config({})
    assert [flow.start_for(10, s) for s in (1.0, 0.55, 0.5, 0.0)] == [0, 4, 5, 10]
    assert [discrete.start_for(10, s) for s in (1.0, 0.55, 0.5, 0.0)] == [0, 5, 5, 10]


def test_a_shift_node_takes_the_place_of_the_models_own() -> None:
    space = FlowSpace.from_config(FLUX)
    fixed = patched_space(space, [Patch("shift", (("shift", 5.0),))])
    assert isinstance(fixed, FlowSpace)
    wanted = FlowMatchEulerDiscreteScheduler(shift=5.0)
    wanted.set_timesteps(sigmas=even(6))
    assert torch.equal(schedules.build("normal", 6, fixed.resolved(SHAPE, 6)).sigmas, wanted.sigmas)

    by_size = patched_space(space, [Patch("shift", (("shift", 5.0),)), Patch("shift_flux", (("mu", 0.7),))])
    assert isinstance(by_size, FlowSpace)
    halves = by_size.resolved(SHAPE, 6).shifted(np.array([0.5]))
    assert halves[0] == pytest.approx(math.exp(0.7) / (math.exp(0.7) + 1))


@pytest.mark.parametrize(
    ("patch", "said"),
    [
        (Patch("prediction", (("prediction", "eps"), ("zero_snr", False))), "flow, and nothing else"),
        (Patch("freeu", ()), "needs a UNet"),
        (Patch("shift", (("shift", 0.0),)), "above 0"),
        (Patch("dreams", ()), "no use for “dreams”"),
    ],
)
def test_patches_that_mean_nothing_to_a_flow_are_refused(patch: Patch, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        patched_space(FlowSpace(), [patch])


def test_noise_levels_above_one_are_refused() -> None:
    sigmas = np.array([14.6, 3.0, 0.0], np.float32)
    with pytest.raises(InvalidRequest, match=r"go up to 14\.6, and a flow model’s end at 1"):
        schedules.explicit(sigmas, FlowSpace(), "flow")


def test_a_list_of_noise_levels_runs_as_the_schedule_it_came_from() -> None:
    space = FlowSpace.from_config(FLUX).resolved(SHAPE, 9)
    laid = schedules.build("normal", 9, space)
    again, until = schedules.explicit(laid.sigmas.numpy(), space, "flow")
    assert until == 9
    assert torch.equal(again.sigmas, laid.sigmas)
    assert torch.equal(again.timesteps, laid.timesteps)


def test_a_scheduler_config_says_which_noise_it_means() -> None:
    assert isinstance(space_from_config({"_class_name": "FlowMatchEulerDiscreteScheduler", **FLUX}), FlowSpace)
    assert isinstance(space_from_config({"_class_name": "EulerDiscreteScheduler"}), NoiseSpace)


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"shift": "much"}, "shift"),
        ({"use_dynamic_shifting": True, "time_shift_type": "cubic"}, "time_shift_type"),
        ({"use_dynamic_shifting": True, "base_image_seq_len": 4096}, "base_image_seq_len"),
        ({"shift_terminal": 2.0}, "shift_terminal"),
        ({"invert_sigmas": True}, "invert_sigmas"),
    ],
)
def test_a_wrong_field_is_named(config: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidDocument, match=field):
        FlowSpace.from_config(config)


def test_the_config_of_a_space_means_that_space() -> None:
    for config in (FLUX, QWEN, STATIC, LINEAR):
        space = FlowSpace.from_config(config)
        assert FlowSpace.from_config(space.as_config()).resolved(SHAPE, 5).own_sigmas(5) == pytest.approx(
            space.resolved(SHAPE, 5).own_sigmas(5), abs=0
        )
