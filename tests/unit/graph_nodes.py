"""Small nodes and helpers for the tests of the graph engine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from engine.contracts.errors import MissingModel
from engine.contracts.job_events import JobEvent
from engine.contracts.job_spec import JobSpec
from engine.contracts.node_schema import Effects
from engine.contracts.references import BlobRef, ModelRef
from engine.contracts.workflow import Link, Node, Workflow
from engine.graph.cache import ValueCache
from engine.graph.execute import JobResult, execute
from engine.graph.node import In, NodeContext, node
from engine.graph.registry import Registry
from engine.graph.services import Services
from engine.graph.values import Anything, Artifact, Image

CALLS: Counter[str] = Counter()


class NoBlobs:
    def read(self, ref: BlobRef) -> bytes:
        raise MissingModel(f"there is no file {ref.name}")

    def write(self, data: bytes, media_type: str, name: str = "") -> BlobRef:
        return BlobRef(sha256="0" * 64, media_type=media_type, size=len(data), name=name)


class NoModels:
    def locate(self, ref: ModelRef) -> Path:
        raise MissingModel(f"there is no model {ref.name}")

    def list(self, kind: str) -> list[ModelRef]:
        return []


def services() -> Services:
    return Services(blobs=NoBlobs(), models=NoModels())


@node("t.add", category="Test", outputs=("sum",))
def add(ctx: NodeContext, a: Annotated[float, In(minimum=-1e6, maximum=1e6)], b: float = 1.0) -> float:
    """Add two numbers."""
    CALLS[ctx.node_id] += 1
    return a + b


@node("t.fail", category="Test", outputs=("value",))
def fail(ctx: NodeContext, value: Anything = None) -> Anything:
    """Always fails."""
    CALLS[ctx.node_id] += 1
    raise ValueError("it broke")


@node("t.save", category="Test", effects=Effects(output=True, cacheable=False))
def save(ctx: NodeContext, value: Anything) -> None:
    """Emits the value as text."""
    CALLS[ctx.node_id] += 1
    ctx.emit(Artifact(repr(value).encode(), "text/plain", 0))


@node("t.show", category="Test", effects=Effects(output=True))
def show(ctx: NodeContext, value: Anything) -> None:
    """Emits the value as text; may be taken from the cache."""
    CALLS[ctx.node_id] += 1
    ctx.emit(Artifact(repr(value).encode(), "text/plain", 0))


@node("t.picture", category="Test", outputs=("image",))
def picture(ctx: NodeContext, size: Annotated[int, In(minimum=1, maximum=4096)] = 8, shade: float = 0.5) -> Image:
    """A plain picture."""
    CALLS[ctx.node_id] += 1
    return np.full((1, size, size, 3), shade, np.float32)


NODES = (add, fail, save, show, picture)


def registry(*more: Any) -> Registry:
    return Registry.builtin().with_nodes(*NODES, *more)


def n(node_id: str, kind: str, /, **inputs: Any) -> Node:
    """A node; an input written "@node.output" is a link."""
    read = {
        k: Link(*v[1:].rsplit(".", 1)) if isinstance(v, str) and v.startswith("@") else v for k, v in inputs.items()
    }
    return Node(id=node_id, type=kind, inputs=read)


class Bench:
    """A registry and a cache to run small workflows with; `events` holds the last run's."""

    def __init__(self, *nodes: Any, budget: int = 1 << 26) -> None:
        self.registry = registry(*nodes)
        self.cache = ValueCache(budget)
        self.events: list[JobEvent] = []
        CALLS.clear()

    def run(self, *nodes: Node, targets: Sequence[str] = (), **options: Any) -> JobResult:
        execute_options = {k: options.pop(k) for k in ("cancel", "on_preview", "on_artifact") if k in options}
        subgraphs = options.pop("subgraphs", ())
        spec = JobSpec(workflow=Workflow(nodes=nodes, subgraphs=subgraphs), targets=tuple(targets), **options)
        self.events = []
        CALLS.clear()
        return execute(
            spec,
            registry=self.registry,
            services=services(),
            cache=self.cache,
            on_event=self.events.append,
            job_id="job",
            **execute_options,
        )

    def kinds(self, kind: str) -> list[str]:
        """The nodes of the last run's events of this kind, in order."""
        return [e.node for e in self.events if e.kind == kind]
