"""What can be done with one value: edit, reset, show as a socket or as a value, put into the form."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtGui import QAction
from PySide6.QtWidgets import QMenu

from engine.contracts.workflow import FormField
from engine.graph.subgraphs import SUBGRAPH
from studio_app.documents.content import MAIN
from studio_app.documents.edits import Edit, ResetInputs, ShowAsSocket
from studio_app.documents.form_fields import exposed, hidden
from studio_app.documents.subgraph_edits import ExposeSocket, HideSocket
from ui.graph_canvas.acts import Acts
from ui.graph_canvas.geometry import is_value
from ui.graph_canvas.values.editor import ValueEditor


def add_value_acts(menu: QMenu, editor: ValueEditor, node: str, name: str) -> None:
    """Acts for input `name`, at the end of a menu."""
    document, acts = editor.document, editor.acts
    schema, found = editor.schema_of(node, name), document.nodes.get(node)
    if schema is None or found is None:
        return
    label = editor.label(node, name)
    if not menu.isEmpty():
        menu.addSeparator()
    as_socket = name in found.as_sockets
    if is_value(schema) and not schema.variadic:
        if not as_socket:
            _act(menu, f"Edit {label}", lambda: editor.edit(node, name))
            _act(menu, f"Show {label} as a socket", lambda: acts.do("Show as a socket", ShowAsSocket(node, name)))
        else:
            _act(menu, f"Show {label} as a value", lambda: acts.do("Show as a value", ShowAsSocket(node, name, False)))
    if name in found.inputs and is_value(schema):
        _act(menu, f"Reset {label}", lambda: acts.do(f"Reset {label}", ResetInputs(node, (name,))))
    if document.graph_id == MAIN and is_value(schema):
        if any((f.node, f.input) == (node, name) for f in document.content.form):
            _act(
                menu, f"Take {label} out of the form", lambda: acts.do("Out of the form", hidden(document, node, name))
            )
        else:
            field = FormField(node=node, input=name)
            _act(menu, f"Put {label} into the form", lambda: acts.do("Into the form", exposed(document, field)))
    elif document.graph_id != MAIN:
        head = document.content.subgraphs[document.graph_id]
        socket = next((s for s in head.inputs if (s.node, s.socket) == (node, name)), None)
        if socket is None:
            _act(menu, f"Expose {label}", lambda: acts.do("Expose", ExposeSocket("inputs", node, name)))
        else:
            _act(menu, f"Expose {label} no longer", lambda: acts.do("Hide", HideSocket("inputs", socket.name)))


def add_output_acts(menu: QMenu, editor: ValueEditor, node: str) -> None:
    """In an open subgraph: expose the node's outputs, or no longer."""
    document, acts = editor.document, editor.acts
    if document.graph_id == MAIN or node not in document.nodes:
        return
    there = {(s.node, s.socket): s.name for s in document.content.subgraphs[document.graph_id].outputs}
    for output in document.schema(node).outputs:
        name, words = output.name, output.name.replace("_", " ")
        if (node, name) in there:
            outer = there[node, name]
            _act(menu, f"Expose output {words} no longer", _doing(acts, "Hide", HideSocket("outputs", outer)))
        else:
            _act(menu, f"Expose output {words}", _doing(acts, "Expose", ExposeSocket("outputs", node, name)))


def _doing(acts: Acts, label: str, edit: Edit) -> Callable[[], object]:
    return lambda: acts.do(label, edit)


def reset_all(editor: ValueEditor, node: str) -> None:
    """Give every value of a node its default back; wires stay."""
    item = editor.scene.items_by_id.get(node)
    if item is None or item.node.type.startswith(SUBGRAPH):
        return
    linked = item.links()
    names = tuple(n for n in item.node.inputs if n not in linked)
    if names:
        editor.acts.do("Reset all values", ResetInputs(node, names))


def _act(menu: QMenu, text: str, act: Callable[[], object]) -> None:
    action = QAction(text, menu)
    action.triggered.connect(lambda checked=False: act())
    menu.addAction(action)
