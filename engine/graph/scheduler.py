"""Running steps: what is asked for runs once its inputs are there, on this thread unless running beside others pays.

One loop on the engine lane. A step is demanded by its consumers (or is a target), waits for the inputs it needs, and
is started when the last one arrives. Async nodes run on an event loop that exists only while there are some; nodes
known to be slow and safe go to a small pool when there is other work; everything that touches the models stays here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

from engine.contracts.errors import Cancelled, InvalidWorkflow, TesseraError
from engine.contracts.workflow import Subgraph
from engine.graph.beside import Beside
from engine.graph.cache import Kept, ValueCache
from engine.graph.calls import Arguments, Outputs, arguments, combine, normalise
from engine.graph.context import JobShare, RunContext
from engine.graph.expansion import Pending, expand
from engine.graph.failures import failure_of
from engine.graph.flow import Block, Expand
from engine.graph.interruption import attending
from engine.graph.numerics import noting, together
from engine.graph.outcomes import DONE, FAILED, IDLE, READY, RUNNING, WAITING, Outcomes
from engine.graph.plan import Step
from engine.graph.registry import Registry
from engine.memory.recovery import is_out_of_memory, refused

POOL_SECONDS = 0.002  # a node quicker than this costs more to hand over than it saves
MAX_STEPS = 200_000  # of one run with all its expansions; an expansion without an end stops here


class Scheduler:
    """Runs the steps of one workflow within one job."""

    def __init__(
        self,
        share: JobShare,
        registry: Registry,
        cache: ValueCache,
        subgraphs: Mapping[str, Subgraph],
        *,
        keep_going: bool,
        nonce: bytes,
    ) -> None:
        self.share, self.registry, self.cache, self.subgraphs = share, registry, cache, subgraphs
        self.nonce = nonce
        self.outcomes = Outcomes(share, cache, self._enqueue, keep_going=keep_going)
        self._events = share.events
        self._ready: list[Step] = []
        self._ready_async: list[Step] = []
        self._demanded: list[Step] = []
        self._hits: list[tuple[Step, Kept]] | None = []
        self._count = 0
        self._anew = share.spec.anew
        self._beside = Beside()

    # ---- the loop

    def run(self, targets: list[Step]) -> None:
        """Make the targets. Raises Cancelled; what came of each node lands in `outcomes`."""
        for step in targets:
            step.uses += 1  # the caller's own use of the value
        cancel = self.share.cancel
        cancel.on_cancel(lambda: self._beside.post(lambda: None))
        try:
            with attending(cancel.check):
                self._demand(targets)
                self._announce()
                self._loop()
        finally:
            self._beside.close()
            self.cache.remember(self.outcomes.traces)
        for step in self._demanded:
            if step.state < DONE:
                self.outcomes.blocked.append(step.id)

    def _loop(self) -> None:
        cancel = self.share.cancel
        while True:
            if cancel.cancelled:
                raise Cancelled
            if self.outcomes.stopping and self._beside.only_async:
                break  # nothing is left in the pool; waiting async nodes are called off
            if self._ready_async and not self.outcomes.stopping:
                self._start(self._ready_async.pop())
            elif self._ready and not self.outcomes.stopping:
                self._beside.step()
                self._start(self._ready.pop())
            elif self._beside.in_flight:
                self._beside.wait()
            else:
                break

    def _announce(self) -> None:
        hits, self._hits = self._hits or [], None
        if self._events.on_event is None:
            for step, kept in hits:
                self.outcomes.use_kept(step, kept)
            return
        runs = [s.id for s in self._demanded if s.state in (WAITING, READY)]
        waiting = {step.id for step, _ in hits}
        runs = [r for r in runs if r not in waiting]
        self._events.emit("planned", "", {"nodes": runs, "cached": len(hits), "runs": len(runs)})
        for step, kept in hits:
            self.outcomes.use_kept(step, kept)

    # ---- demand

    def _demand(self, steps: list[Step]) -> None:
        """Ask for steps; what they need is asked for too, and what is kept already is taken from the cache."""
        stack = [s for s in reversed(steps) if s.state == IDLE]
        while stack:
            step = stack.pop()
            if step.state != IDLE:
                continue
            self._count += 1
            if self._count > MAX_STEPS:
                raise TesseraError(
                    f"the workflow grew to more than {MAX_STEPS:,} nodes while it ran",
                    fix="Look for a loop that does not end",
                )
            step.state = WAITING
            self._demanded.append(step)
            kept = self._kept(step)
            if kept is not None:
                if self._hits is None:
                    self.outcomes.use_kept(step, kept)
                else:
                    self._hits.append((step, kept))
                continue
            kind = step.kind
            if kind.lazy and kind.definition.needs is None:
                step.wanted = set(kind.lazy)
            stack.extend(self._wait_for(step))

    def _wait_for(self, step: Step) -> list[Step]:
        """Count the inputs still missing; returns those nobody asked for yet. Makes the step ready if none is."""
        lazy, wanted = step.kind.lazy, step.wanted
        idle: list[Step] = []
        waiting = 0
        for wire in step.wires:
            if lazy and wire[0] in lazy and (wanted is None or wire[0] not in wanted):
                continue
            source = wire[1]
            state = source.state
            if state == DONE:
                continue
            if state >= FAILED:
                self.outcomes.block(step, source.id)
                return []
            waiting += 1
            if source.dependents is None:
                source.dependents = [step]
            else:
                source.dependents.append(step)
            if state == IDLE:
                idle.append(source)
        step.waiting = waiting
        if waiting == 0:
            self._enqueue(step)
        return idle

    def _kept(self, step: Step) -> Kept | None:
        kind = step.kind
        if not (kind.cacheable or step.pinned):
            return None
        if self._anew and not step.pinned and step.digest not in self.outcomes.made:
            return None
        kept = self.cache.get(step.digest)
        if kept is None and (kind.schema.effects.dear or step.pinned):
            kept = self.cache.get_dear(step.digest)
        return kept

    def _enqueue(self, step: Step) -> None:
        step.state = READY
        if step.kind.definition.is_async and step.resume is None:
            self._ready_async.insert(0, step)
        else:
            self._ready.append(step)

    # ---- running one step

    def _start(self, step: Step) -> None:
        if step.resume is not None:
            resume, step.resume = step.resume, None
            self._finish_expansion(step, resume)
            return
        kind = step.kind
        kept = self._kept(step) if kind.cacheable and step.digest in self.cache else None
        if kept is not None:  # an equal node ran since this one was asked for
            self.outcomes.use_kept(step, kept)
            return
        try:
            calls, mapped = arguments(step)
            if kind.lazy and kind.definition.needs is not None and self._asks_for_more(step, calls):
                return
        except Exception as error:  # noqa: BLE001  # a node's own `needs` may raise anything; it is that node's failure
            self._announce_start(step)
            self.outcomes.fail(step, error, {})
            return
        only = calls[0] if len(calls) == 1 else None
        if isinstance(only, Block):
            self.outcomes.pass_block(step, only, mapped)
            return
        step.state = RUNNING
        self._announce_start(step)
        if kind.definition.is_async:
            self._start_beside(step, calls, mapped)
            return
        traits = self.cache.traits_of(kind.schema.type)
        beside = bool(self._ready or self._beside.in_flight) and traits.seconds >= POOL_SECONDS and not traits.lane_only
        if beside and kind.schema.effects.parallel_safe and not kind.output and self._beside.has_room:
            self._start_beside(step, calls, mapped)
            return
        context = RunContext(self.share, step.id, traits, [wire[1].numerics for wire in step.wires])
        begun = time.perf_counter()
        run = kind.definition.run
        results: list[Outputs] = []
        try:
            with noting(context.notes):
                for call in calls:
                    if isinstance(call, Block):
                        results.append(call)
                    else:
                        results.append(normalise(kind, self._called(step, run, context, call)))
                        if mapped:
                            self.share.cancel.check()
        except Cancelled:
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001  # containment: whatever a node raises is its own failure
            self.outcomes.fail(step, error, _first(calls))
            return
        self._complete(step, results, calls, mapped, context, time.perf_counter() - begun)

    def _called(self, step: Step, run: Callable[..., Any], context: RunContext, call: dict[str, Any]) -> Any:
        """One call of a node. One that ran out of memory on the card is made again when the card is bare.

        Not where calling twice is more than once: what saves, and what is another thing each time.
        """
        effects = step.kind.schema.effects
        if effects.parallel_safe or step.kind.output or not effects.deterministic:
            return run(context, **call)
        try:
            return run(context, **call)
        except (RuntimeError, MemoryError) as error:
            memory = self.share.memory
            if memory is None or not is_out_of_memory(error):
                raise
        # Outside the except block: the exception held the tensors.
        memory.make_bare()
        context.log("Memory ran out; this is done again with nothing else on the card.", "warning")
        try:
            return run(context, **call)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        memory.make_bare()
        raise refused(memory)

    def _announce_start(self, step: Step) -> None:
        self._events.emit("node_started", step.id, {"type": step.kind.schema.type})

    def _asks_for_more(self, step: Step, calls: list[Arguments]) -> bool:
        needs = step.kind.definition.needs
        assert needs is not None
        asked: set[str] = set()
        for call in calls:
            if not isinstance(call, Block):
                asked.update(needs(**call))
        have = step.wanted or set()
        new = (asked & step.kind.lazy) - have
        if not new:
            return False
        step.wanted = have | new
        if not any(wire[0] in new for wire in step.wires):
            return False
        step.state = WAITING
        idle = self._wait_for(step)
        self._demand(idle)
        return True

    def _start_beside(self, step: Step, calls: list[Arguments], mapped: bool) -> None:
        """Start a node that runs on the event loop, or on a thread of the pool."""
        given = [wire[1].numerics for wire in step.wires]
        context = RunContext(self.share, step.id, self.cache.traits_of(step.kind.schema.type), given)
        begun = time.perf_counter()
        run = step.kind.definition.run

        def on_result(results: list[Outputs]) -> None:
            self._complete(step, results, calls, mapped, context, time.perf_counter() - begun)

        def on_error(error: BaseException) -> None:
            if not isinstance(error, (Exception, SystemExit)) or isinstance(error, Cancelled):
                raise error
            self.outcomes.fail(step, error, _first(calls))

        async def one(call: Arguments) -> Outputs:
            if isinstance(call, Block):
                return call
            try:
                return normalise(step.kind, await run(context, **call))
            except SystemExit as error:  # an event loop would end with it
                raise failure_of(step.id, step.kind.schema.type, error, call) from error

        async def side_by_side() -> list[Outputs]:
            return list(await asyncio.gather(*[one(call) for call in calls]))

        def one_by_one() -> list[Outputs]:
            with attending(self.share.cancel.check), noting(context.notes):
                return [c if isinstance(c, Block) else normalise(step.kind, run(context, **c)) for c in calls]

        if step.kind.definition.is_async:
            self._beside.in_loop(side_by_side, on_result, on_error)
        else:
            self._beside.in_pool(one_by_one, on_result, on_error)

    # ---- results

    def _complete(
        self,
        step: Step,
        results: list[Outputs],
        calls: list[Arguments],
        mapped: bool,
        context: RunContext,
        seconds: float,
    ) -> None:
        traits = self.cache.traits_of(step.kind.schema.type)
        traits.seconds = seconds if traits.seconds == 0.0 else 0.7 * traits.seconds + 0.3 * seconds
        for result in results:
            if isinstance(result, Expand):
                self._expand(step, results, calls, mapped, context, seconds)
                return
        outputs, many = combine(step.kind, results, mapped)  # type: ignore[arg-type]
        self.outcomes.succeed(step, outputs, many, context, seconds)

    # ---- expansion

    def _expand(
        self,
        step: Step,
        results: list[Outputs],
        calls: list[Arguments],
        mapped: bool,
        context: RunContext,
        seconds: float,
    ) -> None:
        try:
            loss = self.share.spec.allowed_loss
            pending = expand(step, results, mapped, self.registry, self.subgraphs, self.nonce, loss)
        except (InvalidWorkflow, TesseraError) as error:
            self.outcomes.fail(step, error, _first(calls))
            return
        pending.context, pending.seconds = context, seconds
        step.resume = pending
        step.state = WAITING
        idle: list[Step] = []
        step.waiting = 0
        for source in pending.targets:
            source.uses += 1
            if source.state >= FAILED:
                self.outcomes.block(step, source.id)
                return
            if source.state == DONE:
                continue
            step.waiting += 1
            if source.dependents is None:
                source.dependents = [step]
            else:
                source.dependents.append(step)
            if source.state == IDLE:
                idle.append(source)
        if step.waiting == 0:
            self._enqueue(step)
        else:
            self._demand(idle)

    def _finish_expansion(self, step: Step, pending: Pending) -> None:
        outputs, many = pending.outputs(step)
        notes = pending.context.notes
        notes.update(together([notes.items(), *(source.numerics for source in pending.targets)]))
        for source in pending.targets:
            source.uses -= 1
            if source.uses <= 0:
                source.value = None
        self.outcomes.succeed(step, outputs, many, pending.context, pending.seconds)


def _first(calls: list[Arguments]) -> Mapping[str, Any]:
    return next((call for call in calls if not isinstance(call, Block)), {})
