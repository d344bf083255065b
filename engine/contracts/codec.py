"""JSON both ways for the frozen documents that cross walls.

Unknown fields survive a round trip in `Document.extra`; fields that hold their default are left out, so files stay
small and diffs honest. Reading is total: any bytes give a document or an InvalidDocument with one sentence.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import types
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal, Self, TypeAlias, Union, get_args, get_origin, get_type_hints

from engine.contracts.errors import InvalidDocument, clip

Json: TypeAlias = "None | bool | int | float | str | list[Json] | dict[str, Json]"

MAX_DOCUMENT_BYTES = 64 * 1024 * 1024
MAX_DEPTH = 200


@dataclasses.dataclass(frozen=True, kw_only=True)
class Document:
    """Base of the documents: immutable, compared by value, `to_json`/`from_json`, unknown fields kept in `extra`."""

    format: ClassVar[str] = ""  # set on documents that stand alone in a file
    version: ClassVar[int] = 1

    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False)

    def to_json(self) -> dict[str, Any]:
        """A tree of plain dicts, lists and scalars; never shares a container with the document."""
        out: dict[str, Any] = {}
        if self.format:
            out["format"], out["version"] = self.format, self.version
        for plan in _plans_of(type(self)):
            value = getattr(self, plan.name)
            if not plan.is_default(value):
                out[plan.name] = plan.encode(value)
        for key, value in self.extra.items():
            out.setdefault(key, value)
        return out

    @classmethod
    def from_json(cls, data: object, where: str = "") -> Self:
        """Build from a parsed JSON value. Raises InvalidDocument naming the field that is wrong."""
        where = where or cls.__name__
        if not isinstance(data, dict):
            raise InvalidDocument(f"expected an object, found {describe(data)}", where=where)
        rest = dict(data)
        if cls.format:
            _check_header(cls, rest, where)
        values: dict[str, Any] = {}
        for plan in _plans_of(cls):
            if plan.name in rest:
                values[plan.name] = plan.decode(rest.pop(plan.name), f"{where}.{plan.name}")
            elif plan.required:
                raise InvalidDocument(f"the field “{plan.name}” is missing", where=where)
        return cls(**values, extra=rest)


def _check_header(cls: type[Document], rest: dict[str, Any], where: str) -> None:
    found, version = rest.pop("format", cls.format), rest.pop("version", cls.version)
    if found != cls.format:
        raise InvalidDocument(f"this is “{clip(str(found))}”, not {cls.format}", where=where)
    if not isinstance(version, int) or isinstance(version, bool):
        raise InvalidDocument(f"version must be a whole number, found {describe(version)}", where=where)
    if version > cls.version:
        raise InvalidDocument(
            f"it was written by a newer studio (version {version}; this one reads up to {cls.version})",
            where=where,
            fix="Update Tessera Studio to open it",
        )


@dataclasses.dataclass(frozen=True)
class _FieldPlan:
    name: str
    required: bool
    is_default: Callable[[Any], bool]
    encode: Callable[[Any], Any]
    decode: Callable[[Any, str], Any]


def _plans_of(cls: type[Document]) -> tuple[_FieldPlan, ...]:
    found = _PLANS.get(cls)
    if found is None:
        found = _PLANS[cls] = _plans(cls)
    return found


_PLANS: dict[type, tuple[_FieldPlan, ...]] = {}


def _plans(cls: type[Document]) -> tuple[_FieldPlan, ...]:
    hints = get_type_hints(cls, include_extras=True)
    plans = []
    for field in dataclasses.fields(cls):
        if field.name == "extra":
            continue
        hint = hints[field.name]
        custom = field.metadata
        if field.default is not dataclasses.MISSING:
            default, required = field.default, False
        elif field.default_factory is not dataclasses.MISSING:
            default, required = field.default_factory(), False
        else:
            default, required = dataclasses.MISSING, True
        plans.append(
            _FieldPlan(
                field.name,
                required,
                _equals(default),
                custom.get("encode") or encode_value,
                custom.get("decode") or _decoder(hint),
            )
        )
    return tuple(plans)


def _equals(default: Any) -> Callable[[Any], bool]:
    return lambda value: type(value) is type(default) and bool(value == default)


def encode_value(value: Any) -> Any:
    """A document value as plain JSON values."""
    if isinstance(value, Document):
        return value.to_json()
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): encode_value(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [encode_value(item) for item in value]
    return value


def _decoder(hint: Any) -> Callable[[Any, str], Any]:
    origin, args = get_origin(hint), get_args(hint)
    if hint is Any or hint is object or hint is Json:
        return lambda value, where: value
    if origin in (Union, types.UnionType):
        inner = [a for a in args if a is not type(None)]
        if len(inner) == 1 and len(args) == 2:
            decode = _decoder(inner[0])
            return lambda value, where: None if value is None else decode(value, where)
        return _decode_scalar_union(tuple(args))
    if origin is Literal:
        return _decode_literal(args)
    if origin is tuple:
        return _decode_tuple(args)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _decode_mapping(_decoder(args[1]))
    if isinstance(hint, type) and issubclass(hint, Document):
        return hint.from_json
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return _decode_literal(tuple(m.value for m in hint), hint)
    if hint in _SCALARS:
        return _decode_scalar(hint)
    raise TypeError(f"no JSON form for {hint!r}")


_SCALARS: dict[Any, str] = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


def _decode_scalar(kind: type) -> Callable[[Any, str], Any]:
    def decode(value: Any, where: str) -> Any:
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise InvalidDocument(f"expected {_SCALARS[kind]}, found {describe(value)}", where=where)
        if isinstance(value, float) and not math.isfinite(value):
            raise InvalidDocument(f"expected a finite number, found {value}", where=where)
        return value

    return decode


def _decode_scalar_union(kinds: tuple[Any, ...]) -> Callable[[Any, str], Any]:
    def decode(value: Any, where: str) -> Any:
        if any(value is None if k is type(None) else type(value) is k for k in kinds):
            return value
        raise InvalidDocument(f"found {describe(value)}, which is not allowed here", where=where)

    return decode


def _decode_literal(choices: tuple[Any, ...], build: Callable[[Any], Any] | None = None) -> Callable[[Any, str], Any]:
    def decode(value: Any, where: str) -> Any:
        if not isinstance(value, (str, int)) or value not in choices:
            listed = ", ".join(str(c) for c in choices)
            raise InvalidDocument(f"found {describe(value)}", where=where, fix=f"Use one of: {listed}")
        return build(value) if build else value

    return decode


def _decode_tuple(args: tuple[Any, ...]) -> Callable[[Any, str], Any]:
    variadic = len(args) == 2 and args[1] is Ellipsis
    items = [_decoder(a) for a in (args[:1] if variadic else args)]

    def decode(value: Any, where: str) -> Any:
        if not isinstance(value, (list, tuple)):
            raise InvalidDocument(f"expected a list, found {describe(value)}", where=where)
        if variadic:
            return tuple(items[0](item, f"{where}[{i}]") for i, item in enumerate(value))
        if len(value) != len(items):
            raise InvalidDocument(f"expected {len(items)} values, found {len(value)}", where=where)
        return tuple(d(item, f"{where}[{i}]") for i, (d, item) in enumerate(zip(items, value, strict=True)))

    return decode


def _decode_mapping(item: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    def decode(value: Any, where: str) -> Any:
        if not isinstance(value, dict):
            raise InvalidDocument(f"expected an object, found {describe(value)}", where=where)
        return {key: item(v, f"{where}.{clip(key, 40)}") for key, v in value.items()}

    return decode


def describe(value: object) -> str:
    """A value in a few words, for error sentences: never long, never a Python repr of a container."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and value.bit_length() > 512:  # beyond some length Python refuses to write it out
        return f"a number of {value.bit_length()} bits"
    if isinstance(value, (int, float)):
        return f"the number {clip(str(value), 24)}"
    if isinstance(value, str):
        return f"the text “{clip(value, 40)}”"
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)}"
    if isinstance(value, Mapping):
        return f"an object with {len(value)} fields"
    return f"a {type(value).__name__}"


def parse_json(text: str | bytes, what: str) -> Any:
    """Parse JSON from a person's file. NaN, infinities, duplicate keys, absurd depth and size are refused.

    `what` names the file in the sentence. Raises InvalidDocument.
    """
    if len(text) > MAX_DOCUMENT_BYTES:
        raise InvalidDocument(
            f"it is larger than {MAX_DOCUMENT_BYTES // 2**20} MB, too large for a document", where=what
        )
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8-sig")
        _check_depth(text, what)
        return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_unique_keys)
    except UnicodeDecodeError as error:
        raise InvalidDocument("it is not UTF-8 text", where=what) from error
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise InvalidDocument(f"it is not valid JSON ({error.msg.lower()} at {place})", where=what) from error
    except (_JsonRefusedError, RecursionError, ValueError) as error:
        reason = (
            str(error) if isinstance(error, _JsonRefusedError) else "it holds a number or nesting beyond all bounds"
        )
        raise InvalidDocument(reason, where=what) from error


def dump_json(data: Any, *, indent: int | None = 2) -> str:
    """Canonical text of a JSON value: UTF-8 kept, NaN refused."""
    return json.dumps(data, ensure_ascii=False, allow_nan=False, indent=indent)


class _JsonRefusedError(Exception):
    pass


def _refuse_constant(name: str) -> Any:
    raise _JsonRefusedError(f"it holds {name}, which is not a number JSON allows")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _JsonRefusedError(f"the key “{clip(key)}” stands twice in one object")
            seen.add(key)
    return out


def _check_depth(text: str, what: str) -> None:
    # Counted before parsing: the C parser's own limit is a RecursionError or, on some builds, a crash.
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    depth, in_string, escaped = 0, False, False
    for char in text:
        if in_string:
            if escaped:
                escaped = False
            elif char == "\\":
                escaped = True
            elif char == '"':
                in_string = False
        elif char == '"':
            in_string = True
        elif char in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise InvalidDocument(f"it is nested more than {MAX_DEPTH} levels deep", where=what)
        elif char in "]}":
            depth -= 1
