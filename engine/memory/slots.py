"""Where a network keeps its tensors, and groups of them that come to the card and go again.

A tensor is never written: for a call the slot holds the copy on the card, and afterwards its master again. Whatever a
slot holds when the call begins is the master of that call, so weights that an adapter merged (engine.families.patched
puts them there for the call) are brought like the model's own.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, cast

import torch
import torch.nn.functional as F  # noqa: N812 - the field's own name for it

from engine.graph import interruption
from engine.memory.device import Card
from engine.memory.quantise import Quantised, can_quantise, quantise


@dataclass(frozen=True, eq=False)
class Slot:
    """One tensor of a layer. `lifted` is the layer's other self where its weight is kept in fewer bits."""

    table: MutableMapping[str, Any]
    name: str
    lifted: Lifted | None = None

    @property
    def tensor(self) -> torch.Tensor:
        held: torch.Tensor = self.table[self.name]
        return held

    def give(self, held: torch.Tensor | Quantised) -> None:
        """Put what is on the card in place."""
        if isinstance(held, Quantised):
            assert self.lifted is not None
            self.lifted.held = held
        else:
            self.table[self.name] = held

    def back(self, master: torch.Tensor) -> None:
        self.table[self.name] = master
        if self.lifted is not None:
            self.lifted.held = None


class Lifted:
    """A linear layer whose weight, while `held` is set, is made whole for each call.

    The layer is of another class meanwhile, not given another forward: compiled blocks share their code by the classes
    of their layers, and would be compiled one by one for forwards of their own.
    """

    def __init__(self, layer: torch.nn.Linear) -> None:
        self._layer = weakref.ref(layer)
        self.kind = cast(Any, type(layer))
        self.before = vars(layer).pop("forward", None)
        layer.__class__ = _lessened(self.kind)
        vars(layer).update({_HELD: None, _LIFTED: self})

    @property
    def held(self) -> Quantised | None:
        layer = self._layer()
        found: Quantised | None = None if layer is None else vars(layer)[_HELD]
        return found

    @held.setter
    def held(self, held: Quantised | None) -> None:
        layer = self._layer()
        if layer is not None and _HELD in vars(layer):
            vars(layer)[_HELD] = held

    def undo(self) -> None:
        """Make the layer what it was."""
        layer = self._layer()
        if layer is not None:
            layer.__class__ = self.kind
            for name in (_HELD, _LIFTED):
                vars(layer).pop(name, None)
            restore(layer, self.before)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        copied = Lifted.__new__(Lifted)
        copied._layer, copied.kind, copied.before = weakref.ref(memo[id(self._layer())]), self.kind, None
        return copied


_HELD, _LIFTED = "_weight_in_fewer_bits", "_lifted"


@cache
def _lessened(kind: Any) -> Any:
    """A class of linear layers that reads a weight in fewer bits where it is given one."""

    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        if not torch.compiler.is_compiling():
            interruption.check()
        held: Quantised | None = self._weight_in_fewer_bits
        if held is None:
            plain: torch.Tensor = kind.forward(self, x)
            return plain
        return F.linear(x, held.whole(x.dtype), self.bias)

    return type(kind.__name__, (kind,), {"forward": forward, "__module__": kind.__module__})


class _Factors(MutableMapping[str, Any]):
    """The factor that stands beside a weight kept in float8 (engine.models.fp8), as a table with one entry."""

    def __init__(self, forward: Any) -> None:
        self._forward = forward

    def __getitem__(self, key: str) -> Any:
        return self._forward.factor

    def __setitem__(self, key: str, value: Any) -> None:
        self._forward.factor = value

    def __delitem__(self, key: str) -> None:
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return iter(("factor",))

    def __len__(self) -> int:
        return 1


def slots_of(module: torch.nn.Module, bits: int = 16, without: frozenset[int] = frozenset()) -> list[Slot]:
    """Every tensor of a network, those of the modules whose ids are in `without` and of what is in them left out.

    With fewer than 16 bits the linear layers get another class (`unlift` takes it away).
    """
    found: list[Slot] = []
    waiting = [module]
    while waiting:
        layer = waiting.pop()
        if id(layer) in without:
            continue
        waiting.extend(child for child in layer.children())
        for name, parameter in layer._parameters.items():
            if parameter is None:
                continue
            lifted = None
            if bits < 16 and can_quantise(layer, name, parameter):
                lifted = vars(layer).get(_LIFTED) or Lifted(layer)  # type: ignore[arg-type]  # can_quantise has looked
            found.append(Slot(layer._parameters, name, lifted))
        found.extend(Slot(layer._buffers, name) for name, buffer in layer._buffers.items() if buffer is not None)
        forward = vars(layer).get("forward")
        if getattr(forward, "factor", None) is not None:
            found.append(Slot(_Factors(forward), "factor"))
    return found


def unlift(module: torch.nn.Module) -> None:
    """Make the linear layers what they were."""
    for layer in module.modules():
        lifted: Lifted | None = vars(layer).get(_LIFTED)
        if lifted is not None:
            lifted.undo()


def restore(layer: torch.nn.Module, before: Any) -> None:
    """Put back the forward that a layer had of its own, or its class's."""
    if before is None:
        vars(layer).pop("forward", None)
    else:
        layer.forward = before


@dataclass(eq=False)
class Resident:
    """Tensors that stay on the card between calls. A slot whose master changed is brought anew, the old one dropped."""

    card: Card
    slots: list[Slot]
    bits: int = 16
    _kept: dict[int, tuple[torch.Tensor, torch.Tensor | Quantised]] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        return sum({id(held): held.nbytes for _, held in self._kept.values()}.values())

    def enter(self) -> list[tuple[Slot, torch.Tensor]]:
        """Put the copies in place; the masters to give to `leave`. Undone by itself when it fails."""
        masters: list[tuple[Slot, torch.Tensor]] = []
        seen: dict[tuple[int, bool], torch.Tensor | Quantised] = {}  # a tensor in two slots is brought once
        try:
            for place, slot in enumerate(self.slots):
                master = slot.tensor
                key = id(master), slot.lifted is None
                kept = self._kept.get(place)
                if kept is None or kept[0] is not master:
                    kept = None
                    self._kept.pop(place, None)
                    held = seen.get(key)
                    if held is None:
                        held = self._brought(master, slot)
                    kept = self._kept[place] = (master, held)
                seen[key] = kept[1]
                slot.give(kept[1])
                masters.append((slot, master))
        except BaseException:
            leave(masters)
            raise
        return masters

    def _brought(self, master: torch.Tensor, slot: Slot) -> torch.Tensor | Quantised:
        interruption.check()
        if slot.lifted is None:
            return self.card.place(master)
        with self.card.beside():
            less = quantise(master, self.bits)
        return Quantised(self.card.place(less.data), self.card.place(less.scale))

    def drop(self) -> None:
        self._kept.clear()


def leave(masters: list[tuple[Slot, torch.Tensor]]) -> None:
    """Give slots their masters again."""
    for slot, master in masters:
        slot.back(master)
