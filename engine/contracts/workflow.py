"""The workflow document: everything that can be made, and the form through which a person sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeAlias

from engine.contracts.codec import Document, describe, encode_value
from engine.contracts.errors import InvalidDocument
from engine.contracts.references import BlobRef, ModelRef


@dataclass(frozen=True)
class Link:
    """Takes its value from output `output` of node `node`. JSON: {"link": [node, output]}."""

    node: str
    output: str

    def to_json(self) -> dict[str, Any]:
        return {"link": [self.node, self.output]}


# A literal may be any JSON value. A literal object is written as {"value": {...}} so that it is never mistaken for a
# link or reference.
InputValue: TypeAlias = Link | BlobRef | ModelRef | None | bool | int | float | str | list[Any] | dict[str, Any]


def encode_input(value: InputValue) -> Any:
    if isinstance(value, Link):
        return value.to_json()
    if isinstance(value, BlobRef):
        return {"blob": value.to_json()}
    if isinstance(value, ModelRef):
        return {"model": value.to_json()}
    if isinstance(value, dict):
        return {"value": value}
    return value


def decode_input(value: Any, where: str) -> InputValue:
    if not isinstance(value, dict):
        return value  # type: ignore[no-any-return]  # a JSON scalar or list, as parsed
    if len(value) == 1:
        (kind, body), *_ = value.items()
        if kind == "link":
            if isinstance(body, list) and len(body) == 2 and all(isinstance(p, str) for p in body):
                return Link(body[0], body[1])
            raise InvalidDocument("a link is [node id, output name]", where=where)
        if kind == "blob":
            return BlobRef.from_json(body, where)
        if kind == "model":
            return ModelRef.from_json(body, where)
        if kind == "value":
            return body  # type: ignore[no-any-return]
    raise InvalidDocument(
        f"found {describe(value)}", where=where, fix="Use a plain value, or one of link, blob, model, value"
    )


def _encode_inputs(inputs: Mapping[str, InputValue]) -> dict[str, Any]:
    return {name: encode_input(value) for name, value in inputs.items()}


def _decode_inputs(value: Any, where: str) -> dict[str, InputValue]:
    if not isinstance(value, dict):
        raise InvalidDocument(f"expected an object, found {describe(value)}", where=where)
    return {name: decode_input(item, f"{where}.{name}") for name, item in value.items()}


def inputs_field() -> Any:
    return field(default_factory=dict, metadata={"encode": _encode_inputs, "decode": _decode_inputs})


NodeMode = Literal["active", "mute", "bypass"]
SeedControl: TypeAlias = Literal["fixed", "increment", "decrement", "randomize"]
SEED_CONTROLS: tuple[SeedControl, ...] = ("fixed", "randomize", "increment", "decrement")


@dataclass(frozen=True, kw_only=True)
class Node(Document):
    """One node: its type, its inputs by name (literal, link or reference), and how it sits on the canvas.

    `type` is a registered node type ("sample.k_sampler") or "subgraph:<id>". Position and size are in canvas pixels.
    A pinned node stays where it is when others are moved or laid out. `as_sockets` are inputs with a value of their own
    that the canvas shows as sockets.

    `seeds` says for a seed, by the input's name, what becomes of it when a person has run the workflow ("fixed" where
    nothing is said; the words are ComfyUI's). A run takes the seed that stands in `inputs`; nothing else reads this.
    """

    id: str
    type: str
    type_version: int = 1
    inputs: Mapping[str, InputValue] = inputs_field()
    title: str = ""
    mode: NodeMode = "active"
    position: tuple[float, float] = (0.0, 0.0)
    size: tuple[float, float] | None = None
    colour: str = ""
    collapsed: bool = False
    pinned: bool = False
    as_sockets: tuple[str, ...] = ()
    seeds: Mapping[str, SeedControl] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Group(Document):
    """A titled frame around nodes on the canvas."""

    title: str = ""
    rectangle: tuple[float, float, float, float] = (0.0, 0.0, 400.0, 300.0)
    colour: str = ""


@dataclass(frozen=True, kw_only=True)
class Bookmark(Document):
    """A named view of the canvas: its centre in canvas pixels, its scale, and the subgraph instances it looks into."""

    name: str
    centre: tuple[float, float] = (0.0, 0.0)
    scale: float = 1.0
    level: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class FormField(Document):
    """One input that a person sees when the workflow shows itself as a form."""

    node: str
    input: str
    label: str = ""
    help: str = ""
    group: str = ""
    advanced: bool = False


@dataclass(frozen=True, kw_only=True)
class Socket(Document):
    """An exposed input or output of a subgraph: its outer `name` and the inner node and socket it stands for."""

    name: str
    node: str
    socket: str
    label: str = ""


@dataclass(frozen=True, kw_only=True)
class Subgraph(Document):
    """A graph used as a node of its own (`type` "subgraph:<id>").

    `library` is its id in the person's library, so that all its instances can be brought up to date together.
    """

    id: str
    name: str = ""
    description: str = ""
    library: str = ""
    nodes: tuple[Node, ...] = ()
    groups: tuple[Group, ...] = ()
    inputs: tuple[Socket, ...] = ()
    outputs: tuple[Socket, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Workflow(Document):
    """The one document that describes what is made. Never names a layer, a window or an absolute path.

    `id` tells a saved workflow from others, whatever its file is called; "" until it is first saved.
    """

    format: ClassVar[str] = "tessera.workflow"

    id: str = ""
    name: str = ""
    description: str = ""
    nodes: tuple[Node, ...] = ()
    groups: tuple[Group, ...] = ()
    subgraphs: tuple[Subgraph, ...] = ()
    form: tuple[FormField, ...] = ()
    bookmarks: tuple[Bookmark, ...] = ()

    def node(self, node_id: str) -> Node:
        """The node with this id. Raises KeyError."""
        for node in self.nodes:
            if node.id == node_id:
                return node
        raise KeyError(node_id)


__all__ = [
    "SEED_CONTROLS", "BlobRef", "Bookmark", "FormField", "Group", "InputValue", "Link", "ModelRef", "Node", "NodeMode",
    "SeedControl", "Socket", "Subgraph", "Workflow", "decode_input", "encode_input", "encode_value", "inputs_field",
]  # fmt: skip
