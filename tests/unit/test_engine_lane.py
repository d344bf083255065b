"""The engine lane: one thread, first come first served, that outlives whatever a job does."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from engine.contracts.errors import InvalidWorkflow, StorageError
from engine.contracts.job_events import JobEvent
from engine.contracts.job_spec import JobSpec
from engine.contracts.workflow import Node, Workflow
from engine.graph.cache import ValueCache
from engine.graph.events import PreviewBox
from engine.graph.execute import JobResult
from engine.graph.node import NodeContext, node
from engine.graph.services import Services
from engine.worker.in_process import NICENESS, EngineLane
from tests.unit.graph_nodes import n, registry, services

STARTED = threading.Event()


@node("t.until_cancelled", category="Test", outputs=("v",))
def until_cancelled(ctx: NodeContext, value: int = 0) -> int:
    """Shows frames until cancelled."""
    STARTED.set()
    while True:
        ctx.check_cancelled()
        if ctx.wants_preview:
            ctx.preview(np.full((2, 2, 3), value, np.uint8))


@node("t.where", category="Test", outputs=("thread", "niceness"))
def where(ctx: NodeContext) -> tuple[int, int]:
    """Which thread this is."""
    niceness = os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) if sys.platform == "linux" else NICENESS
    return threading.get_ident() % 2**40, niceness


class Ticket:
    """Waits for one job."""

    def __init__(
        self, lane: EngineLane, name: str, *nodes: Node, targets: tuple[str, ...] = (), **options: Any
    ) -> None:
        self.results: list[JobResult] = []
        self._done = threading.Event()
        spec = JobSpec(workflow=Workflow(nodes=nodes), targets=targets)
        lane.submit(name, spec, on_done=self._finish, **options)

    def _finish(self, result: JobResult) -> None:
        self.results.append(result)
        self._done.set()

    def wait(self) -> JobResult:
        assert self._done.wait(60)
        return self.results[0]


@pytest.fixture
def lane() -> Iterator[EngineLane]:
    STARTED.clear()
    made = EngineLane(services, registry(until_cancelled, where), ValueCache(1 << 20))
    yield made
    made.close()


def test_jobs_run_one_after_another_on_one_niced_thread(lane: EngineLane) -> None:
    order: list[str] = []
    tickets = [
        Ticket(lane, str(i), n("w", "t.where"), targets=("w",), on_event=lambda e: order.append(e.job))
        for i in range(3)
    ]
    found = [t.wait().outputs["w"] for t in tickets]
    assert len({f["thread"] for f in found}) == 1
    assert found[0]["thread"] != threading.get_ident() % 2**40
    assert found[0]["niceness"] == max(NICENESS, os.nice(0))
    assert order == sorted(order)


def test_a_running_job_is_cancelled_and_the_next_one_runs(lane: EngineLane) -> None:
    first = Ticket(lane, "one", n("e", "t.until_cancelled"), targets=("e",))
    second = Ticket(lane, "two", n("s", "t.save", value=1))
    assert STARTED.wait(30)
    assert lane.cancel("one")
    assert first.wait().outcome == "cancelled"
    assert second.wait().outcome == "succeeded"
    assert not lane.cancel("one")


def test_memory_is_freed_between_jobs_and_at_once_when_there_is_none() -> None:
    told: list[str] = []
    freed = threading.Event()

    class Session:
        def free(self) -> None:
            told.append("free")
            freed.set()

    STARTED.clear()
    made = EngineLane(
        lambda: replace(services(), session=Session()), registry(until_cancelled), ValueCache(1 << 20)
    )  # fmt: skip

    def note(event: JobEvent) -> None:
        told.append(f"{event.job} {event.kind}")

    try:
        first = Ticket(made, "one", n("e", "t.until_cancelled"), targets=("e",), on_event=note)
        second = Ticket(made, "two", n("s", "t.save", value=1), targets=("s",), on_event=note)
        assert STARTED.wait(30)
        made.free()
        assert not freed.wait(0.05)  # the job goes on with its models
        made.cancel("one")
        first.wait()
        second.wait()
        assert told.index("one finished") < told.index("free") < told.index("two accepted")
        freed.clear()
        made.free()
        assert freed.wait(30)
        assert told.count("free") == 2
    finally:
        made.close()


def test_a_waiting_job_is_cancelled_before_it_starts(lane: EngineLane) -> None:
    first = Ticket(lane, "one", n("e", "t.until_cancelled"), targets=("e",))
    second = Ticket(lane, "two", n("s", "t.save", value=1))
    lane.cancel("two")
    lane.cancel("one")
    first.wait()
    result = second.wait()
    assert (result.outcome, result.artifacts) == ("cancelled", [])


def test_a_preview_is_taken_once_and_is_the_newest(lane: EngineLane) -> None:
    ticket = Ticket(lane, "one", n("e", "t.until_cancelled", value=7), targets=("e",))
    frame = None
    assert STARTED.wait(30)
    while frame is None:
        frame = lane.take_preview("one")
    assert frame.shape == (2, 2, 3)
    assert int(frame[0, 0, 0]) == 7
    assert lane.take_preview("nobody") is None
    lane.cancel("one")
    ticket.wait()


def test_the_mailbox_keeps_only_the_newest_frame() -> None:
    box = PreviewBox()
    wanted = [box.wanted]
    for shade in (1, 2, 3):
        box("node", np.full((1, 1, 3), shade, np.uint8))
    wanted.append(box.wanted)
    frame = box.take()
    assert frame is not None
    assert int(frame[0, 0, 0]) == 3
    wanted.append(box.wanted)
    assert wanted == [True, False, True]
    assert box.take() is None


def test_a_wrong_workflow_comes_back_as_a_result(lane: EngineLane) -> None:
    result = Ticket(lane, "one", n("s", "t.nope")).wait()
    assert result.outcome == "failed"
    assert isinstance(result.error, InvalidWorkflow)
    assert Ticket(lane, "two", n("s", "t.save", value=1)).wait().outcome == "succeeded"


def test_a_broken_listener_does_not_end_the_lane(lane: EngineLane) -> None:
    def broken(event: object) -> None:
        raise RuntimeError("listener")

    result = Ticket(lane, "one", n("s", "t.save", value=1), on_event=broken).wait()
    assert "an error of its own (RuntimeError: listener)" in str(result.error)
    assert Ticket(lane, "two", n("s", "t.save", value=1)).wait().outcome == "succeeded"


def test_an_id_in_use_is_refused(lane: EngineLane) -> None:
    ticket = Ticket(lane, "one", n("e", "t.until_cancelled"), targets=("e",))
    with pytest.raises(ValueError, match="queued already"):
        Ticket(lane, "one", n("s", "t.save", value=1))
    lane.cancel("one")
    ticket.wait()


def test_closing_cancels_what_runs_and_takes_nothing_new(lane: EngineLane) -> None:
    ticket = Ticket(lane, "one", n("e", "t.until_cancelled"), targets=("e",))
    assert STARTED.wait(30)
    lane.close()
    assert ticket.wait().outcome == "cancelled"
    with pytest.raises(ValueError, match="closed"):
        Ticket(lane, "two", n("s", "t.save", value=1))


def test_services_that_can_not_be_made_fail_the_job_with_their_sentence() -> None:
    def broken() -> Services:
        raise StorageError("the folder is gone", where="/models")

    lane = EngineLane(broken, registry(), ValueCache(0))
    result = Ticket(lane, "one", n("s", "t.save", value=1)).wait()
    lane.close()
    assert (str(result.error), lane.state) == ("/models: the folder is gone.", "failed")


def test_warming_loads_torch_and_tells_each_state() -> None:
    states: list[str] = []
    warmed: list[Services] = []
    ready = threading.Event()

    def on_state(state: str) -> None:
        states.append(state)
        if state in ("ready", "failed"):
            ready.set()

    lane = EngineLane(services, registry(), ValueCache(0), warm_up=warmed.append, on_state=on_state, threads=1)
    assert lane.state == "cold"
    lane.warm()
    assert ready.wait(120)
    lane.close()
    assert states == ["loading", "ready"]
    assert len(warmed) == 1
    torch = sys.modules["torch"]
    assert torch.get_num_threads() == 1
