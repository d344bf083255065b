"""Which class runs a model family. Read lazily: naming a family imports nothing of torch."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any

from engine.contracts.errors import UnknownChoice

# Family → (module, class).
FAMILY_CLASSES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "sd15": ("engine.families.sd15", "StableDiffusion15"),
        "sd2": ("engine.families.sd2", "StableDiffusion2"),
        "sdxl": ("engine.families.sdxl", "StableDiffusionXL"),
        "sdxl_refiner": ("engine.families.sdxl", "StableDiffusionXLRefiner"),
        "sd3": ("engine.families.sd3", "StableDiffusion3"),
        "flux": ("engine.families.flux", "Flux"),
        "flux2": ("engine.families.flux2", "Flux2"),
        "qwen_image": ("engine.families.qwen_image", "QwenImage"),
        "z_image": ("engine.families.z_image", "ZImage"),
        "chroma": ("engine.families.chroma", "Chroma"),
    }
)


def family_class(family: str) -> Any:
    """The class of a family, see engine.families.protocol.Family. Raises UnknownChoice."""
    found = FAMILY_CLASSES.get(family)
    if found is None:
        raise UnknownChoice("model family", family, FAMILY_CLASSES)
    return getattr(import_module(found[0]), found[1])
