"""What a prompt can name: the LoRAs, embeddings, wildcards and styles of this machine, gathered once for many looks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.contracts.errors import StorageError
from engine.models.model_file import FAMILY_WORDS, ModelFile
from studio_app.prompts.ranking import NameIndex

if TYPE_CHECKING:
    from studio_app.application import Application

USUAL_WEIGHT = 1.0
MOST_TRIGGERS = 12
MAX_NOTES_BYTES = 1 << 20


@dataclass(frozen=True)
class Named:
    """A LoRA or an embedding. `families` are those it works with, () when its file does not tell.

    triggers  words it was trained with
    weight    what its owner prefers, by the notes other programs keep beside it
    file      what the library knows of it, None before the library was read
    """

    name: str
    path: Path
    families: tuple[str, ...] = ()
    triggers: tuple[str, ...] = ()
    weight: float = USUAL_WEIGHT
    file: ModelFile | None = None

    @property
    def base(self) -> str:
        """The base model in words: "SDXL"."""
        return " or ".join(FAMILY_WORDS.get(family, family) for family in self.families) or "unknown base model"

    def fits(self, family: str) -> bool:
        """Whether it works with a family, as far as is known."""
        return not self.families or not family or family in self.families


@dataclass(frozen=True)
class Catalogue:
    """All of it, with an index over the names of each kind."""

    loras: tuple[Named, ...] = ()
    embeddings: tuple[Named, ...] = ()
    wildcards: tuple[str, ...] = ()
    indices: Mapping[str, NameIndex] = field(default_factory=dict)

    def index(self, kind: str) -> NameIndex:
        return self.indices.get(kind) or NameIndex(())


def gather(app: Application) -> Catalogue:
    """Look at the machine now. Takes a while with many files: not for the window's own thread."""
    from engine.prompts.wildcards import FOLDER

    known = _known_files(app)
    loras, embeddings = (_named(app, kind, known) for kind in ("lora", "embedding"))
    wildcards = tuple(FOLDER.names())
    indices = {
        "lora": NameIndex([each.name for each in loras]),
        "embedding": NameIndex([each.name for each in embeddings]),
        "wildcard": NameIndex(wildcards),
    }
    return Catalogue(loras, embeddings, wildcards, indices)


def _known_files(app: Application) -> dict[Path, ModelFile]:
    if not app.wait_ready(0):
        return {}
    try:
        listed = app.model_library.list(scan=False)
    except StorageError:
        return {}
    return {item.path: item.file for item in listed if item.file is not None}


def _named(app: Application, kind: str, known: Mapping[Path, ModelFile]) -> tuple[Named, ...]:
    found: dict[str, Named] = {}
    for entry in app.models.list(kind):
        file = known.get(entry.path)
        families = file.fits or (file.family,) if file else (entry.family,)
        notes = _notes_beside(entry.path)
        triggers = _words(notes.get("activation text")) or (file.trigger_words if file else ())
        found.setdefault(
            entry.name,
            Named(
                entry.name, entry.path, tuple(family for family in families if family not in ("unknown", "several")),
                tuple(triggers[:MOST_TRIGGERS]), _weight(notes.get("preferred weight")), file,
            ),
        )  # fmt: skip
    return tuple(sorted(found.values(), key=lambda each: each.name.lower()))


def _notes_beside(path: Path) -> dict[str, Any]:
    """What A1111 keeps beside a LoRA as NAME.json: "activation text" and "preferred weight"."""
    file = path.with_suffix(".json")
    try:
        if path.is_dir() or file.stat().st_size > MAX_NOTES_BYTES:
            return {}
        notes = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return notes if isinstance(notes, dict) else {}


def _words(value: Any) -> Sequence[str]:
    return tuple(word.strip() for word in value.split(",") if word.strip()) if isinstance(value, str) else ()


def _weight(value: Any) -> float:
    usable = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < abs(value) <= 10
    return float(value) if usable else USUAL_WEIGHT
