"""Pictures of nodes, kept while they fit a budget; the least recently shown goes first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from PySide6.QtGui import QPixmap

BUDGET = 64 * 2**20  # bytes
Stamp = tuple[float, float, int]  # scale, device pixel ratio, version of the node


class PixmapCache:
    """One picture for each node. A picture of another scale serves while zooming (`any_of`)."""

    def __init__(self, budget: int = BUDGET) -> None:
        self._budget = budget
        self._kept: OrderedDict[str, tuple[Stamp, QPixmap]] = OrderedDict()
        self.used = 0

    def get(self, name: str, stamp: Stamp) -> QPixmap | None:
        found = self._kept.get(name)
        if found is None or found[0] != stamp:
            return None
        self._kept.move_to_end(name)
        return found[1]

    def any_of(self, name: str, version: int) -> QPixmap | None:
        """The node's picture at whatever scale it was made."""
        found = self._kept.get(name)
        return found[1] if found is not None and found[0][2] == version else None

    def make(self, name: str, stamp: Stamp, paint: Callable[[], QPixmap]) -> QPixmap:
        self.drop(name)
        pixmap = paint()
        self._kept[name] = (stamp, pixmap)
        self.used += _bytes(pixmap)
        while self.used > self._budget and len(self._kept) > 1:
            _, (_, old) = self._kept.popitem(last=False)
            self.used -= _bytes(old)
        return pixmap

    def drop(self, name: str) -> None:
        found = self._kept.pop(name, None)
        if found is not None:
            self.used -= _bytes(found[1])

    def keep_only(self, scale: float, ratio: float) -> None:
        """Drop the pictures made for another scale."""
        for name in [name for name, (stamp, _) in self._kept.items() if stamp[:2] != (scale, ratio)]:
            self.drop(name)

    def clear(self) -> None:
        self._kept.clear()
        self.used = 0

    def __len__(self) -> int:
        return len(self._kept)


def _bytes(pixmap: QPixmap) -> int:
    return pixmap.width() * pixmap.height() * 4


def whole_pixel(value: float, ratio: float) -> float:
    """The nearest place at which a picture's pixels lie on the window's."""
    return round(value * ratio) / ratio
