"""A checkpoint in one file with no network at all: configurations and tokenizers come from resources/."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from engine.models.layouts import tokenizer_folder
from tests.unit.single_file_room import write_checkpoint, write_folder

ROOT = Path(__file__).resolve().parents[2]

DRAW = """
import sys, hashlib
seen = []
def ban(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto", "socket.gethostbyname"):
        seen.append(event)
        raise OSError("no network here")
sys.addaudithook(ban)
import torch
torch.set_num_threads(1)
from pathlib import Path
from tests.unit.single_file_room import At, picture
made = {name: picture(At(model=Path(path)), "model") for name, path in zip(("folder", "file"), sys.argv[1:])}
assert (made["folder"] == made["file"]).all()
assert made["file"].std() > 0.05
print(len(seen), hashlib.sha256(made["file"].tobytes()).hexdigest())
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    place = tmp_path_factory.mktemp("offline")
    folder = write_folder(place / "model", "sd15", tokenizer=tokenizer_folder("clip"))
    return folder, write_checkpoint(folder, place / "model.safetensors")


def test_one_file_draws_its_folders_picture_where_sockets_are_banned(models: tuple[Path, Path]) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", DRAW, *map(str, models)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert ran.stdout.split()[0] == "0"


def test_doctor_says_what_a_checkpoint_is(models: tuple[Path, Path], tmp_path: Path) -> None:
    from engine.models.check import check_model

    found = check_model(models[1])
    assert (found.family, found.variant, found.sound) == ("sd15", "normal", True)
    parts = {part.part: part for part in found.parts}
    assert list(parts) == ["unet", "vae", "text_encoder"]
    assert parts["unet"].layout == "original"
    assert (parts["unet"].stored, parts["text_encoder"].stored, parts["unet"].runs_in) == ("F32", "F16", "float32")
    assert all(part.unused == 0 and part.finite for part in found.parts)
    assert parts["text_encoder"].parameters > 49408 * 768
    assert (found.width, found.height, found.tokens) == (128, 128, 7)
    assert json.loads(json.dumps(found.to_json()))["sound"] is True


def test_doctor_finds_numbers_that_are_none(models: tuple[Path, Path], tmp_path: Path) -> None:
    import torch
    from safetensors import safe_open
    from safetensors.torch import save_file

    from engine.models.check import check_model

    with safe_open(models[1], "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        said = file.metadata()
    tensors["first_stage_model.decoder.conv_out.bias"] = torch.full((3,), float("nan"))
    save_file(tensors, tmp_path / "broken.safetensors", said)
    found = check_model(tmp_path / "broken.safetensors")
    assert not found.sound
    assert [part.part for part in found.parts if not part.finite] == ["vae"]
