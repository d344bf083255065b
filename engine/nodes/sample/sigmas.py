"""Lists of noise levels: made by formula or by hand, split, turned round."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt

from engine.contracts.errors import InvalidRequest
from engine.contracts.node_schema import Effects
from engine.graph.node import In, NodeContext, node
from engine.graph.values import Model, Sigmas
from engine.nodes.sample.k_sampler import SchedulerName, Steps

Level = Annotated[float, In(minimum=0.0, maximum=5000.0, step=0.01)]
Fraction = Annotated[float, In(minimum=0.0, maximum=1.0, step=0.01)]
Shape = Annotated[float, In(minimum=0.0, maximum=50.0, step=0.01)]
Pixels = Annotated[int, In(minimum=16, maximum=16384, step=16)]

LOWEST_TURNED = 1e-4  # a turned list begins here instead of at 0, where no step can start
_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")


@node(
    "sample.schedule",
    category="Sample/Noise levels",
    outputs=("sigmas",),
    title="Schedule",
    effects=Effects(parallel_safe=False),
    search=("BasicScheduler",),
)
def schedule(
    ctx: NodeContext,
    model: Model,
    scheduler: SchedulerName = "normal",
    steps: Steps = 25,
    denoise: Fraction = 1.0,
    laid_for: Annotated[str, In(choices=("any sampler", "DPM++ 2M and UniPC"), advanced=True)] = "any sampler",
) -> Sigmas:
    """The noise levels of a named schedule for a model.

    model: whose noise they are
    scheduler: how the noise falls from step to step
    steps: how many are run
    denoise: below 1, only the last part of a longer schedule is given, with as many steps
    laid_for: the sampler nodes lay “normal” a little differently for samplers that work with whole timesteps
    """
    from engine.sampling import schedules
    from engine.sampling.loop import whole_schedule

    if denoise <= 0.0:
        return _levels([])
    grid: schedules.Grid = "ends" if laid_for == "any sampler" else "inner"
    total = whole_schedule(steps, denoise)
    laid = schedules.build(scheduler, total, _space(ctx, model, total), grid, schedules.MAX_WHOLE_STEPS)
    return _levels(laid.sigmas.numpy()[-(steps + 1) :])


@node("sample.schedule_karras", category="Sample/Noise levels", outputs=("sigmas",), title="Karras schedule",
      search=("KarrasScheduler",))  # fmt: skip
def schedule_karras(
    ctx: NodeContext, steps: Steps = 20, sigma_max: Level = 14.614642, sigma_min: Level = 0.0291675, rho: Shape = 7.0
) -> Sigmas:
    """Karras et al.'s noise levels (2206.00364, equation 5).

    steps: how many
    sigma_max: where they begin
    sigma_min: the last above 0
    rho: how much closer they lie at the end
    """
    from engine.sampling.schedules import karras

    _check_range(sigma_min, sigma_max)
    if rho <= 0:
        raise InvalidRequest("rho must be above 0", where="rho", fix="7 is usual")
    return _ended(karras(sigma_min, sigma_max, steps, rho))


@node("sample.schedule_exponential", category="Sample/Noise levels", outputs=("sigmas",), title="Exponential schedule",
      search=("ExponentialScheduler",))  # fmt: skip
def schedule_exponential(
    ctx: NodeContext, steps: Steps = 20, sigma_max: Level = 14.614642, sigma_min: Level = 0.0291675
) -> Sigmas:
    """Noise levels with one ratio from each to the next.

    steps: how many
    sigma_max: where they begin
    sigma_min: the last above 0
    """
    from engine.sampling.schedules import exponential

    _check_range(sigma_min, sigma_max)
    return _ended(exponential(sigma_min, sigma_max, steps))


@node("sample.schedule_beta", category="Sample/Noise levels", outputs=("sigmas",), title="Beta schedule",
      effects=Effects(parallel_safe=False), search=("BetaSamplingScheduler",))  # fmt: skip
def schedule_beta(ctx: NodeContext, model: Model, steps: Steps = 20, alpha: Shape = 0.6, beta: Shape = 0.6) -> Sigmas:
    """Timesteps at the quantiles of a beta distribution (2407.12173), as ComfyUI lays them; equal ones count once.

    model: whose noise they are
    steps: how many at most
    alpha: smaller puts more at the beginning
    beta: smaller puts more at the end
    """
    from engine.sampling.beta import beta_quantile

    if alpha <= 0 or beta <= 0:
        raise InvalidRequest("both shapes must be above 0", where="alpha and beta", fix="0.6 is usual")
    space = _space(ctx, model, steps)
    quantiles = [beta_quantile(1 - i / steps, alpha, beta) for i in range(steps)]
    times = list(dict.fromkeys(int(np.rint(q * (space.length - 1))) for q in quantiles))
    return _ended([space.sigmas[time] for time in times])


@node("sample.schedule_turbo", category="Sample/Noise levels", outputs=("sigmas",), title="Turbo schedule",
      effects=Effects(parallel_safe=False), search=("SDTurboScheduler",))  # fmt: skip
def schedule_turbo(
    ctx: NodeContext, model: Model, steps: Annotated[int, In(minimum=1, maximum=10)] = 1, denoise: Fraction = 1.0
) -> Sigmas:
    """The noise levels that SD-Turbo and SDXL-Turbo were distilled for: every hundredth timestep.

    model: whose noise they are
    steps: how many
    denoise: below 1, they begin later
    """
    skipped = 10 - int(10 * denoise)
    times = [1000 - 100 * i - 1 for i in range(10)][skipped : skipped + steps]
    space = _space(ctx, model, steps)
    return _ended([space.sigma_at(min(time, space.length - 1)) for time in times])


@node("sample.schedule_flux2", category="Sample/Noise levels", outputs=("sigmas",), title="Flux.2 schedule",
      search=("Flux2Scheduler",))  # fmt: skip
def schedule_flux2(ctx: NodeContext, steps: Steps = 20, width: Pixels = 1024, height: Pixels = 1024) -> Sigmas:
    """The noise levels of Flux.2, shifted by the size of the picture (Black Forest Labs' empirical fit).

    steps: how many
    width: of the picture, in pixels
    height: of the picture, in pixels
    """
    tokens = round(width * height / 256)
    many = 0.00016927 * tokens + 0.45666666  # the shift at 200 steps
    few = 8.73809524e-05 * tokens + 1.89833333  # at 10
    mu = many if tokens > 4300 else many + (many - few) / 190.0 * (steps - 200)
    times = [1.0 - i / steps for i in range(steps)]
    return _ended([math.exp(mu) / (math.exp(mu) + (1 / time - 1)) for time in times])


@node("sample.manual_sigmas", category="Sample/Noise levels", outputs=("sigmas",), title="Noise levels by hand",
      search=("ManualSigmas",))  # fmt: skip
def manual_sigmas(ctx: NodeContext, sigmas: Annotated[str, In(multiline=True)] = "1.0, 0.5, 0.0") -> Sigmas:
    """Noise levels as they are typed.

    sigmas: numbers, separated by anything
    """
    return _levels([float(number) for number in _NUMBER.findall(sigmas)])


@node("sample.split_sigmas", category="Sample/Noise levels", outputs=("high", "low"), title="Split noise levels",
      search=("SplitSigmas",))  # fmt: skip
def split_sigmas(
    ctx: NodeContext, sigmas: Sigmas, step: Annotated[int, In(minimum=0, maximum=10000)] = 0
) -> tuple[Sigmas, Sigmas]:
    """Two runs out of one: the first leaves its noise for the second.

    sigmas: the noise levels
    step: how many steps the first run has
    """
    return _levels(sigmas[: step + 1]), _levels(sigmas[step:])


@node("sample.split_sigmas_denoise", category="Sample/Noise levels", outputs=("high", "low"),
      title="Split noise levels by strength", search=("SplitSigmasDenoise",))  # fmt: skip
def split_sigmas_denoise(ctx: NodeContext, sigmas: Sigmas, denoise: Fraction = 1.0) -> tuple[Sigmas, Sigmas]:
    """Two runs out of one, by how much the second does.

    sigmas: the noise levels
    denoise: which part of the steps the second run has
    """
    steps = max(len(sigmas) - 1, 0)
    first = steps - round(steps * denoise)
    return _levels(sigmas[: first + 1]), _levels(sigmas[first:])


@node("sample.flip_sigmas", category="Sample/Noise levels", outputs=("sigmas",), title="Turn noise levels round",
      search=("FlipSigmas", "unsample"))  # fmt: skip
def flip_sigmas(ctx: NodeContext, sigmas: Sigmas) -> Sigmas:
    """From a picture to its noise: the list backwards. It begins at 0.0001 instead of 0.

    sigmas: the noise levels
    """
    turned = _levels(sigmas[::-1])
    if len(turned) and turned[0] == 0:
        turned[0] = LOWEST_TURNED
    return turned


@node("sample.set_first_sigma", category="Sample/Noise levels", outputs=("sigmas",), title="Set first sigma",
      search=("SetFirstSigma",))  # fmt: skip
def set_first_sigma(
    ctx: NodeContext, sigmas: Sigmas, sigma: Annotated[float, In(minimum=0.0, maximum=20000.0)] = 136.0
) -> Sigmas:
    """Begin at another noise level.

    sigmas: the noise levels
    sigma: the level to begin at
    """
    changed = _levels(sigmas)
    if len(changed):
        changed[0] = sigma
    return changed


def _levels(numbers: Any) -> npt.NDArray[np.float32]:
    """A list of noise levels of its own: wires are read-only."""
    return np.array(numbers, dtype=np.float32)


def _ended(numbers: Any) -> npt.NDArray[np.float32]:
    return _levels([*numbers, 0.0])


def _check_range(low: float, high: float) -> None:
    if not 0 < low <= high:
        raise InvalidRequest(f"the noise levels can't run from {high:g} down to {low:g}", where="sigmas",
                             fix="Both must be above 0 and sigma_max the larger")  # fmt: skip


def _space(ctx: NodeContext, model: Model, steps: int) -> Any:
    """The noise space of a model with its patches."""
    from engine.sampling.patches import patched_space

    # A shift by size is that of a usual size: no latent is at hand. “Shift by size” says another.
    return patched_space(ctx.session.denoiser(model).noise_space, model.patches).resolved(None, steps)
