"""Constants: one value, set in one place and wired to many."""

from __future__ import annotations

from typing import Annotated

from engine.graph.node import In, NodeContext, node

_LIMIT = 2**53  # whole numbers that JSON and every program reading it keep exactly


@node(
    "utility.integer",
    category="Utility",
    title="Whole number",
    outputs=("value",),
    passes="value",
    search=("int", "constant"),
)
def integer(ctx: NodeContext, value: Annotated[int, In(minimum=-_LIMIT, maximum=_LIMIT)] = 0) -> int:
    """A whole number.

    value: the number
    """
    return value


@node(
    "utility.seed",
    category="Utility",
    title="Seed",
    outputs=("value",),
    passes="value",
    search=("random", "noise seed", "constant"),
)
def seed(ctx: NodeContext, value: Annotated[int, In(minimum=0, maximum=2**64 - 1, seed=True)] = 0) -> int:
    """A seed for several samplers at once.

    value: the seed
    """
    return value


@node(
    "utility.number",
    category="Utility",
    title="Number",
    outputs=("value",),
    passes="value",
    search=("float", "constant"),
)
def number(ctx: NodeContext, value: float = 0.0) -> float:
    """A number.

    value: the number
    """
    return value


@node(
    "utility.text",
    category="Utility",
    title="Text",
    outputs=("value",),
    passes="value",
    search=("string", "constant", "prompt"),
)
def text(ctx: NodeContext, value: Annotated[str, In(multiline=True)] = "") -> str:
    """A text.

    value: the text
    """
    return value


@node(
    "utility.boolean",
    category="Utility",
    title="Yes or no",
    outputs=("value",),
    passes="value",
    search=("bool", "switch"),
)
def boolean(ctx: NodeContext, value: bool = False) -> bool:
    """Yes or no.

    value: which of the two
    """
    return value


@node(
    "utility.choice",
    category="Utility",
    title="Choice",
    outputs=("value",),
    passes="value",
    search=("combo", "constant"),
)
def choice(ctx: NodeContext, value: str = "") -> Annotated[str, In(type="COMBO")]:
    """A choice for inputs that offer a list, such as a sampler; checked against the list where it arrives.

    value: the name of the choice
    """
    return value
