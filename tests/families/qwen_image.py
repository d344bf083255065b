"""Qwen-Image and Qwen-Image-Edit: diffusers' QwenImage…Pipeline."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine.contracts.references import ModelRef
from engine.graph.values import ControlHandle
from tests.families import _language, room
from tests.families.room import Case, Ours, Picture

SETTINGS = Ours(cfg=4.0)
PIPELINES = {
    "txt2img": "QwenImagePipeline",
    "img2img": "QwenImageImg2ImgPipeline",
    "inpaint": "QwenImageInpaintPipeline",
}
MORE = {"guidance_scale": None, "true_cfg_scale": SETTINGS.cfg}


def tiny(folder: Path) -> Path:
    from diffusers import AutoencoderKLQwenImage, QwenImageControlNetModel, QwenImageTransformer2DModel

    vocabulary = _language.write_qwen_tokenizer(folder / "tokenizer")
    _language.write_qwen25_vl(folder / "text_encoder", vocabulary)
    sizes: dict[str, Any] = {
        "in_channels": 64, "out_channels": 16, "attention_head_dim": 16, "num_attention_heads": 2,
        "joint_attention_dim": _language.WIDTH, "axes_dims_rope": (4, 6, 6),
    }  # fmt: skip
    QwenImageTransformer2DModel(**sizes, num_layers=2).save_pretrained(folder / "transformer")
    autoencoder = AutoencoderKLQwenImage(base_dim=8, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1)
    autoencoder.save_pretrained(folder / "vae")
    for name in ("edges", "depth"):
        room.lively(QwenImageControlNetModel(**sizes, num_layers=1)).save_pretrained(folder / "nets" / name)
    scheduler = {
        "_class_name": "FlowMatchEulerDiscreteScheduler", "base_image_seq_len": 256, "base_shift": 0.5,
        "max_image_seq_len": 8192, "max_shift": 0.9, "num_train_timesteps": 1000, "shift": 1.0,
        "shift_terminal": 0.02, "time_shift_type": "exponential", "use_dynamic_shifting": True,
    }  # fmt: skip
    room.write_json(folder / "scheduler" / "scheduler_config.json", scheduler)
    return room.write_index(folder, "QwenImagePipeline")


def cases(folder: Path) -> list[Case]:
    return [
        *room.standard_cases(folder, "qwen_image", PIPELINES, SETTINGS, MORE),
        control_case(folder, "edges"),
        control_case(folder, "edges", "edges"),
        edit_case(folder, 1, numbered=False),
        edit_case(folder, 1),
        edit_case(folder, 2),
    ]


def control_case(folder: Path, *nets: str) -> Case:
    """txt2img with ControlNets of the folder; diffusers takes several pictures for one of them only."""
    handles = [ControlHandle(ModelRef(kind="controlnet", name=net)) for net in nets]
    strengths = [0.8, 0.5][: len(nets)]
    hints = [room.picture(seed=5 + place) for place in range(len(nets))]

    def ours(dtype: torch.dtype) -> Picture:
        from engine.nodes.condition.text import encode_text
        from engine.nodes.control.apply import control_pair
        from engine.nodes.latent.empty import empty

        tiny = room.opened(folder, "qwen_image", dtype)
        _, clip, _ = tiny.handles()
        positive, negative = (encode_text(tiny.ctx, clip, text) for text in (SETTINGS.prompt, SETTINGS.negative))
        for handle, hint, strength in zip(handles, hints, strengths, strict=True):
            positive, negative = control_pair(tiny.ctx, positive, negative, handle, hint, strength)
        return room.sampled(tiny, positive, negative, empty(tiny.ctx, room.EDGE, room.EDGE, 1), SETTINGS)

    def reference(dtype: torch.dtype) -> Picture:
        tiny = room.opened(folder, "qwen_image", dtype)
        net, scales = tiny.other(handles[0].weights), strengths
        images = [room.as_tensor(hint) * 2 - 1 for hint in hints]  # tensors are taken as they are
        more: dict[str, Any] = {"control_image": images[0], "controlnet_conditioning_scale": scales[0]}
        if len(nets) > 1:
            from diffusers import QwenImageMultiControlNetModel

            net = QwenImageMultiControlNetModel([net])
            more = {"control_image": images, "controlnet_conditioning_scale": scales}
        parts = {"controlnet": net}
        return room.run_pipeline(
            tiny, "QwenImageControlNetPipeline", "control", SETTINGS, more=MORE | more, parts=parts
        )  # fmt: skip

    return Case("control" if len(nets) == 1 else "control, several", ours, reference)


# Editing: diffusers brings pictures to about a megapixel, which takes minutes; here both sides leave them as they are.
# 112 pixels are whole tokens of the autoencoder (16) and of the eyes (28).
EDIT_EDGE = 112
EDIT = Ours(cfg=4.0, edge=EDIT_EDGE, steps=2)


def edit_case(folder: Path, count: int, *, numbered: bool = True) -> Case:
    """An edit of `count` pictures."""
    pictures = [room.picture(edge=EDIT_EDGE, seed=5 + place) for place in range(count)]
    images = [(np.round(image * 255) / 255).astype(np.float32) for image in pictures]  # as files hold them
    named = {f"image_{place + 1}": image for place, image in enumerate(images)}

    def ours(dtype: torch.dtype) -> Picture:
        from engine.nodes.condition.edit import encode_edit
        from engine.nodes.latent.empty import empty

        tiny = room.opened(folder, "qwen_image", dtype)
        _, clip, vae = tiny.handles()
        positive, negative = (
            encode_edit(tiny.ctx, clip, text, vae, numbered=numbered, scale=False, **named)
            for text in (EDIT.prompt, EDIT.negative)
        )
        return room.sampled(tiny, positive, negative, empty(tiny.ctx, EDIT_EDGE, EDIT_EDGE, 1), EDIT)

    def reference(dtype: torch.dtype) -> Picture:
        from PIL import Image

        tiny = room.opened(folder, "qwen_image", dtype)
        shown = [Image.fromarray((image[0] * 255).round().astype(np.uint8)) for image in images]
        name = "QwenImageEditPlusPipeline" if numbered else "QwenImageEditPipeline"
        more = {"image": shown if numbered else shown[0]}
        with pictures_as_they_are(tiny):
            parts = {"processor": _Eyes(tiny)}
            return room.run_pipeline(tiny, name, "edit", EDIT, more=MORE | more, parts=parts)

    return Case(f"edit, {count} picture{'s' * (count > 1)}" if numbered else "edit (first model)", ours, reference)


class _Eyes:
    """Qwen2VLProcessor without its part for videos, which needs torchvision."""

    def __init__(self, tiny: room.Tiny) -> None:
        from transformers import Qwen2VLImageProcessorPil

        self.tokenizer, self.image_processor = tiny.part("tokenizer"), Qwen2VLImageProcessorPil()

    def __call__(self, text: list[str], images: Any, **options: Any) -> Any:
        from transformers import BatchFeature

        pictures = self.image_processor(images, return_tensors="pt")
        merged = int(self.image_processor.merge_size) ** 2
        first, *rest = text[0].split("<|image_pad|>")
        counts = [int(grid.prod()) // merged for grid in pictures["image_grid_thw"]]
        widened = "".join("<|image_pad|>" * count + part for count, part in zip(counts, rest, strict=True))
        return BatchFeature({**self.tokenizer([first + widened], **options), **pictures})


@contextlib.contextmanager
def pictures_as_they_are(tiny: room.Tiny) -> Iterator[None]:
    """While inside, diffusers leaves pictures at their size, and Qwen2.5-VL knows where they lie: with transformers 5
    it must be told which tokens are pictures, and the pipelines of diffusers 0.42 don't tell it."""
    from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit, pipeline_qwenimage_edit_plus
    from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLModel

    places = Qwen2_5_VLModel.compute_3d_position_ids
    mark = tiny.part("text_encoder").config.image_token_id

    def told(self: Any, input_ids: torch.Tensor, **more: Any) -> Any:
        return places(self, input_ids=input_ids, **more | {"mm_token_type_ids": (input_ids == mark).int()})

    modules = (pipeline_qwenimage_edit, pipeline_qwenimage_edit_plus)
    kept = [module.calculate_dimensions for module in modules]
    Qwen2_5_VLModel.compute_3d_position_ids = told
    pipeline_qwenimage_edit.calculate_dimensions = lambda area, ratio: (EDIT_EDGE, EDIT_EDGE, None)
    pipeline_qwenimage_edit_plus.calculate_dimensions = lambda area, ratio: (EDIT_EDGE, EDIT_EDGE)
    try:
        yield
    finally:
        Qwen2_5_VLModel.compute_3d_position_ids = places
        for module, function in zip(modules, kept, strict=True):
            module.calculate_dimensions = function
