"""Running small workflows: values, cache, events, failures."""

from __future__ import annotations

import pytest

from engine.contracts.errors import InvalidWorkflow
from engine.contracts.job_spec import Sweep
from engine.graph.services import CancelToken
from tests.unit.graph_nodes import CALLS, Bench, n


def test_a_chain_gives_its_value_and_a_second_run_comes_from_the_cache() -> None:
    bench = Bench()
    chain = [n("a", "t.add", a=1), n("b", "t.add", a="@a.sum"), n("c", "t.add", a="@b.sum", b=0.5)]
    first = bench.run(*chain, targets=["c"])
    assert (first.outcome, first.outputs) == ("succeeded", {"c": {"sum": 3.5}})
    assert first.succeeded == ["a", "b", "c"]
    again = bench.run(*chain, targets=["c"])
    assert again.outputs == first.outputs
    assert not CALLS
    assert again.cached == ["c"]


def test_only_what_depends_on_an_edit_runs_again() -> None:
    bench = Bench()
    bench.run(n("a", "t.add", a=1), n("b", "t.add", a="@a.sum"), targets=["b"])
    bench.run(n("a", "t.add", a=1), n("b", "t.add", a="@a.sum", b=7), targets=["b"])
    assert dict(CALLS) == {"b": 1}


def test_node_ids_do_not_matter_to_the_cache() -> None:
    bench = Bench()
    bench.run(n("a", "t.add", a=1), n("b", "t.add", a="@a.sum"), targets=["b"])
    result = bench.run(n("x", "t.add", a=1.0), n("y", "t.add", a="@x.sum", b=1), targets=["y"])
    assert result.outputs == {"y": {"sum": 3.0}}
    assert not CALLS


def test_saving_nodes_run_each_time_and_showing_nodes_give_their_artifacts_from_the_cache() -> None:
    bench = Bench()
    graph = [n("a", "t.add", a=1), n("save", "t.save", value="@a.sum"), n("show", "t.show", value="@a.sum")]
    bench.run(*graph)
    again = bench.run(*graph)
    assert dict(CALLS) == {"save": 1}
    assert sorted((i, a.data) for i, a in again.artifacts) == [("save", b"2.0"), ("show", b"2.0")]


def test_a_failing_node_is_named_with_its_inputs_and_blocks_what_follows() -> None:
    bench = Bench()
    graph = [
        n("a", "t.fail", value="@p.image"),
        n("p", "t.picture"),
        n("b", "t.save", value="@a.value"),
        n("c", "t.save", value=3),
    ]
    result = bench.run(*graph, on_failure="continue")
    assert result.outcome == "failed"
    (failure,) = result.failures
    assert (failure.node_id, failure.node_type) == ("a", "t.fail")
    assert failure.inputs == {"value": "float32 1×8×8×3"}
    assert str(failure) == "node “a” (t.fail): ValueError: it broke."
    assert result.blocked == ["b"]
    assert result.artifacts[0][1].data == b"3"


def test_a_failure_stops_the_rest_unless_told_to_continue() -> None:
    bench = Bench()
    graph = [n("b", "t.save", value=3), n("a", "t.fail"), n("c", "t.save", value="@a.value")]
    result = bench.run(*reversed(graph))
    assert [f.node_id for f in result.failures] == ["a"]
    assert "c" in result.blocked


def test_arrays_arrive_read_only() -> None:
    bench = Bench()
    image = bench.run(n("p", "t.picture"), targets=["p"]).outputs["p"]["image"]
    with pytest.raises(ValueError, match="read-only"):
        image[0] = 1


def test_events_are_numbered_deltas() -> None:
    bench = Bench()
    bench.run(n("a", "t.add", a=1), n("b", "t.save", value="@a.sum"))
    assert [e.sequence for e in bench.events] == list(range(len(bench.events)))
    assert [e.kind for e in bench.events] == [
        "accepted", "planned", "node_started", "node_finished", "node_started", "artifact", "node_finished", "finished",
    ]  # fmt: skip
    assert bench.events[1].data == {"nodes": ["b", "a"], "cached": 0, "runs": 2}


def test_a_sweep_runs_each_value_and_numbers_artifacts_through() -> None:
    bench = Bench()
    graph = [n("a", "t.add", a=1), n("s", "t.save", value="@a.sum")]
    result = bench.run(*graph, bindings={"a.a": Sweep((1, 2, 3)), "a.b": Sweep((10, 20))}, combine="product")
    assert [(a.index, a.data) for _, a in result.artifacts] == [
        (0, b"11.0"), (1, b"21.0"), (2, b"12.0"), (3, b"22.0"), (4, b"13.0"), (5, b"23.0"),
    ]  # fmt: skip
    zipped = bench.run(*graph, bindings={"a.a": Sweep((1, 2, 3)), "a.b": Sweep((10, 20))})
    assert [a.data for _, a in zipped.artifacts] == [b"11.0", b"22.0"]


def test_a_binding_to_no_node_is_refused() -> None:
    with pytest.raises(InvalidWorkflow, match="names no node"):
        Bench().run(n("a", "t.save", value=1), bindings={"zz.value": 3})


def test_cancelling_before_the_start_runs_nothing() -> None:
    token = CancelToken()
    token.cancel()
    result = Bench().run(n("a", "t.save", value=1), cancel=token)
    assert result.outcome == "cancelled"
    assert not CALLS


def test_a_workflow_without_outputs_is_refused() -> None:
    with pytest.raises(InvalidWorkflow, match="nothing in it makes"):
        Bench().run(n("a", "t.add", a=1))


def test_a_chain_of_two_thousand_runs_without_recursion() -> None:
    bench = Bench()
    chain = [n("0", "t.add", a=0)] + [n(str(i), "t.add", a=f"@{i - 1}.sum") for i in range(1, 2000)]
    assert bench.run(*chain, targets=["1999"]).outputs["1999"]["sum"] == 2000.0
    assert bench.run(*chain, targets=["1999"]).cached == ["1999"]


def test_values_are_let_go_once_nobody_needs_them() -> None:
    bench = Bench(budget=0)
    chain = [n("0", "t.add", a=0)] + [n(str(i), "t.add", a=f"@{i - 1}.sum") for i in range(1, 20)]
    assert bench.run(*chain, targets=["19"]).outputs["19"]["sum"] == 20.0
    assert len(bench.cache) == 0
