"""The noise of a flow-matching model: σ in 0..1, x = (1 − σ)·x₀ + σ·noise, and a network that says noise − x₀.

Read from the model's own scheduler_config.json. The arithmetic (widths, order of operations) is that of diffusers'
FlowMatchEulerDiscreteScheduler and of the pipelines that feed it, so that sigmas come out bit-equal. Rectified flow:
2209.03003; time shifting by size: 2403.03206, section 5.3.2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, Protocol, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import torch

from engine.contracts.codec import describe
from engine.contracts.errors import InvalidDocument
from engine.sampling.noise_space import NoiseSpace, Prediction

Curve: TypeAlias = Literal["fixed", "exponential", "linear"]
# How a model's own times are laid before they are shifted:
# even         1, …, 1/n, rounded to single precision (Flux, Flux.2, Chroma, Qwen-Image)
# even_single  the same, laid in single precision (Z-Image)
# ends         from the shifted first to the shifted last training time, so that the shift acts twice (SD3)
Laid: TypeAlias = Literal["even", "even_single", "ends"]
Floats: TypeAlias = npt.NDArray[Any]

USUAL_TOKENS = 4096  # of 1024 × 1024 pixels, where no size is known
_CURVES = ("exponential", "linear")


class ShiftBySize(Protocol):
    """μ of the time shift for a number of picture tokens and of steps."""

    def __call__(self, tokens: int, steps: int) -> float: ...


@dataclass(frozen=True)
class LinearShift:
    """μ on a line through (base_tokens, base_shift) and (max_tokens, max_shift): diffusers' calculate_shift."""

    base_shift: float = 0.5
    max_shift: float = 1.15
    base_tokens: int = 256
    max_tokens: int = 4096

    def __call__(self, tokens: int, steps: int) -> float:
        slope = (self.max_shift - self.base_shift) / (self.max_tokens - self.base_tokens)
        return tokens * slope + (self.base_shift - slope * self.base_tokens)


@dataclass(frozen=True)
class EmpiricalShift:
    """μ of Flux.2, by size and steps: Black Forest Labs' fit (diffusers' compute_empirical_mu)."""

    def __call__(self, tokens: int, steps: int) -> float:
        many = 0.00016927 * tokens + 0.45666666  # at 200 steps
        if tokens > 4300:
            return float(many)
        few = 8.73809524e-05 * tokens + 1.89833333  # at 10
        slope = (many - few) / 190.0
        return float(slope * steps + (many - 200.0 * slope))


@dataclass(frozen=True, eq=False)
class FlowSpace:
    """shift     s of the curve "fixed": σ = s·t / (1 + (s − 1)·t)
    by_size   gives μ of the other curves, exponential eᵘ/(eᵘ + 1/t − 1) and linear μ/(μ + 1/t − 1)
    mu        μ, once `resolved` for a run
    terminal  the σ that the last step of the model's own schedule is stretched to; None: left as it is
    laid      see Laid
    patch     latent cells for each token, in both directions: a size is counted in tokens
    """

    shift: float = 1.0
    curve: Curve = "fixed"
    by_size: ShiftBySize | None = None
    mu: float | None = None
    terminal: float | None = None
    length: int = 1000
    laid: Laid = "even"
    patch: int = 2
    prediction: Prediction = "flow"
    clip: float | None = None
    stride: int = 1

    def resolved(self, shape: tuple[int, ...] | None, steps: int) -> FlowSpace:
        """The space of one run: its shift is that of a latent of `shape` […, h, w] (None: of a usual size)."""
        if self.curve == "fixed" or self.mu is not None or self.by_size is None:
            return self
        tokens = USUAL_TOKENS if shape is None else (shape[-2] // self.patch) * (shape[-1] // self.patch)
        for frames in () if shape is None else shape[2:-2]:
            tokens *= frames
        return replace(self, mu=self.by_size(tokens, steps))

    def shifted(self, times: Floats) -> Floats:
        """σ of times in 0..1, in the width they come in."""
        if self.curve == "fixed":
            return np.asarray(self.shift * times / (1 + (self.shift - 1) * times))
        mu = self._mu
        height = math.exp(mu) if self.curve == "exponential" else mu
        with np.errstate(divide="ignore"):
            return np.asarray(height / (height + (1 / times - 1) ** 1.0))

    def stretched(self, sigmas: Floats) -> Floats:
        """A falling list with its last σ brought to `terminal` (LTX-Video's; Qwen-Image has it)."""
        if not self.terminal:
            return sigmas
        left = 1 - sigmas
        if not left[-1]:  # a single step is at pure noise, and can't be at the terminal σ too
            return sigmas
        scale = left[-1] / (1 - self.terminal)
        return np.asarray(1 - left / scale)

    def own_sigmas(self, steps: int) -> Floats:
        """σ of each step of the model's own schedule, without the closing 0, as its pipeline in diffusers lays it."""
        if self.laid == "ends":
            first, last = float(self._trained[0]), float(self._trained[-1])
            times: Floats = np.linspace(first * self.length, last * self.length, steps) / self.length
        elif self.laid == "even_single":
            times = np.array(torch.linspace(1.0, 1 / steps, steps).tolist()).astype(np.float32)
        else:
            times = np.linspace(1.0, 1 / steps, steps).astype(np.float32)
        return self.stretched(self.shifted(times))

    @cached_property
    def _trained(self) -> torch.Tensor:
        """σ of the training times, falling, float32 [T]; shifted where the shift is fixed."""
        times = torch.from_numpy(np.linspace(1, self.length, self.length, dtype=np.float32)[::-1].copy()) / self.length
        return times if self.curve != "fixed" else self.shift * times / (1 + (self.shift - 1) * times)

    @cached_property
    def sigmas(self) -> npt.NDArray[np.float32]:
        """σ of each training time, rising, float32 [T]."""
        return self.shifted(np.linspace(1, self.length, self.length, dtype=np.float32) / self.length).astype(np.float32)

    @property
    def _mu(self) -> float:
        if self.mu is not None:
            return self.mu
        return self.by_size(USUAL_TOKENS, 25) if self.by_size is not None else 0.0

    def timestep_of(self, sigma: float) -> float:
        """What the network is told at σ."""
        return sigma * self.length

    def sigma_at(self, timestep: float) -> float:
        """σ at what the network is told."""
        return timestep / self.length

    def done_at(self, timestep: float) -> float:
        """Which part of a run is done where the network is told `timestep`, 0..1: the shift taken off again."""
        sigma = min(max(timestep / self.length, 0.0), 1.0)
        if self.curve == "fixed":
            return 1.0 - sigma / (self.shift - (self.shift - 1) * sigma)
        height = math.exp(self._mu) if self.curve == "exponential" else self._mu
        return 1.0 - (1.0 / (height * (1.0 / sigma - 1.0) + 1.0) if sigma > 0 else 0.0)

    def start_for(self, steps: int, strength: float) -> int:
        """The first step to do so that `strength` (0..1) of the schedule is done, as diffusers' pipelines count."""
        return int(max(steps - min(steps * strength, steps), 0))

    def as_config(self) -> dict[str, Any]:
        """The config of a FlowMatchEulerDiscreteScheduler that means this space."""
        made: dict[str, Any] = {
            "num_train_timesteps": self.length, "shift": self.shift, "shift_terminal": self.terminal,
            "use_dynamic_shifting": self.curve != "fixed",
        }  # fmt: skip
        if self.curve != "fixed":
            made["time_shift_type"] = self.curve
        if isinstance(self.by_size, LinearShift):
            made |= {
                "base_shift": self.by_size.base_shift, "max_shift": self.by_size.max_shift,
                "base_image_seq_len": self.by_size.base_tokens, "max_image_seq_len": self.by_size.max_tokens,
            }  # fmt: skip
        return made

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], where: str = "scheduler_config.json", *, laid: Laid = "even", patch: int = 2
    ) -> FlowSpace:
        """From the config of a flow scheduler of diffusers. Raises InvalidDocument naming the field that is wrong."""

        def number(key: str, default: float, low: float, high: float) -> float:
            value = config.get(key)
            if value is None:
                return default
            if not isinstance(value, (int, float)) or isinstance(value, bool) or not low <= value <= high:
                raise InvalidDocument(f"“{key}” can't be {describe(value)}", where=where)
            return float(value)

        length = int(number("num_train_timesteps", 1000, 1, 100_000))
        terminal = number("shift_terminal", 0.0, 0.0, 0.999)
        if config.get("invert_sigmas") is True:
            raise InvalidDocument("“invert_sigmas” is for models that this studio does not run", where=where)
        if config.get("use_dynamic_shifting") is not True:
            return cls(
                number("shift", 1.0, 1e-3, 1e3), terminal=terminal or None, length=length, laid=laid, patch=patch
            )  # fmt: skip
        curve = config.get("time_shift_type", "exponential")
        if curve not in _CURVES:
            raise InvalidDocument(
                f"“time_shift_type” can't be {describe(curve)}", where=where, fix=f"Known are: {', '.join(_CURVES)}"
            )
        by_size = LinearShift(
            number("base_shift", 0.5, -20, 20), number("max_shift", 1.15, -20, 20),
            int(number("base_image_seq_len", 256, 1, 1e7)), int(number("max_image_seq_len", 4096, 1, 1e7)),
        )  # fmt: skip
        if by_size.base_tokens == by_size.max_tokens:
            raise InvalidDocument("“base_image_seq_len” and “max_image_seq_len” can't be the same", where=where)
        return cls(
            curve=cast(Curve, curve), by_size=by_size, terminal=terminal or None, length=length, laid=laid, patch=patch
        )


# The noise a model was trained with, whatever its kind.
Space: TypeAlias = NoiseSpace | FlowSpace


def space_from_config(config: Mapping[str, Any], where: str = "scheduler_config.json") -> Space:
    """The noise space that a scheduler's config means. Raises InvalidDocument."""
    name = str(config.get("_class_name", ""))
    if name.startswith("FlowMatch") or config.get("prediction_type") == "flow_prediction":
        return FlowSpace.from_config(config, where)
    return NoiseSpace.from_config(config, where)
