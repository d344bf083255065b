"""Will it fit? The models that can be asked about, here or only known of, and each over the usual sizes of card."""

from __future__ import annotations

from dataclasses import dataclass

from engine.families.defaults import family_defaults, recommended
from engine.memory.blueprint import Blueprint
from engine.memory.planner import Quality
from engine.memory.request import Request
from engine.recipes.recommended import Recommended
from studio_app.models.index import ModelIndex
from studio_app.planning import Planned, Planner, blueprint_of

# (family, variant, name) of the models that can be asked about without having them.
KNOWN = (
    ("sd15", "", "SD 1.5"), ("sd2", "", "SD 2"), ("sdxl", "", "SDXL"), ("sd3", "3.5-medium", "SD 3.5 medium"),
    ("sd3", "3.5-large", "SD 3.5 large"), ("flux", "dev", "Flux.1 dev"), ("flux", "schnell", "Flux.1 schnell"),
    ("flux2", "klein-4b", "Flux.2 klein 4B"), ("flux2", "klein-9b", "Flux.2 klein 9B"), ("flux2", "dev", "Flux.2 dev"),
    ("qwen_image", "", "Qwen-Image"), ("z_image", "", "Z-Image turbo"), ("chroma", "", "Chroma"),
)  # fmt: skip


@dataclass(frozen=True)
class Candidate:
    """A model that can be asked about. `here`: it is on this machine. `steps` and `guidance` as its family has them."""

    name: str
    blueprint: Blueprint
    limits: Recommended
    steps: int
    guidance: bool
    here: bool


def candidates(models: ModelIndex) -> list[Candidate]:
    """The checkpoints of this machine, then the models that are only known."""
    found = []
    for entry in models.list("checkpoint"):
        mine = entry.defaults
        found.append(Candidate(entry.name, blueprint_of(entry), mine, mine.steps, mine.cfg != 1.0, True))
    for family, variant, name in KNOWN:
        usual = recommended(family, variant, family_defaults(family))
        limits = Recommended(
            usual.width, usual.height, usual.steps, usual.cfg, multiple=usual.multiple, minimum=usual.minimum,
            maximum=usual.maximum,
        )  # fmt: skip
        found.append(Candidate(name, Blueprint(family, variant), limits, usual.steps, usual.cfg != 1.0, False))
    return found


def over_cards(
    planner: Planner, candidate: Candidate, width: int, height: int, count: int, ram: int, quality: Quality
) -> dict[int, Planned]:
    """The plan for every usual size of card, in GB, beside `ram` bytes of main memory; for a worker thread."""
    request = Request(width, height, count, candidate.guidance, steps=candidate.steps)
    return planner.over_cards(candidate.blueprint, request, ram, quality, name=candidate.name)
