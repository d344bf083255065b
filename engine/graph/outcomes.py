"""What came of each step, and whom it concerns: those that waited go on or are blocked, events and caches are told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from engine.contracts.errors import NodeFailed
from engine.graph.cache import Kept, Trace, ValueCache
from engine.graph.calls import combine
from engine.graph.context import JobShare, RunContext
from engine.graph.failures import failure_of
from engine.graph.flow import Block
from engine.graph.plan import Step

IDLE, WAITING, READY, RUNNING, DONE, FAILED, BLOCKED = range(7)


class Outcomes:
    """The outcomes of one run's steps. `stopping` is set by the first failure unless the rest may go on.

    on_ready  called with a step whose last input has come
    """

    def __init__(
        self, share: JobShare, cache: ValueCache, on_ready: Callable[[Step], None], *, keep_going: bool
    ) -> None:
        self.succeeded: list[str] = []
        self.cached: list[str] = []
        self.blocked: list[str] = []
        self.failures: list[NodeFailed] = []
        self.traces: dict[str, Trace] = {}
        self.made: set[bytes] = share.made  # signatures of what this job made itself, where nothing else may be used
        # How a step ran is known before its event is heard: whoever hears it may look at what the step gave. The order
        # and the bound of the history are seen to at the end (`ValueCache.remember`).
        self._history = cache.history
        self._anew = share.spec.anew
        self.stopping = False
        self._share, self._events, self._cache = share, share.events, cache
        self._on_ready, self._keep_going = on_ready, keep_going

    def use_kept(self, step: Step, kept: Kept) -> None:
        """Take a step's value from the cache; what it emitted then is emitted again."""
        try:
            for artifact in kept.artifacts:
                self._share.emit_artifact(step.id, artifact, kept.numerics)
        except Exception as error:  # noqa: BLE001  # the runner could not store it; that is this node's failure
            self.fail(step, error, {})
            return
        self.cached.append(step.id)
        step.numerics = kept.numerics
        self.traces[step.id] = self._history[step.id] = (step.kind.header, step.digest, step.parts)
        self._events.emit("node_cached", step.id)
        self._settle(step, kept.outputs, kept.many)

    def succeed(
        self,
        step: Step,
        outputs: tuple[Any, ...],
        many: tuple[bool, ...] | None,
        context: RunContext,
        seconds: float,
    ) -> None:
        """The step ran: its value is kept where it may be, and handed on."""
        kind = step.kind
        step.numerics = tuple(context.notes.items())
        kept = Kept(outputs, many, tuple(context.made), step.numerics)
        if kind.cacheable:
            self._cache.put(step.digest, kept)
            if kind.schema.effects.dear and self._cache.disk is not None:
                self._cache.disk.put(step.digest, kept)
        if self._anew:
            self.made.add(step.digest)
        self.succeeded.append(step.id)
        self.traces[step.id] = self._history[step.id] = (kind.header, step.digest, step.parts)
        self._events.emit("node_finished", step.id, {"seconds": round(seconds, 4)})
        self._settle(step, outputs, many)

    def _settle(self, step: Step, outputs: tuple[Any, ...], many: tuple[bool, ...] | None) -> None:
        """The step has its value: whoever waited for it may go on; what only it needed is let go."""
        step.value, step.many, step.state = outputs, many, DONE
        for wire in step.wires:
            source = wire[1]
            source.uses -= 1
            if source.uses <= 0:
                source.value = None
        waiting, step.dependents = step.dependents, None
        if waiting is not None:
            for other in waiting:
                other.waiting -= 1
                if other.waiting == 0 and other.state == WAITING:
                    self._on_ready(other)

    def pass_block(self, step: Step, block: Block, mapped: bool) -> None:
        """The step makes no call: a block reached it, and goes on to those that follow."""
        outputs, many = combine(step.kind, [block], mapped)
        step.blocked_by = block.reason
        self.blocked.append(step.id)
        self._events.emit("node_blocked", step.id, {"reason": block.reason} if block.reason else None)
        self._settle(step, outputs, many)

    def fail(self, step: Step, error: Exception | SystemExit, given: Mapping[str, Any]) -> None:
        """The step raised; `given` are its inputs, told in short."""
        failed = failure_of(step.id, step.kind.schema.type, error, given)
        self.record_failure(step, failed)

    def record_failure(self, step: Step, failed: NodeFailed) -> None:
        """The step failed, perhaps before the run, for being wrong in the document; what waits for it is blocked."""
        self.failures.append(failed)
        data = {"type": failed.node_type, "cause": failed.cause, "hint": failed.hint, "inputs": failed.inputs}
        self._events.emit("node_failed", step.id, data)
        step.state = FAILED
        if not self._keep_going:
            self.stopping = True
        waiting, step.dependents = step.dependents or [], None
        for other in waiting:
            self.block(other, step.id)

    def block(self, step: Step, because: str) -> None:
        """This step can't run, and so neither can those that wait for it."""
        stack = [step]
        while stack:
            item = stack.pop()
            if item.state >= DONE:
                continue
            item.state = BLOCKED
            item.blocked_by = because
            self.blocked.append(item.id)
            self._events.emit("node_blocked", item.id, {"by": because})
            stack.extend(item.dependents or ())
            item.dependents = None
