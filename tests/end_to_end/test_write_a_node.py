"""docs/write-a-node.md, done exactly as it stands: every file saved, every command run, every answer compared."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from engine.contracts.job_spec import JobSpec
from engine.contracts.workflow import Workflow
from engine.graph.signatures import signatures
from engine.media.images import decode
from studio_app.application import Application
from studio_app.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "write-a-node.md"
TIMEOUT = 60.0
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SAVE = re.compile(r"Save this as `([^`]+)`")
_CHANGE = re.compile(r"In `([^`]+)`, change the line")


class Reader:
    """Does what the page says: `here` stands for the studio's folder, `nodes` in it for the nodes folder."""

    def __init__(self, here: Path, data: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self.here, self.data, self.capfd = here, data, capfd
        self.said = ""
        self.before_edit: Path | None = None
        self.did: list[str] = []

    def work_through(self) -> Iterator[str]:
        """Stops before each edit and at the end, naming the section."""
        text = PAGE.read_text(encoding="utf-8")
        position, old = 0, ""
        for match in _BLOCK.finditer(text):
            lead, kind, body = text[position : match.start()], match[1], match[2]
            position = match.end()
            if saved := _SAVE.search(lead):
                self.file(saved[1]).write_text(body, encoding="utf-8")
                self.did.append(f"saved {saved[1]}")
            elif kind == "sh":
                self.said = "".join(self.command(line) for line in body.splitlines())
            elif kind == "text":
                for line in body.splitlines():
                    assert line in self.said, f"{line!r} is not in {self.said!r}"
                self.did.append("compared an answer")
            elif changed := _CHANGE.search(lead):
                self.edited, old = self.file(changed[1]), body
                yield "before the edit"
            else:
                assert lead.strip() == "to", f"nothing says what to do with {body!r}"
                source = self.edited.read_text(encoding="utf-8")
                assert source.count(old) == 1
                self.edited.write_text(source.replace(old, body), encoding="utf-8")
                self.did.append("edited")
                yield "edited"
        yield "done"

    def file(self, name: str) -> Path:
        path = self.here / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def command(self, line: str) -> str:
        """What a command says; it must succeed."""
        words = shlex.split(line)
        self.did.append(" ".join(words[:3]))
        if words[:2] == ["python3", "main.py"]:
            self.capfd.readouterr()
            code = main(words[2:])
            out, err = self.capfd.readouterr()
            assert code == 0, err
            return out
        assert words[0] == ".venv/bin/python", line
        done = subprocess.run(
            [sys.executable, *words[1:], "-p", "no:cacheprovider"], cwd=self.here, capture_output=True, text=True,
            check=False, env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def test_the_page_is_followed_exactly_as_it_stands(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, here = tmp_path / "data", tmp_path / "studio"
    (data / "nodes").mkdir(parents=True)
    here.mkdir()
    (here / "nodes").symlink_to(data / "nodes")
    monkeypatch.setenv("TESSERA_DATA", str(data))
    monkeypatch.chdir(here)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    reader = Reader(here, data, capfd)
    steps = reader.work_through()

    assert next(steps) == "before the edit"
    assert main(["nodes"]) == 0
    assert re.search(
        r"^ {2}mine\.warmth +Make pictures warmer or cooler\. +\[warmth\.py\]$", capfd.readouterr().out, re.M
    )
    warm, cool = colour(here / "out/warm.png"), colour(here / "out/warm 2.png")
    grey = 128 / 255
    assert warm == pytest.approx((grey + 0.2, grey, grey - 0.2), abs=1 / 255)
    assert cool == pytest.approx((grey - 0.2, grey, grey + 0.2), abs=1 / 255)

    # A studio that is open while the file is edited.
    workflow = Workflow.from_json(json.loads((here / "warm.json").read_text()))
    spec = JobSpec(workflow=workflow)
    app = Application(data)
    app.start()
    try:
        assert app.wait_ready(TIMEOUT)
        assert made(app, spec) == pytest.approx((grey + 0.2, grey, grey - 0.2), abs=1 / 255)
        signed = signatures(workflow, app.plugins.registry())
        assert next(steps) == "edited"
        assert made(app, spec) == pytest.approx((grey + 0.4, grey, grey - 0.4), abs=1 / 255)
        now = signatures(workflow, app.plugins.registry())
        assert {node for node in now if now[node] != signed[node]} == {"warm", "save"}
    finally:
        app.close()

    assert next(steps) == "done"
    assert main(["run", "warm.json", "-o", "out"]) == 0
    assert colour(here / "out/warm 3.png") == pytest.approx((grey + 0.4, grey, grey - 0.4), abs=1 / 255)
    assert reader.did == [
        "python3 main.py nodes", "saved nodes/warmth.py", "python3 main.py nodes", "compared an answer",
        "python3 main.py nodes", "python3 main.py nodes", "compared an answer", "saved warm.json",
        "python3 main.py run", "python3 main.py run", "edited", "saved nodes/test_warmth.py",
        ".venv/bin/python -m pytest",
    ]  # fmt: skip


def made(app: Application, spec: JobSpec) -> tuple[float, ...]:
    """The colour of the one picture that a job makes."""
    row = app.jobs.wait(app.jobs.submit(spec), TIMEOUT)
    assert row.status == "succeeded", row.error
    (record,) = app.library.of_job(row.id)
    return mean(decode(app.library.read(record), "made.png"))


def colour(path: Path) -> tuple[float, ...]:
    return mean(decode(path.read_bytes(), path.name))


def mean(picture: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> tuple[float, ...]:
    return tuple(float(v) for v in picture[..., :3].mean((0, 1)))
