"""Which encoders read a family's prompts, how much of them, and what of the grammar they leave unread. Torch-free.

One table for the prompt editor and for the families themselves: what the editor warns of while a prompt is written is
word for word what `EncodedText.notes` says once it was read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

from engine.prompts.weighting import Piece

TokenizerKind = Literal["clip", "t5", "qwen2", "qwen3", "mistral"]


@dataclass(frozen=True)
class Encoder:
    """One text encoder of a family.

    names      what the family calls it, or them where several read with one tokenizer: ("clip_l", "clip_g")
    title      its name for a person
    tokenizer  a folder of resources/tokenizers, for models that bring none of their own
    room       tokens that fit: of one chunk where it reads in chunks, else of the whole prompt
    chunks     whether what is beyond goes to a next chunk
    closing    marks after the words that are counted with them
    """

    names: tuple[str, ...]
    title: str
    tokenizer: TokenizerKind
    room: int
    chunks: bool = False
    closing: int = 0


@dataclass(frozen=True)
class Reading:
    """encoders  in the order of the model's tokenizer folders
    reader    who reads without emphasis and BREAK, as a sentence names it; "" when all of the grammar counts
    """

    encoders: tuple[Encoder, ...]
    reader: str = ""


def _clip(*names: str, title: str = "CLIP") -> Encoder:
    return Encoder(names, title, "clip", 75, chunks=True)


_T5 = Encoder(("t5xxl",), "T5", "t5", 512, closing=1)
# The words of templates that stand before the prompt are of its 512 tokens too: 3 with Qwen 3, 32 with Mistral.
_QWEN3 = Encoder(("qwen",), "Qwen 3", "qwen3", 512 - 3)
_MISTRAL = Encoder(("mistral",), "Mistral", "mistral", 512 - 32)
_UNKNOWN = Reading((_clip("clip_l"),))

READINGS: Mapping[str, Reading] = MappingProxyType(
    {
        "sd15": Reading((_clip("clip_l"),)),
        "sd2": Reading((_clip("clip_h"),)),
        "sdxl": Reading((_clip("clip_l", "clip_g"),)),
        "sdxl_refiner": Reading((_clip("clip_g"),)),
        "sd3": Reading((_clip("clip_l", "clip_g"), _T5), "The T5 encoder"),
        "flux": Reading((replace(_clip("clip_l"), chunks=False), _T5), "Flux"),
        "chroma": Reading((_T5,), "Chroma"),
        "qwen_image": Reading((Encoder(("qwen",), "Qwen 2.5", "qwen2", 1024),), "Qwen-Image"),
        "z_image": Reading((_QWEN3,), "Z-Image"),
        "flux2": Reading((_QWEN3,), "Flux.2"),
    }
)
_VARIANTS: Mapping[tuple[str, str], Reading] = MappingProxyType(
    {
        ("flux", "schnell"): Reading((replace(_clip("clip_l"), chunks=False), replace(_T5, room=256)), "Flux"),
        ("flux2", "dev"): Reading((_MISTRAL,), "Flux.2"),
    }
)


def reading_of(family: str, variant: str = "") -> Reading:
    """How a family reads prompts; one that is not known as the first CLIP models did."""
    return _VARIANTS.get((family, variant)) or READINGS.get(family, _UNKNOWN)


def notes_on(pieces: Iterable[Piece], reader: str) -> tuple[str, ...]:
    """What of a prompt is not read by an encoder for sentences, one sentence each."""
    listed, notes = tuple(pieces), []
    if any(piece.weight != 1.0 and not piece.is_break for piece in listed):
        notes.append(f"{reader} reads whole sentences and no emphasis: weights like (word:1.2) are left out.")
    if any(piece.is_break for piece in listed):
        notes.append(f"{reader} reads its prompt in one piece: BREAK is read as a space.")
    return tuple(notes)
