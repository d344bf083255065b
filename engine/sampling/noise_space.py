"""The noise a discrete diffusion model was trained with: betas, prediction type, timestep spacing.

Read from the model's own scheduler_config.json. The arithmetic (float32, order of operations) is that of diffusers'
schedulers, so that sigmas come out bit-equal.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import torch

from engine.contracts.codec import describe
from engine.contracts.errors import InvalidDocument

Prediction: TypeAlias = Literal["epsilon", "v_prediction", "sample", "flow"]
Spacing: TypeAlias = Literal["linspace", "leading", "trailing"]

# Schedulers whose own default spacing is not "linspace", for configs that leave it out.
_LEADING_BY_DEFAULT = ("DDIMScheduler", "PNDMScheduler", "DDPMScheduler", "LCMScheduler", "TCDScheduler")


@dataclass(frozen=True, eq=False)
class NoiseSpace:
    """alphas_cumprod: float32 CPU tensor [T], falling. `final_alpha` is what DDIM takes beyond the last timestep.

    `stride` above 1: a distilled model, which knows only timesteps stride − 1, 2·stride − 1, … (ComfyUI's "lcm").
    """

    alphas_cumprod: torch.Tensor
    prediction: Prediction = "epsilon"
    spacing: Spacing = "linspace"
    steps_offset: int = 0
    final_alpha: torch.Tensor | None = None
    clip: float | None = None
    original_steps: int = 50
    stride: int = 1

    @property
    def length(self) -> int:
        """How many timesteps the model was trained with (T)."""
        return self.alphas_cumprod.shape[0]

    @cached_property
    def sigmas(self) -> npt.NDArray[np.float32]:
        """σ of each training timestep, rising, float32 [T]: sqrt((1 − ᾱ)/ᾱ)."""
        return (((1 - self.alphas_cumprod) / self.alphas_cumprod) ** 0.5).numpy()

    @cached_property
    def log_sigmas(self) -> npt.NDArray[np.float32]:
        return np.log(self.sigmas)

    def timestep_of(self, sigma: float) -> float:
        """The fractional timestep whose σ is `sigma`, by interpolation in log σ (k-diffusion's sigma_to_t)."""
        logs = self.log_sigmas
        log_sigma = np.log(np.maximum(sigma, 1e-10))
        low = int(np.clip(np.searchsorted(logs, log_sigma, side="right") - 1, 0, len(logs) - 2))
        weight = np.clip((logs[low] - log_sigma) / (logs[low] - logs[low + 1]), 0, 1)
        timestep = float((1 - weight) * low + weight * (low + 1))
        if self.stride > 1:
            timestep = float(max(round((timestep + 1) / self.stride), 1) * self.stride - 1)
        return timestep

    def sigma_of(self, timestep: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """σ at fractional timesteps, by interpolation in log σ (ComfyUI's)."""
        return np.exp(np.interp(timestep, np.arange(self.length), self.log_sigmas.astype(np.float64)))

    def sigma_at(self, timestep: float) -> float:
        """σ at one fractional timestep, by interpolation in log σ."""
        return float(np.exp(np.interp(timestep, np.arange(self.length), self.log_sigmas)))

    def resolved(self, shape: tuple[int, ...] | None, steps: int) -> NoiseSpace:
        """The space of one run: the same for latents of every size (see FlowSpace)."""
        return self

    def done_at(self, timestep: float) -> float:
        """Which part of a run is done where the network is told `timestep`, 0..1."""
        return 1.0 - timestep / (self.length - 1)

    def start_for(self, steps: int, strength: float) -> int:
        """The first step to do so that `strength` (0..1) of the schedule is done, counted as diffusers counts it."""
        return max(steps - min(int(steps * strength), steps), 0)

    @classmethod
    def from_config(cls, config: Mapping[str, Any], where: str = "scheduler_config.json") -> NoiseSpace:
        """From a diffusers scheduler config. Raises InvalidDocument naming the field that is wrong."""
        length = _whole(config, "num_train_timesteps", 1000, where)
        betas = _betas(config, length, where)
        rescaled = config.get("rescale_betas_zero_snr") is True
        if rescaled:
            betas = _rescale_to_zero_terminal_snr(betas)
        alphas = torch.cumprod(1.0 - betas, dim=0)
        if rescaled:
            alphas[-1] = 2**-24  # close to 0 without being 0, so that the first sigma is finite
        name = str(config.get("_class_name", ""))
        spacing = config.get("timestep_spacing", "leading" if name in _LEADING_BY_DEFAULT else "linspace")
        prediction = config.get("prediction_type", "epsilon")
        _choice(spacing, "timestep_spacing", ("linspace", "leading", "trailing"), where)
        _choice(prediction, "prediction_type", ("epsilon", "v_prediction", "sample"), where)
        to_one = config.get("set_alpha_to_one", True) is not False
        clip = config.get("clip_sample", name == "DDIMScheduler") is True
        return cls(
            alphas_cumprod=alphas,
            prediction=cast(Prediction, prediction),
            spacing=cast(Spacing, spacing),
            steps_offset=_whole(config, "steps_offset", 0, where),
            final_alpha=torch.tensor(1.0) if to_one else alphas[0],
            clip=float(config.get("clip_sample_range", 1.0)) if clip else None,
            original_steps=_whole(config, "original_inference_steps", 50, where),
        )


def _betas(config: Mapping[str, Any], length: int, where: str) -> torch.Tensor:
    trained = config.get("trained_betas")
    if trained is not None:
        if not isinstance(trained, list) or len(trained) != length:
            raise InvalidDocument(f"“trained_betas” must be a list of {length} numbers", where=where)
        return torch.tensor(trained, dtype=torch.float32)
    kind = config.get("beta_schedule", "linear")
    start, end = _fraction(config, "beta_start", 0.0001, where), _fraction(config, "beta_end", 0.02, where)
    if kind == "linear":
        return torch.linspace(start, end, length, dtype=torch.float32)
    if kind == "scaled_linear":
        return torch.linspace(start**0.5, end**0.5, length, dtype=torch.float32) ** 2
    _choice(kind, "beta_schedule", ("linear", "scaled_linear", "squaredcos_cap_v2"), where)
    steps = [(i / length, (i + 1) / length) for i in range(length)]
    return torch.tensor([min(1 - _cosine(b) / _cosine(a), 0.999) for a, b in steps], dtype=torch.float32)


def _cosine(t: float) -> float:
    return math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2


def _rescale_to_zero_terminal_snr(betas: torch.Tensor) -> torch.Tensor:
    """Common Diffusion Noise Schedules and Sample Steps are Flawed (2305.08891), algorithm 1."""
    roots = torch.cumprod(1.0 - betas, dim=0).sqrt()
    first, last = roots[0].clone(), roots[-1].clone()
    roots -= last
    roots *= first / (first - last)
    squares = roots**2
    return 1 - torch.cat([squares[0:1], squares[1:] / squares[:-1]])


def zero_terminal_snr(alphas_cumprod: torch.Tensor) -> torch.Tensor:
    """ᾱ of a model as if it had been trained down to no signal at its last timestep (2305.08891, algorithm 1)."""
    first = alphas_cumprod[:1]
    betas = 1 - torch.cat([first, alphas_cumprod[1:] / alphas_cumprod[:-1]])
    rescaled = torch.cumprod(1.0 - _rescale_to_zero_terminal_snr(betas), dim=0)
    rescaled[-1] = 2**-24
    return rescaled


def _whole(config: Mapping[str, Any], key: str, default: int, where: str) -> int:
    value = config.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 100_000:
        raise InvalidDocument(f"“{key}” can't be {describe(value)}", where=where)
    return value


def _fraction(config: Mapping[str, Any], key: str, default: float, where: str) -> float:
    value = config.get(key, default)
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value < 1:
        raise InvalidDocument(f"“{key}” can't be {describe(value)}", where=where)
    return float(value)


def _choice(value: object, key: str, choices: tuple[str, ...], where: str) -> None:
    if value not in choices:
        raise InvalidDocument(
            f"“{key}” can't be {describe(value)}", where=where, fix=f"Known are: {', '.join(choices)}"
        )
