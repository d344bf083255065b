"""Networks made without memory, on one thread only.

accelerate's init_empty_weights and transformers' no_init_weights put functions of torch aside for the whole process
and put them back at the end: two threads that do so at once leave them aside for good, and every network made later
has whatever the memory held for weights. Here torch is changed once, and asks whose thread it is on.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import torch

_here = threading.local()
_install_lock = threading.Lock()
_installed = False


@contextlib.contextmanager
def without_memory() -> Iterator[None]:
    """Inside, on this thread, parameters are on the meta device as soon as a module has them; buffers are real, and
    transformers' classes draw no weights."""
    _install()
    before = getattr(_here, "empty", False)
    _here.empty = True
    try:
        yield
    finally:
        _here.empty = before


def _install() -> None:
    global _installed
    with _install_lock:
        if _installed:
            return
        from transformers import PreTrainedModel

        register, draw = torch.nn.Module.register_parameter, PreTrainedModel.init_weights

        def register_parameter(module: torch.nn.Module, name: str, param: torch.nn.Parameter | None) -> None:
            if param is not None and getattr(_here, "empty", False) and not param.is_meta:
                # A class of its own (a quantised weight) keeps it, with what it carries.
                param = type(param)(param.detach().to("meta"), requires_grad=param.requires_grad, **vars(param))
            register(module, name, param)

        def init_weights(model: Any) -> None:
            if getattr(_here, "empty", False):
                model.tie_weights(recompute_mapping=False)
            else:
                draw(model)

        torch.nn.Module.register_parameter = register_parameter  # type: ignore[method-assign, assignment]
        PreTrainedModel.init_weights = init_weights
        _installed = True
