"""The Create workspace: the column that says what to make, and the results."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from PySide6.QtCore import QMimeData, QTimer, Slot
from PySide6.QtGui import QCloseEvent, QDragEnterEvent, QDropEvent, QGuiApplication, QImage, QShowEvent
from PySide6.QtWidgets import QFileDialog, QWidget

from engine.contracts.errors import TesseraError
from engine.contracts.references import ModelRef
from engine.contracts.results import ResultRecord
from engine.recipes.build import request_of
from engine.recipes.enlarge import Enlarge
from engine.recipes.margins import Margins
from engine.recipes.request import ImageRequest
from studio_app.application import Application
from studio_app.documents.create_session import CreateSession, SessionChange
from studio_app.documents.enlarging import larger
from studio_app.documents.seeds import with_seeds_drawn
from ui.bridge.background import Background
from ui.bridge.bridge import Bridge
from ui.create.comparisons import Comparisons
from ui.create.form import CreateForm
from ui.create.job_watch import JobWatch
from ui.create.mime import local_picture
from ui.create.picture_actions import PictureActions
from ui.create.pictures_in import Arrival, bring_in
from ui.create.plan_line import PlanLine
from ui.create.results_model import ResultsModel
from ui.create.results_panel import CLOSE_VARIATIONS, FIRST_PROMPT, ResultsPanel
from ui.create.second_tries import SecondTries
from ui.create.start_picture import PICTURE_FILTER, png_bytes
from ui.create.waste_basket import WasteBasket
from ui.widgets.basics import Line
from ui.widgets.layouts import Row
from ui.workspace import Workspace

SAVE_AFTER_MS = 800
CLOSE_STRENGTH = 0.35
VARIATIONS = 4


class CreateWorkspace(Workspace):
    """Left the request, right the results. Holds no truth: a CreateSession and the library do."""

    title: ClassVar[str] = "Create"
    icon_name: ClassVar[str] = "sparkles"

    def __init__(self, app: Application, bridge: Bridge) -> None:
        super().__init__()
        self._app = app
        self.setAccessibleName("Create")
        self.setAcceptDrops(True)
        self.session = CreateSession()
        self.session.restore(app.settings.get("create.last_request"))
        self.session.set_seed_locked(app.settings.get("create.seed_locked"))
        self._background = Background(self)
        self._offered: ImageRequest | None = None
        self._mode = "simple"
        self._shown = self._closed = False
        self.model_of_results = ResultsModel(self)
        self.form = CreateForm(app, bridge, self.session, self._background)
        self.session.set_area(app.settings.get("create.megapixels"))
        bridge.setting.connect(self._setting_changed)
        self.results = ResultsPanel(app, self.model_of_results, self._background)
        self.actions_on_pictures = PictureActions(app, self._background, self.results.message.say, self)
        self.basket = WasteBasket(app, self.model_of_results, self._background, self.results.message, self)
        self.watch = JobWatch(app, bridge, self.model_of_results, self._background, self)
        self.comparisons = Comparisons(app, self.watch, self._background, self.results.message.say, self)
        self.plan = PlanLine(app, bridge, self.session)
        self.form.bar.add_line(self.plan)
        self.second_tries = SecondTries(app, self.watch, self.model_of_results, self.session, self)
        row = Row(self, spacing=0)
        row.addWidget(self.form)
        row.addWidget(Line(vertical=True))
        row.addWidget(self.results, 1)
        self._save_timer = QTimer(self)
        self._save_timer.setSingleShot(True)
        self._save_timer.setInterval(SAVE_AFTER_MS)
        self._commands = self._bind_commands()
        self._connect()
        self._show_estimate()

    def _connect(self) -> None:
        self._save_timer.timeout.connect(self._save)
        self.form.generate_wanted.connect(self.generate)
        self.form.cancel_wanted.connect(self.watch.cancel_all)
        self.form.picture_wanted.connect(self.take_picture)
        self.results.action_wanted.connect(self._do)
        self.results.first_wanted.connect(self._first_picture)
        self.results.drag_wanted.connect(self._drag_out)
        self.results.message.acted.connect(self._message_acted)
        self.results.details.copy_wanted.connect(self._copy_parameters)
        self.results.details.difference_wanted.connect(lambda: self._with_chosen(self.comparisons.ask))
        self.results.grid.job_cancel_wanted.connect(self.watch.cancel_or_dismiss)
        self.watch.running_changed.connect(self.form.bar.show_running)
        self.watch.failed.connect(self.form.bar.say)
        self.watch.history_changed.connect(self._show_estimate)
        self.plan.changed.connect(self._show_estimate)
        self.plan.command_wanted.connect(self._do)
        self.results.second_try_wanted.connect(self.second_tries.start)
        self.second_tries.said.connect(self.form.bar.say)
        self.watch.arrived.connect(self._picture_arrived)
        self.session.subscribe(self._session_changed)

    # ---- commands

    def _bind_commands(self) -> dict[str, Callable[[], object]]:
        """Command id → what it does here. Bound for as long as the workspace lives."""
        handlers: dict[str, Callable[[], object]] = {
            "create.generate": self.generate,
            "create.cancel": self.cancel,
            "create.cancel_all": self.watch.cancel_all,
            "create.roll_seed": self.session.roll_seed,
            "create.lock_seed": lambda: self.session.set_seed_locked(not self.session.seed_locked),
            "create.swap_size": self._swap_size,
            "create.several_prompts": lambda: self.session.set_several(not self.session.several),
            "create.toggle_advanced": lambda: self.form.advanced_fold.set_open(not self.form.advanced_fold.is_open()),
            "create.focus_prompt": self._focus_prompt,
            "create.open_as_graph": self.open_as_graph,
            "create.clear_input": lambda: self.session.update(init=None),
            "file.open_picture": self._open_picture,
            "edit.paste_picture": self.paste_picture,
            "picture.save_as": lambda: self._with_chosen(self.actions_on_pictures.save_as),
            "picture.copy": lambda: self._with_chosen(self.actions_on_pictures.copy),
            "picture.copy_parameters": self._copy_parameters,
            "picture.show_file": lambda: self._with_chosen(self.actions_on_pictures.show_file),
            "picture.use_as_input": lambda: self._with_chosen(self.use_as_input),
            "picture.variations": lambda: self._with_chosen(self.make_variations),
            "picture.enlarge": lambda: self._with_chosen(self.enlarge),
            "picture.reuse_settings": lambda: self._with_chosen(self.reuse_settings),
            "picture.open_as_graph": lambda: self._with_chosen(lambda record: self.sent.emit("Graph", record.spec)),
            "picture.show_difference": lambda: self._with_chosen(self.comparisons.ask),
            "picture.delete": self.delete_chosen,
            "picture.open": lambda: self._with_chosen(lambda record: self.results.open(record.id)),
        }
        self._unbind = [self._app.commands.bind(command, handler) for command, handler in handlers.items()]
        closer = {CLOSE_VARIATIONS: lambda: self._with_chosen(self._make_close_variations)}
        return {**handlers, **closer}

    @Slot(str)
    def _do(self, command: str) -> None:
        handler = self._commands.get(command)
        if handler is not None:
            handler()
        else:
            self._app.commands.run(command)

    def _with_chosen(self, act: Callable[[ResultRecord], object]) -> None:
        chosen = self.results.chosen()
        if chosen:
            act(chosen[0])
        else:
            self.results.message.say("Choose a picture first.")

    # ---- making pictures

    @Slot()
    def generate(self) -> None:
        """Queue a job for each prompt. Whatever is wrong is said at its place, and Generate stays ready."""
        if not self.form.ask():
            return
        if reason := self.plan.holds_back():
            self.form.bar.say(reason)
            return
        if self._submit(self.session.requests()):
            self.session.after_submit()

    def _submit(self, requests: list[ImageRequest]) -> bool:
        self.form.bar.say("")
        try:
            self.watch.submit(requests)
        except TesseraError as error:
            self.form.bar.say(str(error))
            return False
        self.results.show_grid()
        return True

    @Slot()
    def cancel(self) -> None:
        """Escape: leave the large view first, then stop what runs."""
        if self.results.viewing:
            self.results.show_grid()
        else:
            self.watch.cancel_all()

    def start_with(self, prompt: str) -> None:
        self.session.set_several(False)
        self.session.update(prompt=prompt)
        self.generate()

    @Slot()
    def _first_picture(self) -> None:
        self.start_with(FIRST_PROMPT)

    def make_variations(self, record: ResultRecord, *, close: bool = False) -> None:
        """More like a picture: its request with new seeds; `close` (or no request known) starts from the picture."""
        request = request_of(record.spec)
        if request is not None and not close:
            self._submit([self.session.variations(request, VARIATIONS)])
            return
        start = request if request is not None else self.session.request
        near = dataclasses.replace(start, init=record.artifact, mask=None, strength=CLOSE_STRENGTH)
        if start.margins or start.enlarge:  # the request's size is that of the picture before it was made larger
            width, height = self.session.fitted(record.width, record.height)
            near = dataclasses.replace(near, margins=Margins(), enlarge=Enlarge(), width=width, height=height)
        self._submit([self.session.variations(near, VARIATIONS)])

    def _make_close_variations(self, record: ResultRecord) -> None:
        self.make_variations(record, close=True)

    def enlarge(self, record: ResultRecord) -> None:
        """Make a picture twice as large, from its own prompt."""
        if self._submit([larger(record, self.session.request)]):
            self.results.message.say("Asked for: the same picture, twice as wide and as high.")

    def reuse_settings(self, record: ResultRecord) -> None:
        """Bring back what made this very picture."""
        request = request_of(record.spec)
        if request is None:
            self.results.message.say("This picture was made by a workflow that Create can't show.")
            return
        seed = request.seed if record.seed is None else record.seed
        self.session.set_request(dataclasses.replace(request, seed=seed, count=1))
        self.results.message.say("Prompt and settings are back; Generate makes the same picture again.")

    def open_as_graph(self) -> None:
        """What Generate would run, as a workflow on the Graph page; a seed that is drawn anew is so there too."""
        try:
            spec = self._app.jobs.spec_of(self.session.request)
        except TesseraError as error:
            self.form.bar.say(str(error))
            return
        self.sent.emit("Graph", spec if self.session.seed_locked else with_seeds_drawn(spec))

    def receive(self, thing: object) -> None:
        """The settings of a workflow that Create can show."""
        if isinstance(thing, ImageRequest):
            self.session.set_request(thing)
            self.results.message.say("The workflow's prompt and settings are here.")

    def use_as_input(self, record: ResultRecord) -> None:
        """Start the next picture from this one, at its size."""
        self.session.start_from(record.artifact, record.width, record.height)
        self.results.message.say("The next picture starts from this one.")

    # ---- pictures coming in

    @Slot(object)
    def take_picture(self, source: Path | bytes) -> None:
        """Start from a picture file (or the bytes of one); when it holds our settings, offer them."""
        self._background.run(lambda: bring_in(self._app, source), self._arrived_from_outside, self.form.start.hint.say)

    def _arrived_from_outside(self, arrival: Arrival) -> None:
        self.form.start.hint.say("")
        self.session.start_from(arrival.ref, arrival.width, arrival.height)
        self._offered = arrival.request
        if arrival.request is not None:
            self.results.message.say("This picture holds the settings it was made with.", "Use its settings")

    @Slot()
    def _message_acted(self) -> None:
        if self._offered is not None:
            offered, self._offered = self._offered, None
            self.session.set_request(offered)
        else:
            self.basket.undo()

    @Slot()
    def _open_picture(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Start from a picture", "", PICTURE_FILTER)
        if path:
            self.take_picture(Path(path))

    def paste_picture(self) -> None:
        """Start from the picture on the clipboard."""
        data: QMimeData | None = QGuiApplication.clipboard().mimeData()  # None when it was cleared
        path = None if data is None else local_picture(data)
        if path is not None:
            self.take_picture(path)
        elif data is not None and data.hasImage():
            self.take_picture(png_bytes(QImage(data.imageData())))
        else:
            self.form.start.hint.say("There is no picture on the clipboard.")

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if event.source() is None and local_picture(event.mimeData()) is not None:
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        path = local_picture(event.mimeData())
        if path is not None:
            event.acceptProposedAction()
            self.take_picture(path)

    # ---- pictures going out

    @Slot()
    def _drag_out(self) -> None:
        chosen = self.results.chosen()
        if chosen:
            self.actions_on_pictures.drag(chosen[0])

    @Slot()
    def _copy_parameters(self) -> None:
        self._with_chosen(self.actions_on_pictures.copy_parameters)

    @Slot()
    def delete_chosen(self) -> None:
        """Take the chosen pictures out, with undo; a failed job's tile is dismissed."""
        self._offered = None
        index = self.results.grid.currentIndex()
        chosen = self.results.chosen()
        if chosen:
            self.basket.throw(chosen)
        elif index.isValid() and not self.results.viewing:
            self.watch.dismiss_row(index.row())

    # ---- following

    def _session_changed(self, change: SessionChange) -> None:
        self._save_timer.start()
        self._show_estimate()
        if "seed_locked" in change.fields:
            self._keep("create.seed_locked", self.session.seed_locked)
        if "model" in change.fields:
            self.model_changed.emit(self.session.request.model)

    @Slot(object)
    def _setting_changed(self, change: tuple[str, Any]) -> None:
        key, value = change
        if key == "create.megapixels":
            self.session.set_area(value)

    @Slot()
    def _show_estimate(self) -> None:
        known = self.watch.knows_pace(self.session)
        self.plan.show_time(not known)
        told = not known and self.plan.tells_time  # the plan foresees what no run has shown yet
        self.form.bar.show_estimate("" if told else self.watch.estimate(self.session))

    @Slot(str)
    def _picture_arrived(self, record_id: str) -> None:
        if not self.results.viewing and not self.results.chosen():
            self.results.choose(record_id)

    def _swap_size(self) -> None:
        width, height = self.session.size
        self.session.update(width=height, height=width)

    def _focus_prompt(self) -> None:
        self.form.prompt.setFocus()
        self.form.prompt.selectAll()

    # ---- Workspace

    def model(self) -> ModelRef | None:
        return self.session.request.model

    def set_model(self, model: ModelRef) -> None:
        self.session.update(model=model)

    def show_result(self, record_id: str) -> None:
        self.results.open(record_id)

    def add_words(self, words: str) -> None:
        prompt = self.session.request.prompt.rstrip()
        if words not in prompt:
            self.session.update(prompt=f"{prompt}, {words}" if prompt else words)
        self.form.prompt.setFocus()

    def take_focus(self) -> None:
        self.form.prompt.setFocus()

    def set_covered(self, covered: bool) -> None:
        self.results.empty.set_hidden(covered)

    def set_mode(self, mode: str) -> None:
        if mode != self._mode:  # the fold stays as it was left until the person chooses another mode
            self._mode = mode
            self.form.advanced_fold.set_open(mode == "advanced")

    def inspector(self) -> QWidget:
        return self.results.details

    def save_state(self) -> dict[str, Any]:
        self._save()
        return {
            "advanced": self.form.advanced_fold.is_open(),
            "all_styles": self.form.all_styles.isChecked(),
            "tile": self.results.tile_size.value(),
            "mode": self._mode,
        }

    def restore_state(self, state: dict[str, Any]) -> None:
        self.form.advanced_fold.set_open(state.get("advanced") is True)
        self.form.all_styles.setChecked(state.get("all_styles") is True)
        self._mode = "advanced" if state.get("mode") == "advanced" else "simple"
        if isinstance(state.get("tile"), int):
            self.results.tile_size.setValue(state["tile"])

    @Slot()
    def _save(self) -> None:
        self._save_timer.stop()
        self._keep("create.last_request", self.session.to_json())

    def _keep(self, key: str, value: Any) -> None:
        try:
            self._app.settings.set(key, value)
        except TesseraError as error:
            self.form.bar.say(str(error))

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        if not self._shown:
            self._shown = True
            self.form.prompt.setFocus()

    def closeEvent(self, event: QCloseEvent) -> None:
        self.close_down()
        super().closeEvent(event)

    def close_down(self) -> None:
        """Keep what is shown, finish deletions, and leave no thread or timer behind. Before the application closes."""
        if self._closed:
            return
        self._closed = True
        self._save()
        for unbind in self._unbind:
            unbind()
        self._unbind = []
        self.plan.close_down()
        self.second_tries.close_down()
        self.basket.empty()
        self.watch.close()
        self._background.close()
        self.results.close_down()
        self.actions_on_pictures.close()
