"""The lists that float: add a node, connect, swap, go to a node. Each is a search; Enter takes the first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from PySide6.QtCore import QPointF

from engine.contracts.errors import clip
from engine.contracts.node_schema import NodeSchema
from engine.contracts.workflow import Bookmark, Group, Link, Node, Workflow
from engine.graph.subgraphs import SUBGRAPH
from studio_app.documents.content import Content
from studio_app.documents.edits import AddNodes, Connect, Disconnect, Edit, InsertOnWire, SwapNode, insertion
from studio_app.documents.graph_document import Wire
from studio_app.documents.schemas import Schemas
from studio_app.documents.subgraph_edits import AddLibraryNode
from ui.graph_canvas.acts import Acts
from ui.graph_canvas.choice_popup import Choice
from ui.graph_canvas.geometry import WIDTH
from ui.graph_canvas.search import Found, NodeFinder, swaps
from ui.graph_canvas.sockets import name_words, words_for
from ui.graph_canvas.tools.base import LooseEnd
from ui.widgets.fuzzy import ranked

LIBRARY = "library:"  # begins the type of a node of one's own that the workflow does not hold yet


class Finding:
    """Opens the lists of one canvas."""

    def __init__(self, acts: Acts, finder: NodeFinder) -> None:
        self.acts, self.finder = acts, finder
        self.canvas, self.scene, self.document = acts.canvas, acts.scene, acts.document

    # ---- adding

    def search(self, place: QPointF | None = None, end: object = None) -> None:
        """Find a node type and put it at `place`, wired to the loose end. Without both it joins the selected node."""
        loose = end if isinstance(end, LooseEnd) else None
        if place is None and loose is None:
            place = self.acts.pointer_or_middle()
        at = place if place is not None else self.canvas.view.centre()
        words = f" that {'takes' if loose.is_output else 'gives'} {words_for(loose.kind)}" if loose is not None else ""

        own = [*self._subgraphs(), *self._kept()]

        def find(text: str) -> Sequence[Choice]:
            return [_choice(found) for found in self.finder.find(text, loose, own)]

        self.canvas.open_list(
            "Add a node", f"Find a node{words}: name, category, socket or what it does", find,
            lambda choice: self.add(cast(Found, cast(Choice, choice).value), at, loose), at,
            f"No node{words} has these letters. Try fewer.",
        )  # fmt: skip

    def _subgraphs(self) -> list[NodeSchema]:
        """The workflow's own subgraphs, but for those that are open: a subgraph can't hold itself."""
        document = self.document
        opened = {document.graph_at(document.level[:n]) for n in range(1, len(document.level) + 1)}
        names = [SUBGRAPH + name for name in document.content.subgraphs if name not in opened]
        found = [document.schemas.of_type(name) for name in names]
        return [schema for schema in found if schema is not None]

    def _kept(self) -> list[NodeSchema]:
        """Nodes of one's own in the library that this workflow does not hold yet."""
        library = self.canvas.app.workflows.library
        there = {s.library for s in self.document.content.subgraphs.values()}
        found = []
        for node in library.nodes():
            if node.id in there:
                continue
            content = Content(Workflow(subgraphs=library.node(node.id)))
            schema = Schemas(self.document.registry, content).of_type(SUBGRAPH + node.id)
            if schema is not None:
                found.append(replace(schema, type=LIBRARY + node.id, category="My nodes"))
        return found

    def add(self, found: Found, at: QPointF, end: LooseEnd | None = None) -> str:
        """Add a node of a type, wired to the loose end where it fits; returns its id, "" when it was refused."""
        schema = found.schema
        name = self.document.new_id(_base(schema.type))
        x, y = at.x(), at.y()
        if end is not None and not end.is_output:
            x -= WIDTH
        taken = {item.corner for item in self.scene.items_by_id.values()}
        while (round(x), round(y) - 16.0) in taken:  # never exactly over another
            x, y = x + 30.0, y + 30.0
        node = Node(id=name, type=schema.type, type_version=schema.node_version, position=(round(x), round(y) - 16.0))
        edits: list[Edit] = [AddNodes((node,))]
        if schema.type.startswith(LIBRARY):
            parts = self.canvas.app.workflows.library.node(schema.type.removeprefix(LIBRARY))
            edits = [AddLibraryNode(parts, replace(node, title=schema.title))]
        if end is not None and found.socket:
            if end.former is not None:
                edits.append(Disconnect((end.former,)))
            wire = Wire(end.node, end.socket, name, found.socket) if end.is_output else (
                Wire(name, found.socket, end.node, end.socket))  # fmt: skip
            edits.append(Connect(wire))
        if not self.acts.do(f"Add “{schema.title}”", *edits):
            return ""
        self.finder.used(schema.type)
        if end is None:
            self._insert_if_on_wire(name)
        self.scene.select([name])
        self.scene.raise_nodes([name])
        self.canvas.view.ensure_seen(self.scene.items_by_id[name].rect())
        return name

    def _insert_if_on_wire(self, name: str) -> None:
        """A search that was opened on a wire puts the node into it."""
        item = self.scene.items_by_id[name]
        wire = self.scene.table.near(item.corner[0], item.corner[1] + 16.0, 10.0)
        if wire is not None and insertion(self.document, name, wire) is not None:
            self.acts.do("Insert on the wire", InsertOnWire(name, wire))

    # ---- connecting by list

    def connect(self) -> None:
        """C: every wire that could be laid to or from the selected node, the nearest other end first."""
        names = self.acts.chosen()
        if len(names) != 1:
            if names:
                self.canvas.say("Select one node to connect.")
            return
        rows = self._connections(names[0])
        texts = [f"{row.title} {row.note}" for row in rows]
        self.canvas.open_list(
            "Connect", "Which socket with which: type a few letters",
            lambda text: [rows[i] for i in ranked(text, texts)],
            lambda choice: self.acts.do("Connect", Connect(cast(Wire, cast(Choice, choice).value))),
            nothing="Nothing here fits the sockets of this node.",
        )  # fmt: skip

    def _connections(self, name: str) -> list[Choice]:
        document, items = self.document, self.scene.items_by_id
        here = items[name]
        rows: list[tuple[tuple[bool, bool, float], Choice]] = []  # what the node itself lacks comes first
        for other in items.values():
            if other is here:
                continue
            gap = abs(other.corner[0] - here.corner[0]) + abs(other.corner[1] - here.corner[1])
            for source, target in ((here, other), (other, here)):
                for output, (_, _, kind) in source.layout.outputs.items():
                    for into in target.layout.inputs:
                        wire = Wire(source.node.id, output, target.node.id, into)
                        if wire in self.scene.table.rows or document.can_connect(wire):
                            continue
                        taken = isinstance(target.node.inputs.get(into), Link)
                        row = Choice(
                            f"{name_words(output)} → {clip(target.title, 30)}: {name_words(into)}" if source is here
                            else f"{name_words(into)} ← {clip(source.title, 30)}: {name_words(output)}",
                            "in place of its wire" if taken else "", kind, "", wire,
                        )  # fmt: skip
                        rows.append(((taken, source is here, gap), row))
        rows.sort(key=lambda pair: pair[0])
        return [row for _, row in rows]

    # ---- swapping

    def swap(self) -> None:
        names = self.acts.chosen()
        if len(names) != 1:
            return
        name = names[0]
        node, schema = self.document.nodes[name], self.document.schema(name)
        links = [value for value in node.inputs.values() if isinstance(value, Link)]
        taken = [wire.output for wire in self.document.wires_from(name)]
        fitting = swaps(self.document.registry.schemas(), schema, links, taken)
        texts = [f"{s.title} {s.category}" for s in fitting]
        self.canvas.open_list(
            "Swap the node", f"What stands in for “{self.scene.items_by_id[name].title}”",
            lambda text: [_choice(Found(fitting[i])) for i in ranked(text, texts)],
            lambda choice: self.acts.do("Swap", SwapNode(name, cast(Found, cast(Choice, choice).value).schema.type)),
            nothing="No other node takes and gives the same.",
        )  # fmt: skip

    # ---- going to

    def find(self) -> None:
        """Ctrl+F: nodes, frames and bookmarks of this workflow by name."""
        rows = [Choice(m.name, "bookmark", value=m) for m in self.document.content.bookmarks]
        rows += [Choice(g.title or "Frame", "frame", value=g) for g in self.document.groups]
        rows += [
            Choice(item.title, item.schema.category, _kind(item.schema), value=name)
            for name, item in self.scene.items_by_id.items()
        ]
        texts = [f"{row.title} {row.note}" for row in rows]
        self.canvas.open_list(
            "Go to", "A node, frame or bookmark of this workflow", lambda text: [rows[i] for i in ranked(text, texts)],
            lambda choice: self._go_to(cast(Choice, choice).value), self.canvas.view.centre(),
            "Nothing in this workflow has these letters.",
        )  # fmt: skip

    def _go_to(self, target: object) -> None:
        view = self.canvas.view
        if isinstance(target, Bookmark):
            self.acts.go_to_bookmark(target)
        elif isinstance(target, Group):
            x, y, width, height = target.rectangle
            room = view.viewport().rect()
            view.look_at(
                QPointF(x + width / 2, y + height / 2),
                min(1.0, room.width() / (width + 80), room.height() / (height + 80)),
            )
        elif isinstance(target, str):
            self.scene.select([target])
            view.walking = True
            view.look_at(self.scene.items_by_id[target].rect().center(), max(view.scale_factor, 0.7))


def _choice(found: Found) -> Choice:
    schema = found.schema
    return Choice(schema.title, schema.category, _kind(schema), schema.doc.partition("\n")[0], found)


def _kind(schema: NodeSchema) -> str:
    return schema.outputs[0].type if schema.outputs else schema.inputs[0].type if schema.inputs else "*"


def _base(type_name: str) -> str:
    return type_name.removeprefix(SUBGRAPH).removeprefix(LIBRARY).rpartition(".")[2] or "node"
