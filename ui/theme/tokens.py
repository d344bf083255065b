"""The one table of colours and metrics (resources/themes/tokens.json), read and checked. Knows no widgets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

RESOURCES = Path(__file__).resolve().parents[2] / "resources"


@dataclass(frozen=True)
class ThemeTokens:
    """One theme. `colours` maps a token to "#rrggbb" or "#aarrggbb"; `sockets` a socket type to its colour."""

    name: str
    label: str
    colours: Mapping[str, str]
    sockets: Mapping[str, str]


@dataclass(frozen=True)
class Metrics:
    """Pixels at scale 1: `grid` is the rhythm, `type_scale` the five font sizes, `motion_ms` the longest animation."""

    grid: int
    base_font: int
    type_scale: tuple[int, ...]
    corner: int
    motion_ms: int


@cache
def _table() -> dict[str, Any]:
    table: dict[str, Any] = json.loads((RESOURCES / "themes" / "tokens.json").read_text(encoding="utf-8"))
    return table


@cache
def themes() -> Mapping[str, ThemeTokens]:
    """Every theme by name, in the order they are offered."""
    table = _table()
    return {
        name: ThemeTokens(
            name=name,
            label=entry["label"],
            colours={key: value for key, value in entry.items() if key != "label"},
            sockets={kind: socket[name] for kind, socket in table["sockets"].items()},
        )
        for name, entry in table["themes"].items()
    }


@cache
def metrics() -> Metrics:
    entry = _table()["metrics"]
    return Metrics(
        grid=entry["grid"],
        base_font=entry["base_font"],
        type_scale=tuple(entry["type_scale"]),
        corner=entry["corner"],
        motion_ms=entry["motion_ms"],
    )


def socket_shape(kind: str) -> str:
    """The shape that tells a socket type apart without colour; unknown types look like ANY."""
    sockets = _table()["sockets"]
    return str(sockets.get(kind, sockets["ANY"])["shape"])


def contrast(a: str, b: str) -> float:
    """WCAG 2 contrast ratio, 1..21, of two opaque "#rrggbb" colours."""
    lighter, darker = sorted((_luminance(a), _luminance(b)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    channels = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
