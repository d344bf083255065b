"""Small pictures of results, decoded in worker threads and kept within a budget of bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from PySide6.QtCore import QBuffer, QByteArray, QObject, QRunnable, QSize, Qt, QThreadPool, Signal, Slot
from PySide6.QtGui import QImage, QImageReader, QPixmap

BUDGET_BYTES = 48 * 2**20


class _Load(QRunnable):
    """Reads and decodes one picture at `edge` device pixels. Runs in the pool; tells by a queued signal."""

    def __init__(self, key: str, read: Callable[[], bytes], edge: int, done: Thumbnails) -> None:
        super().__init__()
        self._key, self._read, self._edge, self._done = key, read, edge, done

    def run(self) -> None:
        try:
            image = decode_small(self._read(), self._edge)
        except Exception:  # noqa: BLE001  (a picture that is gone or broken: shown as such)
            image = QImage()
        try:
            self._done.decoded.emit(self._key, image)
        except RuntimeError:  # the window was closed meanwhile
            return


def decode_small(data: bytes, edge: int) -> QImage:
    """The picture upright, no side longer than `edge` pixels; a null image when it can't be read."""
    buffer = QBuffer()
    buffer.setData(QByteArray(data))
    buffer.open(QBuffer.OpenModeFlag.ReadOnly)
    reader = QImageReader(buffer)
    reader.setAutoTransform(True)
    size = reader.size()
    if size.isValid() and max(size.width(), size.height()) > edge:
        # Twice the wanted size in the decoder, then a smooth step: sharp, and never the whole picture in memory.
        reader.setScaledSize(size.scaled(QSize(edge * 2, edge * 2), Qt.AspectRatioMode.KeepAspectRatio))
    image = reader.read()
    if image.isNull():
        return image
    if max(image.width(), image.height()) > edge:
        image = image.scaled(edge, edge, Qt.AspectRatioMode.KeepAspectRatio, Qt.TransformationMode.SmoothTransformation)
    return image.convertToFormat(QImage.Format.Format_ARGB32_Premultiplied)


class Thumbnails(QObject):
    """`get` returns a pixmap at once or None and loads it; `ready` then fires with its key."""

    ready = Signal(str)
    decoded = Signal(str, QImage)

    def __init__(self, parent: QObject | None = None, budget: int = BUDGET_BYTES) -> None:
        super().__init__(parent)
        self._pixmaps: OrderedDict[str, QPixmap] = OrderedDict()
        self._bytes = 0
        self._budget = budget
        self._loading: set[str] = set()
        self._pool = QThreadPool(self)
        self._pool.setMaxThreadCount(2)
        self.decoded.connect(self._store, Qt.ConnectionType.QueuedConnection)

    def get(self, key: str, read: Callable[[], bytes], edge: int) -> QPixmap | None:
        """The picture of `key` within `edge` device pixels. `read` is called in a worker thread."""
        full = f"{key}@{edge}"
        pixmap = self._pixmaps.get(full)
        if pixmap is not None:
            self._pixmaps.move_to_end(full)
            return pixmap
        if full not in self._loading:
            self._loading.add(full)
            self._pool.start(_Load(full, read, edge, self))
        return None

    def forget(self, key: str) -> None:
        """The picture of `key` changed: read it again at the next question."""
        for full in [known for known in self._pixmaps if known.rpartition("@")[0] == key]:
            self._bytes -= _bytes(self._pixmaps.pop(full))

    def close(self) -> None:
        """Wait for the picture being decoded and forget the rest."""
        self._pool.clear()
        self._pool.waitForDone(5000)

    @Slot(str, QImage)
    def _store(self, full: str, image: QImage) -> None:
        self._loading.discard(full)
        pixmap = QPixmap.fromImage(image)
        self._pixmaps[full] = pixmap
        self._bytes += _bytes(pixmap)
        while self._bytes > self._budget and len(self._pixmaps) > 1:
            _, old = self._pixmaps.popitem(last=False)
            self._bytes -= _bytes(old)
        self.ready.emit(full.rpartition("@")[0])


def _bytes(pixmap: QPixmap) -> int:
    return pixmap.width() * pixmap.height() * 4
