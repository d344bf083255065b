"""Signatures: a Merkle hash per node, linear in the graph, the same in every session, on every machine, for any ids.

A node's signature covers its type, version and code, its literal inputs, and for linked inputs the signature and the
output they come from. Models and pictures count by their content. A constant wired to an input counts as the value
written there, and a reroute as the wire without it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Any

from engine.contracts.job_spec import AllowedLoss
from engine.contracts.workflow import Workflow
from engine.graph.cache import ValueCache, key_of
from engine.graph.plan import Constant, Step, build_plan, in_order
from engine.graph.ports import WrongValue
from engine.graph.registry import NodeType, Registry

DIGEST_BYTES = 16
CHANGED = "!changed"  # the part that holds what a node's `changed` function said; no input can have this name


def sign(steps: Iterable[Step], nonce: bytes = b"", loss: AllowedLoss = "none") -> None:
    """Give each step its digest; the steps come inputs first.

    nonce  stands for this run in the signatures of nodes that are not deterministic
    loss   of the job: nodes that are dear (samplers) may make another result under a looser one
    """
    for step in steps:
        if step.digest or not step.known:
            continue
        kind = step.kind
        parts = step.parts
        for name, source, slot, element in step.wires:
            part = None if source.stands is None else _seen_through(source, kind, name)
            if part is None:
                part = b"@%s%s" % (source.digest, source.kind.output_names[slot].encode())
            parts[name] = part if element < 0 else b"%s[%d]" % (part, element)
        if kind.passes:
            step.stands = _stands(step)
        if kind.definition.changed is not None:
            parts[CHANGED] = changed_part(kind, step, nonce)
        pieces = [kind.header]
        pieces.extend([b"%s=%s;" % (name.encode(), parts[name]) for name in sorted(parts)])
        if loss != "none" and kind.schema.effects.dear:
            pieces.append(b"~%s" % loss.encode())
        if not kind.deterministic:
            pieces.append(b"%s%s" % (nonce, step.id.encode("utf-8", "surrogatepass") if nonce else b""))
        step.digest = blake2b(b"".join(pieces), digest_size=DIGEST_BYTES).digest()


def _stands(step: Step) -> Constant | bytes | None:
    """What a node that passes its input on gives: the constant, or the signature part of the wire that leads to it."""
    name = step.kind.passes
    for wire in step.wires:
        if wire[0] == name:
            stands = wire[1].stands
            return stands if isinstance(stands, Constant) else step.parts[name]
    return Constant(step.literals[name]) if step.literals.get(name) is not None else None


def _seen_through(source: Step, kind: NodeType, name: str) -> bytes | None:
    """The signature part of an input that is wired to `source`; None when it can't take the constant as it stands."""
    stands = source.stands
    if not isinstance(stands, Constant):
        return stands
    port = kind.port(name)
    try:
        return port.read(stands.value)[1] if port is not None else None
    except WrongValue:
        return None


def apply_pins(steps: Iterable[Step], pins: Mapping[str, str], cache: ValueCache) -> set[str]:
    """Give pinned steps the signature of the result that stands for them. Returns the ids of those the cache holds.

    What follows a pinned node is signed by the pinned result, so nothing made from it is ever mistaken for another.
    """
    found: set[str] = set()
    if not pins:
        return found
    for step in steps:
        digest = key_of(pins[step.id]) if step.id in pins else b""
        if digest and cache.holds(digest, dear=True):
            step.digest, step.pinned = digest, True
            found.add(step.id)
    return found


def changed_part(kind: NodeType, step: Step, nonce: bytes) -> bytes:
    """What the node's `changed` function says of its inputs; those not known before a run are None."""
    given: dict[str, Any] = dict.fromkeys(kind.ports)
    given.update(step.literals)
    for wire in step.wires:
        given[wire[0]] = wire[1].stands.value if isinstance(wire[1].stands, Constant) else None
    changed = kind.definition.changed
    if changed is None:
        return b""
    try:
        return b"c" + json.dumps(changed(**given), sort_keys=True, default=repr).encode("utf-8", "surrogatepass")
    except Exception:  # noqa: BLE001  # the node's own code; if it can't tell, the safe answer is that it changed
        return b"?" + nonce


def signatures(workflow: Workflow, registry: Registry) -> dict[str, str]:
    """Node id → signature in hexadecimal, for every node that can have one. Total; see validate for what is wrong."""
    plan = build_plan(workflow, registry)
    problems = list(plan.problems)
    ordered = in_order(plan.steps.values(), problems)
    spoilt = {p.node for p in problems}
    good: list[Step] = []
    for step in ordered:
        if step.id in spoilt or any(wire[1].id in spoilt for wire in step.wires):
            spoilt.add(step.id)
        else:
            good.append(step)
    sign(good)
    by_id = {step.id: step.digest.hex() for step in good}
    return {node_id: by_id[node_id] for node_id in plan.steps if node_id in by_id}
