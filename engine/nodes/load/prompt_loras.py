"""The LoRAs that a prompt names as <lora:name:weight>."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from engine.contracts.errors import MissingModel, clip
from engine.contracts.node_schema import Effects
from engine.contracts.references import ModelRef
from engine.graph.node import In, NodeContext, node
from engine.graph.values import Clip, Model, Patch
from engine.prompts.tags import lora_of, take_tags


@node(
    "load.prompt_loras", category="Load", outputs=("model", "clip"), title="LoRAs of the prompt",
    effects=Effects(parallel_safe=False), search=("lora tag", "A1111"),
)  # fmt: skip
def prompt_loras(
    ctx: NodeContext, model: Model, clip: Clip, text: Annotated[str, In(multiline=True)] = ""
) -> tuple[Model, Clip]:
    """Lay the LoRAs that a prompt names on a model and its text encoder: <lora:name:0.8> or <lora:name:te:unet>.

    model: the denoiser
    clip: its text encoder
    text: the prompt; give the same to “Encode text”, which leaves such tags out
    """
    for lora in (found for tag in take_tags(text)[1] if (found := lora_of(tag)) is not None):
        ref = ModelRef(kind="lora", name=lora.name)
        try:
            ref = replace(ref, fingerprint=ctx.session.fingerprint(ref))
        except MissingModel as error:
            raise MissingModel(
                f"the prompt asks for the LoRA “{_short(lora.name)}”, which is not on this machine", where="text",
                fix=error.fix or "Import it, or take its tag out of the prompt",
            ) from error  # fmt: skip
        if lora.unet:
            model = replace(model, patches=(*model.patches, _patch(ref, lora.unet)))
        if lora.te:
            clip = replace(clip, patches=(*clip.patches, _patch(ref, lora.te)))
    return model, clip


def _patch(ref: ModelRef, strength: float) -> Patch:
    return Patch("lora", (("weights", ref), ("strength", strength)))


def _short(name: str) -> str:
    return clip(name, 60)
