"""Weight files mapped into memory: brought in by chunks that a cancelled job stops between, and let go of again."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from engine.contracts.errors import Cancelled, MissingModel
from engine.graph import interruption
from engine.models import mapped
from engine.models.mapped import CHUNK, KEPT, PAGE, Mapped
from engine.models.weights import open_weights

posix = pytest.mark.skipif(not hasattr(mmap, "MADV_DONTNEED"), reason="pages can't be let go of here")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Five chunks and a bit, whose bytes are told by their places."""
    made = tmp_path / "weights"
    torch.arange(5 * CHUNK // 8 + 100, dtype=torch.int64).numpy().tofile(made)
    return made


def advices(monkeypatch: pytest.MonkeyPatch, file: Mapped) -> list[tuple[int, int, int]]:
    """(advice, first byte, length) of every call from now on."""
    file.bytes(0, 1)
    said: list[tuple[int, int, int]] = []
    real = file._map

    class Told:
        def madvise(self, advice: int, first: int, length: int) -> None:
            said.append((advice, first, length))
            assert real is not None
            real.madvise(advice, first, length)

    monkeypatch.setattr(file, "_map", Told())
    return said


@pytest.mark.parametrize("there", [False, True])
def test_reading_stops_between_chunks(path: Path, monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    monkeypatch.setattr(mapped, "_is_there", lambda piece: there)
    file, asked = Mapped(path, 0), 0

    def ask() -> None:
        nonlocal asked
        asked += 1
        if asked == 3:
            raise Cancelled

    with interruption.attending(ask), pytest.raises(Cancelled):
        file.read_ahead([(0, 5 * CHUNK)])
    assert asked == 3
    with interruption.attending(lambda: None):
        file.read_ahead([(0, 5 * CHUNK)])


@posix
def test_what_is_in_the_systems_memory_is_not_brought_in_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = Mapped(path, 0)
    said = advices(monkeypatch, file)
    path.read_bytes()  # now it is there
    file.read_ahead([(0, 5 * CHUNK)])
    assert said == []
    monkeypatch.setattr(mapped, "_is_there", lambda piece: False)
    file = Mapped(path, 0)
    said = advices(monkeypatch, file)
    file.read_ahead([(0, 5 * CHUNK)])
    assert [advice for advice, _, _ in said] == [mmap.MADV_WILLNEED] * 5


@posix
def test_of_files_that_may_not_be_written_the_system_is_not_asked(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux then answers that everything is there."""
    monkeypatch.setattr(os, "access", lambda *args: False)
    file = Mapped(path, 0)
    said = advices(monkeypatch, file)
    path.read_bytes()
    file.read_ahead([(0, CHUNK)])
    assert [advice for advice, _, _ in said] == [mmap.MADV_WILLNEED]


@posix
def test_small_tensors_are_let_go_of_together(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = 136
    file = Mapped(path, start)
    said = advices(monkeypatch, file)
    step = 10_000
    for at in range(0, 40 * step, step):
        file.release(at, at + step)
    assert said == []  # fewer than KEPT bytes
    file.release_rest()
    (only,) = said
    first, last = -(-start // PAGE) * PAGE, (start + 40 * step) // PAGE * PAGE
    assert only == (mmap.MADV_DONTNEED, first, last - first)  # whole pages of it, none that it shares
    file.release_rest()
    assert len(said) == 1
    file.release(0, step)
    file.release(20 * step, 21 * step)  # elsewhere: the first one goes
    assert [item[1] for item in said[1:]] == [first]
    file.release(CHUNK, CHUNK + KEPT)
    assert [item[1] // PAGE for item in said[2:]] == [-(-(start + 20 * step) // PAGE), -(-(start + CHUNK) // PAGE)]
    # What was let go of is read again.
    assert file.bytes(8 - start % 8, 16 - start % 8).view(torch.int64).tolist() == [start // 8 + 1]


@posix
def test_loading_in_another_type_leaves_nothing_mapped(tmp_path: Path) -> None:
    tensors = {f"t{i}": torch.full((700, 300 + i), float(i)).half() for i in range(30)}
    save_file(tensors, tmp_path / "a.safetensors")
    weights = open_weights(tmp_path / "a.safetensors")
    for name, tensor in tensors.items():
        weights.read_ahead([name])
        assert torch.equal(weights.numbers(name, torch.float32, torch.device("cpu")), tensor.float())
    weights.release_rest()
    if Path("/proc/self/smaps").exists():
        blocks = Path("/proc/self/smaps").read_text().split(f"{tmp_path}/a.safetensors")
        resident = next(int(line.split()[1]) for line in blocks[1].splitlines() if line.startswith("Rss:"))
        assert resident <= 64  # KiB: the header's page and the one at the end, with what the system maps around them


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingModel, match="can't be read"):
        Mapped(tmp_path / "none", 0).bytes(0, 8)
