"""The sampling nodes on the real starter model: pictures, seeds, in-painting, parts of schedules, and bad input."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.contracts.errors import Cancelled, InvalidRequest, UnknownChoice
from engine.graph.values import ConditioningEntry, LatentValue
from engine.nodes.condition.inpaint import inpaint_model
from engine.nodes.condition.text import clip_skip, combine, encode_text
from engine.nodes.latent.empty import empty
from engine.nodes.latent.picture import cells_of, decode_image, encode_image, set_noise_mask
from engine.nodes.load.checkpoint import checkpoint
from engine.nodes.sample.k_sampler import k_sampler, k_sampler_advanced
from engine.sampling.guidance import region_weight
from engine.sampling.names import SAMPLERS
from tests.benchmarks.tiny_models import write_tiny_sd15
from tests.unit.sampling_room import Recorder, handles, make_latent, make_picture


@pytest.fixture(scope="module")
def starter() -> Any:
    return Recorder()


@pytest.fixture(scope="module")
def edge(starter: Any) -> int:
    return int(starter.session.identify(checkpoint(starter)[0].weights).defaults.width)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return Recorder(write_tiny_sd15(tmp_path_factory.mktemp("tiny")))


@pytest.fixture(scope="module")
def tiny9(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return Recorder(write_tiny_sd15(tmp_path_factory.mktemp("tiny9"), channels=9))


DDIM: dict[str, Any] = {"steps": 20, "cfg": 4.0, "sampler": "ddim", "scheduler": "normal"}


def test_a_red_circle_on_blue_is_one(starter: Any, edge: int) -> None:
    picture = make_picture(starter, edge=edge, seed=7, **DDIM)
    assert picture.shape == (1, edge, edge, 3)
    assert picture.dtype == np.float32
    red = (picture[0, ..., 0] > 0.6) & (picture[0, ..., 2] < 0.4)
    blue = (picture[0, ..., 2] > 0.5) & (picture[0, ..., 0] < 0.4)
    assert red.mean() > 0.05
    corner = edge // 8
    assert blue[:corner, :corner].mean() > 0.9
    assert blue[-corner:, -corner:].mean() > 0.9


def test_the_same_seed_gives_the_same_bytes(tiny: Any) -> None:
    first = make_picture(tiny, edge=64, seed=3, steps=4)
    assert first.tobytes() == make_picture(tiny, edge=64, seed=3, steps=4).tobytes()
    assert first.tobytes() != make_picture(tiny, edge=64, seed=4, steps=4).tobytes()


def test_progress_counts_the_steps_and_previews_are_made_only_when_wanted(starter: Any, edge: int) -> None:
    starter.steps.clear()
    make_latent(starter, edge=edge, seed=7, **{**DDIM, "steps": 6})
    assert starter.steps == [(0, 6), *[(i, 6) for i in range(1, 7)]]
    assert not starter.frames
    starter.watching = True
    latent = make_latent(starter, edge=edge, batch=2, seed=7, **{**DDIM, "steps": 8})
    starter.watching = False
    cells = edge // 8
    assert [frame.shape for frame in starter.frames] == [(cells, 2 * cells, 3)] * 8
    last = starter.frames[-1][:, :cells].astype(np.float32) / 255
    _, vae, _, _ = handles(starter)
    real = decode_image(starter, vae, latent)[0].reshape(cells, 8, cells, 8, 3).mean(axis=(1, 3))
    assert np.abs(last - real).mean() < 0.08  # a look, not the picture
    starter.frames.clear()


def test_cancelling_stops_after_the_step_it_happens_in(tiny: Any, tmp_path: Path) -> None:
    ctx: Any = Recorder(tiny.folder)
    ctx.cancel_after = 3
    with pytest.raises(Cancelled):
        make_latent(ctx, edge=64, seed=1, steps=10)
    assert max(done for done, _ in ctx.steps) == 3


def test_no_denoising_leaves_the_latent_as_it_is(tiny: Any) -> None:
    model, vae, positive, negative = handles(tiny)
    picture = np.random.default_rng(1).random((1, 64, 64, 3), dtype=np.float32)
    latent = encode_image(tiny, vae, picture)
    for sampler in SAMPLERS:
        same = k_sampler(tiny, model, positive, negative, latent, sampler=sampler, denoise=0.0)
        assert torch.equal(same.samples, latent.samples), sampler
    none = k_sampler_advanced(tiny, model, positive, negative, latent, start_step=9, end_step=4)
    assert torch.equal(none.samples, latent.samples)


def test_less_strength_stays_nearer_to_the_picture(starter: Any, edge: int) -> None:
    model, vae, _, _ = handles(starter)
    picture = make_picture(starter, edge=edge, seed=7, **DDIM)
    latent = encode_image(starter, vae, picture)
    _, _, positive, negative = handles(starter, "a green square on a yellow background")
    distances = []
    for strength in (0.2, 0.6, 1.0):
        again = k_sampler(starter, model, positive, negative, latent, seed=9, **{**DDIM, "steps": 10}, denoise=strength)
        distances.append(float(np.abs(decode_image(starter, vae, again) - picture).mean()))
    assert distances[0] < 0.75 * min(distances[1:])


def test_inpainting_keeps_every_pixel_outside_the_mask(starter: Any, edge: int) -> None:
    from engine.nodes.image.composite import composite

    model, vae, _, _ = handles(starter)
    original = np.random.default_rng(2).integers(0, 256, (1, edge, edge, 3)).astype(np.float32) / np.float32(255)
    mask = np.zeros((1, edge, edge), np.float32)
    mask[:, edge // 4 : edge // 2 + 3, edge // 3 : edge - 5] = 1.0  # not on cell borders
    _, _, positive, negative = handles(starter, "a red background")
    latent = set_noise_mask(starter, encode_image(starter, vae, original), mask)
    drawn = k_sampler(starter, model, positive, negative, latent, seed=5, **{**DDIM, "steps": 8})
    out = composite(starter, original, decode_image(starter, vae, drawn), mask)
    assert out[mask == 0].tobytes() == original[mask == 0].tobytes()
    assert np.abs(out[mask == 1] - original[mask == 1]).mean() > 0.1


def test_the_mask_is_held_in_latent_space_too(tiny: Any) -> None:
    model, vae, positive, negative = handles(tiny)
    picture = np.random.default_rng(1).random((1, 64, 64, 3), dtype=np.float32)
    mask = np.zeros((1, 64, 64), np.float32)
    mask[:, :, 32:] = 1.0
    latent = encode_image(tiny, vae, picture)
    for sampler in SAMPLERS:
        drawn = k_sampler(tiny, model, positive, negative, set_noise_mask(tiny, latent, mask), steps=4, sampler=sampler)
        assert torch.equal(drawn.samples[..., :4], latent.samples[..., :4]), sampler
        assert not torch.equal(drawn.samples[..., 4:], latent.samples[..., 4:])


def test_a_cell_that_the_mask_touches_is_drawn() -> None:
    mask = np.zeros((1, 16, 16), np.float32)
    mask[0, 7, 8] = 0.5
    assert cells_of(mask, 2, 2)[0, 0].tolist() == [[0.0, 0.5], [0.0, 0.0]]
    frozen = mask.copy()
    frozen.flags.writeable = False
    assert float(cells_of(frozen, 2, 2).max()) == 0.5


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_two_samplers_share_one_schedule(tiny: Any, sampler: str) -> None:
    """Stopping with leftover noise and going on is the whole run, where no history or noise is lost on the way."""
    model, _, positive, negative = handles(tiny)
    common: dict[str, Any] = {"seed": 5, "steps": 8, "cfg": 3.0, "sampler": sampler, "scheduler": "normal"}
    start = empty(tiny, 64, 64, 1)
    whole = k_sampler(tiny, model, positive, negative, start, **common)
    half = k_sampler_advanced(
        tiny, model, positive, negative, start, True, **common, end_step=4, return_with_leftover_noise=True
    )
    rest = k_sampler_advanced(tiny, model, positive, negative, half, False, **common, start_step=4)
    if sampler in ("euler", "heun"):
        assert torch.equal(rest.samples, whole.samples)
    elif sampler == "ddim":
        np.testing.assert_allclose(rest.samples.numpy(), whole.samples.numpy(), atol=1e-4)
    finished = k_sampler_advanced(tiny, model, positive, negative, start, True, **common, end_step=4)
    assert not torch.allclose(finished.samples, half.samples, atol=1e-2)  # without leftover noise it is removed


def test_leftover_noise_is_seen_and_removed(starter: Any, edge: int) -> None:
    model, _, positive, negative = handles(starter)
    start = empty(starter, edge, edge, 1)
    rough = []
    for leave in (True, False):
        latent = k_sampler_advanced(
            starter, model, positive, negative, start, True, 7, 12, 4.0, "euler", "normal", 0, 5, leave
        )
        cells = latent.samples[0, :, :4, :4]  # a corner: plain background
        rough.append(float((cells[:, 1:] - cells[:, :-1]).abs().mean()))
    assert rough[0] > 3 * rough[1]


def test_clip_skip_is_the_layer_before_the_last_normed(tiny: Any) -> None:
    _, clip, _ = checkpoint(tiny)
    skipped = encode_text(tiny, clip_skip(tiny, clip, 1), "red")[0].embedding
    family = tiny.session.family(clip.weights)
    tokenizer, encoder = family._parts("tokenizer"), family._parts("text_encoder")
    ids = tokenizer("red", padding="max_length", max_length=40, return_tensors="pt").input_ids
    with torch.no_grad():
        states = encoder(ids, output_hidden_states=True).hidden_states
        norm = next(m for name, m in encoder.named_modules() if name.endswith("final_layer_norm"))
        assert torch.equal(skipped, norm(states[-2]))
    with pytest.raises(InvalidRequest, match="has 3 text layers"):
        encode_text(tiny, clip_skip(tiny, clip, 3), "red")


def test_combined_prompts_average(tiny: Any) -> None:
    model, _, positive, negative = handles(tiny)
    both = combine(tiny, positive, positive)
    assert len(both) == 2
    start = empty(tiny, 64, 64, 1)
    one = k_sampler(tiny, model, positive, negative, start, steps=3, seed=1)
    two = k_sampler(tiny, model, both, negative, start, steps=3, seed=1)
    np.testing.assert_allclose(one.samples.numpy(), two.samples.numpy(), rtol=1e-4, atol=1e-3)


def test_a_prompt_holds_only_in_its_area_and_its_steps(tiny: Any) -> None:
    model, _, positive, negative = handles(tiny)
    other = encode_text(tiny, checkpoint(tiny)[1], "green square")[0]
    start = empty(tiny, 64, 64, 1)
    base = k_sampler(tiny, model, positive, negative, start, steps=1, seed=1, sampler="euler").samples
    right = (*positive, replace(other, area=(0.5, 0.0, 0.5, 1.0)))
    mixed = k_sampler(tiny, model, right, negative, start, steps=1, seed=1, sampler="euler").samples
    np.testing.assert_allclose(mixed[..., :4].numpy(), base[..., :4].numpy(), atol=1e-5)
    assert float((mixed[..., 4:] - base[..., 4:]).abs().max()) > 1e-4
    late = (*positive, replace(other, steps=(0.5, 1.0)))
    early = k_sampler(tiny, model, late, negative, start, steps=1, seed=1, sampler="euler").samples
    np.testing.assert_allclose(early.numpy(), base.numpy(), atol=1e-5)


def test_areas_are_told_in_fractions_or_in_cells() -> None:
    like = torch.zeros(1, 4, 8, 8)
    entry = ConditioningEntry(embedding=torch.zeros(1, 4, 4), area=(0.25, 0.0, 0.5, 0.5))
    in_cells = replace(entry, area=(2.0, 0.0, 4.0, 4.0), area_in_cells=True)
    expected = torch.zeros(1, 1, 8, 8)
    expected[..., 0:4, 2:6] = 1.0
    assert torch.equal(region_weight(entry, like), expected)
    assert torch.equal(region_weight(in_cells, like), expected)


def test_noise_in_an_unclaimed_latent_is_kept(tiny: Any) -> None:
    model, _, positive, negative = handles(tiny)
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    given = replace(empty(tiny, 64, 64, 1), samples=noise)
    settings: dict[str, Any] = {"add_noise": False, "steps": 2, "sampler": "euler", "scheduler": "karras"}
    first = k_sampler_advanced(tiny, model, positive, negative, given, **settings)
    blank = k_sampler_advanced(tiny, model, positive, negative, empty(tiny, 64, 64, 1), **settings)
    assert not torch.equal(first.samples, blank.samples)


def test_a_mask_follows_its_latent_to_another_size(tiny: Any) -> None:
    model, vae, positive, negative = handles(tiny)
    picture = np.random.default_rng(1).random((1, 64, 64, 3), dtype=np.float32)
    latent = encode_image(tiny, vae, picture)
    half = torch.zeros(1, 1, 4, 4)
    half[..., 2:] = 1.0
    drawn = k_sampler(tiny, model, positive, negative, replace(latent, noise_mask=half), steps=2)
    assert torch.equal(drawn.samples[..., :4], latent.samples[..., :4])
    with pytest.raises(InvalidRequest, match="3 masks for 1 pictures"):
        k_sampler(tiny, model, positive, negative, replace(latent, noise_mask=half.repeat(3, 1, 1, 1)), steps=2)


def test_a_long_prompt_says_what_is_not_read(starter: Any) -> None:
    _, clip, _ = checkpoint(starter)
    starter.logs.clear()
    encode_text(starter, clip, "red circle " * 5000)
    assert len(starter.logs) == 1
    assert "10000 tokens and this model reads 608" in starter.logs[0]
    starter.logs.clear()
    assert encode_text(starter, clip, "")[0].embedding.shape[1] == 40
    assert not starter.logs


def test_an_inpainting_model_sees_the_picture_around_the_mask(tiny9: Any) -> None:
    model, vae, positive, negative = handles(tiny9)
    picture = np.random.default_rng(1).random((1, 64, 64, 3), dtype=np.float32)
    mask = np.zeros((1, 64, 64), np.float32)
    mask[:, :32] = 1.0
    positive, negative, latent = inpaint_model(tiny9, positive, negative, vae, picture, mask)
    assert latent.inpaint is not None
    cells, masked = latent.inpaint
    assert cells[0, 0, :4].min() == 1.0
    assert cells[0, 0, 4:].max() == 0.0
    grey = np.where(mask[..., None] > 0, np.float32(0.5), picture)
    expected = encode_image(tiny9, vae, grey).samples
    np.testing.assert_allclose(masked.numpy(), expected.numpy(), atol=1e-6)
    drawn = k_sampler(tiny9, model, positive, negative, latent, steps=3)
    assert drawn.samples.shape == (1, 4, 8, 8)
    # and a whole new picture without any: everything masked
    assert k_sampler(tiny9, model, positive, negative, empty(tiny9, 64, 64, 2), steps=2).samples.shape[0] == 2


def test_what_does_not_fit_is_one_sentence(tiny: Any, starter: Any) -> None:
    model, vae, positive, negative = handles(tiny)
    picture = np.zeros((1, 64, 64, 3), np.float32)
    other = LatentValue(torch.zeros(1, 4, 8, 8), "sdxl")
    with pytest.raises(InvalidRequest, match="belongs to “sdxl” and the model works in “sd15”"):
        k_sampler(tiny, model, positive, negative, other)
    with pytest.raises(InvalidRequest, match="belongs to “sdxl”"):
        decode_image(tiny, vae, other)
    with pytest.raises(InvalidRequest, match="70×64, which is not a multiple of 8"):
        encode_image(tiny, vae, np.zeros((1, 64, 70, 3), np.float32))
    with pytest.raises(InvalidRequest, match="not a multiple of 8"):
        empty(tiny, 100, 64, 1)
    with pytest.raises(UnknownChoice, match=r"There is no sampler “eular”. Did you mean “euler”"):
        k_sampler(tiny, model, positive, negative, empty(tiny, 64, 64, 1), sampler="eular")
    p, n, latent = inpaint_model(tiny, positive, negative, vae, picture, np.ones((1, 64, 64), np.float32))
    with pytest.raises(InvalidRequest, match="not an in-painting model"):
        k_sampler(tiny, model, p, n, latent)
    with pytest.raises(InvalidRequest, match="the mask is 32×64 and the picture 64×64"):
        inpaint_model(tiny, positive, negative, vae, picture, np.ones((1, 64, 32), np.float32))
    wide, narrow = handles(starter)[2], negative
    with pytest.raises(InvalidRequest, match=r"encoded 128 wide and “.*” reads 32"):
        k_sampler(tiny, model, wide, narrow, empty(tiny, 64, 64, 1))


def test_a_run_that_ends_in_nan_says_so(tiny: Any) -> None:
    model, _, positive, negative = handles(tiny)
    broken = (replace(positive[0], embedding=positive[0].embedding * float("nan")),)
    with pytest.raises(InvalidRequest, match="not numbers"):
        k_sampler(tiny, model, broken, negative, empty(tiny, 64, 64, 1), steps=2)
