"""Schedules: from a name, a number of steps and the model's noise space to a list of sigmas and timesteps.

Which (sampler, schedule) equals which configuration of diffusers (bit-equal; tests/benchmarks/parity.py):

| schedule    | euler, euler_ancestral, heun, dpmpp_sde  | dpmpp_2m, dpmpp_2m_sde, uni_pc        | ddim        | lcm   |
| ----------- | ---------------------------------------- | ------------------------------------- | ----------- | ----- |
| normal      | the model's timestep_spacing             | the model's timestep_spacing          | the same    | LCM's |
| karras      | use_karras_sigmas (not euler_ancestral)  | use_karras_sigmas                     | none        | none  |
| exponential | use_exponential_sigmas (not euler_anc.)  | use_exponential_sigmas                | none        | none  |
| beta        | use_beta_sigmas (not euler_ancestral)    | use_beta_sigmas                       | none        | none  |
| simple      | timestep_spacing="trailing" ¹            | "trailing" ¹                          | "trailing" ¹| none  |
| sgm_uniform | none (ComfyUI's formula)                 | timestep_spacing="linspace"           | none        | none  |
| ddim_uniform | "leading", steps_offset 1 ¹             | ComfyUI's formula                     | "leading" ¹ | none  |
| kl_optimal, linear_quadratic | ComfyUI's formulas for all                                                |

¹ where the steps divide the model's 1000 timesteps; elsewhere "simple" rounds as ComfyUI does. "None" combinations are
tested against formulas written down again in the tests. diffusers' samplers differ in how they lay their grid (do both
ends belong to it, are timesteps rounded); each solver names its `Grid`, and the same names mean the same thing here.
ComfyUI's "beta" places timesteps, diffusers' places sigmas; here it is diffusers'.

A flow model's schedules are the same for every sampler: "normal" is what its pipeline in diffusers gives
FlowMatchEulerDiscreteScheduler, karras, exponential and beta are that scheduler's use_…_sigmas, sgm_uniform is
UniPCMultistepScheduler's use_flow_sigmas, and the others are the formulas above over shifted times.

A list of sigmas that comes along a wire (`explicit`) becomes a schedule by asking the noise space for each timestep. It
equals the named schedule bit for bit where that one's timesteps are whole numbers (simple; everything "inner").
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from engine.contracts.errors import InvalidRequest, UnknownChoice
from engine.sampling.beta import beta_quantile
from engine.sampling.flow_space import FlowSpace, Space
from engine.sampling.names import SCHEDULES
from engine.sampling.noise_space import NoiseSpace

# ends   both ends of the training range belong to the grid; timesteps are fractional (k-diffusion)
# ends64 the same, laid in double precision (DPMSolverSDEScheduler)
# inner  one more point than steps is laid and the last dropped; timesteps are whole (DPM-Solver, UniPC)
# ddim   whole timesteps at both ends; the step before is a fixed stride away
# lcm    a subset of the 50 timesteps the model was distilled on
# flow   a flow model's, for every solver
Grid: TypeAlias = Literal["ends", "ends64", "inner", "ddim", "lcm", "flow"]
CONTINUOUS = ("ends", "ends64")
Floats: TypeAlias = npt.NDArray[Any]  # float32 or float64, as the scheduler that is matched has it

MAX_STEPS = 500
MAX_WHOLE_STEPS = 50_000  # of a schedule of which only the last part is run


@dataclass(frozen=True, eq=False)
class Schedule:
    """n steps. All tensors live on the CPU, so that reading one never waits for a device.

    sigmas       float32 [n+1], falling; the last is 0 unless noise is left over
    timesteps    [n], what the network is told at each step
    midpoints    [n−1], what it is told at the geometric middle of each step (two-stage samplers)
    alphas       float32 [n]: ᾱ at each step;  alphas_next  float32 [n]: ᾱ that the step leads to
    start_sigma  σ that pure noise is scaled to when a run starts at step 0 (exploding-variance form)
    """

    sigmas: torch.Tensor
    timesteps: torch.Tensor
    midpoints: torch.Tensor
    alphas: torch.Tensor
    alphas_next: torch.Tensor
    start_sigma: torch.Tensor

    @property
    def steps(self) -> int:
        return self.timesteps.shape[0]

    def starting_below(self, gap: float) -> Schedule:
        """A flow model's schedule with no σ closer to 1 than `gap`: where the log of the signal is needed.

        A list that rises to pure noise is held below it too: no step can arrive there by that log.
        """
        gap = max(gap, 1e-6) if bool((self.sigmas[1:] >= 1.0).any()) else gap
        highest = 1.0 - gap
        if not gap or float(self.sigmas.max()) <= highest:
            return self
        told = self.timesteps.clamp(max=float(self.timesteps[0] / self.sigmas[0]) * highest)
        sigmas = self.sigmas.clamp(max=highest)
        return replace(self, sigmas=sigmas, timesteps=told, alphas=1 - sigmas[:-1], start_sigma=sigmas.max())

    def ending_at(self, end: int) -> Schedule:
        """The first `end` steps, the last of which removes all noise that is left."""
        if end >= self.steps:
            return self
        sigmas, alphas_next = self.sigmas[: end + 1].clone(), self.alphas_next[:end].clone()
        sigmas[end], alphas_next[end - 1] = 0.0, 1.0
        return replace(
            self, sigmas=sigmas, timesteps=self.timesteps[:end], midpoints=self.midpoints[: max(end - 1, 0)],
            alphas=self.alphas[:end], alphas_next=alphas_next,
        )  # fmt: skip


def build(name: str, steps: int, space: Space, grid: Grid = "ends", most: int = MAX_STEPS) -> Schedule:
    """The schedule called `name` with `steps` steps (1..`most`). Raises UnknownChoice or InvalidRequest.

    `grid` is not read for a flow model.
    """
    if name not in SCHEDULES:
        raise UnknownChoice("scheduler", name, SCHEDULES)
    if not 1 <= steps <= most:
        raise InvalidRequest(f"the number of steps is {steps}; it can be 1 to {most}", where="steps")
    if isinstance(space, FlowSpace):
        return _finish_flow(_flow_sigmas(name, steps, space), space)
    if name in _SHAPES:
        return _from_sigmas(name, steps, space, grid)
    if name == "ddim_uniform":
        # Where the steps don't divide the timesteps evenly ComfyUI runs more steps than were asked for; this does not.
        laid = 1.0 + np.arange(steps, dtype=np.float64) * max(space.length // steps, 1)
        timesteps: Floats = laid.clip(max=space.length - 1)[::-1]
    elif name == "simple":
        stride = space.length / steps
        timesteps = np.array([space.length - 1 - int(i * stride) for i in range(steps)], dtype=np.float64)
    elif name == "sgm_uniform":
        timesteps = np.linspace(space.length - 1, 0, steps + 1)[:-1]
        timesteps = timesteps if grid in CONTINUOUS else timesteps.round()
    else:
        timesteps = _own_timesteps(steps, space, grid)
    if space.stride > 1:
        timesteps = np.maximum(((timesteps + 1) / space.stride).round(), 1) * space.stride - 1
    # A schedule named by its formula is laid the same way for every solver; only "normal" follows DDIM's stride.
    stride_back = space.length // steps if grid == "ddim" and name != "sgm_uniform" else None
    if name == "sgm_uniform" and grid in CONTINUOUS:
        return _finish(space.sigma_of(timesteps), timesteps, space, grid)
    sigmas = np.interp(timesteps, np.arange(space.length), space.sigmas)
    return _finish(sigmas, timesteps, space, grid, stride_back, leading=name == "normal" and space.spacing == "leading")


def _flow_sigmas(name: str, steps: int, space: FlowSpace) -> Floats:
    """σ of each step of a flow model, without the closing 0."""
    if name == "normal":
        return space.own_sigmas(steps)
    if name in _SHAPES:
        own = space.own_sigmas(steps)
        return _SHAPES[name](own[-1].item(), own[0].item(), steps)
    if name == "sgm_uniform":
        times: Floats = np.linspace(1, 1 / space.length, steps + 1)[:-1]
    elif name == "ddim_uniform":
        stride = max(space.length // steps, 1)
        times = ((2 + np.arange(steps) * stride).clip(max=space.length) / space.length)[::-1]
    else:
        times = np.array([1 - int(i * space.length / steps) / space.length for i in range(steps)])
    return space.stretched(space.shifted(times))


def _finish_flow(sigmas: Floats, space: FlowSpace) -> Schedule:
    laid = torch.from_numpy(np.ascontiguousarray(sigmas)).to(torch.float32)
    told = laid * space.length
    middles = (laid[:-1].double() * laid[1:].double()).sqrt() * space.length
    laid = torch.cat([laid, torch.zeros(1)])
    return Schedule(laid, told, middles, 1 - laid[:-1], 1 - laid[1:], laid.max())


def _own_timesteps(steps: int, space: NoiseSpace, grid: Grid) -> Floats:
    """The model's own spacing, as the diffusers scheduler of this grid lays it (2305.08891, table 2)."""
    total = space.length
    if grid == "lcm":
        original = max(space.original_steps, steps)
        trained = (np.arange(1, original + 1) * (total // original) - 1)[::-1]
        picked: Floats = trained[np.floor(np.linspace(0, len(trained), num=steps, endpoint=False)).astype(np.int64)]
        return picked
    extra = 1 if grid == "inner" else 0
    if space.spacing == "linspace":
        # float32 for "ends", as EulerDiscreteScheduler has it: the interpolated sigmas depend on it.
        laid: Floats = np.linspace(0, total - 1, steps + extra, dtype=np.float32 if grid == "ends" else np.float64)
        return (laid if grid in CONTINUOUS else laid.round())[::-1][: steps if extra else None]
    if space.spacing == "leading":
        stride = total // (steps + extra)
        leading: Floats = (np.arange(0, steps + extra) * stride)[::-1][:steps].astype(np.float32)
        return (leading + space.steps_offset).clip(max=total - 1)
    trailing: Floats = np.arange(total, 0, -total / steps).round()[:steps].astype(np.float32)
    return (trailing - 1).clip(min=0)


def _from_sigmas(name: str, steps: int, space: NoiseSpace, grid: Grid) -> Schedule:
    if grid == "inner":
        sigma_min, sigma_max = float(space.sigmas[0]), float(space.sigmas[-1])
    else:
        own = np.interp(
            _own_timesteps(steps, space, "ends64" if grid == "ends64" else "ends"),
            np.arange(space.length),
            space.sigmas,
        )
        sigma_min, sigma_max = float(own[-1]), float(own[0])
    sigmas = _SHAPES[name](sigma_min, sigma_max, steps)
    timesteps = np.array([space.timestep_of(sigma) for sigma in sigmas])
    if grid == "inner":  # diffusers rounds for karras and truncates for the others
        timesteps = timesteps.round() if name == "karras" else np.trunc(timesteps)
    return _finish(sigmas, timesteps, space, grid, leading=space.spacing == "leading")


def karras(sigma_min: float, sigma_max: float, steps: int, rho: float = 7.0) -> Floats:
    """Karras et al. (2206.00364), equation 5."""
    ramp = np.linspace(0, 1, steps)
    low, high = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
    return np.asarray((high + ramp * (low - high)) ** rho)


def exponential(sigma_min: float, sigma_max: float, steps: int) -> Floats:
    """Even steps in log σ."""
    return np.exp(np.linspace(math.log(sigma_max), math.log(sigma_min), steps))


def beta(sigma_min: float, sigma_max: float, steps: int, shape: float = 0.6) -> Floats:
    """Beta Sampling is All You Need (2407.12173), in diffusers' form: quantiles laid over the range of σ."""
    quantiles = [beta_quantile(p, shape, shape) for p in 1 - np.linspace(0, 1, steps)]
    return np.array([sigma_min + q * (sigma_max - sigma_min) for q in quantiles])


def kl_optimal(sigma_min: float, sigma_max: float, steps: int) -> Floats:
    """Align Your Steps (2404.14507), theorem 3.1: even steps in arctan σ."""
    ramp = np.linspace(0, 1, steps)
    return np.tan(ramp * math.atan(sigma_min) + (1 - ramp) * math.atan(sigma_max))


def linear_quadratic(sigma_min: float, sigma_max: float, steps: int, threshold: float = 0.025) -> Floats:
    """Movie Gen (2410.13720), as ComfyUI has it: half of the steps take off `threshold` evenly, the rest quadratically.

    `sigma_min` is not reached; the last step goes to 0.
    """
    half = steps // 2
    if not half:
        return np.array([sigma_max])
    rest = steps - half
    slope = threshold / half
    bend = (half - threshold * steps) / (half * rest**2)
    turn = np.arange(half, steps)
    falling = np.concatenate([np.arange(half) * slope, bend * (turn - half) ** 2 + slope * turn])
    return np.asarray(sigma_max * (1.0 - falling))


_SHAPES = {
    "karras": karras, "exponential": exponential, "beta": beta, "kl_optimal": kl_optimal,
    "linear_quadratic": linear_quadratic,
}  # fmt: skip


def explicit(sigmas: npt.NDArray[np.float32], space: Space, grid: Grid) -> tuple[Schedule, int]:
    """(the schedule of a list of n + 1 noise levels, n). Raises InvalidRequest for a list that can't be run.

    A list that does not end at 0 gets a closing step, which is not run, so that noise can be left over.
    """
    if sigmas.ndim != 1 or len(sigmas) < 2 or not bool(np.isfinite(sigmas).all()) or bool((sigmas < 0).any()):
        raise InvalidRequest("the noise levels are not a list of two or more numbers of 0 or more", where="sigmas")
    if not bool((sigmas[:-1] > 0).all()):
        place = "begins" if not sigmas[0] else "is before its end"
        raise InvalidRequest(
            f"the list of noise levels {place} at 0",
            where="sigmas",
            fix="Use “Set first sigma” to begin a little above",
        )
    run = np.asarray(sigmas[:-1] if not sigmas[-1] else sigmas, dtype=np.float64)
    if isinstance(space, FlowSpace):
        if bool((run > 1.0 + 1e-6).any()):
            raise InvalidRequest(
                f"the noise levels go up to {run.max():g}, and a flow model’s end at 1", where="sigmas",
                fix="Make them for this model, with “Schedule” or “Beta schedule”",
            )  # fmt: skip
        return _finish_flow(run.clip(max=1.0), space), len(sigmas) - 1
    timesteps = np.array([_snapped(space.timestep_of(float(sigma))) for sigma in run])
    if grid not in CONTINUOUS:
        timesteps = timesteps.round()
    return _finish(run, timesteps, space, grid), len(sigmas) - 1


def _snapped(timestep: float) -> float:
    """Sigmas on wires are float32; one that belongs to a whole timestep comes back as that timestep."""
    nearest = round(timestep)
    return float(nearest) if abs(timestep - nearest) < 2e-3 else timestep


def _finish(
    sigmas: Floats,
    timesteps: Floats,
    space: NoiseSpace,
    grid: Grid,
    stride_back: int | None = None,
    leading: bool = False,
) -> Schedule:
    laid = torch.from_numpy(np.concatenate([sigmas, [0.0]]).astype(np.float32))
    final = space.final_alpha if space.final_alpha is not None else torch.tensor(1.0)
    whole = bool(np.all(timesteps == np.round(timesteps)))
    told = torch.from_numpy(timesteps.astype(np.int64 if whole and grid not in CONTINUOUS else np.float32))
    if grid in ("ddim", "lcm") and whole:
        alphas = space.alphas_cumprod[told.long()]
    else:
        alphas = 1 / (laid[:-1] ** 2 + 1)
    # DDIMScheduler looks one fixed stride back, which is the next timestep only where the steps divide evenly.
    if stride_back is not None and whole:
        back = told.long() - stride_back
        alphas_next = torch.where(back >= 0, space.alphas_cumprod[back.clamp(min=0)], final)
    else:
        alphas_next = torch.cat([alphas[1:], final[None]])
    return Schedule(
        sigmas=laid,
        timesteps=told,
        midpoints=_midpoints(np.asarray(sigmas), space),
        alphas=alphas,
        alphas_next=alphas_next,
        # “Leading” grids stop short of the last timestep, so their noise is scaled up to the variance it has there.
        start_sigma=(laid.max() ** 2 + 1) ** 0.5 if leading else laid.max(),
    )


def _midpoints(sigmas: Floats, space: NoiseSpace) -> torch.Tensor:
    times = -np.log(sigmas)
    middles = np.exp(-(times[:-1] + np.diff(times) * 0.5))
    return torch.from_numpy(np.array([space.timestep_of(float(sigma)) for sigma in middles], dtype=np.float64))
