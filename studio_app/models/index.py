"""Which models are on this machine, and where."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from engine.contracts.errors import MissingModel, TesseraError, suggest
from engine.contracts.references import STARTER_CONTROLNET, STARTER_NAME, ModelRef
from engine.models.file_info import identify_checkpoint, info_of
from engine.models.fingerprint import ModelInfo, OtherPipeline, identify_pipeline
from engine.models.identify import identify
from engine.models.model_file import ModelFile
from engine.recipes.recommended import Recommended
from studio_app.models.layouts import diffusers_places


@dataclass(frozen=True)
class ModelEntry:
    """One usable model: how to refer to it, what it recommends, and its honest one-line notice ("" for most)."""

    ref: ModelRef
    path: Path
    info: ModelInfo
    defaults: Recommended
    starter: bool = False

    @property
    def name(self) -> str:
        return self.ref.name

    @property
    def family(self) -> str:
        return self.info.family

    @property
    def notice(self) -> str:
        return self.info.notice

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The words the model was shown, or () when it reads ordinary language."""
        return self.info.vocabulary

    @property
    def styles_supported(self) -> tuple[str, ...]:
        """Ids of styles a small model knows; a model without a vocabulary knows them all."""
        return self.info.styles_supported

    @property
    def supports_negative(self) -> bool:
        return self.info.defaults.supports_negative


LOOK_SECONDS = 5.0

Entries: TypeAlias = list["ModelEntry"]  # in ModelIndex the name `list` is a method


@dataclass(frozen=True)
class RefusedModel:
    """A folder that looks like a model and can't be used, and why, in one sentence."""

    path: Path
    why: str


Refused: TypeAlias = list[RefusedModel]
Candidates: TypeAlias = list[tuple[Path, bool]]


class ModelIndex:
    """Models found in the shipped starter folder and in the person's folders; read once, again after `refresh`.

    `folders` is asked at each scan, so that a changed setting counts. A model folder lies directly in such a folder,
    in its “checkpoints” or “diffusers”, in a snapshot of the hub's cache, or is named by it. `files` gives the files
    that the model library knows; told True, it looks for new ones first, which may take a while.
    """

    def __init__(
        self, starter: Path, folders: Callable[[], list[Path]],
        files: Callable[[bool], Iterable[tuple[Path, ModelFile]]] = lambda look: (),
    ) -> None:  # fmt: skip
        self._starter, self._folders, self._files = starter, folders, files
        self._lock = threading.Lock()
        self._entries: Entries | None = None
        self._asked = self._read = 0  # how often a new look was asked for, and which of those was the last one taken
        self._refused: Refused = []
        self._looked = -LOOK_SECONDS
        self._unusable: dict[str, str] = {}  # a file's name, with and without its ending → why it can't be used

    def list(self, kind: str = "checkpoint") -> Entries:
        """The usable models of a kind, the starter first, then by name."""
        return [entry for entry in self._scanned() if entry.ref.kind == kind]

    def refused(self) -> Refused:
        """Folders that were looked at and can't be used."""
        self._scanned()
        return list(self._refused)

    def refresh(self) -> None:
        """Look again at the next question. Never waits, also while another thread looks: it holds other locks then."""
        self._asked += 1

    def entry(self, ref: ModelRef) -> ModelEntry:
        """The model a reference means: by content, by fingerprint, then by name among those of its kind.

        A file may be named with its ending and its folder, as other programs' workflows do. Raises MissingModel with
        the nearest names.
        """
        found = self._found(ref)
        if found is None:
            self._look()
            found = self._found(ref)
        if found is not None:
            return found
        entries = [entry for entry in self._scanned() if entry.ref.kind == ref.kind]
        why = self._unusable.get(ref.name.replace("\\", "/").rpartition("/")[2].lower())
        if why:
            raise MissingModel(why)
        refused = next((r for r in self._refused if r.path.name == ref.name), None)
        if refused:
            raise MissingModel(refused.why)
        where = f" You can get it from {ref.url}." if ref.url else ""
        raise MissingModel(
            f"the model “{ref.name or ref.identity}” is not on this machine",
            fix=suggest(ref.name, [e.name for e in entries]) + where,
        )

    def _found(self, ref: ModelRef) -> ModelEntry | None:
        entries = self._scanned()
        for field in ("sha256", "fingerprint"):
            wanted = getattr(ref, field)
            for entry in entries:
                if wanted and getattr(entry.ref, field) == wanted:
                    return entry
        alike = [entry for entry in entries if entry.ref.kind == ref.kind]
        for entry in alike:
            if ref.name and entry.ref.name == ref.name:
                return entry
        if ref.name == STARTER_NAME:  # what ships beside the starter model, by the model's own name
            return next((entry for entry in alike if self._starter.parent in entry.path.parents), None)
        last = ref.name.replace("\\", "/").rpartition("/")[2].lower()
        return next((entry for entry in alike if last and entry.path.name.lower() == last), None)

    def _look(self) -> None:
        """Ask for files that came since the last look, unless that was just now."""
        if time.monotonic() - self._looked < LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        try:
            found = list(self._files(True))
        except TesseraError:
            return
        with self._lock:
            self._entries = None if found else self._entries

    def find(self, name: str) -> ModelEntry:
        """The checkpoint with this name, or in this folder or file. Raises MissingModel, or as identify_checkpoint."""
        path = Path(name)
        if (path / "model_index.json").is_file() or path.is_file():
            return _entry(path.absolute(), starter=False)
        return self.entry(ModelRef(name=name))

    def starter(self) -> ModelEntry | None:
        return next((e for e in self._scanned() if e.starter), None)

    def locate(self, ref: ModelRef) -> Path:
        """The folder of a model. Raises MissingModel."""
        return self.entry(ref).path

    def add(self, folder: Path) -> ModelEntry:
        """Use a model folder for this session that lies in none of the searched folders. Raises as identify_folder."""
        entry = _entry(folder.absolute(), starter=False)
        self._scanned()
        with self._lock:
            self._entries = [e for e in self._entries or [] if e.path != entry.path] + [entry]
        return entry

    def _scanned(self) -> Entries:
        with self._lock:
            asked = self._asked
            if self._entries is None or asked != self._read:
                self._entries, self._refused = self._scan()
                self._read = asked
            return self._entries

    def _scan(self) -> tuple[Entries, Refused]:
        found: dict[Path, ModelEntry] = {}
        refused: list[RefusedModel] = []
        for path, starter in self._candidates():
            if path in found:
                continue
            try:
                found[path] = _entry(path, starter=starter)
            except TesseraError as error:
                refused.append(RefusedModel(path, str(error)))
        for path in self._starter.parent.glob(f"{STARTER_NAME}_[cl]*/*.safetensors"):  # its ControlNet and LoRA
            shipped = _entry_of(path, info_of(path, identify(path)))
            if shipped.ref.kind != "lora":  # a folder in diffusers' layout, found by the model's own name
                shipped = replace(shipped, ref=replace(shipped.ref, name=STARTER_CONTROLNET), path=path.parent)
            found[shipped.path] = shipped
        self._unusable = {}
        for path, about in self._known_files():
            if path in found or about.container == "folder":
                continue
            try:
                found[path] = _entry_of(path, info_of(path, about))
            except TesseraError as error:
                self._unusable |= {path.name.lower(): str(error), path.stem.lower(): str(error)}
        entries = sorted(found.values(), key=lambda e: (not e.starter, e.name.lower(), str(e.path)))
        return entries, refused

    def _known_files(self) -> Iterable[tuple[Path, ModelFile]]:
        try:
            return list(self._files(False))
        except TesseraError:
            return ()

    def _candidates(self) -> Candidates:
        candidates = [(self._starter, True)] if self._starter.is_dir() else []
        for root in self._folders():
            try:
                inside = diffusers_places(root) if root.is_dir() else []
            except OSError:
                continue
            candidates += [(p.absolute(), False) for p in inside if (p / "model_index.json").is_file()]
        return candidates


class Locator:
    """The engine's view of the index (engine.graph.services.ModelLocator)."""

    def __init__(self, index: ModelIndex) -> None:
        self._index = index

    def locate(self, ref: ModelRef) -> Path:
        return self._index.locate(ref)

    def list(self, kind: str) -> list[ModelRef]:
        return [entry.ref for entry in self._index.list(kind)]


def recommended(info: ModelInfo) -> Recommended:
    """A model's recommendations in the terms of engine.recipes."""
    d = info.defaults
    return Recommended(
        width=d.width, height=d.height, steps=d.steps, cfg=d.cfg, sampler=d.sampler, scheduler=d.scheduler,
        multiple=d.multiple, minimum=d.minimum, maximum=d.maximum, inpainting=info.variant == "inpaint",
        redraw_reach=d.redraw_reach, redraw_strength=d.redraw_strength, redraw_prompt=d.redraw_prompt,
    )  # fmt: skip


def _entry(path: Path, *, starter: bool) -> ModelEntry:
    try:
        return _entry_of(path, identify_checkpoint(path), starter=starter)
    except OtherPipeline:
        return _entry_of(path, identify_pipeline(path))


def _entry_of(path: Path, info: ModelInfo, *, starter: bool = False) -> ModelEntry:
    name = STARTER_NAME if starter else info.name
    ref = ModelRef(kind=info.kind, name=name, fingerprint=info.fingerprint, url=info.url, licence=info.licence)
    return ModelEntry(ref=ref, path=path, info=info, defaults=recommended(info), starter=starter)
