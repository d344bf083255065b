"""Random edits on an open workflow, with every undo and redo told, as a journal tells them, to a second document."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from engine.contracts.errors import TesseraError
from engine.contracts.workflow import FormField, Group, Link, Node, Workflow
from engine.graph.registry import Registry
from studio_app.documents.arrange_edits import GroupNodes, LayOut, MoveGroup, SetGroups, snap
from studio_app.documents.clipboard import Paste, copied, read_fragment
from studio_app.documents.content import Content, Graph, Wire
from studio_app.documents.edits import (
    AddNodes,
    AddReroute,
    Connect,
    Disconnect,
    Edit,
    InsertOnWire,
    MoveNodes,
    RemoveNodes,
    ResetInputs,
    Rewire,
    SetForm,
    SetInputs,
    SetLooks,
    SetNames,
    ShowAsSocket,
    SwapNode,
    edit_from_json,
    insertion,
)  # fmt: skip
from studio_app.documents.graph_document import GraphDocument
from studio_app.documents.history import Entry
from studio_app.documents.journal import Word, do_line, told
from studio_app.documents.subgraph_edits import (
    ExposeSocket,
    HideSocket,
    MakeSubgraph,
    OrderSockets,
    RenameSocket,
    RenameSubgraph,
    UnpackSubgraph,
)  # fmt: skip

TYPES = (
    "latent.empty", "latent.blend", "latent.scale_by", "latent.batch", "utility.reroute", "latent.flip", "gone.type",
    "image.batch_all", "image.blur", "maths.calculate",
)  # fmt: skip
some = st.integers(0, 10**6)
point = st.tuples(st.integers(-500, 500).map(float), st.integers(-500, 500).map(float))


class Shadow:
    """An edit log that replays each line, through JSON, on a document of its own."""

    def __init__(self, workflow: Workflow, registry: Registry) -> None:
        self.document = GraphDocument(workflow, registry)

    def edited(self, entry: Entry, joined: bool) -> None:
        self._tell(told(entry))

    def travelled(self, word: Word) -> None:
        self._tell(told(word))

    def renew(self) -> None:
        raise AssertionError("nothing here renews the journal")

    def _tell(self, line: dict[str, Any]) -> None:
        do_line(self.document, json.loads(json.dumps(line)))


class DocumentMachine(RuleBasedStateMachine):
    """Every rule is an edit that a person can do; one that is refused must leave the document as it was."""

    def __init__(self) -> None:
        super().__init__()
        registry = Registry.builtin()
        nodes = [Node(id=f"n{i}", type=TYPES[i % 4], position=(i * 10.0, 0.0)) for i in range(8)]
        taken = {"latent.blend": ("a", "b"), "latent.scale_by": ("latent",), "latent.batch": ("a", "b")}
        self.first = Workflow(
            nodes=tuple(
                replace(
                    n, inputs={name: Link(f"n{i - 1 - k}", "latent") for k, name in enumerate(taken.get(n.type, ()))}
                )
                for i, n in enumerate(nodes)
            )
        )
        self.shadow = Shadow(self.first, registry)
        self.document = GraphDocument(self.first, registry, journal=self.shadow)
        self.edits = 0

    # ---- choosing

    def name(self, number: int) -> str:
        names = sorted(self.document.nodes)
        return names[number % len(names)] if names else "none"

    def names(self, number: int) -> tuple[str, ...]:
        names = sorted(self.document.nodes)
        return tuple(n for i, n in enumerate(names) if (number >> (i % 17)) & 1)[:5]

    def wire(self, number: int) -> Wire:
        wires = sorted(self.document.wires(), key=lambda w: (w.target, w.input))
        return wires[number % len(wires)] if wires else Wire("a", "b", "c", "d")

    def wanted(self, source: int, target: int, socket: int) -> Wire:
        """A wire between two nodes: most often the first that may be laid, else any."""
        return self.between(self.name(source), self.name(target), socket)

    def between(self, a: str, b: str, socket: int) -> Wire:
        if not {a, b} <= self.document.nodes.keys():
            return Wire(a, "x", b, "y")
        outputs = [o.name for o in self.document.schema(a).outputs] or ["none"]
        inputs = [i.name + ("0" if i.variadic else "") for i in self.document.schema(b).inputs] or ["none"]
        wires = [Wire(a, output, b, name) for output in outputs for name in inputs]
        wires = wires[socket % len(wires) :] + wires[: socket % len(wires)]
        return next((w for w in wires if socket % 4 and not self.document.can_connect(w)), wires[0])

    def do(self, edit: Edit, merge: str = "") -> None:
        again = edit_from_json(json.loads(json.dumps(edit.to_json())))
        before, revision = self.document.workflow, self.document.revision
        try:
            self.document.edit("edit", again, merge=merge)
        except TesseraError:
            assert self.document.workflow == before
            assert self.document.revision == revision
        self.edits += 1

    # ---- edits

    @rule(kind=some, at=point)
    def add(self, kind: int, at: tuple[float, float]) -> None:
        type_name = TYPES[kind % len(TYPES)]
        self.do(AddNodes((Node(id=self.document.new_id("new"), type=type_name, position=at),)))

    @rule(which=some, keep=st.booleans())
    def remove(self, which: int, keep: bool) -> None:
        self.do(RemoveNodes(self.names(which)[:2], keep_wires=keep))

    @rule(which=some, at=point, gesture=st.integers(0, 2))
    def move(self, which: int, at: tuple[float, float], gesture: int) -> None:
        self.do(MoveNodes(dict.fromkeys(self.names(which), at)), merge=f"drag {gesture}")

    @rule(source=some, to=some, socket=some)
    def connect(self, source: int, to: int, socket: int) -> None:
        self.do(Connect(self.wanted(source, to, socket)))

    @rule(source=some, to=some, socket=some)
    def connect_more(self, source: int, to: int, socket: int) -> None:
        self.do(Connect(self.wanted(source, to, socket)))

    @rule(which=some)
    def cut(self, which: int) -> None:
        self.do(Disconnect((self.wire(which), self.wire(which + 1))))

    @rule(which=some, to=some, socket=some)
    def rewire(self, which: int, to: int, socket: int) -> None:
        wire = self.wire(which)
        end = self.between(wire.source, self.name(to), socket)
        self.do(Rewire(wire, Wire(wire.source, wire.output, end.target, end.input)))

    @rule(which=some, node=some)
    def insert(self, which: int, node: int) -> None:
        wire = self.wire(which)
        fitting = [n for n in sorted(self.document.nodes) if insertion(self.document, n, wire)]
        self.do(InsertOnWire(fitting[node % len(fitting)] if fitting and node % 4 else self.name(node), wire))

    @rule(which=some, at=point)
    def reroute(self, which: int, at: tuple[float, float]) -> None:
        self.do(AddReroute(self.wire(which), at))

    @rule(which=some, kind=some)
    def swap(self, which: int, kind: int) -> None:
        self.do(SwapNode(self.name(which), TYPES[kind % len(TYPES)]))

    @rule(which=some, value=st.one_of(st.integers(), st.text(max_size=8), st.lists(st.none(), max_size=2)))
    def value(self, which: int, value: Any) -> None:
        name = self.name(which)
        inputs = [i.name for i in self.document.schema(name).inputs] if self.document.nodes else []
        self.do(SetInputs(name, {(inputs or ["x"])[which % max(1, len(inputs))]: value}), merge=f"value {name}")

    @rule(which=some, socket=st.booleans())
    def show_as_socket(self, which: int, socket: bool) -> None:
        name = self.name(which)
        inputs = [i.name for i in self.document.schema(name).inputs] if self.document.nodes else []
        self.do(ShowAsSocket(name, (inputs or ["x"])[which % max(1, len(inputs))], socket))
        self.do(ResetInputs(name, tuple(inputs[:1])))

    @rule(which=some, mode=st.sampled_from(["active", "mute", "bypass", "wrong"]), pinned=st.booleans())
    def look(self, which: int, mode: str, pinned: bool) -> None:
        fields = {"mode": mode, "pinned": pinned, "colour": "#ff0000", "size": [10.0, 20.0]}
        self.do(SetLooks(dict.fromkeys(self.names(which), fields)))

    @rule(which=some)
    def arrange(self, which: int) -> None:
        self.do(LayOut(self.names(which)))
        if self.document.nodes:
            self.do(snap(self.document, self.names(which), 16.0))

    @rule(which=some, by=point)
    def group(self, which: int, by: tuple[float, float]) -> None:
        self.do(GroupNodes(self.names(which), "group"))
        self.do(MoveGroup(which % 3, by, self.names(which)))
        if which % 5 == 0:
            self.do(SetGroups((Group(title="only"),)))

    @rule(which=some)
    def form(self, which: int) -> None:
        self.do(SetForm((FormField(node=self.name(which), input="factor", label="Factor"),)))
        self.do(SetNames(f"name {which % 7}"))

    @rule(which=some, at=point)
    def copy_and_paste(self, which: int, at: tuple[float, float]) -> None:
        text = copied(self.document, self.names(which)[:3], range(len(self.document.groups[:1])))
        self.do(Paste(read_fragment(text), at, keep_wires=which % 2 == 0))

    @rule(which=some)
    def make_subgraph(self, which: int) -> None:
        self.do(MakeSubgraph(self.names(which)[:4], "Part"))

    @rule(which=some)
    def unpack(self, which: int) -> None:
        parts = sorted(n.id for n in self.document.nodes.values() if n.type.startswith("subgraph:"))
        self.do(UnpackSubgraph(parts[which % len(parts)] if parts else "none"))

    @rule(which=some)
    def open(self, which: int) -> None:
        parts = sorted(n.id for n in self.document.nodes.values() if n.type.startswith("subgraph:"))
        if parts and len(self.document.level) < 3:
            self.document.open_level((*self.document.level, parts[which % len(parts)]))
            # A shadow's level follows from its lines; nobody opens levels there.

    @rule()
    def close(self) -> None:
        self.document.open_level(self.document.level[:-1])

    @rule(which=some, side=st.sampled_from(["inputs", "outputs"]))
    def sockets(self, which: int, side: Any) -> None:
        self.open(which)
        wire = self.wanted(which, which, which)
        self.do(ExposeSocket(side, wire.target, wire.input if side == "inputs" else wire.output))
        head = self.document.content.subgraphs.get(self.document.graph_id)
        names = [s.name for s in getattr(head, side)] if head else []
        if names:
            self.do(OrderSockets(side, tuple(reversed(names))))
            self.do(RenameSocket(side, names[which % len(names)], f"socket {which % 5}"))
        if names and which % 3 == 0:
            self.do(HideSocket(side, names[0]))
        self.do(RenameSubgraph(self.document.graph_id, name=f"part {which % 4}"))

    @rule(times=st.integers(1, 4))
    def undo(self, times: int) -> None:
        for _ in range(times):
            self.document.undo()

    @rule(times=st.integers(1, 4))
    def redo(self, times: int) -> None:
        for _ in range(times):
            self.document.redo()

    # ---- what must hold

    @invariant()
    def equals_its_replay(self) -> None:
        assert self.document.workflow == self.shadow.document.workflow
        assert self.document.can_undo == self.shadow.document.can_undo
        assert self.document.redo_label == self.shadow.document.redo_label

    @invariant()
    def indexes_hold(self) -> None:
        for name, graph in self.document.content.graphs.items():
            check_indexes(graph)
            again = Content(self.document.workflow).graphs[name]
            assert again.consumers == graph.consumers

    @invariant()
    def survives_json(self) -> None:
        workflow = self.document.workflow
        assert Workflow.from_json(json.loads(json.dumps(workflow.to_json()))) == workflow

    def teardown(self) -> None:
        last = self.document.workflow
        done = 0
        while self.document.can_undo:
            self.document.undo()
            done += 1
        assert self.document.workflow == self.first
        for _ in range(done):
            self.document.redo()
        assert self.document.workflow == last
        self.equals_its_replay()


def check_indexes(graph: Graph) -> None:
    """Wires by their source are those in the inputs, and the order has every wire's source before its target."""
    found: dict[str, dict[str, set[str]]] = {}
    for node in graph.nodes.values():
        for name, value in node.inputs.items():
            if isinstance(value, Link):
                found.setdefault(value.node, {}).setdefault(node.id, set()).add(name)
    assert found == graph.consumers
    order = graph.order
    assert order.after.keys() == graph.nodes.keys()
    for source, targets in found.items():
        if source in graph.nodes:
            assert order.after[source] == set(targets)
            assert not any(order.reaches(target, source) for target in targets)
