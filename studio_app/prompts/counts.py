"""What a model makes of a prompt: tokens for each of its encoders, what falls outside, what it will not read. No torch.

For a worker thread: the first look at a tokenizer reads its vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.contracts.errors import MissingModel, clip, suggest
from engine.models.layouts.configs import tokenizer_folder
from engine.models.model_file import FAMILY_WORDS
from engine.prompts.chunks import MAX_CHUNKS, pack
from engine.prompts.embeddings import embeddings_in
from engine.prompts.grammar import ParsedPrompt, parse
from engine.prompts.reading import Encoder, Reading, notes_on, reading_of
from engine.prompts.tags import lora_of, take_tags
from engine.prompts.tokens import token_limit, tokenizers_of, tokens_of
from engine.prompts.weighting import Piece
from engine.prompts.wildcards import expand, has_choices
from engine.recipes.vocabulary import unknown_words
from studio_app.models.index import ModelEntry
from studio_app.prompts.catalogue import Catalogue, Named
from studio_app.prompts.marks import across, scan

STEPS = 20  # schedules are laid out for a run of so many, to find the longest wording
MAX_WORDINGS = 8
_SHOWN = 40  # characters of what falls outside
MAX_CHARACTERS = 200_000
_FEW_STEPS = 4  # of Flux.1's variants only schnell is advised so few
_DEV_PARAMETERS = 20e9  # Flux.2 dev has 32 billion, klein 4 or 9


@dataclass(frozen=True)
class Count:
    """Tokens of a prompt's longest wording.

    room     of the chunks that are begun, or of the whole prompt where the encoder has no chunks
    outside  the words that are not read, "" when all are
    """

    title: str
    tokens: int
    room: int
    outside: str = ""

    @property
    def words(self) -> str:
        return f"{self.title} {self.tokens}/{self.room}"

    @property
    def sentence(self) -> str:
        """What falls outside, or ""."""
        if not self.outside:
            return ""
        words = self.outside.strip()
        more = " and what follows are" if len(words) > _SHOWN else " are"
        return f"{self.title} has room for {self.room} tokens: the words “{words[:_SHOWN].strip()}”{more} not read."


@dataclass(frozen=True)
class Look:
    """What is said of a prompt. `warnings` are whole sentences, `unknown` words that the model was never shown."""

    counts: tuple[Count, ...] = ()
    warnings: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


def look_at(text: str, entry: ModelEntry | None, catalogue: Catalogue | None = None) -> Look:
    """Count and warn. Without a model nothing is counted; without a catalogue names are not checked."""
    text = text[:MAX_CHARACTERS]
    chosen = expand(text, 0) if has_choices(text) else text
    prompt = parse(chosen, STEPS)
    reading = reading_of(entry.family, variant_of(entry)) if entry is not None else Reading(())
    counts = tuple(_count(prompt, reading, entry)) if text.strip() else ()
    roomiest = max((count.room for count in counts), default=0)  # what CLIP cuts off Flux's T5 still reads
    warnings = [count.sentence for count in counts if count.sentence and count.room == roomiest]
    if reading.reader:
        warnings += notes_on((piece for pieces in _wordings(prompt) for piece in pieces), reading.reader)
    warnings += _bracket_notes(text)
    if catalogue is not None:
        warnings += _name_notes(text, chosen, catalogue, entry.family if entry is not None else "")
    unknown = unknown_words(text, entry.vocabulary) if entry is not None else ()
    return Look(counts, tuple(dict.fromkeys(warnings)), tuple(unknown))


def variant_of(entry: ModelEntry) -> str:
    """The variants that read prompts otherwise than their family: Flux.1 schnell, Flux.2 dev."""
    if entry.family == "flux" and entry.info.defaults.steps <= _FEW_STEPS:
        return "schnell"
    if entry.family == "flux2" and entry.info.parameters > _DEV_PARAMETERS:
        return "dev"
    return ""


def _count(prompt: ParsedPrompt, reading: Reading, entry: ModelEntry | None) -> Iterable[Count]:
    own = tokenizers_of(entry.path) if entry is not None and entry.path.is_dir() else []
    for number, encoder in enumerate(reading.encoders):
        brought = own[number] if len(own) >= len(reading.encoders) and encoder.tokenizer == "clip" else None
        folder = brought or tokenizer_folder(encoder.tokenizer)
        room = (token_limit(brought) if brought else None) or encoder.room
        try:
            yield max((_count_one(p, encoder, folder, room) for p in _wordings(prompt)), key=lambda count: count.tokens)
        except MissingModel:
            continue


def _count_one(pieces: Sequence[Piece], encoder: Encoder, folder: Path, room: int) -> Count:
    if encoder.chunks:
        read = [(None if piece.is_break else tokens_of(piece.text, folder).ids, piece.weight) for piece in pieces]
        comma = tokens_of(",", folder).ids
        chunks = pack(read, room, comma[0] if len(comma) == 1 else None)
        tokens = sum(len(chunk.tokens) for chunk in chunks)
        outside = _text_from(pieces, sum(len(chunk.tokens) for chunk in chunks[:MAX_CHUNKS]), folder)
        return Count(encoder.title, tokens, room * min(MAX_CHUNKS, len(chunks)), outside)
    words = "".join(" " if piece.is_break else piece.text for piece in pieces).strip()
    found = tokens_of(words, folder)
    left = room - encoder.closing
    outside = words[found.starts[left] :] if len(found.ids) > left else ""
    return Count(encoder.title, len(found.ids) + encoder.closing, room, outside)


def _text_from(pieces: Sequence[Piece], place: int, folder: Path) -> str:
    """The words from a token on."""
    for number, piece in enumerate(pieces):
        if piece.is_break:
            continue
        found = tokens_of(piece.text, folder)
        if place < len(found.ids):
            rest = [later.text for later in pieces[number + 1 :] if not later.is_break]
            return piece.text[found.starts[place] :] + "".join(rest)
        place -= len(found.ids)
    return ""


def _wordings(prompt: ParsedPrompt) -> list[tuple[Piece, ...]]:
    """The different wordings of a prompt, the longest ones."""
    found = {span.pieces: sum(len(piece.text) for piece in span.pieces) for b in prompt.branches for span in b.schedule}
    return sorted(found, key=lambda pieces: -found[pieces])[:MAX_WORDINGS]


def _bracket_notes(text: str) -> list[str]:
    lines = text.split("\n")
    notes = []
    for number, (line, far) in enumerate(
        zip(lines, across([(len(line), scan(line).loose) for line in lines]), strict=True)
    ):
        for place in far.unbalanced:
            bracket = line[place]
            where = f" in line {number + 1}" if len(lines) > 1 else ""
            if bracket in ")]}":
                notes.append(f"The “{bracket}”{where} closes nothing: it is read as a character.")
            elif bracket == "{":
                notes.append(f"The “{{”{where} is not closed: it is read as a character.")
            else:
                notes.append(f"The “{bracket}”{where} is not closed: its weight holds to the end of the prompt.")
    return notes[:2]


def _name_notes(text: str, chosen: str, catalogue: Catalogue, family: str) -> list[str]:
    words, tags = take_tags(chosen)
    loras = {each.name: each for each in catalogue.loras} | {each.path.name: each for each in catalogue.loras}
    embeddings = {each.name: each for each in catalogue.embeddings}
    asked = [lora.name for lora in map(lora_of, tags) if lora is not None]
    notes = [_model_note("LoRA", name, loras, family) for name in asked]
    notes += [_model_note("embedding", name, embeddings, family) for name in embeddings_in(words)]
    for line in text.split("\n"):
        for mark in scan(line).marks:
            name = line[mark.start + 2 : mark.start + mark.length - 2]
            if mark.kind == "wildcard" and name not in catalogue.wildcards:
                near = suggest(name, list(catalogue.wildcards))
                notes.append(f"There is no wildcard “{clip(name, 40)}”: it is read as words.{_then(near)}")
    return [note for note in notes if note]


def _model_note(kind: str, name: str, known: dict[str, Named], family: str) -> str:
    found = known.get(name)
    if found is None:
        names = list(dict.fromkeys(each.name for each in known.values()))
        if kind == "embedding" and name.lower() in {each.lower() for each in names}:
            return ""
        return f"There is no {kind} “{clip(name, 40)}” on this machine.{_then(suggest(name, names))}"
    if not found.fits(family):
        wanted = FAMILY_WORDS.get(family, family)
        return f"The {kind} “{clip(name, 40)}” is made for {found.base}, not for {wanted}."
    return ""


def _then(sentence: str) -> str:
    return f" {sentence.rstrip('.')}{'' if sentence.endswith('?') else '.'}" if sentence else ""
