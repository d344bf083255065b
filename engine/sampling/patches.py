"""What a model's patches mean to a run: its noise space, how its guidance is combined, how its mask is read.

Patches travel on the model handle and are applied, in order, to each run anew; nothing of a model is changed, so taking
a patch off leaves no residue. "lora" and "freeu" are the families' own; the rest is here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeAlias, cast

import torch

from engine.contracts.errors import InvalidRequest
from engine.graph.values import Patch
from engine.sampling.flow_space import FlowSpace, Space
from engine.sampling.noise_space import NoiseSpace, Prediction, zero_terminal_snr

# (unconditional x₀, conditional x₀, x₀ so far, latent x₀ + σ·noise, σ, scale) → x₀
Rule: TypeAlias = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, float], torch.Tensor]

NETWORK_PATCHES = ("lora", "freeu", "reference_only", "ip_adapter", "merge", "dtype", "step_cache")
DISTILLED_STRIDE = 20  # an LCM knows 50 of its teacher's 1000 timesteps


def patched_space(space: Space, patches: Sequence[Patch]) -> Space:
    """The noise space as the patches leave it. Raises InvalidRequest for a patch that the model can't take."""
    for patch in patches:
        if isinstance(space, FlowSpace):
            space = _patched_flow(space, patch)
            continue
        if patch.kind in ("shift", "shift_flux"):
            raise InvalidRequest(
                "this model was trained on discrete noise levels and has no shift", where="model",
                fix="Take the shift node out, or load a flow model (SD3, Flux, Qwen-Image…)",
            )  # fmt: skip
        if patch.kind == "prediction":
            space = _with_prediction(space, dict(patch.settings))
        elif patch.kind not in (*NETWORK_PATCHES, *_RULES, "differential_diffusion"):
            raise InvalidRequest(f"this model has no use for “{patch.kind}”", where="model", fix="Take that node out")
    return space


def _patched_flow(space: FlowSpace, patch: Patch) -> FlowSpace:
    settings = dict(patch.settings)
    if patch.kind == "shift":
        if settings["shift"] <= 0:
            raise InvalidRequest("a shift must be above 0", where="shift", fix="1 changes nothing; 3 is usual")
        return replace(space, shift=settings["shift"], curve="fixed", by_size=None, mu=None)
    if patch.kind == "shift_flux":
        return replace(space, curve="exponential", by_size=None, mu=settings["mu"])
    if patch.kind == "prediction":
        raise InvalidRequest(
            "this model was trained to foretell a flow, and nothing else", where="model",
            fix="Take the prediction node out",
        )  # fmt: skip
    if patch.kind == "freeu":
        raise InvalidRequest("FreeU needs a UNet, and this model has none", where="model", fix="Take that node out")
    if patch.kind == "reference_only":
        raise InvalidRequest(
            "reference-only needs a UNet, and this model has none", where="model",
            fix="Take that node out; editing models take reference pictures by “Reference latent”",
        )  # fmt: skip
    if patch.kind not in (*NETWORK_PATCHES, *_RULES, "differential_diffusion"):
        raise InvalidRequest(f"this model has no use for “{patch.kind}”", where="model", fix="Take that node out")
    return space


def _with_prediction(space: NoiseSpace, settings: dict[str, Any]) -> NoiseSpace:
    alphas = zero_terminal_snr(space.alphas_cumprod) if settings["zero_snr"] else space.alphas_cumprod
    wanted = str(settings["prediction"])
    stride = DISTILLED_STRIDE if wanted == "lcm" else 1
    return replace(space, alphas_cumprod=alphas, prediction=cast(Prediction, _PREDICTIONS[wanted]), stride=stride)


_PREDICTIONS = {"eps": "epsilon", "v_prediction": "v_prediction", "x0": "sample", "lcm": "epsilon"}


def differential_strength(patches: Sequence[Patch]) -> float | None:
    """How far a grey mask is read as the moment from which a place may change; None without that patch."""
    found = [dict(patch.settings)["strength"] for patch in patches if patch.kind == "differential_diffusion"]
    return float(found[-1]) if found else None


def rules_of(patches: Sequence[Patch], prediction: Prediction = "epsilon") -> tuple[Rule, ...]:
    """The rules that stand in for, or follow, plain guidance, in order, for a model of that prediction."""
    spread: Prediction = "flow" if prediction == "flow" else "v_prediction"
    settings = [(patch.kind, {**dict(patch.settings), "spread": spread}) for patch in patches if patch.kind in _RULES]
    return tuple(_RULES[kind](values) for kind, values in settings)


def combined(
    unconditional: torch.Tensor,
    conditional: torch.Tensor,
    scale: float,
    rules: Sequence[Rule],
    x: torch.Tensor,
    sigma: torch.Tensor,
    prediction: Prediction,
) -> torch.Tensor:
    """Guidance with rules, on network outputs [B, C, h, w]; `x` is the latent as the network got it, σ a scalar."""
    latent = x if prediction == "flow" else x * (sigma**2 + 1) ** 0.5
    u, c = (to_clean(side, latent, sigma, prediction) for side in (unconditional, conditional))
    out = u + scale * (c - u)
    for rule in rules:
        out = rule(u, c, out, latent, sigma, scale)
    return from_clean(out, latent, sigma, prediction)


def to_clean(output: torch.Tensor, latent: torch.Tensor, sigma: torch.Tensor, prediction: Prediction) -> torch.Tensor:
    """x₀ that a network output means, for a latent x₀ + σ·noise, or of a flow model."""
    if prediction in ("epsilon", "flow"):
        return latent - sigma * output
    if prediction == "v_prediction":
        return output * (-sigma / (sigma**2 + 1) ** 0.5) + latent / (sigma**2 + 1)
    return output


def from_clean(clean: torch.Tensor, latent: torch.Tensor, sigma: torch.Tensor, prediction: Prediction) -> torch.Tensor:
    """Back again."""
    if prediction in ("epsilon", "flow"):
        return (latent - clean) / sigma
    if prediction == "v_prediction":
        return (latent / (sigma**2 + 1) - clean) * ((sigma**2 + 1) ** 0.5 / sigma)
    return clean


def _rescale(settings: dict[str, Any]) -> Rule:
    multiplier, velocity = float(settings["multiplier"]), settings["spread"]

    def rule(
        u: torch.Tensor, c: torch.Tensor, out: torch.Tensor, latent: torch.Tensor, sigma: torch.Tensor, scale: float
    ) -> torch.Tensor:
        """2305.08891, section 3.4: guidance brought back to the spread of the conditional side, in v (or the flow)."""
        conditional = from_clean(c, latent, sigma, velocity)
        guided = from_clean(out, latent, sigma, velocity)
        axes = tuple(range(1, out.ndim))
        ratio = conditional.std(dim=axes, keepdim=True) / guided.std(dim=axes, keepdim=True)
        mixed = multiplier * (guided * ratio) + (1.0 - multiplier) * guided
        return to_clean(mixed, latent, sigma, velocity)

    return rule


def _norm(settings: dict[str, Any]) -> Rule:
    strength = float(settings["strength"])

    def rule(
        u: torch.Tensor, c: torch.Tensor, out: torch.Tensor, latent: torch.Tensor, sigma: torch.Tensor, scale: float
    ) -> torch.Tensor:
        """No cell's vector may become longer than the conditional one (ComfyUI's CFGNorm; Qwen-Image's guidance)."""
        longest = c.norm(dim=1, keepdim=True) / (out.norm(dim=1, keepdim=True) + 1e-8)
        shortened: torch.Tensor = out * longest.clamp(0.0, 1.0) * strength
        return shortened

    return rule


def _zero_star(settings: dict[str, Any]) -> Rule:
    def rule(
        u: torch.Tensor, c: torch.Tensor, out: torch.Tensor, latent: torch.Tensor, sigma: torch.Tensor, scale: float
    ) -> torch.Tensor:
        """CFG-Zero* (2503.18886): the unconditional side scaled onto the conditional one, by projection."""
        positive, negative = (latent - c).flatten(1), (latent - u).flatten(1)
        share = (positive * negative).sum(1) / (negative.square().sum(1) + 1e-8)
        share = share.reshape(-1, *[1] * (out.ndim - 1))
        return out + u * (share - 1.0) + scale * u * (1.0 - share)

    return rule


def _limit(settings: dict[str, Any]) -> Rule:
    longest, until, velocity = float(settings["longest"]), float(settings["until"]), settings["spread"]

    def rule(
        u: torch.Tensor, c: torch.Tensor, out: torch.Tensor, latent: torch.Tensor, sigma: torch.Tensor, scale: float
    ) -> torch.Tensor:
        """Z-Image's normalisation and truncation of guidance, on the whole picture's flow (diffusers' cfg_…)."""
        left = float(sigma) if velocity == "flow" else float(sigma / (sigma + 1))
        if 1.0 - left > until:
            return c
        if not longest:
            return out
        axes = tuple(range(1, out.ndim))
        alone, guided = (from_clean(side, latent, sigma, velocity) for side in (c, out))
        lengths = [torch.linalg.vector_norm(side, dim=axes, keepdim=True) for side in (alone, guided)]
        return to_clean(guided * (longest * lengths[0] / lengths[1]).clamp(max=1.0), latent, sigma, velocity)

    return rule


_RULES: dict[str, Callable[[dict[str, Any]], Rule]] = {
    "rescale_cfg": _rescale, "cfg_norm": _norm, "cfg_zero_star": _zero_star, "cfg_limit": _limit,
}  # fmt: skip
