"""UniPC, order 2, predicting x₀ (2302.04867): UniPCMultistepScheduler's predictor and corrector.

B₁(h) = h is ComfyUI's "uni_pc"; B₂(h) = eʰ − 1, diffusers' default, its "uni_pc_bh2".
"""

from __future__ import annotations

import torch

from engine.sampling.dpm import alpha_sigma, denoise_vp, log_snr
from engine.sampling.state import Run, SolverState

ORDER = 2


def uni_pc(state: SolverState, run: Run, *, bh2: bool = False) -> SolverState:
    """Correct the latent with what the network says of it, then predict the next one.

    history: (latent of the step before, x₀ of two steps before?, x₀ of the step before).
    """
    i, steps = state.index, run.schedule.steps
    denoised = denoise_vp(state, run)
    latent, (last_order, warmed) = state.latent, state.orders
    outputs = state.history[1:]
    if state.history:
        latent = _correct(state.history[0], outputs, denoised, last_order, i, run, bh2)
    outputs = (*outputs, denoised)[-ORDER:]
    order = min(ORDER, steps - i, warmed + 1)
    predicted = _predict(latent, outputs, order, i, run, bh2)
    return state.stepped(run.constrain(predicted, i + 1), denoised, (latent, *outputs), (order, min(warmed + 1, ORDER)))


def _correct(
    last: torch.Tensor, outputs: tuple[torch.Tensor, ...], now: torch.Tensor, order: int, i: int, run: Run, bh2: bool
) -> torch.Tensor:
    """UniC: the latent at step i again, from the one at i − 1 and what the network said at both."""
    newest = outputs[-1]
    base, alpha, scale, rks, b = _terms(last, newest, order, i - 1, run, bh2)
    if order == 1:
        rhos = torch.ones(1, dtype=last.dtype) * 0.5
        residual: torch.Tensor | float = 0
    else:
        powers = torch.stack([torch.pow(rks, k) for k in range(order)])
        rhos = torch.linalg.solve(powers, b).to(last.dtype)
        residual = _combine(rhos[:-1], outputs, newest, rks)
    return base - alpha * scale * (residual + rhos[-1] * (now - newest))


def _predict(
    latent: torch.Tensor, outputs: tuple[torch.Tensor, ...], order: int, i: int, run: Run, bh2: bool
) -> torch.Tensor:
    """UniP: the latent at step i + 1."""
    newest = outputs[-1]
    base, alpha, scale, rks, _ = _terms(latent, newest, order, i, run, bh2)
    if order == 1:  # at the last step B₁(h) is infinite, and weighs nothing
        return base
    return base - alpha * scale * _combine(torch.ones(1, dtype=latent.dtype) * 0.5, outputs, newest, rks)


def _terms(
    latent: torch.Tensor, newest: torch.Tensor, order: int, i: int, run: Run, bh2: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """(first-order part, α at i + 1, B(h), step ratios, right-hand side) of the step from i to i + 1."""
    sigmas = run.schedule.sigmas
    alpha_t, sigma_t = alpha_sigma(sigmas[i + 1], run.is_flow)
    alpha_s, sigma_s = alpha_sigma(sigmas[i], run.is_flow)
    lambda_s = log_snr(alpha_s, sigma_s)
    h = log_snr(alpha_t, sigma_t) - lambda_s
    ratios = [(log_snr(*alpha_sigma(sigmas[i - k], run.is_flow)) - lambda_s) / h for k in range(1, order)]
    rks = torch.stack([*ratios, torch.ones(())])
    hh = -h
    phi = torch.expm1(hh)
    scale = phi if bh2 else hh
    phi_k, factorial, b = phi / hh - 1, 1, []
    for k in range(1, order + 1):
        b.append(phi_k * factorial / scale)
        factorial *= k + 1
        phi_k = phi_k / hh - 1 / factorial
    base = sigma_t / sigma_s * latent - alpha_t * phi * newest
    return base, alpha_t, scale, rks, torch.stack(b)


def _combine(
    rhos: torch.Tensor, outputs: tuple[torch.Tensor, ...], newest: torch.Tensor, rks: torch.Tensor
) -> torch.Tensor:
    differences = torch.stack([(outputs[-2] - newest) / rks[0]], dim=1)
    return torch.einsum("k,bkc...->bc...", rhos.to(newest.device), differences)
