"""Calling one node on its own, as tests do: inputs checked as the engine checks them, values sealed as on a wire."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.contracts.errors import Cancelled, InvalidRequest, MissingModel
from engine.contracts.job_spec import JobSpec
from engine.contracts.references import BlobRef
from engine.contracts.workflow import Workflow
from engine.graph.measure import seal
from engine.graph.node import BlobStore
from engine.graph.ports import WrongValue
from engine.graph.registry import NodeType, definition_of
from engine.graph.values import Artifact


class TrialContext:
    """A NodeContext without a studio: it keeps what the node said and made. Set `cancelled` to have it stopped."""

    wants_preview = True

    def __init__(self, spec: JobSpec | None = None, session: Any = None) -> None:
        self.node_id = "trial"
        self.spec = spec or JobSpec(workflow=Workflow())
        self.cancelled = False
        self.artifacts: list[Artifact] = []
        self.logs: list[str] = []
        self.steps: list[tuple[float, float, str]] = []
        self.frames: list[npt.NDArray[np.uint8]] = []
        self._session = session
        self._blobs: dict[str, bytes] = {}

    @property
    def blobs(self) -> BlobStore:
        return self

    @property
    def session(self) -> Any:
        if self._session is None:
            raise MissingModel("a trial has no models", fix="Give the context a session")
        return self._session

    def read(self, ref: BlobRef) -> bytes:
        """Bytes that were written before, or those of the file at the path `ref.name`."""
        return self._blobs[ref.sha256] if ref.sha256 in self._blobs else Path(ref.name).read_bytes()

    def write(self, data: bytes, media_type: str, name: str = "") -> BlobRef:
        import hashlib

        sha256 = hashlib.sha256(data).hexdigest()
        self._blobs[sha256] = data
        return BlobRef(sha256=sha256, media_type=media_type, size=len(data), name=name)

    def progress(self, done: float, total: float, text: str = "") -> None:
        self.steps.append((done, total, text))

    def preview(self, frame: npt.NDArray[np.uint8]) -> None:
        self.frames.append(frame)

    def check_cancelled(self) -> None:
        if self.cancelled:
            raise Cancelled

    def emit(self, artifact: Artifact) -> None:
        self.artifacts.append(artifact)

    def log(self, text: str, level: str = "info") -> None:
        self.logs.append(text)


def run_node(function: Callable[..., Any], ctx: TrialContext | None = None, /, **inputs: Any) -> Any:
    """What a node returns for these inputs, defaults filled in.

    Numbers, texts and choices are checked against their ranges; arrays are made read-only, so that a node which
    changes its input in place fails here as it would in the studio. An async node gives its coroutine.

    Raises InvalidRequest naming the input that is missing, unknown or wrong.
    """
    kind = NodeType(definition_of(function))
    given: dict[str, Any] = dict(kind.default_values)
    for name, value in inputs.items():
        port = kind.port(name)
        if port is None:
            raise InvalidRequest(f"it has no input “{name}”", where=kind.schema.type)
        try:
            given[name] = port.read(value)[0] if port.scalar else value
        except WrongValue as error:
            raise InvalidRequest(error.what, where=f"{kind.schema.type}, input “{name}”", fix=error.fix) from None
    for name in kind.required:
        if name not in given:
            raise InvalidRequest(f"its input “{name}” has no value", where=kind.schema.type)
    seal(list(given.values()), {})
    return function(ctx or TrialContext(), **given)
