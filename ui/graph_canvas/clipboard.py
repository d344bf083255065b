"""Nodes as text on the clipboard: a workflow's own JSON, so that any window, file or mail can take them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from engine.contracts.errors import InvalidDocument
from engine.contracts.workflow import Link, Node, Subgraph, Workflow
from engine.graph.subgraphs import SUBGRAPH
from studio_app.documents.edits import AddNodes
from studio_app.documents.graph_document import GraphDocument

LONGEST = 32 * 2**20  # characters of clipboard text that are looked at


def copied(document: GraphDocument, names: Iterable[str]) -> str:
    """The nodes, the wires among them, the frames wholly around them and the subgraphs they need, as JSON text."""
    wanted = set(names)
    nodes = [node for name, node in document.nodes.items() if name in wanted]
    workflow = document.workflow
    part = Workflow(nodes=tuple(nodes), subgraphs=_needed(nodes, workflow.subgraphs))
    return json.dumps(part.to_json(), ensure_ascii=False)


def _needed(nodes: Iterable[Node], subgraphs: Iterable[Subgraph]) -> tuple[Subgraph, ...]:
    known = {s.id: s for s in subgraphs}
    found: dict[str, Subgraph] = {}
    waiting = [n.type.removeprefix(SUBGRAPH) for n in nodes if n.type.startswith(SUBGRAPH)]
    while waiting:
        name = waiting.pop()
        if name in known and name not in found:
            found[name] = known[name]
            waiting += [n.type.removeprefix(SUBGRAPH) for n in known[name].nodes if n.type.startswith(SUBGRAPH)]
    return tuple(found.values())


def parsed(text: str) -> Workflow | None:
    """The workflow in a text, None when it is something else. Raises InvalidDocument for a broken workflow."""
    text = text.strip()
    if len(text) > LONGEST or not text.startswith("{"):
        return None
    try:
        data: Any = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict) or data.get("format") != Workflow.format:
        return None
    return Workflow.from_json(data)


def pasting(document: GraphDocument, part: Workflow, at: tuple[float, float]) -> AddNodes:
    """The edit that adds the nodes of `part` with new ids, their upper left corner at `at`. A wire whose other end was
    not copied is kept where that node is here and the wire fits. Raises InvalidDocument."""
    if not part.nodes:
        raise InvalidDocument("there is no node in what was copied")
    unknown = {n.type for n in part.nodes if n.type.startswith(SUBGRAPH) and not document.schemas.known(n.type)}
    if unknown:
        raise InvalidDocument("the subgraph of these nodes is not in this workflow", fix="Copy it from the library")
    left = min(n.position[0] for n in part.nodes)
    top = min(n.position[1] for n in part.nodes)
    ids: dict[str, str] = {}
    for node in part.nodes:
        ids[node.id] = document.new_id(node.id, ids.values())
    added = tuple(
        replace(
            node, id=ids[node.id], pinned=False, inputs=_inputs(document, node, ids),
            position=(node.position[0] - left + at[0], node.position[1] - top + at[1]),
        )
        for node in part.nodes
    )  # fmt: skip
    return AddNodes(added)


def _inputs(document: GraphDocument, node: Node, ids: Mapping[str, str]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for name, value in node.inputs.items():
        if not isinstance(value, Link):
            given[name] = value
        elif value.node in ids:
            given[name] = Link(ids[value.node], value.output)
        elif value.node in document.nodes and document.schema(value.node).output(value.output) is not None:
            given[name] = value
    return given
