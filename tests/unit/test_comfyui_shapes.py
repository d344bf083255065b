"""The shapes that canvas files come in: versions, odd types, reroutes, primitives, subgraphs, group nodes, modes."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from engine.contracts.errors import InvalidDocument
from engine.contracts.references import BlobRef
from engine.contracts.workflow import Link
from engine.graph.registry import Registry
from engine.graph.subgraphs import flatten
from engine.graph.validate import problems
from engine.interchange.comfyui.canvas import read_canvas
from engine.interchange.comfyui.exporter import export_canvas, export_prompt
from engine.interchange.comfyui.importer import import_comfyui
from engine.interchange.comfyui.mapping import mappings
from engine.interchange.comfyui.prompt import to_prompt
from tests.unit.interchange_room import CORPUS, canvas, chain, differences, imported, read

BASIC = CORPUS / "comfyui_examples" / "inpaint__inpaint_example.png.workflow.json"


def node(number: Any, kind: str, inputs: list[Any] = [], outputs: list[Any] = [], **more: Any) -> dict[str, Any]:  # noqa: B006
    """Inputs and outputs are (name, type) or (name, type, widget)."""
    sockets = [
        {"name": i[0], "type": i[1], **({"widget": {"name": i[2]}} if len(i) > 2 else {})} for i in inputs
    ]  # fmt: skip
    ports = [{"name": o[0], "type": o[1]} for o in outputs]
    return {"id": number, "type": kind, "inputs": sockets, "outputs": ports, **more}


LOAD = node(1, "LoadImage", [], [("IMAGE", "IMAGE"), ("MASK", "MASK")], widgets_values=["a.png", "image"])
SAVE = node(9, "SaveImage", [("images", "IMAGE")], widgets_values=["out"])
INVERT = node(5, "ImageInvert", [("image", "IMAGE")], [("IMAGE", "IMAGE")])


def opened(data: Any) -> dict[str, dict[str, Any]]:
    """Id → inputs of every node that would run."""
    flat = flatten(import_comfyui(data, "test").workflow, Registry.builtin().types)
    return {node_id: dict(item.inputs) for node_id, item in flat.nodes.items()}


# --- versions and odd types


def test_version_1_with_link_objects_and_drawn_reroutes_is_the_same_graph() -> None:
    old = read(BASIC)
    new = copy.deepcopy(old)
    keys = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
    new["links"] = [dict(zip(keys, link, strict=True)) for link in old["links"]]
    new["links"][0]["parentId"] = 2
    new |= {
        "version": 1,
        "state": {"lastNodeId": 99, "lastLinkId": 99, "lastGroupId": 0, "lastRerouteId": 2},
        "reroutes": [
            {"id": 1, "pos": [10, 20], "linkIds": [old["links"][0][0]]},
            {"id": 2, "parentId": 1, "pos": {"0": 30, "1": 40}, "linkIds": [old["links"][0][0]]},
        ],
    }
    first, second = import_comfyui(old, "old").workflow, import_comfyui(new, "new").workflow
    assert differences(first, second) == {}
    assert second.extra["comfyui"]["reroutes"] == [["1", "", 10.0, 20.0], ["2", "1", 30.0, 40.0]]


def test_drawn_reroutes_of_version_04_come_back_with_the_links_they_bend() -> None:
    data = canvas([LOAD, INVERT, SAVE], [[3, 1, 0, 5, 0, "IMAGE"], [4, 5, 0, 9, 0, "IMAGE"]])
    data["extra"] = {
        "reroutes": [{"id": 7, "pos": [1, 2], "linkIds": [4]}, {"id": 8, "parentId": 7, "pos": [3, 4], "linkIds": [4]}],
        "linkExtensions": [{"id": 4, "parentId": 8}],
    }
    document, _ = export_canvas(import_comfyui(data, "test").workflow, Registry.builtin())
    (extension,) = document["extra"]["linkExtensions"]
    bent = next(link for link in document["links"] if link[0] == extension["id"])
    assert (bent[1], bent[3], extension["parentId"]) == (5, 9, 8)
    assert document["extra"]["reroutes"] == [
        {"id": 7, "pos": [1.0, 2.0], "linkIds": [bent[0]]},
        {"id": 8, "parentId": 7, "pos": [3.0, 4.0], "linkIds": [bent[0]]},
    ]


def test_ids_slots_and_places_may_be_texts_and_objects() -> None:
    odd = canvas(
        [
            {**LOAD, "id": "1", "pos": {"0": 10, "1": 20}, "size": {"0": 300, "1": 100}},
            {**SAVE, "id": 9.0, "pos": [1, 2]},
        ],
        [["4", "1", "0", 9, "0", "IMAGE"], None],
        groups=[{"title": "All", "bounding": {"0": 1, "1": 2, "2": 3, "3": 4}}],
    )
    found = import_comfyui(odd, "odd").workflow
    assert [n.id for n in found.nodes] == ["1", "9"]
    assert found.node("1").position == (10, 20)
    assert found.node("1").size == (300, 100)
    assert found.node("9").inputs["image"] == Link("1", "image")
    assert found.groups[0].rectangle == (1, 2, 3, 4)


def test_what_is_not_a_number_is_read_as_nothing_and_said() -> None:
    data = read(BASIC)
    sampler = next(n for n in data["nodes"] if n["type"] == "KSampler")
    sampler["widgets_values"][3] = float("nan")
    sampler["pos"] = [float("inf"), 0]
    found = import_comfyui(data, "test")
    assert "cfg" not in found.workflow.node(str(sampler["id"])).inputs
    assert found.report.warnings == ["2 times it holds NaN or an infinite number; read as “no value”."]


def test_a_link_to_a_node_that_is_gone_is_left_out() -> None:
    data = canvas([LOAD, SAVE], [[1, 1, 0, 77, 0, "IMAGE"], [2, 88, 0, 9, 0, "IMAGE"]])
    assert opened(data) == {"1": {"image": BlobRef(name="a.png")}, "9": {"name_pattern": "out"}}


def test_two_nodes_of_one_id_and_files_of_another_kind_are_refused() -> None:
    with pytest.raises(InvalidDocument, match="two nodes have the id 1"):
        import_comfyui(canvas([LOAD, LOAD], []), "test")
    with pytest.raises(InvalidDocument, match="neither a ComfyUI workflow nor an API prompt"):
        import_comfyui({"a": 1}, "test")


def test_a_queued_request_is_read_by_its_prompt() -> None:
    prompt = {"1": {"class_type": "LoadImage", "inputs": {"image": "a.png", "upload": "image"}}}
    found = import_comfyui({"client_id": "x", "prompt": prompt}, "test").workflow
    assert [(n.type, n.inputs) for n in found.nodes] == [("image.load", {"image": BlobRef(name="a.png")})]


# --- reroutes, primitives, modes


def test_reroutes_and_primitives_end_at_what_feeds_them() -> None:
    data = canvas(
        [
            node(2, "PrimitiveNode", [], [("INT", "INT")], widgets_values=[77, "fixed"]),
            LOAD,
            node(3, "Reroute", [("", "*")], [("", "IMAGE")]),
            node(4, "Reroute", [("", "*")], [("", "IMAGE")]),
            node(5, "ImageScale", [("image", "IMAGE"), ("width", "INT", "width")], [("IMAGE", "IMAGE")],
                 widgets_values=["bicubic", 512, 256, "disabled"]),
            SAVE,
        ],
        [[1, 1, 0, 3, 0, "*"], [2, 3, 0, 4, 0, "*"], [3, 4, 0, 5, 0, "IMAGE"], [4, 2, 0, 5, 1, "INT"],
         [5, 5, 0, 9, 0, "IMAGE"]],
    )  # fmt: skip
    prompt = to_prompt(read_canvas(data, "test"))
    assert prompt["5"]["inputs"] == {
        "upscale_method": "bicubic", "width": 77, "height": 256, "crop": "disabled", "image": ["1", 0],
    }  # fmt: skip
    assert differences(import_comfyui(data, "a").workflow, import_comfyui(prompt, "b").workflow) == {}


@pytest.mark.parametrize(("mode", "feeds"), [(0, Link("5", "image")), (4, Link("1", "image")), (2, None)])
def test_bypass_passes_on_and_mute_cuts(mode: int, feeds: Link | None) -> None:
    data = canvas([LOAD, {**INVERT, "mode": mode}, SAVE], [[1, 1, 0, 5, 0, "IMAGE"], [2, 5, 0, 9, 0, "IMAGE"]])
    found = opened(data)["9"].get("image")
    assert (found if isinstance(found, Link) else None) == feeds


def test_a_bypassed_stranger_passes_on_by_type_and_is_no_problem() -> None:
    stranger = node(
        5, "SomebodysFilter", [("mask", "MASK"), ("strength", "FLOAT"), ("picture", "IMAGE")],
        [("log", "STRING"), ("IMAGE", "IMAGE")], mode=4,
    )  # fmt: skip
    data = canvas([LOAD, stranger, SAVE], [[1, 1, 1, 5, 0, "MASK"], [2, 1, 0, 5, 2, "IMAGE"], [3, 5, 1, 9, 0, "IMAGE"]])
    found = import_comfyui(data, "test")
    assert found.report.unsupported == ["SomebodysFilter"]
    assert opened(data)["9"]["image"] == Link("1", "image")
    assert problems(found.workflow, Registry.builtin()) == []
    active = import_comfyui(canvas([LOAD, {**stranger, "mode": 0}, SAVE], data["links"]), "test").workflow
    (problem,) = [p for p in problems(active, Registry.builtin()) if p.node == "5"]
    assert problem.sentence() == (
        "node “5”: the studio has no node for ComfyUI's “SomebodysFilter”. Put one of the studio's nodes in its "
        "place, or bypass or mute it."
    )


def test_a_placeholder_keeps_all_it_had_and_goes_back_as_it_came() -> None:
    stranger = node(
        5, "SomebodysFilter", [("picture", "IMAGE")], [("IMAGE", "IMAGE")],
        widgets_values=[1, "two", {"three": 3}], properties={"cnr_id": "somebody"}, title="Mine",
    )  # fmt: skip
    data = canvas([LOAD, stranger, SAVE], [[1, 1, 0, 5, 0, "IMAGE"], [2, 5, 0, 9, 0, "IMAGE"]])
    found = import_comfyui(data, "test").workflow
    assert found.node("5").extra["comfyui"] == stranger
    assert found.node("5").inputs == {"picture": Link("1", "image")}
    document, report = export_canvas(found, Registry.builtin())
    back = next(n for n in document["nodes"] if n["id"] == 5)
    assert (back["type"], back["widgets_values"], back["title"]) == (
        "SomebodysFilter",
        [1, "two", {"three": 3}],
        "Mine",
    )
    assert report.unsupported == []


# --- widgets


@pytest.mark.parametrize(
    "values",
    [
        [7, "randomize", 20, 8.5, "euler", "karras", 0.5],
        [7, True, 20, 8.5, "euler", "karras", 0.5],  # the oldest saves
        [7, 20, 8.5, "euler", "karras", 0.5],  # from before there was a control
        {"seed": 7, "steps": 20, "cfg": 8.5, "sampler_name": "euler", "scheduler": "karras", "denoise": 0.5},
    ],
)
def test_values_find_their_inputs_in_old_and_new_saves(values: Any) -> None:
    data = canvas([node(3, "KSampler", [("model", "MODEL")], [("LATENT", "LATENT")], widgets_values=values)], [])
    assert import_comfyui(data, "test").workflow.node("3").inputs == {
        "seed": 7, "steps": 20, "cfg": 8.5, "sampler": "euler", "scheduler": "karras", "denoise": 0.5,
        **mappings()["KSampler"].fixed,
    }  # fmt: skip


def test_an_old_picture_scaler_has_fewer_values() -> None:
    data = canvas(
        [node(3, "ImageScaleToTotalPixels", [("image", "IMAGE")], [("I", "IMAGE")], widgets_values=["area", 1])], []
    )
    assert import_comfyui(data, "test").workflow.node("3").inputs == {"method": "area", "megapixels": 1}


# --- subgraphs


def nested(**instance: Any) -> dict[str, Any]:
    """A picture scaled inside a subgraph inside a subgraph; both show the width of the scaling."""
    inner = {
        "id": "aaaa", "name": "Scale",
        "inputs": [{"name": "image", "type": "IMAGE"}], "outputs": [{"name": "IMAGE", "type": "IMAGE"}],
        "nodes": [node(5, "ImageScale", [("image", "IMAGE"), ("width", "INT", "width")], [("IMAGE", "IMAGE")],
                       widgets_values=["bicubic", 512, 256, "disabled"])],
        "links": [
            {"id": 1, "origin_id": -10, "origin_slot": 0, "target_id": 5, "target_slot": 0, "type": "IMAGE"},
            {"id": 2, "origin_id": 5, "origin_slot": 0, "target_id": -20, "target_slot": 0, "type": "IMAGE"},
        ],
    }  # fmt: skip
    middle = {
        "id": "bbbb", "name": "Twice",
        "inputs": [{"name": "image", "type": "IMAGE"}], "outputs": [{"name": "IMAGE", "type": "IMAGE"}],
        "nodes": [node(6, "aaaa", [("image", "IMAGE")], [("IMAGE", "IMAGE")], widgets_values=[640],
                       properties={"proxyWidgets": [["5", "width"]]})],
        "links": [
            {"id": 1, "origin_id": -10, "origin_slot": 0, "target_id": 6, "target_slot": 0, "type": "IMAGE"},
            {"id": 2, "origin_id": 6, "origin_slot": 0, "target_id": -20, "target_slot": 0, "type": "IMAGE"},
        ],
    }  # fmt: skip
    outer = node(7, "bbbb", [("image", "IMAGE")], [("IMAGE", "IMAGE")], **instance)
    return canvas(
        [LOAD, outer, SAVE], [[1, 1, 0, 7, 0, "IMAGE"], [2, 7, 0, 9, 0, "IMAGE"]],
        definitions={"subgraphs": [inner, middle]},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("instance", "width"),
    [
        ({}, 640),
        ({"properties": {"proxyWidgets": [["6", "width"]]}, "widgets_values": [768]}, 768),
        ({"properties": {"proxyWidgets": [["6", "width"]]}, "widgets_values": [None]}, 640),
        ({"properties": {"proxyWidgets": [["6", "width"]]}}, 640),
    ],
)
def test_a_widget_shown_through_two_subgraphs_sets_the_innermost(instance: dict[str, Any], width: int) -> None:
    data = nested(**instance)
    found = opened(data)
    assert found["7:6:5"]["width"] == width
    assert found["7:6:5"]["image"] == Link("1", "image")
    assert found["9"]["image"] == Link("7:6:5", "image")
    prompt = to_prompt(read_canvas(data, "test"))
    assert prompt["7:6:5"]["inputs"]["width"] == width
    first = import_comfyui(data, "test").workflow
    assert len(first.subgraphs) == 2
    for write in (export_canvas, export_prompt):
        document, _ = write(first, Registry.builtin())
        assert differences(first, import_comfyui(document, "again").workflow) == {}


def test_a_subgraph_that_holds_itself_is_named() -> None:
    data = nested()
    data["definitions"]["subgraphs"][0]["nodes"].append(node(8, "bbbb", [("image", "IMAGE")], [("IMAGE", "IMAGE")]))
    found = import_comfyui(data, "test").workflow
    assert "subgraph_cycle" in {p.code for p in problems(found, Registry.builtin())}
    with pytest.raises(InvalidDocument, match="contains itself"):
        to_prompt(read_canvas(data, "test"))


def test_doubling_subgraphs_are_stopped_before_they_fill_the_memory() -> None:
    bodies = []
    for level in range(30):
        inside = f"level-{level + 1}" if level < 29 else "ImageInvert"
        bodies.append({"id": f"level-{level}", "nodes": [node(1, inside), node(2, inside)], "links": []})
    data = canvas([node(1, "level-0")], [], definitions={"subgraphs": bodies})
    with pytest.raises(InvalidDocument, match="open into more than 100,000 nodes"):
        to_prompt(read_canvas(data, "test"))
    found = import_comfyui(data, "test")
    assert found.report.nodes == 61
    assert "too_large" in {p.code for p in problems(found.workflow, Registry.builtin())}


# --- size


def test_long_chains_and_wide_graphs_import_whole() -> None:
    deep = import_comfyui(chain(2000), "deep")
    assert deep.report.nodes == 2001
    assert problems(deep.workflow, Registry.builtin()) == []
    many = import_comfyui(chain(5000), "many")
    document, _ = export_prompt(many.workflow, Registry.builtin())
    assert len(document) == 5001


def test_a_class_keeps_its_own_name_where_several_are_one_node_here() -> None:
    data = canvas([node(1, "EmptySD3LatentImage", [], [("LATENT", "LATENT")], widgets_values=[1024, 768, 2])], [])
    found = import_comfyui(data, "test").workflow
    assert found.node("1").type == "latent.empty"
    document, _ = export_prompt(found, Registry.builtin())
    assert document["1"]["class_type"] == "EmptySD3LatentImage"
    assert imported(BASIC).workflow.nodes  # and a file without such a class has none in `extra`
    assert not any("comfyui_class" in n.extra for n in imported(BASIC).workflow.nodes)
