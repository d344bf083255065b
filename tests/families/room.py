"""The parity room: tiny random models in true diffusers layout, our nodes over them, and diffusers' own pipelines.

Each other module of this folder is a family:

    tiny(folder) -> Path         writes a tiny random model in diffusers' layout
    cases(folder) -> list[Case]  our result and the pipeline's, task by task

Both sides use the same modules in the same dtype and draw the same float32 noise (`same_randomness`), whatever the
dtype; the autoencoder's posterior gives its mean on both. Used by tests/contract/test_families.py and `bench families`.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from engine.contracts.errors import MissingModel
from engine.contracts.references import ModelRef
from engine.families.table import family_class
from engine.graph.values import ModelHandle, TextEncoderHandle, VAEHandle
from tests.families.tiny_parts import (
    EDGE,
    NEGATIVE,
    PROMPT,
    STARTER,
    lively,
    read_json,
    write_autoencoder,
    write_clip,
    write_clip_tokenizer,
    write_index,
    write_json,
    write_t5,
    write_t5_tokenizer,
)

# What stands in tiny_parts and is found here too.
__all__ = [
    "EDGE", "NEGATIVE", "PROMPT", "STARTER", "lively", "read_json", "write_autoencoder", "write_clip",
    "write_clip_tokenizer", "write_index", "write_json", "write_t5", "write_t5_tokenizer",
]  # fmt: skip

Picture: TypeAlias = npt.NDArray[np.float32]

STEPS = 4
STRENGTH = 0.6  # of img2img and inpaint
HERE = Path(__file__).resolve().parent
_seed: ContextVar[int] = ContextVar("seed", default=42)


def seed() -> int:
    """What both sides draw their noise from."""
    return _seed.get()


@contextlib.contextmanager
def seeded(number: int) -> Iterator[None]:
    """While inside, both sides draw their noise from the seed `number`."""
    token = _seed.set(number)
    try:
        yield
    finally:
        _seed.reset(token)


@dataclass(frozen=True)
class Case:
    """One comparison: what each side makes in a dtype, float32 [B, H, W, 3] in 0..1."""

    task: str
    ours: Callable[[torch.dtype], Picture]
    reference: Callable[[torch.dtype], Picture]


def families() -> tuple[str, ...]:
    """The families that have a module here: those with a function `cases`. None of them is imported."""
    paths = (path for path in sorted(HERE.glob("[a-z]*.py")) if path != Path(__file__))
    return tuple(path.stem for path in paths if "def cases(" in path.read_text(encoding="utf-8"))


def family_module(name: str) -> Any:
    """The module of a family: its `tiny` and its `cases`."""
    return importlib.import_module(f"{__package__}.{name}")


def picture(batch: int = 1, edge: int = EDGE, seed: int = 5) -> Picture:
    """A random picture, float32 [B, edge, edge, 3] in 0..1."""
    return np.random.default_rng(seed).random((batch, edge, edge, 3), dtype=np.float32)


def mask(edge: int = EDGE) -> Picture:
    """A mask with its white rectangle on whole latent cells, float32 [1, edge, edge]."""
    made = np.zeros((1, edge, edge), np.float32)
    made[:, edge // 4 : 3 * edge // 4, edge // 2 :] = 1.0
    return made


class Tiny:
    """A model folder in one dtype: the family under test, the nodes' context over it, and its pipelines.

    `ctx` goes to nodes as their NodeContext; `handles()` are what a checkpoint loader would give. ControlNets are
    looked for in the folder `nets` of the model, LoRAs in `loras`.
    """

    def __init__(self, folder: Path, family: str, dtype: torch.dtype = torch.float32) -> None:
        self.folder, self.name, self.dtype = folder, family, dtype
        self.index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
        self._loaded: dict[str, Any] = {}
        self._others: dict[tuple[str, str], Any] = {}
        self.family = family_class(family)(self.part, torch.device("cpu"), dtype, "the tiny model", self.other)
        self.ctx: Any = _Context(self)

    def handles(self) -> tuple[ModelHandle, TextEncoderHandle, VAEHandle]:
        """(model, text encoders, autoencoder)."""
        ref = ModelRef(name="tiny")
        return ModelHandle(ref, self.name), TextEncoderHandle(ref, self.name), VAEHandle(ref, self.name)

    def part(self, name: str) -> Any:
        """A part by name, as the loader gives it: the scheduler as a noise space. Raises MissingModel."""
        return self._noise_space() if name == "scheduler" else self.module(name)

    def module(self, name: str) -> Any:
        """A part as diffusers knows it. Raises MissingModel when the folder has none."""
        if name not in self._loaded:
            library, class_name = self.index.get(name, (None, None))
            if class_name is None:
                raise MissingModel(f"this model has no {name}", where=str(self.folder), fix=f"Add its {name}")
            self._loaded[name] = load_module(self.folder / name, library, class_name, self.dtype)
        return self._loaded[name]

    def other(self, ref: ModelRef) -> Any:
        """A ControlNet's module or a LoRA's tensors by reference, as the session gives them."""
        key = (ref.kind, ref.name)
        if key not in self._others:
            if ref.kind == "lora":
                from engine.models.adapters.read import read_adapter

                self._others[key] = read_adapter(self.folder / "loras" / f"{ref.name}.safetensors")
            else:
                where = self.folder / "nets" / ref.name
                class_name = json.loads((where / "config.json").read_text(encoding="utf-8"))["_class_name"]
                self._others[key] = load_module(where, "diffusers", class_name, self.dtype)
        return self._others[key]

    def pipeline(self, class_name: str, **more: Any) -> Any:
        """diffusers' pipeline of that name over the same modules; `more` replaces or adds parts."""
        import diffusers

        kind = getattr(diffusers, class_name)
        parts: dict[str, Any] = {}
        for name, parameter in inspect.signature(kind.__init__).parameters.items():
            if name in more:
                parts[name] = more[name]
            elif isinstance(self.index.get(name, []), list):
                has = self.index.get(name, (None, None))[1] is not None
                if has:
                    parts[name] = self._scheduler() if name == "scheduler" else self.module(name)
                elif name == "requires_safety_checker":
                    parts[name] = False
                elif name not in ("self", "args", "kwargs") and parameter.default is inspect.Parameter.empty:
                    parts[name] = None
            else:
                parts[name] = self.index[name]
        made = kind(**parts)
        made.set_progress_bar_config(disable=True)
        return made

    def _scheduler(self) -> Any:
        import diffusers

        return getattr(diffusers, self.index["scheduler"][1]).from_pretrained(self.folder / "scheduler")

    def _noise_space(self) -> Any:
        if "scheduler" not in self._loaded:
            path = self.folder / "scheduler" / "scheduler_config.json"
            self._loaded["scheduler"] = noise_space(json.loads(path.read_text(encoding="utf-8")), str(path))
        return self._loaded["scheduler"]


def noise_space(config: Mapping[str, Any], where: str) -> Any:
    """The noise space of a scheduler config, discrete or flow."""
    from engine.sampling.flow_space import space_from_config

    return space_from_config(config, where)


def load_module(folder: Path, library: str, class_name: str, dtype: torch.dtype) -> Any:
    """A network, tokenizer or processor of a diffusers folder, ready to run."""
    kind = getattr(importlib.import_module(library), class_name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if "Tokenizer" in class_name or "Processor" in class_name:
            return kind.from_pretrained(folder, local_files_only=True)
        made = kind.from_pretrained(
            folder, local_files_only=True, **{"torch_dtype" if library == "diffusers" else "dtype": dtype}
        )
    return made.eval().requires_grad_(False)


class _Context:
    """The smallest NodeContext, which is its own session too: every handle means the one tiny model."""

    wants_preview = False
    node_id = "node"

    def __init__(self, tiny: Tiny) -> None:
        self._tiny = tiny
        self.session = self
        self.device = torch.device("cpu")
        self.logs: list[str] = []

    def family(self, ref: Any) -> Any:
        return self._tiny.family

    denoiser = text = autoencoder = family

    def other(self, ref: ModelRef) -> Any:
        return self._tiny.other(ref)

    def names(self, kind: str) -> tuple[str, ...]:
        return ()

    def progress(self, done: float, total: float, text: str = "") -> None: ...

    def check_cancelled(self) -> None: ...

    def log(self, text: str, level: str = "info") -> None:
        self.logs.append(text)


@cache
def opened(folder: Path, family: str, dtype: torch.dtype) -> Tiny:
    """`Tiny` of these, made once."""
    return Tiny(folder, family, dtype)


# Both sides of the ordinary tasks -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ours:
    """The settings of our side: the sampler node's, and the prompts."""

    cfg: float = 5.0
    sampler: str = "euler"
    scheduler: str = "normal"
    steps: int = STEPS
    prompt: str = PROMPT
    negative: str = NEGATIVE
    edge: int = EDGE


def standard_cases(
    folder: Path,
    family: str,
    pipelines: Mapping[str, str],
    ours: Ours | None = None,
    more: Mapping[str, Any] | None = None,
    strength: float = STRENGTH,
) -> list[Case]:
    """txt2img, img2img and inpaint (a noise mask) of a family whose pipelines take the usual arguments.

    pipelines  task → the name of diffusers' class
    more       arguments of every pipeline call, over the usual ones; None takes one out
    strength   of img2img and inpaint
    """
    settings = ours or Ours()

    def case(task: str, class_name: str) -> Case:
        part = 1.0 if task == "txt2img" else strength
        return Case(
            task,
            lambda dtype: run_ours(opened(folder, family, dtype), task, settings, part),
            lambda dtype: run_pipeline(opened(folder, family, dtype), class_name, task, settings, part, more),
        )

    return [case(task, class_name) for task, class_name in pipelines.items()]


def run_ours(tiny: Tiny, task: str, settings: Ours, strength: float = 1.0) -> Picture:
    """A picture through the nodes that a workflow would use."""
    from engine.nodes.latent.empty import empty
    from engine.nodes.latent.picture import encode_image, set_noise_mask

    ctx, (_, _, vae) = tiny.ctx, tiny.handles()
    positive, negative = prompts(tiny, settings)
    if task == "txt2img":
        latent = empty(ctx, settings.edge, settings.edge, 1)
    else:
        latent = encode_image(ctx, vae, picture(edge=settings.edge))
        if task == "inpaint":
            latent = set_noise_mask(ctx, latent, mask(settings.edge))
    return sampled(tiny, positive, negative, latent, settings, strength)


def prompts(tiny: Tiny, settings: Ours) -> tuple[Any, Any]:
    """(positive, negative) through the ordinary prompt node."""
    from engine.nodes.condition.text import encode_text

    _, clip, _ = tiny.handles()
    return encode_text(tiny.ctx, clip, settings.prompt), encode_text(tiny.ctx, clip, settings.negative)


def sampled(
    tiny: Tiny, positive: Any, negative: Any, latent: Any, settings: Ours, strength: float = 1.0
) -> Picture:  # fmt: skip
    """Sample and decode: the end of every case of ours."""
    from engine.nodes.latent.picture import decode_image
    from engine.nodes.sample.k_sampler import k_sampler

    model, _, vae = tiny.handles()
    latent = k_sampler(
        tiny.ctx, model, positive, negative, latent, seed=seed(), steps=settings.steps, cfg=settings.cfg,
        sampler=settings.sampler, scheduler=settings.scheduler, denoise=strength,
    )  # fmt: skip
    return decode_image(tiny.ctx, vae, latent)


def run_pipeline(
    tiny: Tiny,
    class_name: str,
    task: str,
    settings: Ours,
    strength: float = 1.0,
    more: Mapping[str, Any] | None = None,
    parts: Mapping[str, Any] | None = None,
) -> Picture:
    """The same picture from diffusers' pipeline; `more` are arguments of its call, `parts` of its constructor."""
    arguments: dict[str, Any] = {
        "prompt": settings.prompt, "negative_prompt": settings.negative, "num_inference_steps": settings.steps,
        "guidance_scale": settings.cfg, "width": settings.edge, "height": settings.edge,
    }  # fmt: skip
    if task in ("img2img", "inpaint"):
        arguments |= {"image": as_tensor(picture(edge=settings.edge)), "strength": strength}
    if task == "inpaint":
        arguments["mask_image"] = torch.from_numpy(mask(settings.edge))[:, None]
    arguments |= more or {}
    made = tiny.pipeline(class_name, **(parts or {}))
    taken = inspect.signature(made.__call__).parameters
    arguments = {name: value for name, value in arguments.items() if value is not None and name in taken}
    result: Picture = called(made, arguments)
    return result


def called(pipeline: Any, arguments: Mapping[str, Any]) -> Any:
    """What a pipeline makes with our seed, as a float32 picture; a tensor where `arguments` ask for the latent.

    Its own warnings are its own affair.
    """
    generator = torch.Generator().manual_seed(seed())
    with same_randomness(), warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        images = pipeline(**{"output_type": "pt", **arguments}, generator=generator).images
    if arguments.get("output_type") == "latent":
        return images
    made: Picture = images.permute(0, 2, 3, 1).float().numpy()
    return made


def as_tensor(image: Picture) -> torch.Tensor:
    """A picture [B, H, W, 3] as pipelines take it, [B, 3, H, W]."""
    return torch.from_numpy(image).permute(0, 3, 1, 2).contiguous()


@contextlib.contextmanager
def same_randomness() -> Iterator[None]:
    """While inside, diffusers draws float32 noise whatever its dtype (a bfloat16 draw is other noise, not the same
    rounded), and its autoencoders give their mean."""
    from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

    draw, kept = torch.randn, DiagonalGaussianDistribution.sample

    def in_float32(*size: Any, dtype: torch.dtype | None = None, **named: Any) -> torch.Tensor:
        made = draw(*size, **named)
        return made if dtype is None else made.to(dtype)

    torch.randn = in_float32
    DiagonalGaussianDistribution.sample = lambda self, generator=None: self.mode()
    try:
        yield
    finally:
        torch.randn = draw
        DiagonalGaussianDistribution.sample = kept


def tiny_folders(new_folder: Callable[[str], Path]) -> Callable[[str], Path]:
    """Each family's tiny model by name, written to a folder of its own when it is first asked for."""

    @cache
    def made(family: str) -> Path:
        torch.manual_seed(0)
        return Path(family_module(family).tiny(new_folder(family)))

    return made
