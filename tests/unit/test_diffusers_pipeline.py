"""Any other diffusers folder runs through diffusers' own pipeline class, and nothing else of it runs."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.contracts.errors import BadInput, Cancelled, MissingModel, UnsafeModel
from engine.contracts.references import ModelRef
from engine.models.any_pipeline import load_pipeline
from engine.nodes.sample.diffusers_pipeline import diffusers_pipeline
from studio_app.models.index import ModelIndex
from tests.benchmarks.tiny_models import STARTER
from tests.families import room
from tests.unit.single_file_room import At

CPU = torch.device("cpu")
REF = ModelRef(kind="other", name="pixart")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from diffusers import DPMSolverMultistepScheduler, PixArtTransformer2DModel

    torch.manual_seed(0)
    made = tmp_path_factory.mktemp("pipelines") / "pixart"
    PixArtTransformer2DModel(
        sample_size=8, num_layers=1, patch_size=2, attention_head_dim=8, num_attention_heads=2, caption_channels=32,
        in_channels=4, cross_attention_dim=16, out_channels=8, norm_num_groups=1, use_additional_conditions=False,
    ).save_pretrained(made / "transformer")  # fmt: skip
    room.write_autoencoder(made / "vae")
    words = room.write_t5_tokenizer(made / "tokenizer")
    room.write_t5(made / "text_encoder", words, 32)
    DPMSolverMultistepScheduler().save_pretrained(made / "scheduler")
    return room.write_index(made, "PixArtSigmaPipeline")


def test_it_draws_what_the_pipeline_draws(folder: Path) -> None:
    import diffusers

    ctx: Any = At(pixart=folder)
    steps: list[tuple[float, float]] = []
    ctx.progress = lambda done, total, text="": steps.append((done, total))
    made = diffusers_pipeline(ctx, REF, "red", "green", 64, 64, 3, 2.0, 7)
    theirs = diffusers.PixArtSigmaPipeline.from_pretrained(folder, local_files_only=True)
    theirs.set_progress_bar_config(disable=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # diffusers' own schedulers on a new numpy
        wanted = theirs(
            "red", negative_prompt="green", width=64, height=64, num_inference_steps=3, guidance_scale=2.0,
            generator=torch.Generator().manual_seed(7), output_type="np", use_resolution_binning=False,
        ).images  # fmt: skip
    np.testing.assert_array_equal(made, wanted)
    assert made.shape == (1, 64, 64, 3)
    assert made.dtype == np.float32
    assert steps == [(0, 3), (1, 3), (2, 3), (3, 3)]
    diffusers_pipeline(ctx, REF, "red", image=np.zeros((1, 64, 64, 3), np.float32), width=64, height=64, steps=1)
    assert ctx.logs == ["PixArtSigmaPipeline has no use for the picture."]
    assert ctx.session.resident_bytes > 0


def test_it_is_left_after_the_step_it_is_in(folder: Path) -> None:
    ctx: Any = At(pixart=folder)
    done: list[float] = []
    ctx.progress = lambda now, total, text="": done.append(now)

    def check() -> None:
        if len(done) == 2:
            raise Cancelled

    ctx.check_cancelled = check
    with pytest.raises(Cancelled):
        diffusers_pipeline(ctx, REF, "red", width=64, height=64, steps=5)
    assert done == [0, 1]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"_class_name": ["pixart", "PixArtSigmaPipeline"]}, "something other than text"),
        ({"_class_name": "os"}, "no pipeline “os”"),
        ({"_class_name": "AutoencoderKL"}, "no pipeline “AutoencoderKL”"),
        ({"custom_pipeline": "somebody/else"}, "remote code"),
        ({"trust_remote_code": True}, "remote code"),
        ({"vae": ["pipeline", "Evil"]}, "wants code from “pipeline”"),
        ({"vae": ["diffusers", "Evil"]}, "its vae is a “Evil”"),
    ],
)
def test_what_could_run_code_is_refused(folder: Path, change: dict[str, Any], sentence: str) -> None:
    path = folder / "model_index.json"
    before = path.read_bytes()
    try:
        room.write_json(path, {**room.read_json(path), **change})
        with pytest.raises(UnsafeModel, match=sentence):
            load_pipeline(folder, CPU, torch.float32)
    finally:
        path.write_bytes(before)


def test_a_folder_of_another_family_is_listed_for_that_node_only(folder: Path) -> None:
    index = ModelIndex(STARTER, lambda: [folder.parent])
    assert [entry.name for entry in index.list("other")] == ["pixart"]
    assert [entry.name for entry in index.list()] == ["starter"]
    assert index.locate(REF) == folder
    with pytest.raises(MissingModel):
        index.locate(ModelRef(name="pixart"))
    with pytest.raises(BadInput, match="“Run a diffusers pipeline”"):
        At(pixart=folder).session.family(ModelRef(name="pixart"))
