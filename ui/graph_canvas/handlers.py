"""Command → what it does on the canvas in front. The keys stand in the table of commands."""

from __future__ import annotations

from collections.abc import Callable

from ui.graph_canvas.acts import Acts
from ui.graph_canvas.finding import Finding

Act = Callable[[Acts, Finding], object]
ZOOM = 1.25


def canvas_handlers() -> dict[str, Act]:
    return {
        "graph.undo": lambda a, f: a.undo(),
        "graph.redo": lambda a, f: a.redo(),
        "graph.search": lambda a, f: f.search(),
        "graph.find": lambda a, f: f.find(),
        "graph.connect": lambda a, f: f.connect(),
        "graph.swap": lambda a, f: f.swap(),
        "graph.frame_all": lambda a, f: a.view.frame_nodes(),
        "graph.frame_selected": lambda a, f: a.view.frame_nodes(a.scene.selected or None),
        "graph.zoom_in": lambda a, f: a.view.zoom(ZOOM),
        "graph.zoom_out": lambda a, f: a.view.zoom(1 / ZOOM),
        "graph.actual_size": lambda a, f: a.view.look_at(a.view.centre(), 1.0),
        "graph.bookmark": lambda a, f: a.bookmark(),
        "graph.level_up": lambda a, f: a.level_up(),
        "graph.lay_out": lambda a, f: a.lay_out(),
        "graph.select_all": lambda a, f: a.select_all(),
        "graph.select_upstream": lambda a, f: a.select_upstream(),
        "graph.select_downstream": lambda a, f: a.select_downstream(),
        "graph.copy": lambda a, f: a.copy(),
        "graph.cut": lambda a, f: a.cut(),
        "graph.paste": lambda a, f: a.paste(),
        "graph.duplicate": lambda a, f: a.duplicate(),
        "graph.delete": lambda a, f: a.delete(),
        "graph.delete_keep": lambda a, f: a.delete(keep_wires=True),
        "graph.edit": lambda a, f: a.edit_node(),
        "graph.rename": lambda a, f: a.rename(),
        "graph.mute": lambda a, f: a.toggle_mode("mute"),
        "graph.bypass": lambda a, f: a.toggle_mode("bypass"),
        "graph.collapse": lambda a, f: a.toggle_fold(),
        "graph.pin": lambda a, f: a.toggle_pin(),
        "graph.colour": lambda a, f: a.colour(),
        "graph.group": lambda a, f: a.group(),
        "graph.ungroup": lambda a, f: a.ungroup(),
        "graph.note": lambda a, f: a.note(),
        "graph.subgraph": lambda a, f: a.make_subgraph(),
        "graph.unpack": lambda a, f: a.unpack(),
        "graph.align_left": lambda a, f: a.align("left"),
        "graph.align_right": lambda a, f: a.align("right"),
        "graph.align_top": lambda a, f: a.align("top"),
        "graph.align_bottom": lambda a, f: a.align("bottom"),
        "graph.distribute_across": lambda a, f: a.distribute("across"),
        "graph.distribute_down": lambda a, f: a.distribute("down"),
        "graph.go_right": lambda a, f: a.go("right"),
        "graph.go_left": lambda a, f: a.go("left"),
        "graph.go_up": lambda a, f: a.go("up"),
        "graph.go_down": lambda a, f: a.go("down"),
        "graph.go_next": _next_or_search,
        "graph.go_previous": lambda a, f: a.go("previous"),
        "graph.nudge_right": lambda a, f: a.nudge(1, 0),
        "graph.nudge_left": lambda a, f: a.nudge(-1, 0),
        "graph.nudge_up": lambda a, f: a.nudge(0, -1),
        "graph.nudge_down": lambda a, f: a.nudge(0, 1),
    }


def _next_or_search(acts: Acts, finding: Finding) -> None:
    """Tab goes on while the keyboard walks from node to node; else it opens the search, as people expect."""
    if acts.view.walking and acts.scene.selected:
        acts.go("next")
    else:
        finding.search()
