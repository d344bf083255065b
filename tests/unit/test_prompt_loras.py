"""LoRAs that a prompt names: laid on model and words, missing ones named, and built into Create's graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from engine.contracts.errors import MissingModel
from engine.contracts.references import ModelRef
from engine.graph.registry import Registry
from engine.graph.validate import problems
from engine.nodes.condition.text import encode_text
from engine.nodes.load.checkpoint import checkpoint
from engine.nodes.load.prompt_loras import prompt_loras
from engine.recipes.build import build, request_of
from engine.recipes.recommended import Recommended
from engine.recipes.request import ImageRequest
from tests.benchmarks.tiny_models import STARTER
from tests.unit.sampling_room import Recorder


class Room(Recorder):
    """The starter and one LoRA called “ink”."""

    def __init__(self, folder: Path) -> None:
        super().__init__(STARTER)
        self.folder = folder
        layer = "lora_te_text_model_encoder_layers_0_self_attn_q_proj"
        encoder = self.session.family(checkpoint(self)[0].weights)._parts("text_encoder")  # type: ignore[arg-type, attr-defined]
        width = encoder.config.hidden_size
        save_file(
            {f"{layer}.lora_down.weight": torch.ones(2, width) * 0.1, f"{layer}.lora_up.weight": torch.ones(width, 2)},
            folder / "ink.safetensors",
        )

    def locate(self, ref: ModelRef) -> Path:
        if ref.kind != "lora":
            return STARTER
        if ref.name != "ink":
            raise MissingModel(f"there is no LoRA “{ref.name}”")
        return self.folder / "ink.safetensors"


@pytest.fixture
def room(tmp_path: Path) -> Any:
    return Room(tmp_path)


def test_tags_become_patches_with_their_weights(room: Any) -> None:
    model, clip, _ = checkpoint(room)
    model, clip = prompt_loras(room, model, clip, "a circle <lora:ink:0.5:0.25> and <lora:ink:0:2>, <hypernet:x:1>")
    assert [dict(patch.settings)["strength"] for patch in model.patches] == [0.25, 2.0]
    assert [dict(patch.settings)["strength"] for patch in clip.patches] == [0.5]
    assert dict(model.patches[0].settings)["weights"].fingerprint


def test_the_words_are_changed_and_the_tag_is_not_read_as_words(room: Any) -> None:
    model, clip, _ = checkpoint(room)
    plain = encode_text(room, clip, "a red circle")[0].embedding
    _, patched = prompt_loras(room, model, clip, "a red circle <lora:ink:1>")
    changed = encode_text(room, patched, "a red circle <lora:ink:1>")[0].embedding
    assert not torch.equal(changed, plain)
    assert not any("LoRA" in line for line in map(str, room.logs))
    assert torch.equal(encode_text(room, clip, "a red circle <lora:ink:1>")[0].embedding, plain)
    assert "no node lays it on the model" in str(room.logs[-1])


def test_a_lora_that_is_not_here_is_named(room: Any) -> None:
    model, clip, _ = checkpoint(room)
    with pytest.raises(MissingModel, match=r"asks for the LoRA “gone”, which is not on this machine"):
        prompt_loras(room, model, clip, "<lora:gone:1>")


@pytest.mark.parametrize("prompt", ["a circle <lora:ink:0.8>", "a {red|blue} circle <lora:ink:0.8>"])
def test_create_builds_them_in_and_reads_them_back(prompt: str) -> None:
    request = ImageRequest(prompt=prompt, seed=1, count=2)
    spec = build(request, Recommended())
    types = {node.id: node.type for node in spec.workflow.nodes}
    assert types["loras"] == "load.prompt_loras"
    assert spec.workflow.node("sampler").inputs["model"].node == "loras"  # type: ignore[union-attr]
    assert not problems(spec.workflow, Registry.builtin())
    found = request_of(spec)
    assert found is not None
    assert found.prompt == prompt
    plain = build(ImageRequest(prompt="a circle", seed=1), Recommended())
    assert "loras" not in {node.id for node in plain.workflow.nodes}
