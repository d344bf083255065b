"""Sampling taken apart: noise, sampler, guider and noise levels, each a node of its own."""

from __future__ import annotations

from typing import Annotated

from engine.contracts.node_schema import Effects
from engine.graph.node import In, NodeContext, node
from engine.graph.values import (
    Conditioning,
    Guider,
    GuiderValue,
    Latent,
    LatentValue,
    Model,
    Noise,
    NoiseValue,
    Sampler,
    SamplerValue,
    ShapeInfo,
    Sigmas,
)
from engine.nodes.sample.k_sampler import Cfg, SamplerName, Seed, run_plan


def _same(latent: ShapeInfo | None, **_: object) -> dict[str, ShapeInfo | None]:
    return {"latent": latent, "denoised": latent}


Scale = Annotated[float, In(minimum=0.0, maximum=100.0, step=0.01)]


@node("sample.noise", category="Sample", outputs=("noise",), title="Random noise", search=("RandomNoise", "seed"))
def noise(ctx: NodeContext, seed: Seed = 0) -> Noise:
    """The noise a run starts from.

    seed: where the noise comes from; picture i of a batch has the seed plus i
    """
    return NoiseValue(seed)


@node("sample.no_noise", category="Sample", outputs=("noise",), title="No noise", search=("DisableNoise",))
def no_noise(ctx: NodeContext) -> Noise:
    """Add no noise: the run goes on with what the latent has."""
    return NoiseValue(None)


@node(
    "sample.select_sampler", category="Sample", outputs=("sampler",), title="Choose sampler", search=("KSamplerSelect",)
)
def select_sampler(ctx: NodeContext, sampler: SamplerName = "euler") -> Sampler:
    """A sampler by name.

    sampler: how the steps are taken
    """
    return SamplerValue(sampler)


@node(
    "sample.euler_ancestral",
    category="Sample",
    outputs=("sampler",),
    title="Euler a",
    search=("SamplerEulerAncestral",),
)
def euler_ancestral(ctx: NodeContext, eta: Scale = 1.0, noise_scale: Scale = 1.0) -> Sampler:
    """Euler ancestral with its settings.

    eta: how much of each step is noise put back; 0 is plain Euler, 1 the usual
    noise_scale: how strong that noise is; 1 is exact
    """
    return SamplerValue("euler_ancestral", (("eta", eta), ("noise_scale", noise_scale)))


@node("sample.guider", category="Sample", outputs=("guider",), title="Guider without guidance", search=("BasicGuider",))
def guider(ctx: NodeContext, model: Model, conditioning: Conditioning) -> Guider:
    """A model that follows one prompt, without a negative side.

    model: the denoiser
    conditioning: what the picture should show
    """
    return GuiderValue(model, conditioning)


@node("sample.cfg_guider", category="Sample", outputs=("guider",), title="Guider", search=("CFGGuider", "guidance"))
def cfg_guider(
    ctx: NodeContext, model: Model, positive: Conditioning, negative: Conditioning, cfg: Cfg = 7.0
) -> Guider:
    """A model that follows one prompt away from another.

    model: the denoiser
    positive: what the picture should show
    negative: what it should not
    cfg: how strongly the prompt is followed; 1 leaves the negative prompt out and is twice as fast
    """
    return GuiderValue(model, positive, negative, cfg)


@node(
    "sample.dual_cfg_guider", category="Sample", outputs=("guider",), title="Guider of two prompts",
    search=("DualCFGGuider", "InstructPix2Pix"),
)  # fmt: skip
def dual_cfg_guider(
    ctx: NodeContext,
    model: Model,
    positive_1: Conditioning,
    positive_2: Conditioning,
    negative: Conditioning,
    cfg_1: Cfg = 7.0,
    cfg_2: Cfg = 7.0,
    style: Annotated[str, In(choices=("regular", "nested"), advanced=True)] = "regular",
) -> Guider:
    """A model that follows two prompts, each with a strength of its own (2211.09800, equation 3).

    model: the denoiser
    positive_1: the prompt in full
    positive_2: the prompt between it and the negative one
    negative: what the picture should not show
    cfg_1: from the second prompt to the first
    cfg_2: from the negative prompt to the second
    style: regular adds the two, nested lets the second scale the first as well
    """
    name = "dual" if style == "regular" else "nested"
    return GuiderValue(model, positive_1, negative, cfg_1, name, positive_2, cfg_2)


@node(
    "sample.custom",
    category="Sample",
    outputs=("latent", "denoised"),
    title="Sampler by noise levels",
    effects=Effects(parallel_safe=False, dear=True),
    search=("SamplerCustom",),
    shapes=_same,
)
def custom(
    ctx: NodeContext,
    model: Model,
    positive: Conditioning,
    negative: Conditioning,
    sampler: Sampler,
    sigmas: Sigmas,
    latent: Latent,
    add_noise: bool = True,
    seed: Seed = 0,
    cfg: Cfg = 7.0,
) -> tuple[Latent, Latent]:
    """Make latents from noise along a list of noise levels.

    model: the denoiser
    positive: what the picture should show
    negative: what it should not
    sampler: how the steps are taken
    sigmas: the noise levels; where they do not end at 0, noise is left over
    latent: empty for new pictures; an encoded picture to start from
    add_noise: off to go on with the noise the latent has
    seed: where the noise comes from; picture i of a batch has the seed plus i
    cfg: how strongly the prompt is followed; 1 leaves the negative prompt out
    """
    guide = GuiderValue(model, positive, negative, cfg)
    return _run(ctx, guide, NoiseValue(seed), add_noise, sampler, sigmas, latent)


@node(
    "sample.custom_advanced",
    category="Sample",
    outputs=("latent", "denoised"),
    title="Sampler from parts",
    effects=Effects(parallel_safe=False, dear=True),
    search=("SamplerCustomAdvanced",),
    shapes=_same,
)
def custom_advanced(
    ctx: NodeContext, noise: Noise, guider: Guider, sampler: Sampler, sigmas: Sigmas, latent: Latent
) -> tuple[Latent, Latent]:
    """Make latents from noise, with each part given by a node.

    noise: where the noise comes from
    guider: the model and its prompts
    sampler: how the steps are taken
    sigmas: the noise levels; where they do not end at 0, noise is left over
    latent: empty for new pictures; an encoded picture to start from
    """
    return _run(ctx, guider, noise, noise.seed is not None, sampler, sigmas, latent)


def _run(
    ctx: NodeContext,
    guide: GuiderValue,
    noise: NoiseValue,
    add_noise: bool,
    sampler: SamplerValue,
    sigmas: Sigmas,
    latent: LatentValue,
) -> tuple[LatentValue, LatentValue]:
    from engine.sampling.loop import SamplePlan

    if len(sigmas) < 2:
        return latent, latent  # no step to take
    plan = SamplePlan(
        guide.positive, guide.negative, noise.seed or 0, len(sigmas) - 1, guide.cfg, sampler.name, "normal",
        add_noise=add_noise, leave_noise=True, settings=sampler.settings, sigmas=sigmas, patches=guide.model.patches,
        style=guide.style, middle=guide.middle, cfg_2=guide.cfg_2,
    )  # fmt: skip
    return run_plan(ctx, guide.model, latent, plan)
