"""How the parts of tiny random models are written, in diffusers' layout. `room` has these names too."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

EDGE = 64
PROMPT = "a red circle on a blue background"
NEGATIVE = "green"
STARTER = Path(__file__).resolve().parents[2] / "resources" / "starter_model"


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=2), encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return made


def write_index(folder: Path, pipeline: str, **more: Any) -> Path:
    """model_index.json over the parts that were written; `more` are the pipeline's own settings."""
    parts: dict[str, Any] = {}
    for part in sorted(path for path in folder.iterdir() if path.is_dir()):
        for name, library in (
            ("scheduler_config.json", "diffusers"), ("config.json", ""), ("tokenizer_config.json", "transformers"),
            ("processor_config.json", "transformers"),
        ):  # fmt: skip
            if (part / name).is_file():
                config = json.loads((part / name).read_text(encoding="utf-8"))
                architectures = config.get("architectures") or [None]
                class_name = (
                    config.get("_class_name") or architectures[0] or config.get("tokenizer_class")
                    or config.get("processor_class")
                )  # fmt: skip
                parts[part.name] = [library or ("diffusers" if "_class_name" in config else "transformers"), class_name]
                break
    write_json(folder / "model_index.json", {"_class_name": pipeline, "_diffusers_version": "0.42.1", **parts, **more})
    return folder


def write_clip_tokenizer(folder: Path) -> int:
    """The starter model's words for a CLIP encoder; how many there are."""
    shutil.copytree(STARTER / "tokenizer", folder, dirs_exist_ok=True)
    return len(json.loads((folder / "vocab.json").read_text(encoding="utf-8")))


def write_clip(folder: Path, words: int, width: int = 32, projection: int = 0, layers: int = 3, **more: Any) -> None:
    """A CLIP text encoder; with a projection (its pooled output) where `projection` gives its width."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=words, hidden_size=width, intermediate_size=2 * width, num_hidden_layers=layers,
        num_attention_heads=4, max_position_embeddings=40, bos_token_id=words - 2, eos_token_id=words - 1,
        pad_token_id=words - 1, projection_dim=projection or width, **more,
    )  # fmt: skip
    (CLIPTextModelWithProjection(config) if projection else CLIPTextModel(config)).save_pretrained(folder)


def write_t5_tokenizer(folder: Path, limit: int = 64) -> int:
    """A T5 tokenizer of single characters and a few whole words; how many pieces it has."""
    from transformers import T5TokenizerFast

    words = [
        *(f"▁{word}" for word in f"{PROMPT} {NEGATIVE}".split()),
        "▁",
        *"abcdefghijklmnopqrstuvwxyz.,!?()0123456789",
    ]
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    vocabulary += [(word, -1.0 - 0.01 * place) for place, word in enumerate(dict.fromkeys(words))]
    made = T5TokenizerFast(vocab=vocabulary, extra_ids=0, model_max_length=limit)
    made.save_pretrained(folder)
    return len(vocabulary)


def write_t5(folder: Path, words: int, width: int = 32) -> None:
    """A T5 (v1.1) encoder."""
    from transformers import T5Config, T5EncoderModel

    config = T5Config(
        vocab_size=words, d_model=width, d_kv=8, d_ff=2 * width, num_layers=2, num_heads=4,
        feed_forward_proj="gated-gelu", tie_word_embeddings=False,
    )  # fmt: skip
    T5EncoderModel(config).save_pretrained(folder)


def write_autoencoder(folder: Path, channels: int = 4, **more: Any) -> None:
    """An AutoencoderKL with 8 pixels to a cell; `more` are its scaling, shift and convolutions."""
    from diffusers import AutoencoderKL

    AutoencoderKL(
        sample_size=EDGE, block_out_channels=(8, 8, 8, 8), norm_num_groups=4, latent_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4, **more,
    ).save_pretrained(folder)  # fmt: skip


def lively(module: Any, names: Sequence[str] = (), std: float = 0.2) -> Any:
    """`module` with the parameters whose names hold one of `names` drawn anew: layers that start at zero come alive."""
    for name, parameter in module.named_parameters():
        if any(part in name for part in names) or not bool(parameter.any()):
            torch.nn.init.normal_(parameter, std=std)
    return module
