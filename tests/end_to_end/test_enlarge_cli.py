"""Larger pictures from the command line, on the starter model: their size, what is on them, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from engine.interchange.image_metadata import read_metadata
from engine.media.images import encode
from engine.recipes.build import request_of
from engine.recipes.enlarge import Enlarge
from engine.recipes.request import ImageRequest
from tests.end_to_end.test_command_line import CIRCLE, Said, cli, here, pixels

__all__ = ["cli"]  # a fixture


def circles(picture: np.ndarray[Any, Any]) -> list[float]:
    """The share of the picture that each red thing has; specks left out."""
    red = ((picture[..., 0] > picture[..., 2] + 0.25) & (picture[..., 0] > 0.4)).astype(np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStats(red)
    shares = stats[1:, cv2.CC_STAT_AREA] / red.size
    return sorted(float(share) for share in shares if share > 0.002)


def likeness(large: np.ndarray[Any, Any], small: np.ndarray[Any, Any]) -> float:
    """PSNR of the large picture's small copy."""
    copy = cv2.resize(large, (small.shape[1], small.shape[0]), interpolation=cv2.INTER_AREA)
    return float(-10 * np.log10(((copy - small) ** 2).mean()))


def write_upscaler(path: Path) -> None:
    """Real-ESRGAN's compact network, as wide as the real ones and shallow, its weights random: twice as large."""
    import torch
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(0)
    tensors: dict[str, torch.Tensor] = {}
    for place, (out, into) in {0: (64, 3), 2: (64, 64), 4: (12, 64)}.items():
        tensors[f"body.{place}.weight"] = torch.randn((out, into, 3, 3), generator=generator) * 0.02
        tensors[f"body.{place}.bias"] = torch.zeros(out)
        if place < 4:
            tensors[f"body.{place + 1}.weight"] = torch.full((out,), 0.2)
    path.parent.mkdir(parents=True)
    save_file(tensors, path)


def asked(path: str) -> ImageRequest:
    spec = read_metadata(Path(path).read_bytes()).spec
    assert spec is not None
    request = request_of(spec)
    assert request is not None
    return request


def test_a_hires_picture_shows_the_subject_once_and_says_how_it_was_made(cli: Callable[..., Said]) -> None:
    assert cli("generate", CIRCLE, "--seed", 7, "--steps", 10, "-o", "a.png").code == 0
    said = cli("generate", CIRCLE, "--seed", 7, "--steps", 10, "--hires", 2, "-o", "b.png")
    assert said.code == 0, said.err
    assert said.out == "b.png  (256×256, seed 7)\n"
    small, large = pixels("a.png"), pixels("b.png")
    assert len(circles(small)) == len(circles(large)) == 1
    assert circles(large)[0] == pytest.approx(circles(small)[0], rel=0.15)
    assert likeness(large, small) > 28
    # What the redrawing adds: more changes from pixel to pixel than where they are only enlarged.
    stretched = cv2.resize(small, (256, 256), interpolation=cv2.INTER_LANCZOS4)
    edges = [float(np.abs(np.diff(picture.mean(-1), axis=1)).mean()) for picture in (large, stretched)]
    assert edges[0] > edges[1]
    assert asked("b.png").enlarge == Enlarge(factor=2.0, strength=0.04, steps=100, prompt=False)
    metadata = read_metadata(Path("b.png").read_bytes())
    assert metadata.parameters.startswith(f"{CIRCLE}\n")
    assert "Steps: 10" in metadata.parameters


def test_a_picture_of_ones_own_is_enlarged_without_a_word_about_it(cli: Callable[..., Said], tmp_path: Path) -> None:
    drawing = np.full((50, 70, 3), (0.18, 0.36, 0.84), np.float32)
    cv2.circle(drawing, (35, 25), 12, (0.88, 0.16, 0.14), -1)
    Path("mine.png").write_bytes(encode(drawing))
    said = cli(
        "generate", "--start", "mine.png", "--enlarge", 2.5, "--enlarge-how", "tiles", "--seed", 1, "-o", "t.png"
    )
    assert said.code == 0, said.err
    assert said.out == "t.png  (176×128, seed 1)\n"  # of 175 × 125: what is redrawn is made of whole cells
    assert len(circles(pixels("t.png"))) == 1
    assert likeness(pixels("t.png"), drawing) > 22
    request = asked("t.png")
    assert (request.prompt, request.width, request.height, request.enlarge.as_is) == ("", 70, 50, True)

    write_upscaler(tmp_path / "data" / "models" / "upscale_models" / "compact.safetensors")
    said = cli("generate", "--start", "mine.png", "--enlarge", "175x125", "--enlarge-how", "network", "--upscaler",
               "compact", "--seed", 1, "-o", "n.png")  # fmt: skip
    assert said.code == 0, said.err
    assert said.out == "n.png  (175×125, seed 1)\n"
    upscaler = asked("n.png").enlarge.upscaler
    assert upscaler is not None
    assert upscaler.name == "compact"
    # Beside its own small residual the network hands the pixels on.
    assert likeness(pixels("n.png"), drawing) > 22


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--enlarge", "large"), "“large” says not how much; write 2 for twice as wide, or a size like 1024x768"),
        (("--enlarge", 9), "enlarging: the factor 9 is out of range. Use 1 to 8."),
        (("--enlarge", 2, "--enlarge-how", "tilse"), "There is no way to enlarge “tilse”. Did you mean “tiles”?"),
        (("--enlarge", 2, "--hires", 2), "--enlarge and --hires say the same. Leave one of them out."),
        (("--hires", 2, "--enlarge-how", "tiles"), "--hires is not “tiles”. Use --enlarge with --enlarge-how."),
        (("--upscaler", "x"), "--upscaler needs --enlarge. Say how much larger, as --enlarge 2."),
        (("--start", "x.png"), "--start needs --enlarge. Say how much larger, as --enlarge 2."),
        (("--enlarge", 2, "--start", "x.png", "--init", "y.png"),
         "--start and --init exclude each other. --start enlarges a picture as it is, --init draws from it first."),
        (("--enlarge", 2, "--start", "x.png", "--size", "64x64"), "--start brings its own size. Leave --size out."),
        (("--enlarge", 2, "--enlarge-how", "network"),
         "enlarging: no upscaler is named. Name one, or choose another way to enlarge."),
        (("--enlarge", 2, "--upscaler", "nothing"), "The model “nothing” is not on this machine."),
        (("--enlarge", 2, "--start", "gone.png"), "gone.png"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_one_sentence_and_leaves_nothing(
    cli: Callable[..., Said], words: tuple[object, ...], sentence: str
) -> None:
    said = cli("generate", "a circle", *words, "-o", "x.png")
    assert said.code in (2, 3)
    assert sentence in said.err
    assert "Traceback" not in said.err
    assert here() == []
