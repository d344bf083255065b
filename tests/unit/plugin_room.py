"""A data folder with nodes of a person's own in it, for the tests of plugins."""

from __future__ import annotations

import os
from pathlib import Path

from engine.contracts.workflow import Workflow
from studio_app.application import Application
from studio_app.plugins.plugins import PluginEntry, Plugins

HEAD = """\
from engine.graph.node import NodeContext, node

"""


def adder(kind: str = "mine.add", plus: int = 1, head: str = "") -> str:
    """The text of a plugin with one node, which adds `plus`."""
    return f"""{HEAD}{head}
@node("{kind}", category="Mine", outputs=("sum",))
def add(ctx: NodeContext, value: int = 0) -> int:
    \"\"\"Add a number.

    value: to add to
    \"\"\"
    return value + {plus}
"""


class Room:
    """The studio's data folder; `write` puts a plugin there."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.nodes = data / "nodes"
        self.nodes.mkdir(parents=True)
        self._clock = 1_000_000_000_000_000_000

    def write(self, name: str, text: str) -> Path:
        """Write a file below `nodes`, with a modification time of its own: clocks of file systems can be coarse."""
        path = self.nodes / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        self._clock += 1_000_000_000
        os.utime(path, ns=(self._clock, self._clock))
        return path

    def plugins(self) -> Plugins:
        """As a fresh start of the studio has them."""
        return Application(self.data).plugins


def only(plugins: Plugins) -> PluginEntry:
    (entry,) = plugins.entries()
    return entry


def using(kind: str, **inputs: object) -> Workflow:
    """A workflow of one node, as a file would hold it."""
    return Workflow.from_json({"format": "tessera.workflow", "version": 1, "nodes": [
        {"id": "n", "type": kind, "inputs": inputs}]})  # fmt: skip
