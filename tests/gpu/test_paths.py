"""What measures a card runs on the processor too, with small networks: so it works the day a card is there."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch

from engine.memory.device import Card
from engine.memory.footprint import GIB
from engine.memory.request import Request
from tests.families import room
from tests.gpu import report, trial
from tests.gpu.trial import Subject

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder = room.family_module("flux").tiny(tmp_path_factory.mktemp("flux"))
    return trial.of_family("flux", folder=str(folder), request=Request(64, 64, guidance=False, tokens=8))


@pytest.fixture
def card() -> Card:
    return Card("cpu", GIB)


def test_every_row_of_the_report_is_made(subject: Subject, card: Card) -> None:
    assert report.fitting(subject, card, (4,))[0].startswith("| flux | 4 | all | ")
    assert report.fitting(subject, card, (4,))[0].endswith("| fine |")
    module = trial.filled(subject.build())
    whole = trial.measured(module, subject.inputs(), card, trial.plan_of("all"), 2)
    streamed = trial.measured(module, subject.inputs(), card, trial.plan_of("blocks"), 2)
    assert not whole.failed
    assert not streamed.failed
    assert whole.step > 0
    assert trial.bare(module, subject.inputs(), card, 1).step > 0
    assert 0 < trial.streamed_bytes(module) < trial.footprint(subject).weights
    assert trial.offloaded_by_diffusers(module, subject.inputs(), card, 1).step > 0


def test_a_network_that_fails_is_reported_not_raised(subject: Subject, card: Card) -> None:
    module = trial.filled(subject.build())

    class Full(Card):
        def place(self, tensor: torch.Tensor) -> torch.Tensor:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    seen = trial.measured(module, subject.inputs(), Full("cpu", GIB), trial.plan_of("all"), 1)
    assert seen.failed.startswith("OutOfMemoryError")
    assert seen.said


def test_the_page_says_plainly_what_was_not_run() -> None:
    text = report.page(None, [])
    assert "this machine has no CUDA card" in text
    assert text.count("- ") >= len(report.CHECKS) + 4
    for check in report.CHECKS:
        assert check in text


def test_real_subjects_are_walked_without_memory() -> None:
    """SVD, whose configuration comes from diffusers."""
    found = trial.footprint(trial.svd(frames=2, width=256, height=256))
    assert 2.5 * GIB < found.weights < 3.2 * GIB
    assert found.blocks


def test_random_weights_are_small_and_the_same(tmp_path: Path, subject: Subject) -> None:
    one, other = trial.filled(subject.build()), trial.filled(subject.build())
    for left, right in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(left, right)
        assert float(left.float().abs().max()) < 0.2
