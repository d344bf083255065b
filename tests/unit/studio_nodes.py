"""A family of torch-free nodes that make real pictures, for tests of the queue and the store."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from engine.contracts.job_spec import JobSpec
from engine.contracts.node_schema import Effects
from engine.contracts.workflow import Node, Workflow
from engine.graph.node import NodeContext, node
from engine.graph.registry import Registry
from engine.graph.values import Artifact
from engine.media.images import encode
from studio_app.application import Application

_OUTPUT = Effects(output=True, cacheable=False)


@dataclass
class Gate:
    """Lets a test hold the running node at a step, without sleeping."""

    reached: threading.Event = field(default_factory=threading.Event)
    opened: threading.Event = field(default_factory=threading.Event)


GATES: dict[str, Gate] = {}


@node("test.draw", category="Test", effects=_OUTPUT)
def draw(ctx: NodeContext, seed: int = 0, steps: int = 4, count: int = 1, edge: int = 32, gate: str = "") -> None:
    """Draw `count` pictures of noise in `steps` steps each."""
    for index in range(count):
        for step in range(steps):
            ctx.check_cancelled()
            if gate and step == 1:
                GATES[gate].reached.set()
                assert GATES[gate].opened.wait(30)
                ctx.check_cancelled()
            ctx.progress(step + 1, steps)
        picture = np.random.default_rng(seed + index).random((edge, edge, 3), dtype=np.float32)
        ctx.emit(
            Artifact(
                data=encode(picture, "png"),
                media_type="image/png",
                index=index,
                name=f"drawn-{seed + index}.png",
                width=edge,
                height=edge,
                facts=(("seed", seed + index),),
            )
        )


@node("test.break", category="Test", effects=_OUTPUT)
def break_down(ctx: NodeContext) -> None:
    """Fail as a node does."""
    raise ValueError("the paint ran out")


def registry() -> Registry:
    return Registry().with_nodes(draw, break_down)


def drawing(seed: int = 0, **inputs: int | str) -> JobSpec:
    """A job of one drawing node."""
    drawn = Node(id="draw", type="test.draw", inputs={"seed": seed, **inputs})
    return JobSpec(workflow=Workflow(nodes=(drawn,)), title=f"drawing {seed}")


def studio(folder: Path) -> Application:
    """A started application with these nodes."""
    app = Application(folder, registry=registry)
    app.start()
    assert app.wait_ready(30)
    return app
