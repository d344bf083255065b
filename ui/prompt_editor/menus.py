"""The menus of the prompt editor: quick insertions, earlier prompts; and the question for a name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from PySide6.QtWidgets import QMenu

from engine.contracts.errors import clip
from studio_app.application import Application
from studio_app.models.index import ModelEntry
from ui.graph_canvas.choice_popup import Choice, ChoicePopup

if TYPE_CHECKING:
    from ui.prompt_editor.editor import PromptEditor

RECENT_PROMPTS = 20
# What an entry puts at the cursor, where the list then opens.
_LISTS = (("LoRA …", "<lora:"), ("Embedding …", "embedding:"), ("Wildcard …", "__"), ("Style …", "style"))


def insertion_menu(
    editor: PromptEditor, app: Application, entry: ModelEntry | None, *, negative: bool, partner: bool
) -> QMenu:
    """Quick insertions by group; those the model was never shown are there but can't be chosen.

    An action's data is whether it belongs to the negative prompt, or what an entry of `_LISTS` puts in.
    """
    menu = QMenu(editor)
    groups: dict[str, QMenu] = {}
    for insertion in app.prompts.insertions():
        if insertion.negative != negative and not partner:
            continue
        if insertion.group not in groups:
            groups[insertion.group] = menu.addMenu(insertion.group.replace("_", " ").capitalize())
            groups[insertion.group].setToolTipsVisible(True)
        action = groups[insertion.group].addAction(insertion.text)
        action.setData(insertion.negative)
        action.setEnabled(insertion.supported_by(entry) == "full")
        if not action.isEnabled():
            action.setToolTip("This model was never shown these words.")
    for group in groups.values():
        group.menuAction().setEnabled(any(action.isEnabled() for action in group.actions()))
        if not group.menuAction().isEnabled():
            group.setTitle(f"{group.title()} (not known to this model)")
    menu.addSeparator()
    for title, start in _LISTS:
        menu.addAction(title).setData(start)
    return menu


def recent_menu(editor: PromptEditor, app: Application) -> QMenu:
    """The last prompts, newest first; a search over all, favourites, and what keeps this prompt."""
    menu = QMenu(editor)
    menu.setToolTipsVisible(True)
    for text in app.prompts.recent(RECENT_PROMPTS):
        star = "★ " if app.prompts.is_favourite(text) else ""
        action = menu.addAction(star + clip(text, 60).replace("&", "&&"))
        action.setData(text)
        action.setToolTip(clip(text, 400))
    if menu.isEmpty():
        menu.addAction("Your prompts will be here").setEnabled(False)
    menu.addSeparator()
    text = editor.text().strip()
    favourite = app.prompts.is_favourite(text)
    acts: list[tuple[str, Callable[[], object], bool]] = [
        ("Search earlier prompts …", editor.search_history, bool(app.prompts.all_prompts())),
        ("Unmark as favourite" if favourite else "Mark as favourite", editor.toggle_favourite, bool(text)),
        ("Save as style …", editor.keep_as_style, bool(text)),
        ("Save as wildcard …", editor.keep_as_wildcard, bool(text)),
    ]
    for title, act, usable in acts:
        action = menu.addAction(title)
        action.setData(act)
        action.setEnabled(usable)
    menu.triggered.connect(editor.recent_chosen)
    return menu


class NameQuestion:
    """Lists over the window that ask for a text: a name to keep something by, words of an earlier prompt."""

    def __init__(self, editor: PromptEditor) -> None:
        self._editor = editor
        self.popup: ChoicePopup | None = None

    def ask(self, title: str, placeholder: str, take: Callable[[str], object]) -> None:
        """Ask for a name; nothing is taken where it is left."""

        def find(text: str) -> Sequence[Choice]:
            return [Choice(f"{title}: “{text.strip()}”", value=text.strip())] if text.strip() else []

        self._open(title, placeholder, find, lambda choice: take(str(choice.value)), f"{placeholder}, then Enter.")

    def search(self, title: str, find: Callable[[str], Sequence[Choice]], take: Callable[[Choice], object]) -> None:
        self._open(title, "Words of the prompt", find, take, "No earlier prompt has all of these words.")

    def _open(
        self, title: str, placeholder: str, find: Callable[[str], Sequence[Choice]],
        take: Callable[[Choice], object], nothing: str,
    ) -> None:  # fmt: skip
        host = self._editor.window()
        if self.popup is None or self.popup.parent() is not host:
            self.popup = ChoicePopup(host)
            self._editor.destroyed.connect(self.popup.deleteLater)
        self.popup.open_at(self._editor.caret(), title, placeholder, find, take, nothing)
