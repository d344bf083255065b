"""An automatic layout in layers, left to right, after Sugiyama, Tagawa & Toda (1981).

Layers by the longest path, sources pulled next to what they feed; order within layers by barycentres, swept both ways;
heights by the least-squares places that keep the order and the gaps (pool adjacent violators). The same graph always
gives the same layout.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

Point = tuple[float, float]

SWEEPS = 6
COLUMN_GAP = 80.0
ROW_GAP = 40.0
WAY_GAP = 16.0  # between wires that pass a layer
MAX_WAYS = 20_000  # places kept for passing wires; beyond this the longest wires get none


def layered_layout(
    nodes: Sequence[str], wires: Iterable[tuple[str, str]], sizes: Mapping[str, Point]
) -> dict[str, Point]:
    """Top left corners, in canvas pixels from (0, 0), of `nodes` in their order, wired as (source, target).

    `sizes` are (width, height). Wires against the order of a circle are left out of account.
    """
    after: dict[str, list[str]] = {name: [] for name in nodes}
    before: dict[str, list[str]] = {name: [] for name in nodes}
    for source, target in dict.fromkeys(wires):
        if source in after and target in after and source != target:
            after[source].append(target)
            before[target].append(source)
    places: dict[str, Point] = {}
    top = 0.0
    for part in _components(nodes, after, before):
        if len(part) == 1 and not after[part[0]] and not before[part[0]]:
            continue
        laid = _Layers(part, after, sizes).places()
        places |= {name: (x, y + top) for name, (x, y) in laid.items()}
        top += max(y + sizes[name][1] for name, (_, y) in laid.items()) + 2 * ROW_GAP
    return places | _shelf([name for name in nodes if name not in places], sizes, top)


def _components(
    nodes: Sequence[str], after: Mapping[str, list[str]], before: Mapping[str, list[str]]
) -> list[list[str]]:
    seen: set[str] = set()
    rank = {name: index for index, name in enumerate(nodes)}
    found = []
    for start in nodes:
        if start in seen:
            continue
        seen.add(start)
        part, stack = [start], [start]
        while stack:
            name = stack.pop()
            for near in (*after[name], *before[name]):
                if near not in seen:
                    seen.add(near)
                    part.append(near)
                    stack.append(near)
        found.append(sorted(part, key=rank.__getitem__))
    return found


def _shelf(names: list[str], sizes: Mapping[str, Point], top: float) -> dict[str, Point]:
    """Nodes without wires, in rows of up to eight below the rest."""
    places: dict[str, Point] = {}
    for start in range(0, len(names), 8):
        row, x = names[start : start + 8], 0.0
        for name in row:
            places[name] = (x, top)
            x += sizes[name][0] + COLUMN_GAP
        top += max(sizes[name][1] for name in row) + ROW_GAP
    return places


class _Layers:
    """One connected part. Wires that pass a layer stand in it as ways: points of no size, numbered instead of named."""

    def __init__(self, names: list[str], after: Mapping[str, list[str]], sizes: Mapping[str, Point]) -> None:
        index = {name: number for number, name in enumerate(names)}
        self.names = names
        self.sizes = [sizes[name] for name in names]
        forward = _without_circles([[index[t] for t in after[name]] for name in names])
        self.layer = _layers(forward)
        self.rows: list[list[int]] = [[] for _ in range(max(self.layer) + 1)]
        self.right: list[list[int]] = [[] for _ in names]
        self.left: list[list[int]] = [[] for _ in names]
        for number, layer in enumerate(self.layer):
            self.rows[layer].append(number)
        edges = [(a, b) for a, targets in enumerate(forward) for b in targets]
        room = MAX_WAYS
        for a, b in sorted(edges, key=lambda e: (self.layer[e[1]] - self.layer[e[0]], e)):
            steps = self.layer[b] - self.layer[a] - 1
            if steps > room:
                continue
            room -= steps
            last = a
            for layer in range(self.layer[a] + 1, self.layer[b]):
                way = self._way(layer)
                self._link(last, way)
                last = way
            self._link(last, b)

    def _way(self, layer: int) -> int:
        self.layer.append(layer)
        self.right.append([])
        self.left.append([])
        self.rows[layer].append(len(self.layer) - 1)
        return len(self.layer) - 1

    def _link(self, a: int, b: int) -> None:
        self.right[a].append(b)
        self.left[b].append(a)

    def places(self) -> dict[str, Point]:
        self._order()
        centres = self._heights()
        count = len(self.names)
        x, columns = 0.0, []
        for row in self.rows:
            columns.append(x)
            x += max((self.sizes[n][0] for n in row if n < count), default=0.0) + COLUMN_GAP
        tops = [centres[n] - self.sizes[n][1] / 2 for n in range(count)]
        least = min(tops)
        return {self.names[n]: (columns[self.layer[n]], round(tops[n] - least, 1)) for n in range(count)}

    def _order(self) -> None:
        """Sort each layer by the mean place of its neighbours in the one before it, to and fro."""
        best, crossings = [list(row) for row in self.rows], self._crossings()
        for sweep in range(SWEEPS):
            forth = sweep % 2 == 0
            near = self.left if forth else self.right
            layers = range(1, len(self.rows)) if forth else range(len(self.rows) - 2, -1, -1)
            for layer in layers:
                fixed = {n: i for i, n in enumerate(self.rows[layer - 1 if forth else layer + 1])}
                row = self.rows[layer]
                own = {n: i for i, n in enumerate(row)}
                scale = len(fixed) / max(1, len(row))
                key = {
                    n: sum(fixed[m] for m in near[n]) / len(near[n]) if near[n] else own[n] * scale for n in row
                }  # fmt: skip
                row.sort(key=lambda n: (key[n], own[n]))
            found = self._crossings()
            if found < crossings:
                best, crossings = [list(row) for row in self.rows], found
        self.rows = best

    def _crossings(self) -> int:
        """How many wires cross between neighbouring layers, counted by a Fenwick tree in n log n."""
        total = 0
        for layer in range(len(self.rows) - 1):
            place = {n: i for i, n in enumerate(self.rows[layer + 1])}
            tree = [0] * (len(place) + 1)
            laid = 0
            for n in self.rows[layer]:
                ends = sorted(place[m] for m in self.right[n])
                for end in ends:
                    at, below = end + 1, 0
                    while at:
                        below += tree[at]
                        at &= at - 1
                    total += laid - below
                for end in ends:
                    laid, at = laid + 1, end + 1
                    while at < len(tree):
                        tree[at] += 1
                        at += at & -at
        return total

    def _heights(self) -> list[float]:
        """The height of each centre: near the mean of its neighbours', in order, with gaps between."""
        count = len(self.names)
        half = [self.sizes[n][1] / 2 if n < count else 0.0 for n in range(len(self.layer))]
        centres = [0.0] * len(self.layer)
        for row in self.rows:
            y = 0.0
            for n in row:
                centres[n] = y + half[n]
                y += 2 * half[n] + (ROW_GAP if n < count else WAY_GAP)
        for sweep in range(2 * SWEEPS):
            forth = sweep % 2 == 0
            for row in self.rows if forth else reversed(self.rows):
                wanted = []
                for n in row:
                    near = self.left[n] if forth else self.right[n]
                    near = near or self.right[n] or self.left[n]
                    wanted.append(sum(centres[m] for m in near) / len(near) if near else centres[n])
                for n, y in zip(row, self._spaced(row, wanted, half), strict=True):
                    centres[n] = y
        return centres

    def _spaced(self, row: list[int], wanted: list[float], half: list[float]) -> list[float]:
        """The places nearest to `wanted` (least squares) at which the row keeps its order and gaps."""
        count = len(self.names)
        offsets, y = [], 0.0
        for position, n in enumerate(row):
            if position:
                former = row[position - 1]
                y += half[former] + half[n] + (ROW_GAP if max(former, n) < count else WAY_GAP)
            offsets.append(y)
        blocks: list[list[float]] = []  # [sum of wanted − offset, how many]
        for want, offset in zip(wanted, offsets, strict=True):
            blocks.append([want - offset, 1])
            while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] > blocks[-1][0] / blocks[-1][1]:
                total, number = blocks.pop()
                blocks[-1][0] += total
                blocks[-1][1] += number
        means = [total / number for total, number in blocks for _ in range(int(number))]
        return [mean + offset for mean, offset in zip(means, offsets, strict=True)]


def _without_circles(after: list[list[int]]) -> list[list[int]]:
    """The wires without those that close a circle, found by a walk in depth that needs no recursion."""
    state = [0] * len(after)  # 1 on the way, 2 done
    kept: list[list[int]] = [[] for _ in after]
    for start in range(len(after)):
        if state[start]:
            continue
        state[start] = 1
        stack = [(start, iter(after[start]))]
        while stack:
            name, targets = stack[-1]
            for target in targets:
                if state[target] == 1:
                    continue
                kept[name].append(target)
                if state[target] == 0:
                    state[target] = 1
                    stack.append((target, iter(after[target])))
                    break
            else:
                state[name] = 2
                stack.pop()
    return kept


def _layers(after: list[list[int]]) -> list[int]:
    """The layer of each: one after the last that feeds it; then as far right as what it feeds allows."""
    waiting = [0] * len(after)
    for targets in after:
        for target in targets:
            waiting[target] += 1
    layer, order = [0] * len(after), [n for n, count in enumerate(waiting) if not count]
    sources = set(order)
    for name in order:
        for target in after[name]:
            layer[target] = max(layer[target], layer[name] + 1)
            waiting[target] -= 1
            if not waiting[target]:
                order.append(target)
    for name in reversed(order):
        if name in sources and after[name]:
            layer[name] = min(layer[target] for target in after[name]) - 1
    return layer
