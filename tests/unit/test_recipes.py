"""Requests become workflows that can run, and come back from them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.contracts.errors import BadInput, InvalidRequest, UnknownChoice
from engine.contracts.job_spec import JobSpec, Sweep
from engine.contracts.references import BlobRef, ModelRef
from engine.contracts.workflow import Link
from engine.graph.bindings import runs_of, spec_of_run
from engine.graph.registry import Registry
from engine.graph.validate import problems
from engine.interchange.generation_settings import settings_of
from engine.prompts.wildcards import expand
from engine.recipes.build import BATCH_LIMIT, StyleText, build, request_of, title_of
from engine.recipes.checks import MAX_SEED
from engine.recipes.recommended import Recommended
from engine.recipes.request import ImageRequest
from engine.recipes.shapes import SHAPES, check_size, fit_size, shape, shape_of, shape_size, size_for
from engine.recipes.vocabulary import unknown_words, unknown_words_sentence

STARTER = Recommended(width=128, height=128, steps=25, cfg=4.0, sampler="ddim", scheduler="simple", multiple=8)
PICTURE = BlobRef(sha256="a" * 64, media_type="image/png", size=10, name="a.png")
MASK = BlobRef(sha256="b" * 64, media_type="image/png", size=10, name="m.png")
CIRCLE = ImageRequest(prompt="a red circle on a blue background", seed=7)


def inputs(spec: JobSpec, node: str) -> dict[str, object]:
    return dict(spec.workflow.node(node).inputs)


def test_what_is_left_open_comes_from_the_model() -> None:
    spec = build(CIRCLE, STARTER)
    sampler = inputs(spec, "sampler")
    assert (sampler["steps"], sampler["cfg"], sampler["sampler"], sampler["scheduler"]) == (25, 4.0, "ddim", "simple")
    assert (sampler["seed"], sampler["denoise"]) == (7, 1.0)
    assert inputs(spec, "latent") == {"width": 128, "height": 128, "batch_size": 1}
    assert inputs(spec, "prompt")["text"] == "a red circle on a blue background"


@pytest.mark.parametrize(
    "request_",
    [
        CIRCLE,
        replace(CIRCLE, negative="blurry", clip_skip=1, file_format="webp"),
        replace(CIRCLE, init=PICTURE, strength=0.4),
        replace(CIRCLE, init=PICTURE, mask=MASK),
        replace(CIRCLE, init=PICTURE, mask=MASK, mask_feather=4.0, count=3),
        replace(CIRCLE, count=20),
        replace(CIRCLE, model=ModelRef(name="other"), width=256, height=64, steps=3, cfg=1.5, sampler="euler"),
    ],
)
@pytest.mark.parametrize("inpainting", [False, True])
def test_every_request_is_a_valid_workflow_and_comes_back_from_its_json(
    request_: ImageRequest, inpainting: bool
) -> None:
    spec = build(request_, replace(STARTER, inpainting=inpainting))
    for overrides in runs_of(spec):
        assert problems(spec.workflow, Registry.builtin(), (), overrides) == []
    again = request_of(JobSpec.from_json(spec.to_json()))
    assert again is not None
    assert build(again, STARTER if not inpainting else replace(STARTER, inpainting=True)) == spec
    assert replace(again, width=request_.width, height=request_.height, steps=request_.steps, cfg=request_.cfg,
                   sampler=request_.sampler, scheduler=request_.scheduler) == request_  # fmt: skip


def test_a_changed_graph_is_no_request_any_more() -> None:
    spec = build(CIRCLE, STARTER)
    nodes = tuple(replace(n, inputs={**n.inputs, "steps": 30}) if n.id == "sampler" else n for n in spec.workflow.nodes)
    assert request_of(replace(spec, workflow=replace(spec.workflow, nodes=nodes))) is None
    moved = tuple(replace(n, position=(1.0, 2.0), title="mine") for n in spec.workflow.nodes)
    assert request_of(replace(spec, workflow=replace(spec.workflow, nodes=moved))) is not None
    assert request_of(JobSpec(workflow=replace(spec.workflow, extra={"recipe": {"request": 7}}))) is None


def test_a_style_is_laid_over_the_prompt_and_is_not_part_of_it() -> None:
    style = StyleText("artistic, painterly", "photograph")
    spec = build(replace(CIRCLE, negative="blurry,", style="artistic"), STARTER, style)
    assert inputs(spec, "prompt")["text"] == "a red circle on a blue background, artistic, painterly"
    assert inputs(spec, "negative")["text"] == "blurry, photograph"
    again = request_of(spec)
    assert again is not None
    assert (again.prompt, again.negative, again.style) == (CIRCLE.prompt, "blurry,", "artistic")


def test_many_pictures_run_in_batches_whose_seeds_count_on() -> None:
    spec = build(replace(CIRCLE, count=BATCH_LIMIT * 2 + 3), STARTER)
    assert spec.bindings["sampler.seed"] == Sweep((7, 7 + BATCH_LIMIT, 7 + 2 * BATCH_LIMIT))
    assert spec.bindings["latent.batch_size"] == Sweep((BATCH_LIMIT, BATCH_LIMIT, 3))
    assert build(replace(CIRCLE, count=BATCH_LIMIT), STARTER).bindings == {}
    with_picture = build(replace(CIRCLE, count=3, init=PICTURE), STARTER)
    assert with_picture.bindings == {"sampler.seed": Sweep((7, 8, 9))}


def test_a_picture_of_one_of_several_runs_comes_back_as_its_own_request() -> None:
    spec = build(replace(CIRCLE, count=BATCH_LIMIT * 2 + 3), STARTER)
    last = spec_of_run(spec, runs_of(spec)[2])
    again = request_of(last)
    assert again is not None
    assert (again.seed, again.count) == (7 + 2 * BATCH_LIMIT, 3)
    assert request_of(replace(last, bindings={"sampler.seed": 1})) is None


def test_inpainting_keeps_what_the_mask_leaves_by_compositing() -> None:
    spec = build(replace(CIRCLE, init=PICTURE, mask=MASK), STARTER)
    composite = inputs(spec, "composite")
    assert str(composite["destination"]) == str(inputs(spec, "encode")["image"])
    assert spec.workflow.node("save").inputs["image"] == spec.workflow.node("save").inputs["image"]
    nine = build(replace(CIRCLE, init=PICTURE, mask=MASK), replace(STARTER, inpainting=True))
    assert nine.workflow.node("latent").type == "condition.inpaint_model"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"prompt": "  "}, "The prompt is empty. Say in a few words what the picture should show."),
        ({"prompt": "word " * 10_000}, "The prompt has 10,000 words. At most 1,000 are read; shorten it."),
        ({"prompt": "x" * 30_000}, "The prompt has 30,000 characters. At most 20,000 are read; shorten it."),
        ({"width": 130}, "The width 130 is not divisible by 8. Use 128 or 136 for this model."),
        ({"height": 100_000}, "The height 100000 is out of range. Use 64 to 4096 pixels for this model."),
        ({"width": -8}, "The width -8 is out of range. Use 64 to 4096 pixels for this model."),
        ({"steps": 0}, "The number of steps 0 is out of range. Use 1 to 150."),
        ({"cfg": float("nan")}, "The guidance (cfg) nan is out of range. Use 1 to 30."),
        ({"strength": 1.5}, "The strength 1.5 is out of range. Use 0 to 1."),
        ({"count": 65}, "The number of pictures 65 is out of range. Use 1 to 64."),
        ({"seed": -1}, f"The seed -1 is out of range. Use 0 to {MAX_SEED:g}."),
        ({"sampler": "eulr"}, "There is no sampler “eulr”. Did you mean “euler” or “heun” or “euler_cfg_pp”?"),
        ({"mask": MASK}, "A mask needs a picture to work on. Give the picture whose masked part should be redrawn."),
    ],
)
def test_what_is_out_of_range_is_refused_in_one_sentence(changes: dict[str, object], sentence: str) -> None:
    request = ImageRequest.from_json({"prompt": "x"})
    with pytest.raises(BadInput) as refused:
        build(replace(request, **changes), STARTER)  # type: ignore[arg-type]
    assert str(refused.value) == sentence


def test_shapes_at_a_megapixel_are_the_known_table() -> None:
    sizes = {s.id: shape_size(s, 1024, 1024, 64, 256, 2048) for s in SHAPES}
    assert sizes == {
        "1:1": (1024, 1024), "16:9": (1344, 768), "9:16": (768, 1344), "4:3": (1152, 896), "3:4": (896, 1152),
        "2:3": (832, 1216), "3:2": (1216, 832),
    }  # fmt: skip
    assert [shape_of(*size).id for size in sizes.values()] == list(sizes)  # type: ignore[union-attr]
    assert shape_of(100, 700) is None
    with pytest.raises(UnknownChoice):
        shape("5:4")


@given(st.floats(0.2, 5.0), st.integers(64, 2048), st.sampled_from([8, 16, 64]))
def test_sizes_are_divisible_in_range_and_never_above_the_area(ratio: float, edge: int, multiple: int) -> None:
    width, height = size_for(ratio, edge * edge, multiple, 64, 8192)
    check_size(width, height, multiple, 64, 8192)
    lowest = -(-64 // multiple) * multiple
    assert width * height <= max(edge * edge, lowest * max(width, height), (min(width, height)) ** 2)


def test_an_input_picture_is_worked_on_at_the_models_area_in_its_own_shape() -> None:
    assert fit_size(4000, 3000, 128 * 128, 8, 64, 4096) == (144, 112)
    with pytest.raises(InvalidRequest):
        fit_size(0, 10, 128 * 128, 8, 64, 4096)


def test_a_style_can_say_where_the_prompt_goes() -> None:
    spec = build(replace(CIRCLE, style="oil"), STARTER, StyleText("oil painting of {prompt}, thick paint"))
    assert inputs(spec, "prompt")["text"] == f"oil painting of {CIRCLE.prompt}, thick paint"
    again = request_of(spec)
    assert again is not None
    assert again.prompt == CIRCLE.prompt


def test_only_prompts_that_change_on_the_way_know_the_steps() -> None:
    spec = build(replace(CIRCLE, prompt="a [red:blue:5] circle", negative="(dull:1.2)"), STARTER)
    assert inputs(spec, "prompt")["steps"] == 25
    assert "steps" not in inputs(spec, "negative")
    assert "steps" not in inputs(build(CIRCLE, STARTER), "prompt")
    again = request_of(spec)
    assert again is not None
    assert again.prompt == "a [red:blue:5] circle"


def test_wildcards_are_chosen_in_the_graph_for_each_picture_anew() -> None:
    request = replace(CIRCLE, prompt="a {red|blue} circle", count=3)
    spec = build(request, STARTER)
    assert str(inputs(spec, "prompt")["text"]) == str(Link("prompt_choices", "text"))
    assert inputs(spec, "prompt_choices") == {"text": "a {red|blue} circle", "seed": 7}
    assert spec.bindings == {"prompt_choices.seed": Sweep((7, 8, 9)), "sampler.seed": Sweep((7, 8, 9))}
    for overrides in runs_of(spec):
        assert problems(spec.workflow, Registry.builtin(), (), overrides) == []
    last = spec_of_run(spec, runs_of(spec)[2])
    again = request_of(last)
    assert again is not None
    assert (again.prompt, again.seed, again.count) == ("a {red|blue} circle", 9, 1)
    assert settings_of(last).prompt == expand("a {red|blue} circle", 9)
    assert {"prompt_choices"} <= {field.node for field in spec.workflow.form if field.input == "text"}


def test_the_grammar_is_no_unknown_word() -> None:
    known = ("red", "circle", "blue", "tree")
    text = (
        "(red:1.2) [circle::0.5] BREAK {2$$red|3::blue} __animals/birds__ AND a (tree) :0.7 <lora:ink style:0.8> "
        "embedding:fog-v2 <hypernet:x>, <lora:half ty"
    )
    assert unknown_words(text, known) == []
    assert unknown_words("(dragon:1.2) [cat|dog] {hen|red} break", known) == ["dragon", "cat", "dog", "hen", "break"]


def test_words_outside_a_small_vocabulary_are_found_and_said() -> None:
    known = ("red", "circle", "background", "blue", "snow", "next")
    assert unknown_words("A red circle, next to two Dragons on a (blue:1.2) background <lora:x:1>", known) == [
        "two", "Dragons",
    ]  # fmt: skip
    assert unknown_words("circles of snow-blue", known) == []
    assert unknown_words("anything at all", ()) == []
    assert unknown_words_sentence(["dragon"]) == ("This model was never shown “dragon”: what it draws for it is luck.")
    assert unknown_words_sentence([]) == ""


def test_titles_are_short_and_whole_words() -> None:
    assert title_of("one  two\nthree") == "one two three"
    long = title_of("word " * 100)
    assert len(long) <= 61
    assert long.endswith("word…")
