"""The engine in a process of its own: the same jobs, and a crash costs one job and nothing else."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from engine.contracts.errors import StorageError, TesseraError
from engine.contracts.job_events import JobEvent
from engine.contracts.job_spec import JobSpec
from engine.contracts.workflow import Node, Workflow
from engine.graph.execute import JobResult, execute
from engine.graph.values import Artifact
from engine.worker.child_process import ChildLane
from engine.worker.protocol import Broken, Channel
from tests.benchmarks.cache import picture
from tests.unit.child_room import starter
from tests.unit.graph_nodes import n

TIMEOUT = 60.0


class Runner:
    """Submits jobs and waits for them; keeps what was heard."""

    def __init__(self, factory: str) -> None:
        self.lane = ChildLane(f"tests.unit.child_room:{factory}")
        self.events: list[JobEvent] = []
        self.kept: list[tuple[str, Artifact]] = []
        self.heard = threading.Condition()

    def submit(self, job_id: str, spec: JobSpec, on_artifact: Any = None) -> Any:
        done: list[JobResult] = []
        over = threading.Event()

        def on_event(event: JobEvent) -> None:
            with self.heard:
                self.events.append(event)
                self.heard.notify_all()

        def on_done(result: JobResult) -> None:
            done.append(result)
            over.set()

        self.lane.submit(job_id, spec, on_event, on_artifact or self.keep, on_done)

        def wait() -> JobResult:
            assert over.wait(TIMEOUT)
            assert len(done) == 1
            return done[0]

        return wait

    def keep(self, node: str, artifact: Artifact) -> Mapping[str, Any]:
        self.kept.append((node, artifact))
        return {"record": f"r{artifact.index}"}

    def run(self, *nodes: Node, **more: Any) -> JobResult:
        self.events.clear()
        result = self.submit("job", JobSpec(workflow=Workflow(nodes=nodes), **more))()
        assert isinstance(result, JobResult)
        return result

    def wait_for(self, kind: str) -> None:
        with self.heard:
            assert self.heard.wait_for(lambda: any(e.kind == kind for e in self.events), TIMEOUT)


@pytest.fixture
def room() -> Iterator[Runner]:
    made = Runner("things")
    yield made
    made.lane.close()


def test_a_job_runs_elsewhere_and_everything_comes_back(room: Runner) -> None:
    result = room.run(n("a", "t.add", a=2.0), n("s", "t.save", value="@a.sum"), n("p", "t.process"))
    assert (result.outcome, result.error) == ("succeeded", None)
    assert sorted(result.succeeded) == ["a", "p", "s"]
    assert [(node, a.data, a.media_type) for node, a in room.kept] == [("s", b"3.0", "text/plain")]
    (pid,) = [e.data["text"] for e in room.events if e.kind == "log"]
    assert int(pid) == room.lane.process_id != os.getpid()
    assert [e.sequence for e in room.events] == list(range(len(room.events)))
    (told,) = [e for e in room.events if e.kind == "artifact"]
    assert told.data["record"] == "r0"  # what the keeper here said is in the event


def test_the_cache_lives_on_between_jobs(room: Runner) -> None:
    room.run(n("a", "t.add", a=2.0), targets=("a",))
    assert room.run(n("b", "t.add", a=2.0), targets=("b",)).cached == ["b"]


def test_a_failing_node_is_named_with_its_inputs(room: Runner) -> None:
    result = room.run(n("f", "t.fail", value=3), targets=("f",))
    assert result.outcome == "failed"
    assert str(result.error) == "node “f” (t.fail): ValueError: it broke."
    assert result.failures[0].inputs == {"value": "3"}


def test_a_wrong_workflow_is_refused_with_its_exit_code(room: Runner) -> None:
    result = room.run(n("x", "no.such"), targets=("x",))
    assert (result.outcome, result.error.exit_code if result.error else 0) == ("failed", 2)


@pytest.mark.parametrize(("how", "words"), [("segfault", "was ended by SIGSEGV"), ("exit", "ended (exit code 3)")])
def test_a_crash_is_one_sentence_and_the_next_job_works(room: Runner, how: str, words: str) -> None:
    room.run(n("p", "t.process"))
    before = room.lane.process_id
    crashed = room.submit("one", JobSpec(workflow=Workflow(nodes=(n("c", "t.crash", how=how),)), targets=("c",)))
    queued = room.submit("two", JobSpec(workflow=Workflow(nodes=(n("a", "t.add", a=1.0),)), targets=("a",)))
    result = crashed()
    assert result.outcome == "failed"
    assert str(result.error) == (
        f"The engine's process {words} during this job. Run it again, or smaller; the studio is unharmed."
    )
    assert queued().outcome == "succeeded"
    assert room.lane.process_id not in (before, None)


def test_cancelling_reaches_the_job_in_the_other_process_and_those_that_wait(room: Runner) -> None:
    spec = JobSpec(workflow=Workflow(nodes=(n("w", "t.until_stopped"),)), targets=("w",))
    first, second = room.submit("one", spec), room.submit("two", spec)
    room.wait_for("log")
    frame = room.lane.take_preview("one")
    assert frame is not None
    assert (frame.shape, frame.tolist()[1][2]) == ((2, 3, 3), [7, 7, 7])
    assert room.lane.take_preview("one") is None
    assert room.lane.take_preview("two") is None
    assert room.lane.cancel("two")
    assert room.lane.cancel("one")
    assert (first().outcome, second().outcome) == ("cancelled", "cancelled")
    assert not room.lane.cancel("one")
    assert room.run(n("a", "t.add", a=1.0), targets=("a",)).outcome == "succeeded"


def test_closing_stops_what_runs_and_ends_the_process(room: Runner) -> None:
    running = room.submit("one", JobSpec(workflow=Workflow(nodes=(n("w", "t.until_stopped"),)), targets=("w",)))
    room.wait_for("log")
    room.lane.close()
    assert running().outcome == "cancelled"
    assert room.lane.process_id is None
    with pytest.raises(ValueError, match="closed"):
        room.lane.submit("two", picture(64))


def test_what_can_not_be_kept_fails_the_job(room: Runner) -> None:
    def full(node: str, artifact: Artifact) -> None:
        raise StorageError("the disk is full")

    spec = JobSpec(workflow=Workflow(nodes=(n("s", "t.save", value=1.0),)))
    result = room.submit("one", spec, full)()
    assert (result.outcome, str(result.error)) == ("failed", "The disk is full.")
    assert room.run(n("a", "t.add", a=1.0), targets=("a",)).outcome == "succeeded"


def test_the_starter_model_draws_the_same_picture_in_either_process() -> None:
    spec = picture(128, steps=2)
    nodes = (*spec.workflow.nodes, n("save", "image.save", image="@scale.image"))
    spec = JobSpec(workflow=Workflow(nodes=nodes))
    services, registry, cache = starter()
    here = execute(spec, registry=registry, services=services, cache=cache)
    made = Runner("starter")
    try:
        there = made.submit("job", spec)()
    finally:
        made.lane.close()
    assert there.outcome == "succeeded", there.error
    from engine.media.images import decode

    (mine,), (theirs,) = here.artifacts, there.artifacts
    assert (decode(mine[1].data, "a.png") == decode(theirs[1].data, "b.png")).all()
    assert (theirs[1].width, theirs[1].facts) == (mine[1].width, mine[1].facts)


@pytest.mark.parametrize(
    "said", [b"", b"{", b"[]\n", b'{"kind": "x", "bytes": 9}\n12', b'{"bytes": -1, "kind": "x"}\n']
)
def test_what_can_not_be_read_is_a_broken_channel(said: bytes) -> None:
    with pytest.raises(Broken):
        Channel(io.BytesIO(said), io.BytesIO()).receive()


def test_messages_carry_bytes_of_any_kind() -> None:
    pipe = io.BytesIO()
    body = bytes(range(256)) + b'\n{"kind": "x"}\n'
    Channel(io.BytesIO(), pipe).send("preview", body, shape=[1])
    Channel(io.BytesIO(), pipe).send("ready")
    pipe.seek(0)
    channel = Channel(pipe, io.BytesIO())
    assert channel.receive() == ("preview", {"shape": [1]}, body)
    assert channel.receive() == ("ready", {}, b"")


def test_a_factory_that_is_not_there_is_one_sentence(capfd: pytest.CaptureFixture[str]) -> None:
    made = Runner("no_such")
    try:
        result = made.submit("job", picture(64))()
    finally:
        made.lane.close()
    assert isinstance(result.error, TesseraError)
    assert "ended (exit code 1)" in str(result.error)
