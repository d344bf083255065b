"""The engine as the application sees it: its state, and the one lane that jobs run on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from engine.contracts.errors import InvalidRequest
from studio_app.events import Signal, Unsubscribe

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from engine.worker.in_process import EngineLane

EngineState = Literal["cold", "loading", "ready", "failed"]


class Engine:
    """ "cold" until the lane has begun to load, "loading", then "ready", or "failed" with `error` saying why."""

    def __init__(self) -> None:
        self._signal: Signal[EngineState] = Signal()
        self._lane: EngineLane | None = None
        self._lock = threading.Lock()
        self._warm_wanted = False
        self._broken = ""

    @property
    def state(self) -> EngineState:
        lane = self._lane
        if lane is None:
            return "failed" if self._broken else "cold"
        return lane.state

    @property
    def error(self) -> str:
        """Why the engine failed, in one sentence, or ""."""
        lane = self._lane
        return str(lane.error) if lane and lane.error else self._broken

    def fail(self, sentence: str) -> None:
        """Note that no lane could be made, and why."""
        self._broken = sentence
        self._signal.emit("failed")

    def on_state(self, subscriber: Callable[[EngineState], object]) -> Unsubscribe:
        """`subscriber(state)` is called on the engine's thread after each change."""
        return self._signal.subscribe(subscriber)

    def warm(self) -> None:
        """Load torch and the default model in the background, so that the first picture starts sooner."""
        with self._lock:
            self._warm_wanted = True
            lane = self._lane
        if lane:
            lane.warm()

    def free_memory(self) -> None:
        """Let go of every loaded model, once the running job is done; each is loaded again when it is used."""
        lane = self._lane
        if lane is not None:
            lane.free()

    def attach(self, lane: EngineLane) -> None:
        """Take the lane into use; called once, when the application starts."""
        lane.on_state = self._signal.emit
        with self._lock:
            self._lane = lane
            warm = self._warm_wanted
        if warm:
            lane.warm()

    def preview(self, job_id: str) -> npt.NDArray[np.uint8] | None:
        """The newest frame of a running job that nobody has taken yet."""
        lane = self._lane
        return lane.take_preview(job_id) if lane else None

    @property
    def lane(self) -> Any:
        """The lane, once attached."""
        return self._lane

    def close(self) -> None:
        lane, self._lane = self._lane, None
        if lane:
            lane.close()


def session_for(locator: Any, settings: Any, folder: Path | None, texts: Any = None) -> Any:
    """The session that the settings ask for. Imports torch: call it on the lane. `folder` keeps what plans learn,
    `texts` (engine.memory.text_cache) prompts that were read.

    Raises InvalidRequest when the device that was chosen is not there.
    """
    from engine.memory.choice import Chooser
    from engine.memory.device import Card
    from engine.memory.footprint import GIB
    from engine.memory.speed import Speed
    from engine.sampling.session import Session

    device = device_for(settings.get("engine.device"))
    chooser = Chooser(folder, settings.get("engine.quality"))
    sums = settings.get("engine.half_sums")
    if sums == "fast" and settings.get("engine.quality") != "exact":
        sums = "always"  # loss is allowed to every run
    speed = Speed(
        settings.get("engine.attention"), sums, settings.get("engine.compile"), settings.get("engine.fast_cache")
    )
    kept = round(settings.get("engine.ram_gib") * GIB) or _usual_share()
    if device != "cuda":
        return Session(locator, device, kept, chooser=chooser, speed=speed, texts=texts)
    budget = round(settings.get("engine.vram_gib") * GIB) or None
    card = Card(device, budget, round(settings.get("engine.leave_gib") * GIB))
    return Session(locator, device, kept, card=card, chooser=chooser, speed=speed, texts=texts)


def _usual_share() -> int:
    """Bytes of main memory that loaded models may take where no setting says it: half of what the machine has."""
    import psutil

    return int(psutil.virtual_memory().total) // 2


def device_for(choice: str) -> str:
    """The torch device for the setting engine.device. Imports torch: call it on the lane.

    Raises InvalidRequest when the device that was chosen is not there.
    """
    import torch

    here = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if choice == "auto":
        return next(name for name, found in here.items() if found)
    if not here.get(choice, False):
        raise InvalidRequest(
            f"the device “{choice}” is not available on this machine", fix="Choose “Automatic” in the preferences"
        )
    return choice
