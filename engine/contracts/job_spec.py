"""What one job is: a workflow, what of it to make, with which values, within which limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeAlias

from engine.contracts.codec import Document, describe
from engine.contracts.errors import InvalidDocument
from engine.contracts.workflow import InputValue, Workflow, decode_input, encode_input

AllowedLoss: TypeAlias = Literal["none", "tiles", "precision", "quantised"]
Where: TypeAlias = Literal["local", "cloud", "any"]


@dataclass(frozen=True)
class Sweep:
    """A sequence of values for one input: the job runs once for each. JSON: {"sweep": [...]}."""

    values: tuple[InputValue, ...]


Binding: TypeAlias = InputValue | Sweep


def _encode_bindings(bindings: Mapping[str, Binding]) -> dict[str, Any]:
    return {
        key: {"sweep": [encode_input(v) for v in value.values]} if isinstance(value, Sweep) else encode_input(value)
        for key, value in bindings.items()
    }


def _decode_bindings(value: Any, where: str) -> dict[str, Binding]:
    if not isinstance(value, dict):
        raise InvalidDocument(f"expected an object, found {describe(value)}", where=where)
    out: dict[str, Binding] = {}
    for key, item in value.items():
        place = f"{where}.{key}"
        if isinstance(item, dict) and set(item) == {"sweep"}:
            values = item["sweep"]
            if not isinstance(values, list) or not values:
                raise InvalidDocument("a sweep is a list of at least one value", where=place)
            out[key] = Sweep(tuple(decode_input(v, place) for v in values))
        else:
            out[key] = decode_input(item, place)
    return out


@dataclass(frozen=True, kw_only=True)
class JobSpec(Document):
    """Everything that decides the picture, and the limits it may be made within.

    targets        node ids to make; empty means every output node
    bindings       "node.input" → value or Sweep, laid over the workflow
    combine        several sweeps run side by side ("zip", shortest wins) or in all combinations ("product")
    pins           node id → signature of a kept result that stands for the node, whatever its inputs
    allowed_loss   how far the memory plan may change arithmetic
    anew           nothing that was kept from before is used, pinned results excepted: every node runs. What this job
                   itself made is, so that the runs of a sweep share their beginning
    memory_budget  bytes of device memory the job may use; None is what the machine has
    """

    format: ClassVar[str] = "tessera.job"

    workflow: Workflow
    targets: tuple[str, ...] = ()
    bindings: Mapping[str, Binding] = field(
        default_factory=dict, metadata={"encode": _encode_bindings, "decode": _decode_bindings}
    )
    combine: Literal["zip", "product"] = "zip"
    pins: Mapping[str, str] = field(default_factory=dict)
    allowed_loss: AllowedLoss = "none"
    anew: bool = False
    memory_budget: int | None = None
    where: Where = "local"
    on_failure: Literal["stop", "continue"] = "stop"
    title: str = ""
