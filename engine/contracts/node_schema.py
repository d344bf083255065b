"""What a node type is, as data: enough for forms, the canvas, validation and docs without importing its code."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from engine.contracts.codec import Document

# Socket types. "*" takes anything; "A|B" takes either; "COMBO" is a choice.
ANY = "*"
SOCKET_TYPES = (
    "MODEL", "CLIP", "VAE", "CONDITIONING", "LATENT", "IMAGE", "MASK", "CONTROL_NET", "SIGMAS", "NOISE", "GUIDER",
    "SAMPLER", "UPSCALE_MODEL", "CLIP_VISION", "VIDEO", "AUDIO", "BLOB", "INT", "FLOAT", "STRING", "BOOLEAN", "COMBO",
    "COLOUR", "LIST", "JSON",
)  # fmt: skip
WIDGET_TYPES = frozenset({"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "COLOUR", "BLOB", "JSON"})


@dataclass(frozen=True, kw_only=True)
class InputSchema(Document):
    """One input. `type` is a socket type; numbers have a range and step; COMBO has choices.

    lazy      computed only when the node asks for it
    list      takes the whole list instead of being mapped element by element
    variadic  stands for name0, name1, … as many as are given
    model_kind  for a model choice: which kind of model ("checkpoint", "vae", …)
    """

    name: str
    type: str
    label: str = ""
    tooltip: str = ""
    required: bool = True
    default: Any = None
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    choices: tuple[str, ...] = ()
    multiline: bool = False
    seed: bool = False
    lazy: bool = False
    list: bool = False
    variadic: bool = False
    link_only: bool = False
    model_kind: str = ""
    advanced: bool = False


@dataclass(frozen=True, kw_only=True)
class OutputSchema(Document):
    name: str
    type: str
    list: bool = False
    tooltip: str = ""


@dataclass(frozen=True, kw_only=True)
class Effects(Document):
    """What running the node does beyond its outputs.

    deterministic  same inputs, same outputs            cacheable      the value may be kept and re-used
    parallel_safe  may run beside others (no GPU)       local_only     must not be sent to the hosted queue
    output         makes an artifact: runs even when nothing takes its outputs
    dear           worth a place in the disk cache
    """

    deterministic: bool = True
    cacheable: bool = True
    parallel_safe: bool = True
    local_only: bool = False
    output: bool = False
    dear: bool = False


Origin = Literal["builtin", "folder", "package", "placeholder"]


@dataclass(frozen=True, kw_only=True)
class NodeSchema(Document):
    """One node type. `type` is "<folder>.<name>"; `version` rises when its inputs or meaning change."""

    type: str
    title: str
    category: str
    node_version: int = 1
    doc: str = ""
    inputs: tuple[InputSchema, ...] = ()
    outputs: tuple[OutputSchema, ...] = ()
    effects: Effects = Effects()
    origin: Origin = "builtin"
    origin_detail: str = ""
    code_hash: str = ""
    search_terms: tuple[str, ...] = field(default=())

    def input(self, name: str) -> InputSchema | None:
        return next((i for i in self.inputs if i.name == name), None)

    def output(self, name: str) -> OutputSchema | None:
        return next((o for o in self.outputs if o.name == name), None)
