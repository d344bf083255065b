"""`bench`: the studio's own measurements."""

from __future__ import annotations

import argparse
import ast
import importlib
from pathlib import Path

from engine.contracts.errors import TesseraError, UnknownChoice
from studio_app.cli.console import print_json, say

NAME = "bench"
HELP = "measure the studio on this machine"
DESCRIPTION = """\
Runs one benchmark and prints its figures beside their goals; without a name, lists the benchmarks. With --json it
prints {bench, machine, versions, figures, goals, met}. A goal that is not met is shown as not met.
"""
_FOLDER = Path(__file__).resolve().parents[2] / "tests" / "benchmarks"


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bench", metavar="NAME", nargs="?", help="which benchmark; without it they are listed")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    known = benchmarks()
    if args.bench is None:
        if args.json:
            print_json([{"name": name, "help": text} for name, text in known.items()])
        for name, text in () if args.json else known.items():
            say(f"{name:<16}{text}")
        return 0
    if args.bench not in known:
        raise UnknownChoice("benchmark", args.bench, tuple(known))
    try:
        module = importlib.import_module(f"tests.benchmarks.{args.bench}")
    except ImportError as error:
        raise TesseraError(
            f"the benchmark {args.bench} needs a package that is not here ({error.name})",
            fix="Set up the test extras with “main.py test”",
        ) from error
    report = module.run()
    if args.json:
        print_json(report.to_json())
    else:
        say(report.table())
    return 0


def benchmarks(folder: Path = _FOLDER) -> dict[str, str]:
    """Name → first line of its docstring, of every module with a function `run`; none of them is imported."""
    found: dict[str, str] = {}
    for path in sorted(folder.glob("[a-z]*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if any(isinstance(item, ast.FunctionDef) and item.name == "run" for item in tree.body):
            found[path.stem] = (ast.get_docstring(tree) or "").partition("\n")[0]
    return found
