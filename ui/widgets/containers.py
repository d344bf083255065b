"""A fold that opens and closes, and what an empty place shows instead of nothing."""

from __future__ import annotations

from PySide6.QtCore import QRectF, QSize, Qt, Signal, Slot
from PySide6.QtGui import QFont, QPainter, QPaintEvent, QPen, QResizeEvent
from PySide6.QtWidgets import QSizePolicy, QToolButton, QWidget

from ui import theme
from ui.widgets.basics import Button, IconLabel, Label, describe
from ui.widgets.layouts import Column, Row


class FoldHeader(QToolButton):
    """The words of a section's heading, flush with the column's edge, and a chevron where other sections have tools."""

    def __init__(self, title: str) -> None:
        super().__init__()
        self.setText(title)
        self.setCheckable(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._rescale()
        theme.notifier.changed.connect(self._rescale)

    @Slot()
    def _rescale(self) -> None:
        self.setFont(theme.font(0, weight=QFont.Weight.DemiBold))
        self.updateGeometry()

    def sizeHint(self) -> QSize:
        metrics = self.fontMetrics()
        edge = theme.px(32)
        return QSize(metrics.horizontalAdvance(self.text()) + theme.space(1) + edge, max(edge, metrics.height()))

    def minimumSizeHint(self) -> QSize:
        return self.sizeHint()

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        edge = theme.px(32)
        box = QRectF(self.width() - edge, (self.height() - edge) / 2, edge, edge).adjusted(1, 1, -1, -1)
        painter.setBrush(theme.token("surface3") if self.underMouse() else Qt.BrushStyle.NoBrush)
        painter.setPen(QPen(theme.token("focus"), 2) if self.hasFocus() else Qt.PenStyle.NoPen)
        painter.drawRoundedRect(box, theme.corner(), theme.corner())
        icon = QRectF(0, 0, theme.px(16), theme.px(16))
        icon.moveCenter(box.center())
        theme.paint_icon(painter, "chevron-down" if self.isChecked() else "chevron-right", icon.toRect(), "text")
        painter.setPen(theme.token("text_strong"))
        painter.drawText(self.rect(), int(Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft), self.text())


class Fold(QWidget):
    """A heading that shows or hides its `body`. Enter or Space on the heading toggles it."""

    toggled = Signal(bool)

    def __init__(self, title: str, body: QWidget, *, tip: str = "", opened: bool = False) -> None:
        super().__init__()
        self.body = body
        self.header = FoldHeader(title)
        self.header.setChecked(opened)
        describe(self.header, title, tip or f"Shows or hides “{title}”.")
        column = Column(self, spacing=1)
        column.addWidget(self.header)
        column.addWidget(body)
        self.header.toggled.connect(self._show)
        self._show(opened)

    def set_open(self, opened: bool) -> None:
        self.header.setChecked(opened)

    def is_open(self) -> bool:
        return self.header.isChecked()

    @Slot(bool)
    def _show(self, opened: bool) -> None:
        self.body.setVisible(opened)
        self.toggled.emit(opened)


class EmptyState(QWidget):
    """What an empty place shows: an icon, what belongs here, and the button that fills it (`button.clicked`)."""

    def __init__(self, icon: str, title: str, detail: str = "", action: str = "", tip: str = "") -> None:
        super().__init__()
        outer = Column(self, spacing=0)
        self._words = QWidget()
        outer.addWidget(self._words)
        column = Column(self._words, spacing=1, margins=3)
        column.addStretch(1)
        self.icon = IconLabel(icon, 40, "text_muted")
        column.addWidget(self.icon, 0, Qt.AlignmentFlag.AlignHCenter)
        self.title = Label(title, "heading", wrap=True)
        self.title.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        column.addWidget(self.title)
        self.detail = Label(detail, "muted", wrap=True)
        self.detail.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        self.detail.setVisible(bool(detail))
        column.addWidget(self.detail)
        self.button = Button(action or title, tip=tip)
        self.button.setVisible(bool(action))
        self._buttons = Row(spacing=1)
        self._buttons.addStretch(1)
        self._buttons.addWidget(self.button)
        self._buttons.addStretch(1)
        column.addSpacing(theme.space(1))
        column.addLayout(self._buttons)
        column.addStretch(1)

    def add_button(self, button: Button) -> None:
        """Another way to fill the place, beside the first."""
        self._buttons.insertWidget(self._buttons.count() - 1, button)

    def set_hidden(self, hidden: bool) -> None:
        """Say nothing for a while; the place stays as large as it is."""
        self._words.setVisible(not hidden)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Where there is little room the icon goes, then the explanation: what is left is whole."""
        super().resizeEvent(event)
        width = self.width() - 2 * theme.space(3)
        button = self.button.sizeHint().height() if self.button.isVisibleTo(self) else 0
        room = self.height() - 2 * theme.space(3) - self.title.heightForWidth(width) - button - 3 * theme.space(1)
        words = self.detail.heightForWidth(width) if self.detail.text() else 0
        self.detail.setVisible(0 < words <= room)
        self.icon.setVisible(room - words >= self.icon.height() + 2 * theme.space(1))
