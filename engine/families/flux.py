"""Family flux: Flux.1 dev, schnell, Fill, Kontext, Canny and Depth (Black Forest Labs; 2506.15742).

CLIP-L's pooled prompt and T5's words, FluxTransformer2DModel over tokens of 2×2 latent cells, AutoencoderKL with 16
channels. Which model it is shows in its config: `guidance_embeds` (dev), `in_channels` 64, 128 (Canny, Depth: the
latent of a second picture) or 384 (Fill: the masked picture's latent and the mask itself). The references are
diffusers' FluxPipeline, …Img2Img, …Inpaint, …Fill, …Kontext, …Control and …ControlNet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the field's own name for it

from engine.contracts.errors import InvalidRequest, MissingModel
from engine.families.clip_embeddings import check_embeddings, token_table
from engine.families.entities import entity_words, regions_of
from engine.families.flow_transformer import Denoiser, FlowFamily, Text, packed, position_ids, unpacked
from engine.families.flux_controls import FluxControls
from engine.families.moments import moments, prompt_for
from engine.families.patched import run
from engine.families.protocol import BindRequest, EncodedText
from engine.families.t5_text import padding, t5_embedding, t5_tokens
from engine.families.wordings import joined, notes_on
from engine.graph.values import ConditioningEntry, Patch
from engine.prompts.embeddings import split

USUAL_GUIDANCE = 3.5
STRONG_GUIDANCE = 30.0  # what Fill, Canny and Depth were distilled around
T5_LIMIT, T5_LIMIT_SCHNELL = 512, 256


class Flux(FlowFamily):
    """A loaded Flux.1 model."""

    name = "flux"
    entities = True
    pipelines = MappingProxyType(
        {"txt2img": "FluxPipeline", "img2img": "FluxImg2ImgPipeline", "inpaint": "FluxInpaintPipeline"}
    )

    @torch.no_grad()
    def encode_text(
        self, text: Text, clip_skip: int = 0, patches: tuple[Patch, ...] = (), *, images: Sequence[torch.Tensor] = ()
    ) -> EncodedText:
        """See FlowFamily.encode_text; encoders "clip_l" and "t5xxl". Prompts end at 512 tokens (schnell 256).

        Embeddings act through CLIP's summary; T5 reads the prompt without their names.
        """
        if clip_skip:
            raise InvalidRequest(
                "Flux reads CLIP's summary of the prompt, not its layers", where="CLIP skip", fix="Set it to 0"
            )
        found = tuple(moments([prompt_for(text, "clip_l"), prompt_for(text, "t5xxl")]))
        limit = self._t5_limit()
        filled = padding(patches, limit)
        encoder, t5 = self._parts("text_encoder"), self._parts("text_encoder_2")
        clip_weights, t5_weights = self.weights("text_encoder", patches), self.weights("text_encoder_2", patches)
        table = token_table(encoder, "clip_l", patches, self._others, clip_weights)
        check_embeddings(patches, self._others, {"clip_l": int(encoder.config.hidden_size)}, self._title)
        entries, most, ignored = [], 0, ""
        for moment in found:
            short, long = (joined(pieces) for pieces in moment.pieces)
            words = "".join(text for text, is_name in split(long, table.ids) if not is_name)
            tokens = t5_tokens(self._parts("tokenizer_2"), words, limit, filled)
            embedding = t5_embedding(t5, tokens, self._device, t5_weights)
            ids = table.placed(clip_ids(self._parts("tokenizer"), short, table.ids))
            pooled = run(encoder, table.weights, ids.to(self._device)).pooler_output.float().cpu()
            entries.append(ConditioningEntry(embedding, pooled, steps=moment.steps, extras=moment.extras))
            most, ignored = max(most, tokens.own), ignored or tokens.ignored
        notes = notes_on((piece for moment in found for pieces in moment.pieces for piece in pieces), "Flux")
        return EncodedText(tuple(entries), most, limit, ignored, notes)

    def _t5_limit(self) -> int:
        """schnell, which alone has a fixed shift, was trained on 256 tokens."""
        try:
            return T5_LIMIT_SCHNELL if self.noise_space.curve == "fixed" else T5_LIMIT
        except MissingModel:  # text encoders that were loaded apart
            return T5_LIMIT

    def denoiser(self, request: BindRequest) -> Denoiser:
        config = self._parts("transformer").config
        self.check_width(request, int(config.joint_attention_dim), int(config.pooled_projection_dim))
        return BoundFlux(self, request)

    def meta_inputs(self, shape: tuple[int, int, int, int]) -> Mapping[str, tuple[int, ...]]:
        config = self._parts("transformer").config
        batch, _, height, width = shape
        tokens = (height // 2) * (width // 2)
        return {
            "hidden_states": (batch, tokens, int(config.in_channels)),
            "encoder_hidden_states": (batch, self._t5_limit(), int(config.joint_attention_dim)),
            "pooled_projections": (batch, int(config.pooled_projection_dim)),
            "timestep": (batch,), "guidance": (batch,),
            "img_ids": (tokens, 3), "txt_ids": (self._t5_limit(), 3),
        }  # fmt: skip


def clip_ids(tokenizer: Any, text: str, embeddings: Mapping[str, Sequence[int]] = MappingProxyType({})) -> torch.Tensor:
    """The first chunk of a prompt as CLIP reads it whole, [1, 77]: what its pooled output is made from.

    embeddings  name of a textual inversion → its tokens
    """
    if embeddings:
        inner: list[int] = []
        for words, is_name in split(text, embeddings):
            inner += embeddings[words] if is_name else tokenizer(words, add_special_tokens=False).input_ids
        length = tokenizer.model_max_length
        inner = [tokenizer.bos_token_id, *inner[: length - 2], tokenizer.eos_token_id]
        return torch.tensor([inner + [tokenizer.pad_token_id] * (length - len(inner))])
    found = tokenizer(
        text, padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt"
    )
    ids: torch.Tensor = found.input_ids
    return ids


class BoundPacked:
    """A transformer over packed tokens, bound to one run: Flux, and Chroma, which takes less.

    What a run adds to the latent is made once: channels beside it, references behind it, their position ids.
    """

    def __init__(self, family: FlowFamily, request: BindRequest) -> None:
        self._module = family._parts("transformer")
        self._weights = family.prompt_weights(request)
        self._device, self._dtype = family._device, family._dtype
        self._request = request
        self._words: dict[int, dict[str, Any]] = {}
        batch, _, rows, columns = request.shape
        self._beside = _beside(family, request, int(self._module.config.in_channels) - 4 * request.shape[1])
        if self._beside is not None:
            self._beside = self._beside.to(self._device, self._dtype).expand(batch, -1, -1)
        self._ids = position_ids(rows // 2, columns // 2, self._device, self._dtype)
        self._references: dict[int, tuple[torch.Tensor, torch.Tensor] | None] = {}

    def __call__(
        self, entries: Sequence[ConditioningEntry], x: torch.Tensor, timestep: torch.Tensor, fraction: float
    ) -> torch.Tensor:
        (entry,) = entries
        tokens = packed(x.to(self._dtype))
        count = tokens.shape[1]
        if self._beside is not None:
            tokens = torch.cat([tokens, self._beside], dim=2)
        ids, behind = self._ids, self._behind(entry)
        if behind is not None:
            tokens = torch.cat([tokens, behind[0]], dim=1)
            ids = torch.cat([ids, behind[1]])
        asked = {
            "hidden_states": tokens, "timestep": (timestep.to(x.device) / 1000).expand(x.shape[0]).to(self._dtype),
            "img_ids": ids, **self._said(entry, x.shape[0]),
        }  # fmt: skip
        asked |= self.controlled(entry, fraction, asked, tokens.shape[1] - count)
        output: torch.Tensor = run(self._module, self._weights[id(entry)], return_dict=False, **asked)[0]
        return unpacked(output[:, :count], x.shape[2], x.shape[3]).float()

    def said(self, entry: ConditioningEntry, batch: int) -> dict[str, Any]:
        """What a prompt says to the transformer besides its words."""
        return {}

    def controlled(
        self, entry: ConditioningEntry, fraction: float, asked: Mapping[str, Any], extra: int
    ) -> dict[str, Any]:
        """What controls say to it."""
        return {}

    def _said(self, entry: ConditioningEntry, batch: int) -> dict[str, Any]:
        known = self._words.get(id(entry))
        if known is None:
            words = entry.embedding.to(self._device, self._dtype).expand(batch, -1, -1)
            zeros = torch.zeros(words.shape[1], 3, device=self._device, dtype=self._dtype)
            known = {"encoder_hidden_states": words, "txt_ids": zeros, **self.said(entry, batch)}
            self._words[id(entry)] = known
        return known

    def extra(self, entry: ConditioningEntry, name: str) -> Any:
        """An extra of a prompt; the negative side takes the positive's where it has none of its own."""
        found = dict(entry.extras).get(name)
        return found if found is not None else dict(self._request.positive[0].extras).get(name)

    def _behind(self, entry: ConditioningEntry) -> tuple[torch.Tensor, torch.Tensor] | None:
        """The tokens of reference pictures, which stand behind the picture's, and their position ids."""
        if id(entry) not in self._references:
            found = self.extra(entry, "references") or ()
            method = str(self.extra(entry, "reference_method") or "offset")
            self._references[id(entry)] = self._laid(found, method) if found else None
        return self._references[id(entry)]

    def _laid(self, references: Sequence[torch.Tensor], method: str) -> tuple[torch.Tensor, torch.Tensor]:
        batch, channels, rows, columns = self._request.shape
        tokens, ids = [], []
        for latent, (number, top, left) in zip(
            references, places([r.shape[-2:] for r in references], method, (rows, columns)), strict=True
        ):
            if latent.shape[1] != channels or latent.shape[0] not in (1, batch):
                raise InvalidRequest(
                    f"a reference picture has {latent.shape[1]} latent channels and the model works with {channels}"
                    if latent.shape[1] != channels
                    else f"a reference holds {latent.shape[0]} pictures for {batch} to make",
                    where="reference latent", fix="Encode one picture with this model’s VAE",
                )  # fmt: skip
            even = F.pad(latent, (0, latent.shape[3] % 2, 0, latent.shape[2] % 2), mode="replicate")
            laid = position_ids(even.shape[2] // 2, even.shape[3] // 2, self._device, self._dtype, number)
            laid[:, 1] += top
            laid[:, 2] += left
            ids.append(laid)
            tokens.append(packed(even.to(self._device, self._dtype)).expand(batch, -1, -1))
        return torch.cat(tokens, dim=1), torch.cat(ids)


def places(
    sizes: Sequence[Sequence[int]], method: str, picture: tuple[int, int]
) -> list[tuple[int, int, int]]:  # fmt: skip
    """(number, row, column) of each reference's first token, from sizes (rows, columns) in cells, as ComfyUI lays them.

    offset   one canvas, numbered 1, filled to the side that is shorter
    index    one behind the other, numbered 1, 2, …
    uxo/uno  on the picture's own canvas, down its diagonal (2504.02160)
    """
    found, rows, columns = [], 0, 0
    for place, (height, width) in enumerate(sizes):
        if method.startswith("index"):
            found.append((place + 1, 0, 0))
        elif method == "uxo/uno":
            found.append((0, (picture[0] + rows + 1) // 2, (picture[1] + columns + 1) // 2))
            rows, columns = rows + height, columns + width
        else:
            beside = height + rows > width + columns
            top, left = (0, columns) if beside else (rows, 0)
            found.append((1, (top + 1) // 2, (left + 1) // 2))
            rows, columns = max(rows, height + top), max(columns, width + left)
    return found


class BoundFlux(BoundPacked):
    """Flux's transformer with its prompts, guidance and ControlNets."""

    def __init__(self, family: Flux, request: BindRequest) -> None:
        super().__init__(family, request)
        config = self._module.config
        self._guided = bool(config.guidance_embeds)
        self._usual = USUAL_GUIDANCE if self._beside is None else STRONG_GUIDANCE
        self._depths = (len(self._module.transformer_blocks), len(self._module.single_transformer_blocks))
        self._controls = FluxControls(
            request, family._others, family.encode, family.latent_space.factor, int(config.joint_attention_dim),
            self._device, self._dtype,
        )  # fmt: skip

    def said(self, entry: ConditioningEntry, batch: int) -> dict[str, Any]:
        assert entry.pooled is not None
        pooled = entry.pooled.to(self._device, self._dtype).expand(batch, -1)
        guidance = None
        if self._guided:
            scale = self.extra(entry, "guidance")
            guidance = torch.full([batch], self._usual if scale is None else float(scale), device=self._device)
        return {"pooled_projections": pooled, "guidance": guidance, **self._entities(entry, batch)}

    def _entities(self, entry: ConditioningEntry, batch: int) -> dict[str, Any]:
        """What the prompts of regions (EliGen) change: they stand before the whole picture's."""
        regions = regions_of(entry)
        if not regions:
            return {}
        behind = self._behind(entry)
        words, mask = entity_words(
            regions, entry, self._request.shape, 0 if behind is None else behind[0].shape[1]
        )  # fmt: skip
        return {
            "encoder_hidden_states": words.to(self._device, self._dtype).expand(batch, -1, -1),
            "txt_ids": torch.zeros(words.shape[1], 3, device=self._device, dtype=self._dtype),
            "joint_attention_kwargs": {"attention_mask": mask[None, None].to(self._device)},
        }

    def controlled(
        self, entry: ConditioningEntry, fraction: float, asked: Mapping[str, Any], extra: int
    ) -> dict[str, Any]:
        return self._controls.residuals(entry, fraction, self._depths, extra, asked)


def _beside(family: FlowFamily, request: BindRequest, channels: int) -> torch.Tensor | None:
    """What stands beside the latent's channels, packed [1 or B, n, channels]: nothing, a picture, or Fill's."""
    second = dict(request.positive[0].extras).get("channels")
    _, latent, rows, columns = request.shape
    if channels == 4 * latent:
        if second is None:
            raise InvalidRequest(
                f"{family._title} follows a picture, and was given none", where="conditioning",
                fix="Give it one with “Condition a model that edits by instruction”",
            )  # fmt: skip
        if tuple(second.shape[1:]) != (latent, rows, columns):
            raise InvalidRequest(
                "the picture to follow has another size than the one to make", where="conditioning",
                fix="Scale it to the size of the latent",
            )  # fmt: skip
        return packed(second)
    if second is not None or (channels == 0 and request.inpaint is not None):
        what = "a second picture" if second is not None else "a masked picture"
        raise InvalidRequest(
            f"{family._title} has no channels for {what}", where="latent",
            fix="Use “Set noise mask” with it, or load Flux Fill" if second is None else "Load Flux Canny or Depth",
        )  # fmt: skip
    if channels == 0:
        return None
    factor = family.latent_space.factor
    if request.inpaint is None:  # asked for a whole new picture: everything is masked, the kept picture is grey
        masked = family.encode(torch.zeros(1, 3, rows * factor, columns * factor))
        mask = torch.ones(1, 1, rows * factor, columns * factor)
    else:
        cells, masked = request.inpaint
        mask = request.inpaint_mask if request.inpaint_mask is not None else cells
        if mask.shape[-2:] != (rows * factor, columns * factor):
            mask = F.interpolate(mask, size=(rows * factor, columns * factor), mode="nearest-exact")
    pixels = F.pixel_unshuffle(mask.float(), factor)  # [B, factor², rows, columns]
    tokens = [packed(masked), packed(pixels)]
    batch = max(piece.shape[0] for piece in tokens)
    return torch.cat([piece.expand(batch, -1, -1) for piece in tokens], dim=2)
