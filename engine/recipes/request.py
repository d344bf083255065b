"""What a person asks for in Create, on the command line or through the API, before it becomes a workflow."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from engine.contracts.codec import Document
from engine.contracts.references import STARTER_NAME, BlobRef, ModelRef
from engine.recipes.enlarge import Enlarge
from engine.recipes.margins import Margins


@dataclass(frozen=True, kw_only=True)
class ImageRequest(Document):
    """One request for pictures. None means "what the model's family recommends".

    width, height  pixels          steps 1..150          cfg 1..30        strength 0..1 (1 = ignore the input)
    count          pictures, 1..64, made as one batch with seeds seed, seed+1, …
    init           start from this picture; with `mask` (white = redraw) only inside the mask
    margins        extend the picture of `init` by them; width and height are then the old picture's own
    style          id of a style in resources/styles.json, laid over the prompt
    enlarge        make the picture larger once it is there
    fast           the model's weights may have eight bits: less memory, often less time, the picture a little different
    """

    format: ClassVar[str] = "tessera.image_request"

    prompt: str
    negative: str = ""
    style: str = ""
    model: ModelRef = ModelRef(kind="checkpoint", name=STARTER_NAME)
    width: int | None = None
    height: int | None = None
    steps: int | None = None
    cfg: float | None = None
    sampler: str | None = None
    scheduler: str | None = None
    seed: int = 0
    count: int = 1
    init: BlobRef | None = None
    mask: BlobRef | None = None
    margins: Margins = field(default_factory=Margins)
    strength: float = 0.75
    mask_feather: float = 0.0
    clip_skip: int = 0
    file_format: str = "png"
    fast: bool = False
    enlarge: Enlarge = field(default_factory=Enlarge)
