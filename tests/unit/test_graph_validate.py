"""What is wrong with a workflow is said exactly: node, input, what is wrong, what would be right."""

from __future__ import annotations

import contextlib
import math
from typing import Annotated, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.contracts.errors import InvalidWorkflow, Problem
from engine.contracts.references import BlobRef, ModelRef
from engine.contracts.workflow import Link, Node, Socket, Subgraph, Workflow
from engine.graph.node import In, NodeContext, node
from engine.graph.signatures import signatures
from engine.graph.validate import check, problems, warnings
from engine.graph.values import Blob, Checkpoint, Image
from tests.unit.graph_nodes import Bench, n, registry


@node("t.many", category="Test", outputs=("image",))
def many_kinds(
    ctx: NodeContext,
    image: Image,
    checkpoint: Annotated[Checkpoint, In(model_kind="checkpoint")],
    blob: Blob | None = None,
    steps: Annotated[int, In(minimum=1, maximum=150)] = 20,
    cfg: Annotated[float, In(minimum=0, maximum=30)] = 7.0,
    sampler: Annotated[str, In(choices=("euler", "heun"))] = "euler",
    on: bool = True,
    seed: Annotated[int, In(minimum=0, maximum=2**64 - 1, seed=True)] = 0,
    colour: Annotated[str, In(type="COLOUR")] = "#000000",
) -> Image:
    """Takes one of everything."""
    return image


REGISTRY = registry(many_kinds)
GOOD: dict[str, Any] = {"image": "@p.image", "checkpoint": ModelRef(name="starter")}


def found(*nodes: Node, **workflow: Any) -> list[Problem]:
    return problems(Workflow(nodes=nodes, **workflow), REGISTRY)


def one(**inputs: Any) -> Problem:
    """The only problem of a node with these inputs beside good ones."""
    return only(n("p", "t.picture"), n("m", "t.many", **{**GOOD, **inputs}), n("s", "t.save", value="@m.image"))


def only(*nodes: Node, **workflow: Any) -> Problem:
    (problem,) = found(*nodes, **workflow)
    return problem


def test_a_good_workflow_has_no_problems() -> None:
    assert found(n("p", "t.picture"), n("m", "t.many", **GOOD), n("s", "t.save", value="@m.image")) == []


@pytest.mark.parametrize(
    ("name", "value", "code", "says"),
    [
        (
            "steps",
            "20",
            "wrong_type",
            "expected a whole number, found the text “20”. Give a whole number from 1 to 150.",
        ),
        ("steps", 20.5, "wrong_type", "expected a whole number, found the number 20.5"),
        ("steps", True, "wrong_type", "expected a whole number, found true"),
        ("steps", 0, "out_of_range", "0 is out of range. Give a whole number from 1 to 150."),
        pytest.param("steps", 10**5000, "out_of_range", "a number of 16610 bits is out of range", id="huge"),
        ("steps", math.nan, "not_finite", "nan is not a number"),
        ("steps", [1, 2], "wrong_type", "found a list of 2"),
        ("cfg", math.nan, "not_finite", "nan is not a finite number. Give a number from 0 to 30."),
        ("cfg", -math.inf, "not_finite", "-inf is not a finite number"),
        ("cfg", 30.5, "out_of_range", "30.5 is out of range"),
        ("cfg", 10**400, "out_of_range", "out of range"),
        ("cfg", {"a": 1}, "wrong_type", "found an object with 1 fields"),
        ("sampler", "eulr", "unknown_choice", "there is no choice “eulr”. Did you mean “euler”"),
        ("sampler", 3, "wrong_type", "Use one of: euler, heun."),
        ("on", 1, "wrong_type", "expected true or false, found the number 1"),
        ("seed", -1, "out_of_range", "Give a whole number from 0 to 18446744073709551615."),
        ("colour", "reddish", "wrong_type", "“reddish” is not a colour. Give a colour like “#3366cc” or “red”."),
        ("image", 3, "wrong_type", "the number 3 can't stand here. Connect an output of type IMAGE to it."),
        ("image", None, "missing_input", "it has no value. Connect an output of type IMAGE."),
        ("checkpoint", ModelRef(), "no_model", "no model is chosen. Choose a model."),
        ("checkpoint", ModelRef(kind="lora", name="x"), "wrong_type", "“x” is a lora, not a checkpoint"),
        ("checkpoint", 7, "wrong_type", "expected a model, found the number 7"),
        ("blob", "a.png", "wrong_type", "expected a picture or file, found the text “a.png”. Choose a file."),
        ("blob", BlobRef(), "no_file", "no picture or file is chosen"),
        ("stepz", 3, "unknown_input", "“Many” has no such input. Did you mean “steps”?"),
        ("steps", Link("zz", "value"), "dangling_link", "linked to node “zz”, which does not exist"),
        ("steps", Link("p", "imag"), "unknown_output", "no output “imag”. Did you mean “image”?"),
        ("steps", Link("p", "image"), "wrong_type", "it takes INT, and output “image” of node “p” gives IMAGE"),
    ],
)
def test_a_wrong_input_is_named_with_what_would_be_right(name: str, value: Any, code: str, says: str) -> None:
    problem = one(**{name: value})
    assert (problem.node, problem.input, problem.code) == ("m", name, code)
    assert says in problem.sentence()
    assert problem.sentence().startswith(f"node “m”, input “{name}”: ")


def test_whole_floats_are_whole_numbers_and_names_stand_for_models() -> None:
    assert (
        found(
            n("p", "t.picture"),
            n("m", "t.many", **{**GOOD, "steps": 20.0, "checkpoint": "starter"}),
            n("s", "t.save", value="@m.image"),
        )
        == []
    )


def test_unknown_types_duplicate_and_empty_ids_are_named() -> None:
    assert only(n("a", "t.sav", value=1)).sentence() == (
        "node “a”: there is no node type “t.sav”. Did you mean “t.save” or “t.add” or “t.show”?"
    )
    assert only(n("a", "t.save", value=1), n("a", "t.save", value=2)).code == "duplicate_id"
    assert {p.code for p in found(n("", "t.save", value=1))} == {"empty_id"}


def test_a_cycle_is_reported_once_with_the_nodes_on_it() -> None:
    problem = only(
        n("a", "t.add", a="@c.sum"), n("b", "t.add", a="@a.sum"), n("c", "t.add", a="@b.sum"), n("s", "t.save", value=1)
    )
    assert problem.code == "cycle"
    assert "the nodes form a circle (a ← c ← b ← a)" in problem.what


def test_a_node_linked_to_itself_is_a_cycle() -> None:
    assert only(n("a", "t.add", a="@a.sum"), n("s", "t.save", value=1)).code == "cycle"


def test_a_workflow_that_makes_nothing_says_so() -> None:
    assert only().code == "no_output"
    assert only(n("a", "t.add", a=1)).sentence().startswith("Workflow: nothing in it makes a picture")


def test_targets_limit_what_is_looked_at() -> None:
    workflow = Workflow(nodes=(n("a", "t.add", a=1), n("b", "t.add"), n("c", "t.nope")))
    assert problems(workflow, REGISTRY, ["a"]) == []
    assert [p.code for p in problems(workflow, REGISTRY, ["b"])] == ["missing_input"]
    (problem,) = problems(workflow, REGISTRY, ["zz"])
    assert problem.code == "unknown_target"


def test_problems_come_in_the_order_of_the_nodes() -> None:
    graph = [
        n("a", "t.add", a="@zz.x"), n("b", "t.add", b="@a.sum"), n("c", "t.save", value="@b.sum"), n("d", "t.save"),
    ]  # fmt: skip
    assert [p.node for p in found(*graph)] == ["a", "b", "d"]


def test_check_raises_with_every_problem() -> None:
    with pytest.raises(InvalidWorkflow, match=r"1 more problem\)") as caught:
        check(Workflow(nodes=(n("a", "t.add"), n("b", "t.save", value="@a.sum"), n("c", "t.save"))), REGISTRY)
    assert [p.node for p in caught.value.problems] == ["a", "c"]


def test_a_half_finished_node_that_no_output_needs_does_not_stop_a_run() -> None:
    result = Bench().run(n("a", "t.save", value=1), n("b", "t.add"))
    assert result.outcome == "succeeded"


@pytest.mark.parametrize(
    ("inputs", "code"),
    [
        ({}, "missing_input"), ({"image": "@p.image"}, "missing_input"), ({**GOOD, "steps": 0}, "out_of_range"),
        ({**GOOD, "sampler": "fast"}, "unknown_choice"), ({**GOOD, "on": 3}, "wrong_type"),
        ({**GOOD, "image": "@gone.image"}, "dangling_link"), ({**GOOD, "cfg": math.nan}, "not_finite"),
        ({**GOOD, "image": "@p.nothing"}, "unknown_output"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_an_unused_node_is_a_warning(inputs: dict[str, Any], code: str) -> None:
    """Nothing made depends on it, so it is not run, as ComfyUI does not run it; a made node with it is refused."""
    nodes = (n("p", "t.picture"), n("m", "t.many", **inputs), n("s", "t.save", value=1))
    assert found(*nodes) == []
    assert {(p.node, p.code) for p in warnings(Workflow(nodes=nodes), REGISTRY)} == {("m", code)}
    assert Bench(many_kinds).run(*nodes).outcome == "succeeded"
    used = (*nodes[:2], n("s", "t.save", value="@m.image"))
    assert {p.code for p in found(*used)} == {code}
    assert warnings(Workflow(nodes=used), REGISTRY) == []
    with pytest.raises(InvalidWorkflow):
        Bench(many_kinds).run(*used)
    # Where nothing makes anything, nothing is beside what is made.
    assert {p.code for p in found(*nodes[:2])} == {code}


def test_a_broken_node_anywhere_stops_a_run() -> None:
    with pytest.raises(InvalidWorkflow, match="no node type"):
        Bench().run(n("a", "t.save", value=1), n("b", "t.nope"))
    with pytest.raises(InvalidWorkflow, match="circle"):
        Bench().run(n("a", "t.save", value=1), n("b", "t.add", a="@c.sum"), n("c", "t.add", a="@b.sum"))


# ---- subgraphs, mute, bypass


def twice(subgraph_id: str = "twice") -> Subgraph:
    """Adds one two times."""
    return Subgraph(
        id=subgraph_id,
        nodes=(n("x", "t.add", a=0), n("y", "t.add", a="@x.sum")),
        inputs=(Socket(name="number", node="x", socket="a"),),
        outputs=(Socket(name="result", node="y", socket="sum"),),
    )


def test_a_subgraph_runs_as_its_nodes() -> None:
    bench = Bench()
    result = bench.run(
        n("a", "t.add", a=4), n("g", "subgraph:twice", number="@a.sum"), n("s", "t.save", value="@g.result"),
        subgraphs=(twice(),),
    )  # fmt: skip
    assert result.artifacts[0][1].data == b"7.0"
    assert result.succeeded == ["a", "g:x", "g:y", "s"]


def test_nested_subgraphs_open_with_ids_that_show_the_nesting() -> None:
    outer = Subgraph(
        id="outer",
        nodes=(n("one", "subgraph:twice"), n("two", "subgraph:twice", number="@one.result")),
        inputs=(Socket(name="n", node="one", socket="number"),),
        outputs=(Socket(name="r", node="two", socket="result"),),
    )
    bench = Bench()
    graph = [n("g", "subgraph:outer", n=10), n("s", "t.save", value="@g.r")]
    result = bench.run(*graph, subgraphs=(outer, twice()))
    assert result.artifacts[0][1].data == b"14.0"
    assert "g:two:y" in result.succeeded
    targeted = bench.run(*graph, subgraphs=(outer, twice()), targets=["g"])
    assert targeted.outputs == {"g": {"r": 14.0}, "g:two:y": {"sum": 14.0}}


def test_a_binding_reaches_into_a_subgraph_and_a_wrong_one_is_refused() -> None:
    graph = [n("g", "subgraph:twice", number=1), n("s", "t.save", value="@g.result")]
    result = Bench().run(*graph, subgraphs=(twice(),), bindings={"g:y.b": 100})
    assert result.artifacts[0][1].data == b"102.0"
    with pytest.raises(InvalidWorkflow, match="binding names node “g:z”"):
        Bench().run(*graph, subgraphs=(twice(),), bindings={"g:z.b": 100})
    with pytest.raises(InvalidWorkflow, match="no such input"):
        Bench().run(*graph, subgraphs=(twice(),), bindings={"g:y.q": 100})


def test_the_signature_of_a_subgraph_is_that_of_its_nodes() -> None:
    opened = Workflow(nodes=(n("x", "t.add", a=4), n("y", "t.add", a="@x.sum")))
    closed = Workflow(nodes=(n("g", "subgraph:twice", number=4),), subgraphs=(twice(),))
    assert signatures(opened, REGISTRY)["y"] == signatures(closed, REGISTRY)["g:y"]


def test_subgraphs_that_hold_themselves_are_refused() -> None:
    def holding(name: str, inner: str) -> Subgraph:
        return Subgraph(id=name, nodes=(n("i", f"subgraph:{inner}"),))

    problem = only(n("g", "subgraph:a"), n("s", "t.save", value=1), subgraphs=(holding("a", "b"), holding("b", "a")))
    assert problem.code == "subgraph_cycle"
    assert "a → b → a" in problem.what
    assert only(n("g", "subgraph:zz"), n("s", "t.save", value=1)).code == "unknown_subgraph"
    found_problems = found(n("g", "subgraph:zz"), n("s", "t.save", value="@g.r"))
    assert [(p.node, p.code) for p in found_problems] == [("s", "missing_input"), ("g", "unknown_subgraph")]
    assert "“g” can't be opened" in found_problems[0].what


def test_a_subgraph_bomb_is_refused() -> None:
    levels = [Subgraph(id="0", nodes=(n("x", "t.add", a=0),))]
    levels += [
        Subgraph(id=str(i), nodes=tuple(n(f"n{j}", f"subgraph:{i - 1}") for j in range(10))) for i in range(1, 8)
    ]
    assert "too_large" in {p.code for p in found(n("g", "subgraph:7"), subgraphs=tuple(levels))}


def test_a_cycle_through_subgraphs_is_found() -> None:
    graph = [
        n("g", "subgraph:twice", number="@h.result"), n("h", "subgraph:twice", number="@g.result"),
        n("s", "t.save", value="@h.result"),
    ]  # fmt: skip
    assert [p.code for p in found(*graph, subgraphs=(twice(),))] == ["cycle"]


def with_mode(item: Node, mode: Any) -> Node:
    return Node(id=item.id, type=item.type, inputs=item.inputs, mode=mode)


def test_a_muted_node_is_gone_with_the_inputs_it_fed() -> None:
    muted = with_mode(n("a", "t.add", a=1), "mute")
    problem = only(muted, n("b", "t.add", a="@a.sum"), n("s", "t.save", value="@b.sum"))
    assert problem.sentence().startswith("node “b”, input “a”: its link is gone: “a” is muted")
    # An optional input falls back to its default.
    result = Bench().run(muted, n("b", "t.add", a=5, b="@a.sum"), n("s", "t.save", value="@b.sum"))
    assert result.artifacts[0][1].data == b"6.0"


def test_a_bypassed_node_passes_on_the_input_that_fits() -> None:
    bypassed = with_mode(n("m", "t.many", **{**GOOD, "image": "@p.image"}), "bypass")
    bench = Bench(many_kinds)
    result = bench.run(n("p", "t.picture", size=3), bypassed, n("s", "t.show", value="@m.image"))
    assert result.succeeded == ["p", "s"]
    chain = [n("a", "t.add", a=1)] + [
        with_mode(n(f"x{i}", "t.add", a=f"@{'a' if i == 0 else f'x{i - 1}'}.sum"), "bypass") for i in range(3)
    ]
    result = bench.run(*chain, n("s", "t.save", value="@x2.sum"))
    assert result.artifacts[0][1].data == b"2.0"


def test_bypassed_nodes_in_a_circle_are_refused() -> None:
    loop = [with_mode(n("x", "t.add", a="@y.sum"), "bypass"), with_mode(n("y", "t.add", a="@x.sum"), "bypass")]
    assert "cycle" in {p.code for p in found(*loop, n("s", "t.save", value="@x.sum"))}


# ---- any document at all

ids = st.sampled_from(["a", "b", "c", "", "a:b", "s"])
kinds = st.sampled_from(["t.add", "t.many", "t.save", "t.picture", "nope", "", "subgraph:a", "subgraph:b", "subgraph:"])
values = (
    st.builds(Link, ids, st.sampled_from(["sum", "image", "value", "", "r"]))
    | st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    | st.lists(st.floats(), max_size=2) | st.dictionaries(st.text(max_size=3), st.floats(), max_size=2)
    | st.just(ModelRef(name="x")) | st.just(BlobRef(name="y"))
)  # fmt: skip
fuzzed_nodes = st.builds(
    Node,
    id=ids,
    type=kinds,
    type_version=st.integers(-2, 3),
    mode=st.sampled_from(["active", "active", "mute", "bypass"]),
    inputs=st.dictionaries(st.sampled_from(["a", "b", "value", "image", "steps", "r", ""]), values, max_size=3),
)
node_lists = st.lists(fuzzed_nodes, max_size=6).map(tuple)
some_sockets = st.lists(
    st.builds(Socket, name=st.sampled_from(["r", "a", "sum"]), node=ids, socket=st.sampled_from(["a", "sum", "r"])),
    max_size=2,
).map(tuple)
fuzzed = st.builds(
    Workflow,
    nodes=node_lists,
    subgraphs=st.lists(
        st.builds(
            Subgraph, id=st.sampled_from(["a", "b", ""]), nodes=node_lists, inputs=some_sockets, outputs=some_sockets
        ),
        max_size=2,
    ).map(tuple),
)


@settings(max_examples=300, deadline=None)
@given(fuzzed, st.lists(ids, max_size=2))
def test_any_document_gives_problems_or_signatures_never_a_crash(workflow: Workflow, targets: list[str]) -> None:
    problems(workflow, REGISTRY, targets)
    spoilt = problems(workflow, REGISTRY)
    signed = signatures(workflow, REGISTRY)
    assert all(len(s) == 32 for s in signed.values())
    assert all(p.what and p.sentence() for p in spoilt)


@settings(max_examples=150, deadline=None)
@given(node_lists)
def test_running_any_document_gives_a_result_or_problems(nodes: tuple[Node, ...]) -> None:
    bench = Bench()
    for mode in ("stop", "continue"):
        with contextlib.suppress(InvalidWorkflow):
            assert bench.run(*nodes, on_failure=mode).outcome in ("succeeded", "failed")


def test_a_deep_literal_is_refused_without_a_recursion_error() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert only(n("s", "t.save", value=deep)).code == "too_deep"


def test_a_chain_of_thousands_validates_and_signs_without_recursion() -> None:
    chain = [n("0", "t.add", a=0)] + [n(str(i), "t.add", a=f"@{i - 1}.sum") for i in range(1, 5000)]
    workflow = Workflow(nodes=(*chain, n("s", "t.save", value="@4999.sum")))
    assert problems(workflow, REGISTRY) == []
    assert len(signatures(workflow, REGISTRY)) == 5001
