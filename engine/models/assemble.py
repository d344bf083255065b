"""Build a network without memory, then give it its weights straight from their file: one copy at most.

The network is made on the meta device; each parameter is then assigned what its file holds, on the device and in the
type it is to run in. Where that is the file's own type and the device is the CPU, the parameter is a view of the mapped
file. Parts of a tensor that were one in the file (query, key and value, say) are views of one.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from engine.contracts.errors import InvalidDocument, clip
from engine.memory.recovery import is_out_of_memory
from engine.models import fp8
from engine.models.empty import without_memory
from engine.models.layouts.rule import Placement, apply
from engine.models.weights import Weights

# Classes whose packages are transformers'; the others are diffusers'.
_TRANSFORMERS = ("CLIPText", "CLIPVision", "T5Encoder", "Qwen2", "Qwen3", "Mistral", "Siglip")
Placements = Mapping[str, Sequence[Placement]]


def skeleton(class_name: str, config: Mapping[str, Any]) -> Any:
    """A network of a diffusers or transformers class on the meta device; its small buffers are real.

    Raises InvalidDocument when the configuration does not fit the class.
    """
    try:
        with warnings.catch_warnings(), without_memory():
            warnings.simplefilter("ignore")
            if class_name.startswith(_TRANSFORMERS):
                import transformers

                kind = getattr(transformers, class_name)
                return kind(kind.config_class.from_dict(dict(config))).eval()
            import diffusers

            return getattr(diffusers, class_name).from_config(dict(config)).eval()
    except (TypeError, ValueError, KeyError, AttributeError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        raise InvalidDocument(
            f"a {class_name} can't be built from its configuration ({clip(str(error), 160)})", where="config.json",
            fix="Get the model again from its source",
        ) from error  # fmt: skip


def fill(
    module: Any, weights: Weights, placements: Placements, device: torch.device, dtype: torch.dtype, *,
    keep: torch.dtype | None = None, what: str = "network",
) -> Any:  # fmt: skip
    """Give `module` its parameters from `weights`, as `placements` say (source name → where it goes).

    keep  the eight-bit type that linear and convolution weights are kept in; None: all in `dtype`
    what  the part's name, for the sentences

    Raises InvalidDocument naming what is missing or does not fit.
    """
    targets = {name: tensor.shape for name, tensor in _targets(module)}
    placed = {source: [_resolved(item, targets) for item in listed] for source, listed in placements.items()}
    high, layers = _kept_high(module, dtype), dict(module.named_modules())
    for source, listed in placed.items():
        weights.read_ahead([source])
        _place(layers, weights, source, listed, targets, device, dtype, high, keep, what)
    weights.release_rest()
    _tie(module)
    empty = [name for name, tensor in _targets(module) if tensor.is_meta]
    if empty:
        raise InvalidDocument(
            f"the {what} lacks {len(empty)} tensor{'s'[: len(empty) > 1]}, the first is “{clip(empty[0])}”",
            where=weights.path.name, fix="Get the file again from its source",
        )  # fmt: skip
    for layer in module.modules():
        for name, buffer in layer.named_buffers(recurse=False):
            if buffer.device != device:
                layer._buffers[name] = buffer.to(device)
    module.requires_grad_(False)
    return module.eval()


def same_names(module: Any, weights: Weights) -> Placements | None:
    """Placements of a file that names its tensors as the module does, or as an older transformers did; None if it
    names them otherwise."""
    targets = {name for name, _ in _targets(module)}
    known: dict[str, list[Placement]] = {}
    reached: set[str] = set()
    for source in weights.shapes:
        target = next((name for name in _spellings(source) if name in targets), None)
        if target is not None and target not in reached:
            known[source] = [Placement(target)]
            reached.add(target)
    tied = {name for name in targets if name in (getattr(module, "_tied_weights_keys", None) or {})}
    return known if targets - reached <= tied else None


def _resolved(placement: Placement, targets: Mapping[str, torch.Size]) -> Placement:
    """The placement with its target as this version of the class spells it."""
    name = next((name for name in _spellings(placement.target) if name in targets), placement.target)
    return placement if name == placement.target else replace(placement, target=name)


def _spellings(name: str) -> Iterable[str]:
    yield name
    if name.startswith("text_model."):  # transformers 5 dropped the inner module
        yield name.removeprefix("text_model.")
    else:
        yield f"text_model.{name}"
    if name.startswith("model."):
        yield name.removeprefix("model.")
        yield name.replace("model.", "model.language_model.", 1)
    else:
        yield f"model.{name}"
    if name.startswith("visual."):
        yield f"model.{name}"


def _targets(module: Any) -> list[tuple[str, torch.Tensor]]:
    """Parameters, each once, and the buffers that belong to a saved model: in one walk, since there are thousands."""
    parameters: list[tuple[str, torch.Tensor]] = []
    buffers: list[tuple[str, torch.Tensor]] = []
    seen: set[int] = set()
    for place, layer in module.named_modules():
        start = f"{place}." if place else ""
        for name, tensor in layer._parameters.items():
            if tensor is not None and id(tensor) not in seen:
                seen.add(id(tensor))
                parameters.append((start + name, tensor))
        left = layer._non_persistent_buffers_set
        buffers += [(start + n, t) for n, t in layer._buffers.items() if t is not None and n not in left]
    return [*parameters, *buffers]


def _kept_high(module: Any, dtype: torch.dtype) -> tuple[str, ...]:
    """Layers that their authors keep in float32: transformers' only when the rest is float16."""
    names: list[str] = list(getattr(module, "_keep_in_fp32_modules_strict", None) or [])
    if dtype == torch.float16 or not type(module).__module__.startswith("transformers"):
        names += list(getattr(module, "_keep_in_fp32_modules", None) or [])
    return tuple(names) if dtype != torch.float32 else ()


def _place(
    layers: Mapping[str, Any], weights: Weights, source: str, listed: Sequence[Placement],
    targets: Mapping[str, torch.Size], device: torch.device, dtype: torch.dtype, high: Sequence[str],
    keep: torch.dtype | None, what: str,
) -> None:  # fmt: skip
    ready: dict[torch.dtype, torch.Tensor] = {}
    for placement in listed:
        if placement.target not in targets:
            raise InvalidDocument(
                f"the {what} has no “{clip(placement.target)}”, which the file holds", where=weights.path.name,
                fix="Get the file again from its source",
            )  # fmt: skip
        place, _, name = placement.target.rpartition(".")
        layer = layers[place]
        eight = keep if keep is not None and fp8.can_hold(layer, name) and not placement.swap_halves else None
        if eight is not None:
            _hold(layer, weights, source, placement, device, eight)
        else:
            wanted = torch.float32 if any(word in placement.target.split(".") for word in high) else dtype
            if wanted not in ready:
                ready[wanted] = weights.numbers(source, wanted, device)
            tensor = apply(placement, ready[wanted])
            # A matrix that lies the other way round would be multiplied in another order.
            _assign(layer, name, tensor.contiguous() if placement.transpose else tensor)
        found = getattr(layer, name).shape
        if found != targets[placement.target]:
            raise InvalidDocument(
                f"“{clip(source)}” is {_size(found)} and the {what} needs {_size(targets[placement.target])}",
                where=weights.path.name, fix="Get the file again from its source",
            )  # fmt: skip


def _hold(
    layer: Any, weights: Weights, source: str, placement: Placement, device: torch.device, eight: torch.dtype
) -> None:
    """An eight-bit weight: the file's own bytes with their factor, or rounded from more."""
    stored = weights.stored(source) if weights.dtypes[source].startswith("F8") else None
    if stored is None or stored.dtype != eight:
        fp8.hold(layer, fp8.rounded(apply(placement, weights.numbers(source, torch.float32, device)), eight), None)
        return
    factor = weights.scale(source)
    if factor is not None and factor.ndim:
        rows = placement.rows or (0, factor.shape[0])
        factor = factor[rows[0] : rows[1]].reshape(-1, *[1] * (layer.weight.ndim - 1))
    fp8.hold(layer, apply(placement, stored.to(device)), None if factor is None else factor.to(device))


def _assign(layer: Any, name: str, tensor: torch.Tensor) -> None:
    if name in layer._parameters:
        layer._parameters[name] = torch.nn.Parameter(tensor, requires_grad=False)
    else:
        layer._buffers[name] = tensor


def _tie(module: Any) -> None:
    """Parameters that are one and the same in the class: what the file has of them serves for both."""
    for name, other in (getattr(module, "_tied_weights_keys", None) or {}).items():
        place, _, last = name.rpartition(".")
        source, _, source_last = other.rpartition(".")
        layer, holder = module.get_submodule(place), module.get_submodule(source)
        if layer._parameters[last].is_meta:
            layer._parameters[last] = holder._parameters[source_last]
        elif holder._parameters[source_last].is_meta:
            holder._parameters[source_last] = layer._parameters[last]


def _size(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape)) or "a single number"
