"""The image and mask nodes as forms show them: each explains itself and every input, and costs little to import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from engine.contracts.node_schema import NodeSchema
from engine.graph.registry import Registry
from engine.nodes.image.scale_kontext import SIZES, scale_kontext
from tests.unit.media_room import Room, noise

NAMED_IN_THE_BRIEF = {
    "image.load", "image.save", "image.preview", "image.scale", "image.scale_by", "image.crop", "image.pad",
    "image.composite", "image.invert", "mask.from_image", "mask.from_colour", "mask.to_image", "image.levels",
    "image.curves", "image.hue_saturation", "image.brightness_contrast", "image.blur", "image.sharpen", "image.noise",
    "image.grid", "image.stitch", "image.crop_by_mask", "image.split_channels", "image.merge_channels", "image.blend",
    "image.text_overlay", "image.watermark", "image.solid", "image.gradient", "image.from_batch", "image.batch",
    "image.size", "image.folder", "image.split_alpha", "image.join_alpha", "mask.grow", "mask.shrink", "mask.feather",
    "mask.fill_holes", "mask.threshold", "mask.combine", "mask.from_alpha", "mask.to_alpha", "mask.invert", "mask.crop",
    "mask.solid", "mask.rectangle",
}  # fmt: skip


def schemas() -> list[NodeSchema]:
    return [s for s in Registry.builtin().schemas() if s.type.startswith(("image.", "mask."))]


def test_every_node_of_the_plan_is_there() -> None:
    assert {schema.type for schema in schemas()} >= NAMED_IN_THE_BRIEF


@pytest.mark.parametrize("schema", schemas(), ids=lambda s: s.type)
def test_every_node_and_input_explains_itself(schema: NodeSchema) -> None:
    assert schema.doc.endswith(".")
    assert schema.title
    assert schema.category.startswith(("Image", "Mask"))
    for one in schema.inputs:
        assert one.tooltip, f"{schema.type}.{one.name}"
        if one.type in ("INT", "FLOAT"):
            assert one.minimum is not None
            assert one.maximum is not None
            if one.default is not None:
                assert one.minimum <= one.default <= one.maximum
        if one.choices and one.default is not None:
            assert one.default in one.choices


def test_the_sizes_kontext_knows() -> None:
    assert len(set(SIZES)) == 17
    assert scale_kontext(Room(), noise(1, 90, 160, 3)).shape == (1, 752, 1392, 3)
    square = np.full((2, 10, 10, 3), 0.5, np.float32)
    np.testing.assert_allclose(scale_kontext(Room(), square), np.full((2, 1024, 1024, 3), 0.5), atol=1e-6)


def test_importing_the_nodes_loads_no_image_library() -> None:
    code = (
        "import pkgutil, importlib, sys, engine.nodes.image as a, engine.nodes.mask as b\n"
        "for p in (a, b):\n"
        "    for m in pkgutil.iter_modules(p.__path__): importlib.import_module(f'{p.__name__}.{m.name}')\n"
        "import engine.interchange.image_metadata, engine.media.images\n"
        "print([m for m in ('cv2', 'PIL', 'torch', 'PySide6', 'sqlite3', 'httpx') if m in sys.modules])"
    )
    root = Path(__file__).parents[2]
    out = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
