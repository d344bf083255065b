"""`run`: a workflow file → its results."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from engine.contracts.errors import InvalidWorkflow
from engine.contracts.job_events import JobEvent
from engine.contracts.job_spec import JobSpec
from engine.graph.registry import Registry
from studio_app.application import Application
from studio_app.cli.console import Progress, print_json, remark, require, say
from studio_app.cli.documents import read_spec, with_pictures, with_settings
from studio_app.cli.watch import finish, running
from studio_app.jobs.rows import ExportTarget
from studio_app.store.exports import ExportRequest, write_export

NAME = "run"
HELP = "run a workflow file"
DESCRIPTION = """\
Runs a workflow (JSON), a job (JSON), or the workflow inside a picture that the studio made, and saves what it makes in
a folder under the names that the workflow gives.
"""
EPILOG = """\
examples:
  main.py run portrait.json -o out --set sampler.seed=11 --set "prompt.text=a blue star"
  main.py run portrait.json --set "sampler.seed=[1, 2, 3]"     one run for each value
  main.py run portrait.json --anew                             every node, also what was kept of earlier runs
  main.py run out/picture.png --events                         one JSON event on each line
"""


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("workflow", metavar="WORKFLOW", type=Path, help="a workflow or job (JSON), or a picture")
    parser.add_argument(
        "--set",
        metavar="node.input=value",
        action="append",
        default=[],
        dest="settings",
        help="use another value for an input; may be given several times",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="DIR",
        type=Path,
        default=Path(),
        help="the folder for the results (default: this one)",
    )
    parser.add_argument("--anew", action="store_true", help="run every node, whatever was kept of earlier runs")
    parser.add_argument("--events", action="store_true", help="print each event as one line of JSON")
    parser.add_argument("--no-library", action="store_true", help="write to DIR only, nothing into your library")
    parser.add_argument("--dev", metavar="FOLDER", type=Path, help="let the nodes in FOLDER run too, this once")
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end and nothing else")


def run(args: argparse.Namespace) -> int:
    spec = read_spec(args.workflow)
    spec = replace(spec, anew=True) if args.anew else spec
    registry = _registry(args.data_dir, args.dev)
    require(not args.output.exists() or args.output.is_dir(), f"{args.output} is not a folder", "Choose another folder")
    _check(with_settings(spec, [], registry, Application(args.data_dir)), registry)
    with running(args.data_dir, keep=not args.no_library, registry=registry) as app:
        spec = with_pictures(with_settings(spec, args.settings, registry, app), args.workflow.parent, app)
        _check(spec, registry)
        export = ExportTarget(args.output.absolute(), pattern="")
        row = finish(
            app,
            lambda: app.jobs.submit(spec, export=export),
            Progress(quiet=args.json or args.events),
            _print_event if args.events else None,
        )
        paths = _paths(app, row.id, export)
    if args.json:
        print_json({"job": row.id, "status": row.status, "files": [str(p) for p in paths]})
    elif not args.events:
        for path in paths:
            say(str(path))
    return 0


def _registry(data_dir: Path | None, dev: Path | None) -> Registry:
    """The node types for this run: the studio's, those of enabled plugins, those of the folder on trial."""
    plugins = Application(data_dir).plugins
    if dev is not None:
        plugins.trust(dev)
    registry = plugins.registry()
    for complaint in plugins.complaints:
        remark(complaint)
    return registry


def _check(spec: JobSpec, registry: Registry) -> None:
    """Raises InvalidWorkflow for a workflow that can't run, before anything is loaded."""
    from engine.graph.bindings import runs_of
    from engine.graph.validate import problems

    for overrides in runs_of(spec):
        found = problems(spec.workflow, registry, spec.targets, overrides)
        if found:
            raise InvalidWorkflow(found)


def _print_event(event: JobEvent) -> None:
    print_json(event.to_json())


def _paths(app: Application, job_id: str, export: ExportTarget) -> list[Path]:
    """The files that were written; what the library could not keep is written straight from memory."""
    paths = []
    for record in app.library.of_job(job_id):
        path = app.library.exported_to(record)
        if path is None and not record.facts.get("preview"):
            name = record.artifact.name or "picture.png"
            path = write_export(ExportRequest(export.folder, name), app.library.read(record))
        if path is not None:
            paths.append(path)
    return paths
