"""Euler, Euler ancestral, Heun, DDIM and LCM steps (see solvers.py for the common conventions)."""

from __future__ import annotations

import torch

from engine.sampling.noise import draw
from engine.sampling.state import Run, SolverState


def noise_for(state: SolverState, run: Run) -> torch.Tensor:
    """The next draw of each item's generator, or what a test injects."""
    return run.noise(state) if run.noise is not None else draw(state.generators, state.latent)


def denoise_ve(latent: torch.Tensor, sigma: torch.Tensor, timestep: torch.Tensor, step: int, run: Run) -> torch.Tensor:
    """x₀ from a latent x₀ + σ·noise, or of a flow model, through the network."""
    return _clean(latent, sigma, run.predict(_given(latent, sigma, run), timestep, step), run)


def denoise_both(
    latent: torch.Tensor, sigma: torch.Tensor, timestep: torch.Tensor, step: int, run: Run
) -> tuple[torch.Tensor, torch.Tensor]:
    """(x₀, x₀ without guidance), see `denoise_ve`; twice the same where the run has no unguided answer."""
    guided, plain = run.predicted_both(_given(latent, sigma, run), timestep, step)
    return _clean(latent, sigma, guided, run), _clean(latent, sigma, plain, run)


def _given(latent: torch.Tensor, sigma: torch.Tensor, run: Run) -> torch.Tensor:
    return latent if run.is_flow else latent / ((sigma**2 + 1) ** 0.5)


def _clean(latent: torch.Tensor, sigma: torch.Tensor, output: torch.Tensor, run: Run) -> torch.Tensor:
    if run.is_flow:
        return latent - output * sigma
    if run.prediction == "epsilon":
        return latent - sigma * output
    if run.prediction == "v_prediction":
        return output * (-sigma / (sigma**2 + 1) ** 0.5) + (latent / (sigma**2 + 1))
    return output


def euler(state: SolverState, run: Run) -> SolverState:
    """EulerDiscreteScheduler, FlowMatchEulerDiscreteScheduler; Karras et al. (2206.00364), algorithm 2, no churn."""
    i, schedule = state.index, run.schedule
    sigma = schedule.sigmas[i]
    if run.is_flow:
        velocity = run.predict(state.latent, schedule.timesteps[i], i)
        latent = state.latent + (schedule.sigmas[i + 1] - sigma) * velocity
        return state.stepped(run.constrain(latent, i + 1), state.latent - sigma * velocity)
    denoised = denoise_ve(state.latent, sigma, schedule.timesteps[i], i, run)
    derivative = (state.latent - denoised) / sigma
    latent = state.latent + derivative * (schedule.sigmas[i + 1] - sigma)
    return state.stepped(run.constrain(latent, i + 1), denoised)


def euler_ancestral(state: SolverState, run: Run, *, eta: float = 1.0, noise_scale: float = 1.0) -> SolverState:
    """EulerAncestralDiscreteScheduler; k-diffusion's sample_euler_ancestral, `eta` 0 is Euler without noise.

    Flow models: ComfyUI's sample_euler_ancestral_RF.
    """
    i, schedule = state.index, run.schedule
    sigma, sigma_to = schedule.sigmas[i], schedule.sigmas[i + 1]
    denoised = denoise_ve(state.latent, sigma, schedule.timesteps[i], i, run)
    if run.is_flow:
        sigma_down, keep, sigma_up = flow_ancestral(sigma, sigma_to, eta)
        latent = (sigma_down / sigma) * state.latent + (1 - sigma_down / sigma) * denoised
        latent = keep * latent + noise_for(state, run) * (sigma_up * noise_scale)
        return state.stepped(run.constrain(latent, i + 1), denoised)
    sigma_up = eta * (sigma_to**2 * (sigma**2 - sigma_to**2) / sigma**2) ** 0.5
    if eta > 1.0:
        sigma_up = torch.minimum(sigma_up, sigma_to)
    sigma_down = (sigma_to**2 - sigma_up**2) ** 0.5
    derivative = (state.latent - denoised) / sigma
    latent = state.latent + derivative * (sigma_down - sigma)
    # Drawn at the last step too, where it weighs nothing, so that generators stand where diffusers' do.
    latent = latent + noise_for(state, run) * (sigma_up * noise_scale)
    return state.stepped(run.constrain(latent, i + 1), denoised)


def flow_ancestral(
    sigma: torch.Tensor, sigma_to: torch.Tensor, eta: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(σ to go down to, what is kept of the latent there, σ of the noise put back) of a flow model.

    From k·((1 − σ↓)·x₀ + σ↓·ε) + u·noise being a latent at `sigma_to`; how far down is ComfyUI's choice.
    """
    down = sigma_to * (1 + (sigma_to / sigma - 1) * eta)
    keep = (1 - sigma_to) / (1 - down)
    return down, keep, (sigma_to**2 - down**2 * keep**2).clamp(min=0.0) ** 0.5


def heun(state: SolverState, run: Run) -> SolverState:
    """HeunDiscreteScheduler, FlowMatchHeunDiscreteScheduler; Karras et al., algorithm 2 with its correction."""
    i, schedule = state.index, run.schedule
    sigma, sigma_next = schedule.sigmas[i], schedule.sigmas[i + 1]
    denoised = denoise_ve(state.latent, sigma, schedule.timesteps[i], i, run)
    derivative = (state.latent - denoised) / sigma
    dt = sigma_next - sigma
    latent = run.constrain(state.latent + derivative * dt, i + 1)
    if not bool(sigma_next):
        return state.stepped(latent, denoised)
    # What the network is told at the corrector is the next step's timestep, which a leftover-noise run still has.
    ahead = schedule.timesteps[i + 1]
    denoised = denoise_ve(latent, sigma_next, ahead, i, run)
    derivative = (derivative + (latent - denoised) / sigma_next) / 2
    return state.stepped(run.constrain(state.latent + derivative * dt, i + 1), denoised)


def predicted_x0(latent: torch.Tensor, output: torch.Tensor, alpha_bar: torch.Tensor, run: Run) -> torch.Tensor:
    """x₀ from a variance-preserving latent at ᾱ, clipped where the model's scheduler says so."""
    beta_bar = 1 - alpha_bar
    if run.prediction == "epsilon":
        denoised = (latent - beta_bar**0.5 * output) / alpha_bar**0.5
    elif run.prediction == "v_prediction":
        denoised = (alpha_bar**0.5) * latent - (beta_bar**0.5) * output
    else:
        denoised = output
    return denoised if run.clip is None else denoised.clamp(-run.clip, run.clip)


def ddim(state: SolverState, run: Run) -> SolverState:
    """DDIMScheduler with eta 0 (2010.02502, equation 12). Of a flow model that is Euler's step."""
    if run.is_flow:
        return euler(state, run)
    i, schedule = state.index, run.schedule
    alpha, alpha_next = schedule.alphas[i], schedule.alphas_next[i]
    output = run.predict(state.latent, schedule.timesteps[i], i)
    denoised = predicted_x0(state.latent, output, alpha, run)
    if run.prediction == "epsilon":
        epsilon = output
    elif run.prediction == "v_prediction":
        epsilon = (alpha**0.5) * output + ((1 - alpha) ** 0.5) * state.latent
    else:
        epsilon = (state.latent - alpha**0.5 * denoised) / (1 - alpha) ** 0.5
    latent = alpha_next**0.5 * denoised + (1 - alpha_next) ** 0.5 * epsilon
    return state.stepped(run.constrain(latent, i + 1), denoised)


def lcm(state: SolverState, run: Run) -> SolverState:
    """LCMScheduler (2310.04378): jump to x₀ through the consistency function, then noise it for the next step.

    Of a flow model the network's own x₀, as FlowMatchEulerDiscreteScheduler's stochastic_sampling.
    """
    i, schedule = state.index, run.schedule
    if run.is_flow:
        denoised = state.latent - schedule.sigmas[i] * run.predict(state.latent, schedule.timesteps[i], i)
        sigma_to = schedule.sigmas[i + 1]
        latent = (1.0 - sigma_to) * denoised + sigma_to * noise_for(state, run) if bool(sigma_to) else denoised
        return state.stepped(run.constrain(latent, i + 1), denoised)
    timestep, alpha = schedule.timesteps[i], schedule.alphas[i]
    scaled, sigma_data = timestep * 10.0, 0.5
    skip = sigma_data**2 / (scaled**2 + sigma_data**2)
    out = scaled / (scaled**2 + sigma_data**2) ** 0.5
    output = run.predict(state.latent, timestep, i)
    denoised = out * predicted_x0(state.latent, output, alpha, run) + skip * state.latent
    if not bool(schedule.sigmas[i + 1]):
        return state.stepped(run.constrain(denoised, i + 1), denoised)
    alpha_next = schedule.alphas_next[i]
    latent = alpha_next.sqrt() * denoised + (1 - alpha_next).sqrt() * noise_for(state, run)
    return state.stepped(run.constrain(latent, i + 1), denoised)
