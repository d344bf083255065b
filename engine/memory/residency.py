"""What of the loaded models is on the card, part by part; the least recently used goes first when room is needed.

A loaded part keeps its masters in main memory (views of a mapped file where the types agree) and never changes them.
For a call its tensors are on the card as the plan says: the whole part, some blocks while the rest is streamed, or
layers. They stay between calls until room is needed, and are then dropped, not copied back. A call that runs out of
memory is made again with less on the card: its result is the same, since a network's forward changes nothing.
"""

from __future__ import annotations

import logging
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import torch

from engine.memory.compiled import pause
from engine.memory.device import Card
from engine.memory.footprint import GIB
from engine.memory.measure import streamed_blocks
from engine.memory.planner import SHARE, Plan
from engine.memory.recovery import is_out_of_memory
from engine.memory.remembered import own_memories
from engine.memory.slots import Resident, Slot, leave, restore, slots_of, unlift
from engine.memory.streaming import BlockStream

log = logging.getLogger(__name__)

Role: TypeAlias = Literal["text", "denoiser", "vae", "other"]
Kind: TypeAlias = Literal["whole", "blocks", "leaves"]
_LEAVES = (torch.nn.Linear, torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d, torch.nn.Embedding)
_METHODS = ("forward", "encode", "decode")
_PHASES = {"text": "text", "denoiser": "denoise", "vae": "decode", "other": "denoise"}


@dataclass(frozen=True)
class Treatment:
    """How one part is kept: whole, or its blocks or layers streamed, of which the first `pinned` stay.

    bits  of a weight: 16 as it is, 8 or 4
    disk  whether streamed blocks come from the mapped file each time instead of a copy in main memory
    kept  how many of those have a copy all the same, the first ones
    """

    kind: Kind = "whole"
    pinned: int = 0
    bits: int = 16
    disk: bool = False
    kept: int = 0

    @classmethod
    def of(cls, plan: Plan) -> Treatment:
        """Of the denoiser under a plan."""
        kinds: dict[str, Kind] = {"pinned": "blocks", "blocks": "blocks", "disk": "blocks", "leaves": "leaves"}
        return cls(kinds.get(plan.residency, "whole"), plan.pinned, plan.bits, plan.residency == "disk", plan.kept)

    def smaller(self, blocks: int) -> Treatment | None:
        """The next that needs less of the card; None after the last."""
        if self.kind == "whole":
            return replace(self, kind="blocks", pinned=blocks // 2)
        if self.kind == "blocks" and self.pinned:
            return replace(self, pinned=0)
        return replace(self, kind="leaves", pinned=0) if self.kind == "blocks" else None


_SAID = {
    "whole": "nothing else is kept beside it now",
    "blocks": "its blocks are now brought as they are needed",
    "leaves": "its layers are now brought one by one",
}


class Part:
    """A loaded network under the residency's care."""

    def __init__(
        self, module: torch.nn.Module, role: Role, title: str, card: Card, tell: Callable[[str], object]
    ) -> None:  # fmt: skip
        self.role, self.title, self._card, self._tell = role, title, card, tell
        self._module = weakref.ref(module)
        self.treatment = Treatment()
        self._resident: Resident | None = None
        self._stream: BlockStream | None = None
        self._depth = 0
        self.blocks = sum(1 for _ in streamed_blocks(module))
        self._memories = own_memories(module)

    @property
    def module(self) -> torch.nn.Module | None:
        return self._module()

    @property
    def bytes(self) -> int:
        """On the card now."""
        return (self._resident.bytes if self._resident else 0) + (self._stream.bytes if self._stream else 0)

    @property
    def host_bytes(self) -> int:
        """In main memory, of the copies that streaming keeps together."""
        return self._stream.host_bytes if self._stream is not None else 0

    @property
    def weights(self) -> int:
        """Of the masters."""
        module = self._module()
        if module is None:
            return 0
        return sum({id(t): t.nbytes for t in (*module.parameters(), *module.buffers())}.values())

    def treat(self, treatment: Treatment) -> None:
        """Keep the part this way from its next call on."""
        if treatment != self.treatment:
            self.release()
            self.treatment = treatment

    def release(self) -> None:
        """Let go of everything on the card and of the copies in main memory that streaming made."""
        if self._stream is not None:
            self._stream.remove()
        self._resident = self._stream = None
        self._forget()
        module = self._module()
        if module is not None and self.treatment.bits < 16:
            unlift(module)

    def drop(self) -> None:
        """Let go of what is on the card; a stream keeps its copies in main memory."""
        if self._resident is not None:
            self._resident.drop()
        if self._stream is not None:
            self._stream.drop()
        self._forget()

    def _forget(self) -> None:
        for each in self._memories:
            each.forget()

    @contextmanager
    def placed(self) -> Iterator[None]:
        """While inside, the part can run."""
        if self._depth or self._module() is None:
            yield
            return
        self._lay_out()
        assert self._resident is not None
        masters = self._resident.enter()
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            leave(masters)

    def _lay_out(self) -> None:
        """Say which tensors stay and which are streamed."""
        module = self._module()
        if self._resident is not None or module is None:
            return
        way = self.treatment
        pause(module, way.kind == "leaves")
        if way.kind == "whole":
            self._resident = Resident(self._card, slots_of(module, way.bits), way.bits)
            return
        if way.kind == "blocks":
            streamed = [block for _, block in streamed_blocks(module)][way.pinned :]
        else:
            streamed = [layer for layer in module.modules() if type(layer) in _LEAVES]
        streamed = [block for block in streamed if next(block.parameters(), None) is not None]
        apart = frozenset(id(block) for block in streamed)
        slots: list[list[Slot]] = [slots_of(block, way.bits) for block in streamed]
        self._resident = Resident(self._card, slots_of(module, way.bits, apart), way.bits)
        if streamed:
            self._stream = BlockStream(
                self._card, streamed, slots, way.bits, from_disk=way.disk, kept=way.kept, tell=self._tell
            )


class Residency:
    """The parts of every loaded model and how they share the card."""

    def __init__(self, card: Card) -> None:
        self.card = card
        self._parts: OrderedDict[int, Part] = OrderedDict()  # least recently used first
        self._plan: Plan | None = None
        self._smaller: Callable[[Plan, str], Plan | None] | None = None
        self.tell: Callable[[str], object] = log.info
        self.on_apart: Callable[[], object] | None = None
        self.refuse: Callable[[], tuple[str, str]] | None = None
        # (role, rows and columns of an autoencoder's latent, else 0) → the most bytes that calls took beside weights.
        self.seen: dict[tuple[Role, int, int], int] = {}
        self.peaks: dict[str, int] = {}  # phase → the most bytes of the card that were in use in it

    @property
    def plan(self) -> Plan | None:
        """What is held to now; None: each part whole while it fits."""
        return self._plan

    def next_plan(self, phase: str) -> Plan | None:
        """The plan to go over to when a phase of the one held to did not fit."""
        return self._smaller(self._plan, phase) if self._plan is not None and self._smaller is not None else None

    @property
    def parts(self) -> tuple[Part, ...]:
        """Every part taken care of, least recently used first."""
        return tuple(self._parts.values())

    @property
    def placed_bytes(self) -> int:
        """Weights on the card now."""
        return sum(part.bytes for part in self._parts.values())

    def adopt(self, module: Any, part: str, title: str = "") -> Callable[[], int]:
        """Take care of a loaded part whose masters are in main memory. What is no network is left as it is.

        The bytes that stand in main memory beside the masters can then be asked for.
        """
        if not isinstance(module, torch.nn.Module):
            return lambda: 0
        if id(module) in self._parts:
            known = self._parts[id(module)]
            return lambda: known.host_bytes
        role: Role = (
            "text" if part.startswith("text_encoder") else "denoiser" if part in ("unet", "transformer")
            else "vae" if part == "vae" else "other"
        )  # fmt: skip
        held = Part(module, role, title or part, self.card, lambda text: self.tell(text))
        if self._plan is not None:
            self._treat(held, self._plan)
        key = id(module)
        self._parts[key] = held
        weakref.finalize(module, self._parts.pop, key, None)
        for name in _METHODS:
            if name == "forward" or (role == "vae" and hasattr(module, name)):
                setattr(module, name, _Guarded(module, name, self, held))
        return lambda: held.host_bytes

    def hold_to(self, plan: Plan | None, smaller: Callable[[Plan, str], Plan | None] | None = None) -> None:
        """Keep parts as a plan says. `smaller(plan, phase)` gives the next one when a phase of it did not fit."""
        self._plan, self._smaller, self.refuse, self.on_apart = plan, smaller, None, None
        if plan is not None:
            for part in self._parts.values():
                self._treat(part, plan)

    def free(self) -> None:
        """Let go of everything on the card."""
        for part in self._parts.values():
            part.release()
            part.treatment = Treatment()
        self._plan = self._smaller = self.refuse = self.on_apart = None
        self.card.clean()

    def make_bare(self) -> None:
        """Drop everything from the card; masters and copies in main memory stay."""
        for part in self._parts.values():
            part.drop()
        self.card.clean()

    def refusal(self) -> tuple[str, str] | None:
        """(what does not fit, what would), where a plan knows."""
        return self.refuse() if self.refuse is not None else None

    @staticmethod
    def _treat(part: Part, plan: Plan) -> None:
        if part.role == "denoiser":
            part.treat(Treatment.of(plan))
        elif part.role == "text":
            reading = next((phase.peak for phase in plan.phases if phase.name == "text"), 0)
            larger = bool(reading) and part.weights * SHARE[plan.bits] > reading  # than the card: planned by blocks
            kind: Kind = "blocks" if larger and part.treatment.kind == "whole" else part.treatment.kind
            part.treat(replace(part.treatment, kind=kind, bits=plan.bits))

    @contextmanager
    def telling(self, tell: Callable[[str], object]) -> Iterator[None]:
        """While inside, `tell` is given one sentence whenever a call has to be made again with less on the card."""
        before, self.tell = self.tell, tell
        try:
            yield
        finally:
            self.tell = before

    # One call of a part

    def run(self, part: Part, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """A call of a part; made again with less on the card when memory runs out."""
        while True:
            try:
                self._make_room(part)
                with part.placed():
                    self.card.watch()
                    made = forward(*args, **kwargs)
                    self._see(part, args)
                    return made
            except (RuntimeError, MemoryError) as error:
                # A call that someone counts the operations of (tiling does) can't be made twice unseen.
                watched = torch._C._len_torch_function_stack() > 0
                if part._depth or watched or not is_out_of_memory(error):
                    raise
                lost = str(error)
            # Outside the except block: the exception held the tensors of the call.
            self.card.clean()
            said = self._retreat(part)
            if said is None:
                raise torch.OutOfMemoryError(lost)
            self.tell(f"The card ran out of memory in the {part.title}; {said}.")

    def _see(self, part: Part, args: Any) -> None:
        """Note what a call that has just ended took beside all weights on the card."""
        highest, phase = self.card.highest(), _PHASES[part.role]
        self.peaks[phase] = max(self.peaks.get(phase, 0), highest)
        beside = highest - self.placed_bytes
        if beside > 0:
            shape = tuple(args[0].shape[-2:]) if part.role == "vae" and args and torch.is_tensor(args[0]) else (0, 0)
            key = part.role, int(shape[0]), int(shape[1])
            self.seen[key] = max(self.seen.get(key, 0), beside)

    def _make_room(self, part: Part) -> None:
        """Drop what must not, or can't, stay beside a part that is about to run."""
        self._parts.move_to_end(next(key for key, held in self._parts.items() if held is part))
        plan = self._plan
        others = [held for held in self._parts.values() if held is not part and held.bytes]
        alone = plan is not None and plan.residency not in ("all", "text_first")
        for held in others:
            company = {part.role, held.role} == {"denoiser", "other"}  # a ControlNet counts with its denoiser
            apart = plan is not None and plan.residency == "text_first" and "text" in (part.role, held.role)
            if (alone or (apart and part.role != held.role)) and not company:
                held.drop()
        room = self.card.budget - self._needed(part)
        for held in others:
            if self.placed_bytes - part.bytes <= room:
                break
            held.drop()
        if plan is None and part.treatment.kind == "whole" and part.weights > self.card.budget - min(
            GIB // 4, self.card.budget // 8
        ):  # fmt: skip
            part.treat(replace(part.treatment, kind="blocks"))

    def _needed(self, part: Part) -> int:
        """Bytes that a part's phase takes, its weights included."""
        phase = next((p for p in self._plan.phases if p.name == _PHASES[part.role]), None) if self._plan else None
        if phase is not None and phase.peak <= self.card.budget:
            return phase.peak
        return part.weights if part.treatment.kind == "whole" else 0

    def _retreat(self, part: Part) -> str | None:
        """Keep less on the card; what is done now, None when nothing is left to do."""
        others = [held for held in self._parts.values() if held is not part and held.bytes]
        if others:
            for held in others:
                held.drop()
            return _SAID["whole"]
        if part.role == "denoiser" and self._plan is not None:
            plan = self.next_plan("denoise")
            if plan is not None and plan.apart == self._plan.apart:
                self._plan = plan
                part.treat(Treatment.of(plan))
                return _SAID[part.treatment.kind]
        smaller = part.treatment.smaller(part.blocks)
        if smaller is None:
            return None
        part.treat(smaller)
        return _SAID[smaller.kind]


class _Guarded:
    """A network's forward (or encode, or decode) that the residency makes room for."""

    def __init__(self, module: torch.nn.Module, name: str, residency: Residency, part: Part) -> None:
        self._before = vars(module).get(name)
        self._module, self._name, self._residency, self._part = weakref.ref(module), name, residency, part

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._part._depth:  # the part's own call of itself
            return self._own(*args, **kwargs)
        return self._residency.run(self._part, self._own, args, kwargs)

    def _own(self, *args: Any, **kwargs: Any) -> Any:
        if self._before is not None:
            return self._before(*args, **kwargs)
        module: Any = self._module()
        return getattr(type(module), self._name)(module, *args, **kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        copied = memo[id(self._module())]
        return getattr(type(copied), self._name).__get__(copied)


__all__ = ["Part", "Residency", "Role", "Treatment", "restore"]
