"""What the interchange tests share: the corpus of real files, and graphs made by hand."""

from __future__ import annotations

import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

from PIL import Image as Pillow
from PIL.PngImagePlugin import PngInfo

from engine.contracts.errors import MissingModel
from engine.contracts.references import ModelRef
from engine.contracts.workflow import Workflow
from engine.graph.registry import Registry
from engine.interchange.comfyui.importer import import_comfyui
from engine.interchange.comfyui.report import Imported
from engine.interchange.lenient_json import parse
from engine.interchange.same_graph import graphs_of

CORPUS = Path(__file__).resolve().parents[1] / "data" / "comfyui"
FILES = sorted(CORPUS.glob("*/*.json"))
CANVASES = [path for path in FILES if not path.name.endswith(".prompt.json")]
PAIRS = [
    (path, path.with_name(path.name.replace(".workflow.json", ".prompt.json")))
    for path in FILES
    if path.name.endswith(".workflow.json")
    and path.with_name(path.name.replace(".workflow.json", ".prompt.json")).exists()
]


def read(path: Path) -> Any:
    return parse(path.read_bytes(), path.name)


def imported(path: Path) -> Imported:
    return import_comfyui(read(path), path.name)


def differences(a: Workflow, b: Workflow) -> dict[str, int]:
    """Node type → by how many nodes that differ; empty when both are the same graph."""
    left, right = graphs_of((a, b), Registry.builtin())
    return dict(Counter(key.partition(" ")[0] for key in ((left - right) + (right - left)).elements()))


def nowhere(ref: ModelRef) -> Path:
    """A model locator that has no model."""
    raise MissingModel(f"the model “{ref.name}” is not on this machine")


def canvas(nodes: list[dict[str, Any]], links: list[Any], **more: Any) -> dict[str, Any]:
    return {"nodes": nodes, "links": links, "version": 0.4, **more}


def chain(length: int) -> dict[str, Any]:
    """A canvas of one picture inverted `length` times and saved."""
    nodes: list[dict[str, Any]] = [
        {"id": 0, "type": "LoadImage", "inputs": [], "outputs": [{"name": "IMAGE", "type": "IMAGE"}],
         "widgets_values": ["a.png", "image"]}
    ]  # fmt: skip
    links: list[list[Any]] = []
    for number in range(1, length + 1):
        links.append([number, number - 1, 0, number, 0, "IMAGE"])
        nodes.append(
            {"id": number, "type": "ImageInvert" if number < length else "SaveImage",
             "inputs": [{"name": "image" if number < length else "images", "type": "IMAGE", "link": number}],
             "outputs": [{"name": "IMAGE", "type": "IMAGE"}], "widgets_values": [] if number < length else ["out"]}
        )  # fmt: skip
    return canvas(nodes, links)


def png(**texts: Any) -> bytes:
    """A PNG as Pillow writes it, which is what all those programs use."""
    info, out = PngInfo(), io.BytesIO()
    for key, value in texts.items():
        info.add_text(key, value if isinstance(value, str) else json.dumps(value))
    Pillow.new("RGB", (4, 4)).save(out, "PNG", pnginfo=info)
    return out.getvalue()
