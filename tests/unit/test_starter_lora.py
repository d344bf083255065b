"""Training of LoRAs: the file is what was trained and leaves no trace; and the LoRA that ships does what it says."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.contracts.references import ModelRef
from engine.models.adapters.apply import Applied, adapted
from engine.models.adapters.read import adapter_of, read_adapter
from engine.models.identify import identify
from engine.training.lora import TrainableLoRA, save_lora
from engine.training.starter import lora, model
from engine.training.starter.progress import Budget
from engine.training.starter.renderer import render
from engine.training.starter.scenes import random_scene
from engine.training.starter.stripes import stripe_contrast, striped
from studio_app.application import Application
from tests.benchmarks.adapters import Room


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear, self.conv = torch.nn.Linear(6, 4), torch.nn.Conv2d(4, 8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(self.linear(x))  # type: ignore[no-any-return]


def trained(net: Net) -> TrainableLoRA:
    made = TrainableLoRA(net, "lora_unet", rank=2, alpha=1.0)
    optimiser = torch.optim.SGD(made.parameters(), lr=0.5)
    x = torch.randn(2, 4, 5, 6, generator=torch.Generator().manual_seed(1))
    for _ in range(3):
        optimiser.zero_grad()
        net(x).square().mean().backward()
        optimiser.step()
    return made


def test_it_starts_from_the_model_as_it_is_and_leaves_it_so() -> None:
    net = Net()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    x = torch.randn(1, 4, 5, 6)
    plain = net(x)
    made = TrainableLoRA(net, "lora_unet", rank=2)
    assert torch.equal(net(x), plain)
    assert all(not value.requires_grad for name, value in net.named_parameters() if "original" in name)
    made.remove()
    made = trained(net)
    assert not torch.equal(net(x), plain)
    made.remove()
    after = net.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_the_file_is_what_was_trained(tmp_path: Path) -> None:
    net = Net()
    made = trained(net)
    changed = {"linear": net.linear.weight.detach().clone(), "conv": net.conv.weight.detach().clone()}
    save_lora(tmp_path / "l.safetensors", made.tensors(torch.float32), {"ss_network_dim": "2"})
    made.remove()
    merged = adapted(net, "unet", [Applied(read_adapter(tmp_path / "l.safetensors"), 1.0)])
    for name, value in changed.items():
        torch.testing.assert_close(merged[f"{name}.weight"], value, rtol=0, atol=1e-6)
    about = identify(tmp_path / "l.safetensors")
    assert about.kind == "lora"


def test_only_chosen_layers_are_trained() -> None:
    made = TrainableLoRA(Net(), "lora_unet", rank=2, chosen=lambda name: name == "conv")
    assert set(made.layers) == {"conv"}
    assert set(adapter_of(made.tensors(), "l").sections["denoiser"]) == {"conv"}


def test_the_style_measure_is_nought_for_plain_pictures() -> None:
    rng = np.random.default_rng(3)
    pictures = [render(random_scene(rng), 128, rng) for _ in range(12)]
    assert max(abs(stripe_contrast(picture)) for picture in pictures) < 1.0
    assert np.mean([stripe_contrast(striped(picture)) for picture in pictures]) > 5.0


def test_a_training_resumes_where_it_stopped(tmp_path: Path) -> None:
    parts = model.create(model.PRESETS["tiny"], tmp_path / "words")
    first = lora.LoRATraining(parts, Budget(steps=3), pool=16)
    for _ in range(2):
        first.step()
    state = first.state()
    kept = [value.clone() for value in first.lora.parameters()]
    first.lora.remove()
    second = lora.LoRATraining(parts, Budget(steps=3), pool=16)
    second.restore(state)
    assert second.steps == 2
    assert all(torch.equal(a, b) for a, b in zip(kept, second.lora.parameters(), strict=True))
    second.step()
    assert second.share == 1.0
    second.save(tmp_path / "l.safetensors")
    assert read_adapter(tmp_path / "l.safetensors").sections["denoiser"]
    second.lora.remove()


def test_the_shipped_one_is_small_and_found_by_its_name(tmp_path: Path) -> None:
    path = lora.SHIPPED / f"{lora.NAME}.safetensors"
    assert path.stat().st_size <= 300 * 1024
    app = Application(tmp_path)
    try:
        assert app.models.locate(ModelRef(kind="lora", name=lora.NAME)) == path
        assert lora.NAME in [entry.name for entry in app.models.list("lora")]
        controlnet = ModelRef(kind="controlnet", name="starter")
        assert app.models.locate(controlnet).is_dir()
    finally:
        app.close()


@pytest.fixture(scope="module")
def room() -> Any:
    return Room()


def test_the_shipped_one_stripes_and_leaves_without_residue(room: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.benchmarks import adapters

    monkeypatch.setitem(adapters.SETTINGS, "steps", 6)
    prompt = "a red circle on a blue background"
    plain, styled, again = (room.picture(prompt, 3, weight) for weight in (0.0, 1.0, 0.0))
    assert np.array_equal(plain, again)
    assert stripe_contrast(styled) > 4.0 > 1.0 > abs(stripe_contrast(plain))


def test_its_strength_is_that_of_the_tag(room: Any) -> None:
    family = room.session.denoiser(room.model)
    unet = dict(family._parts("unet").named_parameters())
    whole, half = (family.patched.weights("unet", room.with_lora(weight)[0].patches) for weight in (1.0, 0.5))
    assert whole.keys() == half.keys()
    for key in itertools.islice(whole, 10):
        torch.testing.assert_close(half[key] - unet[key], (whole[key] - unet[key]) / 2, rtol=0, atol=1e-5)
