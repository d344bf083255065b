"""CFG++ (2406.08070): a step lands where guidance points, and goes there along what the network says unguided.

So the scale is small, 0.6 to 2, and at 1 both sides are still asked for. Where there is only one answer, because the
negative side is empty or the network is told its guidance, these are the plain samplers of their names.

The formulas are those of ComfyUI's samplers called *_cfg_pp; res_multistep's and gradient_estimation's are beside their
plain forms in refined.py. On flow models noise is put back so that its level is right, as the plain samplers do it.
"""

from __future__ import annotations

import torch

from engine.sampling.first_order import denoise_both, denoise_ve, noise_for
from engine.sampling.second_order import ancestral, ancestral_of
from engine.sampling.state import Run, SolverState


def euler_cfg_pp(state: SolverState, run: Run, *, eta: float = 0.0) -> SolverState:
    """ComfyUI's sample_euler_cfg_pp; with `eta` 1 its sample_euler_ancestral_cfg_pp."""
    i, schedule = state.index, run.schedule
    sigma, sigma_to = schedule.sigmas[i], schedule.sigmas[i + 1]
    denoised, plain = denoise_both(state.latent, sigma, schedule.timesteps[i], i, run)
    if not bool(sigma_to):
        return state.stepped(run.constrain(denoised, i + 1), denoised)
    alpha, alpha_to = (1 - sigma, 1 - sigma_to) if run.is_flow else (torch.ones(()), torch.ones(()))
    slope = (state.latent - alpha * plain) / sigma
    if not eta:
        return state.stepped(run.constrain(alpha_to * denoised + sigma_to * slope, i + 1), denoised)
    down, up = ancestral(sigma / alpha, sigma_to / alpha_to, eta)
    latent = alpha_to * denoised + alpha_to * down * slope + noise_for(state, run) * (alpha_to * up)
    return state.stepped(run.constrain(latent, i + 1), denoised)


def dpmpp_2s_ancestral_cfg_pp(state: SolverState, run: Run) -> SolverState:
    """ComfyUI's sample_dpmpp_2s_ancestral_cfg_pp with eta 1."""
    i, schedule = state.index, run.schedule
    sigma, sigma_to = schedule.sigmas[i], schedule.sigmas[i + 1]
    denoised, plain = denoise_both(state.latent, sigma, schedule.timesteps[i], i, run)
    if not bool(sigma_to):
        return state.stepped(run.constrain(denoised, i + 1), denoised)
    down, keep, up = ancestral_of(run, sigma, sigma_to)
    moved = state.latent + (denoised - plain)
    h = torch.log(sigma) - torch.log(down)
    middle = torch.exp(torch.log(sigma) - 0.5 * h)
    halfway = (middle / sigma) * moved - torch.expm1(-h * 0.5) * denoised
    denoised = denoise_ve(run.constrain(halfway, i + 1), middle, run.told(middle), i, run)
    latent = keep * ((down / sigma) * moved - torch.expm1(-h) * denoised) + noise_for(state, run) * up
    return state.stepped(run.constrain(latent, i + 1), denoised)


def dpmpp_2m_cfg_pp(state: SolverState, run: Run) -> SolverState:
    """ComfyUI's sample_dpmpp_2m_cfg_pp. history: the unguided x₀ of the step before."""
    i, schedule = state.index, run.schedule
    sigma, sigma_to = schedule.sigmas[i], schedule.sigmas[i + 1]
    denoised, plain = denoise_both(state.latent, sigma, schedule.timesteps[i], i, run)
    if not bool(sigma_to):
        return state.stepped(run.constrain(denoised, i + 1), denoised, (plain,))
    h = torch.log(sigma) - torch.log(sigma_to)
    latent = denoised + torch.exp(-h) * (state.latent - plain)
    if state.history:
        r = (torch.log(schedule.sigmas[i - 1]) - torch.log(sigma)) / h
        latent = latent - torch.expm1(-h) * (1 / (2 * r)) * (denoised - state.history[-1])
    return state.stepped(run.constrain(latent, i + 1), denoised, (plain,))
