"""Sums that a person may type into a number field: 1024*1.5, (3+4)/2, 2^10. Never `eval`."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable

MAX_LENGTH = 100
_BINARY: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}


def evaluate(text: str) -> float | None:
    """The value of a sum, or None when it is none. `×`, `÷`, `^` and a decimal comma are understood.

    Whole sums of whole numbers stay whole, so that large seeds keep every digit.
    """
    cleaned = text.strip().replace("×", "*").replace("÷", "/").replace("^", "**").replace(",", ".")
    if not cleaned or len(cleaned) > MAX_LENGTH:
        return None
    try:
        value = _value(ast.parse(cleaned, mode="eval").body)
        return value if isinstance(value, int) or math.isfinite(value) else None
    except (SyntaxError, TypeError, ValueError, ArithmeticError, RecursionError, MemoryError):
        return None


def _value(node: ast.expr) -> int | float:
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)) and not isinstance(node.value, bool):
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.UAdd, ast.USub)):
        value = _value(node.operand)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.BinOp):
        left, right = _value(node.left), _value(node.right)
        if isinstance(node.op, ast.Pow):
            if abs(right) > 64 or abs(left) > 1e6:  # 9**9**9 would never come back
                raise OverflowError
            result = left**right
            if isinstance(result, complex):
                raise TypeError
            return float(result) if isinstance(result, float) else int(result)
        if type(node.op) in _BINARY:
            return _BINARY[type(node.op)](left, right)
    raise TypeError
