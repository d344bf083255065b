"""A denoiser asked for each side of a run (negative, middle, positive) and its answers combined; of every family."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from typing import TypeAlias

import torch

from engine.families.protocol import BindRequest
from engine.graph.values import ConditioningEntry
from engine.sampling.flow_space import Space
from engine.sampling.guidance import guided, is_composed, is_plain, mixed
from engine.sampling.patches import combined, rules_of

# A prompt and whether it stands on the negative side.
Asked: TypeAlias = tuple[ConditioningEntry, bool]


class GuidedNetwork(ABC):
    """One prompt on each side runs as one batch, unconditional half first, as diffusers; otherwise one by one.

    `distilled`: a network that is told the guidance scale instead of being run twice.
    """

    def __init__(self, request: BindRequest, noise: Space, *, distilled: bool = False) -> None:
        self._request, self._noise = request, noise
        self._rules = rules_of(request.patches, noise.prediction)
        composed = is_composed(request.positive)  # AND weighs against the negative side whatever cfg is
        wanted = request.cfg != 1.0 or request.style != "cfg" or composed or request.unguided
        guide = bool(request.negative) and wanted
        self._sides: tuple[tuple[ConditioningEntry, ...], ...] = (request.positive,)
        if guide and not distilled:
            middle = (request.middle,) if request.style != "cfg" else ()
            self._sides = (request.negative, *middle, request.positive)
        entries = [entry for side in self._sides for entry in side]
        alike = len({self._alike(entry) for entry in entries}) == 1
        self._together: tuple[Asked, ...] = ()
        if request.apart and len(self._sides) > 1:
            alike = False
        if alike and all(is_plain(side) for side in self._sides):
            self._together = tuple((side[0], self._is_negative(place)) for place, side in enumerate(self._sides))

    @abstractmethod
    def _alike(self, entry: ConditioningEntry) -> Hashable:
        """Equal for prompts that can be asked in one batch. Called by this class's constructor."""

    @abstractmethod
    def _ask(self, x: torch.Tensor, timestep: torch.Tensor, fraction: float, asked: tuple[Asked, ...]) -> torch.Tensor:
        """The network's float32 output for `x` [n·B, C, h, w], which holds the latent once for each of n `asked`."""

    def predict(self, x: torch.Tensor, timestep: torch.Tensor, fraction: float) -> torch.Tensor:
        """See Bound.predict."""
        return self.combined(self.sides(x, timestep, fraction), x, timestep)

    def combined(self, sides: Sequence[torch.Tensor], x: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        """The guided answer, from those of the sides as `sides` gives them."""
        if len(sides) == 1:
            return sides[0]
        request = self._request
        if request.style == "cfg":
            if self._rules:
                sigma = torch.tensor(self._noise.sigma_at(float(timestep)), dtype=torch.float32)
                return combined(sides[0], sides[1], request.cfg, self._rules, x, sigma, self._noise.prediction)
            return self._guide(sides[0], sides[1], request.cfg)
        negative, middle, positive = sides
        if request.style == "nested":
            return guided(negative, guided(middle, positive, request.cfg), request.cfg_2)
        return guided(negative, middle, request.cfg_2) + request.cfg * (positive - middle)

    def _guide(self, negative: torch.Tensor, positive: torch.Tensor, cfg: float) -> torch.Tensor:
        """Plain guidance; families with a rule of their own (Qwen-Image's) say it here."""
        return guided(negative, positive, cfg)

    def _is_negative(self, place: int) -> bool:
        return place == 0 and len(self._sides) > 1

    def sides(self, x: torch.Tensor, timestep: torch.Tensor, fraction: float) -> tuple[torch.Tensor, ...]:
        """What the network says for each side: negative, middle where there is one, positive."""
        count = len(self._sides)
        if self._together:
            repeated = torch.cat([x] * count) if count > 1 else x
            output = self._ask(repeated, timestep, fraction, self._together)
            return output.chunk(count) if count > 1 else (output,)
        base: torch.Tensor | None = None
        answers = []
        for place, side in enumerate(self._sides):
            negative = self._is_negative(place)

            def one(entry: ConditioningEntry, negative: bool = negative) -> torch.Tensor:
                return self._ask(x, timestep, fraction, ((entry, negative),))

            answers.append(mixed(side, fraction, x, one, base))
            base = answers[0]
        return tuple(answers)
