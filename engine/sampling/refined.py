"""Samplers that refine Euler's step with what they remember: RES multistep, gradient estimation and ER-SDE.

The formulas are ComfyUI's; `plus` makes the CFG++ form of one (see cfg_pp.py).
"""

from __future__ import annotations

import torch

from engine.sampling.first_order import denoise_both, denoise_ve, noise_for
from engine.sampling.second_order import ancestral_of
from engine.sampling.state import Run, SolverState

POINTS = 200  # of ER-SDE's integrals


def res_multistep(state: SolverState, run: Run, *, eta: float = 0.0, plus: bool = False) -> SolverState:
    """Refined exponential solver, second order, over several steps (2308.02157); `eta` 1 is its ancestral form.

    history: x₀ of the step before (the unguided one with `plus`).
    """
    i, sigmas = state.index, run.schedule.sigmas
    sigma, sigma_to = sigmas[i], sigmas[i + 1]
    denoised, plain = _both(state, run, plus)
    down, keep, up = ancestral_of(run, sigma, sigma_to, eta)
    if not bool(sigma_to):
        latent = denoised
    elif not state.history:
        latent = denoised + (state.latent - plain) / sigma * down
    else:
        h = torch.log(sigma) - torch.log(down)
        # How far back the other x₀ is, from where the step before came down to, as a share of this step; below 0.
        before = ancestral_of(run, sigmas[i - 1], sigma, eta)[0]
        c2 = (torch.log(before) - torch.log(sigmas[i - 1])) / h
        phi_1 = torch.expm1(-h) / -h
        phi_2 = (phi_1 - 1.0) / -h
        moved = state.latent + (denoised - plain)
        latent = torch.exp(-h) * moved + h * ((phi_1 - phi_2 / c2) * plain + (phi_2 / c2) * state.history[-1])
    if eta and bool(sigma_to):
        latent = keep * latent + noise_for(state, run) * up
    return state.stepped(run.constrain(latent, i + 1), denoised, (plain,))


def gradient_estimation(
    state: SolverState, run: Run, *, gamma: float = 2.0, plus: bool = False
) -> SolverState:  # fmt: skip
    """Euler's step along γ·slope + (1 − γ)·the slope before (Permenter & Yuan, 2306.04848). history: that slope."""
    i, sigmas = state.index, run.schedule.sigmas
    sigma, sigma_to = sigmas[i], sigmas[i + 1]
    denoised, plain = _both(state, run, plus)
    slope = (state.latent - plain) / sigma
    if not bool(sigma_to):
        return state.stepped(run.constrain(denoised, i + 1), denoised, (slope,))
    latent = denoised + slope * sigma_to
    if state.history:
        latent = latent + (gamma - 1.0) * (slope - state.history[-1]) * (sigma_to - sigma)
    return state.stepped(run.constrain(latent, i + 1), denoised, (slope,))


def er_sde(state: SolverState, run: Run) -> SolverState:
    """Extended reverse-time SDE, third order (2309.06169, VP ER-SDE-Solver-3), in λ = σ / α.

    history: x₀ of the step before, and its first divided difference where there is one.
    """
    i, schedule = state.index, run.schedule
    denoised = denoise_ve(state.latent, schedule.sigmas[i], schedule.timesteps[i], i, run)
    if not bool(schedule.sigmas[i + 1]):
        return state.stepped(run.constrain(denoised, i + 1), denoised)
    (alpha_s, s), (alpha_t, t) = _alpha_lambda(i, run), _alpha_lambda(i + 1, run)
    shrunk = _noise_scale(t)
    ratio = shrunk / _noise_scale(s)
    latent = (alpha_t / alpha_s * ratio) * state.latent + (alpha_t * (1 - ratio)) * denoised
    history: tuple[torch.Tensor, ...] = (denoised,)
    if state.history:
        dt, width = t - s, (s - t) / POINTS
        places = t + torch.arange(POINTS, dtype=torch.float32) * width
        scaled = _noise_scale(places)
        before = _alpha_lambda(i - 1, run)[1]
        first = (denoised - state.history[0]) / (s - before)
        latent = latent + (alpha_t * (dt + torch.sum(1 / scaled) * width * shrunk)) * first
        if len(state.history) == 2:
            second = (first - state.history[1]) / ((s - _alpha_lambda(i - 2, run)[1]) / 2)
            weight = dt**2 / 2 + torch.sum((places - s) / scaled) * width * shrunk
            latent = latent + (alpha_t * weight) * second
        history = (denoised, first)
    added = (t**2 - s**2 * ratio**2).clamp(min=0.0) ** 0.5
    latent = latent + noise_for(state, run) * (alpha_t * added)
    return state.stepped(run.constrain(latent, i + 1), denoised, history)


def _both(state: SolverState, run: Run, plus: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """(x₀, the x₀ along which the step goes)."""
    i, schedule = state.index, run.schedule
    if plus:
        return denoise_both(state.latent, schedule.sigmas[i], schedule.timesteps[i], i, run)
    denoised = denoise_ve(state.latent, schedule.sigmas[i], schedule.timesteps[i], i, run)
    return denoised, denoised


def _alpha_lambda(index: int, run: Run) -> tuple[torch.Tensor, torch.Tensor]:
    sigma = run.schedule.sigmas[index]
    return (1 - sigma, sigma / (1 - sigma)) if run.is_flow else (torch.ones(()), sigma)


def _noise_scale(place: torch.Tensor) -> torch.Tensor:
    """How the paper scales noise, its φ: λ·(exp(λ^0.3) + 10)."""
    return place * ((place**0.3).exp() + 10.0)
