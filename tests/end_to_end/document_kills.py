"""Kills a process that edits a workflow, at random moments, and looks at what comes back.

    python -m tests.end_to_end.document_kills ROUNDS SEED FOLDER      prints one JSON object of figures

The child edits as fast as a person drags, and tells on a pipe the number and time of each edit that was done. The
parent kills it and opens the session again: every edit older than a second must be there, with none missing before.
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

from engine.contracts.workflow import Node, Workflow
from engine.graph.registry import Registry
from studio_app.documents.edits import MoveNodes, set_input
from studio_app.store.blobs import Blobs
from studio_app.workflows.workflows import Workflows

LONGEST = 1.6  # seconds a child lives
LOSS = 1.0  # seconds of edits that may be lost


def open_workflows(folder: Path) -> Workflows:
    found = Workflows(folder, folder / "templates", Blobs(folder / "blobs"), Registry)
    found.start()
    return found


def work(folder: Path, pipe: int) -> None:
    """Edit until killed: edit number n sets the factor to n and moves a node there."""
    workflows = open_workflows(folder)
    tab = workflows.tabs[0] if workflows.tabs else workflows.new(Workflow(nodes=(Node(id="n", type="latent.blend"),)))
    number = int(tab.document.node("n").position[0])
    while True:
        number += 1
        tab.document.edit(
            "step",
            set_input("n", "factor", number),
            MoveNodes({"n": (float(number), 0.0)}),
            merge=f"drag {number // 50}",
        )
        if number % 7 == 0:
            tab.document.undo()
            tab.document.redo()
        if number % 400 == 0:
            workflows.save_as(tab, folder / "workflows" / "w.tessera.json")
        os.write(pipe, f"{number} {time.monotonic()}\n".encode())
        time.sleep(0.002)


def one_round(folder: Path, lives: float) -> tuple[int, int]:
    """(edits that were done, edits that were lost) of a child killed after so many seconds."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        try:
            work(folder, write)
        finally:
            traceback.print_exc()
            os._exit(70)
    os.close(write)
    time.sleep(lives)
    os.kill(child, signal.SIGKILL)
    killed = time.monotonic()
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "the editor died by itself"
    with os.fdopen(read, "rb") as file:
        told = [line.split() for line in file.read().decode().splitlines() if line.count(" ") == 1]
    done = [(int(number), float(at)) for number, at in told]
    workflows = open_workflows(folder)
    try:
        last = done[-1][0] if done else 0
        if not workflows.tabs:
            assert not done or killed - done[0][1] <= LOSS, "a tab that lived for more than a second is gone"
            return last, last
        assert len(workflows.tabs) == 1, [tab.title for tab in workflows.tabs]
        document = workflows.tabs[0].document
        node = document.node("n")
        number = node.inputs.get("factor", 0)
        assert isinstance(number, int)
        assert node.position[0] == number, "half of an edit is there"
        safe = max((n for n, at in done if killed - at > LOSS), default=0)
        assert number >= safe, f"edit {safe} was done more than a second ago, but {number} is the last one kept"
        document.undo()
        assert document.node("n").position[0] < max(number, 1)
        document.redo()
        saved = folder / "workflows" / "w.tessera.json"
        assert not saved.exists() or saved.stat().st_size > 100
        return last, last - number
    finally:
        workflows.close()


def main(rounds: int, seed: int, folder: Path) -> dict[str, float]:
    chance = random.Random(seed)
    done = lost = 0
    for _ in range(rounds):
        last, missing = one_round(folder, chance.uniform(0.05, LONGEST))
        done, lost = max(done, last), max(lost, missing)
    return {"rounds": rounds, "edits": done, "most_lost": lost}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))))
