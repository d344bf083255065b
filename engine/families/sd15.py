"""Family sd15: Stable Diffusion 1.x in diffusers' layout (2112.10752).

CLIP-L, UNet2DConditionModel with 4 or 9 channels, AutoencoderKL. The
reference is diffusers' StableDiffusionPipeline, …Img2ImgPipeline and …InpaintPipeline.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from engine.contracts.errors import InvalidRequest
from engine.families.clip_prompts import encode_prompt
from engine.families.protocol import BindRequest, Bound, EncodedText, LatentSpace
from engine.graph.values import ConditioningEntry
from engine.prompts.grammar import ParsedPrompt, literal
from engine.sampling.guidance import guided, is_composed, is_plain, mixed
from engine.sampling.noise_space import NoiseSpace

STANDARD_SCALING = 0.18215

Parts = Callable[[str], Any]


class StableDiffusion15:
    """A loaded sd15 model. `parts` gives each part by name and loads it when first asked."""

    name = "sd15"

    def __init__(self, parts: Parts, device: torch.device, dtype: torch.dtype, title: str = "") -> None:
        self._parts = parts
        self._device = device
        self._dtype = dtype
        self._title = title or "this model"

    @property
    def device(self) -> torch.device:
        return self._device

    @property
    def latent_space(self) -> LatentSpace:
        config = self._parts("vae").config
        scaling = float(config.scaling_factor)
        # Latents of an autoencoder trained apart (the starter model's) mean nothing to Stable Diffusion's own.
        same = abs(scaling - STANDARD_SCALING) < 1e-9 and config.latent_channels == 4
        factor = 2 ** (len(config.block_out_channels) - 1)
        return LatentSpace("sd15" if same else f"sd15-{scaling:.6g}", int(config.latent_channels), factor)

    @property
    def noise_space(self) -> NoiseSpace:
        space: NoiseSpace = self._parts("scheduler")
        return space

    def network_for(self, sigma: float) -> str:
        return "unet"

    @torch.no_grad()
    def encode_text(self, text: str | ParsedPrompt, clip_skip: int = 0) -> EncodedText:
        prompt = literal(text) if isinstance(text, str) else text
        encoder = self._parts("text_encoder")

        def run(ids: torch.Tensor) -> torch.Tensor:
            return self._run_encoder(encoder, ids.to(self._device), clip_skip).float().cpu()

        return encode_prompt(prompt, self._parts("tokenizer"), run)

    def _run_encoder(self, encoder: Any, ids: torch.Tensor, clip_skip: int) -> torch.Tensor:
        layers = int(encoder.config.num_hidden_layers)
        if not 0 <= clip_skip < layers:
            raise InvalidRequest(
                f"CLIP skip is {clip_skip}, and {self._title} has {layers} text layers",
                where="CLIP skip", fix=f"Use 0 to {layers - 1}",
            )  # fmt: skip
        if clip_skip == 0:
            last: torch.Tensor = encoder(ids)[0]
            return last
        states = encoder(ids, output_hidden_states=True).hidden_states
        # transformers 5 dropped the inner `text_model`.
        normed: torch.Tensor = getattr(encoder, "text_model", encoder).final_layer_norm(states[-(clip_skip + 1)])
        return normed

    def bind(self, request: BindRequest) -> Bound:
        unet = self._parts("unet")
        width = int(unet.config.cross_attention_dim)
        for entry in (*request.positive, *request.negative):
            if entry.embedding.shape[-1] != width:
                raise InvalidRequest(
                    f"the prompt was encoded {entry.embedding.shape[-1]} wide and {self._title} reads {width}",
                    where="conditioning", fix="Encode it with the CLIP of the same checkpoint",
                )  # fmt: skip
        return _BoundUNet(unet, request, self._inpaint_channels(unet, request), self._device, self._dtype)

    def _inpaint_channels(self, unet: Any, request: BindRequest) -> torch.Tensor | None:
        batch = request.shape[0]
        channels = int(unet.config.in_channels)
        if channels == request.shape[1]:
            if request.inpaint is not None:
                raise InvalidRequest(
                    f"{self._title} is not an in-painting model: it has no channels for a masked picture",
                    where="latent", fix="Use “Set noise mask” with it, or load a 9-channel in-painting model",
                )  # fmt: skip
            return None
        mask, masked = request.inpaint or self._nothing_kept(request.shape)
        pieces = [
            piece.to(self._device, torch.float32).expand(batch, -1, -1, -1) if piece.shape[0] == 1 else piece
            for piece in (mask, masked)
        ]
        return torch.cat(pieces, dim=1)

    def _nothing_kept(self, shape: tuple[int, int, int, int]) -> tuple[torch.Tensor, torch.Tensor]:
        # An in-painting model asked for a whole new picture: everything is masked, the kept picture is grey.
        factor = self.latent_space.factor
        grey = torch.zeros(1, 3, shape[2] * factor, shape[3] * factor)
        return torch.ones(1, 1, shape[2], shape[3]), self.encode(grey)

    @torch.no_grad()
    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        vae = self._parts("vae")
        items = [
            vae.encode(item[None].to(self._device, vae.dtype)).latent_dist.mode() * vae.config.scaling_factor
            for item in pixels
        ]
        return torch.cat(items).float().cpu()

    @torch.no_grad()
    def decode(self, samples: torch.Tensor) -> torch.Tensor:
        vae = self._parts("vae")
        # Item by item: memory stays that of one picture, and a picture decodes alike alone and in company.
        items = [
            vae.decode(item[None].to(self._device, vae.dtype) / vae.config.scaling_factor, return_dict=False)[0]
            for item in samples
        ]
        return torch.cat(items).float().cpu()

    def meta_inputs(self, shape: tuple[int, int, int, int]) -> Mapping[str, tuple[int, ...]]:
        unet, tokenizer = self._parts("unet"), self._parts("tokenizer")
        batch, _, height, width = shape
        return {
            "sample": (2 * batch, int(unet.config.in_channels), height, width),
            "timestep": (),
            "encoder_hidden_states": (
                2 * batch, int(tokenizer.model_max_length), int(unet.config.cross_attention_dim)
            ),
        }  # fmt: skip

    def reference_pipeline(self, task: str) -> Any:
        import diffusers

        kind = {
            "txt2img": diffusers.StableDiffusionPipeline,
            "img2img": diffusers.StableDiffusionImg2ImgPipeline,
            "inpaint": diffusers.StableDiffusionInpaintPipeline,
        }[task]
        parts = {part: self._parts(part) for part in ("unet", "vae", "text_encoder", "tokenizer")}
        pipeline = kind(
            **parts,
            scheduler=diffusers.EulerDiscreteScheduler(steps_offset=1),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline


class _BoundUNet:
    """The UNet with its prompts. One prompt on each side runs as one batch, unconditional half first, as diffusers."""

    def __init__(
        self, unet: Any, request: BindRequest, channels: torch.Tensor | None, device: torch.device, dtype: torch.dtype
    ) -> None:
        self._unet, self._device, self._dtype = unet, device, dtype
        self._request, self._cfg = request, request.cfg
        batch = request.shape[0]
        self._guide = (request.cfg != 1.0 or is_composed(request.positive)) and bool(request.negative)
        self._scale_embedding: torch.Tensor | None = None
        if unet.config.time_cond_proj_dim is not None:
            # A distilled (LCM) network is told the guidance scale instead of being run twice.
            self._scale_embedding = _scale_embedding(request.cfg - 1, batch, int(unet.config.time_cond_proj_dim))
            self._scale_embedding = self._scale_embedding.to(device, dtype)
            self._guide = False
        sides = (request.negative, request.positive) if self._guide else (request.positive,)
        shapes = {entry.embedding.shape for side in sides for entry in side}
        self._plain = all(is_plain(side) for side in sides) and len(shapes) == 1
        self._together: torch.Tensor | None = None
        self._channels = None if channels is None else channels.to(device, torch.float32)
        self._both_channels = self._channels
        if self._plain:
            repeated = [side[0].embedding.to(device, dtype).expand(batch, -1, -1) for side in sides]
            self._together = torch.cat(repeated)
            if self._guide and self._channels is not None:
                self._both_channels = torch.cat([self._channels] * 2)

    def predict(self, x: torch.Tensor, timestep: torch.Tensor, fraction: float) -> torch.Tensor:
        if self._together is None:
            return self._predict_mixed(x, timestep, fraction)
        doubled = torch.cat([x] * 2) if self._guide else x
        output = self._forward(doubled, timestep, self._together, self._both_channels)
        if not self._guide:
            return output
        unconditional, conditional = output.chunk(2)
        return guided(unconditional, conditional, self._cfg)

    def _predict_mixed(self, x: torch.Tensor, timestep: torch.Tensor, fraction: float) -> torch.Tensor:
        def one(entry: ConditioningEntry) -> torch.Tensor:
            embedding = entry.embedding.to(self._device, self._dtype).expand(x.shape[0], -1, -1)
            return self._forward(x, timestep, embedding, self._channels)

        if not self._guide:
            return mixed(self._request.positive, fraction, x, one)
        unconditional = mixed(self._request.negative, fraction, x, one)
        return guided(unconditional, mixed(self._request.positive, fraction, x, one, unconditional), self._cfg)

    def _forward(
        self, x: torch.Tensor, timestep: torch.Tensor, embedding: torch.Tensor, channels: torch.Tensor | None
    ) -> torch.Tensor:
        if channels is not None:
            x = torch.cat([x, channels], dim=1)
        if x.dtype != self._dtype:
            x = x.to(self._dtype)
        output: torch.Tensor = self._unet(
            x, timestep, encoder_hidden_states=embedding, timestep_cond=self._scale_embedding, return_dict=False
        )[0]
        return output if output.dtype == torch.float32 else output.float()


def _scale_embedding(scale: float, batch: int, width: int) -> torch.Tensor:
    """Sinusoidal embedding of the guidance scale, [B, width] (2310.04378; diffusers' get_guidance_scale_embedding)."""
    values = torch.full((batch,), float(scale)) * 1000.0
    half = width // 2
    frequencies = torch.exp(torch.arange(half, dtype=torch.float32) * -(torch.log(torch.tensor(10000.0)) / (half - 1)))
    angles = values[:, None] * frequencies[None, :]
    embedding = torch.cat([torch.sin(angles), torch.cos(angles)], dim=1)
    return torch.nn.functional.pad(embedding, (0, width % 2))
