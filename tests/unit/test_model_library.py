"""The model library: found in place, read once, hashed beside the work, tagged, searched, imported, put away."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.contracts.errors import BadInput, MissingModel, StorageError, UnsafeModel
from engine.contracts.references import ModelRef
from engine.models.identify import identify
from studio_app.application import Application
from studio_app.cli.main import main
from studio_app.models import library as library_module
from studio_app.models.hashing import BLOCK, HashProgress, file_sha256
from studio_app.models.layouts import files, layout_of, model_roots
from studio_app.models.table import Note
from tests.benchmarks.model_index import make_files
from tests.benchmarks.tiny_models import STARTER
from tests.unit import model_headers as h


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Application]:
    made = Application(tmp_path / "data")
    (tmp_path / "data" / "models" / "loras").mkdir(parents=True)
    yield made
    made.close()


def lora(path: Path, context: int = 768, metadata: dict[str, str] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return h.write_safetensors(path, h.kohya(h.sd_layers(context)), metadata)


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    read: list[Path] = []
    real = identify

    def counting(path: Path, **options: Any) -> Any:
        read.append(path)
        return real(path, **options)

    monkeypatch.setattr(library_module, "identify", counting)
    return read


def test_files_are_read_once_and_again_only_when_changed(app: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    read = count_reads(monkeypatch)
    a, b = lora(app.paths.models / "loras" / "a.safetensors"), lora(app.paths.models / "b.safetensors", 2048)
    assert {(i.name, i.file.family) for i in app.model_library.list() if i.file} == {("a", "sd15"), ("b", "sdxl")}
    assert sorted(read) == sorted([a, b])
    read.clear()
    assert app.model_library.scan() == 0
    assert read == []
    os.utime(b, ns=(1, 1))
    assert app.model_library.scan() == 1
    assert read == [b]
    a.unlink()
    assert app.model_library.scan() == 1
    assert [item.path for item in app.model_library.list()] == [b]


def test_a_new_start_reads_no_header_again(app: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    make_files(app.paths.models, 300)
    assert len(app.model_library.list()) == 300
    app.close()
    read = count_reads(monkeypatch)
    again = Application(app.paths.data)
    try:
        listed = again.model_library.list()
        assert len(listed) == 300
        assert listed[7].file is not None
        assert listed[7].file.trigger_words == ("style 7",)
        assert read == []
    finally:
        again.close()


def test_refused_files_are_listed_with_their_reason(app: Application) -> None:
    (app.paths.models / "bad.safetensors").write_bytes(b"\xff" * 20)
    (item,) = app.model_library.list()
    assert item.file is None
    assert "cut short" in item.refused
    assert item.words() == item.refused
    with pytest.raises(BadInput, match="nothing can be noted"):
        app.model_library.note(item, Note(text="x"))


@pytest.mark.parametrize("length", [640, 896, 1152, 1408])
def test_a_header_whose_length_looks_like_a_pickle_is_no_pickle(tmp_path: Path, length: int) -> None:
    """These lengths begin with the bytes 80 02 … 80 05, as pickles do."""
    layer = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
    tensors = {f"{layer}.lora_down.weight": (1, 768), f"{layer}.lora_up.weight": (320, 1)}
    path = h.write_safetensors(tmp_path / "a.safetensors", tensors, {"pad": ""})
    missing = length - int.from_bytes(path.read_bytes()[:8], "little")
    h.write_safetensors(path, tensors, {"pad": "x" * missing})
    assert path.read_bytes()[:2] == bytes([0x80, length >> 8])
    about = identify(path)
    assert (about.kind, about.container) == ("lora", "safetensors")


# --- folders of other programs, in place


def test_layouts_are_recognised(tmp_path: Path) -> None:
    for layout, place in (
        ("comfyui", "models/checkpoints"), ("a1111", "models/Stable-diffusion"), ("invokeai", "databases"),
        ("huggingface", "models--org--name/snapshots/abc"), ("folder", "things"),
    ):  # fmt: skip
        folder = tmp_path / layout
        (folder / place).mkdir(parents=True)
        (folder / "models").mkdir(exist_ok=True)
        assert layout_of(folder) == layout
    assert model_roots(tmp_path / "comfyui") == [tmp_path / "comfyui" / "models"]
    assert model_roots(tmp_path / "folder") == [tmp_path / "folder"]


def test_a_programs_folder_is_used_where_it_is(app: Application, tmp_path: Path) -> None:
    comfy = tmp_path / "ComfyUI"
    inside = lora(comfy / "models" / "loras" / "style.safetensors")
    (comfy / "models" / "checkpoints").mkdir()
    lora(comfy / "output" / "not-a-model.safetensors")
    lora(comfy / "models" / "custom_nodes" / "not-either.safetensors")
    app.settings.set("models.folders", [str(comfy)])
    (item,) = app.model_library.list()
    assert (item.path, item.folder) == (inside, comfy)
    assert [folder.layout for folder in app.model_library.folders()] == ["studio", "comfyui"]


def test_links_of_the_hub_cache_are_followed_only_inside_it(tmp_path: Path) -> None:
    hub, outside = tmp_path / "hub", lora(tmp_path / "outside" / "secret.safetensors")
    blob = lora(hub / "models--a--b" / "blobs" / "0123")
    snapshot = hub / "models--a--b" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "good.safetensors").symlink_to(os.path.relpath(blob, snapshot))
    (snapshot / "evil.safetensors").symlink_to(outside)
    (snapshot / "folder").symlink_to(outside.parent)
    assert [found.path.name for found in files(hub)] == ["good.safetensors"]
    loop = tmp_path / "plain"
    lora(loop / "a.safetensors")
    (loop / "again").symlink_to(loop)
    assert [found.path.name for found in files(loop)] == ["a.safetensors"]


def test_imported_folders_can_be_run_and_files_only_listed(app: Application) -> None:
    place = app.model_library.bring_in(STARTER)
    assert place == app.paths.models / "checkpoints" / "starter_model"
    assert [entry.path for entry in app.models.list() if not entry.starter] == [place]
    assert app.models.locate(ModelRef(name="starter")) == app.paths.starter_model
    lora(app.paths.models / "loras" / "a.safetensors")
    app.model_library.scan()
    assert {entry.path for entry in app.models.list()} == {place, app.paths.starter_model}
    assert {item.file.kind for item in app.model_library.list() if item.file} == {"checkpoint", "lora"}


# --- hashing, duplicates


def test_hashes_are_exact_and_told_of(app: Application) -> None:
    path = lora(app.paths.models / "loras" / "a.safetensors")
    big = h.write_safetensors(app.paths.models / "vae.safetensors", h.ldm_vae())
    app.model_library.scan()
    told: list[HashProgress] = []
    assert app.model_library.hash_now(progress=told.append) == 2
    hashes = {item.path: item.sha256 for item in app.model_library.list()}
    assert hashes[path] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert hashes[big] == hashlib.sha256(big.read_bytes()).hexdigest()
    assert told[-1] == HashProgress(2, 2, told[-1].bytes, told[-1].bytes, None)
    assert [p.bytes_done for p in told] == sorted(p.bytes_done for p in told)
    assert told[-1].bytes == path.stat().st_size + big.stat().st_size
    assert app.model_library.hash_now() == 0
    os.utime(path, ns=(1, 1))
    app.model_library.scan()
    assert {i.path: i.sha256 for i in app.model_library.list()}[path] == ""
    assert app.model_library.hash_now() == 1


def test_hashing_stops_within_a_block_and_goes_on_later(app: Application) -> None:
    lora(app.paths.models / "a.safetensors")
    h.write_safetensors(app.paths.models / "vae.safetensors", h.ldm_vae())
    app.model_library.scan()
    stop = threading.Event()
    blocks: list[int] = []

    def second_block(progress: HashProgress) -> None:
        if progress.path is not None and progress.path.name == "vae.safetensors":
            blocks.append(progress.bytes_done)
            stop.set()

    assert app.model_library.hash_now(stop=stop, progress=second_block) == 1
    assert len(blocks) == 1
    assert app.model_library.hash_now() == 1
    assert file_sha256(app.paths.models / "vae.safetensors", lambda count: count < BLOCK) == ""
    with pytest.raises(MissingModel):
        file_sha256(app.paths.models / "gone")


def test_equal_content_is_found_before_and_after_hashing(app: Application) -> None:
    a = lora(app.paths.models / "a.safetensors")
    b = app.paths.models / "loras" / "copy.safetensors"
    b.write_bytes(a.read_bytes())
    lora(app.paths.models / "c.safetensors", 1024)
    app.model_library.scan()
    for _ in range(2):
        assert [{item.path for item in group} for group in app.model_library.duplicates()] == [{a, b}]
        app.model_library.hash_now()


# --- notes and search


def test_notes_stay_with_the_content_and_survive_the_database(app: Application) -> None:
    path = lora(app.paths.models / "a.safetensors")
    lora(app.paths.models / "b.safetensors", 1024)
    item = app.model_library.find("a")
    app.model_library.note(item, Note(("portrait", " portrait ", "soft  light"), "good at 0.7", favourite=True))
    path.rename(app.paths.models / "z.safetensors")
    first = app.model_library.list()[0]
    assert first.name == "z"  # favourites first
    assert first.note == Note(("portrait", "soft light"), "good at 0.7", True)
    app.close()
    for file in app.paths.data.glob("studio.db*"):
        file.unlink()
    again = Application(app.paths.data)
    try:
        assert again.model_library.find("z").note.text == "good at 0.7"
    finally:
        again.close()


def test_search_looks_at_names_kinds_tags_and_trigger_words(app: Application) -> None:
    lora(app.paths.models / "a.safetensors", metadata={"modelspec.trigger_phrase": "sks cat"})
    lora(app.paths.models / "b.safetensors", 2048)
    h.write_safetensors(app.paths.models / "up.safetensors", h.esrgan())
    library = app.model_library
    app.model_library.note(library.find("b"), Note(("evening",)))
    assert [i.name for i in library.list(text="sks CAT")] == ["a"]
    assert [i.name for i in library.list(text="evening")] == ["b"]
    assert [i.name for i in library.list(text="upscaler")] == ["up"]
    assert [i.name for i in library.list("lora")] == ["a", "b"]
    assert library.list(text="nothing of the kind") == []


# --- import, trash


def test_imports_go_where_they_belong_and_pickles_become_safetensors(app: Application, tmp_path: Path) -> None:
    source = lora(tmp_path / "in" / "style.safetensors")
    torch.save({"string_to_param": {"*": torch.ones(2, 768)}}, tmp_path / "in" / "cat.pt")
    h.write_safetensors(tmp_path / "in" / "noise.safetensors", {"x": (3,)})
    (tmp_path / "in" / "evil.ckpt").write_bytes(b"\x80\x02cos\nsystem\nX\x01\0\0\0x\x85R.")
    done, left = app.model_library.bring_in_all(tmp_path / "in")
    models = app.paths.models
    assert sorted(done) == [models / "embeddings" / "cat.safetensors", models / "loras" / "style.safetensors"]
    assert len(left) == 2
    assert any("would call “os.system”" in why for why in left)
    assert source.exists()
    assert app.model_library.bring_in(source) == models / "loras" / "style-2.safetensors"
    with pytest.raises(UnsafeModel):
        app.model_library.bring_in(tmp_path / "in" / "evil.ckpt")
    assert not list(models.rglob("*.part"))


def test_what_is_removed_can_be_brought_back_with_its_preview(app: Application) -> None:
    path = lora(app.paths.models / "a.safetensors")
    picture = app.paths.models / "a.preview.png"
    picture.write_bytes(b"picture")
    before = path.read_bytes()
    item = app.model_library.find("a")
    assert item.file is not None
    assert item.file.preview == "a.preview.png"
    trashed = app.model_library.remove(item)
    assert not path.exists()
    assert not picture.exists()
    assert app.model_library.list() == []
    assert [t.original for t in app.model_library.trashed()] == [path]
    path.write_bytes(b"something else")
    with pytest.raises(StorageError, match="is there already"):
        app.model_library.restore(trashed)
    path.unlink()
    assert app.model_library.restore(trashed) == path
    assert (path.read_bytes(), picture.read_bytes()) == (before, b"picture")
    assert app.model_library.trashed() == []
    with pytest.raises(StorageError, match="no longer in the trash"):
        app.model_library.restore(trashed)


# --- the thread


def test_the_background_notices_a_new_file_and_hashes_it(app: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    from studio_app.models import background

    monkeypatch.setattr(background, "WATCH_SECONDS", 0.01)
    hashed = threading.Event()

    def told(progress: HashProgress) -> None:
        if progress.path is None and progress.files_done:
            hashed.set()

    app.model_background.progress.subscribe(told)
    app.model_background.start()
    lora(app.paths.models / "loras" / "late.safetensors")
    assert hashed.wait(30)
    app.model_background.close()
    assert app.model_library.list(scan=False)[0].sha256


# --- the command line


def cli(capsys: pytest.CaptureFixture[str], data: Path, *arguments: str) -> tuple[int, Any]:
    code = main(["models", *arguments, "--json", "--data-dir", str(data)])
    return code, json.loads(capsys.readouterr().out)


def test_every_action_of_the_command_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    data, source = tmp_path / "data", lora(tmp_path / "in" / "style.safetensors")
    code, found = cli(capsys, data, "identify", str(source))
    assert (code, found["kind"], found["family"]) == (0, "lora", "sd15")
    assert found["words"] == "LoRA for SD 1.5 (kohya, fp16)"
    code, found = cli(capsys, data, "import", str(source))
    assert (code, found["imported"]) == (0, [str(data / "models" / "loras" / "style.safetensors")])
    code, found = cli(capsys, data, "list")
    assert [item["name"] for item in found["models"]] == ["starter"]
    assert [item["name"] for item in found["files"]] == ["style"]
    code, found = cli(capsys, data, "folders", "add", str(tmp_path / "in"))
    assert [item["layout"] for item in found["folders"]] == ["studio", "folder"]
    code, found = cli(capsys, data, "verify")
    assert (code, found["files"], found["hashed"], found["changed"]) == (0, 2, 2, [])
    assert len(found["duplicates"]) == 1
    damaged = data / "models" / "loras" / "style.safetensors"
    times = damaged.stat().st_mtime_ns
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\7")
    os.utime(damaged, ns=(times, times))
    code, found = cli(capsys, data, "verify")
    assert (code, found["changed"]) == (2, [str(damaged)])
    code, found = cli(capsys, data, "folders", "remove", str(tmp_path / "in"))
    assert len(found["folders"]) == 1
    code, found = cli(capsys, data, "remove", "style")
    assert not damaged.exists()
    code, found = cli(capsys, data, "remove", "--undo")
    assert (code, found["restored"]) == (0, str(damaged))


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["identify"], 2, "needs a file"),
        (["identify", "nowhere.safetensors"], 3, "no such file"),
        (["import", "nowhere"], 3, "no such file or folder"),
        (["remove", "nothing"], 3, "No model file “nothing”"),
        (["remove", "--undo"], 3, "nothing in the trash"),
        (["folders", "add", "nowhere"], 3, "no such folder"),
        (["folders", "shuffle"], 2, "“add DIR” or “remove DIR”"),
    ],
)
def test_mistakes_have_a_sentence_and_an_exit_code(
    arguments: list[str], code: int, sentence: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    got, found = cli(capsys, tmp_path / "data", *arguments)
    assert got == code == found["exit_code"]
    assert sentence in found["error"]
