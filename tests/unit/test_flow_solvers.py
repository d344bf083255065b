"""Samplers on flow models: diffusers' steps bit for bit, and a problem whose answer is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    UniPCMultistepScheduler,
)

from engine.sampling import schedules
from engine.sampling.flow_space import FlowSpace
from engine.sampling.names import SAMPLERS, STOCHASTIC_SAMPLERS
from engine.sampling.noise import draw, generators_for
from engine.sampling.schedules import Schedule
from engine.sampling.solvers import Solver, solver_named
from engine.sampling.state import Run, SolverState

SPACE = FlowSpace(shift=3.0)
SHAPE = (2, 4, 6, 6)
STEPS = 9
FLOW: dict[str, Any] = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
Network = Callable[[torch.Tensor, float], torch.Tensor]


def wavy(x: torch.Tensor, sigma: float) -> torch.Tensor:
    """A network without meaning, smooth in both."""
    return torch.sin(3 * x) + x * (0.5 + sigma)


def run_of(schedule: Schedule, network: Network = wavy, noise: Any = None) -> Run:
    return Run(
        schedule, lambda x, t, step: network(x, float(t) / SPACE.length), "flow", noise=noise,
        timestep_of=SPACE.timestep_of,
    )  # fmt: skip


def walked(solver: Solver, run: Run, start: torch.Tensor, indices: int = 2) -> torch.Tensor:
    state = SolverState(0, start, generators_for(7, range(indices)))
    while state.index < run.schedule.steps:
        state = solver.step(state, run)
    return state.latent


def laid(solver: Solver, name: str = "normal", steps: int = STEPS) -> Schedule:
    return schedules.build(name, steps, SPACE).starting_below(solver.below_one)


def starting(shape: tuple[int, ...] = SHAPE) -> torch.Tensor:
    return draw(generators_for(1, range(shape[0])), torch.empty(shape))


@pytest.mark.parametrize("steps", [1, 4, STEPS])
def test_euler_is_diffusers(steps: int) -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    scheduler.set_timesteps(sigmas=[1 - i / steps for i in range(steps)])
    x = starting()
    for t in scheduler.timesteps:
        x = scheduler.step(wavy(x, float(t) / 1000), t, x, return_dict=False)[0]
    solver = solver_named("euler", flow=True)
    assert torch.equal(walked(solver, run_of(laid(solver, steps=steps)), starting()), x)


def test_heun_is_diffusers() -> None:
    scheduler = FlowMatchHeunDiscreteScheduler(shift=3.0)
    scheduler.set_timesteps(STEPS)
    x = starting()
    for t in scheduler.timesteps:
        x = scheduler.step(wavy(x, float(t) / 1000), t, x, return_dict=False)[0]
    space = FlowSpace(shift=3.0, laid="ends")  # its constructor shifts the ends too
    schedule = schedules.build("normal", STEPS, space)
    assert torch.equal(schedule.sigmas[:-1], torch.unique(scheduler.sigmas[:-1]).flip(0))
    assert torch.equal(walked(solver_named("heun", flow=True), run_of(schedule), starting()), x)


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # numpy's, inside diffusers' constructor
@pytest.mark.parametrize(
    ("sampler", "kind", "more"),
    [
        ("dpmpp_2m", DPMSolverMultistepScheduler, {}),
        ("dpmpp_2m_sde", DPMSolverMultistepScheduler, {"algorithm_type": "sde-dpmsolver++"}),
        ("uni_pc", UniPCMultistepScheduler, {"solver_type": "bh1"}),
        ("uni_pc_bh2", UniPCMultistepScheduler, {"solver_type": "bh2"}),
    ],
)
def test_multistep_samplers_take_diffusers_steps(sampler: str, kind: Any, more: dict[str, Any]) -> None:
    """On the same noise levels; how those are laid is the model's affair here, whatever the sampler."""
    solver = solver_named(sampler, flow=True)
    schedule = laid(solver)
    options = {"final_sigmas_type": "zero", "solver_order": 2, "lower_order_final": True}
    scheduler = kind(**FLOW, **options, **more)
    scheduler.set_timesteps(STEPS)
    scheduler.sigmas = schedule.sigmas.clone()
    noises = [torch.randn(SHAPE, generator=torch.Generator().manual_seed(i)) for i in range(STEPS)]
    x = starting()
    scheduler.set_begin_index(0)
    run = run_of(schedule, noise=lambda state: noises[state.index])
    state = SolverState(0, x, generators_for(7, range(2)))
    for i, t in enumerate(schedule.timesteps):
        given = {"variance_noise": noises[i]} if sampler == "dpmpp_2m_sde" else {}
        x = scheduler.step(wavy(x, float(t) / 1000), t, x, return_dict=False, **given)[0]
        state = solver.step(state, run)
        if (sampler, i) != ("uni_pc", STEPS - 1):  # where diffusers' B₁(h) is infinite and its picture not a number
            assert torch.equal(state.latent, x)
    assert bool(torch.isfinite(state.latent).all())


def test_lcm_is_diffusers_stochastic_sampling() -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0, stochastic_sampling=True)
    scheduler.set_timesteps(sigmas=[1 - i / 4 for i in range(4)])
    generator, again = (torch.Generator().manual_seed(3) for _ in range(2))
    x = starting()
    for t in scheduler.timesteps:
        x = scheduler.step(wavy(x, float(t) / 1000), t, x, generator=generator, return_dict=False)[0]
    noises = [torch.randn(SHAPE, generator=again) for _ in range(4)]
    solver = solver_named("lcm", flow=True)
    found = walked(solver, run_of(laid(solver, steps=4), noise=lambda state: noises[state.index]), starting())
    assert torch.equal(found, x)


@pytest.mark.parametrize("schedule", ["normal", "karras", "sgm_uniform", "beta"])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_finds_the_one_picture_there_is(sampler: str, schedule: str) -> None:
    """Where the data are one picture, the flow is straight and every sampler must land on it."""
    picture = torch.linspace(-1, 1, 144).reshape(1, 4, 6, 6)
    solver = solver_named(sampler, flow=True)
    found = walked(solver, run_of(laid(solver, schedule), lambda x, sigma: (x - picture) / sigma), starting())
    assert float((found - picture).abs().max()) < 2e-3


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if name != "lcm"])  # which jumps to the mean
def test_every_sampler_keeps_the_spread_of_the_data(sampler: str) -> None:
    """Data from N(0, s²) with the exact velocity: the noise that stochastic samplers put back must be the right one."""
    spread = 0.7

    def exact(x: torch.Tensor, sigma: float) -> torch.Tensor:
        share = (1 - sigma) * spread**2 / ((1 - sigma) ** 2 * spread**2 + sigma**2)
        return (x - share * x) / sigma

    solver = solver_named(sampler, flow=True)
    first_order = sampler in (*STOCHASTIC_SAMPLERS, "euler", "ddim") or sampler.startswith(("gradient", "euler_cfg"))
    steps = 400 if sampler == "euler_ancestral_cfg_pp" else 200 if first_order else 40  # it goes farther down than most
    shape = (1, 4, 48, 48)
    found = walked(solver, run_of(laid(solver, steps=steps), exact), starting(shape), 1)
    assert float(found.std()) == pytest.approx(spread, rel=0.035)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_run_goes_on_from_a_kept_state_bit_for_bit(sampler: str) -> None:
    solver = solver_named(sampler, flow=True)
    run = run_of(laid(solver))
    state, kept = SolverState(0, starting(), generators_for(7, range(2))), []
    while state.index < STEPS:
        kept.append(state.kept())
        state = solver.step(state, run)
    for begun in kept[1::3]:
        again = begun
        while again.index < STEPS:
            again = solver.step(again, run)
        assert torch.equal(again.latent, state.latent)


def test_stochastic_samplers_draw_and_the_others_do_not() -> None:
    for sampler in SAMPLERS:
        solver = solver_named(sampler, flow=True)
        drawn: list[int] = []

        def noise(state: SolverState, drawn: list[int] = drawn) -> torch.Tensor:
            drawn.append(state.index)
            return torch.zeros(SHAPE)

        walked(solver, run_of(laid(solver), noise=noise), starting())
        assert bool(drawn) == (sampler in STOCHASTIC_SAMPLERS), sampler


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if name not in STOCHASTIC_SAMPLERS])
def test_a_picture_is_led_back_to_its_noise_and_out_again(sampler: str) -> None:
    """“Turn noise levels round” of a straight flow: there and back is the same latent."""
    picture = torch.linspace(-1, 1, 144).reshape(1, 4, 6, 6)

    def straight(x: torch.Tensor, sigma: float) -> torch.Tensor:
        return (x - picture) / sigma

    solver = solver_named(sampler, flow=True)
    levels = schedules.build("normal", 6, SPACE).sigmas.numpy()
    begun = 0.9 * picture + 0.1 * starting()
    turned, until = schedules.explicit(np.append(levels[-2:0:-1], np.float32(1.0)), SPACE, "flow")
    run = run_of(turned.starting_below(solver.below_one), straight)
    state = SolverState(0, picture + turned.sigmas[0] * (begun - picture) / 0.1, generators_for(7, range(2)))
    while state.index < until:
        state = solver.step(state, run)
    assert bool(torch.isfinite(state.latent).all())
    assert torch.allclose(state.latent, picture + (begun - picture) / 0.1, atol=1e-3)


def test_without_eta_euler_ancestral_is_euler() -> None:
    plain, still = solver_named("euler", flow=True), solver_named("euler_ancestral", (("eta", 0.0),), flow=True)
    a, b = (walked(solver, run_of(laid(solver)), starting()) for solver in (plain, still))
    assert torch.allclose(a, b, atol=1e-5)


def test_a_latent_is_noised_between_picture_and_noise() -> None:
    solver, schedule = solver_named("dpmpp_2m", flow=True), schedules.build("normal", 4, SPACE)
    clean, noise = torch.full(SHAPE, 2.0), torch.full(SHAPE, -1.0)
    for index, sigma in enumerate(schedule.sigmas.tolist()):
        found = solver.noised(clean, noise, schedule, index)
        assert torch.allclose(found, torch.full(SHAPE, (1 - sigma) * 2.0 - sigma))
    assert torch.equal(solver.pure(noise, schedule), noise)
    assert torch.equal(solver.to_plain(noise, schedule, 2), noise)
