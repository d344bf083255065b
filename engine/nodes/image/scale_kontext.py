"""Scale for Flux Kontext: to the one of its training sizes whose shape is nearest."""

from __future__ import annotations

from engine.graph.node import NodeContext, node
from engine.graph.values import Image
from engine.media.pixels import batched
from engine.media.resize import centre_crop_box, resize

# Width × height pairs of about one megapixel, as published with FLUX.1 Kontext; the turned ones follow.
_SIZES = (
    (672, 1568), (688, 1504), (720, 1456), (752, 1392), (800, 1328), (832, 1248), (880, 1184), (944, 1104),
    (1024, 1024),
)  # fmt: skip
SIZES = _SIZES + tuple((height, width) for width, height in _SIZES[:-1])


@node("image.scale_kontext", category="Image", outputs=("image",), title="Scale for Flux Kontext", search=("resize",))
def scale_kontext(ctx: NodeContext, image: Image) -> Image:
    """Scale to the size Flux Kontext knows whose shape is nearest, cutting the edges where it differs.

    image: the pictures to scale
    """
    pictures = batched(image)
    height, width = pictures.shape[1:3]
    to_width, to_height = min(SIZES, key=lambda size: abs(width / height - size[0] / size[1]))
    x, y, part_width, part_height = centre_crop_box(width, height, to_width, to_height)
    return resize(pictures[:, y : y + part_height, x : x + part_width], to_width, to_height, "lanczos")
