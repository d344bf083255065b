"""Nodes for families that this studio does not run yet: what they pass on, and the one sentence where they can't."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest

from engine.contracts.errors import BadInput
from engine.contracts.references import ModelRef
from engine.contracts.workflow import Link, Node, Workflow
from engine.graph.registry import Registry
from engine.graph.subgraphs import flatten
from engine.graph.values import ConditioningEntry, Patch, TextEncoderHandle
from engine.nodes.condition.family_options import reference_method, style_model, token_padding
from engine.nodes.image.batch_all import batch_all

CTX = cast(Any, None)  # none of these asks its context for anything
CLIP = TextEncoderHandle(ModelRef(name="t5"), "chroma")


def test_padding_rides_on_the_text_encoder_once() -> None:
    first = token_padding(CTX, replace(CLIP, patches=(Patch("lora"),)), 1, 2)
    second = token_padding(CTX, first, 3, 4)
    assert second.patches == (
        Patch("lora"),
        Patch("token_padding", (("min_length", 4), ("min_padding", 3))),
    )


def test_the_method_rides_on_each_entry_once() -> None:
    entry = ConditioningEntry(cast(Any, None), extras=(("guidance", 3.5), ("reference_method", "offset")))
    (made,) = reference_method(CTX, (entry,), "index")
    assert made.extras == (("guidance", 3.5), ("reference_method", "index"))


def test_what_is_not_run_is_refused_in_one_sentence() -> None:
    with pytest.raises(BadInput, match="“redux”"):
        style_model(CTX, ModelRef(kind="other", name="redux"))


def test_many_pictures_become_one_batch_of_the_first_size() -> None:
    sizes = ((4, 6), (8, 8), (3, 5))
    pictures = [np.full((1, h, w, 3), i / 4, np.float32) for i, (h, w) in enumerate(sizes)]
    made = batch_all(CTX, pictures)
    assert made.shape == (3, 4, 6, 3)
    assert [float(p.mean()) for p in made] == pytest.approx([0, 0.25, 0.5])


def test_bypassed_it_passes_the_first_of_its_pictures_on() -> None:
    nodes = (
        Node(id="a", type="image.solid"),
        Node(id="b", type="image.solid"),
        Node(
            id="many", type="image.batch_all", mode="bypass",
            inputs={"image10": Link("b", "image"), "image2": Link("a", "image")},
        ),
        Node(id="save", type="image.save", inputs={"image": Link("many", "image")}),
    )  # fmt: skip
    flat = flatten(Workflow(nodes=nodes), Registry.builtin().types)
    assert flat.nodes["save"].inputs["image"] == Link("a", "image")
