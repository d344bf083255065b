"""The left column of Create: everything a request is made of, and Generate."""

from __future__ import annotations

from PySide6.QtCore import Signal, Slot
from PySide6.QtWidgets import QFrame, QMenu, QScrollArea, QSizePolicy, QWidget

from engine.contracts.errors import MissingModel
from engine.recipes.shapes import Shape
from engine.recipes.vocabulary import unknown_words_sentence
from studio_app.application import Application
from studio_app.documents.create_session import CreateSession, ModelFacts, SessionChange
from studio_app.models.index import ModelEntry
from studio_app.styles import Style
from ui import theme
from ui.bridge.background import Background
from ui.bridge.bridge import Bridge
from ui.create.advanced import Advanced
from ui.create.enlarge_row import EnlargeRow
from ui.create.form_parts import Hint, Section
from ui.create.generate_bar import GenerateBar
from ui.create.quantity_row import QuantityRow
from ui.create.shape_picker import ShapePicker
from ui.create.start_picture import StartPicture
from ui.create.style_cards import StyleCards, StyleFacts
from ui.prompt_editor import PromptEditor
from ui.widgets.basics import Button, IconButton, Label, Line
from ui.widgets.containers import Fold
from ui.widgets.layouts import Column, Row

COLUMN_WIDTH = 376
SCROLL_BAR = 10
# What is wrong here is said at the field; the rest is said above Generate.
PLACED = ("prompt", "mask", "strength", "mask_feather", "enlarge")


class CreateForm(QWidget):
    """Mirrors a CreateSession. `generate_wanted`, `cancel_wanted`, `picture_wanted(Path)`."""

    generate_wanted = Signal()
    cancel_wanted = Signal()
    picture_wanted = Signal(object)

    def __init__(self, app: Application, bridge: Bridge, session: CreateSession, background: Background) -> None:
        super().__init__()
        self._app, self._session = app, session
        self._asked = False  # problems are shown once Generate was pressed, not while the first word is typed
        self._make(app, bridge, session, background)
        self._lay_out()
        self._connect()
        self.refresh_models()
        session.subscribe(self._follow)
        self._show_all()
        theme.notifier.changed.connect(self._rescale)
        self._rescale()

    def _make(self, app: Application, bridge: Bridge, session: CreateSession, background: Background) -> None:
        self.prompt_editor, self.negative_editor = PromptEditor(app, bridge), PromptEditor(app, bridge)
        self.prompt, self.negative = self.prompt_editor.field, self.negative_editor.field
        self.insert_button, self.recent_button = self.prompt_editor.insert_button, self.prompt_editor.recent_button
        self.prompt_editor.set_partner(self.negative_editor)
        self.negative_editor.set_negative(True)
        self.negative_editor.set_placeholder("Leave out, e.g. blurry, text")
        self.negative_editor.show_tools(False)
        self.several_button = IconButton(
            "list-ordered", "Several prompts", "Makes a picture for each line: up to ten prompts at once.",
            size=16, checkable=True,
        )  # fmt: skip
        self.prompt_count = Label("", "small")
        self.words_hint = Hint("triangle-alert", "warning")
        self.prompt_hint = Hint()
        self.negative_hint = Hint()
        self.all_styles = Button("All styles", kind="quiet", tip="Shows every style.")
        self.all_styles.setCheckable(True)
        self.styles = StyleCards()
        self.style_hint = Hint("triangle-alert", "warning")
        self.shape_size = Label("", "small")
        self.shapes = ShapePicker(session.shapes)
        self.size_hint = Hint()
        self.enlarge = EnlargeRow(session)
        self.quantity = QuantityRow(session)
        self.start = StartPicture(app, session, background)
        self.advanced = Advanced(session)
        self.advanced.graph.clicked.connect(lambda: app.commands.run("create.open_as_graph"))
        self.advanced_fold = Fold("Advanced", self.advanced, tip="Model, sampler, schedule, steps, guidance, size.")
        self.bar = GenerateBar()

    def _lay_out(self) -> None:
        whole = Column(self, spacing=0)
        self._scroll = QScrollArea()
        self._scroll.setWidgetResizable(True)
        self._scroll.setFrameShape(QFrame.Shape.NoFrame)
        self._scroll.setAccessibleName("Settings")
        self._inside = QWidget()
        column = Column(self._inside, spacing=2, margins=(2, 1.5, 1, 1.5))
        prompt = Section("Prompt", self.insert_button, self.recent_button, self.several_button)
        for widget in (self.prompt_editor, self.prompt_count, self.prompt_hint, self.words_hint):
            prompt.add(widget)
        prompt.column.addSpacing(theme.space(0.5))
        for widget in (self.negative_editor, self.negative_hint):
            prompt.add(widget)
        styles = Section("Style", self.all_styles)
        styles.add(self.styles)
        styles.add(self.style_hint)
        shape = Section("Shape", self.shape_size)
        shape.add(self.shapes)
        shape.add(self.size_hint)
        start = Section("Start from a picture")
        start.add(self.start)
        for section in (prompt, styles, shape, self.enlarge, self.quantity, start, self.advanced_fold):
            # Never smaller than it wants to be: where there is no room the column scrolls.
            section.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Minimum)
            column.addWidget(section)
        column.addStretch(1)
        self._scroll.setWidget(self._inside)
        whole.addWidget(self._scroll, 1)
        whole.addWidget(Line())
        bottom = Row(margins=(2, 1.5, 2.25, 1.5))
        bottom.addWidget(self.bar)
        whole.addLayout(bottom)

    def _connect(self) -> None:
        self.prompt_editor.text_changed.connect(self._prompt_edited)
        self.prompt_editor.looked_at.connect(self._show_unknown)
        self.negative_editor.text_changed.connect(self._negative_edited)
        for editor in (self.prompt_editor, self.negative_editor):
            editor.submitted.connect(self.generate_wanted)
        self.several_button.toggled.connect(self._several_toggled)
        self.all_styles.toggled.connect(self._all_styles_toggled)
        self.styles.chosen.connect(self._style_chosen)
        self.shapes.chosen.connect(self._shape_chosen)
        self.start.picture_wanted.connect(self.picture_wanted)
        self.bar.generate_wanted.connect(self.generate_wanted)
        self.bar.cancel_wanted.connect(self.cancel_wanted)

    @Slot()
    def _rescale(self) -> None:
        self.setFixedWidth(theme.px(COLUMN_WIDTH))
        # Room for the scroll bar is always kept, so that unfolding moves nothing sideways.
        self._inside.setFixedWidth(theme.px(COLUMN_WIDTH - SCROLL_BAR))

    def scroll_to(self, section: QWidget) -> None:
        """Bring a part of the column into view."""
        self._scroll.ensureWidgetVisible(section, 0, theme.space(2))

    # ---- the model

    def model_entry(self) -> ModelEntry | None:
        """The chosen checkpoint, None when it is not on this machine."""
        try:
            return self._app.models.entry(self._session.request.model)
        except MissingModel:
            return None

    def refresh_models(self) -> None:
        """Look at the models again, and take over what the chosen one recommends."""
        self.advanced.set_models(self._app.models.list("checkpoint"))
        self.advanced.enlarge.set_upscalers(self._app.models.list("upscaler"))
        self._take_model()

    def _take_model(self) -> None:
        entry = self.model_entry()
        self.prompt_editor.set_model(self._session.request.model)
        self.negative_editor.set_model(self._session.request.model)
        if entry is not None:
            self._session.set_facts(ModelFacts(entry.defaults, entry.vocabulary, entry.supports_negative))
        styles = [
            StyleFacts(style.id, style.name, style.use, _style_hint(style, entry)) for style in self._app.styles.all()
        ]
        self.styles.set_styles(styles)
        self.all_styles.setText(f"All {len(styles)}")
        self.shapes.show_sizes(self._session.shape_size)
        self._show_style()

    # ---- following the session

    def _follow(self, change: SessionChange) -> None:
        fields = change.fields
        if "model" in fields:
            self._take_model()
        if fields & {"prompt", "several", "model_facts"}:
            self._show_prompt()
        if fields & {"negative", "model_facts"}:
            self._show_negative()
        if "style" in fields:
            self._show_style()
        if fields & {"width", "height", "model_facts"}:
            self._show_shape()
        self._show_problems()

    def _show_all(self) -> None:
        self._show_prompt()
        self._show_negative()
        self._show_style()
        self._show_shape()
        self._show_problems()

    def _show_prompt(self) -> None:
        session = self._session
        self.prompt_editor.set_text(session.request.prompt)
        self.prompt_editor.set_several(session.several)
        self.prompt_editor.set_placeholder(
            "One prompt on each line, up to ten" if session.several else "Say what the picture should show"
        )
        self.several_button.setChecked(session.several)
        count = len(session.prompts())
        self.prompt_count.setVisible(session.several)
        self.prompt_count.setText(f"{count} of 10 prompts" if session.several else "")
        self._show_unknown()

    @Slot()
    def _show_unknown(self) -> None:
        self.words_hint.say(unknown_words_sentence(self.prompt_editor.unknown_words()))

    def _show_negative(self) -> None:
        self.negative_editor.set_text(self._session.request.negative)
        unused = self._session.request.negative and not self._session.facts.supports_negative
        self.negative_hint.say("This model does not use a negative prompt." if unused else "")

    def _show_style(self) -> None:
        style = self._session.request.style or "none"
        self.styles.show_choice(style)
        chosen = next((item for item in self._app.styles.all() if item.id == style), None)
        self.style_hint.say("" if chosen is None else _style_hint(chosen, self.model_entry()))

    def _show_shape(self) -> None:
        self.shapes.show_sizes(self._session.shape_size)
        shape = self._session.shape
        self.shapes.show_choice(shape)
        width, height = self._session.size
        name = shape.name if shape else "Own size"
        self.shape_size.setText(f"{name}, {width} × {height} px")

    def ask(self) -> bool:
        """Show what is wrong from now on; whether the request can run. The first field that is wrong gets the focus."""
        self._asked = True
        problems = self._session.problems()
        self._show_problems()
        if "prompt" in problems:
            self.prompt.setFocus()
            self._scroll.verticalScrollBar().setValue(0)
        elif any(name in problems for name in self.advanced.fields):
            self.advanced_fold.set_open(True)
        return not problems

    def _show_problems(self) -> None:
        problems = self._session.problems()
        if not self._session.prompts() and not self._asked:
            problems.pop("prompt", None)
        if not problems:
            self._asked = False
        self.prompt_hint.say(problems.get("prompt", ""))
        self.start.complain(problems)
        self.advanced.complain(problems)
        self.enlarge.complain(problems.get("enlarge", ""))
        size = problems.get("width") or problems.get("height") or ""
        self.size_hint.say("" if self.advanced_fold.is_open() else size)
        hidden = [text for name, text in problems.items() if name not in PLACED and not self.advanced_fold.is_open()]
        self.bar.say(hidden[0] if hidden and not size else "")

    # ---- what the person does

    @Slot(str)
    def _prompt_edited(self, text: str) -> None:
        self._session.update(prompt=text)

    @Slot(str)
    def _negative_edited(self, text: str) -> None:
        self._session.update(negative=text)

    @Slot(bool)
    def _several_toggled(self, several: bool) -> None:
        self._session.set_several(several)

    @Slot(bool)
    def _all_styles_toggled(self, every: bool) -> None:
        self.styles.show_all(every)
        self.all_styles.setText("Fewer" if every else f"All {self.styles.count()}")

    @Slot(str)
    def _style_chosen(self, style: str) -> None:
        self._session.update(style="" if style == "none" else style)

    @Slot(object)
    def _shape_chosen(self, shape: Shape) -> None:
        self._session.set_shape(shape)

    def insertion_menu(self) -> QMenu:
        """Quick insertions of both prompts."""
        return self.prompt_editor.insertion_menu()

    def recent_menu(self) -> QMenu:
        """The last prompts, newest first."""
        return self.prompt_editor.recent_menu()


def _style_hint(style: Style, entry: ModelEntry | None) -> str:
    """Why the model does not honour a style; a style that adds no words can always be honoured."""
    return style.support_sentence(entry) if style.prompt or style.negative else ""
