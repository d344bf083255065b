"""Paths, styles, prompts, models, commands, messages and the library's own doings."""

from __future__ import annotations

import shutil
import threading
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.contracts.errors import InvalidImage, InvalidRequest, MissingModel, UnknownChoice
from engine.contracts.references import ModelRef
from engine.interchange.image_metadata import read_metadata
from engine.media.images import decode, encode, probe
from engine.recipes.request import ImageRequest
from studio_app.application import Application
from studio_app.commands import MENUS, TABLE, Commands
from studio_app.diagnostics import examine
from studio_app.events import Signal
from studio_app.models.index import ModelEntry, ModelIndex
from studio_app.notifications import Notification, Notifications
from studio_app.paths import Paths
from studio_app.prompts.history import MAX_REMEMBERED, Prompts
from studio_app.styles import Style, Styles
from studio_app.version import VERSION
from tests.unit.studio_nodes import drawing, studio

ROOT = Path(__file__).resolve().parents[2]
RESOURCES = ROOT / "resources"
HOME = Path("/home/ada")


def starter() -> ModelEntry:
    found = ModelIndex(RESOURCES / "starter_model", list).starter()
    assert found is not None
    return found


def large_model() -> ModelEntry:
    """A model that reads ordinary language."""
    entry = starter()
    return replace(entry, info=replace(entry.info, vocabulary=()), starter=False)


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Application]:
    made = studio(tmp_path / "data")
    yield made
    made.close()


# --- paths


@pytest.mark.parametrize(
    ("platform", "environ", "data", "pictures"),
    [
        ("linux", {}, HOME / ".local/share/tessera-studio", HOME / "Pictures/Tessera Studio"),
        ("linux", {"XDG_DATA_HOME": "/d"}, Path("/d/tessera-studio"), HOME / "Pictures/Tessera Studio"),
        ("linux", {"XDG_DATA_HOME": "d"}, HOME / ".local/share/tessera-studio", HOME / "Pictures/Tessera Studio"),
        ("darwin", {}, HOME / "Library/Application Support/Tessera Studio", HOME / "Pictures/Tessera Studio"),
        ("win32", {"LOCALAPPDATA": "/app"}, Path("/app/Tessera Studio"), HOME / "Pictures/Tessera Studio"),
        ("linux", {"TESSERA_DATA": "/t"}, Path("/t"), Path("/t/pictures")),
    ],
)
def test_folders_follow_each_systems_custom(platform: str, environ: dict[str, str], data: Path, pictures: Path) -> None:
    paths = Paths.find(environ=environ, platform=platform, home=HOME)
    assert (paths.data, paths.pictures) == (data, pictures)
    assert paths.database.parent == data


def test_the_option_wins_over_the_variable(tmp_path: Path) -> None:
    assert Paths.find(tmp_path, environ={"TESSERA_DATA": "/t"}).data == tmp_path


# --- styles


def test_the_shipped_styles_have_the_words_of_the_requirements() -> None:
    styles = {s.id: s for s in Styles(RESOURCES / "styles.json", Path("none")).all()}
    assert styles["realistic"].prompt == "photorealistic, high detail, professional photography"
    assert styles["artistic"].prompt == "artistic, painterly, expressive, creative"
    assert styles["illustration"].prompt == "digital illustration, vector art, clean lines"
    assert styles["3d_render"].prompt == "3D render, octane render, detailed textures, professional lighting"
    assert len(styles) >= 10
    assert all(s.example and s.use and s.name for s in styles.values())


def test_a_style_the_model_cannot_honour_says_so_and_adds_nothing() -> None:
    style = Styles(RESOURCES / "styles.json", Path("none")).get("realistic")
    assert style.supported_by(starter()) == "none"
    assert "“Realistic”" in style.support_sentence(starter())
    assert style.text_for(starter()).prompt == ""
    assert style.supported_by(large_model()) == "full"
    assert style.support_sentence(large_model()) == ""
    assert style.text_for(large_model()).prompt == style.prompt


def test_a_person_can_add_styles_and_a_broken_file_costs_only_their_own(tmp_path: Path) -> None:
    own = tmp_path / "styles.json"
    styles = Styles(RESOURCES / "styles.json", own)
    shipped = len(styles.all())
    styles.add(Style(id="mine", name="Mine", prompt="by candlelight"))
    assert Styles(RESOURCES / "styles.json", own).get("mine").prompt == "by candlelight"
    with pytest.raises(InvalidRequest):
        styles.add(Style(id="x", name=" "))
    own.write_text("{")
    again = Styles(RESOURCES / "styles.json", own)
    assert len(again.all()) == shipped
    assert len(again.complaints) == 1
    with pytest.raises(UnknownChoice, match="Did you mean “artistic”"):
        again.get("artistc")


# --- prompts


def make_prompts(folder: Path) -> Prompts:
    return Prompts(folder / "prompts.json", RESOURCES / "insertions.json")


def test_recent_prompts_are_newest_first_once_each_and_kept(tmp_path: Path) -> None:
    prompts = make_prompts(tmp_path)
    for text in ("a red circle", "a blue star", "  A  red circle ", ""):
        prompts.remember(text)
    assert make_prompts(tmp_path).recent() == ["A  red circle", "a blue star"]
    for number in range(MAX_REMEMBERED + 5):
        prompts.remember(f"prompt {number}")
    assert len(make_prompts(tmp_path).recent(10_000)) == MAX_REMEMBERED
    prompts.forget("prompt 504")
    assert make_prompts(tmp_path).recent(1) == ["prompt 503"]
    prompts.clear()
    assert make_prompts(tmp_path).recent() == []


def test_suggestions_come_from_the_history_and_the_models_words(tmp_path: Path) -> None:
    prompts = make_prompts(tmp_path)
    prompts.remember("a red circle on a blue background")
    assert prompts.suggest("a red", starter())[0] == "a red circle on a blue background"
    words = prompts.suggest("a small tri", starter())
    assert words == ["a small triangle"]
    assert prompts.suggest("a photo, gol", large_model()) == ["a photo, golden hour"]
    assert prompts.suggest("", starter()) == ["a red circle on a blue background"]


def test_insertions_say_what_the_model_knows(tmp_path: Path) -> None:
    found = {i.text: i for i in make_prompts(tmp_path).insertions()}
    assert {"quality", "style", "lighting", "composition"} <= {i.group for i in found.values()}
    assert found["a red circle"].supported_by(starter()) == "full"
    assert found["golden hour"].supported_by(starter()) == "none"
    assert found["golden hour"].supported_by(large_model()) == "full"


def test_a_broken_history_is_kept_aside(tmp_path: Path) -> None:
    (tmp_path / "prompts.json").write_text("[")
    prompts = make_prompts(tmp_path)
    assert prompts.recent() == []
    assert len(prompts.complaints) == 1
    assert len(list(tmp_path.glob("prompts.json.broken-*"))) == 1


# --- models


def test_models_are_found_by_content_name_and_folder(tmp_path: Path) -> None:
    shutil.copytree(RESOURCES / "starter_model", tmp_path / "mine")
    (tmp_path / "mine" / "tessera.json").unlink()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "model_index.json").write_text("{")
    index = ModelIndex(RESOURCES / "starter_model", lambda: [tmp_path])
    assert [(e.name, e.starter) for e in index.list()] == [("starter", True), ("mine", False)]
    assert [r.path.name for r in index.refused()] == ["bad"]
    entry = starter()
    assert index.entry(ModelRef(name="renamed", fingerprint=entry.ref.fingerprint)).family == "sd15"
    assert index.find(str(tmp_path / "mine")).path == tmp_path / "mine"
    assert [(e.name, e.path.parent.name) for e in index.list("lora")] == [("starter-stripes", "starter_lora")]
    with pytest.raises(MissingModel, match="Did you mean “starter”"):
        index.locate(ModelRef(name="startr"))
    shutil.rmtree(tmp_path / "mine")
    index.refresh()
    assert [e.name for e in index.list()] == ["starter"]


def test_a_request_finds_its_model_and_leaves_out_what_it_cannot_do(app: Application) -> None:
    spec = app.jobs.spec_of(ImageRequest(prompt="a red circle", style="realistic", seed=1))
    assert spec.workflow.node("prompt").inputs["text"] == "a red circle"
    reference = spec.workflow.node("checkpoint").inputs["checkpoint"]
    assert isinstance(reference, ModelRef)
    assert reference.fingerprint == starter().ref.fingerprint
    with pytest.raises(MissingModel):
        app.jobs.spec_of(ImageRequest(prompt="a", model=ModelRef(name="none")))


# --- library


def test_pictures_are_brought_in_only_when_they_are_whole(app: Application, tmp_path: Path) -> None:
    data = encode(np.zeros((8, 9, 3), np.float32))
    (tmp_path / "a.png").write_bytes(data)
    ref = app.library.import_picture(tmp_path / "a.png")
    assert (ref.name, ref.media_type, ref.size) == ("a.png", "image/png", len(data))
    assert app.library.read(ref) == data
    assert app.library.path(ref).read_bytes() == data
    (tmp_path / "cut.png").write_bytes(data[: len(data) // 2])
    for bad in (tmp_path / "cut.png", tmp_path / "none.png", tmp_path, b"not a picture"):
        with pytest.raises(InvalidImage):
            app.library.import_picture(bad)
    assert list(app._store.blobs.all()) == [ref.sha256]


def test_saving_keeps_the_bytes_or_the_texts_in_another_format(app: Application, tmp_path: Path) -> None:
    row = app.jobs.wait(app.jobs.submit(drawing(3)), 60)
    record = app.library.get(row.results[0])
    assert app.library.save_as(record, tmp_path / "a.png").read_bytes() == app.library.read(record)
    webp = app.library.save_as(record, tmp_path / "b.webp").read_bytes()
    assert probe(webp).media_type == "image/webp"
    # Noise is what lossy files keep worst: their brightness stays, row by row.
    rows, true_rows = (decode(data).mean((1, 2)) for data in (webp, app.library.read(record)))
    assert np.abs(rows - true_rows).max() < 0.05
    assert read_metadata(webp).raw == read_metadata(app.library.read(record)).raw
    with pytest.raises(InvalidRequest, match=r"can't be saved as “\.bmp”"):
        app.library.save_as(record, tmp_path / "c.bmp")
    app.library.delete(record.id)
    assert app.library.recent() == []
    with pytest.raises(MissingModel):
        app.library.get(record.id)


# --- doors


def test_a_subscriber_that_fails_does_not_silence_the_others(caplog: pytest.LogCaptureFixture) -> None:
    signal: Signal[int] = Signal()
    heard: list[int] = []

    def broken(_value: int) -> None:
        raise RuntimeError("mine")

    signal.subscribe(broken)
    leave = signal.subscribe(heard.append)
    signal.emit(1)
    leave()
    leave()
    signal.emit(2)
    assert heard == [1]
    assert "a subscriber of int failed" in caplog.text


def test_messages_posted_on_any_thread_are_heard_and_kept() -> None:
    notifications = Notifications()
    heard: list[Notification] = []
    notifications.subscribe(heard.append)
    thread = threading.Thread(target=lambda: notifications.post("warning", "Look."))
    thread.start()
    thread.join()
    assert [(n.level, n.text) for n in heard] == [("warning", "Look.")]
    assert notifications.recent() == heard


def test_commands_run_what_is_bound_and_nothing_else() -> None:
    commands = Commands()
    done: list[str] = []
    assert commands.run("create.generate") is False
    leave = commands.bind("create.generate", lambda: done.append("first"))
    over = commands.bind("create.generate", lambda: done.append("second"))
    assert commands.run("create.generate") is True
    over()
    commands.run("create.generate")
    leave()
    assert not commands.is_bound("create.generate")
    assert done == ["second", "first"]
    assert commands.search("seed")[0].id in ("create.roll_seed", "create.lock_seed")
    with pytest.raises(UnknownChoice):
        commands.run("no.such")


def test_the_command_table_is_sound() -> None:
    ids = [c.id for c in TABLE]
    assert len(ids) == len(set(ids))
    for canvas in (True, False):  # the canvas answers its keys itself, so that it may have letters and Ctrl+S too
        shortcuts = [c.shortcut for c in TABLE if c.shortcut and c.id.startswith("graph.") is canvas]
        assert len(shortcuts) == len(set(shortcuts))
    assert {c.menu for c in TABLE} <= set(MENUS)
    assert all(c.help.endswith(".") for c in TABLE)


def test_the_version_stands_once() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == VERSION


def test_the_system_report_names_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    report = examine(Application(tmp_path / "file" / "data"))
    assert report.facts["Tessera Studio"] == VERSION
    assert report.facts["torch"].startswith("2.")
    assert any("can't be written" in problem for problem in report.problems)
    assert examine(Application(tmp_path / "data")).facts["Models"] == "starter"


def test_what_ships_beside_the_starter_model_has_names_of_its_own() -> None:
    index = ModelIndex(RESOURCES / "starter_model", list)
    assert [entry.name for entry in index.list("controlnet")] == ["starter-canny"]
    assert [entry.name for entry in index.list("lora")] == ["starter-stripes"]
    for own, place in (
        (index.list("controlnet")[0], "starter_controlnet"),
        (index.list("lora")[0], "starter_lora/starter-stripes.safetensors"),
    ):
        assert own.path == RESOURCES / place
        for name in (own.name, "starter"):  # by its own name and by the starter's
            assert index.locate(replace(own.ref, name=name, fingerprint="")) == own.path
    with pytest.raises(MissingModel):
        index.locate(ModelRef(kind="vae", name="starter"))
