"""An open workflow: what the canvas shows and edits. It knows no Qt and belongs to the GUI thread.

    document = GraphDocument(workflow, registry)
    document.subscribe(show)                       # show(Change) after each edit, undo and redo
    document.edit("Move", MoveNodes({"sampler": (40.0, 60.0)}), merge="drag 7")
    document.undo()
    frozen = document.workflow                     # an immutable snapshot, free to leave the thread

An edit costs what it touches, not what there is; the snapshot is made when asked for and kept until the next edit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal, Protocol

from engine.contracts.errors import InvalidDocument, clip
from engine.contracts.node_schema import InputSchema, NodeSchema
from engine.contracts.workflow import Group, Node, Workflow
from engine.graph.registry import Registry
from engine.graph.subgraphs import SUBGRAPH
from studio_app.documents.connections import why_not
from studio_app.documents.content import MAIN, Content, Graph, Touched, Wire
from studio_app.documents.history import Entry, History
from studio_app.documents.schemas import Schemas
from studio_app.documents.steps import Step
from studio_app.events import Signal, Unsubscribe


class Editing(Protocol):
    """What can be done to a document (`edits.Edit`): the steps, each worked out when those before it are done."""

    def steps(self, document: GraphDocument) -> Iterable[Step]: ...


class EditLog(Protocol):
    """What writes down all that is done to a document (`journal.Journal`). It must not wait for a disk."""

    def edited(self, entry: Entry, joined: bool) -> None:
        """An entry was added to the history, or joined the newest one."""
        ...

    def renew(self) -> None:
        """Begin anew from the document as it stands."""
        ...

    def travelled(self, word: Literal["undo", "redo", "seal", "saved"]) -> None: ...


@dataclass(frozen=True)
class Change:
    """What is different in the open level: node ids, and which other parts. `rewired` had its incoming links changed.

    `level` says that another level is open now (or the open one is to be shown anew); the sets are then empty.
    """

    added: frozenset[str] = frozenset()
    removed: frozenset[str] = frozenset()
    changed: frozenset[str] = frozenset()
    moved: frozenset[str] = frozenset()
    rewired: frozenset[str] = frozenset()
    groups: bool = False
    form: bool = False
    subgraphs: bool = False
    details: bool = False
    level: bool = False


class GraphDocument:
    """See the module. What can't be done raises TesseraError with one sentence, and changes nothing."""

    def __init__(
        self,
        workflow: Workflow,
        registry: Registry,
        *,
        journal: EditLog | None = None,
        places: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        self.registry = registry
        self.content = Content(workflow, places)
        self.schemas = Schemas(registry, self.content)
        self._history = History()
        self.journal = journal
        self._changes: Signal[Change] = Signal()
        self._snapshot: tuple[int, Workflow] | None = (0, workflow)
        self._revision = 0
        self._saved = 0
        self._level: tuple[str, ...] = ()
        self._graph_id = MAIN

    # ---- reading

    @property
    def workflow(self) -> Workflow:
        """The document as it stands, frozen; the same object until the next edit."""
        if self._snapshot is None or self._snapshot[0] != self._revision:
            self._snapshot = (self._revision, self.content.workflow())
        return self._snapshot[1]

    @property
    def revision(self) -> int:
        """Rises with every edit, undo and redo."""
        return self._revision

    @property
    def level(self) -> tuple[str, ...]:
        """Ids of the subgraph nodes that were opened on the way to what is shown; () is the workflow itself."""
        return self._level

    @property
    def graph_id(self) -> str:
        """The id of the subgraph whose definition is shown, "" for the workflow itself."""
        return self._graph_id

    @property
    def graph(self) -> Graph:
        """The open level. To read only."""
        return self.content.graphs[self._graph_id]

    @property
    def nodes(self) -> Mapping[str, Node]:
        """The nodes of the open level by id."""
        return MappingProxyType(self.graph.nodes)

    @property
    def groups(self) -> tuple[Group, ...]:
        return self.graph.groups

    def node(self, node_id: str) -> Node:
        """A node of the open level. Raises InvalidDocument."""
        found = self.graph.nodes.get(node_id)
        if found is None:
            raise InvalidDocument(f"there is no node “{clip(node_id)}” here")
        return found

    def wires(self) -> Iterator[Wire]:
        """Every wire of the open level, also those whose source is gone."""
        return self.graph.wires()

    def wires_into(self, node_id: str) -> list[Wire]:
        return self.graph.wires_into(self.node(node_id).id)

    def wires_from(self, node_id: str, output: str | None = None) -> list[Wire]:
        return self.graph.wires_from(node_id, output)

    def schema(self, node_id: str) -> NodeSchema:
        """What the node's type is; of a subgraph, made of its sockets; of a type that vanished, made of its inputs."""
        return self.schemas.of(self.graph, self.node(node_id))

    def input_schema(self, node_id: str, name: str) -> InputSchema | None:
        """An input's schema; "image3" is one of a variadic "image". None where the node has no such input."""
        return self.schemas.input(self.graph, self.node(node_id), name)

    def is_known(self, node_id: str) -> bool:
        """Whether the node's type is one that this studio has."""
        return self.schemas.known(self.node(node_id).type)

    def upstream(self, node_ids: Iterable[str]) -> set[str]:
        """These nodes and everything that feeds them."""
        return self.graph.order.upstream(node_ids)

    def downstream(self, node_ids: Iterable[str]) -> set[str]:
        """These nodes and everything they feed."""
        return self.graph.order.downstream(node_ids)

    def can_connect(self, wire: Wire) -> str:
        """ "" when the wire may be laid, else the one sentence why not."""
        return why_not(wire, self.graph, self.schemas)

    def new_id(self, wanted: str, taken: Iterable[str] = ()) -> str:
        """A node id that is free in the open level: `wanted`, or it with a number."""
        return self.graph.free_id(wanted, taken)

    # ---- levels

    def open_level(self, level: tuple[str, ...]) -> None:
        """Show the definition behind a chain of subgraph nodes; () is the workflow itself. Raises InvalidDocument."""
        graph_id = self.graph_at(level)
        self.seal()
        if level != self._level:
            self._level, self._graph_id = level, graph_id
            self._changes.emit(Change(level=True))

    def graph_at(self, level: tuple[str, ...]) -> str:
        """The id of the graph behind a chain of subgraph nodes. Raises InvalidDocument."""
        graph_id = MAIN
        for name in level:
            node = self.content.graph(graph_id).nodes.get(name)
            if node is None or not node.type.startswith(SUBGRAPH):
                raise InvalidDocument(f"“{clip(name)}” is not a subgraph that could be opened")
            graph_id = node.type.removeprefix(SUBGRAPH)
            self.content.graph(graph_id)
        return graph_id

    # ---- editing

    def edit(self, label: str, *edits: Editing, merge: str = "") -> Change:
        """Do edits as one entry of the history, called `label`. Does all or none; raises TesseraError for the first
        that can't be done. Edits in a row with the same `merge` (a drag's own name) become one entry."""
        touched, done, back = Touched(), [], []
        try:
            for edit in edits:
                for step in edit.steps(self):
                    back.append(step.apply(self.content, touched))
                    done.append(step)
        except BaseException:
            for step in reversed(back):
                step.apply(self.content, Touched())
            raise
        if not done:
            return Change()
        return self._did(Entry(label, merge, self._level, tuple(done), tuple(reversed(back))), touched)

    def edit_steps(self, label: str, steps: Sequence[Step], *, merge: str = "") -> Change:
        """As `edit`, for steps that are worked out already; they may be in another level."""
        return self.edit(label, _Steps(tuple(steps)), merge=merge)

    def replay(self, label: str, merge: str, level: tuple[str, ...], steps: Sequence[Step]) -> None:
        """Do steps as a journal has them. Raises TesseraError."""
        touched = Touched()
        back = [step.apply(self.content, touched) for step in steps]
        self._did(Entry(label, merge, level, tuple(steps), tuple(reversed(back))), touched)

    def _did(self, entry: Entry, touched: Touched) -> Change:
        self._revision += 1
        joined = self._history.add(entry)
        if self.journal is not None:
            self.journal.edited(entry, joined)
        return self._tell(touched)

    def undo(self) -> str:
        """Take the last entry back; returns its label, "" when there is none."""
        return self._travel(self._history.back(), "undo")

    def redo(self) -> str:
        """Do the entry taken back last again; returns its label, "" when there is none."""
        return self._travel(self._history.forth(), "redo")

    def seal(self) -> None:
        """End the entry that edits with the same `merge` would still join."""
        if self._history.seal() and self.journal is not None:
            self.journal.travelled("seal")

    @property
    def can_undo(self) -> bool:
        return self._history.can_undo

    @property
    def can_redo(self) -> bool:
        return self._history.can_redo

    @property
    def history_sizes(self) -> tuple[int, int]:
        """How many entries can be taken back, and how many done again."""
        return self._history.sizes

    @property
    def undo_label(self) -> str:
        return self._history.undo_label

    @property
    def redo_label(self) -> str:
        return self._history.redo_label

    @property
    def is_changed(self) -> bool:
        """Whether it differs from what was saved last: undoing back to there counts as unchanged."""
        return self._history.mark != self._saved

    def mark_saved(self) -> None:
        """What stands now is what the file holds."""
        self._history.seal()
        self._saved = self._history.mark
        if self.journal is not None:
            self.journal.travelled("saved")

    def identify(self, workflow_id: str) -> None:
        """Give the workflow an id of its own; no edit, so nothing to take back."""
        self.content.top = replace(self.content.top, id=workflow_id)
        self._revision += 1
        if self.journal is not None:
            self.journal.renew()

    def mark_changed(self) -> None:
        """No state that can be gone back to is what a file holds."""
        self._saved = -1

    def subscribe(self, subscriber: Callable[[Change], object]) -> Unsubscribe:
        """`subscriber(change)` is called after each edit, undo, redo and change of level."""
        return self._changes.subscribe(subscriber)

    def set_registry(self, registry: Registry) -> None:
        """Other node types (a plugin was loaded): everything is to be shown anew."""
        self.registry = registry
        self.schemas = Schemas(registry, self.content)
        self._changes.emit(Change(level=True))

    def _travel(self, found: tuple[Entry, tuple[Step, ...]] | None, word: Literal["undo", "redo"]) -> str:
        if found is None:
            return ""
        entry, steps = found
        touched = Touched()
        for step in steps:
            step.apply(self.content, touched)
        self._revision += 1
        if self.journal is not None:
            self.journal.travelled(word)
        moved = self._stand_at(entry.level)
        self._tell(touched, moved)
        return entry.label

    def _stand_at(self, level: tuple[str, ...]) -> bool:
        """Open the level an entry was made in, or the nearest above that there still is."""
        before = self._level, self._graph_id
        for length in range(len(level), -1, -1):
            try:
                graph_id = self.graph_at(level[:length])
            except InvalidDocument:
                continue
            self._level, self._graph_id = level[:length], graph_id
            break
        return before != (self._level, self._graph_id)

    def _tell(self, touched: Touched, moved: bool = False) -> Change:
        try:
            still = self.graph_at(self._level) == self._graph_id
        except InvalidDocument:
            still = False
        if not still:
            moved = self._stand_at(self._level) or moved
        elsewhere = touched.graphs() - {self._graph_id}
        if touched.subgraphs or touched.graphs() - {MAIN}:
            self.schemas.forget()
        here = self._graph_id

        def part(of: dict[str, set[str]]) -> frozenset[str]:
            return frozenset() if moved else frozenset(of.get(here, ()))

        change = Change(
            part(touched.added), part(touched.removed), part(touched.changed), part(touched.moved),
            part(touched.rewired), groups=here in touched.groups, form=touched.form, details=touched.details,
            subgraphs=touched.subgraphs or bool(elsewhere), level=moved,
        )  # fmt: skip
        self._changes.emit(change)
        return change


@dataclass(frozen=True)
class _Steps:
    """Steps in the place of an edit."""

    done: tuple[Step, ...]

    def steps(self, document: GraphDocument) -> tuple[Step, ...]:
        return self.done


__all__ = ["Change", "GraphDocument", "Wire"]
