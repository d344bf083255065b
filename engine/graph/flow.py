"""What a node may return besides values: a graph to run in its place, or a stop for whatever would follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.contracts.workflow import Link, Workflow

OWN = ""  # Link(OWN, "image") in a fragment stands for the expanding node's own input "image"


@dataclass(frozen=True)
class Expand:
    """Run `workflow` in the node's place; `outputs` gives each of the node's outputs a link into it, or a value.

    Node ids inside are local: the engine runs "inner" of node "outer" as "outer:inner". `Link(OWN, name)` takes the
    node's own input as it is wired, computed or not, so that signatures stay those of the source. Nodes of type
    "subgraph:<id>" may use the subgraphs of the job's workflow and those the fragment brings.
    """

    workflow: Workflow
    outputs: Mapping[str, Any]


@dataclass(frozen=True)
class Block:
    """Returned for an output (or as an element of a list output): nodes that would take it do not run.

    `reason` is shown on the blocked nodes.
    """

    reason: str = ""


def own(name: str) -> Link:
    """The expanding node's own input `name`, for use in a fragment."""
    return Link(OWN, name)
