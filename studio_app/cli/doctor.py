"""`doctor`: what the studio finds on this machine."""

from __future__ import annotations

import argparse
from pathlib import Path

from engine.contracts.errors import EXIT_FAILED, EXIT_OK
from studio_app.application import Application
from studio_app.cli.console import print_json, say
from studio_app.diagnostics import examine

NAME = "doctor"
HELP = "show what the studio finds on this machine"
DESCRIPTION = """\
Shows versions, graphics card and driver, memory, disk, folders, models, the key store and the display, and names what
is missing with its remedy. Loads nothing heavy; --deep also loads torch and asks it what it can use. --check-model
tries one checkpoint instead: it is identified and loaded part by part, a prompt is encoded, two steps are made at a
small size and decoded, and what was found is shown; the exit code is 1 when something of it is not sound.
"""


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--deep", action="store_true", help="load torch too and ask it about the card")
    parser.add_argument(
        "--check-model", metavar="FILE", help="try a checkpoint: a file, a diffusers folder, or a model's name"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    if args.check_model is not None:
        return _check_model(args)
    report = examine(Application(args.data_dir), deep=args.deep)
    if args.json:
        print_json(report.to_json())
        return 0
    width = max(len(name) for name in report.facts)
    for name, value in report.facts.items():
        say(f"{name:<{width}}  {value}")
    for problem in report.problems:
        say(f"\n! {problem}")
    if not report.problems:
        say("\nNothing is missing.")
    return 0


def _check_model(args: argparse.Namespace) -> int:
    from engine.models.check import check_model
    from studio_app.engine import device_for

    app = Application(args.data_dir)
    path = Path(args.check_model)
    if not path.exists():
        path = app.models.find(args.check_model).path
    found = check_model(path, device_for(app.settings.get("engine.device")))
    if args.json:
        print_json(found.to_json())
    else:
        for line in found.lines():
            say(line)
        say("\nNothing of it is wrong." if found.sound else "\n! Something of it is not sound.")
    return EXIT_OK if found.sound else EXIT_FAILED
