"""Family qwen_image: Qwen-Image and, given reference pictures, Qwen-Image-Edit (2508.02324), in diffusers' layout.

Qwen2.5-VL reads the prompt (and the pictures of an edit), QwenImageTransformer2DModel draws, AutoencoderKLQwenImage
decodes. The reference is diffusers' QwenImagePipeline, …Img2Img…, …Inpaint…, …Edit…, …EditPlus… and …ControlNet….
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the field's own name for it

from engine.contracts.errors import InvalidRequest
from engine.families.entities import entity_words, lengths_of, regions_of
from engine.families.flow_transformer import FlowFamily, packed, unpacked
from engine.families.language_text import hidden_states, tokenised
from engine.families.latent_controls import Controls, LatentControl, latent_controls, references_of
from engine.families.moments import Text
from engine.families.patched import run
from engine.families.protocol import BindRequest, EncodedText, LatentSpace
from engine.families.qwen_autoencoder import QWEN_SPACE, QwenAutoencoder
from engine.families.qwen_entities import EntityAttention, attending_by
from engine.families.qwen_vision import IMAGE_PAD, seen
from engine.families.wordings import encode_wordings
from engine.graph.values import ConditioningEntry, Patch
from engine.models.adapters.apply import Weights

LIMIT = 1024  # tokens of the prompt itself
_SYSTEM = (
    "Describe the image by detailing the color, shape, size, texture, quantity, text, spatial relationships of the "
    "objects and background:"
)
_EDIT_SYSTEM = (
    "Describe the key features of the input image (color, shape, size, texture, objects, background), then explain how "
    "the user's text instruction should alter or modify the image. Generate a new image that meets the user's "
    "requirements while maintaining consistency with the original input where appropriate."
)
# The system message is not passed on: that many tokens are dropped at the start (diffusers' prompt_template_encode_…).
_DROPPED, _EDIT_DROPPED = 34, 64
_AFTER = "<|im_end|>\n<|im_start|>assistant\n"
_PICTURE = f"<|vision_start|>{IMAGE_PAD}<|vision_end|>"


def _before(system: str) -> str:
    return f"<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n"


class QwenImage(FlowFamily):
    """A loaded qwen_image model, see engine.families.protocol.Family."""

    name = "qwen_image"
    entities = True
    autoencoder_class = QwenAutoencoder
    usual_space = LatentSpace(QWEN_SPACE, 16, 8)
    pipelines = MappingProxyType(
        {
            "txt2img": "QwenImagePipeline",
            "img2img": "QwenImageImg2ImgPipeline",
            "inpaint": "QwenImageInpaintPipeline",
        }
    )

    @torch.no_grad()
    def encode_text(
        self,
        text: Text,
        clip_skip: int = 0,
        patches: tuple[Patch, ...] = (),
        *,
        images: Sequence[torch.Tensor] = (),
        numbered: bool = True,
    ) -> EncodedText:
        """The conditioning of a prompt, or of what to do with `images`, float32 [1, 3, H, W] in 0..1 each.

        numbered  the pictures are told by number (Qwen-Image-Edit-2509 and later); False: as the first one was told
        """
        tokenizer, encoder = self._parts("tokenizer"), self._parts("text_encoder")
        weights = self.weights("text_encoder", patches)
        sight = seen(images, encoder.config.vision_config) if images else None
        before, dropped = (_before(_EDIT_SYSTEM), _EDIT_DROPPED) if sight else (_before(_SYSTEM), _DROPPED)
        if sight:
            shown = (f"Picture {place + 1}: {_PICTURE}" if numbered else _PICTURE for place in range(len(images)))
            before += sight.widened("".join(shown))

        def encode(words: str) -> tuple[torch.Tensor, int, str]:
            room = LIMIT + dropped + (sight.tokens if sight else 0)
            taken = tokenised(tokenizer, before, words, _AFTER, room)
            inputs = {"input_ids": taken.ids.to(self._device), "attention_mask": taken.mask.to(self._device)}
            if sight:
                inputs |= sight.inputs(taken.ids, encoder, self._device)
            states = hidden_states(encoder, inputs, (-1,), weights)[0]
            return states[:, dropped:].float().cpu(), taken.own, taken.ignored

        return encode_wordings(text, "qwen", "Qwen-Image", LIMIT, encode)

    @torch.no_grad()
    def denoiser(self, request: BindRequest) -> _Denoiser:
        transformer = self._parts("transformer")
        self.check_width(request, int(transformer.config.joint_attention_dim))
        if request.inpaint is not None:
            raise InvalidRequest(
                f"{self._title} is not an in-painting model: it has no channels for a masked picture",
                where="latent", fix="Use “Set noise mask” with it",
            )  # fmt: skip
        space = self.latent_space
        controls = latent_controls(request, space.factor, self.encode, self._check_control, self._others)
        references = {
            id(entry): references_of(entry, space.channels, self._title)
            for entry in (*request.positive, *request.negative, *request.middle)
        }
        weights = self.prompt_weights(request)
        return _Denoiser(transformer, weights, self._device, self._dtype, request.positive, references, controls)

    def combine(self, unconditional: torch.Tensor, conditional: torch.Tensor, scale: float) -> torch.Tensor:
        """Guidance whose tokens are as long as those of the prompt alone (diffusers' QwenImagePipeline)."""
        both, alone = packed(super().combine(unconditional, conditional, scale)), packed(conditional)
        scaled = both * (alone.norm(dim=-1, keepdim=True) / both.norm(dim=-1, keepdim=True))
        return unpacked(scaled, *conditional.shape[-2:])

    def _check_control(self, module: Any, name: str) -> None:
        width = self._parts("transformer").config.joint_attention_dim
        kind = type(module).__name__
        if kind != "QwenImageControlNetModel" or module.config.joint_attention_dim != width:
            raise InvalidRequest(
                f"the ControlNet “{name}” is not made for {self._title}", where="control",
                fix="Use a ControlNet made for Qwen-Image",
            )  # fmt: skip

    def meta_inputs(self, shape: tuple[int, int, int, int]) -> Mapping[str, tuple[int, ...]]:
        config = self._parts("transformer").config
        batch, _, height, width = shape
        return {
            "hidden_states": (batch, (height // 2) * (width // 2), int(config.in_channels)),
            "timestep": (batch,),
            "encoder_hidden_states": (batch, LIMIT, int(config.joint_attention_dim)),
        }


class _Denoiser:
    """The transformer bound to a run, see flow_transformer.Denoiser; prompts run one by one, as they differ in length.

    prompt      what ControlNets read for entries of the negative side, as in diffusers' pipeline
    weights     by identity of the prompt entry, what LoRAs leave for it
    references  by identity of the prompt entry, latents [1, C, h, w]
    """

    def __init__(
        self,
        transformer: Any,
        weights: Mapping[int, Weights],
        device: torch.device,
        dtype: torch.dtype,
        positive: tuple[ConditioningEntry, ...],
        references: Mapping[int, tuple[torch.Tensor, ...]],
        controls: Controls,
    ) -> None:
        self._transformer, self._weights, self._device, self._dtype = transformer, weights, device, dtype
        self._references, self._controls = references, controls
        self._positive = {id(entry) for entry in positive}
        self._prompt = positive[0]
        self._words: dict[int, tuple[torch.Tensor, EntityAttention]] = {}
        self._steered: tuple[torch.Tensor, dict[tuple[int, int], list[torch.Tensor]]] | None = None

    def __call__(
        self, entries: Sequence[ConditioningEntry], x: torch.Tensor, timestep: torch.Tensor, fraction: float
    ) -> torch.Tensor:
        (entry,) = entries
        batch, _, height, width = x.shape
        latents = [x, *(latent.expand(batch, -1, -1, -1) for latent in self._references[id(entry)])]
        sizes = [(1, latent.shape[-2] // 2, latent.shape[-1] // 2) for latent in latents]
        tokens = [packed(latent.to(self._device, self._dtype)) for latent in latents]
        time = timestep.expand(batch).to(self._device, self._dtype) / 1000
        own = tokens[0].shape[1]
        samples = self._residuals(entry, x, tokens[0], sizes[0], time, fraction)
        if samples is not None and len(tokens) > 1:  # the references are not steered
            samples = [F.pad(sample, (0, 0, 0, sum(part.shape[1] for part in tokens[1:]))) for sample in samples]
        read: Mapping[str, torch.Tensor] = self._read(entry, batch)
        attending: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
        if regions_of(entry):
            words, attention = self._entities(entry, x.shape, sum(part.shape[1] for part in tokens[1:]))
            read = {"encoder_hidden_states": words.expand(batch, -1, -1)}
            attending = attending_by(self._transformer, attention)
        with attending:
            output = run(
                self._transformer, self._weights[id(entry)], torch.cat(tokens, dim=1), img_shapes=[sizes] * batch,
                controlnet_block_samples=samples, timestep=time, return_dict=False, **read,
            )[0]  # fmt: skip
        return unpacked(output[:, :own].float(), height, width)

    def _entities(
        self, entry: ConditioningEntry, shape: Sequence[int], more: int
    ) -> tuple[torch.Tensor, EntityAttention]:
        """The words of a prompt with entities, [1, n, width], and who sees whom; made once a run."""
        if id(entry) not in self._words:
            words, seen = entity_words(regions_of(entry), entry, shape, more)
            attention = EntityAttention(seen.to(self._device), lengths_of(regions_of(entry), entry))
            self._words[id(entry)] = (words.to(self._device, self._dtype), attention)
        return self._words[id(entry)]

    def _read(self, entry: ConditioningEntry, batch: int) -> dict[str, torch.Tensor]:
        return {"encoder_hidden_states": entry.embedding.to(self._device, self._dtype).expand(batch, -1, -1)}

    def _residuals(
        self,
        entry: ConditioningEntry,
        x: torch.Tensor,
        tokens: torch.Tensor,
        size: tuple[int, int, int],
        time: torch.Tensor,
        fraction: float,
    ) -> list[torch.Tensor] | None:
        """What the ControlNets add after each block, summed in order (diffusers' QwenImageMultiControlNetModel)."""
        reader = entry if id(entry) in self._positive else self._prompt
        if self._steered is None or self._steered[0] is not x:  # both sides of a step share what was found
            self._steered = (x, {})
        known = self._steered[1]
        found: list[torch.Tensor] | None = None
        for control in self._controls[id(entry)]:
            if not control.holds(fraction):
                continue
            key = (id(control), id(reader))
            if key not in known:
                known[key] = self._asked(control, reader, tokens, size, time)
            samples = known[key]
            found = samples if found is None else [a + b for a, b in zip(found, samples, strict=True)]
        return found

    def _asked(
        self,
        control: LatentControl,
        reader: ConditioningEntry,
        tokens: torch.Tensor,
        size: tuple[int, int, int],
        time: torch.Tensor,
    ) -> list[torch.Tensor]:
        batch = tokens.shape[0]
        hint = packed(control.latent.to(self._device, self._dtype)).expand(batch, -1, -1)
        samples: list[torch.Tensor] = control.network(
            hidden_states=tokens, controlnet_cond=hint, conditioning_scale=control.strength, timestep=time,
            img_shapes=[[size]] * batch, return_dict=False, **self._read(reader, batch),
        )  # fmt: skip
        if control.mask is None:
            return samples
        here = packed(control.mask.to(self._device, self._dtype)).mean(dim=-1, keepdim=True)
        return [sample * here for sample in samples]
