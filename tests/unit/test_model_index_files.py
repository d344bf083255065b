"""Files beside diffusers folders: every kind is found for nodes, checkpoints also for Create's chooser."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.contracts.errors import MissingModel
from engine.contracts.references import ModelRef
from studio_app.application import Application
from tests.unit.model_headers import ldm_unet, prefixed, write_safetensors

CLIP = {
    f"text_model.encoder.layers.{i}.mlp.fc1.weight": (3072, 768) for i in range(12)
} | {"text_model.embeddings.token_embedding.weight": (49408, 768)}  # fmt: skip
VAE = {"decoder.conv_in.weight": (512, 4, 3, 3), "decoder.mid.block_1.conv1.weight": (512, 512, 3, 3)}
UNET = prefixed("model.diffusion_model.", ldm_unet(768))
LORA = {
    "lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight": (4, 320),
    "lora_unet_down_blocks_0_attentions_0_proj_in.lora_up.weight": (320, 4),
}


@pytest.fixture
def app(tmp_path: Path) -> Application:
    made = Application(tmp_path / "data")
    models = made.paths.models
    for place in ("checkpoints/deep", "vae", "loras", "text_encoders", "diffusion_models"):
        (models / place).mkdir(parents=True)
    write_safetensors(models / "checkpoints/deep/photo.safetensors", UNET | prefixed("first_stage_model.", VAE))
    write_safetensors(models / "diffusion_models/bare.safetensors", UNET)
    write_safetensors(models / "vae/sharp.safetensors", VAE)
    write_safetensors(models / "loras/style.safetensors", LORA)
    write_safetensors(models / "text_encoders/clip_l.safetensors", CLIP)
    return made


def test_a_checkpoint_in_one_file_is_chosen_like_a_folder(app: Application) -> None:
    found = app.models.find(str(app.paths.models / "checkpoints/deep/photo.safetensors"))
    assert app.models.locate(ModelRef(name="photo")) == found.path
    entry = app.models.entry(ModelRef(name="photo"))
    assert [item.name for item in app.models.list()] == ["starter", "photo"]
    assert (entry.family, entry.info.variant, entry.defaults.width, entry.defaults.height) == (
        "sd15",
        "normal",
        512,
        512,
    )
    assert entry.ref.fingerprint == found.ref.fingerprint
    assert app.models.locate(ModelRef(name="renamed", fingerprint=entry.ref.fingerprint)) == entry.path


@pytest.mark.parametrize(
    ("kind", "name"),
    [("diffusion_model", "bare"), ("vae", "sharp"), ("lora", "style"), ("text_encoder", "clip_l")],
)
def test_every_kind_is_found_by_its_name_with_and_without_folder(app: Application, kind: str, name: str) -> None:
    for said in (name, f"{name}.safetensors", f"some/folder/{name}.safetensors", f"some\\folder\\{name}.safetensors"):
        assert app.models.locate(ModelRef(kind=kind, name=said)).stem == name  # type: ignore[arg-type]
    assert [entry.name for entry in app.models.list(kind) if not entry.name.startswith("starter")] == [name]
    with pytest.raises(MissingModel, match="is not on this machine"):
        app.models.locate(ModelRef(kind="upscaler", name=name))


def test_a_pickle_says_how_it_becomes_a_model(app: Application) -> None:
    import torch

    weights = {name: torch.zeros(shape) for name, shape in UNET.items()}
    vae = {f"first_stage_model.{name}": torch.zeros(shape) for name, shape in VAE.items()}
    torch.save({"state_dict": weights | vae}, app.paths.models / "checkpoints/old.ckpt")
    with pytest.raises(MissingModel, match=r"is a pickle, which is never opened here.*models import FILE"):
        app.models.locate(ModelRef(name="old.ckpt"))
