"""The judge is right about what the renderer draws, and is not taken in."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import cv2
import numpy as np
import pytest

from engine.training.starter.judge import judge, judge_inpainting, look
from engine.training.starter.landscape_judge import object_scores
from engine.training.starter.perception import Picture
from engine.training.starter.prompts import inpainting_tasks
from engine.training.starter.renderer import render
from engine.training.starter.scenes import (
    COLOUR_NAMES,
    HOUSE_COLOURS,
    MOON_COLOURS,
    POSITIONS,
    SAIL_COLOURS,
    SHAPES,
    SUN_COLOURS,
    TIMES,
    TREES,
    Figure,
    Landscape,
    LandscapeObject,
    Scene,
    ShapesScene,
    random_landscape,
    random_shapes,
)

_VARIANTS = {"tree": TREES, "house": HOUSE_COLOURS, "boat": SAIL_COLOURS}


def _draw(scene: Scene, seed: int = 0) -> Picture:
    return render(scene, 128, np.random.default_rng(seed))


def test_shapes_are_judged_right_when_they_are_right() -> None:
    rng = np.random.default_rng(0)
    wrong: Counter[str] = Counter()
    for index in range(160):
        scene = random_shapes(rng, figures=1 + index % 2, gradient=False)
        wrong.update(name for name, right in judge(render(scene, 128, rng), scene).items() if not right)
    assert not wrong


def test_landscapes_are_judged_right_when_they_are_right() -> None:
    rng = np.random.default_rng(1)
    right: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    for _ in range(90):
        scene = random_landscape(rng, empty=0.1)
        for name, correct in judge(render(scene, 128, rng), scene).items():
            right[name] += correct
            asked[name] += 1
    assert min(asked[name] for name in ("house", "tree", "boat", "mountains")) >= 8
    celestial = right.pop("celestial") / asked.pop("celestial")
    assert celestial >= 0.97  # a cloud may hide a sun
    assert right == asked


@pytest.mark.parametrize("shape", SHAPES)
def test_another_shape_or_colour_is_judged_wrong(shape: str) -> None:
    asked = ShapesScene("white", (Figure(shape, "teal"),))
    for other in SHAPES:
        verdict = judge(_draw(ShapesScene("white", (Figure(other, "teal"),))), asked)
        assert verdict["shape"] == (other == shape)
        assert verdict["colour"]
        assert verdict["count"]
    for colour in COLOUR_NAMES:
        if colour != "white":
            verdict = judge(_draw(ShapesScene("white", (Figure(shape, colour),))), asked)
            assert verdict["colour"] == (colour == "teal")


def test_another_place_size_background_or_count_is_judged_wrong() -> None:
    for position in POSITIONS:
        picture = _draw(ShapesScene("black", (Figure("star", "yellow", position=position),)))
        for other in POSITIONS:
            asked = ShapesScene("black", (Figure("star", "yellow", position=other),))
            assert judge(picture, asked)["position"] == (position == other)
    small = _draw(ShapesScene("black", (Figure("star", "yellow", "small"),)))
    assert judge(small, ShapesScene("black", (Figure("star", "yellow", "small"),)))["size"]
    assert not judge(small, ShapesScene("black", (Figure("star", "yellow", "large"),)))["size"]
    assert not judge(small, ShapesScene("brown", (Figure("star", "yellow"),)))["background"]
    pair = _draw(ShapesScene("black", (Figure("star", "yellow"), Figure("ring", "red")), "and"))
    assert not judge(pair, ShapesScene("black", (Figure("star", "yellow"),)))["count"]
    empty = np.full((128, 128, 3), 200, np.uint8)
    assert not any(judge(empty, ShapesScene("black", (Figure("star", "yellow", "small", "left"),))).values())


def test_swapped_figures_are_judged_wrong() -> None:
    star, ring = Figure("star", "yellow"), Figure("ring", "red")
    for relation, opposite in (("left", "right"), ("above", "below")):
        picture = _draw(ShapesScene("gray", (star, ring), relation))
        assert judge(picture, ShapesScene("gray", (star, ring), relation))["two_objects"]
        assert judge(picture, ShapesScene("gray", (ring, star), opposite))["two_objects"]
        assert not judge(picture, ShapesScene("gray", (star, ring), opposite))["two_objects"]
        exchanged = ShapesScene("gray", (replace(star, colour="red"), replace(ring, colour="yellow")), relation)
        verdict = judge(picture, exchanged)
        assert verdict["pair_shapes"]
        assert not verdict["pair_colours"]
        assert not verdict["two_objects"]


@pytest.mark.parametrize("time", TIMES)
@pytest.mark.parametrize("kind", _VARIANTS)
def test_a_missing_or_differently_coloured_part_is_judged_wrong(kind: str, time: str) -> None:
    grounds = ("sea",) if kind == "boat" else ("hills", "snow", "desert", "field", "mountains")
    for index, variant in enumerate(_VARIANTS[kind]):
        ground = grounds[(index + TIMES.index(time)) % len(grounds)]
        there = LandscapeObject(kind, variant)
        scene = Landscape(time, ground, "blue" if ground == "mountains" else "", objects=(there,))
        empty = _draw(replace(scene, objects=()), seed=index)
        assert not judge(empty, scene)[kind]
        picture = _draw(scene, seed=index)
        for other in _VARIANTS[kind]:
            asked = replace(scene, objects=(LandscapeObject(kind, other),))
            assert judge(picture, asked)[kind] == (other == variant)


def test_a_house_is_no_tree_and_a_tree_no_house() -> None:
    for time in TIMES:
        house = Landscape(time, "field", objects=(LandscapeObject("house", "white"),))
        tree = Landscape(time, "field", objects=(LandscapeObject("tree", "green"),))
        assert not judge(_draw(house), tree)["tree"]
        assert not judge(_draw(tree), house)["house"]


def test_other_sky_ground_sun_and_mountains_are_judged_wrong() -> None:
    scene = Landscape("day", "mountains", "red", celestial="sun", celestial_colour="yellow", celestial_side="left")
    picture = _draw(scene)
    assert all(judge(picture, scene).values())
    assert not judge(picture, replace(scene, time="dawn"))["sky"]
    assert not judge(picture, replace(scene, ground="sea", mountain_colour=""))["ground"]
    assert not judge(picture, replace(scene, mountain_colour="gray"))["mountains"]
    assert not judge(picture, replace(scene, celestial_side="right"))["celestial"]
    assert not judge(_draw(replace(scene, celestial="")), scene)["celestial"]
    for colour in SUN_COLOURS:
        assert judge(picture, replace(scene, celestial_colour=colour))["celestial"] == (colour == "yellow")
    night = Landscape("night", "sea", celestial="moon", celestial_colour="white")
    for colour in MOON_COLOURS:
        assert judge(_draw(night), replace(night, celestial_colour=colour))["celestial"] == (colour == "white")


def test_a_soft_part_still_counts_and_a_smear_does_not() -> None:
    scene = Landscape("day", "hills", objects=(LandscapeObject("house", "blue"),))
    picture = _draw(scene)
    soft = np.asarray(cv2.GaussianBlur(picture, (0, 0), 1.2), np.uint8)
    smear = np.asarray(cv2.GaussianBlur(picture, (0, 0), 9), np.uint8)
    assert judge(soft, scene)["house"]
    assert not judge(smear, scene)["house"]
    scores = [object_scores(each, "house", scene)["blue"] for each in (picture, soft, smear)]
    assert scores[0] < scores[1] < scores[2]


def test_inpainting_is_right_only_when_the_asked_thing_is_in_the_mask() -> None:
    rng = np.random.default_rng(6)
    for task in inpainting_tasks(128, 12):
        assert judge_inpainting(task.picture, task.mask, task.asked, task.scene) == {"inpainting": False}
        if isinstance(task.scene, ShapesScene):
            whole = render(task.scene, 128, rng)
            filled = np.where(task.mask[..., None], whole, task.picture).astype(np.uint8)
            assert judge_inpainting(filled, task.mask, task.asked, task.scene) == {"inpainting": True}
            assert judge_inpainting(filled, ~task.mask, task.asked, task.scene) == {"inpainting": False}


def test_a_house_inside_the_mask_counts_and_one_outside_does_not() -> None:
    house = LandscapeObject("house", "red")
    scene = Landscape("day", "field", objects=(house,))
    picture = _draw(scene)
    red = (picture[..., 0] > 190) & (picture[..., 1] < 80)
    there = np.zeros((128, 128), bool)
    middle = int(np.nonzero(red.any(0))[0].mean())
    there[50:120, max(0, middle - 30) : middle + 30] = True
    assert judge_inpainting(picture, there, house, scene) == {"inpainting": True}
    assert judge_inpainting(picture, ~there, house, scene) == {"inpainting": False}


def test_noise_and_flat_pictures_are_looked_at_without_harm() -> None:
    noise = np.random.default_rng(8).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    for picture in (noise, np.zeros((128, 128, 3), np.uint8)):
        background, _ = look(picture)
        assert background in COLOUR_NAMES
        assert "house" in judge(picture, Landscape("day", "field", objects=(LandscapeObject("house", "red"),)))
