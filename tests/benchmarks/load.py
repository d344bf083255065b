"""Loading a real-size model, cold and again, beside diffusers' own loading: seconds and peak memory.

A random Stable Diffusion 1.5 of full size in float16 (2.1 GB), as a diffusers folder and as one file in LDM layout,
loaded to float32 on the CPU, or float16 on a card. Ours and theirs take turns in one process; the files are in the
system's cache for both. Seconds are of the wall and of the processor, which other programs disturb less. Peak memory
is what a load adds to the process at its highest (VmHWM, reset before each), or what the card's allocator held. The
switch is back to a model that the session still keeps.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import shutil
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.contracts.references import ModelRef
from tests.benchmarks.harness import Goal, Report

ROUNDS = 3
GOALS: dict[str, Goal] = {
    "folder_s_ratio": ("<=", 1.0),
    "folder_cpu_s_ratio": ("<=", 1.0),
    "folder_peak_ratio": ("<=", 1.0),
    "file_s_ratio": ("<=", 1.0),
    "file_cpu_s_ratio": ("<=", 1.0),
    "file_peak_ratio": ("<=", 1.0),
    "switch_ratio": ("<=", 0.1),
}
_STATUS = Path("/proc/self/status")


def run() -> Report:
    import torch

    place = Path(tempfile.mkdtemp(prefix="tessera-load-"))
    try:
        folder = write_model(place / "model")
        file = write_file(folder, place / "model.safetensors")
        device = "cuda" if torch.cuda.is_available() else "cpu"
        return _measured(folder, file, device)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _measured(folder: Path, file: Path, device: str) -> Report:
    found: dict[str, list[Cost]] = {}
    loads: dict[str, Callable[[], Any]] = {
        "ours_folder": lambda: _ours(folder, device),
        "theirs_folder": lambda: _theirs_folder(folder, device),
        "ours_file": lambda: _ours(file, device),
        "theirs_file": lambda: _theirs_file(file, folder, device),
    }
    for load in loads.values():
        load()  # imports, and the files into the system's cache
    for number in range(ROUNDS):
        for name in loads if number % 2 == 0 else reversed(loads):
            found.setdefault(name, []).append(_cost(loads[name], device))
    figures: dict[str, float] = {}
    for name, costs in found.items():
        figures[f"{name}_s"] = statistics.median(cost.seconds for cost in costs)
        figures[f"{name}_cpu_s"] = statistics.median(cost.processor for cost in costs)
        figures[f"{name}_peak_mib"] = statistics.median(cost.peak for cost in costs)
    for kind in ("folder", "file"):
        for unit in ("s", "cpu_s"):
            figures[f"{kind}_{unit}_ratio"] = figures[f"ours_{kind}_{unit}"] / figures[f"theirs_{kind}_{unit}"]
        figures[f"{kind}_peak_ratio"] = figures[f"ours_{kind}_peak_mib"] / figures[f"theirs_{kind}_peak_mib"]
    figures["switch_s"] = _switch(folder, file, device)
    figures["switch_ratio"] = figures["switch_s"] / figures["ours_file_s"]
    return Report("load", figures, GOALS)


class _At:
    def __init__(self, *paths: Path) -> None:
        self._paths = {path.name: path for path in paths}

    def locate(self, ref: ModelRef) -> Path:
        return self._paths[ref.name]


def _ours(path: Path, device: str) -> Any:
    from engine.sampling.session import Session

    session = Session(_At(path), device)
    session.warm(ModelRef(name=path.name))
    return session


def _switch(folder: Path, file: Path, device: str) -> float:
    from engine.sampling.session import Session

    session = Session(_At(folder, file), device)
    session.warm(ModelRef(name=file.name))
    session.warm(ModelRef(name=folder.name))
    start = time.perf_counter()
    session.warm(ModelRef(name=file.name))
    return time.perf_counter() - start


def _theirs_folder(folder: Path, device: str) -> Any:
    import diffusers

    return diffusers.StableDiffusionPipeline.from_pretrained(
        folder, dtype=_dtype(device), local_files_only=True, safety_checker=None
    ).to(device)


def _theirs_file(file: Path, folder: Path, device: str) -> Any:
    import diffusers

    return diffusers.StableDiffusionPipeline.from_single_file(
        str(file), config=str(folder), dtype=_dtype(device), local_files_only=True, safety_checker=None
    ).to(device)


def _dtype(device: str) -> Any:
    import torch

    return torch.float32 if device == "cpu" else torch.float16


@dataclass(frozen=True)
class Cost:
    """Wall and processor seconds of a load, and MiB that it added at its highest."""

    seconds: float
    processor: float
    peak: float


def _cost(load: Callable[[], Any], device: str) -> Cost:
    import torch

    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # what the load before freed goes back to the system
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated() / 2**20 if device == "cuda" else _resident("VmRSS")
    if device == "cpu" and _STATUS.exists():
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts anew
    start, processor = time.perf_counter(), time.process_time()
    kept = load()
    seconds, processor = time.perf_counter() - start, time.process_time() - processor
    peak = torch.cuda.max_memory_allocated() / 2**20 if device == "cuda" else _resident("VmHWM")
    del kept
    gc.collect()
    return Cost(seconds, processor, peak - before)


def _resident(entry: str) -> float:
    """MiB of this process by /proc; NaN where there is none."""
    if not _STATUS.exists():
        return float("nan")
    line = next(line for line in _STATUS.read_text(encoding="ascii").splitlines() if line.startswith(entry))
    return int(line.split()[1]) / 1024


def write_model(folder: Path) -> Path:
    """A random Stable Diffusion 1.5 of full size in float16."""
    import torch

    from engine.models.assemble import skeleton
    from engine.models.layouts import config_of, tokenizer_folder
    from tests.families import room

    classes = {"unet": "UNet2DConditionModel", "vae": "AutoencoderKL", "text_encoder": "CLIPTextModel"}
    generator = torch.Generator().manual_seed(0)
    for part, class_name in classes.items():
        module = skeleton(class_name, config_of("sd15", "base", part)).to_empty(device="cpu").half()
        for parameter in module.parameters():
            parameter.data = (torch.randn(parameter.shape, generator=generator) * 0.02).half()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module.save_pretrained(folder / part)
        del module
    shutil.copytree(tokenizer_folder("clip"), folder / "tokenizer")
    (folder / "scheduler").mkdir()
    room.write_json(folder / "scheduler" / "scheduler_config.json", config_of("sd15", "base", "scheduler"))
    return room.write_index(folder, "StableDiffusionPipeline")


def write_file(folder: Path, path: Path) -> Path:
    """The same model as one file by the names of the original code."""
    from safetensors.torch import save_file

    from tests.unit.single_file_room import checkpoint_tensors

    save_file(checkpoint_tensors(folder)[0], path)
    return path
