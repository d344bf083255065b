"""The behaviours of ComfyUI's execution tests, as tests of our engine: lazy inputs, expansion, loops, lists, blocking,
async and parallel nodes, partial execution, nodes that change, going on after a failure."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Annotated, Any

import pytest

from engine.contracts.errors import InvalidWorkflow
from engine.contracts.node_schema import Effects
from engine.contracts.workflow import Link, Node, Socket, Subgraph, Workflow
from engine.graph.flow import Block, Expand, own
from engine.graph.node import In, NodeContext, node
from engine.graph.services import CancelToken
from engine.graph.values import Anything, Artifact
from tests.unit.graph_nodes import CALLS, Bench, n

Lazy = Annotated[Any, In(lazy=True, type="*")]


def _needs_choice(**given: Any) -> Sequence[str]:
    return ["yes" if given["which"] else "no"]


@node("t.switch", category="Test", outputs=("value",), needs=_needs_choice)
def switch(ctx: NodeContext, which: bool, yes: Lazy = None, no: Lazy = None) -> Anything:
    """Only the chosen input is ever computed."""
    CALLS[ctx.node_id] += 1
    return yes if which else no


@node("t.mix", category="Test", outputs=("value",), needs=lambda a, b, share: ["a"] * (share < 1) + ["b"] * (share > 0))
def mix(ctx: NodeContext, a: Lazy = None, b: Lazy = None, share: float = 0.5) -> Anything:
    """Takes both, or one when its share is everything."""
    CALLS[ctx.node_id] += 1
    return (a or 0.0) * (1 - share) + (b or 0.0) * share


@node("t.lazy_list", category="Test", outputs=("value",))
def lazy_plain(ctx: NodeContext, value: Lazy) -> Anything:
    """A lazy input without a `needs` function is always computed."""
    return value


@node("t.list", category="Test", outputs=("items",), list_outputs=("items",))
def items(ctx: NodeContext, count: int, start: float = 0.0) -> list[float]:
    """The numbers from start."""
    CALLS[ctx.node_id] += 1
    return [start + i for i in range(count)]


@node("t.total", category="Test", outputs=("sum",))
def total(ctx: NodeContext, values: Annotated[list[float], In(list=True)]) -> float:
    """The whole list at once."""
    CALLS[ctx.node_id] += 1
    return float(sum(values))


@node("t.only_even", category="Test", outputs=("value",))
def only_even(ctx: NodeContext, value: float) -> float:
    """Blocks odd numbers."""
    CALLS[ctx.node_id] += 1
    return value if value % 2 == 0 else Block("odd")  # type: ignore[return-value]


@node("t.join", category="Test", outputs=("sum",))
def join(ctx: NodeContext, part: Annotated[list[float], In(variadic=True, minimum=0, type="FLOAT")]) -> float:
    """As many numbers as are given."""
    CALLS[ctx.node_id] += 1
    return float("".join(str(int(p)) for p in part))


@node("t.add_many", category="Test", outputs=("sum",))
def add_many(ctx: NodeContext, value: float, count: int = 1) -> float:
    """A loop by expansion: `count` nodes that add one, in a row."""
    CALLS[ctx.node_id] += 1
    if count == 0:
        return value
    chain = [n("0", "t.add", a=own("value"))] + [n(str(i), "t.add", a=f"@{i - 1}.sum") for i in range(1, count)]
    return Expand(Workflow(nodes=tuple(chain)), {"sum": Link(str(count - 1), "sum")})  # type: ignore[return-value]


@node("t.loop", category="Test", outputs=("value",))
def loop(ctx: NodeContext, value: float, body: str, count: int) -> float:
    """A for-loop over a subgraph: body, then itself with one turn less."""
    CALLS["loop"] += 1
    if count <= 0:
        return value
    turn = n("body", f"subgraph:{body}", number=own("value"))
    rest = n("next", "t.loop", value="@body.result", body=body, count=count - 1)
    return Expand(Workflow(nodes=(turn, rest)), {"value": Link("next", "value")})  # type: ignore[return-value]


@node("t.two", category="Test", outputs=("made", "literal"))
def two(ctx: NodeContext, value: float) -> tuple[float, float]:
    """One output from a graph, one as a value."""
    inner = n("inner", "t.add", a=own("value"))
    return Expand(Workflow(nodes=(inner,)), {"made": Link("inner", "sum"), "literal": 42.0})  # type: ignore[return-value]


@node("t.endless", category="Test", outputs=("value",))
def endless(ctx: NodeContext, value: float = 0.0) -> float:
    """Expands into itself for ever."""
    return Expand(Workflow(nodes=(n("x", "t.endless", value=own("value")),)), {"value": Link("x", "value")})  # type: ignore[return-value]


@node("t.bad_fragment", category="Test", outputs=("value",))
def bad_fragment(ctx: NodeContext, circle: bool = False) -> float:
    """Expands into something wrong."""
    nodes = (n("x", "t.add", a="@y.sum"), n("y", "t.add", a="@x.sum")) if circle else (n("x", "t.gone"),)
    return Expand(Workflow(nodes=nodes), {"value": Link("x", "sum")})  # type: ignore[return-value]


class Meeting:
    """Async nodes that can only finish when `size` of them run at once."""

    def __init__(self) -> None:
        self.size, self.here = 2, 0
        self.full: asyncio.Event | None = None

    async def join(self) -> None:
        self.full = self.full or asyncio.Event()
        self.here += 1
        if self.here >= self.size:
            self.full.set()
        await asyncio.wait_for(self.full.wait(), 20)


MEETING = Meeting()


@node("t.meet", category="Test", outputs=("value",))
async def meet(ctx: NodeContext, value: float = 0.0) -> float:
    """Waits for the others."""
    CALLS[ctx.node_id] += 1
    await MEETING.join()
    return value


@node("t.async_fail", category="Test", outputs=("value",))
async def async_fail(ctx: NodeContext, value: float = 0.0) -> float:
    """Fails after a pause."""
    await asyncio.sleep(0)
    raise ValueError("it broke later")


@node("t.async_forever", category="Test", outputs=("value",))
async def async_forever(ctx: NodeContext, value: float = 0.0) -> float:
    """Never ends by itself."""
    CALLS[ctx.node_id] += 1
    FOREVER.set()
    await asyncio.Event().wait()
    return value


FOREVER = threading.Event()
STATE: dict[str, Any] = {"changed": 0}


@node("t.watching", category="Test", outputs=("value",), changed=lambda value: STATE["changed"])
def watching(ctx: NodeContext, value: float = 0.0) -> float:
    """Runs again when the state outside it changes."""
    CALLS[ctx.node_id] += 1
    return value + float(STATE["changed"])


@node("t.random", category="Test", outputs=("value",), effects=Effects(deterministic=False))
def random_value(ctx: NodeContext, value: float = 0.0) -> float:
    """Never the same twice."""
    CALLS[ctx.node_id] += 1
    return value


@node("t.emit_inside", category="Test", outputs=("value",))
def emit_inside(ctx: NodeContext, value: float) -> float:
    """Expands into a graph that saves."""
    inner = Workflow(nodes=(n("keep", "t.save", value=own("value")),))
    return Expand(inner, {"value": own("value")})  # type: ignore[return-value]


ALL = (
    switch, mix, lazy_plain, items, total, only_even, join, add_many, loop, two, endless, bad_fragment, meet,
    async_fail, async_forever, watching, random_value, emit_inside,
)  # fmt: skip


@pytest.fixture
def bench() -> Bench:
    global MEETING
    MEETING = Meeting()
    return Bench(*ALL)


def save(source: str, node_id: str = "s") -> Node:
    return n(node_id, "t.save", value="@" + source)


def said(result: Any) -> list[str]:
    return [a.data.decode() for _, a in result.artifacts]


# ---- lazy inputs


def test_a_lazy_input_that_is_not_needed_is_never_computed(bench: Bench) -> None:
    graph = [n("a", "t.add", a=1), n("b", "t.fail"), n("w", "t.switch", which=True, yes="@a.sum", no="@b.value")]
    result = bench.run(*graph, save("w.value"))
    assert (result.outcome, said(result)) == ("succeeded", ["2.0"])
    assert "b" not in CALLS


@pytest.mark.parametrize(("share", "ran"), [(0.0, {"a"}), (1.0, {"b"}), (0.5, {"a", "b"})])
def test_mixed_lazy_inputs_compute_what_they_need(bench: Bench, share: float, ran: set[str]) -> None:
    graph = [n("a", "t.add", a=1), n("b", "t.add", a=3), n("m", "t.mix", a="@a.sum", b="@b.sum", share=share)]
    assert said(bench.run(*graph, save("m.value"))) == [str(2.0 * (1 - share) + 4.0 * share)]
    assert set(CALLS) - {"m", "s"} == ran


def test_a_choice_that_is_computed_decides_too(bench: Bench) -> None:
    graph = [
        n("which", "utility.boolean", value=False), n("a", "t.fail"), n("b", "t.add", a=1),
        n("w", "t.switch", which="@which.value", yes="@a.value", no="@b.sum"),
    ]  # fmt: skip
    assert said(bench.run(*graph, save("w.value"))) == ["2.0"]


def test_a_lazy_input_without_a_say_is_computed(bench: Bench) -> None:
    assert said(bench.run(n("a", "t.add", a=1), n("l", "t.lazy_list", value="@a.sum"), save("l.value"))) == ["2.0"]


# ---- caches


def test_a_changed_node_runs_again_with_what_follows_only_when_it_changed(bench: Bench) -> None:
    graph = [n("w", "t.watching", value=1), n("a", "t.add", a="@w.value"), save("a.sum")]
    bench.run(*graph)
    bench.run(*graph)
    assert dict(CALLS) == {"s": 1}
    STATE["changed"] += 1
    bench.run(*graph)
    assert dict(CALLS) == {"w": 1, "a": 1, "s": 1}


def test_a_node_that_is_not_deterministic_runs_each_time_and_so_does_what_follows(bench: Bench) -> None:
    graph = [n("r", "t.random", value=1), n("q", "t.random", value=1), n("a", "t.add", a="@r.value", b="@q.value")]
    bench.run(*graph, save("a.sum"))
    bench.run(*graph, save("a.sum"))
    assert dict(CALLS) == {"r": 1, "q": 1, "a": 1, "s": 1}


def test_equal_nodes_of_one_run_are_computed_once(bench: Bench) -> None:
    result = bench.run(
        n("a", "t.add", a=1), n("b", "t.add", a=1), n("c", "t.add", a="@a.sum", b="@b.sum"), save("c.sum")
    )
    assert said(result) == ["4.0"]
    assert CALLS["a"] + CALLS["b"] == 1


def test_one_output_feeds_many(bench: Bench) -> None:
    graph = [n("a", "t.add", a=1), *[n(f"b{i}", "t.add", a="@a.sum", b=float(i)) for i in range(5)]]
    result = bench.run(*graph, *[save(f"b{i}.sum", f"s{i}") for i in range(5)])
    assert sorted(said(result)) == ["2.0", "3.0", "4.0", "5.0", "6.0"]
    assert CALLS["a"] == 1


# ---- lists


def test_lists_are_mapped_element_by_element(bench: Bench) -> None:
    result = bench.run(n("l", "t.list", count=3), n("a", "t.add", a="@l.items", b=10), save("a.sum"))
    assert said(result) == ["10.0", "11.0", "12.0"]
    assert [a.index for _, a in result.artifacts] == [0, 1, 2]


def test_shorter_lists_repeat_their_last_element(bench: Bench) -> None:
    graph = [
        n("l", "t.list", count=4),
        n("k", "t.list", count=2, start=100),
        n("a", "t.add", a="@l.items", b="@k.items"),
    ]
    assert said(bench.run(*graph, save("a.sum"))) == ["100.0", "102.0", "103.0", "104.0"]


def test_a_list_input_takes_everything_at_once_and_a_single_value_as_a_list_of_one(bench: Bench) -> None:
    assert said(bench.run(n("l", "t.list", count=4), n("t", "t.total", values="@l.items"), save("t.sum"))) == ["6.0"]
    assert said(bench.run(n("a", "t.add", a=4), n("t", "t.total", values="@a.sum"), save("t.sum"))) == ["5.0"]


def test_an_empty_list_makes_no_call(bench: Bench) -> None:
    result = bench.run(
        n("l", "t.list", count=0), n("a", "t.add", a="@l.items"), n("t", "t.total", values="@a.sum"), save("t.sum")
    )
    assert said(result) == ["0.0"]
    assert "a" not in CALLS


def test_blocking_holds_back_single_elements(bench: Bench) -> None:
    graph = [n("l", "t.list", count=5), n("e", "t.only_even", value="@l.items"), n("a", "t.add", a="@e.value")]
    result = bench.run(*graph, n("t", "t.total", values="@a.sum"), save("t.sum"))
    assert said(result) == ["9.0"]
    assert CALLS["a"] == 3
    assert result.outcome == "succeeded"


def test_blocking_a_single_value_holds_back_all_that_follows(bench: Bench) -> None:
    result = bench.run(
        n("e", "t.only_even", value=3), n("a", "t.add", a="@e.value"), save("a.sum"), n("o", "t.save", value=1)
    )
    assert result.blocked == ["a", "s"]
    assert said(result) == ["1"]
    assert [e.data for e in bench.events if e.kind == "node_blocked"] == [{"reason": "odd"}] * 2


def test_variadic_inputs_come_in_the_order_of_their_numbers(bench: Bench) -> None:
    graph = [n("a", "t.add", a=1), n("j", "t.join", part10=9, part2="@a.sum", part0=1)]
    assert said(bench.run(*graph, save("j.sum"))) == ["129.0"]
    with pytest.raises(InvalidWorkflow, match="input “part”: it has no value"):
        bench.run(n("j", "t.join"), save("j.sum"))
    with pytest.raises(InvalidWorkflow, match="no such input"):
        bench.run(n("j", "t.join", part0=1, part01=3), save("j.sum"))
    with pytest.raises(InvalidWorkflow, match="-1 is out of range"):
        bench.run(n("j", "t.join", part0=-1), save("j.sum"))


def test_a_linked_value_is_checked_when_it_arrives(bench: Bench) -> None:
    result = bench.run(n("big", "t.add", a=1e6, b=5), n("a", "t.add", a="@big.sum"), save("a.sum"))
    (failure,) = result.failures
    assert str(failure).startswith("node “a” (t.add): the value that reached its input “a” is wrong: 1e+06 is out of")


# ---- expansion and loops


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4])
def test_a_node_expands_into_a_chain(bench: Bench, count: int) -> None:
    result = bench.run(n("a", "t.add", a=1), n("x", "t.add_many", value="@a.sum", count=count), save("x.sum"))
    assert said(result) == [str(2.0 + count)]
    assert [i for i in result.succeeded if i.startswith("x:")] == [f"x:{i}" for i in range(count)]


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_a_loop_over_a_subgraph(bench: Bench, count: int) -> None:
    body = Subgraph(
        id="twice",
        nodes=(n("x", "t.add", a=0), n("y", "t.add", a="@x.sum")),
        inputs=(Socket(name="number", node="x", socket="a"),),
        outputs=(Socket(name="result", node="y", socket="sum"),),
    )
    graph = [n("l", "t.loop", value=1, body="twice", count=count), save("l.value")]
    result = bench.run(*graph, subgraphs=(body,))
    assert said(result) == [str(1.0 + 2 * count)]
    assert CALLS["loop"] == count + 1
    bench.run(*graph, subgraphs=(body,))
    assert dict(CALLS) == {"s": 1}


def test_a_longer_loop_takes_the_turns_it_shares_from_the_cache(bench: Bench) -> None:
    bench.run(n("x", "t.add_many", value=1, count=3), save("x.sum"))
    bench.run(n("x", "t.add_many", value=1, count=5), save("x.sum"))
    assert dict(CALLS) == {"x": 1, "x:3": 1, "x:4": 1, "s": 1}


def test_a_long_loop_by_expansion_needs_no_recursion(bench: Bench) -> None:
    body = Subgraph(
        id="b",
        nodes=(n("x", "t.add", a=0),),
        inputs=(Socket(name="number", node="x", socket="a"),),
        outputs=(Socket(name="result", node="x", socket="sum"),),
    )
    result = bench.run(n("l", "t.loop", value=0, body="b", count=400), save("l.value"), subgraphs=(body,))
    assert said(result) == ["400.0"]


def test_an_expansion_may_mix_links_and_values(bench: Bench) -> None:
    graph = [n("t", "t.two", value=1), save("t.made", "m"), save("t.literal", "l")]
    result = bench.run(*graph)
    assert {i: a.data for i, a in result.artifacts} == {"m": b"2.0", "l": b"42.0"}


def test_expansion_is_mapped_over_lists(bench: Bench) -> None:
    result = bench.run(n("l", "t.list", count=3), n("x", "t.add_many", value="@l.items", count=2), save("x.sum"))
    assert said(result) == ["2.0", "3.0", "4.0"]
    assert "x[1]:0" in result.succeeded


def test_output_nodes_inside_an_expansion_run(bench: Bench) -> None:
    result = bench.run(n("e", "t.emit_inside", value=5), save("e.value"))
    assert {(i, a.data) for i, a in result.artifacts} == {("e:keep", b"5.0"), ("s", b"5.0")}


def test_an_expansion_passes_on_a_lazy_input_unseen(bench: Bench) -> None:
    @node("t.later", category="Test", outputs=("value",), needs=lambda value: [])
    def later(ctx: NodeContext, value: Lazy) -> Anything:
        """Wires its input on without computing it first."""
        inner = n("w", "t.switch", which=True, yes=own("value"), no=1)
        return Expand(Workflow(nodes=(inner,)), {"value": Link("w", "value")})

    bench = Bench(*ALL, later)
    result = bench.run(n("a", "t.add", a=1), n("x", "t.later", value="@a.sum"), save("x.value"))
    assert said(result) == ["2.0"]


@pytest.mark.parametrize(("circle", "says"), [(False, "no node type “t.gone”"), (True, "circle")])
def test_a_wrong_fragment_is_that_nodes_failure(bench: Bench, circle: bool, says: str) -> None:
    result = bench.run(n("x", "t.bad_fragment", circle=circle), save("x.value"))
    assert result.failures[0].node_id == "x"
    assert says in str(result.failures[0])


def test_an_expansion_without_an_end_stops(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.graph.scheduler.MAX_STEPS", 500)
    result = bench.run(n("x", "t.endless"), save("x.value"))
    assert result.outcome == "failed"
    assert "loop that does not end" in str(result.error)


# ---- async and parallel


def test_async_nodes_run_side_by_side(bench: Bench) -> None:
    graph = [n("a", "t.meet", value=1), n("b", "t.meet", value=2), n("c", "t.add", a="@a.value", b="@b.value")]
    assert said(bench.run(*graph, save("c.sum"))) == ["3.0"]


def test_an_async_node_mapped_over_a_list_runs_its_elements_side_by_side(bench: Bench) -> None:
    result = bench.run(n("l", "t.list", count=2, start=7), n("a", "t.meet", value="@l.items"), save("a.value"))
    assert said(result) == ["7.0", "8.0"]


def test_an_async_failure_is_contained(bench: Bench) -> None:
    graph = [n("a", "t.async_fail"), save("a.value"), n("o", "t.save", value=1)]
    result = bench.run(*graph, on_failure="continue")
    assert [f.cause for f in result.failures] == ["ValueError: it broke later"]
    assert (result.blocked, said(result)) == (["s"], ["1"])


def test_cancelling_reaches_a_waiting_async_node(bench: Bench) -> None:
    token = CancelToken()
    FOREVER.clear()

    def cancel_once_waiting() -> None:
        FOREVER.wait(30)
        token.cancel()

    helper = threading.Thread(target=cancel_once_waiting)
    helper.start()
    result = bench.run(n("a", "t.async_forever"), save("a.value"), cancel=token)
    helper.join()
    assert result.outcome == "cancelled"


def test_slow_safe_nodes_run_beside_each_other() -> None:
    barrier = threading.Barrier(2, timeout=20)
    threads: set[int] = set()

    @node("t.slow", category="Test", outputs=("value",))
    def slow(ctx: NodeContext, value: float = 0.0, alone: bool = False) -> float:
        """Only finishes in company."""
        threads.add(threading.get_ident())
        if not alone:
            barrier.wait()
        return value

    bench = Bench(slow)
    bench.run(n("a", "t.slow", alone=True), targets=["a"])
    bench.cache.traits_of("t.slow").seconds = 1.0  # as if its first run had taken that long
    threads.clear()
    result = bench.run(
        n("a", "t.slow", value=1), n("b", "t.slow", value=2), n("c", "t.add", a="@a.value", b="@b.value"), targets=["c"]
    )
    assert result.outputs == {"c": {"sum": 3.0}}
    assert len(threads) == 2


def test_a_node_that_uses_the_models_stays_on_its_own_thread() -> None:
    threads: set[int] = set()

    @node("t.gpu", category="Test", outputs=("value",))
    def gpu(ctx: NodeContext, value: float = 0.0) -> float:
        """Touches the session."""
        assert ctx.session is None
        threads.add(threading.get_ident())
        return value

    bench = Bench(gpu)
    bench.run(n("a", "t.gpu"), targets=["a"])
    bench.cache.traits_of("t.gpu").seconds = 1.0
    bench.run(*[n(str(i), "t.gpu", value=float(i)) for i in range(4)], targets=["0", "1", "2", "3"])
    assert threads == {threading.get_ident()}


# ---- partial execution


def test_only_the_targets_and_what_they_need_run(bench: Bench) -> None:
    graph = [
        n("a", "t.add", a=1),
        n("b", "t.add", a="@a.sum"),
        n("c", "t.add", a=50),
        save("b.sum", "s1"),
        save("c.sum", "s2"),
    ]
    result = bench.run(*graph, targets=["s1"])
    assert set(CALLS) == {"a", "b", "s1"}
    assert said(result) == ["3.0"]
    assert set(bench.run(*graph, targets=["s1", "s2"]).succeeded) >= {"s1", "s2"}
    assert set(bench.run(*graph, targets=[]).succeeded) >= {"s1", "s2"}


def test_a_target_in_the_middle_gives_its_value(bench: Bench) -> None:
    graph = [n("a", "t.add", a=1), n("b", "t.add", a="@a.sum"), save("b.sum")]
    result = bench.run(*graph, targets=["a", "b"])
    assert result.outputs == {"a": {"sum": 2.0}, "b": {"sum": 3.0}}
    assert "s" not in CALLS


def test_a_target_behind_a_lazy_input_computes_only_what_is_needed(bench: Bench) -> None:
    graph = [n("a", "t.add", a=1), n("b", "t.fail"), n("w", "t.switch", which=True, yes="@a.sum", no="@b.value")]
    assert bench.run(*graph, save("w.value"), targets=["w"]).outputs == {"w": {"value": 2.0}}


# ---- going on


def test_a_missing_node_spoils_only_what_needs_it(bench: Bench) -> None:
    graph = [
        n("x", "t.gone"),
        n("a", "t.add", a="@x.value"),
        save("a.sum", "bad"),
        n("b", "t.add", a=1),
        save("b.sum", "good"),
    ]
    result = bench.run(*graph, on_failure="continue")
    assert said(result) == ["2.0"]
    assert [f.node_id for f in result.failures] == ["x"]
    assert set(result.blocked) == {"a", "bad"}
    with pytest.raises(InvalidWorkflow):
        bench.run(*graph)


def test_a_cycle_spoils_only_what_needs_it(bench: Bench) -> None:
    graph = [
        n("x", "t.add", a="@y.sum"),
        n("y", "t.add", a="@x.sum"),
        save("y.sum", "bad"),
        n("good", "t.save", value=1),
    ]
    result = bench.run(*graph, on_failure="continue")
    assert said(result) == ["1"]
    assert "bad" in result.blocked


def test_two_failures_are_both_named_and_the_rest_goes_on(bench: Bench) -> None:
    graph = [
        n("f", "t.fail"),
        n("g", "t.fail", value=2),
        save("f.value", "s1"),
        save("g.value", "s2"),
        n("o", "t.save", value=1),
    ]
    result = bench.run(*graph, on_failure="continue")
    assert {f.node_id for f in result.failures} == {"f", "g"}
    assert set(result.blocked) == {"s1", "s2"}
    assert said(result) == ["1"]


def test_a_failure_inside_an_expansion_blocks_the_node_it_stands_for(bench: Bench) -> None:
    @node("t.fails_inside", category="Test", outputs=("value",))
    def fails_inside(ctx: NodeContext) -> Anything:
        """Expands into a failure."""
        return Expand(Workflow(nodes=(n("f", "t.fail"),)), {"value": Link("f", "value")})

    bench = Bench(*ALL, fails_inside)
    result = bench.run(n("x", "t.fails_inside"), save("x.value"), n("o", "t.save", value=1), on_failure="continue")
    assert [f.node_id for f in result.failures] == ["x:f"]
    assert set(result.blocked) == {"x", "s"}
    assert said(result) == ["1"]


def test_a_failed_node_is_tried_again_in_the_next_run(bench: Bench) -> None:
    graph = [n("f", "t.fail"), save("f.value")]
    bench.run(*graph)
    bench.run(*graph)
    assert CALLS["f"] == 1


def test_a_node_that_returns_the_wrong_thing_is_named() -> None:
    @node("t.wrong", category="Test", outputs=("a", "b"))
    def wrong(ctx: NodeContext) -> tuple[float, float]:
        """Returns one value where two are due."""
        return 3.0  # type: ignore[return-value]

    result = Bench(wrong).run(n("w", "t.wrong"), targets=["w"])
    assert str(result.failures[0]) == "node “w” (t.wrong): it should return 2 values and returned float."


def test_an_artifact_that_can_not_be_stored_fails_its_node_and_stays_in_the_result(bench: Bench) -> None:
    def full_disk(node_id: str, artifact: Artifact) -> None:
        from engine.contracts.errors import StorageError

        raise StorageError("the disk is full", where="/pictures", fix="Free some space")

    result = bench.run(n("s", "t.save", value=1), on_artifact=full_disk)
    assert str(result.failures[0]) == "node “s” (t.save): /pictures: the disk is full. Free some space."
    assert said(result) == ["1"]
