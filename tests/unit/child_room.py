"""What the engine in a process of its own is given in the tests: `things` and `starter` are its factories."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import numpy as np

from engine.contracts.node_schema import Effects
from engine.graph import interruption
from engine.graph.cache import ValueCache
from engine.graph.node import NodeContext, node
from engine.graph.registry import Registry
from engine.graph.services import Services
from tests.unit.graph_nodes import registry, services


@node("t.crash", category="Test", outputs=("value",))
def crash(ctx: NodeContext, how: str = "segfault") -> float:
    """Takes the whole process along."""
    if how == "exit":
        os._exit(3)
    os.kill(os.getpid(), signal.SIGSEGV)
    return 0.0


@node("t.process", category="Test", effects=Effects(cacheable=False, output=True))
def process(ctx: NodeContext) -> None:
    """Prints, and tells which process it is in."""
    sys.stdout.write("noise on standard output\n")
    sys.stdout.flush()
    ctx.log(str(os.getpid()))


@node("t.until_stopped", category="Test", outputs=("value",), effects=Effects(cacheable=False))
def until_stopped(ctx: NodeContext) -> float:
    """Works until it is stopped."""
    ctx.preview(np.full((2, 3, 3), 7, np.uint8))
    ctx.log("working")
    while True:
        interruption.check()


Parts = tuple[Services, Registry, ValueCache]


def things() -> Parts:
    return services(), registry(crash, process, until_stopped), ValueCache(1 << 24)


def starter() -> Parts:
    from engine.sampling.session import Session
    from tests.benchmarks.cache import _StarterOnly

    parts: Any = _StarterOnly()
    return Services(blobs=parts, models=parts, session=lambda: Session(parts)), Registry.builtin(), ValueCache(1 << 28)
