"""Whether two workflows are the same graph, whatever their ids, positions, subgraphs, reroutes and notes.

Uses the engine's own signatures, with two allowances: types that the studio lacks are signed by their name and
inputs, and a value out of its range still counts as the value it is.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from engine.contracts.node_schema import ANY, InputSchema, NodeSchema, OutputSchema
from engine.contracts.workflow import BlobRef, InputValue, Link, ModelRef, Node, Workflow
from engine.graph.node import NodeDefinition
from engine.graph.registry import NodeType, Registry
from engine.graph.signatures import signatures
from engine.graph.subgraphs import Gone, flatten
from engine.interchange.comfyui.importer import NOTE_TYPE, REROUTE_TYPE


def same_graph(a: Workflow, b: Workflow, registry: Registry) -> bool:
    """Whether both open into the same nodes with the same values and wiring."""
    left, right = graphs_of((a, b), registry)
    return left == right


def graphs_of(workflows: tuple[Workflow, ...], registry: Registry) -> list[Counter[str]]:
    """Per workflow, how often each node occurs: "type signature", where the signature covers all that feeds it.

    A node that can't be signed, as it stands in a cycle, counts by its type alone.
    """
    opened = [_opened(workflow, registry) for workflow in workflows]
    signer = _signing_registry(opened, registry)
    found = []
    for workflow in opened:
        signed = signatures(workflow, signer)
        found.append(Counter(f"{node.type} {signed.get(node.id, '')}" for node in workflow.nodes))
    return found


def _opened(workflow: Workflow, registry: Registry) -> Workflow:
    """The plain nodes of a workflow: subgraphs opened, mute, bypass and reroutes resolved, notes left out."""
    prepared = replace(
        workflow,
        nodes=_prepared(workflow.nodes),
        subgraphs=tuple(replace(s, nodes=_prepared(s.nodes)) for s in workflow.subgraphs),
    )
    reroute = NodeSchema(
        type=REROUTE_TYPE, title="", category="",
        inputs=(InputSchema(name="value", type=ANY, required=False),), outputs=(OutputSchema(name="value", type=ANY),),
    )  # fmt: skip
    types: Mapping[str, NodeType] = {**registry.types, REROUTE_TYPE: _node_type(reroute)}
    flat = flatten(prepared, types).nodes
    nodes = []
    for node_id, item in flat.items():
        inputs = {
            name: _plain(value, item.node.type in registry.types)
            for name, value in item.inputs.items()
            if value is not None
            and not isinstance(value, Gone)
            and not (isinstance(value, Link) and value.node not in flat)
        }
        nodes.append(Node(id=node_id, type=item.node.type, inputs=inputs))
    return Workflow(nodes=tuple(nodes))


def _prepared(nodes: tuple[Node, ...]) -> tuple[Node, ...]:
    return tuple(
        replace(node, mode="bypass") if node.type == REROUTE_TYPE and node.mode == "active" else node
        for node in nodes
        if node.type != NOTE_TYPE
    )


def _plain(value: InputValue, known: bool) -> InputValue:
    """The value with 1.0 as 1, and a reference without the hints that only one of two files may carry.

    A class we lack takes names and nothing more, also where one exposed input feeds it and a node of ours.
    """
    if isinstance(value, (ModelRef, BlobRef)) and not known:
        return value.name
    if isinstance(value, ModelRef):
        return ModelRef(kind=value.kind, name=value.name)
    return _whole_numbers(value) if isinstance(value, (float, list, dict)) else value


def _whole_numbers(value: Any) -> Any:
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_whole_numbers(item) for item in value]
    if isinstance(value, dict):
        return {key: _whole_numbers(item) for key, item in value.items()}
    return value


def _signing_registry(workflows: list[Workflow], registry: Registry) -> Registry:
    """Every type in use, with each input that occurs open to any value and the studio's own defaults."""
    inputs: dict[str, dict[str, InputSchema]] = {}
    outputs: dict[str, dict[str, OutputSchema]] = {}
    for workflow in workflows:
        kinds = {node.id: node.type for node in workflow.nodes}
        for node in workflow.nodes:
            if node.type not in inputs:
                known = registry.find(node.type)
                given = known.schema.inputs if known else ()
                inputs[node.type] = {i.name: _open(i.name, _whole_numbers(i.default)) for i in given}
                outputs[node.type] = {}
            for name, value in node.inputs.items():
                inputs[node.type].setdefault(name, _open(name, None))
                if isinstance(value, Link):
                    port = OutputSchema(name=value.output, type=ANY)
                    outputs.setdefault(kinds[value.node], {})[value.output] = port
    return Registry(
        NodeDefinition(
            NodeSchema(
                type=name, title=name, category="", inputs=tuple(ports.values()),
                outputs=tuple(outputs.get(name, {}).values()),
            ),
            _never_run,
        )
        for name, ports in inputs.items()
    )  # fmt: skip


def _open(name: str, default: Any) -> InputSchema:
    return InputSchema(name=name, type=ANY, required=False, default=default)


def _node_type(schema: NodeSchema) -> NodeType:
    return NodeType(NodeDefinition(schema, _never_run))


def _never_run(*_: object) -> None:
    raise AssertionError("a type made for comparing is never run")
