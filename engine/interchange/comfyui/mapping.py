"""The table of how ComfyUI classes map to the studio's nodes (resources/interchange/comfyui_mapping.txt)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import PurePosixPath
from typing import Any

from engine.contracts.references import BlobRef, ModelRef
from engine.contracts.workflow import Node
from engine.graph.plan import FOREIGN
from engine.graph.registry import Registry
from engine.interchange.comfyui.classes import TABLE, classes

_HEX_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
MAPPING = TABLE.with_name("comfyui_mapping.txt")
PLACEHOLDER = FOREIGN
OWN_PREFIX = "tessera."  # our types that ComfyUI has no class for, in exported files
CLASS_KEY = "comfyui_class"  # in a node's `extra`: the class it came from, where several map to one of our types


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
    fixed: dict[str, str | bool]

    def input(self, name: str) -> InputMapping:
        return self.inputs.get(name) or InputMapping(name)

    def output(self, slot: int) -> str:
        """Our name of ComfyUI's output `slot`; a name that says so where we have none."""
        return self.outputs[slot] if 0 <= slot < len(self.outputs) and self.outputs[slot] != "_" else f"output_{slot}"

    def takes(self, inputs: Mapping[str, object]) -> bool:
        """Whether the class has all of these inputs of ours and sets none of them to something else."""
        known = classes().get(self.comfy)
        names = (*known.widget_names, *(s.name for s in known.sockets)) if known else ()
        ours = {self.input(name).name for name in names} | set(self.fixed)
        return ours >= set(inputs) and all(inputs.get(name) == value for name, value in self.fixed.items())


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
                dict(_fixed(item[1:]) for item in items if item.startswith("+")),
            )
    return table


def mapping_of(comfy: str) -> ClassMapping | None:
    """How a class maps, or None when it doesn't: not in the table, or this studio lacks the node it names."""
    mapping = mappings().get(comfy)
    return mapping if mapping is not None and mapping.type in Registry.builtin().types else None


@cache
def by_type() -> dict[str, ClassMapping]:
    """The first class that maps to each of our types: the one to export, unless a node asks for another."""
    found: dict[str, ClassMapping] = {}
    for mapping in mappings().values():
        found.setdefault(mapping.type, mapping)
    return found


def mapping_for(node: Node) -> ClassMapping | None:
    """The class to export a node as: the one it came from, else the first that takes all its inputs."""
    came_from = mappings().get(str(node.extra.get(CLASS_KEY, "")))
    if came_from is not None and came_from.type == node.type:
        return came_from
    fitting = [m for m in mappings().values() if m.type == node.type and m.takes(node.inputs)]
    return fitting[0] if fitting else by_type().get(node.type)


def _input(item: str) -> tuple[str, InputMapping]:
    comfy, target = _pair(item)
    name, _, form = target.partition("@")
    return comfy, InputMapping("" if name == "-" else name, form)


def _fixed(item: str) -> tuple[str, str | bool]:
    name, value = _pair(item)
    return name, {"true": True, "false": False}.get(value, value)


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
    kind, _, detail = form.partition(":")
    writer = _WRITERS.get(kind)
    return writer(value, detail) if writer else value


# Choices that ComfyUI spells otherwise: table → its spelling → ours. Where two of its spellings become one of ours,
# the first is written on export.
_CHOICES: dict[str, dict[str, str]] = {
    "axis": {"x-axis: vertically": "vertical", "y-axis: horizontally": "horizontal"},
    "side": {"Both": "both", "Left": "left", "Right": "right"},
    "channel": {"A": "alpha", "R": "red", "G": "green", "B": "blue"},
    # The solvers are the same; "_gpu" only says where ComfyUI draws the noise.
    "sampler": {
        "dpmpp_sde": "dpmpp_sde", "dpmpp_sde_gpu": "dpmpp_sde", "dpmpp_2m_sde": "dpmpp_2m_sde",
        "dpmpp_2m_sde_gpu": "dpmpp_2m_sde", "dpmpp_3m_sde": "dpmpp_3m_sde", "dpmpp_3m_sde_gpu": "dpmpp_3m_sde",
    },
}  # fmt: skip


def _choice(value: Any, table: str) -> Any:
    return _CHOICES[table].get(value, value) if isinstance(value, str) else value


def _choice_back(value: Any, table: str) -> Any:
    return next((theirs for theirs, ours in _CHOICES[table].items() if ours == value), value)


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
    "model": _model, "blob": _blob, "colour": _colour, "onoff": _onoff, "skip": _skip, "choice": _choice,
}  # fmt: skip

_WRITERS: dict[str, Callable[[Any, str], Any]] = {
    "model": lambda v, _: v.name if isinstance(v, ModelRef) else v,
    "blob": lambda v, _: v.name if isinstance(v, BlobRef) else v,
    "colour": lambda v, _: int(v[1:], 16) if isinstance(v, str) and _HEX_COLOUR.fullmatch(v) else v,
    "onoff": lambda v, _: ("enable" if v else "disable") if isinstance(v, bool) else v,
    "skip": lambda v, _: -v - 1 if isinstance(v, int) and not isinstance(v, bool) else v,
    "choice": _choice_back,
}
