"""Outpainting on every side: what was there stays to the last bit, what is new was drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.contracts.errors import InvalidRequest
from engine.graph.cache import ValueCache
from engine.graph.execute import execute
from engine.graph.registry import Registry
from engine.graph.services import Services
from engine.media.images import decode, encode
from engine.models.fingerprint import identify_folder
from engine.recipes.outpaint import Margins, outpaint
from engine.recipes.recommended import Recommended
from engine.recipes.request import ImageRequest
from tests.benchmarks.starter import MODEL, _Room

SIZE = (64, 64)


@pytest.fixture(scope="module")
def room() -> Any:
    return _Room(MODEL)


@pytest.fixture(scope="module")
def model() -> Recommended:
    defaults = identify_folder(MODEL).defaults
    names = ("width", "height", "steps", "cfg", "sampler", "scheduler", "multiple", "minimum", "maximum")
    return Recommended(**{name: getattr(defaults, name) for name in names})


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("side", ["left", "top", "right", "bottom"])
def test_a_picture_grows_on_each_side_and_keeps_its_own_pixels(room: Any, model: Recommended, side: str) -> None:
    from engine.sampling.session import Session

    pixels = np.full((SIZE[1], SIZE[0], 3), (40, 90, 200), np.uint8)
    pixels[20:40, 20:40] = (230, 40, 40)
    picture = room.write(encode(pixels.astype(np.float32) / np.float32(255), "png", 100, {}), "image/png", "p.png")
    request = ImageRequest(prompt="a red square on a blue background", steps=3, seed=5)
    margins = Margins(**{side: 32})
    spec = outpaint(request, picture, SIZE, margins, model, feather=0)
    services = Services(room, room, session=lambda: Session(room))
    result = execute(spec, registry=Registry.builtin(), services=services, cache=ValueCache(1 << 24))
    assert result.outcome == "succeeded", result.error
    made = np.round(decode(result.artifacts[0][1].data, "made.png")[..., :3] * 255).astype(np.uint8)
    wide, high = (96, 64) if side in ("left", "right") else (64, 96)
    assert made.shape == (high, wide, 3)
    left, top = (32 if side == "left" else 0), (32 if side == "top" else 0)
    np.testing.assert_array_equal(made[top : top + 64, left : left + 64], pixels)
    new = np.ones(made.shape[:2], bool)
    new[top : top + 64, left : left + 64] = False
    assert made[new].std(axis=0).max() > 1.0  # drawn, not a flat border


def test_margins_are_widened_to_what_the_model_can_make(model: Recommended) -> None:
    picture: Any = _Room(Path()).write(b"x", "image/png", "p.png")
    spec = outpaint(ImageRequest(prompt="x"), picture, (61, 64), Margins(left=10), model)
    pad = next(node for node in spec.workflow.nodes if node.id == "pad")
    assert (61 + int(str(pad.inputs["left"])) + int(str(pad.inputs["right"]))) % model.multiple == 0
    assert pad.inputs["right"] == 0
    with pytest.raises(InvalidRequest, match="no side to extend"):
        outpaint(ImageRequest(prompt="x"), picture, (64, 64), Margins(), model)
    with pytest.raises(InvalidRequest, match="too much"):
        outpaint(ImageRequest(prompt="x"), picture, (64, 64), Margins(top=5000), model)
