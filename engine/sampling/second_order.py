"""Samplers that look at the middle of a step: DPM2, its ancestral form, and DPM++ 2S ancestral (k-diffusion's).

The middle is geometric, so the network is told a timestep between two of the schedule's.
"""

from __future__ import annotations

import torch

from engine.sampling.dpm import alpha_sigma, log_snr
from engine.sampling.first_order import denoise_ve, flow_ancestral, noise_for
from engine.sampling.state import Run, SolverState


def dpm_2(state: SolverState, run: Run) -> SolverState:
    """k-diffusion's sample_dpm_2 without churn (Karras et al., 2206.00364, algorithm 2 at the midpoint)."""
    sigma_to = run.schedule.sigmas[state.index + 1]
    latent, denoised = _through_the_middle(state, run, sigma_to)
    return state.stepped(run.constrain(latent, state.index + 1), denoised)


def dpm_2_ancestral(state: SolverState, run: Run) -> SolverState:
    """k-diffusion's sample_dpm_2_ancestral with eta 1; flow models: ComfyUI's sample_dpm_2_ancestral_RF."""
    sigma, sigma_to = run.schedule.sigmas[state.index], run.schedule.sigmas[state.index + 1]
    sigma_down, keep, sigma_up = ancestral_of(run, sigma, sigma_to)
    latent, denoised = _through_the_middle(state, run, sigma_down)
    if bool(sigma_to):
        latent = keep * latent + noise_for(state, run) * sigma_up
    return state.stepped(run.constrain(latent, state.index + 1), denoised)


def dpmpp_2s_ancestral(state: SolverState, run: Run) -> SolverState:
    """k-diffusion's sample_dpmpp_2s_ancestral with eta 1 (2211.01095, DPM-Solver++(2S)).

    Flow models: ComfyUI's sample_dpmpp_2s_ancestral_RF.
    """
    i, schedule = state.index, run.schedule
    sigma, sigma_to = schedule.sigmas[i], schedule.sigmas[i + 1]
    denoised = denoise_ve(state.latent, sigma, schedule.timesteps[i], i, run)
    if not bool(sigma_to):
        return state.stepped(run.constrain(denoised, i + 1), denoised)
    if run.is_flow:
        return _flow_2s(state, run, denoised)
    sigma_down, sigma_up = ancestral(sigma, sigma_to)
    h = torch.log(sigma) - torch.log(sigma_down)
    middle = torch.exp(torch.log(sigma) - 0.5 * h)
    halfway = (middle / sigma) * state.latent - torch.expm1(-h * 0.5) * denoised
    denoised = denoise_ve(run.constrain(halfway, i + 1), middle, run.told(middle), i, run)
    latent = (sigma_down / sigma) * state.latent - torch.expm1(-h) * denoised
    latent = latent + noise_for(state, run) * sigma_up
    return state.stepped(run.constrain(latent, i + 1), denoised)


def _flow_2s(state: SolverState, run: Run, denoised: torch.Tensor) -> SolverState:
    i, sigma = state.index, run.schedule.sigmas[state.index]
    sigma_down, keep, sigma_up = flow_ancestral(sigma, run.schedule.sigmas[i + 1])
    if float(sigma) < 1.0:
        half = (log_snr(*alpha_sigma(sigma, True)) + log_snr(*alpha_sigma(sigma_down, True))) / 2
        middle = torch.sigmoid(-half)
    else:
        middle = torch.tensor(0.9999)  # pure noise has no logarithm of its signal
    halfway = (middle / sigma) * state.latent + (1 - middle / sigma) * denoised
    denoised = denoise_ve(run.constrain(halfway, i + 1), middle, run.told(middle), i, run)
    latent = (sigma_down / sigma) * state.latent + (1 - sigma_down / sigma) * denoised
    latent = keep * latent + noise_for(state, run) * sigma_up
    return state.stepped(run.constrain(latent, i + 1), denoised)


def ancestral_of(
    run: Run, sigma: torch.Tensor, sigma_to: torch.Tensor, eta: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor | float, torch.Tensor]:
    """(σ to go down to, what is kept of the latent there, σ of the noise put back); `eta` 0: none is put back."""
    if not eta:
        return sigma_to, 1.0, torch.zeros(())
    if run.is_flow:
        return flow_ancestral(sigma, sigma_to, eta)
    down, up = ancestral(sigma, sigma_to, eta)
    return down, 1.0, up


def ancestral(sigma: torch.Tensor, sigma_to: torch.Tensor, eta: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    """(σ to go down to, σ of the noise put back): k-diffusion's get_ancestral_step."""
    up = torch.minimum(sigma_to, eta * (sigma_to**2 * (sigma**2 - sigma_to**2) / sigma**2) ** 0.5)
    return (sigma_to**2 - up**2) ** 0.5, up


def _through_the_middle(state: SolverState, run: Run, sigma_to: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(the latent at `sigma_to`, x₀), by the slope at the geometric middle; by Euler where `sigma_to` is 0."""
    i, schedule = state.index, run.schedule
    sigma = schedule.sigmas[i]
    denoised = denoise_ve(state.latent, sigma, schedule.timesteps[i], i, run)
    slope = (state.latent - denoised) / sigma
    if not bool(sigma_to):
        return state.latent + slope * (sigma_to - sigma), denoised
    middle = torch.exp(0.5 * (torch.log(sigma) + torch.log(sigma_to)))
    halfway = run.constrain(state.latent + slope * (middle - sigma), i + 1)
    denoised = denoise_ve(halfway, middle, run.told(middle), i, run)
    return state.latent + (halfway - denoised) / middle * (sigma_to - sigma), denoised
