"""The UNet of sd15 at work: its prompts, guidance, LoRA weights, FreeU and ControlNets, for one run."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import torch
from torch.func import functional_call

from engine.families.controls import Bindings, BoundControl, residuals
from engine.families.freeu import FreeU, freeu
from engine.families.protocol import BindRequest
from engine.graph.values import ConditioningEntry
from engine.models.lora import Weights
from engine.sampling.guidance import guided, is_composed, is_plain, mixed
from engine.sampling.flow_space import Space
from engine.sampling.patches import combined, rules_of


def freeu_of(request: BindRequest) -> FreeU | None:
    """The last FreeU patch of a run."""
    found = [dict(patch.settings) for patch in request.patches if patch.kind == "freeu"]
    return FreeU(**found[-1]) if found else None


@dataclass(frozen=True)
class Network:
    """A UNet as a run sees it: with `weights` in place of some of its own, which stay as they are."""

    module: Any
    device: torch.device
    dtype: torch.dtype
    weights: Weights
    freeu: FreeU | None = None

    @property
    def config(self) -> Any:
        return self.module.config

    def __call__(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        with freeu(self.module, self.freeu) if self.freeu else contextlib.nullcontext():
            if self.weights:
                output: torch.Tensor = functional_call(self.module, self.weights, args, kwargs)[0]
            else:
                output = self.module(*args, **kwargs)[0]
        return output


class BoundUNet:
    """The UNet with its prompts. One prompt on each side runs as one batch, unconditional half first, as diffusers."""

    def __init__(
        self,
        network: Network,
        request: BindRequest,
        noise: Space,
        channels: torch.Tensor | None,
        controls: Bindings,
    ) -> None:
        self._network, self._request, self._noise, self._controls = network, request, noise, controls
        self._rules = rules_of(request.patches)
        batch = request.shape[0]
        composed = is_composed(request.positive)  # AND weighs against the negative side whatever cfg is
        guide = bool(request.negative) and (request.cfg != 1.0 or request.style != "cfg" or composed)
        self._scale_embedding: torch.Tensor | None = None
        if network.config.time_cond_proj_dim is not None:
            # A distilled (LCM) network is told the guidance scale instead of being run twice.
            self._scale_embedding = _scale_embedding(request.cfg - 1, batch, int(network.config.time_cond_proj_dim))
            self._scale_embedding = self._scale_embedding.to(network.device, network.dtype)
            guide = False
        self._sides: tuple[tuple[ConditioningEntry, ...], ...] = (request.positive,)
        if guide:
            middle = (request.middle,) if request.style != "cfg" else ()
            self._sides = (request.negative, *middle, request.positive)
        entries = [entry for side in self._sides for entry in side]
        alike = len({entry.embedding.shape for entry in entries}) == 1 and len({controls[id(e)] for e in entries}) == 1
        self._together: torch.Tensor | None = None
        self._channels = None if channels is None else channels.to(network.device, torch.float32)
        self._all_channels = self._channels
        if alike and all(is_plain(side) for side in self._sides):
            repeated = [
                side[0].embedding.to(network.device, network.dtype).expand(batch, -1, -1) for side in self._sides
            ]
            self._together = torch.cat(repeated)
            if guide and self._channels is not None:
                self._all_channels = torch.cat([self._channels] * len(self._sides))

    def predict(self, x: torch.Tensor, timestep: torch.Tensor, fraction: float) -> torch.Tensor:
        outputs = self._outputs(x, timestep, fraction)
        if len(outputs) == 1:
            return outputs[0]
        request = self._request
        if request.style == "cfg":
            if self._rules:
                sigma = torch.tensor(self._noise.sigma_at(float(timestep)), dtype=torch.float32)
                return combined(outputs[0], outputs[1], request.cfg, self._rules, x, sigma, self._noise.prediction)
            return guided(outputs[0], outputs[1], request.cfg)
        negative, middle, positive = outputs
        if request.style == "nested":
            return guided(negative, guided(middle, positive, request.cfg), request.cfg_2)
        return guided(negative, middle, request.cfg_2) + request.cfg * (positive - middle)

    def _outputs(self, x: torch.Tensor, timestep: torch.Tensor, fraction: float) -> tuple[torch.Tensor, ...]:
        """What the network says for each side: negative, middle where there is one, positive."""
        if self._together is not None:
            repeated = torch.cat([x] * len(self._sides)) if len(self._sides) > 1 else x
            controls = self._controls[id(self._sides[0][0])]
            output = self._forward(repeated, timestep, fraction, self._together, self._all_channels, controls)
            return output.chunk(len(self._sides)) if len(self._sides) > 1 else (output,)

        def one(entry: ConditioningEntry) -> torch.Tensor:
            embedding = entry.embedding.to(self._network.device, self._network.dtype).expand(x.shape[0], -1, -1)
            return self._forward(x, timestep, fraction, embedding, self._channels, self._controls[id(entry)])

        first, *others = self._sides
        base = mixed(first, fraction, x, one)
        return (base, *(mixed(side, fraction, x, one, base) for side in others))

    def _forward(
        self,
        x: torch.Tensor,
        timestep: torch.Tensor,
        fraction: float,
        embedding: torch.Tensor,
        channels: torch.Tensor | None,
        controls: tuple[BoundControl, ...],
    ) -> torch.Tensor:
        dtype = self._network.dtype
        if x.dtype != dtype:
            x = x.to(dtype)
        steered = residuals(x, timestep, embedding, controls, fraction)
        if channels is not None:
            x = torch.cat([x, channels.to(dtype)], dim=1)
        output = self._network(
            x, timestep, encoder_hidden_states=embedding, timestep_cond=self._scale_embedding, return_dict=False,
            **steered,
        )  # fmt: skip
        return output if output.dtype == torch.float32 else output.float()


def _scale_embedding(scale: float, batch: int, width: int) -> torch.Tensor:
    """Sinusoidal embedding of the guidance scale, [B, width] (2310.04378; diffusers' get_guidance_scale_embedding)."""
    values = torch.full((batch,), float(scale)) * 1000.0
    half = width // 2
    frequencies = torch.exp(torch.arange(half, dtype=torch.float32) * -(torch.log(torch.tensor(10000.0)) / (half - 1)))
    angles = values[:, None] * frequencies[None, :]
    embedding = torch.cat([torch.sin(angles), torch.cos(angles)], dim=1)
    return torch.nn.functional.pad(embedding, (0, width % 2))
