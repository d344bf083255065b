"""What the starter model can draw: scenes as documents, and how they are chosen for training.

A scene says only what a caption says (`captions` turns it into words and back); whatever is left open, such as the
exact place of a tree, is chosen by the `renderer`. An empty string means "not said".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import numpy as np

from engine.training.starter.palette import COLOURS, CROWNS, MOUNTAINS

T = TypeVar("T")

COLOUR_NAMES = tuple(COLOURS)
SHAPES = ("circle", "square", "triangle", "star", "heart", "ring", "diamond")
SIZES = ("small", "large")
POSITIONS = ("left", "right", "top", "bottom", "center")
RELATIONS = ("and", "beside", "left", "right", "above", "below")
TIMES = ("day", "sunset", "night", "dawn")
GROUNDS = ("mountains", "hills", "sea", "desert", "field", "snow")
SIDES = ("left", "right", "middle")
TREES = tuple(CROWNS)
HOUSE_COLOURS = ("white", "red", "yellow", "blue")
SAIL_COLOURS = ("white", "red", "yellow")
SUN_COLOURS = ("red", "yellow", "orange")
MOON_COLOURS = ("white", "yellow")


@dataclass(frozen=True)
class Figure:
    """A coloured shape. `size` and `position` are only said when a figure stands alone."""

    shape: str
    colour: str
    size: str = ""
    position: str = ""


@dataclass(frozen=True)
class ShapesScene:
    """One figure, or two with a relation of the first to the second, on a plain or graded background."""

    background: str
    figures: tuple[Figure, ...]
    relation: str = ""
    gradient: str = ""


@dataclass(frozen=True)
class LandscapeObject:
    """A tree (variant: its kind), a house (its colour) or a boat (the colour of its sail)."""

    kind: str
    variant: str


@dataclass(frozen=True)
class Landscape:
    """Ground and sky, with what stands in it from left to right."""

    time: str
    ground: str
    mountain_colour: str = ""
    snowy: bool = False
    celestial: str = ""
    celestial_colour: str = ""
    celestial_side: str = ""
    objects: tuple[LandscapeObject, ...] = ()
    clouds: bool = False


Scene: TypeAlias = ShapesScene | Landscape


@dataclass(frozen=True)
class SceneMix:
    """How often each kind of scene is drawn; shares need not sum to one."""

    single: float = 0.2
    pair: float = 0.35
    landscape: float = 0.45
    empty_landscape: float = 0.15
    """Share of the landscapes where nothing stands."""


def is_held_out(scene: Scene) -> bool:
    """Whether training never shows this scene, so that it may be used to judge.

    About a tenth of all (colour, shape, background) triples, and of all (object, its variant, ground, time).
    """
    if isinstance(scene, ShapesScene):
        return any(_held_out_figure(figure, scene.background) for figure in scene.figures)
    return any(_held_out_object(thing, scene) for thing in scene.objects)


def _held_out_figure(figure: Figure, background: str) -> bool:
    colour, shape, ground = (
        COLOUR_NAMES.index(figure.colour),
        SHAPES.index(figure.shape),
        COLOUR_NAMES.index(background),
    )
    return (colour * 31 + shape * 7 + ground * 3) % 10 == 0


def _held_out_object(thing: LandscapeObject, scene: Landscape) -> bool:
    variants = {"tree": TREES, "house": HOUSE_COLOURS, "boat": SAIL_COLOURS}[thing.kind]
    key = variants.index(thing.variant) * 7 + GROUNDS.index(scene.ground) * 3 + TIMES.index(scene.time)
    return (key + len(thing.kind)) % 10 == 0


def random_scene(rng: np.random.Generator, shares: SceneMix | None = None) -> Scene:
    """A scene to train on: never one that is held out."""
    shares = shares or SceneMix()
    weights = np.array([shares.single, shares.pair, shares.landscape])
    kind = int(rng.choice(3, p=weights / weights.sum()))
    while True:
        scene: Scene
        if kind == 2:
            scene = random_landscape(rng, shares.empty_landscape)
        else:
            scene = random_shapes(rng, figures=kind + 1)
        if not is_held_out(scene):
            return scene


def random_shapes(rng: np.random.Generator, *, figures: int, gradient: bool | None = None) -> ShapesScene:
    """A scene with one or two figures whose colours differ from each other and from the background's.

    `gradient` None: on some scenes. Held-out scenes are included.
    """
    background, first, second, other = (COLOUR_NAMES[int(index)] for index in rng.permutation(len(COLOUR_NAMES))[:4])
    if gradient is None:
        gradient = bool(rng.random() < 0.12)
    graded = other if gradient else ""
    if figures == 2:
        pair = Figure(pick(rng, SHAPES), first), Figure(pick(rng, SHAPES), second)
        return ShapesScene(background, pair, pick(rng, ("and", *RELATIONS)), graded)
    size = pick(rng, (*SIZES, "", "", ""))
    if size == "large":  # a large figure only fits the middle
        position = pick(rng, ("center", "", ""))
    else:
        position = pick(rng, (*POSITIONS, "", "", ""))
    return ShapesScene(background, (Figure(pick(rng, SHAPES), first, size, position),), "", graded)


def random_landscape(rng: np.random.Generator, empty: float = 0.2) -> Landscape:
    """A landscape; held-out ones are included. `empty`: share where nothing stands."""
    time = pick(rng, ("day", "day", "sunset", "night", "dawn"))
    ground = pick(rng, ("mountains", "mountains", "hills", "sea", "sea", "desert", "field", "snow"))
    celestial = pick(rng, ("moon", "moon", "") if time == "night" else ("sun", "sun", ""))
    objects: tuple[LandscapeObject, ...] = ()
    if rng.random() >= empty:
        if ground == "sea":
            kinds: tuple[str, ...] = ("boat",)
        elif ground == "mountains":
            kinds = pick(rng, (("tree",), ("house",)))
        else:
            kinds = pick(rng, (("tree",), ("house",), ("tree", "house"), ("house", "tree")))
        objects = tuple(_random_object(rng, kind) for kind in kinds)
    mountains = ground == "mountains"
    return Landscape(
        time=time,
        ground=ground,
        mountain_colour=pick(rng, tuple(MOUNTAINS)) if mountains and rng.random() > 0.12 else "",
        snowy=bool(mountains and rng.random() < 0.35),
        celestial=celestial,
        celestial_colour=pick(rng, SUN_COLOURS if celestial == "sun" else MOON_COLOURS) if celestial else "",
        celestial_side=pick(rng, SIDES) if celestial and rng.random() < 0.5 else "",
        objects=objects,
        clouds=bool(rng.random() < 0.3),
    )


def _random_object(rng: np.random.Generator, kind: str) -> LandscapeObject:
    if kind == "tree":
        return LandscapeObject("tree", pick(rng, ("green", *TREES)))
    return LandscapeObject(kind, pick(rng, HOUSE_COLOURS if kind == "house" else SAIL_COLOURS))


def pick(rng: np.random.Generator, choices: Sequence[T]) -> T:
    """One of `choices`, each equally likely."""
    return choices[int(rng.integers(len(choices)))]
