"""Fetching a model from the network: resumed, counted, hashed, judged before it is put among the models.

The bytes go to `.incoming` in the studio's model folder, with a note beside them of where they come from, so that a
download that was cut off goes on where it stopped, also after a restart. Nothing leaves that folder before its hash is
right and its header was read as a model's.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from engine.contracts.errors import (
    Cancelled,
    InvalidRequest,
    MissingModel,
    NetworkError,
    StorageError,
    TesseraError,
    UnsafeModel,
)
from studio_app.events import Signal
from studio_app.files import storage_error, write_atomically
from studio_app.models.library import ModelLibrary
from studio_app.models.sources import Source, find_source
from studio_app.network.network import Answer, Network, refusal

PURPOSE = "fetch a model"
SPARE_BYTES = 1 << 30  # left free on the disk
BLOCK = 1 << 22

State = Literal["finding", "fetching", "checking", "done", "stopped", "failed"]


@dataclass(frozen=True)
class Download:
    """One download as it stands. `total` is 0 while unknown; `path` is where the model went; `failure` one sentence;
    `asked` the sha256 that the person gave for it.
    """

    id: str
    page: str
    state: State
    name: str = ""
    received: int = 0
    total: int = 0
    path: Path | None = None
    failure: str = ""
    asked: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id, "page": self.page, "state": self.state, "name": self.name, "received": self.received,
            "total": self.total, "path": str(self.path) if self.path else "", "failure": self.failure,
        }  # fmt: skip


class Downloads:
    """Downloads, one thread each, at most `MOST` at once. `changed` tells on the download's thread.

    limit_bytes  the most one file may have, asked at each start
    """

    MOST = 3

    def __init__(
        self, network: Network, library: ModelLibrary, folder: Callable[[], Path], limit_bytes: Callable[[], int]
    ) -> None:
        self._network, self._library, self._folder, self._limit = network, library, folder, limit_bytes
        self._lock = threading.Lock()
        self._all: dict[str, Download] = {}
        self._stops: dict[str, threading.Event] = {}
        self._threads: dict[str, threading.Thread] = {}
        self._turns = threading.BoundedSemaphore(self.MOST)
        self.changed: Signal[Download] = Signal()

    def start(self, page: str, sha256: str = "", *, version_of: str = "", note: str = "") -> str:
        """Begin in the background as `fetch`; the download's id, the same for the same address. Returns at once."""
        key = key_of(page)
        with self._lock:
            running = self._threads.get(key)
            if running is not None and running.is_alive():
                return key
            self._stops[key] = threading.Event()
            self._all[key] = Download(key, page, "finding", asked=sha256)
            arguments = (key, page, sha256, version_of, note)
            thread = threading.Thread(target=self._run, args=arguments, name=f"download-{key}", daemon=True)
            self._threads[key] = thread
        thread.start()
        return key

    def stop(self, key: str) -> None:
        """Stop a download; what came stays for later. Nothing happens when it is over."""
        with self._lock:
            if key in self._stops:
                self._stops[key].set()

    def get(self, key: str) -> Download:
        """Raises MissingModel."""
        with self._lock:
            if key not in self._all:
                raise MissingModel("there is no such download")
            return self._all[key]

    def list(self) -> list[Download]:
        """Those of this session and those that lie unfinished from earlier ones."""
        with self._lock:
            known = dict(self._all)
        for key, note in _unfinished(self._incoming()):
            part = self._incoming() / f"{key}.part"
            size = part.stat().st_size if part.exists() else 0
            stopped = Download(key, note["page"], "stopped", note["name"], size, note["size"])
            known.setdefault(key, replace(stopped, asked=str(note.get("asked", ""))))
        return list(known.values())

    def discard(self, key: str) -> None:
        """Forget a download and what of it lies on the disk."""
        self.stop(key)
        with self._lock:
            thread = self._threads.get(key)
        if thread is not None:
            thread.join()
        for ending in (".part", ".json"):
            (self._incoming() / f"{key}{ending}").unlink(missing_ok=True)
        with self._lock:
            self._all.pop(key, None)

    def close(self) -> None:
        """Stop all of them and wait."""
        with self._lock:
            stops, threads = list(self._stops.values()), list(self._threads.values())
        for stop in stops:
            stop.set()
        for thread in threads:
            thread.join()

    def fetch(
        self, page: str, sha256: str = "", *, say: Callable[[Download], object] = lambda download: None,
        stop: threading.Event | None = None, version_of: str = "", note: str = "",
    ) -> Path:  # fmt: skip
        """Fetch on this thread and put the model among the others; where it went.

        `version_of` names a model whose newest version it becomes, with `note` on what changed.
        Raises InvalidRequest, NetworkError, UnsafeModel, BadInput, StorageError or Cancelled.
        """
        stop = stop or threading.Event()
        now = Download(key_of(page), page, "finding", asked=sha256)
        say(now)
        source = find_source(self._network, page, sha256)
        now = replace(now, name=source.name, total=source.size)
        part = self._fetch(source, now, say, stop)
        say(replace(now, state="checking", received=part.stat().st_size))
        self._check_hash(part, source, stop)
        named = part.with_name(source.name)
        os.replace(part, named)
        try:
            if version_of:
                listed = self._library.find(version_of)
                history = self._library.versions.bring_in(named, listed, note=note, origin=source.page, move=True)
                place = history.path
            else:
                place = self._library.bring_in(named, move=True)
        except TesseraError as error:
            # What is no model or not a safe one is not kept: a second try would fetch it whole again anyway.
            named.unlink(missing_ok=True)
            raise error
        part.with_suffix(".json").unlink(missing_ok=True)
        self._library.remember_source(place, source.page, source.about)
        say(replace(now, state="done", received=now.total, path=place))
        return place

    def _run(self, key: str, page: str, sha256: str, version_of: str, note: str) -> None:
        stop = self._stops[key]
        try:
            with self._turns:
                self.fetch(page, sha256, say=self._say, stop=stop, version_of=version_of, note=note)
        except Cancelled:
            self._say(replace(self.get(key), state="stopped", received=self._here(key)))
        except TesseraError as error:
            self._say(replace(self.get(key), state="failed", failure=str(error), received=self._here(key)))

    def _here(self, key: str) -> int:
        """The bytes of a download that lie on the disk."""
        try:
            return (self._incoming() / f"{key}.part").stat().st_size
        except OSError:
            return 0

    def _say(self, download: Download) -> None:
        with self._lock:
            self._all[download.id] = download
        self.changed.emit(download)

    def _incoming(self) -> Path:
        return self._folder() / ".incoming"

    def _fetch(self, source: Source, now: Download, say: Callable[[Download], object], stop: threading.Event) -> Path:
        """The whole file at `<key>.part`, going on where an earlier try stopped."""
        part = self._incoming() / f"{now.id}.part"
        note = part.with_suffix(".json")
        before = _read(note)
        same = before is not None and before.get("url") == source.url and before.get("sha256") == source.sha256
        if not same:
            part.unlink(missing_ok=True)
        etag = str(before.get("etag", "")) if before is not None and same else ""
        have = part.stat().st_size if part.exists() else 0
        if have and have == source.size:
            return part
        asked = {"Range": f"bytes={have}-", **({"If-Range": etag} if etag else {})} if have else {}
        with self._network.ask(source.url, purpose=PURPOSE, headers=asked) as answer:
            start, total = _span(answer, have, source)
            self._check_room(total, total - start, part.parent, source.name)
            # A weak ETag may stand for other bytes, so it can't join two halves.
            strong = answer.headers.get("etag", "") if not answer.headers.get("etag", "").startswith("W/") else ""
            kept = {"page": source.page, "url": source.url, "name": source.name, "size": total,
                    "sha256": source.sha256, "etag": strong, "asked": now.asked}  # fmt: skip
            write_atomically(note, json.dumps(kept).encode())
            self._write(answer, part, start, replace(now, state="fetching", received=start, total=total), say, stop)
        return part

    def _write(
        self, answer: Answer, part: Path, start: int, now: Download, say: Callable[[Download], object],
        stop: threading.Event,
    ) -> None:  # fmt: skip
        count, told, most = start, start, self._limit()
        say(now)
        try:
            with part.open("r+b" if start else "wb") as file:
                file.seek(start)
                file.truncate()
                for piece in answer.pieces():
                    if stop.is_set():
                        raise Cancelled
                    count += len(piece)
                    if count > most or (now.total and count > now.total):
                        raise NetworkError("the host sends more than it said", where=now.name)
                    file.write(piece)
                    if count - told >= BLOCK:
                        told = count
                        say(replace(now, received=count))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise storage_error(error, part) from error
        if now.total and count != now.total:
            raise NetworkError(
                f"the line broke after {count:,} of {now.total:,} bytes", where=now.name,
                fix="Start it again: it goes on from there",
            )  # fmt: skip

    def _check_room(self, total: int, missing: int, folder: Path, name: str) -> None:
        if total > self._limit():
            raise InvalidRequest(
                f"it has {total / 2**30:.1f} GiB, and a download may have {self._limit() / 2**30:.1f} GiB", where=name,
                fix="Raise “Largest download” in the preferences",
            )  # fmt: skip
        try:
            folder.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(folder).free
        except OSError as error:
            raise storage_error(error, folder) from error
        if missing + SPARE_BYTES > free:
            raise StorageError(
                f"{missing / 2**30:.1f} GiB are still to come and {free / 2**30:.1f} GiB are free", where=name,
                fix=f"Free some space on the disk with {folder}",
            )  # fmt: skip

    @staticmethod
    def _check_hash(part: Path, source: Source, stop: threading.Event) -> None:
        if not source.sha256:
            return
        digest = hashlib.sha256()
        with part.open("rb") as file:
            while block := file.read(BLOCK):
                if stop.is_set():
                    raise Cancelled
                digest.update(block)
        if digest.hexdigest() != source.sha256:
            part.unlink(missing_ok=True)
            part.with_suffix(".json").unlink(missing_ok=True)
            raise UnsafeModel(
                f"its sha256 is {digest.hexdigest()[:12]}… and should be {source.sha256[:12]}…", where=source.name,
                fix="It was not kept; fetch it again, or from another place",
            )  # fmt: skip


def key_of(page: str) -> str:
    """The id of the download of an address."""
    return hashlib.sha256(page.strip().encode()).hexdigest()[:16]


def _span(answer: Answer, have: int, source: Source) -> tuple[int, int]:
    """(the byte the answer begins at, the size of the whole file or 0). Raises NetworkError."""
    length = answer.headers.get("content-length", "")
    if answer.status == 206:
        spoken = answer.headers.get("content-range", "").removeprefix("bytes ").replace("/", "-").split("-")
        if len(spoken) == 3 and spoken[0] == str(have) and spoken[2].isdigit():
            return have, int(spoken[2])
        raise NetworkError("the host goes on at another place than it was asked to", where=source.name)
    if answer.status != 200:
        raise NetworkError(refusal(answer.status), where=source.name)
    if answer.headers.get("content-type", "").startswith("text/html"):
        raise NetworkError("the host answers with a page, not a file", where=source.name,
                           fix="Use the address behind its download button")  # fmt: skip
    return 0, int(length) if length.isdigit() else 0


def _read(note: Path) -> dict[str, Any] | None:
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(note.read_bytes())
        if isinstance(found, dict):
            return found
    return None


def _unfinished(folder: Path) -> list[tuple[str, dict[str, Any]]]:
    notes = [(path.stem, _read(path)) for path in sorted(folder.glob("*.json"))]
    return [
        (key, note) for key, note in notes
        if note is not None and isinstance(note.get("page"), str) and isinstance(note.get("name"), str)
        and isinstance(note.get("size"), int)
    ]  # fmt: skip
