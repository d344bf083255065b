"""Seeds after a run: kept, counted on or drawn anew, as each seed's node says (`Node.seeds`).

A run takes the seed that is shown; what it becomes afterwards is an edit of the document like any other, so that the
record of a picture always holds the seed it was made with, and undo brings it back.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

from engine.contracts.errors import InvalidRequest, clip
from engine.contracts.job_spec import JobSpec
from engine.contracts.node_schema import InputSchema
from engine.contracts.workflow import Link, Node, SeedControl, decode_input
from engine.graph.subgraphs import SUBGRAPH
from studio_app.documents import steps
from studio_app.documents.content import MAIN
from studio_app.documents.edits import Edit
from studio_app.documents.form_fields import place_of
from studio_app.documents.graph_document import GraphDocument
from studio_app.documents.steps import Step

LARGEST = 2**32 - 1  # as other programs draw them: readable, and exact in every file format
LARGEST_COUNTED = 2**64 - 1
MERGE = "seeds after a run"  # runs in a row are one entry of the history
WORDS: dict[SeedControl, str] = {
    "fixed": "Keep the seed", "randomize": "Draw a new one after each run", "increment": "Count up after each run",
    "decrement": "Count down after each run",
}  # fmt: skip
SHORT: dict[SeedControl, str] = {"fixed": "", "randomize": "new each run", "increment": "+1", "decrement": "−1"}
_drawn = random.SystemRandom()


@dataclass(frozen=True)
class SetSeedControl(Edit):
    """Say what becomes of a seed of the open level after a run."""

    kind: ClassVar[str] = "set_seed_control"

    node: str
    input: str
    control: SeedControl

    def steps(self, document: GraphDocument) -> Iterator[Step]:
        item = document.input_schema(self.node, self.input)
        if item is None or not item.seed:
            raise InvalidRequest(f"“{clip(self.input)}” is no seed", fix="Choose an input that holds a seed")
        yield from _control_steps(document.graph_id, document.node(self.node), self.input, self.control)


def set_field_control(document: GraphDocument, key: str, control: SeedControl) -> None:
    """The same for a field of the form ("node.input", "outer:inner.input"), as an entry of the history."""
    name, _, given = key.rpartition(".")
    found = place_of(document.content, name)
    if found is not None:
        _, node, graph_id = found
        document.edit_steps(WORDS[control], list(_control_steps(graph_id, node, given, control)))


def field_control(document: GraphDocument, key: str) -> SeedControl:
    """What becomes of a seed of the form after a run."""
    name, _, given = key.rpartition(".")
    found = place_of(document.content, name)
    return control_of(found[1], given) if found is not None else "fixed"


def control_of(node: Node, name: str) -> SeedControl:
    return node.seeds.get(name, "fixed")


def _control_steps(graph_id: str, node: Node, name: str, control: SeedControl) -> Iterator[Step]:
    seeds = {key: value for key, value in node.seeds.items() if key != name}
    if control != "fixed":
        seeds[name] = control
    if seeds != node.seeds:
        yield steps.SetLooks(graph_id, {node.id: {"seeds": seeds}})


def with_seeds_drawn(spec: JobSpec) -> JobSpec:
    """A job of Create's whose workflow draws its sampler's seed anew after each run, as Create does."""
    nodes = tuple(
        replace(node, seeds={"seed": "randomize"})
        if node.id in {"sampler", "second"} and "seed" in node.inputs
        else node
        for node in spec.workflow.nodes
    )
    return replace(spec, workflow=replace(spec.workflow, nodes=nodes))


def new_seed(item: InputSchema) -> int:
    """A random seed within the input's limits."""
    low = max(0, int(item.minimum or 0))
    high = LARGEST if item.maximum is None else min(LARGEST, int(item.maximum))
    return _drawn.randint(low, high)


def advance(document: GraphDocument) -> int:
    """Give every seed that does not stay its next value, at all levels; how many there were."""
    found = dict(_places(document))
    done: list[Step] = []
    for (graph_id, node_id, name), control in found.items():
        graph = document.content.graphs[graph_id]
        node = graph.nodes[node_id]
        item = document.schemas.input(graph, node, name)
        if item is not None:
            done.append(steps.SetInputs(graph_id, node_id, {name: _next(item, node, name, control)}))
    if done:
        document.edit_steps("New seed" if len(done) == 1 else "New seeds", done, merge=MERGE)
    return len(done)


def _next(item: InputSchema, node: Node, name: str, control: SeedControl) -> int:
    if control == "randomize":
        return new_seed(item)
    now = node.inputs[name] if name in node.inputs else decode_input(item.default, name)
    value = int(now) if isinstance(now, (int, float)) else 0
    low = int(item.minimum or 0)
    high = LARGEST_COUNTED if item.maximum is None else int(item.maximum)
    return min(high, max(low, value + (1 if control == "increment" else -1)))


Place = tuple[str, str, str]  # graph, node, input


def _places(document: GraphDocument) -> Iterator[tuple[Place, SeedControl]]:
    """Where each seed that does not stay has its value: on its node, or on the instances that give it from outside."""
    for graph_id, graph in document.content.graphs.items():
        for node in list(graph.nodes.values()) if any(node.seeds for node in graph.nodes.values()) else ():
            for name, control in node.seeds.items():
                if control != "fixed":
                    for place in _holders(document, graph_id, node, name):
                        yield place, control


def _holders(document: GraphDocument, graph_id: str, node: Node, name: str) -> Iterator[Place]:
    if isinstance(node.inputs.get(name), Link):
        return
    head = document.content.subgraphs[graph_id] if graph_id != MAIN else None
    exposed = {s.name for s in head.inputs if (s.node, s.socket) == (node.id, name)} if head is not None else set()
    own = not exposed
    for outer_id, graph in document.content.graphs.items() if exposed else ():
        for instance in graph.nodes.values():
            if instance.type == SUBGRAPH + graph_id:
                given = exposed & instance.inputs.keys()
                own = own or not given
                for outer in given:
                    yield from _holders(document, outer_id, instance, outer)
    if own:
        yield graph_id, node.id, name
