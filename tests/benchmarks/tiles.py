"""Tiles against the whole: the starter's autoencoder on a large picture, and a compact upscaler at 2K and 8K.

The picture is a drawing enlarged to the edge asked for, with fine noise in its latent. Errors are shares of 255, the
99.9th percentile of all samples. Seam lines are the pixels to both sides of where kept parts meet.
"""

from __future__ import annotations

import time
import weakref
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils._python_dispatch import TorchDispatchMode

from tests.benchmarks.harness import Goal, Report
from tests.benchmarks.parity import Context
from tests.benchmarks.tiny_models import STARTER

PICTURE = Path(__file__).resolve().parents[2] / "resources" / "workflows" / "pictures" / "landscape.png"
TILE = 1024
GOALS: dict[str, Goal] = {
    "decode_seam_to_interior": ("<=", 1.05),
    "decode_error_of_255": ("<=", 2.0),
    "upscale_error": ("<=", 1e-5),
    "upscale_8k_to_2k_peak": ("<=", 1.05),
}


class Live(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves its base untyped
    """The most bytes of torch storages made inside that were alive at once."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.most = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        import torch

        given = {item.untyped_storage()._cdata for item in args if isinstance(item, torch.Tensor)}
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor) and out.untyped_storage()._cdata not in given:
            size = out.untyped_storage().nbytes()
            self.now += size
            self.most = max(self.most, self.now)
            weakref.finalize(out.untyped_storage(), self._gone, size)
        return out

    def _gone(self, size: int) -> None:
        self.now -= size


def run(edge: int = 4096, large: int = 8192) -> Report:
    """`edge` of the picture that is decoded, `large` of what the larger upscale gives, in pixels."""
    figures = {**_decoding(edge), **_upscaling(large)}
    notes = [f"Decoded at {edge} × {edge} in tiles of {TILE}, upscaled to {large} × {large} in tiles of 256."]
    return Report("tiles", figures, GOALS, notes=notes)


def _decoding(edge: int) -> dict[str, float]:
    import cv2
    import torch

    from engine.memory.tiling import Tiling, decode, encode, spans
    from engine.nodes.load.checkpoint import checkpoint

    ctx = Context(STARTER)
    autoencoder = ctx.session.autoencoder(checkpoint(ctx)[2])  # type: ignore[arg-type]
    drawing: Any = cv2.imread(str(PICTURE))
    image: Any = cv2.resize(drawing[:, :, ::-1].copy(), (edge, edge), interpolation=cv2.INTER_CUBIC)
    image = image.astype(np.float32) / 127.5 - 1
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].contiguous()
    latent = encode(autoencoder, pixels, TILE)
    del pixels, image
    latent = latent + 0.3 * torch.randn(latent.shape, generator=torch.Generator().manual_seed(0))
    cut = Tiling(TILE)
    started = time.process_time()
    made = decode(autoencoder, latent, cut)
    tiled_s = time.process_time() - started
    started = time.process_time()
    whole = autoencoder.decode(latent)
    whole_s = time.process_time() - started
    error = (made - whole).abs_().mul_(127.5).amax(1)[0].numpy()
    del made, whole
    cells, context, _ = cut.cells(8)
    seams = [part.first * 8 for part in spans(edge // 8, cells, context)[1:]]
    at = sorted(line + side for line in seams for side in (-1, 0))
    seam = (float(error[at].mean()) + float(error[:, at].mean())) / 2
    inside = np.ones(edge, bool)
    for line in seams:
        inside[line - 2 * context * 8 : line + 2 * context * 8] = False
    interior = float(error[inside][:, inside].mean())
    return {
        "decode_seam_to_interior": seam / interior, "decode_error_of_255": float(np.quantile(error, 0.999)),
        "decode_largest_error_of_255": float(error.max()), "decode_tiled_cpu_s": tiled_s, "decode_whole_cpu_s": whole_s,
    }  # fmt: skip


def _upscaling(large: int) -> dict[str, float]:
    import torch

    from engine.enhance.tiled import upscaled
    from engine.enhance.upscalers import of_tensors

    generator = torch.Generator().manual_seed(0)
    tensors: dict[str, torch.Tensor] = {}
    for place, (out, into) in {0: (16, 3), 2: (16, 16), 4: (16, 16), 6: (12, 16)}.items():
        tensors[f"body.{place}.weight"] = torch.randn((out, into, 3, 3), generator=generator) * 0.15
        tensors[f"body.{place}.bias"] = torch.zeros(out)
        if place < 6:
            tensors[f"body.{place + 1}.weight"] = torch.full((out,), 0.2)
    upscaler = of_tensors(tensors, "compact", torch.device("cpu"), torch.float32)
    rng = np.random.default_rng(0)
    small = rng.random((1, 512, 512, 3), dtype=np.float32)
    error = float(np.abs(upscaled(upscaler, small, 192) - upscaled(upscaler, small, 512)).max())
    peaks, seconds = [], 0.0
    for edge in (2048, large):
        source = np.broadcast_to(np.float32(0.5), (1, edge // 2, edge // 2, 3))
        live = Live()
        started = time.process_time()
        with live:
            upscaled(upscaler, source, 256)
        seconds = time.process_time() - started
        peaks.append(live.most)
    return {
        "upscale_error": error, "upscale_2k_peak_mib": peaks[0] / 2**20, "upscale_8k_peak_mib": peaks[1] / 2**20,
        "upscale_8k_to_2k_peak": peaks[1] / peaks[0], "upscale_8k_cpu_s": seconds,
    }  # fmt: skip
