"""Numbers: the four operations and their kin, rounding, limits, ranges, and sums written out."""

from __future__ import annotations

import ast
import math
import operator
import warnings
from collections.abc import Callable
from typing import Annotated, Any

from engine.contracts.errors import InvalidRequest, clip
from engine.graph.node import In, NodeContext, node

Number = Annotated[float, In(type="INT|FLOAT")]
MAX_EXPRESSION = 400
_LIMIT = 1e300

_OPERATIONS: dict[str, Callable[[float, float], float]] = {
    "add": operator.add, "subtract": operator.sub, "multiply": operator.mul, "divide": operator.truediv,
    "floor divide": operator.floordiv, "remainder": operator.mod, "power": operator.pow, "minimum": min, "maximum": max,
    "average": lambda a, b: (a + b) / 2,
}  # fmt: skip


@node("maths.calculate", category="Maths", outputs=("number", "whole"), search=("add", "multiply", "divide", "power"))
def calculate(
    ctx: NodeContext, a: float = 0.0, operation: Annotated[str, In(choices=tuple(_OPERATIONS))] = "add", b: float = 0.0
) -> tuple[float, int]:
    """One operation on two numbers.

    a: the first number
    operation: what to do with them
    b: the second number
    """
    value = _guarded(lambda: power(a, b) if operation == "power" else _OPERATIONS[operation](a, b))
    return value, round(value)


@node("maths.expression", category="Maths", outputs=("number", "whole"), search=("formula", "equation", "sum"))
def expression(
    ctx: NodeContext, expression: str = "a + b", a: float = 0.0, b: float = 0.0, c: float = 0.0, d: float = 0.0
) -> tuple[float, int]:
    """A sum written out, with a, b, c, d, + − * / // % **, comparisons, min max abs round floor ceil sqrt sin cos log.

    expression: the sum, such as max(a, 64) * 1.5
    a: the value of a
    b: the value of b
    c: the value of c
    d: the value of d
    """
    value = evaluate(expression, {"a": a, "b": b, "c": c, "d": d})
    return value, round(value)


@node("maths.round", category="Maths", outputs=("number", "whole"), search=("floor", "ceil", "multiple", "snap"))
def round_number(
    ctx: NodeContext,
    number: float = 0.0,
    to: Annotated[float, In(minimum=1e-6, maximum=1e9)] = 1.0,
    mode: Annotated[str, In(choices=("nearest", "down", "up"))] = "nearest",
) -> tuple[float, int]:
    """Round to a multiple: 8 snaps to multiples of eight, 0.1 to one decimal.

    number: the number
    to: the multiple
    mode: to the nearest, down or up
    """
    steps = number / to
    whole = math.floor(steps) if mode == "down" else math.ceil(steps) if mode == "up" else math.floor(steps + 0.5)
    value = _guarded(lambda: whole * to)
    return value, round(value)


@node("maths.clamp", category="Maths", outputs=("number", "whole"), search=("limit", "bound"))
def clamp(ctx: NodeContext, number: float = 0.0, low: float = 0.0, high: float = 1.0) -> tuple[float, int]:
    """Keep a number between two others.

    number: the number
    low: the least it may be
    high: the most it may be
    """
    value = max(min(low, high), min(max(low, high), number))
    return value, round(value)


@node("maths.remap", category="Maths", outputs=("number",), search=("scale", "range", "map"))
def remap(
    ctx: NodeContext,
    number: float = 0.0,
    from_low: float = 0.0,
    from_high: float = 1.0,
    to_low: float = 0.0,
    to_high: float = 1.0,
) -> float:
    """Carry a number from one range to another in proportion.

    number: the number
    from_low: where the first range starts
    from_high: where it ends; may not equal its start
    to_low: where the second range starts
    to_high: where it ends
    """
    if from_low == from_high:
        raise InvalidRequest("the range to map from is empty", fix="Give it two different ends")
    return _guarded(lambda: to_low + (number - from_low) * (to_high - to_low) / (from_high - from_low))


@node("maths.compare", category="Maths", outputs=("result",), search=("equal", "greater", "less"))
def compare(
    ctx: NodeContext,
    a: float = 0.0,
    relation: Annotated[str, In(choices=("=", "≠", "<", "≤", ">", "≥"))] = "=",
    b: float = 0.0,
) -> bool:
    """Compare two numbers.

    a: the first number
    relation: how they should stand to each other
    b: the second number
    """
    table: dict[str, Callable[[float, float], bool]] = {
        "=": operator.eq, "≠": operator.ne, "<": operator.lt, "≤": operator.le, ">": operator.gt, "≥": operator.ge,
    }  # fmt: skip
    return bool(table[relation](a, b))


@node("maths.logic", category="Maths", outputs=("result",), search=("and", "or", "not", "xor", "boolean"))
def logic(
    ctx: NodeContext, a: bool = False, operation: Annotated[str, In(choices=("and", "or", "xor", "not a"))] = "and",
    b: bool = False,
) -> bool:  # fmt: skip
    """Combine two yes-or-no values.

    a: the first
    operation: how to combine them
    b: the second
    """
    return {"and": a and b, "or": a or b, "xor": a != b, "not a": not a}[operation]


_FUNCTIONS: dict[str, Callable[..., float]] = {
    "min": min, "max": max, "abs": abs, "round": round, "floor": math.floor, "ceil": math.ceil, "sqrt": math.sqrt,
    "sin": math.sin, "cos": math.cos, "tan": math.tan, "log": math.log, "exp": math.exp, "int": int, "float": float,
}  # fmt: skip
_NAMES = {"pi": math.pi, "e": math.e}
_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod,
}  # fmt: skip
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}  # fmt: skip


def evaluate(text: str, values: dict[str, float]) -> float:
    """The value of a sum. Raises InvalidRequest with one sentence; no names but `values`, no attributes, no calls but
    the listed functions."""
    if len(text) > MAX_EXPRESSION:
        raise InvalidRequest(f"the expression has {len(text)} characters, more than {MAX_EXPRESSION}")
    try:
        with warnings.catch_warnings():  # "1or 2" is a warning to Python and only a typing slip to a person
            warnings.simplefilter("ignore")
            tree = ast.parse(text.strip().replace("^", "**"), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InvalidRequest(f"the expression “{clip(text, 40)}” can't be read") from error
    return _guarded(lambda: _value(tree, {**_NAMES, **values}, text))


def _value(tree: ast.expr, values: dict[str, float], text: str) -> Any:
    match tree:
        case ast.Constant(value=bool() | int() | float() as number):
            return number
        case ast.Name(id=name) if name in values:
            return values[name]
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            return -_value(inner, values, text)
        case ast.UnaryOp(op=ast.UAdd(), operand=inner):
            return _value(inner, values, text)
        case ast.UnaryOp(op=ast.Not(), operand=inner):
            return not _value(inner, values, text)
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return power(_value(left, values, text), _value(right, values, text))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _BINARY[type(op)](_value(left, values, text), _value(right, values, text))
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARE:
            return _COMPARE[type(op)](_value(left, values, text), _value(right, values, text))
        case ast.IfExp(test=test, body=body, orelse=other):
            return _value(body if _value(test, values, text) else other, values, text)
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in _FUNCTIONS:
            return _FUNCTIONS[name](*(_value(a, values, text) for a in arguments))
    what = ast.unparse(tree)
    raise InvalidRequest(
        f"“{clip(what, 30)}” has no meaning in an expression",
        fix=f"Use {', '.join(sorted(values))}, numbers, + − * / and {', '.join(sorted(_FUNCTIONS))}",
    )


def power(a: float, b: float) -> float:
    """a to the b, refused where the result would be astronomical or not a real number."""
    if a and abs(b) * abs(math.log10(abs(a))) > 300:
        raise InvalidRequest(f"{a:g} to the {b:g} is beyond all bounds")
    value: Any = a**b
    if isinstance(value, complex):
        raise InvalidRequest(f"{a:g} to the {b:g} is not a real number")
    return float(value)


def _guarded(compute: Callable[[], Any]) -> float:
    try:
        value = compute()
        number = float(value)
    except ZeroDivisionError as error:
        raise InvalidRequest("a number is divided by zero") from error
    except (ArithmeticError, ValueError, TypeError) as error:
        raise InvalidRequest(f"it has no result ({clip(str(error), 60)})") from error
    if not math.isfinite(number) or abs(number) > _LIMIT:
        raise InvalidRequest("the result is beyond all bounds")
    return number
