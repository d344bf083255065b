"""A sampling run that goes on after memory ran out: from its last finished step, with less at once.

The step is made again with the generators as they stood, so the picture is the one that would have been. A batch goes
on picture by picture, each as it would be alone; only when that does not help either do the sides of the guidance go
one after the other, and the record says so: their answers then differ in the last bits.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch

from engine.graph.numerics import note
from engine.graph.values import ConditioningEntry, Control, LatentValue, ModelHandle
from engine.memory.fast import BITS, eased, in_eight_bits, sums
from engine.memory.measured import Pace
from engine.memory.recovery import is_out_of_memory, refused
from engine.memory.residency import Residency
from engine.sampling.loop import SamplePlan, advance, finish, foreseen, prepare
from engine.sampling.state import SolverState

Latents: TypeAlias = tuple[LatentValue, LatentValue]


@dataclass(frozen=True)
class _Reports:
    """What a run tells: before and after its steps, and in sentences; `apart` whether sides or pictures went apart."""

    before_step: Callable[[int], None]
    after_step: Callable[[SolverState, int, int], None]
    log: Callable[[str], object]
    apart: list[bool]


def sampled(
    session: Any, model: ModelHandle, family: Any, latent: LatentValue, plan: SamplePlan, *,
    log: Callable[[str], object], before_step: Callable[[int], None],
    after_step: Callable[[SolverState, int, int], None], fast: bool = False,
) -> Latents:  # fmt: skip
    """(the latent, the picture its last step headed for).

    fast        whether weights may have eight bits; without a card they have them
    after_step  is told the state, the first step and the number of steps
    log         is given one sentence when memory ran out and the run went on

    Raises OutOfMemory, naming what would fit, when nothing is left to do.
    """
    memory, plans = getattr(session, "memory", None), getattr(session, "plans", None)  # sessions of tests may have none
    pace = Pace(after_step)
    reports = _Reports(before_step, pace, log, [])
    plan = eased(plan, session, fast)
    if remark := getattr(session, "remark", None):
        log(remark)
    if memory is None:
        with in_eight_bits(session.network_of(family)) if fast else nullcontext():
            made = _run(family, latent, plan, None, reports, None)
        bits = BITS if fast else 16
    else:
        with memory.telling(log):
            if plans is not None:
                plans.hold(model, family, latent, plan, fast)
            apart = memory.plan is not None and memory.plan.apart
            with sums(session, family, fast):
                made = _carried_through(memory, family, latent, replace(plan, apart=apart), None, reports)
        bits = memory.plan.bits if memory.plan is not None else 16
    if bits < 16:
        note("quantisation", f"int{bits}")
    if any(reports.apart):
        note("apart", True)
    if plans is not None:
        plans.learn(model, family, latent, plan, pace.step())
    return made


def _carried_through(
    memory: Residency, family: Any, latent: LatentValue, plan: SamplePlan, state: SolverState | None, reports: _Reports
) -> Latents:
    """The run from `state` on, taken up again after each failure for as long as there is something to try."""
    count = latent.samples.shape[0]
    kept: list[SolverState] = [] if state is None else [state]
    freed = -1  # the step after which it was last tried with a bare card
    while True:
        if plan.apart and count > 1:
            return _one_by_one(memory, family, latent, plan, kept[-1] if kept else None, reports)
        try:
            made = _run(family, latent, plan, kept[-1] if kept else None, reports, kept)
            reports.apart.append(plan.apart)
            return made
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        # Outside the except block: the exception held the tensors of the step.
        done = kept[-1].index if kept else 0
        on = f"the run goes on after step {done}" if done else "the run begins again"
        memory.make_bare()
        if freed < done:
            freed = done
            reports.log(f"Memory ran out; {on} with nothing else on the card.")
        elif count > 1:
            reports.log(f"Memory ran out; {on}, one picture after the other.")
            return _one_by_one(memory, family, latent, plan, kept[-1] if kept else None, reports)
        elif not plan.apart:
            plan = replace(plan, apart=True)
            if memory.on_apart is not None:
                memory.on_apart()
            reports.log(f"Memory ran out; {on}, one side of the guidance after the other.")
        else:
            raise refused(memory)


def _run(
    family: Any, latent: LatentValue, plan: SamplePlan, state: SolverState | None, reports: _Reports,
    kept: list[SolverState] | None,
) -> Latents:  # fmt: skip
    prepared = prepare(family, latent, plan)
    first, total = prepared.state.index, prepared.until - prepared.state.index
    if total <= 0:
        return prepared.latent, prepared.latent

    def report(now: SolverState) -> None:
        if kept is not None:
            kept[:] = [now.kept()]
        reports.after_step(now, first, total)

    reports.after_step(state or prepared.state, first, total)
    done = advance(prepared, state.kept() if state else None, before_step=reports.before_step, after_step=report)
    return finish(prepared, done), foreseen(prepared, done)


def _one_by_one(
    memory: Residency, family: Any, latent: LatentValue, plan: SamplePlan, state: SolverState | None, reports: _Reports
) -> Latents:
    """A batch picture by picture, from a state in the midst of it. Previews show the picture at work.

    Nothing that a run is given mixes pictures: noise is drawn for each, control pictures, masks and second pictures are
    shared or one for each, references, regions and the pictures of adapters are shared, and so is what patches say.
    """
    count = latent.samples.shape[0]
    indices = latent.indices or tuple(range(count))
    reports.apart.append(True)
    made = []
    for place in range(count):

        def report(now: SolverState, first: int, total: int, place: int = place) -> None:
            reports.after_step(replace(now, index=first + place * total + now.index - first), first, total * count)

        alone = replace(reports, after_step=report)
        split = getattr(family, "for_picture", None)  # windows with a guide for each picture
        made.append(
            _carried_through(
                memory, family if split is None else split(place, count), _latent_of(latent, place),
                _plan_of(plan, place, count), None if state is None else _state_of(state, place, count), alone,
            )
        )  # fmt: skip
    whole = [
        replace(made[0][i], samples=torch.cat([one[i].samples for one in made]), indices=indices,
                noise_mask=latent.noise_mask, inpaint=latent.inpaint, inpaint_mask=latent.inpaint_mask)
        for i in range(2)
    ]  # fmt: skip
    return whole[0], whole[1]


def _latent_of(latent: LatentValue, place: int) -> LatentValue:
    """One picture of a batch, with the noise that it has in it."""
    count = latent.samples.shape[0]
    inpaint = latent.inpaint
    return replace(
        latent, samples=latent.samples[place : place + 1],
        indices=((latent.indices or tuple(range(count)))[place],), noise_mask=_of(latent.noise_mask, place, count),
        inpaint=None if inpaint is None else (_of(inpaint[0], place, count), _of(inpaint[1], place, count)),
        inpaint_mask=_of(latent.inpaint_mask, place, count),
    )  # fmt: skip


def _state_of(state: SolverState, place: int, count: int) -> SolverState:
    return replace(
        state, latent=state.latent[place : place + 1], generators=(state.generators[place],),
        history=tuple(_of(item, place, count) for item in state.history), denoised=_of(state.denoised, place, count),
        reused=None if state.reused is None else state.reused.of(place),
    )  # fmt: skip


def _plan_of(plan: SamplePlan, place: int, count: int) -> SamplePlan:
    """The plan with each prompt's share for one picture of `count`."""
    shares: dict[int, Any] = {}  # what prompts have in common stays common: by it is told what can go as one batch

    def share(name: str, whole: Any) -> Any:
        if name not in ("controls", "channels"):
            return whole
        if id(whole) not in shares:
            shares[id(whole)] = (
                tuple(control(item) for item in whole) if name == "controls" else _of(whole, place, count)
            )
        return shares[id(whole)]

    def control(whole: Control) -> Control:
        if id(whole) not in shares:
            shares[id(whole)] = replace(
                whole, image=_of(whole.image, place, count), latent=_of(whole.latent, place, count)
            )
        made: Control = shares[id(whole)]
        return made

    def entry(whole: ConditioningEntry) -> ConditioningEntry:
        return replace(whole, extras=tuple((name, share(name, value)) for name, value in whole.extras))

    positive, negative, middle = (
        tuple(entry(item) for item in side) for side in (plan.positive, plan.negative, plan.middle)
    )
    return replace(plan, positive=positive, negative=negative, middle=middle)


def _of(whole: Any, place: int, count: int) -> Any:
    """One picture's share of a tensor or an array that may hold for all."""
    return whole[place : place + 1] if whole is not None and whole.ndim and whole.shape[0] == count else whole
