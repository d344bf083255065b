"""The parts of a model as patches leave them: LoRA weights beside the masters, which no run ever changes.

Every family holds one `PatchedParts` and asks it for `weights(part, patches)`; an empty answer means the part as it is.
A network is run with them by `run(module, weights, …)`. What lies under `weights` (merged tensors, side branches on
quantised parts) is this file's affair alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.func import functional_call

from engine.contracts.errors import InvalidRequest
from engine.contracts.references import ModelRef
from engine.families.autoencoder import Parts
from engine.families.protocol import BindRequest
from engine.graph.values import Patch
from engine.models.adapters.apply import Weights, adapted, lora_stack
from engine.models.merging import blended


def no_others(ref: ModelRef) -> Any:
    """For a family that is used alone: there are no LoRAs and no ControlNets."""
    raise InvalidRequest(f"“{ref.name}” can't be loaded here", where=ref.kind)


class PatchedParts:
    """`parts` gives each part by name, `others` an adapter by reference; `family` finds layers by their first names."""

    def __init__(self, parts: Parts, others: Callable[[ModelRef], Any] = no_others, family: str = "") -> None:
        self._parts, self._others, self._family = parts, others, family
        self._merged: dict[str, tuple[tuple[Patch, ...], Weights]] = {}

    @property
    def bytes(self) -> int:
        """Of the tensors that are kept beside the masters."""
        made = (tensor for _, weights in self._merged.values() for tensor in weights.values())
        return sum({id(tensor): tensor.nbytes for tensor in made}.values())

    def forget(self) -> None:
        """Let go of them; they are made anew when they are asked for."""
        self._merged.clear()

    def weights(self, part: str, patches: Sequence[Patch]) -> Weights:
        """The tensors of a part that LoRAs and other models change, made beside its untouched masters.

        The last stack is kept. Raises InvalidRequest for what does not fit the part.
        """
        stack = tuple(patch for patch in patches if patch.kind in ("lora", "merge"))
        if not stack:
            self._merged.pop(part, None)
            return {}
        known = self._merged.get(part)
        if known is None or known[0] != stack:
            module = self._parts(part)
            masters = self._blended(module, part, stack)
            changed = adapted(module, part, lora_stack(stack, self._others), self._family, masters)
            weights = {**masters, **changed}
            known = self._merged[part] = (stack, weights)
        return known[1]

    def _blended(self, module: Any, part: str, patches: Sequence[Patch]) -> Weights:
        """The part's parameters mixed with those of other models, one after another; LoRAs are laid on what results."""
        made: Weights = {}
        for patch in patches:
            if patch.kind == "merge":
                settings = dict(patch.settings)
                other = self._others(settings["weights"])._parts(part)
                theirs = dict(other.named_parameters())
                theirs |= PatchedParts({part: other}.__getitem__, self._others, self._family).weights(
                    part, settings["patches"]
                )
                mine = {**dict(module.named_parameters()), **made}
                made = blended(mine, theirs, settings["ratio"], str(settings["weights"].name))
        return made

    def for_prompts(self, part: str, request: BindRequest) -> Mapping[int, Weights]:
        """By identity of the prompt entry: `weights` of the run's LoRAs and those laid on the part for that prompt."""
        entries = (*request.positive, *request.negative, *request.middle)
        made: list[tuple[tuple[Patch, ...], Weights]] = []  # patches can be compared, not hashed
        found: dict[int, Weights] = {}
        for entry in entries:
            own = tuple(dict(entry.extras).get("patches", ()))
            if all(own != known for known, _ in made):
                made.append((own, self.weights(part, (*request.patches, *own))))
            found[id(entry)] = next(weights for known, weights in made if known == own)
        return found


def run(module: torch.nn.Module, weights: Mapping[str, torch.Tensor], *args: Any, **kwargs: Any) -> Any:
    """`module(*args, **kwargs)` with `weights` in place of its own."""
    return functional_call(module, dict(weights), args, kwargs) if weights else module(*args, **kwargs)
