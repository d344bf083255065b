"""What the engine promises of its own cost, as far as it can be counted rather than timed."""

from __future__ import annotations

import pytest

from engine.graph.cache import ValueCache
from tests.benchmarks import cache as cache_bench
from tests.benchmarks import graph as graph_bench


def test_editing_the_last_scaling_calls_no_network() -> None:
    report = cache_bench.run()
    assert all(report.met().values()), report.table()


@pytest.fixture(scope="module")
def runner() -> graph_bench.Runner:
    return graph_bench.Runner()


def test_event_bytes_and_memory_of_a_wide_graph_keep_to_their_budget(runner: graph_bench.Runner) -> None:
    spec = graph_bench.wide(400, 10)
    assert runner.event_bytes(spec) / 400 <= 600
    assert runner.memory_bytes(spec) / 400 <= 8 * 1024


def test_event_bytes_grow_linearly(runner: graph_bench.Runner) -> None:
    small, large = runner.event_bytes(graph_bench.chain(100)), runner.event_bytes(graph_bench.chain(1000))
    assert large / small < 10.5


def test_a_cached_run_looks_at_the_target_only(runner: graph_bench.Runner) -> None:
    kept = ValueCache(1 << 24)
    kinds: list[str] = []
    runner.run(graph_bench.chain(200), kept)
    runner.run(graph_bench.chain(200), kept, lambda event: kinds.append(event.kind))
    assert kinds == ["accepted", "planned", "node_cached", "finished"]
