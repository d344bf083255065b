"""The queue: what is submitted runs, says so in order, stops when asked, and survives disks that don't."""

from __future__ import annotations

import os
import queue
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from engine.contracts.errors import InvalidRequest, MissingModel, StorageError
from engine.contracts.job_events import EventKind, JobEvent
from engine.contracts.job_spec import JobSpec, Sweep
from engine.contracts.workflow import Link, Node, Workflow
from engine.graph.registry import Registry
from engine.recipes.request import ImageRequest
from studio_app.application import Application
from studio_app.jobs.eta import RunTimes, StepClock, time_words
from studio_app.jobs.naming import check_pattern
from studio_app.jobs.rows import ExportTarget
from tests.unit.studio_nodes import GATES, Gate, drawing, studio

TIMEOUT = 60


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Application]:
    made = studio(tmp_path / "data")
    yield made
    made.close()


@pytest.fixture
def gate() -> Iterator[Gate]:
    GATES["gate"] = Gate()
    yield GATES["gate"]
    GATES.pop("gate").opened.set()


def events_of(app: Application) -> queue.SimpleQueue[JobEvent]:
    heard: queue.SimpleQueue[JobEvent] = queue.SimpleQueue()
    app.events.subscribe(heard.put)
    return heard


def until_finished(heard: queue.SimpleQueue[JobEvent], job_id: str) -> list[JobEvent]:
    out = []
    while True:
        event = heard.get(timeout=TIMEOUT)
        if event.job == job_id:
            out.append(event)
            if event.kind == "finished":
                return out


def test_a_job_runs_and_its_events_are_numbered_and_kept(app: Application, tmp_path: Path) -> None:
    heard = events_of(app)
    job_id = app.jobs.submit(drawing(5, count=2), export=ExportTarget(tmp_path / "out", "%prompt%-%seed%"))
    events = until_finished(heard, job_id)
    assert [e.sequence for e in events] == list(range(len(events)))
    kinds = [e.kind for e in events]
    assert kinds[:3] == ["accepted", "planned", "node_started"]
    assert kinds.count("artifact") == 2
    row = app.jobs.get(job_id)
    assert (row.status, row.fraction, row.title, len(row.results)) == ("succeeded", 1.0, "drawing 5", 2)
    records = app.library.of_job(job_id)
    assert [(r.seed, r.index, r.width) for r in records] == [(5, 0, 32), (6, 1, 32)]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["drawing_5-5.png", "drawing_5-6.png"]
    assert (tmp_path / "out" / "drawing_5-5.png").read_bytes() == app.library.read(records[0])
    app.flush()
    stored = app._store.events(job_id)
    assert [e.kind for e in stored] == [k for k in kinds if k != "node_progress"]
    assert next(e for e in stored if e.kind == "artifact").data["path"] == str(tmp_path / "out" / "drawing_5-5.png")


def test_a_node_that_fails_is_one_sentence_in_the_row(app: Application) -> None:
    spec = JobSpec(workflow=Workflow(nodes=(Node(id="n", type="test.break"),)))
    row = app.jobs.wait(app.jobs.submit(spec), TIMEOUT)
    assert row.status == "failed"
    assert "n" in row.error
    assert "the paint ran out" in row.error
    assert "Traceback" not in row.error


def test_a_workflow_that_cannot_run_fails_as_a_job(app: Application) -> None:
    nodes = (Node(id="a", type="test.draw", inputs={"seed": Link("b", "x")}), Node(id="b", type="no.such"))
    row = app.jobs.wait(app.jobs.submit(JobSpec(workflow=Workflow(nodes=nodes))), TIMEOUT)
    assert row.status == "failed"
    assert "no.such" in row.error


def test_a_running_job_stops_at_the_next_step_and_a_queued_one_never_starts(app: Application, gate: Gate) -> None:
    heard = events_of(app)
    running = app.jobs.submit(drawing(1, gate="gate"))
    waiting = app.jobs.submit(drawing(2))
    assert gate.reached.wait(TIMEOUT)
    assert app.flush(TIMEOUT)
    assert app.jobs.get(running).status == "running"
    assert app.jobs.get(waiting).status == "queued"
    app.jobs.cancel_all()
    gate.opened.set()
    assert app.jobs.wait(running, TIMEOUT).status == "cancelled"
    assert app.jobs.wait(waiting, TIMEOUT).status == "cancelled"
    kinds = [(e.job, e.kind) for e in until_finished(heard, waiting)]
    assert (waiting, "node_started") not in kinds
    assert app.library.recent() == []
    app.jobs.cancel(running)  # again does no harm
    assert app.jobs.get(running).status == "cancelled"


def test_several_prompts_are_one_group_with_progress_for_each(app: Application) -> None:
    request = ImageRequest(prompt="", seed=1)
    with pytest.raises(InvalidRequest, match="11 prompts were given"):
        app.jobs.submit_prompts(request, ["x"] * 11)
    with pytest.raises(InvalidRequest, match="0 prompts were given"):
        app.jobs.submit_prompts(request, ["", "  "])
    ids = app.jobs.submit_prompts(request, ["a red circle", "", "a blue square"])
    rows = app.jobs.group(app.jobs.get(ids[0]).group)
    assert [r.id for r in rows] == ids
    assert [r.title for r in rows] == ["a red circle", "a blue square"]
    for job_id in ids:  # this application has none of the nodes that real pictures need
        assert app.jobs.wait(job_id, TIMEOUT).status == "failed"


def test_a_sweep_runs_once_for_each_value(app: Application) -> None:
    spec = JobSpec(workflow=drawing(0).workflow, bindings={"draw.seed": Sweep((3, 8))})
    row = app.jobs.wait(app.jobs.submit(spec), TIMEOUT)
    assert row.status == "succeeded"
    assert [(r.seed, r.index) for r in app.library.of_job(row.id)] == [(3, 0), (8, 1)]


def test_closing_and_opening_brings_jobs_and_pictures_back(tmp_path: Path, gate: Gate) -> None:
    first = studio(tmp_path)
    done = first.jobs.wait(first.jobs.submit(drawing(4)), TIMEOUT)
    cut = first.jobs.submit(drawing(5, gate="gate"))
    assert gate.reached.wait(TIMEOUT)
    gate.opened.set()
    first.close()
    second = studio(tmp_path)
    rows = {r.id: r for r in second.jobs.recent()}
    assert rows[done.id].status == "succeeded"
    assert rows[done.id].results == done.results
    assert rows[cut].is_finished
    assert [r.id for r in second.library.recent()][-1] == done.results[0]
    again = second.jobs.wait(second.jobs.resubmit(done.id), TIMEOUT)
    assert again.number > rows[cut].number
    assert second.library.of_job(again.id)[0].artifact.sha256 == second.library.get(done.results[0]).artifact.sha256
    with pytest.raises(MissingModel):
        second.jobs.get("nothing")
    second.close()


def test_pictures_stay_in_memory_while_the_library_cannot_be_written(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    app = studio(blocked / "data")
    assert [n.level for n in app.notifications.recent()] == ["error"]
    assert "New pictures are kept in memory" in app.notifications.recent()[0].text
    row = app.jobs.wait(app.jobs.submit(drawing(3)), TIMEOUT)
    assert row.status == "succeeded"
    (waiting,) = app.library.unsaved
    assert app.library.recent() == [waiting.record]
    assert app.library.get(row.results[0]) == waiting.record
    assert app.library.read(waiting.record) == waiting.data
    saved = app.library.save_as(waiting.record, tmp_path / "elsewhere" / "mine.png")
    assert saved.read_bytes() == waiting.data
    assert app.library.unsaved == []
    app.close()


def test_when_memory_for_unsaved_pictures_is_full_no_job_is_taken(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    app = studio(blocked / "data")
    app.library._budget = lambda: 5_000
    row = app.jobs.wait(app.jobs.submit(drawing(3, count=30, steps=1)), TIMEOUT)
    assert row.is_finished
    with pytest.raises(StorageError, match="fill the memory kept for them"):
        app.jobs.submit(drawing(4))
    app.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.name != "posix" or os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], check=False)
    if mounted.returncode:
        pytest.skip("this system lets nobody mount")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_output_disk_leaves_the_picture_in_the_library_and_says_so(
    app: Application, small_disk: Path, tmp_path: Path
) -> None:
    (small_disk / "fill").write_bytes(b"x" * 1_040_000)
    row = app.jobs.wait(app.jobs.submit(drawing(3, edge=96), export=ExportTarget(small_disk)), TIMEOUT)
    assert row.status == "succeeded"
    assert [p.name for p in small_disk.iterdir()] == ["fill"]
    (said,) = [n for n in app.notifications.recent() if n.level == "error"]
    assert said.text == (
        f"The disk with {small_disk} is full. Free some space or choose another folder. "
        "The picture is safe in the library."
    )
    assert app.library.recent()[0].id == row.results[0]


def test_a_full_library_disk_keeps_pictures_in_memory_until_there_is_room(small_disk: Path) -> None:
    app = studio(small_disk / "data")
    filler = small_disk / "fill"
    with open(filler, "wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            pass
    row = app.jobs.wait(app.jobs.submit(drawing(3, edge=96)), TIMEOUT)
    assert row.status == "succeeded"
    assert [u.record.id for u in app.library.unsaved] == list(row.results)
    assert "is full" in app.library.unsaved[0].why
    assert app.retry_unsaved() == 0
    filler.unlink()
    assert app.retry_unsaved() == 1
    assert app.library.unsaved == []
    assert app.library.get(row.results[0]).seed == 3
    assert app._store.database.integrity() == "ok"
    app.close()


# --- seconds left, names


def test_seconds_left_come_from_measured_steps() -> None:
    clock = StepClock()
    assert clock.seconds_left(0.0) is None
    for step, at in enumerate([0.0, 9.0, 10.0, 11.0, 12.0]):  # the first step took nine seconds, the others one
        clock.observe(step, 10, at)
    assert clock.seconds_per_step == 1.0
    assert clock.seconds_left(12.0) == 6.0
    assert clock.seconds_left(12.5) == 5.5
    assert clock.fraction == 0.4


def test_seconds_left_count_runs_still_to_come_and_use_what_was_learned() -> None:
    clock = StepClock(runs=3, learned=2.0)
    clock.observe(0, 10, 0.0)
    assert clock.seconds_left(0.0) == 60.0
    clock.observe(10, 10, 10.0)
    clock.observe(0, 10, 10.0)
    assert clock.seconds_left(10.0) == 20.0
    assert clock.fraction == pytest.approx(1 / 3)


# Written down from a real job of the starter model, the first of its session, as (kind, node, time, data); two seconds
# of loading and one and a half of warming up were added where a large model spends them.
FIRST_JOB: tuple[tuple[str, str, float, dict[str, object]], ...] = (
    ("accepted", "", 0.0, {}),
    ("planned", "", 4.37, {}),  # torch was imported meanwhile
    ("node_started", "checkpoint", 4.371, {"type": "load.checkpoint"}),
    ("node_finished", "checkpoint", 6.371, {"seconds": 2.0}),
    ("node_started", "prompt", 6.371, {"type": "condition.encode_text"}),
    ("node_finished", "prompt", 6.381, {"seconds": 0.0099}),
    ("node_started", "sampler", 6.384, {"type": "sample.k_sampler"}),
    ("node_progress", "sampler", 7.906, {"done": 0, "total": 6}),
    ("node_progress", "sampler", 7.945, {"done": 1, "total": 6}),
    ("node_progress", "sampler", 8.011, {"done": 2, "total": 6}),
    ("node_progress", "sampler", 8.049, {"done": 3, "total": 6}),
    ("node_progress", "sampler", 8.081, {"done": 4, "total": 6}),
    ("node_progress", "sampler", 8.107, {"done": 5, "total": 6}),
    ("node_progress", "sampler", 8.132, {"done": 6, "total": 6}),
    ("node_finished", "sampler", 8.132, {"seconds": 1.748}),
    ("node_started", "decode", 8.132, {"type": "latent.decode_image"}),
    ("node_progress", "decode", 8.187, {"done": 1, "total": 1}),
    ("node_finished", "decode", 8.187, {"seconds": 0.0549}),
    ("node_started", "save", 8.187, {"type": "image.save"}),
    ("node_finished", "save", 8.194, {"seconds": 0.0066}),
    ("finished", "", 8.216, {"outcome": "succeeded", "seconds": 3.844}),
)


def times_of(script: Sequence[tuple[str, str, float, dict[str, object]]]) -> RunTimes:
    times = RunTimes()
    for sequence, (kind, node, time, data) in enumerate(script):
        times.observe(JobEvent(job="j", sequence=sequence, time=time, kind=cast(EventKind, kind), node=node, data=data))
    return times


def test_loading_the_model_is_not_drawing() -> None:
    times = times_of(FIRST_JOB)
    assert times.drawing == pytest.approx(6 * 0.0350, abs=1e-6)  # the median of the six steps, not the 3.8 s it took
    assert times.around == pytest.approx(0.0099 + 0.0549 + 0.0066)


def test_progress_that_was_left_out_is_spread_over_its_steps() -> None:
    kept = [item for item in FIRST_JOB if item[0] != "node_progress" or item[3]["done"] in (0, 2, 6)]
    times = times_of(kept)
    assert times.drawing == pytest.approx(6 * (0.105 / 2 + 0.121 / 4) / 2)


def test_a_job_whose_steps_were_not_seen_says_nothing_about_drawing() -> None:
    assert times_of([item for item in FIRST_JOB if item[0] != "node_progress"]).drawing is None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "about a second"), (4.2, "about 4 seconds"), (23, "about 25 seconds"), (70, "about a minute"),
     (600, "about 10 minutes"), (3700, "about an hour"), (9000, "about 2.5 hours")],
)  # fmt: skip
def test_time_is_said_as_people_say_it(seconds: float, words: str) -> None:
    assert time_words(seconds) == words


def test_a_name_pattern_with_an_unknown_field_is_refused() -> None:
    assert check_pattern("%date% %seed%") == "%date% %seed%"
    with pytest.raises(InvalidRequest, match="no field “%colour%”"):
        check_pattern("%colour%")


def test_a_broken_node_library_leaves_the_rest_of_the_studio_working(tmp_path: Path) -> None:
    def broken() -> Registry:
        raise TypeError("no such socket")

    app = Application(tmp_path, registry=broken)
    app.start()
    assert app.wait_ready(TIMEOUT)
    assert app.engine.state == "failed"
    assert app.engine.error == "The engine could not be started (TypeError: no such socket)."
    row = app.jobs.wait(app.jobs.submit(drawing(1)), TIMEOUT)
    assert (row.status, row.error) == ("failed", app.engine.error)
    assert app.library.recent() == []
    app.close()


def test_a_cancel_in_the_moment_of_handing_over_is_not_lost(app: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job is marked as launched, and the lane does not know it yet: that is when the person presses Cancel."""
    app.start()
    assert app.wait_ready(TIMEOUT)
    lane = app.engine.lane
    assert lane is not None
    hand_over = lane.submit

    def cancelled_first(job_id: str, *rest: Any) -> None:
        app.jobs.cancel(job_id)
        hand_over(job_id, *rest)

    monkeypatch.setattr(lane, "submit", cancelled_first)
    job_id = app.jobs.submit(drawing(1))
    assert app.jobs.wait(job_id, TIMEOUT).status == "cancelled"
