"""What a running node is given: the NodeContext of one node in one job."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from engine.contracts.job_spec import JobSpec
from engine.graph.cache import Traits
from engine.graph.node import BlobStore
from engine.graph.numerics import Noted, Notes, together
from engine.graph.values import Artifact

if TYPE_CHECKING:
    from engine.graph.events import EventStream
    from engine.graph.services import CancelToken, Services

PROGRESS_SECONDS = 0.02  # more often than this no eye can tell; the first and the last always go out
OnPreview = Callable[[str, npt.NDArray[np.uint8]], None]
OnArtifact = Callable[[str, Artifact], "Mapping[str, Any] | None"]


class JobShare:
    """What all contexts of one job have in common."""

    __slots__ = (
        "artifact_counts", "artifacts", "cancel", "events", "made", "on_artifact", "on_preview", "services", "spec",
    )  # fmt: skip

    def __init__(
        self,
        spec: JobSpec,
        services: Services,
        events: EventStream,
        cancel: CancelToken,
        on_preview: OnPreview | None,
        on_artifact: OnArtifact | None,
    ) -> None:
        self.spec, self.services, self.events, self.cancel = spec, services, events, cancel
        self.on_preview, self.on_artifact = on_preview, on_artifact
        self.artifacts: list[tuple[str, Artifact]] = []
        self.artifact_counts: dict[str, int] = {}
        self.made: set[bytes] = set()  # signatures of what a job made anew itself made, over all its runs

    @property
    def memory(self) -> Any:
        """engine.memory.residency.Residency of the loaded models; None without a card, and before models are used."""
        return getattr(self.services.get_session(), "memory", None) if self.services.has_session else None

    def numerics(self) -> tuple[tuple[str, str | int | bool], ...]:
        """What is known of the arithmetic behind all of this job's results, where models are in use."""
        told = getattr(self.services.get_session(), "numerics", None) if self.services.has_session else None
        return tuple(told(self.spec).items()) if told is not None else ()

    def emit_artifact(self, node_id: str, artifact: Artifact, numerics: Notes = ()) -> None:
        """Number the artifact within its node and job, hand it to the runner, and tell of it. `numerics` is what it was
        computed with, where not whole and exactly."""
        index = self.artifact_counts.get(node_id, 0)
        self.artifact_counts[node_id] = index + 1
        artifact = replace(artifact, index=index, facts=(*artifact.facts, *self.numerics(), *numerics))
        self.artifacts.append((node_id, artifact))
        data: dict[str, Any] = {"index": index, "media_type": artifact.media_type}
        if artifact.width:
            data["width"], data["height"] = artifact.width, artifact.height
        if self.on_artifact is not None:
            data.update(self.on_artifact(node_id, artifact) or {})
        self.events.emit("artifact", node_id, data)


class RunContext:
    """The NodeContext handed to one node. `made` collects what it emitted, to be given again from the cache, and
    `notes` what its value is computed with, where not whole and exactly (see engine.graph.numerics)."""

    __slots__ = ("_last_progress", "_share", "_traits", "made", "node_id", "notes")

    def __init__(self, share: JobShare, node_id: str, traits: Traits, given: Iterable[Notes] = ()) -> None:
        self.node_id = node_id
        self.made: list[Artifact] = []
        self.notes: dict[str, Noted] = dict(together(given))
        self._share, self._traits = share, traits
        self._last_progress = 0.0

    @property
    def spec(self) -> JobSpec:
        return self._share.spec

    @property
    def blobs(self) -> BlobStore:
        return self._share.services.blobs

    @property
    def session(self) -> Any:
        # A node that reaches for the models uses the accelerator: from now on it runs on the lane only.
        self._traits.lane_only = True
        return self._share.services.get_session()

    def progress(self, done: float, total: float, text: str = "") -> None:
        now = time.perf_counter()
        if done < total and now - self._last_progress < PROGRESS_SECONDS:
            return
        self._last_progress = now
        data: dict[str, Any] = {"done": done, "total": total}
        if text:
            data["text"] = text
        self._share.events.emit("node_progress", self.node_id, data)

    def preview(self, frame: npt.NDArray[np.uint8]) -> None:
        if self._share.on_preview is not None:
            self._share.on_preview(self.node_id, frame)

    @property
    def wants_preview(self) -> bool:
        on_preview = self._share.on_preview
        return on_preview is not None and bool(getattr(on_preview, "wanted", True))

    def check_cancelled(self) -> None:
        self._share.cancel.check()

    def emit(self, artifact: Artifact) -> None:
        self.made.append(artifact)
        self._share.emit_artifact(self.node_id, artifact, tuple(self.notes.items()))

    def log(self, text: str, level: str = "info") -> None:
        self._share.events.emit("log", self.node_id, {"level": level, "text": text})
