"""Annotators that need weights: depth and segmentation networks in transformers' folders, HED's edges from one file.

Inputs are float32 [B, H, W, C] in 0..1. Pictures are prepared here as the folder's preprocessor_config.json says, since
transformers' own processors want torchvision.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812 - the field's own name for it

from engine.contracts.errors import BadInput, InvalidDocument, clip
from engine.control.classes import painted
from engine.control.hed import HolisticEdges
from engine.media.pixels import batched, rgb
from engine.models.fingerprint import check_safe, read_config
from engine.models.safetensors_header import read_header
from engine.models.weights import open_weights

Pixels = npt.NDArray[np.float32]
_LARGEST_EDGE = 4096
_IMAGENET: tuple[tuple[float, ...], tuple[float, ...]] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_DEPTH, _SEGMENTATION = "ForDepthEstimation", "ForSemanticSegmentation"


@dataclass(frozen=True)
class Preparation:
    """How a network wants its pictures. `multiple`: of which their edges must be; `keep`: their shape is kept."""

    edge: tuple[int, int] = (384, 384)
    mean: tuple[float, ...] = _IMAGENET[0]
    deviation: tuple[float, ...] = _IMAGENET[1]
    multiple: int = 1
    keep: bool = False

    @staticmethod
    def of(config: Mapping[str, Any]) -> Preparation:
        """As a preprocessor_config.json says."""
        size = config.get("size", 384)
        if isinstance(size, Mapping):
            size = (size.get("height") or size.get("shortest_edge"), size.get("width") or size.get("shortest_edge"))
        edges = size if isinstance(size, (tuple, list)) else (size, size)
        if len(edges) != 2 or not all(isinstance(edge, int) and 8 <= edge <= _LARGEST_EDGE for edge in edges):
            raise InvalidDocument("its preprocessor_config.json names no usable size")
        means = [config.get(key) or usual for key, usual in zip(("image_mean", "image_std"), _IMAGENET, strict=True)]
        if any(len(values) != 3 or not all(isinstance(value, (int, float)) for value in values) for values in means):
            raise InvalidDocument("its preprocessor_config.json names no usable mean and deviation")
        multiple = config.get("ensure_multiple_of") or 1
        keep = bool(config.get("keep_aspect_ratio", False))
        return Preparation((edges[0], edges[1]), tuple(means[0]), tuple(means[1]), max(1, int(multiple)), keep)

    def prepared(self, pixels: torch.Tensor) -> torch.Tensor:
        """[B, 3, H, W] in 0..1 at the network's size, normalised."""
        rows, columns = self.edge
        if self.keep:  # the edge that changes less decides, as DPT's processor has it
            scales = (rows / pixels.shape[-2], columns / pixels.shape[-1])
            scale = min(scales, key=lambda value: abs(1 - value))
            rows, columns = (max(1, round(scale * edge)) for edge in pixels.shape[-2:])
        rows, columns = (max(self.multiple, round(edge / self.multiple) * self.multiple) for edge in (rows, columns))
        small = F.interpolate(pixels, (rows, columns), mode="bicubic", antialias=True, align_corners=False)
        mean, deviation = (torch.tensor(v, device=pixels.device).view(1, 3, 1, 1) for v in (self.mean, self.deviation))
        return (small - mean) / deviation


@dataclass(frozen=True, eq=False)
class Estimator:
    """A transformers network with its preparation; `task` is depth or segments."""

    network: Any
    preparation: Preparation
    task: str
    name: str

    @torch.no_grad()
    def depth(self, image: Pixels) -> Pixels:
        """Depths as float32 [B, H, W], the nearest 1 and the farthest 0 of each picture."""
        found = self._run(image, "predicted_depth")[:, None]
        if getattr(self.network.config, "depth_estimation_type", "relative") == "metric":
            found = -found  # metres: near is small
        whole = F.interpolate(found, batched(image).shape[1:3], mode="bicubic", align_corners=False)[:, 0]
        low, high = whole.amin((1, 2), keepdim=True), whole.amax((1, 2), keepdim=True)
        return ((whole - low) / (high - low).clamp(min=1e-6)).cpu().numpy()

    @torch.no_grad()
    def segments(self, image: Pixels) -> Pixels:
        """Surfaces as float32 [B, H, W, 3] in ADE20K's colours."""
        logits = F.interpolate(self._run(image, "logits"), batched(image).shape[1:3], mode="bilinear")
        return painted(logits.argmax(dim=1).cpu().numpy())

    def _run(self, image: Pixels, output: str) -> torch.Tensor:
        module = self.network
        pixels = torch.tensor(rgb(batched(image)), dtype=torch.float32, device=module.device).permute(0, 3, 1, 2)
        prepared = self.preparation.prepared(pixels).to(module.dtype)
        found: torch.Tensor = getattr(module(pixel_values=prepared), output)
        return found.float()


def load_annotator(path: Path, device: torch.device, dtype: torch.dtype) -> Any:
    """An Estimator of a transformers folder, HolisticEdges of a safetensors file, or the path of an ONNX file.

    Raises UnsafeModel for code, pickles and ONNX files with external data, BadInput for what is none of these,
    InvalidDocument when configuration and weights do not fit.
    """
    if path.is_dir():
        return _estimator(path, device, dtype)
    if path.suffix.lower() == ".onnx":
        from engine.control.dwpose import OnnxNetwork

        return OnnxNetwork.load(path)
    weights = open_weights(path)
    tensors = {name: weights.numbers(name, torch.float32, torch.device("cpu")) for name in weights.shapes}
    network = HolisticEdges.from_tensors(tensors)
    if network is None:
        raise BadInput(
            f"“{path.name}” is no annotator that is known here",
            fix="Known are HED's edges (ControlNetHED), depth and segmentation folders, and DWPose's ONNX files",
        )
    return network.to(device, dtype)


def _estimator(path: Path, device: torch.device, dtype: torch.dtype) -> Estimator:
    check_safe(path)
    config = read_config(path / "config.json")
    named = [name for name in config.get("architectures") or () if isinstance(name, str)]
    wanted = next((name for name in named if name.endswith((_DEPTH, _SEGMENTATION))), "")
    if not wanted:
        holds = clip(named[0]) if named else "no named network"
        raise BadInput(
            f"“{path.name}” holds {holds}, which finds neither depth nor segments",
            fix="Choose a folder of Depth Anything, DPT, Segformer, UperNet or the like",
        )
    import transformers

    kind = getattr(transformers, wanted, None)
    weights = path / "model.safetensors"
    if kind is None or not weights.is_file():
        why = f"this version knows no {wanted}" if kind is None else "it has no model.safetensors"
        raise BadInput(f"“{path.name}” can't be used: {why}", where=str(path))
    read_header(weights)
    preparation_file = path / "preprocessor_config.json"
    preparation = Preparation.of(read_config(preparation_file)) if preparation_file.is_file() else Preparation()
    transformers.utils.logging.disable_progress_bar()
    try:
        network, report = kind.from_pretrained(
            path, local_files_only=True, use_safetensors=True, dtype=dtype, output_loading_info=True
        )
        if report["missing_keys"]:
            raise ValueError(f"{len(report['missing_keys'])} tensors are missing")
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, ImportError) as error:
        raise InvalidDocument(
            f"it can't be built from its config.json and weights ({clip(str(error), 160)})", where=str(path),
            fix="Get the model again from its source",
        ) from error  # fmt: skip
    network.requires_grad_(False)
    task = "depth" if wanted.endswith(_DEPTH) else "segments"
    return Estimator(network.eval().to(device), preparation, task, path.name)
