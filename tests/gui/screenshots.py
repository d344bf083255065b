"""Drives the real window with the real starter model and keeps pictures of it in docs/screenshots.

    python -m tests.gui.screenshots [--out FOLDER] [--scenes first_run,results,…]

Each scene is kept in the dark and the light theme, at 1440 × 900 and at twice the pixels; the second ratio runs in a
process of its own, because Qt takes the ratio once, at start. Not a test: it judges nothing, a person looks.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tests.gui.enlarge_scenes import enlarge_scenes
from tests.gui.graph_scenes import graph_scenes
from tests.gui.memory_scenes import memory_scenes

if TYPE_CHECKING:
    from PySide6.QtGui import QImage
    from PySide6.QtWidgets import QWidget

ROOT = Path(__file__).resolve().parents[2]
RATIOS = (1, 2)
THEMES = ("dark", "light")
SCREEN = (3840, 2400)
PATIENCE_MS = 240_000
MOST_BYTES = 200_000
LONG_PROMPT = (
    "a large yellow star above a small green house on a hill under a purple night sky with a white moon, two clouds, "
    "a boat on a blue sea at the left, snow on the mountains at the right, all of it painted with great patience and "
    "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft in the foreground"
)

GRAMMAR_PROMPT = (
    "a (red:1.4) circle and a ((bright)) star on a [dull] {blue|green} background, [fog:snow:0.5] [day|night]\n"
    "BREAK (very (large:1.3) moon) <lora:starter-stripe:0.8> \\(x\\) AND a __colour__ square ("
)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "screenshots")
    parser.add_argument("--scenes", default="", help="only these, separated by commas")
    parser.add_argument("--ratio", type=int, choices=RATIOS)
    options = parser.parse_args(arguments)
    if options.ratio is None:
        for ratio in RATIOS:
            command = [sys.executable, "-m", "tests.gui.screenshots", "--out", str(options.out.resolve())]
            environment = {**os.environ, "QT_SCALE_FACTOR": str(ratio)}
            subprocess.run(
                [*command, "--scenes", options.scenes, "--ratio", str(ratio)], cwd=ROOT, env=environment, check=True
            )
        return 0
    os.environ.update(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1", TQDM_DISABLE="1")
    wanted = [name for name in options.scenes.split(",") if name]
    with tempfile.TemporaryDirectory(prefix="tessera-screenshots-") as folder:
        os.environ["QT_QPA_PLATFORM"] = f"offscreen:configfile={screen_file(Path(folder))}"
        Stage(Path(folder), options.out, options.ratio, wanted).play()
    return 0


def screen_file(folder: Path) -> Path:
    """A screen on which the window and its dialogs have the size they ask for; by itself it is 800 × 800."""
    width, height = SCREEN
    screen = {"name": "stage", "x": 0, "y": 0, "width": width, "height": height, "logicalDpi": 96, "dpr": 1}
    path = folder / "screen.json"
    path.write_text(json.dumps({"windowFrameMargins": False, "screens": [screen]}))
    return path


class Stage:
    """The window of an application with a data folder of its own."""

    def __init__(self, data: Path, out: Path, ratio: int, wanted: list[str]) -> None:
        from PySide6.QtWidgets import QApplication

        from studio_app.application import Application
        from ui import appearance
        from ui.create.workspace import CreateWorkspace
        from ui.main_window import open_window

        self.qt = QApplication([])
        out.mkdir(parents=True, exist_ok=True)
        self.out, self.ratio, self.wanted = out, ratio, wanted
        self.app = Application(data)
        self.app.settings.set("ui.theme", "dark")
        self.app.settings.set("generation.output_folder", str(data / "pictures"))
        appearance.apply(self.app)
        self.window = open_window(self.app)
        self.window.resize(1440, 900)
        page = self.window.page
        assert isinstance(page, CreateWorkspace)
        self.page = page

    def play(self) -> None:
        """Every scene in an order in which each finds what it needs."""
        self.wait(lambda: self.app.wait_ready(0))
        self.pause(300)
        self.keep("welcome")
        if self.window.commands.welcome is not None:
            self.window.commands.welcome.finish()
        self.pause(200)
        self.keep("first_run")
        if not self.wanted or any(not name.startswith(("graph", "shortcuts")) for name in self.wanted):
            self.create_and_models()
            enlarge_scenes(self)
            memory_scenes(self)
        graph_scenes(self)
        self.window.close()
        self.app.close()

    # ---- scenes

    def create_and_models(self) -> None:
        self.first_pictures()
        self.generating()
        self.results()
        self.large()
        self.advanced()
        self.start_picture()
        self.error()
        self.several_prompts()
        self.long_texts()
        self.prompt_editor()
        self.models()

    def first_pictures(self) -> None:
        self.page.start_with("a red circle on a blue background")
        self.until_idle()

    def generating(self) -> None:
        self.page.session.update(count=4)
        self.page.start_with("a yellow star on a purple background")
        self.wait(lambda: any(entry.row.step >= 10 and entry.preview for entry in self.page.model_of_results.jobs))
        self.keep("generating")
        self.until_idle()

    def results(self) -> None:
        self.page.session.update(count=1)
        for prompt in ("a green square on a white background", "mountains at sunset with a boat on the sea"):
            self.page.start_with(prompt)
        self.until_idle()
        self.page.results.grid.setCurrentIndex(self.page.model_of_results.index(1))
        self.keep("results")

    def large(self) -> None:
        self.page.results.open(self.page.model_of_results.pictures[-1].id)
        self.window.show_inspector(True)
        self.pause(400)
        self.keep("large")
        self.window.show_inspector(False)
        self.page.results.show_grid()

    def advanced(self) -> None:
        self.app.settings.set("ui.mode", "advanced")
        self.page.form.all_styles.setChecked(True)
        self.wait(lambda: self.window.filmstrip.isVisible())
        self.pause(300)
        self.page.form.scroll_to(self.page.form.advanced)
        self.keep("advanced")
        self.page.form.all_styles.setChecked(False)
        self.app.settings.set("ui.mode", "simple")
        self.wait(lambda: not self.window.filmstrip.isVisible())

    def start_picture(self) -> None:
        self.page.form.advanced_fold.set_open(False)
        self.page.use_as_input(self.page.model_of_results.pictures[-1])
        self.wait(lambda: self.page.form.start.zone.has_picture)
        self.page.form.scroll_to(self.page.form.start)
        self.keep("start_picture")
        self.page.results.message.hide()
        self.page.session.update(init=None)

    def error(self) -> None:
        self.page.session.update(prompt="", width=130, height=128)
        self.page.generate()
        self.pause(100)
        self.keep("error")
        self.page.session.update(width=None, height=None)

    def several_prompts(self) -> None:
        prompts = ("a blue triangle on a yellow background", "a white moon at night", "a red house with a green roof")
        self.page.session.set_several(True)
        self.page.session.update(prompt="\n".join(prompts))
        self.page.generate()
        self.wait(lambda: any(entry.row.step >= 8 and entry.preview for entry in self.page.model_of_results.jobs))
        self.keep("several_prompts")
        self.until_idle()
        self.page.session.set_several(False)

    def long_texts(self) -> None:
        self.page.session.update(prompt=LONG_PROMPT, negative="blurry, text", style="watercolour")
        self.pause(100)
        self.page.form.scroll_to(self.page.form.prompt)
        self.keep("long_texts")

    def prompt_editor(self) -> None:
        """The list of LoRAs over the prompt, then a prompt of many constructs with what is wrong in it."""
        from PySide6.QtTest import QTest

        field = self.page.form.prompt
        self.page.session.update(prompt="", negative="", style="")
        self.app.completions.prepare()
        self.window.activateWindow()
        field.setFocus()
        QTest.keyClicks(field, "a red circle <lora:")
        self.pause(600)
        self.keep("prompt_completions")
        field.popup.hide()
        self.page.session.update(prompt=GRAMMAR_PROMPT)
        self.wait(lambda: bool(self.page.form.prompt_editor.look.warnings))
        self.pause(200)
        self.keep("prompt_warnings")

    def models(self) -> None:
        from studio_app.models.table import Note
        from tests.gui import models_room
        from ui.models.workspace import ModelsWorkspace

        self.app.commands.run("view.models")
        page, folder = self.window.page, self.app.paths.models
        assert isinstance(page, ModelsWorkspace)
        self.wait(lambda: page.cards.rowCount() == 3)
        page.choose(self.app.paths.starter_model)
        self.pause(300)
        self.keep("models_empty")
        folder.mkdir(parents=True, exist_ok=True)
        models_room.fill(folder)
        page.look_again()
        self.wait(lambda: page.cards.rowCount() == 12)
        library, name = self.app.model_library, "ink wash landscapes"
        page_of_it = "https://civitai.com/models/3/ink"
        library.note(library.find(name), Note(("landscape", "ink"), "Good at 0.7, with few words.", True, page_of_it))
        new = models_room.lora(folder.parent / "in" / f"{name}.safetensors", 2048, words="ink wash", title="Ink wash 2")
        library.versions.bring_in(new, library.find(name), note="trained twice as long", origin=page_of_it)
        page.choose(folder / "loras" / f"{name}.safetensors")
        self.wait(lambda: len(page.details.versions.rows) == 2)
        self.pause(400)
        self.keep("models")
        other = models_room.lora(folder.parent / "in" / "paper cut.safetensors", words="papercut", licence="cc0-1.0")
        page.importer.look([other, new, folder / "evil.ckpt"])
        self.wait(lambda: page.arrivals.go.isVisible())
        self.keep("models_import")
        page.arrivals.clear()

    # ---- doing and keeping

    def pause(self, milliseconds: int) -> None:
        from PySide6.QtCore import QEventLoop, QTimer

        # Not QTest.qWait: it sleeps without letting other Python threads run, and the engine is one.
        loop = QEventLoop()
        QTimer.singleShot(milliseconds, loop.quit)
        loop.exec()

    def wait(self, condition: Callable[[], bool]) -> None:
        """Let the window live until `condition`. Raises TimeoutError when that never comes."""
        for _ in range(PATIENCE_MS // 20):
            if condition():
                return
            self.pause(20)
        raise TimeoutError("a scene never got where it was going")

    def until_idle(self) -> None:
        self.wait(lambda: not self.page.model_of_results.jobs)
        self.pause(300)

    def keep(self, scene: str, dialog: QWidget | None = None) -> None:
        """Write the window as it is now, in each theme, with a dialog of its own over its middle."""
        if self.wanted and scene not in self.wanted:
            return
        for theme_name in THEMES:
            self.app.settings.set("ui.theme", theme_name)
            self.pause(120)
            path = self.out / f"{scene}_{theme_name}{'@2x' if self.ratio == 2 else ''}.png"
            shrunk(self._grabbed(dialog), path, dither=self.ratio == 1)
        self.app.settings.set("ui.theme", THEMES[0])
        self.pause(60)

    def _grabbed(self, dialog: QWidget | None) -> QImage:
        from PySide6.QtGui import QColor, QPainter

        whole = self.window.grab()
        if dialog is not None:
            over = dialog.grab()
            corner = (self.window.rect().center() - dialog.rect().center()).toPointF()
            painter = QPainter(whole)
            painter.fillRect(self.window.rect(), QColor(0, 0, 0, 90))
            painter.drawPixmap(corner, over)
            painter.end()
        return whole.toImage()


def shrunk(image: object, path: Path, *, dither: bool) -> None:
    """Write a QImage as a PNG; with few colours where it would be larger than MOST_BYTES."""
    import numpy as np
    from PIL import Image
    from PySide6.QtGui import QImage

    assert isinstance(image, QImage)
    rgb = image.convertToFormat(QImage.Format.Format_RGB888)
    rows = np.frombuffer(rgb.constBits(), np.uint8).reshape(rgb.height(), rgb.bytesPerLine())[:, : rgb.width() * 3]
    pixels = rows.reshape(rgb.height(), rgb.width(), 3).copy()
    Image.fromarray(pixels).save(path, optimize=True)
    full = Image.fromarray(pixels)
    for count in (256, 256, 128, 64):
        if path.stat().st_size <= MOST_BYTES:
            break
        colours = full.quantize(count)  # dithering needs a palette that is there already
        if dither:
            colours = full.quantize(palette=colours, dither=Image.Dither.FLOYDSTEINBERG)
        colours.save(path, optimize=True)
        dither = False


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
