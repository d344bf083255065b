"""On a CUDA card, with networks of real size and random weights. Skipped, saying so, where there is none."""

from __future__ import annotations

import pytest
import torch

from engine.memory.device import Card
from engine.memory.footprint import GIB
from tests.gpu import trial
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
    subject = SUBJECTS[request.param]()
    return subject, trial.filled(subject.build())


@pytest.mark.parametrize("size", [4, 6, 8, 12, 16])
def test_a_plan_holds_what_it_predicts(built: tuple[Subject, torch.nn.Module], card: Card, size: int) -> None:
    subject, module = built
    with trial.imitating(card, size * GIB) as machine:
        plan = trial.plan_for(trial.footprint(subject), machine)
        if plan is None:
            pytest.skip(f"nothing fits {size} GB, and that is said before the run")
        seen = trial.measured(module, subject.inputs(), Card("cuda", machine.vram), plan)
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
