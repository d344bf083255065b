"""A job's bindings laid over its workflow: one set of overrides for each run of a sweep."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace

from engine.contracts.errors import InvalidWorkflow, Problem, clip, suggest
from engine.contracts.job_spec import JobSpec, Sweep
from engine.contracts.workflow import InputValue

MAX_RUNS = 10_000


def runs_of(spec: JobSpec) -> list[dict[str, dict[str, InputValue]]]:
    """node id → input → value for each run, in order: sweeps side by side (the shortest ends it) or all combinations,
    the last one turning fastest. Raises InvalidWorkflow for a key that names no node of the workflow."""
    top = {node.id for node in spec.workflow.nodes}
    problems: list[Problem] = []
    places: list[tuple[str, str]] = []
    values: list[tuple[InputValue, ...] | None] = []
    fixed: dict[str, dict[str, InputValue]] = {}
    for key, value in spec.bindings.items():
        node_id, _, name = key.rpartition(".")
        if node_id not in top and node_id.split(":")[0] not in top:
            what = f"the binding “{clip(key)}” names no node of the workflow"
            problems.append(Problem("unknown_binding", what, suggest(node_id, sorted(top))))
        elif isinstance(value, Sweep):
            places.append((node_id, name))
            values.append(value.values)
        else:
            fixed.setdefault(node_id, {})[name] = value
    if problems:
        raise InvalidWorkflow(problems)
    if not places:
        return [fixed]
    sweeps = [v for v in values if v is not None]
    count = 1
    for sweep in sweeps:
        count = count * len(sweep) if spec.combine == "product" else len(sweep)
    if count > MAX_RUNS:
        raise InvalidWorkflow(
            [Problem("too_many_runs", f"its sweeps come to {count:,} runs", f"Keep it to {MAX_RUNS:,} or fewer")]
        )
    combined = itertools.product(*sweeps) if spec.combine == "product" else zip(*sweeps, strict=False)
    return [_laid_over(fixed, places, chosen) for chosen in combined]


def spec_of_run(spec: JobSpec, overrides: Mapping[str, Mapping[str, InputValue]]) -> JobSpec:
    """The job that makes only this run of a sweep: what its pictures carry, so that each can be made again alone."""
    flat = {f"{node_id}.{name}": value for node_id, inputs in overrides.items() for name, value in inputs.items()}
    return replace(spec, bindings=flat)


def _laid_over(
    fixed: Mapping[str, Mapping[str, InputValue]], places: list[tuple[str, str]], chosen: tuple[InputValue, ...]
) -> dict[str, dict[str, InputValue]]:
    out = {node_id: dict(inputs) for node_id, inputs in fixed.items()}
    for (node_id, name), value in zip(places, chosen, strict=True):
        out.setdefault(node_id, {})[name] = value
    return out
