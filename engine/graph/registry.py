"""Which node types there are: an immutable snapshot, with everything the engine asks of a type worked out once."""

from __future__ import annotations

import functools
import importlib
import pkgutil
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from engine.contracts.errors import UnknownChoice
from engine.contracts.node_schema import NodeSchema
from engine.contracts.workflow import decode_input
from engine.graph.node import NodeDefinition
from engine.graph.ports import Port, WrongValue

_NUMBERED = re.compile(r"(.*?)(0|[1-9][0-9]{0,4})")


class NodeType:
    """A node definition with its tables: ports by name, required names, defaults as values and signature bytes."""

    __slots__ = (
        "cacheable", "default_parts", "default_values", "definition", "deterministic", "header", "lazy", "lists",
        "output", "output_names", "output_slots", "output_types", "passes", "ports", "required", "schema", "simple",
        "variadic",
    )  # fmt: skip

    def __init__(self, definition: NodeDefinition) -> None:
        schema = definition.schema
        self.definition, self.schema = definition, schema
        self.header = f"{schema.type}\n{schema.node_version}\n{schema.code_hash}\n".encode()
        self.ports = {i.name: Port(i) for i in schema.inputs}
        self.variadic = frozenset(i.name for i in schema.inputs if i.variadic)
        self.required = tuple(i.name for i in schema.inputs if i.required)
        self.lazy = frozenset(i.name for i in schema.inputs if i.lazy)
        self.lists = frozenset(i.name for i in schema.inputs if i.list)
        self.output_slots = {o.name: index for index, o in enumerate(schema.outputs)}
        self.output_names = tuple(self.output_slots)
        self.output_types = tuple(o.type for o in schema.outputs)
        self.output, self.cacheable = schema.effects.output, schema.effects.cacheable
        self.deterministic = schema.effects.deterministic
        self.passes = definition.passes
        self.default_values, self.default_parts = self._defaults()
        lists = any(o.list for o in schema.outputs)
        self.simple = not (self.variadic or self.lazy or self.lists or lists or definition.is_async)

    def _defaults(self) -> tuple[dict[str, Any], dict[str, bytes]]:
        values: dict[str, Any] = {}
        parts: dict[str, bytes] = {}
        for item in self.schema.inputs:
            if item.required or item.variadic:
                continue
            values[item.name] = None
            if item.default is None:
                continue
            default = decode_input(item.default, item.name)
            try:
                values[item.name], parts[item.name] = self.ports[item.name].read(default)
            except WrongValue as error:
                raise TypeError(f"{self.schema.type}: the default of “{item.name}”: {error.what}") from error
        return values, parts

    def port(self, name: str) -> Port | None:
        """The port an input name belongs to; "image3" belongs to a variadic "image"."""
        found = self.ports.get(name)
        if found is not None and name not in self.variadic:
            return found
        if self.variadic and (match := _NUMBERED.fullmatch(name)) and match[1] in self.variadic:
            return self.ports[match[1]]
        return None


class Registry:
    """Node types by name. Never changes: adding types makes a new registry, so a running job keeps its own."""

    def __init__(self, definitions: Iterable[NodeDefinition] = ()) -> None:
        types: dict[str, NodeType] = {}
        for definition in definitions:
            name = definition.schema.type
            if name in types and types[name].definition is not definition:
                raise ValueError(f"two nodes are called {name}")
            types[name] = NodeType(definition)
        self._types: Mapping[str, NodeType] = MappingProxyType(types)

    @classmethod
    def builtin(cls) -> Registry:
        """The studio's own nodes: every module under engine.nodes. Imports no torch; made once per process."""
        return _builtin()

    @property
    def types(self) -> Mapping[str, NodeType]:
        """The engine's tables by type name."""
        return self._types

    def get(self, type_name: str) -> NodeDefinition:
        """The definition of a type. Raises UnknownChoice, which names the nearest types."""
        found = self._types.get(type_name)
        if found is None:
            raise UnknownChoice("node", type_name, sorted(self._types))
        return found.definition

    def find(self, type_name: str) -> NodeDefinition | None:
        found = self._types.get(type_name)
        return found.definition if found else None

    def schemas(self) -> tuple[NodeSchema, ...]:
        """Every schema, by category and title."""
        found = (t.schema for t in self._types.values())
        return tuple(sorted(found, key=lambda s: (s.category, s.title, s.type)))

    def with_nodes(self, *functions: Callable[..., Any]) -> Registry:
        """A new registry with these decorated functions added; a type already known is replaced."""
        return self.with_definitions([definition_of(f) for f in functions])

    def with_definitions(self, added: Sequence[NodeDefinition]) -> Registry:
        """As with_nodes, for definitions."""
        names = {d.schema.type for d in added}
        new = Registry(added)
        kept = {name: found for name, found in self._types.items() if name not in names}
        new._types = MappingProxyType({**kept, **new._types})
        return new

    def __len__(self) -> int:
        return len(self._types)


def definition_of(function: Callable[..., Any]) -> NodeDefinition:
    found = getattr(function, "__node__", None)
    if not isinstance(found, NodeDefinition):
        raise TypeError(f"{function!r} is not decorated with @node")
    return found


@functools.cache
def _builtin() -> Registry:
    import engine.nodes

    definitions: dict[str, NodeDefinition] = {}
    for module in pkgutil.walk_packages(engine.nodes.__path__, "engine.nodes."):
        for value in vars(importlib.import_module(module.name)).values():
            found = getattr(value, "__node__", None)
            if isinstance(found, NodeDefinition):
                definitions[found.schema.type] = found
    return Registry(definitions.values())
