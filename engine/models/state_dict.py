"""The one table of tensors in whatever a checkpoint wraps around it. Standard library only: the child uses it too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

# Where training programs put the weights, in the order of preference (smoothed weights before the last step's).
WRAPPERS = ("state_dict", "params_ema", "params", "model_state_dict", "model_ema", "net", "model", "module")
NOT_WEIGHTS = ("optimizer_states", "optimizer", "lr_schedulers", "callbacks", "loops")
MAX_DEPTH = 6
MAX_VISITS = 1_000_000


def plain_table(value: Any, is_tensor: Callable[[Any], bool]) -> dict[str, Any]:
    """name → tensor of a loaded checkpoint: unwrapped, nested tables joined by dots, everything else left out.

    A textual inversion (`string_to_param`) gives `emb_params`. Ends on every input, tables that hold themselves too.
    """
    for _ in range(MAX_DEPTH):
        if not isinstance(value, Mapping):
            return {}
        embedding = value.get("string_to_param")
        if isinstance(embedding, Mapping):
            found = [item for item in embedding.values() if is_tensor(item)]
            return {"emb_params": found[0]} if len(found) == 1 else {}
        inside = next((value[name] for name in WRAPPERS if _holds_tensors(value.get(name), is_tensor)), None)
        if inside is None:
            break
        value = inside
    out: dict[str, Any] = {}
    _flatten(value, "", is_tensor, out, 0, 0)
    return out


def _holds_tensors(value: Any, is_tensor: Callable[[Any], bool]) -> bool:
    return isinstance(value, Mapping) and any(is_tensor(item) for item in value.values())


def _flatten(
    value: Mapping[Any, Any], prefix: str, is_tensor: Callable[[Any], bool], out: dict[str, Any], depth: int, seen: int
) -> int:
    """Fills `out`; returns how many entries have been looked at."""
    for key, item in value.items():
        seen += 1
        if seen > MAX_VISITS:
            break
        if is_tensor(item):
            out[f"{prefix}{key}"] = item
        elif isinstance(item, Mapping) and depth < MAX_DEPTH and key not in NOT_WEIGHTS:
            seen = _flatten(item, f"{prefix}{key}.", is_tensor, out, depth + 1, seen)
    return seen
