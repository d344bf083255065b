"""What one click changes: planned before it is offered, of the picture's own shape, within the model's limits."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from engine.memory.blueprint import Blueprint
from engine.memory.estimate import estimate
from engine.memory.footprint import GIB
from engine.memory.machine import preset
from engine.memory.request import Request
from engine.models.file_info import info_of_file
from engine.models.identify import identify
from engine.recipes.margins import Margins
from engine.recipes.recommended import Recommended
from engine.recipes.request import ImageRequest
from studio_app.models.index import ModelIndex
from studio_app.offers import after_refusal, offers
from studio_app.planning import Planned, Planner
from tests.unit import model_headers as headers

LIMITS = Recommended(1024, 1024, multiple=16, minimum=256, maximum=8192)
FLUX = Blueprint("flux", "dev")


@pytest.fixture(scope="module")
def planner(tmp_path_factory: pytest.TempPathFactory) -> Planner:
    return Planner(cast(ModelIndex, None), tmp_path_factory.mktemp("plans") / "estimates.json")


def planned(planner: Planner, vram: float, ram: float, width: int = 1024, height: int = 1024) -> Planned:
    machine = preset(round(vram * GIB), round(ram * GIB))
    return planner.model(FLUX, Request(width, height, guidance=False), machine)


def test_what_would_be_faster_is_offered_with_its_time(planner: Planner) -> None:
    """Weights read from the disk for each step: eight bits fit into main memory."""
    before = planned(planner, 8, 12)
    assert before.plan is not None
    found = offers(planner, before, ImageRequest(prompt="x"), LIMITS)
    fast = next(offer for offer in found if offer.fields == {"fast": True})
    after = planner.again(before, cast(Request, before.request), fast=True)
    assert after.plan is not None
    assert after.plan.bits == 8
    assert fast.seconds == pytest.approx(after.plan.seconds)
    assert fast.seconds < before.plan.seconds / 2
    # Then the way back is offered.
    back = offers(planner, after, ImageRequest(prompt="x", fast=True), LIMITS)
    assert any(offer.fields == {"fast": False} for offer in back)


def test_a_remedy_fits_and_keeps_the_shape(planner: Planner) -> None:
    request = ImageRequest(prompt="x", width=6144, height=3072)
    before = planned(planner, 4, 16, 6144, 3072)
    assert before.refused
    assert before.need > before.room - GIB
    for limits in (LIMITS, replace(LIMITS, multiple=112)):  # what the planner names, and where the model can't make it
        found = offers(planner, before, request, limits)[0]
        width, height = found.fields["width"], found.fields["height"]
        assert width * height < 6144 * 3072
        assert width / height == pytest.approx(2, rel=0.15)
        assert width % limits.multiple == 0
        again = planner.again(before, Request(width, height, guidance=False), fast="fast" in found.fields)
        assert not again.refused


def test_a_picture_that_is_extended_keeps_its_size(planner: Planner) -> None:
    request = ImageRequest(prompt="x", width=6144, height=3072, margins=Margins(left=64))
    assert not any(
        "width" in offer.fields for offer in offers(planner, planned(planner, 4, 16, 6144, 3072), request, LIMITS)
    )


def test_after_memory_ran_out_less_is_asked_than_seemed_to_fit(planner: Planner) -> None:
    before = planned(planner, 16, 64)
    assert before.plan is not None
    less = after_refusal(planner, before, ImageRequest(prompt="x", width=1024, height=1024), LIMITS)
    assert less is not None
    assert less.fields == {"width": 768, "height": 768}
    several = after_refusal(planner, before, ImageRequest(prompt="x", count=4), LIMITS)
    assert several is not None
    assert several.fields == {"count": 1}


def test_a_model_in_one_file_is_planned_by_its_own_shapes(tmp_path: Path) -> None:
    """What it is told apart by is not what its family's configurations are called, nor always among them."""
    for name, tensors, family, weights in (
        ("klein", headers.flux2(3072, 7680), "flux2", 3.9e9), ("usual", headers.flux2(6144, 15360), "flux2", 3.2e10),
    ):  # fmt: skip
        path = headers.write_safetensors(tmp_path / f"{name}.safetensors", tensors)
        info = info_of_file(path, identify(path))
        assert info.family == family
        blueprint = Blueprint.of_file(info.family, info.edition)
        found = estimate(blueprint, Request(512, 512, guidance=False)).denoiser.weights / 2
        assert found == pytest.approx(weights, rel=0.1)
    assert Blueprint.of_file("sdxl", "lightning") == Blueprint("sdxl")
    assert Blueprint.of_file("sd3", "3.5 medium") == Blueprint("sd3", "3.5 medium")


def test_several_threads_may_ask_at_once() -> None:
    """The plan of Create, that of a graph and the engine's own walk the same networks."""
    sizes = [384, 448, 576, 704, 832, 960]
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda edge: estimate(Blueprint("sd15"), Request(edge, 512)).denoiser.peak, sizes))
    assert found == sorted(found)
    assert len(set(found)) == len(found)
