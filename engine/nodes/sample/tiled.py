"""Make pictures larger than their model, window by window."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

from engine.contracts.errors import InvalidRequest
from engine.contracts.node_schema import Effects
from engine.graph.node import In, NodeContext, node
from engine.graph.values import Conditioning, Latent, Model
from engine.nodes.sample.k_sampler import Cfg, SamplerName, SchedulerName, Seed, Steps, _sampled, may_quantise

if TYPE_CHECKING:
    from engine.sampling.state import SolverState

Share = Annotated[float, In(minimum=0.0, maximum=1.0, step=0.01)]
WEIGHTS = ("gaussian", "even")  # engine.sampling.windows.WEIGHTS, which is not to be imported before it is used


@node("sample.tiled", category="Sample", outputs=("latent",), title="Tiled sampler",
      effects=Effects(parallel_safe=False, dear=True), shapes=_sampled,
      search=("MultiDiffusion", "Mixture of Diffusers", "tiled diffusion", "large"))  # fmt: skip
def tiled_sampler(
    ctx: NodeContext,
    model: Model,
    positive: Conditioning,
    negative: Conditioning,
    latent: Latent,
    guide: Latent | None = None,
    seed: Seed = 0,
    steps: Steps = 25,
    cfg: Cfg = 7.0,
    sampler: SamplerName = "dpmpp_2m",
    scheduler: SchedulerName = "karras",
    denoise: Share = 1.0,
    tile_size: Annotated[int, In(minimum=64, maximum=4096, step=16)] = 1024,
    overlap: Annotated[int, In(minimum=0, maximum=2048, step=16)] = 256,
    weights: Annotated[str, In(choices=WEIGHTS, advanced=True)] = "gaussian",
    guide_strength: Annotated[float, In(minimum=0.0, maximum=1.0, step=0.05)] = 0.9,
    guide_until: Annotated[float, In(minimum=0.0, maximum=1.0, step=0.05, advanced=True)] = 1.0,
) -> Latent:
    """Make a picture larger than its model knows, a window at a time; memory does not grow with the picture.

    model: the denoiser
    positive: what the picture should show; prompts with places hold in the windows that they touch
    negative: what it should not
    latent: empty for a new picture; an enlarged one to draw its detail
    guide: a small picture of the same, as a sampler gives it, so that subjects are not repeated in every window
    seed: where the noise comes from
    steps: of the whole schedule
    cfg: how strongly the prompt is followed
    sampler: how the steps are taken
    scheduler: how the noise falls from step to step
    denoise: how much of the schedule is done: 1 re-makes everything, 0 nothing
    tile_size: the edge of a window, in pixels: the size of pictures that the model was trained on
    overlap: how far neighbouring windows share at least, in pixels
    weights: gaussian trusts a window's middle most (Mixture of Diffusers), even all of it alike (MultiDiffusion)
    guide_strength: how closely the whole follows the small picture
    guide_until: the share of the run after which the guide is let go
    """
    from engine.memory.attempts import sampled
    from engine.sampling.loop import SamplePlan, fitted
    from engine.sampling.windows import Guide, WindowedFamily, Windows

    if overlap > tile_size * 3 // 4:
        raise InvalidRequest(f"windows of {tile_size} pixels can't share {overlap}", where="overlap",
                             fix=f"Share {tile_size * 3 // 4} or less")  # fmt: skip
    ctx.check_cancelled()
    family = ctx.session.denoiser(model)
    space = family.latent_space
    small = None if guide is None else Guide(fitted(guide, space).samples, guide_strength, guide_until)
    kind: object = weights
    cut = Windows(
        max(2, tile_size // space.factor // 2 * 2), overlap // space.factor, "even" if kind == "even" else "gaussian",
        small,
    )  # fmt: skip
    at = [0, 1]

    def tell(done: int, total: int) -> None:
        step, of = at
        ctx.progress(step + done / total, of, f"step {step + 1} of {of}, window {done + 1} of {total}")

    def report(state: SolverState, first: int, total: int) -> None:
        at[:] = [state.index - first, total]
        ctx.progress(at[0], total, f"step {at[0]} of {total}")
        if ctx.wants_preview and state.denoised is not None:
            ctx.preview(ctx.session.preview_map(model.weights).frame(state.denoised))

    plan = SamplePlan(
        positive, negative, seed, steps, cfg, sampler, scheduler, strength=denoise if denoise < 1.0 else None,
        patches=model.patches,
    )  # fmt: skip
    windowed = WindowedFamily(family, cut, ctx.check_cancelled, tell)
    made, _ = sampled(
        ctx.session, model, windowed, latent, plan, log=lambda text: ctx.log(text, "warning"),
        before_step=lambda _: ctx.check_cancelled(),
        after_step=report, fast=may_quantise(ctx),
    )  # fmt: skip
    return replace(made, indices=latent.indices or made.indices)
