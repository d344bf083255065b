"""References → hashes: every model and picture of a job found before it runs."""

from __future__ import annotations

from dataclasses import replace

from engine.contracts.errors import MissingModel
from engine.contracts.job_spec import Binding, JobSpec, Sweep
from engine.contracts.workflow import BlobRef, InputValue, ModelRef, Node
from studio_app.models.index import ModelIndex
from studio_app.store.blobs import Blobs


def resolve(spec: JobSpec, models: ModelIndex, blobs: Blobs) -> JobSpec:
    """The spec with each model reference carrying what identifies it here. Raises MissingModel.

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
    return replace(spec, workflow=workflow, bindings={key: binding(b) for key, b in spec.bindings.items()})
