"""Text looked into: compare, and regular expressions with bounds.

Python's `re` can take exponential time on a hostile pattern, so texts given to it are short and patterns with nested
repetition are refused.
"""

from __future__ import annotations

import re
from typing import Annotated

from engine.contracts.errors import InvalidRequest, clip
from engine.graph.node import In, NodeContext, node
from engine.nodes.text.compose import Text, bounded

MAX_PATTERN = 500
MAX_SEARCHED = 100_000
# A repetition directly around a group that itself repeats: (a+)+, (a*)*, (a|b+)*: the classic exponential shapes.
_NESTED_REPEAT = re.compile(r"\((?:[^()\\]|\\.)*[+*}](?:[^()\\]|\\.)*\)[+*{]")


@node("text.compare", category="Text", outputs=("result",), search=("equal", "starts", "ends", "contains"))
def compare(
    ctx: NodeContext,
    a: Text = "",
    b: Text = "",
    mode: Annotated[str, In(choices=("Equal", "Starts With", "Ends With", "Contains"))] = "Equal",
    case_sensitive: bool = True,
) -> bool:
    """Compare two texts.

    a: the first text
    b: the second text
    mode: whether a equals, starts with, ends with or contains b
    case_sensitive: whether A and a differ
    """
    left, right = (a, b) if case_sensitive else (a.casefold(), b.casefold())
    if mode == "Starts With":
        return left.startswith(right)
    if mode == "Ends With":
        return left.endswith(right)
    return right in left if mode == "Contains" else left == right


@node("text.regex_replace", category="Text", title="Replace by pattern", outputs=("text",), search=("regex", "sub"))
def regex_replace(
    ctx: NodeContext, text: Text = "", pattern: str = "", replacement: str = "", ignore_case: bool = False
) -> str:
    r"""Replace what a regular expression finds; \1 stands for its first group.

    text: where to look
    pattern: a regular expression
    replacement: what to put there
    ignore_case: whether A and a are the same
    """
    compiled = compile_pattern(pattern, ignore_case)
    try:
        return bounded(compiled.sub(replacement, searchable(text)))
    except (re.error, IndexError) as error:
        raise InvalidRequest(f"the replacement “{clip(replacement, 40)}” can't be used ({error})") from error


@node("text.regex_extract", category="Text", title="Extract by pattern", outputs=("text",), search=("regex", "match"))
def regex_extract(
    ctx: NodeContext,
    text: Text = "",
    pattern: str = "",
    mode: Annotated[str, In(choices=("First Match", "All Matches", "First Group", "All Groups"))] = "First Match",
    ignore_case: bool = False,
    multiline: bool = False,
    dotall: bool = False,
    group: Annotated[int, In(minimum=0, maximum=99)] = 1,
) -> str:
    """Take out what a regular expression finds; empty when it finds nothing. All matches come one per line.

    text: where to look
    pattern: a regular expression
    mode: the first match, all of them, or a group of them
    ignore_case: whether A and a are the same
    multiline: ^ and $ match at every line
    dotall: the dot matches line ends too
    group: which group, for the group modes
    """
    compiled = compile_pattern(pattern, ignore_case, multiline, dotall)
    wanted = group if mode.endswith(("Group", "Groups")) else 0
    if wanted > compiled.groups:
        raise InvalidRequest(f"the pattern has {compiled.groups} groups and group {wanted} is asked for")
    found = [m.group(wanted) or "" for m in compiled.finditer(searchable(text))]
    return bounded("\n".join(found)) if mode.startswith("All") else (found[0] if found else "")


@node("text.regex_match", category="Text", title="Matches pattern", outputs=("result",), search=("regex", "test"))
def regex_match(ctx: NodeContext, text: Text = "", pattern: str = "", ignore_case: bool = False) -> bool:
    """Whether a regular expression finds something in a text.

    text: where to look
    pattern: a regular expression
    ignore_case: whether A and a are the same
    """
    return compile_pattern(pattern, ignore_case).search(searchable(text)) is not None


def compile_pattern(
    pattern: str, ignore_case: bool = False, multiline: bool = False, dotall: bool = False
) -> re.Pattern[str]:
    """The compiled pattern, or one sentence on what is wrong with it."""
    if len(pattern) > MAX_PATTERN:
        raise InvalidRequest(f"the pattern has {len(pattern)} characters, more than {MAX_PATTERN}")
    if _NESTED_REPEAT.search(pattern):
        raise InvalidRequest(
            f"the pattern “{clip(pattern, 40)}” repeats a group that itself repeats, which can run for ever",
            fix="Write it with one repetition",
        )
    flags = (re.I if ignore_case else 0) | (re.M if multiline else 0) | (re.S if dotall else 0)
    try:
        return re.compile(pattern, flags)
    except (re.error, OverflowError) as error:
        raise InvalidRequest(f"the pattern “{clip(pattern, 40)}” can't be read ({error})") from error


def searchable(text: str) -> str:
    if len(text) > MAX_SEARCHED:
        raise InvalidRequest(f"the text has {len(text):,} characters; patterns search at most {MAX_SEARCHED:,}")
    return text
