"""Draws a template: nodes in the order they feed one another, a form, a note, and a layout."""

from __future__ import annotations

from dataclasses import dataclass, replace

from engine.contracts.node_schema import WIDGET_TYPES, NodeSchema
from engine.contracts.references import BlobRef, ModelRef
from engine.contracts.workflow import FormField, InputValue, Link, Node, Subgraph, Workflow
from engine.graph.registry import Registry
from studio_app.documents.layered_layout import Point, layered_layout
from studio_app.workflows.library import TEMPLATE

EDGE = 128  # pixels; what the starter model was trained for
STEPS = 20
CFG = 3.0


@dataclass(frozen=True)
class Placed:
    """A node of a drawing; indexing gives a link to one of its outputs."""

    id: str

    def __getitem__(self, output: str) -> Link:
        return Link(self.id, output)


@dataclass(frozen=True)
class Model:
    """The three outputs of a checkpoint."""

    model: Link
    clip: Link
    vae: Link


class Drawing:
    """One template in the making."""

    def __init__(self, title: str, explanation: str, group: str, *, needs: tuple[str, ...] = ()) -> None:
        self.title, self.explanation, self.group, self.needs = title, explanation, group, needs
        self.nodes: list[Node] = []
        self.form: list[FormField] = []
        self.subgraphs: list[Subgraph] = []

    def add(self, node_id: str, type_name: str, title: str = "", **inputs: InputValue) -> Placed:
        """Add a node; links are outputs of nodes added before."""
        self.nodes.append(Node(id=node_id, type=type_name, title=title, inputs=inputs))
        return Placed(node_id)

    def show(
        self, node: Placed, name: str, label: str, words: str = "", *, group: str = "", advanced: bool = False
    ) -> None:
        """Expose an input in the form, under `label`, with `words` of help."""
        self.form.append(FormField(node=node.id, input=name, label=label, help=words, group=group, advanced=advanced))

    def workflow(self, order: int, pictures: dict[str, BlobRef]) -> Workflow:
        """The template as a document; pictures are named "picture:<name>" where they are drawn."""
        nodes = [_with_pictures(node, pictures) for node in self.nodes]
        note = Node(
            id="note", type="utility.note", title="About", inputs={"text": f"# {self.title}\n\n{self.explanation}"},
            size=(320.0, 200.0),
        )  # fmt: skip
        extra: dict[str, object] = {"group": self.group, "order": order}
        if self.needs:
            extra["needs"] = list(self.needs)
        return Workflow(
            name=self.title,
            description=self.explanation,
            nodes=(replace(note, position=(0.0, -240.0)), *placed(nodes)),
            form=tuple(self.form),
            subgraphs=tuple(replace(s, nodes=placed(list(s.nodes))) for s in self.subgraphs),
            extra={TEMPLATE: extra},
        )


def placed(nodes: list[Node]) -> tuple[Node, ...]:
    """The nodes laid out in layers, at about the sizes the canvas draws them."""
    types = Registry.builtin().types
    wires = [(v.node, n.id) for n in nodes for v in n.inputs.values() if isinstance(v, Link)]
    sizes: dict[str, Point] = {}
    for node in nodes:
        kind = types.get(node.type)
        sizes[node.id] = (260.0, _height(kind.schema, node) if kind else 380.0)
    places = layered_layout([n.id for n in nodes], wires, sizes)
    return tuple(replace(node, position=places[node.id]) for node in nodes)


def _height(schema: NodeSchema, node: Node) -> float:
    """About as tall as the canvas draws a node, never less: it has rows, prompts, and room for what the node gives."""
    shown = [item for item in schema.inputs if not item.advanced or item.name in node.inputs]
    values = [item for item in shown if not item.link_only and set(item.type.split("|")) <= WIDGET_TYPES]
    given = sum(name.rstrip("0123456789") != name for name in node.inputs) + 1
    links = sum(given if item.variadic else 1 for item in shown if item not in values or item.variadic)
    kinds = {output.type for output in schema.outputs}
    picture = bool(kinds & {"IMAGE", "MASK", "VIDEO"}) or schema.effects.output or schema.effects.dear
    words = bool(kinds & {"STRING", "INT", "FLOAT", "BOOLEAN"}) or schema.type == "utility.show"
    rows = 26.0 * max(links, len(schema.outputs)) + sum(84.0 if item.multiline else 26.0 for item in values)
    return 60.0 + rows + (160.0 if picture else 72.0 if words else 0.0)


def _with_pictures(node: Node, pictures: dict[str, BlobRef]) -> Node:
    inputs = {
        name: pictures[value.removeprefix("picture:")]
        if isinstance(value, str) and value.startswith("picture:") else value
        for name, value in node.inputs.items()
    }  # fmt: skip
    return replace(node, inputs=inputs)


# ---- what most templates begin and end with


def checkpoint(d: Drawing) -> Model:
    """The starter model, for a person to choose another."""
    node = d.add("checkpoint", "load.checkpoint", "Checkpoint", checkpoint=ModelRef(name="starter"))
    return Model(node["model"], node["clip"], node["vae"])


def prompt(d: Drawing, node_id: str, clip: Link, text: str | Link, label: str = "Prompt") -> Link:
    """A prompt, shown in the form where it is typed."""
    node = d.add(node_id, "condition.encode_text", label, clip=clip, text=text)
    if not isinstance(text, Link):
        d.show(node, "text", label, "What the picture should show")
    return node["conditioning"]


def negative(d: Drawing, clip: Link) -> Link:
    """The negative prompt, empty."""
    node = d.add("negative", "condition.encode_text", "Negative prompt", clip=clip, text="")
    d.show(node, "text", "Negative prompt", "What it should not show", advanced=True)
    return node["conditioning"]


def empty(d: Drawing, count: int = 1, width: int = EDGE, height: int = EDGE) -> Link:
    node = d.add("latent", "latent.empty", "Size", width=width, height=height, batch_size=count)
    d.show(node, "width", "Width", group="Size", advanced=True)
    d.show(node, "height", "Height", group="Size", advanced=True)
    return node["latent"]


def sampler(
    d: Drawing, model: Link, positive: Link, negative_side: Link, latent: Link,
    *, node_id: str = "sampler", title: str = "Sampler", shown: bool = True, **settings: InputValue,
) -> Link:  # fmt: skip
    """A sampler with the starter model's settings."""
    given: dict[str, InputValue] = {
        "seed": 7, "steps": STEPS, "cfg": CFG, "sampler": "ddim", "scheduler": "simple", "denoise": 1.0, **settings,
    }  # fmt: skip
    node = d.add(
        node_id, "sample.k_sampler", title, model=model, positive=positive, negative=negative_side, latent=latent,
        **given,
    )  # fmt: skip
    if shown:
        if not isinstance(given["seed"], Link):
            d.show(node, "seed", "Seed", "Another seed, another picture")
        if given["denoise"] != 1.0:
            d.show(node, "denoise", "Strength", "How much is made anew: 0 nothing, 1 everything")
        if not isinstance(given["steps"], Link):
            d.show(node, "steps", "Steps", group="Sampling", advanced=True)
        if not isinstance(given["cfg"], Link):
            d.show(node, "cfg", "Guidance", group="Sampling", advanced=True)
    return node["latent"]


def decode(d: Drawing, vae: Link, latent: Link, node_id: str = "decode") -> Link:
    return d.add(node_id, "latent.decode_image", "Decode", vae=vae, latent=latent)["image"]


def save(d: Drawing, image: Link, node_id: str = "save", title: str = "Save") -> None:
    d.add(node_id, "image.save", title, image=image)


def picture(d: Drawing, name: str, node_id: str = "picture", label: str = "Picture") -> Placed:
    """One of the gallery's own pictures, for a person to choose another."""
    node = d.add(node_id, "image.load", label, image=f"picture:{name}")
    d.show(node, "image", label, "A picture of yours; best 128×128 for the starter model")
    return node
