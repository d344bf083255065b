"""The editor for an input, by its schema."""

from __future__ import annotations

from engine.contracts.node_schema import InputSchema
from studio_app.application import Application
from ui.bridge.bridge import Bridge
from ui.graph_canvas.values.curve import CurveValue
from ui.graph_canvas.values.fields import (
    ChoiceValue,
    ColourValue,
    FileValue,
    JsonValue,
    NumberValue,
    PromptValue,
    TextValue,
    ToggleValue,
    ValueField,
)  # fmt: skip
from ui.graph_canvas.values.kinds import kind_of
from ui.graph_canvas.values.picture import PictureValue
from ui.graph_canvas.values.seed import SeedValue


def make_field(app: Application, bridge: Bridge, name: str, item: InputSchema) -> ValueField:
    """`name` is what screen readers say: the input's label."""
    match kind_of(item):
        case "number":
            return NumberValue(name, item)
        case "seed":
            return SeedValue(name, item)
        case "toggle":
            return ToggleValue(name, item)
        case "prompt":
            return PromptValue(name, item, app, bridge)
        case "choice" | "model":
            return ChoiceValue(name, item, app)
        case "colour":
            return ColourValue(name, item)
        case "picture":
            return PictureValue(name, item, app, bridge)
        case "curve":
            return CurveValue(name, item)
        case "file":
            return FileValue(name, item)
        case "json":
            return JsonValue(name, item)
        case "text":
            return TextValue(name, item)
