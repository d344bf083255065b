"""What can go on at the cursor of a prompt: LoRAs, embeddings, wildcards, styles, words, earlier prompts. Qt-free."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from engine.contracts.errors import MissingModel
from engine.contracts.references import ModelRef
from engine.prompts.styles import PLACE
from engine.prompts.wildcards import FOLDER
from studio_app.models.index import ModelEntry
from studio_app.prompts.catalogue import Catalogue, Named, gather
from studio_app.prompts.ranking import NameIndex

if TYPE_CHECKING:
    from studio_app.application import Application

CompletionKind = Literal["lora", "embedding", "wildcard", "style", "word", "insertion", "history"]
KIND_WORDS: dict[CompletionKind, str] = {
    "lora": "LoRA", "embedding": "embedding", "wildcard": "wildcard", "style": "style", "word": "word",
    "insertion": "insertion", "history": "earlier prompt",
}  # fmt: skip

LIMIT = 40
STALE_SECONDS = 30.0
MIN_WORD = 2
MAX_SAMPLES = 8
MAX_LINE = 4_000  # characters of the line before the cursor that are looked at
_TAG = re.compile(r"<(?:(?:lora|lyco):)?([^<>:\n]*)$", re.I)
_EMBEDDING = re.compile(r"\bembedding:([^\s,;()\[\]{}|<>\"]*)$", re.I)
_WILDCARD = re.compile(r"__([\w./-]*)$")
_WORD = re.compile(r"[\w'’-]+$")
_REST_OF_TAG = re.compile(r"[^<>\n]*>")
_REST_OF_WILDCARD = re.compile(r"[\w./-]*__")
_WORDS = re.compile(r"[^\W\d_]{4,}")


@dataclass(frozen=True)
class Completion:
    """Put `text` in the place of `start`..`end` of the prompt. `note` stands beside its `label`.

    facts  (name, value) for the side of the list: base model, trigger words, some of a wildcard's choices
    named  the LoRA or embedding, for its picture
    """

    kind: CompletionKind
    label: str
    text: str
    start: int
    end: int
    note: str = ""
    facts: tuple[tuple[str, str], ...] = ()
    named: Named | None = None


class Completions:
    """`prepare` looks at the machine and may take a while; `suggest` is for each key. Any thread may use it."""

    def __init__(self, app: Application) -> None:
        self._app = app
        self._lock = threading.Lock()
        self._catalogue: Catalogue | None = None
        self._looked = -STALE_SECONDS
        self._words: tuple[object, NameIndex] = (None, NameIndex(()))
        app.model_library.changed.subscribe(lambda count: self.forget())

    @property
    def ready(self) -> bool:
        """Whether what is known is new enough; if not, let another thread `prepare`."""
        return time.monotonic() - self._looked < STALE_SECONDS

    @property
    def catalogue(self) -> Catalogue:
        """What was found last; the first question looks, and finds nothing while another thread does."""
        if self._catalogue is None and self._lock.acquire(blocking=False):
            try:
                self._look()
            finally:
                self._lock.release()
        return self._catalogue or Catalogue()

    def prepare(self) -> Catalogue:
        """Look at the machine now."""
        with self._lock:
            return self._look()

    def forget(self) -> None:
        """Files changed: what is known is old."""
        self._looked = -STALE_SECONDS

    def _look(self) -> Catalogue:
        self._looked = time.monotonic()  # before: what changes meanwhile makes it old again
        self._catalogue = found = gather(self._app)
        return found

    def suggest(self, text: str, cursor: int, model: ModelRef | None = None, limit: int = LIMIT) -> list[Completion]:
        """What fits at `cursor`, best first."""
        start = max(text.rfind("\n", 0, cursor) + 1, cursor - MAX_LINE)
        line = text[start:cursor]
        entry = self._entry(model)
        family = entry.family if entry else ""
        if match := _TAG.search(line):
            place, end = start + match.start(), _beyond(_REST_OF_TAG, text, cursor)
            return list(self._loras(match[1], place, end, family, limit))
        if match := _EMBEDDING.search(line):
            return list(self._embeddings(match[1], start + match.start(), cursor, family, limit))
        if match := _WILDCARD.search(line):
            place, end = start + match.start(), _beyond(_REST_OF_WILDCARD, text, cursor)
            return list(self._wildcards(match[1], place, end, limit))
        return self._plain(line, start, cursor, entry, limit)

    @property
    def known(self) -> Catalogue | None:
        """What was found last, None before anyone looked."""
        return self._catalogue

    def styles(self, cursor: int, model: ModelRef | None = None) -> list[Completion]:
        """Every style the model can honour, to be put in at the cursor."""
        return list(self._styles("", cursor, cursor, self._entry(model)))

    # ---- kinds

    def _plain(self, line: str, start: int, cursor: int, entry: ModelEntry | None, limit: int) -> list[Completion]:
        match = _WORD.search(line)
        word = match[0] if match else ""
        if len(word) < MIN_WORD:
            return []
        place, family = cursor - len(word), entry.family if entry else ""
        out = [*self._history(line, start, cursor), *self._known_words(word, place, cursor, entry)]
        if len(word) > MIN_WORD:
            out += self._insertions(word, place, cursor, entry)
            out += self._styles(word, place, cursor, entry)
            for found in (
                self._loras(word, place, cursor, family, 6),
                self._embeddings(word, place, cursor, family, 4),
                self._wildcards(word, place, cursor, 4),
            ):
                out += [each for each in found if word.lower() in each.label.lower()]
        return out[:limit]

    def _loras(self, query: str, start: int, end: int, family: str, limit: int) -> Iterator[Completion]:
        loras = self.catalogue.loras
        found = [loras[index] for index in self.catalogue.index("lora").find(query.strip(), limit * 2)]
        for each in sorted(found, key=lambda each: not each.fits(family))[:limit]:
            words = ", ".join(each.triggers)
            facts = [("Base model", each.base), ("Weight", f"{each.weight:g}")]
            facts += [("Trigger words", words)] if words else []
            note = each.base if each.fits(family) else f"for {each.base}"
            tag = f"<lora:{each.name}:{each.weight:g}>"
            text = f"{tag} {words}" if words else tag
            yield Completion("lora", each.name, text, start, end, note, tuple(facts), each)

    def _embeddings(self, query: str, start: int, end: int, family: str, limit: int) -> Iterator[Completion]:
        embeddings = self.catalogue.embeddings
        found = [embeddings[index] for index in self.catalogue.index("embedding").find(query, limit * 2)]
        for each in sorted(found, key=lambda each: not each.fits(family))[:limit]:
            note = each.base if each.fits(family) else f"for {each.base}"
            text = f"embedding:{each.name}"
            yield Completion("embedding", each.name, text, start, end, note, (("Base model", each.base),), each)

    def _wildcards(self, query: str, start: int, end: int, limit: int) -> Iterator[Completion]:
        names = self.catalogue.wildcards
        for index in self.catalogue.index("wildcard").find(query, limit):
            choices = FOLDER.choices(names[index]) or ()
            samples = ", ".join(choice.text for choice in choices[:MAX_SAMPLES])
            samples += " …" if len(choices) > MAX_SAMPLES else ""
            count = "1 choice" if len(choices) == 1 else f"{len(choices)} choices"
            facts = (("Choices", samples),) if samples else ()
            yield Completion("wildcard", names[index], f"__{names[index]}__", start, end, count, facts)

    def _history(self, line: str, start: int, cursor: int) -> Iterator[Completion]:
        typed = _folded(line)
        taken = 0
        for text in self._app.prompts.all_prompts():
            folded = _folded(text[: 2 * len(line) + 64])
            if folded.startswith(typed) and folded != typed and "\n" not in text:
                yield Completion("history", text, text, start, cursor, KIND_WORDS["history"])
                taken += 1
                if taken == 3:
                    return

    def _known_words(self, word: str, start: int, end: int, entry: ModelEntry | None) -> Iterator[Completion]:
        index = self._word_index(entry)
        note = "known to the model" if entry is not None and entry.vocabulary else "used before"
        for number in index.find(word, 24):
            name = index.names[number]
            if name.lower().startswith(word.lower()) and name.lower() != word.lower():
                yield Completion("word", name, name, start, end, note)

    def _insertions(self, word: str, start: int, end: int, entry: ModelEntry | None) -> Iterator[Completion]:
        for each in self._app.prompts.insertions():
            begins = each.text.lower().startswith(word.lower()) or f" {word.lower()}" in each.text.lower()
            if begins and not each.negative and each.supported_by(entry) == "full":
                yield Completion("insertion", each.text, each.text, start, end, each.group)

    def _styles(self, word: str, start: int, end: int, entry: ModelEntry | None) -> Iterator[Completion]:
        for style in self._app.styles.all():
            if style.prompt and style.supported_by(entry) == "full" and style.name.lower().startswith(word.lower()):
                words = style.prompt.replace(PLACE, "").strip(" ,")
                yield Completion("style", style.name, words, start, end, "style", (("Words", words),))

    # ---- helpers

    def _entry(self, model: ModelRef | None) -> ModelEntry | None:
        try:
            return self._app.models.entry(model) if model is not None else None
        except MissingModel:
            return None

    def _word_index(self, entry: ModelEntry | None) -> NameIndex:
        """The words of a model with a vocabulary, else those of earlier prompts."""
        recent = self._app.prompts.all_prompts()
        key: object = (entry.ref, entry.path) if entry is not None and entry.vocabulary else tuple(recent)
        if self._words[0] != key:
            words = dict.fromkeys(entry.vocabulary) if entry is not None and entry.vocabulary else {}
            if not words:
                words = dict.fromkeys(match.lower() for text in recent for match in _WORDS.findall(text[:MAX_LINE]))
            self._words = (key, NameIndex(sorted(words)))
        return self._words[1]


def applied(text: str, completion: Completion) -> tuple[str, int]:
    """The text with a completion in it, and where the cursor goes."""
    out = text[: completion.start] + completion.text + text[completion.end :]
    return out, completion.start + len(completion.text)


def picture_of(app: Application, named: Named) -> bytes | None:
    """The preview picture of a LoRA or embedding: not for the window's own thread."""
    file, path = named.file, named.path
    if file is not None:
        return app.model_library.previews.read(path, file)
    return _beside(path)


def _beside(path: Path) -> bytes | None:
    for ending in (".preview.png", ".png", ".preview.jpg", ".jpg", ".webp"):
        try:
            return path.with_suffix(ending).read_bytes()
        except (OSError, ValueError):
            continue
    return None


def _beyond(pattern: re.Pattern[str], text: str, cursor: int) -> int:
    """The end of what is replaced: the rest of a tag the cursor stands in."""
    match = pattern.match(text, cursor)
    return match.end() if match else cursor


def _folded(text: str) -> str:
    return " ".join(text.lower().split())
