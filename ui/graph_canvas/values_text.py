"""A value as the few words that stand on a node."""

from __future__ import annotations

from engine.contracts.errors import clip
from engine.contracts.node_schema import InputSchema
from engine.contracts.references import BlobRef, ModelRef
from engine.contracts.workflow import InputValue, Link, decode_input

LONGEST = 400  # of a prompt, what can be seen at all


def value_of(item: InputSchema, inputs: dict[str, InputValue] | object, name: str) -> InputValue:
    """What the node gets: the literal that was set, else the schema's default."""
    if isinstance(inputs, dict) or hasattr(inputs, "get"):
        found = inputs.get(name, _UNSET)
        if found is not _UNSET:
            return found  # type: ignore[no-any-return]  # a Mapping of input values
    default = item.default  # JSON, as the schema has it: a model stands in it as an object
    return decode_input(default, name) if isinstance(default, dict) else default


_UNSET = object()


def value_text(item: InputSchema, value: InputValue) -> str:
    """In words: "1,024", "on", "none", the name of a model or file. Text is cut to what can be seen."""
    if value is None or value == "":
        return "" if item.multiline or item.type == "STRING" else "choose…"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, int):
        return str(value) if item.seed or -10000 < value < 10000 else f"{value:,}"
    if isinstance(value, float):
        return f"{value:g}" if abs(value) < 1e6 else f"{value:.6g}"
    if isinstance(value, (ModelRef, BlobRef)):
        return value.name or "unnamed"
    if isinstance(value, str):
        return value[:LONGEST]
    if isinstance(value, Link):
        return ""
    return clip(str(value), 60)
