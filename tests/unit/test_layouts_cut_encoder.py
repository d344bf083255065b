"""A text encoder that ends after the last layer that is read gives what the whole one gives there."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from engine.contracts.errors import MissingModel
from engine.families.qwen_vision import seen
from engine.models.single_file import CONFIGS, source_of_files

_TINY = {
    "architectures": ["MistralModel"], "hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 8, "vocab_size": 20, "max_position_embeddings": 32, "use_cache": False,
}  # fmt: skip


def test_the_last_hidden_state_of_a_cut_mistral_is_that_of_the_whole_before_any_norm(tmp_path: Path) -> None:
    from transformers import MistralConfig, MistralModel

    torch.manual_seed(3)
    whole = MistralModel(MistralConfig(**_TINY, num_hidden_layers=33)).eval()
    torch.nn.init.uniform_(whole.norm.weight, 2, 3)
    kept = {f"model.{name}": tensor.contiguous() for name, tensor in whole.state_dict().items()
            if not name.startswith(("norm.", "layers.30.", "layers.31.", "layers.32."))}  # fmt: skip
    path = tmp_path / "mistral.safetensors"
    save_file(kept, path, {CONFIGS: json.dumps({"text_encoder": {**_TINY, "num_hidden_layers": 30}})})
    cut = source_of_files("flux2", {path: ("text_encoder",)}, "cut").load(
        "text_encoder", torch.device("cpu"), torch.float32
    )  # fmt: skip
    words = torch.arange(1, 9)[None]
    with torch.no_grad():
        expected = whole(words, output_hidden_states=True).hidden_states
        found = cut(words, output_hidden_states=True).hidden_states
    for layer in (10, 20, 30):
        assert torch.equal(found[layer], expected[layer])


def test_an_encoder_without_eyes_says_so_when_it_is_shown_a_picture() -> None:
    config = SimpleNamespace(patch_size=14, spatial_merge_size=2, temporal_patch_size=2)
    blind = SimpleNamespace(visual=torch.nn.Identity(), config=SimpleNamespace(image_token_id=3), dtype=torch.float32)
    sight = seen([torch.zeros(1, 3, 56, 56)], config)
    with pytest.raises(MissingModel, match="no vision part"):
        sight.inputs(torch.tensor([[3]]), blind, torch.device("cpu"))
