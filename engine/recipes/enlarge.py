"""Making a picture larger once it is there: by a second pass (hires fix), in tiles, or by a network alone.

Everything here follows from sizes, never from the machine, so that the same request is the same picture everywhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from engine.contracts.codec import Document
from engine.contracts.errors import InvalidRequest, UnknownChoice
from engine.contracts.references import ModelRef
from engine.media.formats import MAX_PIXELS
from engine.recipes.recommended import Recommended
from engine.recipes.shapes import size_for

HOWS = ("second-pass", "tiles", "network")
MOST = 8.0  # times as wide
LONGEST = 16_384  # pixels a side
REDRAWN_STEPS = 4  # steps that a second pass really does, at the least
# What it redraws where the model says nothing else: the field's usual values.
STRENGTHS = {"second-pass": 0.4, "tiles": 0.3, "network": 0.0}
GUIDE_STRENGTH = 0.9
_WHERE = "enlarging"


@dataclass(frozen=True, kw_only=True)
class Enlarge(Document):
    """How a picture is made larger. None means "what the model recommends".

    factor         1..8 times as wide and as high; 1 leaves it as it is
    width, height  in place of the factor: the size to reach, in pixels
    how            "second-pass": the enlarged picture is redrawn, in one go where the model can, else window by
                   window; "tiles": always window by window; "network": an upscaler alone
    strength       0..1, how much of the enlarged picture is redrawn
    steps          1..150 of the second pass's whole schedule; `strength` of them are done
    upscaler       enlarges the pixels before they are redrawn; without one they are interpolated
    prompt         whether the second pass is told the prompt again
    as_is          the request's `init` is enlarged as it is, no picture is drawn before; width and height of the
                   request are then that picture's own
    """

    factor: float = 1.0
    width: int = 0
    height: int = 0
    how: str = "second-pass"
    strength: float | None = None
    steps: int | None = None
    upscaler: ModelRef | None = None
    prompt: bool | None = None
    as_is: bool = False

    def __bool__(self) -> bool:
        return self.factor != 1 or bool(self.width or self.height)

    @property
    def redraws(self) -> bool:
        """Whether the enlarged picture is sampled once more."""
        return self.how != "network"


@dataclass(frozen=True, kw_only=True)
class Sizes(Document):
    """What is made on the way, in pixels.

    first_width, first_height  what is drawn first; of a picture that is enlarged as it is, its small copy
    width, height              the finished picture
    window                     the edge of the second pass's windows, 0 where it is drawn in one go
    """

    first_width: int
    first_height: int
    width: int
    height: int
    window: int = 0

    @property
    def overlap(self) -> int:
        """Pixels that neighbouring windows share: a quarter, and never less than eight cells."""
        return min(max(64, self.window // 4), self.window // 2)


def target_size(enlarge: Enlarge, size: tuple[int, int], multiple: int = 8) -> tuple[int, int]:
    """(width, height) that a picture of `size` becomes, in whole multiples where it is redrawn. Total: a factor that
    is none at all counts as 1."""
    factor = enlarge.factor if 0 < enlarge.factor <= 1000 else 1.0
    if enlarge.width and enlarge.height:
        wanted: tuple[float, float] = enlarge.width, enlarge.height
    else:
        wanted = size[0] * factor, size[1] * factor
    unit = multiple if enlarge.redraws else 1
    return (max(unit, round(wanted[0] / unit) * unit), max(unit, round(wanted[1] / unit) * unit))


def sizes_of(enlarge: Enlarge, size: tuple[int, int], model: Recommended, *, drawn: bool) -> Sizes:
    """How a picture of `size` is enlarged. `drawn`: from noise, so that never more than the model's area is at once."""
    width, height = target_size(enlarge, size, model.multiple)
    first = size
    if (drawn or enlarge.as_is) and size[0] * size[1] > model.area:
        first = size_for(size[0] / size[1], model.area, model.multiple, model.minimum, model.maximum)
    elif not drawn:  # an encoder needs whole cells
        first = target_size(Enlarge(), size, model.multiple)
    alone = enlarge.how == "second-pass" and width * height <= model.redraw_reach * model.area
    edge = max(64, round(math.sqrt(model.area) / 16) * 16)
    return Sizes(
        first_width=first[0], first_height=first[1], width=width, height=height,
        window=0 if alone or not enlarge.redraws else edge,
    )  # fmt: skip


def filled(enlarge: Enlarge, steps: int, model: Recommended) -> Enlarge:
    """With every open setting settled. `steps` are the first picture's."""
    if not enlarge.redraws:
        return enlarge
    strength = enlarge.strength
    if strength is None:
        usual = STRENGTHS.get(enlarge.how, STRENGTHS["second-pass"])
        strength = usual if model.redraw_strength is None else model.redraw_strength
    enough = math.ceil(REDRAWN_STEPS / strength - 1e-9) if strength > 0 else 1
    return replace(
        enlarge, strength=float(strength), steps=enlarge.steps or min(150, max(steps, enough)),
        prompt=model.redraw_prompt if enlarge.prompt is None else enlarge.prompt,
    )  # fmt: skip


def check_enlarge(enlarge: Enlarge, size: tuple[int, int], model: Recommended, *, picture: bool, changed: bool) -> None:
    """Raises InvalidRequest or UnknownChoice. `size` is the picture's before; `picture`: there is one to start from;
    `changed`: it is redrawn under a mask, or extended."""
    if enlarge.how not in HOWS:
        raise UnknownChoice("way to enlarge", enlarge.how, HOWS)
    for name, value, lowest, highest in (
        ("factor", enlarge.factor, 1, MOST), ("strength", enlarge.strength, 0, 1),
        ("number of steps", enlarge.steps, 1, 150),
    ):  # fmt: skip
        if value is not None and not lowest <= value <= highest:  # refuses NaN as well
            raise _refused(f"the {name} {value:g} is out of range", f"Use {lowest:g} to {highest:g}")
    if bool(enlarge.width) != bool(enlarge.height) or enlarge.width < 0 or enlarge.height < 0:
        raise _refused("a size needs a width and a height", "Write it like 1024x1024")
    if enlarge.how == "network" and enlarge.upscaler is None:
        raise _refused("no upscaler is named", "Name one, or choose another way to enlarge")
    if enlarge.upscaler is not None and enlarge.upscaler.kind != "upscaler":
        raise _refused(f"“{enlarge.upscaler.name}” is no upscaler", "Choose a model of that kind")
    if enlarge.as_is:
        _check_as_is(size, picture=picture, changed=changed)
    width, height = target_size(enlarge, size, model.multiple)
    if width < size[0] - model.multiple or height < size[1] - model.multiple:
        raise _refused(
            f"{width} × {height} pixels are fewer than the {size[0]} × {size[1]} it starts from", "Choose a larger size"
        )
    if max(width / size[0], height / size[1]) > MOST * 1.1:  # rounding to multiples may add a little
        raise _refused(f"{width} × {height} is more than {MOST:g} times {size[0]} × {size[1]}", "Choose a smaller size")
    if max(width, height) > LONGEST or width * height > MAX_PIXELS:
        raise _refused(
            f"the enlarged picture would be {width} × {height} pixels",
            f"At most {LONGEST:,} a side and {MAX_PIXELS // 10**6} megapixels are made",
        )


def _check_as_is(size: tuple[int, int], *, picture: bool, changed: bool) -> None:
    if not picture:
        raise _refused("there is no picture to enlarge", "Give the picture to start from")
    if changed:
        raise _refused("a picture is either enlarged as it is or changed first", "Leave one of them out")
    if min(size) < 16:
        raise _refused(f"a picture of {size[0]} × {size[1]} pixels is too small", "Start from one of 16 or more a side")


def _refused(what: str, fix: str) -> InvalidRequest:
    return InvalidRequest(what, where=_WHERE, fix=fix)


def enlarge_from(text: str) -> dict[str, Any]:
    """ "2", "1.5x" or "1024x768" → fields of Enlarge. Raises ValueError with a sentence."""
    cleaned = text.strip().lower().replace("×", "x")
    first, cross, second = cleaned.partition("x")
    if cross and first.isdecimal() and second.isdecimal() and len(cleaned) < 13:
        return {"width": int(first), "height": int(second)}
    try:
        factor = float(first) if not second else math.nan
    except ValueError:
        factor = math.nan
    if not math.isfinite(factor):
        raise ValueError(f"“{text.strip()[:40]}” says not how much; write 2 for twice as wide, or a size like 1024x768")
    return {"factor": factor}
