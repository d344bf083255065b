"""What becomes of a seed after a run: kept, drawn anew, counted; in the document, in ComfyUI's files, and undone."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engine.contracts.errors import InvalidRequest
from engine.contracts.job_spec import JobSpec
from engine.contracts.workflow import FormField, Link, Node, SeedControl, Socket, Subgraph, Workflow
from engine.graph.registry import Registry
from engine.interchange.comfyui.exporter import export_canvas, export_prompt
from engine.interchange.comfyui.importer import import_comfyui
from studio_app.documents.graph_document import GraphDocument
from studio_app.documents.seeds import SetSeedControl, advance, field_control, set_field_control
from studio_app.workflows.difference import diff

SAMPLER = "sample.k_sampler"


def document(*nodes: Node, **more: Any) -> GraphDocument:
    return GraphDocument(Workflow(nodes=nodes, **more), Registry.builtin())


def seed(doc: GraphDocument, node: str = "draw", graph: str = "") -> Any:
    return doc.content.graphs[graph].nodes[node].inputs.get("seed")


def test_seeds_are_kept_counted_or_drawn_and_undo_brings_them_back() -> None:
    kinds: dict[str, SeedControl] = {"keep": "fixed", "up": "increment", "down": "decrement", "new": "randomize"}
    doc = document(*(Node(id=name, type=SAMPLER, inputs={"seed": 50}) for name in kinds))
    for name, control in kinds.items():
        doc.edit("Control", SetSeedControl(name, "seed", control))
    before = doc.workflow
    for _ in range(3):
        advance(doc)
    assert [seed(doc, name) for name in ("keep", "up", "down")] == [50, 53, 47]
    assert 0 <= seed(doc, "new") < 2**32
    assert seed(doc, "new") != 50
    doc.undo()  # runs in a row are one entry
    assert doc.workflow == before
    assert advance(document(Node(id="a", type=SAMPLER, inputs={"seed": 1}))) == 0


def test_counting_ends_at_the_limits() -> None:
    doc = document(Node(id="draw", type=SAMPLER, inputs={"seed": 0}, seeds={"seed": "decrement"}))
    advance(doc)
    assert seed(doc) == 0
    top = 2**64 - 1
    doc = document(Node(id="draw", type=SAMPLER, inputs={"seed": top}, seeds={"seed": "increment"}))
    advance(doc)
    assert seed(doc) == top


def test_a_seed_that_a_wire_gives_stays_and_what_is_no_seed_is_refused() -> None:
    doc = document(
        Node(id="number", type="utility.seed", inputs={"value": 4}, seeds={"value": "increment"}),
        Node(id="draw", type=SAMPLER, inputs={"seed": Link("number", "value")}, seeds={"seed": "randomize"}),
    )
    assert advance(doc) == 1
    assert doc.nodes["number"].inputs["value"] == 5
    assert seed(doc) == Link("number", "value")
    with pytest.raises(InvalidRequest, match="no seed"):
        doc.edit("Control", SetSeedControl("draw", "steps", "randomize"))


def test_a_seed_within_a_subgraph_is_counted_where_its_value_stands() -> None:
    inner = Subgraph(
        id="s", nodes=(Node(id="draw", type=SAMPLER, inputs={"seed": 10}, seeds={"seed": "increment"}),),
        inputs=(Socket(name="luck", node="draw", socket="seed"),),
    )  # fmt: skip
    given = Node(id="given", type="subgraph:s", inputs={"luck": 70})
    doc = document(given, subgraphs=(inner,))
    assert advance(doc) == 1
    assert doc.nodes["given"].inputs["luck"] == 71
    assert seed(doc, graph="s") == 10
    both = document(given, Node(id="plain", type="subgraph:s"), subgraphs=(inner,))
    assert advance(both) == 2
    assert both.nodes["given"].inputs["luck"] == 71
    assert seed(both, graph="s") == 11


def test_a_form_sets_the_control_of_a_seed_at_any_depth() -> None:
    inner = Subgraph(id="s", nodes=(Node(id="draw", type=SAMPLER, inputs={"seed": 10}),))
    doc = document(
        Node(id="outer", type="subgraph:s"), subgraphs=(inner,), form=(FormField(node="outer:draw", input="seed"),)
    )
    assert field_control(doc, "outer:draw.seed") == "fixed"
    set_field_control(doc, "outer:draw.seed", "randomize")
    assert field_control(doc, "outer:draw.seed") == "randomize"
    assert advance(doc) == 1
    assert seed(doc, graph="s") != 10


def test_the_document_keeps_it_and_a_job_of_it_is_the_same_picture() -> None:
    plain = Workflow(nodes=(Node(id="draw", type=SAMPLER, inputs={"seed": 1}),))
    said = Workflow(nodes=(Node(id="draw", type=SAMPLER, inputs={"seed": 1}, seeds={"seed": "increment"}),))
    assert Workflow.from_json(json.loads(json.dumps(said.to_json()))) == said
    assert "seeds" not in json.dumps(plain.to_json())
    (change,) = diff(plain, said).of().changed
    assert change.fields == ("seeds",)
    assert [n.inputs for n in JobSpec(workflow=said).workflow.nodes] == [n.inputs for n in plain.nodes]


def canvas(*nodes: dict[str, Any], links: list[Any] | None = None) -> dict[str, Any]:
    return {"nodes": list(nodes), "links": links or [], "version": 0.4}


@pytest.mark.parametrize(
    ("written", "read", "again"),
    [
        ("randomize", "randomize", "randomize"), ("increment", "increment", "increment"),
        ("decrement", "decrement", "decrement"), ("fixed", "fixed", "fixed"),
        ("increment-wrap", "increment", "increment"), (True, "randomize", "randomize"), (False, "fixed", "fixed"),
    ],
)  # fmt: skip
def test_control_after_generate_goes_both_ways(written: Any, read: str, again: str) -> None:
    values = [156680208700286, written, 20, 8, "euler", "normal", 1]
    node = {"id": 3, "type": "KSampler", "pos": [0, 0], "inputs": [], "outputs": [], "widgets_values": values}
    workflow = import_comfyui(canvas(node), "file").workflow
    (ours,) = workflow.nodes
    assert ours.inputs["seed"] == 156680208700286
    assert ours.inputs["steps"] == 20
    assert ours.seeds.get("seed", "fixed") == read
    back, _ = export_canvas(workflow, Registry.builtin())
    assert back["nodes"][0]["widgets_values"][:3] == [156680208700286, again, 20]
    prompt, _ = export_prompt(workflow, Registry.builtin())
    assert prompt["3"]["inputs"]["seed"] == 156680208700286
    assert import_comfyui(back, "again").workflow.nodes[0].seeds == ours.seeds


def test_a_primitive_that_gives_a_seed_gives_its_control_too() -> None:
    sampler = {
        "id": 3, "type": "KSampler", "pos": [0, 0], "outputs": [],
        "inputs": [{"name": "seed", "type": "INT", "link": 1, "widget": {"name": "seed"}}],
        "widgets_values": [5, "fixed", 20, 8, "euler", "normal", 1],
    }  # fmt: skip
    number = {
        "id": 4, "type": "PrimitiveNode", "pos": [0, 0], "inputs": [], "widgets_values": [99, "randomize"],
        "outputs": [{"name": "INT", "type": "INT", "links": [1]}],
    }  # fmt: skip
    (ours,) = import_comfyui(canvas(sampler, number, links=[[1, 4, 0, 3, 0, "INT"]]), "file").workflow.nodes
    assert ours.inputs["seed"] == 99
    assert ours.seeds == {"seed": "randomize"}


def test_nodes_that_only_this_studio_has_keep_their_control_through_a_comfyui_file() -> None:
    nodes = (
        Node(id="1", type="utility.seed", inputs={"value": 7}, seeds={"value": "decrement"}),
        Node(id="2", type="text.wildcard", inputs={"text": "{a|b}", "seed": 3}, seeds={"seed": "randomize"}),
        Node(id="3", type="text.wildcard", inputs={"text": "fixed", "seed": 4}),
    )
    file, _ = export_canvas(Workflow(nodes=nodes), Registry.builtin())
    back = {node.id: node for node in import_comfyui(file, "file").workflow.nodes}
    assert [back[node.id].seeds for node in nodes] == [node.seeds for node in nodes]
    assert [back[node.id].inputs for node in nodes] == [node.inputs for node in nodes]
