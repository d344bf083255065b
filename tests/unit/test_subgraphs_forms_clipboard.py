"""Subgraphs, forms, the clipboard, and files dropped on the canvas."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from engine.contracts.errors import InvalidDocument, InvalidRequest, MissingModel, TesseraError
from engine.contracts.job_spec import JobSpec, Sweep
from engine.contracts.references import ModelRef
from engine.contracts.workflow import FormField, Link, Node, Socket, Workflow
from engine.graph.registry import Registry
from engine.interchange.same_graph import same_graph
from engine.recipes.build import build
from engine.recipes.recommended import Recommended
from engine.recipes.request import ImageRequest
from studio_app.documents.clipboard import MAX_TEXT, Paste, copied, read_fragment
from studio_app.documents.content import Wire
from studio_app.documents.edits import AddNodes, Connect, RemoveNodes
from studio_app.documents.form_fields import document_fields, exposed, form_fields, hidden, reordered, set_field
from studio_app.documents.graph_document import GraphDocument
from studio_app.documents.subgraph_edits import (
    ExposeSocket,
    HideSocket,
    MakeSubgraph,
    OrderSockets,
    RenameSocket,
    UnpackSubgraph,
)
from studio_app.workflows.opening import open_as_graph, open_dropped

REGISTRY = Registry.builtin()


def spec() -> JobSpec:
    return build(ImageRequest(prompt="a red circle", seed=5, count=12), Recommended(width=128, height=128))


def picture() -> GraphDocument:
    return GraphDocument(spec().workflow, REGISTRY)


# ---- subgraphs


def test_a_subgraph_made_of_a_selection_is_the_same_graph_and_unpacks_to_what_was_there() -> None:
    document = picture()
    before = document.workflow
    document.edit("Group", MakeSubgraph(("prompt", "negative", "sampler"), "Draw", "draw", "d"))
    assert same_graph(before, document.workflow, REGISTRY)
    schema = document.schema("d")
    assert [(o.name, o.type) for o in schema.outputs] == [("latent", "LATENT")]
    assert {"clip", "clip_2", "model", "latent", "text"} <= {i.name for i in schema.inputs}
    assert {f.node for f in document.workflow.form if f.label == "Prompt"} == {"d"}
    document.edit("Unpack", UnpackSubgraph("d"))
    assert document.workflow.subgraphs == ()
    assert same_graph(before, document.workflow, REGISTRY)
    assert {(f.node, f.input) for f in document.workflow.form} == {(f.node, f.input) for f in before.form}
    document.undo()
    document.undo()
    assert document.workflow == before


def test_nodes_with_another_between_them_can_not_be_made_a_subgraph() -> None:
    document = picture()
    with pytest.raises(InvalidRequest, match="lies between the chosen nodes"):
        document.edit("Group", MakeSubgraph(("checkpoint", "sampler"), "Draw"))


def test_inside_a_subgraph_sockets_are_exposed_named_ordered_and_hidden_at_every_instance() -> None:
    document = picture()
    document.edit("Group", MakeSubgraph(("decode",), "Decode", "part", "d"))
    document.open_level(("d",))
    assert set(document.nodes) == {"decode"}
    assert document.schemas.of_type("subgraph:part") is not None
    document.edit("Name", RenameSocket("outputs", "image", "picture"))
    document.edit("Order", OrderSockets("inputs", ("latent", "vae")))
    document.edit("Add", AddNodes((Node(id="blur", type="image.blur"),)))
    document.edit("Wire", Connect(Wire("decode", "image", "blur", "image")))
    document.edit("Expose", ExposeSocket("inputs", "blur", "radius", "softness"))
    document.open_level(())
    assert document.node("save").inputs["image"] == Link("d", "picture")
    assert [i.name for i in document.schema("d").inputs] == ["latent", "vae", "softness"]
    softness = document.schema("d").input("softness")
    assert softness is not None
    assert softness.type == "INT"
    document.open_level(("d",))
    document.edit("Hide", HideSocket("inputs", "latent"))
    document.open_level(())
    assert set(document.node("d").inputs) == {"vae"}
    assert document.undo() == "Hide"
    assert document.level == ("d",)  # undo shows what it takes back
    assert "latent" in document.content.graphs[""].nodes["d"].inputs


def test_a_node_removed_inside_takes_its_sockets_and_the_wires_outside_with_it() -> None:
    document = picture()
    document.edit("Group", MakeSubgraph(("decode",), "Decode", "part", "d"))
    before = document.workflow
    document.open_level(("d",))
    document.edit("Remove", RemoveNodes(("decode",)))
    document.open_level(())
    assert document.node("d").inputs == {}
    assert "image" not in document.node("save").inputs
    document.undo()
    assert document.workflow == before


def test_a_subgraph_can_not_contain_itself() -> None:
    document = picture()
    document.edit("Group", MakeSubgraph(("decode",), "Decode", "part", "d"))
    document.open_level(("d",))
    with pytest.raises(InvalidDocument, match="can't contain itself"):
        document.edit("Add", AddNodes((Node(id="again", type="subgraph:part"),)))


# ---- forms


def test_the_form_is_grouped_and_its_fields_are_set_through_edits() -> None:
    document = picture()
    groups = form_fields(document.workflow, REGISTRY)
    fields = {f.key: f for group in groups for f in group.fields}
    assert fields["prompt.text"].value == "a red circle"
    assert fields["sampler.seed"].schema.seed
    set_field(document, "prompt.text", "a blue square")
    assert document.workflow.node("prompt").inputs["text"] == "a blue square"
    with pytest.raises(InvalidRequest, match=r"Seed: “?-?1?.*out of range|Seed: .*out of range"):
        set_field(document, "sampler.seed", -1)
    with pytest.raises(InvalidRequest, match="has no field"):
        set_field(document, "sampler.nothing", 1)
    document.undo()
    assert document.workflow.node("prompt").inputs["text"] == "a red circle"


def test_a_form_is_extended_ordered_shortened_and_says_what_is_gone() -> None:
    document = picture()
    document.edit("Expose", exposed(document, FormField(node="sampler", input="cfg", label="Guidance", group="More")))
    document.edit("Order", reordered(document, ["sampler.cfg"]))
    assert document.workflow.form[0].label == "Guidance"
    assert document_fields(document)[0].title == "More"
    document.edit("Hide", hidden(document, "sampler", "cfg"))
    assert "Guidance" not in [f.label for f in document.workflow.form]
    document.edit("Gone", exposed(document, FormField(node="nobody", input="x")))
    assert document_fields(document)[-1].fields[-1].problem == "There is no node “nobody” any more."


def test_a_field_within_a_subgraph_is_found_by_its_full_id() -> None:
    document = picture()
    document.edit("Group", MakeSubgraph(("sampler",), "Draw", "draw", "d"))
    document.edit("Form", exposed(document, FormField(node="d:sampler", input="steps", label="Steps")))
    set_field(document, "d:sampler.steps", 9)
    assert document.workflow.subgraphs[0].nodes[0].inputs["steps"] == 9


# ---- clipboard


def test_copied_nodes_paste_under_free_ids_with_the_wires_among_them() -> None:
    document = picture()
    text = copied(document, ("sampler", "decode"))
    document.edit("Paste", Paste(read_fragment(text), (1000.0, 500.0)))
    assert document.node("decode_2").inputs == {"latent": Link("sampler_2", "latent")}
    assert "model" not in document.node("sampler_2").inputs
    assert min(document.node(n).position for n in ("sampler_2", "decode_2")) >= (1000.0, 500.0)
    document.undo()
    document.edit("Paste", Paste(read_fragment(text), (0.0, 0.0), keep_wires=True))
    assert document.node("sampler_2").inputs["model"] == Link("checkpoint", "model")


def test_a_subgraph_goes_along_to_another_window_and_keeps_apart_from_one_of_its_name() -> None:
    document, other = picture(), picture()
    document.edit("Group", MakeSubgraph(("decode",), "Part", "part", "d"))
    other.edit("Group", MakeSubgraph(("save",), "Part", "part", "s"))
    fragment = read_fragment(copied(document, ("d",)))
    other.edit("Paste", Paste(fragment, (0.0, 0.0)))
    assert other.node("d").type == "subgraph:part_2"
    assert [n.type for n in other.content.graphs["part_2"].nodes.values()] == ["latent.decode_image"]
    again = picture()
    again.edit("Paste", Paste(fragment, (0.0, 0.0)))
    again.edit("Paste", Paste(fragment, (0.0, 0.0)))
    assert list(again.content.subgraphs) == ["part"]


@pytest.mark.parametrize(
    "text",
    [
        "", "hello", "{", "[" * 100_000, "{" * 100_000, '{"format": "tessera.fragment", "nodes": [{}]}', '{"a": 1}',
        '{"format": "tessera.fragment", "version": 99}', "x" * (MAX_TEXT + 1), '{"a":' * 50_000, '{"a": NaN}',
        json.dumps({"format": "tessera.fragment", "nodes": [{"id": "a", "type": "t"}] * 2}),
        json.dumps({"format": "tessera.fragment", "nodes": [{"id": str(i), "type": "t"} for i in range(10_001)]}),
    ],
)  # fmt: skip
def test_hostile_clipboard_text_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(InvalidDocument) as caught:
        read_fragment(text)
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)


def test_mutilated_fragments_are_refused_or_pasted_whole() -> None:
    chance, whole = random.Random(3), copied(picture(), ("sampler", "decode", "prompt"))
    for _ in range(150):
        at = chance.randrange(len(whole))
        text = (
            whole[:at] + chance.choice(['"', "{", "]", "9", "", "null", "\ud800"]) + whole[at + chance.randrange(4) :]
        )
        document = picture()
        before = document.workflow
        try:
            document.edit("Paste", Paste(read_fragment(text), (0.0, 0.0)))
        except TesseraError:
            assert document.workflow == before


# ---- files dropped


def nothing(ref: ModelRef) -> Path:
    raise MissingModel("it is not here")


def png(**texts: str) -> bytes:
    info, out = PngInfo(), io.BytesIO()
    for key, value in texts.items():
        info.add_text(key, value)
    Image.new("RGB", (8, 8)).save(out, "PNG", pnginfo=info)
    return out.getvalue()


def test_files_of_ours_of_comfyui_and_of_a1111_open_with_what_is_missing() -> None:
    ours = open_dropped(json.dumps(spec().workflow.to_json()).encode(), "w.json", REGISTRY, nothing)
    assert ours.workflow.nodes == spec().workflow.nodes
    assert [ref.name for ref in ours.missing_models] == ["starter"]
    prompt = {"1": {"class_type": "NobodysNode", "inputs": {"x": 1}}, "2": {"class_type": "EmptyLatentImage",
              "inputs": {"width": 64, "height": 64, "batch_size": 1}}}  # fmt: skip
    comfy = open_dropped(png(prompt=json.dumps(prompt)), "c.png", REGISTRY, nothing)
    assert "latent.empty" in {node.type for node in comfy.workflow.nodes}
    assert len(comfy.missing_types) == 1
    assert any("This studio has no node" in line for line in comfy.report)
    text = "a cat\nNegative prompt: dog\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 64x64, Model: foo"
    a1111 = open_dropped(png(parameters=text), "a.png", REGISTRY, nothing)
    assert any(node.inputs.get("text") == "a cat" for node in a1111.workflow.nodes)
    assert [ref.name for ref in a1111.missing_models] == ["foo"]


@pytest.mark.parametrize("data", [b"", b"\x00" * 50, b"{}", png(), b"\xff\xd8\xff broken", b"%PDF-1.7"])
def test_files_that_are_no_workflows_are_refused_in_one_sentence(data: bytes) -> None:
    with pytest.raises(TesseraError) as caught:
        open_dropped(data, "dropped.bin", REGISTRY, nothing)
    assert "\n" not in str(caught.value)


def test_a_picture_made_in_create_opens_as_the_graph_that_made_it() -> None:
    made = spec()
    assert any(isinstance(value, Sweep) for value in made.bindings.values())
    one = JobSpec(workflow=made.workflow, bindings={"sampler.seed": 77})
    opened = open_as_graph(one, REGISTRY)
    assert opened.workflow.node("sampler").inputs["seed"] == 77
    assert opened.missing_types == ()
    document = GraphDocument(opened.workflow, REGISTRY)
    assert document.wires_from("decode") == [Wire("decode", "image", "save", "image")]


def test_sockets_name_what_they_stand_for() -> None:
    assert Socket(name="a", node="x", socket="y").to_json() == {"name": "a", "node": "x", "socket": "y"}
    assert Workflow.from_json(Workflow(nodes=(Node(id="a", type="t", pinned=True),)).to_json()).nodes[0].pinned
