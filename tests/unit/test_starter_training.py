"""Training of the starter model: resumable to the bit, safe when interrupted, and what it writes is a model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.models.fingerprint import identify_folder
from engine.training.starter import model, progress, tokenizer
from engine.training.starter.autoencoder import AutoencoderTraining
from engine.training.starter.model import PRESETS
from engine.training.starter.painter import DiffusersPainter, Settings
from engine.training.starter.prompts import held_out_prompts, inpainting_tasks
from engine.training.starter.renderer import render
from engine.training.starter.scenes import random_scene
from engine.training.starter.train import Plan, main, train

SHIPPED = Path(__file__).resolve().parents[2] / "resources" / "starter_model"


@pytest.fixture(autouse=True)
def _keep_torch_settings() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    parts = model.load(folder)
    return {
        f"{name}.{key}": value
        for name in ("unet", "vae", "text_encoder")
        for key, value in getattr(parts, name).state_dict().items()
    }


def test_a_stopped_training_goes_on_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    plan = Plan(out=str(tmp_path / "through"), phases=("autoencoder", "denoiser"), preset="tiny", steps=16, seed=3)
    through = _weights(train(plan))
    stopped = replace(plan, out=str(tmp_path / "stopped"))
    for _ in range(3):  # stops within the autoencoder, and twice within the denoiser
        train(stopped, resume=True, stop_after=3 if not (tmp_path / "stopped").exists() else 6)
        assert (tmp_path / "stopped" / "state.pt").exists()
    resumed = _weights(train(stopped, resume=True))
    assert not (tmp_path / "stopped" / "state.pt").exists()
    assert through.keys() == resumed.keys()
    different = [name for name, value in through.items() if not torch.equal(value, resumed[name])]
    assert different == []


def test_training_changes_what_it_trains_and_nothing_else(tmp_path: Path) -> None:
    first = train(Plan(out=str(tmp_path / "a"), phases=("autoencoder", "denoiser"), preset="tiny", steps=8))
    before = _weights(first)
    after = _weights(
        train(Plan(out=str(tmp_path / "b"), phases=("denoiser",), preset="tiny", steps=4, source=str(first)))
    )
    changed = {name.split(".")[0] for name, value in before.items() if not torch.equal(value, after[name])}
    assert changed == {"unet", "text_encoder"}
    decoder = _weights(
        train(Plan(out=str(tmp_path / "c"), phases=("decoder",), preset="tiny", steps=4, source=str(first)))
    )
    changed = {".".join(name.split(".")[:2]) for name, value in before.items() if not torch.equal(value, decoder[name])}
    assert changed == {"vae.decoder", "vae.post_quant_conv"}


def test_a_new_autoencoder_starts_nearer_to_pictures_than_the_default_start(tmp_path: Path) -> None:
    torch.manual_seed(0)
    ours = model.create(PRESETS["small"], tmp_path).vae
    default = type(ours).from_config(ours.config)
    rng = np.random.default_rng(0)
    pictures = np.stack([render(random_scene(rng), 128, rng) for _ in range(6)])
    pixels = torch.from_numpy(pictures.transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1)
    with torch.no_grad():
        errors = [float((vae.decode(vae.encode(pixels).latent_dist.mode()).sample - pixels).pow(2).mean())
                  for vae in (ours, default)]  # fmt: skip
    assert errors[0] < errors[1] / 2


def test_training_the_autoencoder_makes_it_truer(tmp_path: Path) -> None:
    torch.manual_seed(0)
    parts = model.create(PRESETS["tiny"], tmp_path)
    training = AutoencoderTraining(parts, PRESETS["tiny"], progress.Budget(steps=80))
    before = training.fidelity(4)
    while training.share < 1:
        training.step()
    assert training.fidelity(4) > before + 1


def test_a_snapshot_is_an_ordinary_model_folder_that_makes_pictures(tmp_path: Path) -> None:
    folder = train(Plan(out=str(tmp_path), phases=("denoiser",), preset="tiny", steps=2))
    assert identify_folder(folder).family == "sd15"
    painter = DiffusersPainter(folder, Settings(steps=2))
    pictures = painter.paint(held_out_prompts(2, 0, 0))
    assert [picture.shape for picture in pictures] == [(32, 32, 3)] * 2
    assert pictures[0].dtype == np.uint8
    tasks = inpainting_tasks(32, 1)
    made = painter.inpaint(tasks)[0]
    assert np.array_equal(made[~tasks[0].mask], tasks[0].picture[~tasks[0].mask])


def test_half_precision_folders_are_half_the_size_and_leave_the_parts_alone(tmp_path: Path) -> None:
    parts = model.create(PRESETS["tiny"], tmp_path / "scratch")
    model.save(parts, tmp_path / "full")
    model.save(parts, tmp_path / "half", half=True)
    weights = "unet/diffusion_pytorch_model.safetensors"
    sizes = [(tmp_path / name / weights).stat().st_size for name in ("full", "half")]
    assert 0.45 < sizes[1] / sizes[0] < 0.75  # headers do not shrink
    assert parts.unet.dtype == torch.float32
    loaded = model.load(tmp_path / "half")
    for name, value in parts.unet.state_dict().items():
        assert torch.equal(loaded.unet.state_dict()[name], value.half().float())


def test_an_interrupted_save_leaves_the_old_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = model.create(PRESETS["tiny"], tmp_path / "scratch")
    folder = tmp_path / "model"
    model.save(parts, folder)
    before = {file.name: file.read_bytes() for file in folder.rglob("*") if file.is_file()}

    def fail(fresh: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(model, "_write_tokenizer_tables", fail)
    with pytest.raises(OSError, match="No space"):
        model.save(parts, folder)
    assert {file.name: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before


def test_a_state_file_can_hold_no_code(tmp_path: Path) -> None:
    torch.save({"steps": 1, "evil": Path("x")}, tmp_path / "state.pt")
    with pytest.raises(Exception, match="weights_only"):
        progress.read_state(tmp_path / "state.pt")


def test_the_learning_rate_warms_up_holds_and_falls() -> None:
    rates = [progress.learning_rate(1.0, step, share) for step, share in ((0, 0.0), (500, 0.3), (900, 0.75), (999, 1))]
    assert rates[0] == pytest.approx(1 / progress.WARM_UP)
    assert rates[1] == 1.0
    assert rates[2] == pytest.approx(0.52)
    assert rates[3] == pytest.approx(0.04)


def test_the_tokenizer_is_built_as_it_was_for_the_shipped_model(tmp_path: Path) -> None:
    built = tokenizer.build(tmp_path)
    for name in ("vocab.json", "merges.txt"):
        assert (tmp_path / name).read_text(encoding="utf-8") == (SHIPPED / "tokenizer" / name).read_text("utf-8")
    known = json.loads((tmp_path / "vocab.json").read_text(encoding="utf-8"))
    assert all(word + "</w>" in known for word in tokenizer.GRAMMAR_WORDS)
    odd = built("Zebra, ünïcode 日本 12!").input_ids
    assert max(odd) < len(built)
    assert built.decode(odd, skip_special_tokens=True).replace(" ", "") == "zebra,ünïcode日本12!"


def test_the_command_says_what_is_missing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        main(["--out", str(tmp_path)])
    assert "--minutes or --steps" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--out", str(tmp_path), "--steps", "1", "--phases", "denoser"])
    assert "no phase 'denoser'" in capsys.readouterr().err
