"""Each family gives the picture of diffusers' own pipeline, task by task (fp32; `bench families` has bf16 too)."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.families import room

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),  # diffusers' own, about its own
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:diffusers"),
]

CLOSE = 1e-5


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> object:
    """Family → its tiny model's folder, written once."""

    @cache
    def folder(family: str) -> Path:
        torch.manual_seed(0)
        where: Path = room.family_module(family).tiny(tmp_path_factory.mktemp(family))
        return where

    return folder


def every_case() -> list[tuple[str, int, str]]:
    """(family, number of the case, its task); the cases of a folder that is not written are only named."""
    nowhere = Path("nowhere")
    return [
        (family, number, case.task)
        for family in room.families()
        for number, case in enumerate(room.family_module(family).cases(nowhere))
    ]


@pytest.mark.parametrize(
    ("family", "number"), [pytest.param(f, n, id=f"{f}-{task.replace(' ', '-')}") for f, n, task in every_case()]
)
def test_the_picture_is_that_of_diffusers_own_pipeline(made: object, family: str, number: int) -> None:
    assert callable(made)
    case = room.family_module(family).cases(made(family))[number]
    ours, theirs = case.ours(torch.float32), case.reference(torch.float32)
    assert ours.shape == theirs.shape
    assert float(theirs.std()) > 0.01  # a flat picture would compare with anything
    assert float(np.abs(ours - theirs).max()) <= CLOSE
