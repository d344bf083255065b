"""What an edit costs: after a full run with the starter model, changing only the last scaling runs only the scaling.

The calls of the networks themselves are counted, by hooks on the modules, not what the engine says of itself.
"""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

from engine.contracts.errors import MissingModel
from engine.contracts.job_events import JobEvent
from engine.contracts.job_spec import JobSpec
from engine.contracts.references import BlobRef, ModelRef
from engine.contracts.workflow import Link, Node, Workflow
from engine.graph.cache import ValueCache
from engine.graph.execute import execute
from engine.graph.registry import Registry
from engine.graph.services import Services
from tests.benchmarks.harness import Goal, Report

STARTER = Path(__file__).resolve().parents[2] / "resources" / "starter_model"


class _StarterOnly:
    """The starter model and no files."""

    def read(self, ref: BlobRef) -> bytes:
        raise MissingModel(f"there is no file {ref.name}")

    def write(self, data: bytes, media_type: str, name: str = "") -> BlobRef:
        return BlobRef(media_type=media_type, size=len(data), name=name)

    def locate(self, ref: ModelRef) -> Path:
        return STARTER

    def list(self, kind: str) -> list[ModelRef]:
        return [ModelRef(name="starter")]


def picture(width: int, seed: int = 7, steps: int = 4) -> JobSpec:
    """Text to picture, then scaled to a square of `width` pixels."""
    nodes = (
        Node(id="load", type="load.checkpoint", inputs={"checkpoint": ModelRef(name="starter")}),
        Node(
            id="prompt",
            type="condition.encode_text",
            inputs={"clip": Link("load", "clip"), "text": "a red circle on a blue background"},
        ),
        Node(id="negative", type="condition.encode_text", inputs={"clip": Link("load", "clip"), "text": ""}),
        Node(id="empty", type="latent.empty", inputs={"width": 128, "height": 128}),
        Node(
            id="sample",
            type="sample.k_sampler",
            inputs={
                "model": Link("load", "model"),
                "positive": Link("prompt", "conditioning"),
                "negative": Link("negative", "conditioning"),
                "latent": Link("empty", "latent"),
                "seed": seed,
                "steps": steps,
                "cfg": 4.0,
                "sampler": "euler",
                "scheduler": "normal",
            },
        ),
        Node(
            id="decode",
            type="latent.decode_image",
            inputs={"vae": Link("load", "vae"), "latent": Link("sample", "latent")},
        ),
        Node(
            id="scale", type="image.scale", inputs={"image": Link("decode", "image"), "width": width, "height": width}
        ),
    )
    return JobSpec(workflow=Workflow(nodes=nodes), targets=("scale",))


def count_calls(calls: Counter[str]) -> Any:
    """Count every call of a network from now on, by class; returns the handle whose `remove()` ends it."""
    from torch.nn.modules.module import register_module_forward_pre_hook

    def count(module: Any, args: Any) -> None:
        calls[type(module).__name__] += 1

    return register_module_forward_pre_hook(count)


def run() -> Report:
    """Network calls, nodes run and seconds of a full run, of the same again, and of an edit to the last node."""
    from engine.sampling.session import Session

    parts = _StarterOnly()
    services = Services(blobs=parts, models=parts, session=lambda: Session(parts))
    registry = Registry.builtin()
    cache = ValueCache(1 << 30)
    figures: dict[str, float] = {}
    calls: Counter[str] = Counter()
    hook = count_calls(calls)
    try:
        for name, spec in (("first", picture(256)), ("again", picture(256)), ("edited", picture(200))):
            calls.clear()
            events: list[JobEvent] = []
            begun = time.perf_counter()
            result = execute(spec, registry=registry, services=services, cache=cache, on_event=events.append)
            figures[f"{name}_seconds"] = round(time.perf_counter() - begun, 4)
            if result.outcome != "succeeded":
                raise RuntimeError(str(result.error))
            figures[f"{name}_nodes_run"] = float(len(result.succeeded))
            figures[f"{name}_text_encoder_calls"] = float(calls["CLIPTextModel"] + calls["CLIPTextTransformer"])
            figures[f"{name}_denoiser_calls"] = float(calls["UNet2DConditionModel"])
            figures[f"{name}_module_calls"] = float(calls.total())
    finally:
        hook.remove()
    goals: dict[str, Goal] = {
        "first_text_encoder_calls": (">=", 1.0),
        "first_denoiser_calls": (">=", 4.0),
        "again_nodes_run": ("==", 0.0),
        "edited_nodes_run": ("==", 1.0),
        "edited_text_encoder_calls": ("==", 0.0),
        "edited_denoiser_calls": ("==", 0.0),
        "edited_module_calls": ("==", 0.0),
    }
    return Report("cache", figures, goals)
