"""Try a checkpoint that a person has: identify, load part by part, draw a small picture, and say what was found."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from engine.contracts.references import ModelRef
from engine.models.file_info import identify_checkpoint
from engine.models.model_file import FAMILY_WORDS

PROMPT = "a red circle on a blue background"
STEPS = 2
EDGE = 128


@dataclass(frozen=True)
class PartCheck:
    """One part as it was loaded. `used` and `unused` count tensors of its file; `seconds` are wall time."""

    part: str
    class_name: str
    layout: str
    stored: str
    runs_in: str
    used: int
    unused: int
    parameters: int
    mebibytes: float
    seconds: float
    finite: bool

    def sentence(self) -> str:
        says = f"{self.class_name}, {self.layout} names, {self.stored} run in {self.runs_in}"
        keys = f"{self.used} tensors used, {self.unused} left over"
        size = f"{self.parameters / 1e6:.1f} million numbers, {self.mebibytes:.0f} MiB, {self.seconds:.2f} s"
        return f"{says}; {keys}; {size}; {'all finite' if self.finite else 'NOT ALL FINITE'}"


@dataclass(frozen=True)
class ModelCheck:
    """What a checkpoint turned out to be. `mean` and `spread` are of the picture, in 0..1."""

    family: str
    variant: str
    parts: tuple[PartCheck, ...]
    tokens: int
    width: int
    height: int
    seconds: float
    finite: bool
    mean: float
    spread: float
    notes: tuple[str, ...] = field(default=())

    @property
    def sound(self) -> bool:
        """Every number finite, nothing left over, and a picture that is not of one colour."""
        parts = all(part.finite and not part.unused for part in self.parts)
        return parts and self.finite and self.spread > 0.005

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "sound": self.sound}

    def lines(self) -> list[str]:
        found = [f"{FAMILY_WORDS.get(self.family, self.family)}, {self.variant}"]
        found += [f"{part.part}: {part.sentence()}" for part in self.parts]
        found.append(
            f"picture: {self.width}×{self.height}, {STEPS} steps, {self.tokens} tokens, {self.seconds:.2f} s; "
            f"mean {self.mean:.3f}, spread {self.spread:.3f}; {'all finite' if self.finite else 'NOT ALL FINITE'}"
        )
        return [*found, *self.notes]


def check_model(path: Path, device: str = "cpu", step: Callable[[str], object] = lambda text: None) -> ModelCheck:
    """Load the checkpoint at `path` on `device` and draw a small picture with it. `step` is told what is done now.

    Raises what loading raises, in its one sentence.
    """
    import diffusers  # noqa: F401 - its import is no part of what loading takes
    import transformers  # noqa: F401

    from engine.models import sources
    from engine.models.family_parts import FAMILY_PARTS
    from engine.sampling.session import Session

    path = path.absolute()
    info = identify_checkpoint(path)
    context = _Context(path)
    session = context.session = Session(context, device)
    source = sources.of_checkpoint(info)
    parts = []
    for part in FAMILY_PARTS[info.family].with_weights:
        if source.has(part) or part not in FAMILY_PARTS[info.family].may_lack:
            step(f"loading the {part}")
            parts.append(_part(source, part, session))
    step("drawing a picture")
    width, height = info.defaults.rounded(min(EDGE, info.defaults.width), min(EDGE, info.defaults.height))
    picture, tokens, seconds = _picture(context, width, height)
    finite = bool(math.isfinite(float(picture.sum())))
    return ModelCheck(
        info.family, info.variant, tuple(parts), tokens, width, height, seconds, finite, float(picture.mean()),
        float(picture.std()), tuple(context.notes),
    )  # fmt: skip


def _part(source: Any, part: str, session: Any) -> PartCheck:
    import torch

    from engine.models.loading import bytes_of
    from engine.models.single_file import FileSource

    dtype = session.dtype_for(source.family)
    start = time.perf_counter()
    if isinstance(source, FileSource) and part in source.held:
        module, report = source.report(part, session.device, dtype)
        layout, stored, used, unused = report.layout, report.dtype, report.used, len(report.unused)
    else:
        module = source.load(part, session.device, dtype)
        layout, stored, used, unused = "diffusers", "", len(module.state_dict()), 0
    seconds = time.perf_counter() - start
    tensors = list(module.parameters())
    finite = all(bool(torch.isfinite(tensor.float().sum())) for tensor in tensors)
    kinds = sorted({str(tensor.dtype).removeprefix("torch.") for tensor in tensors})
    return PartCheck(
        part, type(module).__name__, layout, stored or ", ".join(kinds), ", ".join(kinds), used, unused,
        sum(tensor.numel() for tensor in tensors), bytes_of(module) / 2**20, seconds, finite,
    )  # fmt: skip


def _picture(context: _Context, width: int, height: int) -> tuple[Any, int, float]:
    """(float32 [1, H, W, 3] as it is decoded, tokens of the prompt, seconds)."""
    from engine.graph.values import ModelHandle, TextEncoderHandle
    from engine.nodes.latent.empty import empty
    from engine.nodes.sample.k_sampler import k_sampler

    ref = ModelRef(name=context.path.stem)
    family = context.session.family(ref)
    start = time.perf_counter()
    encoded = context.session.text(TextEncoderHandle(ref, family.name)).encode_text(PROMPT)
    nothing = context.session.text(TextEncoderHandle(ref, family.name)).encode_text("")
    ctx: Any = context
    latent = empty(ctx, width, height, 1)
    model = ModelHandle(ref, family.name)
    made = k_sampler(ctx, model, encoded.entries, nothing.entries, latent, seed=1, steps=STEPS, cfg=4.0)
    picture = (family.decode(made.samples).permute(0, 2, 3, 1) / 2 + 0.5).clamp(0, 1).numpy()
    return picture, encoded.tokens, time.perf_counter() - start


class _Context:
    """The smallest NodeContext: one checkpoint, nobody cancels."""

    wants_preview = False
    node_id = "check"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.session: Any = None
        self.notes: list[str] = []

    def locate(self, ref: ModelRef) -> Path:
        return self.path

    def progress(self, done: float, total: float, text: str = "") -> None: ...

    def check_cancelled(self) -> None: ...

    def log(self, text: str, level: str = "info") -> None:
        self.notes.append(text)
