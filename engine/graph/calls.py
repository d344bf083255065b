"""From a step's inputs to the calls of its function, and from what they return to its outputs.

Lists are mapped element by element: a node with list-valued inputs is called once for each element, shorter lists
repeat their last one. An element that is blocked makes no call and gives a blocked element.
"""

from __future__ import annotations

import re
from typing import Any, TypeAlias

from engine.contracts.errors import TesseraError
from engine.graph.flow import Block, Expand
from engine.graph.plan import Step
from engine.graph.ports import WrongValue
from engine.graph.registry import NodeType

Arguments: TypeAlias = "dict[str, Any] | Block"  # of one call; a Block stands for a call that is not made
Outputs: TypeAlias = "tuple[Any, ...] | Expand | Block"

_NUMBER = re.compile(r"[0-9]+$")


class BadReturn(TesseraError):
    """A node's function returned something else than its schema says."""


def arguments(step: Step) -> tuple[list[Arguments], bool]:
    """(the arguments of each call, whether the node is mapped over lists). Raises TesseraError on a wrong value."""
    kind = step.kind
    given = step.literals.copy()
    many: dict[str, Any] | None = None
    blocked: Block | None = None
    ports = kind.ports
    for name, source, slot, element in step.wires:
        outputs = source.value
        if outputs is None:  # a lazy input that was not asked for
            given[name] = None
            continue
        value = outputs[slot]
        is_many = source.many is not None and source.many[slot]
        if is_many and element >= 0:
            value, is_many = value[min(element, len(value) - 1)], False
        if is_many or name in kind.lists:
            many = many or {}
            many[name] = value if is_many else [value]
        elif value.__class__ is Block:
            blocked = value
        else:
            port = ports.get(name) or (kind.port(name) if kind.variadic else None)
            given[name] = _checked(port.read, name, value) if port is not None and port.scalar else value
    if blocked is not None:
        return [blocked], False
    if kind.simple and many is None:
        return [given], False
    return _mapped(kind, given, many or {})


def _checked(read: Any, name: str, value: Any) -> Any:
    try:
        return read(value)[0]
    except WrongValue as error:
        raise TesseraError(f"the value that reached its input “{name}” is wrong: {error.what}", fix=error.fix) from None


def _mapped(kind: NodeType, given: dict[str, Any], many: dict[str, Any]) -> tuple[list[Arguments], bool]:
    whole = {name: value for name, value in many.items() if name in kind.lists}
    for name, value in whole.items():
        kept = [v for v in value if v.__class__ is not Block]
        if value and not kept:
            return [value[0]], False
        given[name] = kept
    for name in kind.lists:
        if name not in whole and name in given and given[name] is not None:
            given[name] = [given[name]]
    each = {name: value for name, value in many.items() if name not in kind.lists}
    if not each:
        return [_gather_variadic(kind, given)], False
    length = 0 if any(not v for v in each.values()) else max(len(v) for v in each.values())
    return [
        _call_of(kind, given, {name: values[min(index, len(values) - 1)] for name, values in each.items()})
        for index in range(length)
    ], True


def _call_of(kind: NodeType, given: dict[str, Any], elements: dict[str, Any]) -> Arguments:
    call = dict(given)
    for name, value in elements.items():
        if isinstance(value, Block):
            return value
        port = kind.port(name)
        call[name] = _checked(port.read, name, value) if port is not None and port.scalar else value
    return _gather_variadic(kind, call)


def _gather_variadic(kind: NodeType, given: dict[str, Any]) -> dict[str, Any]:
    """Put image0, image1, … into one tuple `image`, in the order of their numbers."""
    for name in kind.variadic:
        numbered: list[tuple[int, str]] = []
        for key in given:
            if key != name and kind.port(key) is kind.ports[name]:
                found = _NUMBER.search(key)
                numbered.append((int(found.group()) if found else 0, key))
        given[name] = tuple(given.pop(key) for _, key in sorted(numbered))
    return given


def normalise(kind: NodeType, result: Any) -> Outputs:
    """What a function returned as a tuple of outputs. Raises BadReturn when it does not fit the schema."""
    if isinstance(result, (Expand, Block)):
        return result
    count = len(kind.output_names)
    if count == 1:
        outputs: tuple[Any, ...] = (result,)
    elif count == 0:
        outputs = ()
    elif isinstance(result, tuple) and len(result) == count:
        outputs = result
    else:
        raise BadReturn(f"it should return {count} values and returned {type(result).__name__}")
    for index, schema in enumerate(kind.schema.outputs):
        if schema.list and not isinstance(outputs[index], (list, tuple, Block)):
            raise BadReturn(f"its output “{schema.name}” should be a list and is a {type(outputs[index]).__name__}")
    return outputs


def list_flags(kind: NodeType) -> tuple[bool, ...] | None:
    flags = tuple(o.list for o in kind.schema.outputs)
    return flags if any(flags) else None


def combine(
    kind: NodeType, results: list[tuple[Any, ...] | Block], mapped: bool
) -> tuple[tuple[Any, ...], tuple[bool, ...] | None]:
    """(outputs, which of them are lists) from the results of all calls."""
    count = len(kind.output_names)
    if not mapped:
        (result,) = results
        if isinstance(result, Block):
            return (result,) * count, None
        if kind.simple:
            return result, None
        flags = list_flags(kind)
        if flags is None:
            return result, None
        flags = tuple(f and not isinstance(v, Block) for f, v in zip(flags, result, strict=True))
        return tuple(list(v) if f else v for f, v in zip(flags, result, strict=True)), flags
    columns: list[list[Any]] = [[] for _ in range(count)]
    flags = list_flags(kind) or (False,) * count
    for result in results:
        for index in range(count):
            value = result if isinstance(result, Block) else result[index]
            if flags[index] and not isinstance(value, Block):
                columns[index].extend(value)
            else:
                columns[index].append(value)
    return tuple(columns), (True,) * count if count else None
