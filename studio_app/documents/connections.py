"""Whether a wire may be laid, and the one sentence why not."""

from __future__ import annotations

from engine.contracts.errors import clip
from engine.graph.ports import compatible
from studio_app.documents.content import Graph, Wire
from studio_app.documents.schemas import Schemas


def why_not(wire: Wire, graph: Graph, schemas: Schemas) -> str:
    """ "" when `wire` may be laid in `graph`."""
    source, target = graph.nodes.get(wire.source), graph.nodes.get(wire.target)
    if source is None or target is None:
        gone = wire.source if source is None else wire.target
        return f"There is no node “{clip(gone)}” here."
    gives = schemas.output_type(graph, source, wire.output)
    if gives is None:
        return f"“{clip(source.title or source.id)}” has no output “{clip(wire.output)}”."
    wanted = schemas.input(graph, target, wire.input)
    if wanted is None:
        return f"“{clip(target.title or target.id)}” has no input “{clip(wire.input)}”."
    if not compatible(gives, wanted.type):
        return f"This output gives {words(gives)}, the input “{clip(wire.input)}” takes {words(wanted.type)}."
    if source is target:
        return "A node can't feed itself."
    if graph.order.reaches(wire.target, wire.source):
        end = clip(target.title or target.id, 40)
        return f"This would close a circle: “{end}” already feeds this node, directly or through others."
    return ""


def words(socket_type: str) -> str:
    """A socket type in a sentence: "IMAGE or MASK", "a number"."""
    return " or ".join(_WORDS.get(kind, kind) for kind in socket_type.split("|"))


_WORDS = {
    "INT": "a whole number", "FLOAT": "a number", "STRING": "a text", "BOOLEAN": "yes or no", "COMBO": "a choice",
    "COLOUR": "a colour", "BLOB": "a file", "LIST": "a list", "JSON": "any value", "*": "anything",
}  # fmt: skip
