"""The UNet of SD1, SD2 and SDXL at work: its prompts, guidance, LoRA weights, FreeU and ControlNets, for one run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch.func import functional_call

from engine.families.controls import Bindings, BoundControl, residuals
from engine.families.freeu import FreeU, freeu
from engine.families.guided import Asked, GuidedNetwork
from engine.families.picture_prompts import PicturePrompt, reading
from engine.families.protocol import BindRequest
from engine.families.reference_only import looking, reference_of
from engine.families.unet_channels import Channels
from engine.graph.values import ConditioningEntry
from engine.models.adapters.apply import Weights
from engine.sampling.flow_space import Space

# What a UNet reads beside the prompt's tokens, each [1, …]: SDXL's pooled prompt and sizes.
Added: TypeAlias = Mapping[str, torch.Tensor]


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


@dataclass(frozen=True, eq=False)
class _Inputs:
    """What the network is asked with besides the latent, on its device in its dtype, for a whole batch."""

    embedding: torch.Tensor
    channels: torch.Tensor | None
    added: Added | None
    controls: tuple[BoundControl, ...]


class BoundUNet(GuidedNetwork):
    """The UNet with its prompts.

    channels  gives what stands behind the latent's channels for a prompt; None for models without
    added     gives what a prompt adds beside its tokens, told whether it stands on the negative side
    own       by identity of a prompt, its own network instead (a LoRA for one prompt)
    pictures  what prompts it beside the words (IP-Adapters)
    """

    def __init__(
        self,
        network: Network,
        request: BindRequest,
        noise: Space,
        channels: Channels | None,
        controls: Bindings,
        added: Callable[[ConditioningEntry, bool], Added] | None = None,
        own: Mapping[int, Network] | None = None,
        pictures: Sequence[PicturePrompt] = (),
    ) -> None:
        self._network, self._controls, self._added = network, controls, added
        self._own = own or {}
        self._pictures = tuple(pictures)
        self._reference = reference_of(request.patches, request.shape, network.device)
        self._channels = channels
        self._batch = request.shape[0]
        self._scale: torch.Tensor | None = None
        width = network.config.time_cond_proj_dim
        if width is not None:
            # A distilled (LCM) network is told the guidance scale instead of being run twice.
            self._scale = _scale_embedding(request.cfg - 1, self._batch, int(width)).to(network.device, network.dtype)
        self._prepared: dict[tuple[tuple[int, bool], ...], _Inputs] = {}
        super().__init__(request, noise, distilled=width is not None)

    def _alike(self, entry: ConditioningEntry) -> Hashable:
        return entry.embedding.shape, self._controls[id(entry)], id(self._own.get(id(entry), self._network))

    def _ask(self, x: torch.Tensor, timestep: torch.Tensor, fraction: float, asked: tuple[Asked, ...]) -> torch.Tensor:
        inputs = self._inputs(asked)
        if x.dtype != self._network.dtype:
            x = x.to(self._network.dtype)
        steered = residuals(x, timestep, inputs.embedding, inputs.controls, fraction, inputs.added)
        if inputs.added is not None:
            steered["added_cond_kwargs"] = dict(inputs.added)
        if inputs.channels is not None:
            x = torch.cat([x, inputs.channels], dim=1)
        network = self._own.get(id(asked[0][0]), self._network)
        cells = (x.shape[2], x.shape[3])
        with self._looking(network, timestep, fraction, asked, inputs), self._reading(network, fraction, asked, cells):
            output = network(
                x, timestep, encoder_hidden_states=inputs.embedding, timestep_cond=self._scale, return_dict=False,
                **steered,
            )  # fmt: skip
        return output if output.dtype == torch.float32 else output.float()

    def _reading(
        self, network: Network, fraction: float, asked: tuple[Asked, ...], cells: tuple[int, int]
    ) -> AbstractContextManager[None]:
        """While inside, the network reads the pictures that prompt it now."""
        pictures = [each for each in self._pictures if each.holds(fraction)]
        if not pictures:
            return contextlib.nullcontext()
        return reading(network.module, pictures, [negative for _, negative in asked], self._batch, cells)

    def _looking(
        self, network: Network, timestep: torch.Tensor, fraction: float, asked: tuple[Asked, ...], inputs: _Inputs
    ) -> AbstractContextManager[None]:
        """While inside, the network looks at the reference picture of the run, where it has one now."""
        reference = self._reference
        if reference is None or not reference.holds(fraction):
            return contextlib.nullcontext()
        if reference.at != float(timestep):  # once a step, whichever side is asked first: as the prompt sees it
            inputs = self._inputs(((self._request.positive[0], False),))
            sigma = self._noise.sigma_at(float(timestep))
            seen = (reference.latents + sigma * reference.noise) / (sigma**2 + 1) ** 0.5
            seen = seen.to(network.dtype)
            if inputs.channels is not None:
                seen = torch.cat([seen, inputs.channels[-1:]], dim=1)
            more = {} if inputs.added is None else {"added_cond_kwargs": {k: v[-1:] for k, v in inputs.added.items()}}
            scale = None if self._scale is None else self._scale[-1:]
            with looking(network.module, reference, "keep"):
                network(
                    seen, timestep, encoder_hidden_states=inputs.embedding[-1:], timestep_cond=scale,
                    return_dict=False, **more,
                )  # fmt: skip
            reference.at = float(timestep)
        shares = [1.0 - reference.fidelity if negative else 1.0 for _, negative in asked]
        reads = torch.tensor(shares, device=network.device).repeat_interleave(self._batch)
        return looking(network.module, reference, "read", None if all(share == 1 for share in shares) else reads)

    def _inputs(self, asked: tuple[Asked, ...]) -> _Inputs:
        key = tuple((id(entry), negative) for entry, negative in asked)
        known = self._prepared.get(key)
        if known is None:
            known = self._prepared[key] = _Inputs(
                torch.cat([self._whole(entry.embedding) for entry, _ in asked]),
                self._all_channels(asked),
                self._all_added(asked),
                self._controls[id(asked[0][0])],
            )
        return known

    def _all_channels(self, asked: tuple[Asked, ...]) -> torch.Tensor | None:
        if self._channels is None:
            return None
        together = torch.cat([self._channels(entry) for entry, _ in asked])
        return together.to(self._network.device, self._network.dtype)

    def _all_added(self, asked: tuple[Asked, ...]) -> Added | None:
        if self._added is None:
            return None
        each = [self._added(entry, negative) for entry, negative in asked]
        return {name: torch.cat([self._whole(one[name]) for one in each]) for name in each[0]}

    def _whole(self, tensor: torch.Tensor) -> torch.Tensor:
        """[1, …] for the whole batch, on the network's device in its dtype."""
        moved = tensor.to(self._network.device, self._network.dtype)
        return moved.expand(self._batch, *[-1] * (moved.ndim - 1))


def _scale_embedding(scale: float, batch: int, width: int) -> torch.Tensor:
    """Sinusoidal embedding of the guidance scale, [B, width] (2310.04378; diffusers' get_guidance_scale_embedding)."""
    values = torch.full((batch,), float(scale)) * 1000.0
    half = width // 2
    frequencies = torch.exp(torch.arange(half, dtype=torch.float32) * -(torch.log(torch.tensor(10000.0)) / (half - 1)))
    angles = values[:, None] * frequencies[None, :]
    embedding = torch.cat([torch.sin(angles), torch.cos(angles)], dim=1)
    return torch.nn.functional.pad(embedding, (0, width % 2))
