"""The table of workspaces the rail shows: only those that exist. A later one is a line here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ui.bridge.bridge import Bridge
from ui.workspace import Workspace

if TYPE_CHECKING:
    from studio_app.application import Application


@dataclass(frozen=True)
class WorkspaceEntry:
    """`command` goes to the page and carries its key; `make` builds the page the first time it is shown."""

    title: str
    icon: str
    command: str
    make: Callable[[Application, Bridge], Workspace]


def _create(app: Application, bridge: Bridge) -> Workspace:
    from ui.create.workspace import CreateWorkspace

    return CreateWorkspace(app, bridge)


def _graph(app: Application, bridge: Bridge) -> Workspace:
    from ui.graph_canvas.workspace import GraphWorkspace

    return GraphWorkspace(app, bridge)


def _models(app: Application, bridge: Bridge) -> Workspace:
    from ui.models.workspace import ModelsWorkspace

    return ModelsWorkspace(app, bridge)


WORKSPACES: tuple[WorkspaceEntry, ...] = (
    WorkspaceEntry("Create", "sparkles", "view.create", _create),
    WorkspaceEntry("Graph", "workflow", "view.graph", _graph),
    WorkspaceEntry("Models", "boxes", "view.models", _models),
)
