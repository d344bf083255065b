"""What the tests of pictures share: a node context that keeps what nodes say, and small pictures."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.contracts.job_spec import JobSpec
from engine.contracts.references import BlobRef, ModelRef
from engine.contracts.workflow import Link, Node, Workflow
from engine.graph.values import Artifact

Floats = npt.NDArray[np.float32]


class Room:
    """A NodeContext in memory. Its store keeps bytes by their sha256."""

    def __init__(self, spec: JobSpec | None = None, node_id: str = "save") -> None:
        self.node_id = node_id
        self.spec = spec or JobSpec(workflow=Workflow())
        self.session: Any = None
        self.blobs = self
        self.artifacts: list[Artifact] = []
        self.logs: list[str] = []
        self.wants_preview = False
        self._bytes: dict[str, bytes] = {}

    def read(self, ref: BlobRef) -> bytes:
        return self._bytes[ref.sha256]

    def write(self, data: bytes, media_type: str, name: str = "") -> BlobRef:
        digest = hashlib.sha256(data).hexdigest()
        self._bytes[digest] = data
        return BlobRef(sha256=digest, media_type=media_type, size=len(data), name=name)

    def progress(self, done: float, total: float, text: str = "") -> None: ...
    def preview(self, frame: npt.NDArray[np.uint8]) -> None: ...
    def check_cancelled(self) -> None: ...

    def emit(self, artifact: Artifact) -> None:
        self.artifacts.append(artifact)

    def log(self, text: str, level: str = "info") -> None:
        self.logs.append(text)


def noise(*shape: int, seed: int = 0) -> Floats:
    """Random values k/255, so that they survive a file exactly."""
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.float32) / np.float32(255)


def frozen(array: Floats) -> Floats:
    """The array made read-only, as the executor hands it to nodes: a node that writes into it raises."""
    array.setflags(write=False)
    return array


def a_spec(prompt: str = "a red circle", seed: int = 7, negative: str = "blurry", batch: int = 2) -> JobSpec:
    """A txt2img job as a person would draw it."""
    nodes = (
        Node(
            id="load",
            type="load.checkpoint",
            inputs={"checkpoint": ModelRef(name="starter", sha256="ab" * 32)},
        ),
        Node(id="skip", type="condition.clip_skip", inputs={"clip": Link("load", "clip"), "skip": 1}),
        Node(id="text", type="utility.text", inputs={"value": prompt}),
        Node(
            id="positive",
            type="condition.encode_text",
            inputs={"clip": Link("skip", "clip"), "text": Link("text", "value")},
        ),
        Node(
            id="negative",
            type="condition.encode_text",
            inputs={"clip": Link("skip", "clip"), "text": negative},
        ),
        Node(id="latent", type="latent.empty", inputs={"width": 128, "height": 96, "batch_size": batch}),
        Node(
            id="sampler",
            type="sample.k_sampler",
            inputs={
                "model": Link("load", "model"),
                "positive": Link("positive", "conditioning"),
                "negative": Link("negative", "conditioning"),
                "latent": Link("latent", "latent"),
                "seed": 1,
                "steps": 25,
                "cfg": 4.0,
                "sampler": "dpmpp_2m",
                "scheduler": "karras",
                "denoise": 1.0,
            },
        ),
        Node(
            id="decode",
            type="latent.decode_image",
            inputs={"vae": Link("load", "vae"), "latent": Link("sampler", "latent")},
        ),
        Node(id="save", type="image.save", inputs={"image": Link("decode", "image")}),
    )
    return JobSpec(workflow=Workflow(nodes=nodes), bindings={"sampler.seed": seed})
