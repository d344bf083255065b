"""A finished picture, to be made larger: what is asked for, whoever made it."""

from __future__ import annotations

import dataclasses

from engine.contracts.references import ModelRef
from engine.contracts.results import ResultRecord
from engine.interchange.generation_settings import settings_of
from engine.recipes.build import request_of
from engine.recipes.enlarge import Enlarge
from engine.recipes.margins import Margins
from engine.recipes.request import ImageRequest


def larger(record: ResultRecord, otherwise: ImageRequest, factor: float = 2.0) -> ImageRequest:
    """The request that enlarges a picture as it is, with the prompt, model and seed that it was made with.

    A picture that Create did not make says of itself what it can; the rest is taken from `otherwise`.
    """
    request = request_of(record.spec)
    if request is None:
        said = settings_of(record.spec, record.node)
        model = otherwise.model
        if said.model and said.model != model.name:
            model = ModelRef(kind="checkpoint", name=said.model)
        request = dataclasses.replace(
            otherwise, prompt=said.prompt, negative=said.negative, style="", model=model, cfg=said.cfg or otherwise.cfg
        )
    # The way that was chosen for this picture, or is chosen now, is kept: an upscaler above all.
    way = request.enlarge if request.enlarge else otherwise.enlarge
    return dataclasses.replace(
        request, init=record.artifact, mask=None, margins=Margins(), width=record.width, height=record.height, count=1,
        seed=request.seed if record.seed is None else record.seed,
        enlarge=Enlarge(factor=factor, how=way.how, upscaler=way.upscaler, as_is=True),
    )  # fmt: skip
