"""Whole models of real size on an imitated card: loaded, prompts read, steps made, decoded, as a job does it.

The folder of a model is written in diffusers' layout from the family's configurations. Its files have their true size
and holes for most of it: the first bytes of each tensor are random, the rest reads as nothing and takes no disk.
"""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from engine.memory.blueprint import Blueprint
from engine.memory.choice import Chooser
from engine.memory.device import Card
from engine.memory.estimate import _module
from engine.memory.planner import Plan
from engine.models.family_parts import FAMILY_PARTS
from engine.models.layouts.configs import MODEL_CONFIGS, config_of, default_variant, tokenizer_folder
from engine.sampling.session import Session
from tests.memory_room import Room

DRAWN = 1 << 18  # bytes of each tensor that are random
_TYPES = {torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64"}
_TOKENIZERS = {"CLIPTokenizer": "clip", "T5Tokenizer": "t5", "Qwen2Tokenizer": "qwen2"}
PROMPTS = ("a red boat at sea", "a house beside a tree on a field", "mountains at night")


def written(folder: Path, family: str, variant: str = "") -> Path:
    """A model's folder at its real size. On the disk it takes `DRAWN` bytes for each tensor."""
    variant = variant or default_variant(family)
    about, index = FAMILY_PARTS[family], dict(_read(MODEL_CONFIGS / family / variant / "model_index.json"))
    dtype = torch.float16 if about.half else torch.bfloat16
    for part in about.with_weights:
        (folder / part).mkdir(parents=True)
        config = config_of(family, variant, part)
        _write(folder / part / "config.json", config)
        kind = "model" if part in about.encoders else "diffusion_pytorch_model"
        sparse(_module(Blueprint(family, variant), part), folder / part / f"{kind}.safetensors", dtype)
    (folder / "scheduler").mkdir()
    _write(folder / "scheduler" / "scheduler_config.json", config_of(family, variant, "scheduler"))
    for part, classes in about.classes.items():
        if part.startswith("tokenizer"):
            shutil.copytree(tokenizer_folder(_TOKENIZERS[classes[0]]), folder / part)
            index[part] = ["transformers", classes[0]]
    _write(folder / "model_index.json", {"_class_name": _PIPELINES[family], **index})
    return folder


_PIPELINES = {"sd15": "StableDiffusionPipeline", "sdxl": "StableDiffusionXLPipeline", "flux": "FluxPipeline",
              "qwen_image": "QwenImagePipeline", "z_image": "ZImagePipeline"}  # fmt: skip


def sparse(module: torch.nn.Module, path: Path, dtype: torch.dtype) -> None:
    """A module's weights as a file of true size; what is not drawn is a hole."""
    tensors: dict[str, tuple[torch.Tensor, torch.dtype]] = {
        name: (value, dtype) for name, value in module.named_parameters()
    }
    kept = set(module.state_dict())
    for name, buffer in module.named_buffers():
        if name in kept:
            tensors[name] = (buffer, dtype if buffer.is_floating_point() else buffer.dtype)
    header: dict[str, Any] = {}
    at = 0
    for name, (value, kind) in tensors.items():
        size = value.numel() * kind.itemsize
        header[name] = {"dtype": _TYPES[kind], "shape": list(value.shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    noise = torch.randn(DRAWN // 2, generator=torch.Generator().manual_seed(0)).mul(0.02).to(dtype)
    drawn = noise.view(torch.uint8).numpy().tobytes()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        begin = file.tell()
        file.truncate(begin + at)
        for name, (_, kind) in tensors.items():
            low, high = header[name]["data_offsets"]
            if kind == dtype:
                file.seek(begin + low)
                file.write(drawn[: high - low])


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _write(path: Path, data: Any) -> None:
    path.write_text(json.dumps(data), encoding="utf-8")


@dataclass(frozen=True)
class Made:
    """A picture made on an imitated card.

    plan     None when nothing fits, which `refused` says       phases  name → (predicted, measured) bytes at most
    seconds  of all of it                                       step    predicted, of one step
    reserved bytes that the process took of the card at most    logs    what was told of memory
    failed   the error that nothing caught, "" for none
    """

    plan: Plan | None = None
    phases: dict[str, tuple[int, int]] = field(default_factory=dict)
    seconds: float = 0.0
    step: float = 0.0
    reserved: int = 0
    logs: tuple[str, ...] = ()
    refused: str = ""
    failed: str = ""


class Studio(Room):
    """`Room` over a folder on a card, with plans: `kept` is the folder that they learn in."""

    def __init__(self, folder: Path, family: str, card: Card, kept: Path, budget: int = 1 << 40) -> None:
        self._folder, self._family = folder, family
        self.session = Session(
            self, str(card.device), budget_bytes=budget, card=card, chooser=Chooser(kept)
        )  # fmt: skip
        self.device = card.device
        self.logs: list[str] = []

    def picture(self, prompt: str, edge: int, steps: int, cfg: float) -> Any:
        """float32 [1, H, W, 3] in 0..1: prompts, steps and decoding, as the nodes of a workflow do."""
        from engine.nodes.condition.text import encode_text
        from engine.nodes.latent.empty import empty
        from engine.nodes.latent.picture import decode_image
        from engine.nodes.sample.k_sampler import k_sampler

        ctx: Any = self
        model, clip, vae = self.handles()
        positive, negative = encode_text(ctx, clip, prompt), encode_text(ctx, clip, "")
        done = k_sampler(
            ctx, model, positive, negative, empty(ctx, edge, edge, 1), seed=3, steps=steps, cfg=cfg, sampler="euler",
            scheduler="simple",
        )  # fmt: skip
        return decode_image(ctx, vae, done)


def pictures(studio: Studio, edge: int, steps: int, cfg: float, count: int = 2) -> list[Made]:
    """So many pictures in a row, each of another prompt: the first as planned by arithmetic, the next as measured."""
    from engine.contracts.errors import OutOfMemory

    memory, found = studio.session.memory, []
    assert memory is not None
    for prompt in PROMPTS[:count]:
        _begin(memory.card)
        memory.peaks.clear()
        studio.logs.clear()
        refused = failed = ""
        started = time.perf_counter()
        try:
            studio.picture(prompt, edge, steps, cfg)
        except OutOfMemory as error:
            refused = str(error)
        except Exception as error:  # noqa: BLE001  # whatever it is, the page says so
            failed = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        plan = memory.plan
        phases = {} if plan is None else {
            phase.name: (phase.peak, memory.peaks.get(phase.name, 0)) for phase in plan.phases
        }  # fmt: skip
        found.append(
            Made(plan, phases, time.perf_counter() - started, plan.step if plan else 0.0, _reserved(memory.card),
                 tuple(studio.logs), refused, failed)
        )  # fmt: skip
        if refused or failed:
            break
    return found


def _begin(card: Card) -> None:
    if card.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(card.device)


def _reserved(card: Card) -> int:
    return torch.cuda.max_memory_reserved(card.device) if card.device.type == "cuda" else 0
