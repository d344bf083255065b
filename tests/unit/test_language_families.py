"""Qwen-Image, Z-Image and Flux.2: prompts, pictures in prompts, references, controls and what they refuse."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch

from engine.contracts.errors import InvalidRequest, MissingModel
from engine.contracts.references import ModelRef
from engine.families import qwen_image as qwen
from engine.families.defaults import FAMILIES, folder_variant, recommended
from engine.families.flux2 import _MISTRAL, _QWEN3
from engine.families.flux2_autoencoder import folded, unfolded
from engine.families.language_text import tokenised
from engine.families.qwen_vision import seen, whole_cells
from engine.families.table import family_class
from engine.graph.values import ConditioningEntry, Control, ControlHandle, LatentValue
from engine.models.layouts.configs import tokenizer_folder
from engine.nodes.condition.edit import EDITED_PIXELS, SEEN_PIXELS, _scaled, encode_edit
from engine.nodes.condition.shape import reference_latent, set_mask, with_extra
from engine.nodes.condition.text import encode_text
from engine.nodes.control.apply import control_pair
from engine.nodes.latent.empty import empty
from engine.nodes.latent.picture import decode_image, encode_image
from engine.nodes.sample.k_sampler import k_sampler
from engine.sampling.previews import PreviewMap
from tests.families import _language, room

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

FAMILY_NAMES = ("qwen_image", "z_image", "flux2")
SETTINGS: dict[str, Any] = {"seed": 42, "steps": 2, "cfg": 3.0, "sampler": "euler", "scheduler": "normal"}


@pytest.fixture(scope="module")
def tinies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, room.Tiny]:
    """Family → its tiny model in fp32."""
    made = {}
    for name in FAMILY_NAMES:
        torch.manual_seed(0)
        made[name] = room.Tiny(room.family_module(name).tiny(tmp_path_factory.mktemp(name)), name)
    return made


def prompt(tiny: room.Tiny, text: str = room.PROMPT, steps: int = 0) -> tuple[ConditioningEntry, ...]:
    return encode_text(tiny.ctx, tiny.handles()[1], text, steps)


def sampled(tiny: room.Tiny, positive: Any, negative: Any = None, latent: Any = None, **more: Any) -> torch.Tensor:
    negative = prompt(tiny, "green") if negative is None else negative
    latent = empty(tiny.ctx, 64, 64, 1) if latent is None else latent
    model = tiny.handles()[0]
    samples: torch.Tensor = k_sampler(tiny.ctx, model, positive, negative, latent, **SETTINGS | more).samples
    return samples


# Templates and tokens ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def words() -> Any:
    """Qwen's whole vocabulary."""
    from transformers import Qwen2Tokenizer

    return Qwen2Tokenizer.from_pretrained(tokenizer_folder("qwen2"), local_files_only=True)


def test_the_system_messages_are_as_long_as_what_is_dropped(words: Any) -> None:
    ids = [words(qwen._before(text))["input_ids"] for text in (qwen._SYSTEM, qwen._EDIT_SYSTEM)]
    assert [len(found) for found in ids] == [qwen._DROPPED, qwen._EDIT_DROPPED] == [34, 64]


def test_qwen3s_template_without_and_with_its_empty_thoughts(words: Any) -> None:
    message = [{"role": "user", "content": "a cat"}]
    for thinking, after in ((True, "<|im_end|>\n<|im_start|>assistant\n"), (False, _QWEN3.after)):
        words.chat_template = _language.QWEN3_TEMPLATE
        whole = words.apply_chat_template(message, tokenize=False, add_generation_prompt=True, enable_thinking=thinking)
        taken = tokenised(words, _QWEN3.before, "a cat", after, 512)
        assert taken.ids[0].tolist() == words(whole)["input_ids"]
        assert (taken.own, taken.ignored, int(taken.mask.sum())) == (2, "", taken.ids.shape[1])


def test_mistral_is_filled_up_on_the_left_and_begins_once() -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder("mistral"), local_files_only=True)
    taken = tokenised(tokenizer, tokenizer.bos_token + _MISTRAL.before, "a cat", _MISTRAL.after, 512, padded=True)
    kept = taken.ids[0][taken.mask[0].bool()].tolist()
    assert taken.ids.shape == (1, 512)
    assert bool(taken.mask[0, -1])
    assert not bool(taken.mask[0, 0])
    assert kept.count(tokenizer.bos_token_id) == 1
    assert kept[0] == tokenizer.bos_token_id
    special = tokenizer.convert_tokens_to_ids(["[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[INST]", "[/INST]"])
    assert [kept.count(token) for token in special] == [1, 1, 1, 1]
    assert kept[-1] == special[-1]


def test_what_does_not_fit_is_told(tinies: dict[str, room.Tiny]) -> None:
    for name, limit in (("z_image", 512), ("flux2", 512), ("qwen_image", 1024)):
        encoded = tinies[name].family.encode_text("a" * 1100 + "tail")
        assert (encoded.limit, encoded.tokens) == (limit, 1104)
        assert encoded.ignored.endswith("tail")
        assert set(encoded.ignored[:-4]) == {"a"}
        assert tinies[name].family.encode_text("short").ignored == ""


# Wordings ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_emphasis_and_breaks_are_left_out_and_said(tinies: dict[str, room.Tiny], name: str) -> None:
    tiny = tinies[name]
    tiny.ctx.logs.clear()
    plain = prompt(tiny, "a red circle")
    assert tiny.ctx.logs == []
    weighted = prompt(tiny, "a (red:1.3) circle")
    assert torch.equal(weighted[0].embedding, plain[0].embedding)
    broken = prompt(tiny, "a red BREAK circle")
    assert torch.equal(broken[0].embedding, prompt(tiny, "a red circle")[0].embedding)
    said = " ".join(tiny.ctx.logs)
    assert "weights like (word:1.2) are left out" in said
    assert "BREAK is read as a space" in said


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_schedules_and_branches_choose_between_wordings(tinies: dict[str, room.Tiny], name: str) -> None:
    tiny = tinies[name]
    changing = prompt(tiny, "[red:blue:1] circle", steps=2)
    assert [entry.steps for entry in changing] == [(0.0, 0.25), (0.25, 1.0)]
    assert torch.equal(changing[1].embedding, prompt(tiny, "blue circle")[0].embedding)
    both = prompt(tiny, "red circle AND blue square:0.5")
    assert [dict(entry.extras)["branch"] for entry in both] == [(0, 1.0), (1, 0.5)]
    first, second = sampled(tiny, changing), sampled(tiny, prompt(tiny, "blue circle"))
    assert torch.isfinite(first).all()
    assert not torch.equal(first, second)
    assert not torch.equal(sampled(tiny, both), sampled(tiny, both[:1]))


def test_words_may_be_given_by_encoder(tinies: dict[str, room.Tiny]) -> None:
    family = tinies["qwen_image"].family
    found = family.encode_text({"qwen": "a cat", "clip_l": "a dog"}).entries
    assert torch.equal(found[0].embedding, family.encode_text("a cat").entries[0].embedding)


# Latents -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "space", "shape"),
    [
        ("qwen_image", "qwen_image", (2, 16, 8, 12)), ("z_image", "flux", (2, 16, 8, 12)),
        ("flux2", "flux2", (2, 16, 4, 6)),
    ],
)  # fmt: skip
def test_latents_of_pictures_have_four_axes(
    tinies: dict[str, room.Tiny], name: str, space: str, shape: tuple[int, ...]
) -> None:  # fmt: skip
    tiny = tinies[name]
    vae = tiny.handles()[2]
    latent = encode_image(tiny.ctx, vae, np.zeros((2, 64, 96, 3), np.float32))
    assert (latent.space, tuple(latent.samples.shape)) == (space, shape)
    assert tiny.family.latent_space.shape(2, 96, 64) == shape
    assert decode_image(tiny.ctx, vae, latent).shape == (2, 64, 96, 3)


def test_flux2_folds_cells_without_loss() -> None:
    latents = torch.arange(2 * 3 * 4 * 6, dtype=torch.float32).reshape(2, 3, 4, 6)
    assert folded(latents).shape == (2, 12, 2, 3)
    assert torch.equal(unfolded(folded(latents)), latents)
    # A token holds, channel after channel, its four cells row by row.
    assert folded(latents)[0, :4, 0, 0].tolist() == [0.0, 1.0, 6.0, 7.0]


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_an_item_is_drawn_alike_alone_and_in_company(tinies: dict[str, room.Tiny], name: str) -> None:
    tiny = tinies[name]
    together = sampled(tiny, prompt(tiny), latent=empty(tiny.ctx, 64, 64, 3))
    alone = sampled(tiny, prompt(tiny), latent=empty(tiny.ctx, 64, 64, 1))
    torch.testing.assert_close(together[:1], alone, atol=2e-5, rtol=0)


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_previews_are_fitted_to_the_autoencoder(tinies: dict[str, room.Tiny], name: str) -> None:
    family = tinies[name].family
    shape = family.latent_space.shape(1, 64, 96)
    assert PreviewMap.fitted(family).frame(torch.zeros(shape)).shape == (*shape[2:], 3)


def test_meta_inputs_are_what_the_networks_take(tinies: dict[str, room.Tiny]) -> None:
    shapes = {name: tinies[name].family.meta_inputs(tinies[name].family.latent_space.shape(2, 64, 64))
              for name in FAMILY_NAMES}  # fmt: skip
    assert shapes["qwen_image"]["hidden_states"] == (2, 16, 64)
    assert shapes["z_image"]["x"] == (2, 16, 1, 8, 8)
    assert shapes["flux2"]["hidden_states"] == (2, 16, 16)
    assert shapes["flux2"]["img_ids"] == (2, 16, 4)
    assert "guidance" not in shapes["flux2"]


@pytest.mark.parametrize(
    ("name", "channels"), [("qwen_image", 16), ("z_image", 16), ("flux2", 128)]
)  # fmt: skip
def test_a_bare_diffusion_model_knows_its_latents_and_says_what_is_missing(name: str, channels: int) -> None:
    def nothing(part: str) -> Any:
        raise MissingModel(f"this model has no {part}", where="model", fix=f"Add its {part}")

    family = family_class(name)(nothing, torch.device("cpu"), torch.float32, "the tiny model")
    assert family.latent_space.channels == channels
    with pytest.raises(MissingModel, match="no tokenizer"):
        family.encode_text("a cat")
    with pytest.raises(MissingModel, match="no vae"):
        family.decode(torch.zeros(1, channels, 4, 4))


# Pictures in prompts -------------------------------------------------------------------------------------------------


def test_the_eyes_see_what_transformers_shows_them(tinies: dict[str, room.Tiny]) -> None:
    from transformers import Qwen2VLImageProcessorPil

    config = tinies["qwen_image"].part("text_encoder").config.vision_config
    pictures = [room.picture(edge=112), room.picture(edge=56, seed=6)]
    sight = seen([room.as_tensor(picture) for picture in pictures], config)
    options: dict[str, Any] = {"do_rescale": False, "do_resize": False, "return_tensors": "pt"}
    theirs = Qwen2VLImageProcessorPil()([picture[0] for picture in pictures], **options)
    torch.testing.assert_close(sight.patches, theirs["pixel_values"], atol=1e-6, rtol=0)
    assert torch.equal(sight.grids, theirs["image_grid_thw"])
    assert sight.counts == (16, 4)
    assert sight.tokens == 20
    assert sight.widened("1<|image_pad|>2<|image_pad|>3").count("<|image_pad|>") == 20


def test_sizes_are_those_of_transformers() -> None:
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

    limits = {"min_pixels": 56 * 56, "max_pixels": 12_845_056}
    for height, width in ((30, 30), (384, 384), (400, 600), (57, 200), (5000, 4000), (28, 1000)):
        assert whole_cells(height, width, 28) == smart_resize(height, width, factor=28, **limits)


def test_pictures_change_what_is_read_and_their_order_counts(tinies: dict[str, room.Tiny]) -> None:
    family = tinies["qwen_image"].family
    one, two = (room.as_tensor(room.picture(edge=56, seed=seed)) for seed in (1, 2))
    plain, first = family.encode_text("swap"), family.encode_text("swap", images=(one,))
    tokens = [found.entries[0].embedding.shape[1] for found in (first, family.encode_text("swap", images=(one, two)))]
    assert tokens[0] > plain.entries[0].embedding.shape[1]
    assert tokens[1] > tokens[0]
    ahead, behind = (family.encode_text("swap", images=both).entries[0].embedding for both in ((one, two), (two, one)))
    assert float((ahead - behind).abs().max()) > 1e-4


def test_an_edit_scales_to_what_the_model_was_trained_with() -> None:
    from diffusers.pipelines.qwenimage.pipeline_qwenimage_edit_plus import calculate_dimensions

    for height, width in ((300, 600), (64, 64), (90, 70)):
        for pixels in (SEEN_PIXELS, EDITED_PIXELS):
            made = _scaled(np.zeros((1, height, width, 3), np.float32), pixels)
            assert made.shape[2:0:-1] == calculate_dimensions(pixels, width / height)


def test_an_edit_carries_its_pictures_as_references(tinies: dict[str, room.Tiny]) -> None:
    tiny = tinies["qwen_image"]
    _, clip, vae = tiny.handles()
    pictures = [room.picture(edge=112, seed=seed) for seed in (1, 2)]
    entry = encode_edit(tiny.ctx, clip, "swap", vae, pictures[0], pictures[1], scale=False)[0]
    references = dict(entry.extras)["references"]
    assert [tuple(latent.shape) for latent in references] == [(1, 16, 14, 14)] * 2
    expected = encode_image(tiny.ctx, vae, pictures[1]).samples
    assert torch.equal(references[1], expected)
    assert "references" not in dict(encode_edit(tiny.ctx, clip, "swap", None, pictures[0], scale=False)[0].extras)
    with pytest.raises(InvalidRequest, match="is written for Qwen-Image"):
        encode_edit(tiny.ctx, tinies["flux2"].handles()[1], "swap")


@pytest.mark.parametrize("name", ["qwen_image", "flux2"])
def test_references_are_looked_at(tinies: dict[str, room.Tiny], name: str) -> None:
    tiny = tinies[name]
    plain = prompt(tiny)
    latents = [encode_image(tiny.ctx, tiny.handles()[2], room.picture(seed=seed)) for seed in (1, 2)]
    one = reference_latent(tiny.ctx, plain, latents[0])
    pictures = [sampled(tiny, found) for found in (plain, one, reference_latent(tiny.ctx, one, latents[1]))]
    assert min(float((a - b).abs().max()) for a, b in itertools.pairwise(pictures)) > 1e-4


# Controls and regions ------------------------------------------------------------------------------------------------


def steered(tiny: room.Tiny, strength: float = 0.8, nets: tuple[str, ...] = ("edges",), **more: Any) -> torch.Tensor:
    positive, negative = prompt(tiny), prompt(tiny, "green")
    for net in nets:
        handle = ControlHandle(ModelRef(kind="controlnet", name=net))
        positive, negative = control_pair(tiny.ctx, positive, negative, handle, room.picture(), strength, **more)
    return sampled(tiny, positive, negative)


@pytest.mark.parametrize("name", ["qwen_image", "z_image"])
def test_controls_add_up_and_none_is_none(tinies: dict[str, room.Tiny], name: str) -> None:
    tiny = tinies[name]
    plain, one = sampled(tiny, prompt(tiny)), steered(tiny)
    assert float((one - plain).abs().max()) > 1e-3
    assert torch.equal(steered(tiny, 0.0), plain)
    assert torch.equal(steered(tiny, mask=np.zeros((1, 64, 64), np.float32)), plain)
    torch.testing.assert_close(steered(tiny, mask=np.ones((1, 64, 64), np.float32)), one, atol=1e-5, rtol=0)
    both = steered(tiny, nets=("edges", "depth"))
    assert float((both - one).abs().max()) > 1e-4
    assert not torch.equal(steered(tiny, end=0.4), one)
    assert not torch.equal(steered(tiny, end=0.4), plain)


def test_a_bare_model_takes_the_picture_of_a_control_encoded(tinies: dict[str, room.Tiny]) -> None:
    full, bare = tinies["qwen_image"], room.Tiny(tinies["qwen_image"].folder, "qwen_image")

    def parts(name: str) -> Any:
        if name == "vae":
            raise MissingModel("this model has no vae", where="model")
        return bare.part(name)

    bare.family = family_class("qwen_image")(parts, torch.device("cpu"), torch.float32, "the tiny model", bare.other)
    handle = ControlHandle(ModelRef(kind="controlnet", name="edges"))
    both = prompt(full), prompt(full, "green")
    vae = full.handles()[2]
    given = control_pair(full.ctx, *both, handle, room.picture(), 0.8, vae=vae)
    left = control_pair(full.ctx, *both, handle, room.picture(), 0.8)
    assert torch.equal(sampled(bare, *given), sampled(full, *left))
    assert torch.isfinite(sampled(bare, *control_pair(full.ctx, *both, handle, room.picture(edge=96), vae=vae))).all()
    with pytest.raises(MissingModel, match="the model came without its VAE"):
        sampled(bare, *left)


def test_z_images_control_leaves_the_loaded_module_as_it_was(tinies: dict[str, room.Tiny]) -> None:
    tiny = tinies["z_image"]
    steered(tiny)
    assert tiny.other(ModelRef(kind="controlnet", name="edges")).t_embedder is None


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_prompts_hold_in_their_regions(tinies: dict[str, room.Tiny], name: str) -> None:
    tiny = tinies[name]
    left = np.zeros((1, 64, 64), np.float32)
    left[:, :, :32] = 1.0
    first, second = prompt(tiny, "red"), prompt(tiny, "a blue square at night")
    both = (*set_mask(tiny.ctx, first, left), *set_mask(tiny.ctx, second, 1.0 - left))
    once = {"steps": 1, "cfg": 1.0}
    mixed, alone = sampled(tiny, both, **once), [sampled(tiny, found, **once) for found in (first, second)]
    half = mixed.shape[-1] // 2
    torch.testing.assert_close(mixed[..., :half], alone[0][..., :half], atol=1e-5, rtol=0)
    torch.testing.assert_close(mixed[..., half:], alone[1][..., half:], atol=1e-5, rtol=0)


def test_qwens_guidance_keeps_each_token_as_long_as_the_prompts_own(tinies: dict[str, room.Tiny]) -> None:
    from engine.families.flow_transformer import packed

    u, c = torch.randn(2, 16, 4, 6), torch.randn(2, 16, 4, 6)
    out = tinies["qwen_image"].family.combine(u, c, 4.0)
    torch.testing.assert_close(packed(out).norm(dim=-1), packed(c).norm(dim=-1))
    plain = packed(u + 4.0 * (c - u))
    torch.testing.assert_close(torch.cosine_similarity(packed(out), plain, dim=-1), torch.ones(2, 6))


# What is refused -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_what_is_not_theirs_is_refused_in_one_sentence(tinies: dict[str, room.Tiny], name: str) -> None:
    tiny = tinies[name]
    own = prompt(tiny)
    with pytest.raises(InvalidRequest, match="was encoded 7 wide and the tiny model reads"):
        sampled(tiny, (ConditioningEntry(torch.zeros(1, 4, 7)),))
    with pytest.raises(InvalidRequest, match="belongs to “sd15”"):
        sampled(tiny, own, latent=LatentValue(torch.zeros(1, 4, 8, 8), "sd15"))
    latent = encode_image(tiny.ctx, tiny.handles()[2], room.picture())
    kept = LatentValue(latent.samples, latent.space, inpaint=(torch.ones(1, 1, 4, 4), latent.samples))
    with pytest.raises(InvalidRequest, match="is not an in-painting model"):
        sampled(tiny, own, latent=kept)
    if name != "z_image":
        with pytest.raises(InvalidRequest, match="was encoded with 4 channels and the tiny model reads 16"):
            sampled(tiny, (with_extra(own[0], "references", (torch.zeros(1, 4, 8, 8),)),))


@pytest.mark.parametrize(
    ("name", "other"), [("qwen_image", "z_image"), ("z_image", "qwen_image"), ("flux2", "z_image")]
)
def test_controlnets_of_another_family_are_refused(tinies: dict[str, room.Tiny], name: str, other: str) -> None:
    tiny = tinies[name]
    module = tinies[other].other(ModelRef(kind="controlnet", name="edges"))
    handle = ControlHandle(ModelRef(kind="controlnet", name="strange"))
    tiny._others["controlnet", "strange"] = module
    controlled = with_extra(prompt(tiny)[0], "controls", (Control(handle, room.picture()),))
    sentence = "there are no ControlNets for Flux.2" if name == "flux2" else "“strange” is not made for"
    with pytest.raises(InvalidRequest, match=sentence):
        sampled(tiny, (controlled,))


@pytest.mark.parametrize("name", ["qwen_image", "z_image"])
def test_sizes_are_whole_tokens(tinies: dict[str, room.Tiny], name: str) -> None:
    tiny = tinies[name]
    with pytest.raises(InvalidRequest, match="multiples of 16 pixels"):
        sampled(tiny, prompt(tiny), latent=empty(tiny.ctx, 72, 64, 1))


# What they recommend -------------------------------------------------------------------------------------------------


def test_each_family_recommends_what_its_makers_do() -> None:
    found = {name: (FAMILIES[name].width, FAMILIES[name].steps, FAMILIES[name].cfg) for name in FAMILY_NAMES}
    assert found == {"qwen_image": (1328, 50, 4.0), "z_image": (1024, 9, 1.0), "flux2": (1024, 4, 1.0)}
    assert {FAMILIES[name].multiple for name in FAMILY_NAMES} == {16}


def test_variants_recommend_their_own(tinies: dict[str, room.Tiny]) -> None:
    sd15 = FAMILIES["sd15"]
    klein, told = {"guidance_embeds": False}, {"guidance_embeds": True}
    assert folder_variant("flux2", {"is_distilled": True}, {}, klein) == ""
    assert folder_variant("flux2", {"is_distilled": False}, {}, klein) == "klein base"
    assert folder_variant("flux2", {}, {}, told) == "dev"
    assert folder_variant("z_image", {}, {"shift": 6.0}, {}) == "base"
    assert folder_variant("z_image", {}, {"shift": 3.0}, {}) == ""
    assert folder_variant("flux", {}, {}, klein) == "schnell"
    base = recommended("flux2", "klein base", sd15)
    assert (base.steps, base.cfg, base.supports_negative) == (50, 4.0, True)
    assert recommended("flux2", "dev", sd15).steps == 28
    assert recommended("z_image", "base", sd15).cfg == 5.0
    assert recommended("of nobody", "", sd15) == sd15
