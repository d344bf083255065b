"""Whose a VAE file is, from the models beside it in a workflow. Torch-free.

VAE files of several families have the same tensors: with 16 channels Stable Diffusion 3's, Flux.1's, Chroma's and
Z-Image's, with 4 SD 1.5's, SD 2's and SDXL's. Their numbers are scaled otherwise, and the file does not say how. A
“Load VAE” whose family is left at auto gets that of the models it is loaded beside where those agree; one that was
chosen stays, and where they don't agree nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from engine.contracts.references import ModelRef
from engine.contracts.workflow import Link, Node, Workflow

LOADER = "load.vae"
AUTO = "auto"
# What text encoders are loaded for → the family whose VAE their pictures need. Others don't tell, or tell nothing of
# VAE files that look alike: “stable_diffusion” is the loader's usual value and says little.
_BY_ENCODERS: Mapping[str, str] = MappingProxyType(
    {"sd3": "sd3", "flux": "flux", "chroma": "chroma", "lumina2": "z_image", "sdxl": "sdxl"}
)
_ENCODER_LOADERS: Mapping[str, str] = MappingProxyType(
    {"load.text_encoder": "stable_diffusion", "load.text_encoder_pair": "flux", "load.text_encoder_triple": "sd3"}
)
# Families whose VAE files are scaled alike, so that any of them does.
_ALIKE: Mapping[str, str] = MappingProxyType(
    {"chroma": "flux", "z_image": "flux", "sd2": "sd15", "sdxl_refiner": "sdxl"}
)
_DENOISERS = ("checkpoint", "diffusion_model")

# The families of a denoiser, or those that a VAE file fits; () where that is not known.
Told = Callable[[ModelRef], Sequence[str]]


def unknown(ref: ModelRef) -> Sequence[str]:
    """`Told` where no file is at hand, as when a workflow is imported."""
    return ()


def with_families(workflow: Workflow, told: Told = unknown) -> Workflow:
    """The workflow with the family of each “Load VAE” that leaves it open and whose neighbours tell it."""
    everywhere = [*workflow.nodes, *(node for subgraph in workflow.subgraphs for node in subgraph.nodes)]
    open_ones = [node for node in everywhere if _is_open(node)]
    family = _family(everywhere, told) if open_ones else ""
    if not family:
        return workflow

    def told_to(node: Node) -> Node:
        if not _is_open(node):
            return node
        ref = node.inputs.get("vae")
        fits = told(ref) if isinstance(ref, ModelRef) else ()
        if fits and (family not in fits or len({_ALIKE.get(name, name) for name in fits}) == 1):
            return node  # another's, or its file tells by itself
        return replace(node, inputs={**node.inputs, "family": family})

    return replace(
        workflow,
        nodes=tuple(told_to(node) for node in workflow.nodes),
        subgraphs=tuple(replace(one, nodes=tuple(told_to(n) for n in one.nodes)) for one in workflow.subgraphs),
    )


def _is_open(node: Node) -> bool:
    return node.type == LOADER and node.inputs.get("family", AUTO) == AUTO


def _family(nodes: Iterable[Node], told: Told) -> str:
    """The one family of the denoisers and text encoders; "" where they are of several or a checkpoint is not known."""
    found: list[str] = []
    for node in nodes:
        if node.mode != "active":
            continue
        for value in node.inputs.values():
            if isinstance(value, ModelRef) and value.kind in _DENOISERS:
                known = told(value)
                if not known and value.kind == "checkpoint":
                    return ""
                found.extend(known)
        if node.type in _ENCODER_LOADERS:
            kind = node.inputs.get("kind", _ENCODER_LOADERS[node.type])
            if isinstance(kind, Link) or not isinstance(kind, str):
                return ""
            if kind in _BY_ENCODERS:
                found.append(_BY_ENCODERS[kind])
    alike = {_ALIKE.get(name, name) for name in found}
    return alike.pop() if len(alike) == 1 else ""
