"""A picture larger than its model, denoised window by window: MultiDiffusion (2302.08113) and Mixture of Diffusers
(2302.02412), with a small picture as a guide against subjects that repeat.

The network sees one window at a time; what it says of each place is averaged over the windows that hold it, in main
memory. What is on the card does not grow with the picture but for the latent itself (16 MB for 8192² of four channels).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the field's own name for it

from engine.families.entities import Regions
from engine.families.protocol import BindRequest, Bound
from engine.graph.values import ConditioningEntry, Control
from engine.memory.cutting import places
from engine.sampling.flow_space import Space
from engine.sampling.guidance import is_plain
from engine.sampling.patches import from_clean, to_clean

Weights: TypeAlias = Literal["even", "gaussian"]
WEIGHTS: tuple[Weights, ...] = ("gaussian", "even")
Place: TypeAlias = tuple[int, int, int, int]  # top, bottom, left, right in cells

_VARIANCE = 0.01  # of the Gaussian, in windows squared: Mixture of Diffusers' own


@dataclass(frozen=True)
class Guide:
    """A small picture that the large one is to resemble from afar.

    latent    [1 or B, C, h, w] in the model's own space, of the model's usual size
    strength  0..1, how far the large picture's own small copy is pulled to it in each step
    until     0..1, the share of the run after which it is let go
    """

    latent: torch.Tensor
    strength: float = 0.9
    until: float = 1.0


@dataclass(frozen=True)
class Windows:
    """How a latent is cut. Cells.

    size     edge of a window, a multiple of what the network's own cutting asks for (2 cells for transformers)
    overlap  how far neighbours share at least
    """

    size: int
    overlap: int
    weights: Weights = "gaussian"
    guide: Guide | None = None

    def places(self, height: int, width: int) -> tuple[Place, ...]:
        return tuple(
            (top, min(top + self.size, height), left, min(left + self.size, width))
            for top in starts(height, self.size, self.overlap)
            for left in starts(width, self.size, self.overlap)
        )


def starts(length: int, size: int, overlap: int) -> tuple[int, ...]:
    """Where windows begin, evenly and at even cells, so that neighbours share at least `overlap`."""
    if length <= size:
        return (0,)
    return tuple(places(length - size, max(size - overlap, 2), 2))


class WindowedFamily:
    """A family whose runs go window by window; everything else is the family's own."""

    def __init__(
        self, family: Any, windows: Windows, check: Callable[[], object],
        tell: Callable[[int, int], object] = lambda done, total: None,
    ) -> None:  # fmt: skip
        self._family, self._windows, self._check, self._tell = family, windows, check, tell

    def __getattr__(self, name: str) -> Any:
        return getattr(self._family, name)

    @property
    def window(self) -> int:
        """The edge of a window in pixels, by which its memory is planned."""
        return self._windows.size * int(self._family.latent_space.factor)

    @property
    def overlap(self) -> int:
        """What windows share at least, in pixels."""
        return self._windows.overlap * int(self._family.latent_space.factor)

    def for_picture(self, place: int, count: int) -> WindowedFamily:
        """The family for one picture of a batch of `count`: a guide may hold one for each."""
        guide = self._windows.guide
        if guide is None or guide.latent.shape[0] != count:
            return self
        own = replace(self._windows, guide=replace(guide, latent=guide.latent[place : place + 1]))
        return WindowedFamily(self._family, own, self._check, self._tell)

    def bind(self, request: BindRequest) -> Bound:
        """See Family.bind. A guide also steers where one window holds everything."""
        return _BoundWindows(self._family, request, self._windows, self._check, self._tell)


class _BoundWindows:
    def __init__(
        self, family: Any, request: BindRequest, windows: Windows, check: Callable[[], object],
        tell: Callable[[int, int], object],
    ) -> None:  # fmt: skip
        self._family, self._request, self._windows, self._check, self._tell = family, request, windows, check, tell
        self._noise: Space = request.noise or family.noise_space
        height, width = request.shape[-2:]
        self._places = windows.places(height, width)
        # Windows with nothing of their own share one binding; others are bound as they come, so none are kept.
        alike = {(bottom - top, right - left) for top, bottom, left, right in self._places}
        self._same: Bound | None = (
            family.bind(self._of(self._places[0])) if _alike(request) and len(alike) == 1 else None
        )
        self._weights = _weights(windows, self._places[0])

    def predict(self, x: torch.Tensor, timestep: torch.Tensor, fraction: float) -> torch.Tensor:
        total = torch.zeros(x.shape)
        weight = torch.zeros(1, 1, *x.shape[-2:])
        for done, place in enumerate(self._places):
            self._check()
            self._tell(done, len(self._places))
            top, bottom, left, right = place
            bound = self._same or self._family.bind(self._of(place))
            said = bound.predict(x[..., top:bottom, left:right].contiguous(), timestep, fraction)
            total[..., top:bottom, left:right] += said.float().cpu() * self._weights
            weight[..., top:bottom, left:right] += self._weights
        out = (total / weight).to(x.device)
        guide = self._windows.guide
        return out if guide is None else self._guided(guide, out, x, timestep, fraction)

    def _guided(
        self, guide: Guide, output: torch.Tensor, x: torch.Tensor, timestep: torch.Tensor, fraction: float
    ) -> torch.Tensor:
        """The output whose x₀, looked at from afar, is nearer to the guide."""
        pull = guide.strength if fraction < guide.until else 0.0
        if pull <= 0:
            return output
        prediction = self._noise.prediction
        sigma = torch.tensor(self._noise.sigma_at(float(timestep)), dtype=torch.float32)
        latent = x if prediction == "flow" else x * (sigma**2 + 1) ** 0.5
        clean = to_clean(output, latent, sigma, prediction)
        afar = (guide.latent.shape[-2], guide.latent.shape[-1])
        wanted = guide.latent.to(clean)
        lacking = wanted - F.adaptive_avg_pool2d(clean, afar)
        if min(afar) >= 4 and afar != clean.shape[-2:]:
            # The outermost cells of a latent say also that the picture ends there. Here they stand for a broad strip,
            # which would turn dark: it follows the cells beside them.
            lacking = F.pad(lacking[..., 1:-1, 1:-1], (1, 1, 1, 1), mode="replicate")
        lacking = F.interpolate(lacking, size=clean.shape[-2:], mode="bicubic", align_corners=False)
        return from_clean(clean + pull * lacking, latent, sigma, prediction)

    def _of(self, place: Place) -> BindRequest:
        return cropped(self._request, place)


def _weights(windows: Windows, place: Place) -> torch.Tensor:
    top, bottom, left, right = place
    if windows.weights == "even":
        return torch.ones(bottom - top, right - left)
    down, along = (_gaussian(length) for length in (bottom - top, right - left))
    return down[:, None] * along[None, :]


def _gaussian(length: int) -> torch.Tensor:
    away = (torch.arange(length) - (length - 1) / 2) / length
    return torch.exp(-(away**2) / (2 * _VARIANCE))


def _alike(request: BindRequest) -> bool:
    sides = [side for side in (request.positive, request.negative, request.middle) if side]
    placed = set(_CUT)
    return (
        request.inpaint is None
        and request.inpaint_mask is None
        and all(is_plain(side) and not placed & {name for name, _ in side[0].extras} for side in sides)
    )


def cropped(request: BindRequest, place: Place) -> BindRequest:
    """What a run is bound to, of one window: prompts that hold there, and masks, controls and pictures cut to it."""
    height, width = request.shape[-2:]
    top, bottom, left, right = place

    def tensor(whole: torch.Tensor) -> torch.Tensor:
        """A map of the picture at any scale."""
        rows, columns = whole.shape[-2:]
        return whole[..., _at(top, rows, height) : _at(bottom, rows, height),
                     _at(left, columns, width) : _at(right, columns, width)]  # fmt: skip

    def side(entries: Sequence[ConditioningEntry]) -> tuple[ConditioningEntry, ...]:
        here = tuple(found for entry in entries if (found := _entry(entry, place, (height, width))) is not None)
        return here or tuple(replace(entry, area=None, mask=None) for entry in entries[:1])

    return replace(
        request, positive=side(request.positive), negative=side(request.negative), middle=side(request.middle),
        shape=(*request.shape[:2], bottom - top, right - left),
        inpaint=None if request.inpaint is None else (tensor(request.inpaint[0]), tensor(request.inpaint[1])),
        inpaint_mask=None if request.inpaint_mask is None else tensor(request.inpaint_mask),
    )  # fmt: skip


def _at(cell: int, length: int, cells: int) -> int:
    return round(cell * length / cells)


def _entry(entry: ConditioningEntry, place: Place, whole: tuple[int, int]) -> ConditioningEntry | None:
    """A prompt as it holds in a window, or None where it does not."""
    top, bottom, left, right = place
    height, width = whole
    area, mask = entry.area, entry.mask
    if area is not None:
        x, y, w, h = area if entry.area_in_cells else (area[0] * width, area[1] * height, area[2] * width,
                                                       area[3] * height)  # fmt: skip
        low, high, first, last = max(y, top), min(y + h, bottom), max(x, left), min(x + w, right)
        if high <= low or last <= first:
            return None
        area = (first - left, low - top, last - first, high - low)
    if mask is not None:
        mask = _cut(mask, place, whole)
        if not mask.any():
            return None
    extras = tuple((name, _CUT[name](value, place, whole) if name in _CUT else value) for name, value in entry.extras)
    return replace(entry, area=area, area_in_cells=area is not None, mask=mask, extras=extras)


def _controls(controls: Sequence[Control], place: Place, whole: tuple[int, int]) -> tuple[Control, ...]:
    return tuple(_control(control, place, whole) for control in controls)


def _entities(regions: Regions, place: Place, whole: tuple[int, int]) -> Regions:
    """The entities that stand in the window, each where it is there."""
    here = [(words, _cut(mask, place, whole)) for words, mask in regions]
    return tuple((words, mask) for words, mask in here if (mask > 0).any())


# What of a prompt's extras stands for the whole picture. Reference pictures are seen whole by every window.
_CUT: Mapping[str, Callable[[Any, Place, tuple[int, int]], Any]] = {"controls": _controls, "regions": _entities}


def _control(control: Control, place: Place, whole: tuple[int, int]) -> Control:
    image = _cut(control.image.transpose(0, 3, 1, 2), place, whole).transpose(0, 2, 3, 1)
    latent = control.latent
    if latent is not None:
        (top, bottom, left, right), (rows, columns) = place, latent.shape[-2:]
        latent = latent[..., _at(top, rows, whole[0]) : _at(bottom, rows, whole[0]),
                        _at(left, columns, whole[1]) : _at(right, columns, whole[1])]  # fmt: skip
    mask = None if control.mask is None else _cut(control.mask, place, whole)
    return replace(control, image=np.ascontiguousarray(image), mask=mask, latent=latent)


def _cut(picture: Any, place: Place, whole: tuple[int, int]) -> Any:
    """A window of an array [..., H, W] that stands for the whole picture."""
    (top, bottom, left, right), (rows, columns) = place, picture.shape[-2:]
    low, first = _at(top, rows, whole[0]), _at(left, columns, whole[1])
    high, last = _at(bottom, rows, whole[0]), _at(right, columns, whole[1])
    return np.ascontiguousarray(picture[..., low : max(high, low + 1), first : max(last, first + 1)])
