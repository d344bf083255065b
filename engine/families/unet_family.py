"""What SD1, SD2 and SDXL share: CLIP encoders, a UNet, AutoencoderKL. Each is a file of its own that says what differs.

What stands behind the latent's channels (in-painting, depth, a picture to edit) is unet_channels.py's affair.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch.func import functional_call

from engine.contracts.errors import InvalidRequest
from engine.contracts.references import ModelRef
from engine.families.autoencoder import KLAutoencoder, Parts
from engine.families.clip_embeddings import check_embeddings, token_table
from engine.families.clip_prompts import ClipReader, Encoded, encode_prompts
from engine.families.controls import bound_controls
from engine.families.entities import refuse_entities
from engine.families.moments import Text, prompt_for
from engine.families.patched import PatchedParts, no_others
from engine.families.picture_prompts import picture_prompts
from engine.families.protocol import BindRequest, Bound, EncodedText
from engine.families.unet import Added, BoundUNet, Network, freeu_of
from engine.families.unet_channels import channels_of
from engine.graph.values import ConditioningEntry, Patch
from engine.models.adapters.apply import Weights
from engine.sampling.flow_space import Space


@dataclass(frozen=True)
class ClipPart:
    """One of a family's CLIP encoders.

    name         as prompts name it, and `encoder` and `tokenizer` as the parts are called
    penultimate  read before its last layer and without the closing norm (SDXL)
    """

    name: str
    encoder: str = "text_encoder"
    tokenizer: str = "tokenizer"
    penultimate: bool = False


def run_clip(encoder: Any, ids: torch.Tensor, skip: int, weights: Weights, part: ClipPart, title: str) -> Encoded:
    """What a CLIP encoder says to ids [1, limit], in float32 on the CPU.

    A skip of 1 is the layer before the last for every encoder, as in ComfyUI and A1111; those read there anyway have
    nothing left out by it. Raises InvalidRequest when it leaves no layer.
    """
    layers = int(encoder.config.num_hidden_layers)
    if not 0 <= skip < layers:
        raise InvalidRequest(
            f"CLIP skip is {skip}, and {title} has {layers} text layers",
            where="CLIP skip",
            fix=f"Use 0 to {layers - 1}",
        )
    if part.penultimate:
        output = functional_call(encoder, weights, (ids,), {"output_hidden_states": True})
        state: torch.Tensor = output.hidden_states[-(max(skip, 1) + 1)]
        pooled = getattr(output, "text_embeds", None)
        return state.float().cpu(), None if pooled is None else pooled.float().cpu()
    if skip == 0:
        last: torch.Tensor = functional_call(encoder, weights, (ids,))[0]
        return last.float().cpu(), None
    states = functional_call(encoder, weights, (ids,), {"output_hidden_states": True}).hidden_states
    # transformers 5 dropped the inner `text_model`.
    norm = getattr(encoder, "text_model", encoder).final_layer_norm
    normed: torch.Tensor = norm(states[-(skip + 1)].to(norm.weight.device))  # masters may be beside the card
    return normed.float().cpu(), None


class UNetFamily(KLAutoencoder):
    """A loaded model. `parts` gives each part by name and loads it when first asked.

    `others` gives what comes with patches and prompts: the tensors of a LoRA, the module of a ControlNet.
    """

    name: ClassVar[str]
    clips: ClassVar[tuple[ClipPart, ...]]
    restore_mean: ClassVar[bool] = True
    pipelines: ClassVar[Mapping[str, str]]  # task → diffusers' class

    def __init__(
        self, parts: Parts, device: torch.device, dtype: torch.dtype, title: str = "",
        others: Callable[[ModelRef], Any] = no_others,
    ) -> None:  # fmt: skip
        super().__init__(parts, device)
        self._dtype = dtype
        self._title = title or "this model"
        self._others = others
        self.patched = PatchedParts(parts, others, self.name)

    @property
    def noise_space(self) -> Space:
        space: Space = self._parts("scheduler")
        return space

    def network_for(self, sigma: float) -> str:
        return "unet"

    @torch.no_grad()
    def encode_text(
        self, text: Text, clip_skip: int = 0, patches: tuple[Patch, ...] = (), *, images: Sequence[torch.Tensor] = ()
    ) -> EncodedText:  # fmt: skip
        prompts = [prompt_for(text, clip.name) for clip in self.clips]
        if any(patch.kind == "embedding" for patch in patches):
            widths = {clip.name: int(self._parts(clip.encoder).config.hidden_size) for clip in self.clips}
            check_embeddings(patches, self._others, widths, self._title)
        return encode_prompts(prompts, [self._reader(clip, clip_skip, patches) for clip in self.clips])

    def _reader(self, clip: ClipPart, skip: int, patches: tuple[Patch, ...]) -> ClipReader:
        encoder, weights = self._parts(clip.encoder), self.patched.weights(clip.encoder, patches)
        table = token_table(encoder, clip.name, patches, self._others, weights)
        return ClipReader(
            self._parts(clip.tokenizer),
            lambda ids: run_clip(encoder, table.placed(ids).to(self._device), skip, table.weights, clip, self._title),
            restore_mean=self.restore_mean,
            embeddings=table.ids,
        )

    def bind(self, request: BindRequest) -> Bound:
        unet = self._parts("unet")
        for entry in (*request.positive, *request.negative, *request.middle):
            self._check(entry, unet.config)
        noise = request.noise or self.noise_space
        refuse_entities(request, self._title)
        weights = self.patched.weights("unet", request.patches)
        network = Network(unet, self._device, self._dtype, weights, freeu_of(request))
        controls = bound_controls(request, network, self._others)
        scaling = float(self._parts("vae").config.scaling_factor) if int(unet.config.in_channels) == 8 else 1.0
        channels = channels_of(unet, request, self, scaling, self._title)
        own = self._own_networks(network, request)
        pictures = picture_prompts(request.patches, unet, self._others, self._device, self._dtype)
        added = self._added(request, unet.config)
        return BoundUNet(network, request, noise, channels, controls, added, own, pictures)

    def _own_networks(self, network: Network, request: BindRequest) -> dict[int, Network]:
        """By identity of the prompt entry: the network with the LoRAs that were laid on it for that prompt alone."""
        own: dict[int, Network] = {}
        for entry in (*request.positive, *request.negative, *request.middle):
            if patches := dict(entry.extras).get("patches", ()):
                weights = self.patched.weights("unet", (*request.patches, *patches))
                own[id(entry)] = replace(network, weights=weights)
        return own

    def _check(self, entry: ConditioningEntry, config: Any) -> None:
        """Raises InvalidRequest for a prompt that another family's encoders made."""
        width = int(config.cross_attention_dim)
        if entry.embedding.shape[-1] != width:
            raise InvalidRequest(
                f"the prompt was encoded {entry.embedding.shape[-1]} wide and {self._title} reads {width}",
                where="conditioning", fix="Encode it with the CLIP of the same checkpoint",
            )  # fmt: skip

    def _added(self, request: BindRequest, config: Any) -> Callable[[ConditioningEntry, bool], Added] | None:
        """What a prompt adds beside its tokens; None for families whose UNet reads tokens only."""
        return None

    def meta_inputs(self, shape: tuple[int, int, int, int]) -> Mapping[str, tuple[int, ...]]:
        unet, tokenizer = self._parts("unet"), self._parts(self.clips[-1].tokenizer)
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

        names = [name for clip in self.clips for name in (clip.encoder, clip.tokenizer)]
        parts = {part: self._parts(part) for part in ("unet", "vae", *names)}
        pipeline = getattr(diffusers, self.pipelines[task])(
            **parts, scheduler=diffusers.EulerDiscreteScheduler(steps_offset=1), **self._pipeline_settings()
        )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def _pipeline_settings(self) -> dict[str, Any]:
        return {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
