"""Family sd15: Stable Diffusion 1.x in diffusers' layout (2112.10752).

CLIP-L, UNet2DConditionModel with 4 or 9 channels, AutoencoderKL. The
reference is diffusers' StableDiffusionPipeline, …Img2ImgPipeline and …InpaintPipeline.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.func import functional_call

from engine.contracts.errors import InvalidRequest
from engine.contracts.references import ModelRef
from engine.families.autoencoder import KLAutoencoder, Parts
from engine.families.clip_prompts import encode_prompt
from engine.families.controls import bound_controls
from engine.families.protocol import BindRequest, Bound, EncodedText
from engine.families.unet import BoundUNet, Network, freeu_of
from engine.graph.values import Patch
from engine.models.lora import Weights, merged
from engine.prompts.grammar import ParsedPrompt, literal
from engine.sampling.noise_space import NoiseSpace


def no_others(ref: ModelRef) -> Any:
    """For a family that is used alone: there are no LoRAs and no ControlNets."""
    raise InvalidRequest(f"“{ref.name}” can't be loaded here", where=ref.kind)


class StableDiffusion15(KLAutoencoder):
    """A loaded sd15 model. `parts` gives each part by name and loads it when first asked.

    `others` gives what comes with patches and prompts: the tensors of a LoRA, the module of a ControlNet.
    """

    name = "sd15"

    def __init__(
        self, parts: Parts, device: torch.device, dtype: torch.dtype, title: str = "",
        others: Callable[[ModelRef], Any] = no_others,
    ) -> None:  # fmt: skip
        super().__init__(parts, device)
        self._dtype = dtype
        self._title = title or "this model"
        self._others = others
        self._merged: dict[str, tuple[tuple[Patch, ...], Weights]] = {}

    @property
    def noise_space(self) -> NoiseSpace:
        space: NoiseSpace = self._parts("scheduler")
        return space

    def network_for(self, sigma: float) -> str:
        return "unet"

    @torch.no_grad()
    def encode_text(self, text: str | ParsedPrompt, clip_skip: int = 0, patches: tuple[Patch, ...] = ()) -> EncodedText:
        prompt = literal(text) if isinstance(text, str) else text
        encoder = self._parts("text_encoder")
        weights = self._weights("text_encoder", patches)

        def run(ids: torch.Tensor) -> torch.Tensor:
            return self._run_encoder(encoder, ids.to(self._device), clip_skip, weights).float().cpu()

        return encode_prompt(prompt, self._parts("tokenizer"), run)

    def _run_encoder(self, encoder: Any, ids: torch.Tensor, clip_skip: int, weights: Weights) -> torch.Tensor:
        layers = int(encoder.config.num_hidden_layers)
        if not 0 <= clip_skip < layers:
            raise InvalidRequest(
                f"CLIP skip is {clip_skip}, and {self._title} has {layers} text layers",
                where="CLIP skip", fix=f"Use 0 to {layers - 1}",
            )  # fmt: skip
        if clip_skip == 0:
            last: torch.Tensor = functional_call(encoder, weights, (ids,))[0]
            return last
        states = functional_call(encoder, weights, (ids,), {"output_hidden_states": True}).hidden_states
        # transformers 5 dropped the inner `text_model`.
        normed: torch.Tensor = getattr(encoder, "text_model", encoder).final_layer_norm(states[-(clip_skip + 1)])
        return normed

    def _weights(self, part: str, patches: Sequence[Patch]) -> Weights:
        """The tensors of a part that LoRAs change, merged from its untouched masters; the last stack is kept."""
        stack = tuple(patch for patch in patches if patch.kind == "lora")
        if not stack:
            self._merged.pop(part, None)
            return {}
        known = self._merged.get(part)
        if known is None or known[0] != stack:
            module = self._parts(part)
            weights: Weights = {}
            for patch in stack:
                settings = dict(patch.settings)
                weights = merged(module, part, self._others(settings["weights"]), settings["strength"], weights)
            known = self._merged[part] = (stack, weights)
        return known[1]

    def bind(self, request: BindRequest) -> Bound:
        unet = self._parts("unet")
        width = int(unet.config.cross_attention_dim)
        for entry in (*request.positive, *request.negative, *request.middle):
            if entry.embedding.shape[-1] != width:
                raise InvalidRequest(
                    f"the prompt was encoded {entry.embedding.shape[-1]} wide and {self._title} reads {width}",
                    where="conditioning", fix="Encode it with the CLIP of the same checkpoint",
                )  # fmt: skip
        noise = request.noise or self.noise_space
        network = Network(unet, self._device, self._dtype, self._weights("unet", request.patches), freeu_of(request))
        controls = bound_controls(request, network, self._others)
        return BoundUNet(network, request, noise, self._inpaint_channels(unet, request), controls)

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
