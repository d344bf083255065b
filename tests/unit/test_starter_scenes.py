"""The starter model's scenes: words, held-out split, pictures."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from engine.training.starter.captions import parse, vary, write
from engine.training.starter.palette import COLOURS
from engine.training.starter.prompts import held_out_prompts, inpainting_tasks
from engine.training.starter.renderer import render
from engine.training.starter.scenes import (
    Figure,
    Landscape,
    LandscapeObject,
    SceneMix,
    ShapesScene,
    is_held_out,
    random_landscape,
    random_scene,
    random_shapes,
)
from engine.training.starter.tokenizer import GRAMMAR_WORDS


def test_every_caption_tells_its_whole_scene() -> None:
    rng = np.random.default_rng(0)
    for _ in range(1500):
        scene = random_scene(rng)
        assert parse(vary(write(scene, rng), rng)) == scene


@pytest.mark.parametrize(
    ("caption", "scene"),
    [
        ("a red circle on a blue background", ShapesScene("blue", (Figure("circle", "red"),))),
        (
            "a small grey star in the centre on a teal background",
            ShapesScene("teal", (Figure("star", "gray", "small", "center"),)),
        ),
        (
            "a pink ring to the left of an orange heart, white background",
            ShapesScene("white", (Figure("ring", "pink"), Figure("heart", "orange")), "left"),
        ),
        (
            "A red house on green hills with a yellow sun",
            Landscape("day", "hills", "", False, "sun", "yellow", "", (LandscapeObject("house", "red"),)),
        ),
        (
            "snowy purple mountains under a starry sky",
            Landscape("night", "mountains", "purple", True),
        ),
    ],
)
def test_sentences_as_people_type_them(caption: str, scene: ShapesScene | Landscape) -> None:
    assert parse(caption) == scene


@pytest.mark.parametrize("caption", ["", "a cat on a sofa", "a red circle", "three red circles", "ünïcode 日本"])
def test_what_is_outside_the_grammar_is_no_scene(caption: str) -> None:
    assert parse(caption) is None


def test_captions_use_only_words_that_are_one_token_each() -> None:
    rng = np.random.default_rng(1)
    used = {word for _ in range(3000) for word in re.findall("[a-z]+", write(random_scene(rng), rng))}
    assert used == set(GRAMMAR_WORDS)


def test_training_never_sees_a_held_out_scene_and_judging_sees_nothing_else() -> None:
    rng = np.random.default_rng(2)
    assert not any(is_held_out(random_scene(rng, SceneMix(empty_landscape=0.0))) for _ in range(1000))
    asked = held_out_prompts()
    assert len(asked) == 220
    assert all(is_held_out(item.scene) for item in asked)
    assert len({item.scene for item in asked}) > 205
    assert held_out_prompts(3, 2, 1)[:3] == asked[:3]


def test_about_a_tenth_is_held_out() -> None:
    rng = np.random.default_rng(3)
    singles = [is_held_out(random_shapes(rng, figures=1)) for _ in range(2000)]
    landscapes = [is_held_out(random_landscape(rng, empty=0.0)) for _ in range(2000)]
    assert 0.07 < np.mean(singles) < 0.13
    assert 0.07 < np.mean(landscapes) < 0.2


def test_the_same_seed_draws_the_same_picture() -> None:
    scene = random_landscape(np.random.default_rng(4))
    first, again = (render(scene, 64, np.random.default_rng(9)) for _ in range(2))
    other = render(scene, 64, np.random.default_rng(10))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_figure_is_drawn_in_its_colour_at_its_place() -> None:
    scene = ShapesScene("blue", (Figure("square", "red", position="left"),))
    picture = render(scene, 128, np.random.default_rng(0)).astype(int)
    assert picture.shape == (128, 128, 3)
    assert np.abs(picture[64, 35] - COLOURS["red"]).max() <= 6
    assert np.abs(picture[64, 100] - COLOURS["blue"]).max() <= 16
    assert np.abs(picture[64, 3] - COLOURS["blue"]).max() <= 16


def test_pictures_scale_with_their_size() -> None:
    scene = ShapesScene("white", (Figure("heart", "black"),))
    small, large = (render(scene, size, np.random.default_rng(5)) for size in (64, 256))
    shares = [(picture.mean(-1) < 128).mean() for picture in (small, large)]
    assert shares[0] == pytest.approx(shares[1], rel=0.05)


def test_inpainting_tasks_miss_what_they_ask_for() -> None:
    tasks = inpainting_tasks(128)
    assert len(tasks) == 30
    assert sum(isinstance(task.scene, Landscape) for task in tasks) == 10
    for task in tasks:
        assert 0.03 < task.mask.mean() < 0.35
        if isinstance(task.asked, Figure) and isinstance(task.scene, ShapesScene):
            alone = task.picture[task.mask].astype(float)
            assert np.abs(alone - COLOURS[task.scene.background]).max() <= 20
            assert parse(task.prompt) == task.scene


def test_a_scene_can_be_changed_like_any_document() -> None:
    scene = ShapesScene("blue", (Figure("circle", "red"),))
    assert parse(write(replace(scene, background="green"), np.random.default_rng(0))) == ShapesScene(
        "green", (Figure("circle", "red"),)
    )
