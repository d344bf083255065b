"""The held-out prompts that the starter model is judged by: always the same, and none of their scenes is trained on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from engine.training.starter.captions import write
from engine.training.starter.landscape import BOAT_WIDTH, HOUSE_WIDTH, MOUNTAIN_SCALE, TREE_HEIGHT, foot
from engine.training.starter.perception import Mask, Picture
from engine.training.starter.renderer import RELATION_POSITIONS, render
from engine.training.starter.scenes import (
    POSITIONS,
    RELATIONS,
    SIZES,
    Figure,
    LandscapeObject,
    Scene,
    is_held_out,
    random_landscape,
    random_shapes,
)

_SEED = 20


@dataclass(frozen=True)
class HeldOut:
    """One prompt, the scene it asks for, and the seed of its picture."""

    prompt: str
    scene: Scene
    seed: int


@dataclass(frozen=True)
class InpaintingTask:
    """Put `asked` into the masked part of `picture`, a rendered scene in which it is missing."""

    prompt: str
    scene: Scene
    asked: Figure | LandscapeObject
    picture: Picture
    mask: Mask
    seed: int


def held_out_prompts(singles: int = 100, pairs: int = 60, landscapes: int = 60) -> list[HeldOut]:
    """Prompts of held-out scenes. A smaller request yields the first prompts of each kind."""
    rng = np.random.default_rng(_SEED)
    scenes: list[Scene] = [_single(rng, index) for index in range(singles)]
    rng = np.random.default_rng(_SEED + 1)
    scenes += [_pair(rng, index) for index in range(pairs)]
    rng = np.random.default_rng(_SEED + 2)
    scenes += [_landscape(rng, index) for index in range(landscapes)]
    rng = np.random.default_rng(_SEED + 3)
    return [HeldOut(write(scene, rng), scene, seed) for seed, scene in enumerate(scenes)]


def inpainting_tasks(size: int, count: int = 30) -> list[InpaintingTask]:
    """Two thirds with shapes, one third with landscapes; pictures of `size` pixels."""
    rng = np.random.default_rng(_SEED + 4)
    return [
        _landscape_task(rng, seed, size) if seed % 3 == 2 else _shapes_task(rng, seed, size) for seed in range(count)
    ]


def _single(rng: np.random.Generator, index: int) -> Scene:
    position = ("", *POSITIONS)[index % 6]
    size = ("", "", *SIZES)[index % 4] if position in ("", "center") else ""
    while True:
        scene = random_shapes(rng, figures=1, gradient=False)
        scene = replace(scene, figures=(replace(scene.figures[0], position=position, size=size),))
        if is_held_out(scene):
            return scene


def _pair(rng: np.random.Generator, index: int) -> Scene:
    while True:
        scene = replace(random_shapes(rng, figures=2, gradient=False), relation=RELATIONS[index % len(RELATIONS)])
        if is_held_out(scene):
            return scene


def _landscape(rng: np.random.Generator, index: int) -> Scene:
    """A third with mountains, which are a part to be judged like a house, tree or boat."""
    while True:
        scene = random_landscape(rng, empty=0.0)
        if is_held_out(scene) and (scene.ground == "mountains") == (index % 3 == 0):
            return scene


def _shapes_task(rng: np.random.Generator, seed: int, size: int) -> InpaintingTask:
    while True:
        scene = random_shapes(rng, figures=2, gradient=False)
        if is_held_out(scene):
            break
    places = RELATION_POSITIONS[scene.relation]
    drawn = render(scene, size, rng)
    # the first figure stays; where the second was is background again
    x, y = places[1]
    mask = _box(size, x - 0.22, y - 0.22, x + 0.22, y + 0.22)
    empty = np.concatenate([drawn[:, : size // 24], drawn[:, -(size // 24) :]], 1)
    rows = np.broadcast_to(np.median(empty, 1)[:, None], drawn.shape)
    picture = np.where(mask[..., None], rows, drawn).astype(np.uint8)
    return InpaintingTask(write(scene, rng), scene, scene.figures[1], picture, mask, seed)


def _landscape_task(rng: np.random.Generator, seed: int, size: int) -> InpaintingTask:
    while True:
        scene = random_landscape(rng, empty=0.0)
        if is_held_out(scene) and len(scene.objects) == 1:
            break
    asked = scene.objects[0]
    picture = render(replace(scene, objects=()), size, rng)
    height = {"tree": TREE_HEIGHT, "house": HOUSE_WIDTH * 1.35, "boat": BOAT_WIDTH}[asked.kind]
    height *= MOUNTAIN_SCALE if scene.ground == "mountains" else 1.0
    level = foot(scene.ground)
    mask = _box(size, 0.25, level - height - 0.08, 0.75, level + 0.06)
    return InpaintingTask(write(scene, rng), scene, asked, picture, mask, seed)


def _box(size: int, left: float, top: float, right: float, bottom: float) -> Mask:
    mask = np.zeros((size, size), bool)
    mask[max(0, round(top * size)) : round(bottom * size), max(0, round(left * size)) : round(right * size)] = True
    return mask
