"""A canvas → our Workflow, its subgraphs kept as subgraphs.

A subgraph's inputs are those its file lists and, besides, the widgets that any of its instances promotes: both become
exposed inputs of ours, which an instance sets or links.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from engine.contracts.workflow import (
    Group,
    InputValue,
    Link,
    Node,
    NodeMode,
    SeedControl,
    Socket,
    Subgraph,
    Workflow,
)
from engine.graph.subgraphs import SUBGRAPH
from engine.interchange.comfyui.builder import NodeBuilder, output_name
from engine.interchange.comfyui.canvas import (
    BYPASS,
    INPUT_NODE,
    MUTE,
    OUTPUT_NODE,
    CanvasGraph,
    CanvasLink,
    CanvasNode,
)
from engine.interchange.comfyui.mapping import mapping_of
from engine.interchange.comfyui.prompt import NOTES, PRIMITIVE, REROUTE, given_inside, outer_slot, port_names
from engine.interchange.comfyui.report import Imported
from engine.interchange.comfyui.widgets import CONTROLS, seed_controls, widget_values

REROUTE_TYPE = "utility.reroute"
NOTE_TYPE = "utility.note"
MAX_PLACES = 1000  # widgets that one exposed input may end at
DRAWN_KEY = "comfyui"  # in the `extra` of a workflow or subgraph: the points its links are drawn through

Incoming: TypeAlias = Mapping[tuple[str, int], CanvasLink]
Looks: TypeAlias = dict[str, Any]


class CanvasImport:
    """One import. `run` gives the workflow and the report."""

    def __init__(self, graph: CanvasGraph, name: str) -> None:
        self.graph = graph
        self.name = name or graph.name
        self.builder = NodeBuilder()
        # subgraph id → (inner node, widget) → exposed name, over all instances of the subgraph
        self.promoted: dict[str, dict[tuple[str, str], str]] = {}

    def run(self) -> Imported:
        reachable = list(self._reachable())
        for graph in (self.graph, *reachable):
            for node in graph.nodes.values():
                self.builder.read_sources(node.properties)
        self._collect_promotions((self.graph, *reachable))
        nodes = self._nodes(self.graph)
        workflow = Workflow(
            name=self.name,
            nodes=tuple(nodes),
            groups=_groups(self.graph),
            subgraphs=tuple(self._subgraph(graph) for graph in reachable),
            extra=self._drawn(self.graph),
        )
        return Imported(workflow, self.builder.report)

    def _definition(self, node: CanvasNode) -> CanvasGraph | None:
        return self.graph.definitions.get(node.type)

    def _reachable(self) -> Iterator[CanvasGraph]:
        """Every subgraph in use, each once."""
        found: set[str] = set()
        pending = [self.graph]
        while pending:
            for node in pending.pop().nodes.values():
                inner = self._definition(node)
                if inner is not None and inner.id not in found:
                    found.add(inner.id)
                    pending.append(inner)
                    yield inner

    def _collect_promotions(self, graphs: Iterable[CanvasGraph]) -> None:
        for graph in graphs:
            for node in graph.nodes.values():
                inner = self._definition(node)
                if inner is None:
                    continue
                names = self.promoted.setdefault(inner.id, {})
                taken = {*port_names(inner.inputs), *names.values()}
                for inner_id, widgets in given_inside(node, inner).items():
                    for widget in widgets if inner_id in inner.nodes else ():
                        if (inner_id, widget) in names or not self._inner_input(inner.nodes[inner_id], widget):
                            continue
                        name = widget if widget not in taken else f"{widget}_{inner_id}"
                        names[inner_id, widget] = name
                        taken.add(name)

    def _inner_input(self, node: CanvasNode, widget: str) -> str:
        """Our input name of a widget of an inner node; "" when it has no meaning here."""
        if node.type in NOTES or node.type in (REROUTE, PRIMITIVE) or widget == "control_after_generate":
            return ""
        if self._definition(node) is not None:
            return widget
        mapping = mapping_of(node.type)
        return mapping.input(widget).name if mapping else widget

    def _nodes(self, graph: CanvasGraph) -> list[Node]:
        incoming = graph.incoming()
        # A primitive's value stands in the inputs it feeds.
        return [self._node(graph, node, incoming) for node in graph.nodes.values() if node.type != PRIMITIVE]

    def _node(self, graph: CanvasGraph, node: CanvasNode, incoming: Incoming) -> Node:
        looks: Looks = {
            "title": node.title if node.title != node.type else "",
            "mode": _mode(node.mode),
            "position": node.position,
            "size": node.size,
            "colour": node.colour,
            "collapsed": node.collapsed,
        }
        if node.type in NOTES:
            self.builder.report.nodes += 1
            values = node.widgets_values
            text = values[0] if isinstance(values, list) and values else ""
            return Node(id=node.id, type=NOTE_TYPE, inputs={"text": str(text)}, **looks)
        if node.type == REROUTE:
            self.builder.report.nodes += 1
            link = incoming.get((node.id, 0))
            source = self._source(graph, link) if link else None
            return Node(id=node.id, type=REROUTE_TYPE, inputs={} if source is None else {"value": source}, **looks)
        inner = self._definition(node)
        if inner is not None:
            return self._instance(graph, node, inner, incoming, looks)
        inputs: dict[str, InputValue] = dict(widget_values(node))
        for slot, socket in enumerate(node.inputs):
            link = incoming.get((node.id, slot))
            if link is None or link.source == INPUT_NODE:
                continue
            source = self._source(graph, link)
            if source is not None:
                inputs[socket.widget or socket.name] = source
            elif not socket.widget:
                inputs.pop(socket.name, None)
        sockets = (
            [(i.widget or i.name, i.type) for i in node.inputs],
            [(output_name(node.type, slot), kind) for slot, (_, kind) in enumerate(node.outputs)],
        )
        seeds = seed_controls(node)
        for slot, socket in enumerate(node.inputs):
            link = incoming.get((node.id, slot))
            control = self._control_of_source(graph, link) if link is not None else None
            if control is not None:
                seeds[socket.widget or socket.name] = control
        return self.builder.node(node.id, node.type, inputs, node.raw, sockets, seeds, **looks)

    def _control_of_source(self, graph: CanvasGraph, link: CanvasLink) -> SeedControl | None:
        """What a primitive says of the number that it gives, where that does not stay."""
        node = graph.nodes.get(link.source)
        values = node.widgets_values if node is not None and node.type == PRIMITIVE else None
        said = values[1] if isinstance(values, list) and len(values) > 1 else None
        control = CONTROLS.get(said) if isinstance(said, (str, bool)) else None
        return control if control != "fixed" else None

    def _instance(
        self, graph: CanvasGraph, node: CanvasNode, inner: CanvasGraph, incoming: Incoming, looks: Looks
    ) -> Node:
        self.builder.report.nodes += 1
        inputs: dict[str, InputValue] = {}
        promoted = self.promoted.get(inner.id, {})
        for inner_id, widgets in given_inside(node, inner).items():
            for widget, value in widgets.items():
                name = widget if inner_id == INPUT_NODE else promoted.get((inner_id, widget), "")
                literal = self._promoted_literal(inner, inner_id, widget, value) if name else None
                if literal is not None:
                    inputs[name] = literal
        names = port_names(inner.inputs)
        by_slot = {outer_slot(node, inner, index): name for index, name in enumerate(names)}
        by_widget = {socket.widget or socket.name: slot for slot, socket in enumerate(node.inputs)}
        by_slot.update({by_widget[name]: name for name in promoted.values() if name in by_widget})
        for slot, name in by_slot.items():
            link = incoming.get((node.id, slot)) if slot is not None else None
            if link is not None and link.source != INPUT_NODE:
                source = self._source(graph, link)
                if source is not None:
                    inputs[name] = source
        return Node(id=node.id, type=SUBGRAPH + inner.id, inputs=inputs, **looks)

    def _promoted_literal(self, inner: CanvasGraph, inner_id: str, widget: str, value: Any) -> InputValue:
        """A value that an instance gives its inside, in the form of the widgets it ends at. None when it ends nowhere.

        One exposed input may end at several widgets; a model's name is a model's name if any of them loads one.
        """
        forms: list[str] = []
        pending = [(inner, inner_id, widget)]
        for graph, node_id, name in pending:  # grows as it goes; each subgraph is entered at most as deep as they nest
            if len(pending) > MAX_PLACES:
                break
            if node_id == INPUT_NODE:
                names = port_names(graph.inputs)
                slot = names.index(name) if name in names else -1
                for link in graph.links:
                    target = graph.nodes.get(link.target) if link.source == INPUT_NODE else None
                    if target is not None and link.source_slot == slot and link.target_slot < len(target.inputs):
                        socket = target.inputs[link.target_slot]
                        pending.append((graph, target.id, socket.widget or socket.name))
            elif (node := graph.nodes.get(node_id)) is not None:
                deeper = self._definition(node)
                if deeper is not None:
                    pending.append((deeper, *self._promoted_place(node, deeper, name)))
                else:
                    mapping = mapping_of(node.type)
                    forms.append(mapping.input(name).form if mapping else "")
        return self.builder.literal(max(forms), value) if forms else None

    def _promoted_place(self, node: CanvasNode, inner: CanvasGraph, widget: str) -> tuple[str, str]:
        """(inner node or INPUT_NODE, widget) behind a widget that the instance `node` shows."""
        for inner_id, widgets in given_inside(node, inner, with_nothing=True).items():
            if inner_id != INPUT_NODE and widget in widgets:
                return inner_id, widget
        return INPUT_NODE, widget

    def _source(self, graph: CanvasGraph, link: CanvasLink) -> InputValue:
        """What a link carries: a link of ours, or a primitive's literal; None when it leads nowhere."""
        node = graph.nodes.get(link.source)
        if node is None:
            return None
        if node.type == PRIMITIVE:
            values = node.widgets_values
            value = values[0] if isinstance(values, list) and values else None
            return value if value is None or isinstance(value, (bool, int, float, str)) else None
        if node.type == REROUTE:
            return Link(node.id, "value")
        inner = self._definition(node)
        if inner is not None:
            names = port_names(inner.outputs)
            return Link(node.id, names[link.source_slot]) if link.source_slot < len(names) else None
        return Link(node.id, output_name(node.type, link.source_slot))

    def _subgraph(self, graph: CanvasGraph) -> Subgraph:
        inputs: list[tuple[int, Socket]] = []
        outputs: list[tuple[int, Socket]] = []
        names, out_names = port_names(graph.inputs), port_names(graph.outputs)
        for link in graph.links:
            if link.source == INPUT_NODE and link.source_slot < len(names):
                target = graph.nodes.get(link.target)
                socket = self._target_socket(target, link.target_slot) if target is not None else ""
                if socket:
                    name = names[link.source_slot]
                    inputs.append((link.source_slot, Socket(name=name, node=link.target, socket=socket)))
            elif link.target == OUTPUT_NODE and link.target_slot < len(out_names):
                source = self._source(graph, link)
                if isinstance(source, Link):
                    socket = source.output
                    made = Socket(name=out_names[link.target_slot], node=source.node, socket=socket)
                    outputs.append((link.target_slot, made))
        for (inner_id, widget), name in self.promoted.get(graph.id, {}).items():
            node = graph.nodes[inner_id]
            socket = self._inner_input(node, widget)
            deeper = self._definition(node)
            if deeper is not None:
                place = self._promoted_place(node, deeper, widget)
                socket = self.promoted.get(deeper.id, {}).get(place, widget)
            inputs.append((len(names), Socket(name=name, node=inner_id, socket=socket)))
        inputs.sort(key=lambda item: item[0])
        outputs.sort(key=lambda item: item[0])
        return Subgraph(
            id=graph.id,
            name=graph.name,
            nodes=tuple(self._nodes(graph)),
            groups=_groups(graph),
            inputs=tuple({(s.name, s.node, s.socket): s for _, s in inputs}.values()),
            outputs=tuple({socket.name: socket for _, socket in outputs}.values()),
            extra=self._drawn(graph),
        )

    def _target_socket(self, node: CanvasNode, slot: int) -> str:
        """Our name of an inner node's input slot; "" when it has no meaning here."""
        if node.type == REROUTE:
            return "value"
        if slot >= len(node.inputs) or node.type == PRIMITIVE or node.type in NOTES:
            return ""
        inner = self._definition(node)
        if inner is not None:
            for index, name in enumerate(port_names(inner.inputs)):
                if outer_slot(node, inner, index) == slot:
                    return name
            socket = node.inputs[slot]
            shown = socket.widget or socket.name
            return shown if shown in self.promoted.get(inner.id, {}).values() else ""
        name = node.inputs[slot].widget or node.inputs[slot].name
        mapping = mapping_of(node.type)
        return mapping.input(name).name if mapping else name

    def _drawn(self, graph: CanvasGraph) -> dict[str, Any]:
        """The points that links are drawn through: [id, point before it, x, y], and which input's link passes which."""
        if not graph.reroutes:
            return {}
        through = []
        for link in graph.links:
            node = graph.nodes.get(link.target)
            if link.reroute and node is not None and link.target_slot < len(node.inputs):
                through.append([link.target, node.inputs[link.target_slot].name, link.reroute])
        points = [[r.id, r.parent, *r.position] for r in graph.reroutes]
        return {DRAWN_KEY: {"reroutes": points, "through": through}}


def _groups(graph: CanvasGraph) -> tuple[Group, ...]:
    return tuple(Group(title=g.title, rectangle=g.rectangle, colour=g.colour) for g in graph.groups)


def _mode(mode: int) -> NodeMode:
    return "mute" if mode == MUTE else "bypass" if mode == BYPASS else "active"
