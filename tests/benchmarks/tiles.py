"""Tiles against the whole: the starter's autoencoder and denoiser on large pictures, and a compact upscaler.

The picture is a drawing enlarged to the edge asked for, with fine noise in its latent. Errors are shares of 255. Seam
lines are the pixels to both sides of where kept parts meet. Bytes are those of torch's storages alive at once, without
what was there before (weights) and without the pictures themselves, which are arrays.
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
WINDOW, OVERLAP, STEPS = 512, 64, 2
GOALS: dict[str, Goal] = {
    "decode_seam_to_interior": ("<=", 1.05),
    "decode_largest_error_of_255": ("<=", 2.0),
    "decode_at_receptive_field_of_255": ("<=", 0.01),
    "upscale_error": ("<=", 1e-5),
    "upscale_8k_to_2k_peak": ("<=", 1.05),
    "upscale_16k_to_2k_peak": ("<=", 1.05),
    "generate_8k_latents_beyond_2k": ("<=", 12.0),
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


def run(edge: int = 4096, generated: int = 8192) -> Report:
    """`edge` of the picture that is decoded, `generated` of the one that is made in windows, in pixels."""
    figures = {**_decoding(edge), **_at_the_receptive_field(), **_upscaling(), **_generating(generated)}
    notes = [
        f"Decoded at {edge} × {edge} in tiles of {TILE}; upscaled to 2048, 8192 and 16384 in tiles of 256;",
        f"made at 2048 and {generated} in windows of {WINDOW} that share {OVERLAP}, {STEPS} steps, without guidance.",
    ]
    return Report("tiles", figures, GOALS, notes=notes)


def _decoding(edge: int) -> dict[str, float]:
    from engine.memory.cutting import spans
    from engine.memory.tiling import Tiling, decode

    autoencoder, latent = _latent(edge)
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
        "decode_seam_to_interior": seam / interior, "decode_999_permille_of_255": float(np.quantile(error, 0.999)),
        "decode_largest_error_of_255": float(error.max()), "decode_tiled_cpu_s": tiled_s, "decode_whole_cpu_s": whole_s,
    }  # fmt: skip


def _latent(edge: int) -> tuple[Any, Any]:
    """The starter's autoencoder, and the drawing as its latent with fine noise in it."""
    import cv2
    import torch

    from engine.memory.tiling import Tiling, encode
    from engine.nodes.load.checkpoint import checkpoint

    ctx = Context(STARTER)
    autoencoder = ctx.session.autoencoder(checkpoint(ctx)[2])  # type: ignore[arg-type]
    drawing: Any = cv2.imread(str(PICTURE))
    image: Any = cv2.resize(drawing[:, :, ::-1].copy(), (edge, edge), interpolation=cv2.INTER_CUBIC)
    pixels = torch.from_numpy(image.astype(np.float32) / 127.5 - 1).permute(2, 0, 1)[None].contiguous()
    latent = encode(autoencoder, pixels, Tiling(TILE, 64, "own"))
    return autoencoder, latent + 0.3 * torch.randn(latent.shape, generator=torch.Generator().manual_seed(0))


def _at_the_receptive_field() -> dict[str, float]:
    """Statistics swept to rest, tiles that see as far as the network: what then still differs is rounding."""
    from engine.memory.tiling import RECEPTIVE_FIELD, Tiling, decode

    autoencoder, latent = _latent(512)
    made = decode(autoencoder, latent, Tiling(384, RECEPTIVE_FIELD, "swept", 0))
    error = float((made - autoencoder.decode(latent)).abs().max()) * 127.5
    return {"decode_at_receptive_field_of_255": error}


def _generating(edge: int) -> dict[str, float]:
    """A picture of 2048 and one of `edge` in windows."""
    from engine.nodes.condition.text import encode_text
    from engine.nodes.latent.empty import empty
    from engine.nodes.load.checkpoint import checkpoint
    from engine.nodes.sample.tiled import tiled_sampler

    ctx: Any = Context(STARTER)
    model, clip, _ = checkpoint(ctx)
    prompt = encode_text(ctx, clip, "a house beside a tree on a field")
    peaks, seconds = [], 0.0
    for side in (2048, edge):
        latent = empty(ctx, side, side, 1)
        live = Live()
        started = time.process_time()
        with live:
            made = tiled_sampler(
                ctx, model, prompt, prompt, latent, seed=1, steps=STEPS, cfg=1.0, sampler="ddim", scheduler="simple",
                tile_size=WINDOW, overlap=OVERLAP,
            )  # fmt: skip
        seconds = time.process_time() - started
        assert bool(made.samples.isfinite().all())
        peaks.append(live.most)
    latents = 4 * 4 * ((edge // 8) ** 2 - 256**2)  # channels × bytes × cells more
    return {
        "generate_2k_peak_mib": peaks[0] / 2**20, "generate_8k_peak_mib": peaks[1] / 2**20,
        "generate_8k_latents_beyond_2k": (peaks[1] - peaks[0]) / latents, "generate_8k_cpu_s": seconds,
    }  # fmt: skip


def _upscaling() -> dict[str, float]:
    import torch

    from engine.enhance.tiled import upscaled
    from engine.enhance.upscalers import of_tensors

    generator = torch.Generator().manual_seed(0)
    tensors: dict[str, torch.Tensor] = {}
    for place, (out, into) in {0: (8, 3), 2: (8, 8), 4: (12, 8)}.items():
        tensors[f"body.{place}.weight"] = torch.randn((out, into, 3, 3), generator=generator) * 0.15
        tensors[f"body.{place}.bias"] = torch.zeros(out)
        if place < 4:
            tensors[f"body.{place + 1}.weight"] = torch.full((out,), 0.2)
    upscaler = of_tensors(tensors, "compact", torch.device("cpu"), torch.float32)
    rng = np.random.default_rng(0)
    small = rng.random((1, 512, 512, 3), dtype=np.float32)
    error = float(np.abs(upscaled(upscaler, small, 192) - upscaled(upscaler, small, 512)).max())
    peaks, seconds = [], 0.0
    for edge in (2048, 8192, 16384):
        source = np.broadcast_to(np.float32(0.5), (1, edge // 2, edge // 2, 3))
        live = Live()
        started = time.process_time()
        with live:
            made = upscaled(upscaler, source, 256)
        seconds = time.process_time() - started
        peaks.append(live.most)
        in_file = isinstance(made, np.memmap)
        del made
    return {
        "upscale_error": error, "upscale_2k_peak_mib": peaks[0] / 2**20, "upscale_8k_peak_mib": peaks[1] / 2**20,
        "upscale_8k_to_2k_peak": peaks[1] / peaks[0], "upscale_16k_to_2k_peak": peaks[2] / peaks[0],
        "upscale_16k_in_a_file": float(in_file), "upscale_16k_cpu_s": seconds,
    }  # fmt: skip
