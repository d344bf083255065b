"""Whether a request can be made at all, said in one sentence where it can't."""

from __future__ import annotations

from engine.contracts.errors import InvalidRequest, UnknownChoice
from engine.recipes.enlarge import Enlarge, check_enlarge
from engine.recipes.margins import check_margins
from engine.recipes.recommended import Recommended
from engine.recipes.request import ImageRequest
from engine.recipes.shapes import check_size
from engine.sampling.names import SAMPLERS, SCHEDULERS

MAX_PROMPT_WORDS = 1000
MAX_PROMPT_CHARACTERS = 20_000
MAX_COUNT = 64
MAX_SEED = 2**64 - 1
FILE_FORMATS = ("png", "webp", "jpeg")


def check_request(request: ImageRequest, model: Recommended) -> None:
    """Raises InvalidRequest or UnknownChoice for the first setting a model can't take."""
    _check_prompt(request.prompt, "prompt", required=not (request.enlarge and request.enlarge.as_is))
    _check_prompt(request.negative, "negative prompt", required=False)
    _check_number("number of steps", request.steps, 1, 150)
    _check_number("guidance (cfg)", request.cfg, 1, 30)
    _check_number("strength", request.strength, 0, 1)
    _check_number("number of pictures", request.count, 1, MAX_COUNT)
    _check_number("seed", request.seed, 0, MAX_SEED)
    _check_number("mask feather", request.mask_feather, 0, 256)
    _check_number("CLIP skip", request.clip_skip, 0, 11)
    if request.sampler is not None and request.sampler not in SAMPLERS:
        raise UnknownChoice("sampler", request.sampler, SAMPLERS)
    if request.scheduler is not None and request.scheduler not in SCHEDULERS:
        raise UnknownChoice("scheduler", request.scheduler, SCHEDULERS)
    if request.file_format not in FILE_FORMATS:
        raise UnknownChoice("file format", request.file_format, FILE_FORMATS)
    if request.mask is not None and request.init is None:
        raise InvalidRequest(
            "a mask needs a picture to work on", fix="Give the picture whose masked part should be redrawn"
        )
    width = model.width if request.width is None else request.width
    height = model.height if request.height is None else request.height
    if request.margins:
        _check_outpainting(request, (width, height), model.maximum)
    elif not (request.enlarge and request.enlarge.as_is):
        check_size(width, height, model.multiple, model.minimum, model.maximum)
    if request.enlarge or request.enlarge != Enlarge():
        check_enlarge(
            request.enlarge, request.margins.around((width, height)), model, picture=request.init is not None,
            changed=request.mask is not None or bool(request.margins),
        )  # fmt: skip


def _check_outpainting(request: ImageRequest, size: tuple[int, int], maximum: int) -> None:
    check_margins(request.margins)
    if request.init is None:
        raise InvalidRequest("there is no picture to extend", where="outpainting", fix="Give the picture to start from")
    if request.mask is not None:
        raise InvalidRequest(
            "a picture is either extended or redrawn under a mask", where="outpainting", fix="Take one of them away"
        )
    width, height = request.margins.around(size)
    if max(width, height) > maximum:
        raise InvalidRequest(
            f"the extended picture would be {width}×{height} pixels", where="outpainting",
            fix=f"This model makes at most {maximum} a side; extend it by less, or choose a smaller size",
        )  # fmt: skip


def _check_prompt(text: str, name: str, *, required: bool) -> None:
    words = len(text.split())
    if required and not words:
        raise InvalidRequest(f"the {name} is empty", fix="Say in a few words what the picture should show")
    if words > MAX_PROMPT_WORDS:
        raise InvalidRequest(
            f"the {name} has {words:,} words", fix=f"At most {MAX_PROMPT_WORDS:,} are read; shorten it"
        )
    if len(text) > MAX_PROMPT_CHARACTERS:
        raise InvalidRequest(
            f"the {name} has {len(text):,} characters", fix=f"At most {MAX_PROMPT_CHARACTERS:,} are read; shorten it"
        )


def _check_number(name: str, value: float | None, lowest: float, highest: float) -> None:
    # `not (a <= v <= b)` refuses NaN as well.
    if value is not None and not lowest <= value <= highest:
        raise InvalidRequest(f"the {name} {value:g} is out of range", fix=f"Use {lowest:g} to {highest:g}")
