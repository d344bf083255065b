"""DPM-Solver++ steps: 2M, 2M SDE and the two-stage SDE (2211.01095; see solvers.py for the common conventions)."""

from __future__ import annotations

import torch

from engine.sampling.first_order import denoise_ve, noise_for
from engine.sampling.state import Run, SolverState


def alpha_sigma(sigma: torch.Tensor, flow: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """(α, σ_vp) of the variance-preserving form, from σ of the exploding one; of a flow model (1 − σ, σ)."""
    if flow:
        return 1 - sigma, sigma
    alpha = 1 / ((sigma**2 + 1) ** 0.5)
    return alpha, sigma * alpha


def log_snr(alpha: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """λ = log α − log σ; +∞ where σ is 0, −∞ where α is."""
    return torch.log(alpha) - torch.log(sigma)


def denoise_vp(state: SolverState, run: Run) -> torch.Tensor:
    """x₀ from a variance-preserving latent, or of a flow model, through the network."""
    output = run.predict(state.latent, run.schedule.timesteps[state.index], state.index)
    if run.is_flow:
        return state.latent - run.schedule.sigmas[state.index] * output
    alpha, sigma = alpha_sigma(run.schedule.sigmas[state.index])
    if run.prediction == "epsilon":
        return (state.latent - sigma * output) / alpha
    if run.prediction == "v_prediction":
        return alpha * state.latent - sigma * output
    return output


def dpmpp_2m(state: SolverState, run: Run) -> SolverState:
    """DPMSolverMultistepScheduler("dpmsolver++", order 2, midpoint); first order at the start and at the end."""
    i, sigmas = state.index, run.schedule.sigmas
    denoised = denoise_vp(state, run)
    alpha_t, sigma_t = alpha_sigma(sigmas[i + 1], run.is_flow)
    alpha_s, sigma_s = alpha_sigma(sigmas[i], run.is_flow)
    lambda_t, lambda_s = log_snr(alpha_t, sigma_t), log_snr(alpha_s, sigma_s)
    h = lambda_t - lambda_s
    latent = (sigma_t / sigma_s) * state.latent - (alpha_t * (torch.exp(-h) - 1.0)) * denoised
    if _second_order(state, run):
        difference = _difference(state, run, denoised, lambda_s, h)
        latent = latent - 0.5 * (alpha_t * (torch.exp(-h) - 1.0)) * difference
    return state.stepped(run.constrain(latent, i + 1), denoised, (denoised,))


def dpmpp_2m_sde(state: SolverState, run: Run) -> SolverState:
    """DPMSolverMultistepScheduler("sde-dpmsolver++", order 2, midpoint)."""
    i, sigmas = state.index, run.schedule.sigmas
    denoised = denoise_vp(state, run)
    noise = noise_for(state, run)
    alpha_t, sigma_t = alpha_sigma(sigmas[i + 1], run.is_flow)
    alpha_s, sigma_s = alpha_sigma(sigmas[i], run.is_flow)
    lambda_t, lambda_s = log_snr(alpha_t, sigma_t), log_snr(alpha_s, sigma_s)
    h = lambda_t - lambda_s
    latent = (sigma_t / sigma_s * torch.exp(-h)) * state.latent + (alpha_t * (1 - torch.exp(-2.0 * h))) * denoised
    if _second_order(state, run):
        difference = _difference(state, run, denoised, lambda_s, h)
        latent = latent + 0.5 * (alpha_t * (1 - torch.exp(-2.0 * h))) * difference
    latent = latent + sigma_t * torch.sqrt(1.0 - torch.exp(-2 * h)) * noise
    return state.stepped(run.constrain(latent, i + 1), denoised, (denoised,))


def _second_order(state: SolverState, run: Run) -> bool:
    return bool(state.history) and bool(run.schedule.sigmas[state.index + 1])


def _difference(
    state: SolverState, run: Run, denoised: torch.Tensor, lambda_s: torch.Tensor, h: torch.Tensor
) -> torch.Tensor:
    before = log_snr(*alpha_sigma(run.schedule.sigmas[state.index - 1], run.is_flow))
    r = (lambda_s - before) / h
    return (1.0 / r) * (denoised - state.history[-1])


def dpmpp_sde(state: SolverState, run: Run) -> SolverState:
    """DPMSolverSDEScheduler; k-diffusion's sample_dpmpp_sde with r 1/2 and eta 1.

    Noise is independent between draws instead of taken from a Brownian tree: two draws a step, none at the last.
    """
    i, schedule = state.index, run.schedule
    sigma, sigma_next = schedule.sigmas[i], schedule.sigmas[i + 1]
    denoised = denoise_ve(state.latent, sigma, schedule.timesteps[i], i, run)
    if not bool(sigma_next):
        derivative = (state.latent - denoised) / sigma
        latent = state.latent + derivative * (sigma_next - sigma)
        return state.stepped(run.constrain(latent, i + 1), denoised)
    if run.is_flow:
        return _flow_sde(state, run, denoised)
    t, t_next = sigma.log().neg(), sigma_next.log().neg()
    t_middle = t + (t_next - t) * 0.5
    middle = _ancestral(state.latent, denoised, t, t_middle, noise_for(state, run))
    # The middle is held to the next step's noise level, not its own, as diffusers' in-painting loop does.
    middle = run.constrain(middle, i + 1)
    denoised = denoise_ve(middle, t_middle.neg().exp(), schedule.midpoints[i], i, run)
    latent = _ancestral(state.latent, denoised, t, t_next, noise_for(state, run))
    return state.stepped(run.constrain(latent, i + 1), denoised)


def _flow_sde(state: SolverState, run: Run, denoised: torch.Tensor) -> SolverState:
    """The same in half the log of the signal-to-noise ratio, for a flow model (ComfyUI's sample_dpmpp_sde)."""
    i = state.index
    alphas, sigmas = alpha_sigma(run.schedule.sigmas[i : i + 2], flow=True)
    (alpha, alpha_next), (t, t_next) = alphas, log_snr(alphas, sigmas)
    t_middle = t + (t_next - t) * 0.5
    sigma_middle = torch.sigmoid(-t_middle)
    middle = _ancestral(state.latent / alpha, denoised, t, t_middle, noise_for(state, run)) * (1 - sigma_middle)
    middle = run.constrain(middle, i + 1)
    denoised = denoise_ve(middle, sigma_middle, run.told(sigma_middle), i, run)
    latent = _ancestral(state.latent / alpha, denoised, t, t_next, noise_for(state, run)) * alpha_next
    return state.stepped(run.constrain(latent, i + 1), denoised)


def _ancestral(
    latent: torch.Tensor, denoised: torch.Tensor, t: torch.Tensor, t_to: torch.Tensor, noise: torch.Tensor
) -> torch.Tensor:
    sigma_from, sigma_to = t.neg().exp(), t_to.neg().exp()
    sigma_up = min(sigma_to, (sigma_to**2 * (sigma_from**2 - sigma_to**2) / sigma_from**2) ** 0.5)
    sigma_down = (sigma_to**2 - sigma_up**2) ** 0.5
    t_down = sigma_down.log().neg()
    latent = (t_down.neg().exp() / t.neg().exp()) * latent - (t - t_down).expm1() * denoised
    return latent + noise * 1.0 * sigma_up
