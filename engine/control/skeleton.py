"""Skeletons: keypoints in OpenPose's JSON, and the coloured figures that pose ControlNets were trained to read.

The JSON is `{"people": [{"pose_keypoints_2d": [x, y, confidence, …], "hand_left_keypoints_2d": …,
"hand_right_keypoints_2d": …, "face_keypoints_2d": …}], "canvas_width": W, "canvas_height": H}`, coordinates in pixels
of the canvas or as shares of it; a list of such documents, one for each picture, is read by its first. 18 body points
are COCO's order with a neck, 25 OpenPose's BODY_25.
Colours, limbs and line widths: https://github.com/CMU-Perceptual-Computing-Lab/openpose as ControlNet draws it.
"""

from __future__ import annotations

import colorsys
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.contracts.errors import InvalidRequest

Points = npt.NDArray[np.float32]
"""[n, 3]: x, y in pixels, confidence in 0..1."""

BODY_LIMBS = (
    (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13), (1, 0),
    (0, 14), (14, 16), (0, 15), (15, 17),
)  # fmt: skip
BODY_COLOURS = (
    (255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0), (0, 255, 0), (0, 255, 85),
    (0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255), (0, 0, 255), (85, 0, 255), (170, 0, 255),
    (255, 0, 255), (255, 0, 170), (255, 0, 85),
)  # fmt: skip
HAND_LIMBS = tuple(
    (0 if step == 0 else finger * 4 + step, finger * 4 + step + 1) for finger in range(5) for step in range(4)
)
_FROM_BODY_25 = (0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18)
_MOST_PEOPLE = 100
_SEEN = 0.05  # confidence from which a point is drawn
_LIMB_SHADE = 0.6


@dataclass(frozen=True, eq=False)
class Person:
    """One figure; parts that were not found are None."""

    body: Points | None = None
    left_hand: Points | None = None
    right_hand: Points | None = None
    face: Points | None = None


@dataclass(frozen=True)
class Pose:
    """People on a canvas of width × height pixels."""

    people: tuple[Person, ...]
    width: int
    height: int


def read_pose(text: str, width: int = 0, height: int = 0) -> Pose:
    """The pose a JSON document tells of; `width`, `height`: its canvas where it names none. Raises InvalidRequest."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _bad("it is not JSON") from error
    if isinstance(document, list):
        document = document[0] if document else None
    if not isinstance(document, Mapping) or not isinstance(document.get("people"), list):
        raise _bad("it has no list “people”")
    width = _edge(document.get("canvas_width"), width)
    height = _edge(document.get("canvas_height"), height)
    people = document["people"]
    if len(people) > _MOST_PEOPLE:
        raise _bad(f"it names {len(people):,} people, and at most {_MOST_PEOPLE} are drawn")
    return Pose(tuple(_person(item, width, height) for item in people), width, height)


def write_pose(pose: Pose) -> str:
    """The JSON that `read_pose` reads."""

    def flat(points: Points | None) -> list[float]:
        return [] if points is None else [round(float(value), 3) for value in points.ravel()]

    people = [
        {
            "pose_keypoints_2d": flat(person.body), "hand_left_keypoints_2d": flat(person.left_hand),
            "hand_right_keypoints_2d": flat(person.right_hand), "face_keypoints_2d": flat(person.face),
        }
        for person in pose.people
    ]  # fmt: skip
    return json.dumps({"people": people, "canvas_width": pose.width, "canvas_height": pose.height})


def draw_pose(pose: Pose, width: int, height: int, *, hands: bool = True, face: bool = True) -> npt.NDArray[np.float32]:
    """float32 [height, width, 3] in 0..1: the figures on black, scaled from the pose's canvas to this size."""
    canvas = np.zeros((height, width, 3), np.uint8)
    scale = np.array([width / pose.width, height / pose.height, 1], np.float32)
    thick = max(1, round(4 * min(width, height) / 512))
    for person in pose.people:
        if person.body is not None:
            _draw_body(canvas, person.body * scale, thick)
    for person in pose.people:
        for hand in (person.left_hand, person.right_hand) if hands else ():
            if hand is not None:
                _draw_hand(canvas, hand * scale, thick)
        if face and person.face is not None:
            _dots(canvas, person.face * scale, (255, 255, 255), max(1, thick * 3 // 4))
    return canvas.astype(np.float32) / np.float32(255)


def _person(item: Any, width: int, height: int) -> Person:
    if not isinstance(item, Mapping):
        raise _bad("one of its people is not an object")
    body = _points(item.get("pose_keypoints_2d"), (18, 25), width, height)
    if body is not None and len(body) == 25:
        body = body[list(_FROM_BODY_25)]
    hands = [_points(item.get(f"hand_{side}_keypoints_2d"), (21,), width, height) for side in ("left", "right")]
    return Person(body, hands[0], hands[1], _points(item.get("face_keypoints_2d"), (68, 70), width, height))


def _points(values: Any, counts: Sequence[int], width: int, height: int) -> Points | None:
    if values is None or values == []:
        return None
    if not isinstance(values, list) or not all(isinstance(v, (int, float)) and math.isfinite(v) for v in values):
        raise _bad("its points are not lists of numbers")
    if len(values) not in [3 * count for count in counts]:
        wanted = " or ".join(str(3 * count) for count in counts)
        raise _bad(f"a list of points has {len(values)} numbers, not {wanted}")
    points = np.clip(np.array(values, np.float64), -1e6, 1e6).astype(np.float32).reshape(-1, 3)
    if not points[:, 2].any():
        return None
    if float(points[:, :2].max()) <= 1.0:
        points[:, :2] *= (width, height)
    return points


def _draw_body(canvas: npt.NDArray[np.uint8], points: Points, thick: int) -> None:
    import cv2

    for (start, end), colour in zip(BODY_LIMBS, BODY_COLOURS, strict=False):
        if min(points[start, 2], points[end, 2]) < _SEEN:
            continue
        (x, y), (other_x, other_y) = points[start, :2], points[end, :2]
        middle = (int((x + other_x) / 2), int((y + other_y) / 2))
        half = int(math.hypot(other_x - x, other_y - y) / 2)
        angle = int(math.degrees(math.atan2(other_y - y, other_x - x)))
        outline = np.asarray(cv2.ellipse2Poly(middle, (half, thick), angle, 0, 360, 1), np.int32)
        cv2.fillConvexPoly(canvas, outline, tuple(int(value * _LIMB_SHADE) for value in colour))
    for point, colour in zip(points, BODY_COLOURS, strict=True):
        _dots(canvas, point[None], colour, thick)


def _draw_hand(canvas: npt.NDArray[np.uint8], points: Points, thick: int) -> None:
    import cv2

    for index, (start, end) in enumerate(HAND_LIMBS):
        if min(points[start, 2], points[end, 2]) < _SEEN:
            continue
        colour = [int(255 * value) for value in colorsys.hsv_to_rgb(index / len(HAND_LIMBS), 1.0, 1.0)]
        ends = [tuple(int(value) for value in points[place, :2]) for place in (start, end)]
        cv2.line(canvas, ends[0], ends[1], colour, thickness=max(1, thick // 2))
    _dots(canvas, points, (0, 0, 255), thick)


def _dots(canvas: npt.NDArray[np.uint8], points: Points, colour: tuple[int, int, int], radius: int) -> None:
    import cv2

    for x, y, confidence in points:
        if confidence >= _SEEN:
            cv2.circle(canvas, (int(x), int(y)), radius, colour, thickness=-1)


def _edge(value: Any, otherwise: int) -> int:
    known = value if isinstance(value, (int, float)) and math.isfinite(value) and value >= 1 else otherwise
    if not 1 <= known <= 16384:
        raise _bad("it does not say how large its canvas is")
    return int(known)


def _bad(why: str) -> InvalidRequest:
    return InvalidRequest(f"the pose can't be read: {why}", where="pose", fix="Give keypoints in OpenPose's JSON")
