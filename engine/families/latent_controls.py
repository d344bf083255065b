"""ControlNets that read latents (Qwen-Image, Z-Image) and the reference pictures of editing models, bound to a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F  # noqa: N812 - the field's own name for it

from engine.contracts.errors import InvalidRequest, MissingModel
from engine.contracts.references import ModelRef
from engine.families.protocol import BindRequest
from engine.graph.values import ConditioningEntry, Control


def references_of(entry: ConditioningEntry, channels: int, title: str) -> tuple[torch.Tensor, ...]:
    """The pictures a prompt refers to, as latents [1, C, h, w]. Raises InvalidRequest for those of another family."""
    found: list[torch.Tensor] = []
    for latent in dict(entry.extras).get("references", ()):
        if latent.ndim != 4 or latent.shape[1] != channels:
            raise InvalidRequest(
                f"a reference picture was encoded with {latent.shape[1]} channels and {title} reads {channels}",
                where="conditioning", fix="Encode it with the VAE of this model",
            )  # fmt: skip
        found.extend(latent[index : index + 1] for index in range(latent.shape[0]))
    return tuple(found)


@dataclass(frozen=True, eq=False)
class LatentControl:
    """A ControlNet whose picture was encoded as a latent [1 or B, C, h, w].

    mask  [1, 1, h, w] in 0..1 where it acts; None: everywhere
    """

    network: Any
    latent: torch.Tensor
    strength: float
    steps: tuple[float, float]
    mask: torch.Tensor | None

    def holds(self, fraction: float) -> bool:
        return self.steps[0] <= fraction < self.steps[1] or fraction == self.steps[1] == 1.0


Controls: TypeAlias = Mapping[int, tuple[LatentControl, ...]]
# Raises InvalidRequest for a module, told with its name, that is not made for the family.
Check: TypeAlias = Callable[[Any, str], None]


def latent_controls(
    request: BindRequest,
    factor: int,
    encode: Callable[[torch.Tensor], torch.Tensor],
    check: Check,
    others: Callable[[ModelRef], Any],
) -> Controls:
    """By identity of the prompt entry: the ControlNets that steer it.

    factor  pixels for each latent cell
    encode  float32 [B, 3, H, W] in −1..1 → a latent
    """
    made: dict[int, LatentControl] = {}
    found: dict[int, tuple[LatentControl, ...]] = {}
    shared = [control for entry in request.positive[:1] for control in _controls(entry) if control.both]
    sides: Sequence[tuple[tuple[ConditioningEntry, ...], list[Control]]] = (
        (request.positive, []), (request.negative, shared), (request.middle, shared),
    )  # fmt: skip
    for entry, given in ((entry, given) for side, given in sides for entry in side):
        listed = _controls(entry) or given
        for control in listed:
            if id(control) not in made:
                check(others(control.handle.weights), control.handle.weights.name)
                made[id(control)] = _bound(control, request, factor, encode, others)
        found[id(entry)] = tuple(made[id(control)] for control in listed)
    return found


def _controls(entry: ConditioningEntry) -> list[Control]:
    # Strength 0, or no place to act, is no control at all: the picture is the uncontrolled one, bit for bit.
    listed = dict(entry.extras).get("controls", ())
    return [c for c in listed if c.strength and (c.mask is None or bool(c.mask.any()))]


def _bound(
    control: Control,
    request: BindRequest,
    factor: int,
    encode: Callable[[torch.Tensor], torch.Tensor],
    others: Callable[[ModelRef], Any],
) -> LatentControl:
    batch, _, height, width = request.shape
    hint = torch.tensor(control.image[..., :3], dtype=torch.float32).permute(0, 3, 1, 2)
    size = (height * factor, width * factor)
    if hint.shape[-2:] != size:
        hint = F.interpolate(hint, size=size, mode="bilinear", antialias=True, align_corners=False)
    if hint.shape[0] not in (1, batch):
        raise InvalidRequest(
            f"there are {hint.shape[0]} control pictures for {batch} to make", where="control",
            fix="Give one, or one for each",
        )  # fmt: skip
    mask = None
    if control.mask is not None:
        whole = torch.tensor(control.mask, dtype=torch.float32)[None, None]
        mask = F.interpolate(whole, size=(height, width), mode="area")
    network = others(control.handle.weights)
    latent = latent_of(control, hint * 2 - 1, (height, width), encode)
    return LatentControl(network, latent, control.strength, control.steps, mask)


def latent_of(
    control: Control, pixels: torch.Tensor, size: tuple[int, int], encode: Callable[[torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    """The picture of a control as a latent of `size` cells: as its node encoded it, or by the model's own autoencoder.

    pixels  the picture at the size of the run, float32 [B, 3, H, W] in −1..1
    Raises MissingModel when there is neither.
    """
    given = control.latent
    if given is not None and given.shape[-2:] == size:
        return given
    try:
        return encode(pixels)
    except MissingModel as missing:
        if given is not None:  # the picture has another size than the run
            return F.interpolate(given, size=size, mode="bilinear", antialias=True, align_corners=False)
        raise MissingModel(
            "this ControlNet reads an encoded picture, and the model came without its VAE", where="control",
            fix="Connect the VAE to “Control both sides”",
        ) from missing  # fmt: skip
