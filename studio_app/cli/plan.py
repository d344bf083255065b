"""`plan`: will it fit, how would it run, and how long would it take; on this machine or on one only spoken of."""

from __future__ import annotations

import argparse
import re
from dataclasses import replace
from pathlib import Path

from engine.contracts.errors import EXIT_MEMORY, InvalidRequest, MissingModel, clip
from engine.memory.blueprint import Blueprint
from engine.memory.footprint import GIB
from engine.memory.machine import Machine, preset, read_size
from engine.memory.planner import QUALITIES
from engine.memory.request import Request
from engine.memory.words import size
from engine.models.layouts.configs import variants_of
from studio_app.application import Application
from studio_app.cli.console import print_json, say
from studio_app.cli.documents import read_spec
from studio_app.machine_memory import card_memory, main_memory
from studio_app.planning import Planned, Planner

NAME = "plan"
HELP = "say whether a workflow fits a card, and how it would run"
DESCRIPTION = """\
Foresees the memory and the time of every sampling run of a workflow from the models' shapes alone, and says which way
of running it is the fastest that fits. No card is needed: --vram and --ram speak of any machine. In place of a workflow
a model family can be named, as flux or flux2/klein-4b.
"""
EPILOG = """\
examples:
  main.py plan portrait.json --vram 8GiB --ram 32GiB --json
  main.py plan qwen_image --vram 4GiB --ram 64GiB --size 1024x1024 --quality 8-bit
"""


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("workflow", metavar="WORKFLOW|FAMILY", help="a workflow or job (JSON), a picture, or a family")
    parser.add_argument("--vram", metavar="SIZE", default="", help="memory of the card, as 8GiB (default: this one's)")
    parser.add_argument("--ram", metavar="SIZE", default="", help="main memory, as 32GiB (default: this machine's)")
    parser.add_argument("--leave", metavar="SIZE", default="", help="of the card, for other programs")
    parser.add_argument("--quality", choices=QUALITIES, default="exact",
                        help="the fewest bits a weight may have; exact is 16 (default: exact)")  # fmt: skip
    parser.add_argument("--size", metavar="WxH", default="1024x1024", help="with a family: the picture's size")
    parser.add_argument("--steps", type=int, metavar="N", default=25, help="with a family: steps (default: 25)")
    parser.add_argument("--batch", type=int, metavar="N", default=1, help="with a family: pictures at once")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    app = Application(args.data_dir)
    try:
        machine = _machine(args)
        planner = Planner(app.models, app.paths.cache / "estimates.json")
        if Path(args.workflow).exists() or re.search(r"\.\w+$", args.workflow):
            spec = read_spec(Path(args.workflow))
            found = planner.workflow(spec.workflow, app.plugins.registry(), machine, args.quality)
        else:
            found = [_family(planner, args, machine)]
    finally:
        app.close()
    if args.json:
        print_json(
            {"machine": _described(machine), "quality": args.quality, "runs": [item.to_json() for item in found]}
        )
    else:
        _tell(found, machine)
    return EXIT_MEMORY if any(item.plan is None and not item.unknown for item in found) else 0


def _machine(args: argparse.Namespace) -> Machine:
    card, main = card_memory(), main_memory()
    if not args.vram and card is None:
        raise MissingModel("this machine has no graphics card to plan for", where="plan",
                           fix="Say which one with --vram, as --vram 8GiB")  # fmt: skip
    vram = read_size(args.vram) if args.vram else card.total if card else 0
    machine = preset(vram, read_size(args.ram) if args.ram else main.total)
    machine = machine.leaving(read_size(args.leave)) if args.leave else machine
    return machine if args.vram or card is None else replace(machine, name=card.device)


def _family(planner: Planner, args: argparse.Namespace, machine: Machine) -> Planned:
    family, _, variant = args.workflow.partition("/")
    if variant:
        variants_of(family)
    match = re.fullmatch(r"(\d{2,5})x(\d{2,5})", args.size.lower())
    if not match or not all(64 <= int(edge) <= 16384 and int(edge) % 8 == 0 for edge in match.groups()):
        raise InvalidRequest(f"“{clip(args.size)}” is no size", where="--size", fix="Write it like 1024x768, in eights")
    if not 1 <= args.steps <= 1000 or not 1 <= args.batch <= 64:
        raise InvalidRequest("steps can be 1 to 1000 and pictures at once 1 to 64", where="plan")
    guidance = family not in ("flux", "flux2", "z_image")
    request = Request(int(match[1]), int(match[2]), args.batch, guidance, steps=args.steps)
    return planner.model(Blueprint(family, variant), request, machine, args.quality, name=args.workflow)


def _tell(found: list[Planned], machine: Machine) -> None:
    say(f"For {machine.name}, {size(machine.ram)} of main memory:")
    if not found:
        say("Nothing is sampled here, so there is nothing to plan.")
    for item in found:
        request = item.request
        what = f"{item.model}, {request.width}×{request.height}, {request.steps} steps" if request else item.model
        say(f"{f'{item.node}: ' if item.node else ''}{what}")
        if item.unknown:
            say(f"    not planned: {item.unknown}")
            continue
        if item.plan is None:
            say(f"    It does not fit: {item.words}. {item.fix}.")
            continue
        say(f"    {item.words}")
        for phase in item.plan.phases:
            say(f"    {phase.name:<8} {size(phase.peak):>9}  {phase.seconds:8.1f} s")
        say(f"    needs {size(item.plan.ram)} of main memory; rung {item.plan.rung}")
        for more in (item.effect, item.faster):
            if more:
                say(f"    {more}")


def _described(machine: Machine) -> dict[str, object]:
    return {
        "name": machine.name, "vram_bytes": machine.vram, "usable_bytes": machine.usable, "ram_bytes": machine.ram,
        "bandwidth_bytes_per_second": machine.bandwidth, "flops_per_second": machine.flops,
        "vram_gib": round(machine.vram / GIB, 2),
    }  # fmt: skip
