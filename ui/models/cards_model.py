"""The cards as Qt sees them: the library's files, those that fit the search and the facets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from PySide6.QtCore import QAbstractListModel, QMimeData, QModelIndex, QObject, Qt

from studio_app.models.library import Listed, searchable
from ui.create.results_model import ENTRY, Index
from ui.models.mime import MODELS, put_paths
from ui.models.words import REFUSED, bases_of, card_lines, drag_words, kind_of


@dataclass(frozen=True)
class Filter:
    """What is shown. "" means all; `kind` may be "refused"."""

    text: str = ""
    kind: str = ""
    base: str = ""
    favourites: bool = False

    def takes(self, item: Listed, words: str) -> bool:
        return (
            (not self.kind or kind_of(item) == self.kind)
            and (not self.base or self.base in bases_of(item))
            and (not self.favourites or item.note.favourite)
            and all(word in words for word in self.text.lower().split())
        )


class CardsModel(QAbstractListModel):
    """Every file once; `chosen_pictures` are the fingerprints with a picture that a person chose."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._items: list[tuple[Listed, str]] = []
        self._shown: list[Listed] = []
        self.filter = Filter()
        self.chosen_pictures: frozenset[str] = frozenset()

    def set_items(self, items: Sequence[tuple[Listed, str]], chosen_pictures: frozenset[str]) -> None:
        """Show these from now on: each with the words it is found by (see `with_words`)."""
        self._items, self.chosen_pictures = list(items), chosen_pictures
        self._refresh()

    def set_filter(self, wanted: Filter) -> None:
        if wanted != self.filter:
            self.filter = wanted
            self._refresh()

    def counts(self) -> Counter[str]:
        """How many there are of each kind, "" for all, "favourites" and "built in", whatever the filter says."""
        found = Counter(kind_of(item) for item, _ in self._items)
        found[""] = len(self._items)
        found["built in"] = sum(item.built_in for item, _ in self._items)
        found["favourites"] = sum(item.note.favourite for item, _ in self._items)
        return found

    def bases(self) -> list[str]:
        """The base models of the shown kind, the most frequent first."""
        one_kind = replace(self.filter, base="", text="")
        found = Counter(base for item, words in self._items if one_kind.takes(item, words) for base in bases_of(item))
        return [base for base, _ in found.most_common()]

    def item(self, row: int) -> Listed | None:
        return self._shown[row] if 0 <= row < len(self._shown) else None

    def row_of(self, path: object) -> int:
        return next((row for row, item in enumerate(self._shown) if item.path == path), -1)

    def touch(self, fingerprint: str) -> None:
        """A small picture came: paint the cards that show it."""
        for row, item in enumerate(self._shown):
            if item.file is not None and item.file.fingerprint == fingerprint:
                self.dataChanged.emit(self.index(row), self.index(row))

    def _refresh(self) -> None:
        self.beginResetModel()
        self._shown = [item for item, words in self._items if self.filter.takes(item, words)]
        self.endResetModel()

    # ---- Qt

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008  (Qt's own signature)
        return 0 if parent.isValid() else len(self._shown)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        item = self.item(index.row())
        if item is None:
            return None
        if role == ENTRY:
            return item
        if role in (Qt.ItemDataRole.AccessibleTextRole, Qt.ItemDataRole.ToolTipRole):
            favourite = " Favourite." if item.note.favourite else ""
            return f"{item.name}: {item.refused or ', '.join(line for line in card_lines(item) if line)}.{favourite}"
        return None

    def flags(self, index: Index) -> Qt.ItemFlag:
        item = self.item(index.row())
        usual = Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable
        return usual | Qt.ItemFlag.ItemIsDragEnabled if item is not None and kind_of(item) != REFUSED else usual

    def mimeTypes(self) -> list[str]:
        return ["text/plain", MODELS]

    def mimeData(self, indexes: Sequence[QModelIndex]) -> QMimeData:
        data = QMimeData()
        items = [item for index in indexes if (item := self.item(index.row())) is not None]
        data.setText(" ".join(drag_words(item) for item in items))
        put_paths(data, [item.path for item in items])
        return data


def with_words(items: Sequence[Listed]) -> list[tuple[Listed, str]]:
    """Each file with the lower-case words it is found by. For worker threads."""
    return [(item, searchable(item)) for item in items]
