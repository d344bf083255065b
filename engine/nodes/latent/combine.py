"""Latents put together: composited, blended, added, batched; and noise laid on them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

from engine.contracts.errors import InvalidRequest
from engine.graph.node import In, NodeContext, node
from engine.graph.values import Latent, LatentValue, Mask, ShapeInfo
from engine.nodes.latent.empty import CELL
from engine.nodes.latent.resize import Pixels, same_size, scaled

if TYPE_CHECKING:
    import torch

Index = Annotated[int, In(minimum=0, maximum=4095)]
Amount = Annotated[int, In(minimum=1, maximum=64)]


def _as_first(
    destination: ShapeInfo | None = None, source: ShapeInfo | None = None, a: ShapeInfo | None = None,
    b: ShapeInfo | None = None, **_: object,
) -> ShapeInfo | None:  # fmt: skip
    first, second = destination or a, source or b
    # A single latent is laid on each of a batch; of other mixtures the size is known when reached.
    return first if first is not None and second is not None and second.batch in (1, first.batch) else None


@node("latent.composite", category="Latent", outputs=("latent",), title="Composite latents", search=("paste",),
      shapes=_as_first)  # fmt: skip
def composite(
    ctx: NodeContext, destination: Latent, source: Latent, x: Pixels = 0, y: Pixels = 0, feather: Pixels = 0
) -> Latent:
    """Lay one latent on another, with soft edges where it does not reach the border.

    destination: what lies below
    source: what is laid on it
    x: where its left edge comes to lie, in pixels
    y: where its upper edge comes to lie
    feather: how far its edges fade, in pixels
    """
    top, left = y // CELL, x // CELL
    base, layer = pair(destination, source)
    rows, columns = _visible(base, layer, top, left)
    weight = _feathered(rows, columns, feather // CELL, base.shape[-2], base.shape[-1], top, left)
    return replace(destination, samples=_laid(base, layer, top, left, weight), space=_space(destination, source))


@node("latent.composite_masked", category="Latent", outputs=("latent",), title="Composite latents by mask",
      shapes=_as_first)  # fmt: skip
def composite_masked(
    ctx: NodeContext,
    destination: Latent,
    source: Latent,
    x: Pixels = 0,
    y: Pixels = 0,
    resize_source: bool = False,
    mask: Mask | None = None,
) -> Latent:
    """Lay one latent on another where a mask is white.

    destination: what lies below
    source: what is laid on it
    x: where its left edge comes to lie, in pixels
    y: where its upper edge comes to lie
    resize_source: whether the source is first scaled to the size of the destination
    mask: white where the source shows; nothing shows it everywhere
    """
    import numpy as np
    import torch
    import torch.nn.functional as F  # noqa: N812 - the field's own name for it

    if resize_source:
        rows, columns = destination.samples.shape[-2:]
        source = scaled(source, rows, columns, "bilinear")
    top, left = y // CELL, x // CELL
    base, layer = pair(destination, source)
    rows, columns = _visible(base, layer, top, left)
    weight = torch.ones(1, 1, rows, columns)
    if mask is not None:
        whole = torch.from_numpy(np.ascontiguousarray(mask, dtype=np.float32))[:, None]
        fitted = F.interpolate(whole, size=layer.shape[-2:], mode="bilinear", align_corners=False)
        weight = _repeated(fitted[..., :rows, :columns], base.shape[0])
    return replace(destination, samples=_laid(base, layer, top, left, weight), space=_space(destination, source))


@node("latent.blend", category="Latent", outputs=("latent",), title="Blend latents", search=("mix",),
      shapes=_as_first)  # fmt: skip
def blend(
    ctx: NodeContext, a: Latent, b: Latent, factor: Annotated[float, In(minimum=0.0, maximum=1.0, step=0.01)] = 0.5
) -> Latent:
    """Mix two latents.

    a: the first; the result has its size
    b: the second, scaled to it
    factor: 1 is all of the first, 0 all of the second
    """
    base, layer = _same_size(a, b)
    return replace(a, samples=base * factor + layer * (1 - factor), space=_space(a, b))


@node("latent.add", category="Latent", outputs=("latent",), title="Add latents",
      shapes=_as_first)  # fmt: skip
def add(ctx: NodeContext, a: Latent, b: Latent) -> Latent:
    """The sum of two latents.

    a: the first
    b: the second, scaled to the size of the first
    """
    base, layer = _same_size(a, b)
    return replace(a, samples=base + layer, space=_space(a, b))


@node("latent.subtract", category="Latent", outputs=("latent",), title="Subtract latents",
      shapes=_as_first)  # fmt: skip
def subtract(ctx: NodeContext, a: Latent, b: Latent) -> Latent:
    """The difference of two latents.

    a: what is subtracted from
    b: what is subtracted, scaled to the size of the first
    """
    base, layer = _same_size(a, b)
    return replace(a, samples=base - layer, space=_space(a, b))


@node("latent.multiply", category="Latent", outputs=("latent",), title="Multiply latent", search=("strength",),
      shapes=same_size)  # fmt: skip
def multiply(
    ctx: NodeContext, latent: Latent, multiplier: Annotated[float, In(minimum=-10.0, maximum=10.0, step=0.01)] = 1.0
) -> Latent:
    """Make a latent stronger or weaker.

    latent: the latent
    multiplier: what each value is multiplied by
    """
    return replace(latent, samples=latent.samples * multiplier)


@node("latent.interpolate", category="Latent", outputs=("latent",), title="Interpolate latents",
      shapes=_as_first)  # fmt: skip
def interpolate(
    ctx: NodeContext, a: Latent, b: Latent, ratio: Annotated[float, In(minimum=0.0, maximum=1.0, step=0.01)] = 1.0
) -> Latent:
    """Go from one latent to another, direction and strength apart, so that the middle is not faded.

    a: the latent at ratio 1
    b: the latent at ratio 0, scaled to the size of the first
    ratio: where between them
    """
    import torch

    base, layer = _same_size(a, b)
    length_a, length_b = base.norm(dim=1, keepdim=True), layer.norm(dim=1, keepdim=True)
    direction = torch.nan_to_num(base / length_a) * ratio + torch.nan_to_num(layer / length_b) * (1 - ratio)
    direction = torch.nan_to_num(direction / direction.norm(dim=1, keepdim=True))
    return replace(a, samples=direction * (length_a * ratio + length_b * (1 - ratio)), space=_space(a, b))


@node("latent.repeat", category="Latent", outputs=("latent",), title="Repeat latent", search=("RepeatLatentBatch",))
def repeat(ctx: NodeContext, latent: Latent, amount: Amount = 1) -> Latent:
    """Repeat a batch of latents; the copies draw noise of their own.

    latent: the batch
    amount: how many times it stands there
    """
    mask = latent.noise_mask
    if mask is not None and mask.shape[0] > 1:
        mask = mask.repeat(amount, 1, 1, 1)
    first = latent.indices or tuple(range(latent.samples.shape[0]))
    stride = max(first, default=0) - min(first, default=0) + 1
    indices = tuple(index + stride * copy for copy in range(amount) for index in first)
    return replace(latent, samples=latent.samples.repeat(amount, 1, 1, 1), noise_mask=mask, indices=indices)


@node("latent.batch", category="Latent", outputs=("latent",), title="Batch latents", search=("LatentBatch",))
def batch(ctx: NodeContext, a: Latent, b: Latent) -> Latent:
    """Put two batches of latents into one.

    a: the first
    b: the second, scaled to the size of the first
    """
    import torch

    rows, columns = a.samples.shape[-2:]
    second = b if b.samples.shape[-2:] == a.samples.shape[-2:] else scaled(b, rows, columns, "bilinear")
    count = a.samples.shape[0] + second.samples.shape[0]
    return LatentValue(torch.cat([a.samples, second.samples]), _space(a, b), indices=tuple(range(count)))


@node("latent.from_batch", category="Latent", outputs=("latent",), title="Latents from batch", search=("pick",))
def from_batch(ctx: NodeContext, latent: Latent, index: Index = 0, length: Amount = 1) -> Latent:
    """Take latents out of a batch; they draw the same noise as they would in it.

    latent: the batch
    index: the first to take, counted from 0
    length: how many
    """
    count = latent.samples.shape[0]
    if index >= count:
        raise InvalidRequest(f"the batch has {count} latents and number {index} is asked for", where="index",
                             fix=f"Use 0 to {count - 1}")  # fmt: skip
    chosen = slice(index, min(index + length, count))
    mask = latent.noise_mask
    mask = mask[chosen] if mask is not None and mask.shape[0] == count else mask
    indices = latent.indices or tuple(range(count))
    return replace(latent, samples=latent.samples[chosen].clone(), noise_mask=mask, indices=indices[chosen])


@node("latent.noise", category="Latent", outputs=("latent",), title="Add noise to latent", search=("inject noise",),
      shapes=same_size)  # fmt: skip
def noise(
    ctx: NodeContext,
    latent: Latent,
    seed: Annotated[int, In(minimum=0, maximum=2**64 - 1, seed=True)] = 0,
    strength: Annotated[float, In(minimum=0.0, maximum=20.0, step=0.01)] = 0.1,
) -> Latent:
    """Lay Gaussian noise on a latent, so that a low denoise finds more detail.

    latent: the latent
    seed: where the noise comes from; latent i of a batch has the seed plus i
    strength: its standard deviation
    """
    from engine.sampling.noise import draw, generators_for

    indices = latent.indices or tuple(range(latent.samples.shape[0]))
    return replace(latent, samples=latent.samples + strength * draw(generators_for(seed, indices), latent.samples))


def pair(a: LatentValue, b: LatentValue) -> tuple[torch.Tensor, torch.Tensor]:
    """The samples of both, `b` repeated to the batch of `a`. Raises InvalidRequest when their spaces differ."""
    _space(a, b)
    if a.samples.shape[1] != b.samples.shape[1]:
        raise InvalidRequest(
            f"the latents have {a.samples.shape[1]} and {b.samples.shape[1]} channels", where="latent",
            fix="Use latents of one model family",
        )  # fmt: skip
    return a.samples, _repeated(b.samples, a.samples.shape[0])


def _space(a: LatentValue, b: LatentValue) -> str:
    spaces = {a.space, b.space} - {"any"}
    if len(spaces) > 1:
        first, second = sorted(spaces)
        raise InvalidRequest(f"one latent belongs to “{first}” and the other to “{second}”", where="latent",
                             fix="Use latents of one model family")  # fmt: skip
    return next(iter(spaces), "any")


def _same_size(a: LatentValue, b: LatentValue) -> tuple[torch.Tensor, torch.Tensor]:
    rows, columns = a.samples.shape[-2:]
    return pair(a, b if b.samples.shape[-2:] == a.samples.shape[-2:] else scaled(b, rows, columns, "bicubic"))


def _repeated(tensor: torch.Tensor, count: int) -> torch.Tensor:
    if tensor.shape[0] == count:
        return tensor
    times = -(-count // tensor.shape[0])
    return tensor.repeat(times, 1, 1, 1)[:count]


def _visible(base: torch.Tensor, layer: torch.Tensor, top: int, left: int) -> tuple[int, int]:
    return max(0, min(layer.shape[-2], base.shape[-2] - top)), max(0, min(layer.shape[-1], base.shape[-1] - left))


def _laid(base: torch.Tensor, layer: torch.Tensor, top: int, left: int, weight: torch.Tensor) -> torch.Tensor:
    rows, columns = weight.shape[-2:]
    out = base.clone()
    below = base[..., top : top + rows, left : left + columns]
    out[..., top : top + rows, left : left + columns] = weight * layer[..., :rows, :columns] + (1 - weight) * below
    return out


def _feathered(rows: int, columns: int, feather: int, height: int, width: int, top: int, left: int) -> torch.Tensor:
    """[1, 1, rows, columns]: 1 inside, fading over `feather` cells at edges that do not lie on the border."""
    import torch

    weight = torch.ones(1, 1, rows, columns)
    ramp = (torch.arange(feather, dtype=torch.float32) + 1) / feather if feather else torch.ones(0)
    for i, value in enumerate(ramp):
        if i < rows and top > 0:
            weight[..., i, :] *= value
        if i < rows and top + rows < height:
            weight[..., rows - 1 - i, :] *= value
        if i < columns and left > 0:
            weight[..., :, i] *= value
        if i < columns and left + columns < width:
            weight[..., :, columns - 1 - i] *= value
    return weight
