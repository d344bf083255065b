"""An upscaler over a picture of any size, a tile at a time.

Where the network is local and tiles reach its receptive field, the result equals that of the whole picture to rounding.
What is on the card is one tile; a picture too large for memory is written to a file of the temporary folder, of which
the system keeps in memory what it has room for.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from engine.memory.cutting import narrowest, nothing, ramp, spans

if TYPE_CHECKING:
    from engine.enhance.upscalers import Upscaler

Pixels = npt.NDArray[np.float32]
IN_MEMORY = 2 * 1024**3  # bytes; larger results are kept in a file


@torch.no_grad()
def upscaled(
    upscaler: Upscaler, image: Pixels, tile: int = 512, *, exact: bool = True, in_memory: int = IN_MEMORY,
    check: Callable[[], object] = nothing, progress: Callable[[int, int], object] = nothing,
) -> Pixels:  # fmt: skip
    """IMAGE [B, H, W, 3] in 0..1 → [B, H · scale, W · scale, 3].

    tile       edge in pixels of what goes in
    exact      whether it is grown where the receptive field leaves too little of it, so that the result equals the
               whole; otherwise tiles see less, and neighbours are blended where they meet
    in_memory  bytes up to which the result is an ordinary array
    check      called before every tile; may raise to stop
    """
    tile, context, local = reach(upscaler, tile, exact=exact)
    batch, rows, columns, _ = image.shape
    downs = spans(rows, tile, context, upscaler.multiple)
    alongs = spans(columns, tile, context, upscaler.multiple)
    scale, band = upscaler.scale, 0 if local else min(context, narrowest(downs), narrowest(alongs))
    weight = next(upscaler.parameters())
    out = canvas((batch, rows * scale, columns * scale, 3), in_memory)
    total = batch * len(downs) * len(alongs)
    done = 0
    for index in range(batch):
        for down in downs:
            for along in alongs:
                check()
                progress(done, total)
                part = np.ascontiguousarray(image[index, down.low : down.high, along.low : along.high, :3])
                given = torch.from_numpy(part.transpose(2, 0, 1)[None].copy()).to(weight.device, weight.dtype)
                made = upscaler(given)[0].float().clamp(0, 1).cpu()
                if band:
                    blend = ramp(down, band, rows, scale)[:, None] * ramp(along, band, columns, scale)[None, :]
                    window = out[index, down.low * scale : down.high * scale, along.low * scale : along.high * scale]
                    window += (made * blend).permute(1, 2, 0).numpy()
                else:
                    top, left = (down.first - down.low) * scale, (along.first - along.low) * scale
                    tall, wide = (down.last - down.first) * scale, (along.last - along.first) * scale
                    kept = made[:, top : top + tall, left : left + wide].permute(1, 2, 0)
                    out[index, down.first * scale : down.last * scale,
                        along.first * scale : along.last * scale] = kept.numpy()  # fmt: skip
                done += 1
    progress(total, total)
    return out


def reach(upscaler: Upscaler, tile: int, *, exact: bool = True) -> tuple[int, int, bool]:
    """(edge of a tile, pixels seen around what is kept of it, whether that is all that the network sees)."""
    multiple = upscaler.multiple
    context = -(-upscaler.context // multiple) * multiple
    if exact or tile >= 4 * context:
        return -(-max(tile, 4 * context, multiple) // multiple) * multiple, context, upscaler.local
    tile = max(tile // multiple, 4) * multiple
    return tile, tile // 4 // multiple * multiple, False


def canvas(shape: tuple[int, ...], in_memory: int = IN_MEMORY) -> Pixels:
    """Zeros for a picture; beyond `in_memory` bytes in a file that vanishes with the last use of it."""
    if int(np.prod(shape, dtype=np.int64)) * 4 <= in_memory:
        return np.zeros(shape, np.float32)
    with tempfile.TemporaryFile(prefix="tessera-picture-", dir=_room()) as file:
        # The mapping keeps the file alive; it has no name to be left behind.
        mapped: Pixels = np.memmap(file, np.float32, "w+", shape=shape)
    return mapped


def _room() -> Path:
    return Path(tempfile.gettempdir())
