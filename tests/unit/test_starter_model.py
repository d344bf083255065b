"""The shipped starter model: what its folder says, and that it draws what it is asked."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from engine.models.fingerprint import identify_folder
from engine.recipes.vocabulary import unknown_words
from engine.training.starter import ship as shipping
from engine.training.starter.captions import parse
from engine.training.starter.evaluate import GOALS, Accuracy, evaluate
from engine.training.starter.judge import judge
from engine.training.starter.painter import Settings
from engine.training.starter.perception import Picture
from engine.training.starter.prompts import HeldOut, InpaintingTask, held_out_prompts
from engine.training.starter.renderer import render
from engine.training.starter.tokenizer import GRAMMAR_WORDS
from tests.benchmarks.starter import MODEL, EnginePainter

_CARD = json.loads((MODEL / "tessera.json").read_text(encoding="utf-8"))


def test_the_folder_says_what_it_is() -> None:
    info = identify_folder(MODEL)
    assert (info.family, info.name, info.licence) == ("sd15", "starter", "Apache-2.0")
    assert (info.defaults.width, info.defaults.height) == (128, 128)
    assert "small starter model" in info.notice
    assert "128×128" in info.notice
    assert "\n" not in info.notice
    assert info.size_bytes < 40 * 2**20


def test_nothing_of_the_machine_that_trained_it_is_in_it() -> None:
    for config in MODEL.glob("*/*.json"):
        assert "_name_or_path" not in json.loads(config.read_text(encoding="utf-8")), config


def test_its_vocabulary_is_its_grammar_and_the_british_spellings() -> None:
    assert set(_CARD["vocabulary"]) >= set(GRAMMAR_WORDS)
    assert set(_CARD["vocabulary"]) - set(GRAMMAR_WORDS) == {"grey", "centre"}
    assert unknown_words("a fluffy cat on a red sofa", _CARD["vocabulary"]) == ["fluffy", "cat", "sofa"]


def test_what_it_suggests_is_within_its_grammar() -> None:
    for suggestion in _CARD["suggestions"]:
        assert parse(suggestion) is not None, suggestion


def test_it_draws_what_it_is_asked_through_the_studio_s_engine() -> None:
    painter = EnginePainter()
    prompts = ["a red circle on a blue background", "a yellow star on the left on a black background"]
    asked = []
    for seed, prompt in enumerate(prompts):
        scene = parse(prompt)
        assert scene is not None
        asked.append(HeldOut(prompt, scene, 7 + seed))
    pictures = painter.paint(asked)
    for item, picture in zip(asked, pictures, strict=True):
        assert all(judge(picture, item.scene).values()), item.prompt
    again = painter.paint(asked[:1])[0]
    assert np.array_equal(again, pictures[0])


@dataclass
class _Truth:
    """Paints the asked scenes with the renderer, and leaves inpainting undone."""

    size: int = 128

    def paint(self, prompts: Sequence[HeldOut]) -> list[Picture]:
        return [render(item.scene, self.size, np.random.default_rng(item.seed)) for item in prompts]

    def inpaint(self, tasks: Sequence[InpaintingTask]) -> list[Picture]:
        return [task.picture for task in tasks]


def test_a_painter_of_truth_scores_full_marks_but_for_what_it_leaves_undone() -> None:
    accuracy, pictures = evaluate(_Truth(), held_out_prompts(12, 8, 12), inpainting=3)
    assert len(pictures) == 32
    assert {goal: accuracy.share(goal) for goal in GOALS} == {goal: float(goal != "inpainting") for goal in GOALS}
    assert accuracy.score() == pytest.approx(7 / 8)
    parts = sum(accuracy.asked[part] for part in ("house", "tree", "boat", "mountains"))
    assert accuracy.asked["landscape_parts"] == parts
    assert "| inpainting | 0/3 | 0.0% | ≥ 80% | no |" in accuracy.table()


def test_only_a_better_snapshot_is_shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = tmp_path / "starter_model"
    shutil.copytree(MODEL, shipped)
    before = (shipped / "tessera.json").read_bytes()
    score = _CARD.get("judged", {}).get("score", 0.0)

    def judged(right: int) -> Accuracy:
        accuracy = Accuracy()
        for goal in GOALS:
            for index in range(1000):
                accuracy.add(goal, index < right)
        return accuracy

    monkeypatch.setattr(shipping, "DiffusersPainter", lambda folder, settings: None)
    for right, expected in ((0, False), (1000, True)):
        monkeypatch.setattr(shipping, "evaluate", lambda painter, right=right: (judged(right), []))
        accuracy, done = shipping.ship(MODEL, Settings(steps=20), shipped=shipped)
        assert done is (accuracy.score() > score) is expected
        if not expected:
            assert (shipped / "tessera.json").read_bytes() == before
    card = json.loads((shipped / "tessera.json").read_text(encoding="utf-8"))
    assert card["defaults"]["steps"] == 20
    assert card["judged"]["score"] == 1.0
    assert card["judged"]["colour"] == [1000, 1000]
    assert identify_folder(shipped).defaults.steps == 20
