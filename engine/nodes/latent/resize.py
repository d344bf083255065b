"""Latents made larger or smaller, cut, turned and mirrored."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

from engine.contracts.errors import InvalidRequest
from engine.graph.node import In, NodeContext, node
from engine.graph.values import Latent, LatentValue, ShapeInfo
from engine.nodes.latent.empty import CELL

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

METHODS = ("nearest-exact", "bilinear", "area", "bicubic", "bislerp")
Method = Annotated[str, In(choices=METHODS)]
Pixels = Annotated[int, In(minimum=0, maximum=16384, step=8)]


def _to_size(latent: ShapeInfo | None, width: int | None, height: int | None, **_: object) -> ShapeInfo | None:
    if latent is None or width is None or height is None or not (width or height):
        return latent if width == height == 0 else None
    rows, columns = latent.height // CELL, latent.width // CELL
    new_columns = width // CELL if width else max(1, round(columns * (height // CELL) / rows))
    new_rows = height // CELL if height else max(1, round(rows * (width // CELL) / columns))
    return replace(latent, width=max(1, new_columns) * CELL, height=max(1, new_rows) * CELL)


def _by_factor(latent: ShapeInfo | None, factor: float | None, **_: object) -> ShapeInfo | None:
    if latent is None or factor is None:
        return None
    width, height = (max(1, round(edge // CELL * factor)) * CELL for edge in (latent.width, latent.height))
    return replace(latent, width=width, height=height)


def same_size(latent: ShapeInfo | None, **_: object) -> ShapeInfo | None:
    """For nodes that leave the size as it is."""
    return latent


@node("latent.scale", category="Latent", outputs=("latent",), title="Scale latent", search=("LatentUpscale", "hires"),
      shapes=_to_size)  # fmt: skip
def scale(
    ctx: NodeContext,
    latent: Latent,
    method: Method = "nearest-exact",
    width: Pixels = 512,
    height: Pixels = 512,
    crop: Annotated[str, In(choices=("disabled", "center"))] = "disabled",
) -> Latent:
    """Scale a latent to a size in pixels; 0 follows the other edge.

    latent: the latent
    method: how values between cells are found; bislerp keeps their strength
    width: pixels of the picture it will decode to
    height: pixels
    crop: whether the sides are cut so that nothing is stretched
    """
    _, _, rows, columns = latent.samples.shape
    if not width and not height:
        return latent
    new_columns = width // CELL if width else max(1, round(columns * (height // CELL) / rows))
    new_rows = height // CELL if height else max(1, round(rows * (width // CELL) / columns))
    source = latent
    if crop == "center":
        source = _cropped_to_shape(latent, new_rows, new_columns)
    return scaled(source, max(1, new_rows), max(1, new_columns), method)


@node("latent.scale_by", category="Latent", outputs=("latent",), title="Scale latent by", search=("LatentUpscaleBy",),
      shapes=_by_factor)  # fmt: skip
def scale_by(
    ctx: NodeContext,
    latent: Latent,
    method: Method = "nearest-exact",
    factor: Annotated[float, In(minimum=0.01, maximum=8.0, step=0.01)] = 1.5,
) -> Latent:
    """Scale a latent by a factor.

    latent: the latent
    method: how values between cells are found
    factor: 2 doubles both edges
    """
    rows, columns = latent.samples.shape[-2:]
    return scaled(latent, max(1, round(rows * factor)), max(1, round(columns * factor)), method)


@node("latent.crop", category="Latent", outputs=("latent",), title="Crop latent", search=("LatentCrop",))
def crop(
    ctx: NodeContext, latent: Latent, width: Pixels = 512, height: Pixels = 512, x: Pixels = 0, y: Pixels = 0
) -> Latent:
    """Cut a rectangle out of a latent, in pixels of the picture.

    latent: the latent
    width: of the rectangle
    height: of the rectangle
    x: its left edge; moved inwards where it would reach outside
    y: its upper edge
    """
    rows, columns = latent.samples.shape[-2:]
    new_rows, new_columns = min(max(1, height // CELL), rows), min(max(1, width // CELL), columns)
    top, left = min(y // CELL, rows - new_rows), min(x // CELL, columns - new_columns)
    return changed(latent, lambda t: t[..., top : top + new_rows, left : left + new_columns].clone())


@node("latent.flip", category="Latent", outputs=("latent",), title="Mirror latent", search=("LatentFlip",),
      shapes=same_size)  # fmt: skip
def flip(
    ctx: NodeContext,
    latent: Latent,
    axis: Annotated[str, In(choices=("x-axis: vertically", "y-axis: horizontally"))] = "x-axis: vertically",
) -> Latent:
    """Mirror a latent.

    latent: the latent
    axis: top to bottom, or left to right
    """
    return changed(latent, lambda t: t.flip(-2 if axis.startswith("x") else -1))


@node("latent.rotate", category="Latent", outputs=("latent",), title="Rotate latent", search=("LatentRotate",))
def rotate(
    ctx: NodeContext,
    latent: Latent,
    rotation: Annotated[str, In(choices=("none", "90 degrees", "180 degrees", "270 degrees"))] = "none",
) -> Latent:
    """Turn a latent clockwise by quarters.

    latent: the latent
    rotation: how far
    """
    turns = {"none": 0, "90 degrees": 3, "180 degrees": 2, "270 degrees": 1}[rotation]
    return changed(latent, lambda t: t.rot90(turns, (-2, -1)))


def changed(latent: LatentValue, change: Callable[[torch.Tensor], torch.Tensor]) -> LatentValue:
    """`latent` with the same geometric change made to its samples and its mask."""
    if latent.inpaint is not None:
        raise InvalidRequest("a latent prepared for an inpainting model can't be reshaped", where="latent",
                             fix="Reshape the picture before it is encoded")  # fmt: skip
    mask = change(latent.noise_mask) if latent.noise_mask is not None else None
    return replace(latent, samples=change(latent.samples).contiguous(), noise_mask=mask)


def scaled(latent: LatentValue, rows: int, columns: int, method: str) -> LatentValue:
    return changed(latent, lambda t: resample(t, rows, columns, method))


def resample(tensor: torch.Tensor, rows: int, columns: int, method: str) -> torch.Tensor:
    """[B, C, h, w] → [B, C, rows, columns]."""
    import torch.nn.functional as F  # noqa: N812 - the field's own name for it

    if method == "bislerp":
        return bislerp(tensor, rows, columns)
    corners = False if method in ("bilinear", "bicubic") else None
    return F.interpolate(tensor, size=(rows, columns), mode=method, align_corners=corners)


def bislerp(tensor: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """Bilinear in position, spherical in channel space: direction and length of each cell's vector are blended apart.

    Plain interpolation of latents shortens the vectors, which decodes to grey; this keeps them long.
    """
    wide = _slerp_along(tensor, columns, -1)
    return _slerp_along(wide, rows, -2)


def _slerp_along(tensor: torch.Tensor, size: int, axis: int) -> torch.Tensor:
    import torch

    old = tensor.shape[axis]
    places = ((torch.arange(size, dtype=torch.float32) + 0.5) * old / size - 0.5).clamp(0, old - 1)
    low = places.floor().long()
    high = (low + 1).clamp(max=old - 1)
    shape = [1, 1, 1, 1]
    shape[axis] = size
    weight = (places - low).reshape(shape)
    a, b = tensor.index_select(axis, low), tensor.index_select(axis, high)
    length_a, length_b = a.norm(dim=1, keepdim=True), b.norm(dim=1, keepdim=True)
    unit_a = torch.where(length_a > 0, a / length_a.clamp(min=1e-12), torch.zeros_like(a))
    unit_b = torch.where(length_b > 0, b / length_b.clamp(min=1e-12), torch.zeros_like(b))
    dot = (unit_a * unit_b).sum(dim=1, keepdim=True).clamp(-1, 1)
    angle = dot.arccos()
    sine = angle.sin()
    near = sine < 1e-4  # same or opposite directions: the arc is no help
    safe = sine.clamp(min=1e-4)
    first = torch.where(near, 1 - weight, ((1 - weight) * angle).sin() / safe)
    second = torch.where(near, weight.expand_as(angle), (weight * angle).sin() / safe)
    blended: torch.Tensor = (first * unit_a + second * unit_b) * (length_a * (1 - weight) + length_b * weight)
    return blended


def _cropped_to_shape(latent: LatentValue, rows: int, columns: int) -> LatentValue:
    old_rows, old_columns = latent.samples.shape[-2:]
    if old_columns * rows > old_rows * columns:
        keep_rows, keep_columns = old_rows, max(1, round(old_rows * columns / rows))
    else:
        keep_rows, keep_columns = max(1, round(old_columns * rows / columns)), old_columns
    top, left = (old_rows - keep_rows) // 2, (old_columns - keep_columns) // 2
    return changed(latent, lambda t: t[..., top : top + keep_rows, left : left + keep_columns])
