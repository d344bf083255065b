"""The embeddings (textual inversions) that a prompt names, found in the model library."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from engine.contracts.errors import MissingModel
from engine.contracts.errors import clip as shortened
from engine.contracts.references import ModelRef
from engine.graph.node import NodeContext
from engine.graph.values import Patch, TextEncoderHandle
from engine.models.denoiser_family import title_of
from engine.prompts.embeddings import Named, named_in
from engine.prompts.grammar import ParsedPrompt

READERS = ("sd15", "sd2", "sdxl", "sdxl_refiner", "sd3", "flux")
"""Families whose prompts go through CLIP encoders, word by word or, as Flux's, for its summary."""
_ENDINGS = (".safetensors", ".pt", ".bin", ".ckpt")


def with_embeddings(
    ctx: NodeContext, clip: TextEncoderHandle, text: ParsedPrompt | Mapping[str, ParsedPrompt]
) -> TextEncoderHandle:
    """The handle with the embeddings that the prompt names. What can't be used is said in the log, once each."""
    known = ctx.session.names("embedding")
    patches: dict[str, Patch] = {}
    for found in _named(text, known):
        if found.name in patches:
            continue
        if clip.family not in READERS:
            ctx.log(
                f"{title_of(clip.family)} reads no embeddings: “{shortened(found.name, 60)}” is read as words.",
                level="warning",
            )
            continue
        ref = _located(ctx, found.name)
        if isinstance(ref, MissingModel):
            ctx.log(
                f"There is no embedding “{shortened(found.name, 60)}” on this machine, so its name is read as words."
                + (f" {ref.fix}" if ref.fix else "")
                + ("" if not ref.fix or ref.fix[-1] in ".?!" else "."),
                level="warning",
            )
            continue
        patches[found.name] = Patch("embedding", (("name", found.name), ("weights", ref)))
    return replace(clip, patches=(*clip.patches, *patches.values())) if patches else clip


def _named(text: ParsedPrompt | Mapping[str, ParsedPrompt], known: Iterable[str]) -> list[Named]:
    """Each name once, in order."""
    prompts = [text] if isinstance(text, ParsedPrompt) else list(text.values())
    names: dict[str, Named] = {}
    spelled = list(known)
    for prompt in prompts:
        for branch in prompt.branches:
            for span in branch.schedule:
                for piece in span.pieces:
                    for found in named_in(piece.text, spelled):
                        names.setdefault(found.name, found)
    return list(names.values())


def _located(ctx: NodeContext, name: str) -> ModelRef | MissingModel:
    """The file of an embedding, whose name may have its ending, as ComfyUI's prompts do."""
    bare = next((name[: -len(end)] for end in _ENDINGS if name.lower().endswith(end)), name)
    missing = MissingModel("")
    for candidate in dict.fromkeys((name, bare)):
        ref = ModelRef(kind="embedding", name=candidate)
        try:
            return replace(ref, fingerprint=ctx.session.fingerprint(ref))
        except MissingModel as error:
            missing = error
    return missing
