"""ControlNets of Flux at work (FluxControlNetPipeline's): any number at once, of any depth, union ones too.

What each adds to the picture's tokens is spread over the transformer's blocks as diffusers spreads it, and summed.
InstantX' and Shakker's read the picture as latents, XLabs' as pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F  # noqa: N812 - the field's own name for it

from engine.contracts.errors import InvalidRequest
from engine.contracts.references import ModelRef
from engine.families.flow_transformer import packed
from engine.families.latent_controls import latent_of
from engine.families.protocol import BindRequest
from engine.graph.values import ConditioningEntry, Control

# Kinds of picture in the nodes' spelling → the mode of Flux's union ControlNets.
UNION_MODES: Mapping[str, int] = MappingProxyType(
    {"canny/lineart/anime_lineart/mlsd": 0, "tile": 1, "depth": 2, "openpose": 4}
)

Residuals: TypeAlias = list[torch.Tensor]


@dataclass(frozen=True, eq=False)
class FluxControl:
    """A ControlNet with its picture for one run.

    hint    tokens [1 or B, n, C] of its latent, or pixels [1 or B, 3, H, W] in −1..1 for XLabs'
    mode    the number of the picture's kind, for union ControlNets
    mask    [1, n, 1] in 0..1 where it acts, for each token of the picture; None: everywhere
    """

    network: Any
    hint: torch.Tensor
    strength: float
    steps: tuple[float, float]
    mode: int | None
    mask: torch.Tensor | None

    def holds(self, fraction: float) -> bool:
        return self.steps[0] <= fraction < self.steps[1] or fraction == self.steps[1] == 1.0


class FluxControls:
    """The ControlNets of a run, by prompt entry.

    encode  pictures float32 [B, 3, H, W] in −1..1 → latents
    width   of the prompts that the transformer reads
    """

    def __init__(
        self,
        request: BindRequest,
        others: Callable[[ModelRef], Any],
        encode: Callable[[torch.Tensor], torch.Tensor],
        factor: int,
        width: int,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self._request, self._others, self._encode = request, others, encode
        self._factor, self._width, self._device, self._dtype = factor, width, device, dtype
        made: dict[int, FluxControl] = {}
        self._of: dict[int, tuple[FluxControl, ...]] = {}
        shared = [control for entry in request.positive[:1] for control in _listed(entry) if control.both]
        sides = ((request.positive, False), (request.negative, True), (request.middle, True))
        for entry, takes_shared in ((entry, shares) for side, shares in sides for entry in side):
            listed = _listed(entry) or (shared if takes_shared else [])
            for control in listed:
                if id(control) not in made:
                    made[id(control)] = self._bound(control)
            self._of[id(entry)] = tuple(made[id(control)] for control in listed)

    def residuals(
        self, entry: ConditioningEntry, fraction: float, depths: tuple[int, int], extra: int, asked: Mapping[str, Any]
    ) -> dict[str, Any]:
        """What the transformer is to be called with besides, at `fraction` of the run.

        depths  how many double and single blocks it has
        extra   tokens behind the picture's, of references, which no control changes
        asked   the transformer's own arguments; those of references are cut off here
        """
        sums: list[Residuals | None] = [None, None]
        for control in self._of[id(entry)]:
            if not control.holds(fraction):
                continue
            for place, found in enumerate(_asked(control, asked, extra)):
                if found:
                    spread = [_placed(one, control, extra) for one in _spread(found, depths[place], control.network)]
                    known = sums[place]
                    sums[place] = spread if known is None else [a + b for a, b in zip(known, spread, strict=True)]
        names = ("controlnet_block_samples", "controlnet_single_block_samples")
        return {name: value for name, value in zip(names, sums, strict=True) if value is not None}

    def _bound(self, control: Control) -> FluxControl:
        name, network = control.handle.weights.name, self._others(control.handle.weights)
        if not hasattr(network, "controlnet_x_embedder") or int(network.config.joint_attention_dim) != self._width:
            raise InvalidRequest(
                f"the ControlNet “{name}” was not made for Flux", where="control",
                fix="Use a ControlNet made for this family",
            )  # fmt: skip
        _, _, rows, columns = self._request.shape
        hint = torch.tensor(control.image[..., :3], dtype=torch.float32).permute(0, 3, 1, 2)
        size = (rows * self._factor, columns * self._factor)
        if hint.shape[-2:] != size:
            hint = F.interpolate(hint, size=size, mode="bilinear", antialias=True, align_corners=False)
        if hint.shape[0] not in (1, self._request.shape[0]):
            raise InvalidRequest(
                f"there are {hint.shape[0]} control pictures for {self._request.shape[0]} to make", where="control",
                fix="Give one, or one for each",
            )  # fmt: skip
        hint = hint * 2 - 1
        if network.input_hint_block is None:
            hint = packed(latent_of(control, hint, (rows, columns), self._encode))
        mask = None
        if control.mask is not None:
            whole = torch.tensor(control.mask, dtype=torch.float32)[None, None]
            mask = F.interpolate(whole, size=(rows // 2, columns // 2), mode="area").reshape(1, -1, 1)
            mask = mask.to(self._device, self._dtype)
        hint = hint.to(self._device, self._dtype)
        return FluxControl(network, hint, control.strength, control.steps, _mode(control, network), mask)


def _listed(entry: ConditioningEntry) -> list[Control]:
    # Strength 0, or no place to act, is no control at all: the picture is the uncontrolled one, bit for bit.
    listed = dict(entry.extras).get("controls", ())
    return [c for c in listed if c.strength and (c.mask is None or bool(c.mask.any()))]


def _mode(control: Control, network: Any) -> int | None:
    name, wanted = control.handle.weights.name, control.handle.kind
    if not network.union:
        if wanted:
            raise InvalidRequest(
                f"“{name}” knows one kind of picture only, not “{wanted}”", where="control",
                fix="Take “Kind of control” out, or set it to auto",
            )  # fmt: skip
        return None
    if wanted not in UNION_MODES:
        said = f"does not know “{wanted}”" if wanted else "knows several kinds of picture and was told none"
        raise InvalidRequest(
            f"“{name}” {said}", where="control", fix=f"Choose in “Kind of control” one of: {', '.join(UNION_MODES)}"
        )
    return UNION_MODES[wanted]


def _asked(control: FluxControl, asked: Mapping[str, Any], extra: int) -> tuple[Sequence[torch.Tensor], ...]:
    x = asked["hidden_states"]
    tokens = x.shape[1] - extra
    own = int(control.network.x_embedder.in_features)  # of a model with more channels it sees the latent's alone
    said = {name: asked[name] for name in ("timestep", "pooled_projections", "encoder_hidden_states", "txt_ids")}
    guidance = asked.get("guidance") if control.network.config.guidance_embeds else None
    mode = None if control.mode is None else torch.full((x.shape[0], 1), control.mode, device=x.device)
    down, single = control.network(
        hidden_states=x[:, :tokens, :own], controlnet_cond=control.hint.expand(x.shape[0], *control.hint.shape[1:]),
        controlnet_mode=mode, conditioning_scale=control.strength, guidance=guidance,
        img_ids=asked["img_ids"][:tokens], return_dict=False, **said,
    )  # fmt: skip
    return tuple(down or ()), tuple(single or ())


def _spread(found: Sequence[torch.Tensor], depth: int, network: Any) -> Residuals:
    """One residual for each of the transformer's blocks; XLabs' come round again."""
    if network.input_hint_block is not None:
        return [found[place % len(found)] for place in range(depth)]
    interval = math.ceil(depth / len(found))
    return [found[place // interval] for place in range(depth)]


def _placed(residual: torch.Tensor, control: FluxControl, extra: int) -> torch.Tensor:
    if control.mask is not None:
        residual = residual * control.mask
    return F.pad(residual, (0, 0, 0, extra)) if extra else residual
