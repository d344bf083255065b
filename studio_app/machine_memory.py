"""How much memory this machine has and uses now: main memory, and the graphics card's where there is one.

The card is asked through the driver's own library (NVML) by ctypes, so that looking costs no torch and no process.
"""

from __future__ import annotations

import ctypes
import logging
from dataclasses import dataclass
from functools import cache

log = logging.getLogger(__name__)
_LIBRARIES = ("libnvidia-ml.so.1", "nvml.dll")


@dataclass(frozen=True)
class MemoryUse:
    """Bytes in use and in all of one memory: `device` is "Memory" or the card's name."""

    device: str
    used: int
    total: int
    card: bool = False

    @property
    def fraction(self) -> float:
        return self.used / self.total if self.total else 0.0


class _NvmlMemory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


def main_memory() -> MemoryUse:
    """Main memory, of the whole machine: used is what no program could get now."""
    import psutil

    now = psutil.virtual_memory()
    return MemoryUse("Memory", now.total - now.available, now.total)


def card_memory() -> MemoryUse | None:
    """The first NVIDIA card's memory, used by all programs together; None without such a card or its driver."""
    nvml = _nvml()
    if nvml is None:
        return None
    handle = ctypes.c_void_p()
    if nvml.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(handle)) != 0:
        return None
    memory = _NvmlMemory()
    if nvml.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory)) != 0:
        return None
    name = ctypes.create_string_buffer(96)
    named = nvml.nvmlDeviceGetName(handle, name, 96) == 0
    label = name.value.decode(errors="replace") if named else "Graphics card"
    return MemoryUse(label, int(memory.used), int(memory.total), card=True)


def memory_now() -> MemoryUse:
    """The memory that pictures are made in: the card's, else main memory."""
    return card_memory() or main_memory()


@cache
def _nvml() -> ctypes.CDLL | None:
    for name in _LIBRARIES:
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        if library.nvmlInit_v2() == 0:
            return library
        log.info("%s is there, but the driver does not answer", name)
    return None


def gigabytes(count: int) -> str:
    """ "6.1 GB", as the sizes of cards are said: 2**30 bytes."""
    return f"{count / 2**30:.1f} GB"
