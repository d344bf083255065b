"""The graph canvas: building, painting, panning, zooming, dragging and editing at 100, 1,000 and 5,000 nodes.

Processor milliseconds of the whole process on Qt's offscreen platform, 1600 × 1000, medians of nine or more. Every size
and every program runs in a process of its own, so that memory is its own and none warms another up.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.contracts.workflow import Link, Node, Workflow
from engine.graph.node import In, NodeContext, node
from engine.graph.registry import Registry
from engine.graph.values import Image
from tests.benchmarks.harness import Goal, Report, cpu_ms, median_cpu_ms, percentile

if TYPE_CHECKING:
    from typing import Annotated

    from PySide6.QtWidgets import QApplication, QWidget

    from studio_app.documents.graph_document import GraphDocument
    from ui.graph_canvas.view import GraphView
else:
    from typing import Annotated

ROOT = Path(__file__).resolve().parents[2]
SIZES = (100, 1000, 5000)
WINDOW = (1600, 1000)
PITCH = (300.0, 420.0)  # scene pixels from node to node
ROUNDS = 11
RIVAL_TYPE = "bench.RivalNode"


@node("bench.full", category="Benchmark", outputs=("image",), title="Full-featured")
def full(
    ctx: NodeContext,
    image: Image,
    other: Image,
    strength: float = 0.75,
    steps: int = 25,
    seed: Annotated[int, In(seed=True)] = 0,
    sampler: Annotated[str, In(choices=("euler", "heun", "ddim"))] = "euler",
    exact: bool = True,
    name: str = "a name of middling length",
) -> Image:
    """Six values, two pictures in, one out with its preview."""
    return image


def workflow(count: int) -> Workflow:
    """`count` nodes in a square, each fed by the one before and the one above."""
    side = math.isqrt(count - 1) + 1
    nodes = []
    for index in range(count):
        inputs: dict[str, Any] = {"seed": index, "strength": round(index / count, 3)}
        if index:
            inputs["image"] = Link(str(index - 1), "image")
        if index >= side:
            inputs["other"] = Link(str(index - side), "image")
        place = ((index % side) * PITCH[0], (index // side) * PITCH[1])
        nodes.append(Node(id=str(index), type="bench.full", title=f"Node {index}", inputs=inputs, position=place))
    return Workflow(nodes=tuple(nodes))


# ---- ours, in a process of its own


def measure(count: int) -> dict[str, float]:
    """The figures of our canvas with `count` nodes."""
    qt = _application()
    from studio_app.documents.graph_document import GraphDocument
    from ui import theme
    from ui.graph_canvas.scene import GraphScene
    from ui.graph_canvas.tools.pointer import Pointer
    from ui.graph_canvas.view import GraphView

    theme.apply(qt, "dark", 1.0)
    registry = Registry.builtin().with_nodes(full)
    whole = workflow(count)

    def build(content: Workflow) -> GraphView:
        scene = GraphScene(GraphDocument(content, registry))
        view = GraphView(scene)
        Pointer(view)
        return view

    def show(view: GraphView) -> None:
        _dress(view)
        view.resize(*WINDOW)
        view.show()
        qt.processEvents()
        for scale in (0.0, 1.0):
            view.look_at(view.graph.bounds().center(), 1.0) if scale else view.frame_nodes()
            view.wait_for_pictures()
            qt.processEvents()

    view = build(workflow(4))  # an empty window, fonts and the interpreter's warming up are no cost of a graph
    show(view)
    before = _resident()
    _drop(qt, view)
    view = build(whole)
    show(view)
    gc.collect()
    memory = _resident() - before
    builds = []
    for _ in range(ROUNDS):
        made: list[GraphView] = []
        _drop(qt, view)
        del view
        gc.collect()
        builds.append(cpu_ms(lambda m=made: m.append(build(whole))))  # type: ignore[misc]
        view = made[0]
    show(view)
    figures = {"build_ms": statistics.median(builds), "memory_mib": memory}
    view.frame_nodes()
    view.wait_for_pictures()
    qt.processEvents()
    port = view.viewport()
    figures["repaint_all_ms"] = median_cpu_ms(port.repaint, ROUNDS)
    figures["pan_all_ms"] = statistics.median(_pans(qt, view))
    middle = view.graph.bounds().center()
    view.look_at(middle, 1.0)
    view.wait_for_pictures()
    qt.processEvents()
    figures["repaint_near_ms"] = median_cpu_ms(port.repaint, ROUNDS)
    figures["pan_near_ms"] = statistics.median(_pans(qt, view))
    sweep = _sweep(qt, view)
    figures["zoom_worst_frame_ms"], figures["zoom_median_frame_ms"] = max(sweep), statistics.median(sweep)
    view.look_at(middle, 1.0)
    view.wait_for_pictures()
    qt.processEvents()
    drags = _drag(qt, view)
    figures["drag_event_ms"], figures["drag_event_p95_ms"] = statistics.median(drags), percentile(drags, 0.95)
    figures["connect_ms"] = _connect(view.graph.document)
    figures["undo_move_ms"] = _undo(qt, view)
    return figures


def _dress(view: GraphView) -> None:
    """A state on every node and a preview on every third, as after a run."""
    from PySide6.QtGui import QImage

    from ui.graph_canvas.states import NodeState

    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (64, 64, 4), np.uint8).tobytes()
    picture = QImage(pixels, 64, 64, QImage.Format.Format_RGB32).copy()
    for index, name in enumerate(view.graph.items_by_id):
        view.graph.states[name] = NodeState("done", seconds=index % 50 / 10)
        if index % 3 == 0:
            view.graph.previews[name] = picture


def _pans(qt: QApplication, view: GraphView) -> list[float]:
    """Steps of a pan as a hand makes them, each with its repaint."""
    spent = []
    for index in range(41):
        step = 7 if index % 2 else 6

        def pan(step: int = step) -> None:
            view.pan(step, 5)
            qt.processEvents()

        spent.append(cpu_ms(pan))
    return spent[1:]


def _sweep(qt: QApplication, view: GraphView) -> list[float]:
    """From 1:1 out to everything and in again, in steps of the wheel."""
    spent = []
    for factor in [1 / 1.15] * 22 + [1.15] * 22:

        def zoom(factor: float = factor) -> None:
            view.zoom(factor)
            qt.processEvents()

        spent.append(cpu_ms(zoom))
    return spent


def _drag(qt: QApplication, view: GraphView) -> list[float]:
    """A node dragged by its title with real mouse events; each with its repaint."""
    from PySide6.QtCore import QEvent, QPointF, Qt
    from PySide6.QtGui import QMouseEvent

    port = view.viewport()
    item = min(
        view.graph.items_by_id.values(), key=lambda i: (i.rect().center() - view.centre()).manhattanLength()
    )  # fmt: skip
    left, none = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton
    start = view.viewportTransform().map(QPointF(item.corner[0] + 120, item.corner[1] + 14))

    def send(kind: QEvent.Type, place: QPointF, button: Qt.MouseButton, held: Qt.MouseButton) -> None:
        event = QMouseEvent(kind, place, QPointF(port.mapToGlobal(place.toPoint())), button, held,
                            Qt.KeyboardModifier.NoModifier)  # fmt: skip
        qt.sendEvent(port, event)
        qt.processEvents()

    send(QEvent.Type.MouseButtonPress, start, left, left)
    spent = []
    for index in range(60):
        place = start + QPointF(4 * math.sin(index / 3) * 20, index * 2.0)
        spent.append(cpu_ms(lambda p=place: send(QEvent.Type.MouseMove, p, none, left)))  # type: ignore[misc]
    send(QEvent.Type.MouseButtonRelease, place, left, none)
    return spent[3:]  # the first begin the gesture


def _connect(document: GraphDocument) -> float:
    """Laying a wire from the first node to the last, checked for circles, shown; each time taken off again."""
    from studio_app.documents.edits import Connect, Disconnect
    from studio_app.documents.graph_document import Wire

    names = list(document.nodes)
    wire = Wire(names[0], "image", names[-1], "other")
    spent = []
    for _ in range(ROUNDS):
        document.edit("Cut", Disconnect((wire,)))

        def lay() -> None:
            if not document.can_connect(wire):
                document.edit("Connect", Connect(wire))

        spent.append(cpu_ms(lay))
    return statistics.median(spent)


def _undo(qt: QApplication, view: GraphView) -> float:
    """Taking back and doing again a move of (at most) 1,000 nodes, with the repaint of everything."""
    from studio_app.documents.edits import MoveNodes

    document = view.graph.document
    view.frame_nodes()
    view.wait_for_pictures()
    qt.processEvents()
    moved = list(document.nodes.items())[:1000]
    document.edit("Move", MoveNodes({name: (n.position[0] + 40, n.position[1]) for name, n in moved}))
    qt.processEvents()
    spent = []
    for index in range(ROUNDS):
        act: Callable[[], object] = document.undo if index % 2 == 0 else document.redo

        def travel(act: Callable[[], object] = act) -> None:
            act()
            qt.processEvents()

        spent.append(cpu_ms(travel))
    return statistics.median(spent)


def _drop(qt: QApplication, view: GraphView) -> None:
    view.graph.close()
    view.hide()
    view.deleteLater()
    qt.processEvents()


# ---- NodeGraphQt, in a process of its own


def measure_rival(count: int) -> dict[str, float]:
    """The same of NodeGraphQt: nodes with two inputs and an output and no fields, which is less than ours show."""
    import warnings

    qt = _application()
    warnings.simplefilter("ignore")
    from NodeGraphQt import BaseNode, NodeGraph  # type: ignore[import-untyped,import-not-found,unused-ignore]
    from PySide6.QtCore import QPointF

    class RivalNode(BaseNode):  # type: ignore[misc]  # untyped
        __identifier__ = "bench"
        NODE_NAME = "Full"

        def __init__(self) -> None:
            super().__init__()
            self.add_input("image")
            self.add_input("other")
            self.add_output("out")

    side = math.isqrt(count - 1) + 1
    before = _resident()

    def build(number: int) -> Any:
        graph = NodeGraph()
        graph.set_acyclic(False)  # its check for circles takes exponential time on such a grid
        graph.register_node(RivalNode)
        nodes = [
            graph.create_node(RIVAL_TYPE, name=f"Node {i}", selected=False, push_undo=False,
                              pos=[(i % side) * PITCH[0], (i // side) * PITCH[1]])
            for i in range(number)
        ]  # fmt: skip
        for i in range(1, number):
            nodes[i].input(0).connect_to(nodes[i - 1].output(0), push_undo=False, emit_signal=False)
            if i >= side:
                nodes[i].input(1).connect_to(nodes[i - side].output(0), push_undo=False, emit_signal=False)
        return graph

    build(10)
    made: list[Any] = []
    figures = {"build_ms": cpu_ms(lambda: made.append(build(count)))}
    graph = made[0]
    viewer = graph.viewer()
    graph.widget.resize(*WINDOW)
    graph.widget.show()
    viewer.resize(*WINDOW)
    qt.processEvents()
    port: QWidget = viewer.viewport()

    def pans() -> float:
        spent = []
        for _ in range(ROUNDS):

            def pan() -> None:
                viewer._set_viewer_pan(7, 5)
                qt.processEvents()

            spent.append(cpu_ms(pan))
        return statistics.median(spent)

    box = viewer.scene().itemsBoundingRect()
    viewer._scene_range = box
    viewer._update_scene()
    viewer.fitInView(box)
    qt.processEvents()
    figures["repaint_all_ms"] = median_cpu_ms(port.repaint, ROUNDS)
    figures["pan_all_ms"] = pans()
    scale = 1.0 / viewer.transform().m11()
    viewer.scale(scale, scale)
    viewer.centerOn(QPointF(box.center()))
    qt.processEvents()
    figures["repaint_near_ms"] = median_cpu_ms(port.repaint, ROUNDS)
    figures["pan_near_ms"] = pans()
    figures["memory_mib"] = _resident() - before
    return figures


# ---- the report


def run() -> Report:
    """Figures by size; those of NodeGraphQt at 1,000 nodes and the ratios where it is installed."""
    figures: dict[str, float] = {}
    for count in SIZES:
        for name, value in _child("ours", count).items():
            stem, _, unit = name.rpartition("_")
            figures[f"{stem}_{count}_{unit}"] = value
    notes = [
        "All: everything is seen. Near: at 1:1. Zoom frames, pan steps and drag events count their repaint.",
        "Undo: of a move of 1,000 nodes (100 at 100), everything seen. Memory: beyond that of an empty window.",
    ]
    rival = _rival()
    for name, value in rival.items():
        stem, _, unit = name.rpartition("_")
        figures[f"nodegraphqt_{stem}_1000_{unit}"] = value
    for name in ("build", "repaint_all", "repaint_near", "pan_all", "pan_near"):
        if f"{name}_ms" in rival:
            figures[f"ratio_{name}"] = round(rival[f"{name}_ms"] / max(figures[f"{name}_1000_ms"], 1e-6), 2)
    if not rival:
        notes.append("NodeGraphQt is not installed (the extra “bench”), so that it is not beside.")
    goals: dict[str, Goal] = {
        "build_1000_ms": ("<=", 100), "repaint_all_1000_ms": ("<=", 16), "repaint_near_1000_ms": ("<=", 6),
        "pan_all_1000_ms": ("<=", 2), "pan_near_1000_ms": ("<=", 2), "zoom_worst_frame_1000_ms": ("<=", 25),
        "drag_event_1000_ms": ("<=", 3), "drag_event_p95_1000_ms": ("<=", 6), "connect_1000_ms": ("<=", 1),
        "memory_1000_mib": ("<=", 35), "build_5000_ms": ("<=", 600), "repaint_all_5000_ms": ("<=", 25),
    }  # fmt: skip
    if rival:
        goals |= {
            "ratio_repaint_all": (">=", 15), "ratio_repaint_near": (">=", 4), "ratio_pan_all": (">=", 15),
            "ratio_pan_near": (">=", 15), "ratio_build": (">=", 10),
        }  # fmt: skip
    return Report("canvas", {name: round(value, 3) for name, value in figures.items()}, goals, notes)


def _rival() -> dict[str, float]:
    from importlib.util import find_spec

    return _child("rival", 1000) if find_spec("NodeGraphQt") is not None else {}


def _child(which: str, count: int) -> dict[str, float]:
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen", "QT_SCALE_FACTOR": "1", "OMP_NUM_THREADS": "1",
                   "QT_PREFERRED_BINDING": "PySide6"}  # fmt: skip
    command = [sys.executable, "-m", "tests.benchmarks.canvas", which, str(count)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the canvas could not be measured: {done.stderr.strip()[-600:]}")
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def _application() -> QApplication:
    from PySide6.QtWidgets import QApplication

    found = QApplication.instance() or QApplication([])
    assert isinstance(found, QApplication)
    return found


def _resident() -> float:
    """Resident MiB of this process."""
    import psutil

    return float(psutil.Process().memory_info().rss) / 2**20


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("which", choices=("ours", "rival"))
    parser.add_argument("count", type=int)
    options = parser.parse_args(arguments)
    found = measure(options.count) if options.which == "ours" else measure_rival(options.count)
    print(json.dumps(found), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
