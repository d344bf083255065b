"""Notes on the canvas: a little Markdown, laid out by Qt's own text document."""

from __future__ import annotations

from PySide6.QtCore import QRectF
from PySide6.QtGui import QAbstractTextDocumentLayout, QColor, QPainter, QPalette, QTextDocument

from ui import theme

LONGEST = 20_000  # characters drawn of one note


def paint_note(painter: QPainter, title: str, markdown: str, area: QRectF, colour: QColor) -> None:
    """Draw `markdown` inside `area`; what does not fit is cut at its lower edge. Pictures and links stay words."""
    document = QTextDocument()
    document.setDefaultFont(theme.font(0))
    text = f"### {title}\n\n{markdown}" if title else markdown
    features = QTextDocument.MarkdownFeature.MarkdownDialectGitHub | QTextDocument.MarkdownFeature.MarkdownNoHTML
    document.setMarkdown(text[:LONGEST] or "*An empty note: press Enter to write.*", features)
    document.setTextWidth(area.width())
    painter.save()
    painter.setClipRect(area)
    painter.translate(area.topLeft())
    context = QAbstractTextDocumentLayout.PaintContext()
    context.palette.setColor(QPalette.ColorRole.Text, colour)
    document.documentLayout().draw(painter, context)
    painter.restore()
