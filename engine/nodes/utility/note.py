"""Words on the canvas, and a look at what a wire carries."""

from __future__ import annotations

from typing import Annotated, Any

from engine.contracts.codec import describe
from engine.contracts.errors import clip
from engine.contracts.node_schema import Effects
from engine.graph.node import In, NodeContext, node
from engine.graph.values import Anything


@node("utility.note", category="Utility", title="Note", search=("comment", "text", "markdown"))
def note(ctx: NodeContext, text: Annotated[str, In(multiline=True)] = "") -> None:
    """Words for whoever reads the workflow; does nothing.

    text: what to say, plain or as Markdown
    """


@node(
    "utility.show",
    category="Utility",
    title="Show value",
    effects=Effects(output=True, cacheable=False),
    search=("preview", "print", "log", "debug"),
)
def show(ctx: NodeContext, value: Anything) -> None:
    """Write what arrives into the job's log: a text or number as it is, a picture or latent by its shape.

    value: what to look at
    """
    ctx.log(_shown(value))


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return clip(value, 2000)
    if isinstance(value, (bool, int, float)) or value is None:
        return str(value)
    samples = getattr(value, "samples", value)
    shape = getattr(samples, "shape", None)
    if shape is not None:
        return f"{type(value).__name__} {' × '.join(str(edge) for edge in shape)}"
    return describe(value)
