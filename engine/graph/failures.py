"""From whatever a node raised to the error a person meets, with the node's inputs in a few words."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from engine.contracts.errors import NodeFailed, TesseraError, clip
from engine.memory.recovery import is_out_of_memory

log = logging.getLogger(__name__)


def failure_of(node_id: str, node_type: str, error: Exception | SystemExit, given: Mapping[str, Any]) -> NodeFailed:
    """The error a person meets; the one raised is its `__cause__`."""
    if isinstance(error, NodeFailed):
        return error
    hint = ""
    if isinstance(error, TesseraError):
        cause = f"{error.where}: {error.what}" if error.where else error.what
        hint = error.fix
    elif isinstance(error, SystemExit):
        cause = "it tried to end the program"
    elif is_out_of_memory(error):
        cause, hint = "the machine ran out of memory", "Make the picture smaller or make fewer at once"
    else:
        cause = f"{type(error).__name__}: {clip(str(error), 300)}" if str(error) else type(error).__name__
    log.debug("node %s (%s) failed", node_id, node_type, exc_info=error)
    failed = NodeFailed(node_id, node_type, summarise(given), cause, hint)
    failed.__cause__ = error
    return failed


def summarise(given: Mapping[str, Any]) -> dict[str, str]:
    """Inputs in a few words each, safe to show and to log: shapes instead of pixels, no bytes, no long texts."""
    return {name: _in_short(value) for name, value in given.items() if value is not None}


def _in_short(value: Any) -> str:
    if isinstance(value, (bool, int, float)):
        return str(value)[:40]
    if isinstance(value, str):
        return value if len(value) <= 60 else f"{value[:57]}…"
    shape = getattr(value, "shape", None)
    if shape is not None:
        return f"{str(getattr(value, 'dtype', '')).removeprefix('torch.')} {'×'.join(map(str, shape))}"
    samples = getattr(value, "samples", None)
    if samples is not None:
        return f"latent {'×'.join(map(str, getattr(samples, 'shape', ())))}"
    weights = getattr(value, "weights", value)
    name = getattr(weights, "name", "")
    if isinstance(name, str) and name:
        return name[:60]
    if isinstance(value, (list, tuple, dict)):
        return f"{len(value)} {'entry' if len(value) == 1 else 'entries'}"
    return type(value).__name__
