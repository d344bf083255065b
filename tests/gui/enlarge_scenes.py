"""Scenes of making a picture larger: the row with its sizes, what an expert sets, and the finished large picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.gui.screenshots import Stage

PROMPT = "an autumn tree and a blue house in a field at dawn"


def enlarge_scenes(stage: Stage) -> None:
    """Leaves Create as it was found, with two pictures more."""
    if stage.wanted and not any(name.startswith("create_enlarge") for name in stage.wanted):
        return
    stage.app.commands.run("view.create")
    page = stage.page
    page.session.update(prompt=PROMPT, negative="", style="", count=1, seed=7, width=None, height=None, init=None)
    page.session.set_seed_locked(True)
    page.session.set_enlarge(factor=2.0)
    page.generate()
    stage.until_idle()
    page.results.choose(page.model_of_results.pictures[0].id)
    page.form.scroll_to(page.form.enlarge)
    stage.keep("create_enlarge")
    stage.app.settings.set("ui.mode", "advanced")
    stage.wait(lambda: stage.window.filmstrip.isVisible())
    page.form.scroll_to(page.form.advanced.fast)
    stage.keep("create_enlarge_advanced")
    stage.app.settings.set("ui.mode", "simple")
    stage.wait(lambda: not stage.window.filmstrip.isVisible())
    page.form.advanced_fold.set_open(False)
    page.enlarge(page.model_of_results.pictures[0])
    stage.until_idle()
    page.results.message.hide()
    page.results.open(page.model_of_results.pictures[0].id)
    stage.window.show_inspector(True)
    stage.pause(500)
    stage.keep("create_enlarged")
    stage.window.show_inspector(False)
    page.results.show_grid()
    page.use_as_input(page.model_of_results.pictures[-1])
    stage.wait(lambda: page.form.start.zone.has_picture)
    page.form.scroll_to(page.form.enlarge)
    stage.keep("create_enlarge_picture")
    page.results.message.hide()
    page.session.update(init=None)
    page.session.set_enlarge(factor=1.0)
    page.session.set_seed_locked(False)
