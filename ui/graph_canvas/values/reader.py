"""Which model reads a prompt that is edited on the canvas."""

from __future__ import annotations

from engine.contracts.references import ModelRef
from engine.contracts.workflow import Link
from studio_app.documents.graph_document import GraphDocument
from ui.graph_canvas.values.kinds import value_in

READERS = frozenset({"checkpoint", "text_encoder"})  # kinds of models that read text


def reader_of(document: GraphDocument, node: str) -> ModelRef | None:
    """Follow the wires back from a node of the open level, nearest first, to the model that encodes its text.

    None where the way leads out of an open subgraph, or to no loader.
    """
    seen, waiting = {node}, [node]
    while waiting:
        name = waiting.pop(0)
        there = document.nodes.get(name)
        if there is None:
            continue
        for item in document.schema(name).inputs:
            found = value_in(item, there.inputs, item.name) if item.model_kind in READERS else None
            if isinstance(found, ModelRef):
                return found
        links = [(key, value) for key, value in there.inputs.items() if isinstance(value, Link)]
        for _, link in sorted(links, key=lambda each: each[0] != "clip"):  # what encodes text comes before all else
            if link.node not in seen:
                seen.add(link.node)
                waiting.append(link.node)
    return None
