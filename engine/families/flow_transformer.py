"""What the flow-matching transformer families share: parts, patches, noise, guidance and the mixing of prompts.

A family is a `FlowFamily` with `encode_text` and `denoiser(request)`. The denoiser is bound to one run and is asked

    denoiser(entries, x, timestep, fraction) -> velocity

for one prompt entry or, where `batched` allows, for several of one shape together. Packing, position ids, references
and controls are the family's own; everything between the answers and the solver is `BoundFlow`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, ClassVar, Protocol, TypeAlias

import torch

from engine.contracts.errors import InvalidRequest, MissingModel
from engine.contracts.references import ModelRef
from engine.families.autoencoder import KLAutoencoder, Parts
from engine.families.entities import refuse_entities
from engine.families.guided import Asked, GuidedNetwork
from engine.families.patched import PatchedParts, no_others
from engine.families.protocol import Autoencoder, BindRequest, Bound, EncodedText, LatentSpace
from engine.graph.values import ConditioningEntry, Patch
from engine.models.adapters.apply import Weights
from engine.prompts.grammar import ParsedPrompt
from engine.sampling.flow_space import FlowSpace, Laid
from engine.sampling.guidance import guided

# A prompt as nodes give it: one text for every encoder, or one for each encoder by name.
Text: TypeAlias = str | ParsedPrompt | Mapping[str, str | ParsedPrompt]
# (unconditional, conditional, scale) → guided velocity, all [B, C, h, w]
Combine: TypeAlias = Callable[[torch.Tensor, torch.Tensor, float], torch.Tensor]


class Denoiser(Protocol):
    """A network bound to one run."""

    def __call__(
        self, entries: Sequence[ConditioningEntry], x: torch.Tensor, timestep: torch.Tensor, fraction: float
    ) -> torch.Tensor:
        """The velocity noise − x₀, float32 [n·B, C, h, w].

        entries   n prompts, all of one embedding shape
        x         float32 [n·B, C, h, w]: the latent once for each entry
        timestep  σ · 1000, a tensor without dimensions
        fraction  how much of the run is done, 0..1
        """
        ...


class BoundFlow(GuidedNetwork):
    """A denoiser with its prompts: guidance, AND branches, regions and schedules. See protocol.Bound.

    batched  one forward for all sides, unconditional first, where each is one plain prompt of the same shape
    combine  the family's guidance instead of u + s·(c − u), where no patch says another
    """

    def __init__(
        self, request: BindRequest, space: FlowSpace, denoiser: Denoiser, *, batched: bool = False,
        combine: Combine = guided,
    ) -> None:  # fmt: skip
        self._denoiser, self._batched, self._combine = denoiser, batched, combine
        super().__init__(request, space)

    def _alike(self, entry: ConditioningEntry) -> Hashable:
        return _form(entry) if self._batched else id(entry)

    def _ask(self, x: torch.Tensor, timestep: torch.Tensor, fraction: float, asked: tuple[Asked, ...]) -> torch.Tensor:
        return self._denoiser([entry for entry, _ in asked], x, timestep, fraction)

    def _guide(self, negative: torch.Tensor, positive: torch.Tensor, cfg: float) -> torch.Tensor:
        return self._combine(negative, positive, cfg)


def _form(entry: ConditioningEntry) -> Hashable:
    """What must be alike for two prompts to run as one batch: shapes, and what is drawn in besides."""
    extras = dict(entry.extras)
    said = tuple(sorted((name, value) for name, value in extras.items() if isinstance(value, (int, float, str))))
    shown = tuple(
        (name, id(value)) for name, value in sorted(extras.items()) if name in ("references", "controls", "patches")
    )
    return entry.embedding.shape, None if entry.pooled is None else entry.pooled.shape, said, shown


class FlowFamily:
    """A loaded model of a flow-matching transformer family. `parts` gives each part and loads it when first asked.

    `others` gives what comes with patches and prompts: the tensors of a LoRA, the module of a ControlNet.
    Subclasses say `name`, how times are `laid`, their `autoencoder_class` and the `pipelines` they equal, and define
    `encode_text` and `denoiser`; `batched`, `entities`, `combine`, `network_part` and `patch` where they differ.
    """

    name: ClassVar[str]
    laid: ClassVar[Laid] = "even"
    patch: ClassVar[int] = 2  # latent cells for each token, in both directions
    batched: ClassVar[bool] = False
    entities: ClassVar[bool] = False  # whether places of the picture can be given prompts of their own (EliGen)
    network_part: ClassVar[str] = "transformer"
    autoencoder_class: ClassVar[type[Any]] = KLAutoencoder  # (parts, device) → protocol.Autoencoder
    usual_space: ClassVar[LatentSpace | None] = None  # of a diffusion model that came without its autoencoder
    pipelines: ClassVar[Mapping[str, str]] = MappingProxyType({})

    def __init__(
        self, parts: Parts, device: torch.device, dtype: torch.dtype, title: str = "",
        others: Callable[[ModelRef], Any] = no_others,
    ) -> None:  # fmt: skip
        self._parts, self._device, self._dtype = parts, device, dtype
        self._title = title or "this model"
        self._others = others
        self.patched = PatchedParts(parts, others, self.name)
        self._autoencoder: Autoencoder = self.autoencoder_class(parts, device)

    # The autoencoder's side

    @property
    def device(self) -> torch.device:
        return self._device

    @property
    def latent_space(self) -> LatentSpace:
        try:
            return self._autoencoder.latent_space
        except MissingModel:
            if self.usual_space is None:
                raise
            return self.usual_space

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """See Autoencoder.encode."""
        return self._autoencoder.encode(pixels)

    def decode(self, samples: torch.Tensor) -> torch.Tensor:
        """See Autoencoder.decode."""
        return self._autoencoder.decode(samples)

    # The denoiser's side

    @property
    def noise_space(self) -> FlowSpace:
        space: FlowSpace = self._parts("scheduler")
        return replace(space, laid=self.laid, patch=self.patch)

    def network_for(self, sigma: float) -> str:
        return self.network_part

    def encode_text(
        self, text: Text, clip_skip: int = 0, patches: tuple[Patch, ...] = (), *, images: Sequence[torch.Tensor] = ()
    ) -> EncodedText:
        """See Family.encode_text; `images` float32 [1, 3, H, W] in 0..1, for encoders that see."""
        raise NotImplementedError

    def denoiser(self, request: BindRequest) -> Denoiser:
        """The network bound to a run. Raises InvalidRequest when the model can't take what is asked."""
        raise NotImplementedError

    def combine(self, unconditional: torch.Tensor, conditional: torch.Tensor, scale: float) -> torch.Tensor:
        """The family's guidance: u + s·(c − u)."""
        return guided(unconditional, conditional, scale)

    def weights(self, part: str, patches: Sequence[Patch]) -> Weights:
        """The tensors of a part that LoRAs change."""
        return self.patched.weights(part, patches)

    def prompt_weights(self, request: BindRequest) -> Mapping[int, Weights]:
        """By identity of the prompt entry: the tensors of the network that LoRAs change for it."""
        return self.patched.for_prompts(self.network_part, request)

    def bind(self, request: BindRequest) -> Bound:
        """See Family.bind. The latent must be whole tokens, as the transformer cuts it."""
        if any(edge % self.patch for edge in request.shape[-2:]):
            multiple = self.latent_space.factor * self.patch
            raise InvalidRequest(
                f"{self._title} makes pictures whose edges are multiples of {multiple} pixels",
                where="size", fix=f"Choose a width and a height that {multiple} divides",
            )  # fmt: skip
        if not self.entities:
            refuse_entities(request, self._title)
        space = request.noise if isinstance(request.noise, FlowSpace) else self.noise_space.resolved(request.shape, 1)
        return BoundFlow(request, space, self.denoiser(request), batched=self.batched, combine=self.combine)

    def check_width(self, request: BindRequest, width: int, pooled: int = 0) -> None:
        """Raises InvalidRequest unless each prompt is `width` wide, and its pooled part `pooled` unless that is 0."""
        for entry in (*request.positive, *request.negative, *request.middle):
            found = entry.embedding.shape[-1]
            if found != width:
                raise InvalidRequest(
                    f"the prompt was encoded {found} wide and {self._title} reads {width}",
                    where="conditioning", fix="Encode it with the text encoders of the same model",
                )  # fmt: skip
            if pooled and (entry.pooled is None or entry.pooled.shape[-1] != pooled):
                raise InvalidRequest(
                    f"the prompt has no pooled part {pooled} wide, which {self._title} reads",
                    where="conditioning", fix="Encode it with the text encoders of the same model",
                )  # fmt: skip

    def meta_inputs(self, shape: tuple[int, int, int, int]) -> Mapping[str, tuple[int, ...]]:
        """See Family.meta_inputs."""
        raise NotImplementedError

    def reference_pipeline(self, task: str) -> Any:
        """diffusers' own pipeline over the same parts."""
        import inspect

        import diffusers

        kind = getattr(diffusers, self.pipelines[task])
        scheduler = diffusers.FlowMatchEulerDiscreteScheduler(**self._parts("scheduler").as_config())
        parts: dict[str, Any] = {"scheduler": scheduler}
        for part, parameter in inspect.signature(kind.__init__).parameters.items():
            if part not in ("self", "scheduler") and parameter.default is inspect.Parameter.empty:
                parts[part] = self._parts(part)
        pipeline = kind(**parts)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline


def position_ids(rows: int, columns: int, device: torch.device, dtype: torch.dtype, first: int = 0) -> torch.Tensor:
    """Flux's ids of a picture's tokens, [rows·columns, 3]: (which picture, row, column)."""
    ids = torch.zeros(rows, columns, 3)
    ids[..., 0] = first
    ids[..., 1] += torch.arange(rows)[:, None]
    ids[..., 2] += torch.arange(columns)[None, :]
    return ids.reshape(rows * columns, 3).to(device=device, dtype=dtype)


def packed(latent: torch.Tensor) -> torch.Tensor:
    """[B, C, h, w] → tokens of 2×2 cells, [B, (h/2)·(w/2), 4·C] (Flux, Chroma, Qwen-Image)."""
    batch, channels, height, width = latent.shape
    cells = latent.reshape(batch, channels, height // 2, 2, width // 2, 2).permute(0, 2, 4, 1, 3, 5)
    return cells.reshape(batch, (height // 2) * (width // 2), channels * 4)


def unpacked(tokens: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Back again: [B, (h/2)·(w/2), 4·C] → [B, C, h, w], `height` and `width` in cells."""
    batch, _, channels = tokens.shape
    cells = tokens.reshape(batch, height // 2, width // 2, channels // 4, 2, 2).permute(0, 3, 1, 4, 2, 5)
    return cells.reshape(batch, channels // 4, height, width)
