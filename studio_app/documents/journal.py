"""The journal of an open document: the workflow as it was opened, then a line of JSON for each edit, undo and redo.

Lines are gathered in memory and written and synced by a thread of their own within half a second, so that an edit never
waits for the disk and a crash costs at most the last second. The file is locked while its document is open; a torn last
line, as a crash leaves it, is cut off when the journal goes on.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from engine.contracts.codec import dump_json
from engine.contracts.errors import InvalidDocument, StorageError, TesseraError
from engine.contracts.workflow import Workflow
from engine.graph.registry import Registry
from studio_app.documents.graph_document import GraphDocument
from studio_app.documents.history import Entry
from studio_app.documents.steps import step_from_json
from studio_app.files import storage_error, write_atomically

INTERVAL = 0.4  # seconds that edits are gathered before they are written
REBASE_BYTES = 32 * 2**20  # a journal that grew beyond this begins anew from the present state

log = logging.getLogger(__name__)

Word = Literal["undo", "redo", "seal", "saved"]


class Journal:
    """Writes down what is done to one document. `edited` and `travelled` only note; `flush` writes, on any thread."""

    def __init__(self, path: Path, writer: JournalWriter) -> None:
        self.path = path
        self._writer = writer
        self._document: GraphDocument | None = None
        self._lock = threading.Lock()  # of what waits
        self._disk = threading.Lock()  # of the file
        self._waiting: list[Entry | Word] = []
        self._base: dict[str, Any] | None = None
        self._depth = 0  # entries that the file knows and could take back
        self._ahead = 0  # entries taken back that the file knows and could do again
        self._size = 0
        self.error: StorageError | None = None  # why the last write failed

    def begin(self, document: GraphDocument) -> None:
        """Start the file from the document as it stands; its past can't be taken back from the file."""
        self._document = document
        document.journal = self
        self.renew()

    def resume(self, found: Replayed) -> None:
        """Go on with the file that was replayed."""
        self._document, self._size = found.document, found.size
        self._depth, self._ahead = found.depth, found.ahead
        found.document.journal = self

    def edited(self, entry: Entry, joined: bool) -> None:
        with self._lock:
            last = self._waiting[-1] if self._waiting else None
            if joined and isinstance(last, Entry):
                self._waiting[-1] = last.joined(entry)
            else:
                self._waiting.append(entry)
            self._depth += not joined
            self._ahead = 0
        if self._size > REBASE_BYTES:
            self.renew()
        self._writer.wake(self)

    def travelled(self, word: Word) -> None:
        with self._lock:
            self._waiting.append(word)
            step = {"undo": 1, "redo": -1}.get(word, 0)
            self._depth -= step
            self._ahead += step
        if self._depth < 0 or self._ahead < 0:  # beyond what the file knows
            self.renew()
        self._writer.wake(self)

    def renew(self) -> None:
        """Begin the file anew from the document as it stands."""
        assert self._document is not None
        document = self._document
        document.seal()  # what is told from now on joins nothing that the file does not know
        base = {
            "base": document.workflow, "places": document.content.places(), "changed": document.is_changed,
        }  # fmt: skip
        with self._lock:
            self._waiting.clear()
            self._base, self._depth, self._ahead, self._size = base, 0, 0, 0
        self._writer.wake(self)

    def flush(self) -> None:
        """Write what waits. Raises StorageError; it goes on waiting then."""
        with self._disk:
            with self._lock:
                base, waiting = self._base, self._waiting
                self._base, self._waiting = None, []
                size = 0 if base is not None else self._size
            try:
                if base is not None:
                    line = {**base, "base": base["base"].to_json()}
                    size = self._replace(_line(line) + b"".join(_line(told(item)) for item in waiting))
                elif waiting:
                    size = self._append(b"".join(_line(told(item)) for item in waiting), size)
            except StorageError as error:
                self.error = error
                with self._lock:
                    if self._base is None:
                        self._base, self._waiting = base, waiting + self._waiting
                raise
            self.error = None
            with self._lock:
                if self._base is None:
                    self._size = size

    def _replace(self, data: bytes) -> int:
        write_atomically(self.path, data)
        return len(data)

    def _append(self, data: bytes, size: int) -> int:
        try:
            with open(self.path, "r+b") as file:
                file.truncate(size)  # half a line that a full disk let through before
                file.seek(size)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise storage_error(error, self.path) from error
        return size + len(data)

    def discard(self) -> None:
        """Remove the file; nothing is written any more."""
        self._writer.forget(self)
        with self._disk, self._lock:
            self._waiting.clear()
            self._base = None
            with contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)


class Kept(Protocol):
    """Something that has changes to write. `flush` raises StorageError and keeps them then."""

    def flush(self) -> None: ...


class JournalWriter:
    """The thread that writes journals. `failed` hears the sentence when one can't be written, once until it can."""

    def __init__(self, failed: Callable[[str], object] | None = None, interval: float = INTERVAL) -> None:
        self._failed = failed or log.error
        self._interval = interval
        self._due: set[Kept] = set()
        self._condition = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closing = False
        self._said = False

    def wake(self, kept: Kept) -> None:
        """Something waits to be written."""
        with self._condition:
            self._due.add(kept)
            if self._thread is None and not self._closing:
                self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
                self._thread.start()
            self._condition.notify()

    def forget(self, kept: Kept) -> None:
        with self._condition:
            self._due.discard(kept)

    def flush(self) -> bool:
        """Write all that waits, now; whether all could be."""
        with self._condition:
            due, self._due = self._due, set()
        done = True
        for kept in due:
            try:
                kept.flush()
                self._said = False
            except StorageError as error:
                done = False
                with self._condition:
                    self._due.add(kept)
                if not self._said:
                    self._said = True
                    self._failed(f"What you change can't be kept safe at the moment: {error}")
        return done

    def close(self) -> None:
        """Write all that waits and end the thread."""
        with self._condition:
            self._closing = True
            thread, self._thread = self._thread, None
            self._condition.notify_all()
        if thread is not None:
            thread.join()
        self.flush()

    def _run(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._due or self._closing)
                if self._closing:
                    return
                self._condition.wait_for(lambda: self._closing, self._interval)
            if not self.flush():
                with self._condition:  # a full disk is not asked again at once
                    self._condition.wait_for(lambda: self._closing, 4 * self._interval)


@dataclass(frozen=True)
class Replayed:
    """A document as its journal tells it; `size` bytes of the file held, with `depth` entries to take back and `ahead`
    to do again."""

    document: GraphDocument
    size: int
    depth: int
    ahead: int
    torn: bool  # whether something after `size` could not be read


def replay(path: Path, registry: Registry) -> Replayed:
    """The document a journal describes, up to the last line that is whole. Raises InvalidDocument, StorageError."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StorageError(f"“{path}” can't be read ({error.strerror})") from error
    end = data.find(b"\n") + 1
    head = _parsed(data[:end])
    if not head or "base" not in head:
        raise InvalidDocument("it is no journal of a workflow", where=path.name)
    places = head.get("places")
    document = GraphDocument(
        Workflow.from_json(head["base"], path.name), registry, places=places if isinstance(places, dict) else None
    )
    if head.get("changed"):
        document.mark_changed()
    size = end
    while (end := data.find(b"\n", size) + 1) > 0:
        line = _parsed(data[size:end])
        try:
            do_line(document, line or {})
        except TesseraError as error:
            log.warning("the journal %s can't be read beyond byte %d: %s", path.name, size, error)
            break
        size = end
    return Replayed(document, size, *document.history_sizes, size != len(data))


def do_line(document: GraphDocument, line: dict[str, Any]) -> None:
    """Do what one line of a journal says. Raises InvalidDocument."""
    go = line.get("go")
    if go == "undo":
        document.undo()
    elif go == "redo":
        document.redo()
    elif go == "seal":
        document.seal()
    elif go == "saved":
        document.mark_saved()
    elif isinstance(steps := line.get("steps"), list):
        level = line.get("level", [])
        document.replay(
            str(line.get("label", "")), str(line.get("merge", "")), tuple(str(name) for name in level),
            [step_from_json(step) for step in steps],
        )  # fmt: skip
    else:
        raise InvalidDocument("a line of the journal can't be read")


def told(item: Entry | Word) -> dict[str, Any]:
    if not isinstance(item, Entry):
        return {"go": item}
    line: dict[str, Any] = {"label": item.label, "steps": [step.to_json() for step in item.do]}
    if item.merge:
        line["merge"] = item.merge
    if item.level:
        line["level"] = list(item.level)
    return line


def _line(value: dict[str, Any]) -> bytes:
    return dump_json(value, indent=None).encode("utf-8", "surrogatepass") + b"\n"


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line.decode("utf-8", "surrogatepass"))
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
