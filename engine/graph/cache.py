"""Results kept by signature: a budget in bytes, the least recently used go first, pinned ones stay."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any, Protocol

from engine.graph.measure import Buffers, seal
from engine.graph.numerics import Notes
from engine.graph.values import Artifact

ENTRY_BYTES = 400  # what an entry costs beside its values
HISTORY_NODES = 20_000


class Kept:
    """The outputs of one node run. `many` marks outputs that are lists to be mapped; None when none is. `numerics`
    is what they were computed with, where not whole and exactly."""

    __slots__ = ("artifacts", "buffers", "many", "nbytes", "numerics", "outputs")

    def __init__(
        self, outputs: tuple[Any, ...], many: tuple[bool, ...] | None, artifacts: tuple[Artifact, ...],
        numerics: Notes = (),
    ) -> None:  # fmt: skip
        self.outputs, self.many, self.artifacts, self.numerics = outputs, many, artifacts, numerics
        self.buffers: Buffers = {}
        self.nbytes = ENTRY_BYTES + sum([seal(value, self.buffers) for value in outputs])
        if artifacts:
            self.nbytes += sum(len(a.data) for a in artifacts)


class Tier(Protocol):
    """A second, slower place for what is dear to make."""

    def __contains__(self, digest: bytes) -> bool: ...
    def get(self, digest: bytes) -> Kept | None: ...
    def put(self, digest: bytes, kept: Kept) -> None: ...


class Traits:
    """What the engine has learned of a node type by running it: seconds per call, and whether it uses the session."""

    __slots__ = ("lane_only", "seconds")

    def __init__(self) -> None:
        self.seconds = 0.0
        self.lane_only = False


# (type header, signature, signature parts by input name): how a node last ran, to say why it runs again
Trace = tuple[bytes, bytes, dict[str, bytes]]


class ValueCache:
    """Results by signature within `budget_bytes`, shared by all jobs of one engine. Any thread may use it.

    A buffer that several entries share counts once. Values larger than the budget are not kept.
    """

    def __init__(self, budget_bytes: int, disk: Tier | None = None) -> None:
        self.budget_bytes = budget_bytes
        self.disk = disk
        self.used_bytes = 0
        self.hits = self.misses = self.evictions = 0
        self.traits: dict[str, Traits] = {}
        self.history: OrderedDict[str, Trace] = OrderedDict()
        self._entries: OrderedDict[bytes, Kept] = OrderedDict()
        self._buffers: dict[int, list[int]] = {}  # identity → [bytes, entries that hold it]
        self._pinned: set[bytes] = set()
        self._lock = threading.Lock()

    def get(self, digest: bytes) -> Kept | None:
        """The kept result, now the most recently used; looks in memory only."""
        with self._lock:
            found = self._entries.get(digest)
            if found is None:
                self.misses += 1
                return None
            self.hits += 1
            self._entries.move_to_end(digest)
            return found

    def get_dear(self, digest: bytes) -> Kept | None:
        """From the disk tier, if there is one; what is found is kept in memory again."""
        found = self.disk.get(digest) if self.disk is not None else None
        if found is not None:
            self.put(digest, found)
        return found

    def put(self, digest: bytes, kept: Kept) -> None:
        with self._lock:
            if digest in self._entries:
                self._drop(digest)
            self._entries[digest] = kept
            self.used_bytes += kept.nbytes
            for key, size in kept.buffers.items():
                held = self._buffers.get(key)
                if held is None:
                    self._buffers[key] = [size, 1]
                    self.used_bytes += size
                else:
                    held[1] += 1
            if self.used_bytes > self.budget_bytes:
                self._shrink()

    def pin(self, digest: bytes | str) -> bool:
        """Keep this result whatever the budget. False when it is not here (any more)."""
        key = key_of(digest)
        with self._lock:
            if key not in self._entries:
                return False
            self._pinned.add(key)
            return True

    def pin_node(self, node_id: str) -> str | None:
        """Pin what the node with this id gave last; returns the signature for `JobSpec.pins`, None if it is gone."""
        trace = self.history.get(node_id)
        return trace[1].hex() if trace is not None and self.pin(trace[1]) else None

    def holds(self, digest: bytes, *, dear: bool = False) -> bool:
        """Whether a result is here (with `dear`, on disk counts), without counting as a use."""
        return digest in self._entries or (dear and self.disk is not None and digest in self.disk)

    def unpin(self, digest: bytes | str) -> None:
        with self._lock:
            self._pinned.discard(key_of(digest))
            self._shrink()

    def clear(self) -> None:
        """Drop everything but what is pinned."""
        with self._lock:
            for digest in [d for d in self._entries if d not in self._pinned]:
                self._drop(digest)

    def resize(self, budget_bytes: int) -> None:
        with self._lock:
            self.budget_bytes = budget_bytes
            self._shrink()

    def traits_of(self, type_name: str) -> Traits:
        found = self.traits.get(type_name)
        if found is None:
            found = self.traits[type_name] = Traits()
        return found

    def remember(self, traces: dict[str, Trace]) -> None:
        """Keep how nodes ran, for `explain`; the oldest are forgotten beyond HISTORY_NODES."""
        with self._lock:
            for node_id, trace in traces.items():
                self.history[node_id] = trace
                self.history.move_to_end(node_id)
            while len(self.history) > HISTORY_NODES:
                self.history.popitem(last=False)

    def __contains__(self, digest: object) -> bool:
        return digest in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def _shrink(self) -> None:
        if self.used_bytes <= self.budget_bytes:
            return
        for digest in list(self._entries):
            if digest in self._pinned:
                continue
            self._drop(digest)
            self.evictions += 1
            if self.used_bytes <= self.budget_bytes:
                return

    def _drop(self, digest: bytes) -> None:
        kept = self._entries.pop(digest)
        self.used_bytes -= kept.nbytes
        for key in kept.buffers:
            held = self._buffers[key]
            held[1] -= 1
            if held[1] == 0:
                self.used_bytes -= held[0]
                del self._buffers[key]


def key_of(digest: bytes | str) -> bytes:
    """A signature as bytes, from bytes or hexadecimal; empty when it is neither."""
    if isinstance(digest, bytes):
        return digest
    try:
        return bytes.fromhex(digest)
    except ValueError:
        return b""
