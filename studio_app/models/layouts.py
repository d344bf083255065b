"""Which files of a folder are models: the studio's own, ComfyUI's, A1111's, InvokeAI's and the hub cache's layouts.

A folder is read in place and nothing in it is changed. Its layout is recognised by the folders it has; it only decides
what is passed over (caches, code, other programs' data) and how links are followed. What a file is, its header says.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine.models.contents import SUFFIXES
from engine.models.folders import MODEL_INDEX

Layout = Literal["studio", "comfyui", "a1111", "invokeai", "huggingface", "folder"]
LAYOUT_WORDS: dict[str, str] = {
    "studio": "the studio's own", "comfyui": "ComfyUI", "a1111": "Automatic1111", "invokeai": "InvokeAI",
    "huggingface": "Hugging Face cache", "folder": "plain folder",
}  # fmt: skip
MAX_DEPTH = 8
MAX_FILES = 200_000
_PASSED_OVER = frozenset(
    {".git", ".incoming", ".versions", "__pycache__", "node_modules", ".cache", ".locks", "refs", "custom_nodes",
     "venv", ".venv", "trash", "outputs", "output", "input", "temp"}
)  # fmt: skip


@dataclass(frozen=True)
class Found:
    """A file or diffusers folder that may be a model. `siblings` are the names beside it (for preview pictures)."""

    path: Path
    size: int
    mtime_ns: int
    siblings: frozenset[str]


def layout_of(folder: Path) -> Layout:
    """Whose folder this is, by what it has."""

    def has(*names: str) -> bool:
        return all((folder / name).exists() for name in names)

    if any(folder.glob("models--*/snapshots")):
        return "huggingface"
    if has("models/Stable-diffusion") or has("Stable-diffusion"):
        return "a1111"
    if has("models/checkpoints") or has("checkpoints", "loras") or has("checkpoints", "vae"):
        return "comfyui"
    if has("invokeai.yaml") or has("sd-1", "sdxl") or has("models", "databases"):
        return "invokeai"
    return "folder"


def usual_folders() -> list[tuple[str, Path]]:
    """(whose, where) of other programs' model folders in their usual places on this machine, those that are there."""
    home = Path.home()
    hub = os.environ.get("HF_HUB_CACHE") or str(Path(os.environ.get("HF_HOME") or home / ".cache/huggingface") / "hub")
    places = [("huggingface", Path(hub).expanduser())]
    for parent in (home, home / "Documents", home / "AI", Path("/opt"), Path("/workspace")):
        places += [("comfyui", parent / name) for name in ("ComfyUI", "comfyui")]
        places += [("a1111", parent / name) for name in ("stable-diffusion-webui", "stable-diffusion-webui-forge")]
        places += [("invokeai", parent / name) for name in ("invokeai", "InvokeAI")]
    there: list[tuple[str, Path]] = []
    for layout, path in places:
        # Not only by its name: the folder must have that program's layout too.
        if path.is_dir() and layout_of(path) == layout and not any(path.samefile(known) for _, known in there):
            there.append((layout, path))
    return there


def model_roots(folder: Path) -> list[Path]:
    """The folders below `folder` to search: a whole program's folder has its models in one place."""
    layout = layout_of(folder)
    if layout == "a1111" and (folder / "models").is_dir():
        return [path for path in (folder / "models", folder / "embeddings") if path.is_dir()]
    if layout in ("comfyui", "invokeai") and (folder / "models").is_dir():
        return [folder / "models"]
    return [folder]


def diffusers_places(folder: Path) -> list[Path]:
    """Where diffusers folders lie below `folder`, without searching all of it. Raises OSError."""
    if layout_of(folder) == "huggingface":
        return sorted(folder.glob("models--*/snapshots/*"))
    places = [folder]
    for root in dict.fromkeys([folder, *model_roots(folder)]):
        for parent in (root, root / "checkpoints", root / "diffusers", root / "Stable-diffusion"):
            if parent.is_dir():
                places += sorted(path for path in parent.iterdir() if path.is_dir())
    return list(dict.fromkeys(places))


def files(folder: Path) -> Iterator[Found]:
    """Every file and diffusers folder below `folder` that may be a model. What can't be read is passed over."""
    hub = layout_of(folder) == "huggingface"
    budget = [MAX_FILES]
    for root in model_roots(folder):
        yield from _below(root, 0, root.resolve() if hub else None, budget)


def _below(folder: Path, depth: int, hub: Path | None, budget: list[int]) -> Iterator[Found]:
    try:
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except OSError:
        return
    names = frozenset(entry.name for entry in entries)
    if MODEL_INDEX in names:
        yield from _diffusers(folder, names)
        return
    for entry in entries:
        try:
            if entry.is_symlink() and not _inside(entry, hub):
                continue
            if entry.is_dir():
                if depth < MAX_DEPTH and entry.name not in _PASSED_OVER and not (hub and entry.name == "blobs"):
                    yield from _below(Path(entry.path), depth + 1, hub, budget)
            elif entry.name.lower().endswith(SUFFIXES) and not entry.name.startswith("."):
                budget[0] -= 1
                if budget[0] < 0:
                    return
                found = entry.stat()
                yield Found(Path(entry.path), found.st_size, found.st_mtime_ns, names)
        except OSError:
            continue


def _inside(entry: os.DirEntry[str], hub: Path | None) -> bool:
    """Whether a link may be followed: in the hub's cache, to a file inside the same cache; elsewhere, to a plain file.

    People link single files between programs' folders, which is harmless; linked folders could lead in circles.
    """
    if hub is None:
        return entry.is_file()
    return Path(entry.path).resolve().is_relative_to(hub)


def _diffusers(folder: Path, names: frozenset[str]) -> Iterator[Found]:
    """One entry for the folder; its size and time are those of all its files, so that any change shows."""
    size = newest = 0
    for place, inner, inside in os.walk(folder):
        inner[:] = [name for name in inner if name not in _PASSED_OVER]
        for name in inside:
            try:
                found = os.stat(os.path.join(place, name))
            except OSError:
                continue
            size, newest = size + found.st_size, max(newest, found.st_mtime_ns)
    yield Found(folder, size, newest, names)
