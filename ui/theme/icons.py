"""Line icons from the bundled SVG set, tinted from tokens at the moment they are painted.

Because the engine asks for its colour when it paints, a theme change re-tints every icon that is already on screen;
nothing needs to be set again. Each rendering is cached by size, colour and pixel ratio.
"""

from __future__ import annotations

from functools import lru_cache

from PySide6.QtCore import QByteArray, QPoint, QRect, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QIcon, QIconEngine, QPainter, QPixmap
from PySide6.QtSvg import QSvgRenderer

from ui.theme import state
from ui.theme.tokens import RESOURCES

_VIEWBOX = 24.0
_QT_GAP = 2


@lru_cache(maxsize=256)
def _source(name: str) -> str:
    return (RESOURCES / "icons" / f"{name}.svg").read_text(encoding="utf-8")


@lru_cache(maxsize=1024)
def render(name: str, edge: int, colour: str) -> QPixmap:
    """The icon as a square pixmap of `edge` device pixels, its lines in `colour` ("#rrggbb")."""
    # A stroke of 1.75 of 24 stays about 1.5 px at 20 px: even with the text beside it.
    source = _source(name).replace("currentColor", colour).replace('stroke-width="2"', 'stroke-width="1.75"')
    pixmap = QPixmap(edge, edge)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    QSvgRenderer(QByteArray(source.encode())).render(painter, QRectF(0, 0, edge, edge))
    painter.end()
    return pixmap


class TintedEngine(QIconEngine):
    """Paints one icon in the token colour that fits the state it is painted in."""

    def __init__(self, name: str, token: str, checked_token: str) -> None:
        super().__init__()
        self._name, self._token, self._checked_token = name, token, checked_token

    def _colour(self, mode: QIcon.Mode, icon_state: QIcon.State) -> QColor:
        if mode == QIcon.Mode.Disabled:
            return state.token("text_disabled")
        return state.token(self._checked_token if icon_state == QIcon.State.On else self._token)

    def scaledPixmap(self, size: QSize, mode: QIcon.Mode, icon_state: QIcon.State, scale: float) -> QPixmap:
        # Since Qt 6.8 `size` is in logical pixels and the pixmap is to be `scale` times as large.
        edge = max(1, round(min(size.width(), size.height()) * scale))
        drawn = render(self._name, edge, self._colour(mode, icon_state).name())
        if size.width() > size.height():  # see beside_words
            pixmap = QPixmap(round(size.width() * scale), edge)
            pixmap.fill(Qt.GlobalColor.transparent)
            painter = QPainter(pixmap)
            painter.drawPixmap(0, 0, drawn)
            painter.end()
        else:
            pixmap = QPixmap(drawn)
        pixmap.setDevicePixelRatio(scale)
        return pixmap

    def pixmap(self, size: QSize, mode: QIcon.Mode, icon_state: QIcon.State) -> QPixmap:
        return self.scaledPixmap(size, mode, icon_state, 1.0)

    def paint(self, painter: QPainter, rect: QRect, mode: QIcon.Mode, icon_state: QIcon.State) -> None:
        ratio = painter.device().devicePixelRatioF()
        edge = min(rect.width(), rect.height())
        pixmap = self.scaledPixmap(QSize(edge, edge), mode, icon_state, ratio)
        corner = rect.topLeft() + QPoint((rect.width() - edge) // 2, (rect.height() - edge) // 2)
        painter.drawPixmap(corner, pixmap)

    def clone(self) -> QIconEngine:
        return TintedEngine(self._name, self._token, self._checked_token)


def icon(name: str, size: int = 20, *, token: str = "text", checked_token: str = "accent") -> QIcon:
    """The icon `name` (a file of resources/icons without .svg), in `token`'s colour, in `checked_token`'s when on.

    `size` is the size it is drawn for; the icon is sharp at any. Raises FileNotFoundError for an unknown name.
    """
    _source(name)
    del size  # vector: the size is chosen where it is painted; kept so that callers say what they mean
    return QIcon(TintedEngine(name, token, checked_token))


def beside_words(size: int = 16) -> QSize:
    """The icon size of a button with words: as tall as `size` asks, and wider by what Qt leaves out of the 8-px gap.

    Qt leaves 2 px between icon and words whatever the scale; the icon brings the rest as empty room at its right.
    """
    return QSize(state.px(size) + max(0, state.space(1) - _QT_GAP), state.px(size))


def paint_icon(painter: QPainter, name: str, rect: QRect, token: str = "text") -> None:
    """Draw the icon inside `rect` (logical pixels) in the colour of `token`."""
    TintedEngine(name, token, token).paint(painter, rect, QIcon.Mode.Normal, QIcon.State.Off)
