"""A card of any size on a machine without one: live storages are counted, and the true exception is raised at a size.

What is computed on the processor while a `SimulatedCard` is `watching` counts as on the card, except what the engine
says is beside it (`Card.beside`, `Card.host`) and what was there before (the masters).
"""

from __future__ import annotations

import contextlib
import gc
import weakref
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from engine.contracts.references import ModelRef
from engine.graph.values import ModelHandle, Patch, TextEncoderHandle, VAEHandle
from engine.memory.choice import Chooser
from engine.memory.device import Card
from engine.sampling.session import Session
from tests.families.tiny_parts import EDGE

Pixels: TypeAlias = npt.NDArray[np.float32]


class _Counted(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves its base untyped
    def __init__(self, card: SimulatedCard) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._card = card

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        given = {t.untyped_storage()._cdata for t in _tensors((args, kwargs))}
        for item in _tensors(out):
            if item.untyped_storage()._cdata not in given:
                self._card.count(item)
        return out


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _tensors(item)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))


class SimulatedCard(Card):
    """`limit` bytes; `failing` are the allocations (counted from 0) that fail whatever room there is, and `above` the
    bytes from which one fails however often it is tried. `failing_beside` are those in main memory that fail."""

    def __init__(self, limit: int = 1 << 40, failing: Collection[int] = (), above: int = 1 << 40) -> None:
        super().__init__("cpu", limit)
        self.limit, self.failing, self.above = limit, frozenset(failing), above
        self.sizes: list[int] = []
        self.failing_beside: frozenset[int] = frozenset()
        self.beside_allocations = 0
        self.now = self.peak = self.allocations = 0
        self._highest = 0
        self._alive: set[int] = set()
        self._beside = 0

    def count(self, tensor: torch.Tensor) -> None:
        """Raises torch.OutOfMemoryError when a new storage has no room."""
        if tensor.device.type != "cpu":
            return
        if self._beside:
            number, self.beside_allocations = self.beside_allocations, self.beside_allocations + 1
            if number in self.failing_beside:
                raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")
            return
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._alive or not size:
            return
        number, self.allocations = self.allocations, self.allocations + 1
        self.sizes.append(size)
        if number in self.failing or size > self.above or self.now + size > self.limit:
            raise torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {size} bytes (simulated).")
        self._alive.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        self._highest = max(self._highest, self.now)
        weakref.finalize(storage, self._gone, key, size)

    def _gone(self, key: int, size: int) -> None:
        self._alive.discard(key)
        self.now -= size

    def watch(self) -> None:
        self._highest = self.now

    def highest(self) -> int:
        return self._highest

    def again(self, failing: Collection[int] = (), above: int = 1 << 40, beside: Collection[int] = ()) -> None:
        """Count from 0 anew, with other failures. What is alive stays counted."""
        self.failing, self.above, self.failing_beside = frozenset(failing), above, frozenset(beside)
        self.allocations, self.beside_allocations, self.peak, self.sizes = 0, 0, self.now, []

    def beside(self) -> AbstractContextManager[object]:
        return self._aside()

    @contextlib.contextmanager
    def _aside(self) -> Iterator[None]:
        self._beside += 1
        try:
            yield
        finally:
            self._beside -= 1

    def host(self, size: int) -> torch.Tensor:
        with self._aside():
            return super().host(size)

    def watching(self) -> AbstractContextManager[object]:
        """While inside, storages are counted."""
        return _Counted(self)

    def settled(self) -> int:
        """Bytes alive once nothing waits for the collector."""
        gc.collect()
        return self.now


class Room:
    """A session over tiny models in diffusers folders, with its own card, and the node context over it.

    `run` makes a picture: prompts, sampling, decoding, as the nodes of a workflow do.
    """

    wants_preview = False
    node_id = "node"

    def __init__(
        self, folder: Path, family: str, card: Card | None = None, budget: int = 1 << 40,
        chooser: Chooser | None = None,
    ) -> None:  # fmt: skip
        self._folder, self._family = folder, family
        self.session = Session(self, budget_bytes=budget, card=card, chooser=chooser)
        self.device = torch.device("cpu")
        self.logs: list[str] = []

    def locate(self, ref: ModelRef) -> Path:
        if ref.kind == "controlnet":
            return self._folder / "nets" / ref.name
        beside = {"lora": "loras", "upscaler": "upscalers"}.get(ref.kind)
        return self._folder / beside / f"{ref.name}.safetensors" if beside else self._folder

    def names(self, kind: str) -> tuple[str, ...]:
        return ()

    def progress(self, done: float, total: float, text: str = "") -> None: ...

    def check_cancelled(self) -> None: ...

    def log(self, text: str, level: str = "info") -> None:
        self.logs.append(text)

    def handles(self, patches: tuple[Patch, ...] = ()) -> tuple[ModelHandle, TextEncoderHandle, VAEHandle]:
        ref = ModelRef(name="tiny")
        return (
            ModelHandle(ref, self._family, patches=patches), TextEncoderHandle(ref, self._family),
            VAEHandle(ref, self._family),
        )  # fmt: skip

    def run(self, *, steps: int = 3, sampler: str = "euler", patches: tuple[Patch, ...] = (), batch: int = 1) -> Pixels:
        """float32 [B, H, W, 3] in 0..1."""
        from engine.nodes.condition.text import encode_text
        from engine.nodes.latent.empty import empty
        from engine.nodes.latent.picture import decode_image
        from engine.nodes.sample.k_sampler import k_sampler

        ctx: Any = self
        model, clip, vae = self.handles(patches)
        positive, negative = encode_text(ctx, clip, "a red boat at sea"), encode_text(ctx, clip, "")
        latent = empty(ctx, EDGE, EDGE, batch)
        done = k_sampler(
            ctx, model, positive, negative, latent, seed=3, steps=steps, cfg=4.0, sampler=sampler, scheduler="normal"
        )
        return decode_image(ctx, vae, done)
