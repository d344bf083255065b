"""What of the corpus of real ComfyUI files opens here, and what of that runs on the starter model.

`python -m tests.benchmarks.interchange` also writes the tables of docs/interchange.md anew.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from engine.contracts.errors import TesseraError
from engine.contracts.job_spec import JobSpec
from engine.contracts.references import BlobRef, ModelRef
from engine.contracts.workflow import InputValue, Node, Workflow
from engine.graph.cache import ValueCache
from engine.graph.execute import execute
from engine.graph.registry import Registry
from engine.graph.services import Services
from engine.graph.validate import problems
from engine.interchange.comfyui.exporter import export_canvas, export_prompt
from engine.interchange.comfyui.importer import import_comfyui
from engine.interchange.comfyui.mapping import mapping_of, mappings
from engine.interchange.comfyui.report import Imported
from engine.interchange.lenient_json import parse
from engine.interchange.same_graph import same_graph
from tests.benchmarks.harness import Goal, Report

ROOT = Path(__file__).resolve().parents[2]
CORPUS = ROOT / "tests" / "data" / "comfyui"
PAGE = ROOT / "docs" / "interchange.md"
BEGIN, END = "<!-- figures: written by tests/benchmarks/interchange.py -->", "<!-- end of figures -->"

_VIDEO = re.compile(r"SaveVideo|CreateVideo|LoadVideo|GetVideoComponents|SaveWEBM|SaveAnimated|SaveAudio|ToVideo|Kling")
# Why a class is not mapped: the first pattern that fits its name.
REASONS: Mapping[str, str] = {
    r"Gemini|Kling|ByteDance|ElevenLabs|Topaz|HitPaw|Bria|Recraft": "calls a paid service; the engine opens no "
    "connection, so these stay placeholders",
    r"Audio": "sound, which the studio does not make",
    r"Video|WEBM|Animated|^Wan|^LTX|SVD|Cosmos|Kandinsky|FrameInterpol|GenerateTracks": "video, which is not in the "
    "studio yet",
    r"StableCascade|unCLIP|Zero123|StyleModel|Lotus|ModelPatch|Diffsynth|FluxKV|LatentUpscale|DiffControl|SkipLayer": (
        "belongs to a model or method that the studio does not have"
    ),
    r"ModelMerge|CheckpointSave": "this kind of merge, and writing models, have no node; a workflow merges by a "
    "weighted sum",
    r"SDPose|RTDETR|BBox|SAM3": "finds poses or things with a network that the studio does not run",
    r"": "no node of the studio does the same",
}
_LENGTHS = frozenset({"width", "height", "x", "y", "left", "top", "right", "bottom", "longest", "target_width",
                      "target_height", "rectangle_width", "rectangle_height"})  # fmt: skip
_SHRINK = 8


@dataclass
class Tally:
    """What `measure` found; every exception stands here by name."""

    files: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    pairs: int = 0
    pairs_different: list[str] = field(default_factory=list)
    trips_different: list[str] = field(default_factory=list)
    kinds: dict[str, list[str]] = field(default_factory=lambda: {"image": [], "video": []})
    supported: dict[str, list[str]] = field(default_factory=lambda: {"image": [], "video": []})
    valid: dict[str, list[str]] = field(default_factory=lambda: {"image": [], "video": []})
    ran: dict[str, list[str]] = field(default_factory=lambda: {"image": [], "video": []})
    lacking: dict[str, Counter[str]] = field(default_factory=lambda: {"image": Counter(), "video": Counter()})
    not_run: dict[str, list[tuple[str, str]]] = field(default_factory=lambda: {"image": [], "video": []})


def measure(*, run_them: bool = True) -> Tally:
    """Import, compare, export and (with `run_them`) run every file of the corpus."""
    tally, registry = Tally(), Registry.builtin()
    with tempfile.TemporaryDirectory() as folder:
        _measure_all(tally, registry, _Runner(registry, Path(folder)) if run_them else None)
    return tally


def _measure_all(tally: Tally, registry: Registry, runner: _Runner | None) -> None:
    for path in sorted(CORPUS.glob("*/*.json")):
        tally.files += 1
        text = path.read_text(encoding="utf-8")
        try:
            imported = import_comfyui(parse(text, path.name), path.name)
        except TesseraError as error:
            tally.failed[path.name] = str(error)
            continue
        _compare(path, imported, tally, registry)
        kind = "video" if _is_video(text) else "image"
        tally.kinds[kind].append(path.name)
        tally.lacking[kind].update(imported.report.unsupported)
        if imported.report.unsupported:
            continue
        tally.supported[kind].append(path.name)
        found = problems(imported.workflow, registry)
        if found:
            tally.not_run[kind].append((path.name, found[0].what))
            continue
        tally.valid[kind].append(path.name)
        if runner is None:
            continue
        reason = runner.run(imported.workflow)
        if reason:
            tally.not_run[kind].append((path.name, reason))
        else:
            tally.ran[kind].append(path.name)


def _compare(path: Path, imported: Imported, tally: Tally, registry: Registry) -> None:
    other = path.with_name(path.name.replace(".workflow.json", ".prompt.json"))
    if other != path and other.exists():
        tally.pairs += 1
        twin = import_comfyui(parse(other.read_bytes(), other.name), other.name).workflow
        if not same_graph(imported.workflow, twin, registry):
            tally.pairs_different.append(path.name)
    for write in (export_canvas, export_prompt):
        document = json.loads(json.dumps(write(imported.workflow, registry)[0]))
        if not same_graph(imported.workflow, import_comfyui(document, path.name).workflow, registry):
            tally.trips_different.append(f"{path.name} ({write.__name__})")


def _why(tally: Tally) -> dict[str, list[str]]:
    """Reason → the files that did not run for it, the commonest first; a canvas and its prompt have one name."""
    found: dict[str, list[str]] = {}
    for name, reason in (*tally.not_run["image"], *tally.not_run["video"]):
        found.setdefault(_short(reason), []).append(name)
    return dict(sorted(found.items(), key=lambda item: -len(item[1])))


def _is_video(text: str) -> bool:
    return any(_VIDEO.search(name) for name in re.findall(r'"(?:type|class_type)":\s*"([A-Za-z0-9_]+)"', text))


def _short(sentence: str) -> str:
    """The first sentence of a reason, cut, without names; a choice that is lacking keeps its name."""
    first = sentence.partition(". ")[0]
    return (first if "no choice" in first else re.sub(r"“[^”]*”", "“…”", first))[:110]


class _Runner:
    """Runs workflows at an eighth of their size, in two steps, with stand-ins for the models."""

    def __init__(self, registry: Registry, folder: Path) -> None:
        from engine.media.images import encode
        from tests.benchmarks.interchange_stand_ins import StandIns, StandInSession

        self.registry = registry
        picture = np.linspace(0, 1, 64 * 64 * 4, dtype=np.float32).reshape(64, 64, 4)
        self.picture = encode(picture, "png", 90, {})
        models = StandIns(folder)
        session = StandInSession(models)
        self.services = Services(blobs=self, models=models, session=lambda: session)

    def read(self, ref: BlobRef) -> bytes:
        return self.picture

    def write(self, data: bytes, media_type: str, name: str = "") -> BlobRef:
        return BlobRef(media_type=media_type, size=len(data), name=name)

    def run(self, workflow: Workflow) -> str:
        """Why it did not run; "" when it did."""
        from tests.benchmarks.interchange_stand_ins import chosen, not_run_here

        every = [node for nodes in (workflow.nodes, *(s.nodes for s in workflow.subgraphs)) for node in nodes]
        other, folder = not_run_here(every), chosen(every)
        if other:
            return f"the studio does not run {other}"
        small = replace(
            workflow,
            nodes=_shrunk(workflow.nodes, folder),
            subgraphs=tuple(replace(s, nodes=_shrunk(s.nodes, folder)) for s in workflow.subgraphs),
        )
        try:
            result = execute(
                JobSpec(workflow=small), registry=self.registry, services=self.services, cache=ValueCache(1 << 28),
                on_event=lambda event: None,
            )  # fmt: skip
        except TesseraError as error:
            return str(error)
        if result.outcome == "succeeded":
            return "" if result.artifacts else "it made nothing"
        return result.failures[0].cause if result.failures else str(result.error)


def _shrunk(nodes: tuple[Node, ...], folder: str) -> tuple[Node, ...]:
    small = (replace(n, inputs={k: _small(n.type, k, v, folder) for k, v in n.inputs.items()}) for n in nodes)
    return tuple(_of_small_pictures(node) for node in small)


def _of_small_pictures(node: Node) -> Node:
    """A node that would bring pictures to a megapixel, made to leave them small."""
    if node.type == "condition.encode_edit":
        return replace(node, inputs={**node.inputs, "scale": False})
    if node.type == "image.scale_kontext":
        return replace(node, type="image.scale", inputs={**node.inputs, "width": 64, "height": 64})
    return node


def _small(kind: str, name: str, value: InputValue, folder: str) -> InputValue:
    if isinstance(value, ModelRef):
        from tests.benchmarks.interchange_stand_ins import replaced

        return replaced(value, folder)
    if name == "steps" and isinstance(value, int):
        return min(value, 2)
    if name == "end_step" and isinstance(value, int):
        return min(value, 10_000)
    if name == "megapixels" and isinstance(value, int | float):
        return value / _SHRINK**2
    if name in _LENGTHS and isinstance(value, int) and not isinstance(value, bool):
        small = value // _SHRINK // 8 * 8 if value >= 8 * _SHRINK else value // _SHRINK
        return max(small, 64) if kind.startswith("latent.empty") else small
    return value


def figures_of(tally: Tally) -> dict[str, float]:
    whole, fine = len(tally.kinds["image"]), len(tally.supported["image"])
    video, video_fine = len(tally.kinds["video"]), len(tally.supported["video"])
    return {
        "files": float(tally.files),
        "files_imported_share": 1 - len(tally.failed) / tally.files,
        "pairs": float(tally.pairs),
        "pairs_same_graph_share": 1 - len(tally.pairs_different) / tally.pairs,
        "round_trips_same_graph_share": 1 - len(tally.trips_different) / (2 * tally.files),
        "classes_mapped": float(sum(mapping_of(name) is not None for name in mappings())),
        "image_files": float(whole),
        "image_supported_share": fine / whole,
        "image_run_share_of_supported": len(tally.ran["image"]) / max(fine, 1),
        "video_files": float(video),
        "video_supported_share": video_fine / video,
        "video_run_share_of_supported": len(tally.ran["video"]) / max(video_fine, 1),
    }


GOALS: dict[str, Goal] = {
    "files_imported_share": ("==", 1.0),
    "pairs_same_graph_share": ("==", 1.0),
    "round_trips_same_graph_share": ("==", 1.0),
    "classes_mapped": (">=", 90.0),
    "image_supported_share": (">=", 0.70),
    "image_run_share_of_supported": (">=", 0.60),
}


def run() -> Report:
    """The shares over the corpus; its notes name why supported workflows did not run."""
    tally = measure()
    notes = [f"not run: {', '.join(names)}: {reason}" for reason, names in _why(tally).items()]
    return Report("interchange", figures_of(tally), GOALS, notes)


def tables(tally: Tally) -> str:
    """The figures, and each exception with its reason, as Markdown."""
    figures = figures_of(tally)
    met = Report("interchange", figures, GOALS).met()
    lines = ["| figure | measured | goal |", "| --- | --- | --- |"]
    for name, value in figures.items():
        shown = f"{value:.1%}" if name.endswith(("share", "supported")) else f"{value:.0f}"
        goal = GOALS.get(name)
        wanted = "" if goal is None else f"{goal[0]} {goal[1]:g}, {'met' if met[name] else 'not met'}"
        lines.append(f"| {name.replace('_', ' ')} | {shown} | {wanted} |")
    exceptions = [f"{name}: {why}" for name, why in tally.failed.items()]
    exceptions += [f"{name}: canvas and prompt differ" for name in tally.pairs_different]
    exceptions += [f"{name}: differs after the round trip" for name in tally.trips_different]
    lines += ["", "Exceptions among imports, pairs and round trips: " + ("; ".join(exceptions) or "none") + ".", ""]
    lines += ["| classes that are not mapped (files: image, video) | why |", "| --- | --- |"]
    grouped: dict[str, list[str]] = {reason: [] for reason in REASONS.values()}
    both = tally.lacking["image"] + tally.lacking["video"]
    for name, _ in both.most_common():
        reason = next(why for pattern, why in REASONS.items() if re.search(pattern, name))
        grouped[reason].append(f"{name} ({tally.lacking['image'][name]}, {tally.lacking['video'][name]})")
    lines += [f"| {', '.join(names)} | {reason} |" for reason, names in grouped.items() if names]
    lines += [
        "",
        "| workflows of mapped classes that did not run: first reason | files |",
        "| --- | --- |",
    ]
    lines += [f"| {reason} | {len(names)}: {', '.join(names)} |" for reason, names in _why(tally).items()]
    return "\n".join(lines)


def write_page(tally: Tally) -> None:
    """Put the tables between the marks of docs/interchange.md."""
    text = PAGE.read_text(encoding="utf-8")
    head, rest = text.split(BEGIN, 1)
    tail = rest.split(END, 1)[1]
    PAGE.write_text(f"{head}{BEGIN}\n{tables(tally)}\n{END}{tail}", encoding="utf-8")


def main() -> None:
    tally: Any = measure()
    write_page(tally)
    print(Report("interchange", figures_of(tally), GOALS).table())


if __name__ == "__main__":
    main()
