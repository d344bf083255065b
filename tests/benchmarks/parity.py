"""Our loop against diffusers' own pipelines, on tiny random models at 64 px, and our overhead beside theirs.

For every sampler × schedule that both have (the table in engine/sampling/schedules.py) and each of txt2img, img2img,
in-painting with 4 and with 9 channels: the largest absolute difference of the decoded fp32 picture in 0..1. Both draw
their noise from the same CPU generators; the autoencoder's posterior gives its mean on both sides. The same
comparisons, fewer of them, are tests (tests/contract/test_parity.py).
"""

from __future__ import annotations

import contextlib
import importlib.util
import statistics
import sys
import tempfile
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.contracts.errors import MissingModel
from engine.contracts.references import ModelRef
from engine.sampling.names import CFG_PP_SAMPLERS, SAMPLERS, SCHEDULES
from tests.benchmarks.harness import Goal, Report, cpu_ms, interleaved_ratio
from tests.benchmarks.tiny_models import SCHEDULER, STARTER, write_tiny_sd15

PROMPT = "a red circle on a blue background"
NEGATIVE = "green"
EDGE = 64
TASKS = ("txt2img", "img2img", "inpaint4", "inpaint9")

_KARRAS_LIKE = {"karras": "use_karras_sigmas", "exponential": "use_exponential_sigmas", "beta": "use_beta_sigmas"}
_NO_KARRAS_LIKE = ("euler_ancestral", "ddim", "lcm")
_INNER = ("dpmpp_2m", "dpmpp_2m_sde", "uni_pc", "uni_pc_bh2")
_OUR_OWN = ("ddim_uniform", "kl_optimal", "linear_quadratic")  # tested against ComfyUI's formulas
# Midpoints and multistep weights are worked out in another order of operations: equal to rounding, not to the bit.
TO_ROUNDING = ("dpm_2", "dpm_2_ancestral", "lms")
# diffusers has none of these; tested against k-diffusion's and ComfyUI's formulas.
_NO_PIPELINE = frozenset({
    "dpmpp_2s_ancestral", "dpmpp_3m_sde", "res_multistep", "res_multistep_ancestral", "gradient_estimation", "er_sde",
    *CFG_PP_SAMPLERS,
})  # fmt: skip

GOALS: dict[str, Goal] = {
    "largest_difference": ("<=", 1e-5),
    "overhead_ms_per_step": ("<=", 0.3),
    "starter_batch4_ratio": ("<=", 1.01),
}


class Context:
    """The smallest NodeContext: one model folder, no previews, nobody cancels."""

    wants_preview = False
    node_id = "node"

    def __init__(self, folder: Path) -> None:
        from engine.sampling.session import Session

        self.folder = folder
        self.session = Session(self)
        self.logs: list[str] = []
        self.steps: list[tuple[float, float]] = []

    def locate(self, ref: ModelRef) -> Path:
        if ref.kind == "embedding":
            raise MissingModel("it is not on this machine")
        return self.folder

    def progress(self, done: float, total: float, text: str = "") -> None:
        self.steps.append((done, total))

    def preview(self, frame: npt.NDArray[np.uint8]) -> None:
        raise AssertionError("nobody wants previews")

    def check_cancelled(self) -> None: ...

    def log(self, text: str, level: str = "info") -> None:
        self.logs.append(text)


@dataclass(frozen=True)
class Case:
    """One comparison. `spacing` and `prediction` are the model's own; `steps` divide 1000 so that "simple" compares."""

    sampler: str
    schedule: str
    task: str = "txt2img"
    prediction: str = "epsilon"
    spacing: str = "linspace"
    steps: int = 10
    strength: float = 1.0
    cfg: float = 5.0
    batch: int = 1
    seed: int = 42

    @property
    def model(self) -> tuple[int, str, str]:
        return (9 if self.task == "inpaint9" else 4, self.prediction, self.spacing)


def has_counterpart(sampler: str, schedule: str) -> bool:
    """Whether diffusers has this combination."""
    if schedule in _OUR_OWN or sampler in _NO_PIPELINE:
        return False
    if schedule in _KARRAS_LIKE:
        # diffusers rounds the timesteps of karras for DPM2; k-diffusion and we do not.
        return sampler not in _NO_KARRAS_LIKE and not (schedule == "karras" and sampler.startswith("dpm_2"))
    if schedule == "sgm_uniform":
        return sampler in _INNER
    if schedule == "simple":
        return sampler != "lcm"
    return True


def starts_midway(sampler: str) -> bool:
    """Whether diffusers starts this sampler midway as it means to: LMSDiscreteScheduler takes its weights for slopes
    that it does not have then (order = step_index + 1)."""
    return sampler != "lms"


def reference_scheduler(case: Case) -> Any:
    """diffusers' scheduler in the configuration that equals `case`."""
    import diffusers

    keys = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "steps_offset")
    config = {key: SCHEDULER[key] for key in keys}
    config |= {"prediction_type": case.prediction, "timestep_spacing": case.spacing}
    if case.schedule in _KARRAS_LIKE:
        config[_KARRAS_LIKE[case.schedule]] = True
    elif case.schedule == "simple":
        config["timestep_spacing"] = "trailing"
    elif case.schedule == "sgm_uniform":
        config["timestep_spacing"] = "linspace"
    match case.sampler:
        case "euler":
            return diffusers.EulerDiscreteScheduler(**config)
        case "euler_ancestral":
            return diffusers.EulerAncestralDiscreteScheduler(**config)
        case "heun":
            return diffusers.HeunDiscreteScheduler(**config)
        case "dpmpp_2m":
            return diffusers.DPMSolverMultistepScheduler(**config)
        case "dpmpp_2m_sde":
            return diffusers.DPMSolverMultistepScheduler(**config, algorithm_type="sde-dpmsolver++")
        case "dpmpp_sde":
            return dpm_solver_sde().DPMSolverSDEScheduler(**config)
        case "ddim":
            return diffusers.DDIMScheduler(**config, clip_sample=False, set_alpha_to_one=False)
        case "uni_pc_bh2":
            return diffusers.UniPCMultistepScheduler(**config)
        case "uni_pc":
            return unipc_bh1()(**config, solver_type="bh1")
        case "dpm_2":
            return diffusers.KDPM2DiscreteScheduler(**config)
        case "dpm_2_ancestral":
            return diffusers.KDPM2AncestralDiscreteScheduler(**config)
        case "lms":
            return diffusers.LMSDiscreteScheduler(**config)
        case _:
            return diffusers.LCMScheduler(**config, set_alpha_to_one=False)


def unipc_bh1() -> Any:
    """diffusers' UniPC without its 0 · ∞ at the last step of bh1, where B(h) is infinite and its factor nothing."""
    import diffusers

    class Finite(diffusers.UniPCMultistepScheduler):  # type: ignore[misc]
        def multistep_uni_p_bh_update(self, *args: Any, **kwargs: Any) -> Any:
            if kwargs["order"] == 1:  # B(h) is multiplied by nothing: either form gives the same numbers
                self.register_to_config(solver_type="bh2")
            try:
                return super().multistep_uni_p_bh_update(*args, **kwargs)
            finally:
                self.register_to_config(solver_type="bh1")

    return Finite


def dpm_solver_sde() -> Any:
    """diffusers' module of that name. It wants torchsde for its Brownian tree, which the comparison replaces."""
    import diffusers.schedulers  # first, so that it looks for the real torchsde and not for the stand-in

    name = f"{diffusers.schedulers.__name__}.scheduling_dpmsolver_sde"
    if name in sys.modules or importlib.util.find_spec("torchsde") is not None:
        return importlib.import_module(name)
    sys.modules["torchsde"] = types.ModuleType("torchsde")
    try:
        return importlib.import_module(name)
    finally:
        del sys.modules["torchsde"]


@contextlib.contextmanager
def same_randomness(generators: Sequence[Any]) -> Iterator[None]:
    """While inside, diffusers' autoencoder gives its mean and its SDE solver draws from `generators`, as ours do."""
    import torch
    from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

    class Independent:
        def __init__(self, x: Any, *_: Any, **__: Any) -> None:
            self.shape = (1, *x.shape[1:])

        def __call__(self, *_: Any) -> Any:
            return torch.cat([torch.randn(self.shape, generator=g) for g in generators])

    sde = dpm_solver_sde()
    kept = DiagonalGaussianDistribution.sample, sde.BrownianTreeNoiseSampler
    DiagonalGaussianDistribution.sample = lambda self, generator=None: self.mode()
    sde.BrownianTreeNoiseSampler = Independent
    try:
        yield
    finally:
        DiagonalGaussianDistribution.sample, sde.BrownianTreeNoiseSampler = kept


class Bench:
    """Tiny models, made once for each kind, with our context over each and diffusers' pipelines over the same parts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._contexts: dict[tuple[int, str, str], Context] = {}
        rng = np.random.default_rng(5)
        self.picture = rng.random((1, EDGE, EDGE, 3), dtype=np.float32)
        self.mask = np.zeros((1, EDGE, EDGE), np.float32)
        self.mask[:, 16:48, 24:64] = 1.0

    def context(self, kind: tuple[int, str, str]) -> Context:
        if kind not in self._contexts:
            channels, prediction, spacing = kind
            folder = self._folder / "-".join(map(str, kind))
            write_tiny_sd15(folder, channels, prediction_type=prediction, timestep_spacing=spacing)
            self._contexts[kind] = Context(folder)
        return self._contexts[kind]

    def ours(self, case: Case) -> npt.NDArray[np.float32]:
        """[B, H, W, 3] in 0..1, through the nodes a workflow would use."""
        from engine.nodes.condition.inpaint import inpaint_model
        from engine.nodes.condition.text import encode_text
        from engine.nodes.latent.empty import empty
        from engine.nodes.latent.picture import decode_image, encode_image, set_noise_mask
        from engine.nodes.load.checkpoint import checkpoint
        from engine.nodes.sample.k_sampler import k_sampler

        ctx: Any = self.context(case.model)
        model, clip, vae = checkpoint(ctx)
        positive, negative = encode_text(ctx, clip, PROMPT), encode_text(ctx, clip, NEGATIVE)
        if case.task == "txt2img":
            latent = empty(ctx, EDGE, EDGE, case.batch)
        elif case.task == "inpaint9":
            positive, negative, latent = inpaint_model(ctx, positive, negative, vae, self.picture, self.mask)
        else:
            latent = encode_image(ctx, vae, self.picture)
            latent = set_noise_mask(ctx, latent, self.mask) if case.task == "inpaint4" else latent
        latent = k_sampler(
            ctx, model, positive, negative, latent, seed=case.seed, steps=case.steps, cfg=case.cfg,
            sampler=case.sampler, scheduler=case.schedule, denoise=case.strength,
        )  # fmt: skip
        return decode_image(ctx, vae, latent)

    def theirs(self, case: Case) -> npt.NDArray[np.float32]:
        """The same from diffusers' pipeline."""
        import torch

        ctx = self.context(case.model)
        task = "inpaint" if case.task.startswith("inpaint") else case.task
        pipeline = ctx.session.family(ModelRef(name="tiny")).reference_pipeline(task)
        pipeline.scheduler = reference_scheduler(case)
        generators = [torch.Generator("cpu").manual_seed(case.seed + i) for i in range(case.batch)]
        settings: dict[str, Any] = {
            "prompt": PROMPT, "negative_prompt": NEGATIVE, "num_inference_steps": case.steps,
            "guidance_scale": case.cfg, "generator": generators, "output_type": "pt",
        }  # fmt: skip
        if task == "txt2img":
            settings |= {"width": EDGE, "height": EDGE, "num_images_per_prompt": case.batch}
        else:
            settings |= {
                "image": torch.from_numpy(self.picture).permute(0, 3, 1, 2).contiguous(),
                "strength": case.strength,
            }
        if task == "inpaint":
            settings |= {"mask_image": torch.from_numpy(self.mask)[:, None], "width": EDGE, "height": EDGE}
        with same_randomness(generators):
            images = pipeline(**settings).images
        out: npt.NDArray[np.float32] = images.permute(0, 2, 3, 1).float().numpy()
        return out

    def difference(self, case: Case) -> float:
        ours, theirs = self.ours(case), self.theirs(case)
        assert ours.shape == theirs.shape, (case, ours.shape, theirs.shape)
        return float(np.abs(ours - theirs).max())


def all_cases() -> list[Case]:
    """Every sampler × schedule that both have, over tasks, predictions and spacings."""
    both = [(a, b) for a in SAMPLERS for b in SCHEDULES if has_counterpart(a, b)]
    cases = [Case(a, b, batch=2) for a, b in both]
    cases += [Case(a, b, prediction="v_prediction", spacing="trailing") for a, b in both]
    cases += [Case(a, b, spacing="leading") for a, b in both]
    cases += [Case(a, b, task, strength=0.6) for a, b in both for task in TASKS[1:] if starts_midway(a)]
    usual = [a for a in SAMPLERS if has_counterpart(a, "normal")]
    cases += [Case(a, "normal", task, strength=1.0) for a in usual for task in TASKS[1:]]
    cases += [Case(a, "normal", cfg=1.0) for a in usual]
    return cases


def overhead_ms_per_step(bench: Bench, steps: int = 50, rounds: int = 9) -> float:
    """Processor ms a step, ours minus theirs, on a tiny model from embeddings to latents; median of paired rounds."""
    from engine.nodes.condition.text import encode_text
    from engine.nodes.latent.empty import empty
    from engine.nodes.load.checkpoint import checkpoint
    from engine.nodes.sample.k_sampler import k_sampler

    case = Case("euler", "normal", steps=steps)
    ctx: Any = bench.context(case.model)
    model, clip, _ = checkpoint(ctx)
    positive, negative = encode_text(ctx, clip, PROMPT), encode_text(ctx, clip, NEGATIVE)
    pipeline = ctx.session.family(ModelRef(name="tiny")).reference_pipeline("txt2img")
    pipeline.scheduler = reference_scheduler(case)

    def ours() -> None:
        k_sampler(ctx, model, positive, negative, empty(ctx, EDGE, EDGE, 1), 1, steps, 5.0, "euler", "normal")

    def theirs() -> None:
        pipeline(
            prompt_embeds=positive[0].embedding, negative_prompt_embeds=negative[0].embedding, width=EDGE,
            height=EDGE, num_inference_steps=steps, guidance_scale=5.0, output_type="latent",
        )  # fmt: skip

    ours()
    theirs()
    pairs = []
    for number in range(rounds):
        a, b = (cpu_ms(ours), cpu_ms(theirs)) if number % 2 == 0 else reversed((cpu_ms(theirs), cpu_ms(ours)))
        pairs.append(a - b)
    return statistics.median(pairs) / steps


def starter_ratio(rounds: int = 7, steps: int = 25, batch: int = 4) -> float:
    """Prompt to pictures on the starter model at its own settings: median processor time, ours over theirs."""
    import diffusers
    import torch

    from engine.models.fingerprint import read_config
    from engine.nodes.condition.text import encode_text
    from engine.nodes.latent.empty import empty
    from engine.nodes.latent.picture import decode_image
    from engine.nodes.load.checkpoint import checkpoint
    from engine.nodes.sample.k_sampler import k_sampler

    ctx: Any = Context(STARTER)
    defaults = ctx.session.identify(ModelRef(name="starter")).defaults
    width, height = defaults.width, defaults.height
    pipeline = ctx.session.family(ModelRef(name="starter")).reference_pipeline("txt2img")
    pipeline.scheduler = diffusers.DDIMScheduler(
        **{
            key: value
            for key, value in read_config(STARTER / "scheduler" / "scheduler_config.json").items()
            if not key.startswith("_")
        }
    )

    def ours() -> None:
        model, clip, vae = checkpoint(ctx)
        positive, negative = encode_text(ctx, clip, PROMPT), encode_text(ctx, clip, "")
        latent = empty(ctx, width, height, batch)
        latent = k_sampler(ctx, model, positive, negative, latent, 7, steps, 4.0, "ddim", "normal")
        decode_image(ctx, vae, latent)

    def theirs() -> None:
        pipeline(
            PROMPT, width=width, height=height, num_inference_steps=steps, guidance_scale=4.0, output_type="pt",
            num_images_per_prompt=batch, generator=[torch.Generator().manual_seed(7 + i) for i in range(batch)],
        )  # fmt: skip

    ours()
    theirs()
    return interleaved_ratio(ours, theirs, rounds)


def run(rounds: int = 7) -> Report:
    """All cases, then the overheads."""
    figures: dict[str, float] = {}
    by_task: dict[str, list[float]] = {task: [] for task in TASKS}
    with tempfile.TemporaryDirectory(prefix="tessera-parity-") as folder:
        bench = Bench(Path(folder))
        cases = all_cases()
        for case in cases:
            by_task[case.task].append(bench.difference(case))
        every = [difference for differences in by_task.values() for difference in differences]
        figures["largest_difference"] = max(every)
        for task, differences in by_task.items():
            figures[f"largest_difference_{task}"] = max(differences)
        figures["comparisons"] = float(len(cases))
        figures["comparisons_bit_equal"] = float(sum(difference == 0 for difference in every))
        figures["overhead_ms_per_step"] = overhead_ms_per_step(bench, rounds=rounds)
    figures["starter_batch4_ratio"] = starter_ratio(rounds)
    return Report("parity", figures, GOALS)
