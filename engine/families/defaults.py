"""What each model family recommends, and what a model folder's own `tessera.json` may say instead. Torch-free.

A `tessera.json` (all fields optional):

    {"format": "tessera.model", "version": 1, "name": "…", "notice": "one line shown to the person",
     "licence": "…", "url": "…",
     "defaults": {"width": 128, "height": 128, "steps": 25, "cfg": 4.0, "sampler": "ddim", "scheduler": "normal"},
     "vocabulary": ["red", "circle", …], "styles_supported": ["…"]}
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from engine.contracts.codec import describe
from engine.contracts.errors import InvalidDocument, InvalidRequest, UnknownChoice, clip
from engine.sampling.names import SAMPLERS, SCHEDULES


@dataclass(frozen=True)
class FamilyDefaults:
    """Sizes in pixels. `multiple` is what width and height must be a whole number of times."""

    width: int
    height: int
    steps: int
    cfg: float
    sampler: str
    scheduler: str
    multiple: int = 8
    minimum: int = 64
    maximum: int = 8192
    supports_negative: bool = True

    def rounded(self, width: int, height: int) -> tuple[int, int]:
        """The nearest allowed size to width × height."""
        return _round(width, self), _round(height, self)


def _round(edge: int, limits: FamilyDefaults) -> int:
    nearest = math.floor(edge / limits.multiple + 0.5) * limits.multiple
    lowest = math.ceil(limits.minimum / limits.multiple) * limits.multiple
    return max(lowest, min(limits.maximum - limits.maximum % limits.multiple, nearest))


FAMILIES: Mapping[str, FamilyDefaults] = MappingProxyType(
    {
        "sd15": FamilyDefaults(
            width=512, height=512, steps=25, cfg=7.0, sampler="dpmpp_2m", scheduler="karras", multiple=8
        ),
        "flux": FamilyDefaults(1024, 1024, steps=28, cfg=1.0, sampler="euler", scheduler="normal", multiple=16),
        "chroma": FamilyDefaults(1024, 1024, steps=35, cfg=5.0, sampler="euler", scheduler="normal", multiple=16),
    }
)


def family_defaults(family: str) -> FamilyDefaults:
    """The recommendations of a family. Raises UnknownChoice."""
    found = FAMILIES.get(family)
    if found is None:
        raise UnknownChoice("model family", family, FAMILIES)
    return found


def check_size(width: int, height: int, limits: FamilyDefaults, where: str = "size") -> None:
    """Raises InvalidRequest with the nearest allowed size when width × height pixels can't be made."""
    for name, edge in (("width", width), ("height", height)):
        if edge < limits.minimum or edge > limits.maximum or edge % limits.multiple:
            nearest = limits.rounded(width, height)
            raise InvalidRequest(
                f"the {name} {edge} is not a multiple of {limits.multiple} "
                f"between {limits.minimum} and {limits.maximum} pixels",
                where=where,
                fix=f"The nearest size is {nearest[0]}×{nearest[1]}",
            )


def with_overrides(defaults: FamilyDefaults, overrides: Mapping[str, Any], where: str) -> FamilyDefaults:
    """`defaults` with the values of a model's own file laid over. Raises InvalidDocument naming the wrong field."""
    changed: dict[str, Any] = {}
    for key, check in _OVERRIDES.items():
        if key in overrides:
            value = overrides[key]
            if not check(value):
                raise InvalidDocument(f"“{key}” can't be {describe(value)}", where=clip(where))
            changed[key] = float(value) if key == "cfg" else value
    return replace(defaults, **changed)


def _whole(low: int, high: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _number(low: float, high: float) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high


_OVERRIDES: Mapping[str, Callable[[Any], bool]] = MappingProxyType(
    {
        "width": _whole(16, 8192),
        "height": _whole(16, 8192),
        "minimum": _whole(16, 8192),
        "maximum": _whole(16, 8192),
        "multiple": _whole(8, 256),
        "steps": _whole(1, 1000),
        "cfg": _number(0.0, 100.0),
        "sampler": lambda value: value in SAMPLERS,
        "scheduler": lambda value: value in SCHEDULES,
    }
)
