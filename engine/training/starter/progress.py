"""What several trainings share: how far they are, the learning rate, averages of weights, saved state, and the log."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

WARM_UP = 200
DECAY_FROM = 0.5
LAST_RATE = 0.04
SYNC_EVERY = 8
"""Steps between two averagings of the weights of several processes."""


@dataclass
class Budget:
    """How long a phase may train: minutes of wall clock over all resumptions, or a number of steps."""

    minutes: float = 0.0
    steps: int = 0
    spent: float = 0.0
    """Seconds of earlier runs."""

    def __post_init__(self) -> None:
        self._start = time.monotonic()

    def seconds(self) -> float:
        return self.spent + time.monotonic() - self._start

    def share(self, step: int) -> float:
        """0 at the beginning, 1 or more when the budget is used up."""
        by_steps = step / self.steps if self.steps else 0.0
        by_time = self.seconds() / (60 * self.minutes) if self.minutes else 0.0
        return max(by_steps, by_time)


def learning_rate(peak: float, step: int, share: float) -> float:
    """Warm up, hold until half of the budget, then fall evenly to 4 %."""
    warm = min(1.0, (step + 1) / WARM_UP)
    return peak * warm * (LAST_RATE + (1 - LAST_RATE) * min(1.0, (1 - share) / (1 - DECAY_FROM)))


class MovingAverage:
    """An exponential moving average of parameters, quick at first and slow later (up to `decay`)."""

    def __init__(self, parameters: Sequence[Any], decay: float = 0.998) -> None:
        self._parameters = list(parameters)
        self._decay = decay
        self.values = [parameter.detach().clone() for parameter in self._parameters]

    def update(self, step: int) -> None:
        import torch

        share = 1 - min(self._decay, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(self.values, [parameter.data for parameter in self._parameters], share)

    def swap(self) -> None:
        """Exchange averages and weights; a second call exchanges them back."""
        import torch

        with torch.no_grad():
            for index, parameter in enumerate(self._parameters):
                current = parameter.data.clone()
                parameter.data.copy_(self.values[index])
                self.values[index] = current


class Processes:
    """The training processes that average their weights now and then (local SGD); one is enough."""

    def __init__(self, rank: int = 0, world: int = 1) -> None:
        self.rank, self.world = rank, world

    def share(self, budget: Budget, step: int, before: float) -> float:
        """How much of the budget is used, the same in all processes; the clock is only asked at times."""
        if budget.minutes and self.world > 1:
            return before if step % SYNC_EVERY else self.from_first(budget.share(step))
        return budget.share(step)

    def average(self, parameters: Sequence[Any]) -> None:
        """Set each process's parameters to their mean."""
        if self.world < 2:
            return
        import torch
        from torch import distributed

        with torch.no_grad():
            flat = torch.cat([parameter.data.reshape(-1) for parameter in parameters])
            distributed.all_reduce(flat)
            flat /= self.world
            torch.nn.utils.vector_to_parameters(flat, parameters)

    def from_first(self, value: float) -> float:
        """The first process's value, in all of them."""
        if self.world < 2:
            return value
        import torch
        from torch import distributed

        shared = torch.tensor([value], dtype=torch.float64)
        distributed.broadcast(shared, 0)
        return float(shared.item())


def log(out: Path, **values: Any) -> None:
    """Add a line to `out`/log.jsonl, and show it."""
    line = json.dumps({"time": time.strftime("%H:%M:%S"), **values})
    with (out / "log.jsonl").open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    sys.stderr.write(line + "\n")


def write_state(path: Path, state: dict[str, Any]) -> None:
    """Save tensors and plain values; the file appears whole or not at all."""
    import torch

    partial = path.with_suffix(".part")
    with partial.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def read_state(path: Path) -> dict[str, Any]:
    """What `write_state` saved; nothing but tensors and plain values is accepted."""
    import torch

    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def generator_state(rng: np.random.Generator) -> dict[str, str | int]:
    """A numpy generator's state, its large numbers as text."""
    state: Any = rng.bit_generator.state
    inner = state["state"]
    return {
        "state": str(inner["state"]),
        "inc": str(inner["inc"]),
        "has_uint32": int(state["has_uint32"]),
        "uinteger": int(state["uinteger"]),
    }


def restore_generator(rng: np.random.Generator, saved: dict[str, Any]) -> None:
    rng.bit_generator.state = {
        "bit_generator": "PCG64",
        "state": {"state": int(saved["state"]), "inc": int(saved["inc"])},
        "has_uint32": saved["has_uint32"],
        "uinteger": saved["uinteger"],
    }
