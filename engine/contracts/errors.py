"""Everything that can go wrong in a way a person can meet.

    TesseraError
    ├── BadInput                 the request is wrong; exit code 2
    │   ├── InvalidDocument      a file is not a readable workflow, job or settings document
    │   ├── InvalidWorkflow      the graph has problems; carries one Problem for each
    │   ├── InvalidImage         a picture can't be read or is hostile
    │   ├── InvalidRequest       a size, number or choice is out of its range
    │   ├── UnknownChoice        a sampler, model or node name that does not exist; suggests the nearest
    │   ├── UnsafeModel          a model file is malformed or could run code; it is refused unread
    │   └── BadPlugin            a person's own node file or package can't be used
    ├── MissingModel             a model or a part of one is not on this machine
    ├── StorageError             a disk is full, a folder can't be written
    ├── NetworkError             a host can't be reached, refuses, or the studio is offline
    ├── OutOfMemory              the plan did not fit and no smaller one does
    ├── NodeFailed               a node raised; carries which, its inputs in short, and the cause
    └── Cancelled                the person asked to stop; not a failure

`str(error)` is the one sentence (or two) shown to a person: what happened, where, and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_MISSING = 3
EXIT_STORAGE = 4
EXIT_MEMORY = 5
EXIT_NO_DISPLAY = 6
EXIT_NETWORK = 7
EXIT_CANCELLED = 130


class TesseraError(Exception):
    """An error that has a sentence for a person: `what` happened, `where`, and what to do about it (`fix`)."""

    exit_code = EXIT_FAILED

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        self.what = what
        self.where = where
        self.fix = fix
        super().__init__(self.sentence())

    def sentence(self) -> str:
        # A place is a file's or a field's own name: it is never given a capital letter.
        lead = f"{self.where}: {_stopped(self.what)}" if self.where else _ended(self.what)
        return f"{lead} {_ended(self.fix)}" if self.fix else lead

    def __str__(self) -> str:
        return self.sentence()


class BadInput(TesseraError):
    exit_code = EXIT_BAD_INPUT


class InvalidDocument(BadInput):
    pass


class InvalidImage(BadInput):
    pass


class InvalidRequest(BadInput):
    pass


class UnsafeModel(BadInput):
    pass


class BadPlugin(BadInput):
    pass


class UnknownChoice(BadInput):
    """A name that is not among the known ones. The nearest known names are suggested."""

    def __init__(self, kind: str, name: str, known: Iterable[str], *, where: str = "") -> None:
        self.kind, self.name, self.known = kind, name, tuple(known)
        super().__init__(f"there is no {kind} “{clip(name)}”", where=where, fix=suggest(name, self.known))


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a workflow: the node and input it is at, what is wrong, what would be right."""

    code: str
    what: str
    fix: str = ""
    node: str = ""
    input: str = ""

    def sentence(self) -> str:
        place = f"node “{clip(self.node)}”" if self.node else "workflow"
        if self.input:
            place += f", input “{clip(self.input)}”"
        text = _ended(f"{place}: {self.what}")
        return f"{text} {_ended(self.fix)}" if self.fix else text

    def to_json(self) -> dict[str, str]:
        return {"code": self.code, "node": self.node, "input": self.input, "what": self.what, "fix": self.fix}


class InvalidWorkflow(BadInput):
    """A workflow that can't run. `problems` holds every problem found, in the order of the nodes."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        first = self.problems[0].sentence() if self.problems else "the workflow can't run"
        more = len(self.problems) - 1
        super().__init__(first + (f" ({more} more problem{'s' if more > 1 else ''})" if more > 0 else ""))


class MissingModel(TesseraError):
    exit_code = EXIT_MISSING


class StorageError(TesseraError):
    exit_code = EXIT_STORAGE


class NetworkError(TesseraError):
    exit_code = EXIT_NETWORK


class OutOfMemory(TesseraError):
    exit_code = EXIT_MEMORY


class NodeFailed(TesseraError):
    """A node raised. `inputs` are short descriptions of its inputs, safe to show and to log."""

    def __init__(self, node_id: str, node_type: str, inputs: Mapping[str, str], cause: str, hint: str = "") -> None:
        self.node_id, self.node_type, self.inputs, self.cause = node_id, node_type, dict(inputs), cause
        self.hint = hint
        super().__init__(cause, where=f"node “{clip(node_id)}” ({node_type})", fix=hint)


class Cancelled(TesseraError):
    exit_code = EXIT_CANCELLED

    def __init__(self, what: str = "stopped by you") -> None:
        super().__init__(what)


def suggest(name: str, known: Sequence[str], limit: int = 12) -> str:
    """A fix sentence naming the nearest known names, or the first `limit` when nothing is near."""
    near = difflib.get_close_matches(name[:64], known, n=3, cutoff=0.5)
    if near:
        return f"Did you mean {' or '.join(f'“{item}”' for item in near)}?"
    if not known:
        return ""
    listed = ", ".join(known[:limit])
    return f"Use one of: {listed}{', …' if len(known) > limit else ''}"


def clip(text: str, limit: int = 80) -> str:
    """`text` on one line, elided in the middle when longer than `limit` characters."""
    flat = " ".join(str(text).split())
    if len(flat) <= limit:
        return flat
    half = (limit - 1) // 2
    return f"{flat[:half]}…{flat[-half:]}"


def _ended(text: str) -> str:
    text = text.strip()
    if not text:
        return text
    text = text[0].upper() + text[1:] if text[0].isascii() and not text.startswith(("node “", "http")) else text
    return _stopped(text)


def _stopped(text: str) -> str:
    text = text.strip()
    return text if not text or text[-1] in ".?!…" else text + "."
