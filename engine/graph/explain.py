"""What a job would run, what it would take from the cache, and why: asked before a run, without running anything."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Literal

from engine.contracts.errors import clip
from engine.contracts.job_spec import JobSpec
from engine.graph.bindings import runs_of
from engine.graph.cache import Trace, ValueCache
from engine.graph.execute import prepare, sound_steps
from engine.graph.plan import Step
from engine.graph.registry import Registry
from engine.graph.signatures import CHANGED, DIGEST_BYTES, apply_pins, sign

Action = Literal["run", "maybe", "cached", "pinned", "not_needed"]


@dataclass(frozen=True)
class Explanation:
    """One node: what would happen to it and why, in a sentence without a full stop; its signature if it has one."""

    node: str
    type: str
    action: Action
    reason: str
    signature: str

    def to_json(self) -> dict[str, str]:
        return {
            "node": self.node,
            "type": self.type,
            "action": self.action,
            "reason": self.reason,
            "signature": self.signature,
        }


def explain(spec: JobSpec, registry: Registry, cache: ValueCache) -> list[Explanation]:
    """Every node the targets need, inputs first. For a sweep, its first run. Raises InvalidWorkflow.

    Nodes that others ask for only when they need them are "maybe"; what a node expands into is known when it runs.
    """
    prepared = prepare(spec, registry, runs_of(spec)[0])
    steps = sound_steps(prepared)
    pinned = apply_pins(steps, spec.pins, cache)
    sign(steps, os.urandom(16), spec.allowed_loss)
    sure, maybe = _reached(prepared.targets, cache)
    return [_explain(step, cache, sure, maybe, pinned) for step in steps]


def _reached(targets: list[Step], cache: ValueCache) -> tuple[set[str], set[str]]:
    """The ids that would be asked for surely, and those that may be."""
    sure: set[str] = set()
    maybe: set[str] = set()
    for found, stack in ((sure, list(targets)), (maybe, [])):
        if found is maybe:
            stack = _lazy_sources(targets, sure, cache)
        while stack:
            step = stack.pop()
            if step.id in found or step.id in sure:
                continue
            found.add(step.id)
            if _is_kept(step, cache):
                continue
            asks = step.kind.lazy if step.kind.definition.needs is not None else frozenset()
            stack.extend(wire[1] for wire in step.wires if found is maybe or wire[0] not in asks)
    return sure, maybe


def _lazy_sources(targets: list[Step], sure: set[str], cache: ValueCache) -> list[Step]:
    found: list[Step] = []
    stack, seen = list(targets), set[str]()
    while stack:
        step = stack.pop()
        if step.id in seen or step.id not in sure or _is_kept(step, cache):
            continue
        seen.add(step.id)
        for wire in step.wires:
            (found if wire[0] in step.kind.lazy else stack).append(wire[1])
    return found


def _is_kept(step: Step, cache: ValueCache) -> bool:
    return (step.kind.cacheable or step.pinned) and cache.holds(step.digest, dear=step.kind.schema.effects.dear)


def _explain(step: Step, cache: ValueCache, sure: set[str], maybe: set[str], pinned: set[str]) -> Explanation:
    action: Action
    if step.id in pinned:
        action, reason = "pinned", "its result is pinned"
    elif step.id not in sure and step.id not in maybe:
        action, reason = "not_needed", "what follows it is kept already"
    elif _is_kept(step, cache):
        action, reason = "cached", "nothing it depends on has changed"
    else:
        action, reason = ("run" if step.id in sure else "maybe"), _why(step, cache)
    return Explanation(step.id, step.kind.schema.type, action, reason, step.digest.hex())


def _why(step: Step, cache: ValueCache) -> str:
    kind = step.kind
    if not kind.cacheable:
        return "it runs each time" if kind.output else "its results are not kept"
    if not kind.deterministic:
        return "it gives something new each time"
    last: Trace | None = cache.history.get(step.id)
    if last is None:
        return "it has not run yet"
    header, digest, parts = last
    if digest == step.digest:
        return "its kept result was dropped to make room"
    if header != kind.header:
        same = header.split(b"\n", 1)[0] == kind.header.split(b"\n", 1)[0]
        return "its code has changed" if same else "another node had this place"
    changes = [
        _change(step, name, parts.get(name), step.parts.get(name))
        for name in sorted(parts.keys() | step.parts.keys())
        if parts.get(name) != step.parts.get(name)
    ]
    return "; ".join(changes) if changes else "something it expands into has changed"


def _change(step: Step, name: str, before: bytes | None, now: bytes | None) -> str:
    if name == CHANGED:
        return "what it watches has changed"
    if now is not None and now.startswith(b"@"):
        source = next(wire[1].id for wire in step.wires if wire[0] == name)
        if before is not None and before.startswith(b"@"):
            return f"what reaches its input “{name}” from node “{clip(source, 40)}” has changed"
        return f"its input “{name}” is now linked to node “{clip(source, 40)}”"
    return f"its input “{name}” changed from {_readable(before)} to {_readable(now)}"


def _readable(part: bytes | None) -> str:
    """A signature part as a person would write the value."""
    if part is None:
        return "nothing"
    tag, body = part[:1], part[1:].decode("utf-8", "replace")
    if tag == b"@":
        return f"a link ({part[1 + DIGEST_BYTES :].decode('utf-8', 'replace')})"
    if tag == b"b":
        return "yes" if body == "1" else "no"
    if tag in b"smBNaj":
        body = body.partition(":")[2]
    if tag == b"s":
        return json.dumps(clip(body, 40), ensure_ascii=False)
    if tag == b"a":
        return "other pixels"
    return clip(body, 40)
