"""Aspect ratios and the pixel sizes they mean for a model.

Sizes stay near the model's native area, so that quality and memory hardly change with the shape, and are divisible as
its family needs. At one megapixel and a multiple of 64 this gives the well-known table: 1024×1024, 1344×768,
1152×896, 1216×832 and their transposes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from engine.contracts.errors import InvalidRequest, UnknownChoice


@dataclass(frozen=True)
class Shape:
    """An aspect ratio as people pick it. `id` is "width:height"; `use` says what it is good for."""

    id: str
    width: int
    height: int
    name: str
    use: str

    @property
    def ratio(self) -> float:
        return self.width / self.height


SHAPES: tuple[Shape, ...] = (
    Shape("1:1", 1, 1, "Square", "posts and profile pictures"),
    Shape("16:9", 16, 9, "Wide", "thumbnails and headers"),
    Shape("9:16", 9, 16, "Tall", "stories"),
    Shape("4:3", 4, 3, "Landscape", "slides"),
    Shape("3:4", 3, 4, "Portrait", "pins and catalogues"),
    Shape("2:3", 2, 3, "Tall photo", "portraits and posters"),
    Shape("3:2", 3, 2, "Photo", "landscape photographs"),
)


def shape(shape_id: str) -> Shape:
    """The shape with this id. Raises UnknownChoice."""
    for item in SHAPES:
        if item.id == shape_id:
            return item
    raise UnknownChoice("shape", shape_id, [s.id for s in SHAPES])


def size_for(ratio: float, area: int, multiple: int, minimum: int = 64, maximum: int = 8192) -> tuple[int, int]:
    """(width, height) in pixels for a ratio (width / height) at about `area` pixels and never above it.

    The short side is the nearest multiple; the long side the largest multiple that keeps within the area. `minimum`
    and `maximum` bound each side and win over the area.
    """
    if ratio < 1:
        width, height = size_for(1 / ratio, area, multiple, minimum, maximum)
        return height, width
    lowest, highest = math.ceil(minimum / multiple) * multiple, maximum // multiple * multiple
    short = _clamp(round(math.sqrt(area / ratio) / multiple) * multiple, lowest, highest)
    within_area = area // short // multiple * multiple
    at_ratio = round(short * ratio / multiple) * multiple
    long = _clamp(max(short, min(within_area, at_ratio) if within_area >= short else short), lowest, highest)
    return long, short


def shape_size(item: Shape, width: int, height: int, multiple: int, minimum: int, maximum: int) -> tuple[int, int]:
    """The pixel size of a shape for a model whose native size is width × height."""
    return size_for(item.ratio, width * height, multiple, minimum, maximum)


def shape_of(width: int, height: int, tolerance: float = 0.06) -> Shape | None:
    """The shape a pixel size is nearest to, or None when none is within `tolerance` (relative)."""
    if width <= 0 or height <= 0:
        return None
    best = min(SHAPES, key=lambda s: abs(math.log(width / height / s.ratio)))
    return best if abs(math.log(width / height / best.ratio)) <= tolerance else None


def fit_size(width: int, height: int, area: int, multiple: int, minimum: int, maximum: int) -> tuple[int, int]:
    """The size to work at for a picture of width × height: its own shape at about the model's area.

    A picture that is smaller than the model's native area is worked on at the native area too, because models fail
    below it.
    """
    if width <= 0 or height <= 0:
        raise InvalidRequest(f"a picture can't be {width} × {height} pixels")
    return size_for(width / height, area, multiple, minimum, maximum)


def check_size(width: int, height: int, multiple: int, minimum: int, maximum: int) -> None:
    """Raises InvalidRequest with one sentence that names the nearest sizes that would do."""
    for name, value in (("width", width), ("height", height)):
        if not minimum <= value <= maximum:
            raise InvalidRequest(
                f"the {name} {value} is out of range", fix=f"Use {minimum} to {maximum} pixels for this model"
            )
        if value % multiple:
            lower, upper = value // multiple * multiple, -(-value // multiple) * multiple
            near = [str(n) for n in (lower, upper) if minimum <= n <= maximum]
            raise InvalidRequest(
                f"the {name} {value} is not divisible by {multiple}", fix=f"Use {' or '.join(near)} for this model"
            )


def _clamp(value: int, lowest: int, highest: int) -> int:
    return max(lowest, min(highest, value))
