"""What a model family is to the rest of the engine. One file per family implements it; nodes know only this.

A run goes: `encode_text` → `bind` once (conditioning, guidance and shapes are fixed) → for each solver step
`Bound.predict` → `decode`. The sampling loop never sees a family's layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from engine.graph.values import ConditioningEntry, Patch
from engine.prompts.grammar import ParsedPrompt
from engine.sampling.flow_space import Space


@dataclass(frozen=True)
class LatentSpace:
    """id        latents of another id are refused
    channels  of one latent as the denoiser sees it before any packing
    factor    pixels for each latent cell, in both directions
    frames    pictures for each latent frame (1 for still-picture families)
    """

    id: str
    channels: int
    factor: int
    frames: int = 1

    def shape(self, batch: int, width: int, height: int) -> tuple[int, int, int, int]:
        """The latent shape of `batch` pictures of width × height pixels."""
        return batch, self.channels, height // self.factor, width // self.factor


@dataclass(frozen=True)
class BindRequest:
    """What a run is bound to.

    shape     of the latent, [B, C, h, w]
    cfg       guidance: u + s·(c − u); 1 leaves the unconditional pass out
    inpaint   (mask [B or 1, 1, h, w], masked-picture latent [B or 1, C, h, w]) for models with channels for them
    inpaint_mask  that mask at full size, [B or 1, 1, H, W], where it is known
    patches   of the model handle, in order
    noise     the noise space as the patches leave it; None: the model's own
    style, middle, cfg_2   as GuiderValue's
    apart     one side of the guidance after the other, to save memory, where they could go as one batch
    unguided  the negative side is asked for whatever `cfg` is
    """

    positive: tuple[ConditioningEntry, ...]
    negative: tuple[ConditioningEntry, ...]
    cfg: float
    shape: tuple[int, int, int, int]
    inpaint: tuple[torch.Tensor, torch.Tensor] | None = None
    patches: tuple[Patch, ...] = ()
    noise: Space | None = None
    style: str = "cfg"
    middle: tuple[ConditioningEntry, ...] = ()
    cfg_2: float = 1.0
    inpaint_mask: torch.Tensor | None = None
    apart: bool = False
    unguided: bool = False


class Bound(Protocol):
    """A denoiser bound to its conditioning."""

    def predict(self, x: torch.Tensor, timestep: torch.Tensor, fraction: float) -> torch.Tensor:
        """The guided network output for `x` float32 [B, C, h, w], already scaled for the network.

        timestep  a tensor without dimensions, or one value for each item or token
        fraction  how much of the whole schedule is done, 0..1: conditioning may hold for a part of it only
        """
        ...


@dataclass(frozen=True)
class EncodedText:
    """`ignored` is the text that did not fit the encoder, empty when all of it did.

    `notes` are sentences for the person: constructs of the prompt that this family does not read.
    """

    entries: tuple[ConditioningEntry, ...]
    tokens: int
    limit: int
    ignored: str = ""
    notes: tuple[str, ...] = ()


class Autoencoder(Protocol):
    """Between pictures and latents."""

    @property
    def latent_space(self) -> LatentSpace: ...

    @property
    def device(self) -> torch.device: ...

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """float32 [B, 3, H, W] in −1..1 → latents in model space, the mean of the encoder's distribution."""
        ...

    def decode(self, samples: torch.Tensor) -> torch.Tensor:
        """Latents in model space → float32 [B, 3, H, W] in about −1..1."""
        ...


class Family(Autoencoder, Protocol):
    """A loaded model of one family. Parts load when first asked for."""

    name: str

    @property
    def noise_space(self) -> Space: ...

    def encode_text(self, text: str | ParsedPrompt, clip_skip: int = 0, patches: tuple[Patch, ...] = ()) -> EncodedText:
        """The conditioning of a prompt, a str taken literally. Raises InvalidRequest if `clip_skip` leaves no layer."""
        ...

    def bind(self, request: BindRequest) -> Bound:
        """Raises InvalidRequest when the model can't take what is asked (in-painting channels, embedding width)."""
        ...

    def network_for(self, sigma: float) -> str:
        """Which of the family's denoisers works at this noise level (some have two experts, or a refiner)."""
        ...

    def meta_inputs(self, shape: tuple[int, int, int, int]) -> Mapping[str, tuple[int, ...]]:
        """Input shapes of the denoiser's forward for a dry run on the meta device."""
        ...

    def reference_pipeline(self, task: str) -> Any:
        """diffusers' own pipeline over the same parts, for the parity test: "txt2img", "img2img" or "inpaint"."""
        ...
