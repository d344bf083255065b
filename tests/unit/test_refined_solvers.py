"""RES multistep, gradient estimation, ER-SDE and the CFG++ samplers: their formulas in double precision, the order in
which their error falls, and the unguided answer that CFG++ asks for."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from engine.contracts.errors import InvalidRequest
from engine.families.protocol import BindRequest, Bound
from engine.graph.values import Patch
from engine.nodes.condition.text import encode_text
from engine.nodes.latent.empty import empty
from engine.nodes.load.checkpoint import checkpoint
from engine.sampling import schedules
from engine.sampling.flow_space import FlowSpace
from engine.sampling.loop import SamplePlan, advance, prepare
from engine.sampling.names import CFG_PP_SAMPLERS, SAMPLERS
from engine.sampling.noise import generators_for
from engine.sampling.noise_space import NoiseSpace
from engine.sampling.schedules import Schedule
from engine.sampling.solvers import solver_named
from engine.sampling.state import Run, SolverState
from tests.benchmarks.parity import Context
from tests.benchmarks.tiny_models import SCHEDULER, write_tiny_sd15

NOISY, FLOW = NoiseSpace.from_config(SCHEDULER), FlowSpace(shift=3.0)
SHAPE = (2, 4, 3, 3)
NAMES = [name for name in SAMPLERS if name in CFG_PP_SAMPLERS or name.startswith(("res_", "gradient", "er_sde"))]
Clean = Callable[[torch.Tensor, float], torch.Tensor]


def guided(x: torch.Tensor, sigma: float) -> torch.Tensor:
    return x * (0.64 / (0.64 + sigma**2)) + 0.1 * torch.sin(x) / (1 + sigma)


def plain(x: torch.Tensor, sigma: float) -> torch.Tensor:
    return x * (0.5 / (0.5 + sigma**2)) - 0.05 * torch.cos(x) / (1 + sigma)


def run_over(schedule: Schedule, flow: bool, noises: Sequence[torch.Tensor] = (), clean: Clean = guided,
             other: Clean = plain) -> Run:  # fmt: skip
    """A run whose network says what makes x₀ `clean`, and `other` without guidance."""
    told = {float(t): float(s) for t, s in zip(schedule.timesteps, schedule.sigmas, strict=False)}

    def said(x: torch.Tensor, timestep: torch.Tensor, rule: Clean) -> torch.Tensor:
        sigma = told.get(float(timestep), float(timestep))  # midpoints are told as σ itself
        latent = x if flow else x * (sigma**2 + 1) ** 0.5
        return (latent - rule(latent, sigma)) / sigma

    queue = list(noises)
    return Run(
        schedule, lambda x, t, step: said(x, t, clean), "flow" if flow else "epsilon",
        noise=(lambda state: queue.pop(0)) if noises else None,
        predict_both=lambda x, t, step: (said(x, t, clean), said(x, t, other)),
    )  # fmt: skip


def walked(name: str, run: Run, start: torch.Tensor, flow: bool) -> torch.Tensor:
    solver = solver_named(name, flow=flow)
    state = SolverState(0, start, generators_for(0, range(2)))
    while state.index < run.schedule.steps:
        state = solver.step(state, run)
    return state.latent


def laid(name: str, flow: bool, steps: int = 12, schedule: str = "karras") -> Schedule:
    solver = solver_named(name, flow=flow)
    space = FLOW if flow else NOISY
    made = schedules.build("normal" if flow else schedule, steps, space, solver.grid)
    return made.starting_below(solver.below_one) if flow else made


def split(sigma: float, to: float, eta: float, flow: bool) -> tuple[float, float, float]:
    """(σ to go down to, what is kept there, σ of the noise put back)."""
    if not eta:
        return to, 1.0, 0.0
    if flow:
        down = to * (1 + (to / sigma - 1) * eta)
        keep = (1 - to) / (1 - down)
        return down, keep, max(to**2 - (down * keep) ** 2, 0.0) ** 0.5
    up = min(to, eta * (to**2 * (sigma**2 - to**2) / sigma**2) ** 0.5)
    return (to**2 - up**2) ** 0.5, 1.0, up


def reference(name: str, sigmas: list[float], x: torch.Tensor, queue: list[torch.Tensor], flow: bool) -> torch.Tensor:
    """ComfyUI's loops, in double precision."""
    eta = 1.0 if "ancestral" in name else 0.0
    plus = name in CFG_PP_SAMPLERS
    old: Any = None
    older: Any = None
    came_from = 0.0
    lambdas = [(sigma / (1 - sigma) if sigma < 1 else math.inf) if flow else sigma for sigma in sigmas]
    for i, (sigma, to) in enumerate(pairwise(sigmas)):
        best = guided(x, sigma)
        along = plain(x, sigma) if plus else best
        if to == 0:
            return best
        slope = (x - along) / sigma
        down, keep, up = split(sigma, to, eta, flow)
        if name.startswith("euler"):
            alpha, alpha_to = (1 - sigma, 1 - to) if flow else (1.0, 1.0)
            ratio_down, _, ratio_up = split(sigma / alpha if alpha else math.inf, to / alpha_to, eta, False)
            x = alpha_to * best + alpha_to * ratio_down * (x - alpha * along) / sigma
            x = x + alpha_to * ratio_up * queue.pop(0) if eta else x
            continue
        if name.startswith("dpmpp_2s"):
            h = math.log(sigma / down)
            middle = sigma * math.exp(-h / 2)
            half = middle / sigma * (x + best - along) - math.expm1(-h / 2) * best
            x = down / sigma * (x + best - along) - math.expm1(-h) * guided(half, middle)
        elif name.startswith("dpmpp_2m"):
            h = math.log(sigma / to)
            mix = -math.exp(-h) * along
            if old is not None:
                r = math.log(sigmas[i - 1] / sigma) / h
                mix = mix - math.expm1(-h) / (2 * r) * (best - old)
            x, old = best + mix + math.exp(-h) * x, along
        elif name.startswith("gradient"):
            x = best + slope * to if plus else x + slope * (to - sigma)
            x = x + (slope - old) * (to - sigma) if old is not None else x
            old = slope
        elif name.startswith("res"):
            if old is None:
                x = best + slope * down if plus else x + slope * (down - sigma)
            else:
                h = math.log(sigma / down)
                c2 = math.log(came_from / sigmas[i - 1]) / h
                phi_1 = math.expm1(-h) / -h
                phi_2 = (phi_1 - 1) / -h
                x = x + (best - along)
                x = math.exp(-h) * x + h * ((phi_1 - phi_2 / c2) * along + phi_2 / c2 * old)
            old, came_from = along, down
        else:
            x, old, older = er_sde(x, best, lambdas, sigmas, i, old, older)
            s, t = lambdas[i], lambdas[i + 1]
            ratio = scaled(t) / scaled(s)
            x = x + to / t * queue.pop(0) * (t**2 - (s * ratio) ** 2) ** 0.5
            continue
        x = keep * x + up * queue.pop(0) if eta else x
    return x


def scaled(place: float) -> float:
    return place * (math.exp(place**0.3) + 10.0)


def er_sde(
    x: torch.Tensor, best: torch.Tensor, lambdas: list[float], sigmas: list[float], i: int, old: Any, older: Any
) -> tuple[torch.Tensor, Any, Any]:
    s, t = lambdas[i], lambdas[i + 1]
    alpha_s, alpha_t = sigmas[i] / s, sigmas[i + 1] / t
    ratio = scaled(t) / scaled(s)
    x = alpha_t / alpha_s * ratio * x + alpha_t * (1 - ratio) * best
    if old is None:
        return x, best, None
    width = (s - t) / 200
    places = [t + k * width for k in range(200)]
    first = (best - old) / (s - lambdas[i - 1])
    x = x + alpha_t * (t - s + sum(width / scaled(p) for p in places) * scaled(t)) * first
    if older is not None:
        second = (first - older) / ((s - lambdas[i - 2]) / 2)
        weight = (t - s) ** 2 / 2 + sum((p - s) * width / scaled(p) for p in places) * scaled(t)
        x = x + alpha_t * weight * second
    return x, best, first


@pytest.mark.parametrize("flow", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_each_step_is_its_formula(name: str, flow: bool) -> None:
    schedule = laid(name, flow)
    noises = [torch.randn(SHAPE, generator=torch.Generator().manual_seed(i)) for i in range(20)]
    start = noises.pop(0) * (1.0 if flow else schedule.sigmas[0])
    run = run_over(schedule, flow, noises)
    found = walked(name, run, start, flow)
    expected = reference(name, [float(s) for s in schedule.sigmas], start.double(), [n.double() for n in noises], flow)
    np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=2e-4)


def test_the_samplers_of_these_tests_are_all_there() -> None:
    assert len(NAMES) == 11
    assert len(CFG_PP_SAMPLERS) == 7


@pytest.mark.parametrize("flow", [False, True])
@pytest.mark.parametrize(("name", "order"), [("euler_cfg_pp", 1), ("gradient_estimation", 1), ("res_multistep", 2),
                                             ("dpmpp_2m_cfg_pp", 2), ("res_multistep_cfg_pp", 2)])  # fmt: skip
def test_the_error_falls_with_the_order_of_the_method(name: str, order: int, flow: bool) -> None:
    """Data from N(0, s²), for which the path is known: x(σ) grows as its standard deviation does."""
    spread = 0.9
    high, low = (0.9, 0.05) if flow else (8.0, 0.1)

    def deviation(sigma: float) -> float:
        return math.hypot((1 - sigma) * spread, sigma) if flow else math.hypot(spread, sigma)

    def exact(x: torch.Tensor, sigma: float) -> torch.Tensor:
        share = (1 - sigma if flow else 1.0) * spread**2 / deviation(sigma) ** 2
        return x * share

    errors = []
    for steps in (40, 80, 160):
        levels = torch.exp(torch.linspace(math.log(high), math.log(low), steps + 1, dtype=torch.float64))
        nothing = levels[:0]
        schedule = Schedule(levels, levels[:-1], nothing, nothing, nothing, levels[0])
        run = run_over(schedule, flow, clean=exact, other=exact)
        found = walked(name, run, torch.full(SHAPE, deviation(high), dtype=torch.float64), flow)
        errors.append(float((found - deviation(low)).abs().max()))
    rates = [math.log2(a / b) for a, b in pairwise(errors)]
    assert order - 0.25 < rates[-1] < order + 0.5, (errors, rates)


@pytest.mark.parametrize("name", sorted(CFG_PP_SAMPLERS - {"dpmpp_2m_cfg_pp"}))  # plainly written for another scaling
def test_without_guidance_cfg_pp_is_the_plain_sampler(name: str) -> None:
    other = name.removesuffix("_cfg_pp")
    schedule = laid(name, False)
    noises = [torch.randn(SHAPE, generator=torch.Generator().manual_seed(i)) for i in range(20)]
    start = noises.pop(0) * schedule.sigmas[0]
    ours = walked(name, run_over(schedule, False, noises, other=guided), start, False)
    theirs = walked(other, run_over(schedule, False, noises), start, False)
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), atol=2e-4)


# --- through a model


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Context:
    return Context(write_tiny_sd15(tmp_path_factory.mktemp("refined")))


def plan_for(ctx: Any, **changes: Any) -> SamplePlan:
    _, clip, _ = checkpoint(ctx)
    settings: dict[str, Any] = {"seed": 3, "steps": 5, "cfg": 1.0, "sampler": "euler_cfg_pp", "scheduler": "normal"}
    return SamplePlan(encode_text(ctx, clip, "a red circle"), encode_text(ctx, clip, "grey"), **{**settings, **changes})


def drawn(ctx: Any, **changes: Any) -> torch.Tensor:
    model, _, _ = checkpoint(ctx)
    return advance(prepare(ctx.session.family(model.weights), empty(ctx, 64, 64), plan_for(ctx, **changes))).latent


def test_the_negative_prompt_counts_at_a_scale_of_one(tiny: Any) -> None:
    """Plain guidance leaves the negative side out there; CFG++ goes along it."""
    with_it, without = drawn(tiny), drawn(tiny, sampler="euler")
    assert float((with_it - without).abs().max()) > 1e-3
    _, clip, _ = checkpoint(tiny)
    model, _, _ = checkpoint(tiny)
    alone = SamplePlan(encode_text(tiny, clip, "a red circle"), (), 3, 5, 1.0, "euler_cfg_pp", "normal")
    found = advance(prepare(tiny.session.family(model.weights), empty(tiny, 64, 64), alone)).latent
    np.testing.assert_allclose(found.numpy(), without.numpy(), atol=1e-4)  # only one side: plain Euler


def test_a_step_cache_that_leaves_nothing_out_changes_nothing(tiny: Any) -> None:
    cache = Patch("step_cache", settings=(("threshold", 1e-9), ("start", 0.0), ("end", 1.0)))
    assert torch.equal(drawn(tiny, patches=(cache,)), drawn(tiny))


def test_a_network_that_keeps_no_sides_is_refused(tiny: Any) -> None:
    model, _, _ = checkpoint(tiny)
    family = tiny.session.family(model.weights)

    class Whole:
        """As windows are: only the guided answer."""

        def __getattr__(self, name: str) -> Any:
            return getattr(family, name)

        def bind(self, request: BindRequest) -> Bound:
            bound = family.bind(request)

            class Only:
                def predict(self, x: torch.Tensor, timestep: torch.Tensor, fraction: float) -> torch.Tensor:
                    said: torch.Tensor = bound.predict(x, timestep, fraction)
                    return said

            return Only()

    with pytest.raises(InvalidRequest, match="“Euler CFG\\+\\+” needs the network's answer without guidance"):
        prepare(Whole(), empty(tiny, 64, 64), plan_for(tiny))
