"""Larger pictures: what a request to enlarge becomes, and that the first picture is the one that would have been."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from engine.contracts.errors import BadInput
from engine.contracts.job_spec import JobSpec, Sweep
from engine.contracts.references import BlobRef, ModelRef
from engine.contracts.workflow import Link
from engine.families.protocol import BindRequest
from engine.graph.bindings import runs_of, spec_of_run
from engine.graph.cache import ValueCache
from engine.graph.execute import execute
from engine.graph.registry import Registry
from engine.graph.services import Services
from engine.graph.validate import problems
from engine.interchange.generation_settings import settings_of
from engine.memory.workload import work_of as planned_work_of
from engine.recipes.build import build, request_of
from engine.recipes.enlarge import Enlarge, Sizes, enlarge_from, sizes_of, target_size
from engine.recipes.margins import Margins
from engine.recipes.recommended import Recommended
from engine.recipes.request import ImageRequest
from engine.sampling.session import Session
from engine.sampling.windows import Guide, WindowedFamily, Windows
from studio_app.documents.create_session import CreateSession, ModelFacts, work_of
from studio_app.store.blobs import Blobs
from tests.contract.test_templates import Models
from tests.unit.sampling_room import Recorder, handles

STARTER = Recommended(
    width=128, height=128, steps=25, cfg=2.0, sampler="ddim", scheduler="simple",
    redraw_reach=1.0, redraw_strength=0.04, redraw_prompt=False,
)  # fmt: skip
SD15 = Recommended(redraw_reach=4.0)
PICTURE = BlobRef(sha256="a" * 64, media_type="image/png", size=10, name="a.png")
UPSCALER = ModelRef(kind="upscaler", name="4x")
CIRCLE = ImageRequest(prompt="a red circle on a blue background", seed=7)
TWICE = replace(CIRCLE, enlarge=Enlarge(factor=2))


def nodes(spec: JobSpec) -> dict[str, str]:
    return {node.id: node.type for node in spec.workflow.nodes}


def inputs(spec: JobSpec, node: str) -> Mapping[str, Any]:
    return spec.workflow.node(node).inputs


def test_a_second_pass_goes_through_pixels_and_draws_in_one_go_where_the_model_can() -> None:
    spec = build(TWICE, SD15)
    assert (inputs(spec, "latent")["width"], inputs(spec, "latent")["height"]) == (512, 512)
    assert inputs(spec, "enlarged")["image"] == Link("decode", "image")
    assert (inputs(spec, "enlarged")["width"], inputs(spec, "enlarged")["height"]) == (1024, 1024)
    second = inputs(spec, "second")
    assert nodes(spec)["second"] == "sample.k_sampler"
    assert second["latent"] == Link("enlarged_latent", "latent")
    assert (second["denoise"], second["steps"], second["seed"], second["cfg"]) == (0.4, 25, 7, 7.0)
    assert second["positive"] == Link("prompt", "conditioning")
    assert inputs(spec, "save")["image"] == Link("decode_second", "image")


def test_beyond_the_models_reach_it_goes_by_windows_that_follow_the_first_picture() -> None:
    for request, model in (
        (replace(CIRCLE, enlarge=Enlarge(factor=2.25)), SD15),
        (replace(CIRCLE, enlarge=Enlarge(factor=2, how="tiles")), SD15),
    ):
        second = inputs(build(request, model), "second")
        assert (second["tile_size"], second["overlap"], second["guide"]) == (512, 128, Link("sampler", "latent"))
    spec = build(TWICE, STARTER)
    second = inputs(spec, "second")
    assert (second["tile_size"], second["overlap"], second["denoise"], second["steps"]) == (128, 64, 0.04, 100)
    assert (second["positive"], second["cfg"]) == (Link("no_prompt", "conditioning"), 1.0)
    told = build(replace(CIRCLE, enlarge=Enlarge(factor=2, prompt=True, strength=0.3, steps=9)), STARTER)
    assert inputs(told, "second")["positive"] == Link("prompt", "conditioning")
    assert (inputs(told, "second")["cfg"], inputs(told, "second")["steps"]) == (2.0, 9)


def test_the_first_picture_is_never_larger_than_the_models_area() -> None:
    spec = build(replace(CIRCLE, width=768, height=512, enlarge=Enlarge(factor=2)), SD15)
    first = inputs(spec, "latent")
    assert first["width"] * first["height"] <= 512 * 512
    assert first["width"] / first["height"] == pytest.approx(1.5, rel=0.06)
    assert (inputs(spec, "enlarged")["width"], inputs(spec, "enlarged")["height"]) == (1536, 1024)
    again = request_of(spec)
    assert again is not None
    assert (again.width, again.height) == (768, 512)


def test_a_picture_is_enlarged_as_it_is_without_being_drawn() -> None:
    as_is = replace(CIRCLE, init=PICTURE, width=500, height=301, enlarge=Enlarge(factor=3, as_is=True))
    spec = build(as_is, SD15)
    assert "sampler" not in nodes(spec)
    assert (inputs(spec, "enlarged")["width"], inputs(spec, "enlarged")["height"]) == (1504, 904)
    assert inputs(spec, "enlarged")["image"] == Link("picture", "image")
    assert inputs(spec, "second")["guide"] == Link("small_latent", "latent")
    assert (inputs(spec, "small")["width"], inputs(spec, "small")["height"]) == (496, 304)
    assert settings_of(spec, "save").prompt == CIRCLE.prompt  # a tiled sampler says what it was told
    assert request_of(JobSpec.from_json(spec.to_json())) == replace(
        as_is, steps=25, cfg=7.0, sampler="euler", scheduler="normal",
        enlarge=replace(as_is.enlarge, strength=0.4, steps=25, prompt=True),
    )  # fmt: skip
    wordless = build(
        replace(as_is, prompt=""), STARTER
    )  # 500 × 301 is more than the starter draws: its copy is smaller
    assert "prompt" not in nodes(wordless)
    assert inputs(wordless, "small")["width"] * inputs(wordless, "small")["height"] <= 128 * 128


def test_an_upscaler_enlarges_the_pixels_or_does_it_alone() -> None:
    both = build(replace(CIRCLE, enlarge=Enlarge(factor=2, upscaler=UPSCALER)), SD15)
    assert inputs(both, "enlarged")["image"] == Link("upscale", "image")
    assert inputs(both, "upscaler")["upscaler"] == UPSCALER
    alone = build(replace(CIRCLE, enlarge=Enlarge(factor=1.7, how="network", upscaler=UPSCALER)), SD15)
    assert (inputs(alone, "enlarged")["width"], inputs(alone, "enlarged")["height"]) == (870, 870)
    assert inputs(alone, "save")["image"] == Link("enlarged", "image")
    assert "second" not in nodes(alone)
    only = replace(
        CIRCLE, init=PICTURE, count=4, enlarge=Enlarge(factor=2, how="network", upscaler=UPSCALER, as_is=True)
    )
    assert build(only, SD15).bindings == {}  # four times the same would be no use


@pytest.mark.parametrize("model", [SD15, STARTER, replace(SD15, inpainting=True)])
@pytest.mark.parametrize(
    "request_",
    [
        TWICE,
        replace(CIRCLE, count=20, enlarge=Enlarge(width=1000, height=600)),
        replace(CIRCLE, init=PICTURE, strength=0.4, enlarge=Enlarge(factor=1.5, strength=0.2, steps=12)),
        replace(CIRCLE, init=PICTURE, mask=PICTURE, enlarge=Enlarge(factor=2, how="tiles", prompt=False)),
        replace(CIRCLE, init=PICTURE, margins=Margins(left=64, top=24), enlarge=Enlarge(factor=3)),
        replace(CIRCLE, init=PICTURE, count=3, enlarge=Enlarge(factor=4, as_is=True)),
        replace(CIRCLE, prompt="a {red|blue} circle", enlarge=Enlarge(factor=2, upscaler=UPSCALER)),
        replace(CIRCLE, prompt="x <lora:y:0.5>", clip_skip=1, fast=True, enlarge=Enlarge(factor=8)),
    ],
)
def test_every_such_request_is_a_valid_workflow_and_comes_back_from_its_json(
    request_: ImageRequest, model: Recommended
) -> None:
    spec = build(request_, model)
    for overrides in runs_of(spec):
        assert problems(spec.workflow, Registry.builtin(), (), overrides) == []
    again = request_of(JobSpec.from_json(spec.to_json()))
    assert again is not None
    assert build(again, model) == spec
    assert again.enlarge.factor == request_.enlarge.factor
    for run in runs_of(spec):
        of_run = request_of(spec_of_run(spec, run))
        assert of_run is not None
        assert of_run.enlarge == again.enlarge


def test_every_picture_of_several_has_its_own_seed_in_both_passes() -> None:
    spec = build(replace(TWICE, init=PICTURE, count=3), SD15)
    assert spec.bindings == {"sampler.seed": Sweep((7, 8, 9)), "second.seed": Sweep((7, 8, 9))}
    as_is = build(replace(CIRCLE, init=PICTURE, count=2, enlarge=Enlarge(factor=2, as_is=True)), SD15)
    assert as_is.bindings == {"second.seed": Sweep((7, 8))}
    last = request_of(spec_of_run(as_is, runs_of(as_is)[1]))
    assert last is not None
    assert (last.seed, last.count) == (8, 1)


def test_at_least_four_steps_are_really_done() -> None:
    for strength, steps in ((0.04, 100), (0.1, 40), (0.3, 25), (1.0, 25), (0.001, 150)):
        spec = build(replace(CIRCLE, enlarge=Enlarge(factor=2, strength=strength)), SD15)
        assert inputs(spec, "second")["steps"] == steps


def test_sizes_are_whole_multiples_where_something_is_drawn() -> None:
    assert target_size(Enlarge(factor=1.5), (104, 160), 16) == (160, 240)
    assert target_size(Enlarge(factor=1.5, how="network"), (105, 161), 16) == (158, 242)
    assert target_size(Enlarge(width=1000, height=1000), (500, 500), 16) == (992, 992)
    assert sizes_of(Enlarge(factor=2), (1024, 1024), Recommended(width=1024, height=1024), drawn=True) == Sizes(
        first_width=1024, first_height=1024, width=2048, height=2048, window=1024
    )
    assert sizes_of(Enlarge(factor=1.5), (1024, 1024), Recommended(width=1024, height=1024), drawn=True).window == 0


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"enlarge": Enlarge(factor=9)}, "enlarging: the factor 9 is out of range. Use 1 to 8."),
        ({"enlarge": Enlarge(factor=float("nan"))}, "enlarging: the factor nan is out of range. Use 1 to 8."),
        ({"enlarge": Enlarge(factor=2, strength=1.5)}, "enlarging: the strength 1.5 is out of range. Use 0 to 1."),
        ({"enlarge": Enlarge(factor=2, steps=0)}, "enlarging: the number of steps 0 is out of range. Use 1 to 150."),
        ({"enlarge": Enlarge(factor=2, how="tilse")}, "There is no way to enlarge “tilse”. Did you mean “tiles”?"),
        ({"enlarge": Enlarge(width=900)}, "enlarging: a size needs a width and a height. Write it like 1024x1024."),
        ({"enlarge": Enlarge(width=64, height=900)},
         "enlarging: 64 × 896 pixels are fewer than the 512 × 512 it starts from. Choose a larger size."),
        ({"enlarge": Enlarge(width=9000, height=9000)},
         "enlarging: 9000 × 9000 is more than 8 times 512 × 512. Choose a smaller size."),
        ({"enlarge": Enlarge(factor=8), "width": 2048, "height": 1024},
         "enlarging: the enlarged picture would be 16384 × 8192 pixels. "
         "At most 16,384 a side and 120 megapixels are made."),
        ({"enlarge": Enlarge(factor=2, how="network")},
         "enlarging: no upscaler is named. Name one, or choose another way to enlarge."),
        ({"enlarge": Enlarge(factor=2, upscaler=ModelRef(name="sd15"))},
         "enlarging: “sd15” is no upscaler. Choose a model of that kind."),
        ({"enlarge": Enlarge(factor=2, as_is=True)},
         "enlarging: there is no picture to enlarge. Give the picture to start from."),
        ({"enlarge": Enlarge(factor=2, as_is=True), "init": PICTURE, "mask": PICTURE},
         "enlarging: a picture is either enlarged as it is or changed first. Leave one of them out."),
        ({"prompt": "", "enlarge": Enlarge(factor=2)},
         "The prompt is empty. Say in a few words what the picture should show."),
    ],
)  # fmt: skip
def test_what_can_not_be_enlarged_is_refused_in_one_sentence(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadInput) as refused:
        build(replace(CIRCLE, **changes), SD15)
    assert str(refused.value) == sentence


def test_how_much_is_read_from_words() -> None:
    assert enlarge_from("2") == enlarge_from(" 2x ") == {"factor": 2.0}
    assert enlarge_from("1.5×") == {"factor": 1.5}
    assert enlarge_from("1024X768") == {"width": 1024, "height": 768}
    for text in ("", "x", "large", "2x3x4", "nan", "1e999"):
        with pytest.raises(ValueError, match="says not how much"):
            enlarge_from(text)


def as_is(session: CreateSession) -> bool:
    return session.request.enlarge.as_is


def test_create_enlarges_a_picture_that_comes_as_it_is_and_forgets_that_with_it() -> None:
    session = CreateSession(ModelFacts(SD15))
    session.update(prompt="a circle")
    session.set_enlarge(factor=2.0)
    assert session.made_size == (1024, 1024)
    assert not as_is(session)
    session.start_from(PICTURE, 300, 200)
    assert as_is(session)
    assert (session.size, session.made_size) == ((300, 200), (600, 400))
    session.set_enlarge(as_is=False)
    assert (session.size, session.made_size) == ((624, 416), (1248, 832))
    session.set_enlarge(factor=1.0)
    session.set_enlarge(factor=2.0)
    assert (as_is(session), session.size) == (True, (300, 200))
    session.update(prompt="")
    assert session.problems() == {}
    assert [request.prompt for request in session.requests()] == [""]
    session.update(margins=Margins(left=8))
    assert not as_is(session)
    session.update(init=None)
    assert set(session.problems()) == {"prompt"}
    session.set_enlarge(factor=9.0)
    assert session.problems()["enlarge"] == "enlarging: the factor 9 is out of range. Use 1 to 8."
    session.set_enlarge(factor=1.0)
    assert session.made_size == session.size == (624, 416)
    again = CreateSession(ModelFacts(SD15))
    session.set_enlarge(factor=3.0, how="tiles", strength=0.2)
    assert again.restore(session.to_json())
    assert again.request.enlarge == Enlarge(factor=3.0, how="tiles", strength=0.2)


def test_what_a_file_of_settings_may_hold_never_stops_create() -> None:
    session = CreateSession(ModelFacts(SD15))
    for enlarge in ({"factor": 1e308}, {"factor": -2}, {"how": "none", "factor": 2}, {"width": -5, "height": 3}):
        assert session.restore({"request": {**CIRCLE.to_json(), "enlarge": enlarge}})
        assert min(session.made_size) > 0
        assert "enlarge" in session.problems()
        assert work_of(session.settled, session.size, session.steps) > 0


def test_the_work_of_the_second_pass_is_foreseen() -> None:
    size = (512, 512)
    once = work_of(CIRCLE, size, 25)
    assert work_of(replace(CIRCLE, enlarge=Enlarge(factor=2, strength=0.4)), size, 25) == once + once * 4 * 0.4
    assert work_of(
        replace(CIRCLE, init=PICTURE, enlarge=Enlarge(factor=2, strength=0.4, as_is=True)), size, 25
    ) == once * 4 * 0.4  # fmt: skip
    session = CreateSession(ModelFacts(STARTER))
    session.set_enlarge(factor=2.0)  # with what the model recommends: 4 of 100 steps
    assert work_of(session.settled, (128, 128), 25) == 128 * 128 * 25 + 256 * 256 * 4


def _saved(spec: JobSpec, folder: Path, session: Any, models: Any) -> np.ndarray[Any, Any]:
    """The picture that a job saves, with few steps in its first pass. Nothing is kept from one run to the next."""
    quick = tuple(
        replace(n, inputs={**n.inputs, "steps": 4} if n.id == "sampler" else n.inputs) for n in spec.workflow.nodes
    )
    result = execute(
        replace(spec, workflow=replace(spec.workflow, nodes=quick)), registry=Registry.builtin(),
        services=Services(blobs=Blobs(folder / "blobs"), models=models, session=session), cache=ValueCache(1 << 28),
        on_event=lambda event: None,
    )  # fmt: skip
    assert result.outcome == "succeeded", [str(failure) for failure in result.failures]
    (artifact,) = [artifact for node, artifact in result.artifacts if node == "save"]
    return np.asarray(Image.open(io.BytesIO(artifact.data)).convert("RGB")).astype(int)


def test_the_first_pass_is_bit_for_bit_the_picture_without_enlarging(tmp_path: Path) -> None:
    models = Models()
    session, small = Session(models), replace(STARTER, width=64, height=64)
    plain, spec = build(CIRCLE, small), build(TWICE, small)
    nodes_ = tuple(
        replace(n, inputs={**n.inputs, "image": Link("decode", "image")}) if n.id == "save" else n
        for n in spec.workflow.nodes
    )
    first = replace(spec, workflow=replace(spec.workflow, nodes=nodes_))  # what the second pass is given
    once, given, large = (_saved(one, tmp_path, session, models) for one in (plain, first, spec))
    session.free()
    assert np.array_equal(once, given)
    assert large.shape == (128, 128, 3)
    copy = large.reshape(64, 2, 64, 2, 3).mean((1, 3))
    assert 10 * np.log10(255**2 / ((copy - once) ** 2).mean()) > 26


def test_a_plan_finds_both_passes_with_their_sizes_and_windows() -> None:
    def runs(request: ImageRequest, model: Recommended) -> dict[str, tuple[int, int, int, int]]:
        found = planned_work_of(build(request, model).workflow, Registry.builtin())
        return {w.node: (r.width, r.height, r.window, r.steps) for w in found if (r := w.request) is not None}

    assert runs(TWICE, SD15) == {"sampler": (512, 512, 0, 25), "second": (1024, 1024, 0, 10)}
    tiled = replace(CIRCLE, enlarge=Enlarge(factor=4, upscaler=UPSCALER))
    assert runs(tiled, SD15) == {"sampler": (512, 512, 0, 25), "second": (2048, 2048, 512, 10)}
    as_is = replace(CIRCLE, init=PICTURE, width=640, height=480, enlarge=Enlarge(factor=2, as_is=True))
    assert runs(as_is, SD15) == {"second": (1280, 960, 512, 10)}


def test_what_a_small_latent_says_of_its_border_does_not_spread_into_the_large_one() -> None:
    """The outermost cells of a latent also say that the picture ends there; enlarged they would be a dark strip."""
    ctx: Any = Recorder()
    model, _, positive, negative = handles(ctx)
    family = ctx.session.denoiser(model)

    class Still:
        """Foresees nothing but what is there."""

        def __getattr__(self, name: str) -> Any:
            return getattr(family, name)

        def bind(self, request: BindRequest) -> Any:
            return type("Bound", (), {"predict": lambda self, x, timestep, fraction: torch.zeros_like(x)})()

    def pulled(guide: torch.Tensor) -> torch.Tensor:
        windowed = WindowedFamily(Still(), Windows(16, 8, guide=Guide(guide, 1.0)), lambda: None)
        bound = windowed.bind(BindRequest(positive, negative, 1.0, (1, 4, 32, 32)))
        return bound.predict(torch.zeros(1, 4, 32, 32), torch.tensor(500.0), 0.5).abs().mean((0, 1))

    border, inside = torch.zeros(1, 4, 8, 8), torch.zeros(1, 4, 8, 8)
    border[..., -1, :], inside[..., -2, :] = 5.0, 5.0
    assert float(pulled(border).max()) == 0.0
    strip = pulled(inside).mean(1)
    assert float(strip[-4:].mean()) > 0.8 * float(strip[-8:-4].mean()) > 0  # it follows the cells beside it
