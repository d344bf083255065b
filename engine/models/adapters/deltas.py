"""What an adapter adds to one weight, in each form that trainers write.

All arithmetic is float32; the sum is rounded once, by whoever applies it. `change()` does not know the strength.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch

from engine.contracts.errors import InvalidRequest, clip


class Delta(Protocol):
    """The change of one weight at strength 1, float32, with as many numbers as the weight has."""

    def change(self) -> torch.Tensor: ...


@dataclass(frozen=True, eq=False)
class LowRank:
    """(α/r)·B·A (LoRA, 2106.09685; LoCon). down [r, in, …], up [out, r, …]; `mid` [r, r, …] in CP form."""

    down: torch.Tensor
    up: torch.Tensor
    scale: float
    mid: torch.Tensor | None = None

    def change(self) -> torch.Tensor:
        up, down = self.up.float().flatten(1), self.down.float()
        if self.mid is not None:
            kernel = torch.einsum("sr...,ri->si...", self.mid.float(), down.flatten(1))
            return (up @ kernel.flatten(1)).reshape(up.shape[0], *kernel.shape[1:]) * self.scale
        return (up @ down.flatten(1)).reshape(up.shape[0], *down.shape[1:]) * self.scale


@dataclass(frozen=True, eq=False)
class Hadamard:
    """(α/r)·(A₁B₁ ∘ A₂B₂) (LoHa, 2108.06098, 2309.14859); `t1`, `t2` [r, r, …] are the cores of its convolutions."""

    a1: torch.Tensor
    b1: torch.Tensor
    a2: torch.Tensor
    b2: torch.Tensor
    scale: float
    t1: torch.Tensor | None = None
    t2: torch.Tensor | None = None

    def change(self) -> torch.Tensor:
        first = _rebuilt(self.t1, self.a1, self.b1)
        return first * _rebuilt(self.t2, self.a2, self.b2) * self.scale


@dataclass(frozen=True, eq=False)
class Kronecker:
    """(α/r)·(W₁ ⊗ W₂) (LoKr, 2309.14859), the factors already whole."""

    first: torch.Tensor
    second: torch.Tensor
    scale: float

    def change(self) -> torch.Tensor:
        first, second = self.first.float(), self.second.float()
        first = first.reshape(*first.shape, *[1] * (second.ndim - first.ndim))
        whole: torch.Tensor = torch.kron(first, second) * self.scale
        return whole


@dataclass(frozen=True, eq=False)
class Whole:
    """The difference itself, as extracted fine-tunes keep it."""

    difference: torch.Tensor

    def change(self) -> torch.Tensor:
        return self.difference.float()


@dataclass(frozen=True, eq=False)
class Magnitude:
    """DoRA (2402.09353): the change turns the weight's rows (or columns), `magnitude` says how long they are.

    magnitude [out, 1, …] for rows, [1, in, …] for columns (LyCORIS before wd_on_out)
    """

    direction: Delta
    magnitude: torch.Tensor

    def applied(self, weight: torch.Tensor) -> torch.Tensor:
        """m·(W + ΔW)/‖W + ΔW‖ for a float32 weight, with `direction` at strength 1."""
        turned = weight + self.direction.change().to(weight.device).reshape(weight.shape)
        magnitude = self.magnitude.float().to(weight.device)
        if magnitude.numel() == weight.shape[0]:
            norms = turned.flatten(1).norm(dim=1)
            shape = (-1, *[1] * (weight.ndim - 1))
        elif magnitude.numel() == weight.shape[1]:
            norms = turned.transpose(0, 1).flatten(1).norm(dim=1)
            shape = (1, -1, *[1] * (weight.ndim - 2))
        else:
            raise InvalidRequest(f"its magnitudes are {magnitude.numel()}, for a weight of {tuple(weight.shape)}")
        lengths: torch.Tensor = magnitude.flatten() / norms.clamp(min=torch.finfo(torch.float32).eps)
        return turned * lengths.reshape(shape)

    def change(self) -> torch.Tensor:
        return self.direction.change()


def _rebuilt(core: torch.Tensor | None, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """A·B, or with a core its Tucker product: LyCORIS' rebuild_tucker, whose A is [r, out]."""
    if core is None:
        return a.float() @ b.float()
    product: torch.Tensor = torch.einsum("ij...,jr,ip->pr...", core.float(), b.float(), a.float())
    return product


def delta_of(roles: Mapping[str, torch.Tensor], layer: str) -> Delta:
    """The change that the tensors of one layer, by their role, stand for. Raises InvalidRequest."""
    made = _plain(roles, layer)
    magnitude = roles.get("dora_scale", roles.get("lora_magnitude_vector"))
    return made if magnitude is None else Magnitude(made, magnitude)


def _plain(roles: Mapping[str, torch.Tensor], layer: str) -> Delta:
    def first(*names: str) -> torch.Tensor | None:
        return next((roles[name] for name in names if name in roles), None)

    alpha = float(roles["alpha"]) if "alpha" in roles else None

    def scale(rank: int) -> float:
        return 1.0 if alpha is None else alpha / rank

    down, up = first("lora_down", "lora_A", "lora.down"), first("lora_up", "lora_B", "lora.up")
    if down is not None and up is not None:
        return LowRank(down, up, scale(down.shape[0]), roles.get("lora_mid"))
    if {"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"} <= roles.keys():
        rank = roles["hada_w1_b"].shape[0]
        return Hadamard(
            roles["hada_w1_a"], roles["hada_w1_b"], roles["hada_w2_a"], roles["hada_w2_b"], scale(rank),
            roles.get("hada_t1"), roles.get("hada_t2"),
        )  # fmt: skip
    if any(name.startswith("lokr_") for name in roles):
        return _kronecker(roles, scale, layer)
    if "diff" in roles:
        return Whole(roles["diff"])
    other = next((words for role, words in _OTHERS.items() if role in roles), "")
    if other:
        raise InvalidRequest(f"its layer “{clip(layer)}” is {other}, which is not read", fix="Use another kind of LoRA")
    raise InvalidRequest(f"its layer “{clip(layer)}” is not whole", fix="Get the file again")


_OTHERS = {"oft_blocks": "an OFT", "oft_diag": "an OFT", "a1": "a GLoRA", "b1": "a GLoRA"}


def _kronecker(roles: Mapping[str, torch.Tensor], scale: Callable[[int], float], layer: str) -> Kronecker:
    rank = 0
    factors = []
    for number in ("1", "2"):
        whole = roles.get(f"lokr_w{number}")
        if whole is not None:
            factors.append(whole)
            continue
        a, b = roles.get(f"lokr_w{number}_a"), roles.get(f"lokr_w{number}_b")
        if a is None or b is None:
            raise InvalidRequest(f"its layer “{clip(layer)}” is not whole", fix="Get the file again")
        rank = b.shape[0]
        factors.append(_rebuilt(roles.get(f"lokr_t{number}"), a, b))
    # Two whole factors have no rank, and their α says nothing (LyCORIS).
    return Kronecker(factors[0], factors[1], scale(rank) if rank else 1.0)
