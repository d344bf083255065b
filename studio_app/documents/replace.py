"""Another workflow in place of the open one, as one edit that can be taken back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from engine.contracts.errors import InvalidRequest
from engine.contracts.workflow import Workflow
from studio_app.documents import steps
from studio_app.documents.content import MAIN
from studio_app.documents.edits import Edit
from studio_app.documents.graph_document import GraphDocument
from studio_app.documents.steps import Step


@dataclass(frozen=True)
class ReplaceWorkflow(Edit):
    """Everything as in `workflow`, which keeps the id of the open one."""

    kind: ClassVar[str] = "replace_workflow"

    workflow: Workflow

    def steps(self, document: GraphDocument) -> Iterator[Step]:
        if document.graph_id != MAIN:
            raise InvalidRequest("leave the subgraph first")
        new, content = self.workflow, document.content
        yield steps.TakeNodes(MAIN, tuple(n.id for n in content.graphs[MAIN].frozen()))
        for name in list(content.subgraphs):
            yield steps.TakeSubgraph(name)
        for subgraph in new.subgraphs:
            yield steps.PutSubgraph(subgraph)
        yield steps.PutNodes(MAIN, new.nodes)
        yield steps.SetGroups(MAIN, new.groups)
        yield steps.SetForm(new.form)
        yield steps.SetDetails(
            name=new.name, description=new.description, bookmarks=new.bookmarks, carried=dict(new.extra)
        )
