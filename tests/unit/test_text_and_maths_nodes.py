"""The text and maths nodes: what they give, and that no pattern, template or sum can hurt."""

from __future__ import annotations

import contextlib
import math
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.contracts.errors import InvalidRequest
from engine.graph.node import NodeContext
from engine.nodes.maths import arithmetic
from engine.nodes.text import compose, match, wildcard
from engine.prompts import wildcards

CTX = cast(NodeContext, None)  # none of these nodes looks at its context


@pytest.mark.parametrize(
    ("template", "values", "expected"),
    [
        ("{a} and {b}", {"a": "x", "b": 2}, "x and 2"),
        ("{a:.2f}", {"a": 1.005}, "1.00"),
        ("{a:04d}", {"a": 7}, "0007"),
        ("{{a}}", {"a": 1}, "{a}"),
        ("{c}", {}, ""),
    ],
)
def test_format_fills_its_places(template: str, values: dict[str, Any], expected: str) -> None:
    assert compose.format_text(CTX, template, **values) == expected


@pytest.mark.parametrize("template", ["{a.__class__}", "{a[0]}", "{x}", "{", "}", "{a:9999999d}"])
def test_format_refuses_to_reach_into_objects(template: str) -> None:
    with pytest.raises(InvalidRequest):
        compose.format_text(CTX, template, a=1)


def test_joining_splitting_and_case() -> None:
    assert compose.join(CTX, "a", "b", "-") == "a-b"
    assert compose.join_list(CTX, ["a", "b", "c"], ", ") == "a, b, c"
    assert compose.split(CTX, "a\n\n b \nc") == ["a", "b", "c"]
    assert compose.replace(CTX, "aXbX", "X", "-") == "a-b-"
    assert compose.replace(CTX, "abc", "", "-") == "abc"
    assert compose.change_case(CTX, "hELLO wORLD", "sentence") == "Hello world"
    assert compose.trim(CTX, "  a ", "right") == "  a"
    assert compose.length(CTX, "día") == 3


def test_patterns_extract_and_replace() -> None:
    assert match.regex_extract(CTX, "seed 12, seed 34", r"\d+", "All Matches") == "12\n34"
    assert match.regex_extract(CTX, "seed 12", r"(\w+) (\d+)", "First Group", group=2) == "12"
    assert match.regex_extract(CTX, "none", r"\d+") == ""
    assert match.regex_replace(CTX, "2026-11-21", r"(\d+)-(\d+)-(\d+)", r"\3.\2.\1") == "21.11.2026"
    assert match.regex_match(CTX, "ABC", "b", ignore_case=True)


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a*)*b", "(x+y*)+", "[", "(?P<n", "a" * 501])
def test_dangerous_and_broken_patterns_are_refused_in_a_sentence(pattern: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        match.regex_match(CTX, "a" * 40, pattern)
    assert str(caught.value).endswith(".")


def test_wildcards_choose_by_seed_and_nest() -> None:
    text = "a {red|green|blue} {cat|{big|small} dog}"
    results = {wildcards.expand(text, seed) for seed in range(200)}
    assert wildcards.expand(text, 3) == wildcards.expand(text, 3)
    assert {r.split()[1] for r in results} == {"red", "green", "blue"}
    assert any("big dog" in r for r in results)
    two = wildcards.expand("{2$$a|b|c}", 1)
    assert len(two.split(", ")) == 2
    assert wildcards.expand("{2$$ and $$a|b}", 5) == "a and b"
    assert wildcards.expand(r"\{a|b\}", 0) == "{a|b}"
    assert wildcard.wildcard(CTX, text, 3) == wildcards.expand(text, 3)


@given(st.text(alphabet="{}|$a1\\-, ", max_size=60), st.integers(0, 2**63 - 1))
def test_no_wildcard_text_raises(text: str, seed: int) -> None:
    assert isinstance(wildcards.expand(text, seed), str)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a + b", 5),
        ("max(a, 64) * 1.5", 96),
        ("2 ^ 10", 1024),
        ("a if a > b else b", 3),
        ("-(a % 2)", 0),
        ("round(pi, 2)", 3.14),
    ],
)
def test_expressions(text: str, expected: float) -> None:
    assert arithmetic.evaluate(text, {"a": 2, "b": 3, "c": 0, "d": 0}) == pytest.approx(expected)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os')",
        "a.real",
        "9**9**9**9",
        "1/0",
        "[1][0]",
        "lambda: 1",
        "(-1)**0.5",
        "'a'*9",
        "x",
        "",
        "a=1",
        "(" * 300,
    ],
)
def test_expressions_refuse_what_is_no_sum(text: str) -> None:
    with pytest.raises(InvalidRequest):
        arithmetic.evaluate(text, {"a": 1.0})


@given(st.text(max_size=40))
def test_no_expression_does_anything_but_give_a_number_or_a_sentence(text: str) -> None:
    with contextlib.suppress(InvalidRequest):
        assert math.isfinite(arithmetic.evaluate(text, {"a": 1.0}))


def test_rounding_limits_and_ranges() -> None:
    assert arithmetic.round_number(CTX, 1001, 8, "nearest") == (1000.0, 1000)
    assert arithmetic.round_number(CTX, 1001, 8, "up") == (1008.0, 1008)
    assert arithmetic.clamp(CTX, 5, 1, 0) == (1.0, 1)
    assert arithmetic.remap(CTX, 0.5, 0, 1, 10, 20) == 15.0
    assert arithmetic.calculate(CTX, 7, "floor divide", 2) == (3.0, 3)
    assert arithmetic.compare(CTX, 1, "≤", 1)
    assert arithmetic.logic(CTX, True, "xor", True) is False
    with pytest.raises(InvalidRequest, match="divided by zero"):
        arithmetic.calculate(CTX, 1, "divide", 0)
