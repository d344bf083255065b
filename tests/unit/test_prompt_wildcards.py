"""Wildcards, styles, chunks and token counts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.contracts.errors import MissingModel
from engine.prompts.chunks import pack
from engine.prompts.grammar import parse
from engine.prompts.styles import merge_style
from engine.prompts.tokens import _clip, count_prompt, count_tokens, token_limit, tokenizers_of
from engine.prompts.wildcards import WildcardFolder, expand, has_choices

STARTER = Path(__file__).parents[2] / "resources" / "starter_model"


@pytest.fixture
def folder(tmp_path: Path) -> WildcardFolder:
    (tmp_path / "wildcards" / "animals").mkdir(parents=True)
    (tmp_path / "secret.txt").write_text("secret", encoding="utf-8")
    write = {
        "colours": "# a comment\nred\n\n3::blue\n{light|dark} green\n",
        "animals/birds": "\ufeff__colours__ wren\n",
        "loop": "a __loop__",
        "twice": "__twice__ __twice__",
        "empty": "# nothing\n",
    }
    for name, text in write.items():
        (tmp_path / "wildcards" / f"{name}.txt").write_text(text, encoding="utf-8")
    return WildcardFolder(tmp_path / "wildcards")


def outcomes(text: str, folder: WildcardFolder | None = None, seeds: int = 60) -> set[str]:
    return {expand(text, seed, folder or WildcardFolder()) for seed in range(seeds)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{a|b|c}", {"a", "b", "c"}),
        ("{a|}x", {"ax", "x"}),
        ("{2$$a|b|c}", {"a, b", "a, c", "b, c"}),
        ("{2$$ and $$a|b|c}", {"a and b", "a and c", "b and c"}),
        ("{1-2$$+$$a|b}", {"a", "b", "a+b"}),
        ("{-2$$+$$a|b}", {"a", "b", "a+b"}),
        ("{2-$$+$$a|b}", {"a+b"}),
        ("{9$$a|b}", {"a, b"}),
        ("{0$$a|b}", {""}),
        ("{0::a|1::b}", {"b"}),
        ("{a|{b|c} d}", {"a", "b d", "c d"}),
        (r"\{a|b\} {c\|d}", {"{a|b} c|d"}),
        ("{a|b", {"{a|b"}),
        ("a|b} {c|d", {"a|b} {c|d"}),
        ("____ __a __b", {"____ __a __b"}),
        ("{3}", {"3"}),
        ("__colours__", {"red", "blue", "light green", "dark green"}),
        ("__animals/birds__", {"red wren", "blue wren", "light green wren", "dark green wren"}),
        ("__nowhere__ __empty__", {"__nowhere__ __empty__"}),
        ("__../secret__", {"__../secret__"}),
        ("(__colours__:1.2)", {"(red:1.2)", "(blue:1.2)", "(light green:1.2)", "(dark green:1.2)"}),
        ("a_b x_ _y", {"a_b x_ _y"}),
    ],
)
def test_what_a_text_can_become(text: str, expected: set[str], folder: WildcardFolder) -> None:
    assert outcomes(text, folder) == expected


def test_several_of_a_file(folder: WildcardFolder) -> None:
    found = outcomes("{2$$ and $$__colours__}", folder)
    assert found >= {"red and blue", "blue and dark green"}
    assert all(text.count(" and ") == 1 for text in found)


def test_weights_are_kept() -> None:
    counts = Counter(expand("{3::a|b}", seed, WildcardFolder()) for seed in range(2000))
    assert counts["a"] / 2000 == pytest.approx(0.75, abs=0.03)


def test_a_choice_of_choices_is_the_same_for_the_same_seed() -> None:
    text = "{a|b|c|d} {2$$a|b|c|d} {1::x|2::y}"
    assert expand(text, 11) == expand(text, 11)
    assert len(outcomes(text)) > 20


def test_files_that_name_themselves_end(folder: WildcardFolder) -> None:
    assert expand("__loop__", 0, folder) == "a " * 16 + "__loop__"
    assert len(expand("__twice__", 0, folder)) < 100_000


def test_a_changed_file_is_read_again(folder: WildcardFolder) -> None:
    before = folder.fingerprint()
    assert folder.path is not None
    (folder.path / "colours.txt").write_text("ochre, a long line", encoding="utf-8")
    assert outcomes("__colours__", folder) == {"ochre, a long line"}
    assert folder.fingerprint() != before
    assert folder.names() == ["animals/birds", "colours", "empty", "loop", "twice"]


def test_hostile_choices_end() -> None:
    for text in ("{" * 100_000, "{a|" * 40_000 + "}" * 40_000, "_" * 100_000, "{a|b}" * 20_000, "{1$$" * 25_000):
        assert isinstance(expand(text, 1), str)
        assert has_choices(text) in (True, False)


@given(st.text(alphabet="{}|$a1-:\\_/. \n", max_size=60), st.integers(-(2**63), 2**64))
def test_no_text_raises(text: str, seed: int) -> None:
    changed = expand(text, seed, WildcardFolder())
    assert has_choices(text) or "\\" in text or "{" in text or changed == text


@pytest.mark.parametrize(
    ("prompt", "style", "expected"),
    [
        ("a cat", "oil painting of {prompt}, thick paint", "oil painting of a cat, thick paint"),
        ("a cat,", "oil painting", "a cat, oil painting"),
        ("", "oil painting", "oil painting"),
        ("a cat", "", "a cat"),
        ("", "{prompt} in oil", " in oil"),
        ("a {prompt}", "{prompt}; {prompt}", "a {prompt}; a {prompt}"),
    ],
)
def test_styles_say_where_the_prompt_goes(prompt: str, style: str, expected: str) -> None:
    assert merge_style(prompt, style) == expected


def test_tokens_are_packed_into_chunks() -> None:
    one = pack([([1, 2], 1.0), ([3], 1.5)], 4)
    assert [(c.tokens, c.weights) for c in one] == [([1, 2, 3], [1.0, 1.0, 1.5])]
    assert [c.tokens for c in pack([(range(1, 8), 1.0)], 3)] == [[1, 2, 3], [4, 5, 6], [7]]
    assert [c.tokens for c in pack([([1], 1.0), (None, -1.0), ([2], 1.0)], 3)] == [[1], [2]]
    assert [c.tokens for c in pack([], 3)] == [[]]
    assert [c.tokens for c in pack([(None, -1.0), ([1], 1.0)], 3)] == [[], [1]]


def test_a_phrase_after_a_comma_is_not_cut() -> None:
    comma = 9
    assert [c.tokens for c in pack([([1, 9, 2, 3, 4, 5], 1.0)], 4, comma)] == [[1, 9], [2, 3, 4, 5]]
    assert [c.tokens for c in pack([([1, 2, 3, 4, 9, 5], 1.0)], 4, comma)] == [[1, 2, 3, 4], [9, 5]]
    far = [9, *range(100, 130)]
    assert [len(c.tokens) for c in pack([(far, 1.0)], 30, comma)] == [30, 1]


def test_tokens_are_counted_as_the_encoder_does() -> None:
    from transformers import CLIPTokenizerFast

    folder = STARTER / "tokenizer"
    theirs = CLIPTokenizerFast.from_pretrained(folder)
    for text in ("a red circle on a blue background", "Snowy mountains' peaks, 1234!", "", "x" * 500, "日本 é"):
        expected = len(theirs(text, add_special_tokens=False, verbose=False).input_ids)
        assert count_tokens(text, folder) == expected
        assert len(_clip(folder).encode(text, add_special_tokens=False).ids) == expected
    assert token_limit(folder) == 38
    assert tokenizers_of(STARTER) == [folder]


def test_only_words_count() -> None:
    folder = STARTER / "tokenizer"
    plain = count_tokens("a red circle", folder)
    assert count_prompt(parse("a (red:1.2) <lora:x:1>[circle] BREAK", 10), folder) == plain
    assert count_prompt(parse("a [red|blue sea at night] circle AND sun", 10), folder) == count_tokens(
        "a blue sea at night circle", folder
    )


def test_a_folder_without_tokenizer_says_so(tmp_path: Path) -> None:
    with pytest.raises(MissingModel, match="There is no tokenizer in"):
        count_tokens("a", tmp_path)
    (tmp_path / "tokenizer.json").write_text("{", encoding="utf-8")
    with pytest.raises(MissingModel, match="can't be read"):
        count_tokens("a", tmp_path)
