"""Reference-only control: a U-Net that looks at another picture through its own self-attention, without any weights.

After “reference_only” of the ControlNet extension for A1111 (Zhang, 2023), attention form: at each step the reference
is noised as far as the latent is and run through the same network, each self-attention's input is kept, and the
picture's own self-attention then reads them beside its own tokens. `fidelity` keeps the negative side from reading
them, so that guidance stresses the likeness.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import torch.nn.functional as F  # noqa: N812 - the field's own name for it

from engine.contracts.errors import InvalidRequest
from engine.graph.values import Patch


@dataclass(eq=False)
class Reference:
    """What is looked at, for one run.

    latents   float32 [1, C, h, w] clean, in the model's space
    strength  share of the attention layers that look, from the deepest on (A1111's “attention weight”), 0..1
    fidelity  0..1, how much the negative side is kept from looking
    kept      what the layers saw of it at the noise level `at`
    steps     (start, end) as fractions of the run
    """

    latents: torch.Tensor
    noise: torch.Tensor
    strength: float = 1.0
    fidelity: float = 0.5
    steps: tuple[float, float] = (0.0, 1.0)
    kept: dict[int, torch.Tensor] = field(default_factory=dict)
    at: float | None = None

    def holds(self, fraction: float) -> bool:
        return self.strength > 0 and self.steps[0] <= fraction and (fraction < self.steps[1] or self.steps[1] == 1.0)


def reference_of(patches: Sequence[Patch], shape: Sequence[int], device: torch.device) -> Reference | None:
    """The last reference of a run whose latent is `shape` [B, C, h, w]. Raises InvalidRequest for one of another model.

    A picture of another size is stretched; what is looked at is its look, not its places.
    """
    found = [dict(patch.settings) for patch in patches if patch.kind == "reference_only"]
    if not found or not found[-1]["strength"]:
        return None
    settings = found[-1]
    latent = settings["reference"].latent
    if latent.samples.shape[1] != shape[1]:
        raise InvalidRequest(
            "the reference picture was encoded by another model's autoencoder", where="reference",
            fix="Encode it with the VAE of the checkpoint that looks at it",
        )  # fmt: skip
    samples = F.interpolate(latent.samples[:1].float(), tuple(shape[2:]), mode="bilinear", antialias=True).to(device)
    noise = torch.randn(samples.shape, generator=torch.Generator().manual_seed(0)).to(device)
    steps = (float(settings["start"]), float(settings["end"]))
    return Reference(samples, noise, float(settings["strength"]), float(settings["fidelity"]), steps)


Mode = Literal["keep", "read"]


@contextlib.contextmanager
def looking(unet: Any, reference: Reference, mode: Mode, reads: torch.Tensor | None = None) -> Iterator[None]:
    """While inside, the self-attention layers keep their inputs ("keep"), or read what was kept beside their own.

    reads  [B] how much of each item's answer is the one that read, 0..1
    """
    layers = _layers(unet, reference.strength)
    before = [(layer, layer.processor) for layer in layers]
    try:
        for number, layer in enumerate(layers):
            layer.processor = _Looking(layer.processor, reference, number, mode, reads)
        yield
    finally:
        for layer, processor in before:
            layer.processor = processor


class _Looking:
    """An attention processor around the layer's own."""

    def __init__(
        self, inner: Any, reference: Reference, number: int, mode: Mode, reads: torch.Tensor | None
    ) -> None:  # fmt: skip
        self._inner, self._reference, self._number, self._mode, self._reads = inner, reference, number, mode, reads

    def __call__(
        self, layer: Any, hidden_states: torch.Tensor, encoder_hidden_states: None = None, **kwargs: Any
    ) -> torch.Tensor:  # fmt: skip
        plain: torch.Tensor = self._inner(layer, hidden_states, **kwargs)
        if self._mode == "keep":
            self._reference.kept[self._number] = hidden_states
            return plain
        kept = self._reference.kept[self._number].expand(hidden_states.shape[0], -1, -1)
        both = torch.cat([hidden_states, kept.to(hidden_states.dtype)], dim=1)
        looked: torch.Tensor = self._inner(layer, hidden_states, encoder_hidden_states=both, **kwargs)
        if self._reads is None:
            return looked
        return plain + self._reads.to(looked).reshape(-1, 1, 1) * (looked - plain)


def _layers(unet: Any, strength: float) -> list[Any]:
    """The self-attention layers that look: the deepest `strength` of them, by how wide they are."""
    blocks = [m for m in unet.modules() if type(m).__name__ == "BasicTransformerBlock" and m.attn1 is not None]
    found = sorted((block.attn1 for block in blocks), key=lambda layer: -int(layer.inner_dim))
    return found[: max(1, round(strength * len(found)))] if strength > 0 else []
