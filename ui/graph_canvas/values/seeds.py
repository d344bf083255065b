"""Seeds that are not locked: each run draws new ones, as an entry of the history like any other change."""

from __future__ import annotations

import random

from engine.contracts.node_schema import InputSchema
from engine.contracts.workflow import Link
from studio_app.documents.edits import Edit, set_input
from studio_app.documents.graph_document import GraphDocument

LARGEST = 2**32 - 1  # as other programs draw them: readable, and exact in every file format
_drawn = random.SystemRandom()


def new_seed(item: InputSchema) -> int:
    """A random seed within the input's limits."""
    low = max(0, int(item.minimum or 0))
    high = LARGEST if item.maximum is None else min(LARGEST, int(item.maximum))
    return _drawn.randint(low, high)


class OpenSeeds:
    """The seeds of one workflow that are open, as "node.input"."""

    def __init__(self) -> None:
        self.keys: set[str] = set()

    def is_locked(self, node: str, name: str) -> bool:
        return f"{node}.{name}" not in self.keys

    def set_locked(self, node: str, name: str, locked: bool) -> None:
        (self.keys.discard if locked else self.keys.add)(f"{node}.{name}")

    def draw(self, document: GraphDocument) -> int:
        """Give each open seed of the level that is shown a new value; how many there were."""
        edits: list[Edit] = []
        for key in sorted(self.keys):
            node, _, name = key.rpartition(".")
            if node not in document.nodes or isinstance(document.nodes[node].inputs.get(name), Link):
                continue
            item = document.input_schema(node, name)
            if item is not None:
                edits.append(set_input(node, name, new_seed(item)))
        if edits:
            document.edit("New seed" if len(edits) == 1 else "New seeds", *edits)
        return len(edits)
