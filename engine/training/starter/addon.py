"""What the trainings of additions to the starter model share (ControlNet, LoRA): the step, the state, the command.

The model itself stays as it is; noise and velocity are those of v-prediction (Salimans & Ho 2022).
"""

from __future__ import annotations

import argparse
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from engine.training.starter import model
from engine.training.starter.model import NOISE, Parts
from engine.training.starter.progress import Budget, log, read_state, write_state

ROOT = Path(__file__).resolve().parents[3]
STARTER = ROOT / "resources" / "starter_model"

_TIME_MEAN, _TIME_SPREAD = 0.8, 1.2


class AddonTraining(ABC):
    """`step()` until `share` reaches one; `state` and `restore` make it resumable (the scenes are drawn anew).

    A subclass sets `_parameters` and `_optimiser` at the end of its own start.
    """

    log_every: ClassVar[float] = 20.0
    """Seconds between two lines of the log."""
    save_every: ClassVar[float] = 60.0
    """Seconds between two snapshots."""
    _loss_memory: ClassVar[float] = 0.99
    _parameters: list[Any]
    _optimiser: Any

    def __init__(self, parts: Parts, budget: Budget, seed: int) -> None:
        import torch
        from diffusers import DDPMScheduler

        for part in (parts.unet, parts.vae, parts.text_encoder):
            part.eval().requires_grad_(False)
        self._parts, self._budget = parts, budget
        self._rng = np.random.default_rng(seed)
        self._noise = torch.Generator().manual_seed(seed)
        self._kept_signal = DDPMScheduler(**NOISE).alphas_cumprod
        self.steps, self.loss, self.share = 0, 0.0, 0.0

    def step(self) -> None:
        """One update of the weights."""
        import torch

        self._prepare()
        loss = self._loss()
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._parameters, 1.0)
        self._optimiser.step()
        self.steps += 1
        self.share = self._budget.share(self.steps)
        now, memory = float(loss.detach()), self._loss_memory
        self.loss = now if self.steps == 1 else self.loss * memory + now * (1 - memory)

    @abstractmethod
    def _prepare(self) -> None:
        """Before a step: draw new scenes and set the learning rates."""

    @abstractmethod
    def _loss(self) -> Any:
        """The loss of one batch."""

    @abstractmethod
    def save(self, target: Path) -> None:
        """Write what is trained; it appears whole or not at all."""

    def _noised(self, latents: Any) -> tuple[Any, Any, Any]:
        """(noisy latents, their time steps, the velocity to foretell) of a batch, its times stratified."""
        import torch

        count, draw = len(latents), self._noise
        strata = ((torch.arange(count) + torch.rand(count, generator=draw)) / count).clamp(0.002, 0.998)
        times = (torch.sigmoid(torch.special.ndtri(strata) * _TIME_SPREAD + _TIME_MEAN) * 1000).long().clamp(0, 999)
        noise = torch.randn(latents.shape, generator=draw)
        kept = self._kept_signal[times].view(-1, 1, 1, 1)
        return (
            kept.sqrt() * latents + (1 - kept).sqrt() * noise,
            times,
            kept.sqrt() * noise - (1 - kept).sqrt() * latents,
        )

    def state(self) -> dict[str, Any]:
        """All that the next run needs to go on."""
        return {
            "steps": self.steps, "loss": self.loss, "share": self.share, "seconds": self._budget.seconds(),
            "optimiser": self._optimiser.state_dict(), "noise": self._noise.get_state(),
        }  # fmt: skip

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.steps, self.loss, self.share = state["steps"], state["loss"], state["share"]
        self._budget.spent = state["seconds"]
        self._optimiser.load_state_dict(state["optimiser"])
        self._noise.set_state(state["noise"])


def run(
    start: Callable[[Parts, Budget, int], AddonTraining], name: str, out: Path, budget: Budget,
    *, source: Path, seed: int, resume: bool,
) -> Path:  # fmt: skip
    """Train into `out`/`name` until `budget` is used up, with snapshots on the way; returns that path."""
    import torch

    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    torch.manual_seed(seed)
    out.mkdir(parents=True, exist_ok=True)
    target, saved_state = out / name, out / "state.pt"
    training = start(model.load(source), budget, seed)
    if resume and saved_state.exists():
        training.restore(read_state(saved_state))
    logged = saved = time.monotonic()
    while training.share < 1:
        training.step()
        now = time.monotonic()
        if now - logged > training.log_every:
            logged = now
            log(out, step=training.steps, loss=training.loss, share=training.share)
        if now - saved > training.save_every:
            training.save(target)
            write_state(saved_state, training.state())
            saved = time.monotonic()
    training.save(target)
    log(out, finished=True, step=training.steps, loss=training.loss)
    return target


def command(
    start: Callable[[Parts, Budget, int], AddonTraining], name: str, module: str, about: str | None,
    arguments: Sequence[str] | None,
) -> int:  # fmt: skip
    """The command line of a training, `python -m <module>`; `about` is the module's docstring."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {module}", description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", required=True, type=Path, help="folder for snapshots, state and log")
    parser.add_argument("--minutes", type=float, default=0.0, help="wall clock over all resumptions")
    parser.add_argument("--steps", type=int, default=0, help="instead of minutes: a number of steps")
    parser.add_argument("--resume", action="store_true", help="go on where an earlier run stopped")
    parser.add_argument("--from", dest="source", type=Path, default=STARTER, help="the starter model it is for")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    if not given.minutes and not given.steps:
        parser.error("say how long to train, with --minutes or --steps")
    budget = Budget(given.minutes, given.steps)
    run(start, name, given.out, budget, source=given.source, seed=given.seed, resume=given.resume)
    return 0
