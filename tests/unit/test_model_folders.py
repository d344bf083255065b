"""A model folder is identified from its small files, and refused with one sentence when it is not safe or not whole."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.contracts.errors import BadInput, InvalidDocument, InvalidRequest, MissingModel, TesseraError, UnsafeModel
from engine.contracts.references import ModelRef
from engine.families.defaults import check_size, family_defaults
from engine.memory.shelf import held_by
from engine.models.fingerprint import identify_folder
from engine.sampling.session import Session
from tests.benchmarks.tiny_models import STARTER, write_tiny_sd15


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(STARTER, tmp_path / "model"))


def edit(path: Path, **changes: Any) -> None:
    data = json.loads(path.read_text(encoding="utf-8"))
    data.update(changes)
    path.write_text(json.dumps(data), encoding="utf-8")


def test_the_starter_model_is_known_without_torch() -> None:
    script = (
        "import sys; from pathlib import Path; from engine.models.fingerprint import identify_folder;"
        f"info = identify_folder(Path({str(STARTER)!r}));"
        "assert info.family == 'sd15' and info.variant == 'normal' and info.parameters > 5_000_000, info;"
        "assert info.notice and 'red' in info.vocabulary and info.licence == 'Apache-2.0';"
        "assert info.defaults.width == info.defaults.height <= 256;"
        "bad = {'torch', 'diffusers', 'transformers', 'numpy'} & set(sys.modules); assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=STARTER.parents[1])


def test_nine_channels_are_an_inpainting_model(tmp_path: Path) -> None:
    info = identify_folder(write_tiny_sd15(tmp_path, channels=9))
    assert (info.variant, info.defaults.width) == ("inpaint", 64)


def test_a_fingerprint_follows_the_weights(folder: Path) -> None:
    before = identify_folder(folder).fingerprint
    edit(folder / "unet" / "config.json", sample_size=32)
    assert identify_folder(folder).fingerprint != before


def test_weights_trained_anew_in_place_are_another_model(folder: Path) -> None:
    session = Session(_At(folder))
    before = session.identify(ModelRef(name="x")).fingerprint
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    data = bytearray(path.read_bytes())
    data[-100:] = bytes(100)  # same header, same size, other numbers
    path.write_bytes(data)
    assert session.identify(ModelRef(name="x")).fingerprint != before


def code(folder: Path) -> None:
    (folder / "unet" / "pipeline.py").write_text("open('/tmp/canary', 'w')", encoding="utf-8")


def pickle(folder: Path) -> None:
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"\x80\x04.")


def auto_map(folder: Path) -> None:
    edit(folder / "text_encoder" / "config.json", auto_map={"AutoModel": "evil.Model"})


def foreign_library(folder: Path) -> None:
    edit(folder / "model_index.json", unet=["evil", "UNet"])


def class_list(folder: Path) -> None:
    edit(folder / "model_index.json", _class_name=["os", "system"])


def custom_pipeline(folder: Path) -> None:
    edit(folder / "model_index.json", custom_pipeline="somebody/else")


def odd_part(folder: Path) -> None:
    edit(folder / "model_index.json", unet=["diffusers", ["a", "b"]])


def outward_link(folder: Path) -> None:
    (folder / "vae" / "more.json").symlink_to("/etc/hostname")


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (code, "program code"),
        (pickle, "is a pickle"),
        (auto_map, "remote code"),
        (foreign_library, "wants code from “evil”"),
        (class_list, "_class_name"),
        (custom_pipeline, "remote code"),
        (odd_part, "must not have"),
        (outward_link, "leads out of the folder"),
    ],
)
def test_unsafe_folders_are_refused(folder: Path, harm: Callable[[Path], None], sentence: str) -> None:
    harm(folder)
    with pytest.raises(UnsafeModel, match=sentence):
        identify_folder(folder)
    with pytest.raises(UnsafeModel):
        Session(_At(folder)).family(ModelRef(name="x"))


class _At:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def locate(self, ref: ModelRef) -> Path:
        return self.folder


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "tokenizer", "scheduler"])
def test_a_missing_part_is_named_with_its_path(folder: Path, part: str) -> None:
    shutil.rmtree(folder / part)
    with pytest.raises(MissingModel) as caught:
        identify_folder(folder)
    assert f"This folder has no {part}" in str(caught.value) or f"this folder has no {part}" in str(caught.value)
    assert str(folder / part) in str(caught.value)


def test_missing_weights_are_named_with_their_path(folder: Path) -> None:
    (folder / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(MissingModel) as caught:
        identify_folder(folder)
    assert str(folder / "vae" / "diffusion_pytorch_model.safetensors") in str(caught.value)


def test_folders_that_are_no_models_say_so(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(MissingModel, match="no model folder"):
        identify_folder(tmp_path / "nowhere")
    with pytest.raises(MissingModel, match="not a diffusers model"):
        identify_folder(tmp_path)
    edit(folder / "model_index.json", _class_name="PixArtSigmaPipeline")
    with pytest.raises(BadInput, match="PixArtSigmaPipeline"):
        identify_folder(folder)


def test_a_wrong_card_names_its_field(folder: Path) -> None:
    edit(folder / "tessera.json", defaults={"steps": "many"})
    with pytest.raises(InvalidDocument, match="steps"):
        identify_folder(folder)


def test_weights_that_do_not_fit_their_config_are_one_sentence(folder: Path) -> None:
    edit(folder / "unet" / "config.json", block_out_channels=[32, 64, 96])
    session = Session(_At(folder))
    with pytest.raises(TesseraError) as caught:
        session.warm(ModelRef(name="x"))
    assert str(folder / "unet") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_session_keeps_parts_within_its_budget(folder: Path) -> None:
    session = Session(_At(folder), budget_bytes=1)
    session.warm(ModelRef(name="x"))
    assert sum(held_by(part).copies > 0 for _, part in session.shelf.items()) <= 1
    roomy = Session(_At(folder))
    roomy.warm(ModelRef(name="x"))
    assert len(roomy.shelf) == 5
    assert roomy.resident_bytes > 20_000_000
    family = roomy.family(ModelRef(name="x"))
    assert roomy.family(ModelRef(name="y")) is family
    roomy.free()
    assert roomy.resident_bytes == 0


def test_sizes_are_checked_with_the_nearest_right_one() -> None:
    limits = family_defaults("sd15")
    check_size(512, 768, limits)
    for width, height, nearest in ((513, 512, "512×512"), (8, 512, "64×512"), (10**9, 64, "8192×64")):
        with pytest.raises(InvalidRequest, match=nearest):
            check_size(width, height, limits)
