"""`explain`: what a workflow would run, what it would take from the results kept on disk, and why."""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import replace
from pathlib import Path

from engine.contracts.errors import MissingModel
from engine.contracts.job_spec import JobSpec
from engine.contracts.references import BlobRef, ModelRef
from engine.contracts.workflow import InputValue, Node
from studio_app.application import Application
from studio_app.cli.console import print_json, say
from studio_app.cli.documents import read_spec

NAME = "explain"
HELP = "say what a workflow would run, and why"
DESCRIPTION = """\
Goes through a workflow without running it and says of each node whether it would run, would be taken from the results
kept on disk, or is not needed, and why; inputs come first. With --json it prints [{"node", "type", "action", "reason",
"signature"}], where the action is run, maybe (only if another node asks for it), cached, pinned or not_needed.
"""
_ACTIONS = {"run": "runs", "maybe": "may run", "cached": "kept", "pinned": "pinned", "not_needed": "not needed"}


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("workflow", metavar="WORKFLOW", type=Path, help="a workflow or job (JSON), or a picture")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    from engine.graph.explain import explain

    app = Application(args.data_dir)
    spec = _identified(read_spec(args.workflow), args.workflow.parent, app)
    found = explain(spec, app.plugins.registry(), app.result_cache())
    if args.json:
        print_json([item.to_json() for item in found])
        return 0
    widths = [
        max((len(text) for text in column), default=0) for column in ([i.node for i in found], [i.type for i in found])
    ]
    for item in found:
        say(f"{item.node:<{widths[0]}}  {item.type:<{widths[1]}}  {_ACTIONS[item.action]:<10}  {item.reason}")
    counts = Counter(item.action for item in found)
    say(", ".join(f"{count} {_ACTIONS[action]}" for action, count in counts.items()) or "Nothing to do.")
    return 0


def _identified(spec: JobSpec, folder: Path, app: Application) -> JobSpec:
    """The job with what tells its models and pictures apart on this machine, as a run would see them.

    What is not here keeps its name: it can be explained, though not run.
    """

    def value(item: InputValue) -> InputValue:
        if isinstance(item, ModelRef):
            try:
                return app.models.entry(item).ref
            except MissingModel:
                return item
        if isinstance(item, BlobRef) and not item.sha256 and item.name and Path(item.name).name == item.name:
            return _picture(folder / item.name, item)
        return item

    def nodes(items: tuple[Node, ...]) -> tuple[Node, ...]:
        return tuple(replace(n, inputs={name: value(v) for name, v in n.inputs.items()}) for n in items)

    workflow = spec.workflow
    subgraphs = tuple(replace(s, nodes=nodes(s.nodes)) for s in workflow.subgraphs)
    return replace(spec, workflow=replace(workflow, nodes=nodes(workflow.nodes), subgraphs=subgraphs))


def _picture(path: Path, named: BlobRef) -> BlobRef:
    import hashlib

    try:
        with path.open("rb") as file:
            return replace(named, sha256=hashlib.file_digest(file, "sha256").hexdigest())
    except OSError:
        return named
