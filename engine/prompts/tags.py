"""Tags: `<lora:name:0.8>` and other `<kind:arguments>`, taken out of a prompt before anything else is read."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

# "lyco" is what an older extension called the same thing.
LORA_KINDS = frozenset({"lora", "lyco"})
_HEAD = re.compile(r"<(\w+):")


@dataclass(frozen=True)
class Tag:
    """One tag as written: `<kind:a:b:te=1>` has the arguments ("a", "b", "te=1")."""

    kind: str
    arguments: tuple[str, ...]

    @property
    def positional(self) -> tuple[str, ...]:
        return tuple(argument for argument in self.arguments if argument.count("=") != 1)

    @property
    def named(self) -> dict[str, str]:
        return {a.partition("=")[0]: a.partition("=")[2] for a in self.arguments if a.count("=") == 1}

    @property
    def text(self) -> str:
        return f"<{self.kind}:{':'.join(self.arguments)}>"


@dataclass(frozen=True)
class Lora:
    """A LoRA that a prompt asks for, with its weights in the text encoder and in the denoiser."""

    name: str
    te: float = 1.0
    unet: float = 1.0


def take_tags(text: str) -> tuple[str, tuple[Tag, ...]]:
    """`text` without its tags, and the tags in order."""
    kept: list[str] = []
    tags: list[Tag] = []
    done = position = 0
    while (head := _HEAD.search(text, position)) is not None:
        end = text.find(">", head.end())
        if end < 0:
            break  # no tag can close any more
        if end == head.end():
            position = end  # "<name:>" says nothing and stays
            continue
        kept.append(text[done : head.start()])
        tags.append(Tag(head[1], tuple(text[head.end() : end].split(":"))))
        done = position = end + 1
    kept.append(text[done:])
    return "".join(kept), tuple(tags)


def lora_of(tag: Tag) -> Lora | None:
    """The LoRA of a tag; None when it is of another kind or has no name. What is no number counts as 1."""
    if tag.kind.lower() not in LORA_KINDS:
        return None
    positional, named = tag.positional, tag.named
    name = positional[0].strip() if positional else ""
    if not name:
        return None
    te = _number(named.get("te", positional[1] if len(positional) > 1 else ""), 1.0)
    unet = _number(named.get("unet", positional[2] if len(positional) > 2 else ""), te)
    return Lora(name, te, unet)


def _number(text: str, otherwise: float) -> float:
    try:
        value = float(text)
    except ValueError:
        return otherwise
    return value if math.isfinite(value) else otherwise
