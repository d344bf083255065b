"""How long a cancel takes to come through: during sampling, decoding, loading and scaling a picture, on the starter
model at a size whose layers are slow enough to tell.

A run is cancelled from another thread at several moments of a phase; the latency is the time from there until
`execute` returns. Beside it stands the longest single layer call of that phase in a run that was not cancelled, for a
layer that has begun is always finished.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from engine.contracts.job_events import JobEvent
from engine.contracts.job_spec import JobSpec
from engine.contracts.workflow import Link, Node, Workflow
from engine.graph.cache import ValueCache
from engine.graph.execute import execute
from engine.graph.registry import Registry
from engine.graph.services import CancelToken, Services
from tests.benchmarks.cache import _StarterOnly, picture
from tests.benchmarks.harness import Goal, Report

EDGE, BATCH, STEPS = 384, 2, 3
MOMENTS = (0.1, 0.3, 0.5, 0.7, 0.9)  # of a phase
ALLOWED_MS = 50.0
PHASES = {"sampling": "sample", "decoding": "decode"}


def job() -> JobSpec:
    """Text to picture, large enough that a layer takes milliseconds."""
    spec = picture(EDGE, steps=STEPS)
    nodes = [
        Node(id=n.id, type=n.type, inputs={**n.inputs, "width": EDGE, "height": EDGE, "batch_size": BATCH})
        if n.id == "empty" else n
        for n in spec.workflow.nodes if n.id != "scale"
    ]  # fmt: skip
    return JobSpec(workflow=Workflow(nodes=tuple(nodes)), targets=("decode",))


def load_job() -> JobSpec:
    """What has to load the text encoder and the autoencoder, and does little besides."""
    nodes = [n for n in picture(64).workflow.nodes if n.id in ("load", "prompt")]
    nodes.append(Node(id="solid", type="image.solid", inputs={"width": 64, "height": 64}))
    nodes.append(
        Node(
            id="encode",
            type="latent.encode_image",
            inputs={"vae": Link("load", "vae"), "image": Link("solid", "image")},
        )
    )
    return JobSpec(workflow=Workflow(nodes=tuple(nodes)), targets=("prompt", "encode"))


class Trial:
    """One run, cancelled `seconds` after node `node` began (never when that is None)."""

    def __init__(self, services: Services, registry: Registry) -> None:
        self.services, self.registry = services, registry
        self.times: dict[str, float] = {}

    def run(self, spec: JobSpec, node: str = "", after: float | None = None) -> float:
        """Seconds from the cancel to the end; 0 when it was over before. Node → seconds it took in `times`."""
        token, began = CancelToken(), threading.Event()
        asked: list[float] = []
        starts: dict[str, float] = {}

        def on_event(event: JobEvent) -> None:
            now = time.perf_counter()
            if event.kind == "node_started":
                starts[event.node] = now
                if event.node == node:
                    began.set()
            elif event.kind == "node_finished":
                self.times[event.node] = now - starts[event.node]

        def cancel() -> None:
            began.wait()
            time.sleep(after or 0.0)
            asked.append(time.perf_counter())
            token.cancel()

        canceller = threading.Thread(target=cancel) if after is not None else None
        if canceller is not None:
            canceller.start()
        result = execute(
            spec, registry=self.registry, services=self.services, cache=ValueCache(1 << 30), on_event=on_event,
            cancel=token,
        )  # fmt: skip
        ended = time.perf_counter()
        if canceller is not None:
            canceller.join()
        if result.error is not None:
            raise result.error
        return max(0.0, ended - asked[0]) if asked and result.outcome == "cancelled" else 0.0


@contextmanager
def layer_times(found: list[float]) -> Iterator[None]:
    """Collects how long every layer's call takes."""
    from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

    begun: list[float] = []

    def before(module: Any, args: Any) -> None:
        begun.append(time.perf_counter())

    def after(module: Any, args: Any, output: Any) -> None:
        spent = time.perf_counter() - begun.pop()
        if not any(True for _ in module.children()):
            found.append(spent)

    handles = [register_module_forward_pre_hook(before), register_module_forward_hook(after)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def run() -> Report:
    """Milliseconds: for each phase the longest layer, the worst latency of a cancel, and what it took beyond."""
    from engine.sampling.session import Session

    parts, registry = _StarterOnly(), Registry.builtin()

    def fresh() -> Trial:
        return Trial(Services(blobs=parts, models=parts, session=lambda: Session(parts)), registry)

    figures: dict[str, float] = {}
    goals: dict[str, Goal] = {}
    warm = fresh()
    warm.run(job())  # everything is imported and loaded
    layers: list[float] = []
    for phase, node in PHASES.items():
        warm.run(job())
        whole = warm.times[node]
        layers.clear()
        with layer_times(layers):
            warm.run(job())
        latencies = [warm.run(job(), node, whole * moment) for moment in MOMENTS]
        _report(phase, whole, max(layers), latencies, figures, goals)
    first = fresh()
    first.run(load_job())
    whole = first.times["prompt"] + first.times["encode"]
    latencies = [fresh().run(load_job(), "prompt", whole * moment) for moment in MOMENTS]
    layers.clear()
    with layer_times(layers):
        fresh().run(load_job())
    _report("loading", whole, max(layers), latencies, figures, goals)
    notes = (
        f"Pictures of {EDGE}×{EDGE} pixels, {BATCH} at once; cancelled at {len(MOMENTS)} moments of each phase.",
        "Loading is measured with the libraries' own modules imported: an import, once a session, can't be left.",
    )
    return Report("cancel", figures, goals, notes)


def _report(
    phase: str, whole: float, layer: float, latencies: list[float], figures: dict[str, float], goals: dict[str, Goal]
) -> None:
    worst = max(latencies) * 1000
    figures[f"{phase}_whole_ms"] = round(whole * 1000, 1)
    figures[f"{phase}_longest_layer_ms"] = round(layer * 1000, 1)
    figures[f"{phase}_worst_latency_ms"] = round(worst, 1)
    figures[f"{phase}_beyond_layer_ms"] = round(max(0.0, worst - layer * 1000), 1)
    goals[f"{phase}_beyond_layer_ms"] = ("<=", ALLOWED_MS)


if __name__ == "__main__":
    print(run().table())
