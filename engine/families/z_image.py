"""Family z_image: Z-Image and Z-Image-Turbo (2511.22699), in diffusers' layout.

Qwen3 reads the prompt, ZImageTransformer2DModel draws, Flux's AutoencoderKL decodes. The reference is diffusers'
ZImagePipeline, …Img2Img…, …Inpaint… and …ControlNetPipeline; its guidance g is our g + 1, as it adds g·(c − u) to c.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the field's own name for it

from engine.contracts.errors import InvalidRequest
from engine.families.flow_transformer import FlowFamily, packed
from engine.families.language_text import hidden_states, tokenised
from engine.families.latent_controls import Controls, LatentControl, latent_controls
from engine.families.moments import Text
from engine.families.patched import run
from engine.families.protocol import BindRequest, EncodedText, LatentSpace
from engine.families.wordings import encode_wordings
from engine.graph.values import ConditioningEntry, Patch
from engine.models.adapters.apply import Weights

LIMIT = 512  # tokens, those of the template among them
_BEFORE, _AFTER = "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n"


class ZImage(FlowFamily):
    """A loaded z_image model, see engine.families.protocol.Family."""

    name = "z_image"
    laid = "even_single"
    usual_space = LatentSpace("flux", 16, 8)
    pipelines = MappingProxyType(
        {"txt2img": "ZImagePipeline", "img2img": "ZImageImg2ImgPipeline", "inpaint": "ZImageInpaintPipeline"}
    )

    @torch.no_grad()
    def encode_text(
        self, text: Text, clip_skip: int = 0, patches: tuple[Patch, ...] = (), *, images: Sequence[torch.Tensor] = ()
    ) -> EncodedText:
        """See Family.encode_text; pictures are not read."""
        tokenizer, encoder = self._parts("tokenizer"), self._parts("text_encoder")
        weights = self.weights("text_encoder", patches)

        def encode(words: str) -> tuple[torch.Tensor, int, str]:
            taken = tokenised(tokenizer, _BEFORE, words, _AFTER, LIMIT)
            inputs = {"input_ids": taken.ids.to(self._device), "attention_mask": taken.mask.to(self._device)}
            return hidden_states(encoder, inputs, (-2,), weights)[0].float().cpu(), taken.own, taken.ignored

        return encode_wordings(text, "qwen", "Z-Image", LIMIT, encode)

    @torch.no_grad()
    def denoiser(self, request: BindRequest) -> _Denoiser:
        transformer = self._parts("transformer")
        self.check_width(request, int(transformer.config.cap_feat_dim))
        if request.inpaint is not None:
            raise InvalidRequest(
                f"{self._title} is not an in-painting model: it has no channels for a masked picture",
                where="latent", fix="Use “Set noise mask” with it",
            )  # fmt: skip
        factor = self.latent_space.factor
        controls = latent_controls(request, factor, self.encode, self._check_control, self._others)
        weights = self.prompt_weights(request)
        return _Denoiser(transformer, weights, self._device, self._dtype, controls)

    def _check_control(self, module: Any, name: str) -> None:
        width = int(self._parts("transformer").config.dim)
        if type(module).__name__ != "ZImageControlNetModel" or int(module.config.dim) != width:
            raise InvalidRequest(
                f"the ControlNet “{name}” is not made for {self._title}", where="control",
                fix="Use a ControlNet made for Z-Image",
            )  # fmt: skip

    def meta_inputs(self, shape: tuple[int, int, int, int]) -> Mapping[str, tuple[int, ...]]:
        batch, channels, height, width = shape
        return {
            "x": (batch, channels, 1, height, width),
            "t": (batch,),
            "cap_feats": (batch, LIMIT, int(self._parts("transformer").config.cap_feat_dim)),
        }


class _Denoiser:
    """The transformer bound to a run, see flow_transformer.Denoiser. It is told 1 − σ and answers x₀ − noise."""

    def __init__(
        self, transformer: Any, weights: Mapping[int, Weights], device: torch.device, dtype: torch.dtype,
        controls: Controls,
    ) -> None:  # fmt: skip
        self._transformer, self._weights, self._device, self._dtype = transformer, weights, device, dtype
        self._controls = controls
        # Which network of a control → the same with the parts that it borrows from the transformer.
        bound = {id(control.network): control.network for listed in controls.values() for control in listed}
        self._networks = {key: _joined(network, transformer) for key, network in bound.items()}

    def __call__(
        self, entries: Sequence[ConditioningEntry], x: torch.Tensor, timestep: torch.Tensor, fraction: float
    ) -> torch.Tensor:
        (entry,) = entries
        pictures = list(x.to(self._device, self._dtype)[:, :, None].unbind(dim=0))
        words = [entry.embedding[0].to(self._device, self._dtype)] * len(pictures)
        time = (1000 - timestep.to(self._device).expand(len(pictures))) / 1000
        samples = self._residuals(entry, pictures, words, time, fraction)
        answers = run(
            self._transformer, self._weights[id(entry)], pictures, time, words, controlnet_block_samples=samples,
            return_dict=False,
        )[0]  # fmt: skip
        return -torch.stack([answer.float() for answer in answers])[:, :, 0]

    def _residuals(
        self,
        entry: ConditioningEntry,
        pictures: list[torch.Tensor],
        words: list[torch.Tensor],
        time: torch.Tensor,
        fraction: float,
    ) -> dict[int, torch.Tensor] | None:
        """What the ControlNets add after each layer they know, summed."""
        found: dict[int, torch.Tensor] = {}
        for control in self._controls[id(entry)]:
            if not control.holds(fraction):
                continue
            network = self._networks[id(control.network)]
            hints = self._hints(control, int(network.config.control_in_dim), len(pictures))
            samples = network(pictures, time, words, hints, conditioning_scale=control.strength)
            for layer, sample in samples.items():
                placed = self._placed(sample, control)
                found[layer] = placed if layer not in found else found[layer] + placed
        return found or None

    def _hints(self, control: LatentControl, channels: int, batch: int) -> list[torch.Tensor]:
        """[channels, 1, h, w] for each picture; what later ControlNets know besides (a kept picture, its mask) is 0."""
        latent = control.latent.to(self._device, self._dtype).expand(batch, -1, -1, -1)[:, :, None]
        widened = F.pad(latent, (0, 0, 0, 0, 0, 0, 0, channels - latent.shape[1]))
        return list(widened.unbind(dim=0))

    def _placed(self, sample: torch.Tensor, control: LatentControl) -> torch.Tensor:
        """A residual [B, tokens, width], the picture's tokens first, where the control acts."""
        if control.mask is None:
            return sample
        here = packed(control.mask).mean(dim=-1, keepdim=True)
        return sample * F.pad(here, (0, 0, 0, sample.shape[1] - here.shape[1]), value=1.0).to(sample)


def _joined(network: Any, transformer: Any) -> Any:
    """A ControlNet with the embedders and refiners of the transformer it steers; the loaded one stays apart."""
    made = copy.copy(network)
    for own in ("_modules", "_parameters", "_buffers"):
        setattr(made, own, dict(getattr(network, own)))
    return type(network).from_transformer(made, transformer)
