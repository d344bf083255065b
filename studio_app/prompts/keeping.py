"""Part of a prompt kept under a name: as a style, or as the choices of a wildcard."""

from __future__ import annotations

import re
from pathlib import Path

from engine.contracts.errors import InvalidRequest
from engine.prompts.styles import PLACE
from studio_app.files import write_atomically
from studio_app.styles import Style, Styles

_NAME = re.compile(r"[\w.-][\w ./-]{0,118}")
_NOT_ID = re.compile(r"[^\w]+")


def keep_style(styles: Styles, name: str, words: str, negative: str = "") -> Style:
    """Keep words as a style of the person's own; one of the same name is replaced.

    `{prompt}` in them says where a prompt goes. Raises InvalidRequest without a name or words, or StorageError.
    """
    name, words = " ".join(name.split()), words.strip()
    if not words.replace(PLACE, "").strip(" ,"):
        raise InvalidRequest("there are no words to keep as a style", fix="Select some of the prompt first")
    style_id = _NOT_ID.sub("-", name.lower()).strip("-")
    if not style_id:
        raise InvalidRequest("a style needs a name", fix="Type one with letters in it")
    style = Style(id=style_id, name=name, prompt=words, negative=negative.strip(), use="Kept from a prompt")
    styles.add(style)
    return style


def keep_wildcard(folder: Path, name: str, words: str) -> tuple[str, int]:
    """Add the lines of a text, or what commas part on a single line, to a wildcard: (its name, how many were new).

    Raises InvalidRequest for a name that can't be a wildcard's or a text without words, or StorageError.
    """
    name = "/".join(part.strip() for part in name.strip().strip("_").replace("\\", "/").split("/"))
    if not _NAME.fullmatch(name) or any(part in ("", ".", "..") for part in name.split("/")):
        raise InvalidRequest(
            f"“{name}” can't be the name of a wildcard", fix="Use letters, digits, spaces, “-”, “.” and “/” for folders"
        )
    parts = words.splitlines() if "\n" in words.strip() else words.split(",")
    choices = [part.strip() for part in parts if part.strip() and not part.strip().startswith("#")]
    if not choices:
        raise InvalidRequest("there are no words to keep as a wildcard", fix="Select some of the prompt first")
    file = folder.joinpath(*name.split("/")[:-1], name.split("/")[-1] + ".txt")
    try:
        before = file.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    except OSError:
        before = []
    fresh = [choice for choice in dict.fromkeys(choices) if choice not in before]
    write_atomically(file, ("\n".join([*before, *fresh]) + "\n").encode())
    return name, len(fresh)
