"""The document behind Create: what it needs, how it spreads over prompts, and that it comes back."""

from __future__ import annotations

import pytest

from engine.contracts.references import BlobRef
from engine.recipes.build import build
from engine.recipes.recommended import Recommended
from engine.recipes.request import ImageRequest
from engine.recipes.shapes import SHAPES, shape
from studio_app.documents.create_session import (
    CreateSession,
    ModelFacts,
    Pace,
    SessionChange,
    estimate_seconds,
    pace_of,
    word_before,
    work_of,
)

STARTER = ModelFacts(Recommended(width=128, height=128, steps=25, cfg=4.0, sampler="ddim"), ("a", "red", "circle"))
PICTURE = BlobRef(sha256="a" * 64, media_type="image/png", size=1)


@pytest.fixture
def session() -> CreateSession:
    seeds = iter(range(1, 1000))
    return CreateSession(STARTER, lambda: next(seeds))


def changes(session: CreateSession) -> list[frozenset[str]]:
    seen: list[frozenset[str]] = []

    def note(change: SessionChange) -> None:
        seen.append(change.fields)

    session.subscribe(note)
    return seen


def test_an_empty_prompt_is_the_only_thing_that_keeps_a_new_session_from_running(session: CreateSession) -> None:
    assert session.problems() == {"prompt": "Say what the picture should show."}
    session.update(prompt="a red circle")
    assert session.problems() == {}
    assert [request.prompt for request in session.requests()] == ["a red circle"]


@pytest.mark.parametrize(
    ("field", "value", "part"),
    [
        ("width", 130, "128 or 136"),
        ("height", 7, "64"),
        ("steps", 151, "150"),
        ("cfg", 31.0, "30"),
        ("sampler", "eular", "euler"),
        ("count", 0, "1"),
        ("strength", 1.5, "1"),
        ("file_format", "bmp", "webp"),
    ],
)
def test_each_problem_is_told_at_its_own_field_and_names_what_would_do(
    session: CreateSession, field: str, value: object, part: str
) -> None:
    session.update(prompt="a red circle", **{field: value})
    problems = session.problems()
    assert list(problems) == [field]
    assert part in problems[field]


def test_several_prompts_are_the_lines_that_are_not_blank_and_at_most_ten(session: CreateSession) -> None:
    session.update(prompt="a red circle\n\n  a blue star  \n")
    assert session.prompts() == ["a red circle\n\n  a blue star"]
    session.set_several(True)
    assert session.prompts() == ["a red circle", "a blue star"]
    assert [request.prompt for request in session.requests()] == ["a red circle", "a blue star"]
    session.update(prompt="\n".join(["a red circle"] * 11))
    assert "11 prompts; 10" in session.problems()["prompt"]


@pytest.mark.parametrize("item", SHAPES, ids=lambda item: item.id)
def test_a_shape_sets_a_size_the_model_can_make_and_is_recognised_again(session: CreateSession, item: object) -> None:
    wanted = shape(item.id)  # type: ignore[attr-defined]  # parametrised with Shape
    session.update(prompt="a red circle")
    session.set_shape(wanted)
    assert session.shape == wanted
    assert session.problems() == {}
    build(session.requests()[0], STARTER.recommended)


def test_changing_the_model_keeps_the_shape_and_takes_the_models_size(session: CreateSession) -> None:
    session.set_shape(shape("16:9"))
    small = session.size
    session.set_facts(ModelFacts(Recommended(width=1024, height=1024, multiple=64)))
    assert session.shape == shape("16:9")
    assert session.size == (1344, 768) != small


def test_a_size_of_ones_own_is_no_shape(session: CreateSession) -> None:
    session.update(width=128, height=136)
    assert session.shape is None


def test_an_unlocked_seed_changes_after_each_submit_and_a_locked_one_stays(session: CreateSession) -> None:
    first = session.request.seed
    session.after_submit()
    second = session.request.seed
    assert second != first
    session.set_seed_locked(True)
    session.after_submit()
    assert session.request.seed == second
    session.roll_seed()
    assert session.request.seed != second


def test_observers_hear_exactly_what_changed(session: CreateSession) -> None:
    seen = changes(session)
    session.update(steps=30, cfg=None)
    session.update(steps=30)
    session.set_several(True)
    session.set_several(True)
    assert seen == [frozenset({"steps"}), frozenset({"several"})]


def test_removing_the_picture_removes_its_mask(session: CreateSession) -> None:
    session.update(prompt="a red circle", init=PICTURE, mask=PICTURE)
    assert session.problems() == {}
    session.update(init=None)
    assert session.request.mask is None
    session.update(mask=PICTURE)
    assert list(session.problems()) == ["mask"]


def test_a_session_comes_back_whole(session: CreateSession) -> None:
    session.update(prompt="a red circle\na star", negative="blurry", steps=30, init=PICTURE, strength=0.4)
    session.set_several(True)
    session.set_seed_locked(True)
    other = CreateSession(STARTER)
    assert other.restore(session.to_json())
    assert other.request == session.request
    assert (other.several, other.seed_locked) == (True, True)


@pytest.mark.parametrize("data", [{}, {"request": 7}, {"request": {"prompt": 3}}, {"request": {"format": "other"}}])
def test_what_can_not_be_read_changes_nothing(session: CreateSession, data: dict[str, object]) -> None:
    before = session.request
    assert not session.restore(data)
    assert session.request == before


def test_taking_over_a_request_keeps_its_seed(session: CreateSession) -> None:
    session.set_several(True)
    session.set_request(ImageRequest(prompt="a star", seed=99))
    session.after_submit()
    assert session.request.seed == 99
    assert not session.several


def test_variations_are_the_same_request_with_new_seeds(session: CreateSession) -> None:
    request = ImageRequest(prompt="a star", seed=99, steps=30)
    made = session.variations(request, 4)
    assert (made.prompt, made.steps, made.count) == ("a star", 30, 4)
    assert made.seed != 99


def test_words_the_model_was_never_shown_are_named(session: CreateSession) -> None:
    session.update(prompt="a red circle and a castle")
    assert session.unknown_words() == ["castle"]
    session.set_facts(ModelFacts())
    assert session.unknown_words() == []


def test_insertions_are_set_off_by_one_comma(session: CreateSession) -> None:
    session.insert("high detail")
    session.insert("soft light")
    session.update(prompt=session.request.prompt + ",")
    session.insert("sunset")
    assert session.request.prompt == "high detail, soft light, sunset"


def test_the_word_being_written_ends_at_the_cursor() -> None:
    assert word_before("a red cir") == "cir"
    assert word_before("a red ") == ""


def test_the_estimate_is_the_median_rate_times_the_work() -> None:
    request = ImageRequest(prompt="x", count=2)
    work = work_of(request, (100, 10), 10)
    assert work == 20_000
    assert estimate_seconds(request, (100, 10), 10, []) is None
    paces = [Pace(1.0 / 10_000), Pace(60.0 / 10_000), Pace(1.2 / 10_000)]
    assert estimate_seconds(request, (100, 10), 10, paces) == pytest.approx(2.4)
    assert pace_of(request, (100, 10), 10, drawing=4.0, around=0.5) == Pace(4.0 / 20_000, 0.5 / 2_000)
    twice_the_steps = estimate_seconds(request, (100, 10), 20, [Pace(4.0 / 20_000, 0.5 / 2_000)])
    assert twice_the_steps == pytest.approx(8.5)  # what lies around the steps is not doubled


def test_an_area_of_ones_own_scales_the_shapes_of_a_model_that_can_make_it() -> None:
    large = ModelFacts(Recommended(width=512, height=512, multiple=64, minimum=256, maximum=2048))
    small = ModelFacts(Recommended(width=128, height=128, multiple=8, minimum=64, maximum=256))
    session = CreateSession(large)
    assert session.size == (512, 512)
    session.set_area(1.0)
    assert (session.request.width, session.request.height) == (1024, 1024)
    session.set_shape(shape("16:9"))
    assert session.size == (1344, 768)
    session.set_facts(small)  # a megapixel is beyond it: its own area, the same shape
    assert session.shape == shape("16:9")
    assert session.size[0] * session.size[1] <= 128 * 128
    session.set_facts(large)
    session.set_area(0.0)
    assert session.size == session.shape_size(shape("16:9"))
    assert session.size[0] * session.size[1] <= 512 * 512


def test_an_area_of_ones_own_leaves_a_size_of_ones_own_alone() -> None:
    session = CreateSession(ModelFacts(Recommended(maximum=2048)))
    session.update(width=1000, height=200)
    session.set_area(1.0)
    assert session.size == (1000, 200)


def test_starting_from_a_picture_makes_only_its_share_of_the_steps() -> None:
    assert work_of(ImageRequest(prompt="x", init=PICTURE, strength=0.5), (10, 10), 20) == 1000
