"""A node takes another type, and keeps the wires and values that fit."""

from __future__ import annotations

from collections.abc import Iterator

from engine.contracts.errors import UnknownChoice
from engine.contracts.node_schema import InputSchema
from engine.contracts.workflow import InputValue, Link
from engine.graph.ports import Port, WrongValue, compatible
from studio_app.documents import steps
from studio_app.documents.graph_document import GraphDocument
from studio_app.documents.steps import Step


def swap_steps(document: GraphDocument, node_id: str, type_name: str) -> Iterator[Step]:
    """The steps that give a node another type. What does not fit goes: wires of other types, values out of range."""
    graph, schemas, graph_id = document.graph, document.schemas, document.graph_id
    node, former = document.node(node_id), document.schema(node_id)
    wanted = schemas.of_type(type_name)
    if wanted is None:
        raise UnknownChoice("node", type_name, sorted(document.registry.types))
    if type_name == node.type:
        return
    outputs = {wire: schemas.output_type(graph, node, wire.output) or "*" for wire in document.wires_from(node_id)}
    kept = _inputs(document, node_id, wanted.inputs)
    looks: dict[str, object] = {"type": type_name, "type_version": wanted.node_version, "as_sockets": ()}
    if node.title in ("", former.title):
        looks["title"] = ""
    yield steps.SetInputs(graph_id, node_id, kept, tuple(n for n in node.inputs if n not in kept))
    yield steps.SetLooks(graph_id, {node_id: looks})
    for wire, kind in outputs.items():
        target = document.input_schema(wire.target, wire.input)
        names = [o.name for o in wanted.outputs if target is not None and compatible(o.type, target.type)]
        exact = [o.name for o in wanted.outputs if o.name in names and o.type == kind]
        found = wire.output if wire.output in names else next(iter(exact or names), None)
        if found is None:
            yield steps.SetInputs(graph_id, wire.target, unset=(wire.input,))
        elif found != wire.output:
            yield steps.SetInputs(graph_id, wire.target, {wire.input: Link(node_id, found)})


def _inputs(document: GraphDocument, node_id: str, wanted: tuple[InputSchema, ...]) -> dict[str, InputValue]:
    """The inputs of a node as another type takes them: those of the same name, then wires by their type."""
    given = dict(document.node(node_id).inputs)
    kept: dict[str, InputValue] = {}
    ports = {schema.name: schema for schema in wanted if not schema.variadic}
    for name in [n for n in given if n in ports]:
        if _fits(document, given[name], ports[name]):
            kept[name] = given.pop(name)
    for value in given.values():
        if not isinstance(value, Link):
            continue
        for name, schema in ports.items():
            if name not in kept and schema.type != "*" and _fits(document, value, schema):
                kept[name] = value
                break
    return kept


def _fits(document: GraphDocument, value: InputValue, schema: InputSchema) -> bool:
    if isinstance(value, Link):
        source = document.graph.nodes.get(value.node)
        kind = document.schemas.output_type(document.graph, source, value.output) if source else None
        return kind is not None and compatible(kind, schema.type)
    try:
        Port(schema).read(value)
    except WrongValue:
        return False
    return True
