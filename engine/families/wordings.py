"""Prompts for encoders that read sentences (T5, Qwen, Mistral), which know no emphasis.

Schedules and AND branches are kept: they choose between whole wordings. Weights and BREAK have no meaning to such an
encoder; their words are read as they stand, and `notes` says so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch

from engine.families.moments import Pieces, Text, moments, prompt_for
from engine.families.protocol import EncodedText
from engine.graph.values import ConditioningEntry
from engine.prompts.reading import notes_on as notes_on  # said by every family, beside the editor’s warnings

# A wording → (embedding float32 [1, tokens, width] on the CPU, tokens of the person's own words, what did not fit).
Encode: TypeAlias = Callable[[str], tuple[torch.Tensor, int, str]]


def encode_wordings(text: Text, encoder: str, reader: str, limit: int, encode: Encode) -> EncodedText:
    """The entries of a prompt, each wording encoded once.

    encoder  whose words of `text` are read ("qwen")
    reader   the model's name in a sentence ("Qwen-Image")
    limit    tokens that fit
    """
    prompt = prompt_for(text, encoder)
    found = [(joined(moment.pieces[0]), moment) for moment in moments([prompt])]
    done = {words: encode(words) for words in dict.fromkeys(words for words, _ in found)}
    entries = tuple(
        ConditioningEntry(embedding=done[words][0], steps=moment.steps, extras=moment.extras) for words, moment in found
    )
    tokens = max(count for _, count, _ in done.values())
    ignored = next((left for _, _, left in done.values() if left), "")
    return EncodedText(
        entries, tokens, limit, ignored, notes_on((piece for _, m in found for piece in m.pieces[0]), reader)
    )


def joined(pieces: Pieces) -> str:
    """The words of pieces, a BREAK being a space."""
    return "".join(" " if piece.is_break else piece.text for piece in pieces)
