"""References → hashes: every model and picture of a job found before it runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from engine.contracts.errors import MissingModel, TesseraError
from engine.contracts.job_spec import Binding, JobSpec, Sweep
from engine.contracts.workflow import BlobRef, InputValue, ModelRef, Node
from engine.models.identify import identify
from engine.models.vae_families import with_families
from studio_app.models.index import ModelIndex
from studio_app.store.blobs import Blobs


def resolve(spec: JobSpec, models: ModelIndex, blobs: Blobs) -> JobSpec:
    """The spec with each model reference carrying what identifies it here, and each VAE file that could be several
    families' told whose it is where the models beside it say so. Raises MissingModel.

    A picture must already be in the blob store; one that is not is named in the error.
    """

    def value(item: InputValue) -> InputValue:
        if isinstance(item, ModelRef):
            return models.entry(item).ref
        if isinstance(item, BlobRef) and not blobs.has(item):
            name = item.name or item.sha256[:12]
            raise MissingModel(f"the picture “{name}” is not in the library", fix="Choose it again")
        return item

    def binding(item: Binding) -> Binding:
        return Sweep(tuple(value(v) for v in item.values)) if isinstance(item, Sweep) else value(item)

    def node(item: Node) -> Node:
        inputs = {name: value(v) for name, v in item.inputs.items()}
        return item if inputs == item.inputs else replace(item, inputs=inputs)

    workflow = spec.workflow
    subgraphs = tuple(replace(s, nodes=tuple(node(n) for n in s.nodes)) for s in workflow.subgraphs)
    workflow = replace(workflow, nodes=tuple(node(n) for n in workflow.nodes), subgraphs=subgraphs)
    workflow = with_families(workflow, lambda ref: _families(ref, models))
    return replace(spec, workflow=workflow, bindings={key: binding(b) for key, b in spec.bindings.items()})


def _families(ref: ModelRef, models: ModelIndex) -> Sequence[str]:
    """The family of a denoiser, or those that a VAE file fits."""
    entry = models.entry(ref)
    if ref.kind != "vae":
        return () if entry.family in ("unknown", "several") else (entry.family,)
    try:
        return identify(entry.path).fits if entry.path.is_file() else (entry.family,)
    except TesseraError:
        return ()
