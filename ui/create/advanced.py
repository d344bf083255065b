"""What an expert sets: model, sampler, schedule, steps, guidance, size, CLIP skip, file format, whether to go fast."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Slot
from PySide6.QtWidgets import QGridLayout, QWidget

from engine.contracts.references import ModelRef
from engine.sampling.names import SAMPLER_LABELS, SCHEDULE_LABELS
from studio_app.documents.create_session import CreateSession, SessionChange
from studio_app.models.index import ModelEntry
from ui import theme
from ui.create.enlarge_row import EnlargeDetails
from ui.create.form_parts import Field
from ui.widgets.basics import Button
from ui.widgets.inputs import Choice, NumberField, SliderField, Toggle

FORMATS = (("png", "PNG"), ("webp", "WebP"), ("jpeg", "JPEG"))


class Advanced(QWidget):
    """Mirrors the expert's fields of a session. `complain` puts each sentence at its field."""

    def __init__(self, session: CreateSession) -> None:
        super().__init__()
        self._session = session
        self._models: list[ModelEntry] = []
        self._showing = False
        self.model = Choice("Model", "The checkpoint that draws the picture.")
        self.sampler = Choice("Sampler", "How the noise is taken away at each step.")
        self.scheduler = Choice("Schedule", "How the noise is spread over the steps.")
        for choice, labels in ((self.sampler, SAMPLER_LABELS), (self.scheduler, SCHEDULE_LABELS)):
            for value, label in labels.items():
                choice.addItem(label, value)
        self.steps = SliderField("Steps", "More steps take longer and add detail.", minimum=1, maximum=150, value=25)
        self.cfg = SliderField(
            "Guidance", "How closely the picture follows the prompt (CFG).", minimum=1, maximum=30, step=0.5, decimals=1
        )
        self.width_field = NumberField("Width", "In pixels.", minimum=8, maximum=16384, value=512, step=8)
        self.height_field = NumberField("Height", "In pixels.", minimum=8, maximum=16384, value=512, step=8)
        self.clip_skip = NumberField(
            "CLIP skip", "Leaves out the last layers of the text encoder; 0 uses all of them.", minimum=0, maximum=11
        )
        self.file_format = Choice("File format", "PNG keeps every pixel exactly; WebP and JPEG are smaller.")
        for value, label in FORMATS:
            self.file_format.addItem(label, value)
        self.fast = Toggle(
            "Go fast",
            "Lets the model’s weights have eight bits. On a card that needs half the memory and is often faster; the "
            "picture changes a little. Without a card it only shows that change. Steps are left out too where the "
            "settings say so, on any machine.",
        )
        self.reset = Button("Use the model’s own settings", "undo", kind="quiet")
        self.reset.setToolTip("Sets sampler, schedule, steps, guidance and size to what the model recommends.")
        self.graph = Button("Open as graph", "workflow", kind="quiet")
        self.graph.setToolTip("Shows the workflow that Generate would run, to see and change it.")
        self.fields = {
            "model": Field("Model", self.model),
            "sampler": Field("Sampler", self.sampler),
            "scheduler": Field("Schedule", self.scheduler),
            "steps": Field("Steps", self.steps),
            "cfg": Field("Guidance", self.cfg),
            "width": Field("Width", self.width_field),
            "height": Field("Height", self.height_field),
            "clip_skip": Field("CLIP skip", self.clip_skip),
            "file_format": Field("File format", self.file_format),
        }
        self.enlarge = EnlargeDetails(session)
        self._lay_out()
        self._connect()
        session.subscribe(self._follow)
        self._show()

    def _lay_out(self) -> None:
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(theme.space(1.5))
        grid.setVerticalSpacing(theme.space(1.5))
        whole, halves = (
            ("model", "steps", "cfg"),
            ("sampler", "scheduler", "width", "height", "clip_skip", "file_format"),
        )
        order = ["model", "sampler", "scheduler", "steps", "cfg", "width", "height", "clip_skip", "file_format"]
        row, column = 0, 0
        for name in order:
            if name in whole:
                grid.addWidget(self.fields[name], row, 0, 1, 2)
                row += 1
            else:
                assert name in halves
                grid.addWidget(self.fields[name], row, column)
                row, column = (row + 1, 0) if column else (row, 1)
        grid.addWidget(self.enlarge, row, 0, 1, 2)
        grid.addWidget(self.fast, row + 1, 0, 1, 2)
        grid.addWidget(self.reset, row + 2, 0, 1, 2)
        grid.addWidget(self.graph, row + 3, 0, 1, 2)
        grid.setColumnStretch(0, 1)
        grid.setColumnStretch(1, 1)

    def _connect(self) -> None:
        self.model.activated.connect(self._model_chosen)
        self.sampler.activated.connect(self._sampler_chosen)
        self.scheduler.activated.connect(self._scheduler_chosen)
        self.file_format.activated.connect(self._format_chosen)
        self.steps.value_changed.connect(self._steps_set)
        self.cfg.value_changed.connect(self._cfg_set)
        self.width_field.value_changed.connect(self._width_set)
        self.height_field.value_changed.connect(self._height_set)
        self.clip_skip.value_changed.connect(self._clip_skip_set)
        self.fast.toggled.connect(self._fast_set)
        self.reset.clicked.connect(self._reset)

    def set_models(self, models: Sequence[ModelEntry]) -> None:
        """Offer these checkpoints."""
        self._models = list(models)
        self.model.clear()
        for entry in models:
            self.model.addItem(entry.name, entry.ref)
        self._show()

    def complain(self, problems: dict[str, str]) -> None:
        for name, field in self.fields.items():
            field.complain(problems.get(name, ""))

    def _follow(self, change: SessionChange) -> None:
        if change.fields & {*self.fields, "fast", "model_facts"}:
            self._show()

    def _show(self) -> None:
        self._showing = True
        request, model = self._session.request, self._session.facts.recommended
        names = [entry.name for entry in self._models]
        self.model.setCurrentIndex(names.index(request.model.name) if request.model.name in names else -1)
        self.sampler.setCurrentIndex(self.sampler.findData(request.sampler or model.sampler))
        self.scheduler.setCurrentIndex(self.scheduler.findData(request.scheduler or model.scheduler))
        self.file_format.setCurrentIndex(self.file_format.findData(request.file_format))
        self.steps.setValue(request.steps if request.steps is not None else model.steps)
        self.cfg.setValue(request.cfg if request.cfg is not None else model.cfg)
        width, height = self._session.size
        for field, value in ((self.width_field, width), (self.height_field, height)):
            field.set_range(model.minimum, model.maximum, model.multiple)
            field.setValue(value)
        self.clip_skip.setValue(request.clip_skip)
        self.fast.setChecked(request.fast)
        self._showing = False

    def _update(self, **fields: object) -> None:
        if not self._showing:
            self._session.update(**fields)

    @Slot(int)
    def _model_chosen(self, index: int) -> None:
        ref = self.model.itemData(index)
        if isinstance(ref, ModelRef):
            self._update(model=ref)

    @Slot(int)
    def _sampler_chosen(self, index: int) -> None:
        self._update(sampler=self.sampler.itemData(index))

    @Slot(int)
    def _scheduler_chosen(self, index: int) -> None:
        self._update(scheduler=self.scheduler.itemData(index))

    @Slot(int)
    def _format_chosen(self, index: int) -> None:
        self._update(file_format=self.file_format.itemData(index))

    @Slot(float)
    def _steps_set(self, value: float) -> None:
        self._update(steps=int(value))

    @Slot(float)
    def _cfg_set(self, value: float) -> None:
        self._update(cfg=float(value))

    @Slot(float)
    def _width_set(self, value: float) -> None:
        self._update(width=int(value), height=self._session.size[1])

    @Slot(float)
    def _height_set(self, value: float) -> None:
        self._update(width=self._session.size[0], height=int(value))

    @Slot(float)
    def _clip_skip_set(self, value: float) -> None:
        self._update(clip_skip=int(value))

    @Slot(bool)
    def _fast_set(self, fast: bool) -> None:
        self._update(fast=fast)

    @Slot()
    def _reset(self) -> None:
        self._session.update(sampler=None, scheduler=None, steps=None, cfg=None, width=None, height=None, clip_skip=0)
