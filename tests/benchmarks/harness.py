"""What every benchmark shares: the report it returns, and the ways of measuring that stand a busy machine.

A benchmark is a module of this folder with `run() -> Report` (it may take keyword arguments with defaults).
`main.py bench NAME --json` prints `Report.to_json()`; without `--json`, `Report.table()`. Goals are the issues' own
numbers: one that is not met shows as not met, and so does one whose figure was not measured.
"""

from __future__ import annotations

import json
import math
import operator
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

Comparison = Literal["<=", ">=", "<", ">", "=="]
Goal = tuple[Comparison, float]

_COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
    "==": operator.eq,
}

# What a figure can depend on. Read from package metadata, so that reporting a version imports nothing.
_PACKAGES = (
    "torch",
    "diffusers",
    "transformers",
    "safetensors",
    "numpy",
    "opencv-python-headless",
    "pillow",
    "PySide6-Essentials",
)


@dataclass(frozen=True)
class Report:
    """The figures of one benchmark run beside their goals.

    `figures` are plain numbers whose names end in their unit where they have one (`first_run_ms`, `share_right`);
    `goals` maps a figure's name to (comparison, number). `notes` are sentences printed under the table only.
    """

    bench: str
    figures: Mapping[str, float]
    goals: Mapping[str, Goal] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def met(self) -> dict[str, bool]:
        """For each goal, whether its figure was measured (present and a number) and satisfies it."""
        return {name: self._is_met(name, goal) for name, goal in self.goals.items()}

    def _is_met(self, name: str, goal: Goal) -> bool:
        figure = self.figures.get(name)
        if figure is None or math.isnan(figure):
            return False
        comparison, number = goal
        return _COMPARE[comparison](figure, number)

    def to_json(self) -> dict[str, Any]:
        """`{bench, machine, versions, figures, goals, met}`; a figure that is not finite becomes null."""
        return {
            "bench": self.bench,
            "machine": machine(),
            "versions": versions(),
            "figures": {name: figure if math.isfinite(figure) else None for name, figure in self.figures.items()},
            "goals": {name: list(goal) for name, goal in self.goals.items()},
            "met": self.met(),
        }

    def table(self) -> str:
        """The same for reading: one line a figure, with its goal and whether that is met."""
        met = self.met()
        rows = [("figure", "measured", "goal", "")]
        for name in [*self.figures, *(goal for goal in self.goals if goal not in self.figures)]:
            measured = _number(self.figures[name]) if name in self.figures else "not measured"
            goal = self.goals.get(name)
            wanted = f"{goal[0]} {_number(goal[1])}" if goal else ""
            rows.append((name, measured, wanted, ("met" if met[name] else "NOT MET") if goal else ""))
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        lines = [
            f"{row[0]:<{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]:<{widths[2]}}  {row[3]}".rstrip() for row in rows
        ]
        where = machine()
        head = f"bench {self.bench}: {where['processor']}, {where['cores']} cores, {where['system']}"
        return "\n".join([head, *lines, *self.notes])


def run_cli(report: Report, as_json: bool) -> int:
    """Print `report` as one JSON object or as a table. The exit code is 0 either way: a missed goal is a result, and
    stands in the report; only a benchmark that could not run fails."""
    print(json.dumps(report.to_json(), ensure_ascii=False) if as_json else report.table(), flush=True)
    return 0


def machine() -> dict[str, Any]:
    """Where the figures were taken. The accelerator is named only if torch is already loaded."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "architecture": platform.machine(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "memory_mib": _memory_mib(),
        "accelerator": _accelerator(),
        "threads": os.environ.get("OMP_NUM_THREADS", ""),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def versions() -> dict[str, str]:
    """Python's version and those of the packages that figures can depend on, as installed."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def cpu_ms(work: Callable[[], object]) -> float:
    """Processor milliseconds that this whole process (every thread, user and system) spends while `work` runs.

    Processor time, and not wall time, so that another program on the machine does not enter the figure.
    """
    before = time.process_time_ns()
    work()
    return (time.process_time_ns() - before) / 1e6


def median_cpu_ms(work: Callable[[], object], rounds: int = 9) -> float:
    """The median of `cpu_ms(work)` over `rounds` runs."""
    return statistics.median(cpu_ms(work) for _ in range(rounds))


def interleaved_ratio(a: Callable[[], object], b: Callable[[], object], rounds: int = 9) -> float:
    """Median processor time of `a` divided by that of `b`, run turn about so that drift (heat, clock, neighbours)
    falls on both alike. Every other round starts with `b`. NaN when `b` takes no measurable time."""
    times_a: list[float] = []
    times_b: list[float] = []
    for number in range(rounds):
        turns = [(a, times_a), (b, times_b)]
        for work, times in turns if number % 2 == 0 else reversed(turns):
            times.append(cpu_ms(work))
    base = statistics.median(times_b)
    return statistics.median(times_a) / base if base > 0 else math.nan


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of `values` that at least `share` (0..1) of them do not exceed; NaN for none."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "not measured" if math.isnan(value) else str(value)
    if value == int(value) and abs(value) < 1e9:
        return str(int(value))
    return f"{value:.4g}" if abs(value) < 1000 else f"{value:.1f}"


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _memory_mib() -> int | None:
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20


def _accelerator() -> str:
    torch = sys.modules.get("torch")
    if torch is None:
        return ""
    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    return "mps" if torch.backends.mps.is_available() else ""
