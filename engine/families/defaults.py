"""What each model family recommends, and what a model folder's own `tessera.json` may say instead. Torch-free.

A `tessera.json` (all fields optional):

    {"format": "tessera.model", "version": 1, "name": "…", "notice": "one line shown to the person",
     "licence": "…", "url": "…",
     "defaults": {"width": 128, "height": 128, "steps": 25, "cfg": 4.0, "sampler": "ddim", "scheduler": "normal",
                  "redraw_strength": 0.04, "redraw_reach": 1.0, "redraw_prompt": false},
     "vocabulary": ["red", "circle", …], "styles_supported": ["…"]}

`defaults` may name a "preset" instead of, or beside, single values: "lcm", "turbo", "lightning" or "hyper", for models
distilled to a few steps.
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
    """Sizes in pixels. `multiple` is what width and height must be a whole number of times.

    How enlarged pictures are redrawn (engine/recipes/enlarge.py):
    redraw_reach     how many times its own area it redraws well in one go
    redraw_strength  how much is redrawn, None for the usual
    redraw_prompt    whether it is told the prompt again
    """

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
    redraw_reach: float = 2.25
    redraw_strength: float | None = None
    redraw_prompt: bool = True

    def rounded(self, width: int, height: int) -> tuple[int, int]:
        """The nearest allowed size to width × height."""
        return _round(width, self), _round(height, self)


def _round(edge: int, limits: FamilyDefaults) -> int:
    nearest = math.floor(edge / limits.multiple + 0.5) * limits.multiple
    lowest = math.ceil(limits.minimum / limits.multiple) * limits.multiple
    return max(lowest, min(limits.maximum - limits.maximum % limits.multiple, nearest))


FAMILIES: Mapping[str, FamilyDefaults] = MappingProxyType(
    {
        # Twice as wide is what everyone redraws with it in one go.
        "sd15": FamilyDefaults(512, 512, steps=25, cfg=7.0, sampler="dpmpp_2m", scheduler="karras", redraw_reach=4.0),
        # The 768 model; the base model's folder says 512 itself.
        "sd2": FamilyDefaults(768, 768, steps=25, cfg=7.0, sampler="dpmpp_2m", scheduler="karras", redraw_reach=4.0),
        "sdxl": FamilyDefaults(1024, 1024, steps=25, cfg=6.0, sampler="dpmpp_2m", scheduler="karras", multiple=8),
        "sdxl_refiner": FamilyDefaults(1024, 1024, steps=25, cfg=6.0, sampler="euler", scheduler="normal", multiple=8),
        # Its positions end at 192 tokens of 16 pixels.
        "sd3": FamilyDefaults(
            1024, 1024, steps=28, cfg=4.5, sampler="euler", scheduler="normal", multiple=16, maximum=3072
        ),
        "flux": FamilyDefaults(1024, 1024, steps=28, cfg=1.0, sampler="euler", scheduler="normal", multiple=16),
        "chroma": FamilyDefaults(1024, 1024, steps=35, cfg=5.0, sampler="euler", scheduler="normal", multiple=16),
        "qwen_image": FamilyDefaults(1328, 1328, steps=50, cfg=4.0, sampler="euler", scheduler="normal", multiple=16),
        "z_image": FamilyDefaults(1024, 1024, steps=9, cfg=1.0, sampler="euler", scheduler="normal", multiple=16),
        "flux2": FamilyDefaults(
            1024, 1024, steps=4, cfg=1.0, sampler="euler", scheduler="normal", multiple=16, supports_negative=False
        ),
    }
)


# What models distilled to a few steps want instead, by the name their tessera.json gives under "preset". Nothing in
# the weights of such a model tells it from its teacher, and a file's name proves nothing. "simple" is the spacing
# ("trailing") that they were distilled on.
PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "lcm": {"steps": 6, "cfg": 1.5, "sampler": "lcm", "scheduler": "normal"},
        "turbo": {
            "width": 512, "height": 512, "steps": 4, "cfg": 1.0, "sampler": "euler_ancestral", "scheduler": "simple"
        },
        "lightning": {"steps": 4, "cfg": 1.0, "sampler": "euler", "scheduler": "simple"},
        "hyper": {"steps": 8, "cfg": 1.0, "sampler": "ddim", "scheduler": "simple"},
    }
)  # fmt: skip


# What a variant recommends instead: variants as files are told apart by (engine/models/signatures.py), and those that
# only a folder tells (`folder_variant`).
_VARIANTS: Mapping[tuple[str, str], Mapping[str, Any]] = MappingProxyType(
    {
        ("flux", "schnell"): {"steps": 4},
        ("flux2", "dev"): {"steps": 28},
        ("flux2", "klein base"): {"steps": 50, "cfg": 4.0, "supports_negative": True},
        ("z_image", "base"): {"steps": 50, "cfg": 5.0},
    }
)


def recommended(family: str, variant: str, otherwise: FamilyDefaults) -> FamilyDefaults:
    """The recommendations of a variant of a family; `otherwise` for a family that is not known."""
    return replace(FAMILIES.get(family, otherwise), **_VARIANTS.get((family, variant), {}))


def folder_variant(
    family: str, index: Mapping[str, Any], scheduler: Mapping[str, Any], denoiser: Mapping[str, Any]
) -> str:  # fmt: skip
    """Which variant a diffusers folder holds, by model_index.json and the configs of its parts; "" the usual one."""
    if family == "flux":
        return "" if denoiser.get("guidance_embeds") is True else "schnell"
    if family == "flux2":
        klein = "" if index.get("is_distilled") is True else "klein base"
        return klein if denoiser.get("guidance_embeds") is False else "dev"
    if family == "z_image":  # turbo was distilled at shift 3, the base model runs at 6
        shift = scheduler.get("shift")
        return "base" if isinstance(shift, (int, float)) and shift > 4.5 else ""
    return ""


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
    """`defaults` with the values of a model's own file laid over. Raises InvalidDocument naming the wrong field.

    A "preset" (see PRESETS) comes first; single values are laid over it.
    """
    preset = overrides.get("preset")
    if preset is not None and (not isinstance(preset, str) or preset not in PRESETS):
        raise InvalidDocument(
            f"“preset” can't be {describe(preset)}", where=clip(where), fix=f"Known are: {', '.join(PRESETS)}"
        )
    changed: dict[str, Any] = dict(PRESETS[preset]) if preset is not None else {}
    for key, check in _OVERRIDES.items():
        if key in overrides:
            value = overrides[key]
            if not check(value):
                raise InvalidDocument(f"“{key}” can't be {describe(value)}", where=clip(where))
            changed[key] = float(value) if key in _FRACTIONS else value
    return replace(defaults, **changed)


_FRACTIONS = frozenset({"cfg", "redraw_reach", "redraw_strength"})


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
        "redraw_reach": _number(1.0, 64.0),
        "redraw_strength": _number(0.0, 1.0),
        "redraw_prompt": lambda value: isinstance(value, bool),
    }
)
