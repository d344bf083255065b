"""The values that travel along wires, and the annotations that name their sockets (see docs/values.md).

Torch-free at import. Values are never mutated: arrays come read-only from the executor, and a node that changes
pixels works on a copy.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from engine.contracts.references import BlobRef, ModelRef

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Socket:
    """Annotation mark: which socket type a Python type stands for."""

    type: str


@dataclass(frozen=True)
class LatentValue:
    """samples: float32 CPU tensor [B, C, h, w], for videos [B, C, frames, h, w], in the family's scaled model space.

    space       latent space id, e.g. "sd15" (4 channels, factor 8); families refuse latents of another space
    noise_mask  float32 CPU tensor [B or 1, 1, h, w] in 0..1, 1 = redraw; None = everything
    indices     which item of its batch each sample is, so that item i draws the same noise alone and in company
    inpaint     extra channels for in-painting models: (mask, masked-image latent); None otherwise
    inpaint_mask  that mask at full size, float32 [B or 1, 1, H, W], 0 or 1, for models that read it whole (Flux Fill)
    """

    samples: torch.Tensor
    space: str
    noise_mask: torch.Tensor | None = None
    indices: tuple[int, ...] = ()
    inpaint: tuple[torch.Tensor, torch.Tensor] | None = None
    inpaint_mask: torch.Tensor | None = None


@dataclass(frozen=True)
class ConditioningEntry:
    """One prompt's embedding and where and when it holds.

    embedding  float32 CPU tensor [1, tokens, width]; pooled [1, width] where the family has one
    area       (x, y, width, height) as fractions 0..1, or in latent cells when area_in_cells; None for everywhere
    mask       float32 array [H, W] in 0..1 or None
    steps      (start, end) as fractions of the run, 0..1
    extras     family-specific tensors and numbers (guidance, references, controls)
    """

    embedding: torch.Tensor
    pooled: torch.Tensor | None = None
    strength: float = 1.0
    area: tuple[float, float, float, float] | None = None
    mask: npt.NDArray[np.float32] | None = None
    steps: tuple[float, float] = (0.0, 1.0)
    extras: tuple[tuple[str, Any], ...] = ()
    area_in_cells: bool = False


@dataclass(frozen=True)
class Patch:
    """One typed change to a model: kind ("lora", "shift", "freeu"…) and its settings, hashable."""

    kind: str
    settings: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True, eq=False)
class ReferencePicture:
    """A latent as a patch carries it: equal to itself alone, so that patches stay hashable."""

    latent: LatentValue


@dataclass(frozen=True, eq=False)
class PictureSeen:
    """Pictures as an IP-Adapter's patch carries them, as a vision encoder saw them; equal to itself alone.

    summary    float32 [B, width]; tokens [B, n, width] of the encoder's layer before the last
    no_tokens  [1, n, width], those of a blank picture
    mask       float32 [H, W] in 0..1, where the pictures count; None for everywhere
    """

    summary: torch.Tensor
    tokens: torch.Tensor
    no_tokens: torch.Tensor
    mask: npt.NDArray[np.float32] | None = None


@dataclass(frozen=True)
class ModelHandle:
    """A denoiser by identity: light, hashable; the weights live in the session."""

    weights: ModelRef
    family: str
    patches: tuple[Patch, ...] = ()


@dataclass(frozen=True)
class TextEncoderHandle:
    """The text encoders of a checkpoint, or one loaded apart with `more` beside it.

    clip_skip counts layers left out from the end (0 = none).
    """

    weights: ModelRef
    family: str
    clip_skip: int = 0
    patches: tuple[Patch, ...] = ()
    more: tuple[ModelRef, ...] = ()


@dataclass(frozen=True)
class VAEHandle:
    weights: ModelRef
    family: str


@dataclass(frozen=True)
class ControlHandle:
    """A ControlNet by identity. `kind` is the hint a union ControlNet is told; "" for those that know one only."""

    weights: ModelRef
    family: str = ""
    kind: str = ""


@dataclass(frozen=True)
class VisionHandle:
    """A CLIP vision encoder by identity."""

    weights: ModelRef


@dataclass(frozen=True)
class UpscalerHandle:
    """An upscaling network by identity."""

    weights: ModelRef


@dataclass(frozen=True)
class VisionOutput:
    """What a vision encoder says of pictures: float32 CPU tensors, embedding [B, width], hidden [B, tokens, width]."""

    embedding: torch.Tensor
    hidden: torch.Tensor


@dataclass(frozen=True, eq=False)
class Control:
    """A picture that steers a run through a ControlNet or a T2I-Adapter.

    image     float32 [B, H, W, 3] in 0..1
    strength  weight of its residuals
    steps     (start, end) as fractions of the run
    both      whether it steers the negative side too
    mask      float32 [H, W] in 0..1, where in the picture it acts and how much; None for everywhere
    latent    float32 CPU tensor [B, C, h, w], the picture encoded where the node was given the autoencoder for it
    """

    handle: ControlHandle
    image: npt.NDArray[np.float32]
    strength: float = 1.0
    steps: tuple[float, float] = (0.0, 1.0)
    both: bool = True
    mask: npt.NDArray[np.float32] | None = None
    latent: torch.Tensor | None = None


@dataclass(frozen=True)
class NoiseValue:
    """Where the starting noise comes from; `seed` None means that none is added."""

    seed: int | None


@dataclass(frozen=True)
class SamplerValue:
    """A sampler by name with its own settings, hashable."""

    name: str
    settings: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class GuiderValue:
    """A model with its prompts and how their answers are combined.

    style   "cfg": n + s·(p − n) with s = cfg; 1 leaves the negative side out
            "dual": n + cfg_2·(m − n) + cfg·(p − m);  "nested": n + cfg_2·(m + cfg·(p − m) − n)
    middle  the second prompt (m) of the last two
    """

    model: ModelHandle
    positive: tuple[ConditioningEntry, ...]
    negative: tuple[ConditioningEntry, ...] = ()
    cfg: float = 1.0
    style: str = "cfg"
    middle: tuple[ConditioningEntry, ...] = ()
    cfg_2: float = 1.0


@dataclass(frozen=True)
class Video:
    """frames [T, H, W, 3] float32 0..1 sRGB, at `rate` frames per second."""

    frames: npt.NDArray[np.float32]
    rate: float
    audio: Any = None


@dataclass(frozen=True)
class Artifact:
    """What an output node yields: encoded bytes for the runner to store and, where asked, to export."""

    data: bytes
    media_type: str
    index: int
    name: str = ""
    width: int = 0
    height: int = 0
    facts: tuple[tuple[str, Any], ...] = field(default=())


@dataclass(frozen=True)
class ShapeInfo:
    """The size of a picture, mask or latent before it is made. `width` and `height` are always in pixels: for a latent,
    of the picture it stands for. `channels` None: not known, or a latent's own affair."""

    batch: int
    height: int
    width: int
    channels: int | None = None


# Annotations for node signatures. IMAGE float32 [B,H,W,C] 0..1 sRGB, C 3 or 4; MASK float32 [B,H,W], 1 = edit.
Image: TypeAlias = Annotated[npt.NDArray[np.float32], Socket("IMAGE")]
Mask: TypeAlias = Annotated[npt.NDArray[np.float32], Socket("MASK")]
Latent: TypeAlias = Annotated[LatentValue, Socket("LATENT")]
Conditioning: TypeAlias = Annotated[tuple[ConditioningEntry, ...], Socket("CONDITIONING")]
Model: TypeAlias = Annotated[ModelHandle, Socket("MODEL")]
Clip: TypeAlias = Annotated[TextEncoderHandle, Socket("CLIP")]
Vae: TypeAlias = Annotated[VAEHandle, Socket("VAE")]
ControlNet: TypeAlias = Annotated[ControlHandle, Socket("CONTROL_NET")]
ClipVision: TypeAlias = Annotated[VisionHandle, Socket("CLIP_VISION")]
ClipVisionOutput: TypeAlias = Annotated[VisionOutput, Socket("CLIP_VISION_OUTPUT")]
UpscaleModel: TypeAlias = Annotated[UpscalerHandle, Socket("UPSCALE_MODEL")]
# Noise levels of a run, falling as a rule; n + 1 of them are n steps. float32 [n + 1].
Sigmas: TypeAlias = Annotated[npt.NDArray[np.float32], Socket("SIGMAS")]
Noise: TypeAlias = Annotated[NoiseValue, Socket("NOISE")]
Sampler: TypeAlias = Annotated[SamplerValue, Socket("SAMPLER")]
Guider: TypeAlias = Annotated[GuiderValue, Socket("GUIDER")]
Blob: TypeAlias = Annotated[BlobRef, Socket("BLOB")]
Checkpoint: TypeAlias = Annotated[ModelRef, Socket("COMBO")]
VideoValue: TypeAlias = Annotated[Video, Socket("VIDEO")]
Anything: TypeAlias = Annotated[Any, Socket("*")]
