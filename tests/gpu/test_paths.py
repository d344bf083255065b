"""What measures a card runs on the processor too, with small models: so it works the day a card is there."""

from __future__ import annotations

import json
import sys
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.memory.blueprint import Blueprint
from engine.memory.device import Card
from engine.memory.footprint import GIB
from engine.memory.request import Request
from engine.models.fingerprint import identify_folder
from engine.models.loading import load_part
from tests.families import room
from tests.gpu import measure, report, trial, whole
from tests.gpu.report import Outcome
from tests.gpu.trial import SUBJECTS, Subject
from tests.memory_room import SimulatedCard

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder = room.family_module("flux").tiny(tmp_path_factory.mktemp("flux"))
    return Subject("flux", Blueprint("flux", "", str(folder)), Request(64, 64, guidance=False, tokens=8, steps=2))


@pytest.fixture
def card() -> Card:
    return Card("cpu", GIB)


def test_every_table_of_the_report_is_made(subject: Subject, card: Card) -> None:
    *_, found = measure.measure(subject, card, (6,), edge=64)
    assert found.bad == 0
    assert [row[1:3] for row in found.whole] == [["6", "arithmetic"], ["6", "measured"]]
    assert all(row[3] == "0: all on the card" and row[-1] == "fine" for row in found.whole)
    assert [row[1] for row in found.alone] == ["6"]
    assert [row[1] for row in found.speed] == [
        "streamed", "resident", "bare diffusers", "compiled", "diffusers' group offloading"
    ]  # fmt: skip
    assert all(float(row[2]) > 0 for row in found.speed if row[1] != "compiled")
    text = report.page(card, {"flux": Outcome(asdict(found))})
    assert text.count("| flux | 6 | ") == 3
    assert "## Failed\n\n- Nothing." in text


def test_pictures_are_planned_measured_and_planned_again(subject: Subject, tmp_path: Path) -> None:
    """On the simulated card, where every byte is counted."""
    card = SimulatedCard(GIB)
    studio = whole.Studio(Path(subject.model.folder), "flux", card, tmp_path)
    with card.watching():
        first, second = whole.pictures(studio, 64, 2, 1.0)
    for made in (first, second):
        assert not made.failed
        assert not made.refused
        assert made.plan is not None
        assert set(made.phases) == {"text", "denoise", "decode"}
        assert all(0 < measured <= predicted for predicted, measured in made.phases.values())
    assert second.phases["denoise"][0] < first.phases["denoise"][0]
    assert studio.session.memory is not None
    studio.session.free()
    assert not card.settled()


def test_what_fails_in_a_whole_run_is_a_row(subject: Subject, card: Card, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Any, *args: Any) -> Any:
        raise RuntimeError("cuDNN is not there")

    monkeypatch.setattr(whole.Studio, "picture", broken)
    monkeypatch.setattr(measure, "alone_rows", lambda *_: iter([["flux", "4", "", "", "fine"]]))
    monkeypatch.setattr(measure, "speed_rows", broken)
    *_, found = measure.measure(subject, card, (4,), edge=64)
    assert found.whole == [["flux", "4", "arithmetic", "failed: RuntimeError: cuDNN is not there"]]
    assert found.alone == [["flux", "4", "", "", "fine"]]
    assert found.speed == [["flux", "failed: RuntimeError: cuDNN is not there"]]
    assert found.bad == 2


def test_a_card_too_small_is_a_row_too(subject: Subject, tmp_path: Path) -> None:
    card = SimulatedCard(100_000)
    studio = whole.Studio(Path(subject.model.folder), "flux", card, tmp_path)
    with card.watching():
        (made,) = whole.pictures(studio, 64, 2, 1.0)
    assert made.refused
    assert not made.failed


def test_a_network_that_fails_is_reported_not_raised(subject: Subject, card: Card) -> None:
    module = trial.filled(subject.build())

    class Full(Card):
        def place(self, tensor: torch.Tensor) -> torch.Tensor:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    seen = trial.measured(module, subject.inputs(), Full("cpu", GIB), trial.plan_of("all"), 1)
    assert seen.failed.startswith("OutOfMemoryError")
    assert seen.said


def test_one_model_that_fails_takes_no_other_with_it(tmp_path: Path, card: Card) -> None:
    """Processes that end badly, that take too long, and the time that is over."""
    asked: list[tuple[str, float]] = []

    def run(name: str, to: Path, minutes: float) -> str:
        asked.append((name, minutes))
        if name == "flux":
            return "ended with -9: Killed"
        to.write_text(json.dumps({"name": name, "speed": [[name, "resident", "1.000", "1.002 × bare"]], "bad": 0}))
        return ""

    names = [name for name in SUBJECTS if name != "svd"]
    (tmp_path / "flux.json").write_text(json.dumps({"name": "flux", "speed": [["flux", "of before", "", ""]]}))
    found = report.outcomes(names, tmp_path, run)
    assert [name for name, _ in asked] == names
    assert sum(report.SHARE.values()) <= 1.1 * report.MINUTES
    text = report.page(card, found)
    assert "| sdxl | resident | 1.000 | 1.002 × bare |" in text
    assert "- flux: ended with -9: Killed" in text
    assert "of before" not in text
    assert "- svd: not asked for in this run" in text
    again = report.outcomes([], tmp_path, run)
    assert again["sdxl"].found == found["sdxl"].found
    late = report.outcomes(["sdxl"], tmp_path, run, minutes=0.1)
    assert late["sdxl"].missing == "not begun: 0 minutes were over"


def test_a_process_that_fails_says_why(tmp_path: Path) -> None:
    """Here it fails for want of a card."""
    if torch.cuda.is_available():
        pytest.skip("there is a card")
    said = report.in_process("sdxl", tmp_path / "sdxl.json", 1.0)
    assert said == "ended with 1: this machine has no CUDA card"
    assert report.in_process("sdxl", tmp_path / "sdxl.json", 0.001).startswith("stopped after")


def test_without_a_card_the_page_says_plainly_what_was_not_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = report.page(None, {})
    assert "this machine has no CUDA card" in text
    for check in report.CHECKS:
        assert check in text
    if not torch.cuda.is_available():
        report.main(["--to", str(tmp_path / "page.md")])
        assert (tmp_path / "page.md").read_text(encoding="utf-8") == text
        assert "Wrote" in capsys.readouterr().out


def test_a_real_model_is_written_with_holes_and_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of SD 1.5 the text encoder and the autoencoder; the folder is 2 GB to look at and a few MB on the disk."""
    monkeypatch.setattr(whole, "DRAWN", 4096)
    folder = whole.written(tmp_path / "model", "sd15")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    assert weights.stat().st_size == pytest.approx(2 * 859.5e6, rel=0.001)
    if sys.platform == "linux":
        assert sum(file.stat().st_blocks * 512 for file in folder.rglob("*.safetensors")) < 40 << 20
    info = identify_folder(folder)
    assert info.family == "sd15"
    for part in ("text_encoder", "vae"):
        module = load_part(folder, part, torch.device("cpu"), torch.float16)
        assert next(module.parameters()).dtype == torch.float16
        assert 0 < float(next(iter(module.parameters())).float().abs().max()) < 0.2


def test_real_subjects_are_walked_without_memory() -> None:
    for name, low, high in (("sdxl", 4.7, 4.9), ("svd", 2.8, 2.9)):
        found = SUBJECTS[name].footprint()
        assert low * GIB < found.weights < high * GIB
        assert found.blocks


def test_random_weights_are_small_and_the_same(subject: Subject) -> None:
    one, other = trial.filled(subject.build()), trial.filled(subject.build())
    for left, right in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(left, right)
        assert float(left.float().abs().max()) < 0.2
