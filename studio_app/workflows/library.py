"""The library of workflows: shipped templates, the person's own, and subgraphs kept as nodes of one's own."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from engine.contracts.codec import MAX_DOCUMENT_BYTES
from engine.contracts.errors import InvalidRequest, TesseraError, clip
from engine.contracts.references import BlobRef
from engine.contracts.workflow import Node, Subgraph, Workflow
from engine.graph.subgraphs import SUBGRAPH
from studio_app.files import storage_error
from studio_app.store.blobs import Blobs
from studio_app.workflows.files import SUFFIX, free_path, read_bytes, read_workflow, write_workflow

OWN_FOLDER = "{templates}"  # at the head of a template's text value: where the templates lie
TEMPLATE = "template"  # in the `extra` of a shipped workflow: its group, its place, what it needs


@dataclass(frozen=True)
class WorkflowFile:
    """A workflow of the person's own, as a list shows it. `problem` is the sentence where it can't be read."""

    path: Path
    name: str
    description: str = ""
    nodes: int = 0
    modified: float = 0.0
    problem: str = ""


@dataclass(frozen=True)
class Template:
    """A shipped workflow. `picture` is what it makes; `group` gathers templates; `needs` names models beside the
    starter's own."""

    id: str
    path: Path
    title: str
    explanation: str
    group: str
    picture: Path | None
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class LibraryNode:
    """A subgraph of the library: its id there, and a file that holds it with the subgraphs within it."""

    id: str
    path: Path
    name: str
    description: str = ""


class WorkflowLibrary:
    """Folders of workflow files. Nothing is cached: each list reads the files there are. Any thread may use it.

    `blobs` take up the pictures that templates start from.
    """

    def __init__(self, own: Path, nodes: Path, templates: Path, blobs: Blobs) -> None:
        self.own, self._nodes, self._templates, self._blobs = own, nodes, templates, blobs

    def workflows(self) -> list[WorkflowFile]:
        """The person's own, the last changed first; one that can't be read is listed with the reason."""
        found = [_listed(path) for path in _files(self.own)]
        return sorted(found, key=lambda file: (-file.modified, file.name))

    def templates(self) -> list[Template]:
        """The shipped workflows in the gallery's order."""
        found = []
        for path in sorted(self._templates.glob("*.json")):
            workflow, _ = read_workflow(path)
            note: dict[str, Any] = dict(workflow.extra.get(TEMPLATE, {}))
            picture = path.with_suffix(".webp")
            template = Template(
                path.stem, path, workflow.name, workflow.description, str(note.get("group", "")),
                picture if picture.is_file() else None, tuple(note.get("needs", ())),
            )  # fmt: skip
            found.append((note.get("order", 0), template))
        return [template for _, template in sorted(found, key=lambda pair: (pair[0], pair[1].id))]

    def template(self, template_id: str) -> Workflow:
        """A template as a new workflow of one's own, its pictures in the store. Raises TesseraError."""
        workflow, _ = read_workflow(self._templates / f"{template_id}.json")
        values = (value for node in workflow.nodes for value in node.inputs.values())
        for name in sorted({value.name for value in values if isinstance(value, BlobRef)}):
            data, _ = read_bytes(self._templates / "pictures" / name, MAX_DOCUMENT_BYTES)
            self._blobs.write(data, "image/png", name)
        extra = {key: value for key, value in workflow.extra.items() if key != TEMPLATE}
        return replace(workflow, id="", nodes=tuple(map(self._here, workflow.nodes)), extra=extra)

    def _here(self, node: Node) -> Node:
        """A node whose values name the gallery's own folder where they ask for it."""
        asking = {k: v for k, v in node.inputs.items() if isinstance(v, str) and v.startswith(OWN_FOLDER)}
        if not asking:
            return node
        filled = {k: str(self._templates / v.removeprefix(OWN_FOLDER).lstrip("/")) for k, v in asking.items()}
        return replace(node, inputs={**node.inputs, **filled})

    def remove(self, file: WorkflowFile) -> None:
        """Delete a workflow of the person's own. Raises StorageError."""
        self._delete(file.path, self.own)

    # ---- nodes of one's own

    def nodes(self) -> list[LibraryNode]:
        """The subgraphs kept as nodes, by name. A file that can't be read is left out."""
        found = []
        for path in _files(self._nodes):
            try:
                workflow, _ = read_workflow(path)
            except TesseraError:
                continue
            head = next((s for s in workflow.subgraphs if s.id == workflow.id), None)
            if head is not None:
                found.append(LibraryNode(workflow.id, path, head.name or head.id, head.description))
        return sorted(found, key=lambda node: (node.name.casefold(), node.id))

    def save_node(self, workflow: Workflow, subgraph_id: str) -> LibraryNode:
        """Keep a subgraph of a workflow, in place of the one with its library id if there is one.

        Raises InvalidRequest, StorageError. The caller writes `LibraryNode.id` into the subgraph's `library`.
        """
        parts = subgraphs_within(workflow, subgraph_id)
        if not parts:
            raise InvalidRequest(f"there is no subgraph “{clip(subgraph_id)}” in this workflow")
        head = parts[0]
        library_id = head.library or f"node_{secrets.token_hex(8)}"
        known = next((node for node in self.nodes() if node.id == library_id), None)
        path = known.path if known else free_path(self._nodes, head.name or "node")
        renamed = {s.id: library_id if s is head else f"{library_id}.{s.id}" for s in parts}
        kept = tuple(_renamed(s, renamed) for s in parts)
        kept = (replace(kept[0], library=library_id), *kept[1:])
        write_workflow(path, Workflow(id=library_id, name=head.name, subgraphs=kept))
        return LibraryNode(library_id, path, head.name or head.id, head.description)

    def node(self, library_id: str) -> tuple[Subgraph, ...]:
        """A kept subgraph, first, and those within it. Raises InvalidRequest when it is not here."""
        found = next((node for node in self.nodes() if node.id == library_id), None)
        if found is None:
            raise InvalidRequest("this node is no longer in the library")
        workflow, _ = read_workflow(found.path)
        return tuple(sorted(workflow.subgraphs, key=lambda s: s.id != library_id))

    def remove_node(self, library_id: str) -> None:
        """Take a subgraph out of the library; workflows that use it keep their own. Raises StorageError."""
        for node in self.nodes():
            if node.id == library_id:
                self._delete(node.path, self._nodes)

    def _delete(self, path: Path, folder: Path) -> None:
        if path.parent != folder:
            raise InvalidRequest(f"“{path.name}” is not in the library")
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise storage_error(error, path) from error


def subgraphs_within(workflow: Workflow, subgraph_id: str) -> tuple[Subgraph, ...]:
    """A subgraph, first, and every one that occurs within it; empty when there is none."""
    known = {s.id: s for s in workflow.subgraphs}
    found: dict[str, Subgraph] = {}
    stack = [subgraph_id]
    while stack:
        name = stack.pop()
        if name in known and name not in found:
            found[name] = known[name]
            stack += [n.type.removeprefix(SUBGRAPH) for n in known[name].nodes if n.type.startswith(SUBGRAPH)]
    return tuple(found.values())


def _renamed(subgraph: Subgraph, names: dict[str, str]) -> Subgraph:
    def node(item: Node) -> Node:
        inner = names.get(item.type.removeprefix(SUBGRAPH)) if item.type.startswith(SUBGRAPH) else None
        return replace(item, type=SUBGRAPH + inner) if inner else item

    return replace(subgraph, id=names[subgraph.id], nodes=tuple(map(node, subgraph.nodes)))


def _files(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from sorted(folder.glob(f"*{SUFFIX}"))


def _listed(path: Path) -> WorkflowFile:
    name = path.name.removesuffix(SUFFIX)
    try:
        modified = path.stat().st_mtime
        if path.stat().st_size > MAX_DOCUMENT_BYTES:
            return WorkflowFile(path, name, modified=modified, problem="It is too large for a workflow.")
        workflow, _ = read_workflow(path)
    except TesseraError as error:
        return WorkflowFile(path, name, problem=str(error))
    except OSError:
        return WorkflowFile(path, name, problem="It can't be read.")
    return WorkflowFile(path, workflow.name or name, workflow.description, len(workflow.nodes), modified)
