"""The studio's own sampling loop: from a latent and a plan to a finished, or deliberately unfinished, latent.

Noisy latents on wires are in the form x₀ + σ·noise whatever solver made them, those of flow models in the form
(1 − σ)·x₀ + σ·noise, so that one sampler can go on where another stopped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812 - the field's own name for it

from engine.contracts.errors import InvalidRequest
from engine.families.protocol import BindRequest, Bound, Family, LatentSpace
from engine.graph.numerics import note
from engine.graph.values import ConditioningEntry, LatentValue, Patch
from engine.sampling import schedules
from engine.sampling.flow_space import FlowSpace, Space
from engine.sampling.names import CFG_PP_SAMPLERS, SAMPLER_LABELS
from engine.sampling.noise import draw, generators_for
from engine.sampling.patches import differential_strength, patched_space
from engine.sampling.schedules import Schedule
from engine.sampling.solvers import Solver, solver_named
from engine.sampling.state import Constrain, Run, SolverState, unconstrained
from engine.sampling.step_cache import Settings, Sided, StepCache
from engine.sampling.unguided import Unguided

ANY_SPACE = "any"


@dataclass(frozen=True)
class SamplePlan:
    """What to run.

    steps           of the whole schedule; `start`..`end` of them are done (end None: all)
    strength        instead of `start`: how much of the schedule is done (0..1), counted as the model's pipelines count
    add_noise       whether the latent is noised first; False goes on with the noise it has
    leave_noise     whether the latent keeps the noise of step `end`; False removes all of it at the last step done
    settings        the sampler's own (euler_ancestral: eta, noise_scale)
    sigmas          float32 [n + 1]: these noise levels instead of a named schedule; steps, scheduler, start and end
                    are then not read, and noise is left over when the list does not end at 0
    patches         of the model, in order
    style, middle, cfg_2   as GuiderValue's
    apart           one side of the guidance after the other, to save memory
    """

    positive: tuple[ConditioningEntry, ...]
    negative: tuple[ConditioningEntry, ...]
    seed: int
    steps: int
    cfg: float
    sampler: str
    scheduler: str
    start: int = 0
    end: int | None = None
    strength: float | None = None
    add_noise: bool = True
    leave_noise: bool = False
    settings: tuple[tuple[str, float], ...] = ()
    sigmas: npt.NDArray[np.float32] | None = None
    patches: tuple[Patch, ...] = ()
    style: str = "cfg"
    middle: tuple[ConditioningEntry, ...] = ()
    cfg_2: float = 1.0
    apart: bool = False


@dataclass(frozen=True, eq=False)
class Prepared:
    """A run that is ready to step: `state` is at step `plan.start`, `until` is where it ends.

    `cache` leaves calls of the network out, where a patch asks for that.
    """

    solver: Solver
    run: Run
    state: SolverState
    until: int
    latent: LatentValue
    cache: StepCache | None = None


def whole_schedule(steps: int, denoise: float) -> int:
    """How long the schedule is whose last `steps` steps do `denoise` (0..1] of it, counted as ComfyUI counts."""
    return steps if denoise > 0.9999 else int(steps / denoise)


def _laid(plan: SamplePlan, space: Space, solver: Solver) -> tuple[Schedule, int, int]:
    """(schedule, first step to do, step to stop before)."""
    if plan.sigmas is not None:
        schedule, until = schedules.explicit(plan.sigmas, space, solver.grid)
        return schedule, 0, until
    schedule = schedules.build(plan.scheduler, plan.steps, space, solver.grid, schedules.MAX_WHOLE_STEPS)
    until = plan.steps if plan.end is None else min(plan.end, plan.steps)
    if not plan.leave_noise and until > 0:
        schedule = schedule.ending_at(until)
    start = plan.start if plan.strength is None else space.start_for(plan.steps, plan.strength)
    return schedule, min(start, until), until


def prepare(family: Family, latent: LatentValue, plan: SamplePlan) -> Prepared:
    """Lay the schedule, draw the noise and bind the model. Raises InvalidRequest or UnknownChoice."""
    empty = latent.space == ANY_SPACE and not bool(latent.samples.any())
    latent = fitted(latent, family.latent_space)
    space = patched_space(family.noise_space, plan.patches).resolved(tuple(latent.samples.shape), plan.steps)
    solver = solver_named(plan.sampler, plan.settings, flow=isinstance(space, FlowSpace))
    schedule, start, until = _laid(plan, space, solver)
    if isinstance(space, FlowSpace):
        schedule = schedule.starting_below(solver.below_one)
    clean = latent.samples.to(family.device)
    indices = latent.indices or tuple(range(clean.shape[0]))
    generators = generators_for(plan.seed, indices)
    noise = draw(generators, clean)
    grey = differential_strength(plan.patches) if latent.noise_mask is not None else None
    constrain = _constraint(solver, schedule, clean, noise, latent, _Grey(grey, start, until) if grey else None)
    first = _first(solver, schedule, clean, noise, latent, plan, space, start, empty)
    state = SolverState(start, constrain(first, start) if grey and start < until else first, generators)
    request = BindRequest(
        plan.positive, plan.negative, plan.cfg, _shape(clean), latent.inpaint, plan.patches, space,
        plan.style, plan.middle, plan.cfg_2, latent.inpaint_mask, plan.apart, plan.sampler in CFG_PP_SAMPLERS,
    )  # fmt: skip
    bound = family.bind(request)
    unguided = Unguided(_sided(bound, plan.sampler)) if request.unguided else None
    lossy = Settings.of(plan.patches)
    cache = StepCache(lossy, unguided or bound, request) if lossy is not None else None
    asked, total = (cache or unguided or bound).predict, plan.steps

    def predict(x: torch.Tensor, timestep: torch.Tensor, step: int) -> torch.Tensor:
        # A list of noise levels may be a part of a run: how much is done is then told by the noise that is left.
        done = step / total if plan.sigmas is None else space.done_at(float(timestep))
        return asked(x, timestep, done)

    def both(x: torch.Tensor, timestep: torch.Tensor, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        assert unguided is not None
        return predict(x, timestep, step), unguided.taken()

    run = Run(
        schedule, predict, space.prediction, space.clip, constrain, timestep_of=space.timestep_of,
        predict_both=both if unguided is not None else None,
    )  # fmt: skip
    return Prepared(solver, run, state, until, latent, cache)


def _sided(bound: Bound, sampler: str) -> Sided:
    if isinstance(bound, Sided):
        return bound
    raise InvalidRequest(
        f"“{SAMPLER_LABELS[sampler]}” needs the network's answer without guidance, which windows don't keep",
        where="sampler", fix="Choose a sampler without CFG++, or sample the picture whole",
    )  # fmt: skip


@torch.no_grad()
def advance(
    prepared: Prepared,
    state: SolverState | None = None,
    until: int | None = None,
    *,
    before_step: Callable[[int], None] | None = None,
    after_step: Callable[[SolverState], None] | None = None,
) -> SolverState:
    """Step from `state` (default: the start) to step `until` (default: the end) and return the state there.

    `before_step` may raise to stop; the state of the last finished step is then what `after_step` last got.
    """
    state = prepared.state if state is None else state
    until = prepared.until if until is None else min(until, prepared.until)
    step, run, cache = prepared.solver.step, prepared.run, prepared.cache
    if cache is not None:
        cache.memory = state.reused
    while state.index < until:
        if before_step is not None:
            before_step(state.index)
        state = step(state, run)
        if cache is not None:
            state = replace(state, reused=cache.memory)
        if after_step is not None:
            after_step(state)
    return state


def finish(prepared: Prepared, state: SolverState) -> LatentValue:
    """The latent of a finished run, on the CPU, for the wire. Raises InvalidRequest when it holds no numbers."""
    if prepared.cache is not None:
        note("step_cache", prepared.cache.told())
    return _checked(prepared, prepared.solver.to_plain(state.latent, prepared.run.schedule, state.index))


def foreseen(prepared: Prepared, state: SolverState) -> LatentValue:
    """The picture the last step was heading for, without noise, on the CPU; the latent itself when no step was done."""
    return _checked(prepared, state.denoised) if state.denoised is not None else finish(prepared, state)


def _checked(prepared: Prepared, latent: torch.Tensor) -> LatentValue:
    samples = latent.float().cpu()
    if not bool(torch.isfinite(samples).all()):
        raise InvalidRequest(
            "the sampling ended in values that are not numbers", where=prepared.solver.name,
            fix="Lower the guidance, or choose another sampler or schedule",
        )  # fmt: skip
    return replace(prepared.latent, samples=samples)


def fitted(latent: LatentValue, space: LatentSpace) -> LatentValue:
    """`latent` as this model needs it: an empty one takes the model's shape, one of another model is refused."""
    if latent.space == ANY_SPACE:
        batch, _, height, width = latent.samples.shape  # laid out with 8 pixels a cell
        shape = space.shape(batch, width * 8, height * 8)
        if latent.samples.shape == shape:
            return replace(latent, space=space.id)  # it may hold noise that a node put there
        if bool(latent.samples.any()):
            raise InvalidRequest(
                f"this latent has {latent.samples.shape[1]} channels and the model works with {space.channels}",
                where="latent",
                fix="Start from an empty latent, or encode a picture with this model's VAE",
            )
        return replace(latent, samples=torch.zeros(shape), space=space.id)
    if latent.space != space.id:
        raise InvalidRequest(
            f"this latent belongs to “{latent.space}” and the model works in “{space.id}”",
            where="latent", fix="Encode the picture with the VAE of the same checkpoint",
        )  # fmt: skip
    return latent


def _first(
    solver: Solver,
    schedule: Schedule,
    clean: torch.Tensor,
    noise: torch.Tensor,
    latent: LatentValue,
    plan: SamplePlan,
    space: Space,
    start: int,
    empty: bool,
) -> torch.Tensor:
    if start >= schedule.steps:
        return clean
    if not plan.add_noise:
        return solver.from_plain(clean, schedule, start)
    replaced = latent.noise_mask is not None or latent.inpaint is not None
    # A whole new picture, or a whole new inside of the mask, starts from pure noise, as diffusers starts it.
    top = plan.sigmas is None or float(schedule.sigmas[0]) >= 0.5 * float(space.sigmas[-1])
    if start == 0 and top and (empty or replaced):
        return solver.pure(noise, schedule)
    return solver.noised(clean, noise, schedule, start)


@dataclass(frozen=True)
class _Grey:
    """A grey mask read as when a place may change (Differential Diffusion, 2306.00950), in a run of start..until."""

    strength: float
    start: int
    until: int

    def at(self, mask: torch.Tensor, schedule: Schedule, index: int) -> torch.Tensor:
        """The mask that held during the step that led to sigma number `index` (ComfyUI's DifferentialDiffusion)."""
        step = max(index - 1, self.start)
        times = schedule.timesteps
        first = float(times[self.start])
        last = float(times[self.until]) if self.until < schedule.steps else 0.0
        threshold = (float(times[step]) - last) / max(first - last, 1e-6)
        free = ((mask >= threshold) & (mask > 0)).to(mask.dtype)  # black is kept, also at timestep 0
        return self.strength * free + (1 - self.strength) * mask


def _constraint(
    solver: Solver,
    schedule: Schedule,
    clean: torch.Tensor,
    noise: torch.Tensor,
    latent: LatentValue,
    grey: _Grey | None = None,
) -> Constrain:
    if latent.noise_mask is None:
        return unconstrained
    mask = latent.noise_mask.to(clean.device, torch.float32)
    if mask.shape[0] not in (1, clean.shape[0]):
        raise InvalidRequest(
            f"there are {mask.shape[0]} masks for {clean.shape[0]} pictures", where="noise mask",
            fix="Give one mask, or one for each picture",
        )  # fmt: skip
    if mask.shape[-2:] != clean.shape[-2:]:  # the latent was scaled after its mask was set
        mask = F.interpolate(mask, size=clean.shape[-2:], mode="nearest-exact")

    def constrain(current: torch.Tensor, index: int) -> torch.Tensor:
        free = mask if grey is None else grey.at(mask, schedule, index)
        return (1 - free) * solver.noised(clean, noise, schedule, index) + free * current

    return constrain


def _shape(samples: torch.Tensor) -> tuple[int, int, int, int]:
    batch, channels, height, width = samples.shape
    return batch, channels, height, width
