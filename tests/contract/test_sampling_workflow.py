"""The main job as a document: checkpoint to saved picture through the executor, on the real starter model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.contracts.job_events import JobEvent
from engine.contracts.job_spec import JobSpec
from engine.contracts.references import BlobRef, ModelRef
from engine.contracts.workflow import Link, Node, Workflow
from engine.graph.cache import ValueCache
from engine.graph.execute import JobResult, execute
from engine.graph.registry import Registry
from engine.graph.services import CancelToken, Services
from engine.sampling.session import Session
from tests.benchmarks.tiny_models import STARTER


class Models:
    def locate(self, ref: ModelRef) -> Path:
        return STARTER

    def list(self, kind: str) -> list[ModelRef]:
        return [ModelRef(name="starter")]


class NoBlobs:
    def read(self, ref: BlobRef) -> bytes:
        raise AssertionError("nothing is read")

    def write(self, data: bytes, media_type: str, name: str = "") -> BlobRef:
        raise AssertionError("nothing is written")


@pytest.fixture(scope="module")
def services() -> Iterator[Services]:
    session = Session(Models())
    yield Services(blobs=NoBlobs(), models=Models(), session=session)
    session.free()


def spec(prompt: str, **sampler: Any) -> JobSpec:
    nodes = (
        Node(id="load", type="load.checkpoint", inputs={"checkpoint": ModelRef(name="starter")}),
        Node(id="p", type="condition.encode_text", inputs={"clip": Link("load", "clip"), "text": prompt}),
        Node(id="n", type="condition.encode_text", inputs={"clip": Link("load", "clip"), "text": ""}),
        Node(id="empty", type="latent.empty", inputs={"width": 128, "height": 128, "batch_size": 1}),
        Node(
            id="sample",
            type="sample.k_sampler",
            inputs={
                "model": Link("load", "model"), "positive": Link("p", "conditioning"),
                "negative": Link("n", "conditioning"), "latent": Link("empty", "latent"), "seed": 7, "steps": 12,
                "cfg": 4.0, "sampler": "ddim", "scheduler": "normal", **sampler,
            },
        ),
        Node(
            id="decode",
            type="latent.decode_image",
            inputs={"vae": Link("load", "vae"), "latent": Link("sample", "latent")},
        ),
    )  # fmt: skip
    return JobSpec(workflow=Workflow(nodes=nodes), targets=("decode",))


def run(job: JobSpec, services: Services, cache: ValueCache, **options: Any) -> tuple[JobResult, list[JobEvent]]:
    events: list[JobEvent] = []
    result = execute(
        job, registry=Registry.builtin(), services=services, cache=cache, on_event=events.append, **options
    )
    return result, events


def test_the_main_job_runs_and_its_second_run_is_cached(services: Services) -> None:
    cache = ValueCache(64 * 2**20)
    job = spec("a red circle on a blue background")
    result, events = run(job, services, cache)
    assert result.outcome == "succeeded", result.failures
    picture = result.outputs["decode"]["image"]
    assert picture.shape == (1, 128, 128, 3)
    assert picture[0, 64, 64, 0] > picture[0, 64, 64, 2] + 0.3  # red in the middle
    assert picture[0, 4, 4, 2] > picture[0, 4, 4, 0] + 0.3  # blue in the corner
    progress = [event for event in events if event.node == "sample" and event.kind == "node_progress"]
    assert progress
    again, _ = run(job, services, cache)
    assert again.succeeded == []
    assert np.array_equal(again.outputs["decode"]["image"], picture)


def test_only_the_sampler_runs_again_for_another_seed(services: Services) -> None:
    cache = ValueCache(64 * 2**20)
    run(spec("a red circle on a blue background", steps=3), services, cache)
    result, _ = run(spec("a red circle on a blue background", steps=3, seed=8), services, cache)
    assert set(result.succeeded) == {"sample", "decode"}


def test_cancelling_ends_the_job_between_steps(services: Services) -> None:
    cancel = CancelToken()
    seen: list[float] = []

    def on_event(event: JobEvent) -> None:
        if event.node == "sample" and event.kind == "node_progress":
            seen.append(1.0)
            cancel.cancel()

    result = execute(
        spec("a red circle", steps=200), registry=Registry.builtin(), services=services,
        cache=ValueCache(2**20), on_event=on_event, cancel=cancel,
    )  # fmt: skip
    assert result.outcome == "cancelled"
    assert "decode" not in result.succeeded
    assert len(seen) <= 3


def test_a_node_that_cannot_do_what_is_asked_is_named_in_one_sentence(services: Services) -> None:
    job = spec("a red circle")
    deep = Node(id="skip", type="condition.clip_skip", inputs={"clip": Link("load", "clip"), "skip": 20})
    nodes = tuple(
        replace(node, inputs={**node.inputs, "clip": Link("skip", "clip")}) if node.id == "p" else node
        for node in job.workflow.nodes
    )
    workflow = replace(job.workflow, nodes=(*nodes, deep))
    result, _ = run(replace(job, workflow=workflow), services, ValueCache(2**20))
    assert result.outcome == "failed"
    assert [failure.node_id for failure in result.failures] == ["p"]
    sentence = str(result.failures[0])
    assert "text layers" in sentence
    assert "Traceback" not in sentence
