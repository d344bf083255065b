"""Where a picture lies in a viewport: pure arithmetic, shared by the viewer and later by the comparer and painter.

The centre is kept in normalised picture coordinates (0..1), so that two pictures of different sizes can share one
transform and show the same place.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

MIN_SCALE = 1 / 64
MAX_SCALE = 64.0


@dataclass(frozen=True)
class ViewTransform:
    """scale: viewport units per picture pixel; centre_x, centre_y: picture point (0..1) at the viewport's centre."""

    scale: float = 1.0
    centre_x: float = 0.5
    centre_y: float = 0.5

    def picture_rect(
        self, picture: tuple[int, int], viewport: tuple[float, float]
    ) -> tuple[float, float, float, float]:
        """(x, y, width, height) of the whole picture in viewport units."""
        width, height = picture[0] * self.scale, picture[1] * self.scale
        return (
            viewport[0] / 2 - self.centre_x * width,
            viewport[1] / 2 - self.centre_y * height,
            width,
            height,
        )

    def to_picture(
        self, x: float, y: float, picture: tuple[int, int], viewport: tuple[float, float]
    ) -> tuple[float, float]:
        """The picture pixel coordinates (may lie outside the picture) under a viewport point."""
        left, top, _, _ = self.picture_rect(picture, viewport)
        return (x - left) / self.scale, (y - top) / self.scale

    def zoomed(
        self, factor: float, x: float, y: float, picture: tuple[int, int], viewport: tuple[float, float]
    ) -> ViewTransform:
        """Scaled by `factor` with the picture point under (x, y) staying where it is."""
        scale = min(MAX_SCALE, max(MIN_SCALE, self.scale * factor))
        px, py = self.to_picture(x, y, picture, viewport)
        centre_x = (px + (viewport[0] / 2 - x) / scale) / picture[0]
        centre_y = (py + (viewport[1] / 2 - y) / scale) / picture[1]
        return ViewTransform(scale, centre_x, centre_y).kept_in(picture, viewport)

    def panned(self, dx: float, dy: float, picture: tuple[int, int], viewport: tuple[float, float]) -> ViewTransform:
        """Moved by a drag of (dx, dy) viewport units."""
        moved = replace(
            self,
            centre_x=self.centre_x - dx / (picture[0] * self.scale),
            centre_y=self.centre_y - dy / (picture[1] * self.scale),
        )
        return moved.kept_in(picture, viewport)

    def kept_in(self, picture: tuple[int, int], viewport: tuple[float, float]) -> ViewTransform:
        """Centred along an axis on which all of the picture fits; else no further out than its edge."""
        return replace(
            self,
            centre_x=_kept(self.centre_x, picture[0] * self.scale, viewport[0]),
            centre_y=_kept(self.centre_y, picture[1] * self.scale, viewport[1]),
        )


def fit(picture: tuple[int, int], viewport: tuple[float, float], margin: float = 0.0) -> ViewTransform:
    """The largest transform at which the whole picture is seen, `margin` viewport units left free on each side."""
    room_x, room_y = max(1.0, viewport[0] - 2 * margin), max(1.0, viewport[1] - 2 * margin)
    scale = min(room_x / max(1, picture[0]), room_y / max(1, picture[1]))
    return ViewTransform(min(MAX_SCALE, max(MIN_SCALE, scale)))


def _kept(centre: float, extent: float, room: float) -> float:
    if extent <= room:
        return 0.5
    half = room / 2 / extent
    return min(1 - half, max(half, centre))
