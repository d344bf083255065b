"""Wildcards: {a|b|c} picks one, {2$$a|b|c} two of them, __name__ a line of a file; the seed decides."""

from __future__ import annotations

from typing import Annotated

from engine.graph.node import In, NodeContext, node
from engine.nodes.text.compose import Text, bounded
from engine.prompts import wildcards


def _files(text: object = None, **_others: object) -> str:
    """What the files say, where the text may name one: the node runs again when they change."""
    return wildcards.FOLDER.fingerprint() if not isinstance(text, str) or "__" in text else ""


@node(
    "text.wildcard",
    category="Text",
    outputs=("text",),
    search=("random", "dynamic prompt", "choice"),
    changed=_files,
)
def wildcard(
    ctx: NodeContext, text: Text = "", seed: Annotated[int, In(seed=True, minimum=0, maximum=2**64 - 1)] = 0
) -> str:
    """Choose among alternatives: {a|b|c} picks one, {2$$a|b|c} two, __name__ a line of wildcards/name.txt.

    text: the text with alternatives; \\{ is a plain brace
    seed: the same seed picks the same
    """
    return bounded(wildcards.expand(text, seed))
