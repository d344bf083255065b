"""Which editor an input gets, and what it may be set to. The canvas, the properties and forms ask the same."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Literal

from engine.contracts.node_schema import InputSchema
from engine.contracts.references import BlobRef, ModelRef
from engine.contracts.workflow import InputValue, Link, decode_input
from studio_app.application import Application
from ui.graph_canvas.choice_popup import Choice

Kind = Literal[
    "number", "seed", "toggle", "text", "prompt", "choice", "model", "colour", "picture", "curve", "file", "json"
]
FURTHEST = 10**12  # of a number without limits
_PATHS = frozenset({"folder", "path", "file"})
_CURVE = re.compile(r"^\s*[\d.]+\s*,\s*[\d.]+\s*(;\s*[\d.]+\s*,\s*[\d.]+\s*)+;?\s*$")
_SIMPLE: dict[str, Kind] = {
    "INT": "number", "FLOAT": "number", "BOOLEAN": "toggle", "COLOUR": "colour", "BLOB": "picture", "JSON": "json",
}  # fmt: skip


def kind_of(item: InputSchema) -> Kind:
    """The editor for an input; of a type like "INT|FLOAT" by its last part, the widest."""
    if item.seed:
        return "seed"
    if item.model_kind:
        return "model"
    types = item.type.split("|")
    if "COMBO" in types:
        return "choice"
    found = _SIMPLE.get(types[-1])
    if found is not None:
        return found
    if item.multiline:
        return "prompt"
    if isinstance(item.default, str) and _CURVE.match(item.default):
        return "curve"
    return "file" if item.name in _PATHS else "text"


def is_whole(item: InputSchema) -> bool:
    """Whether a number has no decimals."""
    return "FLOAT" not in item.type.split("|")


def limits_of(item: InputSchema) -> tuple[float, float, float]:
    """(minimum, maximum, step); whole numbers for a whole one, so that large seeds keep every digit."""
    low = -FURTHEST if item.minimum is None else item.minimum
    high = FURTHEST if item.maximum is None else item.maximum
    if is_whole(item):
        return int(low), int(high), max(1, int(item.step or 1))
    step = item.step or (0.01 if high - low <= 2 else 0.1 if high - low <= 200 else 1.0)
    return float(low), float(high), float(step)


def drag_step(item: InputSchema) -> float:
    """How far four pixels of a drag go: the schema's step, larger where the range is wide."""
    low, high, step = limits_of(item)
    span = high - low
    if item.step is not None or span >= FURTHEST or span / step <= 1000:
        return step
    return float(step * 10 ** max(0, math.floor(math.log10(span / step / 100))))


def default_of(item: InputSchema) -> InputValue:
    """What counts where nothing was set."""
    return decode_input(item.default, item.name)


def value_in(item: InputSchema, inputs: Mapping[str, InputValue], name: str) -> InputValue:
    """The literal that was set, else the default; a wire gives None."""
    found = inputs[name] if name in inputs else default_of(item)
    return None if isinstance(found, Link) else found


def choices_of(app: Application, item: InputSchema) -> list[Choice]:
    """What may be chosen: the schema's choices, or the models of its kind that are here."""
    if item.model_kind:
        entries = app.models.list(item.model_kind)
        return [Choice(e.name, e.info.family, help=e.notice or str(e.path), value=e.ref) for e in entries]
    return [Choice(text, value=text) for text in item.choices]


def nothing_to_choose(item: InputSchema) -> str:
    """What the list says when it is empty."""
    if item.model_kind:
        kind = item.model_kind.replace("_", " ")
        return f"No {kind} model has these letters. Files belong into one of the model folders; see Models."
    return "Nothing has these letters. Try fewer."


def filtered(rows: Sequence[Choice], text: str) -> list[Choice]:
    """The rows that have these letters, the best first."""
    from ui.widgets.fuzzy import ranked

    texts = [f"{row.title} {row.note}" for row in rows]
    return [rows[i] for i in ranked(text, texts)]


def words_of(value: InputValue) -> str:
    """A value as a field shows it."""
    if isinstance(value, (ModelRef, BlobRef)):
        return value.name or "unnamed"
    if value is None:
        return ""
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:.10g}" if isinstance(value, float) else str(value)
