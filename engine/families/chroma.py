"""Family chroma: Chroma (lodestone-rock's), Flux's transformer with its guidance taken out again.

T5 alone, real guidance with a negative prompt, Flux's autoencoder. Padding is attended to nowhere but at its first
token: neither in T5 nor in the transformer. It is therefore left away; that is the same, and shorter. diffusers'
ChromaPipeline means the same but hands its mask on as numbers, which attention adds instead of masking by them
(diffusers issue 12116): the reference for parity is that pipeline given boolean masks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import torch

from engine.contracts.errors import InvalidRequest
from engine.families.flow_transformer import Denoiser, FlowFamily, Text
from engine.families.flux import BoundPacked
from engine.families.protocol import BindRequest, EncodedText
from engine.families.t5_text import padding, t5_embedding, t5_tokens
from engine.families.wordings import encode_wordings
from engine.graph.values import Patch

T5_LIMIT = 512


class Chroma(FlowFamily):
    """A loaded Chroma model."""

    name = "chroma"
    pipelines = MappingProxyType(
        {"txt2img": "ChromaPipeline", "img2img": "ChromaImg2ImgPipeline", "inpaint": "ChromaInpaintPipeline"}
    )

    def encode_text(
        self, text: Text, clip_skip: int = 0, patches: tuple[Patch, ...] = (), *, images: Sequence[torch.Tensor] = ()
    ) -> EncodedText:
        """See FlowFamily.encode_text; its one encoder is "t5xxl". Prompts are cut off at 512 tokens."""
        if clip_skip:
            raise InvalidRequest("Chroma has no CLIP encoder whose layers could be skipped", where="CLIP skip",
                                 fix="Set it to 0")  # fmt: skip
        encoder, tokenizer = self._parts("text_encoder"), self._parts("tokenizer")
        weights, asked = self.weights("text_encoder", patches), padding(patches, 1)
        filled = replace(asked, beyond=max(asked.beyond, 1))  # one token of padding is read

        def encode(wording: str) -> tuple[torch.Tensor, int, str]:
            tokens = t5_tokens(tokenizer, wording, T5_LIMIT, filled)
            return t5_embedding(encoder, tokens, self._device, weights, masked=True), tokens.own, tokens.ignored

        return encode_wordings(text, "t5xxl", "Chroma", T5_LIMIT, encode)

    def denoiser(self, request: BindRequest) -> Denoiser:
        self.check_width(request, int(self._parts("transformer").config.joint_attention_dim))
        return BoundPacked(self, request)

    def meta_inputs(self, shape: tuple[int, int, int, int]) -> Mapping[str, tuple[int, ...]]:
        config: Any = self._parts("transformer").config
        batch, _, height, width = shape
        tokens = (height // 2) * (width // 2)
        return {
            "hidden_states": (batch, tokens, int(config.in_channels)),
            "encoder_hidden_states": (batch, T5_LIMIT, int(config.joint_attention_dim)),
            "timestep": (batch,), "img_ids": (tokens, 3), "txt_ids": (T5_LIMIT, 3),
        }  # fmt: skip
