"""Running a job: read, check, sign, run; one result that says what succeeded, failed and was blocked."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.contracts.errors import Cancelled, InvalidWorkflow, NodeFailed, Problem, TesseraError, clip, suggest
from engine.contracts.job_events import Outcome
from engine.contracts.job_spec import JobSpec
from engine.graph.bindings import runs_of, spec_of_run
from engine.graph.cache import ValueCache
from engine.graph.context import JobShare, OnArtifact, OnPreview
from engine.graph.events import EventStream, OnEvent
from engine.graph.numerics import Noted
from engine.graph.plan import Plan, Step, build_plan, in_order
from engine.graph.registry import Registry
from engine.graph.scheduler import Scheduler
from engine.graph.services import CancelToken, Services
from engine.graph.signatures import apply_pins, sign
from engine.graph.subgraphs import Overrides
from engine.graph.validate import NOTHING_TO_MAKE, blocks, within
from engine.graph.values import Artifact

Outputs = dict[str, dict[str, Any]]


@dataclass
class JobResult:
    """What came of a job.

    outputs    node id → output → value, of the targets (a list where the output is a list); a subgraph among them
               stands with its own outputs beside those of its nodes
    runs       the same for each run of a sweep; `outputs` is the last one
    artifacts  (node id, artifact) in the order they were made, numbered within their node
    numerics   target's node id → what its value was computed with, where not whole and exactly, of the last run
    failures   one for each node that failed; `error` is why the job as a whole failed
    blocked    nodes that were wanted and did not run; succeeded and cached are the others
    """

    outcome: Outcome = "succeeded"
    outputs: Outputs = field(default_factory=dict)
    artifacts: list[tuple[str, Artifact]] = field(default_factory=list)
    failures: list[NodeFailed] = field(default_factory=list)
    blocked: list[str] = field(default_factory=list)
    seconds: float = 0.0
    succeeded: list[str] = field(default_factory=list)
    cached: list[str] = field(default_factory=list)
    runs: list[Outputs] = field(default_factory=list)
    error: TesseraError | None = None
    numerics: dict[str, dict[str, Noted]] = field(default_factory=dict)


@dataclass
class Prepared:
    """One run, read and checked: the steps it needs, inputs first, and those refused though the rest may go on."""

    needed: list[Step]
    targets: list[Step]
    groups: dict[str, dict[str, tuple[Step, int]]]
    refused: dict[str, NodeFailed]


def execute(
    spec: JobSpec,
    *,
    registry: Registry,
    services: Services,
    cache: ValueCache,
    on_event: OnEvent | None = None,
    on_preview: OnPreview | None = None,
    on_artifact: OnArtifact | None = None,
    cancel: CancelToken | None = None,
    job_id: str = "",
) -> JobResult:
    """Run a job on this thread. Events come one at a time, previews and artifacts as they are made.

    on_preview   called with (node id, uint8 frame); its attribute `wanted`, if it has one, says whether to make frames
    on_artifact  stores an artifact; what it returns ({"blob", "record", "path"}) goes into the artifact event

    Raises InvalidWorkflow, before any node ran, when the workflow or its bindings are wrong. With on_failure
    "continue" only outputs that depend on what is wrong fail, unless nothing is left to make. Everything else that
    can happen is in the result; cancellation too.
    """
    begun = time.perf_counter()
    events = EventStream(job_id, on_event)
    token = cancel or CancelToken()
    share = JobShare(spec, services, events, token, on_preview, on_artifact)
    result = JobResult(artifacts=share.artifacts)
    events.emit("accepted")
    try:
        all_runs = runs_of(spec)
        first = prepare(spec, registry, all_runs[0])
        if len(all_runs) > 1:
            for overrides in all_runs[1:]:  # every run is checked before the first one starts
                prepare(spec, registry, overrides)
        for index, overrides in enumerate(all_runs):
            prepared = first if index == 0 else prepare(spec, registry, overrides)
            if len(all_runs) > 1:
                share.spec = spec_of_run(spec, overrides)
            _run(prepared, spec, share, registry, cache, result)
            if result.failures and spec.on_failure == "stop":
                break
    except Cancelled:
        result.outcome = "cancelled"
    except InvalidWorkflow as error:
        result.outcome, result.error = "failed", error
        result.seconds = time.perf_counter() - begun
        _finished(events, result)
        raise
    except TesseraError as error:
        result.outcome, result.error = "failed", error
    if result.failures and result.outcome == "succeeded":
        result.outcome = "failed"
        result.error = result.failures[0]
    result.seconds = time.perf_counter() - begun
    _finished(events, result)
    return result


def prepare(spec: JobSpec, registry: Registry, overrides: Overrides) -> Prepared:
    """Read one run's workflow and settle what is to be made. Raises InvalidWorkflow."""
    plan = build_plan(spec.workflow, registry, overrides)
    for node_id in overrides:  # those of the document itself were looked up already; these lie in its subgraphs
        if ":" in node_id and node_id not in plan.steps and node_id not in plan.groups:
            what = f"a binding names node “{clip(node_id)}”, which is not in the opened workflow"
            plan.problems.append(Problem("unknown_binding", what, suggest(node_id, list(plan.steps)[:2000])))
    keep_going = spec.on_failure == "continue"
    targets = plan.targets(spec.targets) if spec.targets else plan.output_steps()
    groups = plan.group_outputs(spec.targets)
    if not targets and not plan.problems:
        raise InvalidWorkflow([NOTHING_TO_MAKE])
    needed = in_order(targets, plan.problems)
    if not spec.targets and not keep_going:
        # A cycle or a broken node anywhere is an error; a half-finished one that no output needs is not.
        in_order(plan.steps.values(), plan.problems)
    if not plan.problems:
        for step in needed:
            for wire in step.wires:
                wire[1].uses += 1
        return Prepared(needed, targets, groups, {})
    wanted = {s.id for s in needed}
    found = [p for p in plan.sorted_problems() if _matters(p, wanted, spec.targets, targets)]
    refused: dict[str, NodeFailed] = {}
    if keep_going:
        refused = _refused(plan, needed, found)
        targets_left = [t for t in targets if not _depends_on(t, refused)]
        if any(not p.node or p.code == "duplicate_id" for p in found) or not targets_left:
            raise InvalidWorkflow(found)
    elif found:
        raise InvalidWorkflow(found)
    for step in needed:
        for wire in step.wires:
            wire[1].uses += 1
    return Prepared(needed, targets, groups, refused)


def _matters(problem: Problem, wanted: set[str], asked: Sequence[str], targets: Sequence[Step]) -> bool:
    if asked and problem.node and problem.node not in wanted and problem.code not in ("duplicate_id", "unknown_target"):
        return within(problem, asked)
    return blocks(problem, wanted, targets)


def _refused(plan: Plan, needed: Sequence[Step], found: Sequence[Problem]) -> dict[str, NodeFailed]:
    """The needed nodes that are wrong in themselves, each with its first problem."""
    by_id = {s.id: s for s in needed}
    refused: dict[str, NodeFailed] = {}
    for problem in found:
        step = by_id.get(problem.node)
        if step is not None and step.id not in refused:
            where = f"input “{problem.input}”: " if problem.input else ""
            kind = step.kind.schema.type if step.known else "unknown"
            refused[step.id] = NodeFailed(step.id, kind, {}, where + problem.what, problem.fix)
            step.wires = []
    return refused


def _depends_on(target: Step, refused: dict[str, NodeFailed]) -> bool:
    stack, seen = [target], {target.id}
    while stack:
        step = stack.pop()
        if step.id in refused:
            return True
        for wire in step.wires:
            if wire[1].id not in seen:
                seen.add(wire[1].id)
                stack.append(wire[1])
    return False


def _run(
    prepared: Prepared, spec: JobSpec, share: JobShare, registry: Registry, cache: ValueCache, result: JobResult
) -> None:
    nonce = os.urandom(16)
    sound = sound_steps(prepared)
    apply_pins(sound, spec.pins, cache)
    sign(sound, nonce, spec.allowed_loss)
    subgraphs = {s.id: s for s in spec.workflow.subgraphs}
    keep_going = spec.on_failure == "continue"
    scheduler = Scheduler(share, registry, cache, subgraphs, keep_going=keep_going, nonce=nonce)
    if prepared.refused:
        for step in prepared.needed:
            if step.id in prepared.refused:
                scheduler.outcomes.record_failure(step, prepared.refused[step.id])
    try:
        scheduler.run([t for t in prepared.targets if t.id not in prepared.refused])
    finally:
        outcomes = scheduler.outcomes
        result.succeeded += outcomes.succeeded
        result.cached += outcomes.cached
        result.failures += outcomes.failures
        result.blocked += outcomes.blocked
        made = {
            t.id: dict(zip(t.kind.output_names, t.value, strict=True)) for t in prepared.targets if t.value is not None
        }
        for node_id, slots in prepared.groups.items():
            made[node_id] = {name: s.value[i] for name, (s, i) in slots.items() if s.value is not None}
        result.numerics = {t.id: dict(t.numerics) for t in prepared.targets}
        result.runs.append(made)
        result.outputs = made


def sound_steps(prepared: Prepared) -> list[Step]:
    """The needed steps that neither are wrong nor depend on one that is; inputs first."""
    if not prepared.refused:
        return prepared.needed
    bad = set(prepared.refused)
    sound: list[Step] = []
    for step in prepared.needed:
        if step.id in bad or any(wire[1].id in bad for wire in step.wires):
            bad.add(step.id)
        else:
            sound.append(step)
    return sound


def _finished(events: EventStream, result: JobResult) -> None:
    data: dict[str, Any] = {
        "outcome": result.outcome,
        "succeeded": len(result.succeeded) + len(result.cached),
        "failed": len(result.failures),
        "blocked": len(result.blocked),
        "seconds": round(result.seconds, 4),
    }
    if result.error is not None:
        data["error"] = str(result.error)
    events.emit("finished", "", data)
