"""Start from a picture: drop it, see it, take it away, say how much may change and where."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QBuffer, QByteArray, QIODevice, QRectF, QSize, Qt, Signal, Slot
from PySide6.QtGui import (
    QDragEnterEvent,
    QDragLeaveEvent,
    QDropEvent,
    QImage,
    QImageWriter,
    QPainter,
    QPaintEvent,
    QPen,
)
from PySide6.QtWidgets import QAbstractButton, QFileDialog, QSizePolicy, QWidget

from engine.contracts.references import BlobRef
from studio_app.application import Application
from studio_app.documents.create_session import CreateSession, SessionChange
from ui import theme
from ui.bridge.background import Background
from ui.create.extend_row import ExtendRow
from ui.create.form_parts import Field, Hint
from ui.create.mask_dialog import MaskDialog
from ui.create.mime import local_picture
from ui.panels.thumbnails import decode_small
from ui.widgets.basics import Button, IconButton, Label, describe
from ui.widgets.inputs import SliderField
from ui.widgets.layouts import Column, Flow, Row

PICTURE_FILTER = "Pictures (*.png *.jpg *.jpeg *.webp *.bmp *.tif *.tiff *.gif);;All files (*)"
THUMBNAIL_EDGE = 96
MOST_FEATHER = 256  # pixels, as the recipe takes


class DropZone(QAbstractButton):
    """A place for one picture: click to choose a file, drop one, or see the one that is there with its mask."""

    dropped = Signal(object)  # Path

    def __init__(self) -> None:
        super().__init__()
        self.setAcceptDrops(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setText("Drop a picture, or choose one")
        describe(self, "Start from a picture", "Drop a picture here, or press to choose a file, to start from it.")
        self._image: QImage | None = None
        self._mask: QImage | None = None
        self._over = False
        theme.notifier.changed.connect(self.updateGeometry)

    @property
    def has_picture(self) -> bool:
        """Whether the picture is loaded and shown."""
        return self._image is not None

    def show_picture(self, image: QImage | None) -> None:
        self._image = image
        self.updateGeometry()
        self.update()

    def show_mask(self, mask: QImage | None) -> None:
        """`mask` is grey, white where the picture is redrawn."""
        self._mask = None if mask is None else mask.convertToFormat(QImage.Format.Format_Alpha8)
        self.update()

    def sizeHint(self) -> QSize:
        return QSize(theme.px(120), theme.px(THUMBNAIL_EDGE if self._image else 36))

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHints(QPainter.RenderHint.Antialiasing | QPainter.RenderHint.SmoothPixmapTransform)
        frame = QRectF(self.rect()).adjusted(1, 1, -1, -1)
        lit = self._over or self.underMouse()
        painter.setBrush(theme.token("accent_soft" if self._over else "surface3" if lit else "surface2"))
        edge = "focus" if self.hasFocus() else "accent" if self._over else "control_line"
        style = Qt.PenStyle.SolidLine if self._image or self.hasFocus() else Qt.PenStyle.DashLine
        painter.setPen(QPen(theme.token(edge), 2 if self.hasFocus() else 1, style))
        painter.drawRoundedRect(frame, theme.corner(), theme.corner())
        if self._image is None:
            icon = theme.px(20)
            text_width = self.fontMetrics().horizontalAdvance(self.text())
            left = frame.center().x() - (icon + theme.space(1) + text_width) / 2
            place = QRectF(left, frame.center().y() - icon / 2, icon, icon).toRect()
            theme.paint_icon(painter, "image-plus", place, "text_muted")
            painter.setPen(theme.token("text"))
            words = QRectF(left + icon + theme.space(1), frame.y(), frame.right(), frame.height())
            painter.drawText(words, int(Qt.AlignmentFlag.AlignVCenter), self.text())
            return
        room = frame.adjusted(4, 4, -4, -4)
        size = self._image.size().scaled(room.size().toSize(), Qt.AspectRatioMode.KeepAspectRatio)
        target = QRectF(0, 0, size.width(), size.height())
        target.moveCenter(room.center())
        painter.drawImage(target, self._image)
        if self._mask is not None:
            overlay = QImage(self._mask.size(), QImage.Format.Format_ARGB32_Premultiplied)
            colour = theme.token("danger")
            overlay.fill(colour)
            ink = QPainter(overlay)
            ink.setCompositionMode(QPainter.CompositionMode.CompositionMode_DestinationIn)
            ink.drawImage(0, 0, self._mask)
            ink.end()
            painter.setOpacity(0.55)
            painter.drawImage(target, overlay)

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if local_picture(event.mimeData()) is not None:
            self._over = True
            self.update()
            event.acceptProposedAction()

    def dragLeaveEvent(self, event: QDragLeaveEvent) -> None:
        self._over = False
        self.update()

    def dropEvent(self, event: QDropEvent) -> None:
        self._over = False
        path = local_picture(event.mimeData())
        if path is not None:
            event.acceptProposedAction()
            self.dropped.emit(path)


class StartPicture(QWidget):
    """Mirrors init, mask and strength of a session. `picture_wanted(Path)` when one is dropped or chosen."""

    picture_wanted = Signal(object)

    def __init__(self, app: Application, session: CreateSession, background: Background) -> None:
        super().__init__()
        self._app, self._session, self._background = app, session, background
        self._shown: tuple[BlobRef | None, BlobRef | None] = (None, None)
        column = Column(self, spacing=1)
        self.zone = DropZone()
        self.remove = IconButton("x", "Remove the picture", "Makes the picture from the prompt alone again.", size=16)
        row = Row(spacing=0.5)
        row.addWidget(self.zone, 1)
        row.addWidget(self.remove, 0, Qt.AlignmentFlag.AlignTop)
        column.addLayout(row)
        self.name = Label("", "small", wrap=True)
        column.addWidget(self.name)
        self.strength = SliderField(
            "Strength", "How much may change: 0 keeps the picture, 1 ignores it.", minimum=0, maximum=1, step=0.05,
            decimals=2, value=0.75,
        )  # fmt: skip
        self.strength_field = Field("Strength", self.strength)
        column.addWidget(self.strength_field)
        self.feather = SliderField(
            "Feather", "How far the new part fades into the old one, inside the mask.", minimum=0, maximum=MOST_FEATHER,
            suffix=" px",
        )  # fmt: skip
        self.feather_field = Field("Feather", self.feather)
        column.addWidget(self.feather_field)
        self.mask_file = Button(
            "Mask from a file…", "folder-open", kind="quiet", tip="White is redrawn, black is kept as it is."
        )
        self.mask_alpha = Button(
            "Mask from transparency", "contrast", kind="quiet", tip="Redraws where the picture is transparent."
        )
        self.mask_paint = Button(
            "Paint a mask…", "brush", kind="quiet", tip="Paint where the picture is to be redrawn."
        )
        self.mask_remove = Button("Remove the mask", "x", kind="quiet", tip="Lets all of the picture change again.")
        self.mask_row = QWidget()
        tools = Flow(self.mask_row, spacing=0.5)
        for button in (self.mask_paint, self.mask_file, self.mask_alpha, self.mask_remove):
            tools.addWidget(button)
        column.addWidget(self.mask_row)
        self.extend = ExtendRow(session)
        column.addWidget(self.extend)
        self.hint = Hint()
        column.addWidget(self.hint)
        self.zone.clicked.connect(self._choose)
        self.zone.dropped.connect(self.picture_wanted)
        self.remove.clicked.connect(self._remove)
        self.strength.value_changed.connect(self._strength_set)
        self.feather.value_changed.connect(self._feather_set)
        self.mask_file.clicked.connect(self._choose_mask)
        self.mask_alpha.clicked.connect(self._mask_from_alpha)
        self.mask_paint.clicked.connect(self._paint_mask)
        self.mask_remove.clicked.connect(self._remove_mask)
        session.subscribe(self._follow)
        self._show()

    def complain(self, problems: dict[str, str]) -> None:
        self.strength_field.complain(problems.get("strength", ""))
        self.feather_field.complain(problems.get("mask_feather", ""))
        self.hint.say(problems.get("mask", "") or problems.get("margins", ""))

    def _follow(self, change: SessionChange) -> None:
        if change.fields & {"init", "mask", "margins", "strength", "mask_feather", "enlarge"}:
            self._show()

    def _show(self) -> None:
        request = self._session.request
        has, masked = request.init is not None, request.mask is not None
        extended = bool(request.margins)
        self.remove.setVisible(has)
        self.name.setVisible(has)
        kept = bool(request.enlarge) and request.enlarge.as_is  # it is only made larger
        for widget in (self.strength_field, self.mask_row):  # an extended picture keeps all that it has
            widget.setVisible(has and not extended and not kept)
        self.extend.setVisible(has and not masked and not kept)
        for button in (self.mask_file, self.mask_paint):
            button.setVisible(not masked)
        self.mask_remove.setVisible(masked)
        if not has or masked:
            self.mask_alpha.setVisible(False)
        self.strength.setValue(request.strength)
        self.feather_field.setVisible(masked)
        self.feather.setValue(request.mask_feather)
        before, self._shown = self._shown, (request.init, request.mask)
        if request.init != before[0]:
            self.zone.show_picture(None)
            self.name.setText("" if request.init is None else request.init.name)
            self._load(request.init)
        if request.mask != before[1]:
            self.zone.show_mask(None)
            self._load_mask(request.mask)

    def _load(self, ref: BlobRef | None) -> None:
        if ref is None:
            return

        def read() -> tuple[QImage, bool]:
            data = self._app.library.read(ref)
            return decode_small(data, 512), QImage.fromData(data).hasAlphaChannel()

        def show(loaded: tuple[QImage, bool]) -> None:
            image, transparent = loaded
            if self._session.request.init == ref:
                self.zone.show_picture(image)
                self.mask_alpha.setVisible(transparent and self._session.request.mask is None)

        self._background.run(read, show, self._gone)

    def _load_mask(self, ref: BlobRef | None) -> None:
        if ref is not None:
            self._background.run(
                lambda: decode_small(self._app.library.read(ref), 512).convertToFormat(QImage.Format.Format_Grayscale8),
                self.zone.show_mask, self._gone,
            )  # fmt: skip

    def _gone(self, sentence: str) -> None:
        self._session.update(init=None)
        self.hint.say(sentence)

    # ---- what the person does

    @Slot()
    def _choose(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Start from a picture", "", PICTURE_FILTER)
        if path:
            self.picture_wanted.emit(Path(path))

    @Slot()
    def _remove(self) -> None:
        self._session.update(init=None)
        self.zone.setFocus()

    @Slot(float)
    def _strength_set(self, value: float) -> None:
        self._session.update(strength=float(value))

    @Slot(float)
    def _feather_set(self, value: float) -> None:
        self._session.update(mask_feather=float(value))

    @Slot()
    def _choose_mask(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Mask: white is redrawn", "", PICTURE_FILTER)
        if path:
            self.load_mask(Path(path))

    def load_mask(self, path: Path) -> None:
        """Use the picture in a file as the mask, white = redraw."""
        self._background.run(lambda: self._app.library.import_picture(path), self._take_mask, self.hint.say)

    @Slot()
    def _mask_from_alpha(self) -> None:
        ref = self._session.request.init
        if ref is not None:
            library, name = self._app.library, f"mask of {ref.name}"
            self._background.run(
                lambda: library.import_picture(alpha_mask(library.read(ref)), name), self._take_mask, self.hint.say
            )

    @Slot()
    def _paint_mask(self) -> None:
        ref = self._session.request.init
        if ref is not None:
            self._background.run(
                lambda: QImage.fromData(self._app.library.read(ref)),
                lambda image: self.open_painter(image),
                self.hint.say,
            )

    def open_painter(self, image: QImage) -> MaskDialog:
        """Open the mask painter on `image`, beside the work: nothing waits for it."""
        dialog = MaskDialog(image, self)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.painted.connect(self._mask_painted)
        dialog.open()
        return dialog

    @Slot(object)
    def _mask_painted(self, mask: QImage) -> None:
        ref = self._session.request.init
        if ref is not None:
            self._background.run(
                lambda: self._app.library.import_picture(png_bytes(mask), f"mask of {ref.name}"),
                self._take_mask, self.hint.say,
            )  # fmt: skip

    @Slot()
    def _remove_mask(self) -> None:
        self._session.update(mask=None)

    def _take_mask(self, ref: BlobRef) -> None:
        self.hint.say("")
        if self._session.request.init is not None:
            self._session.update(mask=ref)


def alpha_mask(data: bytes) -> bytes:
    """A PNG mask of a picture's transparency: white where it is transparent."""
    alpha = QImage.fromData(data).convertToFormat(QImage.Format.Format_Alpha8)
    alpha.reinterpretAsFormat(QImage.Format.Format_Grayscale8)
    alpha.invertPixels()
    return png_bytes(alpha)


def png_bytes(image: QImage) -> bytes:
    """The picture as a PNG file's bytes."""
    store = QByteArray()
    buffer = QBuffer(store)
    buffer.open(QIODevice.OpenModeFlag.WriteOnly)
    QImageWriter(buffer, QByteArray(b"png")).write(image)
    buffer.close()
    return bytes(store.data())
