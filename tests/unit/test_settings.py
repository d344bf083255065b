"""Settings: one table, checked values, an atomic file, and nothing lost when the file is broken."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.contracts.errors import BadInput, StorageError, UnknownChoice
from studio_app.settings.page import settings_page
from studio_app.settings.store import Settings
from studio_app.settings.table import GROUPS, TABLE

ROOT = Path(__file__).resolve().parents[2]


def test_values_come_back_and_only_changes_are_written(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "settings.json"
    settings = Settings(file)
    assert settings.get("ui.theme") == "system"
    assert not file.exists()
    settings.set("ui.theme", "dark")
    settings.set("ui.scale", 2)
    assert json.loads(file.read_text())["values"] == {"ui.scale": 2.0, "ui.theme": "dark"}
    assert Settings(file).get("ui.scale") == 2.0
    settings.reset("ui.theme")
    assert Settings(file).changed() == {"ui.scale": 2.0}


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("ui.theme", "pink", "Setting ui.theme: there is no choice “pink”. Use one of: system, dark, light"),
        ("ui.scale", 9, "Setting ui.scale: 9 is out of range. Use 0.75 to 3."),
        ("ui.scale", float("nan"), "Setting ui.scale: nan is out of range. Use 0.75 to 3."),
        ("network.offline", 1, "Setting network.offline: expected true or false, found the number 1."),
        ("engine.cache_mib", True, "Setting engine.cache_mib: expected a whole number, found true."),
        ("create.last_request", {"a": {1, 2}}, "Setting create.last_request: expected plain JSON values, found a set."),
        ("no.such", 1, "There is no setting “no.such”."),
    ],
)
def test_a_wrong_value_is_refused_and_nothing_changes(tmp_path: Path, key: str, value: object, sentence: str) -> None:
    settings = Settings(tmp_path / "s.json")
    with pytest.raises(BadInput) as refused:
        settings.set(key, value)
    assert str(refused.value).startswith(sentence)
    assert not (tmp_path / "s.json").exists()


def test_subscribers_hear_changes_once_and_until_they_leave(tmp_path: Path) -> None:
    settings = Settings(tmp_path / "s.json")
    heard: list[object] = []
    leave = settings.subscribe("ui.scale", heard.append)
    settings.set("ui.scale", 1.5)
    settings.set("ui.scale", 1.5)
    settings.set("ui.theme", "dark")
    leave()
    settings.set("ui.scale", 1.0)
    assert heard == [1.5]
    with pytest.raises(UnknownChoice):
        settings.subscribe("nothing", heard.append)


def test_a_broken_file_is_kept_aside_and_said(tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    file.write_text('{"values": {"ui.theme": "da')
    settings = Settings(file)
    assert settings.get("ui.theme") == "system"
    (kept,) = tmp_path.glob("settings.json.broken-*")
    assert kept.read_text() == '{"values": {"ui.theme": "da'
    assert len(settings.complaints) == 1
    assert kept.name in settings.complaints[0]
    settings.set("ui.theme", "light")
    assert Settings(file).get("ui.theme") == "light"


def test_one_bad_value_costs_only_itself_and_unknown_keys_survive(tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    values = {"ui.theme": "dark", "ui.scale": "large", "future.thing": [1]}
    file.write_text(json.dumps({"format": "tessera.settings", "version": 1, "values": values}))
    settings = Settings(file)
    assert (settings.get("ui.theme"), settings.get("ui.scale")) == ("dark", 1.0)
    assert settings.complaints == ["Setting ui.scale: expected a number, found the text “large”. Its default holds."]
    settings.set("ui.theme", "light")
    assert json.loads(file.read_text())["values"]["future.thing"] == [1]


def test_json_settings_are_copies(tmp_path: Path) -> None:
    settings = Settings(tmp_path / "s.json")
    value = {"prompt": "a", "list": [1]}
    settings.set("create.last_request", value)
    value["prompt"] = "changed"
    settings.get("create.last_request")["list"].append(2)
    assert settings.get("create.last_request") == {"prompt": "a", "list": [1]}


def test_a_value_that_cannot_be_written_still_holds_for_the_session(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    settings = Settings(tmp_path / "file" / "settings.json")
    with pytest.raises(StorageError) as refused:
        settings.set("ui.theme", "dark")
    assert str(refused.value).startswith("Settings can't be saved:")
    assert settings.get("ui.theme") == "dark"


def test_every_default_is_valid_and_every_group_has_a_name() -> None:
    assert all(entry.check(entry.default) == entry.default for entry in TABLE)
    assert {entry.group for entry in TABLE} == {group for group, _ in GROUPS}
    assert all(entry.help.endswith(".") for entry in TABLE)


def test_the_page_in_the_docs_is_the_table() -> None:
    assert (ROOT / "docs" / "settings.md").read_text(encoding="utf-8") == settings_page()
