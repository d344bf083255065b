"""Scenes of memory: the plan before a run, the meter during one, the refusal with its remedy, what going fast changed.

The card is imitated where the studio asks the driver for it; plans, words and pictures are the real ones.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from unittest.mock import patch

from engine.memory.footprint import GIB
from engine.memory.machine import PRESETS
from studio_app.machine_memory import MemoryUse

if TYPE_CHECKING:
    from tests.gui.screenshots import Stage

CARD = MemoryUse("Imitated card", 3 * GIB, 8 * GIB, card=True)
PROMPT = "a red circle on a blue background"


def memory_scenes(stage: Stage) -> None:
    """Leaves Create as it was found, with a picture or two more."""
    if stage.wanted and not any(name.startswith("memory_") for name in stage.wanted):
        return
    stage.app.commands.run("view.create")
    page, meter = stage.page, stage.window.topbar.meter
    stage.window.memory._timer.stop()  # the imitated card is the one the meter shows
    page.session.update(prompt=PROMPT, negative="", style="", count=1, seed=7, width=None, height=None)
    with patch("studio_app.planning.card_memory", lambda: CARD):
        page.session.update(width=256, height=256)
        stage.wait(lambda: "of the card at most" in page.plan.text())
        meter.set_use(CARD)
        page.results.show_grid()
        page.form.scroll_to(page.form.bar)
        stage.keep("memory_plan")
        page.session.update(steps=150, width=256, height=256)
        page.generate()
        stage.wait(lambda: meter.mark is not None and "taking the noise away" in meter.toolTip())
        stage.keep("memory_meter")
        page.watch.cancel_all()
        stage.until_idle()
    small = replace(PRESETS[4], vram=GIB // 2, guard=GIB // 2 - (300 << 20), ram=8 * GIB)
    with patch("studio_app.planning.machine_here", lambda settings: small):
        page.session.update(steps=None, width=2048, height=2048)
        stage.wait(lambda: page.plan.text().startswith("It does not fit: "))
        stage.keep("memory_refusal")
    page.session.update(steps=20, width=128, height=128, fast=True)
    page.generate()
    stage.until_idle()
    page.comparisons.ask(page.model_of_results.pictures[0])
    stage.wait(lambda: page.comparisons.dialog is not None)
    stage.until_idle()
    stage.keep("memory_difference", page.comparisons.dialog)
    if page.comparisons.dialog is not None:
        page.comparisons.dialog.close()
    page.session.update(fast=False, steps=None, width=None, height=None)
