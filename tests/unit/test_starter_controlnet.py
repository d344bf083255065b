"""Training a ControlNet: steps change its own layers only, it goes on where it stopped, and ships a plain folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.models.loading import load_controlnet
from engine.training.starter import controlnet, model
from engine.training.starter.controlnet import ControlTraining, main
from engine.training.starter.model import PRESETS, Parts
from engine.training.starter.progress import Budget, read_state, write_state


@pytest.fixture(autouse=True)
def _keep_torch_settings() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)


@pytest.fixture(scope="module")
def starter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A starter model of 32 px."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("starter")
    parts = model.create(PRESETS["tiny"], folder / "scratch")
    parts.unet.conv_out.weight.data.normal_()  # trained: it answers something
    model.save(parts, folder / "model")
    return folder / "model"


def started(parts: Parts, steps: int = 4) -> ControlTraining:
    torch.manual_seed(0)
    return ControlTraining(parts, Budget(0, steps), seed=3, pool=32)


def weights(training: ControlTraining) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in training.network.state_dict().items()}


def test_steps_train_the_controlnet_and_nothing_else(starter: Path) -> None:
    parts = model.load(starter)
    before = {name: value.clone() for name, value in parts.unet.state_dict().items()}
    training = started(parts)
    first = weights(training)
    copied = [name for name in first if name in before and first[name].shape == before[name].shape]
    assert len(copied) > 20
    assert all(torch.equal(first[name], before[name]) for name in copied)
    assert not first["controlnet_mid_block.weight"].any()
    for _ in range(2):
        training.step()
    assert training.loss > 0
    assert training.share == 0.5
    assert weights(training)["controlnet_mid_block.weight"].any()
    assert all(torch.equal(value, before[name]) for name, value in parts.unet.state_dict().items())


def test_a_stopped_training_goes_on_with_all_that_it_had(starter: Path, tmp_path: Path) -> None:
    training = started(model.load(starter))
    for _ in range(2):
        training.step()
    write_state(tmp_path / "state.pt", training.state())
    resumed = started(model.load(starter))
    resumed.restore(read_state(tmp_path / "state.pt"))
    assert (resumed.steps, resumed.share, resumed.loss) == (2, 0.5, training.loss)
    kept, found = training.state(), resumed.state()
    assert all(torch.equal(found["network"][name], value) for name, value in kept["network"].items())
    assert all(torch.equal(a, b) for a, b in zip(kept["average"], found["average"], strict=True))
    moments = [state["exp_avg"] for state in found["optimiser"]["state"].values()]
    assert any(bool(moment.any()) for moment in moments)
    resumed.step()
    assert resumed.steps == 3


def test_what_it_ships_is_a_diffusers_folder_that_loads(starter: Path, tmp_path: Path) -> None:
    assert main(["--out", str(tmp_path), "--steps", "2", "--from", str(starter)]) == 0
    folder = tmp_path / "controlnet"
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "diffusion_pytorch_model.safetensors"]
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert config["_class_name"] == "ControlNetModel"
    assert "_name_or_path" not in config
    network = load_controlnet(folder, torch.device("cpu"), torch.float32)
    shipped = load_controlnet(controlnet.SHIPPED, torch.device("cpu"), torch.float32)
    assert type(network) is type(shipped)
    assert network.config.mid_block_type == shipped.config.mid_block_type == "UNetMidBlock2D"
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert lines[-1]["finished"] is True
    assert lines[-1]["step"] == 2


def test_a_part_of_some_hints_is_wiped(starter: Path) -> None:
    pool = started(model.load(starter))._pool
    hints = np.ones((200, 32, 32), np.bool_)
    wiped = pool.wiped(hints)
    assert hints.all()
    blank = 1 - wiped.mean(axis=(1, 2))
    changed = blank > 0
    assert 0.15 < changed.mean() < 0.35
    assert 0.25 <= blank[changed].min() <= blank[changed].max() <= 0.5
