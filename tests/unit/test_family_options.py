"""Options that only some families read: what the nodes pass on, and where they say no."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from engine.contracts.errors import InvalidRequest
from engine.contracts.references import ModelRef
from engine.contracts.workflow import Link, Node, Workflow
from engine.graph.registry import Registry
from engine.graph.subgraphs import flatten
from engine.graph.values import ConditioningEntry, Patch, TextEncoderHandle, VisionOutput
from engine.nodes.condition.family_options import reference_method, style, style_model, token_padding
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


def test_a_style_model_adds_words_of_the_picture_as_diffusers_redux_does() -> None:
    import torch
    from diffusers.pipelines.flux.modeling_flux import ReduxImageEncoder

    torch.manual_seed(0)
    redux = ReduxImageEncoder(redux_dim=6, txt_in_features=8)
    tensors = {name: tensor.detach() for name, tensor in redux.state_dict().items()}
    ctx = cast(Any, SimpleNamespace(session=SimpleNamespace(other=lambda ref: tensors, fingerprint=lambda ref: "x")))
    model = style_model(ctx, ModelRef(name="redux"))
    prompt = (ConditioningEntry(torch.randn(1, 3, 8)),)
    seen = VisionOutput(torch.zeros(2, 6), torch.randn(2, 5, 6))
    (made,) = style(ctx, prompt, model, seen, 0.5)
    assert made.embedding.shape == (1, 3 + 2 * 5, 8)
    assert torch.equal(made.embedding[:, :3], prompt[0].embedding)
    assert torch.allclose(made.embedding[0, 8:], 0.5 * redux(seen.hidden).image_embeds[1], atol=1e-6)
    with pytest.raises(InvalidRequest, match="6 wide and the vision encoder gives 7"):
        style(ctx, prompt, model, VisionOutput(torch.zeros(1, 7), torch.zeros(1, 5, 7)))
    with pytest.raises(InvalidRequest, match="can't be set here"):
        style(ctx, prompt, model, seen, 1.0, "attn_bias")
    tensors.pop("redux_up.bias")
    with pytest.raises(InvalidRequest, match="“redux” is no style model"):
        style(ctx, prompt, model, seen)


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
