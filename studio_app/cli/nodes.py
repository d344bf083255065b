"""`nodes`: every node type there is."""

from __future__ import annotations

import argparse
from itertools import groupby

from engine.contracts.node_schema import InputSchema, NodeSchema
from studio_app.cli.console import print_json, say

NAME = "nodes"
HELP = "list the node types, or describe one"
DESCRIPTION = "Lists every node type with what it does; with a TYPE, its inputs and outputs."


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("type", metavar="TYPE", nargs="?", help="describe this node type, such as sample.k_sampler")
    parser.add_argument("--json", action="store_true", help="print the schemas as JSON")


def run(args: argparse.Namespace) -> int:
    from engine.graph.registry import Registry

    registry = Registry.builtin()
    schemas = (registry.get(args.type).schema,) if args.type else registry.schemas()
    if args.json:
        print_json([schema.to_json() for schema in schemas])
    elif args.type:
        _describe(schemas[0])
    else:
        _list(schemas)
    return 0


def _list(schemas: tuple[NodeSchema, ...]) -> None:
    width = max(len(schema.type) for schema in schemas)
    for category, group in groupby(schemas, key=lambda schema: schema.category):
        say(f"\n{category}")
        for schema in group:
            say(f"  {schema.type:<{width}}  {schema.doc.partition(chr(10))[0]}")


def _describe(schema: NodeSchema) -> None:
    say(f"{schema.type}: {schema.title}\n{schema.doc}\n\ninputs")
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
        return f", {item.minimum:g} to {item.maximum:g}"
    return ""
