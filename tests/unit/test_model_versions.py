"""Versions of a model: imported, listed, put back, never lost; cut off at every step and repaired at the next start."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.contracts.errors import InvalidRequest, MissingModel, StorageError
from studio_app.application import Application
from studio_app.cli.main import main
from studio_app.models.table import Note
from tests.benchmarks.tiny_models import STARTER
from tests.unit import model_headers as h


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Application]:
    made = Application(tmp_path / "data")
    yield made
    made.close()


def again(app: Application) -> Application:
    """The same data folder at its next start."""
    app.close()
    return Application(app.paths.data)


def lora(path: Path, version: int, context: int = 768) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return h.write_safetensors(path, h.kohya(h.sd_layers(context)), {"modelspec.title": f"version {version}"})


def three(app: Application, tmp_path: Path) -> tuple[Path, list[bytes]]:
    """A model with three versions, the third in force: (its path, the bytes of each)."""
    sources = [lora(tmp_path / str(n) / "style.safetensors", n) for n in (1, 2, 3)]
    place = app.model_library.bring_in(sources[0])
    for number, source in enumerate(sources[1:], 2):
        app.model_library.versions.bring_in(source, app.model_library.find("style"), note=f"change {number}")
    return place, [source.read_bytes() for source in sources]


def title(app: Application) -> str:
    item = app.model_library.find("style")
    assert item.file is not None
    return item.file.title


def test_an_import_becomes_the_newest_version_and_the_old_one_is_kept(app: Application, tmp_path: Path) -> None:
    place, contents = three(app, tmp_path)
    history = app.model_library.versions.of(app.model_library.find("style"))
    assert history is not None
    assert (history.path, history.current) == (place, 3)
    assert [(v.number, v.note) for v in history.versions] == [(1, ""), (2, "change 2"), (3, "change 3")]
    assert [v.sha256 for v in history.versions] == [hashlib.sha256(data).hexdigest() for data in contents]
    assert history.versions[1].source == str(tmp_path / "2" / "style.safetensors")
    assert history.lost == frozenset()
    assert place.read_bytes() == contents[2]
    assert [item.path for item in app.model_library.list()] == [place]  # the others are no models of their own


def test_rolling_back_and_forth_keeps_every_byte(app: Application, tmp_path: Path) -> None:
    place, contents = three(app, tmp_path)
    for number in (1, 3, 2, 1, 1):
        history = app.model_library.versions.use(app.model_library.find("style"), number)
        assert history.current == number
        assert place.read_bytes() == contents[number - 1]
        assert title(app) == f"version {number}"
    assert app.models.refused() == []
    with pytest.raises(MissingModel, match=r"there is no version 7\. It has 1, 2, 3"):
        app.model_library.versions.use(app.model_library.find("style"), 7)


def test_tags_and_favourite_go_along(app: Application, tmp_path: Path) -> None:
    app.model_library.bring_in(lora(tmp_path / "1" / "style.safetensors", 1))
    app.model_library.note(app.model_library.find("style"), Note(("ink",), "at 0.7", True))
    source = lora(tmp_path / "2" / "style.safetensors", 2)
    app.model_library.versions.bring_in(source, app.model_library.find("style"), origin="https://a.example/style")
    note = app.model_library.find("style").note
    assert (note.tags, note.text, note.favourite, note.source) == (("ink",), "at 0.7", True, "https://a.example/style")


def test_diffusers_folders_have_versions_too(app: Application, tmp_path: Path) -> None:
    place = app.model_library.bring_in(STARTER)
    second = tmp_path / "starter_model"
    for source in (item for item in STARTER.rglob("*") if item.is_file()):
        target = second / source.relative_to(STARTER)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
    index = second / "model_index.json"
    index.write_text(index.read_text().replace("{", '{"note": "second",', 1))
    found = app.model_library.versions.same_named(second)
    assert found is not None
    assert found.path == place
    app.model_library.versions.bring_in(second, found)
    assert (place / "model_index.json").read_bytes() == index.read_bytes()
    app.model_library.versions.use(app.model_library.find(str(place)), 1)
    assert (place / "model_index.json").read_bytes() == (STARTER / "model_index.json").read_bytes()


def test_pickles_become_safetensors_as_versions_too(app: Application, tmp_path: Path) -> None:
    for number in (1, 2):
        folder = tmp_path / str(number)
        folder.mkdir()
        torch.save({"string_to_param": {"*": torch.full((2, 768), float(number))}}, folder / "cat.pt")
    place = app.model_library.bring_in(tmp_path / "1" / "cat.pt")
    found = app.model_library.versions.same_named(tmp_path / "2" / "cat.pt")
    assert found is not None
    history = app.model_library.versions.bring_in(tmp_path / "2" / "cat.pt", found)
    assert place.suffix == ".safetensors"
    assert history.versions[1].sha256 == hashlib.sha256(place.read_bytes()).hexdigest()


def test_what_can_not_take_its_place_is_refused(app: Application, tmp_path: Path) -> None:
    app.model_library.bring_in(lora(tmp_path / "1" / "style.safetensors", 1))
    listed = app.model_library.find("style")
    vae = h.write_safetensors(tmp_path / "style.safetensors", h.ldm_vae())
    assert app.model_library.versions.same_named(vae) is None
    with pytest.raises(InvalidRequest, match="A version has the kind"):
        app.model_library.versions.bring_in(vae, listed)
    elsewhere = tmp_path / "ComfyUI" / "loras" / "other.safetensors"
    lora(elsewhere, 1)
    app.settings.set("models.folders", [str(tmp_path / "ComfyUI")])
    with pytest.raises(InvalidRequest, match="only models in the studio's own folder"):
        app.model_library.versions.bring_in(
            lora(tmp_path / "2" / "other.safetensors", 2), app.model_library.find("other")
        )
    assert not (app.paths.models / ".versions").exists()


# --- crashes


class PowerCutError(BaseException):
    """The process is gone: nothing after it is run, not even what catches errors."""


@pytest.mark.parametrize("steps", range(3))
def test_a_crash_between_any_two_steps_loses_nothing(
    app: Application, tmp_path: Path, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0: nothing was moved yet; 1: one is aside and the other not in place; 2: both are, the record is missing."""
    place, contents = three(app, tmp_path)
    done = 0
    real = os.rename

    def rename(source: Path, target: Path) -> None:
        nonlocal done
        if done == steps:
            raise PowerCutError
        done += 1
        real(source, target)
        if steps == 2 and done == 2:
            raise PowerCutError

    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", rename)
        with pytest.raises(PowerCutError):
            app.model_library.versions.use(app.model_library.find("style"), 1)
    next_time = again(app)
    try:
        history = next_time.model_library.versions.of(next_time.model_library.find("style"))
        assert history is not None
        assert history.current == 1
        assert place.read_bytes() == contents[0]
        assert history.lost == frozenset()
        assert next_time.model_library.versions.use(next_time.model_library.find("style"), 3).current == 3
        assert place.read_bytes() == contents[2]
    finally:
        next_time.close()


def test_a_disk_that_refuses_leaves_the_old_version_in_force(
    app: Application, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, contents = three(app, tmp_path)
    done = 0
    real = os.rename

    def rename(source: Path, target: Path) -> None:
        nonlocal done
        done += 1
        if done == 2:
            raise PermissionError(13, "no", str(target))
        real(source, target)

    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(StorageError):
        app.model_library.versions.use(app.model_library.find("style"), 1)
    history = app.model_library.versions.of(app.model_library.find("style"))
    assert history is not None
    assert (history.current, history.lost) == (3, frozenset())
    assert place.read_bytes() == contents[2]


def test_half_an_import_is_no_version(app: Application, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, _ = three(app, tmp_path)

    def cut(*arguments: object, **options: object) -> None:
        raise PowerCutError

    listed = app.model_library.find("style")
    with monkeypatch.context() as patched:
        patched.setattr("studio_app.models.versions.sync_folder", cut)
        with pytest.raises(PowerCutError):
            app.model_library.versions.bring_in(lora(tmp_path / "4" / "style.safetensors", 4), listed)
    next_time = again(app)
    try:
        listed = next_time.model_library.find("style")
        history = next_time.model_library.versions.of(listed)
        assert history is not None
        assert [v.number for v in history.versions] == [1, 2, 3]
        history = next_time.model_library.versions.bring_in(lora(tmp_path / "5" / "style.safetensors", 5), listed)
        assert (history.current, title(next_time)) == (4, "version 5")
    finally:
        next_time.close()
    assert not list((place.parents[1] / ".versions").glob("*/*.part"))


@pytest.mark.parametrize("heard", [True, False])
def test_the_journal_brings_versions_back_without_the_database(app: Application, tmp_path: Path, heard: bool) -> None:
    """`heard` False: the last change never reached the journal; the files tell which version is in force."""
    place, contents = three(app, tmp_path)
    app.model_library.versions.note(app.model_library.find("style"), 2, " softer ")
    journal = (app.paths.data / "journal.jsonl").read_bytes()
    app.model_library.versions.use(app.model_library.find("style"), 1)
    app.close()
    for file in app.paths.data.glob("studio.db*"):
        file.unlink()
    if not heard:
        (app.paths.data / "journal.jsonl").write_bytes(journal)
    next_time = Application(app.paths.data)
    try:
        history = next_time.model_library.versions.of(next_time.model_library.find("style"))
        assert history is not None
        assert (history.path, history.current) == (place, 1)
        assert [v.note for v in history.versions] == ["", "softer", "change 3"]
        next_time.model_library.versions.use(next_time.model_library.find("style"), 2)
        assert place.read_bytes() == contents[1]
    finally:
        next_time.close()


# --- what a person does behind the studio's back


def test_versions_follow_a_renamed_model_and_wait_for_one_in_the_trash(app: Application, tmp_path: Path) -> None:
    place, contents = three(app, tmp_path)
    renamed = place.rename(place.with_name("ink.safetensors"))
    history = app.model_library.versions.of(app.model_library.find("ink"))
    assert history is not None
    assert (history.path, len(history.versions)) == (renamed, 3)
    trashed = app.model_library.remove(app.model_library.find("ink"))
    other = app.model_library.bring_in(lora(tmp_path / "9" / "ink.safetensors", 9))
    assert other == renamed
    assert app.model_library.versions.of(app.model_library.find("ink")) is None
    other.unlink()
    app.model_library.restore(trashed)
    assert app.model_library.versions.use(app.model_library.find("ink"), 2).current == 2
    assert renamed.read_bytes() == contents[1]


def test_a_file_put_in_its_place_by_hand_becomes_a_version(app: Application, tmp_path: Path) -> None:
    place, contents = three(app, tmp_path)
    place.write_bytes(lora(tmp_path / "4" / "style.safetensors", 4).read_bytes())
    history = app.model_library.versions.of(app.model_library.find("style"))
    assert history is not None
    assert (history.current, history.lost) == (4, frozenset({3}))
    assert history.versions[-1].note == "Put in the place of version 3 by hand."
    app.model_library.versions.use(app.model_library.find("style"), 1)
    assert place.read_bytes() == contents[0]
    assert app.model_library.versions.use(app.model_library.find("style"), 4).current == 4
    assert title(app) == "version 4"
    with pytest.raises(MissingModel, match="the file of version 3 is gone"):
        app.model_library.versions.use(app.model_library.find("style"), 3)


# --- the command line


def cli(capsys: pytest.CaptureFixture[str], data: Path, *arguments: str) -> tuple[int, Any]:
    code = main(["models", *arguments, "--json", "--data-dir", str(data)])
    return code, json.loads(capsys.readouterr().out)


def test_versions_from_the_command_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    data = tmp_path / "data"
    sources = [lora(tmp_path / str(n) / "style.safetensors", n) for n in (1, 2)]
    cli(capsys, data, "import", str(sources[0]))
    code, found = cli(capsys, data, "versions", "style")
    assert (code, found["current"], found["versions"]) == (0, 1, [])
    code, found = cli(capsys, data, "import", str(sources[1]), "--version-of", "style", "--note", "softer")
    assert (code, found["current"], [v["note"] for v in found["versions"]]) == (0, 2, ["", "softer"])
    code, found = cli(capsys, data, "rollback", "style", "1")
    assert (code, found["current"], Path(found["path"]).read_bytes()) == (0, 1, sources[0].read_bytes())
    code, found = cli(capsys, data, "versions", "style", "1", "--note", "the first")
    assert [(v["note"], v["current"], v["lost"]) for v in found["versions"]] == [
        ("the first", True, False), ("softer", False, False),
    ]  # fmt: skip
    code, found = cli(capsys, data, "rollback", "style", "9")
    assert (code, "no version 9" in found["error"]) == (3, True)
    code, found = cli(capsys, data, "rollback", "style")
    assert (code, "Give its number" in found["error"]) == (2, True)
    assert main(["models", "versions", "style", "--data-dir", str(data)]) == 0
    assert "in force" in capsys.readouterr().out


def test_tags_notes_and_favourites_from_the_command_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    data = tmp_path / "data"
    for name, context in (("style", 768), ("copy", 768), ("large", 2048)):
        cli(capsys, data, "import", str(lora(tmp_path / f"{name}.safetensors", 1, context)))
    code, found = cli(capsys, data, "tag", "style", "ink", "soft  light", "old")
    assert (code, found["tags"]) == (0, ["ink", "soft light", "old"])
    assert cli(capsys, data, "tag", "style", "old", "--off")[1]["tags"] == ["ink", "soft light"]
    assert cli(capsys, data, "note", "large", "good", "at", "0.7")[1]["text"] == "good at 0.7"
    assert cli(capsys, data, "favourite", "large")[1]["favourite"] is True
    listed = cli(capsys, data, "list", "--favourites")[1]
    assert ([item["name"] for item in listed["files"]], listed["models"]) == (["large"], [])
    files = {item["name"]: item for item in cli(capsys, data, "list", "--tag", "ink")[1]["files"]}
    assert set(files) == {"style", "copy"}  # tags belong to the content, and these two have the same
    assert files["style"]["duplicates"] == [files["copy"]["path"]]
    assert [item["name"] for item in cli(capsys, data, "list", "--base", "sdxl")[1]["files"]] == ["large"]
    wanted = ("kind", "family", "variant", "precision", "size_bytes", "licence", "trigger_words", "preview", "sha256")
    assert all(key in files["style"] for key in wanted)
    assert cli(capsys, data, "favourite", "large", "--off")[1]["favourite"] is False
    assert cli(capsys, data, "tag", "style", " ")[0] == 2
    assert main(["models", "--data-dir", str(data)]) == 0
    assert "#ink" in capsys.readouterr().out
