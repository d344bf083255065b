"""What a recipe draws its workflow with: nodes in the order they feed one another, their places, and the form."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from engine.contracts.workflow import FormField, InputValue, Link, Node
from engine.recipes.margins import SIDES


class Graph:
    """Collects nodes in the order they feed one another."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []

    def add(self, node_id: str, type_name: str, title: str, **inputs: InputValue) -> None:
        self.nodes.append(Node(id=node_id, type=type_name, title=title, inputs=inputs))

    def placed(self) -> tuple[Node, ...]:
        """The nodes laid out left to right by how far they are from the inputs."""
        depth: dict[str, int] = {}
        rows: dict[int, int] = {}
        out = []
        for node in self.nodes:
            links = [v.node for v in node.inputs.values() if isinstance(v, Link)]
            column = depth[node.id] = 1 + max((depth.get(n, 0) for n in links), default=-1)
            row = rows[column] = rows.get(column, -1) + 1
            out.append(replace(node, position=(column * 320.0, row * 260.0)))
        return tuple(out)


_FORM: tuple[FormField, ...] = (
    FormField(node="prompt", input="text", label="Prompt"),
    FormField(node="prompt_choices", input="text", label="Prompt"),
    FormField(node="negative", input="text", label="Negative prompt"),
    FormField(node="negative_choices", input="text", label="Negative prompt"),
    FormField(node="picture", input="image", label="Picture"),
    FormField(node="mask_picture", input="image", label="Mask"),
    *(FormField(node="outpaint", input=side, label=side.capitalize()) for side in SIDES),
    FormField(node="sampler", input="seed", label="Seed"),
    FormField(node="sampler", input="denoise", label="Strength"),
    FormField(node="second", input="denoise", label="Strength of the second pass"),
    FormField(node="enlarged", input="width", label="Enlarged width", advanced=True),
    FormField(node="enlarged", input="height", label="Enlarged height", advanced=True),
    FormField(node="prompt_choices", input="seed", label="Seed of the choices", advanced=True),
    FormField(node="negative_choices", input="seed", label="Seed of the negative choices", advanced=True),
    FormField(node="latent", input="width", label="Width", advanced=True),
    FormField(node="latent", input="height", label="Height", advanced=True),
    FormField(node="scale", input="width", label="Width", advanced=True),
    FormField(node="scale", input="height", label="Height", advanced=True),
    FormField(node="latent", input="batch_size", label="Pictures", advanced=True),
    FormField(node="checkpoint", input="checkpoint", label="Model", advanced=True),
    FormField(node="sampler", input="sampler", label="Sampler", advanced=True),
    FormField(node="sampler", input="scheduler", label="Schedule", advanced=True),
    FormField(node="sampler", input="steps", label="Steps", advanced=True),
    FormField(node="sampler", input="cfg", label="Guidance", advanced=True),
    FormField(node="sampler", input="fast", label="Go fast", advanced=True),
    FormField(node="second", input="seed", label="Seed of the second pass", advanced=True),
    FormField(node="second", input="steps", label="Steps of the second pass", advanced=True),
    FormField(node="upscaler", input="upscaler", label="Upscaler", advanced=True),
)


def form_of(graph: Graph) -> tuple[FormField, ...]:
    inputs = {node.id: node.inputs for node in graph.nodes}
    with_picture = "picture" in inputs and "outpaint" not in inputs
    fields = [f for f in _FORM if not isinstance(inputs.get(f.node, {}).get(f.input, _ABSENT), (Link, _Absent))]
    return tuple(f for f in fields if f.input != "denoise" or f.node == "second" or with_picture)


class _Absent:
    pass


_ABSENT: Any = _Absent()
