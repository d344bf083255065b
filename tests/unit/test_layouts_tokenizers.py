"""The tokenizers that the studio carries give the ids that the models were trained with."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engine.contracts.errors import UnknownChoice
from engine.models.layouts import tokenizer_folder


def _tokenizer(kind: str, name: str) -> Any:
    import transformers

    return getattr(transformers, name).from_pretrained(tokenizer_folder(kind), local_files_only=True)


def test_clip_gives_its_known_ids_between_start_and_end() -> None:
    clip = _tokenizer("clip", "CLIPTokenizer")
    assert clip("a photo of a cat").input_ids == [49406, 320, 1125, 539, 320, 2368, 49407]
    assert (len(clip), clip.model_max_length, clip.pad_token_id) == (49408, 77, 49407)


def test_t5_gives_its_known_ids_and_normalises_as_sentencepiece_does() -> None:
    t5 = _tokenizer("t5", "T5TokenizerFast")
    assert t5("a photo of a cat").input_ids == [3, 9, 1202, 13, 3, 9, 1712, 1]
    assert t5("ﬁne x²").input_ids == t5("fine x2").input_ids
    assert (len(t5), t5.pad_token_id) == (32100, 0)


def test_qwen_gives_its_known_ids_and_keeps_its_marks_whole() -> None:
    for kind in ("qwen2", "qwen3"):
        qwen = _tokenizer(kind, "Qwen2TokenizerFast")
        assert qwen("hello world").input_ids == [14990, 1879]
        assert qwen("<|im_start|>user\nhi<|im_end|>").input_ids == [151644, 872, 198, 6023, 151645]
        assert (qwen.pad_token_id, qwen.eos_token_id) == (151643, 151645)


def test_qwen3_thinks_unless_told_not_to() -> None:
    qwen = _tokenizer("qwen3", "Qwen2TokenizerFast")
    message = [{"role": "user", "content": "a cat"}]
    told = {"tokenize": False, "add_generation_prompt": True}
    turn = "<|im_start|>user\na cat<|im_end|>\n<|im_start|>assistant\n"
    assert qwen.apply_chat_template(message, **told) == turn
    assert qwen.apply_chat_template(message, enable_thinking=False, **told) == turn + "<think>\n\n</think>\n\n"


def test_mistral_gives_its_known_ids_and_pads_before_the_text() -> None:
    mistral = _tokenizer("mistral", "AutoTokenizer")
    assert mistral("Hello world").input_ids == [1, 22177, 4304]
    text = "[SYSTEM_PROMPT]S[/SYSTEM_PROMPT][INST]a cat[/INST]"
    assert mistral(text, add_special_tokens=False).input_ids == [17, 1083, 18, 3, 1097, 7990, 4]
    turns = [{"role": "system", "content": "S"}, {"role": "user", "content": [{"type": "text", "text": "a cat"}]}]
    assert mistral.apply_chat_template(turns, tokenize=False) == "<s>" + text
    assert (len(mistral), mistral.padding_side, mistral.pad_token_id) == (131072, "left", 11)


def test_each_tokenizer_says_whose_it_is_and_all_are_small() -> None:
    folders = {tokenizer_folder(kind) for kind in ("clip", "t5", "qwen2", "qwen3", "mistral")}
    for folder in folders:
        assert "licen" in (folder / "NOTICE").read_text(encoding="utf-8").lower()
    assert sum(file.stat().st_size for folder in folders for file in Path(folder).iterdir()) < 15e6


def test_an_unknown_tokenizer_is_refused_in_one_sentence() -> None:
    with pytest.raises(UnknownChoice, match="tokenizer"):
        tokenizer_folder("gemma")


def test_layouts_are_told_without_torch() -> None:
    heavy = "{'torch', 'diffusers', 'transformers'}"
    code = f"import sys, engine.models.layouts; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
