"""Prompts that were read before: bit for bit the same, no encoder loaded for them, and none taken for another."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from engine.contracts.references import ModelRef
from engine.graph.cache import ValueCache
from engine.graph.disk import DiskTier
from engine.graph.values import Patch, TextEncoderHandle
from engine.memory.read_prompts import Unknown, encoded, key_of
from engine.memory.text_cache import TextCache
from engine.prompts.grammar import literal, parse
from tests.families import room
from tests.memory_room import Room

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),  # diffusers' own, about its own
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:diffusers"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return room.tiny_folders(tmp_path_factory.mktemp)


def texts(where: Path | None = None, memory: int = 1 << 24) -> TextCache:
    return TextCache(ValueCache(memory, DiskTier(where, 1 << 24) if where else None))


def opened(folder: Path, family: str, kept: TextCache | None) -> tuple[Room, list[str]]:
    """A session, and the parts that it loads."""
    made = Room(folder, family)
    made.session.texts = kept
    loaded: list[str] = []
    part = made.session._part

    def watched(source: Any, name: str, keep: Any) -> Any:
        loaded.append(name)
        return part(source, name, keep)

    made.session._part = watched  # type: ignore[method-assign, assignment]
    return made, loaded


@pytest.mark.parametrize("family", room.families())
def test_a_new_session_makes_the_picture_without_a_text_encoder(folder: Any, family: str, tmp_path: Path) -> None:
    plain, loaded = opened(folder(family), family, None)
    wanted = plain.run(steps=2)
    assert any(name.startswith("text_encoder") for name in loaded)
    first = plain.session.texts = texts(tmp_path)
    assert np.array_equal(plain.run(steps=2), wanted)
    assert (first.read, first.found) == (2, 0)
    second = texts(tmp_path)
    again, loaded = opened(folder(family), family, second)
    assert np.array_equal(again.run(steps=2), wanted)
    assert (second.read, second.found) == (0, 2)
    assert not [name for name in loaded if name.startswith(("text_encoder", "tokenizer"))]
    assert "vae" in loaded


def identity(ref: ModelRef) -> str:
    return f"/models/{ref.name}"


CLIP = TextEncoderHandle(ModelRef(name="one"), "sd15")


def key(text: Any, clip: TextEncoderHandle = CLIP, how: tuple[str, ...] = ("cpu",), **more: Any) -> bytes:
    return key_of(identity, clip, text, more, how)


def test_no_prompt_is_taken_for_another() -> None:
    lora = Patch("lora", (("weights", ModelRef(name="ink", kind="lora")), ("strength", 0.8)))
    word = Patch("embedding", (("name", "ink"), ("weights", ModelRef(name="ink", kind="embedding"))))
    other = Patch("embedding", (("name", "ink"), ("weights", ModelRef(name="ink2", kind="embedding"))))
    picture = torch.zeros(1, 3, 2, 2)
    keys = [
        key("a cat"), key(literal("a cat")), key(parse("a (cat:1.1)")), key(parse("a (cat:1.2)")),
        key(parse("a [cat:dog:0.5]", 10)), key(parse("a [cat:dog:0.5]", 20)), key(parse("a [cat:dog:0.4]", 10)),
        key(parse("a [cat:dog:0.5]")), key(parse("a AND cat")), key(parse("a AND cat:0.5")), key(parse("a BREAK cat")),
        key({"clip_l": parse("a cat")}), key({"t5xxl": parse("a cat")}),
        key("a cat", dataclasses.replace(CLIP, clip_skip=1)), key("a cat", dataclasses.replace(CLIP, patches=(lora,))),
        key("a cat", dataclasses.replace(CLIP, patches=(word,))),
        key("a cat", dataclasses.replace(CLIP, patches=(other,))),
        key("a cat", dataclasses.replace(CLIP, patches=(lora, word))),
        key("a cat", dataclasses.replace(CLIP, weights=ModelRef(name="two"))),
        key("a cat", dataclasses.replace(CLIP, more=(ModelRef(name="two"),))),
        key("a cat", dataclasses.replace(CLIP, family="sdxl")), key("a cat", how=("cuda",)),
        key("a cat", images=(picture,)), key("a cat", images=(picture + 1,)), key("a cat", images=(picture, picture)),
        key("a cat", images=(picture.reshape(1, 3, 4, 1),)), key("a cat", numbered=True), key("a cat", numbered=False),
    ]  # fmt: skip
    assert len(set(keys)) == len(keys)
    assert key(parse("a [cat:dog:0.5]", 10)) == keys[4]
    # What stays as it is through a run is found again whatever the number of steps.
    assert key(parse("a (cat:1.1)", 10)) == key(parse("a (cat:1.1)", 30)) == keys[2]
    with pytest.raises(Unknown):
        key("a cat", images=(object(),))


def test_a_file_that_was_written_to_is_another_model(folder: Any, tmp_path: Path) -> None:
    lora = tmp_path / "ink.safetensors"
    save_file({"a": torch.zeros(4)}, lora)
    made = Room(folder("sd15"), "sd15")
    made.locate = lambda ref: lora if ref.kind == "lora" else folder("sd15")  # type: ignore[method-assign]
    ref = ModelRef(name="ink", kind="lora")
    before = made.session.identity(ref)
    assert made.session.identity(ref) == before
    save_file({"a": torch.ones(5)}, lora)
    assert made.session.identity(ref) != before


def test_what_is_kept_has_a_budget_and_is_let_go_when_memory_is_freed(folder: Any, tmp_path: Path) -> None:
    small = texts(memory=1)
    made, _ = opened(folder("sd15"), "sd15", small)
    clip = made.handles()[1]
    for _ in range(2):
        encoded(made.session, clip, parse("a boat"))
    assert (small.read, small.held) == (2, 0)  # nothing fits
    kept = texts(tmp_path)
    made.session.texts = kept
    one = encoded(made.session, clip, parse("a boat"))
    assert kept.held > one.entries[0].embedding.nbytes
    made.session.free()
    assert kept.held == 0
    again = encoded(made.session, clip, parse("a boat"))  # from the disk
    assert (kept.read, kept.found) == (1, 1)
    assert torch.equal(again.entries[0].embedding, one.entries[0].embedding)
    assert dataclasses.replace(again, entries=()) == dataclasses.replace(one, entries=())
    names = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert len(names) == 1
    assert b"boat" not in next(tmp_path.rglob("*.value")).read_bytes()  # the words are not in it
    next(tmp_path.rglob("*.value")).write_bytes(b"damaged")
    made.session.free()
    found = encoded(made.session, clip, parse("a boat"))
    assert torch.equal(found.entries[0].embedding, one.entries[0].embedding)
    assert kept.read == 2


def test_schedules_branches_and_too_long_prompts_come_back_whole(folder: Any) -> None:
    kept = texts()
    made, _ = opened(folder("sd15"), "sd15", kept)
    clip = made.handles()[1]
    for text in ("a [boat:ship:0.5] at sea", "a boat AND a ship :0.5", "a boat " * 400):
        prompt = parse(text, 10)
        first, second = (encoded(made.session, clip, prompt) for _ in range(2))
        plain = made.session.text(clip).encode_text(prompt, 0, ())
        for found in (first, second):
            assert len(found.entries) == len(plain.entries)
            assert (found.ignored, found.tokens, found.limit) == (plain.ignored, plain.tokens, plain.limit)
            for mine, theirs in zip(found.entries, plain.entries, strict=True):
                assert torch.equal(mine.embedding, theirs.embedding)
                assert (mine.steps, mine.extras) == (theirs.steps, theirs.extras)
    assert (kept.read, kept.found) == (3, 3)
