"""The utility nodes, run in small workflows."""

from __future__ import annotations

from typing import Any

import pytest

from engine.contracts.errors import InvalidWorkflow
from engine.contracts.workflow import Node, Socket, Subgraph
from engine.graph.registry import Registry
from tests.unit.graph_nodes import CALLS, Bench, n


def value_of(*nodes: Node, **options: Any) -> Any:
    """The value of node "x"."""
    result = Bench().run(*nodes, targets=["x"], **options)
    assert result.outcome == "succeeded", result.error
    (value,) = result.outputs["x"].values()
    return value


@pytest.mark.parametrize(
    ("kind", "value"),
    [("integer", 7), ("seed", 2**64 - 1), ("number", 2.5), ("text", "a\nb"), ("boolean", True), ("choice", "euler")],
)
def test_constants_give_their_value(kind: str, value: Any) -> None:
    found = value_of(n("x", f"utility.{kind}", value=value))
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("kind", "value"), [("integer", 1.5), ("number", "1"), ("text", 1), ("boolean", 0), ("integer", 2**53 + 1)]
)
def test_constants_refuse_what_they_are_not(kind: str, value: Any) -> None:
    with pytest.raises(InvalidWorkflow, match="input “value”"):
        Bench().run(n("x", f"utility.{kind}", value=value), targets=["x"])


@pytest.mark.parametrize(("condition", "value"), [(True, 2.0), (False, 11.0)])
def test_a_switch_computes_only_what_it_chooses(condition: bool, value: float) -> None:
    graph = [n("a", "t.add", a=1), n("b", "t.add", a=10)]
    chosen = n("x", "utility.switch", condition=condition, if_yes="@a.sum", if_no="@b.sum")
    assert value_of(*graph, chosen) == value
    assert set(CALLS) == ({"a"} if condition else {"b"})


def test_a_closed_gate_holds_back_what_follows() -> None:
    result = Bench().run(n("g", "utility.gate", value=1, is_open=False), n("s", "t.save", value="@g.value"))
    assert (result.outcome, result.blocked, result.artifacts) == ("succeeded", ["s"], [])
    assert value_of(n("x", "utility.gate", value=5)) == 5


def test_a_reroute_changes_nothing() -> None:
    assert value_of(n("a", "t.add", a=1), n("x", "utility.reroute", value="@a.sum")) == 2.0


def test_lists_are_made_counted_and_picked_from() -> None:
    parts = [n("a", "t.add", a=1), n("b", "t.add", a=5), n("l", "utility.list", item0="@a.sum", item1="@b.sum")]
    assert value_of(*parts, n("x", "t.add", a="@l.items")) == [3.0, 7.0]
    assert value_of(*parts, n("x", "utility.list_length", items="@l.items")) == 2
    assert value_of(*parts, n("x", "utility.pick", items="@l.items", index=-1)) == 6.0
    result = Bench().run(*parts, n("x", "utility.pick", items="@l.items", index=2), targets=["x"])
    assert str(result.error).endswith("there is no element 2 in a list of 2. Choose an index it has.")


def test_a_range_runs_what_follows_for_each_number() -> None:
    ranged = n("r", "utility.range", count=3, start=1, step=0.5)
    assert value_of(ranged, n("x", "t.add", a="@r.items", b=0)) == [1.0, 1.5, 2.0]
    assert value_of(n("r", "utility.range", count=0), n("x", "t.add", a="@r.items")) == []


@pytest.mark.parametrize("times", [0, 1, 4])
def test_repeat_sends_a_value_through_a_subgraph(times: int) -> None:
    body = Subgraph(
        id="body",
        nodes=(n("one", "t.add", a=0, b=3),),
        inputs=(Socket(name="value", node="one", socket="a"),),
        outputs=(Socket(name="value", node="one", socket="sum"),),
    )
    assert value_of(n("x", "utility.repeat", value=1, subgraph="body", times=times), subgraphs=(body,)) == 1 + 3 * times


def test_repeating_a_subgraph_that_is_not_there_says_so() -> None:
    result = Bench().run(n("x", "utility.repeat", value=1, subgraph="gone"), targets=["x"])
    assert "there is no subgraph “gone”" in str(result.error)


def test_every_builtin_node_is_documented_and_its_inputs_too() -> None:
    for schema in Registry.builtin().schemas():
        assert schema.doc, schema.type
        assert schema.title, schema.type
        missing = [i.name for i in schema.inputs if not i.tooltip]
        assert not missing, (schema.type, missing)


def test_a_note_is_for_people_only_and_a_value_is_shown_in_the_log() -> None:
    bench = Bench()
    result = bench.run(
        n("note", "utility.note", text="what this does"),
        n("x", "utility.integer", value=41),
        n("show", "utility.show", value="@x.value"),
    )
    assert result.outcome == "succeeded", result.error
    assert result.succeeded == ["x", "show"]
    assert [event.data["text"] for event in bench.events if event.kind == "log"] == ["41"]
