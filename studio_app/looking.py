"""What flows along the wires of an open workflow, why a node would run again, and whether its samplers fit.

All of it is asked, never pushed; nothing here runs a node. No Qt, no torch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from engine.contracts.errors import MissingModel, TesseraError, clip
from engine.contracts.job_spec import JobSpec
from engine.contracts.workflow import Workflow

if TYPE_CHECKING:
    from engine.graph.cache import Kept
    from engine.graph.explain import Explanation
    from studio_app.application import Application
    from studio_app.planning import Planned

Picture = npt.NDArray[np.uint8]
LONGEST = 2000  # characters of a text
LONGEST_WHOLE = 20_000  # of one that is asked for as a whole
MOST_ITEMS = 100  # of a list of texts
NO_CARD = "There is no graphics card here: pictures are made by the processor, in main memory."


@dataclass(frozen=True)
class Seen:
    """One value in words ("IMAGE, 512 × 512, 2 pictures"), its picture [h, w, 3] where it is one, its text else."""

    words: str
    picture: Picture | None = None
    text: str = ""
    encoded: bytes = b""


def flowing(app: Application, node: str, output: int, kind: str, edge: int = 256) -> Seen | None:
    """What output number `output` of a node gave when it last ran; None when that is not kept any more.

    `node` is the id as runs name it ("outer:inner" within a subgraph). `edge` bounds the picture's sides, in pixels.
    """
    kept = _kept(app, node)
    if kept is None or not 0 <= output < len(kept.outputs):
        return None
    value = kept.outputs[output]
    many = kept.many is not None and kept.many[output]
    if many and isinstance(value, (list, tuple)):
        if not value:
            return Seen(f"{kind}, an empty list")
        first = seen(value[0], kind, edge)
        return replace(first, words=f"{first.words}, the first of {len(value)}")
    return seen(value, kind, edge)


def text_flowing(app: Application, node: str, output: int) -> str | None:
    """The text or number that an output gave last, a list's entries on a line each; None when it gave none of these,
    or that is not kept any more. `node` as in `flowing`."""
    kept = _kept(app, node)
    if kept is None or not 0 <= output < len(kept.outputs):
        return None
    value = kept.outputs[output]
    items = value if isinstance(value, (list, tuple)) else [value]
    if not all(isinstance(item, (str, int, float, bool)) for item in items):
        return None
    lines = [f"{item:.10g}" if isinstance(item, float) else str(item) for item in items[:MOST_ITEMS]]
    if len(items) > MOST_ITEMS:
        lines.append(f"… and {len(items) - MOST_ITEMS:,} more")
    text = "\n".join(lines)
    return text if len(text) <= LONGEST_WHOLE else f"{text[:LONGEST_WHOLE]}…"


def made(app: Application, node: str) -> Seen | None:
    """The first file that an output node gave when it last ran, as it was encoded."""
    kept = _kept(app, node)
    if kept is None or not kept.artifacts:
        return None
    first = kept.artifacts[0]
    return Seen(f"{first.width} × {first.height}", encoded=first.data if first.media_type.startswith("image/") else b"")


def _kept(app: Application, node: str) -> Kept | None:
    lane = app.engine.lane
    trace = lane.cache.history.get(node) if lane is not None else None
    found: Kept | None = lane.cache.get(trace[1]) if trace is not None else None
    return found


def seen(value: Any, kind: str, edge: int = 256) -> Seen:
    """A value in words; pictures and masks are thinned to at most `edge` pixels, not averaged, so that it is quick."""
    if isinstance(value, np.ndarray) and value.ndim in {3, 4} and value.dtype.kind == "f":
        batch = value if value.ndim == 4 else value[..., None]
        count, height, width, channels = batch.shape
        words = f"{kind}, {width} × {height}" + (f", {count} pictures" if count > 1 else "")
        step = max(1, -(-max(height, width) // edge))
        small = np.clip(batch[0, ::step, ::step], 0, 1) if count else np.zeros((1, 1, channels), np.float32)
        small = np.repeat(small, 3, 2) if channels == 1 else small[..., :3]
        return Seen(words, np.ascontiguousarray((small * 255 + 0.5).astype(np.uint8)))
    shape = getattr(getattr(value, "samples", None), "shape", None)
    if shape is not None:  # a latent
        return Seen(f"{kind}, {' × '.join(str(n) for n in tuple(shape))}")
    if isinstance(value, (str, int, float, bool)):
        return Seen(kind, text=clip(str(value), LONGEST))
    name = getattr(getattr(value, "ref", None), "name", "") or getattr(value, "name", "")
    if isinstance(value, (list, tuple)):
        return Seen(f"{kind}, {len(value)} {'entry' if len(value) == 1 else 'entries'}")
    return Seen(f"{kind}, {name}" if isinstance(name, str) and name else kind)


def why(app: Application, workflow: Workflow, node: str) -> Explanation | None:
    """What would happen to a node at the next run, and why; None before the engine is there. For a worker thread.

    Raises InvalidWorkflow where the workflow can't run, MissingModel where a model is not here.
    """
    from engine.graph.explain import explain

    lane = app.engine.lane
    if lane is None:
        return None
    spec = app.jobs.resolved(JobSpec(workflow=workflow, targets=(node,)))
    return next((e for e in explain(spec, app.node_types(), lane.cache) if e.node == node), None)


def plans(app: Application, workflow: Workflow) -> tuple[list[Planned], str]:
    """The memory plan of each sampling run on this machine's card; ([], sentence) without one. For a worker thread."""
    from studio_app import planning

    machine = planning.machine_here(app.settings)
    if machine is None:
        return [], NO_CARD
    try:
        planner = planning.Planner(app.models, app.paths.cache / "estimates.json")
        quality = app.settings.get("engine.quality")
        return planner.workflow(workflow, app.node_types(), machine, quality), ""
    except (MissingModel, TesseraError) as error:
        return [], str(error)


def plan_words(planned: Planned) -> str:
    """A plan in a few words: "fits, about 4 s" or what does not."""
    if planned.unknown:
        return f"not known before the run: {planned.unknown}"
    if planned.plan is None:
        return " ".join(part for part in ("Does not fit:", planned.words, planned.fix) if part)
    return f"Fits. {planned.words}"
