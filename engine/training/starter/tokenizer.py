"""The starter model's tokenizer: an ordinary CLIP tokenizer (byte-level BPE) with merges made from its own few words.

Each known word is one token; any other text falls back to pieces and bytes, so no prompt breaks it.
"""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

MAX_LENGTH = 40
"""Tokens, with start and end."""

_GRAMMAR = """
a above an and at autumn background below beside black blue boat bottom brown by center cherry circle clouds dawn
day daytime desert diamond drawing field front gradient gray green heart hills house illustration in large left
middle moon mountains next night of on orange over picture pine pink purple red right ring sail sailboat sea sky
small snow snowy square star starry sun sunrise sunset teal the to top tree triangle under white with yellow
"""
GRAMMAR_WORDS = tuple(_GRAMMAR.split())
"""Every word that `captions.write` uses."""

_SPARE = """
art bad beautiful best big blurry castle cat cloud cute detailed dog flower forest grey high hill lake landscape
low masterpiece mountain neon ocean painting photo pixel quality river sketch style tiny ugly watercolor , . -
"""
SPARE_WORDS = tuple(_SPARE.split())
"""Words that people are likely to type, each one token too, so that a later model can learn them."""


def build(folder: Path) -> Any:
    """Write `vocab.json` and `merges.txt` to `folder` and return the `CLIPTokenizer` made from them."""
    from transformers import CLIPTokenizer

    merges = _merges(sorted({*GRAMMAR_WORDS, *SPARE_WORDS}))
    letters = _byte_letters()
    pieces = dict.fromkeys([*letters, *(letter + "</w>" for letter in letters), *(a + b for a, b in merges)])
    vocabulary = {piece: index for index, piece in enumerate([*pieces, "<|startoftext|>", "<|endoftext|>"])}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    lines = ["#version: 0.2", *(f"{a} {b}" for a, b in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=MAX_LENGTH)


def _merges(words: list[str]) -> list[tuple[str, str]]:
    """Byte-pair merges, most frequent pair first, until every word is one piece."""
    split = [[*word[:-1], word[-1] + "</w>"] for word in words]
    merges: list[tuple[str, str]] = []
    while any(len(pieces) > 1 for pieces in split):
        pairs = Counter(pair for pieces in split for pair in pairwise(pieces))
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append(best)
        split = [_merged(pieces, best) for pieces in split]
    return merges


def _merged(pieces: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    index = 0
    while index < len(pieces):
        if tuple(pieces[index : index + 2]) == pair:
            merged.append(pair[0] + pair[1])
            index += 2
        else:
            merged.append(pieces[index])
            index += 1
    return merged


def _byte_letters() -> list[str]:
    """The 256 printable stand-ins for bytes that GPT-2 and CLIP use, in their order."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(code) for code in [*printable, *(256 + index for index in range(len(others)))]]
