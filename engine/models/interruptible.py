"""Networks that can be left half-way: a check before each layer."""

from __future__ import annotations

import weakref
from typing import Any

import torch

from engine.graph import interruption


def watch_layers(module: Any) -> None:
    """Let `module` be left before each of its layers: a cancelled job stops after the layer it is in, whatever the
    size of the network. What it computes is the same. Doing it twice does nothing more; what is no network is left."""
    if not isinstance(module, torch.nn.Module):
        return
    for layer in module.modules():
        if next(layer.children(), None) is None and "forward" not in vars(layer):
            layer.forward = _Watched(layer)


def unwatch_layers(module: torch.nn.Module) -> None:
    """Take the checks away again: whoever calls asks by himself."""
    for layer in module.modules():
        if isinstance(vars(layer).get("forward"), _Watched):
            del layer.forward


class _Watched:
    """A layer's forward with a check before it. It holds the layer weakly: with a circle of references the memory of
    an unloaded model would wait for the garbage collector."""

    __slots__ = ("_forward", "_layer")

    def __init__(self, layer: torch.nn.Module) -> None:
        self._forward = type(layer).forward
        self._layer = weakref.ref(layer)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        interruption.check()
        return self._forward(self._layer(), *args, **kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> _Watched:
        return _Watched(memo[id(self._layer())])  # a copied layer computes with its own weights
