"""Sizes are told before a run and come true; constants and reroutes leave no trace in a signature."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engine.contracts.references import ModelRef
from engine.contracts.workflow import Node, Socket, Subgraph, Workflow
from engine.graph.explain import explain
from engine.graph.node import NodeContext, node
from engine.graph.shapes import in_words, shapes
from engine.graph.signatures import signatures
from engine.graph.values import Image, ShapeInfo
from tests.benchmarks.cache import picture
from tests.unit.graph_nodes import Bench, n, registry


@node("t.wrong_shapes", category="Test", outputs=("image",), shapes=lambda image, times: image.width // times)
def wrong_shapes(ctx: NodeContext, image: Image, times: int = 0) -> Image:
    """Tells nothing right."""
    return image


@node(
    "t.halves", category="Test", outputs=("left", "right"), shapes=lambda image: {"left": image, "right": None, "up": 3}
)
def halves(ctx: NodeContext, image: Image) -> tuple[Image, Image]:
    """Two outputs, one known."""
    return image, image


REGISTRY = registry(wrong_shapes, halves)


def told(*nodes: Node, **more: Any) -> dict[str, dict[str, ShapeInfo | None]]:
    return shapes(Workflow(nodes=nodes, **more), REGISTRY)


# --- shapes


def test_the_sizes_of_a_text_to_picture_run_are_known_before_it() -> None:
    found = shapes(picture(256).workflow, REGISTRY)
    assert found["empty"]["latent"] == found["sample"]["latent"] == ShapeInfo(1, 128, 128)
    assert found["decode"]["image"] == ShapeInfo(1, 128, 128, 3)
    assert found["scale"]["image"] == ShapeInfo(1, 256, 256, 3)
    assert found["load"] == {"model": None, "clip": None, "vae": None}


def test_an_encoded_picture_keeps_its_size_and_its_mask() -> None:
    found = told(
        n("load", "load.checkpoint", checkpoint=ModelRef(name="starter")),
        n("solid", "image.solid", width=96, height=64, batch=2),
        n("encode", "latent.encode_image", vae="@load.vae", image="@solid.image"),
        n("mask", "mask.from_image", image="@solid.image"),
        n("masked", "latent.set_noise_mask", latent="@encode.latent", mask="@mask.mask"),
        n("decode", "latent.decode_image", vae="@load.vae", latent="@masked.latent"),
    )
    assert found["masked"]["latent"] == ShapeInfo(2, 64, 96)
    assert found["decode"]["image"] == ShapeInfo(2, 64, 96, 3)


@pytest.mark.parametrize(
    ("kind", "inputs"),
    [
        ("image.scale", {"width": 50, "height": 0}),
        ("image.scale", {"width": 0, "height": 33}),
        ("image.scale", {"width": 0, "height": 0}),
        ("image.scale", {"width": 41, "height": 70, "crop": "center"}),
        ("image.scale_by", {"factor": 0.333}),
    ],
)
def test_what_is_told_comes_true(kind: str, inputs: dict[str, Any]) -> None:
    nodes = (n("p", "image.solid", width=90, height=61, batch=2), n("s", kind, image="@p.image", **inputs))
    made = Bench().run(*nodes, targets=("s",)).outputs["s"]["image"]
    size = told(*nodes)["s"]["image"]
    assert size is not None
    assert made.shape[:3] == (size.batch, size.height, size.width)


def test_constants_and_reroutes_are_seen_through() -> None:
    found = told(
        n("w", "utility.integer", value=80),
        n("dot", "utility.reroute", value="@w.value"),
        n("p", "image.solid", width="@dot.value", height="@w.value"),
        n("dot2", "utility.reroute", value="@p.image"),
        n("s", "image.scale_by", image="@dot2.value", factor=2.0),
    )
    assert found["s"]["image"] == ShapeInfo(1, 160, 160)
    assert found["dot2"]["value"] == ShapeInfo(1, 80, 80)


def test_what_can_only_be_known_later_is_said_so() -> None:
    found = told(
        n("p", "t.picture"),
        n("s", "image.scale", image="@p.image", width=10, height=10),
        n("one", "t.add", a=1.0),
        n("x", "image.solid", width=64),
        n("wrong", "t.wrong_shapes", image="@x.image"),
        n("wrong2", "t.wrong_shapes", image="@x.image", times=3),
        n("halves", "t.halves", image="@x.image"),
        n("by", "image.scale_by", image="@x.image", factor="@one.sum"),
    )
    assert found["p"]["image"] is found["s"]["image"] is found["wrong"]["image"] is found["by"]["image"] is None
    assert found["wrong2"]["image"] is None
    assert found["halves"] == {"left": ShapeInfo(1, 512, 64), "right": None}
    assert in_words(found["s"]["image"]) == "known when reached"
    assert in_words(ShapeInfo(2, 768, 512)) == "2 of 512×768 pixels"


def test_shapes_are_total() -> None:
    found = told(
        n("a", "utility.reroute", value="@b.value"),
        n("b", "utility.reroute", value="@a.value"),
        n("c", "no.such"),
        n("d", "image.scale", image="@c.x", width=1, height=1),
        n("e", "image.scale", image="@gone.x", width=1, height=-1),
    )
    assert found["d"] == {"image": None}
    assert set(found) == {"a", "b", "d", "e"}


def test_a_long_chain_of_reroutes_is_told_without_recursion() -> None:
    nodes = [n("0", "image.solid", width=64, height=64)]
    nodes += [n(str(i), "utility.reroute", value=f"@{i - 1}.{'image' if i == 1 else 'value'}") for i in range(1, 3000)]
    assert told(*nodes)["2999"]["value"] == ShapeInfo(1, 64, 64)


# --- signatures


def signed(*nodes: Node, **more: Any) -> str:
    """The signature of node "s"."""
    return signatures(Workflow(nodes=nodes, **more), REGISTRY)["s"]


@pytest.mark.parametrize(
    ("constant", "value", "target", "name"),
    [
        ("utility.integer", 40, "image.solid", "width"),
        ("utility.integer", 3, "t.add", "a"),
        ("utility.number", 3.5, "t.add", "a"),
        ("utility.text", "red", "utility.text", "value"),
        ("utility.choice", "area", "image.scale", "method"),
        ("utility.boolean", True, "utility.gate", "is_open"),
    ],
)
def test_a_constant_wired_in_signs_as_the_value_itself(constant: str, value: Any, target: str, name: str) -> None:
    others_inputs: dict[str, dict[str, Any]] = {
        "image.scale": {"image": "@p.image", "width": 8, "height": 8},
        "utility.gate": {"value": "@p.image"},
    }
    rest = others_inputs.get(target, {})
    source = n("p", "t.picture")
    written = signed(source, n("s", target, **{**rest, name: value}))
    assert signed(source, n("c", constant, value=value), n("s", target, **{**rest, name: "@c.value"})) == written
    through = (n("c", constant, value=value), n("d", "utility.reroute", value="@c.value"))
    assert signed(source, *through, n("s", target, **{**rest, name: "@d.value"})) == written
    others: dict[Any, Any] = {40: 41, 3: 4, 3.5: 3.25, "red": "blue", "area": "lanczos", True: False}
    other = n("c", constant, value=others[value])
    assert signed(source, other, n("s", target, **{**rest, name: "@c.value"})) != written


def test_a_reroute_signs_as_the_wire_without_it() -> None:
    source = n("p", "t.picture")
    direct = signed(source, n("s", "image.invert", image="@p.image"))
    dots = (n("d", "utility.reroute", value="@p.image"), n("e", "utility.reroute", value="@d.value"))
    assert signed(source, *dots, n("s", "image.invert", image="@e.value")) == direct
    other = n("p", "t.picture", shade=0.25)
    assert signed(other, *dots, n("s", "image.invert", image="@e.value")) != direct


def test_a_value_exposed_by_a_subgraph_signs_as_written_inside() -> None:
    inside = Subgraph(
        id="g", nodes=(n("solid", "image.solid"),), inputs=(Socket(name="w", node="solid", socket="width"),),
        outputs=(Socket(name="image", node="solid", socket="image"),),
    )  # fmt: skip
    outer = (n("c", "utility.integer", value=40), n("g", "subgraph:g", w="@c.value"))
    through = signed(*outer, n("s", "image.invert", image="@g.image"), subgraphs=(inside,))
    assert through == signed(n("p", "image.solid", width=40), n("s", "image.invert", image="@p.image"))


def test_results_are_shared_between_a_literal_and_a_constant() -> None:
    bench = Bench()
    first = bench.run(n("p", "t.picture", size=4), targets=("p",))
    again = bench.run(n("c", "utility.integer", value=4), n("q", "t.picture", size="@c.value"), targets=("q",))
    assert again.cached == ["q"]
    assert "c" not in again.succeeded  # what only a kept result needs is not run
    assert np.array_equal(first.outputs["p"]["image"], again.outputs["q"]["image"])


def test_a_list_that_is_rerouted_is_mapped_the_same() -> None:
    bench = Bench()
    listed = n("r", "utility.range", count=3)
    direct = bench.run(listed, n("s", "t.add", a="@r.items"), targets=("s",)).outputs["s"]["sum"]
    dot = n("d", "utility.reroute", value="@r.items")
    bench.cache.clear()
    assert bench.run(listed, dot, n("s", "t.add", a="@d.value"), targets=("s",)).outputs["s"]["sum"] == direct
    assert direct == [1.0, 2.0, 3.0]


def test_why_it_runs_again_names_the_value_of_a_constant() -> None:
    bench = Bench()
    bench.run(n("c", "utility.integer", value=4), n("q", "t.picture", size="@c.value"), targets=("q",))
    from engine.contracts.job_spec import JobSpec

    changed = Workflow(nodes=(n("c", "utility.integer", value=5), n("q", "t.picture", size="@c.value")))
    reasons = {
        e.node: e.reason for e in explain(JobSpec(workflow=changed, targets=("q",)), bench.registry, bench.cache)
    }
    assert reasons["q"] == "its input “size” changed from 4 to 5"


def test_a_constant_that_does_not_fit_stays_a_link_and_fails_where_it_arrives() -> None:
    bench = Bench()
    result = bench.run(n("c", "utility.integer", value=-4), n("q", "t.picture", size="@c.value"), targets=("q",))
    assert result.failures[0].node_id == "q"
    assert "-4 is out of range" in result.failures[0].cause
