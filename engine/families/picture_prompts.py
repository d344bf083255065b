"""Pictures as prompts: IP-Adapters (2308.06721) at work on a U-Net, any number at once.

Each cross-attention layer reads a picture's words beside the prompt's, with keys and values of its own, and adds what
they say, times the weight, before its last projection. The negative side reads the words of no picture. The network's
own weights and processors are as they were when the step is done.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the field's own name for it

from engine.contracts.errors import InvalidRequest, clip
from engine.contracts.references import ModelRef
from engine.graph.values import Patch
from engine.models.ip_adapter import IPAdapter


@dataclass(frozen=True, eq=False)
class PicturePrompt:
    """An adapter bound to a run.

    words, none  [1, n, width] of the pictures, and of no picture
    pairs        (keys, values) of each cross-attention layer, in the network's type
    mask         float32 [1, 1, H, W] in 0..1, where it acts; None for everywhere
    """

    words: torch.Tensor
    none: torch.Tensor
    pairs: Sequence[tuple[torch.Tensor, torch.Tensor]]
    weight: float
    steps: tuple[float, float]
    mask: torch.Tensor | None

    def holds(self, fraction: float) -> bool:
        return self.steps[0] <= fraction and (fraction < self.steps[1] or self.steps[1] == 1.0)


def picture_prompts(
    patches: Sequence[Patch], unet: Any, others: Callable[[ModelRef], Any], device: torch.device, dtype: torch.dtype
) -> tuple[PicturePrompt, ...]:
    """The IP-Adapters among a run's patches. Raises InvalidRequest for one made for another model or encoder."""
    found = []
    for patch in patches:
        if patch.kind == "ip_adapter":
            settings = dict(patch.settings)
            if settings["weight"]:
                adapter = others(settings["weights"])
                found.append(_bound(adapter, settings, unet, device, dtype))
    return tuple(found)


@torch.no_grad()
def _bound(adapter: IPAdapter, settings: dict[str, Any], unet: Any, device: torch.device, dtype: torch.dtype) -> Any:
    layers = _layers(unet)
    fits = len(layers) == len(adapter.layers) and all(
        pair[0].shape == (layer.to_k.out_features, layer.to_k.in_features)
        for pair, layer in zip(adapter.layers, layers, strict=False)
    )
    if not fits:
        raise InvalidRequest(
            f"“{clip(adapter.name)}” has {len(adapter.layers)} layers for words {adapter.speaks} wide, and this model "
            f"has {len(layers)} for words {int(unet.config.cross_attention_dim)} wide",
            where="ip_adapter", fix="Use an IP-Adapter made for this family",
        )  # fmt: skip
    shown = settings["picture"]
    seen, nothing = (shown.tokens, shown.no_tokens) if adapter.tokens else (shown.summary, shown.summary * 0)
    if seen.shape[-1] != adapter.sees:
        raise InvalidRequest(
            f"“{clip(adapter.name)}” reads pictures {adapter.sees} wide, and the vision encoder gives {seen.shape[-1]}",
            where="clip_vision", fix="Use the vision encoder that the adapter was made with (ViT-H or bigG)",
        )  # fmt: skip
    words, none = (_together(adapter.projection(each)).to(device, dtype) for each in (seen, nothing))
    pairs = [(key.to(device, dtype), value.to(device, dtype)) for key, value in adapter.layers]
    mask = None if shown.mask is None else torch.from_numpy(shown.mask.copy())[None, None].to(device)
    steps = (float(settings["start"]), float(settings["end"]))
    return PicturePrompt(words, none, pairs, float(settings["weight"]), steps, mask)


def _together(words: torch.Tensor) -> torch.Tensor:
    """The words of several pictures, one behind the other: [1, B·n, width]."""
    return words.reshape(1, -1, words.shape[-1])


@contextlib.contextmanager
def reading(
    unet: Any, prompts: Sequence[PicturePrompt], negatives: Sequence[bool], batch: int, cells: tuple[int, int]
) -> Iterator[None]:
    """While inside, the cross-attention layers read the pictures' words.

    negatives  for each prompt that is asked at once, whether it stands on the negative side; `batch` items each
    cells      rows and columns of the latent
    """
    layers = _layers(unet)
    words = []
    for prompt in prompts:
        sides = [prompt.none if negative else prompt.words for negative in negatives]
        words.append(torch.cat([side.expand(batch, -1, -1) for side in sides]))
    before = [layer.processor for layer in layers]
    try:
        for number, layer in enumerate(layers):
            layer.processor = _Reading(layer.processor, prompts, words, number, cells)
        yield
    finally:
        for layer, processor in zip(layers, before, strict=True):
            layer.processor = processor


class _Reading:
    """An attention processor around the layer's own, which adds what pictures say."""

    def __init__(
        self, inner: Any, prompts: Sequence[PicturePrompt], words: Sequence[torch.Tensor], number: int,
        cells: tuple[int, int],
    ) -> None:  # fmt: skip
        self._inner, self._prompts, self._words, self._number, self._cells = inner, prompts, words, number, cells

    def __call__(self, layer: Any, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        plain: torch.Tensor = self._inner(layer, hidden_states, *args, **kwargs)
        query = _heads(layer.to_q(hidden_states), layer.heads)
        said = torch.zeros_like(hidden_states)
        for prompt, words in zip(self._prompts, self._words, strict=True):
            key, value = (_heads(F.linear(words, weight), layer.heads) for weight in prompt.pairs[self._number])
            answer = F.scaled_dot_product_attention(query, key, value)
            answer = answer.transpose(1, 2).flatten(2).to(query.dtype)
            if prompt.mask is not None:
                answer = answer * _mask_for(prompt.mask, answer.shape[1], self._cells).to(answer.dtype)
            said = said + prompt.weight * answer
        # The layer's last projection is linear: what pictures say goes through it apart from what words say.
        added: torch.Tensor = F.linear(said, layer.to_out[0].weight) / layer.rescale_output_factor
        return plain + added


def _heads(tensor: torch.Tensor, heads: int) -> torch.Tensor:
    return tensor.reshape(*tensor.shape[:2], heads, -1).transpose(1, 2)


def _mask_for(mask: torch.Tensor, tokens: int, cells: tuple[int, int]) -> torch.Tensor:
    """[1, tokens, 1], scaled as diffusers' IPAdapterMaskProcessor does."""
    rows = max(1, round(math.sqrt(tokens * cells[0] / cells[1])))
    rows = next(r for offset in range(tokens) for r in (rows + offset, rows - offset) if r > 0 and tokens % r == 0)
    return F.interpolate(mask, (rows, tokens // rows), mode="bicubic").reshape(1, tokens, 1)


def _layers(unet: Any) -> list[Any]:
    """The cross-attention layers in the order that adapters' files count them."""
    return [module for name, module in unet.named_modules() if name.endswith(".attn2")]
