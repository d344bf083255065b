"""Folder of images: the pictures of one folder of this machine, and of nothing outside it."""

from __future__ import annotations

import fnmatch
import os
import re
from pathlib import Path
from typing import Annotated

import numpy as np

from engine.contracts.errors import InvalidImage, InvalidRequest, clip
from engine.contracts.node_schema import Effects
from engine.graph.node import In, NodeContext, node
from engine.graph.values import Image, Mask
from engine.media.formats import MAX_FILE_BYTES
from engine.media.images import decode

_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif")
_MAX_LISTED = 100_000


def _state(folder: str = "", pattern: str = "*", start: int = 0, limit: int = 100, **_: object) -> object:
    """What the folder holds now: another answer makes the node run again."""
    try:
        return [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in listed(folder, pattern)]
    except (InvalidRequest, OSError):
        return None


@node(
    "image.folder",
    category="Image/Batch",
    outputs=("image", "mask", "name"),
    title="Folder of images",
    effects=Effects(local_only=True),
    list_outputs=("image", "mask", "name"),
    changed=_state,
    search=("directory", "load", "batch"),
)
def folder_of_images(
    ctx: NodeContext,
    folder: str,
    pattern: str = "*",
    start: Annotated[int, In(minimum=0, maximum=1_000_000, step=1)] = 0,
    limit: Annotated[int, In(minimum=1, maximum=10_000, step=1)] = 100,
) -> tuple[list[Image], list[Mask], list[str]]:
    """Load the pictures of a folder as a list, by name. Files that are no pictures are named in the log and left out.

    folder: the whole path of the folder; its own files are read, not those of folders in it
    pattern: which names, like *.png or photo_*
    start: how many to leave out at the beginning
    limit: how many to load at most
    """
    images: list[Image] = []
    masks: list[Mask] = []
    names: list[str] = []
    chosen = listed(folder, pattern)[start : start + limit]
    for done, path in enumerate(chosen):
        ctx.check_cancelled()
        ctx.progress(done, len(chosen), path.name)
        try:
            if path.stat().st_size > MAX_FILE_BYTES:
                raise InvalidImage(f"the file is larger than {MAX_FILE_BYTES // 2**20} MB", where=f"“{path.name}”")
            pixels = decode(path.read_bytes(), path.name)
        except InvalidImage as error:
            ctx.log(str(error), "warning")
            continue
        except OSError as error:
            ctx.log(f"“{path.name}” can't be read ({error.strerror}).", "warning")
            continue
        opaque = pixels.shape[-1] == 3
        images.append(pixels[None, ..., :3])
        masks.append(np.zeros((1, *pixels.shape[:2]), np.float32) if opaque else 1 - pixels[None, ..., 3])
        names.append(path.stem)
    if not images:
        raise InvalidRequest(f"no picture called “{clip(pattern, 40)}” can be read", where=f"“{clip(folder)}”")
    return images, masks, names


def listed(folder: str, pattern: str) -> list[Path]:
    """The picture files of a folder by name, numbers in their order. Raises InvalidRequest.

    Links are left out: they may lead outside. `..` in the folder and separators in the pattern are refused.
    """
    path = Path(folder)
    place = f"“{clip(folder)}”"
    if "\0" in folder or not path.is_absolute() or ".." in path.parts:
        raise InvalidRequest(
            "this is not the whole path of a folder", where=place, fix="Write it from the root, without .."
        )
    if not pattern or any(mark in pattern for mark in ("/", "\\", "\0")) or pattern == "..":
        raise InvalidRequest(
            f"“{clip(pattern, 40)}” is no pattern of file names", where=place, fix="Use one like *.png"
        )
    try:
        with os.scandir(path) as entries:
            found = [
                path / entry.name
                for entry, _ in zip(entries, range(_MAX_LISTED), strict=False)
                if entry.name.lower().endswith(_ENDINGS)
                and fnmatch.fnmatch(entry.name, pattern)
                and entry.is_file(follow_symlinks=False)
            ]
    except OSError as error:
        raise InvalidRequest(f"the folder can't be read ({(error.strerror or '').lower()})", where=place) from error
    return sorted(found, key=_natural)


def _natural(path: Path) -> list[tuple[int, int, str]]:
    parts = re.split(r"([0-9]{1,18})", path.name.lower())
    return [(0, int(part), "") if part.isdecimal() and part.isascii() else (1, 0, part) for part in parts]
