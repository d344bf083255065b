"""The models that come with the studio: the starter, its ControlNet and its LoRA. Listed beside a person's own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from engine.contracts.errors import TesseraError
from engine.contracts.references import STARTER_CONTROLNET, STARTER_NAME
from engine.models.fingerprint import read_card
from engine.models.identify import identify
from engine.models.model_file import ModelFile


@dataclass(frozen=True)
class BuiltIn:
    """One of them: where it lies (a folder for what is in diffusers' layout) and what it is."""

    path: Path
    file: ModelFile


def built_in(starter: Path) -> list[BuiltIn]:
    """What lies at `starter` and beside it; whatever is missing or unreadable is left out.

    Their headers are read as any other's. What those can't tell of the ControlNet, which model it is for and its
    licence, the folder it ships in does.
    """
    found: list[BuiltIn] = []
    base = _identified(starter)
    if base is None:
        return found
    card = _card(starter)
    draws = str(card.get("notice", "")).partition(";")[0].removeprefix("Tessera's small starter model draws ")
    tried = card.get("suggestions")
    more = {"draws": draws, "for example": "; ".join(map(str, tried[:4])) if isinstance(tried, list) else ""}
    found.append(_named(starter, base, STARTER_NAME, more))
    for weights in sorted(starter.parent.glob(f"{STARTER_NAME}_controlnet/*.safetensors")):
        about = _identified(weights)
        if about is not None:
            about = replace(about, family=base.family, fits=base.fits, licence=base.licence, variant="canny")
            said = {"steers": "where shapes and landscapes of the starter stand, by the edges of a picture"}
            found.append(_named(weights.parent, about, STARTER_CONTROLNET, said))
    for weights in sorted(starter.parent.glob(f"{STARTER_NAME}_lora/*.safetensors")):
        about = _identified(weights)
        if about is not None:
            found.append(_named(weights, about, about.name, {"draws": "what the starter draws, on striped paper"}))
    return found


def _named(path: Path, about: ModelFile, name: str, more: dict[str, str]) -> BuiltIn:
    said = {key: value for key, value in more.items() if value}
    return BuiltIn(path, replace(about, name=name, details={**said, **about.details}))


def _identified(path: Path) -> ModelFile | None:
    try:
        return identify(path)
    except TesseraError:
        return None


def _card(folder: Path) -> dict[str, Any]:
    try:
        return read_card(folder)
    except TesseraError:
        return {}
