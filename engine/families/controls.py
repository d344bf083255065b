"""ControlNets and T2I-Adapters at work on a UNet: any number at once, each with its strength, steps and place.

ControlNet (2302.05543) adds to the UNet's skips and middle; several are summed, as diffusers' MultiControlNetModel
does. A T2I-Adapter (2302.08453) adds to the encoder's features and reads its picture once a run. A union ControlNet
(ControlNet++) is told the kind of its picture. Each speaks for itself in its own part of the picture: what it adds is
multiplied by its mask, scaled down to each resolution by area.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F  # noqa: N812 - the field's own name for it

from engine.contracts.errors import InvalidRequest
from engine.contracts.references import ModelRef
from engine.families.protocol import BindRequest
from engine.graph.values import ConditioningEntry, Control

ADAPTER, UNION = "T2IAdapter", "ControlNetUnionModel"
UNION_KINDS = (
    "openpose", "depth", "hed/pidi/scribble/ted", "canny/lineart/anime_lineart/mlsd", "normal", "segment", "tile",
    "repaint",
)  # fmt: skip
"""In the order of their numbers in ControlNet++ ProMax; older ones know the first six."""


class Steered(Protocol):
    """What a control must know of the network it steers."""

    @property
    def config(self) -> Any: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def dtype(self) -> torch.dtype: ...


@dataclass(frozen=True, eq=False)
class BoundControl:
    """A control with its picture for one run.

    hint      float32 [1 or B, 3, H, W] in 0..1 at the size of the run
    mask      [1, 1, h, w] in 0..1 where it acts; None: everywhere
    kind      number of a union ControlNet's kind; None for the others
    features  what a T2I-Adapter found in the hint, one tensor for each resolution; None for ControlNets
    """

    network: Any
    hint: torch.Tensor
    strength: float
    steps: tuple[float, float]
    mask: torch.Tensor | None = None
    kind: int | None = None
    features: tuple[torch.Tensor, ...] | None = None

    def holds(self, fraction: float) -> bool:
        return self.steps[0] <= fraction < self.steps[1] or fraction == self.steps[1] == 1.0


Bindings = dict[int, tuple[BoundControl, ...]]


def bound_controls(request: BindRequest, network: Steered, others: Callable[[ModelRef], Any]) -> Bindings:
    """By identity of the prompt entry: the controls that steer it. Raises InvalidRequest for one that can't."""
    made: dict[int, BoundControl] = {}
    found: Bindings = {}
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
    # Strength 0, or no place to act, is no control at all: the picture is the uncontrolled one, bit for bit.
    listed = dict(entry.extras).get("controls", ())
    return [c for c in listed if c.strength and (c.mask is None or bool(c.mask.any()))]


def _bound(control: Control, request: BindRequest, network: Steered, others: Callable[[ModelRef], Any]) -> BoundControl:
    module = others(control.handle.weights)
    name, config = control.handle.weights.name, module.config
    what = type(module).__name__
    kind = _kind(control, module)
    if what == ADAPTER:
        level = 2 if "xl" in str(config.adapter_type) else 1
        factor = int(config.downscale_factor) // level
    else:
        width = int(config.cross_attention_dim)
        if width != int(network.config.cross_attention_dim):
            raise InvalidRequest(
                f"the ControlNet “{name}” reads prompts {width} wide and this model "
                f"{network.config.cross_attention_dim}",
                where="control", fix="Use a ControlNet made for this family",
            )  # fmt: skip
        factor = 2 ** (len(config.conditioning_embedding_out_channels) - 1)  # pixels of the hint for each cell
    hint = _hint(control, request, factor).to(network.device, network.dtype)
    mask = None
    if control.mask is not None:
        mask = torch.tensor(control.mask, dtype=torch.float32, device=network.device)[None, None]
    features = _features(module, hint, name, network) if what == ADAPTER else None
    return BoundControl(module, hint, control.strength, control.steps, mask, kind, features)


def _kind(control: Control, module: Any) -> int | None:
    name, wanted = control.handle.weights.name, control.handle.kind
    if type(module).__name__ != UNION:
        if wanted:
            raise InvalidRequest(
                f"“{name}” knows one kind of picture only, not “{wanted}”",
                where="control", fix="Take “Kind of control” out, or set it to auto",
            )  # fmt: skip
        return None
    known = UNION_KINDS[: int(module.config.num_control_type)]
    if wanted not in known:
        said = f"does not know “{wanted}”" if wanted else "knows several kinds of picture and was told none"
        raise InvalidRequest(
            f"“{name}” {said}", where="control", fix=f"Choose in “Kind of control” one of: {', '.join(known)}"
        )
    return known.index(wanted)


def _hint(control: Control, request: BindRequest, factor: int) -> torch.Tensor:
    rows, columns = request.shape[2] * factor, request.shape[3] * factor
    hint = torch.tensor(control.image[..., :3], dtype=torch.float32).permute(0, 3, 1, 2)
    if hint.shape[-2:] != (rows, columns):
        hint = F.interpolate(hint, size=(rows, columns), mode="bilinear", antialias=True, align_corners=False)
    if hint.shape[0] not in (1, request.shape[0]):
        raise InvalidRequest(
            f"there are {hint.shape[0]} control pictures for {request.shape[0]} to make", where="control",
            fix="Give one, or one for each",
        )  # fmt: skip
    return hint


@torch.no_grad()
def _features(adapter: Any, hint: torch.Tensor, name: str, network: Steered) -> tuple[torch.Tensor, ...]:
    if "CrossAttn" not in str(network.config.down_block_types[0]):
        raise InvalidRequest(
            f"the T2I-Adapter “{name}” adds to attention blocks that this model does not have",
            where="control", fix="Use it with a whole Stable Diffusion model, or take a ControlNet",
        )  # fmt: skip
    channels = int(adapter.config.in_channels)
    picture = hint if channels == hint.shape[1] else hint.mean(dim=1, keepdim=True).expand(-1, channels, -1, -1)
    features = tuple(adapter(picture))
    widths = [int(feature.shape[1]) for feature in features]
    own = [int(width) for width in network.config.block_out_channels]
    if widths != own[: len(widths)] and "xl" not in str(adapter.config.adapter_type):
        raise InvalidRequest(
            f"the T2I-Adapter “{name}” is {widths[0]} to {widths[-1]} channels wide and this model "
            f"{own[0]} to {own[-1]}",
            where="control", fix="Use an adapter made for this family",
        )  # fmt: skip
    return features


def residuals(
    x: torch.Tensor,
    timestep: torch.Tensor,
    embedding: torch.Tensor,
    controls: Sequence[BoundControl],
    fraction: float,
    added: Mapping[str, torch.Tensor] | None = None,
) -> dict[str, Any]:
    """What the UNet is to be called with besides, for the controls that hold at `fraction` of the run.

    x          [n·B, C, h, w] as the network gets it, `embedding` [n·B, tokens, width]
    added      SDXL's added_cond_kwargs
    """
    down: list[torch.Tensor] | None = None
    middle: torch.Tensor | None = None
    inside: list[torch.Tensor] | None = None
    for control in controls:
        if not control.holds(fraction):
            continue
        if control.features is not None:
            found = [_placed(f.repeat(x.shape[0] // f.shape[0], 1, 1, 1) * control.strength, control)
                     for f in control.features]  # fmt: skip
            inside = found if inside is None else [a + b for a, b in zip(inside, found, strict=True)]
            continue
        now, now_middle = _asked(control, x, timestep, embedding, added)
        now, now_middle = [_placed(part, control) for part in now], _placed(now_middle, control)
        down = now if down is None else [a + b for a, b in zip(down, now, strict=True)]
        middle = now_middle if middle is None else middle + now_middle
    steered: dict[str, Any] = {}
    if down is not None:
        steered = {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}
    if inside is not None:
        steered["down_intrablock_additional_residuals"] = inside
    return steered


def _asked(
    control: BoundControl,
    x: torch.Tensor,
    timestep: torch.Tensor,
    embedding: torch.Tensor,
    added: Mapping[str, torch.Tensor] | None,
) -> tuple[list[torch.Tensor], torch.Tensor]:
    hint = control.hint.repeat(x.shape[0] // control.hint.shape[0], 1, 1, 1)
    options: dict[str, Any] = {"guess_mode": False, "return_dict": False, "conditioning_scale": control.strength}
    # Those made for SDXL may lack its size input, and those of SD1 and SD2 have none.
    if added is not None and getattr(control.network.config, "addition_embed_type", None) is not None:
        options["added_cond_kwargs"] = dict(added)
    if control.kind is None:
        options["controlnet_cond"] = hint
    else:
        types = torch.zeros(x.shape[0], int(control.network.config.num_control_type), device=x.device, dtype=x.dtype)
        types[:, control.kind] = 1
        options |= {"controlnet_cond": [hint], "control_type": types, "control_type_idx": [control.kind]}
        options["conditioning_scale"] = [control.strength]
    down, middle = control.network(x, timestep, encoder_hidden_states=embedding, **options)
    return list(down), middle


def _placed(residual: torch.Tensor, control: BoundControl) -> torch.Tensor:
    """`residual` [B, C, h, w] where the control acts."""
    if control.mask is None:
        return residual
    here = F.interpolate(control.mask, size=residual.shape[-2:], mode="area")
    return residual * here.to(residual.dtype)
