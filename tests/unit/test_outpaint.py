"""Outpainting on every side: what was there stays to the last bit, what is new was drawn."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import pytest

from engine.contracts.errors import InvalidRequest
from engine.contracts.references import BlobRef
from engine.graph.cache import ValueCache
from engine.graph.execute import execute
from engine.graph.registry import Registry
from engine.graph.services import Services
from engine.media.images import decode, encode
from engine.models.fingerprint import identify_folder
from engine.nodes.latent.outpaint import outpaint
from engine.recipes.build import build, request_of
from engine.recipes.margins import Margins, margins_from
from engine.recipes.recommended import Recommended
from engine.recipes.request import ImageRequest
from studio_app.cli.console import margins as margins_argument
from tests.benchmarks.starter import MODEL, _Room
from tests.unit.sampling_room import Recorder, handles

SIZE = (64, 64)
PICTURE = BlobRef(sha256="a" * 64, media_type="image/png", size=1)


@pytest.fixture(scope="module")
def room() -> Any:
    return _Room(MODEL)


@pytest.fixture(scope="module")
def ctx() -> Any:
    return Recorder()


@pytest.fixture(scope="module")
def model() -> Recommended:
    defaults = identify_folder(MODEL).defaults
    names = ("width", "height", "steps", "cfg", "sampler", "scheduler", "multiple", "minimum", "maximum")
    return Recommended(**{name: getattr(defaults, name) for name in names})


def asked(margins: Margins, **more: Any) -> ImageRequest:
    fields = {"init": PICTURE, "width": SIZE[0], "height": SIZE[1], "steps": 3, "seed": 5, **more}
    return ImageRequest(prompt="a red square on a blue background", margins=margins, **fields)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("side", ["left", "top", "right", "bottom"])
def test_a_picture_grows_on_each_side_and_keeps_its_own_pixels(room: Any, model: Recommended, side: str) -> None:
    from engine.sampling.session import Session

    pixels = np.full((SIZE[1], SIZE[0], 3), (40, 90, 200), np.uint8)
    pixels[20:40, 20:40] = (230, 40, 40)
    picture = room.write(encode(pixels.astype(np.float32) / np.float32(255), "png", 100, {}), "image/png", "p.png")
    spec = build(asked(Margins.from_json({side: 32, "feather": 0}), init=picture), model)
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


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize(
    ("width", "sides", "wide"), [(61, {"left": 10}, 72), (64, {"right": 7}, 72), (61, {"top": 8}, 64)]
)
def test_the_whole_grows_to_whole_cells(ctx: Any, width: int, sides: dict[str, Any], wide: int) -> None:
    vae = handles(ctx)[1]
    image, mask, latent = outpaint(ctx, vae, np.zeros((1, 64, width, 3), np.float32), **sides, feather=0)
    factor = ctx.session.autoencoder(vae).latent_space.factor
    asked_for = width + sides.get("left", 0) + sides.get("right", 0)
    assert image.shape[2] == -(-asked_for // factor) * factor <= wide
    assert mask.shape == image.shape[:3]
    assert latent.noise_mask is not None
    assert latent.noise_mask.shape[-2:] == latent.samples.shape[-2:]


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_the_new_part_begins_as_it_is_told_and_fades_into_the_old(ctx: Any) -> None:
    vae = handles(ctx)[1]
    picture = np.random.default_rng(1).random((2, 64, 64, 3), dtype=np.float32) * np.float32(0.2)
    for fill in ("edge", "noise", "grey"):
        image, mask, latent = outpaint(ctx, vae, picture, left=16, bottom=8, feather=8, fill=fill)
        assert image.shape == (2, 72, 80, 3)
        np.testing.assert_array_equal(image[:, :64, 16:], picture)
        border = image[0, :64, :16]
        if fill == "edge":
            np.testing.assert_array_equal(border, np.repeat(picture[0, :, :1], 16, axis=1))
        elif fill == "grey":
            assert np.all(border == 0.5)
        else:
            np.testing.assert_allclose(border.mean(), picture[0].mean(), atol=0.02)
            assert 0.03 < border.std() < 0.08
        assert mask[0, :64, :16].min() == 1.0
        assert np.all(np.diff(mask[0, 30, 16:25]) <= 0)
        assert mask[0, :50, 30:].max() == 0.0
        assert latent.samples.shape[0] == 2


def test_an_in_painting_model_is_given_the_kept_picture(model: Recommended) -> None:
    nine = build(asked(Margins(top=16)), Recommended(**{**vars(model), "inpainting": True}))
    nodes = {node.id: node for node in nine.workflow.nodes}
    assert nodes["latent"].type == "condition.inpaint_model"
    assert nodes["sampler"].inputs["denoise"] == 1.0
    assert not any(field.input == "denoise" for field in nine.workflow.form)
    assert [field.input for field in nine.workflow.form if field.node == "outpaint"] == [
        "left",
        "top",
        "right",
        "bottom",
    ]


def test_an_extended_result_opens_in_create_again(model: Recommended) -> None:
    request = asked(Margins(left=32, feather=4))
    back = request_of(build(request, model))
    assert back is not None
    assert back.margins == Margins(left=32, feather=4)
    assert ImageRequest.from_json(request.to_json()) == request
    assert "margins" not in asked(Margins()).to_json()


def test_what_can_not_be_extended_is_said(model: Recommended) -> None:
    for margins, more, said in (
        (Margins(top=5000), {}, "too much"),
        (Margins(top=64, feather=2000), {}, "feather"),
        (Margins(left=8), {"init": None}, "no picture to extend"),
        (Margins(left=8), {"mask": PICTURE}, "extended or redrawn"),
        (Margins(left=4096, right=4096), {}, r"would be 8256×64 pixels.*at most"),
    ):
        with pytest.raises(InvalidRequest, match=said):
            build(asked(margins, **more), model)


def test_sides_are_written_on_the_command_line() -> None:
    assert margins_from("left=64, top=0,right=64,feather=8") == Margins(left=64, right=64, feather=8)
    for wrong in ("left", "inside=3", "left=-3", "left=1.5", "left=9999999999", ""):
        with pytest.raises(argparse.ArgumentTypeError, match="is not a side with its pixels"):
            margins_argument(wrong)
