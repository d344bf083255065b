"""`plan` on the command line: for the card that is here, the one everything is measured by, or all usual ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from engine.contracts.errors import EXIT_MEMORY
from engine.memory.footprint import GIB
from engine.memory.machine import PRESETS
from studio_app.cli.main import main
from studio_app.machine_memory import MemoryUse

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Said:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Call = Callable[..., Said]


@pytest.fixture
def plan(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    """`plan` with a data folder of its own, on a machine without a card."""
    monkeypatch.setenv("TESSERA_DATA", str(tmp_path / "data"))
    monkeypatch.setattr("studio_app.planning.card_memory", lambda: None)

    def call(*words: object) -> Said:
        capfd.readouterr()
        code = main(["plan", *(str(word) for word in words)])
        said = capfd.readouterr()
        return Said(code, said.out, said.err)

    return call


def test_without_a_card_the_16_gb_card_is_planned_for_and_that_is_said(plan: Call) -> None:
    said = plan("sd15", "--ram", "32GiB")
    assert said.code == 0
    assert "No graphics card is used here, so this is for one of 16 GB" in said.err
    assert said.out.startswith("For 16 GiB (RTX 4070 Ti Super speed), 32.0 GiB of main memory:\n")
    assert "of main memory, about " in said.out
    found = plan("sd15", "--ram", "32GiB", "--json").json
    assert found["machine"]["vram_bytes"] == 16 * GIB
    assert found["runs"][0]["plan"]["seconds"] > 0


def test_with_a_card_what_of_it_is_free_is_planned_for(plan: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    card = MemoryUse("A card", 2 * GIB, 12 * GIB, card=True)
    monkeypatch.setattr("studio_app.planning.card_memory", lambda: card)
    found = plan("sd15", "--leave", "1GiB", "--ram", "32GiB", "--json")
    assert not found.err
    assert found.json["machine"]["name"] == "A card"
    assert found.json["machine"]["vram_bytes"] == 9 * GIB
    assert found.json["machine"]["ram_bytes"] == 32 * GIB


@pytest.mark.parametrize("size", PRESETS)
def test_a_card_is_named_by_its_gigabytes(plan: Call, size: int) -> None:
    plain, worded = (
        plan("sd15", "--vram", size, "--ram", "32GiB"),
        plan("sd15", "--vram", f"{size}GB", "--ram", "32GiB"),
    )
    assert plain.out == worded.out
    assert plain.out.startswith(f"For {size} GiB (")


def test_cards_are_compared_line_by_line(plan: Call) -> None:
    said = plan("sdxl", "--cards", "--ram", "64GiB")
    assert said.code == 0
    assert not said.err
    rows = [line.split() for line in said.out.splitlines()[3:]]
    assert [int(row[0]) for row in rows] == list(PRESETS)
    assert "0: all on the card" in said.out.splitlines()[-1]
    found = plan("sdxl", "--cards", "--ram", "64GiB", "--json").json["cards"]
    assert [each["machine"]["vram_gib"] for each in found] == list(PRESETS)
    seconds = [each["runs"][0]["plan"]["seconds"] for each in found]
    assert seconds == sorted(seconds, reverse=True)
    one = plan("sdxl", "--vram", 8, "--ram", "64GiB", "--json").json["runs"]
    assert found[2]["runs"] == one


def test_a_picture_far_too_large_is_offered_in_windows_and_they_can_be_asked_for(plan: Call) -> None:
    asked = ("sdxl", "--vram", "8", "--ram", "32GiB", "--size", "8192x8192")
    whole = plan(*asked)
    assert whole.code == EXIT_MEMORY
    assert "Draw it in windows of 1024 (tiled sampler)." in whole.out
    cut = plan(*asked, "--windows", 1024)
    assert cut.code == 0
    assert "8192×8192, 25 steps, in 121 windows of 1024" in cut.out
    assert "decoded in tiles of " in cut.out
    assert "Tiles change colours by two of 255 steps at most" in cut.out
    found = plan(*asked, "--windows", 1024, "--json").json["runs"][0]
    assert found["request"]["window"] == 1024
    assert found["plan"]["peak_bytes"] < 7.5 * GIB
    assert found["plan"]["vae_tile"]


def test_controls_and_frames_are_counted(plan: Call) -> None:
    ways = [
        plan("sdxl", "--vram", 24, "--ram", "64GiB", "--controls", count, "--json").json["runs"][0] for count in (0, 2)
    ]
    assert ways[1]["plan"]["peak_bytes"] - ways[0]["plan"]["peak_bytes"] > 4.6 * GIB
    video = plan("svd", "--vram", 24, "--ram", "64GiB", "--frames", 8, "--size", "512x512")
    assert "svd, 512×512, 25 steps, 8 frames" in video.out
    assert video.code == 0


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--windows", 100), "windows can have 64 to 4096 pixels"), (("--frames", 3), "only svd makes frames"),
        (("--controls", 9), "ControlNets can be 0 to 8"), (("--vram", "much"), "“much” is no size"),
        (("--size", "1000"), "“1000” is no size"),
    ],
)  # fmt: skip
def test_what_can_not_be_asked_is_one_sentence(plan: Call, more: tuple[object, ...], words: str) -> None:
    said = plan("sd15", "--vram" if "--vram" not in more else "--ram", "8GB", *more)
    assert said.code != 0
    assert words in said.err
    assert "Traceback" not in said.err


def test_a_workflow_is_compared_run_by_run(plan: Call) -> None:
    said = plan(ROOT / "resources" / "workflows" / "hires_fix.json", "--cards", "--ram", "32GiB")
    assert said.code == 0, said.err
    assert "sampler: " in said.out
    assert "second: " in said.out
    assert said.out.count("  how\n") == 2
    assert said.out.count("all on the card") == 2 * len(PRESETS)
