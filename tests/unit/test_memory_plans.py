"""Plans of memory: against published peaks, and for what must hold of any plan."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.contracts.errors import InvalidRequest, UnknownChoice
from engine.memory.blueprint import Blueprint
from engine.memory.estimates import Estimates
from engine.memory.footprint import GIB, Footprint, ModelFootprint
from engine.memory.machine import PRESETS, preset, read_size
from engine.memory.planner import choose, nearest_fit, plans
from engine.memory.request import Request
from engine.memory.words import effect, sentence


@pytest.fixture(scope="module")
def estimates(tmp_path_factory: pytest.TempPathFactory) -> Estimates:
    return Estimates(tmp_path_factory.mktemp("estimates") / "kept.json")


@pytest.mark.parametrize(
    ("family", "variant", "guidance", "gib"),
    # diffusers' own measurements of the denoiser at 1024² in bf16, weights and activations together
    [("flux", "dev", False, 22.63), ("sdxl", "base", True, 5.05)],
)
def test_the_denoiser_at_work_is_what_was_published(
    estimates: Estimates, family: str, variant: str, guidance: bool, gib: float
) -> None:
    found = estimates.of(Blueprint(family, variant), Request(guidance=guidance)).denoiser
    assert (found.weights + found.peak) / GIB == pytest.approx(gib, rel=0.05)


def test_streaming_by_leaves_is_what_was_published(estimates: Estimates) -> None:
    """Flux.1 at 1024² with diffusers' leaf-level group offloading: 0.56 GiB; its larger leaf and what is alive."""
    found = estimates.of(Blueprint("flux", "dev"), Request(guidance=False)).denoiser
    assert (found.peak + found.leaves / 2) / GIB == pytest.approx(0.56, rel=0.05)


def test_computing_is_counted(estimates: Estimates) -> None:
    assert estimates.of(Blueprint("flux"), Request(guidance=False)).denoiser.flops == pytest.approx(74.4e12, rel=0.01)
    assert estimates.of(Blueprint("sdxl"), Request()).denoiser.flops == pytest.approx(2 * 6.76e12, rel=0.01)


def test_an_estimate_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, request = Estimates(tmp_path / "e.json"), Request(512, 512)
    first = kept.of(Blueprint("sd15"), request)
    monkeypatch.setattr("engine.memory.estimate.estimate", lambda *args: pytest.fail("walked again"))
    assert Estimates(tmp_path / "e.json").of(Blueprint("sd15"), request) == first
    (tmp_path / "e.json").write_text("[broken")
    monkeypatch.undo()
    assert kept.of(Blueprint("sd15"), request) == first


def test_unknown_families_are_named(estimates: Estimates) -> None:
    with pytest.raises(UnknownChoice):
        estimates.of(Blueprint("flux", "nope"), Request())


@pytest.mark.parametrize("family", ["sd15", "sdxl", "z_image", "flux", "qwen_image"])
def test_a_card_of_four_gigabytes_makes_a_picture(estimates: Estimates, family: str) -> None:
    request = Request(guidance=family not in ("flux", "z_image"))
    model = estimates.of(Blueprint(family), request)
    plan = choose(model, request, replace(PRESETS[4], ram=64 * GIB))
    assert plan is not None
    assert plan.bits == 16
    assert plan.peak <= 3.5 * GIB


def test_what_the_card_has_room_for_is_not_read_from_the_disk(estimates: Estimates) -> None:
    request = Request(guidance=False)
    model = estimates.of(Blueprint("flux"), request)
    small, large = (choose(model, request, replace(PRESETS[size], ram=12 * GIB)) for size in (4, 12))
    assert small is not None
    assert large is not None
    assert (small.residency, large.residency) == ("disk", "disk")
    assert 0 < small.pinned < large.pinned
    assert large.peak <= PRESETS[12].usable
    assert large.kept > 0
    read = sum(model.denoiser.blocks[large.pinned + large.kept :])
    assert read > 0
    assert large.step == pytest.approx(
        read / PRESETS[12].disk
        + sum(model.denoiser.blocks[large.pinned : large.pinned + large.kept]) / PRESETS[12].bandwidth
    )
    assert large.ram <= 12 * GIB
    assert f"{large.kept} in main memory, and the others are read from the disk" in sentence(large, model)


# --- what must hold of any plan, on models of any size

sizes = st.integers(1 << 20, 4 << 30)


@st.composite
def models(draw: st.DrawFn) -> ModelFootprint:
    blocks = tuple(draw(st.lists(st.integers(1 << 20, 1 << 30), min_size=1, max_size=40)))
    outside = draw(st.integers(1 << 20, 1 << 30))
    denoiser = Footprint(
        "transformer", "denoiser", outside + sum(blocks), outside, blocks, max(blocks) // 2,
        draw(st.integers(1 << 20, 4 << 30)), 1e13,
    )  # fmt: skip
    text = Footprint("text_encoder", "text", 8 << 30, 1 << 28, ((8 << 30) - (1 << 28),), 1 << 28, 1 << 26, 1e12)
    vae = Footprint("vae", "vae", 1 << 27, 1 << 27, (), 1 << 24, draw(sizes), 1e13)
    tiles = {edge: round(vae.peak * (edge / 1024) ** 2) for edge in (768, 512, 256, 128)}
    return ModelFootprint("any", "", (text, denoiser, vae), tiles, 2, denoiser.peak // 2, 2)


@given(models(), st.integers(2, 48), st.integers(4, 128))
def test_what_is_chosen_fits_and_nothing_that_fits_is_clearly_faster(
    model: ModelFootprint, vram: int, ram: int
) -> None:
    machine, request = preset(vram * GIB, ram * GIB), Request()
    found = plans(model, request, machine, "4-bit")
    for plan in found:
        assert plan.peak <= machine.usable
        assert plan.ram <= machine.ram
    if found:
        assert found[0].seconds <= 1.03 * min(plan.seconds for plan in found)


@given(models(), st.integers(2, 24), st.integers(4, 64))
def test_more_memory_never_makes_it_slower_and_exact_means_exact(model: ModelFootprint, vram: int, ram: int) -> None:
    small = replace(PRESETS[16], vram=vram * GIB, ram=ram * GIB)
    less, more = (choose(model, Request(), machine) for machine in (small, replace(small, vram=small.vram * 2)))
    if less is not None:
        assert more is not None
        # With more memory a picture may be decoded whole that went in tiles, or together what went apart: the very
        # picture, which is not always sooner.
        if (less.vae_tile > 0, less.apart) == (more.vae_tile > 0, more.apart):
            assert more.seconds <= less.seconds * 1.03
        assert (more.vae_tile > 0) <= (less.vae_tile > 0)
        assert less.bits == 16


@given(models(), st.integers(1, 6))
def test_a_refusal_names_a_change_that_fits(model: ModelFootprint, vram: int) -> None:
    machine = replace(PRESETS[4], vram=vram * GIB)
    if choose(model, Request(), machine) is None:
        half = replace(model, parts=tuple(replace(part, peak=part.peak // 4) for part in model.parts))
        change = nearest_fit(model, Request(), machine, "exact", lambda asked: half)
        if change is not None:
            assert change.plan.peak <= machine.usable
            assert change.quality != "exact" or change.request != Request()


def test_plans_are_told_in_words(estimates: Estimates) -> None:
    request = Request(guidance=False)
    model = estimates.of(Blueprint("flux"), request)
    plan = choose(model, request, PRESETS[16], "8-bit")
    assert plan is not None
    assert "of 57 blocks" in sentence(plan, model)
    assert effect(plan) == ""
    small = next(p for p in plans(model, request, replace(PRESETS[16], ram=64 * GIB), "8-bit") if p.bits == 8)
    assert effect(small) == "8-bit weights change the picture a little."


@pytest.mark.parametrize(
    ("text", "size"), [("8GiB", 8 * GIB), ("8 gb", 8 * GIB), ("512MiB", 512 << 20), ("1.5G", 3 << 29)]
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert read_size(text) == size


@pytest.mark.parametrize("text", ["", "8", "GiB", "-1GiB", "8XB"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(InvalidRequest, match="is no size"):
        read_size(text)
