"""The engine lane: one thread that runs jobs one after another and is the only user of the accelerator."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import importlib.util
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from engine.contracts.errors import TesseraError, clip
from engine.contracts.job_events import JobEvent
from engine.contracts.job_spec import JobSpec
from engine.graph.cache import ValueCache
from engine.graph.events import PreviewBox
from engine.graph.execute import JobResult, execute
from engine.graph.registry import Registry
from engine.graph.services import CancelToken, Services
from engine.graph.values import Artifact

LaneState = Literal["cold", "loading", "ready", "failed"]
OnEvent = Callable[[JobEvent], None]
OnArtifact = Callable[[str, Artifact], "Mapping[str, Any] | None"]
OnDone = Callable[[JobResult], None]

NICENESS = 5
SWITCH_SECONDS = 0.0005  # how long Python code here may hold the interpreter while the window waits for it
PREVIEWS_KEPT = 64


@dataclass
class _Job:
    job_id: str
    spec: JobSpec
    on_event: OnEvent | None
    on_artifact: OnArtifact | None
    on_done: OnDone | None
    cancel: CancelToken = field(default_factory=CancelToken)
    preview: PreviewBox = field(default_factory=PreviewBox)


class EngineLane:
    """Runs jobs first come, first served. Every method may be called from any thread; none waits for the lane.

    services_factory  called once on the lane, before its first job or when warming
    warm_up           called on the lane with the services by `warm`, after torch is there: loads what is used first
    on_state          called on the lane with the new state
    node_types        asked on the lane before each job: the registry as it is now; else `registry` holds for all

    Events, artifacts and `on_done` come on the lane thread, events of nodes running in parallel one at a time.
    """

    def __init__(
        self,
        services_factory: Callable[[], Services],
        registry: Registry,
        cache: ValueCache,
        *,
        warm_up: Callable[[Services], None] | None = None,
        on_state: Callable[[LaneState], None] | None = None,
        threads: int | None = None,
        node_types: Callable[[], Registry] | None = None,
    ) -> None:
        self.registry, self.cache = registry, cache
        self.on_state = on_state
        self.error: TesseraError | None = None
        self.threads = threads or max(1, (os.cpu_count() or 2) - 1)
        self._services_factory, self._warm_up = services_factory, warm_up
        self._node_types = node_types
        self._services: Services | None = None
        self._state: LaneState = "cold"
        self._wanted = threading.Condition()
        self._jobs: deque[_Job] = deque()
        self._by_id: dict[str, _Job] = {}
        self._previews: dict[str, PreviewBox] = {}
        self._warm_wanted = self._free_wanted = False
        self._closing = False
        self._thread: threading.Thread | None = None

    @property
    def state(self) -> LaneState:
        return self._state

    def start(self) -> None:
        """Start the thread; again is nothing."""
        with self._wanted:
            if self._thread is None and not self._closing:
                self._thread = threading.Thread(target=self._work, name="tessera-engine", daemon=True)
                self._thread.start()

    def submit(
        self,
        job_id: str,
        spec: JobSpec,
        on_event: OnEvent | None = None,
        on_artifact: OnArtifact | None = None,
        on_done: OnDone | None = None,
    ) -> None:
        """Queue a job. `on_done` is called exactly once, whatever happens. Raises ValueError for an id in use."""
        job = _Job(job_id, spec, on_event, on_artifact, on_done)
        with self._wanted:
            if self._closing:
                raise ValueError("the engine lane is closed")
            if job_id in self._by_id:
                raise ValueError(f"job {job_id} is queued already")
            self._by_id[job_id] = job
            self._jobs.append(job)
            self._previews[job_id] = job.preview
            while len(self._previews) > PREVIEWS_KEPT:
                del self._previews[next(iter(self._previews))]
            self._wanted.notify()
        self.start()

    def cancel(self, job_id: str) -> bool:
        """Ask a queued or running job to stop. False when it is neither."""
        with self._wanted:
            job = self._by_id.get(job_id)
        if job is None:
            return False
        job.cancel.cancel()
        return True

    def take_preview(self, job_id: str) -> npt.NDArray[np.uint8] | None:
        """The newest frame of a job since the last call, or None."""
        box = self._previews.get(job_id)
        return box.take() if box is not None else None

    def warm(self) -> None:
        """Import torch and load what is used first, in the background, before the next job."""
        with self._wanted:
            self._warm_wanted = True
            self._wanted.notify()
        self.start()

    def free(self) -> None:
        """Let go of every loaded model, after the job that runs now and before the next."""
        with self._wanted:
            self._free_wanted = True
            self._wanted.notify()

    def close(self, timeout: float = 30.0) -> None:
        """Cancel everything and end the thread."""
        with self._wanted:
            self._closing = True
            jobs = list(self._by_id.values())
            self._wanted.notify()
            thread = self._thread
        for job in jobs:
            job.cancel.cancel()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    # ---- on the lane

    def _work(self) -> None:
        _be_nice()
        while True:
            with self._wanted:
                while not (self._jobs or self._warm_wanted or self._free_wanted or self._closing):
                    self._wanted.wait()
                free, self._free_wanted = self._free_wanted, False
                warm, self._warm_wanted = self._warm_wanted, False
                job = self._jobs.popleft() if self._jobs and not (warm or free) else None
                if self._closing and job is None:
                    return
            if free and self._services is not None and self._services.has_session:
                self._services.get_session().free()
            if warm and not self._closing:
                self._make_ready(load=True)
            elif job is not None:
                self._run(job)

    def _run(self, job: _Job) -> None:
        result = JobResult(outcome="failed")
        try:
            services = self._make_ready(load=False)
            if services is None:
                result.error = self.error
            else:
                if self._node_types is not None:
                    self.registry = self._node_types()
                result = execute(
                    job.spec,
                    registry=self.registry,
                    services=services,
                    cache=self.cache,
                    on_event=job.on_event,
                    on_preview=job.preview,
                    on_artifact=job.on_artifact,
                    cancel=job.cancel,
                    job_id=job.job_id,
                )
        except TesseraError as error:
            result.error = error
        except Exception as error:  # noqa: BLE001  # the lane must outlive whatever one job does
            result.error = TesseraError(
                f"the engine met an error of its own ({type(error).__name__}: {clip(str(error), 200)})",
                fix="Please report it with the log",
            )
            result.error.__cause__ = error
        with self._wanted:
            self._by_id.pop(job.job_id, None)
        if job.on_done is not None:
            job.on_done(result)

    def _make_ready(self, *, load: bool) -> Services | None:
        """The services, made on first use; with `load`, torch and the first model too. None when that failed."""
        if self._services is not None and not load:
            return self._services
        try:
            if load:
                self._set_state("loading")
                with collector_resting():  # the model's classes are as many new objects again as torch's own
                    import_torch(self.threads)
                    self._services = self._services or self._services_factory()
                    if self._warm_up is not None:
                        self._warm_up(self._services)
                self._set_state("ready")
            elif self._services is None:
                self._services = self._services_factory()
        except TesseraError as error:
            self._fail(error)
            return None
        except Exception as error:  # noqa: BLE001  # a broken installation must not end the lane without a word
            wrapped = TesseraError(f"the engine could not start ({type(error).__name__}: {clip(str(error), 200)})")
            wrapped.__cause__ = error
            self._fail(wrapped)
            return None
        return self._services

    def _fail(self, error: TesseraError) -> None:
        self.error = error
        self._set_state("failed")

    def _set_state(self, state: LaneState) -> None:
        self._state = state
        if self.on_state is not None:
            self.on_state(state)


def _be_nice() -> None:
    """Let the window's thread go first. Linux sets niceness by thread; elsewhere it is the whole process, so not."""
    sys.setswitchinterval(SWITCH_SECONDS)
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            thread = threading.get_native_id()
            os.setpriority(os.PRIO_PROCESS, thread, max(NICENESS, os.getpriority(os.PRIO_PROCESS, thread)))


def import_torch(threads: int) -> None:
    """Import torch with the shortest pauses for other threads, and set its thread count before its first operation.

    Its large libraries are opened first with the interpreter let go.
    """
    if "torch" not in sys.modules:
        _open_libraries_ahead()
    with collector_resting():
        importlib.import_module("torch").set_num_threads(threads)


@contextlib.contextmanager
def collector_resting() -> Iterator[None]:
    """No garbage collection meanwhile: a full one amid that many new objects holds the interpreter for 100 ms.
    Afterwards they count as permanent, so that no later collection walks them either."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if collecting:
            gc.enable()


def _open_libraries_ahead() -> None:
    found = importlib.util.find_spec("torch")
    if found is None or found.origin is None or sys.platform == "win32":
        return
    folder = Path(found.origin).parent / "lib"
    suffix = "dylib" if sys.platform == "darwin" else "so"
    # Not ctypes.CDLL, which holds the interpreter while it opens; a foreign call to dlopen lets it go.
    dlopen = ctypes.CDLL(None).dlopen
    dlopen.restype, dlopen.argtypes = ctypes.c_void_p, (ctypes.c_char_p, ctypes.c_int)
    for name in ("c10", "torch_cpu", "torch", "torch_python"):
        path = folder / f"lib{name}.{suffix}"
        if path.exists():  # one that will not open is left to torch's own loader and its message
            dlopen(os.fsencode(path), os.RTLD_NOW | (os.RTLD_LOCAL if name == "torch_python" else os.RTLD_GLOBAL))
