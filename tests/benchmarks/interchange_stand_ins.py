"""What stands in for the models that files of other programs name: the starter model, and tiny random ones.

A name tells its family as people name their files (“flux1-dev-fp8”); a checkpoint whose name tells none is a model of
Stable Diffusion 1.5, for which the starter stands. Text encoders, autoencoders, LoRAs and ControlNets are those of the
stand-in that the workflow's denoiser has. Nothing stands for families which the studio does not run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path

import torch
from safetensors.torch import save_file

from engine.contracts.errors import MissingModel
from engine.contracts.references import STARTER_NAME, ModelRef
from engine.contracts.workflow import Node
from engine.families.protocol import Family
from engine.graph.values import TextEncoderHandle
from engine.models.family_parts import FAMILY_PARTS
from engine.models.fingerprint import identify_folder
from engine.models.weights import open_weights
from engine.sampling.session import Session
from tests.families import room

RESOURCES = Path(__file__).resolve().parents[2] / "resources"
STARTER = RESOURCES / "starter_model"
DENOISERS = ("diffusion_model", "checkpoint")
# Families that files name and the studio does not run: what they are called.
OTHERS: Mapping[str, str] = {
    "aura_flow": "AuraFlow", "cosmos": "Cosmos", "hidream": "HiDream", "hunyuan_dit": "Hunyuan-DiT",
    "omnigen": "OmniGen2", "ovis": "Ovis-Image", "longcat": "LongCat-Image", "pixart": "PixArt", "lumina": "Lumina 2",
    "stable_cascade": "Stable Cascade", "zero123": "Stable Zero123",
}  # fmt: skip
# Pattern of a denoiser's name → the tiny model of tests/families, by its folder; the first that fits.
NAMES: Mapping[str, str] = {
    r"sd_?xl_refiner": "sdxl_refiner", r"sd_?xl.*turbo": "sdxl/turbo", r"sd_?xl": "sdxl", r"sd3": "sd3",
    r"flux-?_?2.*klein": "flux2", r"flux-?_?2": "flux2/dev", r"fill": "flux-fill", r"flux.*(canny|depth)": "flux-depth",
    r"flux.*schnell": "flux-schnell", r"flux": "flux", r"chroma": "chroma", r"qwen.image": "qwen_image",
    r"z_image": "z_image", r"512-inpainting": "sd2/inpaint", r"v2-1": "sd2",
}  # fmt: skip
REDUX, SIGHT, UPSCALER = "redux.safetensors", "sight", "compact-x{}.safetensors"
_WIDTH = 32  # of what Redux reads and says


def stand_in(ref: ModelRef) -> str:
    """The stand-in of a checkpoint or diffusion model; "" where nothing stands in."""
    name = ref.name.lower()
    if any(other in name for other in OTHERS):
        return ""
    found = next((folder for pattern, folder in NAMES.items() if re.search(pattern, name)), "")
    return found or (STARTER_NAME if ref.kind == "checkpoint" else "")


def chosen(nodes: Iterable[Node]) -> str:
    """The stand-in of the first denoiser of a workflow, whose parts the others of it are."""
    refs = [value for node in nodes for value in node.inputs.values() if isinstance(value, ModelRef)]
    found = [stand_in(ref) for kind in DENOISERS for ref in refs if ref.kind == kind]
    return next((name for name in found if name != "sdxl_refiner"), "")


def not_run_here(nodes: Iterable[Node]) -> str:
    """What a family is called that a workflow names and the studio does not run; "" when there is none."""
    names = [value.name.lower() for node in nodes for value in node.inputs.values() if isinstance(value, ModelRef)]
    return next((title for word, title in OTHERS.items() if any(word in name for name in names)), "")


def replaced(ref: ModelRef, folder: str) -> ModelRef:
    """The reference to what stands in for a model in a workflow whose denoiser is the stand-in `folder`.

    Unchanged where nothing does.
    """
    name = stand_in(ref) if ref.kind in DENOISERS else folder
    if re.search("vision", ref.name, re.IGNORECASE):
        name = SIGHT
    elif ref.kind == "ip_adapter":
        name = REDUX
    elif ref.kind == "upscaler":
        name = UPSCALER.format(2 if "x2" in ref.name.lower() else 4)
    return ModelRef(kind=ref.kind, name=name) if name else ref


class StandIns:
    """Writes the stand-ins in `folder` as they are first asked for, and gives their places."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        torch.manual_seed(0)

    def locate(self, ref: ModelRef) -> Path:
        """Where the stand-in `ref` is. Raises MissingModel for a model that has none."""
        known = {STARTER_NAME, *NAMES.values()}
        if ref.name in (REDUX, SIGHT) or ref.kind == "upscaler":
            return self._small / ref.name
        if ref.name not in known:
            raise MissingModel(f"the {ref.kind.replace('_', ' ')} “{ref.name}” has no stand-in")
        if ref.name == STARTER_NAME:
            own = {"controlnet": "starter_controlnet", "lora": "starter_lora/starter-stripes.safetensors",
                   "vae": "starter_model/vae"}  # fmt: skip
            return RESOURCES / own.get(ref.kind, "starter_model")
        place = self._model(ref.name)
        if ref.kind == "controlnet":
            return next(path for path in sorted((self._model(_base(ref.name)) / "nets").iterdir()))
        return self._lora(place) if ref.kind == "lora" else place

    def list(self, kind: str) -> list[ModelRef]:
        return [ModelRef(name=STARTER_NAME)] if kind == "checkpoint" else []

    def _model(self, name: str) -> Path:
        base = self._folder / _base(name)
        if not base.exists():
            room.family_module(_base(name)).tiny(base)
        return self._folder / name

    def _lora(self, model: Path) -> Path:
        """A LoRA on the first projections of a model's denoiser."""
        path = model / "lora.safetensors"
        if not path.exists():
            part = FAMILY_PARTS[identify_folder(model).family].denoiser
            shapes = open_weights(model / part).shapes
            ends = ("to_q.weight", "to_out.0.weight")
            names = [name for name in shapes if name.endswith(ends)]
            tensors = {}
            for name in names:
                rows, columns = shapes[name]
                layer = f"{part}.{name.removesuffix('.weight')}"
                tensors[f"{layer}.lora_A.weight"] = torch.randn(2, columns) * 0.1
                tensors[f"{layer}.lora_B.weight"] = torch.randn(rows, 2) * 0.1
            save_file(tensors, path)
        return path

    @cached_property
    def _small(self) -> Path:
        """The folder of what is no model of a family: upscalers, a vision encoder, a style model."""
        from transformers import SiglipVisionConfig, SiglipVisionModel

        folder = self._folder / "small"
        config = SiglipVisionConfig(
            hidden_size=_WIDTH, intermediate_size=_WIDTH, num_hidden_layers=2, num_attention_heads=1, image_size=32,
            patch_size=8,
        )  # fmt: skip
        SiglipVisionModel(config).save_pretrained(folder / SIGHT)
        save_file({
            "redux_up.weight": torch.randn(2 * _WIDTH, _WIDTH) * 0.1, "redux_up.bias": torch.zeros(2 * _WIDTH),
            "redux_down.weight": torch.randn(_WIDTH, 2 * _WIDTH) * 0.1, "redux_down.bias": torch.zeros(_WIDTH),
        }, folder / REDUX)  # fmt: skip
        for scale in (2, 4):
            save_file(_compact(scale), folder / UPSCALER.format(scale))
        return folder


class StandInSession(Session):
    """A session whose text encoders loaded apart are those of the stand-in: tiny files don't tell whose they are."""

    def text(self, handle: TextEncoderHandle) -> Family:
        if handle.weights.kind == "text_encoder":
            return self.family(ModelRef(name=handle.weights.name))
        return super().text(handle)


def _base(name: str) -> str:
    """The module of tests/families that writes a stand-in."""
    return re.split(r"[/-]", name)[0]


def _compact(scale: int, width: int = 8) -> dict[str, torch.Tensor]:
    """The tensors of a tiny Real-ESRGAN “compact” network."""
    layers = [(3, width), (width, width), (width, 3 * scale**2)]
    made: dict[str, torch.Tensor] = {}
    for number, (before, after) in enumerate(layers):
        made[f"body.{2 * number}.weight"] = torch.randn(after, before, 3, 3) * 0.05
        made[f"body.{2 * number}.bias"] = torch.zeros(after)
        if number < len(layers) - 1:
            made[f"body.{2 * number + 1}.weight"] = torch.full((after,), 0.1)
    return made
