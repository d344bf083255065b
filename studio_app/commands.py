"""Everything a person can do, once: menus, shortcuts, the palette and the command line's help come from this table.

A command names what it does; who can do it binds a handler. A command without a handler is disabled, never dead.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from engine.contracts.errors import UnknownChoice
from studio_app.events import Signal, Unsubscribe


@dataclass(frozen=True)
class Command:
    """`shortcut` is portable ("Ctrl+Return"; Ctrl is the command key on a Mac). `menu` is where it stands."""

    id: str
    title: str
    help: str
    menu: str
    shortcut: str = ""
    icon: str = ""
    checkable: bool = False


MENUS = ("File", "Edit", "Create", "Picture", "Graph", "Nodes", "Models", "View", "Help")

TABLE: tuple[Command, ...] = (
    Command("file.open_picture", "Start from a picture…", "Choose a picture to start from.", "File", "Ctrl+O", "image"),
    Command("picture.save_as", "Save picture as…", "Save the chosen picture under a name of your own.", "File",
            "Ctrl+S", "save"),
    Command("library.save_unsaved", "Save unsaved pictures…",
            "Save the pictures that could not be written to a folder of your choice.", "File"),
    Command("file.open_output_folder", "Show pictures folder", "Open the folder that finished pictures are saved in.",
            "File", icon="folder"),
    Command("models.import", "Import models…", "Copy model files into the studio's folder.", "Models", icon="download"),
    Command("models.import_folder", "Import the models of a folder…", "Copy every model below a folder.", "Models"),
    Command("models.fetch", "Fetch a model by its address…", "Download from Hugging Face, Civitai or any https.",
            "Models", icon="globe"),
    Command("models.look_again", "Look for new models", "Look into every models folder again.", "Models",
            icon="refresh-cw"),
    Command("models.free_memory", "Free memory now",
            "Let go of every loaded model; each is loaded again when it is used.", "Models"),
    Command("models.will_it_fit", "Will it fit?…", "See how any model would run on any card, before adding it.",
            "Models", icon="memory-stick"),
    Command("models.undo_remove", "Bring back the removed model", "Undo the last move to the trash.", "Models",
            icon="undo"),
    Command("app.preferences", "Preferences…", "Change the studio's settings.", "File", "Ctrl+,", "settings"),
    Command("app.custom_nodes", "Nodes of your own…", "See which plugins were found, and let them run or not.", "File",
            icon="shield-check"),
    Command("app.quit", "Quit", "Close the studio; everything is kept.", "File", "Ctrl+Q"),
    Command("picture.copy", "Copy picture", "Copy the chosen picture to the clipboard.", "Edit", "Ctrl+C", "copy"),
    Command("picture.copy_parameters", "Copy parameters", "Copy the prompt and settings of the chosen picture as text.",
            "Edit", "Ctrl+Shift+C"),
    Command("edit.paste_picture", "Paste as input", "Start from the picture on the clipboard.", "Edit", "Ctrl+Shift+V"),
    Command("picture.delete", "Delete picture", "Take the chosen picture out of the library.", "Edit",
            "Delete", "trash"),
    Command("create.generate", "Generate", "Make pictures from the prompt.", "Create", "Ctrl+Return", "generate"),
    Command("create.cancel", "Cancel", "Stop the picture that is being made at the next step.", "Create", "Escape",
            "cancel"),
    Command("create.cancel_all", "Cancel all", "Stop everything that is running or waiting.", "Create", "Shift+Escape"),
    Command("create.roll_seed", "New seed", "Draw another seed.", "Create", "Ctrl+R", "dice"),
    Command("create.lock_seed", "Keep the seed", "Use the same seed for the next pictures.", "Create", "Ctrl+L", "lock",
            checkable=True),
    Command("create.swap_size", "Swap width and height", "Turn the shape by 90 degrees.", "Create", "Ctrl+T"),
    Command("create.several_prompts", "Several prompts at once", "One prompt on each line, one picture job for each.",
            "Create", "Ctrl+Shift+P", checkable=True),
    Command("create.toggle_advanced", "Advanced settings", "Show or hide model, sampler, steps, guidance and size.",
            "Create", "Ctrl+D", checkable=True),
    Command("create.focus_prompt", "Go to the prompt", "Put the cursor into the prompt.", "Create", "Ctrl+E"),
    Command("create.open_as_graph", "Open as graph", "See and change the workflow that Generate would run.", "Create",
            icon="workflow"),
    Command("create.clear_input", "Remove input picture", "Start from noise again.", "Create"),
    Command("picture.use_as_input", "Use as input", "Start the next picture from the chosen one.", "Picture", "Ctrl+I",
            "input"),
    Command("picture.variations", "Make variations", "Make more like the chosen picture.", "Picture", "Ctrl+M",
            "variations"),
    Command("picture.enlarge", "Enlarge 2×", "Make the chosen picture twice as wide and as high.", "Picture",
            "Ctrl+Shift+E", "expand"),
    Command("picture.reuse_settings", "Use its settings", "Bring the chosen picture's prompt and settings back.",
            "Picture", "Ctrl+U"),
    Command("picture.open_as_graph", "Open as graph", "See and change the workflow that made the chosen picture.",
            "Picture", "", "workflow"),
    Command("picture.show_difference", "Show what going fast changed",
            "Make the exact picture of the same seed and lay both over each other.", "Picture"),
    Command("picture.open", "Open large", "See the chosen picture large.", "Picture", "Return"),
    Command("picture.show_file", "Show in folder", "Show the chosen picture's file.", "Picture"),
    Command("graph.new", "New workflow", "Open an empty workflow in a tab of its own.", "File", "Ctrl+N", "workflow"),
    Command("graph.open", "Open workflow…", "Open a workflow file in a tab of its own.", "File", "Ctrl+Shift+O",
            "folder"),
    Command("graph.save", "Save workflow", "Write the workflow to its file.", "File", "Ctrl+S", "save"),
    Command("graph.save_as", "Save workflow as…", "Write the workflow to a file of your choice.", "File",
            "Ctrl+Shift+S"),
    Command("graph.close_tab", "Close workflow", "Close the tab in front.", "File", "Ctrl+W"),
    Command("graph.gallery", "Start from a template…", "Choose one of the workflows that come with the studio.", "File",
            "Ctrl+Shift+N"),
    Command("graph.report", "What was opened", "Read again what was understood of the file and what is missing here.",
            "File"),
    Command("graph.versions", "Versions…", "See former versions of this workflow, what changed, and go back to one.",
            "File", "Ctrl+Alt+H", "history"),
    Command("graph.run", "Run what changed",
            "Run the workflow: what changed since its last run and what depends on it; the rest is kept.", "Graph",
            "Ctrl+Return", "play"),
    Command("graph.run_anew", "Run all anew", "Run every node of the workflow, whatever was kept of earlier runs.",
            "Graph", "Ctrl+Alt+Return", "refresh-cw"),
    Command("graph.run_to_here", "Run to the selected nodes", "Make only what the selected nodes need.", "Graph",
            "Ctrl+Shift+Return"),
    Command("graph.cancel", "Stop the workflow", "Stop what this workflow runs at the next step.", "Graph", "Escape",
            "cancel"),
    Command("graph.undo", "Undo in the workflow", "Take the last change of the workflow back.", "Graph", "Ctrl+Z",
            "undo"),
    Command("graph.redo", "Redo in the workflow", "Do again what was taken back.", "Graph", "Ctrl+Shift+Z", "redo"),
    Command("graph.search", "Add a node…", "Find a node by its name, its sockets or what it does.", "Graph", "Space",
            "plus"),
    Command("graph.find", "Go to a node…", "Find a node, frame or bookmark of this workflow and look there.", "Graph",
            "Ctrl+F", "search"),
    Command("graph.frame_all", "Show everything", "See the whole workflow.", "Graph", "Home", "maximize"),
    Command("graph.frame_selected", "Show the selection", "See the selected nodes as large as they fit.", "Graph", "F",
            "scan"),
    Command("graph.zoom_in", "Zoom in", "Look closer.", "Graph", "+", "zoom-in"),
    Command("graph.zoom_out", "Zoom out", "See more.", "Graph", "-", "zoom-out"),
    Command("graph.actual_size", "Actual size", "See nodes in their own size.", "Graph", "Z"),
    Command("graph.minimap", "Minimap", "Show or hide the map of the whole workflow.", "Graph", "Ctrl+M",
            checkable=True),
    Command("graph.form", "Form", "Show the workflow as a form, or as nodes again.", "Graph", "Ctrl+Alt+F"),
    Command("graph.open_in_create", "Open in Create", "Go on in Create with what this workflow makes, where it can.",
            "Graph", "", "sparkles"),
    Command("graph.previews", "Pictures on nodes", "Show or hide on each node what it made last.", "Graph",
            "Ctrl+Alt+P"),
    Command("graph.outline", "Outline", "Show or hide the list of all nodes beside the canvas.", "Graph", "Ctrl+Alt+O",
            checkable=True),
    Command("graph.snap", "Snap to the grid", "Let nodes that are moved rest on a grid.", "Graph", "Shift+S",
            checkable=True),
    Command("graph.bookmark", "Bookmark this view", "Remember what you look at, to come back to it.", "Graph",
            "Ctrl+B", "star"),
    Command("graph.level_up", "Leave the subgraph", "Go back to the workflow around it.", "Graph", "Backspace"),
    Command("graph.lay_out", "Lay out", "Put the selected nodes, or all, in order from left to right.", "Graph", "L",
            "grid-2x2"),
    Command("graph.select_all", "Select all nodes", "Select everything in this workflow.", "Nodes", "Ctrl+A"),
    Command("graph.select_upstream", "Select what feeds it", "Select all nodes that lead to the selected ones.",
            "Nodes", "Shift+Left"),
    Command("graph.select_downstream", "Select what it feeds", "Select all nodes that follow the selected ones.",
            "Nodes", "Shift+Right"),
    Command("graph.copy", "Copy nodes", "Copy the selected nodes as text.", "Nodes", "Ctrl+C", "copy"),
    Command("graph.cut", "Cut nodes", "Copy the selected nodes and take them away.", "Nodes", "Ctrl+X"),
    Command("graph.paste", "Paste nodes", "Add the nodes that were copied.", "Nodes", "Ctrl+V"),
    Command("graph.duplicate", "Duplicate nodes", "Add the selected nodes once more.", "Nodes", "Ctrl+D"),
    Command("graph.delete", "Delete nodes", "Take the selected nodes and their wires away.", "Nodes", "Delete",
            "trash"),
    Command("graph.delete_keep", "Delete nodes, keep the wires", "Take nodes away and join what they stood between.",
            "Nodes", "Alt+Delete"),
    Command("graph.connect", "Connect…", "Choose from a list what to connect the selected node with.", "Nodes", "C"),
    Command("graph.swap", "Swap for another node…", "Put a node that fits in its place; wires and values stay.",
            "Nodes", "S", "refresh-cw"),
    Command("graph.edit", "Edit the node", "Change the first value of the selected node, or open its subgraph.",
            "Nodes", "Return"),
    Command("graph.rename", "Rename…", "Give the selected node or frame another title.", "Nodes", "F2"),
    Command("graph.mute", "Mute", "Leave the selected nodes, and what only they feed, out of a run.", "Nodes", "M"),
    Command("graph.bypass", "Bypass", "Let values pass the selected nodes unchanged.", "Nodes", "B"),
    Command("graph.collapse", "Fold", "Show only the title of the selected nodes.", "Nodes", "H"),
    Command("graph.pin", "Pin", "Keep the selected nodes where they are.", "Nodes", "P"),
    Command("graph.colour", "Colour…", "Give the selected nodes or frame a colour.", "Nodes", "K", "palette"),
    Command("graph.group", "Frame", "Put a titled frame around the selected nodes.", "Nodes", "Ctrl+G", "frame"),
    Command("graph.ungroup", "Remove the frame", "Take the frame around the selected nodes away.", "Nodes",
            "Ctrl+Shift+G"),
    Command("graph.note", "Note", "Add a note in Markdown.", "Nodes", "N", "message-square"),
    Command("graph.subgraph", "Make a subgraph", "Put the selected nodes into one node.", "Nodes", "Ctrl+E", "boxes"),
    Command("graph.unpack", "Unpack the subgraph", "Put a subgraph's nodes in place of its node.", "Nodes",
            "Ctrl+Shift+E"),
    Command("graph.align_left", "Align left edges", "Bring the left edges to one line.", "Nodes", "Ctrl+Shift+Left"),
    Command("graph.align_right", "Align right edges", "Bring the right edges to one line.", "Nodes",
            "Ctrl+Shift+Right"),
    Command("graph.align_top", "Align top edges", "Bring the top edges to one line.", "Nodes", "Ctrl+Shift+Up"),
    Command("graph.align_bottom", "Align bottom edges", "Bring the bottom edges to one line.", "Nodes",
            "Ctrl+Shift+Down"),
    Command("graph.distribute_across", "Space evenly across", "Make the gaps from left to right equal.", "Nodes",
            "Ctrl+Shift+H"),
    Command("graph.distribute_down", "Space evenly down", "Make the gaps from top to bottom equal.", "Nodes",
            "Ctrl+Shift+V"),
    Command("graph.go_right", "Along the wire", "Go to the node that the selected one feeds.", "Nodes", "Right"),
    Command("graph.go_left", "Back along the wire", "Go to the node that feeds the selected one.", "Nodes", "Left"),
    Command("graph.go_up", "To the node above", "Go to the nearest node above.", "Nodes", "Up"),
    Command("graph.go_down", "To the node below", "Go to the nearest node below.", "Nodes", "Down"),
    Command("graph.go_next", "To the next node", "Go to the next node; where none was chosen by key, add a node.",
            "Nodes", "Tab"),
    Command("graph.go_previous", "To the node before", "Go to the node before.", "Nodes", "Shift+Tab"),
    Command("graph.nudge_right", "Move right", "Move the selected nodes by a step.", "Nodes", "Ctrl+Right"),
    Command("graph.nudge_left", "Move left", "Move the selected nodes by a step.", "Nodes", "Ctrl+Left"),
    Command("graph.nudge_up", "Move up", "Move the selected nodes by a step.", "Nodes", "Ctrl+Up"),
    Command("graph.nudge_down", "Move down", "Move the selected nodes by a step.", "Nodes", "Ctrl+Down"),
    Command("graph.menu", "Menu of the node", "What can be done with the selected node.", "Nodes", "Menu"),
    Command("view.theme_system", "Theme: as the system", "Follow the desktop's colours.", "View"),
    Command("view.theme_dark", "Theme: dark", "Use the dark theme.", "View"),
    Command("view.theme_light", "Theme: light", "Use the light theme.", "View"),
    Command("view.theme_contrast", "Theme: high contrast", "Use the high-contrast theme.", "View"),
    Command("view.scale_up", "Larger", "Make text and controls larger.", "View", "Ctrl++"),
    Command("view.scale_down", "Smaller", "Make text and controls smaller.", "View", "Ctrl+-"),
    Command("view.scale_reset", "Normal size", "Text and controls in their normal size.", "View", "Ctrl+0"),
    Command("view.full_screen", "Full screen", "Use the whole screen.", "View", "F11", checkable=True),
    Command("view.create", "Create", "Go to the page where pictures are made.", "View", "Ctrl+1", "sparkles"),
    Command("view.graph", "Graph", "Go to the page where workflows are built from nodes.", "View", "Ctrl+2",
            "workflow"),
    Command("view.models", "Models", "Go to the page of everything that can be loaded.", "View", "Ctrl+5", "boxes"),
    Command("view.filmstrip", "Filmstrip", "Show or hide the strip of running jobs and newest pictures.", "View",
            "Ctrl+J", checkable=True),
    Command("view.inspector", "Inspector", "Show or hide the settings of what is selected.", "View", "Ctrl+Shift+J",
            checkable=True),
    Command("app.palette", "Find a command…", "Search every command by name.", "Help", "Ctrl+K", "search"),
    Command("help.shortcuts", "Keyboard shortcuts", "List every shortcut.", "Help", "F1"),
    Command("help.welcome", "Welcome", "Show the first-run page again.", "Help"),
    Command("help.system", "System report", "What the studio found on this machine.", "Help"),
    Command("help.models", "Where to get models", "How to add a large model.", "Help"),
    Command("help.about", "About Tessera Studio", "Version and licences.", "Help"),
)  # fmt: skip

Handler = Callable[[], object]


class Commands:
    """Handlers of the table's commands, bound and unbound by whoever can do them; run by id from anywhere."""

    def __init__(self, table: tuple[Command, ...] = TABLE) -> None:
        self._shipped = {command.id: command for command in table}
        self._table = dict(self._shipped)
        self._handlers: dict[str, Handler] = {}
        self._lock = threading.Lock()
        self._changed: Signal[str] = Signal()

    def all(self) -> list[Command]:
        return list(self._table.values())

    def get(self, command_id: str) -> Command:
        """The table's entry. Raises UnknownChoice."""
        found = self._table.get(command_id)
        if found is None:
            raise UnknownChoice("command", command_id, tuple(self._table))
        return found

    def shipped(self, command_id: str) -> Command:
        """The entry with the key it came with, whatever the person made of it."""
        self.get(command_id)
        return self._shipped[command_id]

    def remap(self, keys: Mapping[str, object]) -> None:
        """Give commands other keys than they came with, "" for none; those not named have their own again.

        What names no command or is no text is left out: it comes from a settings file.
        """
        for command_id, shipped in self._shipped.items():
            key = keys.get(command_id, shipped.shortcut)
            wanted = replace(shipped, shortcut=key) if isinstance(key, str) else shipped
            if wanted != self._table[command_id]:
                self._table[command_id] = wanted
                self._changed.emit(command_id)

    def sharing(self, command_id: str, key: str) -> list[Command]:
        """The other commands that have `key` where this one has it: a key can do only one thing at a place."""
        places = _places(command_id)
        return [
            other for other in self._table.values()
            if key and _plain(other.shortcut) == _plain(key) and other.id != command_id and places & _places(other.id)
        ]  # fmt: skip

    def bind(self, command_id: str, handler: Handler) -> Unsubscribe:
        """`handler()` does the command until the returned callable is called. A later binding takes precedence."""
        self.get(command_id)
        with self._lock:
            before = self._handlers.get(command_id)
            self._handlers[command_id] = handler
        self._changed.emit(command_id)

        def unbind() -> None:
            with self._lock:
                if self._handlers.get(command_id) is handler:
                    del self._handlers[command_id]
                    if before is not None:
                        self._handlers[command_id] = before
            self._changed.emit(command_id)

        return unbind

    def is_bound(self, command_id: str) -> bool:
        return command_id in self._handlers

    def run(self, command_id: str) -> bool:
        """Do a command; False when nobody can at the moment. Raises UnknownChoice."""
        self.get(command_id)
        handler = self._handlers.get(command_id)
        if handler is None:
            return False
        handler()
        return True

    def search(self, text: str) -> list[Command]:
        """Commands whose title or help has every word of `text`, title matches first."""
        words = text.lower().split()
        found = [c for c in self._table.values() if all(w in f"{c.title} {c.help}".lower() for w in words)]
        return sorted(found, key=lambda c: sum(w not in c.title.lower() for w in words))

    def on_change(self, subscriber: Callable[[str], object]) -> Unsubscribe:
        """`subscriber(command_id)` is called when a command gets or loses its handler, or gets another key."""
        return self._changed.subscribe(subscriber)


def _plain(key: str) -> str:
    """A key by its short name: toolkits write "Esc" and "Del"."""
    return key.replace("Escape", "Esc").replace("Delete", "Del")


def _places(command_id: str) -> frozenset[str]:
    """Where a command's key is heard: on the canvas, in the rest of the window. The canvas answers its keys first, so
    that it may use letters and have a save of its own; the frame's keys are to work on both."""
    head = command_id.partition(".")[0]
    if head == "graph":
        return frozenset({"canvas"})
    return frozenset({"canvas", "window"}) if head in {"view", "app", "help"} else frozenset({"window"})
