"""A lossy step cache: a call of the network is left out while it would say about what it said before.

EasyCache's rule (2507.02860; ComfyUI's node of that name): how much the network's answer changes for a change of what
it is given, the rate k, is measured where it was asked; k · |x − x before| / |answer before| estimates what leaving it
out would cost, and is added up until it reaches the threshold, whereupon the network is asked again. What stands in for
an answer is the input with the last difference between answer and input.

Each picture of a batch is judged by itself, so that it is the same alone and in company; a call is saved when all of
them do without. The sides of the guidance are kept apart and combined anew, so that every guidance rule works.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import torch

from engine.families.protocol import BindRequest, Bound
from engine.graph.values import Patch

KIND = "step_cache"
USUAL = {"threshold": 0.2, "start": 0.15, "end": 0.95}
_SMALL = 1e-12


@runtime_checkable
class Sided(Protocol):
    """A bound network whose sides can be had, and combined, by themselves. Others count as one side."""

    def sides(self, x: torch.Tensor, timestep: torch.Tensor, fraction: float) -> tuple[torch.Tensor, ...]: ...

    def combined(
        self, sides: Sequence[torch.Tensor], x: torch.Tensor, timestep: torch.Tensor
    ) -> torch.Tensor: ...  # fmt: skip


@dataclass(frozen=True, eq=False)
class Memory:
    """What a step cache knows between two calls; for each picture of the batch where it says [B].

    x           float32 [B, C, h, w] the network was last given
    answers     of each side, of the same shape
    rate        [B] float32 on the CPU: k; NaN where it was not measured yet
    spent       [B] float32 on the CPU: the estimate added up since it was last asked
    fraction    how much of the run was done then
    asked, left calls made and left out so far
    """

    x: torch.Tensor
    answers: tuple[torch.Tensor, ...]
    rate: torch.Tensor
    spent: torch.Tensor
    fraction: float
    asked: int = 1
    left: int = 0

    def of(self, place: int) -> Memory:
        """One picture's share."""
        one = slice(place, place + 1)
        return replace(
            self, x=self.x[one], answers=tuple(side[one] for side in self.answers), rate=self.rate[one],
            spent=self.spent[one],
        )  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """threshold  the estimated change, relative to the answer, that may be left out; 0 leaves nothing out
    start, end    the share of the run between which calls may be left out
    """

    threshold: float
    start: float
    end: float

    @classmethod
    def of(cls, patches: Iterable[Patch]) -> Settings | None:
        """What the last such patch says; None without one that leaves anything out."""
        found = [dict(patch.settings) for patch in patches if patch.kind == KIND]
        if not found or found[-1]["threshold"] <= 0.0:
            return None
        return cls(**found[-1])


class StepCache:
    """Asks a bound network, or leaves it. `memory` is immutable: kept with a solver's state and put back, a run that
    is taken up again goes on as it would have."""

    def __init__(self, settings: Settings, bound: Bound, request: BindRequest) -> None:
        self._settings, self._bound = settings, bound
        self._turns = turns(request)
        self.memory: Memory | None = None

    def predict(self, x: torch.Tensor, timestep: torch.Tensor, fraction: float) -> torch.Tensor:
        """See Bound.predict."""
        known = self.memory
        if known is None or known.x.shape != x.shape or self._turned(known.fraction, fraction):
            return self._combined(self._fresh(x, timestep, fraction, known), x, timestep)
        change = _mean(x - known.x)
        spent = known.spent + known.rate * change / torch.stack([_mean(side) for side in known.answers]).amin(dim=0)
        leave = spent < self._settings.threshold  # never where the rate is not known: NaN is not less
        if not self._settings.start <= fraction < self._settings.end:
            leave = torch.zeros_like(leave)
        if not bool(leave.any()):
            return self._combined(self._measured(x, timestep, fraction, known, change), x, timestep)
        stand_in = tuple(x + (side - known.x) for side in known.answers)
        if bool(leave.all()):
            self.memory = replace(known, spent=spent, left=known.left + 1)
            return self._combined(stand_in, x, timestep)
        # Some pictures want the network. The others are treated as they would be alone.
        asked = self._measured(x, timestep, fraction, known, change)
        now = self.memory
        assert now is not None
        self.memory = replace(
            now, x=_where(leave, known.x, now.x), rate=torch.where(leave, known.rate, now.rate),
            answers=tuple(_where(leave, old, new) for old, new in zip(known.answers, now.answers, strict=True)),
            spent=torch.where(leave, spent, now.spent),
        )  # fmt: skip
        sides = tuple(_where(leave, old, new) for old, new in zip(stand_in, asked, strict=True))
        return self._combined(sides, x, timestep)

    def told(self) -> str:
        """What records say: "0.2 from 0.15 to 0.95, 9 of 20 calls left out"."""
        settings, asked, left = self._settings, 1, 0
        if self.memory is not None:
            asked, left = self.memory.asked, self.memory.left
        between = f"{settings.threshold:g} from {settings.start:g} to {settings.end:g}"
        return f"{between}, {left} of {asked + left} calls left out"

    def _fresh(
        self, x: torch.Tensor, timestep: torch.Tensor, fraction: float, known: Memory | None
    ) -> tuple[torch.Tensor, ...]:
        """The network's answers where nothing is known that they could be compared with."""
        sides = self._ask(x, timestep, fraction)
        unknown = torch.full((x.shape[0],), float("nan"))
        asked, left = (known.asked, known.left) if known is not None else (0, 0)
        self.memory = Memory(x, sides, unknown, torch.zeros(x.shape[0]), fraction, asked + 1, left)
        return sides

    def _measured(
        self, x: torch.Tensor, timestep: torch.Tensor, fraction: float, known: Memory, change: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """The network's answers, and how much they changed for the change of what it was given."""
        sides = self._ask(x, timestep, fraction)
        moved = torch.stack([_mean(new - old) for new, old in zip(sides, known.answers, strict=True)]).amax(dim=0)
        rate = torch.where(change > _SMALL, moved / change.clamp(min=_SMALL), known.rate)
        self.memory = Memory(x, sides, rate, torch.zeros_like(rate), fraction, known.asked + 1, known.left)
        return sides

    def _ask(self, x: torch.Tensor, timestep: torch.Tensor, fraction: float) -> tuple[torch.Tensor, ...]:
        if isinstance(self._bound, Sided):
            return tuple(self._bound.sides(x, timestep, fraction))
        return (self._bound.predict(x, timestep, fraction),)

    def _combined(self, sides: Sequence[torch.Tensor], x: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        return self._bound.combined(sides, x, timestep) if isinstance(self._bound, Sided) else sides[0]

    def _turned(self, before: float, now: float) -> bool:
        """Whether what the network is told changed in between: a prompt or a control came or went."""
        return any(before < turn <= now or now < turn <= before for turn in self._turns)


def turns(request: BindRequest) -> tuple[float, ...]:
    """The shares of a run at which a prompt, a control or a patch begins or ends."""
    found: set[float] = set()
    for entry in (*request.positive, *request.negative, *request.middle):
        found |= set(entry.steps)
        for control in dict(entry.extras).get("controls", ()):
            found |= set(control.steps)
    for patch in request.patches:
        settings: dict[str, Any] = dict(patch.settings)
        if patch.kind != KIND:
            found |= {float(settings[name]) for name in ("start", "end") if name in settings}
            steps = settings.get("steps")
            found |= {float(share) for share in steps} if isinstance(steps, tuple) else set()
    return tuple(sorted(share for share in found if 0.0 < share < 1.0))


def _mean(tensor: torch.Tensor) -> torch.Tensor:
    """The mean size of each picture's numbers, [B] float32 on the CPU. On a card this waits for it."""
    return tensor.flatten(1).abs().float().mean(dim=1).cpu()


def _where(which: torch.Tensor, yes: torch.Tensor, no: torch.Tensor) -> torch.Tensor:
    return torch.where(which.to(yes.device).reshape(-1, *[1] * (yes.ndim - 1)), yes, no)
