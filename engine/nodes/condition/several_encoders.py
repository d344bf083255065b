"""What the prompts of families with several text encoders share.

The families that read them are named by the handles of their text encoders; a handle of another family is refused, and
so is one whose family this studio does not run, each in one sentence.
"""

from __future__ import annotations

from typing import Annotated

from engine.contracts.errors import BadInput, InvalidRequest
from engine.contracts.node_schema import Effects
from engine.graph.node import In
from engine.graph.values import TextEncoderHandle
from engine.models.denoiser_family import cannot_run, title_of

LANE = Effects(parallel_safe=False)
Text = Annotated[str, In(multiline=True)]
Edge = Annotated[int, In(minimum=0, maximum=16384)]


def refusal(clip: TextEncoderHandle, families: tuple[str, ...]) -> BadInput:
    """The sentence for text encoders that the prompt of `families` can't be encoded with."""
    wanted = title_of(families[0])
    if clip.family not in families:
        return InvalidRequest(
            f"this prompt is written for {wanted}, and the text encoder is {title_of(clip.family)}’s", where="clip",
            fix=f"Connect the text encoders of {wanted}, or use “Encode text”",
        )  # fmt: skip
    return cannot_run("the text encoder", clip.weights.name, wanted)
