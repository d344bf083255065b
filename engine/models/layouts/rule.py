"""Where the tensors of a file go in the studio's models: renaming, splitting and turning, told without torch.

Single files keep the names of the code that trained them; the models here are diffusers' and transformers'. A `Rule`
says for one original module which modules it becomes; `Table` applies rules to the names and shapes of a file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Placement:
    """One target of a source tensor. The steps apply in the order of the fields.

    `rows` takes rows start..stop of axis 0; `swap_halves` exchanges the halves of axis 0 (shift, scale → scale,
    shift); `transpose` turns a matrix; `squeeze` drops the trailing axes of size 1 of a 1×1 convolution.
    """

    target: str
    rows: tuple[int, int] | None = None
    swap_halves: bool = False
    transpose: bool = False
    squeeze: bool = False


@dataclass(frozen=True)
class KeyMap:
    """Where each tensor of a part goes.

    `placements` names every tensor that is needed by the key it has in the file. `unused` are the part's tensors that
    nothing here knows; what is only of use in training (averages, noise schedules, position numbers) is left out of
    both. `scales` gives for a weight kept as fp8 the key of the number it is multiplied by. `identity` are targets that
    the file leaves out and that are the identity matrix (CLIP-L's projection where none was trained); `bypassed` are
    modules that the file is meant to lack and that are to be replaced by torch.nn.Identity (the last norm of a text
    encoder cut after the last layer read; Qwen2.5-VL's eyes).
    """

    placements: Mapping[str, tuple[Placement, ...]]
    unused: tuple[str, ...] = ()
    scales: Mapping[str, str] = field(default_factory=dict)
    identity: tuple[str, ...] = ()
    bypassed: tuple[str, ...] = ()

    def targets(self) -> Iterator[str]:
        """Every target, in the order of the file."""
        return (placement.target for placements in self.placements.values() for placement in placements)


def apply(placement: Placement, tensor: Tensor) -> Tensor:
    """The tensor as the target wants it: a view wherever one is possible, else (swapped halves) a copy."""
    if placement.rows is not None:
        tensor = tensor[placement.rows[0] : placement.rows[1]]
    if placement.swap_halves:
        tensor = tensor.roll(tensor.shape[0] // 2, 0)
    if placement.transpose:
        tensor = tensor.transpose(0, 1)
    if placement.squeeze:
        tensor = tensor.reshape(tensor.shape[:2])
    return tensor


def placed_shape(placement: Placement, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that `apply` gives a tensor of this shape."""
    if placement.rows is not None:
        shape = (placement.rows[1] - placement.rows[0], *shape[1:])
    if placement.transpose:
        shape = (shape[1], shape[0], *shape[2:])
    return shape[:2] if placement.squeeze else shape


Split = Literal["", "even", "width"]
Flag = Literal["", "always", "last"]


@dataclass(frozen=True)
class Rule:
    """What one original module becomes.

    `split`: "even" gives each target an equal share of the rows (fused query, key, value); "width" gives every target
    but the last as many rows as the module has inputs, and the last one the rest (Flux's linear1: q, k, v, mlp).
    `swap`: "always", or only in the "last" block, whose modulation has two parts and stands in the other order.
    """

    targets: tuple[str, ...]
    split: Split = ""
    swap: Flag = ""
    transpose: bool = False
    inner: bool = True  # False: the last block does not have it


def fused(*targets: str) -> Rule:
    """Query, key and value in one matrix."""
    return Rule(targets, split="even")


def swapped(target: str) -> Rule:
    """A final modulation, which the original reads as (shift, scale)."""
    return Rule((target,), swap="always")


def placements(rule: Rule, number: str, leaf: str, rows: int, width: int, *, last: bool) -> tuple[Placement, ...]:
    """The placements of one tensor: `rows` long on axis 0, of a module with `width` inputs, in block `number`."""
    ends = _ends(rule, rows, width)
    swap = rule.swap == "always" or (rule.swap == "last" and last)
    return tuple(
        Placement(
            (target.replace("*", number, 1) + (f".{leaf}" if leaf else "")),
            rows=piece,
            swap_halves=swap,
            transpose=rule.transpose,
        )
        for target, piece in zip(rule.targets, ends, strict=True)
    )


def _ends(rule: Rule, rows: int, width: int) -> list[tuple[int, int] | None]:
    count = len(rule.targets)
    if not rule.split:
        return [None] * count
    share = rows // count if rule.split == "even" else width
    starts = [share * index for index in range(count)]
    return [*((start, start + share) for start in starts[:-1]), (starts[-1], rows)]


# The last piece of a tensor's name; what Flux calls `scale` is a weight to diffusers, Wan's `gamma` stays one.
_LEAVES = {"weight": "weight", "bias": "bias", "scale": "weight", "gamma": "gamma", "in_proj_weight": "weight",
           "in_proj_bias": "bias"}  # fmt: skip


@dataclass(frozen=True)
class Table:
    """The rules of one original layout.

    `modules` maps a module's name, the number of its block written as `*`, to its rule; `tensors` maps whole tensors.
    `counts` names for each list of blocks the configuration's entry that says how many there are, or the number.
    """

    modules: Mapping[str, Rule]
    tensors: Mapping[str, Rule] = field(default_factory=dict)
    counts: Mapping[str, str | int] = field(default_factory=dict)

    def place(self, shapes: Shapes) -> dict[str, tuple[Placement, ...]]:
        """The placements of every tensor that the table knows."""
        last = self._last(shapes)
        found: dict[str, tuple[Placement, ...]] = {}
        for key, shape in shapes.items():
            placed = self._placed(key, shape, shapes, last)
            if placed:
                found[key] = placed
        return found

    def _placed(
        self, key: str, shape: tuple[int, ...], shapes: Shapes, last: Mapping[str, int]
    ) -> tuple[Placement, ...]:
        rows = shape[0] if shape else 1
        if key in self.tensors:
            return placements(self.tensors[key], "", "", rows, 0, last=False)
        module, _, name = key.rpartition(".")
        leaf = _LEAVES.get(name, "")
        if not leaf:
            return ()
        if name.startswith("in_proj_"):
            module += ".in_proj"
        rule, number, blocks = self.rule(module)
        if rule is None:
            return ()
        matrix = shapes.get(f"{module}.weight", ()) if rule.split == "width" else ()
        width = matrix[1] if len(matrix) > 1 else 0
        return placements(rule, number, leaf, rows, width, last=bool(number) and int(number) == last.get(blocks))

    def rule(self, module: str) -> tuple[Rule | None, str, str]:
        """(the rule of a module, the number of its block, the list it is in); numbers inside a block belong to it."""
        if module in self.modules:
            return self.modules[module], "", ""
        parts = module.split(".")
        for index, part in enumerate(parts):
            if part.isdigit():
                blocks = ".".join(parts[:index])
                return self.modules.get(".".join((*parts[:index], "*", *parts[index + 1 :]))), part, blocks
        return None, "", ""

    def _last(self, shapes: Shapes) -> dict[str, int]:
        last: dict[str, int] = {}
        for blocks in {name.split(".*")[0] for name in self.modules if ".*" in name}:
            start = len(blocks) + 1
            numbers = {key[start:].partition(".")[0] for key in shapes if key.startswith(blocks + ".")}
            last[blocks] = max((int(number) for number in numbers if number.isdigit()), default=-1)
        return last

    def expand(self, config: Mapping[str, object], width: int, rows: Mapping[str, int]) -> dict[
        str, tuple[Placement, ...]
    ]:  # fmt: skip
        """Every original module of a model of this configuration, with the modules it becomes.

        `width` is the inner width; `rows` says how many outputs a module of split "width" has (its inputs are `width`).
        """
        found: dict[str, tuple[Placement, ...]] = {}
        for name, rule in self.modules.items():
            blocks = name.partition(".*")[0]
            total = rows.get(name, width * len(rule.targets))
            if "*" not in name:
                found[name] = placements(rule, "", "", total, width, last=False)
                continue
            stated = self.counts[blocks]
            count = int(str(config[stated])) if isinstance(stated, str) else stated
            for number in range(count if rule.inner else count - 1):
                found[name.replace("*", str(number), 1)] = placements(
                    rule, str(number), "", total, width, last=number == count - 1
                )
        return found

    def own(self) -> Table:
        """The table of a file that has the target's names already."""
        plain = {target: Rule((target,), inner=rule.inner) for rule in self.modules.values() for target in rule.targets}
        tensors = {target: Rule((target,)) for rule in self.tensors.values() for target in rule.targets}
        counts = {
            target.partition(".*")[0]: self.counts[name.partition(".*")[0]]
            for name, rule in self.modules.items()
            for target in rule.targets
            if "*" in name
        }
        return Table(plain, tensors, counts)


def renamed(found: Mapping[str, tuple[Placement, ...]], prefix: str) -> dict[str, tuple[Placement, ...]]:
    """The same placements, their source keys with `prefix` before them."""
    return {prefix + key: value for key, value in found.items()}


def squeezed(placement: Placement) -> Placement:
    """The placement of a 1×1 convolution into a linear layer."""
    return replace(placement, squeeze=True)
