"""The engine's own cost: chains and wide graphs of nodes that do nothing, first run and all-cached re-run.

CPU milliseconds are those of the whole `execute()` call: reading, validation, signatures, planning, running, events.
"""

from __future__ import annotations

import gc
import json
import statistics
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

from engine.contracts.errors import MissingModel
from engine.contracts.job_events import JobEvent
from engine.contracts.job_spec import JobSpec
from engine.contracts.references import BlobRef, ModelRef
from engine.contracts.workflow import Link, Node, Workflow
from engine.graph.cache import ValueCache
from engine.graph.execute import execute
from engine.graph.node import NodeContext, node
from engine.graph.registry import Registry
from engine.graph.services import Services
from tests.benchmarks.harness import Goal, Report

CACHE_BYTES = 1 << 28
WIDE_NODES, WIDE_LEVELS = 2000, 50


@node("bench.pass_on", category="Benchmark", outputs=("value",))
def pass_on(ctx: NodeContext, value: float = 0.0, other: float = 0.0) -> float:
    """Gives its first value on."""
    return value


class _Nothing:
    """No files and no models: the nodes here need none."""

    def read(self, ref: BlobRef) -> bytes:
        raise MissingModel(f"there is no file {ref.name}")

    def write(self, data: bytes, media_type: str, name: str = "") -> BlobRef:
        return BlobRef(media_type=media_type, size=len(data), name=name)

    def locate(self, ref: ModelRef) -> Path:
        raise MissingModel(f"there is no model {ref.name}")

    def list(self, kind: str) -> list[ModelRef]:
        return []


def chain(length: int) -> JobSpec:
    """Nodes in a row, each taking the one before."""
    nodes = [Node(id="0", type="bench.pass_on", inputs={"value": 1.0})]
    nodes += [
        Node(id=str(i), type="bench.pass_on", inputs={"value": Link(str(i - 1), "value"), "other": float(i)})
        for i in range(1, length)
    ]
    return JobSpec(workflow=Workflow(nodes=tuple(nodes)), targets=(str(length - 1),))


def wide(count: int = WIDE_NODES, levels: int = WIDE_LEVELS) -> JobSpec:
    """`levels` rows, each node taking two of the row above; every node of the last row is a target."""
    row = count // levels
    nodes = []
    for level in range(levels):
        for place in range(row):
            inputs: dict[str, Link | float] = {"value": float(place)}
            if level:
                inputs = {
                    "value": Link(f"{level - 1}.{place}", "value"),
                    "other": Link(f"{level - 1}.{(place + 1) % row}", "value"),
                }
            nodes.append(Node(id=f"{level}.{place}", type="bench.pass_on", inputs=inputs))
    targets = tuple(f"{levels - 1}.{place}" for place in range(row))
    return JobSpec(workflow=Workflow(nodes=tuple(nodes)), targets=targets)


class Runner:
    """Executes with nothing but the engine: no files, no models."""

    def __init__(self) -> None:
        self.registry = Registry.builtin().with_nodes(pass_on)
        nothing = _Nothing()
        self.services = Services(blobs=nothing, models=nothing)

    def run(self, spec: JobSpec, cache: ValueCache, on_event: Callable[[JobEvent], None] | None = None) -> float:
        """CPU milliseconds of one execution."""
        collected = on_event or (lambda event: None)
        begun = time.process_time()
        result = execute(
            spec, registry=self.registry, services=self.services, cache=cache, on_event=collected, job_id="0" * 32
        )
        spent = (time.process_time() - begun) * 1000
        if result.outcome != "succeeded":
            raise RuntimeError(str(result.error))
        return spent

    def first_and_again(self, spec: JobSpec, rounds: int) -> tuple[float, float]:
        """Medians of the first run with an empty cache and of the re-run."""
        first, again = [], []
        for _ in range(rounds):
            gc.collect()
            cache = ValueCache(CACHE_BYTES)
            first.append(self.run(spec, cache))
            again.append(self.run(spec, cache))
        return statistics.median(first), statistics.median(again)

    def event_bytes(self, spec: JobSpec) -> int:
        """JSON bytes of every event of a first run."""
        sizes: list[int] = []
        self.run(spec, ValueCache(CACHE_BYTES), lambda e: sizes.append(len(json.dumps(e.to_json())) + 1))
        return sum(sizes)

    def memory_bytes(self, spec: JobSpec) -> int:
        """The peak of what one run allocates, its kept results included."""
        self.run(spec, ValueCache(CACHE_BYTES))
        gc.collect()
        tracemalloc.start()
        try:
            cache = ValueCache(CACHE_BYTES)
            self.run(spec, cache)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()


def run(rounds: int = 9) -> Report:
    """Figures in CPU milliseconds (medians of `rounds`), bytes and KiB per node."""
    runner = Runner()
    runner.first_and_again(chain(50), 3)  # the interpreter's own warming up is no cost of a graph
    figures: dict[str, float] = {}
    for length in (100, 600, 2000):
        first, again = runner.first_and_again(chain(length), rounds)
        figures[f"chain_{length}_first_cpu_ms"] = round(first, 3)
        figures[f"chain_{length}_cached_cpu_ms"] = round(again, 3)
    for which in ("first", "cached"):
        ratio = figures[f"chain_2000_{which}_cpu_ms"] / 20 / max(figures[f"chain_100_{which}_cpu_ms"], 1e-6)
        figures[f"growth_100_to_2000_{which}"] = round(ratio, 3)
    spec = wide()
    first, again = runner.first_and_again(spec, rounds)
    figures["wide_first_cpu_ms_per_node"] = round(first / WIDE_NODES, 5)
    figures["wide_cached_cpu_ms_per_node"] = round(again / WIDE_NODES, 5)
    figures["event_bytes_per_node"] = round(runner.event_bytes(spec) / WIDE_NODES, 1)
    figures["memory_kib_per_node"] = round(runner.memory_bytes(spec) / WIDE_NODES / 1024, 3)
    goals: dict[str, Goal] = {
        "chain_100_first_cpu_ms": ("<=", 15.0),
        "chain_100_cached_cpu_ms": ("<=", 3.0),
        "chain_600_first_cpu_ms": ("<=", 90.0),
        "chain_600_cached_cpu_ms": ("<=", 18.0),
        "growth_100_to_2000_first": ("<=", 1.5),
        "growth_100_to_2000_cached": ("<=", 1.5),
        "wide_first_cpu_ms_per_node": ("<=", 0.15),
        "wide_cached_cpu_ms_per_node": ("<=", 0.03),
        "event_bytes_per_node": ("<=", 600.0),
        "memory_kib_per_node": ("<=", 8.0),
    }
    notes = ("Growth is the cost per node at 2,000 nodes over that at 100; 1 is linear.",)
    return Report("graph", figures, goals, notes)
