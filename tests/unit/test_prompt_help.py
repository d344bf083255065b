"""What helps a person write a prompt, without a window: marks, weights, completions, counts, warnings, keeping."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from engine.contracts.errors import InvalidRequest
from engine.contracts.references import ModelRef
from engine.families.defaults import FAMILIES
from engine.models.layouts.configs import tokenizer_folder
from engine.prompts.grammar import parse
from engine.prompts.reading import READINGS, notes_on, reading_of
from engine.prompts.tokens import tokens_of
from studio_app.application import Application
from studio_app.models.index import ModelEntry
from studio_app.prompts.catalogue import Catalogue, Named
from studio_app.prompts.completions import Completions, applied
from studio_app.prompts.counts import Look, look_at, variant_of
from studio_app.prompts.history import Prompts
from studio_app.prompts.keeping import keep_style, keep_wildcard
from studio_app.prompts.marks import Level, across, scan, weights
from studio_app.prompts.ranking import NameIndex
from studio_app.prompts.weights import change_weight

STARTER = ModelRef(name="starter")


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Application]:
    made = Application(tmp_path / "data")
    folder = made.paths.wildcards
    (folder / "animals").mkdir(parents=True)
    (folder / "colours.txt").write_text("red\n# not this\n2::blue\ngreen\n", encoding="utf-8")
    (folder / "animals" / "birds.txt").write_text("owl\n", encoding="utf-8")
    yield made
    made.close()


def with_names(app: Application, *loras: Named, embeddings: tuple[Named, ...] = ()) -> Completions:
    """Completions that know these LoRAs beside the wildcards of the folder."""
    found = app.completions.prepare()
    indices = {
        **found.indices,
        "lora": NameIndex([each.name for each in loras]),
        "embedding": NameIndex([each.name for each in embeddings]),
    }
    app.completions._catalogue = replace(found, loras=loras, embeddings=embeddings, indices=indices)
    return app.completions


INK = Named("ink_wash", Path("ink_wash.safetensors"), ("sd15",), ("ink wash", "brush"), 0.8)
LINES = Named("ink_lines", Path("ink_lines.safetensors"), ("sdxl",))


# ---- marks


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a (red:1.3) cat", [("bracket", "("), ("number", ":1.3)")]),
        ("(a)", [("bracket", "("), ("bracket", ")")]),
        ("[fog:snow:0.5]", [("schedule", "["), ("schedule", ":"), ("schedule", ":0.5]")]),
        ("[snow:5]", [("schedule", "["), ("schedule", ":5]")]),
        ("[a|b]", [("schedule", "["), ("schedule", "|"), ("schedule", "]")]),
        ("[dull]", [("bracket", "["), ("bracket", "]")]),
        ("a BREAK b AND c ANDROID", [("keyword", "BREAK"), ("keyword", "AND")]),
        ("<lora:ink:0.8> x", [("tag", "<lora:ink:0.8>")]),
        ("embedding:bad, x", [("embedding", "embedding:bad")]),
        ("__animals/birds__", [("wildcard", "__animals/birds__")]),
        ("{2$$a|b}", [("choice", "{2$$"), ("choice", "|"), ("choice", "}")]),
        (r"\(x\)", [("escape", r"\("), ("escape", r"\)")]),
        ("snake_case a:b", []),
    ],
)
def test_each_construct_is_marked_where_it_stands(text: str, expected: list[tuple[str, str]]) -> None:
    assert [(mark.kind, text[mark.start : mark.start + mark.length]) for mark in scan(text).marks] == expected


@pytest.mark.parametrize(
    "text",
    [
        "a (red:1.3) cat",
        "((big)) [small]",
        "(a (b:1.5) c:0.5) d",
        "[x (y) z]",
        r"\(a\) (b)",
        "(left open",
        "a ] (b [c)",
    ],
)
def test_the_tint_of_a_word_is_the_weight_the_parser_gives_it(text: str) -> None:
    found = scan(text)
    (far,) = across([(len(text), found.loose)])
    tints = weights([*found.levels, *far.levels], len(text))
    pieces = parse(text).branches[0].schedule[0].pieces
    for piece in pieces:
        word = re.search(r"\w+", piece.text)
        if word is None:
            continue
        place = text.find(word[0])
        shown = next((weight for start, end, weight in tints if start <= place < end), 1.0)
        assert shown == pytest.approx(piece.weight), piece


def test_brackets_are_matched_over_lines_and_lone_ones_are_found() -> None:
    lines = ["a (red", "and round:1.5) b )", "{x"]
    first, second, third = across([(len(line), scan(line).loose) for line in lines])
    assert (first.levels, first.unbalanced) == ((Level(2, 6, 1.5),), ())
    assert second.levels == (Level(0, 14, 1.5),)
    assert (second.unbalanced, third.unbalanced) == ((17,), (0,))


def test_a_hostile_line_is_read_once() -> None:
    for text in ("(" * 100_000, "(]" * 50_000, "<lora:" * 20_000, "{1$$" * 25_000):
        found = scan(text)
        assert len(across([(len(text), found.loose)])) == 1


# ---- weights by key


@pytest.mark.parametrize(
    ("text", "start", "end", "steps", "expected"),
    [
        ("a red cat", 2, 5, 1, "a (red:1.05) cat"),
        ("a red cat", 3, 3, 1, "a (red:1.05) cat"),
        ("a (red:1.05) cat", 4, 4, 1, "a (red:1.1) cat"),
        ("a (red:1.05) cat", 4, 4, -1, "a red cat"),
        ("a red cat", 3, 3, -1, "a (red:0.95) cat"),
        ("<lora:ink:0.8> x", 8, 8, 1, "<lora:ink:0.85> x"),
        ("<lora:ink> x", 8, 8, -1, "<lora:ink:0.95> x"),
        ("<lora:ink:0.8:0.5>", 8, 8, -2, "<lora:ink:0.7:0.5>"),
        ("<lora:ink:0>", 8, 8, -1, "<lora:ink:-0.05>"),
        ("a green, red cat", 9, 16, 2, "a green, (red cat:1.1)"),
    ],
)
def test_a_step_changes_the_weight_of_what_is_there(text: str, start: int, end: int, steps: int, expected: str) -> None:
    change = change_weight(text, start, end, steps)
    assert change is not None
    assert text[: change.start] + change.text + text[change.end :] == expected


def test_up_and_down_again_leave_the_text_as_it_was() -> None:
    text, start, end = "a red cat", 2, 5
    for steps in (1, 1, 1, -1, -1, -1):
        change = change_weight(text, start, end, steps)
        assert change is not None
        text = text[: change.start] + change.text + text[change.end :]
        start, end = change.select_start, change.select_end
    assert (text, start, end) == ("a red cat", 2, 5)
    assert change_weight(" , ", 1, 1, 1) is None


# ---- completions


def test_a_tag_lists_loras_that_fit_the_model_first_and_inserts_weight_and_trigger_words(app: Application) -> None:
    completions = with_names(app, INK, LINES)
    text = "a cat <lora:ink, more"
    found = completions.suggest(text, 15, STARTER)
    assert [(each.label, each.note) for each in found] == [("ink_wash", "SD 1.5"), ("ink_lines", "for SDXL")]
    assert dict(found[0].facts) == {"Base model": "SD 1.5", "Weight": "0.8", "Trigger words": "ink wash, brush"}
    assert applied(text, found[0]) == ("a cat <lora:ink_wash:0.8> ink wash, brush, more", 41)


def test_a_tag_that_is_closed_already_is_replaced_whole(app: Application) -> None:
    completions = with_names(app, INK)
    found = completions.suggest("<lora:in:0.5> x", 8, STARTER)
    assert applied("<lora:in:0.5> x", found[0])[0] == "<lora:ink_wash:0.8> ink wash, brush x"
    assert [each.label for each in completions.suggest("<", 1, STARTER)] == ["ink_wash"]
    assert [each.label for each in completions.suggest("<lora:iwsh", 10, STARTER)] == ["ink_wash"]  # letters in order


def test_wildcards_come_with_some_of_their_choices(app: Application) -> None:
    found = with_names(app).suggest("a __col", 7, STARTER)
    assert [(each.text, each.note, each.facts) for each in found] == [
        ("__colours__", "3 choices", (("Choices", "red, blue, green"),))
    ]
    assert [each.text for each in app.completions.suggest("__birds", 7)] == ["__animals/birds__"]


def test_words_are_those_of_the_model_and_earlier_prompts_go_on(app: Application) -> None:
    app.prompts.remember("a red circle on a hill")
    found = with_names(app).suggest("a red circ", 10, STARTER)
    assert [(each.kind, applied("a red circ", each)[0]) for each in found[:2]] == [
        ("history", "a red circle on a hill"), ("word", "a red circle"),
    ]  # fmt: skip


def test_embeddings_and_styles_are_offered_for_words(app: Application) -> None:
    completions = with_names(app, embeddings=(Named("badhands", Path("badhands.pt"), ("sd15",)),))
    assert [each.text for each in completions.suggest("embedding:bad", 13)] == ["embedding:badhands"]
    assert "embedding:badhands" in [each.text for each in completions.suggest("badh", 4)]
    style = next(each for each in completions.suggest("waterc", 6) if each.kind == "style")
    assert style.text in app.styles.get("watercolour").prompt.replace("{prompt}", "")


def test_notes_beside_a_lora_give_its_weight_and_words(app: Application) -> None:
    shipped = app.completions.prepare().loras
    assert all(each.weight == 1.0 for each in shipped)
    folder = app.paths.models / "loras"
    folder.mkdir(parents=True)
    from studio_app.prompts.catalogue import _notes_beside, _weight, _words

    (folder / "x.json").write_text(json.dumps({"activation text": "ink, wash ", "preferred weight": 0.6}))
    notes = _notes_beside(folder / "x.safetensors")
    assert (_words(notes["activation text"]), _weight(notes["preferred weight"])) == (("ink", "wash"), 0.6)
    (folder / "y.json").write_text("[[[")
    assert _notes_beside(folder / "y.safetensors") == {}
    assert (_weight(True), _weight(1e9), _weight("2")) == (1.0, 1.0, 1.0)


def test_names_are_found_by_beginning_then_word_then_part_then_letters_in_order() -> None:
    index = NameIndex(["xx_ink", "abinkab", "ink", "i_n_k", "nothing", "ink pot"])
    assert [index.names[i] for i in index.find("ink", 10)] == ["ink", "ink pot", "xx_ink", "abinkab", "i_n_k"]
    assert index.find("zz", 10) == []
    assert index.find("", 2) == [0, 1]


def test_ten_thousand_names_are_searched_without_looking_at_each(app: Application) -> None:
    names = [f"style_{number:05d}_ink" for number in range(10_000)]
    completions = with_names(app, *(Named(name, Path(name)) for name in names))
    found = completions.suggest("<lora:stl09999", 14, STARTER)
    assert [each.label for each in found] == ["style_09999_ink"]


# ---- counts and warnings


def entry_of(app: Application, family: str) -> ModelEntry:
    """The starter as if it were a bare file of another family."""
    starter = app.models.entry(STARTER)
    info = replace(starter.info, family=family, vocabulary=(), defaults=FAMILIES[family])
    return replace(starter, path=Path("/nowhere/x.safetensors"), info=info)


def look(app: Application, text: str, family: str = "", catalogue: Catalogue | None = None) -> Look:
    return look_at(text, entry_of(app, family) if family else app.models.entry(STARTER), catalogue)


@pytest.mark.parametrize(
    ("family", "words"),
    [
        ("sd15", ("CLIP 5/75",)), ("sdxl", ("CLIP 5/75",)), ("sd3", ("CLIP 5/75", "T5 7/512")),
        ("flux", ("CLIP 5/75", "T5 7/512")), ("chroma", ("T5 7/512",)), ("qwen_image", ("Qwen 2.5 5/1024",)),
        ("z_image", ("Qwen 3 5/509",)), ("flux2", ("Qwen 3 5/509",)),
    ],
)  # fmt: skip
def test_tokens_are_counted_for_each_encoder_of_a_family(app: Application, family: str, words: tuple[str, ...]) -> None:
    assert tuple(count.words for count in look(app, "a red cat on grass <lora:x:1>", family).counts) == words


def test_a_long_prompt_takes_chunks_with_clip_and_falls_outside_with_t5(app: Application) -> None:
    text = ", ".join(["red cat"] * 60)
    assert look(app, text, "sd15").counts[0].room == 225
    assert look(app, text, "sd15").warnings == ()
    long = look(app, " ".join(["cat"] * 600) + " owl", "chroma")
    assert long.counts[0].words == "T5 604/512"
    assert long.counts[0].outside.split() == ["cat"] * 89 + ["owl"]
    assert long.warnings[0].startswith("T5 has room for 512 tokens: the words “cat cat")


def test_the_starter_counts_with_its_own_tokenizer(app: Application) -> None:
    assert look(app, "a red circle").counts[0].words == "CLIP 3/38"
    assert look(app, "   ").counts == ()


def test_variants_read_otherwise(app: Application) -> None:
    flux, flux2 = entry_of(app, "flux"), entry_of(app, "flux2")
    schnell = replace(flux, info=replace(flux.info, defaults=replace(flux.info.defaults, steps=4)))
    dev = replace(flux2, info=replace(flux2.info, parameters=32_000_000_000))
    assert [variant_of(each) for each in (flux, schnell, flux2, dev)] == ["", "schnell", "", "dev"]
    assert look_at("a cat", schnell).counts[1].words == "T5 4/256"
    assert look_at("a cat", dev).counts[0].words == "Mistral 2/480"


@pytest.mark.parametrize("family", sorted(READINGS))
def test_emphasis_and_break_are_warned_of_where_a_family_ignores_them(app: Application, family: str) -> None:
    reader = reading_of(family).reader
    warned = look(app, "a (red:1.3) cat BREAK a dog", family).warnings
    pieces = parse("a (red:1.3) cat BREAK a dog").branches[0].schedule[0].pieces
    assert warned == (notes_on(pieces, reader) if reader else ())
    assert (reader == "") == family.startswith("sd") or family == "sd3"
    assert look(app, "a red cat", family).warnings == ()


def test_names_that_are_not_here_or_do_not_fit_are_said_with_the_nearest(app: Application) -> None:
    catalogue = with_names(app, INK, LINES).catalogue
    said = look(app, "<lora:ink_wsh:1> <lora:ink_lines:1> __colors__ embedding:none", "sd15", catalogue).warnings
    assert said == (
        "There is no LoRA “ink_wsh” on this machine. Did you mean “ink_wash” or “ink_lines”?",
        "The LoRA “ink_lines” is made for SDXL, not for SD 1.5.",
        "There is no embedding “none” on this machine.",
        "There is no wildcard “colors”: it is read as words. Did you mean “colours”?",
    )


def test_lone_brackets_are_said_with_their_line(app: Application) -> None:
    assert look(app, "a (red").warnings == ("The “(” is not closed: its weight holds to the end of the prompt.",)
    assert look(app, "a red\ncircle)").warnings == ("The “)” in line 2 closes nothing: it is read as a character.",)
    assert look(app, "a\nb (c\nd) e").warnings == ()


@pytest.mark.parametrize("kind", ["clip", "t5", "qwen2", "mistral"])
def test_tokens_are_those_of_transformers(kind: str) -> None:
    from transformers import AutoTokenizer

    folder = tokenizer_folder(kind)
    theirs = AutoTokenizer.from_pretrained(folder)
    for text in ("A (red:1.3) cat, it's snowing  and 123 été", "two  words\n\nand 3 <b>", "猫 x_y!"):
        assert list(tokens_of(text, folder).ids) == theirs(text, add_special_tokens=False).input_ids, text


def test_counting_needs_no_torch() -> None:
    code = (
        "import sys; from studio_app.prompts import counts, completions, keeping; import engine.prompts.reading;"
        "sys.exit('torch' in sys.modules or 'PySide6' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# ---- keeping


def test_favourites_stay_when_the_history_is_cleared_and_come_first(tmp_path: Path) -> None:
    prompts = Prompts(tmp_path / "prompts.json", tmp_path / "none.json")
    for text in ("a star", "a moon", "a sun"):
        prompts.remember(text)
    prompts.set_favourite("A  star", True)
    assert prompts.all_prompts() == ["A  star", "a sun", "a moon"]
    prompts.clear()
    again = Prompts(tmp_path / "prompts.json", tmp_path / "none.json")
    assert (again.recent(), again.favourites(), again.is_favourite("a star")) == ([], ["A  star"], True)
    again.set_favourite("a star", False)
    assert Prompts(tmp_path / "prompts.json", tmp_path / "none.json").favourites() == []


def test_earlier_prompts_are_searched_by_words(tmp_path: Path) -> None:
    prompts = Prompts(tmp_path / "prompts.json", tmp_path / "none.json")
    for text in ("a red star", "a blue moon", "red moon"):
        prompts.remember(text)
    assert prompts.search("moon") == ["red moon", "a blue moon"]
    assert prompts.search("moon red") == ["red moon"]


def test_a_style_is_kept_under_its_name(app: Application) -> None:
    style = keep_style(app.styles, " My  Fog ", "thick fog, {prompt}", "sun")
    assert (style.id, style.name) == ("my-fog", "My Fog")
    assert app.styles.get("my-fog").prompt == "thick fog, {prompt}"
    for name, words in (("", "fog"), ("x", "{prompt}"), ("!", "fog")):
        with pytest.raises(InvalidRequest):
            keep_style(app.styles, name, words)


def test_a_wildcard_gets_what_commas_or_lines_part(tmp_path: Path) -> None:
    assert keep_wildcard(tmp_path, "sky/weather", "fog, rain,, fog") == ("sky/weather", 2)
    assert keep_wildcard(tmp_path, "__sky/weather__", "rain, heavy\nsnow") == ("sky/weather", 2)
    assert (tmp_path / "sky" / "weather.txt").read_text().splitlines() == ["fog", "rain", "rain, heavy", "snow"]
    for name in ("../x", "a//b", "", "a/../b", "/etc/x"):
        with pytest.raises(InvalidRequest):
            keep_wildcard(tmp_path, name, "fog")


def test_a_weight_that_is_no_number_does_not_tint() -> None:
    assert scan("(a:1.2.3)").levels == ()
    assert weights([Level(0, 3, 0.0)], 3)[0][2] > 0
    assert math.isfinite(weights([Level(0, 3, 1e300)], 3)[0][2])
