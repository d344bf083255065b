"""JSON as other programs write it: NaN and infinite numbers, halves of surrogate pairs. Read, repaired and reported."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from engine.contracts.codec import MAX_DEPTH, MAX_DOCUMENT_BYTES
from engine.contracts.errors import InvalidDocument

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def parse(data: str | bytes, where: str) -> Any:
    """A JSON value from any bytes, NaN and infinities left in. Raises InvalidDocument."""
    if len(data) > MAX_DOCUMENT_BYTES:
        raise InvalidDocument(f"it is larger than {MAX_DOCUMENT_BYTES // 2**20} MB", where=where)
    try:
        return json.loads(data.decode("utf-8-sig") if isinstance(data, bytes) else data)
    except UnicodeDecodeError as error:
        raise InvalidDocument("it is not UTF-8 text", where=where) from error
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise InvalidDocument(f"it is not valid JSON ({error.msg.lower()} at {place})", where=where) from error
    except (RecursionError, ValueError) as error:
        raise InvalidDocument("it holds a number or nesting beyond all bounds", where=where) from error


def cleaned(value: Any, where: str) -> tuple[Any, list[str]]:
    """The value without numbers that JSON forbids (null stands in their place) and without broken text.

    Also a sentence for each kind of repair. Raises InvalidDocument when it is nested too deep.
    """
    counts = {"numbers": 0, "texts": 0}

    def walk(item: Any, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise InvalidDocument(f"it is nested more than {MAX_DEPTH} levels deep", where=where)
        if isinstance(item, dict):
            return {walk(str(key), depth): walk(inner, depth + 1) for key, inner in item.items()}
        if isinstance(item, list):
            return [walk(inner, depth + 1) for inner in item]
        if isinstance(item, float) and not math.isfinite(item):
            counts["numbers"] += 1
            return None
        if isinstance(item, str) and not item.isascii() and _LONE_SURROGATE.search(item):
            counts["texts"] += 1
            return _LONE_SURROGATE.sub("\ufffd", item)
        return item

    found = walk(value, 0)
    sentences = []
    if counts["numbers"]:
        sentences.append(f"{_times(counts['numbers'])} it holds NaN or an infinite number; read as “no value”.")
    if counts["texts"]:
        sentences.append(f"{_times(counts['texts'])} a text is not valid Unicode; the broken letters became “\ufffd”.")
    return found, sentences


def _times(count: int) -> str:
    return "Once" if count == 1 else f"{count} times"
