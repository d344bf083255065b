"""`validate`: what is wrong with a workflow, without running it."""

from __future__ import annotations

import argparse
from pathlib import Path

from engine.contracts.errors import EXIT_BAD_INPUT, BadInput, InvalidWorkflow, Problem
from studio_app.application import Application
from studio_app.cli.console import print_json, remark, say
from studio_app.cli.documents import read_spec

NAME = "validate"
HELP = "check a workflow file without running it"
DESCRIPTION = """\
Checks a workflow and names every problem: the node, the input, what is wrong and what would be right. What is wrong
with nodes that no output needs is a warning only: they are not run. With --json it prints {"errors": [...], "warnings":
[...], "signatures": {...}}; equal signatures mean equal results. Loads no model.
"""


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("workflow", metavar="WORKFLOW", type=Path, help="a workflow or job (JSON), or a picture")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    from engine.graph.bindings import runs_of
    from engine.graph.signatures import signatures
    from engine.graph.validate import problems, warnings

    found: list[Problem] = []
    idle: list[Problem] = []
    signed: dict[str, str] = {}
    count = 0
    try:
        spec = read_spec(args.workflow)
        count = len(spec.workflow.nodes)
        registry = Application(args.data_dir).plugins.registry()
        signed = signatures(spec.workflow, registry)
        for overrides in runs_of(spec):
            found += [p for p in problems(spec.workflow, registry, spec.targets, overrides) if p not in found]
            idle += [p for p in warnings(spec.workflow, registry, overrides) if p not in idle and p not in found]
    except InvalidWorkflow as error:
        found += error.problems
    except BadInput as error:
        found.append(Problem("document", error.what, error.fix, node="", input=""))
        if not args.json:
            remark(str(error))
            return EXIT_BAD_INPUT
    if args.json:
        print_json(
            {"errors": [p.to_json() for p in found], "warnings": [p.to_json() for p in idle], "signatures": signed}
        )
        return EXIT_BAD_INPUT if found else 0
    for problem in idle:
        remark(f"unused: {problem.sentence()}")
    if found:
        for problem in found:
            remark(problem.sentence())
    else:
        say(f"{args.workflow}: fine, {count} node{'' if count == 1 else 's'}.")
    return EXIT_BAD_INPUT if found else 0
