"""Save and preview image: pictures as files with everything inside that is needed to make them again."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from engine.contracts.node_schema import Effects
from engine.graph.node import In, NodeContext, node
from engine.graph.numerics import noted
from engine.graph.values import Artifact, Image
from engine.interchange import infotext
from engine.interchange.generation_settings import settings_of
from engine.interchange.image_metadata import metadata_for
from engine.media.file_names import DEFAULT_PATTERN, safe_name, time_fields
from engine.media.images import EXTENSIONS, FORMATS, encode
from engine.media.pixels import batched

_OUTPUT = Effects(output=True, cacheable=False)
# What a picture's parameters say of how it was computed, where that shows in its pixels.
_LOSSY = {"quantisation": "Weights", "step_cache": "Step cache", "sums": "Sums"}


@node("image.save", category="Image", title="Save image", effects=_OUTPUT, search=("output", "write", "export"))
def save_image(
    ctx: NodeContext,
    image: Image,
    name_pattern: str = DEFAULT_PATTERN,
    file_format: Annotated[str, In(choices=FORMATS)] = "png",
    quality: Annotated[int, In(minimum=1, maximum=100, step=1)] = 90,
) -> None:
    """Save each picture of the batch as a file, with the whole job and its parameters kept inside.

    image: the pictures to save
    name_pattern: file name; %date% %time% %seed% %model% %width% %height% %index% %prompt% are filled in
    file_format: PNG keeps every pixel; WebP is smaller; JPEG knows no transparency
    quality: for WebP and JPEG; WebP is lossless at 100
    """
    emit_pictures(ctx, image, name_pattern, file_format, quality)


@node("image.preview", category="Image", title="Preview image", effects=_OUTPUT, search=("show", "view"))
def preview_image(ctx: NodeContext, image: Image) -> None:
    """Show each picture of the batch without saving it to a folder.

    image: the pictures to show
    """
    emit_pictures(ctx, image, "preview-%index%", "png", 90, preview=True)


def emit_pictures(
    ctx: NodeContext, image: Image, pattern: str, file_format: str, quality: int, *, preview: bool = False
) -> None:
    """Encode each item of [B, H, W, C] and emit it. Item i records the batch's seed + i."""
    pictures = batched(image)
    settings = settings_of(ctx.spec, ctx.node_id)
    moment = time_fields()
    lossy = {_LOSSY[name]: str(value) for name, value in noted().items() if name in _LOSSY}
    for index, picture in enumerate(pictures):
        ctx.check_cancelled()
        height, width = picture.shape[:2]
        mine = settings.item(index)
        if mine.width is None or mine.height is None:
            mine = replace(mine, width=width, height=height)
        mine = replace(mine, extra={**mine.extra, **lossy})
        parameters = infotext.write(mine)
        fields: dict[str, object] = {
            **moment,
            "seed": mine.seed,
            "model": mine.model,
            "width": width,
            "height": height,
            "index": index,
            "prompt": mine.prompt,
        }
        facts: list[tuple[str, Any]] = [("seed", mine.seed), ("parameters", parameters)]
        if preview:
            facts.append(("preview", True))
        ctx.emit(
            Artifact(
                data=encode(picture, file_format, quality, metadata_for(ctx.spec, parameters, index)),
                media_type=f"image/{file_format}",
                index=index,
                name=safe_name(pattern, fields) + EXTENSIONS[file_format],
                width=width,
                height=height,
                facts=tuple(facts),
            )
        )
        ctx.progress(index + 1, len(pictures))
