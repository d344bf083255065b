"""The table of how ComfyUI classes map to the studio's nodes (resources/interchange/comfyui_mapping.txt)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import PurePosixPath
from typing import Any

from engine.contracts.references import BlobRef, ModelRef
from engine.interchange.comfyui.classes import TABLE

MAPPING = TABLE.with_name("comfyui_mapping.txt")
PLACEHOLDER = "comfyui."
OWN_PREFIX = "tessera."  # our types that ComfyUI has no class for, in exported files


@dataclass(frozen=True)
class InputMapping:
    """One input: its name with us ("" when it has no meaning here) and the form its literal takes."""

    name: str
    form: str = ""


@dataclass(frozen=True)
class ClassMapping:
    comfy: str
    type: str
    inputs: dict[str, InputMapping]
    outputs: tuple[str, ...]
    fixed: dict[str, str]

    def input(self, name: str) -> InputMapping:
        return self.inputs.get(name) or InputMapping(name)

    def output(self, slot: int) -> str:
        """Our name of ComfyUI's output `slot`; a name that says so where we have none."""
        return self.outputs[slot] if slot < len(self.outputs) and self.outputs[slot] != "_" else f"output_{slot}"


@cache
def mappings() -> dict[str, ClassMapping]:
    """Every mapped class by ComfyUI's name."""
    table: dict[str, ClassMapping] = {}
    for line in MAPPING.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            head, inputs, outputs = (part.strip() for part in line.split("|"))
            comfy, _, ours = (part.strip() for part in head.partition("="))
            items = inputs.split()
            table[comfy] = ClassMapping(
                comfy,
                ours,
                dict(_input(item) for item in items if not item.startswith("+")),
                tuple(outputs.split()),
                dict(_pair(item[1:]) for item in items if item.startswith("+")),
            )
    return table


@cache
def by_type() -> dict[str, ClassMapping]:
    """The mapping to use for export: the first class that maps to each of our types."""
    found: dict[str, ClassMapping] = {}
    for mapping in mappings().values():
        found.setdefault(mapping.type, mapping)
    return found


def _input(item: str) -> tuple[str, InputMapping]:
    comfy, target = _pair(item)
    name, _, form = target.partition("@")
    return comfy, InputMapping("" if name == "-" else name, form)


def _pair(item: str) -> tuple[str, str]:
    left, _, right = item.partition("=")
    return left, right


def to_ours(form: str, value: Any) -> Any:
    """A ComfyUI literal in our form. Values of an unexpected type stay as they are, for validation to name."""
    kind, _, detail = form.partition(":")
    reader = _FORMS.get(kind)
    return reader(value, detail) if reader else value


def to_comfy(form: str, value: Any) -> Any:
    """The inverse of `to_ours`."""
    kind = form.partition(":")[0]
    writer = _WRITERS.get(kind)
    return writer(value) if writer else value


def _model(value: Any, kind: str) -> Any:
    if not isinstance(value, str):
        return value
    return ModelRef(kind=kind, name=value.replace("\\", "/"))  # type: ignore[arg-type]  # the table's own words


def _blob(value: Any, _: str) -> Any:
    if not isinstance(value, str):
        return value
    name = value.removesuffix(" [input]").removesuffix(" [output]").removesuffix(" [temp]").replace("\\", "/")
    return BlobRef(name=PurePosixPath(name).name)


def _colour(value: Any, _: str) -> Any:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 0xFFFFFF:
        return f"#{value:06x}"
    return value


def _onoff(value: Any, _: str) -> Any:
    return {"enable": True, "disable": False}.get(value, value) if isinstance(value, str) else value


def _skip(value: Any, _: str) -> Any:
    """ComfyUI's stop_at_clip_layer −1 is the last layer; ours counts the layers left out."""
    return -value - 1 if isinstance(value, int) and not isinstance(value, bool) and value < 0 else value


_FORMS: dict[str, Callable[[Any, str], Any]] = {
    "model": _model, "blob": _blob, "colour": _colour, "onoff": _onoff, "skip": _skip,
}  # fmt: skip

_WRITERS: dict[str, Callable[[Any], Any]] = {
    "model": lambda v: v.name if isinstance(v, ModelRef) else v,
    "blob": lambda v: v.name if isinstance(v, BlobRef) else v,
    "colour": lambda v: int(v[1:], 16) if isinstance(v, str) and v.startswith("#") and len(v) == 7 else v,
    "onoff": lambda v: ("enable" if v else "disable") if isinstance(v, bool) else v,
    "skip": lambda v: -v - 1 if isinstance(v, int) and not isinstance(v, bool) else v,
}
