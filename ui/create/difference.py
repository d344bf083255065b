"""What going fast changed: the fast picture and the exact one of the same seed, a line to drag between them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from PySide6.QtGui import QImage
from PySide6.QtWidgets import QWidget

from engine.contracts.results import ResultRecord
from engine.media.images import decode
from engine.media.likeness import psnr
from engine.recipes.build import request_of
from engine.recipes.request import ImageRequest
from studio_app.library.library import Library
from ui.dialogs.page import PageDialog
from ui.viewer.pyramid import display_image
from ui.viewer.split_view import SplitView
from ui.widgets.basics import Label
from ui.widgets.layouts import Column

KEPT = 0.1
NOT_FAST = "Only a picture that was made with “Go fast” can be compared with the exact one."


def exact_request(record: ResultRecord) -> ImageRequest | None:
    """What makes the same picture with exact weights; None for one that was not made fast, or not by Create."""
    request = request_of(record.spec)
    if request is None or not request.fast:
        return None
    seed = request.seed if record.seed is None else record.seed
    return replace(request, fast=False, seed=seed, count=1)


@dataclass(frozen=True)
class Pair:
    """Both pictures, and how alike they are in decibels (infinite where every pixel is equal)."""

    fast: QImage
    exact: QImage
    likeness: float
    seconds: tuple[float, float]


def read_pair(library: Library, fast: ResultRecord, exact: ResultRecord) -> Pair:
    """For a worker thread. Raises StorageError, MissingModel or BadInput."""
    data = library.read(fast), library.read(exact)
    images = [display_image(QImage.fromData(each)) for each in data]
    one, other = (decode(each, "picture") for each in data)
    return Pair(images[0], images[1], psnr(one, other), (fast.seconds, exact.seconds))


def words(pair: Pair) -> str:
    """The difference in a sentence or two."""
    if math.isinf(pair.likeness):
        return "Both pictures are equal, pixel by pixel: exact weights were used, since they fit and were as fast."
    likeness = f"{pair.likeness:.1f} dB"
    near = "hardly to be seen" if pair.likeness >= 40 else "small" if pair.likeness >= 30 else "plain to see"
    fast, exact = pair.seconds
    # A picture that was kept from before took no time to speak of, which says nothing of how it was made.
    worked = min(fast, exact) > KEPT * max(fast, exact)
    times = f" Going fast took {fast:.1f} s, the exact picture {exact:.1f} s." if worked else ""
    return f"The difference is {near}: {likeness} PSNR.{times}"


class Difference(PageDialog):
    """Beside the work; the line is dragged, or moved by the arrow keys."""

    def __init__(self, pair: Pair, parent: QWidget) -> None:
        super().__init__("The difference that going fast makes", parent, 640, 640)
        page = Column(spacing=1.5, margins=2)
        self.column.addLayout(page)
        self.view = SplitView("Fast", "Exact")
        self.view.set_images(pair.fast, pair.exact)
        page.addWidget(self.view, 1)
        self.words = Label(words(pair), wrap=True)
        page.addWidget(self.words)
        self.view.setFocus()
