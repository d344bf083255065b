"""Family sd3: Stable Diffusion 3 and 3.5, medium and large (2403.03206).

CLIP-L and OpenCLIP-bigG side by side and T5 behind them, each of which may be missing; SD3Transformer2DModel;
AutoencoderKL with 16 channels. The reference is diffusers' StableDiffusion3Pipeline, …Img2ImgPipeline,
…InpaintPipeline and …ControlNetPipeline.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the field's own name for it

from engine.contracts.errors import InvalidRequest, MissingModel
from engine.families.clip_embeddings import check_embeddings, token_table
from engine.families.clip_prompts import ClipReader, Encoded, encoded_text, read_together
from engine.families.flow_transformer import Denoiser, FlowFamily
from engine.families.latent_controls import LatentControl, latent_controls
from engine.families.moments import Pieces, Text, moments, prompt_for
from engine.families.patched import run
from engine.families.protocol import BindRequest, EncodedText
from engine.families.t5_text import padding, t5_embedding, t5_tokens
from engine.families.unet_family import ClipPart, run_clip
from engine.families.wordings import joined, notes_on
from engine.graph.values import ConditioningEntry, Patch

T5_TOKENS, T5_LIMIT = 256, 512  # how many prompts are filled up to, and may have
_CLIPS = (
    ClipPart("clip_l", penultimate=True),
    ClipPart("clip_g", "text_encoder_2", "tokenizer_2", penultimate=True),
)
_WIDTHS = {"clip_l": 768, "clip_g": 1280}  # of an encoder that is missing where the transformer is too


class StableDiffusion3(FlowFamily):
    """A loaded sd3 model."""

    name = "sd3"
    laid = "ends"
    batched = True
    pipelines = MappingProxyType(
        {
            "txt2img": "StableDiffusion3Pipeline", "img2img": "StableDiffusion3Img2ImgPipeline",
            "inpaint": "StableDiffusion3InpaintPipeline",
        }
    )  # fmt: skip

    @torch.no_grad()
    def encode_text(
        self, text: Text, clip_skip: int = 0, patches: tuple[Patch, ...] = (), *, images: Sequence[torch.Tensor] = ()
    ) -> EncodedText:
        """See FlowFamily.encode_text; encoders "clip_l", "clip_g" and "t5xxl".

        An entry without T5 is as wide as the CLIPs; what is missing becomes zeros when the run is bound. Raises
        MissingModel when there is no encoder at all.
        """
        names = (*(clip.name for clip in _CLIPS), "t5xxl")
        prompts = [prompt_for(text, name) for name in names]
        readers = {clip.name: self._reader(clip, clip_skip, patches) for clip in _CLIPS if self._has(clip.encoder)}
        if any(patch.kind == "embedding" for patch in patches):
            present = [clip for clip in _CLIPS if clip.name in readers]
            widths = {clip.name: int(self._parts(clip.encoder).config.hidden_size) for clip in present}
            check_embeddings(patches, self._others, widths, self._title)
        t5 = _T5Reader(self, patches) if self._has("text_encoder_3") else None
        if not readers and t5 is None:
            self._parts("text_encoder")  # its own sentence for what is missing
        entries = []
        for moment in moments(prompts):
            said = dict(zip(names, moment.pieces, strict=True))
            embedding, pooled = self._clips_say(said, readers)
            if t5 is not None:
                words = t5.read(said["t5xxl"])
                wide = None if embedding is None else F.pad(embedding, (0, words.shape[-1] - embedding.shape[-1]))
                embedding = words if wide is None else torch.cat([wide, words], dim=1)
            assert embedding is not None
            entries.append(ConditioningEntry(embedding, pooled, steps=moment.steps, extras=moment.extras))
        found = encoded_text(entries, list(readers.values()))
        if t5 is None:
            return found
        notes = notes_on((piece for moment in moments(prompts[-1:]) for piece in moment.pieces[0]), "The T5 encoder")
        return EncodedText(
            found.entries, max(found.tokens, t5.tokens), T5_LIMIT, found.ignored or t5.ignored, notes
        )  # fmt: skip

    def _has(self, part: str) -> bool:
        try:
            return self._parts(part) is not None
        except MissingModel:
            return False

    def _reader(self, clip: ClipPart, skip: int, patches: tuple[Patch, ...]) -> ClipReader:
        encoder, weights = self._parts(clip.encoder), self.weights(clip.encoder, patches)
        table = token_table(encoder, clip.name, patches, self._others, weights)
        return ClipReader(
            self._parts(clip.tokenizer),
            lambda ids: run_clip(encoder, table.placed(ids).to(self._device), skip, table.weights, clip, self._title),
            restore_mean=False,
            embeddings=table.ids,
        )

    def _clips_say(
        self, said: Mapping[str, Pieces], readers: Mapping[str, ClipReader]
    ) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """What the CLIPs say side by side, zeros for one that is missing; nothing when both are."""
        if not readers:
            return None, None
        embedding, pooled = read_together([said[name] for name in readers], list(readers.values()))
        assert pooled is not None  # SD3's CLIPs have a projection
        if len(readers) == len(_CLIPS):
            return embedding, pooled
        (missing,) = (clip.name for clip in _CLIPS if clip.name not in readers)
        width = self._missing_width(missing, pooled.shape[-1])
        sides = (width, 0) if missing == "clip_l" else (0, width)
        return F.pad(embedding, sides), F.pad(pooled, sides)

    def _missing_width(self, name: str, other: int) -> int:
        if not self._has("transformer"):  # text encoders that were loaded apart
            return _WIDTHS[name]
        return int(self._parts("transformer").config.pooled_projection_dim) - other

    def denoiser(self, request: BindRequest) -> Denoiser:
        config = self._parts("transformer").config
        wide, pooled = int(config.joint_attention_dim), int(config.pooled_projection_dim)
        for entry in (*request.positive, *request.negative, *request.middle):
            # Two CLIPs without T5 are as wide as their pooled outputs together.
            if entry.embedding.shape[-1] not in (wide, pooled) or (
                entry.pooled is not None and entry.pooled.shape[-1] != pooled
            ):
                raise InvalidRequest(
                    f"the prompt was encoded {entry.embedding.shape[-1]} wide and {self._title} reads {wide}",
                    where="conditioning", fix="Encode it with the text encoders of the same model",
                )  # fmt: skip
        most = int(config.pos_embed_max_size) * int(config.patch_size)
        if max(request.shape[-2:]) > most:
            pixels = most * self.latent_space.factor
            raise InvalidRequest(
                f"{self._title} makes pictures of at most {pixels}×{pixels} pixels", where="size",
                fix="Make it smaller, then scale it up",
            )  # fmt: skip
        if request.inpaint is not None:
            raise InvalidRequest(
                f"{self._title} is not an in-painting model: it has no channels for a masked picture",
                where="latent", fix="Use “Set noise mask” with it",
            )  # fmt: skip
        return _BoundSD3(self, request)

    def meta_inputs(self, shape: tuple[int, int, int, int]) -> Mapping[str, tuple[int, ...]]:
        config = self._parts("transformer").config
        batch = shape[0]
        return {
            "hidden_states": (2 * batch, *shape[1:]),
            "encoder_hidden_states": (2 * batch, 77 + T5_TOKENS, int(config.joint_attention_dim)),
            "pooled_projections": (2 * batch, int(config.pooled_projection_dim)),
            "timestep": (2 * batch,),
        }


class _T5Reader:
    """SD3's T5 at work on prompts; `tokens` is the most that a wording had, `ignored` what did not fit."""

    def __init__(self, family: StableDiffusion3, patches: tuple[Patch, ...]) -> None:
        self._encoder, self._tokenizer = family._parts("text_encoder_3"), family._parts("tokenizer_3")
        self._weights = family.weights("text_encoder_3", patches)
        self._device, self._filled = family.device, padding(patches, T5_TOKENS)
        self.tokens, self.ignored = 0, ""

    def read(self, pieces: Pieces) -> torch.Tensor:
        """float32 [1, tokens, width]."""
        found = t5_tokens(self._tokenizer, joined(pieces), T5_LIMIT, self._filled)
        self.tokens, self.ignored = max(self.tokens, found.own), self.ignored or found.ignored
        return t5_embedding(self._encoder, found, self._device, self._weights)


class _BoundSD3:
    """The transformer with its prompts and ControlNets for one run."""

    def __init__(self, family: StableDiffusion3, request: BindRequest) -> None:
        self._module = family._parts("transformer")
        self._weights = family.prompt_weights(request)
        self._device, self._dtype = family._device, family._dtype
        self._batch = request.shape[0]
        self._shift = float(getattr(family._parts("vae").config, "shift_factor", None) or 0.0) * float(
            family._parts("vae").config.scaling_factor
        )
        space = family.latent_space
        self._controls = latent_controls(request, space.factor, family.encode, self._check_net, family._others)
        self._words: dict[int, Encoded] = {}

    def __call__(
        self, entries: Sequence[ConditioningEntry], x: torch.Tensor, timestep: torch.Tensor, fraction: float
    ) -> torch.Tensor:
        said = [self._said(entry) for entry in entries]
        asked: dict[str, Any] = {
            "hidden_states": x.to(self._dtype),
            "timestep": timestep.to(x.device).expand(x.shape[0]),
            "encoder_hidden_states": torch.cat([words for words, _ in said]),
            "pooled_projections": torch.cat([pooled for _, pooled in said if pooled is not None]),
        }
        residuals = self._residuals(self._controls[id(entries[-1])], asked, fraction)
        output: torch.Tensor = run(
            self._module, self._weights[id(entries[0])], return_dict=False, block_controlnet_hidden_states=residuals,
            **asked,
        )[0]  # fmt: skip
        return output.float()

    def _said(self, entry: ConditioningEntry) -> Encoded:
        """An entry for the whole batch, filled up to what the transformer reads."""
        known = self._words.get(id(entry))
        if known is None:
            config = self._module.config
            words, pooled = entry.embedding, entry.pooled
            if words.shape[-1] < int(config.joint_attention_dim):  # no T5: its words are zeros
                words = F.pad(words, (0, int(config.joint_attention_dim) - words.shape[-1], 0, T5_TOKENS))
            if pooled is None:
                pooled = torch.zeros(1, int(config.pooled_projection_dim))
            known = (
                words.to(self._device, self._dtype).expand(self._batch, -1, -1),
                pooled.to(self._device, self._dtype).expand(self._batch, -1),
            )
            self._words[id(entry)] = known
        return known

    def _check_net(self, module: Any, name: str) -> None:
        config = module.config
        if type(module).__name__ != "SD3ControlNetModel":
            raise InvalidRequest(
                f"“{name}” is a {type(module).__name__}, not a ControlNet for Stable Diffusion 3", where="control",
                fix="Use a ControlNet made for this family",
            )  # fmt: skip
        own = int(self._module.inner_dim)
        width = int(config.num_attention_heads) * int(config.attention_head_dim)
        if width != own:
            raise InvalidRequest(
                f"the ControlNet “{name}” is {width} channels wide and this model {own}", where="control",
                fix="SD3 medium, SD3.5 medium and SD3.5 large have ControlNets of their own",
            )  # fmt: skip
        if int(config.extra_conditioning_channels):
            raise InvalidRequest(
                f"“{name}” wants a mask beside its picture, which this studio does not give it", where="control",
                fix="Use “Set noise mask” for in-painting",
            )  # fmt: skip

    def _residuals(
        self, controls: Sequence[LatentControl], asked: Mapping[str, Any], fraction: float
    ) -> list[torch.Tensor] | None:
        """What the ControlNets add after each block, summed in order (diffusers' SD3MultiControlNetModel)."""
        total: list[torch.Tensor] | None = None
        depth = len(self._module.transformer_blocks)
        for control in controls:
            if not control.holds(fraction):
                continue
            found = self._asked(control, asked)
            if control.mask is not None:
                size = [edge // int(self._module.config.patch_size) for edge in asked["hidden_states"].shape[-2:]]
                here = F.interpolate(control.mask, size=size, mode="area").flatten(2).transpose(1, 2)
                found = [residual * here.to(residual) for residual in found]
            # A net of fewer blocks speaks to several of the model's each.
            spread = [found[int(index / (depth / len(found)))] for index in range(depth)]
            total = spread if total is None else [a + b for a, b in zip(total, spread, strict=True)]
        return total

    def _asked(self, control: LatentControl, asked: Mapping[str, Any]) -> list[torch.Tensor]:
        net, latent = control.network, control.latent
        told = dict(asked)
        if net.config.force_zeros_for_pooled_projection:  # InstantX's, which were trained without the latent's shift
            latent = latent + self._shift
            told["pooled_projections"] = torch.zeros_like(asked["pooled_projections"])
        if net.config.joint_attention_dim is None:  # Stability's 3.5 large ones read no words, nor cut the latent
            told["encoder_hidden_states"] = None
        if net.pos_embed is None:
            told["hidden_states"] = self._module.pos_embed(asked["hidden_states"])
        count = asked["hidden_states"].shape[0]
        hint = latent.to(self._device, self._dtype)
        hint = hint.repeat(count // hint.shape[0], 1, 1, 1)
        found: list[torch.Tensor] = net(
            controlnet_cond=hint, conditioning_scale=control.strength, return_dict=False, **told
        )[0]
        return found
