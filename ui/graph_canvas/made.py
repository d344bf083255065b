"""What nodes gave when they last ran, shown on them: a picture or mask, or a text or numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtGui import QImage

from studio_app import looking
from studio_app.application import Application
from ui.graph_canvas.canvas import Canvas
from ui.graph_canvas.geometry import SHOW, TEXTS, shows_preview, shows_text
from ui.graph_canvas.run_record import source_of

if TYPE_CHECKING:
    from studio_app.looking import Seen

PICTURES = frozenset({"IMAGE", "MASK"})
PREVIEW_EDGE = 512


def show_made(app: Application, canvas: Canvas, node: str) -> None:
    """Show on a node of the open level what it gave, where it has room for it and that is still kept."""
    item = canvas.scene.items_by_id.get(node)
    if item is None:
        return
    if shows_preview(item.schema):
        picture = _picture(app, canvas, node)
        if picture is not None and not picture.isNull():
            canvas.scene.set_preview(node, picture)
    elif shows_text(item.schema):
        text = text_made(app, canvas, node)
        if text is not None:
            canvas.scene.set_text(node, text)


def _picture(app: Application, canvas: Canvas, node: str) -> QImage | None:
    document, scene = canvas.document, canvas.scene
    item = scene.items_by_id[node]
    name = canvas.run_name(node)
    drawn = canvas.record.frames.get(name)  # how it looks, or looked, while it draws
    if drawn is not None and canvas.record.state(name).kind == "running":
        return drawn
    for output in item.schema.outputs:
        source = source_of(document, node, output.name) if output.type in PICTURES else None
        found = looking.flowing(app, *source, PREVIEW_EDGE) if source is not None else None
        if found is not None and found.picture is not None:
            return picture_of(found)
    encoded = looking.made(app, name)
    if encoded is not None and encoded.encoded:
        return QImage.fromData(encoded.encoded)
    for wire in document.wires_into(node) if item.schema.effects.output else ():
        if wire.source in scene.items_by_id and wire.source not in scene.previews:
            show_made(app, canvas, wire.source)
        if wire.source in scene.previews:  # files are not kept in memory: it shows what it was given
            return scene.previews[wire.source]
    return drawn


def text_made(app: Application, canvas: Canvas, node: str) -> str | None:
    """The text or numbers that a node gave, each output on a line where there are several; what a node that shows
    values was given; None when it is not kept."""
    if canvas.scene.items_by_id[node].schema.type == SHOW:
        return canvas.record.notes.get(canvas.run_name(node))
    outputs = [each for each in canvas.scene.items_by_id[node].schema.outputs if each.type in TEXTS]
    lines = []
    for output in outputs:
        source = source_of(canvas.document, node, output.name)
        text = looking.text_flowing(app, source[0], source[1]) if source is not None else None
        if text is not None:
            lines.append(text if len(outputs) == 1 else f"{output.name.replace('_', ' ')} {text}")
    return "\n".join(lines) if lines else None


def picture_of(found: Seen) -> QImage:
    """A picture that was seen as a QImage of its own; null where it is none."""
    if found.picture is None:
        return QImage()
    height, width = found.picture.shape[:2]
    image = QImage(found.picture.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888)
    return image.convertToFormat(QImage.Format.Format_RGB32)
