"""Tiny language models for prompts, as Qwen-Image, Z-Image and Flux.2 have them: byte-level words, two layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

WIDTH = 32
SPECIAL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>",
    "<|video_pad|>", "<think>", "</think>",
)  # fmt: skip

# What Qwen3's own template makes of one message of the user.
QWEN3_TEMPLATE = (
    "{%- for message in messages %}{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
    "{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}"
    "{%- endif %}"
)

# What Mistral's own template makes of a system message and one of the user, each a list of texts.
MISTRAL_TEMPLATE = (
    "{{- bos_token }}{%- for message in messages %}{%- if message.role == 'system' %}"
    "{{- '[SYSTEM_PROMPT]' + message.content[0].text + '[/SYSTEM_PROMPT]' }}"
    "{%- else %}{{- '[INST]' + message.content[0].text + '[/INST]' }}{%- endif %}{%- endfor %}"
)


def write_qwen_tokenizer(folder: Path) -> dict[str, int]:
    """A tokenizer of single bytes with Qwen's special tokens and Qwen3's template; its vocabulary."""
    from transformers import Qwen2Tokenizer

    vocabulary = {symbol: place for place, symbol in enumerate((*_bytes(), *SPECIAL))}
    made = Qwen2Tokenizer(vocab=vocabulary, merges=[], extra_special_tokens=list(SPECIAL[1:]), model_max_length=4096)
    made.chat_template = QWEN3_TEMPLATE
    made.save_pretrained(folder)
    return vocabulary


def write_qwen3(folder: Path, words: int, layers: int = 3, *, whole: bool = True) -> None:
    """A Qwen3 language model; its body alone unless `whole`."""
    from transformers import Qwen3Config, Qwen3ForCausalLM, Qwen3Model

    config = Qwen3Config(
        vocab_size=words, hidden_size=WIDTH, intermediate_size=2 * WIDTH, num_hidden_layers=layers,
        num_attention_heads=4, num_key_value_heads=2, head_dim=8, max_position_embeddings=4096, bos_token_id=1,
        eos_token_id=2,
    )  # fmt: skip
    (Qwen3ForCausalLM(config) if whole else Qwen3Model(config)).save_pretrained(folder)


def write_qwen25_vl(folder: Path, vocabulary: dict[str, int]) -> None:
    """A Qwen2.5-VL language model with eyes."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    text: dict[str, Any] = {
        "vocab_size": len(vocabulary), "hidden_size": WIDTH, "intermediate_size": 2 * WIDTH, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 4096, "bos_token_id": 1,
        "eos_token_id": 2,
        "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e6},
    }  # fmt: skip
    vision: dict[str, Any] = {
        "depth": 2, "hidden_size": 32, "intermediate_size": 32, "num_heads": 4, "out_hidden_size": WIDTH,
        "window_size": 56, "fullatt_block_indexes": [1],
    }  # fmt: skip
    marks = {
        "image_token_id": "<|image_pad|>", "video_token_id": "<|video_pad|>",
        "vision_start_token_id": "<|vision_start|>", "vision_end_token_id": "<|vision_end|>",
    }  # fmt: skip
    ids = {name: vocabulary[mark] for name, mark in marks.items()}
    config = Qwen2_5_VLConfig(text_config=text, vision_config=vision, **ids)
    Qwen2_5_VLForConditionalGeneration(config).save_pretrained(folder)


def write_mistral_tokenizer(folder: Path) -> int:
    """A tokenizer of single bytes with Mistral's special tokens and template, filled up on the left; its size."""
    from transformers import Qwen2Tokenizer

    special = ("<s>", "</s>", "<pad>", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[INST]", "[/INST]", "[IMG]")
    vocabulary = {symbol: place for place, symbol in enumerate((*_bytes(), *special))}
    made = Qwen2Tokenizer(
        vocab=vocabulary, merges=[], bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="</s>",
        extra_special_tokens=list(special[3:]), padding_side="left", model_max_length=4096,
    )  # fmt: skip
    made.chat_template = MISTRAL_TEMPLATE
    made.save_pretrained(folder)
    return len(vocabulary)


def write_mistral3(folder: Path, words: int, layers: int) -> None:
    """A Mistral 3 language model with eyes that are not used."""
    from transformers import Mistral3Config, Mistral3ForConditionalGeneration, MistralConfig, PixtralVisionConfig

    text = MistralConfig(
        vocab_size=words, hidden_size=WIDTH, intermediate_size=2 * WIDTH, num_hidden_layers=layers,
        num_attention_heads=4, num_key_value_heads=2, head_dim=8, max_position_embeddings=4096, bos_token_id=1,
        eos_token_id=2,
    )  # fmt: skip
    vision = PixtralVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14
    )  # fmt: skip
    config = Mistral3Config(text_config=text, vision_config=vision, image_token_index=words - 1)
    Mistral3ForConditionalGeneration(config).save_pretrained(folder)


def _bytes() -> list[str]:
    """The 256 printable stand-ins of byte-level tokenizers (GPT-2's bytes_to_unicode)."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    rest = [byte for byte in range(256) if byte not in plain]
    shown = {byte: chr(byte) for byte in plain} | {byte: chr(256 + place) for place, byte in enumerate(rest)}
    return [shown[byte] for byte in range(256)]
