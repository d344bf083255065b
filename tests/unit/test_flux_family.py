"""Flux and Chroma beyond the plain picture: references, prompts, places, patches, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from engine.contracts.errors import InvalidRequest
from engine.contracts.references import ModelRef
from engine.families.flow_transformer import packed, position_ids, unpacked
from engine.families.flux import places
from engine.graph.values import ControlHandle, LatentValue, Patch
from engine.nodes.condition.family_options import edit_by_instruction, reference_method, token_padding
from engine.nodes.condition.flux import encode_text_flux
from engine.nodes.condition.inpaint import inpaint_model
from engine.nodes.condition.region import entity
from engine.nodes.condition.shape import guidance, reference_latent, set_area_fraction
from engine.nodes.condition.text import encode_text
from engine.nodes.control.apply import control, control_type
from engine.nodes.latent.empty import empty
from engine.nodes.latent.picture import encode_image, set_noise_mask
from engine.nodes.model.patches import cfg_zero_star, differential_diffusion, rescale_cfg, shift, shift_flux
from engine.nodes.sample.custom import custom, select_sampler
from engine.nodes.sample.k_sampler import k_sampler, k_sampler_advanced
from engine.nodes.sample.sigmas import schedule, split_sigmas
from engine.sampling.previews import PreviewMap
from tests.families import chroma, flux, room

EDGE = room.EDGE
pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    made: Path = flux.tiny(tmp_path_factory.mktemp("flux"))
    return made


@pytest.fixture(scope="module")
def dev(folder: Path) -> room.Tiny:
    return room.Tiny(folder, "flux")


@pytest.fixture(scope="module")
def schnell(folder: Path) -> room.Tiny:
    return room.Tiny(folder.parent / f"{folder.name}-schnell", "flux")


def words(tiny: room.Tiny, text: str = room.PROMPT) -> Any:
    return encode_text(tiny.ctx, tiny.handles()[1], text)


def sampled(tiny: room.Tiny, positive: Any = None, negative: Any = (), latent: Any = None, **more: Any) -> torch.Tensor:
    """The latent of a short run."""
    model = more.pop("model", tiny.handles()[0])
    settings = {"seed": 3, "steps": 3, "cfg": 1.0, "sampler": "euler", "scheduler": "normal", **more}
    latent = empty(tiny.ctx, EDGE, EDGE) if latent is None else latent
    found = k_sampler(tiny.ctx, model, words(tiny) if positive is None else positive, negative, latent, **settings)
    return found.samples


def encoded(tiny: room.Tiny, seed: int = 5) -> LatentValue:
    return encode_image(tiny.ctx, tiny.handles()[2], room.picture(seed=seed))


# Tokens and places ----------------------------------------------------------------------------------------------------


def test_tokens_hold_two_by_two_cells_and_come_back() -> None:
    latent = torch.arange(2 * 3 * 4 * 6).reshape(2, 3, 4, 6)
    tokens = packed(latent)
    assert tokens.shape == (2, 6, 12)
    assert tokens[0, 0].reshape(3, 2, 2).equal(latent[0, :, :2, :2])
    assert unpacked(tokens, 4, 6).equal(latent)
    assert position_ids(2, 3, torch.device("cpu"), torch.float32, 1).tolist()[4] == [1.0, 1.0, 1.0]


def test_references_are_laid_as_comfyui_lays_them() -> None:
    sizes = [(8, 8), (4, 8), (8, 4)]
    assert places(sizes, "offset", (8, 8)) == [(1, 0, 0), (1, 4, 0), (1, 0, 4)]
    assert places(sizes, "index", (8, 8)) == [(1, 0, 0), (2, 0, 0), (3, 0, 0)]
    assert places(sizes, "uxo/uno", (8, 6)) == [(0, 4, 3), (0, 8, 7), (0, 10, 11)]


def test_every_reference_and_its_place_counts(dev: room.Tiny) -> None:
    one = reference_latent(dev.ctx, words(dev), encoded(dev))
    two = reference_latent(dev.ctx, one, encoded(dev, 6))
    behind = reference_method(dev.ctx, two, "index")
    found = [sampled(dev, positive) for positive in (words(dev), one, two, behind)]
    for i, a in enumerate(found):
        for b in found[i + 1 :]:
            assert float((a - b).abs().max()) > 1e-3


def test_a_reference_of_odd_size_is_filled_up(dev: room.Tiny) -> None:
    odd = replace(encoded(dev), samples=encoded(dev).samples[..., :5, :7])
    assert torch.isfinite(sampled(dev, reference_latent(dev.ctx, words(dev), odd))).all()


def test_the_negative_side_sees_the_same_references(dev: room.Tiny) -> None:
    shown = reference_latent(dev.ctx, words(dev), encoded(dev))
    with_own = reference_latent(dev.ctx, words(dev, room.NEGATIVE), encoded(dev))
    a = sampled(dev, shown, words(dev, room.NEGATIVE), cfg=3.0)
    assert torch.equal(a, sampled(dev, shown, with_own, cfg=3.0))


# Prompts --------------------------------------------------------------------------------------------------------------


def test_dev_reads_512_tokens_schnell_256_and_parts_alone_512(dev: room.Tiny, schnell: room.Tiny) -> None:
    assert words(dev)[0].embedding.shape == (1, 512, flux.WIDTH)
    assert words(schnell)[0].embedding.shape == (1, 256, flux.WIDTH)
    padded = token_padding(schnell.ctx, schnell.handles()[1], min_length=40)
    assert encode_text(schnell.ctx, padded, room.PROMPT)[0].embedding.shape == (1, 40, flux.WIDTH)
    longer = token_padding(schnell.ctx, schnell.handles()[1], min_padding=6, min_length=1)
    assert encode_text(schnell.ctx, longer, "a red circle")[0].embedding.shape == (1, 3 + 1 + 6, flux.WIDTH)


def test_what_t5_does_not_read_is_said(dev: room.Tiny) -> None:
    dev.ctx.logs.clear()
    plain, weighted = words(dev, "a red circle"), words(dev, "a (red:1.4) circle")
    assert torch.equal(plain[0].embedding, weighted[0].embedding)
    assert dev.ctx.logs == ["Flux reads whole sentences and no emphasis: weights like (word:1.2) are left out."]


def test_a_long_prompt_is_cut_off_and_the_rest_named(dev: room.Tiny) -> None:
    dev.ctx.logs.clear()
    words(dev, "red " * 520 + "the end")
    assert len(dev.ctx.logs) == 1
    assert "this model reads 512" in dev.ctx.logs[0]
    assert "end”" in dev.ctx.logs[0]


def test_each_encoder_gets_its_own_words(dev: room.Tiny) -> None:
    clip = dev.handles()[1]
    both = encode_text_flux(dev.ctx, clip, "red", "a red circle", 2.0)[0]
    same_t5 = encode_text_flux(dev.ctx, clip, "blue", "a red circle", 2.0)[0]
    assert torch.equal(both.embedding, same_t5.embedding)
    assert both.pooled is not None
    assert same_t5.pooled is not None
    assert not torch.equal(both.pooled, same_t5.pooled)
    assert dict(both.extras)["guidance"] == 2.0


def test_dev_is_told_the_guidance_and_schnell_is_not(dev: room.Tiny, schnell: room.Tiny) -> None:
    for tiny, heard in ((dev, True), (schnell, False)):
        usual = sampled(tiny)
        assert torch.equal(usual, sampled(tiny, guidance(tiny.ctx, words(tiny), 3.5)))
        assert torch.equal(usual, sampled(tiny, guidance(tiny.ctx, words(tiny), 9.0))) is not heard


def test_a_prompt_with_an_area_holds_there_only(dev: room.Tiny) -> None:
    """After one step, which is linear in what the network says, each half is its own prompt's."""
    left = set_area_fraction(dev.ctx, words(dev, "red"), 0.5, 1.0, 0.0, 0.0)
    right = set_area_fraction(dev.ctx, words(dev, "blue"), 0.5, 1.0, 0.5, 0.0)
    mixed = sampled(dev, (*left, *right), steps=1)
    assert torch.allclose(mixed[..., :4], sampled(dev, words(dev, "red"), steps=1)[..., :4], atol=1e-6)
    assert torch.allclose(mixed[..., 4:], sampled(dev, words(dev, "blue"), steps=1)[..., 4:], atol=1e-6)


def test_an_entitys_words_act_where_it_stands(dev: room.Tiny) -> None:
    """In one step: the masked place changes most, and an entity that stands nowhere changes nothing."""
    here = np.zeros((1, EDGE, EDGE), np.float32)
    here[:, :, EDGE // 2 :] = 1.0
    plain = sampled(dev, steps=1)
    placed = sampled(dev, entity(dev.ctx, words(dev), words(dev, "green"), here), steps=1)
    change = (placed - plain).abs().mean(dim=(0, 1, 2))
    assert float(change[4:].mean()) > 2 * float(change[:4].mean())
    nowhere = entity(dev.ctx, words(dev), words(dev, "green"), np.zeros_like(here))
    assert torch.allclose(sampled(dev, nowhere, steps=1), plain, atol=1e-5)
    shown = reference_latent(dev.ctx, nowhere, encoded(dev))
    without = reference_latent(dev.ctx, words(dev), encoded(dev))
    assert torch.allclose(sampled(dev, shown, steps=1), sampled(dev, without, steps=1), atol=1e-5)


def test_chroma_leaves_its_padding_away(tmp_path: Path) -> None:
    tiny = room.Tiny(chroma.tiny(tmp_path), "chroma")
    entry = words(tiny, "a red circle")[0]
    assert entry.embedding.shape == (1, 5, flux.WIDTH)  # three words, the end, and one token of padding
    assert entry.pooled is None
    with refused("can't be told which place"):
        sampled(tiny, entity(tiny.ctx, (entry,), (entry,), np.ones((1, EDGE, EDGE), np.float32)))


# Sampling through the nodes -------------------------------------------------------------------------------------------


def test_two_samplers_that_share_a_schedule_are_one(dev: room.Tiny) -> None:
    model, positive = dev.handles()[0], words(dev)
    shared: dict[str, Any] = {"seed": 3, "steps": 4, "cfg": 1.0, "sampler": "dpmpp_2s_ancestral", "scheduler": "normal"}
    for sampler in ("euler", "dpm_2"):
        settings = {**shared, "sampler": sampler}
        first = k_sampler_advanced(
            dev.ctx, model, positive, (), empty(dev.ctx, EDGE, EDGE), **settings, end_step=2,
            return_with_leftover_noise=True,
        )  # fmt: skip
        second = k_sampler_advanced(dev.ctx, model, positive, (), first, **settings, add_noise=False, start_step=2)
        assert torch.equal(second.samples, sampled(dev, positive, steps=4, sampler=sampler))


def test_a_list_of_noise_levels_makes_the_same_picture_as_its_schedule(dev: room.Tiny) -> None:
    model = shift_flux(dev.ctx, dev.handles()[0], width=EDGE, height=EDGE)
    levels = schedule(dev.ctx, model, "normal", 4)
    high, low = split_sigmas(dev.ctx, levels, 2)
    run: dict[str, Any] = {"seed": 3, "cfg": 1.0}
    sampler = select_sampler(dev.ctx, "euler")
    begun, _ = custom(dev.ctx, model, words(dev), (), sampler, high, empty(dev.ctx, EDGE, EDGE), **run)
    ended, denoised = custom(dev.ctx, model, words(dev), (), sampler, low, begun, add_noise=False, **run)
    assert torch.equal(ended.samples, sampled(dev, steps=4, model=model))
    assert torch.equal(ended.samples, denoised.samples)
    assert torch.equal(ended.samples, sampled(dev, steps=4))  # 64 × 64 pixels are what the run has anyway


def test_shift_nodes_change_the_schedule(dev: room.Tiny) -> None:
    model = dev.handles()[0]
    made = [schedule(dev.ctx, m, "normal", 4) for m in (model, shift(dev.ctx, model, 1.0), shift(dev.ctx, model, 6.0))]
    assert made[1].tolist() == [1.0, 0.75, 0.5, 0.25, 0.0]
    assert made[1][2] < made[0][2] < made[2][2]


def test_a_part_of_the_schedule_keeps_a_part_of_the_picture(dev: room.Tiny) -> None:
    latent = encoded(dev)
    near, far = (sampled(dev, latent=latent, steps=8, denoise=d) for d in (0.13, 0.9))
    assert float((near - latent.samples).abs().mean()) < float((far - latent.samples).abs().mean())
    assert torch.equal(sampled(dev, latent=latent, steps=8, denoise=0.0), latent.samples)


def test_a_grey_mask_lets_places_join_later_and_black_stays(dev: room.Tiny) -> None:
    latent = encoded(dev)
    mask = np.zeros((1, EDGE, EDGE), np.float32)
    mask[:, :, 16:48], mask[:, :, 48:] = 0.4, 1.0
    model = differential_diffusion(dev.ctx, dev.handles()[0])
    found = sampled(dev, latent=set_noise_mask(dev.ctx, latent, mask), model=model, steps=6)
    changed = (found - latent.samples).abs().mean(dim=(0, 1, 2))
    assert torch.equal(found[..., :2], latent.samples[..., :2])
    assert 0 < float(changed[2:6].mean()) < float(changed[6:].mean())


def test_a_mask_of_one_grey_is_between_the_picture_and_a_new_one(dev: room.Tiny) -> None:
    """Differential diffusion: 0 leaves every bit, 1 is the run without a mask, and the lighter the more changes."""
    latent, model = encoded(dev), differential_diffusion(dev.ctx, dev.handles()[0])

    def made(value: float) -> torch.Tensor:
        mask = np.full((1, EDGE, EDGE), value, np.float32)
        return sampled(dev, latent=set_noise_mask(dev.ctx, latent, mask), model=model, steps=8)

    greys = [made(value) for value in (0.0, 0.3, 0.6, 1.0)]
    assert torch.equal(greys[0], latent.samples)
    assert torch.equal(greys[-1], sampled(dev, latent=latent, steps=8))
    changes = [float((grey - latent.samples).abs().mean()) for grey in greys]
    assert changes == sorted(set(changes))


@pytest.mark.parametrize("patch", [cfg_zero_star, rescale_cfg])
def test_guidance_rules_work_on_flows(dev: room.Tiny, patch: Any) -> None:
    negative = words(dev, room.NEGATIVE)
    plain = sampled(dev, negative=negative, cfg=4.0)
    ruled = sampled(dev, negative=negative, cfg=4.0, model=patch(dev.ctx, dev.handles()[0]))
    assert torch.isfinite(ruled).all()
    assert float((ruled - plain).abs().max()) > 1e-4
    none = rescale_cfg(dev.ctx, dev.handles()[0], 0.0)
    assert torch.allclose(sampled(dev, negative=negative, cfg=4.0, model=none), plain, atol=1e-5)


def test_a_lora_acts_and_leaves_nothing_behind(folder: Path) -> None:
    tiny = room.Tiny(folder, "flux")
    (folder / "loras").mkdir(exist_ok=True)
    generator = torch.Generator().manual_seed(0)
    name = "transformer.transformer_blocks.0.attn.to_q"
    save_file(
        {f"{name}.lora_A.weight": torch.randn(2, 32, generator=generator),
         f"{name}.lora_B.weight": torch.randn(32, 2, generator=generator)},
        folder / "loras" / "style.safetensors",
    )  # fmt: skip
    patch = Patch("lora", (("weights", ModelRef(name="style", kind="lora")), ("strength", 1.0)))
    before = sampled(tiny)
    with_it = sampled(tiny, model=replace(tiny.handles()[0], patches=(patch,)))
    assert float((with_it - before).abs().max()) > 1e-3
    assert torch.equal(sampled(tiny), before)
    own = tuple(replace(entry, extras=(*entry.extras, ("patches", (patch,)))) for entry in words(tiny))
    assert torch.equal(sampled(tiny, own), with_it)  # a LoRA of the one prompt there is


def test_previews_are_pictures_of_sixteen_channels(dev: room.Tiny) -> None:
    frame = PreviewMap.fitted(dev.family).frame(encoded(dev).samples)
    assert frame.shape == (EDGE // 8, EDGE // 8, 3)


# What is refused ------------------------------------------------------------------------------------------------------


def refused(said: str) -> Any:
    return pytest.raises(InvalidRequest, match=said)


def test_a_size_that_is_not_whole_tokens(dev: room.Tiny) -> None:
    with refused("multiples of 16 pixels"):
        sampled(dev, latent=empty(dev.ctx, EDGE + 8, EDGE))


def test_a_masked_picture_for_a_model_without_channels_for_it(dev: room.Tiny) -> None:
    positive, _, latent = inpaint_model(dev.ctx, words(dev), (), dev.handles()[2], room.picture(), room.mask())
    with refused("has no channels for a masked picture"):
        sampled(dev, positive, latent=latent)


def test_a_second_picture_where_there_is_no_room_and_none_where_one_is_needed(folder: Path, dev: room.Tiny) -> None:
    positive, _, latent = edit_by_instruction(dev.ctx, words(dev), (), dev.handles()[2], room.picture())
    with refused("has no channels for a second picture"):
        sampled(dev, positive, latent=latent)
    depth = room.Tiny(folder.parent / f"{folder.name}-depth", "flux")
    with refused("follows a picture, and was given none"):
        sampled(depth, words(depth))


def test_fill_without_a_mask_makes_a_whole_picture(folder: Path) -> None:
    fill = room.Tiny(folder.parent / f"{folder.name}-fill", "flux")
    assert torch.isfinite(sampled(fill)).all()


def test_prompts_and_references_of_other_models(dev: room.Tiny) -> None:
    entry = words(dev)[0]
    with refused("encoded 7 wide"):
        sampled(dev, (replace(entry, embedding=torch.zeros(1, 3, 7)),))
    with refused("no pooled part"):
        sampled(dev, (replace(entry, pooled=None),))
    with refused("has 4 latent channels"):
        sampled(dev, reference_latent(dev.ctx, words(dev), replace(encoded(dev), samples=torch.zeros(1, 4, 8, 8))))
    with refused("CLIP"):
        encode_text(dev.ctx, replace(dev.handles()[1], clip_skip=1), "red")


def test_union_controls_want_to_be_told_what_they_see(dev: room.Tiny) -> None:
    net = ControlHandle(ModelRef(name="union", kind="controlnet"), "flux")
    with refused("was told none"):
        sampled(dev, control(dev.ctx, words(dev), net, room.picture()))
    with refused("does not know “normal”"):
        sampled(dev, control(dev.ctx, words(dev), control_type(dev.ctx, net, "normal"), room.picture()))


def test_a_control_of_no_strength_is_none(dev: room.Tiny) -> None:
    net = ControlHandle(ModelRef(name="plain", kind="controlnet"), "flux")
    assert torch.equal(sampled(dev, control(dev.ctx, words(dev), net, room.picture(), 0.0)), sampled(dev))
    masked = control(dev.ctx, words(dev), net, room.picture(), 1.0)
    half = np.zeros((EDGE, EDGE), np.float32)
    half[:, : EDGE // 2] = 1.0
    listed = tuple(replace(c, mask=half) for c in dict(masked[0].extras)["controls"])
    somewhere = tuple(replace(e, extras=(("controls", listed),)) for e in masked)
    found = [sampled(dev, p) for p in (words(dev), masked, somewhere)]
    assert all(float((a - b).abs().max()) > 1e-4 for a, b in ((found[0], found[1]), (found[1], found[2])))


def test_controls_and_references_work_together(dev: room.Tiny) -> None:
    net = ControlHandle(ModelRef(name="plain", kind="controlnet"), "flux")
    shown = reference_latent(dev.ctx, words(dev), encoded(dev))
    both = control(dev.ctx, shown, net, room.picture(seed=9), 0.7)
    assert float((sampled(dev, both) - sampled(dev, shown)).abs().max()) > 1e-4
