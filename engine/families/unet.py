"""The UNet of sd15 at work: its prompts, guidance, LoRA weights, FreeU and ControlNets, for one run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the field's own name for it
from torch.func import functional_call

from engine.contracts.errors import InvalidRequest
from engine.contracts.references import ModelRef
from engine.families.freeu import FreeU, freeu
from engine.families.protocol import BindRequest
from engine.graph.values import ConditioningEntry, Control
from engine.models.lora import Weights
from engine.sampling.guidance import guided, is_composed, is_plain, mixed
from engine.sampling.noise_space import NoiseSpace
from engine.sampling.patches import combined, rules_of


def freeu_of(request: BindRequest) -> FreeU | None:
    """The last FreeU patch of a run."""
    found = [dict(patch.settings) for patch in request.patches if patch.kind == "freeu"]
    return FreeU(**found[-1]) if found else None


@dataclass(frozen=True, eq=False)
class BoundControl:
    """A ControlNet with its picture, float32 [1 or B, 3, H, W] in 0..1 at the size of the run."""

    network: Any
    hint: torch.Tensor
    strength: float
    steps: tuple[float, float]

    def holds(self, fraction: float) -> bool:
        return self.steps[0] <= fraction < self.steps[1] or fraction == self.steps[1] == 1.0


def bound_controls(
    request: BindRequest, network: Network, others: Callable[[ModelRef], Any]
) -> dict[int, tuple[BoundControl, ...]]:
    """By identity of the prompt entry: the ControlNets that steer it. Raises InvalidRequest for one that can't."""
    made: dict[int, BoundControl] = {}
    found: dict[int, tuple[BoundControl, ...]] = {}
    shared = [c for entry in request.positive[:1] for c in _controls(entry) if c.both]
    sides = ((request.positive, False), (request.negative, True), (request.middle, True))
    for entry, takes_shared in ((entry, shares) for side, shares in sides for entry in side):
        listed = _controls(entry) or (shared if takes_shared else [])
        for control in listed:
            if id(control) not in made:
                made[id(control)] = _bound(control, request, network, others)
        found[id(entry)] = tuple(made[id(control)] for control in listed)
    return found


def _controls(entry: ConditioningEntry) -> list[Control]:
    # Strength 0 is no control at all: the picture is the uncontrolled one, bit for bit.
    return [control for control in dict(entry.extras).get("controls", ()) if control.strength]


def _bound(control: Control, request: BindRequest, network: Network, others: Callable[[ModelRef], Any]) -> BoundControl:
    if control.handle.kind:
        raise InvalidRequest(
            f"“{control.handle.weights.name}” knows one kind of picture only, not “{control.handle.kind}”",
            where="control", fix="Take “Kind of control” out, or set it to auto",
        )  # fmt: skip
    module = others(control.handle.weights)
    width = int(module.config.cross_attention_dim)
    if width != int(network.config.cross_attention_dim):
        raise InvalidRequest(
            f"the ControlNet “{control.handle.weights.name}” reads prompts {width} wide and this model "
            f"{network.config.cross_attention_dim}",
            where="control", fix="Use a ControlNet made for this family",
        )  # fmt: skip
    factor = 2 ** (len(module.config.conditioning_embedding_out_channels) - 1)  # pixels of the hint for each cell
    rows, columns = request.shape[2] * factor, request.shape[3] * factor
    hint = torch.tensor(control.image[..., :3], dtype=torch.float32).permute(0, 3, 1, 2)
    if hint.shape[-2:] != (rows, columns):
        hint = F.interpolate(hint, size=(rows, columns), mode="bilinear", antialias=True, align_corners=False)
    if hint.shape[0] not in (1, request.shape[0]):
        raise InvalidRequest(
            f"there are {hint.shape[0]} control pictures for {request.shape[0]} to make", where="control",
            fix="Give one, or one for each",
        )  # fmt: skip
    return BoundControl(module, hint.to(network.device, network.dtype), control.strength, control.steps)


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
        noise: NoiseSpace,
        channels: torch.Tensor | None,
        controls: dict[int, tuple[BoundControl, ...]],
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
        steered = _residuals(x, timestep, embedding, [c for c in controls if c.holds(fraction)]) if controls else {}
        if channels is not None:
            x = torch.cat([x, channels.to(dtype)], dim=1)
        output = self._network(
            x, timestep, encoder_hidden_states=embedding, timestep_cond=self._scale_embedding, return_dict=False,
            **steered,
        )  # fmt: skip
        return output if output.dtype == torch.float32 else output.float()


def _residuals(
    x: torch.Tensor, timestep: torch.Tensor, embedding: torch.Tensor, controls: Sequence[BoundControl]
) -> dict[str, Any]:
    """What the ControlNets add to the UNet's skips and middle, summed in order (diffusers' MultiControlNetModel)."""
    down: list[torch.Tensor] | None = None
    middle: torch.Tensor | None = None
    for control in controls:
        hint = control.hint.repeat(x.shape[0] // control.hint.shape[0], 1, 1, 1)
        now, now_middle = control.network(
            x, timestep, encoder_hidden_states=embedding, controlnet_cond=hint, conditioning_scale=control.strength,
            guess_mode=False, return_dict=False,
        )  # fmt: skip
        down = list(now) if down is None else [a + b for a, b in zip(down, now, strict=True)]
        middle = now_middle if middle is None else middle + now_middle
    if down is None:
        return {}
    return {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}


def _scale_embedding(scale: float, batch: int, width: int) -> torch.Tensor:
    """Sinusoidal embedding of the guidance scale, [B, width] (2310.04378; diffusers' get_guidance_scale_embedding)."""
    values = torch.full((batch,), float(scale)) * 1000.0
    half = width // 2
    frequencies = torch.exp(torch.arange(half, dtype=torch.float32) * -(torch.log(torch.tensor(10000.0)) / (half - 1)))
    angles = values[:, None] * frequencies[None, :]
    embedding = torch.cat([torch.sin(angles), torch.cos(angles)], dim=1)
    return torch.nn.functional.pad(embedding, (0, width % 2))
