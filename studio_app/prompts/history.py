"""Recent prompts, suggestions while typing, and quick insertions."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine.contracts.codec import Document, dump_json, parse_json
from engine.contracts.errors import InvalidDocument, StorageError
from studio_app.files import set_aside, write_atomically
from studio_app.models.index import ModelEntry

MAX_REMEMBERED = 500
_LAST_WORD = re.compile(r"[^\s,()<>:]+$")


@dataclass(frozen=True, kw_only=True)
class Insertion(Document):
    """Words offered for one click. `group` is one of quality, style, lighting, composition, mood, colour, subject."""

    group: str
    text: str
    negative: bool = False

    def supported_by(self, model: ModelEntry | None) -> Literal["full", "none"]:
        """Whether the loaded model knows these words; one that reads ordinary language knows them all."""
        from engine.recipes.vocabulary import unknown_words

        return "none" if model is not None and unknown_words(self.text, model.vocabulary) else "full"


class Prompts:
    """History is kept in one small file, newest first, each prompt once. Any thread may use it."""

    def __init__(self, path: Path, insertions: Path) -> None:
        self._path, self._insertions_file = path, insertions
        self._lock = threading.Lock()
        self._recent: list[str] | None = None
        self._favourites: list[str] | None = None
        self._insertions: list[Insertion] | None = None
        self.complaints: list[str] = []

    def recent(self, limit: int = 50) -> list[str]:
        """The last prompts, newest first."""
        with self._lock:
            return self._loaded()[:limit]

    def all_prompts(self) -> list[str]:
        """Favourites first, then the rest, newest first."""
        with self._lock:
            favourites = list(self._favourites_loaded())
            marked = {_folded(text) for text in favourites}
            return favourites + [text for text in self._loaded() if _folded(text) not in marked]

    def search(self, query: str, limit: int = 50) -> list[str]:
        """Earlier prompts that hold every word of `query`, favourites first."""
        words = query.lower().split()
        return [text for text in self.all_prompts() if all(word in text.lower() for word in words)][:limit]

    def favourites(self) -> list[str]:
        """The prompts a person marked, newest mark first."""
        with self._lock:
            return list(self._favourites_loaded())

    def is_favourite(self, text: str) -> bool:
        return _folded(text) in {_folded(each) for each in self.favourites()}

    def set_favourite(self, text: str, favourite: bool) -> None:
        """Mark a prompt, so that it is never pushed out of the history, or take the mark away."""
        text = text.strip()
        with self._lock:
            others = [each for each in self._favourites_loaded() if _folded(each) != _folded(text)]
            self._favourites = [text, *others][:MAX_REMEMBERED] if favourite and text else others
            self._loaded()
            self._save()

    def remember(self, text: str) -> None:
        """Put a prompt at the head of the history; differences in spacing and case don't make it another."""
        text = text.strip()
        if not text:
            return
        with self._lock:
            same = _folded(text)
            self._recent = [text, *(t for t in self._loaded() if _folded(t) != same)][:MAX_REMEMBERED]
            self._save()

    def forget(self, text: str) -> None:
        """Take a prompt out of the history."""
        with self._lock:
            self._recent = [t for t in self._loaded() if _folded(t) != _folded(text)]
            self._save()

    def clear(self) -> None:
        """Forget the history; favourites stay."""
        with self._lock:
            self._loaded()
            self._recent = []
            self._save()

    def suggest(self, prefix: str, model: ModelEntry | None = None, limit: int = 8) -> list[str]:
        """Whole prompts that go on from `prefix`: from the history first, then with its last word completed.

        Words come from the model's vocabulary, or from earlier prompts and the insertions when it reads ordinary
        language.
        """
        typed = _folded(prefix)
        if not typed:
            return self.recent(limit)
        history = [t for t in self.recent(MAX_REMEMBERED) if _folded(t).startswith(typed) and _folded(t) != typed]
        out = dict.fromkeys(history)
        match = _LAST_WORD.search(prefix)
        if match and len(match.group()) >= 2:
            start = match.group().lower()
            for word in self._words(model):
                if word.lower().startswith(start) and word.lower() != start:
                    out.setdefault(prefix[: match.start()] + word)
        return list(out)[:limit]

    def insertions(self) -> list[Insertion]:
        """Quick insertions in the order they are shown."""
        if self._insertions is None:
            self._insertions = self._read_insertions()
        return list(self._insertions)

    def _words(self, model: ModelEntry | None) -> list[str]:
        if model is not None and model.vocabulary:
            return sorted(model.vocabulary)
        seen: dict[str, None] = {}
        for insertion in self.insertions():
            seen.setdefault(insertion.text)
        for text in self.recent(MAX_REMEMBERED):
            for word in re.findall(r"[^\W\d_]{4,}", text):
                seen.setdefault(word.lower())
        return list(seen)

    def _read_insertions(self) -> list[Insertion]:
        where = self._insertions_file.name
        try:
            data = parse_json(self._insertions_file.read_bytes(), where)
            if not isinstance(data, dict) or not isinstance(data.get("insertions"), list):
                raise InvalidDocument("it does not hold insertions", where=where)
            return [Insertion.from_json(item, where) for item in data["insertions"]]
        except OSError as error:
            self.complaints.append(f"{where} can't be read ({error.strerror}).")
        except InvalidDocument as error:
            self.complaints.append(str(error))
        return []

    def _loaded(self) -> list[str]:
        if self._recent is None:
            self._recent, self._favourites = self._load()
        return self._recent

    def _favourites_loaded(self) -> list[str]:
        self._loaded()
        return self._favourites or []

    def _load(self) -> tuple[list[str], list[str]]:
        try:
            data = parse_json(self._path.read_bytes(), self._path.name)
            if not isinstance(data, dict):
                raise InvalidDocument("it does not hold prompts", where=self._path.name)
            return self._texts(data.get("recent")), self._texts(data.get("favourites", []))
        except InvalidDocument as error:
            kept = set_aside(self._path)
            self.complaints.append(
                f"{error} The history starts anew." + (f" It was kept as {kept.name}." if kept else "")
            )
        except OSError:
            pass
        return [], []

    def _texts(self, value: object) -> list[str]:
        if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
            raise InvalidDocument("it does not hold prompts", where=self._path.name)
        return value[:MAX_REMEMBERED]

    def _save(self) -> None:
        kept = {"format": "tessera.prompts", "version": 1, "recent": self._recent, "favourites": self._favourites or []}
        text = dump_json(kept) + "\n"
        try:
            write_atomically(self._path, text.encode(), durable=False)
        except StorageError as error:  # the history still holds in memory; a picture must not fail for it
            if not self.complaints:
                self.complaints.append(f"Recent prompts can't be kept. {error}")


def _folded(text: str) -> str:
    return " ".join(text.lower().split())
