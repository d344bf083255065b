"""The channels that stand behind the latent's in a UNet with more than 4: what is in them, and what is refused.

9   in-painting: the mask and the masked picture's latent, the same for every prompt
8   Instruct-Pix2Pix (2211.09800): the latent of the picture to change, unscaled; a prompt without one has zeros
5   Stable Diffusion 2 depth: the depth of each cell in −1..1
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch

from engine.contracts.errors import InvalidRequest
from engine.families.protocol import Autoencoder, BindRequest
from engine.graph.values import ConditioningEntry

CHANNELS = "channels"  # the extra of a prompt that holds a second picture or a depth, [1 or B, n, h, w]
# What a prompt's channels are, float32 [B, n, h, w].
Channels: TypeAlias = Callable[[ConditioningEntry], torch.Tensor]


def channels_of(
    unet: Any, request: BindRequest, autoencoder: Autoencoder, scaling: float, title: str
) -> Channels | None:  # fmt: skip
    """What each prompt of a run adds to the latent's channels; None for a UNet that reads the latent alone.

    `scaling` is the autoencoder's. Raises InvalidRequest when the model can't take what is given, or lacks it.
    """
    extra = int(unet.config.in_channels) - request.shape[1]
    own = request.shape[1]
    second = [dict(entry.extras).get(CHANNELS) for entry in (*request.positive, *request.negative, *request.middle)]
    if extra not in (1, own) and any(latent is not None for latent in second):
        raise InvalidRequest(
            f"{title} has no channels for a second picture", where="conditioning",
            fix="Load a depth model, or one that edits by instruction, or leave the picture out",
        )  # fmt: skip
    if extra != own + 1 and request.inpaint is not None:
        raise InvalidRequest(
            f"{title} is not an in-painting model: it has no channels for a masked picture", where="latent",
            fix="Use “Set noise mask” with it, or load a 9-channel in-painting model",
        )  # fmt: skip
    if extra == 0:
        return None
    if extra == own + 1:
        whole = _masked(request, autoencoder)
        return lambda entry: whole
    if second[0] is None:
        node = "Condition a depth model" if extra == 1 else "Condition a model that edits by instruction"
        raise InvalidRequest(
            f"{title} follows a picture, and was given none", where="conditioning", fix=f"Give it one with “{node}”"
        )
    divisor = 1.0 if extra == 1 else scaling

    def of(entry: ConditioningEntry) -> torch.Tensor:
        latent = dict(entry.extras).get(CHANNELS)
        if latent is None:
            return torch.zeros(request.shape[0], extra, *request.shape[2:])
        if tuple(latent.shape[1:]) != (extra, *request.shape[2:]) or latent.shape[0] not in (1, request.shape[0]):
            raise InvalidRequest(
                "the picture to follow has another size than the one to make", where="conditioning",
                fix="Scale it to the size of the latent",
            )  # fmt: skip
        unscaled: torch.Tensor = latent.float() / divisor
        return unscaled.expand(request.shape[0], -1, -1, -1)

    return of


def _masked(request: BindRequest, autoencoder: Autoencoder) -> torch.Tensor:
    """The mask and the latent of the picture around it."""
    batch, _, rows, columns = request.shape
    if request.inpaint is None:  # asked for a whole new picture: everything is masked, the kept picture is grey
        factor = autoencoder.latent_space.factor
        grey = autoencoder.encode(torch.zeros(1, 3, rows * factor, columns * factor))
        pieces: tuple[torch.Tensor, ...] = (torch.ones(1, 1, rows, columns), grey)
    else:
        pieces = request.inpaint
    return torch.cat([p.float().expand(batch, -1, -1, -1) if p.shape[0] == 1 else p.float() for p in pieces], dim=1)
