"""A sampling run that goes on after memory ran out: from its last finished step, with less at once.

The step is made again with the generators as they stood, so the picture is the one that would have been.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, TypeAlias

import torch

from engine.contracts.errors import OutOfMemory
from engine.graph.values import ConditioningEntry, LatentValue, ModelHandle
from engine.memory import tiling
from engine.memory.fast import BITS, in_eight_bits
from engine.memory.recovery import is_out_of_memory
from engine.memory.residency import Residency
from engine.sampling.loop import SamplePlan, advance, finish, foreseen, prepare
from engine.sampling.state import SolverState

Latents: TypeAlias = tuple[LatentValue, LatentValue]
TILES = (1024, 768, 512, 256, 128)  # edges in pixels


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
    memory = getattr(session, "memory", None)  # sessions of tests may have none
    if memory is None:
        with in_eight_bits(session.network_of(family)) if fast else nullcontext():
            made = _run(family, latent, plan, None, before_step, after_step, None)
        bits = BITS if fast else 16
    else:
        with memory.telling(log):
            if (hold := getattr(session, "hold_plan", None)) is not None:
                hold(model, family, latent, plan, fast)
            made = _carried_through(memory, family, latent, plan, log, before_step, after_step)
        bits = memory.plan.bits if memory.plan is not None else 16
    if (note := getattr(session, "note_bits", None)) is not None:
        note(model, fast, bits)
    return made


def _carried_through(
    memory: Residency, family: Any, latent: LatentValue, plan: SamplePlan, log: Callable[[str], object],
    before_step: Callable[[int], None], after_step: Callable[[SolverState, int, int], None],
) -> Latents:  # fmt: skip
    """The run, taken up again after each failure for as long as there is something to try."""
    kept: list[SolverState] = []
    if memory.plan is not None and memory.plan.apart:
        plan = replace(plan, apart=True)
        if _separable(latent, plan):
            return _one_by_one(family, latent, plan, None, before_step, after_step)
    freed = False
    while True:
        try:
            return _run(family, latent, plan, kept[-1] if kept else None, before_step, after_step, kept)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        # Outside the except block: the exception held the tensors of the step.
        done = kept[-1].index if kept else 0
        if not freed:
            freed = True
            memory.make_bare()
            log(f"Memory ran out; the run goes on after step {done} with nothing else on the card.")
        elif not plan.apart:
            plan = replace(plan, apart=True)
            memory.make_bare()
            if memory.on_apart is not None:
                memory.on_apart()
            log(f"Memory ran out; the run goes on after step {done}, one side and one picture after the other.")
            if _separable(latent, plan):
                return _one_by_one(family, latent, plan, kept[-1] if kept else None, before_step, after_step)
        else:
            memory.make_bare()
            raise refused(memory)


def decoded(ctx: Any, family: Any, samples: torch.Tensor) -> torch.Tensor:
    """`family.decode` of latents [B, C, h, w], in tiles where the plan says so or memory runs out.

    Raises OutOfMemory.
    """
    return _in_tiles(ctx, family, samples, family.decode, decoding=True)


def encoded(ctx: Any, family: Any, pixels: torch.Tensor) -> torch.Tensor:
    """`family.encode` of pixels [B, 3, H, W], in tiles where memory runs out; raises OutOfMemory."""
    return _in_tiles(ctx, family, pixels, family.encode, decoding=False)


def _in_tiles(
    ctx: Any, family: Any, source: torch.Tensor, run: Callable[[torch.Tensor], torch.Tensor], *, decoding: bool
) -> torch.Tensor:
    memory = getattr(ctx.session, "memory", None)
    if memory is None:
        return run(source)
    factor = 1 if not decoding else family.latent_space.factor
    edge = max(source.shape[-2:]) * factor
    sizes = [0, *(size for size in TILES if size < edge)]
    planned = memory.plan.vae_tile if memory.plan is not None and decoding else 0
    if planned in sizes:
        sizes = sizes[sizes.index(planned) :]
    for place, size in enumerate(sizes):
        try:
            with memory.telling(lambda text: ctx.log(text, "warning")):
                if not size:
                    return run(source)
                cut = tiling.decode if decoding else tiling.encode
                return cut(family, source, size, check=ctx.check_cancelled, progress=ctx.progress)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        # Outside the except block: the exception held the tensors.
        memory.make_bare()
        if place + 1 < len(sizes):
            done = "decoded" if decoding else "encoded"
            ctx.log(f"Memory ran out; the picture is {done} in tiles of {sizes[place + 1]} pixels.", "warning")
    raise refused(memory)


def refused(memory: Any) -> OutOfMemory:
    """What a person is told when nothing more can be done."""
    words = memory.refusal() if memory is not None else None
    what, fix = words or ("the card has too little memory for this", "Make the picture smaller, or fewer at once")
    return OutOfMemory(what, where="memory", fix=fix)


def _run(
    family: Any, latent: LatentValue, plan: SamplePlan, state: SolverState | None,
    before_step: Callable[[int], None], after_step: Callable[[SolverState, int, int], None],
    kept: list[SolverState] | None,
) -> Latents:  # fmt: skip
    prepared = prepare(family, latent, plan)
    first, total = prepared.state.index, prepared.until - prepared.state.index
    if total <= 0:
        return prepared.latent, prepared.latent

    def report(now: SolverState) -> None:
        if kept is not None:
            kept[:] = [now.kept()]
        after_step(now, first, total)

    after_step(state or prepared.state, first, total)
    done = advance(prepared, state.kept() if state else None, before_step=before_step, after_step=report)
    return finish(prepared, done), foreseen(prepared, done)


def _separable(latent: LatentValue, plan: SamplePlan) -> bool:
    """Whether the pictures of a batch can be made one after the other: nothing that steers them is a batch itself."""
    entries: tuple[ConditioningEntry, ...] = (*plan.positive, *plan.negative, *plan.middle)
    plain = all(not {"controls", "references", "regions"} & set(dict(entry.extras)) for entry in entries)
    return latent.samples.shape[0] > 1 and plain and not plan.patches


def _one_by_one(
    family: Any, latent: LatentValue, plan: SamplePlan, state: SolverState | None,
    before_step: Callable[[int], None], after_step: Callable[[SolverState, int, int], None],
) -> Latents:  # fmt: skip
    """A batch picture by picture, from a state in the midst of it. Previews show the picture at work."""
    count = latent.samples.shape[0]
    indices = latent.indices or tuple(range(count))
    made = []
    for place, index in enumerate(indices):
        span = slice(place, place + 1)
        alone = replace(
            latent, samples=latent.samples[span], indices=(index,), noise_mask=_of(latent.noise_mask, span, count),
            inpaint=None if latent.inpaint is None else (
                _of(latent.inpaint[0], span, count), _of(latent.inpaint[1], span, count)
            ),
            inpaint_mask=_of(latent.inpaint_mask, span, count),
        )  # fmt: skip
        mine = None
        if state is not None:
            mine = replace(
                state, latent=state.latent[span], generators=(state.generators[place],),
                history=tuple(_of(item, span, count) for item in state.history),
                denoised=_of(state.denoised, span, count),
            )  # fmt: skip

        def report(now: SolverState, first: int, total: int, place: int = place) -> None:
            after_step(replace(now, index=first + place * total + now.index - first), first, total * count)

        made.append(_run(family, alone, plan, mine, before_step, report, None))
    whole = [
        replace(made[0][i], samples=torch.cat([one[i].samples for one in made]), indices=indices,
                noise_mask=latent.noise_mask, inpaint=latent.inpaint, inpaint_mask=latent.inpaint_mask)
        for i in range(2)
    ]  # fmt: skip
    return whole[0], whole[1]


def _of(tensor: Any, span: slice, count: int) -> Any:
    """One picture's share of what may hold for all."""
    return tensor[span] if tensor is not None and tensor.ndim and tensor.shape[0] == count else tensor
