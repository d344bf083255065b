"""`models`: what models are on this machine."""

from __future__ import annotations

import argparse
from typing import Any

from studio_app.application import Application
from studio_app.cli.console import print_json, say
from studio_app.models.index import ModelEntry

NAME = "models"
HELP = "list the models on this machine"
DESCRIPTION = """\
Lists the models that can be used, and the folders that look like models and can't be, with the reason. A model is an
ordinary diffusers folder; put it into “models” in the studio's data folder (“doctor” names it).
"""


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("list",), nargs="?", default="list", help="list (the default)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    app = Application(args.data_dir)
    entries, refused = app.models.list(), app.models.refused()
    if args.json:
        print_json(
            {
                "models": [_json(entry) for entry in entries],
                "refused": [{"path": str(r.path), "why": r.why} for r in refused],
            }
        )
        return 0
    for entry in entries:
        d = entry.defaults
        say(f"{entry.name}  ({entry.family}, best at {d.width}×{d.height}, {entry.info.size_bytes / 2**20:,.0f} MB)")
        say(f"    {entry.path}")
        if entry.notice:
            say(f"    {entry.notice}")
    for item in refused:
        say(f"not usable: {item.why}")
    if not entries:
        say(f"There are no models. Put a diffusers folder into {app.paths.models}.")
    return 0


def _json(entry: ModelEntry) -> dict[str, Any]:
    d = entry.defaults
    return {
        "ref": entry.ref.to_json(), "name": entry.name, "family": entry.family, "path": str(entry.path),
        "starter": entry.starter, "notice": entry.notice, "size_bytes": entry.info.size_bytes,
        "parameters": entry.info.parameters, "variant": entry.info.variant,
        "vocabulary": list(entry.vocabulary), "styles_supported": list(entry.styles_supported),
        "defaults": {
            "width": d.width, "height": d.height, "steps": d.steps, "cfg": d.cfg, "sampler": d.sampler,
            "scheduler": d.scheduler, "multiple": d.multiple, "minimum": d.minimum, "maximum": d.maximum,
        },
    }  # fmt: skip
