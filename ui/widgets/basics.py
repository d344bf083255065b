"""Labels and buttons with the studio's habits: a name for screen readers, a one-sentence tooltip, sizes by scale."""

from __future__ import annotations

from typing import Literal

from PySide6.QtCore import QSize, Qt, Slot
from PySide6.QtGui import QFont, QPainter, QPaintEvent, QResizeEvent
from PySide6.QtWidgets import QButtonGroup, QLabel, QPushButton, QSizePolicy, QToolButton, QWidget

from ui import theme

LabelRole = Literal["normal", "muted", "strong", "small", "heading", "title", "danger", "warning", "success"]

_LABELS: dict[str, tuple[int, QFont.Weight, str]] = {
    "normal": (0, QFont.Weight.Normal, "text"),
    "muted": (0, QFont.Weight.Normal, "text_muted"),
    "strong": (0, QFont.Weight.DemiBold, "text_strong"),
    "small": (-1, QFont.Weight.Normal, "text_muted"),
    "heading": (1, QFont.Weight.DemiBold, "text_strong"),
    "title": (2, QFont.Weight.DemiBold, "text_strong"),
    "danger": (0, QFont.Weight.Normal, "danger"),
    "warning": (0, QFont.Weight.Normal, "warning"),
    "success": (0, QFont.Weight.Normal, "success"),
}


def describe(widget: QWidget, name: str, description: str = "", shortcut: str = "") -> None:
    """Name `widget` for screen readers and explain it on hover: one sentence, and its shortcut."""
    widget.setAccessibleName(name)
    widget.setAccessibleDescription(description)
    tip = description or name
    widget.setToolTip(f"{tip}  ({shortcut})" if shortcut else tip)


def set_property(widget: QWidget, name: str, value: object) -> None:
    """Set a dynamic property and let the stylesheet see it."""
    if widget.property(name) == value:
        return
    widget.setProperty(name, value)
    widget.style().unpolish(widget)
    widget.style().polish(widget)


def tab_to_chosen(group: QButtonGroup) -> None:
    """Let Tab go to the chosen button of a group, or to its first, and arrows to the others.

    Qt sees to this only when a button gets the focus; a choice that was made elsewhere would be out of Tab's reach.
    """
    chosen = group.checkedButton() or next(iter(group.buttons()), None)
    for button in group.buttons():
        button.setFocusPolicy(Qt.FocusPolicy.StrongFocus if button is chosen else Qt.FocusPolicy.ClickFocus)


class Label(QLabel):
    """Text in one of the roles of the type scale. Wraps when `wrap` is set; plain text always."""

    def __init__(
        self, text: str = "", role: LabelRole = "normal", *, wrap: bool = False, parent: QWidget | None = None
    ) -> None:
        super().__init__(text, parent)
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setWordWrap(wrap)
        self._role: LabelRole = role
        self._restyle()
        theme.notifier.changed.connect(self._restyle)

    def set_role(self, role: LabelRole) -> None:
        self._role = role
        self._restyle()

    @Slot()
    def _restyle(self) -> None:
        step, weight, colour = _LABELS[self._role]
        self.setFont(theme.font(step, weight=weight))
        self.setStyleSheet(f"color: {theme.token(colour).name()};")


class ElidedLabel(Label):
    """One line, elided in the middle when there is no room; the whole text is its tooltip then."""

    def __init__(self, text: str = "", role: LabelRole = "normal", parent: QWidget | None = None) -> None:
        super().__init__(text, role, parent=parent)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)

    def setText(self, text: str) -> None:
        super().setText(text)
        self._update_tip()

    def minimumSizeHint(self) -> QSize:
        return QSize(self.fontMetrics().horizontalAdvance("MMM…"), super().minimumSizeHint().height())

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._update_tip()

    def _update_tip(self) -> None:
        cut = self.fontMetrics().horizontalAdvance(self.text()) > self.contentsRect().width()
        self.setToolTip(self.text() if cut else "")

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        rect = self.contentsRect()
        text = self.fontMetrics().elidedText(self.text(), Qt.TextElideMode.ElideMiddle, rect.width())
        painter.setPen(self.palette().color(self.foregroundRole()))
        painter.drawText(rect, int(self.alignment() | Qt.AlignmentFlag.AlignVCenter), text)


ButtonKind = Literal["normal", "primary", "quiet", "danger"]


class Button(QPushButton):
    """A button with words. `tip` is one sentence; `kind` "primary" is the one thing to do next."""

    def __init__(
        self,
        text: str,
        icon: str = "",
        *,
        kind: ButtonKind = "normal",
        tip: str = "",
        shortcut: str = "",
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(text, parent)
        if kind != "normal":
            self.setProperty("kind", kind)
        if icon:
            self.setIcon(theme.icon(icon, 16, token="on_accent" if kind == "primary" else "text"))
        describe(self, text, tip, shortcut)
        self.setAutoDefault(False)
        self._rescale()
        theme.notifier.changed.connect(self._rescale)

    @Slot()
    def _rescale(self) -> None:
        self.setIconSize(theme.beside_words())
        self.setFont(
            theme.font(0, weight=QFont.Weight.DemiBold if self.property("kind") == "primary" else QFont.Weight.Normal)
        )


class IconButton(QToolButton):
    """A square button with an icon only. `name` is for screen readers, `tip` the sentence shown on hover."""

    def __init__(
        self,
        icon: str,
        name: str,
        tip: str = "",
        *,
        shortcut: str = "",
        size: int = 20,
        checkable: bool = False,
        quiet: bool = True,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._size = size
        if quiet:
            self.setProperty("kind", "quiet")
        self.setCheckable(checkable)
        self.setIcon(theme.icon(icon, size))
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        describe(self, name, tip, shortcut)
        self._rescale()
        theme.notifier.changed.connect(self._rescale)

    def set_icon(self, icon: str) -> None:
        self.setIcon(theme.icon(icon, self._size))

    @Slot()
    def _rescale(self) -> None:
        self.setIconSize(QSize(theme.px(self._size), theme.px(self._size)))


class IconLabel(QWidget):
    """An icon that only shows; hidden from screen readers unless it is named with `describe`."""

    def __init__(self, icon: str, size: int = 16, token: str = "text", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._icon, self._size, self._token = icon, size, token
        self._rescale()
        theme.notifier.changed.connect(self._rescale)

    def set_icon(self, icon: str, token: str | None = None) -> None:
        self._icon, self._token = icon, token or self._token
        self.update()

    @Slot()
    def _rescale(self) -> None:
        self.setFixedSize(theme.px(self._size), theme.px(self._size))

    def paintEvent(self, event: QPaintEvent) -> None:
        theme.paint_icon(QPainter(self), self._icon, self.rect(), self._token)


class Panel(QWidget):
    """A plain area on one of the surfaces 0..4."""

    def __init__(self, surface: int = 1, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setProperty("surface", str(surface))


class Line(QWidget):
    """A hairline that separates; one device-independent pixel."""

    def __init__(self, *, vertical: bool = False, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        if vertical:
            self.setFixedWidth(1)
        else:
            self.setFixedHeight(1)

    def paintEvent(self, event: QPaintEvent) -> None:
        QPainter(self).fillRect(self.rect(), theme.token("line"))
