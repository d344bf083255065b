"""Kills the studio at random moments of generating and saving, and looks at what is left.

    python -m tests.end_to_end.kill_rounds ROUNDS SEED FOLDER      prints one JSON object of figures

A warm parent without threads forks a child for each round. The child opens the studio, makes and saves pictures with
torch-free nodes and changes settings without pause, until SIGKILL. Another child opens the studio again and checks
everything that must hold.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

# Warm: what the children need is imported before the first fork.
import PIL.Image
import PIL.PngImagePlugin
import sqlite_utils

import engine.worker.in_process
import studio_app.jobs.naming
from engine.media.images import decode
from studio_app.application import Application
from studio_app.jobs.rows import ExportTarget
from tests.unit.studio_nodes import drawing, registry

WARMED = (PIL.Image, PIL.PngImagePlugin, sqlite_utils, engine.worker.in_process, studio_app.jobs.naming)
LONGEST = 0.6  # seconds a child lives; a round of it makes some dozen pictures


def work(folder: Path, seed: int) -> None:
    """Make and save until killed."""
    app = Application(folder, registry=registry)
    app.start()
    export = ExportTarget(folder / "pictures", "%prompt%-%seed%")
    number = seed
    while True:
        number += 10
        job = app.jobs.submit(drawing(number, count=3, steps=2, edge=96), export=export)
        app.settings.set("create.last_request", {"prompt": "x" * (number % 3000), "seed": number})
        app.prompts.remember(f"prompt {number}")
        app.jobs.wait(job)


def check(folder: Path) -> dict[str, Any]:
    """Open what a kill left behind. Raises AssertionError for anything broken; returns what was found."""
    before = {p.name for p in (folder / "blobs").glob("??/*.part")}
    app = Application(folder, registry=registry)
    app.start()
    assert app.wait_ready(60)
    store = app._store
    assert store.database.integrity() == "ok"
    assert not [n for n in app.notifications.recent() if n.level in ("error", "warning")], app.notifications.recent()
    assert app.settings.get("create.last_request") is not None
    assert app.settings.complaints == []
    assert app.prompts.recent() is not None
    assert app.prompts.complaints == []
    assert [j.status for j in app.jobs.recent(500) if not j.is_finished] == []
    assert store.pending_exports() == 0
    assert list((folder / "blobs").glob("??/*.part")) == []
    blobs = list(store.blobs.all())
    assert all(store.blobs.verify(sha256) for sha256 in blobs)
    records = store.records(100_000)
    pictures = folder / "pictures"
    named = sorted(pictures.iterdir()) if pictures.is_dir() else []
    assert [p.name for p in named if p.name.endswith(".part")] == []
    for path in named:
        assert decode(path.read_bytes(), path.name).shape == (96, 96, 3)
    kept = {record.artifact.sha256 for record in records}
    assert kept <= set(blobs)
    exported = [store.exported_to(record.id) for record in records]
    assert all(path is not None and path.is_file() for path in exported)
    assert len(named) == len(records)
    journalled = {e["record"]["id"] for e in store.journal.read() if e["op"] == "result"}
    assert journalled == {record.id for record in records}
    recovery = app.recovery
    app.close()
    return {
        "records": len(records), "blobs": len(blobs), "files": len(named), "partial_blobs_found": len(before),
        "interrupted": recovery.interrupted, "exports_finished": recovery.exports_finished,
        "journalled": recovery.journalled,
    }  # fmt: skip


def in_child(work_of_child: Any, pipe: int | None = None) -> int:
    """Fork; the child runs and never returns."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        answer = work_of_child()
        if pipe is not None:
            os.write(pipe, json.dumps(answer).encode())
        code = 0
    except BaseException:  # noqa: BLE001  # a child must never return into the parent's code
        traceback.print_exc()
    finally:
        os._exit(code)


def rounds(count: int, seed: int, folder: Path) -> dict[str, Any]:
    """Kill and check `count` times on one growing library."""
    dice = random.Random(seed)
    totals = {"interrupted": 0, "exports_finished": 0, "journalled": 0, "partial_blobs_found": 0}
    last: dict[str, Any] = {}
    broken = 0
    for index in range(count):
        first = seed * 10_000_000 + index * 10_000
        pid = in_child(lambda first=first: work(folder, first))
        time.sleep(dice.uniform(0.005, LONGEST))
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        assert os.WIFSIGNALED(status), "the child ended before it was killed"
        reader, writer = os.pipe()
        checker = in_child(lambda: check(folder), writer)
        os.close(writer)
        with os.fdopen(reader) as answers:
            text = answers.read()
        _, status = os.waitpid(checker, 0)
        if status:
            broken += 1
            continue
        last = json.loads(text)
        for name in totals:
            totals[name] += last[name]
    final = {key: last.get(key, 0) for key in ("records", "blobs", "files")}
    return {"rounds": count, "broken": broken, **final, **totals}


if __name__ == "__main__":
    print(json.dumps(rounds(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))))  # noqa: T201
