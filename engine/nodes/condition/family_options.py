"""Options that only some model families read: how short prompts are filled up, how references count, editing by
instruction."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from engine.contracts.errors import InvalidRequest
from engine.contracts.node_schema import Effects
from engine.contracts.references import ModelRef
from engine.graph.node import In, NodeContext, node
from engine.graph.values import (
    Clip,
    ClipVisionOutput,
    Conditioning,
    ConditioningEntry,
    Image,
    Latent,
    LatentValue,
    ModelHandle,
    Patch,
    Socket,
    Vae,
)
from engine.nodes.condition.shape import each, with_extra
from engine.nodes.latent.picture import pixels_of

StyleModel = Annotated[ModelHandle, Socket("STYLE_MODEL")]
Tokens = Annotated[int, In(minimum=0, maximum=10_000)]


@node("condition.token_padding", category="Condition", outputs=("clip",), title="Fill up short prompts (T5)",
      search=("T5TokenizerOptions",))  # fmt: skip
def token_padding(ctx: NodeContext, clip: Clip, min_padding: Tokens = 0, min_length: Tokens = 0) -> Clip:
    """Fill short prompts up before a T5 encoder reads them. Encoders that are no T5 don't see it.

    clip: the text encoders
    min_padding: at least this many empty tokens after the words
    min_length: at least this many tokens in all
    """
    made = Patch("token_padding", (("min_length", min_length), ("min_padding", min_padding)))
    return replace(clip, patches=(*(p for p in clip.patches if p.kind != made.kind), made))


@node("condition.reference_method", category="Condition", outputs=("conditioning",), title="How references count",
      search=("FluxKontextMultiReferenceLatentMethod", "Kontext"))  # fmt: skip
def reference_method(
    ctx: NodeContext,
    conditioning: Conditioning,
    method: Annotated[str, In(choices=("offset", "index", "uxo/uno", "index_timestep_zero"))] = "offset",
) -> Conditioning:
    """How several reference pictures are laid beside the new one. Models without references don't see it.

    conditioning: the prompt, with its references
    method: offset: side by side on one canvas; index: one behind the other
    """
    return tuple(
        replace(entry, extras=(*(e for e in entry.extras if e[0] != "reference_method"), ("reference_method", method)))
        for entry in conditioning
    )


@node("condition.edit_by_instruction", category="Condition", outputs=("positive", "negative", "latent"),
      title="Condition a model that edits by instruction", effects=Effects(parallel_safe=False),
      search=("InstructPixToPixConditioning", "pix2pix", "Flux Canny", "Flux Depth"))  # fmt: skip
def edit_by_instruction(
    ctx: NodeContext, positive: Conditioning, negative: Conditioning, vae: Vae, image: Image
) -> tuple[Conditioning, Conditioning, Latent]:
    """Give a model with room for a second picture (Instruct-Pix2Pix, Flux Canny and Depth) the picture to follow.

    positive: what to change, or what to show
    negative: what it should not show
    vae: the autoencoder of the model
    image: the picture to follow
    """
    import torch

    from engine.memory.autoencoding import encoded

    autoencoder = ctx.session.autoencoder(vae)
    space = autoencoder.latent_space
    latents = encoded(ctx, autoencoder, pixels_of(image, space.factor))

    def told(conditioning: Conditioning) -> Conditioning:
        return each(conditioning, lambda entry: with_extra(entry, "channels", latents))

    latent = LatentValue(torch.zeros_like(latents), space.id, indices=tuple(range(latents.shape[0])))
    return told(positive), told(negative), latent


@node("load.style_model", category="Load", outputs=("style_model",), title="Load style model",
      effects=Effects(parallel_safe=False), search=("StyleModelLoader", "Flux Redux"))  # fmt: skip
def style_model(
    ctx: NodeContext, style_model: Annotated[ModelRef, Socket("COMBO"), In(model_kind="ip_adapter")]
) -> StyleModel:
    """Load a model that turns what a vision encoder sees into words of a prompt.

    style_model: which one
    """
    ref = replace(style_model, fingerprint=style_model.fingerprint or ctx.session.fingerprint(style_model))
    return ModelHandle(replace(ref, kind="ip_adapter"), "flux")


@node("condition.style", category="Condition", outputs=("conditioning",), title="Prompt with a picture (style model)",
      effects=Effects(parallel_safe=False), search=("StyleModelApply", "Flux Redux"))  # fmt: skip
def style(
    ctx: NodeContext,
    conditioning: Conditioning,
    style_model: StyleModel,
    vision: ClipVisionOutput,
    strength: Annotated[float, In(minimum=0.0, maximum=10.0, step=0.01)] = 1.0,
    strength_type: Annotated[str, In(choices=("multiply", "attn_bias"))] = "multiply",
) -> Conditioning:
    """Add what a picture shows to a prompt, through a style model (Flux Redux).

    conditioning: the prompt
    style_model: the style model
    vision: what a vision encoder sees in the picture
    strength: how much the picture counts
    strength_type: whether the picture's words are scaled, or how much attention they get
    """
    if strength_type == "attn_bias":
        raise InvalidRequest(
            "how much attention a picture's words get can't be set here", where="strength_type",
            fix="Set it to multiply, and the strength below 1",
        )  # fmt: skip
    import torch

    from engine.families.redux import redux_words

    words = redux_words(ctx.session.other(style_model.weights), vision.hidden, style_model.weights.name)

    def shown(entry: ConditioningEntry) -> ConditioningEntry:
        if entry.embedding.shape[-1] != words.shape[-1]:
            raise InvalidRequest(
                f"the prompt was encoded {entry.embedding.shape[-1]} wide and the style model’s words are "
                f"{words.shape[-1]}", where="conditioning", fix="Use the text encoders of Flux",
            )  # fmt: skip
        pieces = [entry.embedding, *(word[None] * strength for word in words)]
        return replace(entry, embedding=torch.cat(pieces, dim=1))

    return each(conditioning, shown)
