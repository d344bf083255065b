"""The samplers: functions from one SolverState to the next, in a table.

Each follows the order of operations of the diffusers scheduler it equals, so that results are bit-equal where the
noise is. Scalars are float32 CPU tensors without dimensions, as there; they never make a device wait.

scaling   "ve": latent = x₀ + σ·noise, divided by sqrt(σ² + 1) for the network (Karras et al.)
          "vp": latent = α·x₀ + σ_vp·noise with α² + σ_vp² = 1, given to the network as it is
          "alphas": as "vp", with ᾱ read from the model's table at whole timesteps (DDIM, LCM)
          "flow": latent = (1 − σ)·x₀ + σ·noise with σ in 0..1, given as it is: every solver's for a flow model
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Literal, TypeAlias

import torch

from engine.contracts.errors import UnknownChoice
from engine.sampling import cfg_pp, dpm, first_order, multistep, refined, second_order, unipc
from engine.sampling.names import SAMPLERS
from engine.sampling.schedules import Grid, Schedule
from engine.sampling.state import Run, SolverState

Scaling: TypeAlias = Literal["ve", "vp", "alphas", "flow"]
Step: TypeAlias = Callable[[SolverState, Run], SolverState]


@dataclass(frozen=True)
class Solver:
    """A sampler: `step` advances a state by one step; `grid` is how its schedules are laid.

    `below_one` is how far below 1 a flow model's first σ is put, for steps that need the log of its signal.
    """

    name: str
    step: Step
    scaling: Scaling
    grid: Grid
    below_one: float = 0.0

    def noised(self, clean: torch.Tensor, noise: torch.Tensor, schedule: Schedule, index: int) -> torch.Tensor:
        """`clean` [B, C, h, w] at the noise level of sigma number `index`, in this solver's scaling."""
        if index >= schedule.steps and not bool(schedule.sigmas[index]):
            return clean
        if self.scaling == "flow":
            return schedule.sigmas[index] * noise + (1.0 - schedule.sigmas[index]) * clean
        if self.scaling == "ve":
            return clean + noise * schedule.sigmas[index]
        if self.scaling == "vp" or index >= schedule.steps:
            alpha, sigma = dpm.alpha_sigma(schedule.sigmas[index])
            return alpha * clean + sigma * noise
        return schedule.alphas[index] ** 0.5 * clean + (1 - schedule.alphas[index]) ** 0.5 * noise

    def pure(self, noise: torch.Tensor, schedule: Schedule) -> torch.Tensor:
        """Nothing but noise, at the start of the schedule."""
        return noise * schedule.start_sigma if self.scaling == "ve" else noise * 1.0

    def from_plain(self, latent: torch.Tensor, schedule: Schedule, index: int) -> torch.Tensor:
        """From the scaling that noisy latents have on wires (x₀ + σ·noise; a flow model's own) into this solver's."""
        return latent if self.scaling in ("ve", "flow") else latent / (schedule.sigmas[index] ** 2 + 1) ** 0.5

    def to_plain(self, latent: torch.Tensor, schedule: Schedule, index: int) -> torch.Tensor:
        """Back again."""
        if self.scaling in ("ve", "flow") or not bool(schedule.sigmas[index]):
            return latent
        return latent * (schedule.sigmas[index] ** 2 + 1) ** 0.5


SOLVERS: Mapping[str, Solver] = MappingProxyType(
    {
        solver.name: solver
        for solver in (
            Solver("euler", first_order.euler, "ve", "ends"),
            Solver("euler_ancestral", first_order.euler_ancestral, "ve", "ends"),
            Solver("heun", first_order.heun, "ve", "ends"),
            Solver("dpmpp_2m", dpm.dpmpp_2m, "vp", "inner"),
            Solver("dpmpp_2m_sde", dpm.dpmpp_2m_sde, "vp", "inner"),
            Solver("dpmpp_sde", dpm.dpmpp_sde, "ve", "ends64", below_one=1e-4),
            Solver("ddim", first_order.ddim, "alphas", "ddim"),
            Solver("uni_pc", unipc.uni_pc, "vp", "inner", below_one=1e-6),
            Solver("lcm", first_order.lcm, "alphas", "lcm"),
            Solver("dpmpp_2s_ancestral", second_order.dpmpp_2s_ancestral, "ve", "ends"),
            Solver("dpmpp_3m_sde", multistep.dpmpp_3m_sde, "ve", "ends"),
            Solver("dpm_2", second_order.dpm_2, "ve", "ends"),
            Solver("dpm_2_ancestral", second_order.dpm_2_ancestral, "ve", "ends"),
            Solver("lms", multistep.lms, "ve", "ends"),
            Solver("uni_pc_bh2", partial(unipc.uni_pc, bh2=True), "vp", "inner", below_one=1e-6),
            Solver("res_multistep", refined.res_multistep, "ve", "ends"),
            Solver("res_multistep_ancestral", partial(refined.res_multistep, eta=1.0), "ve", "ends"),
            Solver("gradient_estimation", refined.gradient_estimation, "ve", "ends"),
            Solver("er_sde", refined.er_sde, "ve", "ends", below_one=1e-4),
            Solver("euler_cfg_pp", cfg_pp.euler_cfg_pp, "ve", "ends"),
            Solver("euler_ancestral_cfg_pp", partial(cfg_pp.euler_cfg_pp, eta=1.0), "ve", "ends", below_one=1e-4),
            Solver("dpmpp_2s_ancestral_cfg_pp", cfg_pp.dpmpp_2s_ancestral_cfg_pp, "ve", "ends"),
            Solver("dpmpp_2m_cfg_pp", cfg_pp.dpmpp_2m_cfg_pp, "ve", "ends"),
            Solver("res_multistep_cfg_pp", partial(refined.res_multistep, plus=True), "ve", "ends"),
            Solver("res_multistep_ancestral_cfg_pp", partial(refined.res_multistep, eta=1.0, plus=True), "ve", "ends"),
            Solver("gradient_estimation_cfg_pp", partial(refined.gradient_estimation, plus=True), "ve", "ends"),
        )
    }
)


def solver_named(name: str, settings: tuple[tuple[str, float], ...] = (), *, flow: bool = False) -> Solver:
    """The solver called `name`, with settings of its own, as it works on a flow model. Raises UnknownChoice."""
    found = SOLVERS.get(name)
    if found is None:
        raise UnknownChoice("sampler", name, SAMPLERS)
    if flow:
        found = replace(found, scaling="flow", grid="flow")
    return replace(found, step=partial(found.step, **dict(settings))) if settings else found
