"""DPM2, DPM++ 2S a, DPM++ 3M SDE, LMS and UniPC against k-diffusion's and diffusers' formulas written down again."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from engine.sampling import schedules
from engine.sampling.multistep import lms_weights
from engine.sampling.noise import generators_for
from engine.sampling.noise_space import NoiseSpace
from engine.sampling.schedules import Schedule
from engine.sampling.solvers import SOLVERS
from engine.sampling.state import Run, SolverState
from tests.benchmarks.tiny_models import SCHEDULER

SPREAD = 0.8
SPACE = NoiseSpace.from_config(SCHEDULER)
SHAPE = (2, 4, 3, 3)


def denoiser(x: torch.Tensor, sigma: float) -> torch.Tensor:
    shrunk: torch.Tensor = x * (SPREAD**2 / (SPREAD**2 + sigma**2)) + 0.1 * torch.sin(x) / (1 + sigma)
    return shrunk


def ours(sampler: str, schedule: Schedule, noises: list[torch.Tensor]) -> torch.Tensor:
    solver = SOLVERS[sampler]
    known = {float(t): float(s) for t, s in zip(schedule.timesteps, schedule.sigmas, strict=False)}

    def predict(x: torch.Tensor, timestep: torch.Tensor, step: int) -> torch.Tensor:
        sigma = known.get(float(timestep), float(timestep))  # midpoints are told as σ itself
        plain = x * (sigma**2 + 1) ** 0.5
        noise: torch.Tensor = (plain - denoiser(plain, sigma)) / sigma
        return noise

    queue = list(noises)
    start = queue.pop(0)
    run = Run(schedule, predict, noise=lambda state: queue.pop(0))
    state = SolverState(0, solver.from_plain(start * schedule.sigmas[0], schedule, 0), generators_for(0, range(2)))
    while state.index < schedule.steps:
        state = solver.step(state, run)
    return state.latent


def reference(sampler: str, sigmas: list[float], noises: list[torch.Tensor]) -> torch.Tensor:
    queue = [noise.double() for noise in noises]
    x = queue.pop(0) * sigmas[0]
    old: list[torch.Tensor] = []
    lengths: list[float] = []
    for i, (sigma, to) in enumerate(pairwise(sigmas)):
        denoised = denoiser(x, sigma)
        if to == 0:
            if sampler == "lms":  # as diffusers: the weights run down to 0
                slopes = [*old, (x - denoised) / sigma]
                x = x + sum(w * s for w, s in zip(quad(sigmas, i, len(slopes[-4:])), reversed(slopes), strict=False))
            else:
                x = denoised
            continue
        if sampler in ("dpm_2", "dpm_2_ancestral", "dpmpp_2s_ancestral"):
            up = min(to, (to**2 * (sigma**2 - to**2) / sigma**2) ** 0.5) if "ancestral" in sampler else 0.0
            down = (to**2 - up**2) ** 0.5
            middle = math.exp(0.5 * (math.log(sigma) + math.log(down)))
            if sampler == "dpmpp_2s_ancestral":
                h = math.log(sigma / down)
                half = middle / sigma * x - math.expm1(-h / 2) * denoised
                x = down / sigma * x - math.expm1(-h) * denoiser(half, middle)
            else:
                half = x + (x - denoised) / sigma * (middle - sigma)
                x = x + (half - denoiser(half, middle)) / middle * (down - sigma)
            if up:
                x = x + queue.pop(0) * up
        elif sampler == "lms":
            old = [*old, (x - denoised) / sigma][-4:]
            x = x + sum(w * s for w, s in zip(quad(sigmas, i, len(old)), reversed(old), strict=True))
        else:  # dpmpp_3m_sde, eta 1
            h = math.log(sigma / to)
            h_eta = 2 * h
            x = math.exp(-h_eta) * x - math.expm1(-h_eta) * denoised
            phi_2 = math.expm1(-h_eta) / h_eta + 1
            phi_3 = phi_2 / h_eta - 0.5
            if len(old) >= 2:
                r0, r1 = lengths[-1] / h, lengths[-2] / h
                d1_0, d1_1 = (denoised - old[-1]) / r0, (old[-1] - old[-2]) / r1
                d1 = d1_0 + (d1_0 - d1_1) * r0 / (r0 + r1)
                x = x + phi_2 * d1 - phi_3 * (d1_0 - d1_1) / (r0 + r1)
            elif old:
                x = x + phi_2 * (denoised - old[-1]) / (lengths[-1] / h)
            x = x + queue.pop(0) * to * math.sqrt(-math.expm1(-2 * h))
            old, lengths = [*old, denoised], [*lengths, h]
    return x


def quad(sigmas: list[float], i: int, order: int) -> list[float]:
    """k-diffusion's linear_multistep_coeff by 5-point Gauss quadrature, exact for its polynomials."""
    nodes, weights = np.polynomial.legendre.leggauss(5)
    low, high = sigmas[i], sigmas[i + 1]
    taus = (high - low) / 2 * nodes + (high + low) / 2
    out = []
    for j in range(order):
        product = np.ones_like(taus)
        for k in range(order):
            if k != j:
                product *= (taus - sigmas[i - k]) / (sigmas[i - j] - sigmas[i - k])
        out.append(float((weights * product).sum() * (high - low) / 2))
    return out


@pytest.mark.parametrize("schedule", ["normal", "karras", "exponential", "simple", "kl_optimal"])
@pytest.mark.parametrize("sampler", ["dpm_2", "dpm_2_ancestral", "dpmpp_2s_ancestral", "dpmpp_3m_sde", "lms"])
def test_solvers_agree_with_their_formulas(sampler: str, schedule: str) -> None:
    laid = schedules.build(schedule, 12, SPACE, SOLVERS[sampler].grid)
    noises = [torch.randn(SHAPE, generator=torch.Generator().manual_seed(i)) for i in range(30)]
    expected = reference(sampler, [float(s) for s in laid.sigmas], noises)
    np.testing.assert_allclose(ours(sampler, laid, noises).numpy(), expected.numpy(), atol=3e-4)


def test_lms_weights_of_one_slope_are_the_step() -> None:
    assert lms_weights([5.0], 3.0) == [-2.0]
    # Adams–Bashforth of order 2 on even steps: 3/2 and −1/2.
    np.testing.assert_allclose(lms_weights([1.0, 2.0], 0.0), [-1.5, 0.5])


@pytest.mark.parametrize("steps", [10, 20, 25])
def test_ddim_uniform_is_ddims_leading_grid(steps: int) -> None:
    from diffusers import DDIMScheduler

    reference = DDIMScheduler(timestep_spacing="leading", steps_offset=1)
    reference.set_timesteps(steps)
    laid = schedules.build("ddim_uniform", steps, SPACE, "ddim")
    assert laid.timesteps.tolist() == reference.timesteps.tolist()


def test_kl_optimal_is_even_in_the_arc_tangent() -> None:
    laid = schedules.build("kl_optimal", 9, SPACE, "inner").sigmas[:-1].double().numpy()
    angles = np.arctan(laid)
    np.testing.assert_allclose(np.diff(angles), np.diff(angles)[0], rtol=1e-4)
    np.testing.assert_allclose(laid[[0, -1]], [SPACE.sigmas[-1], SPACE.sigmas[0]], rtol=1e-5)


@pytest.mark.parametrize("steps", [1, 2, 7, 30])
def test_linear_quadratic_is_comfyuis(steps: int) -> None:
    threshold, linear = 0.025, steps // 2
    if steps == 1:
        expected = [1.0]
    else:
        rest = steps - linear
        gap = linear - threshold * steps
        quadratic = gap / (linear * rest**2)
        slope = threshold / linear - 2 * gap / rest**2
        constant = quadratic * linear**2
        expected = [1 - i * threshold / linear for i in range(linear)]
        expected += [1 - (quadratic * i**2 + slope * i + constant) for i in range(linear, steps)]
    laid = schedules.build("linear_quadratic", steps, SPACE, "inner").sigmas[:-1].numpy()
    np.testing.assert_allclose(laid, np.array(expected) * SPACE.sigmas[-1], rtol=1e-5)
