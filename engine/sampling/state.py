"""What a solver knows between two steps, whole: stop after any step, keep it, go on later with bit-equal results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import torch

from engine.sampling.noise_space import Prediction
from engine.sampling.schedules import Schedule
from engine.sampling.step_cache import Memory


@dataclass(frozen=True, eq=False)
class SolverState:
    """index       steps of the schedule that are done
    latent      float32 [B, C, h, w] on the device, in the solver's own scaling
    history     what a multistep solver remembers, newest last
    orders      UniPC's bookkeeping: (order of the last step, orders warmed up)
    generators  one CPU generator for each item, positioned after the noise drawn so far
    denoised    the picture the last step was heading for (x₀), for previews; None before the first
    reused      what a step cache remembers after the step; None without one
    """

    index: int
    latent: torch.Tensor
    generators: tuple[torch.Generator, ...]
    history: tuple[torch.Tensor, ...] = ()
    orders: tuple[int, int] = (0, 0)
    denoised: torch.Tensor | None = field(default=None)
    reused: Memory | None = None

    def kept(self) -> SolverState:
        """A copy to keep: its generators no longer move when this state is stepped on. Tensors are never written."""
        return replace(self, generators=tuple(clone_generator(g) for g in self.generators))

    def stepped(
        self,
        latent: torch.Tensor,
        denoised: torch.Tensor,
        history: tuple[torch.Tensor, ...] = (),
        orders: tuple[int, int] = (0, 0),
    ) -> SolverState:
        """The state one step on."""
        return SolverState(self.index + 1, latent, self.generators, history, orders, denoised)


def clone_generator(generator: torch.Generator) -> torch.Generator:
    twin = torch.Generator("cpu")
    twin.set_state(generator.get_state())
    return twin


# predict(x, timestep, step): the guided network output for an input already scaled for the network.
Predict: TypeAlias = Callable[[torch.Tensor, torch.Tensor, int], torch.Tensor]
# predict_both(x, timestep, step): that, and what the network says without guidance.
PredictBoth: TypeAlias = Callable[[torch.Tensor, torch.Tensor, int], tuple[torch.Tensor, torch.Tensor]]
# constrain(latent, index): put back what a noise mask protects, at the noise level of sigma number `index`.
Constrain: TypeAlias = Callable[[torch.Tensor, int], torch.Tensor]


def unconstrained(latent: torch.Tensor, index: int) -> torch.Tensor:
    """The constraint of a run without a noise mask."""
    return latent


@dataclass(frozen=True, eq=False)
class Run:
    """What stays the same through a run."""

    schedule: Schedule
    predict: Predict
    prediction: Prediction = "epsilon"
    clip: float | None = None
    constrain: Constrain = unconstrained
    noise: Callable[[SolverState], torch.Tensor] | None = None  # instead of the generators; tests inject it
    timestep_of: Callable[[float], float] | None = None  # what the network is told at a σ; None: σ itself
    predict_both: PredictBoth | None = None  # for the samplers that need it (CFG++)

    @property
    def is_flow(self) -> bool:
        """Whether noisy latents are (1 − σ)·x₀ + σ·noise, σ in 0..1, and the network says noise − x₀."""
        return self.prediction == "flow"

    def predicted_both(
        self, x: torch.Tensor, timestep: torch.Tensor, step: int
    ) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
        """(the guided output, the unguided one), see Predict; twice the same where there is no other."""
        if self.predict_both is not None:
            return self.predict_both(x, timestep, step)
        output = self.predict(x, timestep, step)
        return output, output

    def told(self, sigma: torch.Tensor) -> torch.Tensor:
        """What the network is told at `sigma`, a CPU tensor without dimensions."""
        return sigma if self.timestep_of is None else torch.tensor(self.timestep_of(float(sigma)))
