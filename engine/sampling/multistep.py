"""Samplers that remember several steps: LMS and DPM++ 3M SDE (k-diffusion's)."""

from __future__ import annotations

import numpy as np
import torch

from engine.sampling.dpm import alpha_sigma, log_snr
from engine.sampling.first_order import denoise_ve, noise_for
from engine.sampling.state import Run, SolverState

LMS_ORDER = 4


def lms(state: SolverState, run: Run) -> SolverState:
    """LMSDiscreteScheduler: Adams–Bashforth of order 4 over σ. history: slopes, the newest last."""
    i, schedule = state.index, run.schedule
    sigma = schedule.sigmas[i]
    denoised = denoise_ve(state.latent, sigma, schedule.timesteps[i], i, run)
    slopes = (*state.history, (state.latent - denoised) / sigma)[-LMS_ORDER:]
    weights = lms_weights([float(schedule.sigmas[i - k]) for k in range(len(slopes))], float(schedule.sigmas[i + 1]))
    latent = state.latent
    for weight, slope in zip(weights, reversed(slopes), strict=True):
        latent = latent + weight * slope
    return state.stepped(run.constrain(latent, i + 1), denoised, slopes)


def lms_weights(known: list[float], to: float) -> list[float]:
    """∫ of each Lagrange polynomial over the σ in `known` (the newest first), from known[0] to `to`, exactly."""
    weights = []
    for j, here in enumerate(known):
        others = [sigma for k, sigma in enumerate(known) if k != j]
        basis = np.poly1d([1.0]) if not others else np.poly1d(others, r=True) / np.prod([here - s for s in others])
        integral = basis.integ()
        weights.append(float(integral(to) - integral(known[0])))
    return weights


def dpmpp_3m_sde(state: SolverState, run: Run) -> SolverState:
    """k-diffusion's sample_dpmpp_3m_sde with eta 1 (2211.01095). history: x₀ of the two steps before.

    A flow model's latent is one of the exploding form times α = 1 − σ, which is 1 for the others.
    """
    i, schedule = state.index, run.schedule
    sigma, sigma_to = schedule.sigmas[i], schedule.sigmas[i + 1]
    denoised = denoise_ve(state.latent, sigma, schedule.timesteps[i], i, run)
    history = (*state.history, denoised)[-2:]
    if not bool(sigma_to):
        return state.stepped(run.constrain(denoised, i + 1), denoised, history)
    h = _log_ratio(sigma, sigma_to, run)
    h_eta = 2 * h
    if run.is_flow:
        latent = (sigma_to / sigma * torch.exp(-h)) * state.latent - (1 - sigma_to) * torch.expm1(-h_eta) * denoised
    else:
        latent = torch.exp(-h_eta) * state.latent - torch.expm1(-h_eta) * denoised
    alpha = 1 - sigma_to if run.is_flow else torch.ones(())
    if state.history:
        phi_2 = torch.expm1(-h_eta) / h_eta + 1
        r0 = _log_ratio(schedule.sigmas[i - 1], sigma, run) / h
        first = (denoised - state.history[-1]) / r0
        if len(state.history) == 2:
            r1 = _log_ratio(schedule.sigmas[i - 2], schedule.sigmas[i - 1], run) / h
            second = (state.history[-1] - state.history[-2]) / r1
            bend = (first - second) / (r0 + r1)
            latent = latent + alpha * phi_2 * (first + bend * r0) - alpha * (phi_2 / h_eta - 0.5) * bend
        else:
            latent = latent + alpha * phi_2 * first
    latent = latent + noise_for(state, run) * (sigma_to * torch.sqrt(-torch.expm1(-2 * h)))
    return state.stepped(run.constrain(latent, i + 1), denoised, history)


def _log_ratio(sigma: torch.Tensor, sigma_to: torch.Tensor, run: Run) -> torch.Tensor:
    if run.is_flow:
        return log_snr(*alpha_sigma(sigma_to, True)) - log_snr(*alpha_sigma(sigma, True))
    return torch.log(sigma) - torch.log(sigma_to)
