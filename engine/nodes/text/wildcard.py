"""Wildcards: {a|b|c} picks one, {2$$a|b|c} two of them, nested as deep as one likes; the seed decides."""

from __future__ import annotations

import random
import re
from typing import Annotated

from engine.graph.node import In, NodeContext, node
from engine.nodes.text.compose import Text, bounded

_INNERMOST = re.compile(r"(?<!\\)\{([^{}]*)(?<!\\)\}")
_COUNT = re.compile(r"(\d{1,2})(?:-(\d{1,2}))?\$\$(?:([^$|]*)\$\$)?")
MAX_ROUNDS = 2_000


@node("text.wildcard", category="Text", outputs=("text",), search=("random", "dynamic prompt", "choice"))
def wildcard(
    ctx: NodeContext, text: Text = "", seed: Annotated[int, In(seed=True, minimum=0, maximum=2**63 - 1)] = 0
) -> str:
    """Choose among alternatives: {a|b|c} picks one, {2$$a|b|c} two, {1-3$$ and $$a|b|c} one to three joined by “ and ”.

    text: the text with alternatives; \\{ is a plain brace
    seed: the same seed picks the same
    """
    return expand(text, seed)


def expand(text: str, seed: int) -> str:
    """The text with every alternative chosen. Total: unbalanced braces stay as they are."""
    chooser = random.Random(seed)
    for _ in range(MAX_ROUNDS):
        found = _INNERMOST.search(text)
        if found is None:
            break
        text = bounded(text[: found.start()] + _pick(found.group(1), chooser) + text[found.end() :])
    return text.replace("\\{", "{").replace("\\}", "}")


def _pick(body: str, chooser: random.Random) -> str:
    count = _COUNT.match(body)
    if count is None:
        return chooser.choice(body.split("|"))
    low = int(count.group(1))
    high = int(count.group(2) or low)
    options = body[count.end() :].split("|")
    number = min(chooser.randint(min(low, high), max(low, high)), len(options))
    chosen = sorted(chooser.sample(range(len(options)), number))
    return (", " if count.group(3) is None else count.group(3)).join(options[i] for i in chosen)
