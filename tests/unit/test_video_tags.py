"""Texts of MP4 and Matroska files, from boxes laid out byte by byte; damage and lies never crash the reader."""

from __future__ import annotations

import io
import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.contracts.errors import InvalidDocument
from engine.interchange.read_file import import_bytes
from engine.interchange.video_tags import MAX_TEXT, looks_like_video, read_video_tags
from tests.unit.interchange_room import chain

PROMPT = {"1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}}}


def box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I", 8 + len(body)) + kind + body


def large_box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", 1) + kind + struct.pack(">Q", 16 + len(body)) + body


FTYP = box(b"ftyp", b"isom\0\0\2\0isomiso2mp41")
HDLR = box(b"hdlr", b"\0" * 8 + b"mdta" + b"\0" * 13)


def data(text: bytes) -> bytes:
    return box(b"data", struct.pack(">II", 1, 0), text)


def mp4_with_keys(texts: dict[str, str], *, iso: bool = True) -> bytes:
    """As ffmpeg writes it with use_metadata_tags."""
    keys = box(b"keys", struct.pack(">II", 0, len(texts)), *(box(b"mdta", key.encode()) for key in texts))
    items = [struct.pack(">I", 8 + len(data(t.encode()))) + struct.pack(">I", i + 1) + data(t.encode())
             for i, t in enumerate(texts.values())]  # fmt: skip
    meta = box(b"meta", b"\0\0\0\0" if iso else b"", HDLR, keys, box(b"ilst", *items))
    return FTYP + large_box(b"mdat", bytes(1000)) + box(b"moov", box(b"mvhd", bytes(100)), box(b"udta", meta))


def mp4_with_comment(text: str) -> bytes:
    ilst = box(b"ilst", box(b"\xa9too", data(b"Lavf61")), box(b"\xa9cmt", data(text.encode())))
    return FTYP + box(b"moov", box(b"udta", box(b"meta", b"\0\0\0\0", HDLR, ilst)))


def element(kind: int, body: bytes, *, unknown: bool = False) -> bytes:
    width = (kind.bit_length() + 7) // 8
    size = b"\x01" + b"\xff" * 7 if unknown else struct.pack(">Q", 1 << 56 | len(body))
    return kind.to_bytes(width, "big") + size + body


def mkv(texts: dict[str, str], *, unknown: bool = False) -> bytes:
    tags = b"".join(
        element(0x67C8, element(0x45A3, key.encode()) + element(0x4487, text.encode())) for key, text in texts.items()
    )
    cluster = element(0x1F43B675, element(0xE7, b"\0") + element(0xA3, bytes(500)), unknown=unknown)
    segment = cluster + element(0x1254C367, element(0x7373, element(0x63C0, b"") + tags))
    return element(0x1A45DFA3, element(0x4282, b"webm")) + element(0x18538067, segment, unknown=unknown)


def tags(file: bytes) -> dict[str, str]:
    return read_video_tags(io.BytesIO(file))


@pytest.mark.parametrize("iso", [True, False])
def test_mp4_with_keys(iso: bool) -> None:
    texts = {"prompt": json.dumps(PROMPT), "workflow": '{"nodes": [], "ä": "🦊"}'}
    assert tags(mp4_with_keys(texts, iso=iso)) == texts


def test_mp4_with_letters_and_with_named_items() -> None:
    assert tags(mp4_with_comment("hello")) == {"encoder": "Lavf61", "comment": "hello"}
    named = box(b"----", box(b"mean", b"\0\0\0\0com.apple"), box(b"name", b"\0\0\0\0prompt"), data(b"{}"))
    assert tags(FTYP + box(b"moov", box(b"meta", b"\0\0\0\0", HDLR, box(b"ilst", named)))) == {"prompt": "{}"}


@pytest.mark.parametrize("unknown", [False, True])
def test_matroska_and_webm_also_where_lengths_are_unknown(unknown: bool) -> None:
    texts = {"PROMPT": json.dumps(PROMPT), "COMMENT": "é"}
    assert tags(mkv(texts, unknown=unknown)) == {"prompt": json.dumps(PROMPT), "comment": "é"}


@pytest.mark.parametrize(
    "file",
    [
        mp4_with_keys({"prompt": json.dumps(PROMPT), "workflow": json.dumps(chain(3))}),
        mp4_with_comment(json.dumps({"prompt": PROMPT, "workflow": chain(3)})),
        mp4_with_comment(json.dumps({"prompt": json.dumps(PROMPT), "workflow": json.dumps(chain(3))})),
        mkv({"PROMPT": json.dumps(PROMPT), "WORKFLOW": json.dumps(chain(3))}),
    ],
)
def test_the_canvas_in_a_video_becomes_a_workflow(file: bytes) -> None:
    assert looks_like_video(file[:16])
    found = import_bytes(file, "film")
    assert [n.type for n in found.workflow.nodes] == ["image.load", "image.invert", "image.invert", "image.save"]


def test_the_prompt_serves_where_the_canvas_is_broken_and_infotext_too() -> None:
    found = import_bytes(mkv({"prompt": json.dumps(PROMPT), "workflow": '{"nodes": [5]}'}), "film")
    assert [n.type for n in found.workflow.nodes] == ["image.load"]
    assert found.report.warnings[0].startswith("Its canvas can't be read, so the layout is lost")
    found = import_bytes(mp4_with_keys({"parameters": "a fox\nSteps: 4, Seed: 9, CFG scale: 2"}), "film")
    assert found.workflow.node("prompt").inputs["text"] == "a fox"
    with pytest.raises(InvalidDocument, match="does not say how it was made"):
        import_bytes(mkv({"TITLE": "a film"}), "film")


def test_a_text_beyond_all_bounds_is_left_out() -> None:
    assert tags(mp4_with_keys({"prompt": "x" * (MAX_TEXT + 1), "workflow": "{}"})) == {"workflow": "{}"}


SAMPLES = [
    mp4_with_keys({"prompt": "{}", "b": "c"}),
    mp4_with_comment("x"),
    mkv({"A": "b"}),
    mkv({"A": "b"}, unknown=True),
]


@given(st.sampled_from(SAMPLES), st.integers(0, 400), st.binary(min_size=1, max_size=12))
def test_damaged_files_give_what_can_be_read(file: bytes, place: int, damage: bytes) -> None:
    tags(file[:place] + damage + file[place + len(damage) :])
    tags(file[:place])


@given(st.binary(max_size=200))
def test_any_bytes_after_a_video_s_head(tail: bytes) -> None:
    tags(FTYP + tail)
    tags(b"\x1a\x45\xdf\xa3" + tail)


def test_boxes_without_end_are_given_up() -> None:
    assert tags(FTYP + box(b"moov", box(b"udta", b"\0\0\0\x08free" * 300_000))) == {}
