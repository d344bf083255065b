"""The Models page as a person meets it: searching, marking, noting, importing, going back, removing, fetching."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import QMimeData, QPointF, QRectF, Qt, QUrl
from PySide6.QtGui import QDropEvent, QGuiApplication, QPainter
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QAbstractButton, QComboBox, QLabel, QLineEdit, QListView, QPlainTextEdit, QWidget
from pytestqt.qtbot import QtBot

from engine.contracts.references import ModelRef
from studio_app.application import Application
from studio_app.diagnostics import examine
from studio_app.models.library import Listed
from tests.benchmarks.model_index import make_files
from tests.benchmarks.tiny_models import STARTER
from tests.gui.create_room import click, press, until, write
from tests.gui.models_room import fill, lora, models_page, picture
from tests.unit.download_room import HOST, House, open_house
from ui import appearance
from ui.create.workspace import CreateWorkspace
from ui.dialogs.network_ledger import LedgerTable
from ui.dialogs.preferences import Preferences
from ui.main_window import open_window
from ui.models.cards_model import Filter
from ui.models.cards_view import GAP
from ui.models.incoming import Rate
from ui.models.side import FolderRow
from ui.models.workspace import ModelsWorkspace
from ui.widgets.basics import Button


@pytest.fixture
def page(tmp_path: Path, qtbot: QtBot) -> Iterator[ModelsWorkspace]:
    """A page over nine files, and the three that come with the studio."""
    models = tmp_path / "data" / "models"
    models.mkdir(parents=True)
    fill(models)
    with models_page(tmp_path / "data", qtbot) as made:
        until(qtbot, lambda: made.cards.rowCount() == 12)
        yield made


@pytest.fixture
def empty_page(tmp_path: Path, qtbot: QtBot) -> Iterator[ModelsWorkspace]:
    with models_page(tmp_path / "data", qtbot) as made:
        until(qtbot, lambda: made.empty.isVisible() and made.cards.rowCount() == 3 and made.side._folders.count() == 1)
        yield made


@pytest.fixture
def house() -> Iterator[House]:
    with open_house() as made:
        yield made


def names(page: ModelsWorkspace) -> list[str]:
    """Of the person's own models, which stand before those that come with the studio."""
    items = [page.cards.item(row) for row in range(page.cards.rowCount())]
    return [item.name for item in items if item is not None and not item.built_in]


def shown(page: ModelsWorkspace) -> Listed:
    assert page.details.item is not None
    return page.details.item


def choose(page: ModelsWorkspace, qtbot: QtBot, name: str) -> Listed:
    """Click a card and wait for everything known of it."""
    row = names(page).index(name)
    page.grid.scrollTo(page.cards.index(row))
    click(page.grid.viewport(), place=page.grid.visualRect(page.cards.index(row)).center())
    until(qtbot, lambda: page.details.item is not None and page.details.item.name == name)
    return shown(page)


def drop(page: QWidget, *paths: Path) -> None:
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
    event = QDropEvent(
        QPointF(50, 50), Qt.DropAction.CopyAction, data, Qt.MouseButton.LeftButton, Qt.KeyboardModifier(0)
    )
    page.dropEvent(event)


# --- finding


def test_shelves_search_and_bases_show_what_fits(page: ModelsWorkspace, qtbot: QtBot) -> None:
    shelves = [page.side.shelves.item(row).text() for row in range(page.side.shelves.count())]
    assert shelves == [
        "All models", "Favourites", "Checkpoints", "LoRAs", "ControlNets", "VAEs", "Upscalers", "Refused",
    ]  # fmt: skip
    write(page.side.search, "XUAN")  # a trigger word
    assert names(page) == ["ink wash landscapes"]
    assert page.heading.text() == "1 of 12 models"
    page.side.search.clear()
    page.side.shelves.setFocus()
    for _ in range(3):
        press(page.side.shelves, Qt.Key.Key_Down)
    assert len(names(page)) == 6
    bases = [page.side.base.itemText(row) for row in range(page.side.base.count())]
    assert bases == ["All", "SD 1.5", "SDXL", "SD 2"]
    page.side.base.setFocus()
    press(page.side.base, Qt.Key.Key_Down)
    press(page.side.base, Qt.Key.Key_Down)
    assert names(page) == ["ink wash landscapes", "isometric rooms"]
    write(page.side.search, "nothing of the kind")
    assert page._stack.currentWidget() is page.nothing
    click(page.nothing.button)
    assert len(names(page)) == 9


def test_every_control_has_a_name_and_no_card_is_silent(page: ModelsWorkspace, qtbot: QtBot) -> None:
    choose(page, qtbot, "paper cut")
    controls: list[QWidget] = []
    for kind in (QAbstractButton, QComboBox, QLineEdit, QPlainTextEdit, QListView):
        controls += [w for w in page.findChildren(kind) if w.isVisible() and w.objectName() != "qt_scrollarea_viewport"]
    inner = ("_q_qlineeditclearaction",)
    for control in (c for c in controls if c.objectName() not in inner and not isinstance(c.parent(), QLineEdit)):
        assert control.accessibleName(), control
        assert control.focusPolicy() & Qt.FocusPolicy.TabFocus, control.accessibleName()
    said = page.cards.index(names(page).index("paper cut")).data(Qt.ItemDataRole.AccessibleTextRole)
    assert said == "paper cut: LoRA · SD 1.5, fp16 · 145 KB · cc-by-4.0."
    refused = page.cards.index(names(page).index("evil")).data(Qt.ItemDataRole.AccessibleTextRole)
    assert "os.system" in refused


def test_ten_thousand_cards_are_laid_out_by_need(tmp_path: Path, qtbot: QtBot) -> None:
    """The list is made on a worker, the cards are painted when they come into view: no card has a widget."""
    make_files(tmp_path / "data" / "models", 2000)
    with models_page(tmp_path / "data", qtbot, started=False) as page:
        until(qtbot, lambda: page.cards.rowCount() == 2003, 60)
        painted: list[int] = []
        real = page.grid.cards._paint_words

        def counting(painter: QPainter, frame: QRectF, picture: QRectF, item: Listed) -> None:
            painted.append(1)
            real(painter, frame, picture, item)

        page.grid.cards._paint_words = counting  # type: ignore[method-assign]
        page.grid.scrollToBottom()
        page.grid.viewport().repaint()
        assert 0 < len(painted) < 60
        assert len(page.grid.findChildren(QWidget)) < 10
        write(page.side.search, "style 1999")
        assert names(page) == ["lora-01999"]


# --- one model


def test_a_card_tells_everything_about_its_model(page: ModelsWorkspace, qtbot: QtBot) -> None:
    choose(page, qtbot, "paper cut")
    until(qtbot, lambda: not page.details.picture._pixmap.isNull())
    assert page.details.words.text() == "LoRA for SD 1.5 (kohya, fp16)"
    said = [label.accessibleName() for label in page.details.findChildren(QWidget)]
    assert "Licence: cc-by-4.0" in said
    assert "Base: SD 1.5" in said
    copy = next(b for b in page.details.findChildren(Button) if b.text().endswith("paper cut copy.safetensors"))
    click(copy)
    assert shown(page).name == "paper cut copy"

    def words() -> list[QAbstractButton]:
        return [button for button in page.details._triggers.findChildren(QAbstractButton) if button.isVisible()]

    until(qtbot, lambda: [button.text() for button in words()] == ["papercut style", "layered", "Copy all"])
    click(words()[2])
    assert QGuiApplication.clipboard().text() == "papercut style, layered"


def test_tags_notes_and_stars_are_kept(page: ModelsWorkspace, qtbot: QtBot) -> None:
    library = page._app.model_library
    choose(page, qtbot, "isometric rooms")
    page.details.tags.setFocus()
    write(page.details.tags, "rooms,  small  rooms ,")
    press(page.details.tags, Qt.Key.Key_Return)
    until(qtbot, lambda: library.find("isometric rooms").note.tags == ("rooms", "small rooms"))
    page.details.note.setFocus()
    write(page.details.note, "at 0.8")
    choose(page, qtbot, "soft film portrait")  # leaving keeps what was written
    until(qtbot, lambda: library.find("isometric rooms").note.text == "at 0.8")
    until(qtbot, lambda: "soft film portrait" in names(page))
    page.grid.setFocus()
    press(page.grid, Qt.Key.Key_F)
    until(qtbot, lambda: names(page)[0] == "soft film portrait")
    assert page.cards.counts()["favourites"] == 1
    index = page.cards.index(names(page).index("paper cut"))
    page.grid.scrollTo(index)
    frame = QRectF(page.grid.visualRect(index)).adjusted(GAP / 2, GAP / 2, -GAP / 2, -GAP / 2)
    star = page.grid.cards.star_rect(frame).center()
    click(page.grid.viewport(), place=star)
    until(qtbot, lambda: names(page)[:2] == ["paper cut", "paper cut copy"])  # equal content, equal marks


def test_a_preview_is_chosen_by_dropping_a_picture(page: ModelsWorkspace, qtbot: QtBot, tmp_path: Path) -> None:
    item = choose(page, qtbot, "isometric rooms")
    assert item.file is not None
    drop(page.details.picture, picture(tmp_path / "room.png", 7))
    until(qtbot, lambda: item.file is not None and item.file.fingerprint in page.cards.chosen_pictures)
    until(qtbot, lambda: not page.details.picture._pixmap.isNull())
    assert not (item.path.parent / "isometric rooms.preview.png").exists()  # the model's folder stays as it was
    page.acts.set_picture(item, "none")
    until(qtbot, lambda: not page.cards.chosen_pictures)


def test_using_a_model_tells_create(page: ModelsWorkspace, qtbot: QtBot, tmp_path: Path) -> None:
    choose(page, qtbot, "ink wash landscapes")
    with qtbot.waitSignal(page.words_wanted) as said:
        click(page.details.use)
    assert said.args == ["<lora:ink wash landscapes:1>, ink wash, xuan paper"]
    index = page.cards.index(names(page).index("4x crisp"))
    assert page.cards.mimeData([index]).text() == "4x crisp.safetensors"
    drop(page, STARTER)
    until(qtbot, lambda: page.arrivals._rows)
    click(page.arrivals.go)
    until(qtbot, lambda: "starter_model" in names(page), 60)
    until(qtbot, lambda: shown(page).name == "starter_model" and page.details.use.isVisible())
    with qtbot.waitSignal(page.model_wanted) as chosen:
        click(page.details.use)
    assert chosen.args is not None
    assert isinstance(chosen.args[0], ModelRef)


def test_a_removed_model_comes_back(page: ModelsWorkspace, qtbot: QtBot) -> None:
    item = choose(page, qtbot, "paper cut")
    press(page.grid, Qt.Key.Key_Delete)
    until(qtbot, lambda: "paper cut" not in names(page))
    assert not item.path.exists()
    message = page._app.notifications.recent()[-1]
    assert message.action is not None
    page._app.commands.run(message.action.command)
    until(qtbot, lambda: "paper cut" in names(page))
    assert item.path.exists()
    until(qtbot, lambda: shown(page).path == item.path)


# --- versions


def test_an_import_becomes_a_version_and_the_old_one_comes_back(
    page: ModelsWorkspace, qtbot: QtBot, tmp_path: Path
) -> None:
    new = lora(tmp_path / "in" / "paper cut.safetensors", words="papercut two")
    drop(page, new)
    until(qtbot, lambda: page.arrivals._rows)
    assert page.arrivals.title.text() == "1 new model"
    version = page.arrivals._rows[0].as_version
    assert version is not None
    assert version.isChecked()
    assert version.text() == "New version of “paper cut”"
    click(page.arrivals.go)
    until(qtbot, lambda: len(page.details.versions.rows) == 2)
    assert shown(page).path.read_bytes() == new.read_bytes()
    newest = page.details.versions.rows[0]
    newest.note.setFocus()
    write(newest.note, "softer")
    press(newest.note, Qt.Key.Key_Return)
    page.grid.setFocus()
    old = page.details.versions.rows[1].use
    page.details._area.ensureWidgetVisible(old)
    click(old)
    until(qtbot, lambda: shown(page).path.read_bytes() != new.read_bytes())
    history = page._app.model_library.versions.of(page._app.model_library.find(str(shown(page).path)))
    assert history is not None
    assert (history.current, [v.note for v in history.versions]) == (1, ["", "softer"])


# --- bringing in


def test_what_is_dropped_is_told_before_it_is_imported(page: ModelsWorkspace, qtbot: QtBot, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    lora(folder / "new one.safetensors", 2048, words="n", licence="cc0")
    (folder / "again.safetensors").write_bytes((page._app.paths.models / "loras/paper cut.safetensors").read_bytes())
    (folder / "evil.ckpt").write_bytes((page._app.paths.models / "evil.ckpt").read_bytes())
    drop(page, folder)
    until(qtbot, lambda: page.arrivals._rows)
    assert page.arrivals.title.text() == "1 new model, 1 that you have, 1 refused"
    said = [row.accessibleName() for row in page.arrivals._rows]
    assert "Licence: cc0." in said[0]
    assert "You have it already" in said[1]
    assert "os.system" in said[2]
    assert page.arrivals.go.text() == "Import"
    again = page.arrivals._rows[1].copy_too
    assert again is not None
    click(again)
    assert page.arrivals.go.text() == "Import 2"
    click(again)
    click(page.arrivals.go)
    until(qtbot, lambda: "new one" in names(page))
    until(qtbot, lambda: shown(page).name == "new one")
    assert len(names(page)) == 10
    assert not page.arrivals.isVisible()


def test_a_dropped_file_that_is_refused_changes_nothing(
    empty_page: ModelsWorkspace, qtbot: QtBot, tmp_path: Path
) -> None:
    (tmp_path / "bad.safetensors").write_bytes(b"\xff" * 20)
    drop(empty_page, tmp_path / "bad.safetensors")
    until(qtbot, lambda: empty_page.arrivals._rows)
    assert not empty_page.arrivals.go.isVisible()
    click(empty_page.arrivals.cancel)
    assert not empty_page.arrivals.isVisible()
    assert list(empty_page._app.paths.models.rglob("*.safetensors")) == []


def test_folders_are_added_and_taken_out(empty_page: ModelsWorkspace, qtbot: QtBot, tmp_path: Path) -> None:
    comfy = tmp_path / "ComfyUI"
    lora(comfy / "models" / "loras" / "theirs.safetensors")
    (comfy / "models" / "checkpoints").mkdir()
    empty_page.ways.add_folder(str(comfy))
    until(qtbot, lambda: names(empty_page) == ["theirs"])
    until(qtbot, lambda: empty_page.side._folders.count() == 2)
    # By the layout: rows that are on their way out are still children for a moment.
    rows = [empty_page.side._folders.itemAt(place) for place in range(2)]
    own, theirs = (row.widget() for row in rows if row is not None)
    assert isinstance(own, FolderRow)
    assert isinstance(theirs, FolderRow)
    assert not own.findChildren(QAbstractButton)
    click(theirs.button)
    until(qtbot, lambda: names(empty_page) == [])
    assert (comfy / "models" / "loras" / "theirs.safetensors").exists()
    assert empty_page._app.settings.get("models.folders") == []


# --- what comes with the studio


def test_the_starter_is_listed_with_what_it_can_draw_and_stays(empty_page: ModelsWorkspace, qtbot: QtBot) -> None:
    page = empty_page
    cards = [item for row in range(3) if (item := page.cards.item(row)) is not None]
    assert [(item.name, item.file.kind if item.file else "") for item in cards] == [
        ("starter", "checkpoint"), ("starter-canny", "controlnet"), ("starter-stripes", "lora"),
    ]  # fmt: skip
    assert page.empty.isVisible()  # how one's own come in is said beside them
    assert page.heading.text() == "3 models"
    for row, item in enumerate(cards):
        about = item.file
        assert about is not None
        assert (about.family, about.licence.lower()) == ("sd15", "apache-2.0")
        click(page.grid.viewport(), place=page.grid.visualRect(page.cards.index(row)).center())
        until(qtbot, lambda item=item: page.details.item == item)  # type: ignore[misc]
        texts = [action.text() for action in page.details.menu.actions()]
        assert "Preview from a file…" in texts
        assert "Move to the trash" not in texts
        facts = {label.accessibleName() for label in page.details.findChildren(QLabel)}
        assert "Source: it came with the studio, and can't be deleted" in facts
        press(page.grid, Qt.Key.Key_Delete)
        until(qtbot, lambda item=item: f"“{item.name}” comes with the studio" in str(page._app.notifications.recent()))  # type: ignore[misc]
        assert item.path.exists()
    assert page._app.model_library.trashed() == []
    choose_row = page.cards.index(0)
    page.grid.setCurrentIndex(choose_row)
    until(qtbot, lambda: page.details.item is not None and page.details.item.name == "starter")
    facts = {label.accessibleName() for label in page.details.findChildren(QLabel)}
    assert "Base: SD 1.5" in facts
    assert "Licence: Apache-2.0" in facts
    assert "Draws: simple shapes and landscapes at 128×128" in facts
    assert any(fact.startswith("For example: a red circle on a blue background;") for fact in facts)
    with qtbot.waitSignal(page.model_wanted) as used:
        press(page.grid, Qt.Key.Key_Return)
    assert used.args[0].name == "starter"


# --- by address


def test_a_model_is_fetched_by_its_address(
    empty_page: ModelsWorkspace, qtbot: QtBot, tmp_path: Path, house: House
) -> None:
    page = empty_page
    page._app.settings.set("network.trusted_hosts", [HOST])
    body = house.files["/style.safetensors"] = lora(tmp_path / "style.safetensors").read_bytes()
    house.cut_after = 60_000
    page.downloads.field.setFocus()
    write(page.downloads.field, house.url("/style.safetensors"))
    press(page.downloads.field, Qt.Key.Key_Return)
    until(qtbot, lambda: [r.download.state for r in page.downloads._rows.values()] == ["failed"])
    (row,) = page.downloads._rows.values()
    assert row.why.isVisible()
    assert "58.6 KB of 145 KB are here" in row.words.text()
    house.cut_after = None
    assert row.main.text() == "Go on"
    click(row.main)
    until(qtbot, lambda: names(page) == ["style"])
    assert house.asked[-1][2]["Range"] == "bytes=60000-"
    assert (page._app.paths.models / "loras" / "style.safetensors").read_bytes() == body
    until(qtbot, lambda: page.details.item is not None)
    assert shown(page).note.source == house.url("/style.safetensors")


def test_a_model_that_is_not_what_it_should_be_is_not_kept(
    empty_page: ModelsWorkspace, qtbot: QtBot, tmp_path: Path, house: House
) -> None:
    page = empty_page
    page._app.settings.set("network.trusted_hosts", [HOST])
    body = house.files["/style.safetensors"] = lora(tmp_path / "style.safetensors").read_bytes()
    panel = page.downloads
    write(panel.field, house.url("/style.safetensors"))
    write(panel.sha256, "not a hash")
    press(panel.sha256, Qt.Key.Key_Return)
    assert panel.problem.text() == "A sha256 has 64 digits from 0 to 9 and a to f."
    assert house.asked == []
    panel.sha256.clear()
    write(panel.sha256, "ab" * 32)
    press(panel.sha256, Qt.Key.Key_Return)
    until(qtbot, lambda: [r.download.state for r in panel._rows.values()] == ["failed"])
    (row,) = panel._rows.values()
    assert row.why.text() == (
        f"style.safetensors: its sha256 is {hashlib.sha256(body).hexdigest()[:12]}… and should be abababababab… "
        "It was not kept; fetch it again, or from another place."
    )
    assert [path for path in page._app.paths.models.rglob("*") if path.is_file()] == []
    assert (panel.field.text(), panel.sha256.text()) == ("", "")
    click(row.main)  # once more, still with what was asked for
    until(qtbot, lambda: len(house.asked) == 2 and row.download.state == "failed")
    assert [path for path in page._app.paths.models.rglob("*") if path.is_file()] == []
    write(panel.field, house.url("/style.safetensors"))
    write(panel.sha256, hashlib.sha256(body).hexdigest().upper())
    click(panel.fetch)
    until(qtbot, lambda: names(page) == ["style"])


def test_a_download_that_goes_on_another_day_keeps_its_sha256(tmp_path: Path, qtbot: QtBot, house: House) -> None:
    body = house.files["/m.safetensors"] = lora(tmp_path / "m.safetensors").read_bytes()
    incoming = tmp_path / "data" / "models" / ".incoming"
    incoming.mkdir(parents=True)
    address = house.url("/m.safetensors")
    key = hashlib.sha256(address.encode()).hexdigest()[:16]
    (incoming / f"{key}.part").write_bytes(body[:1000])
    note = {"page": address, "url": address, "name": "m.safetensors", "size": len(body), "sha256": "cd" * 32,
            "etag": "", "asked": "cd" * 32}  # fmt: skip
    (incoming / f"{key}.json").write_text(json.dumps(note))
    with models_page(tmp_path / "data", qtbot) as page:
        page._app.settings.set("network.trusted_hosts", [HOST])
        until(qtbot, lambda: page.downloads._rows)
        (row,) = page.downloads._rows.values()
        click(row.main)
        until(qtbot, lambda: row.download.state == "failed")
        assert "should be cdcdcdcdcdcd…" in row.why.text()
        assert list(incoming.iterdir()) == []


def test_unfinished_downloads_of_an_earlier_day_are_listed_and_forgotten(tmp_path: Path, qtbot: QtBot) -> None:
    incoming = tmp_path / "data" / "models" / ".incoming"
    incoming.mkdir(parents=True)
    key = "0123456789abcdef"
    (incoming / f"{key}.part").write_bytes(b"x" * 1000)
    (incoming / f"{key}.json").write_text(
        '{"page": "https://a.example/m.safetensors", "url": "https://a.example/m.safetensors",'
        ' "name": "m.safetensors", "size": 4000, "sha256": "", "etag": ""}'
    )
    with models_page(tmp_path / "data", qtbot) as page:
        until(qtbot, lambda: page.downloads._rows)
        (row,) = page.downloads._rows.values()
        assert (row.name.text(), row.bar.value()) == ("m.safetensors", 250)
        click(row.cross)
        until(qtbot, lambda: not list(incoming.iterdir()))
        assert not page.downloads.list.isVisible()


def test_offline_nothing_is_fetched_and_it_says_so(empty_page: ModelsWorkspace, qtbot: QtBot, house: House) -> None:
    page = empty_page
    page._app.settings.set("network.offline", True)
    until(qtbot, lambda: page.downloads.offline.isVisible())
    write(page.downloads.field, house.url("/style.safetensors"))
    press(page.downloads.field, Qt.Key.Key_Return)
    assert not page.downloads.fetch.isEnabled()
    assert house.asked == []
    click(page.downloads.online)
    until(qtbot, lambda: page.downloads.fetch.isEnabled())
    assert page._app.settings.get("network.offline") is False


def test_speed_is_that_of_the_last_seconds() -> None:
    rate = Rate()
    assert rate.add(0, 0.0) == 0
    assert rate.add(1000, 1.0) == 1000
    for second in range(2, 30):
        speed = rate.add(1000 + 500 * (second - 1), float(second))
    assert speed == 500


def test_a_narrow_window_keeps_everything_in_reach(page: ModelsWorkspace, qtbot: QtBot) -> None:
    choose(page, qtbot, "paper cut")
    page.resize(700, 700)
    assert not page.details.isVisible()
    click(page.details_button)
    assert page.details.isVisible()
    assert not page.grid.isVisible()
    click(page.back)
    assert page.grid.isVisible()
    page.resize(420, 700)
    assert not page.side.isVisible()
    click(page.shelves_button)
    assert page.side.isVisible()
    click(page.side.shelves.viewport(), place=page.side.shelves.visualItemRect(page.side.shelves.item(3)).center())
    assert page.grid.isVisible()
    assert page.cards.filter == Filter(kind="lora")
    page.resize(1300, 800)
    assert page.side.isVisible()
    assert page.details.isVisible()


# --- the ledger


def test_the_settings_show_what_left_this_machine(tmp_path: Path, qtbot: QtBot, house: House) -> None:
    app = Application(tmp_path / "data")
    appearance.apply(app)
    window = QWidget()
    qtbot.addWidget(window)
    settings = Preferences(app, window)
    settings.show()
    titles = [settings.groups.item(row).text() for row in range(settings.groups.count())]
    settings.groups.setCurrentRow(titles.index("Network"))
    table = settings.findChild(LedgerTable)
    assert isinstance(table, LedgerTable)
    assert table.note.text() == "Nothing has left this machine yet."
    assert examine(app).facts["Network"] == "only what you ask for"
    app.settings.set("network.trusted_hosts", [HOST])
    house.files["/a"] = b"x" * 2048
    with app.network.ask(house.url("/a?token=secret"), purpose="fetch a model") as answer:
        answer.body()
    click(table.again)
    cells = [cell for column in range(1, 5) if (cell := table.table.item(0, column)) is not None]
    assert [cell.text() for cell in cells] == ["fetch a model", HOST, "2.0 KB", "200"]
    assert "secret" not in cells[0].toolTip()
    app.settings.set("network.offline", True)
    assert examine(app).facts["Network"].startswith("offline: nothing leaves this machine; 1 request,")
    settings.close()
    app.close()


# --- in the window


def test_the_key_opens_the_page_and_what_is_used_goes_to_create(tmp_path: Path, qtbot: QtBot) -> None:
    app = Application(tmp_path / "data")
    app.settings.set("ui.welcomed", True)
    app.settings.set("engine.warm_up", False)
    lora(app.paths.models / "ink.safetensors", words="ink wash")
    appearance.apply(app)
    window = open_window(app)
    try:
        window.activateWindow()
        until(qtbot, window.isActiveWindow)
        QTest.keyClick(window, Qt.Key.Key_5, Qt.KeyboardModifier.ControlModifier)
        page = window.page
        assert isinstance(page, ModelsWorkspace)
        assert not window.notice.isVisible()  # it is about Create's model
        until(qtbot, lambda: names(page) == ["ink"])
        choose(page, qtbot, "ink")
        page.grid.setFocus()
        press(page.grid, Qt.Key.Key_Return)
        create = window.page
        assert isinstance(create, CreateWorkspace)
        assert create.session.request.prompt == "<lora:ink:1>, ink wash"
        starter = app.models.starter()
        assert starter is not None
        page.model_wanted.emit(starter.ref)
        assert create.model() == starter.ref
    finally:
        window.close()
        window.deleteLater()
        app.close()
        qtbot.wait(1)
