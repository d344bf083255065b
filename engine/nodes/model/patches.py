"""Changes to a model that travel with its handle: nothing is loaded or altered until a sampler runs it."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from engine.graph.node import In, NodeContext, node
from engine.graph.values import Model, ModelHandle, Patch

Strength = Annotated[float, In(minimum=0.0, maximum=100.0, step=0.01)]
Factor = Annotated[float, In(minimum=0.0, maximum=10.0, step=0.01)]
Pixels = Annotated[int, In(minimum=16, maximum=16384, step=8)]


def patched(model: ModelHandle, kind: str, **settings: Any) -> ModelHandle:
    """The handle with one more patch behind those it has."""
    return replace(model, patches=(*model.patches, Patch(kind, tuple(settings.items()))))


def replaced(model: ModelHandle, kind: str, **settings: Any) -> ModelHandle:
    """The handle with a patch of which the last one counts."""
    kept = tuple(patch for patch in model.patches if patch.kind != kind)
    return patched(replace(model, patches=kept), kind, **settings)


@node("model.shift", category="Model", outputs=("model",), title="Shift", search=("ModelSamplingSD3", "AuraFlow"))
def shift(ctx: NodeContext, model: Model, shift: Strength = 3.0) -> Model:
    """Spend more steps at high noise, for flow models: σ becomes s·σ / (1 + (s − 1)·σ).

    model: a flow model (SD3, AuraFlow, Qwen-Image, Wan…)
    shift: 1 changes nothing; larger pictures want more
    """
    return replaced(model, "shift", shift=shift)


@node("model.shift_flux", category="Model", outputs=("model",), title="Shift by size", search=("ModelSamplingFlux",))
def shift_flux(
    ctx: NodeContext,
    model: Model,
    max_shift: Strength = 1.15,
    base_shift: Strength = 0.5,
    width: Pixels = 1024,
    height: Pixels = 1024,
) -> Model:
    """Flux's shift, which grows with the size of the picture.

    model: a Flux model
    max_shift: at 4,096 tokens (1024 × 1024 pixels)
    base_shift: at 256 tokens (256 × 256 pixels)
    width: of the picture, in pixels
    height: of the picture, in pixels
    """
    slope = (max_shift - base_shift) / (4096 - 256)
    tokens = width * height / 256
    return replaced(model, "shift_flux", mu=tokens * slope + base_shift - slope * 256)


@node("model.prediction", category="Model", outputs=("model",), title="Prediction", search=("ModelSamplingDiscrete",))
def prediction(
    ctx: NodeContext,
    model: Model,
    prediction: Annotated[str, In(choices=("eps", "v_prediction", "lcm", "x0"))] = "eps",
    zero_snr: bool = False,
) -> Model:
    """What a model was trained to foretell, where its file does not say.

    model: the denoiser
    prediction: eps the noise, v_prediction the velocity, x0 the picture; lcm keeps to the 50 timesteps of an LCM
    zero_snr: whether its last timestep is pure noise (2305.08891)
    """
    return replaced(model, "prediction", prediction=prediction, zero_snr=zero_snr)


@node("model.rescale_cfg", category="Model", outputs=("model",), title="Rescale guidance", search=("RescaleCFG",))
def rescale_cfg(
    ctx: NodeContext, model: Model, multiplier: Annotated[float, In(minimum=0.0, maximum=1.0, step=0.01)] = 0.7
) -> Model:
    """Keep strong guidance from burning out the picture (2305.08891, section 3.4).

    model: the denoiser
    multiplier: how far the contrast is brought back; 0 changes nothing
    """
    return patched(model, "rescale_cfg", multiplier=multiplier)


@node("model.cfg_norm", category="Model", outputs=("model",), title="Normalise guidance", search=("CFGNorm",))
def cfg_norm(ctx: NodeContext, model: Model, strength: Strength = 1.0) -> Model:
    """Never let guidance make a latent's vectors longer than the prompt alone does.

    model: the denoiser
    strength: scales the result; 1 is usual
    """
    return patched(model, "cfg_norm", strength=strength)


@node("model.cfg_limit", category="Model", outputs=("model",), title="Limit guidance",
      search=("cfg_normalization", "cfg_truncation"))  # fmt: skip
def cfg_limit(
    ctx: NodeContext,
    model: Model,
    longest: Annotated[float, In(minimum=0.0, maximum=10.0, step=0.01)] = 1.0,
    until: Annotated[float, In(minimum=0.0, maximum=1.0, step=0.01)] = 1.0,
) -> Model:
    """Keep guidance from growing too strong, as Z-Image does, or end it before the run ends.

    model: the denoiser
    longest: how long the guided step may be beside the prompt's own; 1 no longer, 0 as long as it is
    until: guide while no more than this part of the noise is gone; 1 to the end
    """
    return replaced(model, "cfg_limit", longest=longest, until=until)


@node("model.cfg_zero_star", category="Model", outputs=("model",), title="CFG-Zero*", search=("CFGZeroStar",))
def cfg_zero_star(ctx: NodeContext, model: Model) -> Model:
    """Scale the unconditional side onto the conditional one before guiding (2503.18886).

    model: the denoiser
    """
    return patched(model, "cfg_zero_star")


@node("model.step_cache", category="Model", outputs=("model",), title="Leave out steps (changes the picture)",
      search=("EasyCache", "LazyCache", "TeaCache", "step cache", "faster"))  # fmt: skip
def step_cache(
    ctx: NodeContext,
    model: Model,
    threshold: Annotated[float, In(minimum=0.0, maximum=3.0, step=0.01)] = 0.2,
    start: Annotated[float, In(minimum=0.0, maximum=1.0, step=0.01)] = 0.15,
    end: Annotated[float, In(minimum=0.0, maximum=1.0, step=0.01)] = 0.95,
) -> Model:
    """Ask the model less often: where its answer would be about the last one, that is used. Changes the picture.

    model: the denoiser
    threshold: how much change may be missed, as a share of the answer; 0 changes nothing, 0.2 is usual
    start: the share of the run before which nothing is left out
    end: the share of the run from which on nothing is left out
    """
    return replaced(model, "step_cache", threshold=threshold, start=start, end=end)


@node("model.freeu", category="Model", outputs=("model",), title="FreeU v2", search=("FreeU_V2",))
def freeu(
    ctx: NodeContext, model: Model, b1: Factor = 1.3, b2: Factor = 1.4, s1: Factor = 0.9, s2: Factor = 0.2
) -> Model:
    """Stronger features and weaker skips in the UNet's decoder (2309.11497).

    model: a model with a UNet
    b1: of the widest features
    b2: of those half as wide
    s1: of the skips beside the widest features
    s2: of the skips beside those half as wide
    """
    return replaced(model, "freeu", b1=b1, b2=b2, s1=s1, s2=s2)


@node(
    "model.differential_diffusion", category="Model", outputs=("model",), title="Differential diffusion",
    search=("DifferentialDiffusion", "grey mask"),
)  # fmt: skip
def differential_diffusion(
    ctx: NodeContext, model: Model, strength: Annotated[float, In(minimum=0.0, maximum=1.0, step=0.01)] = 1.0
) -> Model:
    """Read a grey noise mask as how much each place may change (2306.00950): darker places join the run later.

    model: the denoiser
    strength: 1 as said; below, mixed with the mask as it is
    """
    return replaced(model, "differential_diffusion", strength=strength)
