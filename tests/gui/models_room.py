"""A library to look at: model files of many kinds with pictures, and the Models page over it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from pytestqt.qtbot import QtBot

from tests.gui.page_room import application, ended, start
from tests.unit import model_headers as h
from ui.models.workspace import ModelsWorkspace


def lora(path: Path, context: int = 768, *, words: str = "", title: str = "", licence: str = "") -> Path:
    """A LoRA for SD 1.5 (768), SD 2 (1024) or SDXL (2048)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    said = {"modelspec.trigger_phrase": words, "modelspec.title": title, "modelspec.license": licence}
    return h.write_safetensors(path, h.kohya(h.sd_layers(context)), {k: v for k, v in said.items() if v})


def picture(path: Path, seed: int) -> Path:
    """A smooth random picture, 96 × 128."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(30, 226, (4, 3, 3), np.uint8)
    Image.fromarray(coarse).resize((96, 128), Image.Resampling.BICUBIC).save(path)
    return path


def fill(models: Path) -> None:
    """Some models of each of several kinds, one with copies, one refused."""
    loras = models / "loras"
    for number, (name, context, words, licence) in enumerate((
        ("ink wash landscapes", 2048, "ink wash, xuan paper", "openrail++"), ("soft film portrait", 768, "sflm", ""),
        ("paper cut", 768, "papercut style, layered", "cc-by-4.0"), ("isometric rooms", 2048, "isoroom", ""),
        ("a very long name of a style that somebody trained for three weeks v12 final", 1024, "", ""),
    )):  # fmt: skip
        lora(loras / f"{name}.safetensors", context, words=words, licence=licence)
        if number != 3:
            picture(loras / f"{name}.preview.png", number)
    (models / "old").mkdir()
    (models / "old" / "paper cut copy.safetensors").write_bytes((loras / "paper cut.safetensors").read_bytes())
    for folder, name, shapes in (
        ("upscale_models", "4x crisp", h.esrgan()), ("vae", "sdxl vae fp16", h.ldm_vae()),
    ):  # fmt: skip
        (models / folder).mkdir()
        h.write_safetensors(models / folder / f"{name}.safetensors", shapes)
    (models / "evil.ckpt").write_bytes(b"\x80\x02cos\nsystem\nX\x01\0\0\0x\x85R.")


@contextmanager
def models_page(data: Path, qtbot: QtBot, *, started: bool = True) -> Iterator[ModelsWorkspace]:
    """The real page on the real application; `started` opens the store and begins to watch and hash."""
    app, bridge = application(data)
    bridge.watch("network.offline")
    bridge.watch("models.folders")
    if started:
        start(app, bridge, qtbot)
    page = ModelsWorkspace(app, bridge)
    page.resize(1300, 800)
    page.show()
    with ended(page, app, bridge, qtbot):
        yield page
