"""What a prompt's grammar does to conditioning and to pictures, with the real starter model and a tiny random one."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from engine.families.clip_prompts import ClipReader, encode_prompts
from engine.graph.values import ConditioningEntry
from engine.nodes.condition.text import combine, encode_text
from engine.nodes.latent.empty import empty
from engine.nodes.load.checkpoint import checkpoint
from engine.nodes.sample.k_sampler import k_sampler
from engine.prompts.grammar import parse
from engine.sampling.guidance import BRANCH, is_composed, is_plain, mixed
from tests.benchmarks.tiny_models import write_tiny_sd15
from tests.unit.sampling_room import PROMPT, Recorder

LIMIT = 40


@pytest.fixture(scope="module")
def starter() -> Any:
    return Recorder()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return Recorder(write_tiny_sd15(tmp_path_factory.mktemp("tiny")))


def encoded(ctx: Any, text: str, **inputs: Any) -> tuple[ConditioningEntry, ...]:
    clip = checkpoint(ctx)[1]
    ctx.logs.clear()
    entries: tuple[ConditioningEntry, ...] = encode_text(ctx, clip, text, **inputs)
    return entries


def embedding(ctx: Any, text: str, **inputs: Any) -> torch.Tensor:
    (entry,) = encoded(ctx, text, **inputs)
    return entry.embedding


def values(tensor: torch.Tensor) -> list[float]:
    return sorted(set(tensor.flatten().tolist()))


@torch.no_grad()
def as_transformers_has_it(ctx: Any, text: str) -> torch.Tensor:
    family = ctx.session.family(checkpoint(ctx)[1].weights)
    tokenizer, encoder = family._parts("tokenizer"), family._parts("text_encoder")
    ids = tokenizer(text, padding="max_length", max_length=LIMIT, truncation=True, return_tensors="pt").input_ids
    last: torch.Tensor = encoder(ids)[0]
    return last.float()


@pytest.mark.parametrize("text", [PROMPT, "", "  a  house,\n two trees  ", "42 boats' sails! é", "red circle " * 19])
def test_without_grammar_nothing_changes_to_the_last_bit(starter: Any, text: str) -> None:
    expected = as_transformers_has_it(starter, text)
    for syntax in ("studio", "plain"):
        assert torch.equal(embedding(starter, text, syntax=syntax), expected)
        assert starter.logs == []


def test_emphasis_scales_tokens_and_restores_the_mean(starter: Any) -> None:
    plain, weighted = embedding(starter, "a red circle"), embedding(starter, "a (red:1.5) circle")
    expected = plain.clone()
    expected[0, 2] *= 1.5  # the start mark and "a" come before
    expected *= plain.mean() / expected.mean()
    assert torch.equal(weighted, expected)
    assert float(weighted.mean()) == pytest.approx(float(plain.mean()), rel=1e-4)
    assert torch.equal(embedding(starter, "a (red:1.0) circle"), plain)


def test_families_may_leave_the_mean(starter: Any) -> None:
    tokenizer = starter.session.family(checkpoint(starter)[1].weights)._parts("tokenizer")
    ones = torch.ones(1, LIMIT, 8)
    reader = ClipReader(tokenizer, lambda ids: (ones, None), restore_mean=False)
    (entry,) = encode_prompts([parse("(red:2)")], [reader]).entries
    assert entry.embedding[0, :3, 0].tolist() == [1.0, 2.0, 1.0]


def test_escapes_and_plain_syntax_reach_the_encoder_as_text(starter: Any) -> None:
    assert torch.equal(embedding(starter, r"a \(red\) circle"), as_transformers_has_it(starter, "a (red) circle"))
    literal = embedding(starter, "a (red:1.5) circle", syntax="plain")
    assert torch.equal(literal, as_transformers_has_it(starter, "a (red:1.5) circle"))


def test_break_and_length_make_chunks(starter: Any) -> None:
    two = embedding(starter, "a red circle BREAK a blue square")
    assert two.shape[1] == 2 * LIMIT
    assert torch.equal(two[:, :LIMIT], embedding(starter, "a red circle"))
    assert torch.equal(two[:, LIMIT:], embedding(starter, "a blue square"))
    long = embedding(starter, "red circle " * 30)  # 60 tokens, 38 to a chunk
    assert long.shape[1] == 2 * LIMIT
    assert torch.equal(long[:, :LIMIT], embedding(starter, "red circle " * 19))
    assert torch.equal(long[:, LIMIT:], embedding(starter, "red circle " * 11))
    assert starter.logs == []


def test_schedules_become_entries_for_parts_of_the_run(starter: Any) -> None:
    before, after = encoded(starter, "a [red:blue:5] circle", steps=20)
    assert (before.steps, after.steps) == ((0.0, 4.5 / 20), (4.5 / 20, 1.0))
    assert torch.equal(before.embedding, embedding(starter, "a red circle"))
    assert torch.equal(after.embedding, embedding(starter, "a blue circle"))
    turns = encoded(starter, "a [red|blue] circle", steps=4)
    assert [entry.steps for entry in turns] == [(0.0, 0.125), (0.125, 0.375), (0.375, 0.625), (0.625, 1.0)]
    assert turns[0].embedding is turns[2].embedding
    assert len(encoded(starter, "a [red|red] circle", steps=4)) == 1


def test_without_steps_it_says_that_nothing_changes_on_the_way(starter: Any) -> None:
    assert len(encoded(starter, "a [red:blue:5] circle")) == 1
    assert "doesn't know the number of steps" in starter.logs[0]


def test_each_step_sees_one_wording(tiny: Any) -> None:
    """A run with a change is the run of the first wording, then the run of the second, to the last bit."""
    from engine.nodes.sample.k_sampler import k_sampler_advanced

    model = checkpoint(tiny)[0]
    negative = encoded(tiny, "")
    settings: dict[str, Any] = {"steps": 8, "cfg": 3.0, "sampler": "euler", "scheduler": "normal"}
    changing = encoded(tiny, "[red:blue:3] circle", steps=8)
    whole = k_sampler(tiny, model, changing, negative, empty(tiny, 64, 64, 1), seed=4, **settings)
    half = k_sampler_advanced(
        tiny, model, encoded(tiny, "red circle"), negative, empty(tiny, 64, 64, 1), True, 4, **settings, end_step=3,
        return_with_leftover_noise=True,
    )  # fmt: skip
    rest = k_sampler_advanced(
        tiny, model, encoded(tiny, "blue circle"), negative, half, False, 4, **settings, start_step=3
    )
    torch.testing.assert_close(whole.samples, rest.samples, rtol=1e-4, atol=1e-4)
    other = k_sampler(tiny, model, encoded(tiny, "red circle"), negative, empty(tiny, 64, 64, 1), seed=4, **settings)
    assert float((whole.samples - other.samples).abs().max()) > 1e-3


def test_branches_are_marked_with_their_weights(starter: Any) -> None:
    first, second = encoded(starter, "a red circle AND a blue square :0.5")
    assert (dict(first.extras)[BRANCH], dict(second.extras)[BRANCH]) == ((0, 1.0), (1, 0.5))
    assert is_composed((first, second))
    assert not is_plain((first,))
    assert is_plain(encoded(starter, "a red circle"))
    (alone,) = encoded(starter, "a red circle :2")
    assert dict(alone.extras)[BRANCH] == (0, 2.0)


def test_branches_are_composed_against_the_negative_side() -> None:
    like = torch.zeros(1, 1, 2, 2)
    base = torch.full_like(like, 2.0)

    def entry(value: float, index: int, weight: float, steps: tuple[float, float] = (0.0, 1.0)) -> ConditioningEntry:
        return ConditioningEntry(torch.full((1, 1, 1), value), steps=steps, extras=((BRANCH, (index, weight)),))

    def predict(of: ConditioningEntry) -> torch.Tensor:
        return like + of.embedding

    pair = (entry(3.0, 0, 1.0), entry(7.0, 1, 0.5))
    assert values(mixed(pair, 0.5, like, predict, base)) == [2 + 1.0 * (3 - 2) + 0.5 * (7 - 2)]
    assert values(mixed(pair, 0.5, like, predict)) == [pytest.approx((3 + 3.5) / 1.5)]
    changing = (entry(3.0, 0, 2.0, (0.0, 0.5)), entry(5.0, 0, 2.0, (0.5, 1.0)))
    assert values(mixed(changing, 0.25, like, predict, base)) == [4.0]
    assert values(mixed(changing, 0.75, like, predict, base)) == [8.0]
    plain = ConditioningEntry(torch.full((1, 1, 1), 4.0))
    assert values(mixed((plain, pair[1]), 0.5, like, predict, base)) == [2 + (4 - 2) + 0.5 * (7 - 2)]
    cancelled = (entry(3.0, 0, 1.0), entry(7.0, 1, -1.0))
    assert values(mixed(cancelled, 0.5, like, predict)) == [3.0]


def test_equal_branches_of_half_weight_are_one_prompt(tiny: Any) -> None:
    model = checkpoint(tiny)[0]
    negative = encoded(tiny, "blue")
    for cfg in (1.0, 4.0):
        settings: dict[str, Any] = {"seed": 1, "steps": 3, "cfg": cfg, "sampler": "euler"}
        one = k_sampler(tiny, model, encoded(tiny, "red"), negative, empty(tiny, 64, 64, 1), **settings)
        halves = encoded(tiny, "red :0.5 AND red :0.5")
        two = k_sampler(tiny, model, halves, negative, empty(tiny, 64, 64, 1), **settings)
        torch.testing.assert_close(one.samples, two.samples, rtol=1e-3, atol=1e-3)
    nothing = encoded(tiny, "red :0")
    zero = k_sampler(tiny, model, nothing, negative, empty(tiny, 64, 64, 1), **settings)
    alone = k_sampler(tiny, model, negative, negative, empty(tiny, 64, 64, 1), **{**settings, "cfg": 1.0})
    torch.testing.assert_close(zero.samples, alone.samples, rtol=1e-3, atol=1e-3)


def test_prompts_of_several_lengths_run_together(tiny: Any) -> None:
    model = checkpoint(tiny)[0]
    both = combine(tiny, encoded(tiny, "red BREAK circle"), encoded(tiny, "blue AND (green:1.4)"))
    made = k_sampler(tiny, model, both, encoded(tiny, ""), empty(tiny, 64, 64, 1), steps=2, seed=1)
    assert bool(torch.isfinite(made.samples).all())


def test_loras_and_embeddings_are_taken_out_and_said(starter: Any) -> None:
    expected = as_transformers_has_it(starter, "a red circle")
    assert torch.equal(embedding(starter, "a red circle<lora:ink:0.8>"), expected)
    assert len(starter.logs) == 1
    assert "LoRA “ink”" in starter.logs[0]
    encoded(starter, "a red circle, embedding:fog")
    assert "embedding “fog”" in starter.logs[0]
