"""Large pictures through an autoencoder a tile at a time, as if it had seen them whole.

Three things make a tile differ from the same place of the whole picture, and each has its answer:

- convolutions see only the tile: tiles reach `context` beyond what is kept of them. From the receptive field on (see
  `RECEPTIVE_FIELD`) what is kept is equal to rounding; with less, neighbours are blended over a short band;
- group norms take their mean and variance from the tile, which shifts its tone, and attention in the middle block sees
  only the tile: they are told those of the whole picture (tile_statistics.py).

Finished tiles leave the card: what is on it does not grow with the picture.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from engine.memory.cutting import Grid, nothing, ramp
from engine.memory.tile_statistics import gathered, informed, tiles_of

if TYPE_CHECKING:
    import torch

    from engine.families.protocol import Autoencoder

Statistics: TypeAlias = Literal["swept", "estimated", "own"]
STATISTICS: tuple[Statistics, ...] = ("swept", "estimated", "own")

# Pixels to either side that a place of the picture depends on, of decoders and encoders with blocks as Stable
# Diffusion's, the widest in use: in latent cells of 8 pixels 1 + 4 + 6 (middle and first level), 7/2, 7/4 and 8/8.
RECEPTIVE_FIELD = 144
# Pixels: each 8 more halve what a seam differs by. While statistics are counted, places are many, and less is enough.
LEAST_CONTEXT, USUAL_CONTEXT, SWEEP_CONTEXT = 40, 64, 16


@dataclass(frozen=True)
class Tiling:
    """How a picture is cut. Pixels.

    tile        edge of a tile, with what it sees around what is kept
    context     what it sees to either side; None: 40 to 80, by its edge. From RECEPTIVE_FIELD on tiles equal the whole
    statistics  whose group norms: of the whole picture ("swept" over it or only "estimated" from smaller copies of it),
                or each tile's "own"
    sweeps      how often "swept" does; 0: until they rest
    """

    tile: int = 512
    context: int | None = None
    statistics: Statistics = "swept"
    sweeps: int = 1

    def cells(self, factor: int) -> tuple[int, int, int]:
        """(tile, context, band over which neighbours blend) in latent cells of `factor` pixels."""
        tile = max(self.tile // factor, 4)
        usual = max(min(USUAL_CONTEXT, max(LEAST_CONTEXT, self.tile * 3 // 16)), self.tile * 5 // 64)
        wanted = usual if self.context is None else self.context
        context = min(-(-wanted // factor), (tile - 1) // 2)
        return tile, context, 0 if context * factor >= RECEPTIVE_FIELD else min(context, (tile - 2 * context) // 2)


def decode(
    autoencoder: Autoencoder, samples: torch.Tensor, tile: int | Tiling = 512, *,
    check: Callable[[], object] = nothing, progress: Callable[[int, int], object] = nothing,
) -> torch.Tensor:  # fmt: skip
    """Latents [B, C, h, w] → float32 [B, 3, H, W] in about −1..1 on the CPU, as `autoencoder.decode` gives them.

    tile      edge in pixels (a Plan's vae_tile), or how to cut; 0 decodes whole
    check     called before every tile; may raise to stop
    progress  told how many tiles of how many are done, those of the sweeps included
    """
    factor = autoencoder.latent_space.factor
    return run_tiles(autoencoder.decode, samples, _tiling(tile), 1, factor, check, progress)


def encode(
    autoencoder: Autoencoder, pixels: torch.Tensor, tile: int | Tiling = 512, *,
    check: Callable[[], object] = nothing, progress: Callable[[int, int], object] = nothing,
) -> torch.Tensor:  # fmt: skip
    """float32 [B, 3, H, W] in −1..1, whole cells both ways → latents, as `autoencoder.encode` gives them."""
    factor = autoencoder.latent_space.factor
    return run_tiles(autoencoder.encode, pixels, _tiling(tile), factor, 1, check, progress)


def _tiling(tile: int | Tiling) -> Tiling:
    return tile if isinstance(tile, Tiling) else Tiling(tile)


_Network: TypeAlias = "Callable[[torch.Tensor], torch.Tensor]"


def run_tiles(
    network: _Network, source: torch.Tensor, tiling: Tiling, scale_in: int, scale_out: int,
    check: Callable[[], object], progress: Callable[[int, int], object],
) -> torch.Tensor:  # fmt: skip
    """`network` over tiles of `source`, which has `scale_in` pixels for each cell and gives `scale_out`.

    One of the two is 1 and the other the latent's factor, by which pixels of `tiling` become cells.
    """
    import torch

    factor = scale_in * scale_out
    rows, columns = source.shape[-2] // scale_in, source.shape[-1] // scale_in
    tile, context, band = tiling.cells(factor)
    if not tiling.tile or max(rows, columns) <= tile:
        check()
        whole = network(source)
        progress(1, 1)
        return whole
    grid = Grid(rows, columns, tile, context, scale_in)
    # Until statistics rest, each with as much around it as it will have: less would have them rest elsewhere.
    brief = min(context, -(-SWEEP_CONTEXT // factor)) if tiling.sweeps else context
    counting = Grid(rows, columns, tile, brief, scale_in)
    own = tiling.statistics == "own"
    sweeps = tiling.sweeps if tiling.statistics == "swept" else None
    total = source.shape[0] * (len(grid.pieces()) + (0 if own else tiles_of(counting, sweeps)))
    out: torch.Tensor | None = None
    done = 0

    def tell() -> None:
        nonlocal done
        done += 1
        progress(min(done, total - 1), total)

    for index in range(source.shape[0]):
        one = source[index : index + 1]
        told = None if own else gathered(network, one, counting, sweeps, check, tell)
        for (down, along), part in grid.parts(one):
            check()
            made = informed(told, (down, along), network, part) if told else network(part)
            if out is None:
                out = torch.zeros(source.shape[0], made.shape[1], rows * scale_out, columns * scale_out)
            weight = ramp(down, band, rows, scale_out)[:, None] * ramp(along, band, columns, scale_out)[None, :]
            window = out[index, :, down.low * scale_out : down.high * scale_out,
                         along.low * scale_out : along.high * scale_out]  # fmt: skip
            window += made[0].float().cpu() * weight
            tell()
    assert out is not None
    progress(total, total)
    return out
