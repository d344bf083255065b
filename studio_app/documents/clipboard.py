"""Nodes as JSON text, to be copied between places, windows and programs: "tessera.fragment".

What comes from a clipboard is anybody's: its size is looked at before it is parsed, and whatever is wrong with it is
said in one sentence.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

from engine.contracts.codec import Document, dump_json, parse_json
from engine.contracts.errors import InvalidDocument
from engine.contracts.workflow import Group, InputValue, Link, Node, Subgraph, Workflow
from engine.graph.subgraphs import SUBGRAPH
from studio_app.documents import steps
from studio_app.documents.content import MAIN
from studio_app.documents.edits import Edit
from studio_app.documents.graph_document import GraphDocument
from studio_app.documents.steps import Step
from studio_app.workflows.library import subgraphs_within

MAX_TEXT = 8 * 2**20  # characters
MAX_NODES = 10_000
WHERE = "clipboard"


@dataclass(frozen=True, kw_only=True)
class Fragment(Document):
    """Nodes with the wires among them, the groups around them and the subgraphs they use."""

    format: ClassVar[str] = "tessera.fragment"

    nodes: tuple[Node, ...] = ()
    groups: tuple[Group, ...] = ()
    subgraphs: tuple[Subgraph, ...] = ()


def copied(document: GraphDocument, nodes: Iterable[str], groups: Iterable[int] = ()) -> str:
    """The text of chosen nodes, and groups by their index. Wires from nodes that are not chosen are kept as links, so
    that pasting in the same place can take them up again."""
    names = set(nodes)
    chosen = tuple(n for n in document.graph.frozen() if n.id in names)
    used: dict[str, Subgraph] = {}
    whole = document.workflow if any(n.type.startswith(SUBGRAPH) for n in chosen) else Workflow()
    for node in chosen:
        if node.type.startswith(SUBGRAPH):
            used |= {s.id: s for s in subgraphs_within(whole, node.type.removeprefix(SUBGRAPH))}
    kept = tuple(document.groups[index] for index in groups)
    return dump_json(Fragment(nodes=chosen, groups=kept, subgraphs=tuple(used.values())).to_json())


def read_fragment(text: str) -> Fragment:
    """The nodes in a text: a fragment, or a whole workflow. Raises InvalidDocument with one sentence, soon."""
    if len(text) > MAX_TEXT:
        raise InvalidDocument(f"it holds more than {MAX_TEXT // 2**20} million characters", where=WHERE)
    if text.lstrip("\ufeff \t\r\n")[:1] != "{":
        raise InvalidDocument("it holds no nodes", where=WHERE, fix="Copy nodes in a graph first")
    data = parse_json(text, WHERE)
    if isinstance(data, dict) and data.get("format") == Workflow.format:
        workflow = Workflow.from_json(data, WHERE)
        found = Fragment(nodes=workflow.nodes, groups=workflow.groups, subgraphs=workflow.subgraphs)
    elif isinstance(data, dict) and data.get("format") == Fragment.format:
        found = Fragment.from_json(data, WHERE)
    else:
        raise InvalidDocument("it holds JSON, but no nodes of the studio", where=WHERE)
    count = len(found.nodes) + sum(len(s.nodes) for s in found.subgraphs)
    if count > MAX_NODES:
        raise InvalidDocument(f"it holds {count:,} nodes; at most {MAX_NODES:,} can be pasted", where=WHERE)
    if len({n.id for n in found.nodes}) != len(found.nodes):
        raise InvalidDocument("two of its nodes have the same id", where=WHERE)
    return found


@dataclass(frozen=True)
class Paste(Edit):
    """Add a fragment's nodes under free ids, its top left corner at `at` in canvas pixels.

    With `keep_wires`, wires from nodes outside the fragment are laid again where those nodes are here.
    """

    kind: ClassVar[str] = "paste"

    fragment: Fragment
    at: tuple[float, float]
    keep_wires: bool = False

    def names(self, document: GraphDocument) -> dict[str, str]:
        """The id each node of the fragment gets here, by its own."""
        found: dict[str, str] = {}
        taken: set[str] = set()
        for node in self.fragment.nodes:
            found[node.id] = document.new_id(node.id or node.type.rpartition(".")[2], taken)
            taken.add(found[node.id])
        return found

    def steps(self, document: GraphDocument) -> Iterator[Step]:
        fragment, here = self.fragment, document.graph
        kinds: dict[str, str] = {}
        for subgraph in fragment.subgraphs:
            yield from self._put(document, subgraph, kinds)
        names = self.names(document)
        corners = [n.position for n in fragment.nodes] + [(g.rectangle[0], g.rectangle[1]) for g in fragment.groups]
        dx = self.at[0] - min((x for x, _ in corners), default=0.0)
        dy = self.at[1] - min((y for _, y in corners), default=0.0)

        def value(given: InputValue) -> InputValue | None:
            if not isinstance(given, Link):
                return given
            if given.node in names:
                return Link(names[given.node], given.output)
            return given if self.keep_wires and given.node in here.nodes else None

        nodes = []
        for node in fragment.nodes:
            inputs = {key: value(given) for key, given in node.inputs.items()}
            dropped = {key for key, given in node.inputs.items() if isinstance(given, Link) and inputs[key] is None}
            nodes.append(
                replace(
                    _of_kind(node, kinds),
                    id=names[node.id],
                    inputs={key: item for key, item in inputs.items() if key not in dropped},
                    position=(node.position[0] + dx, node.position[1] + dy),
                    pinned=False,
                )
            )
        if nodes:
            yield steps.PutNodes(document.graph_id, tuple(nodes))
        if fragment.groups:
            moved = (
                replace(g, rectangle=(g.rectangle[0] + dx, g.rectangle[1] + dy, *g.rectangle[2:]))
                for g in fragment.groups
            )
            yield steps.SetGroups(document.graph_id, (*document.groups, *moved))

    def _put(self, document: GraphDocument, subgraph: Subgraph, kinds: dict[str, str]) -> Iterator[Step]:
        """Add a subgraph's definition, unless the very same is here; `kinds` learns its id here."""
        content = document.content
        wanted = subgraph.id
        if wanted in content.subgraphs and content.subgraph(wanted) == subgraph:
            kinds[wanted] = wanted
            return
        found, number = wanted, 2
        while found in content.subgraphs:
            found, number = f"{wanted}_{number}", number + 1
        kinds[wanted] = found
        if document.graph_id != MAIN and found == document.graph_id:
            raise InvalidDocument("a subgraph can't contain itself", where=WHERE)
        later = {s.id for s in self.fragment.subgraphs}
        nodes = tuple(_of_kind(n, kinds) if n.type.removeprefix(SUBGRAPH) in later else n for n in subgraph.nodes)
        yield steps.PutSubgraph(replace(subgraph, id=found, nodes=nodes))


def _of_kind(node: Node, kinds: dict[str, str]) -> Node:
    found = kinds.get(node.type.removeprefix(SUBGRAPH)) if node.type.startswith(SUBGRAPH) else None
    return replace(node, type=SUBGRAPH + found) if found else node
