"""The same lane in a supervised process of its own: for jobs that may crash, and for workers without a studio.

A crash of the process ends the job that ran, with one sentence; the next job gets a fresh process.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.contracts.errors import TesseraError
from engine.contracts.job_events import JobEvent
from engine.contracts.job_spec import JobSpec
from engine.graph.events import PreviewBox
from engine.graph.execute import JobResult
from engine.graph.values import Artifact
from engine.worker.in_process import OnArtifact, OnDone, OnEvent
from engine.worker.protocol import Broken, Channel, read_artifact, read_result

_ROOT = Path(__file__).resolve().parents[2]


class _Job:
    def __init__(
        self, job_id: str, spec: JobSpec, on_event: OnEvent | None, on_artifact: OnArtifact | None, on_done: OnDone
    ) -> None:
        self.job_id, self.spec = job_id, spec
        self.on_event, self.on_artifact, self.on_done = on_event, on_artifact, on_done
        self.preview = PreviewBox()
        self.artifacts: list[tuple[str, Artifact]] = []
        self.stored: dict[str, Mapping[str, Any]] = {}  # node → what on_artifact said, for the event that follows
        self.cancelled = False
        self.unkept: TesseraError | None = None


class ChildLane:
    """Runs jobs first come, first served, in a child process that starts with the first one. Any thread may call.

    factory  "package.module:function"; in the child it gives (services, registry, cache)

    Events, artifacts and `on_done` come on this lane's own thread. Results carry no values, only artifacts.
    """

    def __init__(self, factory: str) -> None:
        self._factory = factory
        self._wanted = threading.Condition()
        self._jobs: deque[_Job] = deque()
        self._running: _Job | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._channel: Channel | None = None
        self._thread: threading.Thread | None = None
        self._closing = False

    def submit(
        self,
        job_id: str,
        spec: JobSpec,
        on_event: OnEvent | None = None,
        on_artifact: OnArtifact | None = None,
        on_done: OnDone | None = None,
    ) -> None:
        """Queue a job. `on_done` is called exactly once. Raises ValueError when the lane is closed."""
        with self._wanted:
            if self._closing:
                raise ValueError("the engine lane is closed")
            self._jobs.append(_Job(job_id, spec, on_event, on_artifact, on_done or (lambda result: None)))
            self._wanted.notify()
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="tessera-child", daemon=True)
                self._thread.start()

    def cancel(self, job_id: str) -> bool:
        """Ask a queued or running job to stop. False when it is neither."""
        with self._wanted:
            found = [j for j in (self._running, *self._jobs) if j is not None and j.job_id == job_id]
            for job in found:
                job.cancelled = True
            if self._running in found and self._channel is not None:
                with contextlib.suppress(Broken):
                    self._channel.send("cancel", id=job_id)
        return bool(found)

    def take_preview(self, job_id: str) -> npt.NDArray[np.uint8] | None:
        """The newest frame of the running job since the last call, or None."""
        job = self._running
        return job.preview.take() if job is not None and job.job_id == job_id else None

    @property
    def process_id(self) -> int | None:
        """The child's, while there is one."""
        return self._child.pid if self._child is not None else None

    def close(self, timeout: float = 10.0) -> None:
        """Cancel everything and end the process."""
        with self._wanted:
            self._closing = True
            jobs = [j.job_id for j in (self._running, *self._jobs) if j is not None]
            self._wanted.notify()
            thread = self._thread
        for job_id in jobs:
            self.cancel(job_id)
        if thread is not None:
            thread.join(timeout)
            if thread.is_alive() and self._child is not None:
                self._child.kill()
                thread.join(timeout)

    # ---- on the lane's thread

    def _work(self) -> None:
        try:
            while True:
                with self._wanted:
                    while not (self._jobs or self._closing):
                        self._wanted.wait()
                    if not self._jobs:
                        return
                    job = self._running = self._jobs.popleft()
                result = JobResult(outcome="cancelled") if job.cancelled else self._run(job)
                with self._wanted:
                    self._running = None
                job.on_done(result)
        finally:
            self._end()

    def _run(self, job: _Job) -> JobResult:
        try:
            channel = self._channel or self._begin()
            channel.send("job", id=job.job_id, spec=job.spec.to_json())
            if job.cancelled:  # asked for while the process was starting
                channel.send("cancel", id=job.job_id)
            while True:
                kind, fields, body = channel.receive()
                if kind == "done" and fields["id"] == job.job_id:
                    result = read_result(fields["result"], job.artifacts)
                    if job.unkept is not None:
                        result.outcome, result.error = "failed", job.unkept
                    return result
                self._heard(job, kind, fields, body)
        except Broken:
            code = self._end()
            how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended (exit code {code})"
            what = f"the engine's process {how} during this job"
            error = TesseraError(what, fix="Run it again, or smaller; the studio is unharmed")
            return JobResult(outcome="failed", artifacts=job.artifacts, error=error)

    def _heard(self, job: _Job, kind: str, fields: dict[str, Any], body: bytes) -> None:
        if kind == "event":
            event = fields["event"]
            if event["kind"] == "artifact":
                event["data"] = {**event.get("data", {}), **job.stored.pop(event["node"], {})}
            if job.on_event is not None:
                job.on_event(JobEvent.from_json(event))
        elif kind == "preview":
            job.preview("", np.frombuffer(body, np.uint8).reshape(fields["shape"]))
        elif kind == "artifact":
            node, artifact = read_artifact(fields, body)
            job.artifacts.append((node, artifact))
            if job.on_artifact is not None and job.unkept is None:
                try:
                    job.stored[node] = job.on_artifact(node, artifact) or {}
                except TesseraError as error:  # it can't be stored: there is no point in going on
                    job.unkept = error
                    self.cancel(job.job_id)

    def _begin(self) -> Channel:
        path = os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH", "")])])
        child = subprocess.Popen(
            [sys.executable, "-m", "engine.worker.child_main", self._factory],
            env={**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        if child.stdin is None or child.stdout is None:
            raise Broken("the child has no pipes")
        self._child = child
        channel = Channel(child.stdout, child.stdin)
        channel.receive()  # ready
        with self._wanted:
            self._channel = channel
        return channel

    def _end(self) -> int:
        """Close the pipes and wait for the process, which ends by itself; its exit code."""
        with self._wanted:
            child, self._child, self._channel = self._child, None, None
        if child is None:
            return 0
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        try:
            return child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            return child.wait()
