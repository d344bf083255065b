"""Scenes of memory: the plan before a run, how it runs, the meter during one, the refusal with its remedy, a job that
memory ran out for, what going fast changed, “Will it fit?” and the plan of a graph.

The card is imitated where the studio asks the driver for it, and a model by a file of its shapes; plans, words and
pictures are the real ones.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from engine.contracts.errors import OutOfMemory
from engine.contracts.references import ModelRef
from engine.contracts.workflow import Link, Node, Workflow
from engine.memory.footprint import GIB
from engine.memory.machine import PRESETS
from studio_app.machine_memory import MemoryUse
from tests.unit import model_headers as headers

if TYPE_CHECKING:
    from tests.gui.screenshots import Stage

CARD = MemoryUse("Imitated card", 3 * GIB, 8 * GIB, card=True)
EIGHT = replace(PRESETS[8], name="Imitated card")
PROMPT = "a red circle on a blue background"
MODEL = "aurora dreamlike photorealistic XL v12 pruned"


def memory_scenes(stage: Stage) -> None:
    """Leaves Create as it was found, with a picture or two more."""
    if stage.wanted and not any(name.startswith("memory_") for name in stage.wanted):
        return
    stage.app.commands.run("view.create")
    page, meter = stage.page, stage.window.topbar.meter
    starter = page.session.request.model
    stage.window.memory._timer.stop()  # the imitated card is the one the meter shows
    page.session.update(prompt=PROMPT, negative="", style="", count=1, seed=7, width=None, height=None)
    meter.set_use(CARD)
    _plans(stage, large_model(stage))
    with patch("studio_app.planning.card_memory", lambda: CARD):
        page.session.update(model=starter, steps=150, width=256, height=256)
        page.generate()
        stage.wait(lambda: meter.mark is not None and "taking the noise away" in meter.toolTip())
        stage.keep("memory_meter")
        page.watch.cancel_all()
        stage.until_idle()
    _second_try(stage)
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
    _fit(stage)
    _graph(stage)
    stage.app.commands.run("view.create")
    _place(stage).unlink()
    stage.app.models.refresh()
    stage.window.load_models()


def _place(stage: Stage) -> Path:
    """Where the imitated checkpoint lies."""
    return stage.app.paths.models / "checkpoints" / f"{MODEL}.safetensors"


def large_model(stage: Stage) -> ModelRef:
    """A checkpoint of SDXL's shapes, with a long name and nothing in it, among the models."""
    path = _place(stage)
    path.parent.mkdir(parents=True, exist_ok=True)
    headers.write_safetensors(path, headers.checkpoint(headers.ldm_unet(2048, xl=True), headers.XL_TEXT))
    found = stage.app.models.entry(ModelRef(kind="checkpoint", name=MODEL)).ref
    stage.window.load_models()
    stage.page.form.refresh_models()
    return found


def _plans(stage: Stage, model: ModelRef) -> None:
    """The plan before a run, how it runs, and the refusal."""
    page = stage.page
    with patch("studio_app.planning.machine_here", lambda settings: EIGHT):
        page.session.update(model=model, width=None, height=None)
        stage.wait(lambda: page.plan.text.startswith("Fits the card"))
        page.results.show_grid()
        page.form.scroll_to(page.form.bar)
        stage.keep("memory_plan")
        page.session.update(width=2048, height=1536)
        stage.wait(lambda: page.plan.text.startswith("Fits the card"))
        page.plan.toggle()
        stage.wait(lambda: bool(page.plan.page.offers))
        stage.keep("memory_how")
        page.plan.toggle()
        page.take_focus()
    small = replace(PRESETS[4], name="Imitated card", ram=16 * GIB)
    with patch("studio_app.planning.machine_here", lambda settings: small):
        page.session.update(width=6144, height=3456)
        stage.wait(lambda: page.plan.text.startswith("Does not fit") and page.plan.remedy.isVisible())
        page.generate()
        stage.keep("memory_refusal")
    page.form.bar.say("")


def _second_try(stage: Stage) -> None:
    """A job that memory ran out for, with what would fit on its tile."""
    from engine.nodes.sample import k_sampler

    page = stage.page

    def fails(*given: Any) -> Any:
        raise OutOfMemory("the card has too little memory for this", where="memory", fix="Make the picture smaller")

    with patch.object(k_sampler, "run_plan", fails):
        page.session.update(steps=4, width=192, height=192)
        page.generate()
        stage.wait(lambda: any(job.remedy for job in page.model_of_results.jobs))
    stage.keep("memory_second_try")
    page.watch.cancel_or_dismiss(page.model_of_results.jobs[0].key)
    page.form.bar.say("")


def _fit(stage: Stage) -> None:
    from ui.dialogs.will_it_fit import WillItFit

    stage.app.commands.run("models.will_it_fit")
    dialog = stage.window.commands._dialogs["fit"]
    assert isinstance(dialog, WillItFit)
    dialog.choose("Flux.1 dev")
    stage.wait(lambda: bool(dialog.plans) and all(plan.model == "Flux.1 dev" for plan in dialog.plans.values()))
    dialog.table.selectRow(2)
    stage.keep("memory_fit", dialog)
    dialog.close()


def _graph(stage: Stage) -> None:
    """A workflow of two samplers, one of which would not fit, with its plan opened."""
    from ui.graph_canvas.workspace import GraphWorkspace

    if stage.wanted and "memory_graph" not in stage.wanted:
        return
    stage.app.commands.run("view.graph")
    page = stage.window.page
    assert isinstance(page, GraphWorkspace)
    tight = replace(PRESETS[4], vram=GIB // 2, guard=GIB // 2 - (290 << 20), ram=8 * GIB, name="Imitated card")
    with patch("studio_app.planning.machine_here", lambda settings: tight):
        page.files.open_workflow(two_samplers())
        stage.wait(lambda: page.bar.fits.text() == "Does not fit")
        canvas = page.current
        assert canvas is not None
        canvas.view.frame_nodes()
        page.bar.fits.click()
        stage.pause(200)
        stage.keep("memory_graph")
        page.bar.fits.click()
        if stage.app.workflows.current is not None:
            stage.app.workflows.close_tab(stage.app.workflows.current)


def two_samplers() -> Workflow:
    """A small picture, and a large one of the same prompt."""
    nodes = [
        Node(id="model", type="load.checkpoint"),
        Node(id="text", type="condition.encode_text", inputs={"clip": Link("model", "clip"), "text": PROMPT}),
    ]
    for name, edge in (("small", 128), ("large", 2048)):
        nodes += [
            Node(id=f"{name}_size", type="latent.empty", inputs={"width": edge, "height": edge}),
            Node(id=name, type="sample.k_sampler", title=f"Draw {name}", inputs={
                "model": Link("model", "model"), "positive": Link("text", "conditioning"),
                "negative": Link("text", "conditioning"), "latent": Link(f"{name}_size", "latent"),
            }),
            Node(id=f"{name}_look", type="latent.decode_image", inputs={
                "latent": Link(name, "latent"), "vae": Link("model", "vae"),
            }),
        ]  # fmt: skip
    return Workflow(name="Small and large", nodes=tuple(nodes))
