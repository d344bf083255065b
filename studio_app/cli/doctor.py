"""`doctor`: what the studio finds on this machine."""

from __future__ import annotations

import argparse

from studio_app.application import Application
from studio_app.cli.console import print_json, say
from studio_app.diagnostics import examine

NAME = "doctor"
HELP = "show what the studio finds on this machine"
DESCRIPTION = """\
Shows versions, graphics card and driver, memory, disk, folders, models, the key store and the display, and names what
is missing with its remedy. Loads nothing heavy; --deep also loads torch and asks it what it can use.
"""


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--deep", action="store_true", help="load torch too and ask it about the card")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
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
