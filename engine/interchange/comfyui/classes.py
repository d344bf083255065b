"""The table of ComfyUI's node classes: widgets in order, sockets, outputs (resources/interchange/*.txt)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

TABLE = Path(__file__).resolve().parents[3] / "resources" / "interchange" / "comfyui_classes.txt"


@dataclass(frozen=True)
class Widget:
    """One widget: `control` when a seed-control value follows it in widgets_values, `upload` for an upload value."""

    name: str
    type: str = "COMBO"
    control: bool = False
    upload: bool = False
    optional: bool = False


@dataclass(frozen=True)
class SocketInput:
    name: str
    type: str
    optional: bool = False


@dataclass(frozen=True)
class ComfyClass:
    name: str
    widgets: tuple[Widget, ...]
    sockets: tuple[SocketInput, ...]
    outputs: tuple[str, ...]

    @property
    def widget_names(self) -> tuple[str, ...]:
        return tuple(w.name for w in self.widgets)


@cache
def classes() -> dict[str, ComfyClass]:
    """Every class of the table by name."""
    table: dict[str, ComfyClass] = {}
    for line in TABLE.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            name, widgets, sockets, outputs = (part.strip() for part in line.split("|"))
            table[name] = ComfyClass(
                name,
                tuple(_widget(item) for item in widgets.split()),
                tuple(_socket(item) for item in sockets.split()),
                tuple(outputs.split()),
            )
    return table


def _widget(item: str) -> Widget:
    control, upload = item.endswith("!"), item.endswith("^")
    name, _, kind = item.rstrip("!^").partition(":")
    return Widget(name.rstrip("?"), kind or "COMBO", control, upload, name.endswith("?"))


def _socket(item: str) -> SocketInput:
    name, _, kind = item.partition(":")
    return SocketInput(name.rstrip("?"), kind or "*", name.endswith("?"))
