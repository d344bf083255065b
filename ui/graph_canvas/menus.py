"""Context menus, built from the table of commands: of nodes, a wire, a frame, and of the empty canvas."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from PySide6.QtCore import QPointF
from PySide6.QtGui import QAction, QColor, QIcon, QPixmap
from PySide6.QtWidgets import QMenu

from studio_app.commands import Commands
from studio_app.documents.edits import Disconnect
from ui.graph_canvas.acts import FRAME_COLOURS, Acts
from ui.graph_canvas.finding import Finding
from ui.graph_canvas.frames import frame_at

_NODE = (
    ("graph.edit", "graph.rename", "graph.colour"), ("graph.connect", "graph.swap"),
    ("graph.run_to_here",), ("graph.mute", "graph.bypass", "graph.collapse", "graph.pin"),
    ("graph.cut", "graph.copy", "graph.duplicate", "graph.delete", "graph.delete_keep"),
    ("graph.select_upstream", "graph.select_downstream"), ("graph.group", "graph.ungroup"),
    ("graph.subgraph", "graph.unpack"),
)  # fmt: skip
_MISSING = (("graph.swap", "app.custom_nodes"),)
_SEVERAL = (
    ("graph.align_left", "graph.align_right", "graph.align_top", "graph.align_bottom"),
    ("graph.distribute_across", "graph.distribute_down", "graph.lay_out"),
)
_CANVAS = (
    ("graph.search", "graph.note", "graph.paste"), ("graph.select_all", "graph.find"),
    ("graph.frame_all", "graph.actual_size", "graph.lay_out"), ("graph.bookmark", "graph.minimap", "graph.snap"),
    ("graph.level_up",), ("graph.form", "graph.open_in_create"), ("graph.run", "graph.run_anew"),
)  # fmt: skip


def menu_at(acts: Acts, finding: Finding, place: QPointF) -> QMenu:
    """The menu for what lies at a place of the scene."""
    menu = QMenu(acts.canvas)
    commands = acts.canvas.app.commands
    scene = acts.scene
    over = scene.node_at(place)
    if over is not None:
        if over.schema.origin == "placeholder":
            add_commands(menu, commands, _MISSING)
        add_commands(menu, commands, _NODE)
        if len(scene.selected) > 1:
            add_commands(menu.addMenu("Arrange"), commands, _SEVERAL)
        return menu
    wire = acts.canvas.pointer.wire_at(place)
    frame = frame_at(acts.document.groups, place)
    if wire is not None:
        _act(menu, "Insert a node here…", lambda: finding.search(place))
        _act(menu, "Add a reroute", lambda: acts.canvas.pointer.add_reroute(wire, place))
        _act(menu, "Take the wire away", lambda: acts.do("Take the wire away", Disconnect((wire,))))
    elif frame is not None:
        index = frame[0]
        _act(menu, "Rename the frame…", lambda: acts.rename_frame(place))
        colours = menu.addMenu("Colour")
        for name in FRAME_COLOURS:
            action = _act(colours, name, partial(acts.colour_frame, index, name))
            action.setIcon(_swatch(name))
        _act(menu, "Remove the frame", lambda: acts.remove_frame(index))
    else:
        add_commands(menu, commands, _CANVAS)
    return menu


def add_commands(menu: QMenu, commands: Commands, sections: tuple[tuple[str, ...], ...]) -> None:
    """Commands by their titles with their keys, a line between sections."""
    for section in sections:
        if not menu.isEmpty():
            menu.addSeparator()
        for name in section:
            command = commands.get(name)
            action = _act(menu, command.title, partial(commands.run, name))
            action.setEnabled(commands.is_bound(name))
            if command.shortcut:  # shown, not bound: the canvas answers its keys itself
                action.setText(f"{command.title}\t{command.shortcut.replace('Return', 'Enter')}")


def _act(menu: QMenu, text: str, act: Callable[[], object]) -> QAction:
    action = QAction(text, menu)
    action.triggered.connect(lambda checked=False: act())
    menu.addAction(action)
    return action


def _swatch(colour: str) -> QIcon:
    pixmap = QPixmap(16, 16)
    pixmap.fill(QColor(colour))
    return QIcon(pixmap)
