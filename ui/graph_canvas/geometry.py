"""How a node is laid out: rows, sockets and sizes in canvas pixels. Pure arithmetic: no widget, no item, no font.

Layouts are shared: a thousand samplers that show the same rows have one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from engine.contracts.node_schema import WIDGET_TYPES, InputSchema, NodeSchema
from engine.contracts.workflow import InputValue, Link, Node

WIDTH, NARROWEST, WIDEST = 240.0, 160.0, 1600.0
HEADER, ROW, GAP, PAD = 32.0, 26.0, 6.0, 10.0
TEXT_ROW = 84.0  # a prompt: three lines
PREVIEW = 150.0
NUMBER_RESULT, TEXT_RESULT = 26.0, 64.0  # of what a node gave: one line, or three
RADIUS = 6.0  # of a socket
MARGIN = 9.0  # what a node may paint outside its box: sockets, the ring of the selection
REROUTE_WIDTH, REROUTE_HEIGHT = 40.0, 24.0
NOTE_WIDTH, NOTE_HEIGHT = 280.0, 160.0
GRID = 20.0

REROUTE, NOTE = "utility.reroute", "utility.note"
SHOW = "utility.show"
CONSTANTS = frozenset(f"utility.{name}" for name in ("text", "number", "integer", "boolean", "seed", "choice"))
TEXTS = frozenset({"STRING", "INT", "FLOAT", "BOOLEAN"})
_PICTURES = frozenset({"IMAGE", "MASK", "VIDEO"})

RowKind = Literal["slot", "value", "text"]


@dataclass(frozen=True, slots=True)
class Row:
    """One row. A "slot" has an input at the left or an output at the right or both; "value" and "text" are edited.

    `y` is its top and `height` its height, from the node's top.
    """

    kind: RowKind
    y: float
    height: float
    input: str = ""
    output: str = ""
    schema: InputSchema | None = None

    @property
    def middle(self) -> float:
        """Where its sockets sit; at the first line of a tall row."""
        return self.y + min(self.height, ROW) / 2


@dataclass(frozen=True, slots=True, eq=False)
class NodeLayout:
    """Sockets map a name to (x, y, type), from the node's top left corner."""

    shape: Literal["box", "reroute", "note"]
    width: float
    height: float
    rows: tuple[Row, ...]
    inputs: Mapping[str, tuple[float, float, str]]
    outputs: Mapping[str, tuple[float, float, str]]
    preview: tuple[float, float, float, float] | None = None  # x, y, width, height
    result: tuple[float, float, float, float] | None = None  # the same, of a text or numbers
    collapsed: bool = False

    def row_at(self, y: float) -> Row | None:
        return next((row for row in self.rows if row.y <= y < row.y + row.height), None)


def layout_of(node: Node, schema: NodeSchema) -> NodeLayout:
    """The layout of `node`, shared with every node that shows the same."""
    inputs = node.inputs
    shown: tuple[str, ...] = ()
    for item in schema.inputs:
        if item.advanced and item.name in inputs:
            shown = (*shown, item.name)
        elif item.variadic:
            shown = (*shown, *_numbered(item.name, inputs))
    linked = tuple(name for name, value in inputs.items() if value.__class__ is Link) if node.collapsed else ()
    return _layout(_Key(schema), shown, node.size, node.collapsed, linked, node.as_sockets)


class _Key:
    """A schema by identity: comparing all its fields for each node would cost more than laying it out."""

    __slots__ = ("schema",)

    def __init__(self, schema: NodeSchema) -> None:
        self.schema = schema

    def __hash__(self) -> int:
        return id(self.schema)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and other.schema is self.schema


def _numbered(name: str, inputs: Mapping[str, InputValue]) -> tuple[str, ...]:
    """name0, name1, … as many as are given, and one that is free."""
    given = [int(key[len(name) :]) for key in inputs if key.startswith(name) and key[len(name) :].isdigit()]
    return tuple(f"{name}{index}" for index in range(max(given, default=-1) + 2))


def shows_preview(schema: NodeSchema) -> bool:
    """Whether a node has room for a picture: it makes or keeps one, or draws for long enough to look on."""
    made = schema.effects.dear and any(o.type == "LATENT" for o in schema.outputs)
    kept = schema.effects.output and any(i.type in _PICTURES for i in schema.inputs)
    return made or kept or any(o.type in _PICTURES for o in schema.outputs)


def shows_text(schema: NodeSchema) -> bool:
    """Whether a node has room for the text or numbers it gave. A constant shows its value anyway."""
    if schema.type in CONSTANTS or shows_preview(schema):
        return False
    return schema.type == SHOW or any(o.type in TEXTS for o in schema.outputs)


def _result_height(schema: NodeSchema) -> float:
    if not shows_text(schema):
        return 0.0
    several = sum(o.type in TEXTS for o in schema.outputs)
    lines = schema.type == SHOW or several > 1 or any(o.type == "STRING" or o.list for o in schema.outputs)
    return TEXT_RESULT if lines else NUMBER_RESULT


def is_value(item: InputSchema) -> bool:
    """Whether an input is edited on the node, rather than only linked."""
    return not item.link_only and set(item.type.split("|")) <= WIDGET_TYPES


@lru_cache(maxsize=2048)
def _layout(
    key: _Key,
    shown: tuple[str, ...],
    size: tuple[float, float] | None,
    collapsed: bool,
    linked: tuple[str, ...],
    as_sockets: tuple[str, ...],
) -> NodeLayout:
    schema = key.schema
    if schema.type == REROUTE:
        return _reroute(schema)
    if schema.type == NOTE:
        width, height = size or (NOTE_WIDTH, NOTE_HEIGHT)
        return NodeLayout("note", max(120.0, width), max(64.0, height), (), {}, {})
    width = min(WIDEST, max(NARROWEST, size[0])) if size else WIDTH
    links, values = _inputs(schema, shown, as_sockets)
    if collapsed:
        return _collapsed(schema, [*links, *values], width, linked)
    y = HEADER + GAP
    rows: list[Row] = []
    outputs = schema.outputs
    for index in range(max(len(links), len(outputs))):
        taken = links[index] if index < len(links) else None
        given = outputs[index].name if index < len(outputs) else ""
        rows.append(Row("slot", y, ROW, taken[0] if taken else "", given, taken[1] if taken else None))
        y += ROW
    tall = [name for name, item in values if item.multiline]
    preview, result = shows_preview(schema), _result_height(schema)
    room = (PREVIEW if preview else 0) + (result + GAP if result else 0)
    plain = y + GAP + sum(TEXT_ROW if item.multiline else ROW for _, item in values) + room + GAP
    # What a person makes the node taller by goes to its prompts, else to its preview or result.
    extra = max(0.0, size[1] - plain) if size else 0.0
    for name, item in values:
        height = TEXT_ROW + extra / len(tall) if item.multiline else ROW
        rows.append(Row("text" if item.multiline else "value", y, height, name, "", item))
        y += height
    y += GAP
    area = below = None
    if result:
        height = result + (0.0 if tall else extra)
        below = (PAD, y, width - 2 * PAD, height)
        y += height + GAP
    elif preview:
        height = PREVIEW + (0.0 if tall else extra)
        area = (PAD, y, width - 2 * PAD, height - GAP)
        y += height
    elif not tall:
        y += extra
    return NodeLayout(
        "box", width, y + GAP, tuple(rows),
        {row.input: (0.0, row.middle, row.schema.type) for row in rows if row.input and row.schema is not None},
        {o.name: (width, HEADER + GAP + ROW * index + ROW / 2, o.type) for index, o in enumerate(outputs)},
        area, below,
    )  # fmt: skip


Named = tuple[str, InputSchema]


def _inputs(schema: NodeSchema, shown: tuple[str, ...], as_sockets: tuple[str, ...]) -> tuple[list[Named], list[Named]]:
    """(those that are only linked, those that are edited), in the schema's order."""
    links: list[Named] = []
    values: list[Named] = []
    for item in schema.inputs:
        if item.variadic:
            names = [name for name in shown if name.startswith(item.name) and name[len(item.name) :].isdigit()]
            links += [(name, item) for name in names]
        elif not item.advanced or item.name in shown or item.name in as_sockets:
            edited = is_value(item) and item.name not in as_sockets
            (values if edited else links).append((item.name, item))
    return links, values


def _reroute(schema: NodeSchema) -> NodeLayout:
    middle = REROUTE_HEIGHT / 2
    return NodeLayout(
        "reroute", REROUTE_WIDTH, REROUTE_HEIGHT, (),
        {item.name: (0.0, middle, item.type) for item in schema.inputs[:1]},
        {item.name: (REROUTE_WIDTH, middle, item.type) for item in schema.outputs[:1]},
    )  # fmt: skip


def _collapsed(schema: NodeSchema, inputs: list[Named], width: float, linked: tuple[str, ...]) -> NodeLayout:
    """Only the title: every wire ends at its middle; inputs with a wire fan out a little."""
    ends = [name for name, _ in inputs if name in linked]
    step = min(6.0, (HEADER - 8) / max(1, len(ends)))
    first = HEADER / 2 - step * (len(ends) - 1) / 2
    places = {name: first + step * index for index, name in enumerate(ends)}
    return NodeLayout(
        "box", width, HEADER, (),
        {name: (0.0, places.get(name, HEADER / 2), item.type) for name, item in inputs},
        {o.name: (width, HEADER / 2, o.type) for o in schema.outputs}, collapsed=True,
    )  # fmt: skip


def label_of(name: str, item: InputSchema) -> str:
    """What stands before a value: the schema's label, with the number of a variadic input."""
    words = item.label or item.name.replace("_", " ").capitalize()
    words = words.upper() if words in {"Vae", "Clip"} else words
    return f"{words} {int(name[len(item.name) :]) + 1}" if item.variadic and name != item.name else words
