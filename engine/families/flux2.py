"""Family flux2: Flux.2 klein (4B, 9B, base and distilled) and dev, in diffusers' layout.

Qwen3 (klein) or Mistral (dev) reads the prompt, three of its layers side by side; Flux2Transformer2DModel draws and
looks at reference pictures; AutoencoderKLFlux2 decodes. The reference is diffusers' Flux2KleinPipeline,
Flux2KleinInpaintPipeline and Flux2Pipeline.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import torch

from engine.contracts.errors import InvalidRequest
from engine.families.flow_transformer import FlowFamily
from engine.families.flux2_autoencoder import FLUX2_SPACE, Flux2Autoencoder
from engine.families.language_text import hidden_states, tokenised, words_of
from engine.families.latent_controls import references_of
from engine.families.moments import Text
from engine.families.patched import run
from engine.families.protocol import BindRequest, EncodedText, LatentSpace
from engine.families.wordings import encode_wordings
from engine.graph.values import ConditioningEntry, Patch
from engine.models.adapters.apply import Weights
from engine.sampling.flow_space import EmpiricalShift, FlowSpace

LIMIT = 512  # tokens, those of the template among them; shorter prompts are filled up to it
USUAL_GUIDANCE = 4.0  # what dev is told where no node says another
_BETWEEN_REFERENCES = 10  # how far apart pictures lie on the first axis of the ids


@dataclass(frozen=True)
class _Reader:
    """How a language model is asked: its template around the prompt, and which of its layers are read."""

    before: str
    after: str
    layers: tuple[int, ...]


_QWEN3 = _Reader(
    "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n", (9, 18, 27)
)  # fmt: skip
_MISTRAL = _Reader(
    "[SYSTEM_PROMPT]You are an AI that reasons about image descriptions. You give structured responses focusing on "
    "object relationships, object\nattribution and actions without speculation.[/SYSTEM_PROMPT][INST]",
    "[/INST]", (10, 20, 30),
)  # fmt: skip


class Flux2(FlowFamily):
    """A loaded flux2 model, see engine.families.protocol.Family."""

    name = "flux2"
    patch = 1  # the autoencoder folds its cells already
    autoencoder_class = Flux2Autoencoder
    usual_space = LatentSpace(FLUX2_SPACE, 128, 16)
    pipelines = MappingProxyType({"txt2img": "Flux2KleinPipeline", "inpaint": "Flux2KleinInpaintPipeline"})

    @property
    def noise_space(self) -> FlowSpace:
        space = super().noise_space
        return replace(space, by_size=EmpiricalShift()) if space.by_size is not None else space

    @torch.no_grad()
    def encode_text(
        self, text: Text, clip_skip: int = 0, patches: tuple[Patch, ...] = (), *, images: Sequence[torch.Tensor] = ()
    ) -> EncodedText:
        """See Family.encode_text; pictures are not read (they are references)."""
        tokenizer, encoder = self._parts("tokenizer"), self._parts("text_encoder")
        weights = self.weights("text_encoder", patches)
        mistral = "mistral" in str(encoder.config.model_type)
        reader = _MISTRAL if mistral else _QWEN3
        before = reader.before
        if mistral:
            before = words_of(tokenizer).bos_token + before

        def encode(words: str) -> tuple[torch.Tensor, int, str]:
            words = words.replace("[IMG]", "") if mistral else words
            taken = tokenised(tokenizer, before, words, reader.after, LIMIT, padded=True)
            inputs = {"input_ids": taken.ids.to(self._device), "attention_mask": taken.mask.to(self._device)}
            states = hidden_states(encoder, inputs, reader.layers, weights)
            return torch.cat(states, dim=-1).float().cpu(), taken.own, taken.ignored

        return encode_wordings(text, "mistral" if mistral else "qwen", "Flux.2", LIMIT, encode)

    def denoiser(self, request: BindRequest) -> _Denoiser:
        transformer = self._parts("transformer")
        self.check_width(request, int(transformer.config.joint_attention_dim))
        if request.inpaint is not None:
            raise InvalidRequest(
                f"{self._title} is not an in-painting model: it has no channels for a masked picture",
                where="latent", fix="Use “Set noise mask” with it",
            )  # fmt: skip
        entries = (*request.positive, *request.negative, *request.middle)
        if any(dict(entry.extras).get("controls") for entry in entries):
            raise InvalidRequest(
                "there are no ControlNets for Flux.2", where="control",
                fix="Give the picture as a reference (“Reference latent”) and say in the prompt what it is",
            )  # fmt: skip
        channels = self.latent_space.channels
        references = {id(entry): references_of(entry, channels, self._title) for entry in entries}
        weights = self.prompt_weights(request)
        return _Denoiser(transformer, weights, self._device, self._dtype, references)

    def meta_inputs(self, shape: tuple[int, int, int, int]) -> Mapping[str, tuple[int, ...]]:
        config = self._parts("transformer").config
        batch, channels, height, width = shape
        return {
            "hidden_states": (batch, height * width, channels),
            "encoder_hidden_states": (batch, LIMIT, int(config.joint_attention_dim)),
            "timestep": (batch,),
            "img_ids": (batch, height * width, 4),
            "txt_ids": (batch, LIMIT, 4),
            **({"guidance": (batch,)} if config.guidance_embeds else {}),
        }


class _Denoiser:
    """The transformer bound to a run, see flow_transformer.Denoiser.

    references  by identity of the prompt entry, latents [1, C, h, w]
    """

    def __init__(
        self,
        transformer: Any,
        weights: Mapping[int, Weights],
        device: torch.device,
        dtype: torch.dtype,
        references: Mapping[int, tuple[torch.Tensor, ...]],
    ) -> None:
        self._transformer, self._weights, self._device, self._dtype = transformer, weights, device, dtype
        self._references = references
        self._is_told = bool(transformer.config.guidance_embeds)

    def __call__(
        self, entries: Sequence[ConditioningEntry], x: torch.Tensor, timestep: torch.Tensor, fraction: float
    ) -> torch.Tensor:
        (entry,) = entries
        batch, channels, height, width = x.shape
        latents = [x, *(latent.expand(batch, -1, -1, -1) for latent in self._references[id(entry)])]
        tokens = [latent.to(self._device, self._dtype).flatten(2).transpose(1, 2) for latent in latents]
        places = [_picture_ids(place, *latent.shape[-2:]) for place, latent in enumerate(latents)]
        told = dict(entry.extras).get("guidance", USUAL_GUIDANCE)
        guidance = torch.full((batch,), float(told), device=self._device) if self._is_told else None
        output = run(
            self._transformer, self._weights[id(entry)],
            hidden_states=torch.cat(tokens, dim=1),
            encoder_hidden_states=entry.embedding.to(self._device, self._dtype).expand(batch, -1, -1),
            timestep=timestep.expand(batch).to(self._device, self._dtype) / 1000,
            guidance=guidance,
            img_ids=torch.cat(places)[None].expand(batch, -1, -1).to(self._device),
            txt_ids=_word_ids(entry.embedding.shape[1])[None].expand(batch, -1, -1).to(self._device),
            return_dict=False,
        )[0]  # fmt: skip
        own: torch.Tensor = output[:, : height * width].float()
        return own.transpose(1, 2).reshape(batch, channels, height, width)


def _picture_ids(place: int, height: int, width: int) -> torch.Tensor:
    """int64 [h·w, 4]: (picture, row, column, 0); the picture that is made is 0, references are 10, 20, …"""
    first = torch.tensor([place * _BETWEEN_REFERENCES])
    return torch.cartesian_prod(first, torch.arange(height), torch.arange(width), torch.arange(1))


def _word_ids(tokens: int) -> torch.Tensor:
    """int64 [tokens, 4]: (0, 0, 0, place in the prompt)."""
    return torch.cartesian_prod(torch.arange(1), torch.arange(1), torch.arange(1), torch.arange(tokens))
