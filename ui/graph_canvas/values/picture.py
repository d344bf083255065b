"""A picture as a value: chosen, dropped or pasted. It is brought into the store before the workflow names it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QBuffer, QIODevice, QMimeData, QObject, QSize, Qt, Slot
from PySide6.QtGui import QDragEnterEvent, QDropEvent, QGuiApplication, QIcon, QImage, QPixmap
from PySide6.QtWidgets import QFileDialog, QPushButton
from shiboken6 import isValid

from engine.contracts.errors import clip
from engine.contracts.node_schema import InputSchema
from engine.contracts.references import BlobRef
from engine.contracts.workflow import InputValue
from studio_app.application import Application
from ui import theme
from ui.bridge.background import Background
from ui.bridge.bridge import Bridge
from ui.create.mime import SUFFIXES, local_picture
from ui.graph_canvas.values.fields import ValueField
from ui.widgets.basics import IconButton, describe

FILTER = f"Pictures ({' '.join('*' + suffix for suffix in SUFFIXES)})"
NO_PICTURE = "There is no picture on the clipboard."


class PictureImport(QObject):
    """Brings pictures in on a worker; `done(BlobRef)` or `failed(sentence)` is called here."""

    def __init__(self, app: Application, parent: QObject) -> None:
        super().__init__(parent)
        self._app = app
        self._background = Background(self)

    @classmethod
    def of(cls, app: Application, bridge: Bridge) -> PictureImport:
        """The one of this window: editors come and go while a picture is being read."""
        found = bridge.findChild(cls)
        return found if found is not None else cls(app, bridge)

    def file(self, path: Path, done: Callable[[BlobRef], object], failed: Callable[[str], object]) -> None:
        self._background.run(lambda: self._app.library.import_picture(path), done, failed)

    def mime(self, data: QMimeData, done: Callable[[BlobRef], object], failed: Callable[[str], object]) -> bool:
        """From a drag or the clipboard; whether there is a picture in it."""
        path = local_picture(data)
        if path is not None:
            self.file(path, done, failed)
            return True
        image = data.imageData() if data.hasImage() else None
        if not isinstance(image, QImage) or image.isNull():
            return False
        self._background.run(lambda: self._app.library.import_picture(_png(image), "pasted.png"), done, failed)
        return True

    def thumbnail(self, ref: BlobRef, edge: int, done: Callable[[QImage], object]) -> None:
        """The picture behind a reference, at most `edge` pixels wide and high; one that is gone gives nothing."""
        self._background.run(lambda: _small(self._app.library.read(ref), edge), done)

    def close(self) -> None:
        self._background.close()


def _png(image: QImage) -> bytes:
    buffer = QBuffer()
    buffer.open(QIODevice.OpenModeFlag.WriteOnly)
    image.save(buffer, "PNG")  # type: ignore[call-overload]  # Qt takes the format as str
    return bytes(buffer.data().data())


def _small(data: bytes, edge: int) -> QImage:
    image = QImage.fromData(data)
    return image.scaled(edge, edge, Qt.AspectRatioMode.KeepAspectRatio, Qt.TransformationMode.SmoothTransformation)


class PictureValue(ValueField):
    """A button with the picture on it; a file dropped on it or pasted is taken."""

    def __init__(self, name: str, item: InputSchema, app: Application, bridge: Bridge) -> None:
        super().__init__(name, item)
        self._shown: InputValue = None
        self.imports = PictureImport.of(app, bridge)
        self.button = QPushButton("Choose a picture…")
        self.button.setAutoDefault(False)
        self.button.setIconSize(QSize(theme.px(40), theme.px(40)))
        describe(self.button, name, item.tooltip or "Choose a picture, drop one here or paste it.")
        self.paste_button = IconButton("copy", f"Paste: {name}", "Take the picture on the clipboard.", size=16)
        self.add(self.button, 1)
        self.add(self.paste_button)
        self.setFocusProxy(self.button)
        self.setAcceptDrops(True)
        self.button.clicked.connect(self.choose)
        self.paste_button.clicked.connect(self.paste)

    def display(self, value: InputValue, mixed: bool) -> None:
        if value == self._shown and value is not None:
            return
        self._shown = value
        self.button.setIcon(QIcon())
        if isinstance(value, BlobRef):
            self.button.setText(clip(value.name or "picture", 28))
            self.imports.thumbnail(value, theme.px(80), self._show_icon)
        else:
            self.button.setText("several pictures" if mixed else "Choose a picture…")

    def _show_icon(self, image: QImage) -> None:
        if isValid(self) and not image.isNull():
            self.button.setIcon(QIcon(QPixmap.fromImage(image)))

    @Slot()
    def choose(self) -> None:
        dialog = QFileDialog(self.window(), f"Choose: {self.name}", "", FILTER)
        dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
        dialog.fileSelected.connect(self.take_file)
        dialog.open()

    @Slot(str)
    def take_file(self, path: str) -> None:
        self.imports.file(Path(path), self._take, self._refuse)

    @Slot()
    def paste(self) -> None:
        if not self.imports.mime(QGuiApplication.clipboard().mimeData(), self._take, self._refuse):
            self.said.emit(NO_PICTURE)

    def _take(self, ref: BlobRef) -> None:
        if not isValid(self):  # its editor was closed meanwhile
            return
        self.show_value(ref)
        self.tell(ref)
        self.finished.emit()

    def _refuse(self, sentence: str) -> None:
        if isValid(self):
            self.said.emit(sentence)

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if local_picture(event.mimeData()) is not None or event.mimeData().hasImage():
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        if self.imports.mime(event.mimeData(), self._take, self._refuse):
            event.acceptProposedAction()
