"""The prompt grammar against a table: A1111's own published examples first, then what follows from its rules."""

from __future__ import annotations

import json
import random
from itertools import pairwise
from typing import Any

import pytest

from engine.prompts.grammar import ParsedPrompt, literal, parse
from engine.prompts.schedule import read
from engine.prompts.tags import Lora
from engine.prompts.weighting import pieces_of

UP, DOWN = 1.1, 1 / 1.1
ODD_EVEN = [[n, "female" if n % 2 else "male"] for n in range(1, 11)]

# (text, [[last step, text], …]) in a run of 10 steps.
SCHEDULES: list[tuple[str, list[list[Any]]]] = [
    # published with A1111's prompt_parser
    ("test", [[10, "test"]]),
    ("a [b:3]", [[3, "a "], [10, "a b"]]),
    ("a [b: 3]", [[3, "a "], [10, "a b"]]),
    ("a [[[b]]:2]", [[2, "a "], [10, "a [[b]]"]]),
    ("[(a:2):3]", [[3, ""], [10, "(a:2)"]]),
    ("a [b : c : 1] d", [[1, "a b  d"], [10, "a  c  d"]]),
    ("a[b:[c:d:2]:1]e", [[1, "abe"], [2, "ace"], [10, "ade"]]),
    ("a [unbalanced", [[10, "a [unbalanced"]]),
    ("a [b:.5] c", [[5, "a  c"], [10, "a b c"]]),
    ("a [{b|d{:.5] c", [[5, "a  c"], [10, "a {b|d{ c"]]),
    ("((a][:b:c [d:3]", [[3, "((a][:b:c "], [10, "((a][:b:c d"]]),
    ("[a|(b:1.1)]", [[n, "a" if n % 2 else "(b:1.1)"] for n in range(1, 11)]),
    ("[fe|]male", ODD_EVEN),
    ("[fe|||]male", [[n, "female" if n % 4 == 1 else "male"] for n in range(1, 11)]),
    # from its rules
    ("[a::3]", [[3, "a"], [10, ""]]),
    ("[a:b:0.3]", [[3, "a"], [10, "b"]]),
    ("[a:b:1.0]", [[10, "a"]]),
    ("[a:b:0]", [[10, "b"]]),
    ("[a:b:0.05]", [[10, "b"]]),
    ("[a:b:-2]", [[10, "b"]]),
    ("[a:b:25]", [[10, "a"]]),
    ("[a:b: 3 ]", [[3, "a"], [10, "b"]]),
    ("[a:b:c]", [[10, "[a:b:c]"]]),
    ("[a:b:c:3]", [[10, "[a:b:c:3]"]]),
    ("[a]", [[10, "[a]"]]),
    ("[a:b]", [[10, "[a:b]"]]),
    (r"\[a:b:3\]", [[10, r"\[a:b:3\]"]]),
    (r"[a\:b:3]", [[3, ""], [10, r"a\:b"]]),
    ("[a:b:1e0]", [[1, "a"], [10, "b"]]),
    ("[embedding:ink:3]", [[3, ""], [10, "embedding:ink"]]),
    ("[[a|b]:c:2]", [[1, "a"], [2, "b"], *([n, "c"] for n in range(3, 11))]),
    ("a | b", [[10, "a | b"]]),
    ("(a:[b:3]", [[3, "(a:"], [10, "(a:b"]]),
    ("[a:b:٣]", [[10, "[a:b:٣]"]]),
]

EMPHASIS: list[tuple[str, list[list[Any]]]] = [
    # published with A1111's prompt_parser
    ("normal text", [["normal text", 1.0]]),
    ("an (important) word", [["an ", 1.0], ["important", 1.1], [" word", 1.0]]),
    ("(unbalanced", [["unbalanced", 1.1]]),
    (r"\(literal\]", [["(literal]", 1.0]]),
    ("(unnecessary)(parens)", [["unnecessaryparens", 1.1]]),
    (
        "a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).",
        [
            ["a ", 1.0],
            ["house", 1.5730000000000004],
            [" ", 1.1],
            ["on", 1.0],
            [" a ", 1.1],
            ["hill", 0.55],
            [", sun, ", 1.1],
            ["sky", 1.4641000000000006],
            [".", 1.1],
        ],
    ),
    # from its rules
    ("", [["", 1.0]]),
    ("()", [["", 1.0]]),
    ("((a))", [["a", UP * UP]]),
    ("[a]", [["a", DOWN]]),
    ("[[a]]", [["a", DOWN * DOWN]]),
    ("([a])", [["a", DOWN * UP]]),
    ("(a:1.5)", [["a", 1.5]]),
    ("(a: 1.5 )", [["a", 1.5]]),
    ("(a:+1.5)", [["a", 1.5]]),
    ("(a:-0.5)", [["a", -0.5]]),
    ("(a:.5)", [["a", 0.5]]),
    ("(a:0)", [["a", 0.0]]),
    ("[a:1.5)", [["a:1.5)", DOWN]]),
    ("a:1.5)", [["a:1.5)", 1.0]]),
    ("(a:1.2.3)", [["a:1.2.3)", UP]]),
    ("(a:.)", [["a:.)", UP]]),
    ("(a:b:1.5)", [["a:b", 1.5]]),
    ("((a:2) b:3)", [["a", 6.0], [" b", 3.0]]),
    ("a) b]", [["a) b]", 1.0]]),
    ("(a [b) c]", [["a ", 1.1], ["b", UP * DOWN], [" c", DOWN]]),
    (r"\\(a\\)", [["\\", 1.0], ["a\\", 1.1]]),
    (r"a\b", [["ab", 1.0]]),
    ("a\\", [["a", 1.0]]),
    (r"(\(a\))", [["(a)", 1.1]]),
    ("a BREAK b", [["a", 1.0], ["BREAK", -1.0], ["b", 1.0]]),
    ("a BREAK BREAK b", [["a", 1.0], ["BREAK", -1.0], ["", 1.0], ["BREAK", -1.0], ["b", 1.0]]),
    ("BREAK a", [["", 1.0], ["BREAK", -1.0], ["a", 1.0]]),
    ("a\nBREAK\n(b:2)", [["a", 1.0], ["BREAK", -1.0], ["", 1.0], ["b", 2.0]]),
    ("(a BREAK b)", [["a", 1.1], ["BREAK", -1.0], ["b", 1.1]]),
    ("aBREAK BREAKb break", [["aBREAK BREAKb break", 1.0]]),
    (f"(a:{'9' * 400})", [[f"a:{'9' * 400})", UP]]),
]

# (text, [(weight, text), …], loras)
WHOLE: list[tuple[str, list[tuple[float, str]], list[Lora]]] = [
    ("a cat AND a dog", [(1.0, "a cat"), (1.0, " a dog")], []),
    ("a cat :1.2 AND a dog AND a penguin :2.2", [(1.2, "a cat"), (1.0, " a dog"), (2.2, " a penguin")], []),
    ("a AND b:-0.5", [(1.0, "a"), (-0.5, " b")], []),
    ("a AND b : 2.", [(1.0, "a"), (2.0, " b")], []),
    ("a AND b : .5", [(1.0, "a"), (0.5, " b")], []),
    ("a AND (b:0.5)", [(1.0, "a"), (1.0, " (b:0.5)")], []),
    ("a AND b :x", [(1.0, "a"), (1.0, " b :x")], []),
    ("SAND AND LAND", [(1.0, "SAND"), (1.0, " LAND")], []),
    ("a and b", [(1.0, "a and b")], []),
    ("AND", [(1.0, ""), (1.0, "")], []),
    (f"a :{'9' * 400}", [(1.0, f"a :{'9' * 400}")], []),
    ("a <lora:ink:0.8> b", [(1.0, "a  b")], [Lora("ink", 0.8, 0.8)]),
    ("<lora:ink>", [(1.0, "")], [Lora("ink", 1.0, 1.0)]),
    ("<lora:ink:0.5:0.7>a", [(1.0, "a")], [Lora("ink", 0.5, 0.7)]),
    ("<lora:ink:te=0.2:unet=0.9>a", [(1.0, "a")], [Lora("ink", 0.2, 0.9)]),
    ("<lora:ink:0.4:unet=0.9>a", [(1.0, "a")], [Lora("ink", 0.4, 0.9)]),
    ("<lora:ink:strong>a", [(1.0, "a")], [Lora("ink", 1.0, 1.0)]),
    ("<lora:my style (v2):1>a", [(1.0, "a")], [Lora("my style (v2)", 1.0, 1.0)]),
    ("<lyco:ink:0.3>a", [(1.0, "a")], [Lora("ink", 0.3, 0.3)]),
    ("<hypernet:x:1>a", [(1.0, "a")], []),
    ("<lora:>a", [(1.0, "<lora:>a")], []),
    ("<lora:a <b> c", [(1.0, " c")], [Lora("a <b", 1.0, 1.0)]),
    ("a < b > c <3", [(1.0, "a < b > c <3")], []),
    ("<lora:x:3", [(3.0, "<lora:x")], []),
    ("a <lora:x:1> AND b <lora:y:2>", [(1.0, "a"), (1.0, " b")], [Lora("x"), Lora("y", 2.0, 2.0)]),
]


def test_the_table_is_not_short() -> None:
    assert len(SCHEDULES) + len(EMPHASIS) + len(WHOLE) >= 90


@pytest.mark.parametrize(("text", "expected"), SCHEDULES)
def test_schedules(text: str, expected: list[list[Any]]) -> None:
    assert [list(part) for part in read(text).texts(10)] == expected


@pytest.mark.parametrize(("text", "expected"), EMPHASIS)
def test_emphasis(text: str, expected: list[list[Any]]) -> None:
    assert [piece.to_json() for piece in pieces_of(text)] == expected


@pytest.mark.parametrize(("text", "branches", "loras"), WHOLE)
def test_branches_and_tags(text: str, branches: list[tuple[float, str]], loras: list[Lora]) -> None:
    prompt = parse(text, 10)
    assert [(branch.weight, branch.schedule[0].text) for branch in prompt.branches] == branches
    assert list(prompt.loras) == loras


def test_published_landscape() -> None:
    text = (
        "fantasy landscape with a [mountain:lake:0.25] and [an oak:a christmas tree:0.75][ in foreground::0.6]"
        "[: in background:0.25] [shoddy:masterful:0.5]"
    )
    assert read(text).texts(100) == [
        (25, "fantasy landscape with a mountain and an oak in foreground shoddy"),
        (50, "fantasy landscape with a lake and an oak in foreground in background shoddy"),
        (60, "fantasy landscape with a lake and an oak in foreground in background masterful"),
        (75, "fantasy landscape with a lake and an oak in background masterful"),
        (100, "fantasy landscape with a lake and a christmas tree in background masterful"),
    ]


def test_the_json_of_a_whole_prompt() -> None:
    prompt = parse("a [red:(blue:1.2):5] cat AND fog :0.5 <lora:ink:0.8>", 20)
    assert prompt.to_json() == {
        "branches": [
            {
                "weight": 1.0,
                "schedule": [
                    {"until": 5, "text": "a red cat", "pieces": [["a red cat", 1.0]]},
                    {"until": 20, "text": "a (blue:1.2) cat", "pieces": [["a ", 1.0], ["blue", 1.2], [" cat", 1.0]]},
                ],
            },
            {"weight": 0.5, "schedule": [{"until": 20, "text": " fog", "pieces": [[" fog", 1.0]]}]},
        ],
        "loras": [{"name": "ink", "te": 0.8, "unet": 0.8}],
    }


def test_without_steps_changes_are_not_made_and_said() -> None:
    prompt = parse("a [b:c:3]")
    assert prompt.unused
    assert prompt.branches[0].schedule[0].text == "a [b:c:3]"
    assert not parse("a [b] (c:2)").unused


def test_plain_text_means_itself() -> None:
    prompt = literal("a (b:2) AND [c|d] <lora:x:1>")
    assert [piece.to_json() for piece in prompt.branches[0].schedule[0].pieces] == [
        ["a (b:2) AND [c|d] <lora:x:1>", 1.0]
    ]
    assert prompt.loras == ()


def test_embeddings_are_found_by_name_and_by_prefix() -> None:
    prompt = parse(
        "a cat, (embedding:ink-v2:1.2), EasyNegative. AND [embedding:fog:5] embedding:ink-v2", 10, ("easynegative",)
    )
    assert prompt.embeddings == ("ink-v2", "easynegative", "fog")
    assert parse("easynegative").embeddings == ()


ALPHABET = [
    *"[](){}<>:|\\,.$_+-0123456789ab \n\t", "AND", " AND ", "BREAK", " BREAK ", "<lora:", "<lora:x:1>", ":0.5]", ":3]",
    ":1.2)", "embedding:", "é", "日", "\u2028", "\x00", "\ud800", "𝒜", "٣", "__a__", "2$$", "1e999", "9" * 320,
]  # fmt: skip


def check_random_texts(count: int, seed: int) -> None:
    chooser = random.Random(seed)
    for _ in range(count):
        text = "".join(chooser.choices(ALPHABET, k=chooser.randint(0, 40)))
        steps = chooser.choice([-1, 0, 1, 2, 7, 20])
        prompt = parse(text, steps, ("a", "b"))
        assert_sound(prompt, max(1, steps))


def assert_sound(prompt: ParsedPrompt, steps: int) -> None:
    json.dumps(prompt.to_json(), allow_nan=False)
    assert prompt.branches
    for branch in prompt.branches:
        ends = [span.until for span in branch.schedule]
        assert ends == sorted(set(ends))
        assert (ends[0] >= 1, ends[-1]) == (True, steps)
        for span in branch.schedule:
            assert span.pieces
            weights = [None if piece.is_break else piece.weight for piece in span.pieces]
            assert all(a != b or a is None for a, b in pairwise(weights))


def test_random_texts_never_raise() -> None:
    check_random_texts(2_000, seed=1)


@pytest.mark.full
def test_100_000_random_texts_never_raise() -> None:
    check_random_texts(100_000, seed=2)


HOSTILE = {
    "openers": "[" * 100_000,
    "both openers": "[(" * 50_000,
    "closers": "])" * 50_000,
    "nested emphasis": "(" * 50_000 + "a" + ")" * 50_000,
    "open emphasis": "(a" * 50_000,
    "nested alternation": "[a|" * 33_000 + "]" * 33_000,
    "nested schedules": "[a:" * 30_000 + ":3]" * 30_000,
    "spaces": " " * 100_000,
    "spaces after a colon": "(a:" + " " * 100_000,
    "digits after a colon": "(a:" + "1" * 100_000 + "x",
    "open tags": "<a:" * 33_000,
    "breaks": "BREAK " * 16_000,
    "branches": "AND " * 25_000,
    "backslashes": "\\" * 99_999,
    "weights": "(" + "a:1)" * 25_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_lengths_are_read(name: str) -> None:
    """Quadratic time would take minutes here, and recursion would end the interpreter."""
    assert_sound(parse(HOSTILE[name], 4), 4)


def test_work_grows_with_length_only() -> None:
    """Multiplications are counted, not seconds: brackets left open over everything don't make them grow faster."""
    deep = pieces_of("(a" * 20_000)
    assert len(deep) > 1
    assert all(abs(piece.weight) <= 1e9 for piece in deep)
    assert pieces_of("(" * 20 + "a")[0].weight == pytest.approx(1.1**20)
