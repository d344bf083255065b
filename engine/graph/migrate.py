"""Old node versions: a node's declared migrations bring the inputs of an older document up to the present one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.contracts.errors import Problem
from engine.contracts.workflow import Node
from engine.graph.registry import NodeType


def migrated(node: Node, kind: NodeType, node_id: str, problems: list[Problem]) -> Mapping[str, Any]:
    """The inputs of `node` as the present version of its type takes them. What can't be done goes to `problems`."""
    have, want = node.type_version, kind.schema.node_version
    if have > want:
        problems.append(
            Problem(
                "newer_node",
                f"it was made with version {have} of “{node.type}”; this studio has version {want}",
                "Update Tessera Studio to open it",
                node=node_id,
            )
        )
        return node.inputs
    inputs: dict[str, Any] = dict(node.inputs)
    for migrate in kind.definition.migrations[max(have, 1) - 1 : want - 1]:
        try:
            inputs = dict(migrate(dict(inputs)))
        except Exception as error:  # noqa: BLE001  # an old document's inputs can be anything; the author's code may not expect it
            problems.append(
                Problem(
                    "not_migrated",
                    f"its inputs could not be brought from version {have} to {want} ({type(error).__name__}: {error})",
                    "Make the node anew",
                    node=node_id,
                )
            )
            return node.inputs
    return inputs
