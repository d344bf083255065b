"""Trains a starter model: one command, which may be stopped at any time and goes on with `--resume`.

    python -m engine.training.starter.train --out DIR --minutes 120                    from nothing
    python -m engine.training.starter.train --out DIR --minutes 120 --resume           go on after a stop
    python -m engine.training.starter.train --out DIR --minutes 60 --from FOLDER       go on from a shipped model

DIR/model is the newest snapshot, an ordinary diffusers folder; DIR/state.pt is what --resume needs; DIR/log.jsonl is
what happened. `python -m engine.training.starter.ship DIR/model` judges a snapshot and ships it if it is better.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engine.training.starter import model
from engine.training.starter.autoencoder import AutoencoderTraining
from engine.training.starter.denoiser import DenoiserTraining
from engine.training.starter.model import PRESETS, Parts
from engine.training.starter.progress import Budget, Processes, log, read_state, write_state

PHASES = ("autoencoder", "decoder", "denoiser")
_AUTOENCODER_SHARE = 0.25
"""Of the minutes, when a model is trained from nothing."""


@dataclass(frozen=True)
class Plan:
    """Everything that one training is told. `phases` share the minutes or steps."""

    out: str
    phases: tuple[str, ...]
    preset: str = "small"
    source: str = ""
    minutes: float = 0.0
    steps: int = 0
    seed: int = 0
    device: str = "cpu"
    bfloat16: bool = False
    processes: int = 1
    rate: float = 0.0
    save_every: float = 240.0
    """Seconds."""

    def budget(self, phase: str) -> Budget:
        share = 1 / len(self.phases)
        if set(self.phases) == {"autoencoder", "denoiser"}:
            share = _AUTOENCODER_SHARE if phase == "autoencoder" else 1 - _AUTOENCODER_SHARE
        return Budget(self.minutes * share, round(self.steps * share))


def train(plan: Plan, *, resume: bool = False, rank: int = 0, stop_after: int = 0) -> Path:
    """Run the phases of `plan`; returns the folder of the finished model.

    `resume`: go on from the saved state, if there is one. `stop_after`: save and stop after so many steps of this run.
    """
    import torch

    torch.set_num_threads(1 if plan.device == "cpu" else os.cpu_count() or 1)
    torch.set_flush_denormal(True)
    torch.manual_seed(plan.seed)
    out = Path(plan.out)
    out.mkdir(parents=True, exist_ok=True)
    processes = Processes(rank, plan.processes)
    saved = read_state(out / "state.pt") if resume and (out / "state.pt").exists() else None
    parts = _parts(plan, out, resumed=saved is not None)
    taken = 0
    for index, phase in enumerate(plan.phases):
        if saved is not None and index < saved["phase"]:
            continue
        training = _phase(plan, phase, parts, processes)
        if saved is not None and index == saved["phase"]:
            training.restore(saved["training"])
        taken = _run(plan, index, training, parts, processes, taken, stop_after)
        if stop_after and taken >= stop_after and training.share < 1:
            return out / "model"
        training.finish()
        saved = None
        if rank == 0:
            model.save(parts, out / "model")
            log(out, phase=phase, finished=True, steps=training.steps)
    if rank == 0:
        (out / "state.pt").unlink(missing_ok=True)
    return out / "model"


def _parts(plan: Plan, out: Path, *, resumed: bool) -> Parts:
    if resumed:
        return model.load(out / "model")
    if plan.source:
        return model.load(Path(plan.source))
    with tempfile.TemporaryDirectory() as scratch:
        return model.create(PRESETS[plan.preset], Path(scratch))


def _phase(plan: Plan, phase: str, parts: Parts, processes: Processes) -> Any:
    preset, budget = PRESETS[plan.preset], plan.budget(phase)
    common: dict[str, Any] = {
        "seed": plan.seed,
        "device": plan.device,
        "bfloat16": plan.bfloat16,
        "processes": processes,
    }
    if plan.rate:
        common["peak_rate"] = plan.rate
    if phase == "denoiser":
        return DenoiserTraining(parts, preset, budget, **common)
    decoder = phase == "decoder"
    return AutoencoderTraining(parts, preset, budget, keep=bool(plan.source), decoder_only=decoder, **common)


def _run(plan: Plan, index: int, training: Any, parts: Parts, processes: Processes, taken: int, stop_after: int) -> int:
    """Train until the phase's budget is used up; the first process logs and saves."""
    out, first = Path(plan.out), processes.rank == 0
    logged = saved = time.monotonic()
    while training.share < 1:
        training.step()
        taken += 1
        stopping = bool(stop_after) and taken >= stop_after
        if first and (time.monotonic() - logged > 20 or stopping):
            logged = time.monotonic()
            log(out, phase=training.name, step=training.steps, loss=training.loss, share=training.share)
        if first and (time.monotonic() - saved > plan.save_every or stopping):
            _save(out, index, training, parts)
            saved = time.monotonic()
        if stopping:
            break
    return taken


def _save(out: Path, index: int, training: Any, parts: Parts) -> None:
    """The averaged weights as a model folder, then the state; each appears whole or not at all."""
    average = training.averaged()
    average.swap()
    model.save(parts, out / "model")
    average.swap()
    write_state(out / "state.pt", {"phase": index, "training": training.state()})
    if isinstance(training, AutoencoderTraining):
        log(out, phase=training.name, step=training.steps, fidelity=training.fidelity())


def _worker(rank: int, plan: Plan, resume: bool, meeting: str) -> None:
    from torch import distributed

    distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=plan.processes)
    train(plan, resume=resume, rank=rank)
    distributed.destroy_process_group()


def _bfloat16(device: str) -> bool:
    """Whether this machine computes in bfloat16 faster than in float32."""
    if device != "cpu":
        return True
    try:
        return "avx512_bf16" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m engine.training.starter.train",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", required=True, type=Path, help="folder for snapshots, state and log")
    parser.add_argument("--minutes", type=float, default=0.0, help="wall clock over all resumptions")
    parser.add_argument("--steps", type=int, default=0, help="instead of minutes: a number of steps")
    parser.add_argument("--resume", action="store_true", help="go on where an earlier run stopped")
    parser.add_argument("--from", dest="source", default="", help="start from this model folder")
    parser.add_argument("--preset", choices=sorted(PRESETS), help="large with a GPU, else small")
    parser.add_argument("--phases", help=f"of {', '.join(PHASES)}; autoencoder,denoiser, or denoiser with --from")
    parser.add_argument("--processes", type=int, default=1, help="single-threaded training processes, on a CPU")
    parser.add_argument("--rate", type=float, default=0.0, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    given = parser.parse_args(arguments)
    if not given.minutes and not given.steps:
        parser.error("say how long to train, with --minutes or --steps")
    phases = tuple((given.phases or ("denoiser" if given.source else "autoencoder,denoiser")).split(","))
    if unknown := [phase for phase in phases if phase not in PHASES]:
        parser.error(f"there is no phase {unknown[0]!r}; use {', '.join(PHASES)}")
    import torch

    device = given.device if given.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    plan = Plan(
        out=str(given.out.resolve()),
        phases=phases,
        preset=given.preset or ("small" if device == "cpu" else "large"),
        source=str(Path(given.source).resolve()) if given.source else "",
        minutes=given.minutes,
        steps=given.steps,
        seed=given.seed,
        device=device,
        bfloat16=_bfloat16(device),
        processes=given.processes if device == "cpu" else 1,
        rate=given.rate,
    )
    given.out.mkdir(parents=True, exist_ok=True)
    log(given.out, plan=asdict(plan))
    if plan.processes == 1:
        train(plan, resume=given.resume)
        return 0
    from torch import multiprocessing

    meeting = Path(tempfile.mkdtemp()) / "meeting"
    start: Any = multiprocessing.spawn  # type: ignore[attr-defined]
    start(_worker, args=(plan, given.resume, str(meeting)), nprocs=plan.processes)
    return 0


if __name__ == "__main__":
    sys.exit(main())
