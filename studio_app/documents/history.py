"""What was done and can be taken back: entries of steps, bounded, with edits of one gesture merged into one entry."""

from __future__ import annotations

from dataclasses import dataclass

from studio_app.documents.steps import Step, coalesced

LIMIT = 5000  # entries; older ones are forgotten


@dataclass(frozen=True)
class Entry:
    """One entry: its label, the gesture it belongs to ("" for none), the open level, and its steps both ways."""

    label: str
    merge: str
    level: tuple[str, ...]
    do: tuple[Step, ...]
    back: tuple[Step, ...]

    def joined(self, later: Entry) -> Entry:
        """This entry with a later one of the same gesture."""
        if len(self.do) == len(later.do) == len(self.back) == len(later.back) == 1:
            do, back = coalesced(self.do[0], later.do[0]), coalesced(later.back[0], self.back[0])
            if do is not None and back is not None:
                return Entry(later.label, self.merge, self.level, (do,), (back,))
        return Entry(later.label, self.merge, self.level, (*self.do, *later.do), (*later.back, *self.back))


class History:
    """Entries done and entries taken back. `mark` names the present state: equal marks, equal states."""

    def __init__(self) -> None:
        self._done: list[tuple[int, Entry]] = []
        self._undone: list[tuple[int, Entry]] = []
        self._bottom = 0
        self._serial = 0
        self._open = False  # whether the newest entry may still be joined

    def add(self, entry: Entry) -> bool:
        """Note an entry; what was taken back can't be done again then. Returns whether it joined the newest one."""
        self._undone.clear()
        self._serial += 1
        joins = bool(entry.merge and self._open and self._done and self._done[-1][1].merge == entry.merge)
        if joins:
            entry = self._done.pop()[1].joined(entry)
        self._done.append((self._serial, entry))
        self._open = bool(entry.merge)
        if len(self._done) > LIMIT:
            self._bottom = self._done.pop(0)[0]
        return joins

    def back(self) -> tuple[Entry, tuple[Step, ...]] | None:
        """The entry to take back and the steps that do; None when there is none."""
        self._open = False
        if not self._done:
            return None
        self._undone.append(self._done.pop())
        entry = self._undone[-1][1]
        return entry, entry.back

    def forth(self) -> tuple[Entry, tuple[Step, ...]] | None:
        """The entry to do again and its steps; None when there is none."""
        self._open = False
        if not self._undone:
            return None
        self._done.append(self._undone.pop())
        entry = self._done[-1][1]
        return entry, entry.do

    def seal(self) -> bool:
        """Let no further edit join the newest entry; whether one could have."""
        was, self._open = self._open, False
        return was

    @property
    def mark(self) -> int:
        return self._done[-1][0] if self._done else self._bottom

    @property
    def sizes(self) -> tuple[int, int]:
        """How many entries can be taken back, and how many done again."""
        return len(self._done), len(self._undone)

    @property
    def can_undo(self) -> bool:
        return bool(self._done)

    @property
    def can_redo(self) -> bool:
        return bool(self._undone)

    @property
    def undo_label(self) -> str:
        return self._done[-1][1].label if self._done else ""

    @property
    def redo_label(self) -> str:
        return self._undone[-1][1].label if self._undone else ""
