"""`import`: another program's workflow, prompt, picture or video → a workflow of the studio, and what is missing."""

from __future__ import annotations

import argparse
from pathlib import Path

from engine.contracts.codec import dump_json
from engine.contracts.errors import clip
from engine.interchange.comfyui.report import Imported, missing_models
from studio_app.application import Application
from studio_app.cli.console import print_json, remark, require, say
from studio_app.files import write_atomically

NAME = "import"
HELP = "turn another program's file into a workflow"
DESCRIPTION = """\
Reads a workflow or API prompt of ComfyUI (JSON), settings of A1111, InvokeAI, Fooocus, SwarmUI or NovelAI (JSON or
text), or a picture or video that one of them made (.png, .webp, .jpg, .mp4, .mov, .webm, .mkv), and writes a workflow
of the studio. A node that the studio lacks is kept as a placeholder with all its data. Without -o and --report the
workflow goes to standard output. With --json it prints the report: {"nodes", "unsupported", "missing_models",
"warnings"}. Runs nothing, fetches nothing.
"""
EPILOG = """\
examples:
  main.py import portrait.workflow.json -o portrait.json
  main.py import picture.png -o portrait.json --report
  main.py import picture.png --report --json
"""


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", type=Path, help="a workflow, prompt, settings, picture or video")
    parser.add_argument("-o", "--output", metavar="WORKFLOW", type=Path, help="the workflow file to write (JSON)")
    parser.add_argument("--report", action="store_true", help="say what is missing and what to do about it")
    parser.add_argument("--json", action="store_true", help="print the report as one JSON object")


def run(args: argparse.Namespace) -> int:
    from engine.interchange.read_file import import_path

    output: Path | None = args.output
    if output is not None:
        same = output.exists() and args.file.exists() and output.samefile(args.file)
        require(not same, f"“{output}” is the file to import", "Give another name with -o")
        require(not output.is_dir(), f"“{output}” is a folder", "Give the name of a file with -o")
    imported = import_path(args.file)
    app = Application(args.data_dir)
    text = dump_json(imported.workflow.to_json()) + "\n"
    if output is not None:
        write_atomically(output, text.encode())
    if args.json:
        print_json(imported.report.to_json(app.models.locate))
    elif args.report:
        _print_report(imported, app)
    elif output is None:
        say(text.rstrip("\n"))
    if output is not None and not args.json:
        remark(f"Wrote {output}.")
    if not args.report and not args.json:
        _hint(imported, app)
    return 0


def _print_report(imported: Imported, app: Application) -> None:
    report = imported.report
    say(f"{_count(report.nodes, 'node')}.")
    for name in sorted(report.unsupported):
        say(
            f"The studio has no node for “{clip(name)}”: it is kept as a placeholder. Put one of the studio's nodes "
            "in its place, or bypass or mute it."
        )
    for hint in missing_models(report, app.models.locate):
        say(hint.what_to_do())
    for sentence in report.warnings:
        say(sentence)


def _hint(imported: Imported, app: Application) -> None:
    """One line beside the result when not everything could be carried over."""
    report = imported.report
    missing = len(missing_models(report, app.models.locate))
    parts = [
        _count(len(report.unsupported), "node type") + " that the studio lacks" if report.unsupported else "",
        _count(missing, "model") + " that is not here" if missing == 1 else "",
        _count(missing, "model") + " that are not here" if missing > 1 else "",
        _count(len(report.warnings), "remark") if report.warnings else "",
    ]
    found = ", ".join(part for part in parts if part)
    if found:
        remark(f"It has {found}; --report names them.")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
