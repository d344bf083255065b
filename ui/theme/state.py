"""The theme in force: which tokens, which scale. One per process, changed only by `ui.theme.apply`."""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import QObject, Signal
from PySide6.QtGui import QColor, QFont

from ui.theme.tokens import ThemeTokens, metrics, themes

FAMILY = "Inter"
FALLBACK_FAMILIES = ("Inter", "Noto Sans", "Segoe UI", "SF Pro Text", "DejaVu Sans")


class Notifier(QObject):
    """`changed` fires after a theme or scale was applied: sizes taken from `space` and `font` are taken again."""

    changed = Signal()


@dataclass
class _Current:
    tokens: ThemeTokens
    scale: float = 1.0
    reduced_motion: bool = False


_current = _Current(tokens=themes()["dark"])
notifier = Notifier()


def set_current(name: str, scale: float, reduced_motion: bool) -> None:
    _current.tokens = themes()[name]
    _current.scale = min(3.0, max(0.75, scale))
    _current.reduced_motion = reduced_motion


def current_name() -> str:
    return _current.tokens.name


def current_scale() -> float:
    return _current.scale


def token(name: str) -> QColor:
    """The colour of a token (see resources/themes/tokens.json). Raises KeyError for an unknown one."""
    return QColor(_current.tokens.colours[name])


def socket_colour(kind: str) -> QColor:
    """The colour of a socket type, e.g. "IMAGE"; unknown types take ANY's."""
    sockets = _current.tokens.sockets
    return QColor(sockets.get(kind, sockets["ANY"]))


def space(n: float) -> int:
    """`n` steps of the 8-pixel grid at the current scale, in logical pixels; halves give the 4 inside controls."""
    return round(n * metrics().grid * _current.scale)


def corner() -> int:
    return round(metrics().corner * _current.scale)


def px(value: float) -> int:
    """`value` pixels at scale 1, scaled; at least 1 for what must stay visible."""
    return max(1, round(value * _current.scale)) if value else 0


def font_pixels(size_step: int = 0) -> int:
    """Pixel size of step −1..3: 11, 13, 15, 20, 28 at scale 1."""
    sizes = metrics().type_scale
    return round(sizes[min(len(sizes) - 1, max(0, size_step + 1))] * _current.scale)


def font(size_step: int = 0, *, weight: QFont.Weight = QFont.Weight.Normal) -> QFont:
    """The studio's font at step −1..3 of the type scale, with figures of equal width."""
    result = QFont()
    result.setFamilies(list(FALLBACK_FAMILIES))
    result.setPixelSize(font_pixels(size_step))
    result.setWeight(weight)
    result.setFeature(QFont.Tag("tnum"), 1)
    result.setHintingPreference(QFont.HintingPreference.PreferNoHinting)
    return result


def motion(milliseconds: int = 120) -> int:
    """How long an animation may last: at most the table's limit, 0 when less motion is asked for."""
    return 0 if _current.reduced_motion else min(milliseconds, metrics().motion_ms)
