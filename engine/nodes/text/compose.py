"""Text put together and changed: join, format, replace, case, trim, split, length."""

from __future__ import annotations

import string
from typing import Annotated, Any

from engine.contracts.errors import InvalidRequest, clip
from engine.graph.node import In, NodeContext, node
from engine.graph.values import Anything

Text = Annotated[str, In(multiline=True)]
MAX_TEXT = 1_000_000


@node("text.join", category="Text", outputs=("text",), search=("concatenate", "append", "add"))
def join(ctx: NodeContext, a: Text = "", b: Text = "", delimiter: str = "") -> str:
    """Put two texts one after the other.

    a: the first text
    b: the second text
    delimiter: what stands between them
    """
    return bounded(f"{a}{delimiter}{b}")


@node("text.join_list", category="Text", title="Join list", outputs=("text",), search=("concatenate", "lines"))
def join_list(ctx: NodeContext, texts: Annotated[list[str], In(list=True, type="STRING", link_only=True)],
              delimiter: str = ", ") -> str:  # fmt: skip
    """Put a list of texts together into one.

    texts: the list
    delimiter: what stands between the items
    """
    return bounded(delimiter.join(texts))


@node("text.format", category="Text", outputs=("text",), search=("template", "placeholder", "f-string"))
def format_text(
    ctx: NodeContext,
    template: Text = "{a} and {b}",
    a: Anything | None = None,
    b: Anything | None = None,
    c: Anything | None = None,
    d: Anything | None = None,
) -> str:
    """Fill the places {a}, {b}, {c} and {d} of a template. {a:.2f} and {a:04d} format numbers; {{ is a brace.

    template: the text with places
    a: what stands for {a}
    b: what stands for {b}
    c: what stands for {c}
    d: what stands for {d}
    """
    values = {"a": a, "b": b, "c": c, "d": d}
    out = []
    try:
        for literal, name, spec, _ in string.Formatter().parse(template):
            out.append(literal)
            if name is not None:
                out.append(_place(name, spec or "", values))
    except ValueError as error:
        raise InvalidRequest(f"the template can't be read ({error})", fix="Write {{ and }} for plain braces") from error
    return bounded("".join(out))


def _place(name: str, spec: str, values: dict[str, Any]) -> str:
    # Only whole names: "{a.__class__}" and "{a[0]}" reach into objects and are refused.
    if name not in values:
        raise InvalidRequest(f"the template has a place “{{{clip(name, 20)}}}”", fix="Use {a}, {b}, {c} or {d}")
    value = values[name]
    if value is None:
        return ""
    if len(spec) > 16 or any(len(run) > 3 for run in "".join(c if c.isdigit() else " " for c in spec).split()):
        raise InvalidRequest(f"the format “{clip(spec, 20)}” is too wide")
    return format(value if isinstance(value, (int, float, str)) else str(value), spec)


@node("text.replace", category="Text", outputs=("text",), search=("substitute", "find"))
def replace(ctx: NodeContext, text: Text = "", find: str = "", replacement: str = "") -> str:
    """Replace every occurrence of a text.

    text: where to look
    find: what to replace; empty leaves the text as it is
    replacement: what to put there
    """
    return bounded(text.replace(find, replacement)) if find else text


@node("text.change_case", category="Text", title="Change case", outputs=("text",), search=("upper", "lower", "title"))
def change_case(
    ctx: NodeContext,
    text: Text = "",
    case: Annotated[str, In(choices=("lower", "upper", "title", "sentence"))] = "lower",
) -> str:
    """Change the case of a text.

    text: the text
    case: lower case, UPPER CASE, Title Case or Sentence case
    """
    if case == "sentence":
        return text[:1].upper() + text[1:].lower()
    return {"lower": text.lower, "upper": text.upper, "title": text.title}[case]()


@node("text.trim", category="Text", outputs=("text",), search=("strip", "whitespace"))
def trim(
    ctx: NodeContext, text: Text = "", side: Annotated[str, In(choices=("both", "left", "right"))] = "both"
) -> str:
    """Take away white space at the ends.

    text: the text
    side: at which end
    """
    return {"both": text.strip, "left": text.lstrip, "right": text.rstrip}[side]()


@node("text.split", category="Text", outputs=("texts",), list_outputs=("texts",), search=("lines", "list", "csv"))
def split(ctx: NodeContext, text: Text = "", delimiter: str = "\\n", skip_empty: bool = True) -> list[str]:
    """Split a text into a list; what follows runs once for each item.

    text: the text
    delimiter: where to split; \\n is a line's end
    skip_empty: leave out empty items
    """
    separator = delimiter.replace("\\n", "\n").replace("\\t", "\t")
    items = [item.strip() for item in text.split(separator)] if separator else [text]
    return [item for item in items if item] if skip_empty else items


@node("text.length", category="Text", outputs=("length",), search=("count", "characters"))
def length(ctx: NodeContext, text: Text = "") -> int:
    """How many characters a text has.

    text: the text
    """
    return len(text)


def bounded(text: str) -> str:
    """`text`, or one sentence when it has grown beyond all use (a join in a loop, say)."""
    if len(text) > MAX_TEXT:
        raise InvalidRequest(f"the text has {len(text):,} characters, more than {MAX_TEXT:,}")
    return text
