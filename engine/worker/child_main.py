"""The engine's side of a process of its own: `python -m engine.worker.child_main package.module:factory`.

`factory()` gives (services, registry, cache). Standard output belongs to the protocol; what anything prints goes to
standard error.
"""

from __future__ import annotations

import importlib
import os
import queue
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.contracts.errors import TesseraError, clip
from engine.contracts.job_events import JobEvent
from engine.contracts.job_spec import JobSpec
from engine.graph.execute import JobResult, execute
from engine.graph.services import CancelToken
from engine.graph.values import Artifact
from engine.worker.protocol import Broken, Channel, artifact_fields, result_fields

PREVIEW_SECONDS = 0.1


class Child:
    """Runs the jobs it is sent, one after another, until its standard input ends."""

    def __init__(self, channel: Channel, factory: str) -> None:
        module, _, name = factory.partition(":")
        self.channel = channel
        self.services, self.registry, self.cache = getattr(importlib.import_module(module), name)()
        self._jobs: queue.SimpleQueue[tuple[str, JobSpec, CancelToken] | None] = queue.SimpleQueue()
        self._tokens: dict[str, CancelToken] = {}

    def run(self) -> None:
        threading.Thread(target=self._listen, name="tessera-commands", daemon=True).start()
        self.channel.send("ready")
        while (job := self._jobs.get()) is not None:
            self._run_job(*job)

    def _listen(self) -> None:
        try:
            while True:
                kind, fields, _ = self.channel.receive()
                if kind == "job":
                    token = self._tokens[fields["id"]] = CancelToken()
                    self._jobs.put((fields["id"], JobSpec.from_json(fields["spec"]), token))
                elif kind == "cancel" and fields["id"] in self._tokens:
                    self._tokens[fields["id"]].cancel()
        except Broken:  # the studio closed the pipe, or ended: nobody waits for a result
            for token in list(self._tokens.values()):
                token.cancel()
            self._jobs.put(None)

    def _run_job(self, job_id: str, spec: JobSpec, token: CancelToken) -> None:
        try:
            result = execute(
                spec, registry=self.registry, services=self.services, cache=self.cache, on_event=self._on_event,
                on_preview=_Previews(self.channel), on_artifact=self._on_artifact, cancel=token, job_id=job_id,
            )  # fmt: skip
        except TesseraError as error:
            result = JobResult(outcome="failed", error=error)
        except Exception as error:  # noqa: BLE001  # the next job is to run whatever this one met
            what = f"the engine met an error of its own ({type(error).__name__}: {clip(str(error), 200)})"
            result = JobResult(outcome="failed", error=TesseraError(what, fix="Please report it with the log"))
        self._tokens.pop(job_id, None)
        self.channel.send("done", id=job_id, result=result_fields(result))

    def _on_event(self, event: JobEvent) -> None:
        self.channel.send("event", event=event.to_json())

    def _on_artifact(self, node_id: str, artifact: Artifact) -> Mapping[str, Any] | None:
        self.channel.send("artifact", artifact.data, **artifact_fields(node_id, artifact))
        return None


class _Previews:
    """Sends frames, no more often than an eye needs them."""

    def __init__(self, channel: Channel) -> None:
        self._channel, self._last = channel, 0.0

    @property
    def wanted(self) -> bool:
        return time.monotonic() - self._last >= PREVIEW_SECONDS

    def __call__(self, node_id: str, frame: npt.NDArray[np.uint8]) -> None:
        self._last = time.monotonic()
        self._channel.send("preview", np.ascontiguousarray(frame).tobytes(), shape=list(frame.shape))


def main(factory: str) -> None:
    own = os.dup(1)
    os.dup2(2, 1)
    with os.fdopen(0, "rb", closefd=False) as incoming, os.fdopen(own, "wb") as outgoing:
        Child(Channel(incoming, outgoing), factory).run()


if __name__ == "__main__":
    main(sys.argv[1])
