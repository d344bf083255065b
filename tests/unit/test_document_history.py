"""Random edits, undo and redo: a document equals its replay at every step."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from tests.unit.document_machine import DocumentMachine


def test_a_document_equals_its_replay_at_every_step_of_random_edits() -> None:
    run_state_machine_as_test(DocumentMachine, settings=settings(max_examples=12, stateful_step_count=40))


@pytest.mark.full
def test_a_document_equals_its_replay_at_every_step_of_ten_thousand_random_edits() -> None:
    run_state_machine_as_test(DocumentMachine, settings=settings(max_examples=100, stateful_step_count=100))
