"""`export`: a workflow of the studio → another program's format."""

from __future__ import annotations

import argparse
from pathlib import Path

from engine.contracts.codec import dump_json
from engine.contracts.errors import InvalidRequest, clip
from engine.contracts.job_spec import JobSpec
from studio_app.application import Application
from studio_app.cli.console import remark, require, say
from studio_app.cli.documents import read_spec
from studio_app.files import write_atomically

NAME = "export"
HELP = "write a workflow in another program's format"
DESCRIPTION = """\
Writes a workflow as ComfyUI's canvas file or API prompt, or the settings of its first sampler as A1111's infotext.
Nodes that ComfyUI has no class for are written under their own names with “tessera.” before them, which only this
studio reads; they are named. Without -o the result goes to standard output.
"""
EPILOG = """\
examples:
  main.py export portrait.json --format comfyui -o portrait.workflow.json
  main.py export portrait.json --format comfyui-api
  main.py export picture.png --format infotext
"""
FORMATS = ("comfyui", "comfyui-api", "infotext")


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("workflow", metavar="WORKFLOW", type=Path, help="a workflow or job (JSON), or a picture")
    parser.add_argument("--format", required=True, choices=FORMATS, help="the format to write")
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, help="the file to write")


def run(args: argparse.Namespace) -> int:
    output: Path | None = args.output
    if output is not None:
        same = output.exists() and args.workflow.exists() and output.samefile(args.workflow)
        require(not same, f"“{output}” is the workflow to export", "Give another name with -o")
        require(not output.is_dir(), f"“{output}” is a folder", "Give the name of a file with -o")
    spec = read_spec(args.workflow)
    text = _infotext(spec) if args.format == "infotext" else _comfyui(spec, args)
    if output is None:
        say(text)
    else:
        write_atomically(output, (text + "\n").encode())
        remark(f"Wrote {output}.")
    return 0


def _comfyui(spec: JobSpec, args: argparse.Namespace) -> str:
    from engine.interchange.comfyui.exporter import export_canvas, export_prompt
    from engine.interchange.read_file import with_bindings

    registry = Application(args.data_dir).plugins.registry()
    write = export_prompt if args.format == "comfyui-api" else export_canvas
    workflow, swept = with_bindings(spec)
    document, report = write(workflow, registry)
    for sentence in swept:
        remark(sentence)
    if report.unsupported:
        names = ", ".join(f"“{clip(name, 60)}”" for name in report.unsupported)
        remark(f"ComfyUI has no class for {names}: these are written under their own names, which it can't run.")
    return dump_json(document)


def _infotext(spec: JobSpec) -> str:
    from engine.interchange.generation_settings import settings_of
    from engine.interchange.infotext import write

    settings = settings_of(spec)
    if settings.steps is None and not settings.prompt:
        raise InvalidRequest(
            "the workflow has no sampler whose settings an infotext could say", fix="Use --format comfyui"
        )
    return write(settings)
