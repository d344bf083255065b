"""What a workspace is: a page of the main window. The frame knows nothing else of it."""

from __future__ import annotations

from typing import Any, ClassVar

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QWidget

from engine.contracts.references import ModelRef


class Workspace(QWidget):
    """A page of the main window. Subclasses are made as `Subclass(app, bridge)` the first time they are shown.

    title, icon_name   shown on the rail; `icon_name` is a file of resources/icons
    model_changed      fires with a ModelRef when the workspace's own model changes, so that the top bar follows
    model_wanted       fires with a ModelRef that Create is to work with from now on
    words_wanted       fires with words for Create's prompt
    """

    title: ClassVar[str] = ""
    icon_name: ClassVar[str] = ""
    model_changed = Signal(object)
    sent = Signal(str, object)  # title of another page, and what it shall show: see `receive`
    model_wanted = Signal(object)
    words_wanted = Signal(str)

    def inspector(self) -> QWidget | None:
        """The settings of what is selected, for the column at the right; None when there is nothing to inspect."""
        return None

    def save_state(self) -> dict[str, Any]:
        """Plain JSON values that bring the page back; kept in the settings."""
        return {}

    def restore_state(self, state: dict[str, Any]) -> None:
        """Bring back what `save_state` gave; unknown or missing parts are left at their defaults."""

    def model(self) -> ModelRef | None:
        """The model this page works with; None hides the model chooser of the top bar."""
        return None

    def set_model(self, model: ModelRef) -> None:
        """The person chose another model in the top bar."""

    def show_result(self, record_id: str) -> None:
        """A picture was picked in the filmstrip: show it large."""

    def receive(self, thing: object) -> None:
        """Another page hands something over: a JobSpec or an ImageRequest to go on with here."""

    def missing_nodes(self) -> tuple[str, ...]:
        """The node types that what is in front asks for and this studio lacks."""
        return ()

    def start_with(self, prompt: str) -> None:
        """Fill in `prompt` and make the picture: the first picture in one click."""

    def add_words(self, words: str) -> None:
        """Add to the prompt what another page chose, such as a LoRA."""

    def take_focus(self) -> None:
        """Put the keyboard where the work starts: after the window opened, after a card over the page went."""

    def set_covered(self, covered: bool) -> None:
        """A card lies over the page: hide what an empty place says, so that no words look out behind the card."""

    def close_down(self) -> None:
        """The window closes: keep what must be kept, and leave no thread or timer behind."""

    def set_mode(self, mode: str) -> None:
        """ "simple" shows what a first picture needs, "advanced" every setting."""
