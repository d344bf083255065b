"""Flux Redux: what a vision encoder sees, as words that Flux reads beside T5's (diffusers' ReduxImageEncoder)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F  # noqa: N812 - the field's own name for it

from engine.contracts.errors import InvalidRequest

KEYS = ("redux_up.weight", "redux_up.bias", "redux_down.weight", "redux_down.bias")


def redux_words(tensors: Mapping[str, torch.Tensor], hidden: torch.Tensor, name: str) -> torch.Tensor:
    """Words float32 [B, n, width] from the vision encoder's last layer [B, n, w], by the tensors of Redux' file.

    Raises InvalidRequest where `tensors`, of the file `name`, are no Redux or read another vision encoder.
    """
    if any(key not in tensors for key in KEYS):
        raise InvalidRequest(f"“{name}” is no style model", where="style_model", fix="Choose Flux Redux")
    up, up_bias, down, down_bias = (tensors[key].float() for key in KEYS)
    if up.shape[1] != hidden.shape[-1]:
        raise InvalidRequest(
            f"“{name}” reads pictures {up.shape[1]} wide and the vision encoder gives {hidden.shape[-1]}",
            where="vision", fix="Use the SigLIP encoder that comes with Flux Redux",
        )  # fmt: skip
    return F.linear(F.silu(F.linear(hidden.float(), up, up_bias)), down, down_bias)
