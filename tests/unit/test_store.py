"""What is kept stays whole: blobs, the order of writing, recovery, rebuilding, and disks that are full."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from engine.contracts.errors import MissingModel, StorageError
from engine.contracts.references import BlobRef
from engine.contracts.results import ResultRecord
from studio_app.files import write_atomically
from studio_app.store.blobs import Blobs
from studio_app.store.exports import ExportRequest, write_export
from studio_app.store.store import INTERRUPTED, Store, StoredJob
from tests.unit.studio_nodes import drawing

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def open_store(tmp_path: Path) -> Iterator[Callable[[], Store]]:
    """Opens the store of one folder, as often as asked; a store that is left open counts as a dead process."""
    opened: list[Store] = []

    def make() -> Store:
        for store in opened:
            store.close()
        store = Store(tmp_path / "data")
        store.open()
        opened.append(store)
        return store

    yield make
    for store in opened:
        store.close()


JOB = StoredJob("job1", 1, "drawing", "", "running", drawing(3), 100.0, 101.0)


def kept(store: Store, index: int = 0, export: ExportRequest | None = None, data: bytes = b"picture") -> ResultRecord:
    data = data + str(index).encode()
    ref = store.blobs.write(data, "image/png", "a.png")
    record = ResultRecord(id=f"r{index}", job="job1", node="draw", index=index, artifact=ref, spec=JOB.spec,
                          created=200.0 + index, width=3, height=4, seed=index, parameters="p")  # fmt: skip
    assert store.keep(record, JOB, export)
    return record


# --- blobs


def test_blobs_are_named_by_their_content_and_written_once(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    ref = blobs.write(b"hello", "text/plain", "a.txt")
    assert ref == BlobRef(sha256=hashlib.sha256(b"hello").hexdigest(), media_type="text/plain", size=5, name="a.txt")
    before = blobs.path(ref).stat().st_mtime_ns
    assert blobs.write(b"hello", "text/plain") == replace(ref, name="")
    assert blobs.path(ref).stat().st_mtime_ns == before
    assert blobs.read(ref) == b"hello"
    assert list(blobs.all()) == [ref.sha256]


def test_a_damaged_blob_is_noticed_and_mended_by_writing_it_again(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    ref = blobs.write(b"hello", "text/plain")
    blobs.path(ref).write_bytes(b"hel")
    with pytest.raises(StorageError, match="is damaged"):
        blobs.read(ref)
    assert not blobs.verify(ref.sha256)
    blobs.write(b"hello", "text/plain")
    assert blobs.read(ref) == b"hello"
    blobs.remove(ref.sha256)
    with pytest.raises(MissingModel, match="no longer in the library"):
        blobs.read(ref)


# --- the order of writing


def test_a_record_comes_back_as_it_was_kept(open_store: Callable[[], Store]) -> None:
    record = kept(open_store())
    again = open_store()
    assert again.records() == [record]
    assert again.record("r0") == record
    assert again.records_of("job1") == [record]
    job = again.job("job1")
    assert job is not None
    assert (job.spec, job.title, job.number) == (JOB.spec, "drawing", 1)


def test_the_same_artifact_is_kept_once(open_store: Callable[[], Store]) -> None:
    store = open_store()
    record = kept(store)
    assert store.keep(replace(record, id="other"), JOB, None) is False
    assert store.records() == [record]


def test_a_crash_before_the_named_file_is_made_good_at_the_next_start(
    open_store: Callable[[], Store], tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    store = open_store()
    record = kept(store, export=ExportRequest(folder, "a.png"))
    folder.mkdir()
    (folder / ".a.png.123456.part").write_bytes(b"pic")
    assert store.pending_exports() == 1
    again = Store(tmp_path / "data")
    store.close()
    recovery = again.open()
    assert (recovery.exports_finished, recovery.exports_failed, recovery.interrupted) == (1, 0, 1)
    assert sorted(p.name for p in folder.iterdir()) == ["a.png"]
    assert (folder / "a.png").read_bytes() == b"picture0"
    assert again.exported_to(record.id) == folder / "a.png"
    job = again.job("job1")
    assert job is not None
    assert (job.status, job.error) == ("interrupted", INTERRUPTED)
    again.close()


def test_a_crash_after_the_named_file_does_not_make_a_second_one(
    open_store: Callable[[], Store], tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    store = open_store()
    kept(store, export=ExportRequest(folder, "a.png"))
    write_export(ExportRequest(folder, "a.png"), b"picture0")
    open_store()
    assert sorted(p.name for p in folder.iterdir()) == ["a.png"]


def test_a_named_file_never_takes_the_place_of_another(tmp_path: Path) -> None:
    request = ExportRequest(tmp_path, "a.png")
    assert [write_export(request, data).name for data in (b"1", b"2", b"3")] == ["a.png", "a 2.png", "a 3.png"]
    assert (tmp_path / "a.png").read_bytes() == b"1"


def test_a_crash_before_the_journal_is_made_good_at_the_next_start(open_store: Callable[[], Store]) -> None:
    store = open_store()
    kept(store)
    store.journal.path.write_text("")
    with store.database.transaction() as connection:
        connection.execute("UPDATE result SET journalled = 0")
    again = open_store()
    assert [e["record"]["id"] for e in again.journal.read()] == ["r0"]


def test_jobs_of_a_living_process_are_left_alone(tmp_path: Path) -> None:
    first, second = Store(tmp_path), Store(tmp_path)
    first.open()
    first.save_job(JOB)
    assert second.open().interrupted == 0
    found = second.job("job1")
    assert found is not None
    assert found.status == "running"
    second.close()
    first.close()


def test_deleting_takes_the_picture_unless_something_still_needs_it(open_store: Callable[[], Store]) -> None:
    store = open_store()
    first, second = kept(store, 0), kept(store, 1)
    third = replace(second, id="r9", index=9)
    store.keep(third, JOB, None)
    store.delete(first)
    store.delete(third)
    assert not store.blobs.has(first.artifact)
    assert store.blobs.has(second.artifact)
    assert store.records() == [second]


# --- a database that is lost


@pytest.mark.parametrize("damage", [b"this is no database at all " * 400, None])
def test_a_damaged_or_lost_database_is_rebuilt_from_journal_and_blobs(tmp_path: Path, damage: bytes | None) -> None:
    store = Store(tmp_path)
    store.open()
    records = [kept(store, i) for i in range(4)]
    store.delete(records[1])
    store.blobs.remove(records[2].artifact.sha256)
    store.close()
    with open(tmp_path / "journal.jsonl", "ab") as journal:
        journal.write(b'{"op": "result", "rec')  # torn by a crash
    if damage is None:
        (tmp_path / "studio.db").unlink()
    else:
        (tmp_path / "studio.db").write_bytes(damage)
    again = Store(tmp_path)
    recovery = again.open()
    assert again.records() == [records[3], records[0]]
    assert recovery.rebuilt == 2
    assert len(list(tmp_path.glob("studio.db.broken-*"))) == (damage is not None)
    assert again.database.integrity() == "ok"
    again.close()


def test_a_database_of_a_newer_studio_is_not_touched(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.open()
    store.close()
    connection = sqlite3.connect(tmp_path / "studio.db")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = (tmp_path / "studio.db").read_bytes()
    again = Store(tmp_path)
    with pytest.raises(StorageError, match="written by a newer studio"):
        again.open()
    again.close()
    assert (tmp_path / "studio.db").read_bytes() == before


# --- disks that can't be written


def test_a_file_where_a_folder_should_be_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError) as refused:
        write_atomically(tmp_path / "file" / "a.png", b"x")
    assert str(refused.value) == f"“{tmp_path / 'file'}” is a file, not a folder. Choose another folder."


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"old")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError) as refused:
        write_atomically(path, b"new")
    assert str(refused.value) == f"The disk with {tmp_path} is full. Free some space or choose another folder."
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
    assert path.read_bytes() == b"old"


_LIMITED = """
import json, resource, signal, sys
from pathlib import Path
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
from engine.contracts.errors import StorageError
from studio_app.store.blobs import Blobs
root = Path(sys.argv[1])
try:
    Blobs(root).write(b"x" * 30_000, "image/png")
except StorageError as error:
    print(json.dumps([str(error), [p.name for p in root.rglob("*") if p.is_file()]]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are POSIX")
def test_a_real_write_that_runs_out_of_room_leaves_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _LIMITED, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    sentence, files = json.loads(done.stdout)
    assert "is larger than this disk or account allows" in sentence
    assert files == []
