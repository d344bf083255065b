"""What the nodes that encode prompts share; and words of its own for each of several text encoders.

The families that read such prompts are named by the handles of their text encoders; a handle of another family is
refused in one sentence.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from engine.contracts.errors import InvalidRequest
from engine.contracts.errors import clip as shortened
from engine.contracts.node_schema import Effects
from engine.graph.node import In, NodeContext
from engine.graph.values import Conditioning, TextEncoderHandle
from engine.models.denoiser_family import title_of
from engine.nodes.load.embeddings import with_embeddings
from engine.prompts.grammar import ParsedPrompt, parse

LANE = Effects(parallel_safe=False)
Text = Annotated[str, In(multiline=True)]
Edge = Annotated[int, In(minimum=0, maximum=16384)]


def encoded(
    ctx: NodeContext, clip: TextEncoderHandle, text: Mapping[str, str], families: tuple[str, ...]
) -> Conditioning:
    """The prompt of `families` with words for each encoder ("clip_l", "clip_g", "t5xxl"), in the studio's grammar.

    Says in the log what is not read. Raises InvalidRequest for text encoders of another family.
    """
    if clip.family not in families:
        raise refusal(clip, families)
    return read(ctx, clip, {encoder: parse(words) for encoder, words in text.items()})


def read(ctx: NodeContext, clip: TextEncoderHandle, text: ParsedPrompt | Mapping[str, ParsedPrompt]) -> Conditioning:
    """A prompt through the encoders of a handle, with the embeddings it names. What is not read is said in the log."""
    clip = with_embeddings(ctx, clip, text)
    from engine.memory.read_prompts import encoded as looked_up

    found = looked_up(ctx.session, clip, text)
    for note in found.notes:
        ctx.log(note, level="warning")
    if found.ignored:
        ctx.log(
            f"The prompt has {found.tokens} tokens and this model reads {found.limit}; "
            f"it does not see “{shortened(found.ignored)}”.",
            level="warning",
        )
    entries: Conditioning = found.entries
    return entries


def refusal(clip: TextEncoderHandle, families: tuple[str, ...]) -> InvalidRequest:
    """The sentence for text encoders that the prompt of `families` can't be encoded with."""
    wanted = title_of(families[0])
    return InvalidRequest(
        f"this prompt is written for {wanted}, and the text encoder is {title_of(clip.family)}’s", where="clip",
        fix=f"Connect the text encoders of {wanted}, or use “Encode text”",
    )  # fmt: skip
