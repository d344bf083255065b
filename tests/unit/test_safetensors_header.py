"""Hostile and broken weight files are refused by their header, before any library opens them."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from engine.contracts.errors import MissingModel, UnsafeModel
from engine.models import safetensors_header
from engine.models.safetensors_header import read_header
from tests.benchmarks.tiny_models import STARTER


def write(path: Path, header: Any, data: bytes = b"\0" * 16, length: int | None = None) -> Path:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw) if length is None else length) + raw + data)
    return path


def entry(shape: list[Any], offsets: list[Any], dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def test_a_good_header_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.safetensors", {"w": entry([2, 2], [0, 16]), "__metadata__": {"format": "pt"}})
    header = read_header(path)
    assert header.tensors["w"].shape == (2, 2)
    assert header.parameters == 4
    assert dict(header.metadata) == {"format": "pt"}


def test_the_starter_models_headers_are_good() -> None:
    for path in STARTER.rglob("*.safetensors"):
        assert read_header(path).parameters > 10_000


HOSTILE: list[tuple[str, Any, dict[str, Any], str]] = [
    ("outside the file", {"w": entry([8], [0, 32])}, {}, "lies outside the file"),
    ("backwards", {"w": entry([4], [16, 0])}, {}, "lies outside the file"),
    ("wrong size", {"w": entry([3], [0, 16])}, {}, "does not fit its bytes"),
    ("overflowing shape", {"w": entry([2**62, 4], [0, 16])}, {}, "does not fit its bytes"),
    ("negative", {"w": entry([-4], [0, 16])}, {}, "malformed"),
    ("shared bytes", {"a": entry([4], [0, 16]), "b": entry([2], [8, 16])}, {}, "share bytes"),
    ("unknown dtype", {"w": entry([4], [0, 16], "OBJECT")}, {}, "malformed"),
    ("dtype a list", {"w": entry([4], [0, 16], ["F32"])}, {}, "malformed"),
    ("booleans", {"w": entry([True], [0, 4])}, {}, "malformed"),
    ("not an entry", {"w": 3}, {}, "malformed"),
    ("duplicate keys", b'{"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"w":{}}', {}, "stands twice"),
    ("not an object", [1, 2], {}, "not a JSON object"),
    ("not JSON", b"{oops", {}, "not valid JSON"),
    ("deep nesting", b"[" * 100_000, {}, "not valid JSON"),
    ("metadata not text", {"__metadata__": {"a": {"b": 1}}}, {}, "something other than text"),
    ("longer than the file", {}, {"length": 10**6}, "cut short"),
    ("absurd length", {}, {"length": 2**63}, "cut short"),
]


@pytest.mark.parametrize(("name", "header", "options", "sentence"), HOSTILE, ids=[case[0] for case in HOSTILE])
def test_hostile_headers_are_refused(
    tmp_path: Path, name: str, header: Any, options: dict[str, Any], sentence: str
) -> None:
    path = write(tmp_path / "bad.safetensors", header, **options)
    with pytest.raises(UnsafeModel, match=sentence):
        read_header(path)


def test_a_header_past_the_limits_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "big.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", 17 * 2**20))
        file.truncate(18 * 2**20)
    with pytest.raises(UnsafeModel, match="17 MB long"):
        read_header(path)
    monkeypatch.setattr(safetensors_header, "MAX_KEYS", 3)
    many = write(tmp_path / "many.safetensors", {f"w{i}": entry([1], [4 * i, 4 * i + 4]) for i in range(4)})
    with pytest.raises(UnsafeModel, match="names 4 tensors"):
        read_header(many)


def test_short_and_missing_files_have_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "short.safetensors").write_bytes(b"abc")
    with pytest.raises(UnsafeModel, match="cut short"):
        read_header(tmp_path / "short.safetensors")
    with pytest.raises(MissingModel, match="can't be read"):
        read_header(tmp_path / "none.safetensors")
