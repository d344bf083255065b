"""A workflow as a form: the inputs that its author exposed, in groups, each with what is needed to show and set it.

Create, the library, the command line and the cloud show the same fields.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from engine.contracts.errors import InvalidRequest, clip
from engine.contracts.node_schema import InputSchema
from engine.contracts.workflow import FormField, InputValue, Link, Node, Workflow, decode_input
from engine.graph.ports import Port, WrongValue
from engine.graph.registry import Registry
from engine.graph.subgraphs import SUBGRAPH
from studio_app.documents import steps
from studio_app.documents.content import MAIN, Content, Graph
from studio_app.documents.edits import SetForm
from studio_app.documents.graph_document import GraphDocument
from studio_app.documents.schemas import Schemas


@dataclass(frozen=True)
class ShownField:
    """One field. `value` is what the workflow has, else the default; `linked` tells that a wire gives it, so that it
    can't be typed; `problem` is a sentence where the field stands for nothing any more."""

    field: FormField
    label: str
    help: str
    schema: InputSchema
    value: InputValue
    linked: bool = False
    problem: str = ""

    @property
    def key(self) -> str:
        """As bindings name it: "node.input"."""
        return f"{self.field.node}.{self.field.input}"


@dataclass(frozen=True)
class FieldGroup:
    """Fields under one heading, "" for those that stand first."""

    title: str
    fields: tuple[ShownField, ...]


def form_fields(workflow: Workflow, registry: Registry) -> tuple[FieldGroup, ...]:
    """The form of a workflow, in its order; groups where their first field stands."""
    content = Content(workflow)
    return fields_of(content, Schemas(registry, content))


def document_fields(document: GraphDocument) -> tuple[FieldGroup, ...]:
    """The form of an open workflow."""
    return fields_of(document.content, document.schemas)


def fields_of(content: Content, schemas: Schemas) -> tuple[FieldGroup, ...]:
    groups: dict[str, list[ShownField]] = {}
    for item in content.form:
        groups.setdefault(item.group, []).append(_shown(item, content, schemas))
    return tuple(FieldGroup(title, tuple(fields)) for title, fields in groups.items())


def _shown(item: FormField, content: Content, schemas: Schemas) -> ShownField:
    found = place_of(content, item.node)
    schema = schemas.input(found[0], found[1], item.input) if found else None
    if found is None or schema is None:
        what = f"node “{clip(item.node, 40)}”" if found is None else f"input “{clip(item.input, 40)}”"
        blank = InputSchema(name=item.input, type="*")
        return ShownField(
            item, item.label or item.input, item.help, blank, None, problem=f"There is no {what} any more."
        )
    value: InputValue = found[1].inputs.get(item.input)
    if value is None and schema.default is not None:
        value = decode_input(schema.default, item.input)
    label = item.label or schema.label or item.input.replace("_", " ").capitalize()
    return ShownField(item, label, item.help or schema.tooltip, schema, value, linked=isinstance(value, Link))


def place_of(content: Content, node_id: str) -> tuple[Graph, Node, str] | None:
    """(graph, node, graph id) of a form's node; "outer:inner" is a node within the subgraph that `outer` is."""
    graph_id = MAIN
    *outer, last = node_id.split(":")
    for name in outer:
        node = content.graphs[graph_id].nodes.get(name)
        graph_id = node.type.removeprefix(SUBGRAPH) if node and node.type.startswith(SUBGRAPH) else "?"
        if graph_id not in content.graphs:
            return None
    graph = content.graphs[graph_id]
    found = graph.nodes.get(last)
    return None if found is None else (graph, found, graph_id)


def check_value(schema: InputSchema, value: Any) -> str:
    """ "" when a value may stand in an input, else the sentence why not."""
    try:
        Port(schema).read(value)
    except WrongValue as error:
        return f"{error.what[:1].upper()}{error.what[1:]}. {error.fix}".strip()
    return ""


def set_field(document: GraphDocument, key: str, value: InputValue, *, merge: str = "") -> None:
    """Set a field's value, by its `key`, as an edit. Raises InvalidRequest when there is none or it does not fit."""
    for group in document_fields(document):
        for shown in group.fields:
            if shown.key != key:
                continue
            refusal = shown.problem or check_value(shown.schema, value)
            if refusal:
                raise InvalidRequest(refusal, where=shown.label)
            found = place_of(document.content, shown.field.node)
            assert found is not None
            step = steps.SetInputs(found[2], found[1].id, {shown.field.input: value})
            document.edit_steps(f"Set {shown.label}", [step], merge=merge)
            return
    raise InvalidRequest(f"the form has no field “{clip(key)}”")


def exposed(document: GraphDocument, field: FormField) -> SetForm:
    """The form with one more field; one for the same input is replaced where it stands."""
    form = list(document.content.form)
    at = next((i for i, f in enumerate(form) if (f.node, f.input) == (field.node, field.input)), len(form))
    return SetForm((*form[:at], field, *form[at + 1 :]))


def hidden(document: GraphDocument, node: str, input_name: str) -> SetForm:
    """The form without an input."""
    return SetForm(tuple(f for f in document.content.form if (f.node, f.input) != (node, input_name)))


def reordered(document: GraphDocument, keys: Iterable[str]) -> SetForm:
    """The form in the order of these keys ("node.input"); fields that are not named stand last."""
    rank = {key: index for index, key in enumerate(keys)}
    fields = sorted(document.content.form, key=lambda f: rank.get(f"{f.node}.{f.input}", len(rank)))
    return SetForm(tuple(fields))


def with_values(workflow: Workflow, values: dict[str, InputValue]) -> Workflow:
    """A workflow with values laid over inputs of its own nodes, by "node.input"."""
    by_node: dict[str, dict[str, InputValue]] = {}
    for key, value in values.items():
        node, _, name = key.rpartition(".")
        by_node.setdefault(node, {})[name] = value
    nodes = tuple(replace(n, inputs={**n.inputs, **by_node[n.id]}) if n.id in by_node else n for n in workflow.nodes)
    return replace(workflow, nodes=nodes)
