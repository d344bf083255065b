"""Which kernel computes attention, by name, for any network that asks PyTorch for it: every family does.

Several kernels say the same to rounding; one says it in eight bits. PyTorch's own are chosen by its switches while the
network runs. Those of other packages stand in for PyTorch's function meanwhile, take the calls they can (no mask, half
precision, heads of a size they know), and leave the others to it. Torch-free at import.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from engine.graph.numerics import note

if TYPE_CHECKING:
    import torch

Attention: TypeAlias = Literal["auto", "native", "flash", "efficient", "math", "sage", "xformers"]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Kernel:
    """title    as people know it
    package  what has to be installed for it; "" for PyTorch's own
    anywhere whether it also runs without a card
    lossy    what it does to the picture beyond rounding, "" for nothing
    """

    title: str
    package: str = ""
    anywhere: bool = False
    lossy: str = ""


KERNELS: Mapping[str, Kernel] = MappingProxyType({
    "auto": Kernel("PyTorch's choice", anywhere=True),
    "native": Kernel("PyTorch's choice", anywhere=True),
    "efficient": Kernel("PyTorch's memory-efficient kernel"),
    "math": Kernel("plain arithmetic", anywhere=True),
    "flash": Kernel("FlashAttention", "flash_attn"),
    "xformers": Kernel("xFormers", "xformers"),
    "sage": Kernel("SageAttention", "sageattention", lossy="computes in eight bits"),
})  # fmt: skip


def is_installed(name: str) -> bool:
    """Whether a kernel's package is there; PyTorch's own are."""
    package = KERNELS[name].package
    return not package or importlib.util.find_spec(package) is not None


def installed() -> tuple[str, ...]:
    """The kernels that can be asked for on this machine."""
    return tuple(name for name in KERNELS if is_installed(name))


def lacking() -> dict[str, str]:
    """The kernels that can't be asked for on this machine, and why."""
    return {name: "it is not installed" for name in KERNELS if not is_installed(name)}


def usable(name: str, device: str) -> tuple[Attention, str]:
    """(the kernel that will be used, "" or one sentence why it is another than was asked for). `device` "cuda", …"""
    kernel = KERNELS.get(name)
    if kernel is None:
        return "auto", f"There is no attention kernel “{name}”, so PyTorch's choice is used."
    if not is_installed(name):
        return "auto", f"{kernel.title} is not installed, so PyTorch's choice is used for attention."
    if device != "cuda" and not kernel.anywhere:
        return "auto", f"{kernel.title} needs a graphics card, so PyTorch's choice is used for attention."
    found: Any = name
    return found, ""


@contextmanager
def computed_by(name: str) -> Iterator[None]:
    """While inside, attention is computed by this kernel, where it can."""
    with _chosen(name):
        yield


def arrange(module: torch.nn.Module, name: str) -> bool:
    """Let a network compute its attention by this kernel from now on; whether anything was to be done."""
    if name in ("auto", "native"):
        return False
    module.forward = _Attending(module, name)
    return True


class _Attending:
    """A network's forward by a kernel. It holds the network weakly, as everything does that is hung on one: with a
    circle of references the memory of an unloaded model would wait for the garbage collector."""

    __slots__ = ("_before", "_module", "_name")

    def __init__(self, module: torch.nn.Module, name: str) -> None:
        self._before = vars(module).get("forward")
        self._module, self._name = weakref.ref(module), name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with _chosen(self._name):
            if self._before is not None:
                return self._before(*args, **kwargs)
            module: Any = self._module()
            return type(module).forward(module, *args, **kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> _Attending:
        return _Attending(memo[id(self._module())], self._name)  # a copied network computes with its own weights


def _chosen(name: str) -> AbstractContextManager[Any]:
    """Of one call; the record is told."""
    if name in ("auto", "native"):
        return nullcontext()
    if name in ("efficient", "math"):
        from torch.nn.attention import SDPBackend, sdpa_kernel

        note("attention", name)
        first = [SDPBackend.EFFICIENT_ATTENTION] if name == "efficient" else []
        return sdpa_kernel([*first, SDPBackend.MATH])  # what the first can't take, the second can
    if name in _failed:
        return nullcontext()
    note("attention", name)
    return _standing_in(name)


# (query, key, value [B, heads, tokens, width], causal, scale) -> [B, heads, tokens, width]
Call: TypeAlias = Callable[[Any, Any, Any, bool, float | None], Any]
_failed: set[str] = set()


@contextmanager
def _standing_in(name: str) -> Iterator[None]:
    import torch.nn.functional as F  # noqa: N812 - the field's own name for it

    own, call = F.scaled_dot_product_attention, _CALLS[name]
    heads = _HEADS.get(name, 256)

    def attend(
        query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_p: float = 0.0, is_causal: bool = False,
        scale: float | None = None, enable_gqa: bool = False,
    ) -> Any:  # fmt: skip
        whole = attn_mask is None and not enable_gqa and not dropout_p and query.ndim == 4
        if whole and name not in _failed and query.dtype.itemsize == 2 and query.shape[-1] <= heads:
            try:
                return call(query, key, value, is_causal, scale)
            except (RuntimeError, ValueError, TypeError, NotImplementedError, AssertionError, ImportError) as error:
                from engine.memory.recovery import is_out_of_memory

                if is_out_of_memory(error):
                    raise
                _failed.add(name)
                log.warning(
                    "%s can't be used on this card (%s), so PyTorch's choice is used.", KERNELS[name].title, error
                )
        return own(query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa)

    F.scaled_dot_product_attention = attend
    try:
        yield
    finally:
        F.scaled_dot_product_attention = own


def _flash(query: Any, key: Any, value: Any, causal: bool, scale: float | None) -> Any:
    package = importlib.import_module("flash_attn")
    turned = (item.transpose(1, 2) for item in (query, key, value))
    return package.flash_attn_func(*turned, softmax_scale=scale, causal=causal).transpose(1, 2)


def _sage(query: Any, key: Any, value: Any, causal: bool, scale: float | None) -> Any:
    package = importlib.import_module("sageattention")
    return package.sageattn(query, key, value, tensor_layout="HND", is_causal=causal, sm_scale=scale)


def _xformers(query: Any, key: Any, value: Any, causal: bool, scale: float | None) -> Any:
    ops = importlib.import_module("xformers.ops")
    turned = (item.transpose(1, 2) for item in (query, key, value))
    bias = ops.LowerTriangularMask() if causal else None
    return ops.memory_efficient_attention(*turned, attn_bias=bias, scale=scale).transpose(1, 2)


_CALLS: Mapping[str, Call] = MappingProxyType({"flash": _flash, "sage": _sage, "xformers": _xformers})
_HEADS: Mapping[str, int] = MappingProxyType({"sage": 128})  # the widest heads a package knows, where not 256
