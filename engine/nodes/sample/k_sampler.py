"""The samplers: latents and prompts in, finished latents out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from engine.contracts.node_schema import Effects
from engine.graph.node import In, NodeContext, node
from engine.graph.values import Conditioning, Latent, LatentValue, Model, ModelHandle, ShapeInfo
from engine.sampling.names import SAMPLERS, SCHEDULES

if TYPE_CHECKING:
    from engine.sampling.loop import SamplePlan
    from engine.sampling.previews import PreviewMap
    from engine.sampling.state import SolverState

MAX_SEED = 2**64 - 1

Seed = Annotated[int, In(minimum=0, maximum=MAX_SEED, seed=True)]
Steps = Annotated[int, In(minimum=1, maximum=500)]
Cfg = Annotated[float, In(minimum=0.0, maximum=100.0, step=0.1, label="Guidance")]
SamplerName = Annotated[str, In(choices=SAMPLERS)]
SchedulerName = Annotated[str, In(choices=SCHEDULES, label="Schedule")]


def _sampled(latent: ShapeInfo | None, **_: object) -> ShapeInfo | None:
    return latent


@node(
    "sample.k_sampler",
    category="Sample",
    outputs=("latent",),
    title="Sampler",
    effects=Effects(parallel_safe=False, dear=True),
    search=("KSampler", "denoise"),
    shapes=_sampled,
)
def k_sampler(
    ctx: NodeContext,
    model: Model,
    positive: Conditioning,
    negative: Conditioning,
    latent: Latent,
    seed: Seed = 0,
    steps: Steps = 25,
    cfg: Cfg = 7.0,
    sampler: SamplerName = "dpmpp_2m",
    scheduler: SchedulerName = "karras",
    denoise: Annotated[float, In(minimum=0.0, maximum=1.0, step=0.01)] = 1.0,
    exact_steps: Annotated[bool, In(advanced=True)] = False,
    fast: Annotated[bool, In(advanced=True, label="Go fast")] = False,
) -> Latent:
    """Make latents from noise, or re-make given ones, following the prompts.

    model: the denoiser
    positive: what the picture should show
    negative: what it should not
    latent: empty for new pictures; an encoded picture to start from
    seed: where the noise comes from; picture i of a batch has the seed plus i
    steps: of the whole schedule; more is finer and slower
    cfg: how strongly the prompt is followed; 1 leaves the negative prompt out and is twice as fast
    sampler: how the steps are taken
    scheduler: how the noise falls from step to step
    denoise: how much of the schedule is done: 1 re-makes everything, 0 nothing
    exact_steps: on: as many steps are run, on the last part of a longer schedule, as in ComfyUI; off: as in diffusers
    fast: weights may have eight bits and, where the settings say so, steps are left out; the picture changes a little
    """
    from engine.sampling.loop import SamplePlan, whole_schedule

    start, strength = 0, denoise if denoise < 1.0 else None
    if exact_steps and denoise > 0.0:
        total = whole_schedule(steps, denoise)
        steps, start, strength = total, total - steps, None
    plan = SamplePlan(
        positive, negative, seed, steps, cfg, sampler, scheduler, start=start, strength=strength, patches=model.patches
    )  # fmt: skip
    return run_plan(ctx, model, latent, plan, fast)[0]


@node(
    "sample.k_sampler_advanced",
    category="Sample",
    outputs=("latent",),
    title="Sampler (advanced)",
    effects=Effects(parallel_safe=False, dear=True),
    search=("KSamplerAdvanced",),
    shapes=_sampled,
)
def k_sampler_advanced(
    ctx: NodeContext,
    model: Model,
    positive: Conditioning,
    negative: Conditioning,
    latent: Latent,
    add_noise: bool = True,
    seed: Seed = 0,
    steps: Steps = 25,
    cfg: Cfg = 7.0,
    sampler: SamplerName = "dpmpp_2m",
    scheduler: SchedulerName = "karras",
    start_step: Annotated[int, In(minimum=0, maximum=500)] = 0,
    end_step: Annotated[int, In(minimum=0, maximum=10000)] = 10000,
    return_with_leftover_noise: bool = False,
) -> Latent:
    """Do a part of a schedule, so that several samplers can share one.

    model: the denoiser
    positive: what the picture should show
    negative: what it should not
    latent: what to start from
    add_noise: off to go on with the noise that an earlier sampler left
    seed: where the noise comes from; picture i of a batch has the seed plus i
    steps: of the whole schedule
    cfg: how strongly the prompt is followed
    sampler: how the steps are taken
    scheduler: how the noise falls from step to step
    start_step: the first step to do
    end_step: the step to stop before; beyond the last means to the end
    return_with_leftover_noise: on to leave the noise of the end step for another sampler
    """
    from engine.sampling.loop import SamplePlan

    plan = SamplePlan(
        positive, negative, seed, steps, cfg, sampler, scheduler,
        start=start_step, end=end_step, add_noise=add_noise, leave_noise=return_with_leftover_noise,
        patches=model.patches,
    )  # fmt: skip
    return run_plan(ctx, model, latent, plan)[0]


def may_quantise(ctx: NodeContext) -> bool:
    """Whether the job lets weights have fewer bits."""
    spec = getattr(ctx, "spec", None)  # a node that is run by itself belongs to no job
    return spec is not None and spec.allowed_loss == "quantised"


def run_plan(
    ctx: NodeContext, model: ModelHandle, latent: LatentValue, plan: SamplePlan, fast: bool = False
) -> tuple[LatentValue, LatentValue]:
    """Run a plan with progress, previews and cancellation: (the latent, the picture its last step headed for).

    Weights may have eight bits where the node is `fast` or the job allows it.
    """
    from engine.memory.attempts import sampled

    ctx.check_cancelled()
    family = ctx.session.denoiser(model)
    colours: PreviewMap | None = None

    def report(state: SolverState, first: int, total: int) -> None:
        nonlocal colours
        done = state.index - first
        ctx.progress(done, total, f"step {done} of {total}")
        if ctx.wants_preview and state.denoised is not None:
            colours = colours or ctx.session.preview_map(model.weights)
            ctx.preview(colours.frame(state.denoised))

    return sampled(
        ctx.session, model, family, latent, plan, log=lambda text: ctx.log(text, "warning"),
        before_step=lambda _: ctx.check_cancelled(),
        after_step=report, fast=fast or may_quantise(ctx),
    )  # fmt: skip
