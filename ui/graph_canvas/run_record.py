"""What runs said of every node of one workflow, at every level; the scene is told what concerns the open one.

Names are those of runs: "outer:inner" within a subgraph, or within what a node expanded into.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from PySide6.QtGui import QImage

from engine.graph.subgraphs import SUBGRAPH
from studio_app.documents.form_fields import place_of
from studio_app.documents.graph_document import GraphDocument
from ui.graph_canvas.states import IDLE, NodeState

_COPY = re.compile(r"\[\d+\](?=:)")  # "each[3]:blur": one of several copies of a fragment
_SETTLED = frozenset({"done", "cached"})
_OVER = frozenset({"done", "cached", "failed", "blocked"})


class RunRecord:
    """Belongs to one open workflow. A node that holds others shows how far those are."""

    def __init__(self, document: GraphDocument) -> None:
        self._document = document
        self._own: dict[str, NodeState] = {}  # what events said of the node itself
        self._inside: dict[str, dict[str, None]] = {}  # node → those directly within it
        self.notes: dict[str, str] = {}  # what nodes wrote into the log last
        self.frames: dict[str, QImage] = {}  # the newest picture of what a node was drawing

    def clear(self) -> None:
        self._own.clear()
        self._inside.clear()
        self.notes.clear()
        self.frames.clear()

    # ---- hearing

    def say(self, states: Mapping[str, NodeState]) -> set[str]:
        """Note states by run name; returns the names of all nodes that may look otherwise now."""
        stale: set[str] = set()
        for told, state in states.items():
            name = _COPY.sub("", told)
            self._own[name] = state
            stale.add(name)
            while ":" in name:
                outer = name.rpartition(":")[0]
                self._inside.setdefault(outer, {})[name] = None
                stale.add(outer)
                name = outer
        return stale

    def note(self, name: str, text: str) -> None:
        """A node wrote something into the log."""
        self.notes[_COPY.sub("", name)] = text

    def frame(self, name: str, frame: QImage) -> None:
        """A node is drawing, and this is how far it is."""
        self.frames[_COPY.sub("", name)] = frame

    def over(self) -> set[str]:
        """A run has ended: nothing waits or runs any more. Returns the nodes that look otherwise now."""
        left = [name for name, state in self._own.items() if state.kind in {"waiting", "running"}]
        return self.say(dict.fromkeys(left, IDLE))

    # ---- looking

    def state(self, name: str) -> NodeState:
        """The node's own state, or that of what is within it."""
        own, inside = self._own.get(name, IDLE), self._inside.get(name)
        if not inside or own.kind in _OVER:
            return own
        return summary([self.state(each) for each in inside], waiting=own.kind in {"waiting", "running"})

    def of_level(self) -> dict[str, NodeState]:
        """The states of the open level's nodes, by their ids there."""
        found = {}
        for name in self._document.nodes:
            state = self.state(run_name(self._document.level, name))
            if state.kind != "idle":
                found[name] = state
        return found

    def here(self, names: Iterable[str]) -> dict[str, NodeState]:
        """Those of `names` that are nodes of the open level, by their ids there."""
        level = self._document.level
        prefix = "".join(f"{each}:" for each in level)
        local = {name: name.removeprefix(prefix) for name in names if name.startswith(prefix)}
        return {short: self.state(name) for name, short in local.items() if short and ":" not in short}

    def fault(self, name: str) -> str:
        """The innermost node of the document that failed, within a node that failed; the node itself where it did."""
        while (inside := self._inside.get(name)) and self._own.get(name, IDLE).kind != "failed":
            found = next((each for each in inside if self.state(each).kind == "failed"), None)
            if found is None or place_of(self._document.content, found) is None:
                break
            name = found
        return name

    def title(self, name: str) -> str:
        """What stands on the node: of one within a fragment that is no part of the document, on the node around."""
        name = _COPY.sub("", name)
        while name:
            found = place_of(self._document.content, name)
            if found is not None:
                graph, node, _ = found
                return node.title or self._document.schemas.of(graph, node).title
            name = name.rpartition(":")[0]
        return ""


def summary(states: Iterable[NodeState], *, waiting: bool = False) -> NodeState:
    """The state of a node by those within it. `waiting`: it is known itself not to be over."""
    found = list(states)
    kinds = [state.kind for state in found]
    total, done = len(found), sum(kind in _SETTLED for kind in kinds)
    failed = next((state for state in found if state.kind == "failed"), None)
    if failed is not None:
        return NodeState("failed", text=failed.text)
    if "running" in kinds or ("waiting" in kinds and done) or (waiting and done):
        share = sum(min(1.0, max(0.0, state.progress)) for state in found if state.kind == "running")
        return NodeState("running", (done + share) / total, done=done, total=total)
    if "waiting" in kinds or waiting:
        return NodeState("waiting")
    if "blocked" in kinds:
        return NodeState("blocked", text="A node before it failed.")
    if total and done == total:
        if all(kind == "cached" for kind in kinds):
            return NodeState("cached", text="Nothing it depends on has changed, so it was not run.")
        return NodeState("done", seconds=sum(state.seconds for state in found))
    return IDLE


def run_name(level: Iterable[str], node: str) -> str:
    """A node of a level as runs name it."""
    return ":".join((*level, node))


def source_of(document: GraphDocument, node: str, output: str) -> tuple[str, int, str] | None:
    """(the run name of the node that makes it, the output's place there, its type) of an output of the open level's
    `node`, through subgraphs within subgraphs. None where it leads nowhere."""
    level, graph_id = document.level, document.graph_id
    for _ in range(len(document.content.graphs) + 1):
        graph = document.content.graphs[graph_id]
        found = graph.nodes.get(node)
        if found is None:
            return None
        inner = found.type.removeprefix(SUBGRAPH)
        head = document.content.subgraphs.get(inner) if found.type.startswith(SUBGRAPH) else None
        if head is None:
            outputs = document.schemas.of(graph, found).outputs
            index = next((i for i, each in enumerate(outputs) if each.name == output), -1)
            return (run_name(level, node), index, outputs[index].type) if index >= 0 else None
        socket = next((each for each in head.outputs if each.name == output), None)
        if socket is None:
            return None
        level, graph_id, node, output = (*level, node), inner, socket.node, socket.socket
    return None
