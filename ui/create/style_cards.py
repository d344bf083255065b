"""The styles as cards. Their vignettes are drawn emblems of a style, not pictures some model is said to have made."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from PySide6.QtCore import QPointF, QRectF, QSize, Qt, Signal, Slot
from PySide6.QtGui import (
    QColor,
    QFontMetrics,
    QLinearGradient,
    QPainter,
    QPainterPath,
    QPaintEvent,
    QPen,
    QRadialGradient,
)
from PySide6.QtWidgets import QAbstractButton, QButtonGroup, QGridLayout, QSizePolicy, QWidget

from ui import theme
from ui.widgets.basics import describe, tab_to_chosen

PICTURE_HEIGHT = 46
CARD_WIDTH = 76
CARD_HEIGHT = 72
COLUMNS = 4


@dataclass(frozen=True)
class StyleFacts:
    """One card. `reason` says why the chosen model does not honour the style; empty when it does."""

    id: str
    name: str
    description: str = ""
    reason: str = ""


class StyleCard(QAbstractButton):
    """A checkable card with an emblem and a name; a style the model does not honour is crossed and says why."""

    def __init__(self, facts: StyleFacts) -> None:
        super().__init__()
        self.facts = facts
        self.setCheckable(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setText(facts.name)
        self.show_reason(facts.reason)
        theme.notifier.changed.connect(self.updateGeometry)

    def show_reason(self, reason: str) -> None:
        about = self.facts.description or f"Gives the picture the style “{self.facts.name}”."
        name = self.facts.name if not reason else f"{self.facts.name}, not honoured by this model"
        describe(self, name, f"{reason} {about}".strip())
        self._reason = reason
        self.update()

    def sizeHint(self) -> QSize:
        return QSize(theme.px(CARD_WIDTH), theme.px(CARD_HEIGHT))

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        frame = QRectF(self.rect()).adjusted(1, 1, -1, -1)
        corner = theme.corner()
        shape = QPainterPath()
        shape.addRoundedRect(frame, corner, corner)
        lit = self.isChecked() or self.underMouse()
        painter.fillPath(shape, theme.token("accent_soft" if self.isChecked() else "surface3" if lit else "surface2"))
        picture = QRectF(frame.x(), frame.y(), frame.width(), theme.px(PICTURE_HEIGHT))
        painter.save()
        painter.setClipPath(shape)
        painter.setClipRect(picture, Qt.ClipOperation.IntersectClip)
        paint_emblem(painter, picture, self.facts.id)
        if self._reason:
            veil = theme.token("surface1")
            veil.setAlphaF(0.55)
            painter.fillRect(picture, veil)
        painter.restore()
        if self._reason:
            edge = theme.px(16)
            badge = QRectF(frame.right() - edge - 4, frame.y() + 4, edge, edge).toRect()
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(theme.token("surface1"))
            painter.drawRoundedRect(badge.adjusted(-2, -2, 2, 2), 4, 4)
            theme.paint_icon(painter, "triangle-alert", badge, "warning")
        painter.setFont(theme.font(-1))
        painter.setPen(theme.token("text_strong" if self.isChecked() else "text_muted" if self._reason else "text"))
        below = QRectF(frame.x() + 4, picture.bottom(), frame.width() - 8, frame.bottom() - picture.bottom())
        name = QFontMetrics(theme.font(-1)).elidedText(self.text(), Qt.TextElideMode.ElideMiddle, int(below.width()))
        painter.drawText(below, Qt.AlignmentFlag.AlignCenter, name)
        width = 2 if self.isChecked() or self.hasFocus() else 1
        edge_token = "focus" if self.hasFocus() else "accent" if self.isChecked() else "line"
        painter.setPen(QPen(theme.token(edge_token), width))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.drawRoundedRect(frame, corner, corner)


class StyleCards(QWidget):
    """A card for each style, one always chosen: a first row, and the rest when asked for. `chosen(style id)`."""

    chosen = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._group = QButtonGroup(self)
        self._group.setExclusive(True)
        self._group.buttonClicked.connect(self._clicked)
        self._cards: dict[str, StyleCard] = {}
        self._all = False
        self._choice = ""
        theme.notifier.changed.connect(self._arrange)

    def set_styles(self, styles: Sequence[StyleFacts]) -> None:
        """Show these, in order; the first stands for no style. Cards that stay keep their place and state."""
        if [facts.id for facts in styles] == list(self._cards):
            for facts in styles:
                self._cards[facts.id].show_reason(facts.reason)
            return
        for card in self._cards.values():
            self._group.removeButton(card)
            self._grid.removeWidget(card)
            card.deleteLater()
        self._cards = {}
        for facts in styles:
            card = StyleCard(facts)
            self._cards[facts.id] = card
            self._group.addButton(card)
        self.show_choice(self._choice)

    def show_choice(self, style: str) -> None:
        """Check the card of `style`, the first when it is not among them."""
        if not self._cards:
            return
        self._choice = style if style in self._cards else next(iter(self._cards))
        self._cards[self._choice].setChecked(True)
        tab_to_chosen(self._group)
        self._arrange()

    def show_all(self, every: bool) -> None:
        """Show every card, or the first row only (with the chosen one in it)."""
        self._all = every
        self._arrange()

    def count(self) -> int:
        return len(self._cards)

    def card(self, style: str) -> StyleCard:
        """The card of a style id. Raises KeyError."""
        return self._cards[style]

    @Slot()
    def _arrange(self) -> None:
        self._grid.setSpacing(theme.space(1))
        ids = list(self._cards)
        row = ids[:COLUMNS]
        if self._choice and self._choice not in row:
            row = [*row[:-1], self._choice]
        shown = ids if self._all else row
        for card in self._cards.values():
            self._grid.removeWidget(card)
        previous: QWidget | None = None
        for index, style in enumerate(shown):
            self._grid.addWidget(self._cards[style], index // COLUMNS, index % COLUMNS)
            if previous is not None:
                QWidget.setTabOrder(previous, self._cards[style])
            previous = self._cards[style]
        for style, card in self._cards.items():
            card.setVisible(style in shown)

    @Slot(QAbstractButton)
    def _clicked(self, card: QAbstractButton) -> None:
        assert isinstance(card, StyleCard)
        self._choice = card.facts.id
        self.chosen.emit(card.facts.id)


def paint_emblem(painter: QPainter, rect: QRectF, style: str) -> None:
    """An emblem for a style id: the same little scene (sky, sun, hill) in the manner the style stands for."""
    manner = _MANNERS.get(style)
    if style == "none":
        painter.fillRect(rect, theme.token("surface3"))
        edge = theme.px(20)
        middle = rect.center()
        icon = QRectF(middle.x() - edge / 2, middle.y() - edge / 2, edge, edge).toRect()
        theme.paint_icon(painter, "minus", icon, "text_muted")
        return
    hue = zlib.crc32(style.encode()) % 360
    sky, low, sun, hill, line = manner or (
        QColor.fromHsv(hue, 120, 120), QColor.fromHsv((hue + 40) % 360, 90, 200),
        QColor.fromHsv((hue + 60) % 360, 60, 240), QColor.fromHsv((hue + 180) % 360, 110, 90), 0.0,
    )  # fmt: skip
    gradient = QLinearGradient(rect.topLeft(), rect.bottomLeft())
    gradient.setColorAt(0, sky)
    gradient.setColorAt(1, low)
    painter.fillRect(rect, gradient if line <= 0 else low)
    centre, radius = QPointF(rect.x() + rect.width() * 0.68, rect.y() + rect.height() * 0.4), rect.height() * 0.22
    ball = QRadialGradient(centre - QPointF(radius * 0.4, radius * 0.4), radius * 1.6)
    ball.setColorAt(0, sun.lighter(125))
    ball.setColorAt(1, sun.darker(150))
    ridge = QPainterPath(QPointF(rect.left(), rect.bottom()))
    ridge.lineTo(rect.left(), rect.y() + rect.height() * 0.72)
    ridge.cubicTo(
        rect.x() + rect.width() * 0.3, rect.y() + rect.height() * 0.3,
        rect.x() + rect.width() * 0.55, rect.y() + rect.height() * 0.95,
        rect.right(), rect.y() + rect.height() * 0.6,
    )  # fmt: skip
    ridge.lineTo(rect.bottomRight())
    ridge.closeSubpath()
    pen = QPen(QColor(25, 25, 25), line) if line > 0 else QPen(Qt.PenStyle.NoPen)
    painter.setPen(pen)
    painter.setBrush(ball if line < 0 else sun)
    painter.drawEllipse(centre, radius, radius)
    painter.setBrush(hill)
    painter.drawPath(ridge)


def _rgb(value: int) -> QColor:
    return QColor(value >> 16, value >> 8 & 255, value & 255)


# sky, horizon, sun, hill, line: >0 outlines in flat colours, <0 a ball with a highlight, 0 soft
_MANNERS: dict[str, tuple[QColor, QColor, QColor, QColor, float]] = {
    "realistic": (_rgb(0x3F5F86), _rgb(0xD9C3A5), _rgb(0xF6E7C4), _rgb(0x3A4436), 0.0),
    "artistic": (_rgb(0x37407F), _rgb(0xE58A5A), _rgb(0xF7C948), _rgb(0x7A2F5B), 0.0),
    "illustration": (_rgb(0x8BD3DD), _rgb(0x8BD3DD), _rgb(0xFFD23F), _rgb(0x3BB273), 1.5),
    "3d_render": (_rgb(0x20242B), _rgb(0x4B5563), _rgb(0xE76F51), _rgb(0x8D99AE), -1.0),
}
