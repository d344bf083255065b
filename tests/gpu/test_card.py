"""On a CUDA card, with models of real size and random weights. Skipped, saying so, where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engine.memory.device import Card
from engine.memory.footprint import GIB
from tests.gpu import trial, whole
from tests.gpu.measure import SIZES
from tests.gpu.trial import SUBJECTS, Subject

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA card"),
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture(scope="module")
def card() -> Card:
    return Card("cuda")


@pytest.fixture(scope="module", params=sorted(SUBJECTS))
def built(request: pytest.FixtureRequest) -> tuple[Subject, torch.nn.Module]:
    subject = SUBJECTS[request.param]
    return subject, trial.filled(subject.build())


@pytest.fixture(scope="module", params=sorted(name for name, subject in SUBJECTS.items() if subject.whole))
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Subject, Path]:
    subject = SUBJECTS[request.param]
    folder = tmp_path_factory.mktemp(subject.name) / "model"
    return subject, whole.written(folder, subject.model.family, subject.model.variant)


@pytest.mark.parametrize("size", SIZES)
def test_pictures_are_made_within_what_is_predicted(
    model: tuple[Subject, Path], card: Card, size: int, tmp_path: Path
) -> None:
    """From prompt to pixels; the second picture by a plan that was corrected by the first."""
    subject, folder = model
    with trial.imitating(card, size * GIB) as (limited, _):
        studio = whole.Studio(folder, subject.model.family, limited, tmp_path)
        made = whole.pictures(studio, 1024, subject.request.steps, subject.cfg)
        limit = limited.budget
        studio.session.free()
    assert len(made) == 2
    for one in made:
        assert not one.failed
        assert not one.refused
        assert not one.logs
        assert one.reserved <= limit
        assert all(measured <= predicted for predicted, measured in one.phases.values())
    fullest = max(made[1].phases.values())
    assert fullest[0] <= 1.15 * fullest[1]


@pytest.mark.parametrize("size", SIZES)
def test_a_plan_holds_what_it_predicts(built: tuple[Subject, torch.nn.Module], card: Card, size: int) -> None:
    subject, module = built
    with trial.imitating(card, size * GIB) as (limited, machine):
        plan = trial.plan_for(subject.footprint(), machine)
        if plan is None:
            pytest.skip(f"nothing fits {size} GB, and that is said before the run")
        seen = trial.measured(module, subject.inputs(), limited, plan)
    predicted = next(phase.peak for phase in plan.phases if phase.name == "denoise")
    assert not seen.failed
    assert not seen.said
    assert seen.peak <= predicted <= 1.15 * seen.peak


def test_streaming_fills_the_line(built: tuple[Subject, torch.nn.Module], card: Card) -> None:
    subject, module = built
    seen = trial.measured(module, subject.inputs(), card, trial.plan_of("blocks"), 4)
    resident = trial.measured(module, subject.inputs(), card, trial.plan_of("all"), 4)
    needed = trial.streamed_bytes(module) / (0.8 * card.bandwidth())
    assert seen.step <= max(needed, 1.05 * resident.step)


def test_the_same_numbers_streamed_and_resident(built: tuple[Subject, torch.nn.Module], card: Card) -> None:
    from engine.memory.residency import Residency

    subject, module = built
    given = trial.real(subject.inputs(), card.device)
    answers = []
    for residency in ("all", "blocks", "leaves", "disk"):
        memory = Residency(card)
        memory.adopt(module, "transformer")
        memory.hold_to(trial.plan_of(residency))
        with torch.no_grad():
            module(**given, return_dict=False)
            answers.append(module(**given, return_dict=False)[0].cpu())
        trial.forget(module, memory)
    for answer in answers[1:]:
        assert torch.equal(answer, answers[0])
