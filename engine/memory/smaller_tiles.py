"""Work in tiles that goes on in smaller ones when memory runs out on the card. Torch-free."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from engine.memory.recovery import is_out_of_memory, refused

T = TypeVar("T")
LEAST = 64  # pixels


def in_smaller_tiles(ctx: Any, asked: int, edge: int, made: Callable[[int], T], done: str) -> T:
    """What `made(tile)` gives for tiles of `asked` pixels; where memory runs out once more with nothing else on the
    card, then in tiles of half the edge, and half of that.

    edge  the longer of the picture: tiles that hold all of it are no smaller than one another. Pixels
    done  what happens to the picture, for the one line that the person is told each time: "decoded"

    Raises OutOfMemory.
    """
    memory = getattr(ctx.session, "memory", None)
    if memory is None:
        return made(asked)
    halves = [asked >> times for times in range(1, asked.bit_length())]
    sizes = [asked, asked, *(size for size in halves if LEAST <= size < edge)]
    for place, size in enumerate(sizes):
        try:
            with memory.telling(lambda text: ctx.log(text, "warning")):
                return made(size)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        # Outside the except block: the exception held the tensors.
        memory.make_bare()
        if place + 1 < len(sizes):
            how = "with nothing else on the card" if place == 0 else f"in tiles of {sizes[place + 1]} pixels"
            ctx.log(f"Memory ran out; the picture is {done} {how}.", "warning")
    raise refused(memory)
