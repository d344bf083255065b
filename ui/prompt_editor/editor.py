"""The prompt editor: the field, how many tokens it comes to, and what the model will not read of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PySide6.QtCore import QPoint, QRect, QTimer, Signal, Slot
from PySide6.QtGui import QAction, QImage
from PySide6.QtWidgets import QMenu, QWidget

from engine.contracts.errors import MissingModel, TesseraError, clip
from engine.contracts.references import ModelRef
from engine.recipes.vocabulary import unknown_words
from studio_app.application import Application
from studio_app.models.index import ModelEntry
from studio_app.prompts.catalogue import Named
from studio_app.prompts.completions import Completion, picture_of
from studio_app.prompts.counts import Look, look_at
from ui import theme
from ui.bridge.bridge import Bridge
from ui.graph_canvas.choice_popup import Choice
from ui.prompt_editor.errands import Errands
from ui.prompt_editor.field import PromptField
from ui.prompt_editor.menus import NameQuestion, insertion_menu, recent_menu
from ui.widgets.basics import IconButton, IconLabel, Label, describe
from ui.widgets.layouts import Column, Row

LOOK_MS = 200
AT_ONCE = 1_000  # characters whose unknown words are marked with each key
MOST_SAID = 3  # warnings at once; the rest is in the tooltip
LINES, NEGATIVE_LINES, MOST_LINES = 3, 1, 10


class PromptEditor(QWidget):
    """`text_changed(str)` tells what the person wrote, `submitted()` that Ctrl+Enter was pressed.

    Without a model words and names are completed, but nothing is counted. `looked_at` tells that counts and warnings
    are those of the text as it stands.
    """

    text_changed = Signal(str)
    submitted = Signal()
    looked_at = Signal()

    def __init__(self, app: Application, bridge: Bridge, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._app = app
        self._model: ModelRef | None = None
        self._negative = self._compact = self._several = False
        self._with_buttons = True
        self._partner: PromptEditor | None = None
        self._draft, self._place_in_history = "", -1
        self._errands = Errands(bridge, self)
        self.look = Look()
        self._make()
        self._look_timer = QTimer(self)
        self._look_timer.setSingleShot(True)
        self._look_timer.setInterval(LOOK_MS)
        self._connect()
        self.set_negative(False)

    def _make(self) -> None:
        self.field = PromptField(
            "Prompt", "", lines=LINES, most=MOST_LINES, suggest=self._suggest, ask_picture=self._ask_picture
        )
        self.insert_button = IconButton(
            "plus", "Insert words", "Adds words for quality, style, light and more, a LoRA or a wildcard.", size=16
        )
        self.recent_button = IconButton(
            "history", "Recent prompts", "Brings back a prompt you used before, or keeps this one.", size=16
        )
        self.tokens = Label("", "small")
        self.warning_icon = IconLabel("triangle-alert", 16, "warning")
        self.warnings = Label("", "small", wrap=True)
        self.question = NameQuestion(self)
        column = Column(self, spacing=0.5)
        column.addWidget(self.field, 1)
        self._tools = QWidget()
        row = Row(self._tools, spacing=0.5)
        row.addWidget(self.insert_button)
        row.addWidget(self.recent_button)
        row.addStretch(1)
        row.addWidget(self.tokens)
        column.addWidget(self._tools)
        self._said = QWidget()
        said = Row(self._said, spacing=0.75)
        icon = Column(spacing=0)
        icon.addWidget(self.warning_icon)
        icon.addStretch(1)
        said.addLayout(icon)
        said.addWidget(self.warnings, 1)
        column.addWidget(self._said)
        self._said.hide()
        self.setFocusProxy(self.field)

    def _connect(self) -> None:
        self.field.edited.connect(self._edited)
        self.field.submitted.connect(self.submitted)
        self.field.recall.connect(self.recall)
        self.field.looked.connect(self._prepare)
        self.field.cursorPositionChanged.connect(self._cursor_moved)
        self._look_timer.timeout.connect(self._look)
        self.insert_button.clicked.connect(self._open_insertions)
        self.recent_button.clicked.connect(self._open_recent)

    # ---- what others set

    def text(self) -> str:
        return self.field.toPlainText()

    def set_text(self, text: str) -> None:
        """Show a text that is already the truth elsewhere; `text_changed` stays silent."""
        if text != self.text():
            self.field.show_text(text)
            self._look_later()

    def set_model(self, model: ModelRef | None) -> None:
        """The model that will read the prompt: its LoRAs, its words, its tokens."""
        self._model = model
        self._mark_unknown()
        self._look_later()

    def set_negative(self, negative: bool) -> None:
        """Whether it says what the picture should not show."""
        self._negative = negative
        name = "Negative prompt" if negative else "Prompt"
        tip = "What the picture should not show." if negative else "What the picture should show."
        describe(self.field, name, tip)
        self.setAccessibleName(name)
        if not self._compact:
            self.field.set_lines(NEGATIVE_LINES if negative else LINES)

    def set_partner(self, partner: PromptEditor | None) -> None:
        """The editor of the other side: insertions that belong there go there."""
        self._partner = partner

    def set_several(self, several: bool) -> None:
        """Whether each line is a prompt of its own: then the one with the cursor is counted."""
        self._several = several
        self._look_later()

    def set_placeholder(self, text: str) -> None:
        self.field.setPlaceholderText(text)

    def set_read_only(self, read_only: bool) -> None:
        self.field.setReadOnly(read_only)
        self.insert_button.setEnabled(not read_only)
        self.recent_button.setEnabled(not read_only)

    def focus(self) -> None:
        """Put the cursor into the field."""
        self.field.setFocus()

    def set_compact(self, compact: bool) -> None:
        """On the canvas: as large as its place, no buttons; what is said is in the field's tooltip."""
        self._compact = compact
        lines = NEGATIVE_LINES if self._negative else LINES
        self.field.set_lines(1 if compact else lines, 0 if compact else MOST_LINES)
        self.show_tools(not compact)
        self._show_look()

    def show_tools(self, shown: bool) -> None:
        """Whether the row below the field has its buttons; the count of tokens stands there in any case."""
        self._with_buttons = shown
        for button in (self.insert_button, self.recent_button):
            if button.parent() is self._tools:
                button.setVisible(shown)
        self._show_look()

    # ---- the model

    def entry(self) -> ModelEntry | None:
        """The model that was set, None when there is none or it is not on this machine."""
        try:
            return self._app.models.entry(self._model) if self._model is not None else None
        except MissingModel:
            return None

    def unknown_words(self) -> list[str]:
        """Words that the model was never shown; of a long prompt those at the last look."""
        if self._negative or len(self.text()) > AT_ONCE:
            return [] if self._negative else list(self.look.unknown)
        entry = self.entry()
        return unknown_words(self.text(), entry.vocabulary) if entry is not None else []

    def _mark_unknown(self) -> None:
        self.field.highlighter.set_words(self.unknown_words())

    # ---- writing

    @Slot(str)
    def _edited(self, text: str) -> None:
        self._place_in_history = -1
        self.text_changed.emit(text)
        self._look_later()

    def insert(self, words: str) -> None:
        """Add words to the end, set off by a comma."""
        before = self.text().rstrip()
        glue = "" if not before or before.endswith("\n") else " " if before.endswith(",") else ", "
        self._write(f"{before}{glue}{words}")

    def insert_at_cursor(self, words: str) -> None:
        """Put words where the cursor is, and offer how they go on: “<lora:” lists the LoRAs."""
        self.field.setFocus()
        cursor = self.field.textCursor()
        cursor.insertText(words)
        self.field.setTextCursor(cursor)
        self.field.offer()

    def _write(self, text: str) -> None:
        """Put a whole text in, as the person's own doing."""
        self.field.show_text(text)
        cursor = self.field.textCursor()
        cursor.movePosition(cursor.MoveOperation.End)
        self.field.setTextCursor(cursor)
        self.text_changed.emit(text)
        self._look_later()

    # ---- completions

    def _suggest(self, text: str, cursor: int) -> Sequence[Completion]:
        return self._app.completions.suggest(text, cursor, self._model)

    def _ask_picture(self, named: Named, deliver: Callable[[QImage], object]) -> None:
        def load() -> QImage:
            data = picture_of(self._app, named)
            return QImage.fromData(data) if data else QImage()

        self._errands.run("picture", load, deliver)

    @Slot()
    def _prepare(self) -> None:
        """Look for LoRAs, embeddings and wildcards, away from the window's thread."""
        completions = self._app.completions
        if not completions.ready:
            self._errands.run("catalogue", completions.prepare, lambda found: self._look_later())

    def offer_styles(self) -> None:
        """List the styles at the cursor."""
        self.field.setFocus()
        place = self.field.textCursor().position()
        self.field.offer(self._app.completions.styles(place, self._model))

    # ---- earlier prompts

    @Slot(int)
    def recall(self, step: int) -> None:
        """The prompt before (−1) or after (1) the one that shows; after the newest comes what was being written."""
        recent = self._app.prompts.recent()
        if self._place_in_history < 0:
            self._draft = self.text()
            recent = [text for text in recent if text != self._draft]
        place = self._place_in_history - step
        if not -1 <= place < len(recent) or self.field.isReadOnly():
            return
        self._write(self._draft if place < 0 else recent[place])
        self._place_in_history = place

    def use(self, text: str) -> None:
        """Take an earlier prompt."""
        self._write(text)
        self.field.setFocus()

    # ---- menus

    def insertion_menu(self) -> QMenu:
        """Quick insertions by group, and lists of LoRAs, embeddings, wildcards and styles."""
        menu = insertion_menu(self, self._app, self.entry(), negative=self._negative, partner=self._partner is not None)
        menu.triggered.connect(self._insertion_chosen)
        return menu

    @Slot(QAction)
    def _insertion_chosen(self, action: QAction) -> None:
        chosen = action.data()
        if isinstance(chosen, str):
            if chosen == "style":
                self.offer_styles()
            else:
                self.insert_at_cursor(chosen)
        elif bool(chosen) != self._negative and self._partner is not None:
            self._partner.insert(action.text())
        else:
            self.insert(action.text())
            self.field.setFocus()

    def recent_menu(self) -> QMenu:
        """The last prompts, newest first; then what can be done with this one."""
        return recent_menu(self, self._app)

    @Slot(QAction)
    def recent_chosen(self, action: QAction) -> None:
        """Take a prompt of the menu, or do what its entry says."""
        chosen = action.data()
        if isinstance(chosen, str):
            self.use(chosen)
        elif callable(chosen):
            chosen()

    def search_history(self) -> None:
        """A list of every earlier prompt, favourites first, that narrows while words are typed."""

        def find(words: str) -> Sequence[Choice]:
            prompts = self._app.prompts
            marked = set(prompts.favourites())
            return [
                Choice(clip(text, 120), "★" if text in marked else "", help=text, value=text)
                for text in prompts.search(words)
            ]

        self.question.search("Earlier prompts", find, lambda choice: self.use(str(choice.value)))

    def toggle_favourite(self) -> None:
        """Mark this prompt as a favourite, or take the mark away."""
        prompts, text = self._app.prompts, self.text().strip()
        prompts.set_favourite(text, not prompts.is_favourite(text))

    @Slot()
    def _open_insertions(self) -> None:
        _pop_up(self.insertion_menu(), self.insert_button)

    @Slot()
    def _open_recent(self) -> None:
        _pop_up(self.recent_menu(), self.recent_button)

    # ---- what the model makes of it

    @Slot()
    def _cursor_moved(self) -> None:
        if self._several:
            self._look_timer.start()

    def _look_later(self) -> None:
        self._look_timer.start()
        self._show_row()
        if self._model is not None:
            self._mark_unknown()

    @Slot()
    def _look(self) -> None:
        entry, completions = self.entry(), self._app.completions
        text = self.field.textCursor().block().text() if self._several else self.text()
        catalogue = completions.known
        self._errands.run("look", lambda: look_at(text, entry, catalogue), self._take_look)

    def _take_look(self, look: Look) -> None:
        self.look = look
        self._mark_unknown()
        self._show_look()
        self.looked_at.emit()

    def _show_look(self) -> None:
        counts = " · ".join(count.words for count in self.look.counts)
        self.tokens.setText(counts or " ")  # a blank one is as high: nothing moves when the count comes
        tip = "Tokens of the prompt, and how many the model's text encoder takes."
        describe(self.tokens, f"Tokens: {counts}" if counts else "Tokens", tip)
        self._show_row()
        warnings = self.look.warnings
        shown = "\n".join(warnings[:MOST_SAID])
        self.warnings.setText(shown)
        self.warnings.setToolTip("\n".join(warnings) if len(warnings) > MOST_SAID else "")
        self._said.setAccessibleName(shown)
        self._said.setVisible(bool(warnings) and not self._compact)
        if self._compact:
            said = (self.field.accessibleDescription(), counts, *warnings)
            self.field.setToolTip("\n".join(text for text in said if text))

    def _show_row(self) -> None:
        """The row below the field is there while it has buttons or, once there are words, tokens to count."""
        buttons = (self.insert_button, self.recent_button)
        buttons_here = self._with_buttons and any(button.parent() is self._tools for button in buttons)
        counted = self._model is not None and bool(self.text().strip())
        self._tools.setVisible(not self._compact and (buttons_here or counted))

    # ---- keeping

    def keep_as_style(self) -> None:
        """Ask for a name, then keep the selection, or the whole prompt, as a style."""
        words = self._chosen_words()
        self.question.ask("Save as style", "Name of the style", lambda name: self._keep_style(name, words))

    def keep_as_wildcard(self) -> None:
        """Ask for a name, then keep the selection, or the whole prompt, as choices; the wildcard takes its place."""
        words = self._chosen_words()
        self.question.ask("Save as wildcard", "Name of the wildcard", lambda name: self._keep_wildcard(name, words))

    def _chosen_words(self) -> str:
        return self.field.textCursor().selectedText().replace("\u2029", "\n") or self.text()

    def _keep_style(self, name: str, words: str) -> None:
        from studio_app.prompts.keeping import keep_style

        try:
            style = keep_style(self._app.styles, name, words)
        except TesseraError as error:
            self._app.notifications.post("error", str(error))
            return
        self._app.notifications.post("info", f"The style “{style.name}” is kept.")

    def _keep_wildcard(self, name: str, words: str) -> None:
        from studio_app.prompts.keeping import keep_wildcard

        try:
            name, count = keep_wildcard(self._app.paths.wildcards, name, words)
        except TesseraError as error:
            self._app.notifications.post("error", str(error))
            return
        self._app.completions.forget()
        choices = "1 choice was" if count == 1 else f"{count} choices were"
        self._app.notifications.post("info", f"{choices} added to the wildcard “{name}”.")
        cursor = self.field.textCursor()
        if cursor.hasSelection():
            cursor.insertText(f"__{name}__")

    def caret(self) -> QPoint:
        """Below the cursor, in the window."""
        rect: QRect = self.field.cursorRect()
        return self.field.viewport().mapTo(self.window(), rect.bottomLeft()) + QPoint(0, theme.space(1))


def _pop_up(menu: QMenu, button: QWidget) -> None:
    menu.aboutToHide.connect(menu.deleteLater)
    menu.popup(button.mapToGlobal(QPoint(0, button.height())))
