"""What was computed otherwise than exactly is kept with the value, and told of every picture made from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.contracts.job_spec import JobSpec
from engine.contracts.node_schema import Effects
from engine.contracts.workflow import Link, Node, Workflow
from engine.graph.cache import Kept, ValueCache
from engine.graph.disk import DiskTier, pack, unpack
from engine.graph.execute import execute
from engine.graph.flow import Expand
from engine.graph.node import NodeContext, node
from engine.graph.numerics import note, noted, noting, together
from engine.graph.registry import Registry
from engine.graph.values import Anything, Artifact
from tests.unit.graph_nodes import services


@node("test.made", category="Test", outputs=("value",), effects=Effects(dear=True, parallel_safe=False))
def made(ctx: NodeContext, bits: int = 16) -> int:
    """A number, not exact where it has fewer bits."""
    if bits < 16:
        note("quantisation", f"int{bits}")
    return bits


@node("test.sum", category="Test", outputs=("value",))
def total(ctx: NodeContext, a: int = 0, b: int = 0) -> int:
    """An exact sum."""
    return a + b


@node("test.unfold", category="Test", outputs=("value",))
def unfold(ctx: NodeContext, bits: int = 8) -> Anything:
    """The same by a graph of its own."""
    return Expand(
        Workflow(nodes=(Node(id="in", type="test.made", inputs={"bits": bits}),)), {"value": Link("in", "value")}
    )


@node("test.show", category="Test", effects=Effects(output=True, cacheable=False))
def show(ctx: NodeContext, value: int = 0) -> None:
    """Give it out."""
    ctx.emit(Artifact(b"x", "text/plain", 0, facts=(("inside", str(noted())),)))


REGISTRY = Registry().with_nodes(made, total, unfold, show)


def told(cache: ValueCache, *nodes: Node) -> dict[str, Any]:
    """The facts of the only artifact of a workflow."""
    found = execute(JobSpec(workflow=Workflow(nodes=nodes)), registry=REGISTRY, services=services(), cache=cache)
    assert found.outcome == "succeeded"
    return dict(found.artifacts[0][1].facts)


def chain(bits: int, other: int = 16) -> tuple[Node, ...]:
    return (
        Node(id="one", type="test.made", inputs={"bits": bits}),
        Node(id="two", type="test.made", inputs={"bits": other}),
        Node(id="sum", type="test.sum", inputs={"a": Link("one", "value"), "b": Link("two", "value")}),
        Node(id="show", type="test.show", inputs={"value": Link("sum", "value")}),
    )


def test_a_note_goes_with_the_value_and_not_with_others() -> None:
    cache = ValueCache(1 << 20)
    assert told(cache, *chain(8))["quantisation"] == "int8"
    assert "quantisation" not in told(cache, *chain(16))
    assert told(cache, *chain(8, 4))["quantisation"] == "int4"  # the fewest bits of what went in
    assert "'quantisation': 'int4'" in told(cache, *chain(8, 4))["inside"]  # the node that saves knows it as well


def test_a_note_comes_back_with_a_kept_value_in_another_session(tmp_path: Path) -> None:
    first = ValueCache(1 << 20, DiskTier(tmp_path, 1 << 20))
    told(first, *chain(8))
    again = ValueCache(1 << 20, DiskTier(tmp_path, 1 << 20))
    assert told(again, *chain(8))["quantisation"] == "int8"
    assert again.hits == 0  # from the disk
    kept = unpack(pack(Kept((1,), None, (), (("quantisation", "int8"), ("vae_tile", 512), ("apart", True)))))
    assert kept.numerics == (("quantisation", "int8"), ("vae_tile", 512), ("apart", True))


def test_a_node_that_unfolds_hands_on_what_was_noted_inside() -> None:
    show_it = Node(id="show", type="test.show", inputs={"value": Link("whole", "value")})
    assert told(ValueCache(1 << 20), Node(id="whole", type="test.unfold"), show_it)["quantisation"] == "int8"


def test_of_two_notes_the_one_farther_from_exact_counts() -> None:
    notes: dict[str, Any] = {}
    with noting(notes):
        for tile in (512, 0, 256, 1024):
            note("vae_tile", tile)
        for apart in (False, True, False):
            note("apart", apart)
        for kernel in ("sage", "math", "sage"):
            note("attention", kernel)
    note("quantisation", "int4")  # no node runs here
    assert notes == {"vae_tile": 256, "apart": True, "attention": "sage and math"}
    assert together([(), (("quantisation", "int8"),), (("quantisation", "int4"),)]) == (("quantisation", "int4"),)
