"""Finding a node type by what a person remembers of it: name, category, what goes in or comes out, words of its doc."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from engine.contracts.node_schema import NodeSchema
from engine.contracts.workflow import Link
from engine.graph.ports import compatible
from studio_app.documents.edits import rank_fit
from ui.graph_canvas.sockets import words_for
from ui.graph_canvas.tools.base import LooseEnd
from ui.widgets.fuzzy import score

MOST = 60  # results of a query; without one all are shown, for who has only a mouse
RECENT = 12


@dataclass(frozen=True)
class Found:
    """A node type that fits. `socket` is where the loose end would go."""

    schema: NodeSchema
    socket: str = ""


class NodeFinder:
    """Knows every node type; `recent` are the types used last, the newest first."""

    def __init__(self, schemas: Iterable[NodeSchema], recent: Sequence[str] = ()) -> None:
        self.set_schemas(schemas)
        self.recent: list[str] = list(recent)[:RECENT]

    def set_schemas(self, schemas: Iterable[NodeSchema]) -> None:
        """These are the node types now."""
        self._entries = [(schema, _words(schema)) for schema in schemas if schema.origin != "placeholder"]

    def used(self, type_name: str) -> None:
        """Remember a choice."""
        self.recent = [type_name, *(t for t in self.recent if t != type_name)][:RECENT]

    def find(self, query: str, end: LooseEnd | None = None, more: Iterable[NodeSchema] = ()) -> list[Found]:
        """The types that fit `query` (and can take the loose end), best first; for no query recents first.

        A title counts most, then other names, then category and socket types, then words of the documentation.
        """
        query = query.strip()
        found: list[tuple[float, int, Found]] = []
        entries = [*((schema, _words(schema)) for schema in more), *self._entries]
        for place, (schema, words) in enumerate(entries):
            socket = "" if end is None else socket_for(schema, end)
            if socket is None:
                continue
            value = _rank(query, schema, words)
            if value is None:
                continue
            if schema.type in self.recent:
                value += (RECENT - self.recent.index(schema.type)) * (100.0 if not query else 0.4)
            if end is not None:  # of those that fit, the plain ones first
                value += 3.0 * _exact(schema, socket, end) - 0.2 * len(schema.inputs)
            found.append((-value, place, Found(schema, socket)))
        found.sort(key=lambda item: item[:2])
        return [item[2] for item in (found[:MOST] if query else found)]


def socket_for(schema: NodeSchema, end: LooseEnd) -> str | None:
    """The socket of a new node that the loose end would be wired to; None when it has none of its type."""
    if end.is_output:
        fits = [(rank_fit(end.kind, i.type), f"{i.name}0" if i.variadic else i.name) for i in schema.inputs]
    else:
        fits = [(rank_fit(item.type, end.kind), item.name) for item in schema.outputs]
    best = min((f for f in fits if f[0] is not None), key=lambda f: f[0] or 0, default=None)
    return best[1] if best is not None else None


def swaps(
    schemas: Iterable[NodeSchema], node: NodeSchema, links: Sequence[Link], taken: Sequence[str]
) -> list[NodeSchema]:
    """The types that could stand in for `node`: they take something of its inputs' types and give all that is taken."""
    wanted = {o.type for o in node.outputs if o.name in taken}
    given = {i.type for i in node.inputs}
    found = []
    for schema in schemas:
        if schema.type == node.type:
            continue
        gives = all(any(compatible(o.type, kind) for o in schema.outputs) for kind in wanted)
        shares = any(i.type in given for i in schema.inputs) or not links
        same = {o.type for o in schema.outputs} & {o.type for o in node.outputs} or not node.outputs
        if gives and shares and same:
            found.append(schema)
    return sorted(found, key=lambda s: (s.category != node.category, s.category, s.title))


@dataclass(frozen=True)
class _Words:
    title: str
    names: tuple[str, ...]
    kinds: str
    doc: str


def _words(schema: NodeSchema) -> _Words:
    kinds = {words_for(i.type) for i in schema.inputs} | {words_for(o.type) for o in schema.outputs}
    return _Words(
        schema.title.casefold(),
        (*(t.casefold() for t in schema.search_terms), schema.type.casefold()),
        f"{schema.category} {' '.join(sorted(kinds))}".casefold(),
        schema.doc.casefold(),
    )


def _rank(query: str, schema: NodeSchema, words: _Words) -> float | None:
    if not query:
        return 0.0
    best: float | None = None
    title = score(query, schema.title)
    if title is not None:
        best = title * 2
    for name in words.names:
        value = score(query, name)
        if value is not None and (best is None or value > best):
            best = value
    parts = query.casefold().split()
    everything = f"{words.title} {words.kinds}"
    if all(part in everything for part in parts):
        best = max(best or 0.0, 30.0)
    elif all(part in everything or part in words.doc for part in parts):
        best = max(best or 0.0, 15.0)
    return best


def _exact(schema: NodeSchema, socket: str, end: LooseEnd) -> bool:
    sockets: Callable[[], Iterable[tuple[str, str]]] = lambda: (  # noqa: E731
        ((i.name, i.type) for i in schema.inputs) if end.is_output else ((o.name, o.type) for o in schema.outputs)
    )
    return any(name == socket and kind == end.kind for name, kind in sockets())
