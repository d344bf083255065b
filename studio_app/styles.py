"""Style presets: data in resources/styles.json, and a person's own in the data folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine.contracts.codec import Document, dump_json, parse_json
from engine.contracts.errors import InvalidDocument, InvalidRequest, UnknownChoice
from engine.recipes.build import StyleText
from studio_app.files import write_atomically
from studio_app.models.index import ModelEntry

Support = Literal["full", "none"]


@dataclass(frozen=True, kw_only=True)
class Style(Document):
    """Words laid over the prompt and the negative prompt. `use` says what it is good for, `example` is a prompt."""

    id: str
    name: str
    prompt: str = ""
    negative: str = ""
    example: str = ""
    use: str = ""

    def supported_by(self, model: ModelEntry | None) -> Support:
        """Whether the model can honour the style: a model with a small vocabulary only those it names."""
        if model is None or not model.vocabulary or self.id in model.styles_supported:
            return "full"
        return "none"

    def support_sentence(self, model: ModelEntry | None) -> str:
        """Why the style has no effect, or "" when it has."""
        if model is None or self.supported_by(model) == "full":
            return ""
        return f"{model.name.capitalize()} has never been shown the style “{self.name}”: it is left out of the prompt."

    def text_for(self, model: ModelEntry | None) -> StyleText:
        """What to lay over the prompt: nothing where the model can't honour it, since the words would only confuse."""
        if self.supported_by(model) == "none":
            return StyleText()
        return StyleText(self.prompt, self.negative)


class Styles:
    """The shipped styles and, after them, the person's own. A person's style with a shipped id takes its place."""

    def __init__(self, shipped: Path, own: Path) -> None:
        self._shipped, self._own = shipped, own
        self._found: dict[str, Style] | None = None
        self.complaints: list[str] = []

    def all(self) -> list[Style]:
        return list(self._loaded().values())

    def get(self, style_id: str) -> Style:
        """The style with this id. Raises UnknownChoice with the nearest ids."""
        found = self._loaded().get(style_id)
        if found is None:
            raise UnknownChoice("style", style_id, tuple(self._loaded()))
        return found

    def add(self, style: Style) -> None:
        """Keep a style of the person's own. Raises InvalidRequest or StorageError."""
        if not style.id or not style.name.strip():
            raise InvalidRequest("a style needs a name")
        own = {s.id: s for s in self._read(self._own)} | {style.id: style}
        write_atomically(self._own, (dump_json({"styles": [s.to_json() for s in own.values()]}) + "\n").encode())
        self._found = None

    def _loaded(self) -> dict[str, Style]:
        if self._found is None:
            self._found = {s.id: s for s in [*self._read(self._shipped), *self._read(self._own)]}
        return self._found

    def _read(self, path: Path) -> list[Style]:
        try:
            data = parse_json(path.read_bytes(), path.name)
            if not isinstance(data, dict) or not isinstance(data.get("styles"), list):
                raise InvalidDocument("it does not hold a list of styles", where=path.name)
            return [Style.from_json(item, f"{path.name}, style {i + 1}") for i, item in enumerate(data["styles"])]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            self.complaints.append(f"{path.name} can't be read ({error.strerror}).")
        except InvalidDocument as error:
            self.complaints.append(str(error))
        return []
