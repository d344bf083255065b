"""A topological order that is kept up as wires come and go, so that "would this close a circle?" is quick.

Pearce & Kelly, "A dynamic topological sort algorithm for directed acyclic graphs" (2007): a wire that agrees with the
order costs nothing; one against it reorders only the nodes between its ends. Circles that a document was opened with
are allowed: their closing wires stand aside until a cut makes them fit.
"""

from __future__ import annotations

from collections.abc import Iterable


class AcyclicOrder:
    """Nodes by name, the wires between them (one per pair), and a place for each node before all that it feeds."""

    def __init__(self) -> None:
        self.after: dict[str, set[str]] = {}
        self.before: dict[str, set[str]] = {}
        self._place: dict[str, int] = {}
        self._past: dict[str, int] = {}  # places of nodes that are gone: one that comes back by undo mostly fits there
        self._next = 0
        self._aside: set[tuple[str, str]] = set()

    def add(self, name: str) -> None:
        """A node whose wires are told afterwards."""
        place = self._past.pop(name, self._next)
        self._next = max(self._next, place + 1)
        self._place[name] = place
        self.after.setdefault(name, set())
        self.before.setdefault(name, set())

    def remove(self, name: str) -> None:
        """Forget a node and its wires."""
        self._past[name] = self._place.pop(name)
        for target in self.after.pop(name):
            self.before[target].discard(name)
        for source in self.before.pop(name):
            self.after[source].discard(name)
        self._aside = {pair for pair in self._aside if name not in pair} if self._aside else self._aside
        self._retry()

    def connect(self, source: str, target: str) -> None:
        """A wire between two known nodes, whether or not it closes a circle."""
        if target in self.after[source]:
            return
        self.after[source].add(target)
        self.before[target].add(source)
        if not self._order(source, target):
            self._aside.add((source, target))

    def disconnect(self, source: str, target: str) -> None:
        self.after[source].discard(target)
        self.before[target].discard(source)
        self._aside.discard((source, target))
        self._retry()

    def reaches(self, start: str, goal: str) -> bool:
        """Whether wires lead from `start` to `goal` (or they are one)."""
        if start == goal:
            return True
        limit = None if self._aside else self._place[goal]
        if limit is not None and self._place[start] > limit:
            return False
        return goal in _walk(start, self.after, self._place, None, limit, goal)

    def downstream(self, names: Iterable[str]) -> set[str]:
        """These and everything they feed."""
        return _closure(names, self.after)

    def upstream(self, names: Iterable[str]) -> set[str]:
        """These and everything that feeds them."""
        return _closure(names, self.before)

    def _order(self, source: str, target: str) -> bool:
        """Make the order agree with a wire; False when it closes a circle."""
        place = self._place
        low, high = place[target], place[source]
        if source == target:
            return False
        if high < low:
            return True
        forward = _walk(target, self.after, place, None, high, source, self._aside)
        if source in forward:
            return False
        backward = _walk(source, self.before, place, low, None, None, self._aside, turned=True)
        moving = sorted(backward, key=place.__getitem__) + sorted(forward, key=place.__getitem__)
        for name, at in zip(moving, sorted(place[n] for n in moving), strict=True):
            place[name] = at
        return True

    def _retry(self) -> None:
        for pair in list(self._aside):
            self._aside.discard(pair)
            if not self._order(*pair):
                self._aside.add(pair)


def _walk(
    start: str,
    edges: dict[str, set[str]],
    place: dict[str, int],
    low: int | None,
    high: int | None,
    goal: str | None,
    aside: set[tuple[str, str]] | None = None,
    *,
    turned: bool = False,
) -> set[str]:
    """What can be reached within the places low…high, stopping at `goal`; wires that stand aside are not followed."""
    seen, stack = {start}, [start]
    while stack:
        name = stack.pop()
        for near in edges[name]:
            if near in seen or (low is not None and place[near] < low) or (high is not None and place[near] > high):
                continue
            if aside and ((near, name) if turned else (name, near)) in aside:
                continue
            seen.add(near)
            if near == goal:
                return seen
            stack.append(near)
    return seen


def _closure(names: Iterable[str], edges: dict[str, set[str]]) -> set[str]:
    seen = {n for n in names if n in edges}
    stack = list(seen)
    while stack:
        for near in edges[stack.pop()]:
            if near not in seen:
                seen.add(near)
                stack.append(near)
    return seen
