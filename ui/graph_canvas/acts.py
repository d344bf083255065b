"""What a person does to the selected nodes by key, menu or palette. Each act is one entry of the history."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from PySide6.QtCore import QPointF
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QColorDialog, QInputDialog

from engine.contracts.errors import TesseraError
from engine.contracts.workflow import Bookmark, Node, NodeMode
from engine.graph.subgraphs import SUBGRAPH
from studio_app.documents import clipboard
from studio_app.documents.arrange_edits import Axis, Edge, GroupNodes, LayOut, SetGroups, align, distribute
from studio_app.documents.edits import (
    AddNodes,
    Edit,
    MoveNodes,
    RemoveNodes,
    SetBookmarks,
    collapse,
    pin,
    set_colour,
    set_mode,
    set_title,
)
from studio_app.documents.subgraph_edits import MakeSubgraph, UnpackSubgraph
from ui.graph_canvas.canvas import Canvas
from ui.graph_canvas.frames import frame_at
from ui.graph_canvas.geometry import GRID, NOTE
from ui.graph_canvas.walking import Way, step

PASTE_STEP = 30.0
BESIDE = 60.0  # canvas pixels between a node and one that is added to it
FRAME_COLOURS = ("#5b9dff", "#62cf8c", "#f2b84b", "#ff8078", "#b39ddb", "#80cbc4")


class Acts:
    """Acts on one canvas. What the document refuses is said in its own sentence, and nothing is changed."""

    def __init__(self, canvas: Canvas) -> None:
        self.canvas = canvas
        self.scene, self.view, self.document = canvas.scene, canvas.view, canvas.document

    # ---- helpers

    def do(self, label: str, *edits: Edit, merge: str = "") -> bool:
        """Make edits as one entry; whether they could be."""
        try:
            self.document.edit(label, *edits, merge=merge)
        except TesseraError as error:
            self.canvas.say(str(error))
            return False
        return True

    def chosen(self) -> list[str]:
        """The selected nodes in the document's order; says so when there are none."""
        found = [name for name in self.document.nodes if name in self.scene.selected]
        if not found:
            self.canvas.say("Select a node first.")
        return found

    def sizes(self, names: Iterable[str] | None = None) -> dict[str, tuple[float, float]]:
        """How large nodes are drawn."""
        items = self.scene.items_by_id
        return {n: (items[n].layout.width, items[n].layout.height) for n in (items if names is None else names)}

    def pointer_or_middle(self) -> QPointF:
        """Where a new thing goes: under the pointer, else beside what is selected, else into the middle."""
        port = self.view.viewport()
        place = port.mapFromGlobal(self.view.cursor().pos())
        if port.rect().contains(place) and port.underMouse() and not self.view.walking:
            return self.view.to_scene(QPointF(place))
        beside = self.canvas.chosen_item_corner()
        return beside + QPointF(BESIDE, 16.0) if beside is not None else self.view.centre()

    # ---- history

    def undo(self) -> None:
        label = self.document.undo()
        self.canvas.say(f"Undone: {label}" if label else "There is nothing to undo.")

    def redo(self) -> None:
        label = self.document.redo()
        self.canvas.say(f"Done again: {label}" if label else "There is nothing to do again.")

    # ---- clipboard, deleting

    def copy(self) -> bool:
        names = self.chosen()
        if names:
            QGuiApplication.clipboard().setText(clipboard.copied(self.document, names))
        return bool(names)

    def cut(self) -> None:
        if self.copy():
            names = self.chosen()
            self.do("Cut" if len(names) == 1 else f"Cut {len(names)} nodes", RemoveNodes(tuple(names)))

    def paste(self) -> None:
        """Nodes from the clipboard; another program's workflow opens in a tab of its own."""
        text = QGuiApplication.clipboard().text()
        try:
            fragment = clipboard.read_fragment(text)
        except TesseraError as error:
            if not self.canvas.foreign_text(text):
                self.canvas.say(str(error))
            return
        at = self.pointer_or_middle()
        self._add_copies(clipboard.Paste(fragment, (at.x(), at.y())), "Paste")

    def duplicate(self) -> None:
        names = self.chosen()
        if not names:
            return
        box = self.scene.bounds(names)
        fragment = clipboard.read_fragment(clipboard.copied(self.document, names))
        at = (box.left() + PASTE_STEP, box.top() + PASTE_STEP)
        self._add_copies(clipboard.Paste(fragment, at, keep_wires=True), "Duplicate")

    def _add_copies(self, edit: clipboard.Paste, label: str) -> None:
        names = list(edit.names(self.document).values())
        if self.do(label, edit):
            self.scene.select(names)
            self.scene.raise_nodes(names)
            self.view.ensure_seen(self.scene.bounds(names))

    def delete(self, *, keep_wires: bool = False) -> None:
        names = self.chosen()
        if names:
            title = self.scene.items_by_id[names[0]].title
            label = f"Delete “{title}”" if len(names) == 1 else f"Delete {len(names)} nodes"
            self.do(label, RemoveNodes(tuple(names), keep_wires))

    # ---- selecting and going

    def select_all(self) -> None:
        self.scene.select(self.document.nodes)

    def select_upstream(self) -> None:
        self.scene.select(self.document.upstream(self.scene.selected))

    def select_downstream(self) -> None:
        self.scene.select(self.document.downstream(self.scene.selected))

    def go(self, way: Way) -> None:
        """Select the neighbour and bring it into view."""
        here = next(iter(self.scene.selected)) if len(self.scene.selected) == 1 else ""
        found = step(self.scene, here, way)
        if found:
            self.view.walking = True
            self.scene.select([found])
            self.view.ensure_seen(self.scene.items_by_id[found].rect())

    def nudge(self, dx: float, dy: float) -> None:
        names = self.chosen()
        nodes = self.document.nodes
        moved = {n: (nodes[n].position[0] + dx * GRID, nodes[n].position[1] + dy * GRID) for n in names}
        if moved:
            self.do("Move", MoveNodes(moved), merge="nudge " + ",".join(sorted(moved)))
            self.view.ensure_seen(self.scene.bounds(names))

    # ---- looks

    def toggle_mode(self, mode: NodeMode) -> None:
        """Mute or bypass; where all are so already, wake them."""
        names = self.chosen()
        if names:
            awake = all(self.document.nodes[n].mode == mode for n in names)
            words = {"mute": "Mute", "bypass": "Bypass", "active": "Wake"}
            wanted: NodeMode = "active" if awake else mode
            self.do(words[wanted], set_mode(names, wanted))

    def toggle_fold(self) -> None:
        names = self.chosen()
        if names:
            folded = all(self.document.nodes[n].collapsed for n in names)
            self.do("Unfold" if folded else "Fold", collapse(names, not folded))

    def toggle_pin(self) -> None:
        names = self.chosen()
        if names:
            pinned = all(self.document.nodes[n].pinned for n in names)
            self.do("Unpin" if pinned else "Pin", pin(names, not pinned))

    def colour(self, colour: str | None = None) -> None:
        """Colour the selected nodes; None asks which."""
        names = self.chosen()
        if not names:
            return
        if colour is None:
            dialog = QColorDialog(self.canvas)
            dialog.setOption(QColorDialog.ColorDialogOption.DontUseNativeDialog)
            dialog.colorSelected.connect(lambda found: self.do("Colour", set_colour(names, found.name())))
            dialog.open()
        else:
            self.do("Colour" if colour else "No colour", set_colour(names, colour))

    def rename(self) -> None:
        """Ask for a title; an empty one gives the type's own back."""
        names = self.chosen()
        if len(names) == 1:
            self.ask(
                "Title", self.scene.items_by_id[names[0]].title, lambda t: self.do("Rename", set_title(names[0], t))
            )

    def rename_frame(self, place: QPointF) -> None:
        found = frame_at(self.document.groups, place)
        if found is not None:
            index = found[0]

            def give(title: str) -> None:
                groups = list(self.document.groups)
                groups[index] = replace(groups[index], title=title)
                self.do("Rename the frame", SetGroups(tuple(groups)))

            self.ask("Title of the frame", self.document.groups[index].title, give)

    def ask(self, label: str, text: str, take: Callable[[str], object]) -> None:
        """Ask for one line without locking the window."""
        dialog = QInputDialog(self.canvas)
        dialog.setLabelText(label)
        dialog.setWindowTitle(label)
        dialog.setTextValue(text)
        dialog.textValueSelected.connect(take)
        dialog.finished.connect(lambda: self._return())
        dialog.open()

    def _return(self) -> None:
        """The keyboard goes back to the canvas when a little dialog is done."""
        self.view.activateWindow()
        self.view.setFocus()

    # ---- arranging

    def align(self, edge: Edge) -> None:
        names = self.chosen()
        if names:
            self.do("Align", align(self.document, names, edge, self.sizes(names)))

    def distribute(self, axis: Axis) -> None:
        names = self.chosen()
        if len(names) < 3:
            self.canvas.say("Select three nodes or more to space them evenly.")
        else:
            self.do("Space evenly", distribute(self.document, names, axis, self.sizes(names)))

    def lay_out(self) -> None:
        names = tuple(n for n in self.document.nodes if n in self.scene.selected)
        names = names if len(names) > 1 else ()
        if self.do("Lay out", LayOut(names, self.sizes())):
            self.view.frame_nodes(names or None)

    def group(self) -> None:
        names = self.chosen()
        if names:
            colour = FRAME_COLOURS[len(self.document.groups) % len(FRAME_COLOURS)]
            self.do("Frame", GroupNodes(tuple(names), "Frame", colour, self.sizes(names)))

    def ungroup(self) -> None:
        """Take away the frames that hold a selected node."""
        items = self.scene.items_by_id
        middles = [items[n].rect().center() for n in self.scene.selected if n in items]

        def holds(rectangle: tuple[float, float, float, float]) -> bool:
            x, y, width, height = rectangle
            return any(x <= p.x() <= x + width and y <= p.y() <= y + height for p in middles)

        kept = tuple(g for g in self.document.groups if not holds(g.rectangle))
        if len(kept) == len(self.document.groups):
            self.canvas.say("No frame holds a selected node.")
        else:
            self.do("Remove the frame", SetGroups(kept))

    def remove_frame(self, index: int) -> None:
        groups = self.document.groups
        self.do("Remove the frame", SetGroups((*groups[:index], *groups[index + 1 :])))

    def colour_frame(self, index: int, colour: str) -> None:
        groups = list(self.document.groups)
        groups[index] = replace(groups[index], colour=colour)
        self.do("Colour the frame", SetGroups(tuple(groups)))

    def note(self) -> None:
        place = self.pointer_or_middle()
        node = Node(id=self.document.new_id("note"), type=NOTE, position=(place.x(), place.y()))
        if self.do("Note", AddNodes((node,))):
            self.scene.select([node.id])
            self.view.edit_wanted.emit(node.id, "text")

    # ---- subgraphs

    def make_subgraph(self) -> None:
        names = self.chosen()
        if names and self.do("Make a subgraph", MakeSubgraph(tuple(names))):
            made = [n for n, node in self.document.nodes.items() if node.type.startswith(SUBGRAPH)]
            self.scene.select(made[-1:])

    def unpack(self) -> None:
        names = [n for n in self.chosen() if self.document.nodes[n].type.startswith(SUBGRAPH)]
        if names:
            self.do("Unpack", *(UnpackSubgraph(n) for n in names))
        elif self.scene.selected:
            self.canvas.say("This is no subgraph: there is nothing to unpack.")

    def open_node(self, name: str) -> bool:
        """Go into a subgraph; whether it is one."""
        if not self.document.nodes[name].type.startswith(SUBGRAPH):
            return False
        self.canvas.go_to_level((*self.document.level, name))
        return True

    def edit_node(self) -> None:
        """Enter: into a subgraph, else to the first value."""
        names = self.chosen()
        if len(names) != 1 or self.open_node(names[0]):
            return
        item = self.scene.items_by_id[names[0]]
        if item.layout.shape == "note":
            self.view.edit_wanted.emit(names[0], "text")
            return
        first = next((row.input for row in item.layout.rows if row.kind != "slot"), "")
        self.view.edit_wanted.emit(names[0], first)

    def level_up(self) -> None:
        if self.document.level:
            inner = self.document.level[-1]
            self.canvas.go_to_level(self.document.level[:-1])
            self.scene.select([inner])

    # ---- bookmarks

    def bookmark(self) -> None:
        centre = self.view.centre()
        bookmarks = self.document.content.bookmarks
        mark = Bookmark(
            name=f"View {len(bookmarks) + 1}", centre=(centre.x(), centre.y()), scale=self.view.scale_factor,
            level=self.document.level,
        )  # fmt: skip
        if self.do("Bookmark", SetBookmarks((*bookmarks, mark))):
            self.canvas.say(f"“{mark.name}” is in the list of Ctrl+F.")

    def go_to_bookmark(self, mark: Bookmark) -> None:
        if mark.level != self.document.level:
            self.canvas.go_to_level(mark.level)
        if mark.level != self.document.level:
            return  # the subgraph it looks into is gone, which was said
        self.view.look_at(QPointF(*mark.centre), mark.scale)
