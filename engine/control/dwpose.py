"""DWPose (2307.15880): people found by YOLOX, 133 points each by RTMPose, both as ONNX networks.

The points are COCO WholeBody's; they are given back in OpenPose's order with a neck between the shoulders.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.contracts.errors import BadInput, InvalidRequest, clip
from engine.control.skeleton import Person, Points, Pose
from engine.media.pixels import to_bytes
from engine.models.onnx_file import check_onnx

Floats = npt.NDArray[np.float32]

_STRIDES = (8, 16, 32)
_SURE, _OVERLAP = 0.3, 0.45
_GREY = 114  # what YOLOX was trained to see around a picture
_MEAN, _DEVIATION = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
_PADDING = 1.25
_MOST_PEOPLE = 32
# COCO's 17 body points in OpenPose's order; its second point, the neck, is made.
_BODY = (0, None, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)
_FACE, _LEFT_HAND, _RIGHT_HAND = slice(23, 91), slice(91, 112), slice(112, 133)


@dataclass(frozen=True, eq=False)
class OnnxNetwork:
    """An ONNX network on the CPU with one input [1, 3, height, width]."""

    session: Any
    name: str
    height: int
    width: int

    @staticmethod
    def load(path: Path) -> OnnxNetwork:
        """Raises UnsafeModel for external data, BadInput without onnxruntime or for a network of another form."""
        check_onnx(path)
        try:
            import onnxruntime  # type: ignore[import-untyped, unused-ignore]
        except ImportError:
            raise BadInput(
                f"“{path.name}” needs the package onnxruntime, which is not installed",
                fix="Install it with pip, or give keypoints to “Skeleton”",
            ) from None
        try:
            session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own classes share no base but Exception
            raise BadInput(f"“{path.name}” can't be opened ({clip(str(error), 160)})") from error
        inputs = session.get_inputs()
        shape = inputs[0].shape if inputs else []
        if len(inputs) != 1 or len(shape) != 4 or not all(isinstance(edge, int) for edge in shape[2:]):
            raise BadInput(f"“{path.name}” is no network that reads one picture of a fixed size")
        return OnnxNetwork(session, path.name, int(shape[2]), int(shape[3]))

    def run(self, picture: Floats) -> list[Floats]:
        """All outputs for a picture [1, 3, height, width]."""
        found: list[Floats] = self.session.run(None, {self.session.get_inputs()[0].name: picture})
        return found


def find_people(image: Floats, detector: OnnxNetwork, pose: OnnxNetwork) -> Pose:
    """Everyone in a picture [H, W, 3] in 0..1, the surest first. Raises InvalidRequest for networks of another kind."""
    pixels = to_bytes(image[..., :3])
    height, width = pixels.shape[:2]
    people = tuple(_person(_points(pixels, box, pose)) for box in _boxes(pixels, detector)[:_MOST_PEOPLE])
    return Pose(people, width, height)


def _boxes(pixels: npt.NDArray[np.uint8], detector: OnnxNetwork) -> Floats:
    """Boxes of people, [n, 4]: left, top, right, bottom in pixels."""
    import cv2

    scale = min(detector.height / pixels.shape[0], detector.width / pixels.shape[1])
    rows, columns = (max(1, int(edge * scale)) for edge in pixels.shape[:2])
    page = np.full((detector.height, detector.width, 3), _GREY, np.uint8)
    # YOLOX reads blue, green, red.
    page[:rows, :columns] = cv2.resize(pixels[..., ::-1], (columns, rows), interpolation=cv2.INTER_LINEAR)
    outputs = detector.run(page.transpose(2, 0, 1)[None].astype(np.float32))
    cells = [(detector.height // stride, detector.width // stride, stride) for stride in _STRIDES]
    total = sum(high * wide for high, wide, _ in cells)
    if not outputs or outputs[0].ndim != 3 or outputs[0].shape[1] != total or outputs[0].shape[2] < 6:
        raise InvalidRequest(
            f"“{detector.name}” is no YOLOX detector", where="detector", fix="Choose yolox_l.onnx as the detector"
        )
    grid = np.concatenate([np.stack(np.meshgrid(np.arange(w), np.arange(h)), -1).reshape(-1, 2) for h, w, _ in cells])
    strides = np.concatenate([np.full((h * w, 1), stride) for h, w, stride in cells])
    found = outputs[0][0]
    middle, size = (found[:, :2] + grid) * strides, np.exp(np.clip(found[:, 2:4], -20, 20)) * strides
    boxes = np.concatenate([middle - size / 2, middle + size / 2], axis=1) / scale
    scores = found[:, 4] * found[:, 5]  # that there is something, and that it is a person
    chosen: Floats = boxes[_best(boxes, scores)].astype(np.float32)
    return chosen


def _best(boxes: Floats, scores: Floats) -> list[int]:
    """Non-maximum suppression: the surest boxes that hardly overlap."""
    order = [int(index) for index in np.argsort(-scores) if scores[index] > _SURE]
    areas = np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1)
    kept: list[int] = []
    for index in order[:1000]:
        if len(kept) == _MOST_PEOPLE:
            break
        shared = np.minimum(boxes[index, 2:], boxes[kept, 2:]) - np.maximum(boxes[index, :2], boxes[kept, :2])
        inside = np.prod(np.maximum(shared, 0), axis=1)
        if not (inside > _OVERLAP * (areas[index] + areas[kept] - inside)).any():
            kept.append(index)
    return kept


def _points(pixels: npt.NDArray[np.uint8], box: Floats, pose: OnnxNetwork) -> Points:
    """133 points [n, 3] of the person in a box."""
    import cv2

    middle, size = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) * _PADDING
    aspect = pose.width / pose.height
    size = np.array([max(size[0], size[1] * aspect), max(size[1], size[0] / aspect)])
    corner, scale = middle - size / 2, pose.width / size[0]
    matrix = np.array([[scale, 0, -corner[0] * scale], [0, scale, -corner[1] * scale]], np.float32)
    part = cv2.warpAffine(pixels, matrix, (pose.width, pose.height), flags=cv2.INTER_LINEAR).astype(np.float32)
    prepared = ((part - np.array(_MEAN)) / np.array(_DEVIATION)).transpose(2, 0, 1)[None]
    outputs = pose.run(np.ascontiguousarray(prepared, np.float32))
    if len(outputs) < 2 or outputs[0].ndim != 3 or outputs[0].shape[1] != 133:
        raise InvalidRequest(
            f"“{pose.name}” is no whole-body pose network", where="pose", fix="Choose dw-ll_ucoco_384.onnx as the pose"
        )
    across, down = outputs[0][0], outputs[1][0]  # SimCC: one list of scores for each axis, several to a pixel
    places = np.stack(
        [across.argmax(1) * pose.width / across.shape[1], down.argmax(1) * pose.height / down.shape[1]], 1
    )
    scores = np.minimum(across.max(1), down.max(1))
    return np.concatenate([places / scale + corner, scores[:, None]], axis=1).astype(np.float32)


def _person(points: Points) -> Person:
    known = points.copy()
    known[:, 2] = np.where(points[:, 2] > _SURE, np.clip(points[:, 2], 0, 1), 0)
    neck = known[[5, 6]].mean(axis=0)
    neck[2] = min(known[5, 2], known[6, 2])
    body = np.stack([neck if place is None else known[place] for place in _BODY])
    parts = [known[part] if known[part][:, 2].any() else None for part in (_LEFT_HAND, _RIGHT_HAND, _FACE)]
    return Person(body, parts[0], parts[1], parts[2])
