"""Families with several text encoders: prompts as diffusers' encode_prompt has them, what is missing, what is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from engine.contracts.errors import InvalidDocument, InvalidRequest, MissingModel
from engine.contracts.references import ModelRef
from engine.families.defaults import FAMILIES, PRESETS, with_overrides
from engine.families.moments import moments, prompt_for
from engine.graph.values import ModelHandle, Patch, TextEncoderHandle
from engine.nodes.condition.sd3 import encode_text_sd3
from engine.nodes.condition.sdxl import encode_text_sdxl, encode_text_sdxl_refiner
from engine.nodes.condition.text import encode_text
from engine.nodes.latent.empty import empty
from engine.nodes.sample.k_sampler import k_sampler
from engine.prompts.grammar import parse
from tests.families import room, sd3, sdxl
from tests.families.room import Tiny

FOX, SNOW, LONG = "a red circle", "on a blue background", "red circle, " * 30


@pytest.fixture(scope="module")
def xl(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    torch.manual_seed(0)
    return Tiny(sdxl.write(tmp_path_factory.mktemp("sdxl")), "sdxl")


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("sd3")
    sd3.write(folder)
    return Tiny(folder, "sd3")


def without(tiny: Tiny, *parts: str) -> Tiny:
    """The same model lacking some parts."""
    bare = Tiny(tiny.folder, tiny.name)
    bare.index = {name: what for name, what in tiny.index.items() if name not in parts}
    return bare


@torch.no_grad()
def theirs(tiny: Tiny, pipeline: str, **texts: Any) -> Any:
    return tiny.pipeline(pipeline).encode_prompt(**texts, device=torch.device("cpu"))


@pytest.mark.parametrize("skip", [0, 1])
def test_sdxl_encodes_as_its_pipeline_does(xl: Tiny, skip: int) -> None:
    embedding, negative, pooled, negative_pooled = theirs(
        xl, "StableDiffusionXLPipeline", prompt=FOX, prompt_2=SNOW, negative_prompt=""
    )
    (ours,) = xl.family.encode_text({"clip_l": FOX, "clip_g": SNOW}, skip).entries
    (none,) = xl.family.encode_text("").entries
    assert torch.equal(ours.embedding, embedding)
    assert torch.equal(ours.pooled, pooled)
    assert torch.equal(none.embedding, negative)
    assert torch.equal(none.pooled, negative_pooled)


def test_a_deeper_clip_skip_is_one_layer_more_of_both_encoders(xl: Tiny) -> None:
    embedding, _, pooled, _ = theirs(xl, "StableDiffusionXLPipeline", prompt=FOX, clip_skip=1)
    (ours,) = xl.family.encode_text(FOX, 2).entries  # diffusers counts from the layer that SDXL reads anyway
    assert torch.equal(ours.embedding, embedding)
    assert torch.equal(ours.pooled, pooled)
    with pytest.raises(InvalidRequest, match="CLIP skip is 3, and the tiny model has 3 text layers"):
        xl.family.encode_text(FOX, 3)


def test_a_long_prompt_of_one_encoder_stands_beside_empty_chunks_of_the_other(xl: Tiny) -> None:
    (both,) = xl.family.encode_text({"clip_l": FOX, "clip_g": LONG}).entries
    (short,) = xl.family.encode_text(FOX).entries
    (nothing,) = xl.family.encode_text("").entries
    assert both.embedding.shape == (1, 120, 72)
    assert torch.equal(both.embedding[:, :40, :32], short.embedding[..., :32])
    assert torch.equal(both.embedding[:, 80:, :32], nothing.embedding[..., :32])


def test_emphasis_in_sdxl_scales_tokens_and_leaves_the_mean(xl: Tiny) -> None:
    (plain,) = xl.family.encode_text("a red circle").entries
    (strong,) = xl.family.encode_text(parse("a (red:1.5) circle")).entries
    expected = plain.embedding.clone()
    expected[0, 2] *= 1.5
    assert torch.equal(strong.embedding, expected)
    assert torch.equal(strong.pooled, plain.pooled)


def test_schedules_of_two_encoders_are_laid_over_each_other() -> None:
    prompts = [parse("[red:blue:4]", 8), parse("[cat:dog:6] AND fog", 8)]
    found = [([pieces[0].text for pieces in moment.pieces], moment.steps) for moment in moments(prompts)]
    assert found == [
        (["red", "cat"], (0.0, 3.5 / 8)), (["blue", "cat"], (3.5 / 8, 5.5 / 8)), (["blue", "dog"], (5.5 / 8, 1.0)),
        (["red", " fog"], (0.0, 3.5 / 8)), (["blue", " fog"], (3.5 / 8, 1.0)),
    ]  # fmt: skip
    assert prompt_for({"clip_g": "x"}, "clip_l").branches[0].schedule[0].text == ""


def test_sd3_encodes_as_its_pipeline_does(three: Tiny) -> None:
    embedding, _, pooled, _ = theirs(
        three, "StableDiffusion3Pipeline", prompt=FOX, prompt_2=SNOW, prompt_3=FOX
    )  # fmt: skip
    clip = three.handles()[1]
    ours: Any
    (ours,) = encode_text_sd3(three.ctx, clip, clip_l=FOX, clip_g=SNOW, t5xxl=FOX)
    assert torch.equal(ours.embedding, embedding)
    assert torch.equal(ours.pooled, pooled)


@pytest.mark.parametrize(
    ("gone", "zeros"),
    [
        (("text_encoder", "tokenizer"), slice(0, sd3.L)),
        (("text_encoder_2", "tokenizer_2"), slice(sd3.L, sd3.L + sd3.G)),
    ],
)
def test_a_clip_that_sd3_lacks_is_zeros_in_its_place(three: Tiny, gone: tuple[str, str], zeros: slice) -> None:
    (whole,) = three.family.encode_text(FOX).entries
    (less,) = without(three, *gone).family.encode_text(FOX).entries
    assert less.embedding.shape == whole.embedding.shape
    assert not less.pooled[:, zeros].any()
    expected = whole.embedding.clone()
    expected[:, :40, zeros] = 0
    assert torch.equal(less.embedding, expected)


def test_sd3_with_t5_alone_runs_and_with_nothing_says_what_is_missing(three: Tiny) -> None:
    clips = ("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2")
    bare = without(three, *clips)
    (only,) = bare.family.encode_text(FOX).entries
    assert only.pooled is None
    assert only.embedding.shape == (1, 256, sd3.T5)
    assert room.sampled(bare, (only,), (only,), empty(bare.ctx, 64, 64, 1), sd3.SETTINGS).shape == (1, 64, 64, 3)
    with pytest.raises(MissingModel, match="no text_encoder"):
        without(three, *clips, "text_encoder_3", "tokenizer_3").family.encode_text(FOX)


def test_t5_says_that_it_reads_no_emphasis_and_long_prompts_have_an_end(three: Tiny) -> None:
    found = three.family.encode_text(parse("(red:1.3) circle"))
    assert found.notes == (
        "The T5 encoder reads whole sentences and no emphasis: weights like (word:1.2) are left out.",
    )
    long = three.family.encode_text("red " * 600)
    assert long.entries[0].embedding.shape[1] == 40 * 16 + 512
    assert long.tokens > long.limit == 512
    assert long.ignored


def test_a_prompt_of_another_family_is_refused_in_one_sentence(xl: Tiny, three: Tiny) -> None:
    (of_xl,), (of_three,) = xl.family.encode_text(FOX).entries, three.family.encode_text(FOX).entries
    for tiny, entry, wide in ((xl, of_three, "80 wide and the tiny model reads 72"),
                              (three, of_xl, "72 wide and the tiny model reads 80")):  # fmt: skip
        with pytest.raises(InvalidRequest, match=wide):
            room.sampled(tiny, (entry,), (entry,), empty(tiny.ctx, 64, 64, 1), sdxl.SETTINGS)
    bare = type(of_xl)(of_xl.embedding)
    with pytest.raises(InvalidRequest, match="no summary"):
        room.sampled(xl, (bare,), (bare,), empty(xl.ctx, 64, 64, 1), sdxl.SETTINGS)


def test_prompt_nodes_know_their_family(xl: Tiny) -> None:
    other = TextEncoderHandle(xl.handles()[1].weights, "sd15")
    nodes: tuple[Any, ...] = (encode_text_sdxl, encode_text_sdxl_refiner, encode_text_sd3)
    for encode in nodes:
        with pytest.raises(InvalidRequest, match=r"the text encoder is Stable Diffusion 1\.5’s"):
            encode(xl.ctx, other)
    (sized,) = encode_text_sdxl(xl.ctx, xl.handles()[1], 96, 80, 8, 16, 64, 72, text_g=FOX, text_l=FOX)
    assert dict(sized.extras) == {"size": (96, 80, 8, 16, 64, 72)}
    (scored,) = encode_text_sdxl_refiner(xl.ctx, xl.handles()[1], 7.5, 96, 80, FOX)
    assert dict(scored.extras) == {"size": (96, 80, 0, 0, 96, 80), "aesthetic_score": 7.5}


def test_told_sizes_change_the_picture(xl: Tiny) -> None:
    clip = xl.handles()[1]
    latent = empty(xl.ctx, 64, 64, 1)
    told = [encode_text_sdxl(xl.ctx, clip, w, 64, 0, 0, 64, 64, text_g=FOX, text_l=FOX) for w in (64, 640)]
    plain = encode_text(xl.ctx, clip, FOX)
    usual, wide, own = (room.sampled(xl, entry, entry, latent, sdxl.SETTINGS) for entry in (*told, plain))
    assert (usual == own).all()
    assert abs(usual - wide).max() > 1e-3


def test_a_missing_encoder_of_sdxl_is_named(xl: Tiny, tmp_path: Path) -> None:
    with pytest.raises(MissingModel, match="no text_encoder_2"):
        without(xl, "text_encoder_2").family.encode_text(FOX)


def test_presets_for_distilled_models_come_from_the_models_own_card() -> None:
    plain = FAMILIES["sdxl"]
    fast = with_overrides(plain, {"preset": "lightning"}, "tessera.json")
    assert (fast.width, fast.steps, fast.cfg, fast.sampler, fast.scheduler) == (1024, 4, 1.0, "euler", "simple")
    own = with_overrides(plain, {"preset": "lcm", "steps": 8}, "tessera.json")
    assert (own.steps, own.sampler) == (8, "lcm")
    assert all(with_overrides(plain, values, "a preset") for values in PRESETS.values())
    with pytest.raises(InvalidDocument, match="“preset” can't be"):
        with_overrides(plain, {"preset": "fastest"}, "tessera.json")


@pytest.mark.parametrize("name", ["sdxl", "sd3"])
def test_a_lora_reaches_the_denoiser_and_every_clip(request: pytest.FixtureRequest, tmp_path: Path, name: str) -> None:
    """The picture is that of a model with W + s·(α/r)·BA in the place of W; without the LoRA all is as before."""
    tiny: Tiny = request.getfixturevalue({"sdxl": "xl", "sd3": "three"}[name])
    network, layers = NETWORKS[name]
    changed = Tiny(tiny.folder, tiny.name)
    tensors: dict[str, torch.Tensor] = {}
    for part, prefix, layer in ((network[0], network[1], layers), *ENCODERS):
        named = dict(changed.module(part).named_parameters())
        # transformers 5 dropped the inner `text_model` of encoders without a projection; files have it.
        weight = named.get(f"{layer}.weight", named.get(f"{layer}.weight".removeprefix("text_model.")))
        assert weight is not None
        down, up = torch.randn(2, weight.shape[1]), torch.randn(weight.shape[0], 2)
        flat = f"{prefix}_{layer.replace('.', '_')}"
        tensors |= {f"{flat}.lora_down.weight": down, f"{flat}.lora_up.weight": up, f"{flat}.alpha": torch.tensor(1.0)}
        weight.data += 0.7 * 0.5 * (up @ down)
    (tiny.folder / "loras").mkdir(exist_ok=True)
    save_file(tensors, tiny.folder / "loras" / f"{name}.safetensors")
    patch = Patch("lora", (("weights", ModelRef(kind="lora", name=name)), ("strength", 0.7)))

    def picture(of: Tiny, patches: tuple[Patch, ...]) -> Any:
        positive, negative = (of.family.encode_text(text, 0, patches).entries for text in (FOX, "green"))
        latent = empty(of.ctx, 64, 64, 1)
        model = ModelHandle(of.handles()[0].weights, of.name, patches)
        made = k_sampler(of.ctx, model, positive, negative, latent, 42, 2, 5.0, "euler", "normal")
        return made.samples

    before = picture(tiny, ())
    with_lora = picture(tiny, (patch,))
    assert float((with_lora - picture(changed, ())).abs().max()) <= 1e-5 * float(with_lora.abs().max())
    assert float((with_lora - before).abs().max()) > 1e-2
    assert torch.equal(picture(tiny, ()), before)


NETWORKS = {
    "sdxl": (("unet", "lora_unet"), "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"),
    "sd3": (("transformer", "lora_transformer"), "transformer_blocks.0.attn.to_q"),
}
ENCODERS = (
    ("text_encoder", "lora_te1", "text_model.encoder.layers.0.mlp.fc1"),
    ("text_encoder_2", "lora_te2", "text_model.encoder.layers.1.mlp.fc1"),
)
