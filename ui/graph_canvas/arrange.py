"""Small acts on the document that gestures share."""

from __future__ import annotations

from engine.contracts.errors import TesseraError, clip
from studio_app.documents.edits import Connect, Disconnect, source_through
from studio_app.documents.graph_document import GraphDocument, Wire


def lift_out(document: GraphDocument, node_id: str) -> str:
    """Take a node out of its wires and join what it stood between. Returns the sentence why not, "" if it went."""
    into, out = document.wires_into(node_id), document.wires_from(node_id)
    if not into and not out:
        return ""
    joins = []
    for wire in out:
        link = source_through(document, wire, {node_id})
        if link is not None:
            joins.append(Connect(Wire(link.node, link.output, wire.target, wire.input)))
    try:
        document.edit("Take out of the wires", Disconnect((*into, *out)), *joins)
    except TesseraError as error:
        return clip(str(error), 200)
    return ""
