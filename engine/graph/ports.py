"""Reading one input: is the value right for its socket, what does the node get, and what does the signature see.

A port is made once per node type; reading a value is one call that gives the value as the node will see it (1 becomes
1.0 for a FLOAT) and bytes that stand for it in the signature, so that equal values give equal signatures.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from typing import Any, TypeAlias, cast

import numpy as np

from engine.contracts.codec import describe
from engine.contracts.errors import InvalidRequest, clip, suggest
from engine.contracts.node_schema import ANY, InputSchema
from engine.contracts.references import BlobRef, ModelKind, ModelRef
from engine.media.colours import parse_colour

Reading: TypeAlias = tuple[Any, bytes]
Reader: TypeAlias = Callable[[Any], Reading]

LARGEST_INTEGER = 2**64 - 1


class WrongValue(Exception):
    """A value does not fit its input: a Problem without its place."""

    def __init__(self, code: str, what: str, fix: str = "") -> None:
        super().__init__(what)
        self.code, self.what, self.fix = code, what, fix


class Port:
    """One input of a node type, ready to read values. `scalar` is True where a linked value can be checked too."""

    __slots__ = ("name", "read", "scalar", "schema", "types")

    def __init__(self, schema: InputSchema) -> None:
        self.schema = schema
        self.name = schema.name
        self.types = frozenset(schema.type.split("|"))
        self.read = reader_for(schema)
        self.scalar = bool(self.types) and self.types <= _SCALARS


def compatible(output: str, wanted: str) -> bool:
    """Whether an output of one socket type may feed an input of another; both may be "A|B" or "*"."""
    found = _COMPATIBLE.get((output, wanted))
    if found is None:
        gives, takes = set(output.split("|")), set(wanted.split("|"))
        found = ANY in gives or ANY in takes or bool(gives & takes)
        found = found or any((g, t) in _CONVERSIONS for g in gives for t in takes)
        _COMPATIBLE[output, wanted] = found
    return found


_COMPATIBLE: dict[tuple[str, str], bool] = {}
# What a linked value may become without loss; choices are checked when the value arrives.
_CONVERSIONS = frozenset({("INT", "FLOAT"), ("COMBO", "STRING"), ("STRING", "COMBO"), ("STRING", "COLOUR")})
_SCALARS = frozenset({"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "COLOUR"})


def reader_for(schema: InputSchema) -> Reader:
    """The reader of one input. It raises WrongValue; it never raises anything else."""
    kinds = schema.type.split("|")
    if schema.link_only:
        return _read_link_only(schema.type)
    if ANY in kinds:
        return encode_any
    readers = [_READERS[kind](schema) for kind in kinds if kind in _READERS]
    if not readers:
        return _read_link_only(schema.type)
    return readers[0] if len(readers) == 1 else _read_first(readers)


def _read_first(readers: list[Reader]) -> Reader:
    def read(value: Any) -> Reading:
        wrong: WrongValue | None = None
        for reader in readers:
            try:
                return reader(value)
            except WrongValue as error:
                # A value of the right kind but out of range says more than one of the wrong kind.
                if wrong is None or error.code != "wrong_type":
                    wrong = error
        raise cast(WrongValue, wrong)

    return read


def _read_link_only(kind: str) -> Reader:
    words = kind.replace("|", " or ")

    def read(value: Any) -> Reading:
        if isinstance(value, np.ndarray):
            return encode_any(value)  # a fragment made by a running node may hold a picture itself
        raise WrongValue(
            "wrong_type", f"{describe(value)} can't stand here", f"Connect an output of type {words} to it"
        )

    return read


def _read_int(schema: InputSchema) -> Reader:
    low = -LARGEST_INTEGER if schema.minimum is None else schema.minimum
    high = LARGEST_INTEGER if schema.maximum is None else schema.maximum
    expected = f"Give a whole number{_range_words(schema)}"

    def read(value: Any) -> Reading:
        if value.__class__ is not int:
            if isinstance(value, (float, np.integer)) and math.isfinite(value) and value == int(value):
                value = int(value)
            elif isinstance(value, float) and not math.isfinite(value):
                raise WrongValue("not_finite", f"{value} is not a number", expected)
            else:
                raise WrongValue("wrong_type", f"expected a whole number, found {describe(value)}", expected)
        if not low <= value <= high:
            raise WrongValue("out_of_range", f"{clip(_digits(value), 30)} is out of range", expected)
        return value, b"i%d" % value

    return read


def _digits(value: int) -> str:
    try:
        return str(value)
    except ValueError:  # beyond Python's limit of 4,300 digits
        return f"a number of {value.bit_length()} bits"


def _read_float(schema: InputSchema) -> Reader:
    low = -1.7e308 if schema.minimum is None else schema.minimum
    high = 1.7e308 if schema.maximum is None else schema.maximum
    expected = f"Give a number{_range_words(schema)}"

    def read(value: Any) -> Reading:
        kind = value.__class__
        if kind is not float and kind is not int:
            if not isinstance(value, (np.integer, np.floating, float)):
                raise WrongValue("wrong_type", f"expected a number, found {describe(value)}", expected)
            value = float(value)
        if value != value or value in (math.inf, -math.inf):
            raise WrongValue("not_finite", f"{value} is not a finite number", expected)
        if not low <= value <= high:
            shown = _digits(value) if isinstance(value, int) else f"{value:g}"
            raise WrongValue("out_of_range", f"{clip(shown, 30)} is out of range", expected)
        number = float(value) + 0.0  # -0.0 and 0.0 are one value
        return number, b"f" + repr(number).encode()

    return read


def _short(number: float) -> str:
    return str(int(number)) if number == int(number) else f"{number:g}"


def _range_words(schema: InputSchema) -> str:
    low, high = schema.minimum, schema.maximum
    if low is not None and high is not None:
        return f" from {_short(low)} to {_short(high)}"
    if low is not None:
        return f" of {_short(low)} or more"
    return f" of {_short(high)} or less" if high is not None else ""


def _read_text(schema: InputSchema) -> Reader:
    def read(value: Any) -> Reading:
        if not isinstance(value, str):
            raise WrongValue("wrong_type", f"expected text, found {describe(value)}", "Give a text in quotation marks")
        return value, _text_bytes(b"s", value)

    return read


def _text_bytes(tag: bytes, text: str) -> bytes:
    data = text.encode("utf-8", "surrogatepass")
    return b"%s%d:%s" % (tag, len(data), data)


def _read_bool(schema: InputSchema) -> Reader:
    def read(value: Any) -> Reading:
        if value is True:
            return True, b"b1"
        if value is False:
            return False, b"b0"
        raise WrongValue("wrong_type", f"expected true or false, found {describe(value)}", "Give true or false")

    return read


def _read_choice(schema: InputSchema) -> Reader:
    if schema.model_kind:
        return _read_model(schema)
    choices = frozenset(schema.choices)

    def read(value: Any) -> Reading:
        if not isinstance(value, str):
            fix = f"Use one of: {', '.join(schema.choices[:12])}" if choices else "Give a text"
            raise WrongValue("wrong_type", f"expected one of its choices, found {describe(value)}", fix)
        if choices and value not in choices:
            raise WrongValue("unknown_choice", f"there is no choice “{clip(value)}”", suggest(value, schema.choices))
        return value, _text_bytes(b"s", value)

    return read


def _read_model(schema: InputSchema) -> Reader:
    kind = cast(ModelKind, schema.model_kind)

    def read(value: Any) -> Reading:
        if isinstance(value, str):
            value = ModelRef(kind=kind, name=value)
        if not isinstance(value, ModelRef):
            raise WrongValue("wrong_type", f"expected a model, found {describe(value)}", "Choose a model")
        if not value.identity:
            raise WrongValue("no_model", "no model is chosen", "Choose a model")
        if value.kind != kind:
            raise WrongValue(
                "wrong_type", f"“{clip(value.name)}” is a {value.kind}, not a {kind}", f"Choose a {kind} here"
            )
        return value, _text_bytes(b"m", value.identity)

    return read


def _read_blob(schema: InputSchema) -> Reader:
    def read(value: Any) -> Reading:
        if not isinstance(value, BlobRef):
            raise WrongValue("wrong_type", f"expected a picture or file, found {describe(value)}", "Choose a file")
        if not value.sha256 and not value.name:
            raise WrongValue("no_file", "no picture or file is chosen", "Choose a file")
        return value, _text_bytes(b"B" if value.sha256 else b"N", value.sha256 or value.name)

    return read


def _read_colour(schema: InputSchema) -> Reader:
    def read(value: Any) -> Reading:
        expected = "Give a colour like “#3366cc” or “red”"
        if not isinstance(value, str):
            raise WrongValue("wrong_type", f"{describe(value)} is not a colour", expected)
        try:
            red, green, blue, alpha = parse_colour(value)
        except InvalidRequest:
            raise WrongValue("wrong_type", f"{describe(value)} is not a colour", expected) from None
        return value, b"k%d,%d,%d,%d" % (red, green, blue, alpha)

    return read


def _read_list(schema: InputSchema) -> Reader:
    def read(value: Any) -> Reading:
        if not isinstance(value, (list, tuple)):
            raise WrongValue("wrong_type", f"expected a list, found {describe(value)}", "Give a list")
        return encode_any(value)

    return read


def encode_any(value: Any) -> Reading:
    """Any JSON value, reference or array, as it is; arrays are told apart by their content."""
    if isinstance(value, ModelRef):
        return value, _text_bytes(b"m", value.identity)
    if isinstance(value, BlobRef):
        return value, _text_bytes(b"B" if value.sha256 else b"N", value.sha256 or value.name)
    if isinstance(value, np.ndarray):
        content = hashlib.blake2b(np.ascontiguousarray(value).tobytes(), digest_size=16).hexdigest()
        return value, _text_bytes(b"a", f"{value.dtype.str}{value.shape}{content}")
    try:
        text = json.dumps(value, sort_keys=True, allow_nan=False, separators=(",", ":"))
    except RecursionError:
        raise WrongValue("too_deep", "the value is nested too deeply", "Give a flatter value") from None
    except ValueError:
        raise WrongValue(
            "not_finite", "the value holds a number that is not finite or beyond all bounds", "Give finite numbers only"
        ) from None
    except TypeError:
        raise WrongValue("wrong_type", f"{describe(value)} can't stand in a document", "Give a plain value") from None
    return value, _text_bytes(b"j", text)


_READERS: dict[str, Callable[[InputSchema], Reader]] = {
    "INT": _read_int,
    "FLOAT": _read_float,
    "STRING": _read_text,
    "BOOLEAN": _read_bool,
    "COMBO": _read_choice,
    "BLOB": _read_blob,
    "COLOUR": _read_colour,
    "LIST": _read_list,
    "JSON": lambda schema: encode_any,
}
