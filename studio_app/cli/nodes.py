"""`nodes`: every node type there is, and the person's own nodes: which may run, and whether one is in order."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from itertools import groupby
from pathlib import Path

from engine.contracts.node_schema import InputSchema, NodeSchema
from studio_app.application import Application
from studio_app.cli.console import print_json, remark, require, say
from studio_app.plugins.plugins import PluginEntry

NAME = "nodes"
HELP = "list the node types, or describe one; enable nodes of your own"
DESCRIPTION = """\
Lists every node type with what it does; with a TYPE, its inputs and outputs. Nodes of your own are Python files in
the folders that --folders shows. They are ordinary programs and can do whatever you can do on this machine: nothing of
them runs before you enable them, and a file that changes is off until you enable it again.
"""
EPILOG = """\
examples:
  main.py nodes sample.k_sampler      describe a node type
  main.py nodes --folders             your own nodes: where they are, and which are enabled
  main.py nodes check warmth.py       try a file of yours, in a process of its own
  main.py nodes enable warmth         let it run, as it is now
  main.py nodes enable warmth --dev   let it run, whatever you change in it
  main.py nodes disable warmth        stop it from running
"""

ACTIONS = ("enable", "disable", "check")
_STATES = {
    "enabled": "enabled",
    "off": "off; “nodes enable {name}” lets it run",
    "changed": "off, because its code has changed; “nodes enable {name}” lets it run as it is now",
    "broken": "can't be used",
}


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "words", metavar="TYPE | enable NAME | disable NAME | check FILE", nargs="*",
        help="describe a node type; let a plugin run or not; try a file",
    )  # fmt: skip
    parser.add_argument("--folders", action="store_true", help="show your own nodes and the folders they are in")
    parser.add_argument("--dev", action="store_true", help="with enable: later changes run without asking again")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    action, *rest = args.words or [""]
    acts = action in ACTIONS
    require(not acts or len(rest) == 1, f"“nodes {action}” takes one name", "See “main.py nodes --help”")
    require(acts or not rest, "describe one node type at a time", "See “main.py nodes --help”")
    require(not args.dev or action == "enable", "--dev goes with enable", "See “main.py nodes --help”")
    app = Application(args.data_dir)
    if action == "check":
        return _check(app, Path(rest[0]), as_json=args.json)
    if acts:
        return _set(app, action, rest[0], development=args.dev, as_json=args.json)
    if args.folders:
        return _folders(app, as_json=args.json)
    registry = app.plugins.registry()
    if not args.json:
        for complaint in app.plugins.complaints:
            remark(complaint)
    schemas = (registry.get(action).schema,) if action else registry.schemas()
    if args.json:
        print_json([schema.to_json() for schema in schemas])
    elif action:
        _describe(schemas[0])
    else:
        _list(schemas)
    return 0


def _check(app: Application, path: Path, *, as_json: bool) -> int:
    found = app.plugins.check(path)
    if as_json:
        print_json(found.to_json())
        return 0
    for sentence in found.remarks:
        remark(sentence)
    names = ", ".join(schema.type for schema in found.schemas)
    say(f"{path}: fine, {len(found.schemas)} node{'' if len(found.schemas) == 1 else 's'}: {names}")
    return 0


def _set(app: Application, action: str, name: str, *, development: bool, as_json: bool) -> int:
    if action == "enable":
        entry = app.plugins.enable(name, development=development)
    else:
        entry = app.plugins.disable(name)
    if as_json:
        print_json(asdict(entry))
    else:
        say(_line(entry))
        for complaint in entry.complaints:
            remark(complaint)
    return 2 if action == "enable" and entry.state == "broken" else 0


def _folders(app: Application, *, as_json: bool) -> int:
    entries = app.plugins.entries()
    folders = app.plugins.folders
    if as_json:
        print_json({"folders": [str(f) for f in folders], "plugins": [asdict(e) for e in entries]})
        return 0
    for folder in folders:
        here = [e for e in entries if e.origin == "folder" and Path(e.place).parent == folder.absolute()]
        say(f"{folder}{'' if here else ('  (empty)' if folder.is_dir() else '  (not there yet; make it)')}")
        for entry in here:
            say(f"  {_line(entry)}")
    installed = [e for e in entries if e.origin == "package"]
    if installed:
        say("installed packages")
    for entry in installed:
        say(f"  {_line(entry)}")
    for complaint in app.plugins.complaints:
        remark(complaint)
    return 0


def _line(entry: PluginEntry) -> str:
    state = _STATES[entry.state].format(name=entry.name)
    if entry.state == "enabled" and entry.development:
        state = "enabled, with whatever is changed in it"
    names = f"  ({', '.join(entry.types)})" if entry.types else ""
    return f"{entry.name}: {state}{names}"


def _list(schemas: tuple[NodeSchema, ...]) -> None:
    width = max(len(schema.type) for schema in schemas)
    for category, group in groupby(schemas, key=lambda schema: schema.category):
        say(f"\n{category}")
        for schema in group:
            origin = f"  [{schema.origin_detail}]" if schema.origin != "builtin" else ""
            say(f"  {schema.type:<{width}}  {schema.doc.partition(chr(10))[0]}{origin}")


def _describe(schema: NodeSchema) -> None:
    say(f"{schema.type}: {schema.title}\n{schema.doc}")
    if schema.origin != "builtin":
        say(f"\nfrom {schema.origin_detail}; not one of the studio's own")
    say("\ninputs")
    for item in schema.inputs:
        say(f"  {item.name}: {item.type}{_range(item)}{'' if item.required else ', optional'}")
        if item.tooltip:
            say(f"      {item.tooltip}")
    say("outputs")
    for output in schema.outputs:
        say(f"  {output.name}: {output.type}")
    if not schema.outputs:
        say("  none")


def _range(item: InputSchema) -> str:
    if item.choices:
        return f", one of {', '.join(item.choices)}"
    if item.minimum is not None and item.maximum is not None:
        return f", {_plain(item.minimum)} to {_plain(item.maximum)}"
    return ""


def _plain(number: float) -> str:
    """Whole numbers with all their digits: a seed goes to 18446744073709551615, not to 1.84e+19."""
    return str(int(number)) if number == int(number) else f"{number:g}"
