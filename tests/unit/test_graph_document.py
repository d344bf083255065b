"""An open workflow: edits, wires, schemas and what subscribers hear."""

from __future__ import annotations

import json
import random
import time
from itertools import pairwise

import pytest

from engine.contracts.errors import InvalidDocument, InvalidRequest
from engine.contracts.workflow import FormField, Group, Link, ModelRef, Node, Workflow
from engine.graph.registry import Registry
from studio_app.documents.acyclic import AcyclicOrder
from studio_app.documents.arrange_edits import (
    GroupNodes,
    LayOut,
    MoveGroup,
    SetGroups,
    align,
    contents,
    distribute,
    snap,
)  # fmt: skip
from studio_app.documents.content import Wire
from studio_app.documents.edits import (
    AddNodes,
    AddReroute,
    Connect,
    Disconnect,
    InsertOnWire,
    MoveNodes,
    RemoveNodes,
    ResetInputs,
    Rewire,
    SetForm,
    SetInputs,
    SetLooks,
    ShowAsSocket,
    SwapNode,
    collapse,
    pin,
    set_colour,
    set_input,
    set_mode,
    set_size,
    set_title,
)  # fmt: skip
from studio_app.documents.graph_document import Change, GraphDocument
from studio_app.documents.layered_layout import layered_layout


def picture() -> Workflow:
    """load → encode ×2 → sampler → decode → save"""
    nodes = (
        Node(id="load", type="load.checkpoint", inputs={"checkpoint": ModelRef(name="starter")}),
        Node(id="p", type="condition.encode_text", inputs={"clip": Link("load", "clip"), "text": "a"}),
        Node(id="n", type="condition.encode_text", inputs={"clip": Link("load", "clip"), "text": ""}),
        Node(id="empty", type="latent.empty", inputs={"width": 128}),
        Node(
            id="sampler", type="sample.k_sampler",
            inputs={
                "model": Link("load", "model"), "positive": Link("p", "conditioning"),
                "negative": Link("n", "conditioning"), "latent": Link("empty", "latent"), "seed": 3,
            },
        ),
        Node(id="decode", type="latent.decode_image",
             inputs={"vae": Link("load", "vae"), "latent": Link("sampler", "latent")}),
        Node(id="save", type="image.save", inputs={"image": Link("decode", "image")}),
    )  # fmt: skip
    return Workflow(nodes=nodes, form=(FormField(node="sampler", input="seed"), FormField(node="p", input="text")))


@pytest.fixture
def document() -> GraphDocument:
    return GraphDocument(picture(), Registry.builtin())


def heard(document: GraphDocument) -> list[Change]:
    changes: list[Change] = []
    document.subscribe(changes.append)
    return changes


def test_the_snapshot_is_the_same_object_until_something_changes(document: GraphDocument) -> None:
    first = document.workflow
    assert document.workflow is first
    document.edit("Seed", set_input("sampler", "seed", 4))
    assert document.workflow.node("sampler").inputs["seed"] == 4
    assert first.node("sampler").inputs["seed"] == 3
    document.undo()
    assert document.workflow == first


def test_a_change_tells_which_nodes_were_added_removed_moved_changed_and_rewired(document: GraphDocument) -> None:
    changes = heard(document)
    document.edit("Add", AddNodes((Node(id="b", type="image.blur"),), (Wire("decode", "image", "b", "image"),)))
    document.edit("Move", MoveNodes({"b": (5.0, 6.0)}))
    document.edit("Cut", Disconnect((Wire("decode", "image", "b", "image"),)))
    document.edit("Remove", RemoveNodes(("decode",)))
    assert changes[0].added == {"b"}
    assert changes[0].rewired == {"b"}
    assert changes[1] == Change(moved=frozenset({"b"}))
    assert changes[2].changed == changes[2].rewired == {"b"}
    assert changes[3].removed == {"decode"}
    assert changes[3].rewired == {"save"}


def test_edits_of_one_drag_are_one_entry_until_it_is_sealed(document: GraphDocument) -> None:
    for x in range(5):
        document.edit("Move", MoveNodes({"p": (float(x), 0.0)}), merge="drag 1")
    document.seal()
    document.edit("Move", MoveNodes({"p": (9.0, 0.0)}), merge="drag 1")
    assert document.undo() == "Move"
    assert document.node("p").position == (4.0, 0.0)
    document.undo()
    assert document.node("p").position == (0.0, 0.0)
    assert not document.can_undo
    document.redo()
    assert document.node("p").position == (4.0, 0.0)


def test_an_edit_that_fails_half_way_leaves_nothing_behind(document: GraphDocument) -> None:
    before, changes = document.workflow, heard(document)
    with pytest.raises(InvalidRequest):
        document.edit("Both", set_title("p", "x"), Connect(Wire("save", "image", "p", "clip")))
    assert document.workflow == before
    assert changes == []
    assert not document.can_undo


def test_saving_marks_a_state_that_undo_comes_back_to(document: GraphDocument) -> None:
    document.edit("Seed", set_input("sampler", "seed", 4))
    document.mark_saved()
    changed = [document.is_changed]
    document.edit("Seed", set_input("sampler", "seed", 5))
    changed.append(document.is_changed)
    for _ in range(2):
        document.undo()
        changed.append(document.is_changed)
    assert changed == [False, True, False, True]


# ---- wires


@pytest.mark.parametrize(
    ("wire", "why"),
    [
        (Wire("decode", "image", "p", "clip"), "This output gives IMAGE, the input “clip” takes CLIP."),
        (Wire("load", "clip", "p", "nothing"), "“p” has no input “nothing”."),
        (Wire("load", "nothing", "p", "clip"), "“load” has no output “nothing”."),
        (Wire("gone", "clip", "p", "clip"), "There is no node “gone” here."),
        (Wire("empty", "latent", "decode", "latent"), ""),
    ],
)
def test_a_refused_wire_says_why_in_one_sentence(document: GraphDocument, wire: Wire, why: str) -> None:
    assert document.can_connect(wire) == why


def test_a_circle_is_refused_also_through_others_and_when_wires_come_and_go() -> None:
    nodes = tuple(Node(id=f"n{i}", type="latent.blend") for i in range(6))
    document = GraphDocument(Workflow(nodes=nodes), Registry.builtin())
    for a, b in ((3, 2), (2, 5), (5, 1)):
        document.edit("Connect", Connect(Wire(f"n{a}", "latent", f"n{b}", "a")))
    assert document.can_connect(Wire("n1", "latent", "n3", "a")).startswith("This would close a circle")
    assert document.can_connect(Wire("n1", "latent", "n1", "a")) == "A node can't feed itself."
    document.edit("Cut", Disconnect((Wire("n2", "latent", "n5", "a"),)))
    assert document.can_connect(Wire("n1", "latent", "n3", "a")) == ""
    document.undo()
    assert document.can_connect(Wire("n1", "latent", "n3", "a")) != ""
    assert document.upstream({"n5"}) == {"n5", "n2", "n3"}
    assert document.downstream({"n2"}) == {"n2", "n5", "n1"}


def test_the_order_agrees_with_plain_search_for_random_graphs() -> None:
    chance = random.Random(4)
    order = AcyclicOrder()
    edges: set[tuple[str, str]] = set()
    names = [str(i) for i in range(30)]
    for name in names:
        order.add(name)

    def reaches(a: str, b: str) -> bool:
        seen, stack = {a}, [a]
        while stack:
            for x, y in edges:
                if x == stack[-1] and y not in seen:
                    break
            else:
                stack.pop()
                continue
            seen.add(y)
            stack.append(y)
        return b in seen

    for _ in range(400):
        a, b = chance.sample(names, 2)
        if (a, b) in edges:
            edges.discard((a, b))
            order.disconnect(a, b)
        elif not order.reaches(b, a):
            edges.add((a, b))
            order.connect(a, b)
        c, d = chance.sample(names, 2)
        assert order.reaches(c, d) == reaches(c, d)


def test_a_document_opened_with_a_circle_can_be_cut_open() -> None:
    nodes = (
        Node(id="a", type="latent.blend", inputs={"a": Link("b", "latent")}),
        Node(id="b", type="latent.blend", inputs={"a": Link("a", "latent")}),
    )
    document = GraphDocument(Workflow(nodes=nodes), Registry.builtin())
    assert document.can_connect(Wire("a", "latent", "b", "b")) != ""
    document.edit("Cut", Disconnect((Wire("b", "latent", "a", "a"),)))
    assert document.can_connect(Wire("a", "latent", "b", "b")) == ""
    assert document.can_connect(Wire("b", "latent", "a", "a")) != ""


def test_a_node_dropped_on_a_wire_is_laid_into_it(document: GraphDocument) -> None:
    document.edit("Add", AddNodes((Node(id="blur", type="image.blur"),)))
    document.edit("Insert", InsertOnWire("blur", Wire("decode", "image", "save", "image")))
    assert document.node("blur").inputs["image"] == Link("decode", "image")
    assert document.node("save").inputs["image"] == Link("blur", "image")
    document.edit("Add", AddNodes((Node(id="empty2", type="latent.empty"),)))
    with pytest.raises(InvalidRequest, match="does not fit on this wire"):
        document.edit("Insert", InsertOnWire("empty2", Wire("blur", "image", "save", "image")))


def test_a_reroute_is_seen_through(document: GraphDocument) -> None:
    document.edit("Reroute", AddReroute(Wire("decode", "image", "save", "image"), (1.0, 2.0)))
    (reroute,) = [n for n in document.nodes.values() if n.type == "utility.reroute"]
    assert document.node("save").inputs["image"] == Link(reroute.id, "value")
    assert document.can_connect(Wire(reroute.id, "value", "p", "clip")) == (
        "This output gives IMAGE, the input “clip” takes CLIP."
    )


def test_removing_a_node_can_keep_its_wires(document: GraphDocument) -> None:
    document.edit("Add", AddNodes((Node(id="blur", type="image.blur"), Node(id="sharp", type="image.sharpen"))))
    document.edit("Insert", InsertOnWire("blur", Wire("decode", "image", "save", "image")))
    document.edit("Insert", InsertOnWire("sharp", Wire("blur", "image", "save", "image")))
    document.edit("Remove", RemoveNodes(("blur", "sharp"), keep_wires=True))
    assert document.node("save").inputs["image"] == Link("decode", "image")
    document.undo()
    document.edit("Remove", RemoveNodes(("blur",)))
    assert "image" not in document.node("sharp").inputs


def test_a_removed_node_leaves_the_form_and_comes_back_to_it(document: GraphDocument) -> None:
    document.edit("Remove", RemoveNodes(("sampler",)))
    assert [f.node for f in document.workflow.form] == ["p"]
    assert "latent" not in document.node("decode").inputs
    document.undo()
    assert document.workflow == picture()


def test_a_wire_is_carried_to_another_input(document: GraphDocument) -> None:
    wire = Wire("p", "conditioning", "sampler", "positive")
    document.edit("Rewire", Rewire(wire, Wire("p", "conditioning", "sampler", "negative")))
    assert document.wires_from("p") == [Wire("p", "conditioning", "sampler", "negative")]
    assert "positive" not in document.node("sampler").inputs


def test_swapping_a_node_keeps_the_wires_and_values_that_fit(document: GraphDocument) -> None:
    document.edit("Values", SetInputs("sampler", {"steps": 11, "denoise": 0.5}))
    document.edit("Swap", SwapNode("sampler", "sample.k_sampler_advanced"))
    node = document.node("sampler")
    assert node.type == "sample.k_sampler_advanced"
    assert node.inputs["seed"] == 3
    assert node.inputs["steps"] == 11
    assert node.inputs["positive"] == Link("p", "conditioning")
    assert "denoise" not in node.inputs
    assert document.node("decode").inputs["latent"] == Link("sampler", "latent")
    document.undo()
    assert document.node("sampler").inputs["denoise"] == 0.5


# ---- schemas, values, looks


def test_a_type_that_vanished_stands_in_with_its_inputs_and_the_outputs_in_use() -> None:
    nodes = (
        Node(id="gone", type="plugin.gone", inputs={"strength": 0.5, "image": Link("x", "image")}),
        Node(id="save", type="image.save", inputs={"image": Link("gone", "picture")}),
    )
    document = GraphDocument(Workflow(nodes=nodes), Registry.builtin())
    schema = document.schema("gone")
    assert [(i.name, i.type) for i in schema.inputs] == [("strength", "FLOAT"), ("image", "*")]
    assert [o.name for o in schema.outputs] == ["picture"]
    assert schema.origin == "placeholder"
    assert not document.is_known("gone")
    document.edit("Cut", Disconnect((Wire("x", "image", "gone", "image"),)))
    assert "image" not in document.node("gone").inputs


def test_an_input_is_shown_as_a_socket_and_back(document: GraphDocument) -> None:
    document.edit("Socket", ShowAsSocket("sampler", "seed"))
    assert document.node("sampler").as_sockets == ("seed",)
    document.edit("Add", AddNodes((Node(id="s", type="utility.seed"),), (Wire("s", "value", "sampler", "seed"),)))
    document.edit("Value", ShowAsSocket("sampler", "seed", socket=False))
    assert document.node("sampler").as_sockets == ()
    assert "seed" not in document.node("sampler").inputs
    assert Workflow.from_json(json.loads(json.dumps(document.workflow.to_json()))) == document.workflow


def test_looks_and_values_are_set_and_wrong_ones_refused(document: GraphDocument) -> None:
    document.edit(
        "Looks", set_title("p", "T"), set_mode(["p", "n"], "mute"), set_colour(["p"], "#102030"), collapse(["p"]),
        set_size({"p": (10.0, 20.0)}),
    )  # fmt: skip
    node = document.node("p")
    assert (node.title, node.mode, node.colour, node.collapsed, node.size) == (
        "T",
        "mute",
        "#102030",
        True,
        (10.0, 20.0),
    )
    assert document.node("n").mode == "mute"
    document.edit("Reset", ResetInputs("sampler", ("seed", "model")))
    assert "model" not in document.node("sampler").inputs
    with pytest.raises(InvalidDocument):
        document.edit("Mode", SetLooks({"p": {"mode": "sideways"}}))
    with pytest.raises(InvalidDocument):
        document.edit("Nobody", set_title("nobody", "x"))


def test_a_prompt_of_a_hundred_thousand_characters_is_an_ordinary_value(document: GraphDocument) -> None:
    text = "word " * 20_000
    document.edit("Type", set_input("p", "text", text))
    assert document.workflow.node("p").inputs["text"] == text
    document.undo()
    assert document.workflow == picture()


# ---- arranging


SIZES = {"p": (100.0, 50.0), "n": (60.0, 30.0), "empty": (80.0, 40.0)}


def test_nodes_are_aligned_distributed_and_snapped_and_pinned_ones_stay(document: GraphDocument) -> None:
    names = ("p", "n", "empty")
    document.edit("Place", MoveNodes({"p": (0.0, 0.0), "n": (130.0, 40.0), "empty": (400.0, 90.0)}))
    document.edit("Align", align(document, names, "right", SIZES))
    assert [document.node(n).position[0] + SIZES[n][0] for n in names] == [480.0] * 3
    document.undo()
    document.edit("Distribute", distribute(document, names, "across", SIZES))
    assert document.node("n").position == (220.0, 40.0)  # gaps of 120 on both sides
    document.edit("Pin", pin(["n"]))
    document.edit("Snap", snap(document, names, 50.0))
    assert document.node("n").position == (220.0, 40.0)
    assert document.node("empty").position == (400.0, 100.0)


def test_a_frame_carries_what_lies_in_it(document: GraphDocument) -> None:
    document.edit("Place", MoveNodes({"p": (500.0, 500.0), "n": (650.0, 500.0)}))
    document.edit("Frame", GroupNodes(("p", "n"), "Words", sizes=SIZES))
    assert set(contents(document, document.groups[0], SIZES)) == {"p", "n"}
    document.edit("Inner", SetGroups((*document.groups, Group(rectangle=(510.0, 510.0, 20.0, 20.0)))))
    document.edit("Carry", MoveGroup(0, (10.0, -5.0), contents(document, document.groups[0], SIZES)))
    assert document.node("p").position == (510.0, 495.0)
    assert document.groups[1].rectangle == (520.0, 505.0, 20.0, 20.0)
    document.undo()
    assert document.node("p").position == (500.0, 500.0)


def test_the_layout_goes_left_to_right_without_overlap_and_is_always_the_same() -> None:
    chance = random.Random(5)
    names = [f"n{i}" for i in range(1000)]
    wires = [(f"n{chance.randrange(max(0, i - 40), i)}", f"n{i}") for i in range(1, 1000) for _ in range(2)]
    sizes = {name: (chance.uniform(100, 300), chance.uniform(50, 250)) for name in names}
    places = layered_layout(names, wires, sizes)
    assert places == layered_layout(names, wires, sizes)
    assert all(
        places[a][0] + sizes[a][0] < places[b][0] + sizes[a][0] and places[a][0] < places[b][0] for a, b in wires
    )
    columns: dict[float, list[str]] = {}
    for name in names:
        columns.setdefault(places[name][0], []).append(name)
    for column in columns.values():
        column.sort(key=lambda n: places[n][1])
        for upper, lower in pairwise(column):
            assert places[upper][1] + sizes[upper][1] <= places[lower][1] + 0.2


def test_laying_out_a_document_keeps_its_corner_and_fits_frames(document: GraphDocument) -> None:
    document.edit("Place", MoveNodes(dict.fromkeys(document.nodes, (1000.0, 700.0))))
    document.edit("Frame", GroupNodes(("p", "n")))
    document.edit("Lay out", LayOut())
    corner = tuple(min(n.position[axis] for n in document.nodes.values()) for axis in (0, 1))
    assert corner == (1000.0, 700.0)
    assert document.node("load").position[0] < document.node("sampler").position[0] < document.node("save").position[0]


def test_the_cost_of_an_edit_does_not_grow_with_the_graph() -> None:
    def seconds(count: int) -> float:
        nodes = tuple(Node(id=f"n{i}", type="latent.blend", inputs={"factor": 0.5}) for i in range(count))
        document = GraphDocument(Workflow(nodes=nodes), Registry.builtin())
        best = 1.0
        for repeat in range(7):
            start = time.process_time()
            for i in range(20):
                document.edit("v", set_input(f"n{i}", "factor", repeat / 10), MoveNodes({f"n{i}": (1.0, repeat)}))
            best = min(best, time.process_time() - start)
        return best

    assert seconds(5000) < 6 * seconds(50)


def test_the_form_is_an_edit_like_any_other(document: GraphDocument) -> None:
    changes = heard(document)
    document.edit("Form", SetForm(()))
    assert changes[-1].form
    assert document.workflow.form == ()
