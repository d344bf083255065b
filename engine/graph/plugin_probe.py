"""Try a plugin in a child process, so that one that raises, hangs, crashes or exits can hurt nothing here.

`probe` starts the child and reads its answer, a JSON file; `main` is the child. Where a plugin hangs is told by
faulthandler, which needs no help from the hanging code.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from engine.contracts.errors import BadPlugin, clip
from engine.contracts.node_schema import NodeSchema
from engine.graph.plugin_import import load
from engine.graph.plugins import Plugin, is_of_plugin, read_installed, read_plugin

SECONDS = 30.0  # for an import; the first one of a large library can take many
_GRACE = 5.0  # for starting the interpreter and for writing the answer
_ROOT = Path(__file__).resolve().parents[2]
_FRAME = re.compile(r'File "(.*)", line (\d+) in ')


@dataclass(frozen=True)
class Findings:
    """What the child found: the schemas of the plugin's nodes, and remarks in whole sentences."""

    schemas: tuple[NodeSchema, ...]
    remarks: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {"schemas": [s.to_json() for s in self.schemas], "remarks": list(self.remarks)}

    @classmethod
    def from_json(cls, data: Any) -> Findings:
        """Raises InvalidDocument, KeyError or TypeError for anything else than `to_json` gives."""
        return cls(tuple(NodeSchema.from_json(s) for s in data["schemas"]), tuple(str(r) for r in data["remarks"]))


def probe(plugin: Plugin, seconds: float = SECONDS) -> Findings:
    """Import the plugin in a child process. Raises BadPlugin with one sentence naming file and line where known."""
    with tempfile.TemporaryDirectory(prefix="tessera-plugin-", ignore_cleanup_errors=True) as folder:
        question = {
            "origin": plugin.origin, "root": str(plugin.root), "name": plugin.name, "module": plugin.module,
            "code_hash": plugin.code_hash, "seconds": seconds, "folder": folder,
        }  # fmt: skip
        (Path(folder) / "question.json").write_text(json.dumps(question))
        environment = {**os.environ, "PYTHONPATH": str(_ROOT), "PYTHONSAFEPATH": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        child = subprocess.Popen(
            [sys.executable, "-m", "engine.graph.plugin_probe", folder], env=environment, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            code = child.wait(seconds + _GRACE)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            _end(child)
        return _answer(plugin, Path(folder), code, seconds)


def _end(child: subprocess.Popen[bytes]) -> None:
    """End the child and whatever it started."""
    with contextlib.suppress(OSError):  # all of it has ended already
        if sys.platform == "win32":
            child.kill()
        else:
            os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _answer(plugin: Plugin, folder: Path, code: int | None, seconds: float) -> Findings:
    try:
        answer = json.loads((folder / "answer.json").read_bytes())
        if "error" in answer:
            raise BadPlugin(answer["error"]["what"], where=answer["error"]["where"], fix=answer["error"]["fix"])
        return Findings.from_json(answer)
    except (OSError, ValueError, KeyError, TypeError):
        place, hung = _where_it_stood(plugin, folder)
    if hung or code is None:
        raise BadPlugin(
            f"it was not imported within {seconds:g} seconds", where=place, fix="Look for what it waits for"
        )
    what = "it ends the program while it is imported"
    raise BadPlugin(f"{what} (exit code {code})" if code >= 0 else f"{what} ({_signal_name(-code)})", where=place)


def _where_it_stood(plugin: Plugin, folder: Path) -> tuple[str, bool]:
    """(file and line of the plugin that the child was at when it hung or crashed, whether it hung)."""
    text = ""
    with contextlib.suppress(OSError):
        text = (folder / "stack.txt").read_text("utf-8", "replace")
    for match in _FRAME.finditer(text):
        if is_of_plugin(plugin, match[1]):
            return f"{Path(match[1]).name}, line {match[2]}", text.startswith("Timeout")
    return plugin.detail, text.startswith("Timeout")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


# ---- the child


def main(folder: Path) -> None:
    question = json.loads((folder / "question.json").read_bytes())
    with open(folder / "stack.txt", "w") as stack:
        faulthandler.enable(stack)
        faulthandler.dump_traceback_later(question["seconds"], exit=True, file=stack)
        answer = _examine(question)
        faulthandler.cancel_dump_traceback_later()
    partial = folder / "answer.part"
    partial.write_text(json.dumps(answer))
    partial.rename(folder / "answer.json")
    os._exit(0)  # whatever threads the plugin started


def _examine(question: dict[str, Any]) -> dict[str, Any]:
    try:
        plugin = _read(question)
        if plugin.code_hash != question["code_hash"]:
            raise BadPlugin("it was changed while it was read", where=plugin.detail, fix="Try again")
        loaded = load(plugin)
        return Findings(tuple(d.schema for d in loaded.definitions), loaded.remarks).to_json()
    except BadPlugin as error:
        return {"error": {"what": error.what, "where": error.where, "fix": error.fix}}
    except Exception as error:  # noqa: BLE001  # schemas that can't be written as JSON, and the like
        what = f"its nodes can't be described ({type(error).__name__}: {clip(str(error), 200)})"
        return {"error": {"what": what, "where": Path(question["root"]).name, "fix": ""}}


def _read(question: dict[str, Any]) -> Plugin:
    if question["origin"] == "folder":
        return read_plugin(Path(question["root"]))
    return read_installed(metadata.EntryPoint(question["name"], question["module"], "tessera.nodes"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
