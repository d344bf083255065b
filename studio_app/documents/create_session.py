"""What Create shows: the request being written, as an observable document. The widgets only mirror it.

`CreateSession` belongs to one thread (the GUI's). It knows what a request needs before it can run, how it is spread
over several prompts, and how to come back after a restart; it submits nothing itself.
"""

from __future__ import annotations

import dataclasses
import random
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from engine.contracts.errors import BadInput, InvalidDocument
from engine.contracts.references import BlobRef
from engine.recipes.checks import MAX_COUNT, MAX_SEED, check_request
from engine.recipes.enlarge import REDRAWN_STEPS, STRENGTHS, filled, target_size
from engine.recipes.margins import Margins
from engine.recipes.recommended import Recommended
from engine.recipes.request import ImageRequest
from engine.recipes.shapes import SHAPES, Shape, fit_size, shape_of, size_for
from engine.recipes.vocabulary import unknown_words
from studio_app.events import Signal, Unsubscribe

MAX_PROMPTS = 10
RANDOM_SEED_LIMIT = 2**32  # drawn seeds stay short enough to read out; typed ones may be longer

_CHECKED_ALONE = ("width", "height", "steps", "cfg", "sampler", "scheduler", "seed", "count", "strength",
                  "clip_skip", "file_format", "mask_feather")  # fmt: skip
_OUTPAINTED = ("init", "mask", "margins", "width", "height")
_ENLARGED = ("enlarge", *_OUTPAINTED)


@dataclass(frozen=True)
class SessionChange:
    """Which fields changed: names of ImageRequest, and "several", "seed_locked", "model_facts"."""

    fields: frozenset[str]


@dataclass(frozen=True)
class ModelFacts:
    """What the session must know of the chosen model. An empty vocabulary means ordinary language."""

    recommended: Recommended = field(default_factory=Recommended)
    vocabulary: tuple[str, ...] = ()
    supports_negative: bool = True


class CreateSession:
    """The request being written. `request` is always a whole, immutable ImageRequest; `update` replaces fields."""

    def __init__(self, facts: ModelFacts | None = None, draw_seed: Callable[[], int] | None = None) -> None:
        self._draw = draw_seed or (lambda: random.randrange(RANDOM_SEED_LIMIT))
        self._facts = facts or ModelFacts()
        self._request = ImageRequest(prompt="", seed=self._draw())
        self._several = False
        self._seed_locked = False
        self._area = 0
        self._start_size: tuple[int, int] | None = None  # of the picture to start from, where it is known
        self._changed: Signal[SessionChange] = Signal()

    # ---- reading

    @property
    def request(self) -> ImageRequest:
        return self._request

    @property
    def several(self) -> bool:
        """Whether each line of the prompt is a prompt of its own."""
        return self._several

    @property
    def seed_locked(self) -> bool:
        return self._seed_locked

    @property
    def facts(self) -> ModelFacts:
        return self._facts

    def subscribe(self, subscriber: Callable[[SessionChange], object]) -> Unsubscribe:
        """`subscriber(change)` is called after each change, on the thread that changed."""
        return self._changed.subscribe(subscriber)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels that will be made, the model's own where none is set."""
        recommended = self._facts.recommended
        width = recommended.width if self._request.width is None else self._request.width
        height = recommended.height if self._request.height is None else self._request.height
        return width, height

    @property
    def made_size(self) -> tuple[int, int]:
        """(width, height) of the finished picture: extended, and enlarged."""
        around = self._request.margins.around(self.size)
        enlarge = self._request.enlarge
        return target_size(enlarge, around, self._facts.recommended.multiple) if enlarge else around

    @property
    def steps(self) -> int:
        recommended = self._facts.recommended.steps
        return recommended if self._request.steps is None else self._request.steps

    @property
    def settled(self) -> ImageRequest:
        """The request with what the model recommends for enlarging: what its time is foreseen from."""
        request = self._request
        if not request.enlarge:
            return request
        return dataclasses.replace(request, enlarge=filled(request.enlarge, self.steps, self._facts.recommended))

    @property
    def shape(self) -> Shape | None:
        """The shape whose size is set, None for a size of the person's own."""
        size = self.size
        near = shape_of(*size)
        return near if near is not None and self.shape_size(near) == size else None

    def shape_size(self, shape: Shape) -> tuple[int, int]:
        """(width, height) in pixels of a shape with the chosen model."""
        limits = self._facts.recommended
        return size_for(shape.ratio, self.area, limits.multiple, limits.minimum, limits.maximum)

    @property
    def area(self) -> int:
        """The pixels every shape keeps to: the person's own number where the model can make it, else its native."""
        limits = self._facts.recommended
        reachable = limits.minimum**2 <= self._area <= limits.maximum**2
        return self._area if self._area and reachable else limits.area

    @property
    def shapes(self) -> Sequence[Shape]:
        return SHAPES

    def prompts(self) -> list[str]:
        """The prompts to make: one, or with `several` one for each line that is not blank."""
        if not self._several:
            text = self._request.prompt.strip()
            return [text] if text else []
        return [line.strip() for line in self._request.prompt.splitlines() if line.strip()]

    def unknown_words(self) -> list[str]:
        """Words of the prompt the chosen model was never shown."""
        return unknown_words(self._request.prompt, self._facts.vocabulary)

    def problems(self) -> dict[str, str]:
        """One sentence for each field that keeps the request from running, by the field's name; empty when it can."""
        found: dict[str, str] = {}
        prompts = self.prompts()
        enlarge = self._request.enlarge
        as_is = bool(enlarge) and enlarge.as_is  # its size is the picture's, whatever that is
        if not prompts and not as_is:
            found["prompt"] = "Say what the picture should show."
        elif len(prompts) > MAX_PROMPTS:
            found["prompt"] = f"There are {len(prompts)} prompts; {MAX_PROMPTS} can be made at once. Remove some lines."
        for name in _CHECKED_ALONE:
            if as_is and name in ("width", "height"):
                continue
            sentence = self._problem_with(**{name: getattr(self._request, name)})
            if sentence:
                found[name] = sentence
        for name, texts in (("prompt", prompts), ("negative", [self._request.negative])):
            for text in texts:
                sentence = self._problem_with(**{name: text}) if text else ""
                if sentence:
                    found.setdefault(name, sentence)
        if self._request.margins:
            sentence = self._problem_with(**{name: getattr(self._request, name) for name in _OUTPAINTED})
            if sentence:
                found["margins"] = sentence
        if enlarge and not found.keys() & {*_ENLARGED}:
            sentence = self._problem_with(**{name: getattr(self._request, name) for name in _ENLARGED})
            if sentence:
                found["enlarge"] = sentence
        if self._request.mask is not None and self._request.init is None:
            found["mask"] = "A mask needs a picture to work on. Add the picture, or remove the mask."
        return found

    def _problem_with(self, **fields: Any) -> str:
        try:
            check_request(dataclasses.replace(ImageRequest(prompt="x"), **fields), self._facts.recommended)
        except BadInput as error:
            return str(error)
        return ""

    def requests(self) -> list[ImageRequest]:
        """One request for each prompt, ready to submit. Raises nothing: look at `problems` first."""
        prompts = self.prompts()[:MAX_PROMPTS]
        if not prompts and self._request.enlarge.as_is:
            prompts = [""]  # a picture can be enlarged without a word about it
        return [dataclasses.replace(self._request, prompt=prompt) for prompt in prompts]

    # ---- changing

    def update(self, **fields: Any) -> None:
        """Replace fields of the request. A mask and margins go with their picture, and enlarging it as it is."""
        if "init" in fields and fields["init"] is None:
            fields["mask"], fields["margins"], self._start_size = None, Margins(), None
        enlarge = fields.get("enlarge", self._request.enlarge)
        if enlarge.as_is and not self._can_enlarge_as_is(fields):
            fields["enlarge"] = dataclasses.replace(enlarge, as_is=False)
            if enlarge and "width" not in fields:  # what is drawn has a size of the model's
                fields["width"], fields["height"] = self._working_size(False)
        changed = {name for name, value in fields.items() if getattr(self._request, name) != value}
        if changed:
            self._request = dataclasses.replace(self._request, **fields)
            self._emit(changed)

    def start_from(self, picture: BlobRef, width: int, height: int) -> None:
        """Start from a picture of this size: worked on at a size of the model's, or its own where only that grows."""
        enlarge = self._request.enlarge
        if enlarge:
            enlarge = dataclasses.replace(enlarge, as_is=True)
        self._start_size = (width, height)
        wide, high = self._working_size(bool(enlarge))
        self.update(init=picture, mask=None, margins=Margins(), width=wide, height=high, enlarge=enlarge)

    def fitted(self, width: int, height: int) -> tuple[int, int]:
        """The size to work at for a picture of this size."""
        limits = self._facts.recommended
        return fit_size(width, height, self.area, limits.multiple, limits.minimum, limits.maximum)

    def _working_size(self, as_is: bool) -> tuple[int, int]:
        size = self._start_size or self.size
        return size if as_is else self.fitted(*size)

    def set_enlarge(self, **fields: Any) -> None:
        """Replace fields of how the picture is enlarged. With a picture to start from that one is meant, as it is."""
        before = self._request.enlarge
        after = dataclasses.replace(before, **fields)
        if after and not before and "as_is" not in fields:
            after = dataclasses.replace(after, as_is=self._can_enlarge_as_is({}))
        was, becomes = bool(before) and before.as_is, bool(after) and after.as_is
        changed: dict[str, Any] = {"enlarge": after}
        if self._start_size is not None and was != becomes:
            changed["width"], changed["height"] = self._working_size(becomes)
        self.update(**changed)

    def _can_enlarge_as_is(self, fields: Mapping[str, Any]) -> bool:
        init, mask, margins = (fields.get(name, getattr(self._request, name)) for name in ("init", "mask", "margins"))
        return init is not None and mask is None and not margins

    def set_request(self, request: ImageRequest) -> None:
        """Take over a whole request, e.g. of an earlier result. Its seed is kept by locking it."""
        before = self._request
        names = [item.name for item in dataclasses.fields(ImageRequest)]
        changed = {name for name in names if getattr(before, name) != getattr(request, name)}
        self._request, self._start_size = request, None
        self._several, self._seed_locked = False, True
        self._emit(changed | {"several", "seed_locked"})

    def set_facts(self, facts: ModelFacts) -> None:
        """The chosen model's facts. A size that was one of the old model's shapes becomes that shape's size here."""
        if facts == self._facts:
            return
        shape = self.shape
        self._facts = facts
        self._emit({"model_facts"} | self._keep_shape(shape))

    def set_area(self, megapixels: float) -> None:
        """The area of every shape in units of 1024 × 1024 pixels; 0 is each model's own. A shape stays a shape."""
        area = round(megapixels * 2**20)
        if area != self._area:
            shape, self._area = self.shape, area
            self._emit({"model_facts"} | self._keep_shape(shape))

    def _keep_shape(self, shape: Shape | None) -> set[str]:
        """Give the request the shape's size as it is now. A size that was left to the model stays so where it can."""
        native = self._request.width is None and self.area == self._facts.recommended.area
        enlarge = self._request.enlarge
        if shape is None or native or (enlarge and enlarge.as_is):  # a picture that only grows keeps its own size
            return set()
        width, height = self.shape_size(shape)
        self._request = dataclasses.replace(self._request, width=width, height=height)
        return {"width", "height"}

    def set_shape(self, shape: Shape) -> None:
        width, height = self.shape_size(shape)
        self.update(width=width, height=height)

    def set_several(self, several: bool) -> None:
        if several != self._several:
            self._several = several
            self._emit({"several"})

    def set_seed_locked(self, locked: bool) -> None:
        if locked != self._seed_locked:
            self._seed_locked = locked
            self._emit({"seed_locked"})

    def roll_seed(self) -> None:
        """Draw a new seed now, locked or not: the dice."""
        self.update(seed=self._draw())

    def after_submit(self) -> None:
        """A seed that is not locked is drawn anew, so that the next Generate gives another picture."""
        if not self._seed_locked:
            self.roll_seed()

    def variations(self, request: ImageRequest, count: int = 4) -> ImageRequest:
        """The same request with `count` new seeds. 1 to MAX_COUNT pictures."""
        return dataclasses.replace(request, seed=self._draw(), count=max(1, min(MAX_COUNT, count)))

    def insert(self, text: str) -> None:
        """Add an insertion to the end of the prompt, set off by a comma."""
        before = self._request.prompt.rstrip()
        glue = "" if not before or before.endswith((",", "\n")) else ", "
        space = " " if before.endswith(",") else ""
        self.update(prompt=f"{before}{glue}{space}{text}")

    def _emit(self, fields: set[str]) -> None:
        self._changed.emit(SessionChange(frozenset(fields)))

    # ---- coming back

    def to_json(self) -> dict[str, Any]:
        return {
            "request": self._request.to_json(),
            "several": self._several,
            "seed_locked": self._seed_locked,
        }

    def restore(self, data: Mapping[str, Any]) -> bool:
        """Take over what `to_json` wrote. Anything unreadable changes nothing; returns whether it was taken."""
        try:
            request = ImageRequest.from_json(data.get("request"))
        except InvalidDocument:
            return False
        if not 0 <= request.seed <= MAX_SEED:
            request = dataclasses.replace(request, seed=self._draw())
        self._request = request
        self._several = data.get("several") is True
        self._seed_locked = data.get("seed_locked") is True
        names = {item.name for item in dataclasses.fields(ImageRequest)}
        self._emit(names | {"several", "seed_locked"})
        return True


_WORD_START = re.compile(r"[\w'’-]+$")


def word_before(text: str) -> str:
    """The word that `text` ends with: what suggestions complete."""
    match = _WORD_START.search(text)
    return match.group() if match else ""


@dataclass(frozen=True)
class Pace:
    """How fast one job went: seconds for each unit of `work_of`, and for each pixel encoded, decoded and saved."""

    step: float
    pixel: float = 0.0


def pace_of(request: ImageRequest, size: tuple[int, int], steps: int, drawing: float, around: float) -> Pace:
    """The pace of a job that drew for `drawing` seconds and spent `around` seconds before and after its steps."""
    return Pace(drawing / work_of(request, size, steps), around / _pixels(request, size))


def estimate_seconds(request: ImageRequest, size: tuple[int, int], steps: int, past: Collection[Pace]) -> float | None:
    """Seconds this request will take once its model is loaded, at the pace of `past`; None when there is none.

    Medians are used, so that one run beside a busy machine does not mislead.
    """
    if not past:
        return None
    step, pixel = median(pace.step for pace in past), median(pace.pixel for pace in past)
    return step * work_of(request, size, steps) + pixel * _pixels(request, size)


def work_of(request: ImageRequest, size: tuple[int, int], steps: int) -> int:
    """Pixels × steps × pictures: what the time of the steps is proportional to on one machine."""
    share = request.strength if request.init is not None and not request.margins else 1.0
    width, height = request.margins.around(size)
    enlarge = request.enlarge
    work = 0.0 if enlarge and enlarge.as_is else width * height * max(1, steps) * share
    if enlarge and enlarge.redraws:
        strength = STRENGTHS.get(enlarge.how, 0.0) if enlarge.strength is None else enlarge.strength
        wide, high = target_size(enlarge, (width, height))
        work += wide * high * max(REDRAWN_STEPS, (enlarge.steps or steps) * strength)
    return max(1, round(work)) * max(1, request.count)


def _pixels(request: ImageRequest, size: tuple[int, int]) -> int:
    width, height = request.margins.around(size)
    if request.enlarge:
        wide, high = target_size(request.enlarge, (width, height))
        return max(1, (width * height + wide * high) * request.count)
    return max(1, width * height * request.count)
