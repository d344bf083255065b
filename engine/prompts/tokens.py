"""How many tokens a text has for a model's text encoders, counted from its tokenizer's files alone, without torch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from engine.contracts.codec import parse_json
from engine.contracts.errors import InvalidDocument, MissingModel
from engine.prompts.grammar import ParsedPrompt

# OpenAI's CLIP, for folders with the vocabulary and merges only: what transformers builds from them.
_CLIP_WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
# Qwen 2's, 2.5's and 3's, as its tokenizer in transformers has it.
_QWEN_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_FILES = ("tokenizer.json", "vocab.json")


@dataclass(frozen=True)
class Tokens:
    """The tokens of a text, and where in it each begins."""

    ids: tuple[int, ...]
    starts: tuple[int, ...]


def tokens_of(text: str, tokenizer_folder: Path) -> Tokens:
    """A text as tokens, without the marks around it. Raises MissingModel when the folder can't tell."""
    found = _tokenizer(tokenizer_folder, _stamp(tokenizer_folder)).encode(text, add_special_tokens=False)
    return Tokens(tuple(found.ids), tuple(start for start, _ in found.offsets))


def count_tokens(text: str, tokenizer_folder: Path) -> int:
    """Tokens of a text as it stands, without the marks around it. Raises MissingModel when the folder can't tell."""
    return len(_tokenizer(tokenizer_folder, _stamp(tokenizer_folder)).encode(text, add_special_tokens=False).ids)


def count_prompt(prompt: ParsedPrompt, tokenizer_folder: Path) -> int:
    """Tokens of a prompt's longest wording: brackets, weights and tags don't count."""
    wordings = {span.pieces for branch in prompt.branches for span in branch.schedule}
    return max(sum(count_tokens(p.text, tokenizer_folder) for p in pieces if not p.is_break) for pieces in wordings)


def token_limit(tokenizer_folder: Path) -> int | None:
    """Tokens the encoder reads at once, without its two marks; None where the folder doesn't say."""
    limit = _config(tokenizer_folder).get("model_max_length")
    return limit - 2 if isinstance(limit, int) and 2 < limit < 1_000_000 else None


def tokenizers_of(model: Path) -> list[Path]:
    """The tokenizer folders of a model in diffusers' layout, first to last."""
    names = ("tokenizer", "tokenizer_2", "tokenizer_3")
    return [model / name for name in names if _first(model / name) is not None]


def _first(folder: Path) -> Path | None:
    return next((folder / name for name in _FILES if (folder / name).is_file()), None)


def _stamp(folder: Path) -> tuple[int, int]:
    file = _first(folder)
    try:
        if file is not None:
            status = file.stat()
            return status.st_mtime_ns, status.st_size
    except OSError:
        pass
    raise MissingModel(
        f"there is no tokenizer in {folder}", fix="Give a folder with a tokenizer.json, or a vocab.json and merges.txt"
    )


@lru_cache(maxsize=8)
def _tokenizer(folder: Path, stamp: tuple[int, int]) -> Any:
    import tokenizers

    try:
        if (folder / "tokenizer.json").is_file():
            made = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
            made.no_padding()
            made.no_truncation()
            return made
        return _qwen(folder) if _config(folder).get("tokenizer_class") == "Qwen2Tokenizer" else _clip(folder)
    except Exception as error:  # the library raises bare Exceptions
        raise MissingModel(f"the tokenizer in {folder} can't be read ({error})", fix="Get the model again") from error


def _config(folder: Path) -> dict[str, Any]:
    try:
        config = parse_json((folder / "tokenizer_config.json").read_bytes(), "tokenizer_config.json")
    except (OSError, InvalidDocument):
        return {}
    return config if isinstance(config, dict) else {}


def _qwen(folder: Path) -> Any:
    from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

    made = Tokenizer(models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt")))
    made.normalizer = normalizers.NFC()
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_QWEN_WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    marks = _config(folder).get("added_tokens_decoder")
    if isinstance(marks, dict):
        known = [mark["content"] for mark in marks.values() if isinstance(mark, dict) and "content" in mark]
        made.add_special_tokens([AddedToken(mark, normalized=False) for mark in known])
    return made


def _clip(folder: Path) -> Any:
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

    made = Tokenizer(
        models.BPE.from_file(
            str(folder / "vocab.json"), str(folder / "merges.txt"),
            end_of_word_suffix="</w>", unk_token="<|endoftext|>",
        )
    )  # fmt: skip
    made.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_CLIP_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    return made
