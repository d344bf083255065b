"""How well a run is steered, with the starter model and its own canny ControlNet, through the studio's own nodes.

`edge_f1_*`: F1 of the generated picture's canny edges against the hint's, two pixels off still counting, on scenes
that training never showed; the uncontrolled picture has the same prompt and seed. `two_*`: two hints at once, each
with a mask of its own half; each half is judged by its own hint. `regions_*`: two prompts in two halves, how often the
colour asked for stands in its own half.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.contracts.references import ModelRef
from engine.control import edges
from engine.nodes.condition.region import region
from engine.nodes.condition.text import encode_text
from engine.nodes.control.apply import control_pair
from engine.nodes.latent.empty import empty
from engine.nodes.latent.picture import decode_image
from engine.nodes.load.checkpoint import checkpoint
from engine.nodes.load.parts import controlnet
from engine.nodes.sample.k_sampler import k_sampler
from engine.training.starter.captions import write
from engine.training.starter.controlnet import unplaced
from engine.training.starter.palette import COLOURS
from engine.training.starter.perception import nearest_colour, to_lab
from engine.training.starter.renderer import random_places, render
from engine.training.starter.scenes import (
    COLOUR_NAMES,
    SHAPES,
    Scene,
    is_held_out,
    pick,
    random_landscape,
    random_shapes,
)
from tests.benchmarks.harness import Goal, Report
from tests.benchmarks.parity import Context

ROOT = Path(__file__).resolve().parents[2]
STARTER = ROOT / "resources" / "starter_model"
CONTROLNET = ROOT / "resources" / "starter_controlnet"
EDGE = 128
TOLERANCE = 2
SETTINGS: dict[str, Any] = {"steps": 20, "cfg": 2.0, "sampler": "ddim", "scheduler": "simple"}

Picture = npt.NDArray[np.float32]
Lines = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]

GOALS: dict[str, Goal] = {
    "edge_f1_gain": (">=", 0.3),
    "two_edge_f1_gain": (">=", 0.3),
    "zero_weight_equal": ("==", 1.0),
    "regions_right_share": (">=", 0.8),
}


class Room(Context):
    """The starter model and one ControlNet."""

    def __init__(self, folder: Path = CONTROLNET) -> None:
        super().__init__(STARTER)
        self._controlnet = folder
        self.model, self.clip, self.vae = checkpoint(self)  # type: ignore[arg-type]
        self.net = controlnet(self, ModelRef(kind="controlnet", name="starter-canny"))  # type: ignore[arg-type]

    def locate(self, ref: ModelRef) -> Path:
        return self._controlnet if ref.kind == "controlnet" else self.folder

    def words(self, text: str) -> Any:
        return encode_text(self, self.clip, text)  # type: ignore[arg-type]

    def picture(self, positive: Any, negative: Any, seed: int) -> Picture:
        """float32 [128, 128, 3]."""
        ctx: Any = self
        latent = k_sampler(ctx, self.model, positive, negative, empty(ctx, EDGE, EDGE), seed=seed, **SETTINGS)
        return np.asarray(decode_image(ctx, self.vae, latent)[0])

    def steered(
        self, positive: Any, negative: Any, hint: Picture, strength: float = 1.0, **more: Any
    ) -> tuple[Any, Any]:  # fmt: skip
        return control_pair(self, positive, negative, self.net, hint, strength, **more)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Task:
    """What a picture shall show, its edges, and the hint they are given as."""

    caption: str
    hint: Picture
    seed: int

    @property
    def lines(self) -> Lines:
        return self.hint[0, ..., 0] > 0.5


def tasks(count: int, *, shapes_only: bool = False, seed: int = 4321) -> list[Task]:
    """Held-out scenes: two of three show one or two figures at places that the caption does not tell, the others are
    landscapes."""
    rng = np.random.default_rng(seed)
    found: list[Task] = []
    while len(found) < count:
        landscape = not shapes_only and len(found) % 3 == 2
        scene: Scene = random_landscape(rng)
        places = None
        if not landscape:
            shapes = unplaced(random_shapes(rng, figures=1 + len(found) % 2))
            scene, places = shapes, random_places(rng, len(shapes.figures))
        if not is_held_out(scene):
            continue
        drawn = render(scene, EDGE, rng, places)[None].astype(np.float32) / np.float32(255)
        hint = edges.canny(drawn)
        if hint.any():
            found.append(Task(write(scene, rng), hint, 1000 + len(found)))
    return found


def edge_f1(made: Lines, wanted: Lines, tolerance: int = TOLERANCE) -> float:
    """F1 of two line drawings; a pixel counts as met when the other drawing has one within `tolerance` pixels."""
    import cv2

    if not made.any() or not wanted.any():
        return float(not made.any() and not wanted.any())
    brush = np.ones((2 * tolerance + 1, 2 * tolerance + 1), np.uint8)
    near_made, near_wanted = (cv2.dilate(lines.astype(np.uint8), brush) > 0 for lines in (made, wanted))
    precision, recall = float(near_wanted[made].mean()), float(near_made[wanted].mean())
    return 2 * precision * recall / max(precision + recall, 1e-9)


def lines_of(picture: Picture) -> Lines:
    """As the hint is made: canny at the node's own thresholds."""
    return np.asarray(edges.canny(picture[None])[0, ..., 0] > 0.5)


def one_at_a_time(room: Room, count: int) -> dict[str, float]:
    """Edge F1 with and without the ControlNet, and what the autoencoder alone leaves of the edges."""
    negative = room.words("")
    with_control, without = [], []
    for task in tasks(count):
        positive = room.words(task.caption)
        with_control.append(
            edge_f1(lines_of(room.picture(*room.steered(positive, negative, task.hint), task.seed)), task.lines)
        )
        without.append(edge_f1(lines_of(room.picture(positive, negative, task.seed)), task.lines))
    controlled, uncontrolled = float(np.mean(with_control)), float(np.mean(without))
    return {
        "edge_f1_controlled": controlled, "edge_f1_uncontrolled": uncontrolled,
        "edge_f1_gain": controlled - uncontrolled,
    }  # fmt: skip


def two_at_once(room: Room, count: int) -> dict[str, float]:
    """Two ControlNets at once, the hint of one scene on the left and of another on the right."""
    half = np.zeros((1, EDGE, EDGE), np.float32)
    half[..., : EDGE // 2] = 1
    negative = room.words("")
    listed = tasks(2 * count, shapes_only=True, seed=99)
    both: list[float] = []
    plain: list[float] = []
    for first, second in zip(listed[::2], listed[1::2], strict=True):
        positive = room.words(first.caption)
        sides = room.steered(positive, negative, first.hint, mask=half)
        sides = room.steered(*sides, second.hint, mask=1 - half)
        wanted = np.where(half[0] > 0, first.lines, second.lines)
        for scores, prompts in ((both, sides), (plain, (positive, negative))):
            made = lines_of(room.picture(*prompts, first.seed))
            left, right = (edge_f1(made[:, part], wanted[:, part]) for part in (slice(0, 64), slice(64, 128)))
            scores.append(min(left, right))  # both must show
    controlled, uncontrolled = float(np.mean(both)), float(np.mean(plain))
    return {
        "two_edge_f1_worse_half": controlled, "two_edge_f1_uncontrolled": uncontrolled,
        "two_edge_f1_gain": controlled - uncontrolled,
    }  # fmt: skip


def regions(room: Room, count: int) -> dict[str, float]:
    """Two prompts, each in its half: how often the figure on either side has the colour asked for there."""
    rng = np.random.default_rng(50)
    ctx: Any = room
    negative = room.words("")
    right_both = right_each = 0
    for number in range(count):
        ground, first, second = (COLOUR_NAMES[int(place)] for place in rng.permutation(len(COLOUR_NAMES))[:3])
        kinds = [pick(rng, SHAPES), pick(rng, SHAPES)]
        base = room.words(f"{ground} background")
        left = room.words(f"a {first} {kinds[0]} on the left on a {ground} background")
        other = room.words(f"a {second} {kinds[1]} on the right on a {ground} background")
        prompts = region(ctx, base, left, x=0.0, width=0.5, base=0.1, feather=32)
        prompts = region(ctx, prompts, other, x=0.5, width=0.5, base=0.1, feather=32)
        made = np.round(room.picture(prompts, negative, 3000 + number) * 255).astype(np.uint8)
        seen = figure_colours(made)
        right = [colour == asked for colour, asked in zip(seen, (first, second), strict=True)]
        right_each += sum(right)
        right_both += all(right)
    return {"regions_right_share": right_each / (2 * count), "regions_both_right_share": right_both / count}


def figure_colours(picture: Bytes) -> tuple[str, str]:
    """The colour of what stands in the left and in the right half, by the picture's rim as the ground; "" for nothing.

    The starter's judge takes figures that touch for one, so each half is looked at by itself.
    """
    import cv2

    rim = np.concatenate([strip.reshape(-1, 3) for strip in (picture[:5], picture[-5:])])
    ground = to_lab(np.median(rim, axis=0).reshape(1, 1, 3))
    found = []
    for half in (picture[:, : EDGE // 2], picture[:, EDGE // 2 :]):
        apart = (np.linalg.norm(to_lab(half) - ground, axis=-1) > 20).astype(np.uint8)
        core = cv2.erode(apart, np.ones((5, 5), np.uint8)) > 0
        found.append(nearest_colour(np.median(half[core], axis=0), COLOURS) if core.sum() > 60 else "")
    return found[0], found[1]


def zero_weight(room: Room) -> float:
    """1.0 when strength 0 gives the uncontrolled picture bit for bit."""
    task = tasks(1)[0]
    positive, negative = room.words(task.caption), room.words("")
    steered = room.steered(positive, negative, task.hint, 0.0)
    return float(np.array_equal(room.picture(*steered, 1), room.picture(positive, negative, 1)))


def run(count: int = 24, regions_count: int = 50, folder: Path = CONTROLNET) -> Report:
    room = Room(folder)
    figures = one_at_a_time(room, count)
    figures |= two_at_once(room, max(1, count // 2))
    figures["zero_weight_equal"] = zero_weight(room)
    figures |= regions(room, regions_count)
    return Report("control", figures, GOALS)
