"""What a network says without guidance, kept from each call of one that gives its sides (for CFG++)."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from engine.sampling.step_cache import Sided


class Unguided:
    """A bound network that keeps its negative side of the last call; the only side where there is one. A step cache
    can stand before it: what stands in for an answer has sides too."""

    def __init__(self, bound: Sided) -> None:
        self._bound = bound
        self._last: torch.Tensor | None = None

    def predict(self, x: torch.Tensor, timestep: torch.Tensor, fraction: float) -> torch.Tensor:
        """See Bound.predict."""
        return self.combined(self.sides(x, timestep, fraction), x, timestep)

    def sides(self, x: torch.Tensor, timestep: torch.Tensor, fraction: float) -> tuple[torch.Tensor, ...]:
        """See Sided."""
        return self._bound.sides(x, timestep, fraction)

    def combined(self, sides: Sequence[torch.Tensor], x: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        """See Sided."""
        self._last = sides[0]
        return self._bound.combined(sides, x, timestep)

    def taken(self) -> torch.Tensor:
        """The unguided answer of the last call, which is not kept any longer."""
        assert self._last is not None
        last, self._last = self._last, None
        return last
