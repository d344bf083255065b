"""File names from patterns: filled in, and harmless whatever stands in them."""

from __future__ import annotations

import unicodedata
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.media.file_names import TOKENS, safe_name, time_fields

FIELDS = {
    "date": "2026-11-21", "time": "14-05-59", "seed": 7, "model": "sd_xl_base_1.0", "width": 64, "height": 32,
    "index": 0, "prompt": "a red circle, on a blue background",
}  # fmt: skip


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("%date%-%time%-%seed%", "2026-11-21-14-05-59-7"),
        ("%model% %width%x%height% %index%", "sd_xl_base_1.0_64x32_0"),
        ("%prompt%", "a_red_circle,_on_a_blue_background"),
        ("%unknown%x", "x"),
        ("100%", "100%"),
        ("", "picture"),
        ("...", "picture"),
        ("../../etc/passwd", "etc_passwd"),
        ("/etc/passwd", "etc_passwd"),
        ("C:\\Windows\\system32", "C_Windows_system32"),
        ("..\\..\\x", "x"),
        ("CON", "_CON"),
        ("nul.txt", "_nul.txt"),
        ("com1", "_com1"),
        ("LPT³.png", "_LPT³.png"),
        ("console", "console"),
        ("ends with dot. . ", "ends_with_dot"),
        ("a\0b\nc\td", "a_b_c_d"),
        ("evil\u202egnp.exe", "evil_gnp.exe"),
        ("-rf", "rf"),
        ('a<b>c:"d|e?f*g', "a_b_c_d_e_f_g"),
        ("Ünïcode 漢字", "Ünïcode_漢字"),
    ],
)
def test_names(pattern: str, name: str) -> None:
    assert safe_name(pattern, FIELDS) == name


def test_hostile_fields_are_not_expanded_again_nor_escape() -> None:
    assert safe_name("%prompt%", {"prompt": "%seed%/../%model%", "seed": 1, "model": "m"}) == "%seed%_._%model%"
    assert safe_name("out-%model%", {"model": "../../x"}) == "out-.._.._x".replace("..", ".")


def test_long_prompts_are_cut() -> None:
    assert len(safe_name("%prompt%", {"prompt": "word " * 5000})) <= 60
    assert len(safe_name("漢" * 5000, {}).encode()) <= 200


@settings(max_examples=300, deadline=None, database=None)
@given(st.text(max_size=80), st.dictionaries(st.sampled_from(TOKENS), st.text(max_size=80)))
def test_any_pattern_gives_one_harmless_name(text: str, fields: dict[str, str]) -> None:
    name = safe_name(text + "%prompt%%model%", fields)
    assert name
    assert len(name) <= 121
    assert PurePosixPath(name).name == name
    assert PureWindowsPath(name).name == name
    assert not PureWindowsPath(name).drive
    assert name not in (".", "..")
    assert name == name.strip(". ")
    assert all(unicodedata.category(letter)[0] != "C" for letter in name)
    assert name.split(".")[0].upper() not in {
        "CON",
        "PRN",
        "AUX",
        "NUL",
        *(f"{d}{n}" for d in ("COM", "LPT") for n in range(10)),
    }


@settings(max_examples=50, deadline=None, database=None)
@given(st.text(max_size=60))
def test_the_file_lands_in_the_folder(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder = tmp_path_factory.mktemp("out")
    target = folder / (safe_name(text, {}) + ".png")
    target.write_bytes(b"x")
    assert [path.resolve().parent for path in folder.iterdir()] == [Path(folder).resolve()]


def test_the_moment_is_written_without_separators() -> None:
    assert set(time_fields(0)) == {"date", "time"}
    assert len(time_fields(0)["date"]) == 10
