"""What real runs on this machine taught plans: bytes beside the weights, seconds a step, and what the card reached.

Torch-free: the engine writes the file after each run, and the window plans with the same figures. Where the file can't
be read or written, plans are made from arithmetic alone.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from engine.memory.footprint import ModelFootprint
from engine.memory.machine import Machine
from engine.memory.request import Request

MOST = 300  # runs that are remembered; the oldest are forgotten
EASE = 0.9  # a smaller peak than before takes this much of the old one's place at a time
BLEND = 0.5  # the newest rate's weight
PROCESSOR = "processor"


@dataclass(frozen=True)
class Run:
    """What a run of one kind took. `seen`: bytes beside the weights by phase, as in ModelFootprint; `step`: seconds of
    a step, 0 when not known."""

    seen: Mapping[str, int]
    step: float = 0.0

    def after(self, other: Run) -> Run:
        """With a newer run of the same kind. A peak never falls below the newest, and falls to it by and by."""
        seen = dict(self.seen)
        for phase, size in other.seen.items():
            seen[phase] = max(size, round(EASE * seen.get(phase, 0)))
        return Run(seen, other.step or self.step)


@dataclass(frozen=True)
class CardFacts:
    """What is known of a card. `budget`: bytes that the engine of process `pid` plans with; `bandwidth`: bytes a second
    of the line, measured; `rates`: operations a second reached, by family; `line`: bytes a second reached while
    streaming, by family; `fused`: as in Machine."""

    bandwidth: float = 0.0
    budget: int = 0
    pid: int = 0
    rates: Mapping[str, float] = field(default_factory=dict)
    line: Mapping[str, float] = field(default_factory=dict)
    fused: bool = True


class Measurements:
    """`path`: the JSON file beside the corrections; without one in memory only."""

    VERSION = 1

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._data: dict[str, Any] = {"version": self.VERSION, "runs": {}, "cards": {}}
        self._stamp = 0
        self._refresh()

    @staticmethod
    def key(identity: str, request: Request, card: str, dtype: str) -> str:
        """What runs have in common whose figures hold for one another. Steps and LoRAs don't matter."""
        asked = request.to_json()
        for name in ("steps", "adapters"):
            del asked[name]
        return json.dumps([identity, card, dtype, *asked.values()])

    def run(self, key: str) -> Run | None:
        self._refresh()
        found = self._data["runs"].get(key)
        if not isinstance(found, dict) or not isinstance(found.get("seen"), dict):
            return None
        seen = {str(name): int(size) for name, size in found["seen"].items() if isinstance(size, (int, float))}
        step = found.get("step", 0.0)
        return Run(seen, float(step) if isinstance(step, (int, float)) else 0.0)

    def learn(self, key: str, run: Run) -> None:
        """Remember a run."""
        self._refresh()
        known = self.run(key)
        runs = self._data["runs"]
        runs.pop(key, None)
        now = known.after(run) if known is not None else run
        runs[key] = {"seen": dict(now.seen), "step": now.step}
        for old in list(runs)[:-MOST]:
            del runs[old]
        self._write()

    def card(self, name: str) -> CardFacts:
        self._refresh()
        found = self._data["cards"].get(name)
        if not isinstance(found, dict):
            return CardFacts()
        try:
            return CardFacts(
                float(found.get("bandwidth", 0.0)), int(found.get("budget", 0)), int(found.get("pid", 0)),
                {str(k): float(v) for k, v in found.get("rates", {}).items()},
                {str(k): float(v) for k, v in found.get("line", {}).items()}, found.get("fused") is not False,
            )  # fmt: skip
        except (AttributeError, TypeError, ValueError):
            return CardFacts()

    def note_card(self, machine: Machine) -> None:
        """Remember what the engine of this process plans with."""
        name, known = machine.name, self.card(machine.name)
        now = replace(known, bandwidth=machine.bandwidth, budget=machine.vram, pid=os.getpid(), fused=machine.fused)
        if now != known:
            self._keep(name, now)

    def note_rate(self, name: str, family: str, *, operations: float = 0.0, line: float = 0.0) -> None:
        """Remember operations, or bytes of the line, a second that a run of a family reached."""
        known = self.card(name)
        if operations > 0:
            known = replace(known, rates={**known.rates, family: _blended(known.rates.get(family), operations)})
        if line > 0:
            known = replace(known, line={**known.line, family: _blended(known.line.get(family), line)})
        self._keep(name, known)

    def _keep(self, name: str, facts: CardFacts) -> None:
        self._data["cards"][name] = {
            "bandwidth": facts.bandwidth, "budget": facts.budget, "pid": facts.pid, "rates": dict(facts.rates),
            "line": dict(facts.line), "fused": facts.fused,
        }  # fmt: skip
        self._write()

    def _refresh(self) -> None:
        """Read the file again when another has written it: the window's and the engine's share it."""
        if self._path is None:
            return
        try:
            stamp = self._path.stat().st_mtime_ns
            if stamp == self._stamp:
                return
            data = json.loads(self._path.read_bytes())
        except (OSError, ValueError):
            return
        self._stamp = stamp
        if isinstance(data, dict) and data.get("version") == self.VERSION:
            for part in ("runs", "cards"):
                if isinstance(data.get(part), dict):
                    self._data[part] = data[part]

    def _write(self) -> None:
        if self._path is None:
            return
        temporary = self._path.with_name(f".{self._path.name}.{secrets.token_hex(4)}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(self._data), encoding="utf-8")
            os.replace(temporary, self._path)
            self._stamp = self._path.stat().st_mtime_ns
        except OSError:
            temporary.unlink(missing_ok=True)


def corrected(
    measured: Measurements, identity: str, dtype: str, model: ModelFootprint, request: Request, machine: Machine
) -> tuple[ModelFootprint, Machine]:
    """The model and the machine with what was measured on this card before."""
    run = measured.run(Measurements.key(identity, request, machine.name, dtype))
    if run is not None and run.seen:
        model = replace(model, seen=run.seen)
    facts = measured.card(machine.name)
    bandwidth = facts.line.get(model.family) or facts.bandwidth or machine.bandwidth
    return model, replace(machine, bandwidth=bandwidth, flops=facts.rates.get(model.family, machine.flops))


class Pace:
    """Counts how long steps take, in place of a run's `after_step`, which is told what it is told."""

    def __init__(
        self, after_step: Callable[[Any, int, int], None], clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._after, self._clock = after_step, clock
        self._done: list[tuple[int, float]] = []

    def __call__(self, state: Any, first: int, total: int) -> None:
        self._done.append((state.index, self._clock()))
        self._after(state, first, total)

    def step(self) -> float:
        """Seconds of a step now that the run is over; 0 where too few were made, or one was made twice. The first is
        left out: what it needs is loaded in it."""
        made = [(index, at) for index, at in self._done[1:]]
        if len(made) < 2 or [index for index, _ in made] != list(range(made[0][0], made[0][0] + len(made))):
            return 0.0
        return (self._clock() - made[0][1]) / (len(made) - 1)


def _blended(old: float | None, new: float) -> float:
    return new if not old else (1 - BLEND) * old + BLEND * new
