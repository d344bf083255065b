"""`plan`: will it fit, how would it run, and how long would it take; on this machine or on one only spoken of."""

from __future__ import annotations

import argparse
import re
from dataclasses import replace
from pathlib import Path

from engine.contracts.errors import EXIT_MEMORY, InvalidRequest, clip
from engine.memory.blueprint import Blueprint
from engine.memory.footprint import GIB
from engine.memory.machine import PRESETS, Machine, preset, read_size
from engine.memory.planner import QUALITIES
from engine.memory.request import OVERLAP, Request
from engine.memory.video import SVD_FRAMES
from engine.memory.words import in_short, size, time
from engine.models.layouts.configs import variants_of
from studio_app.application import Application
from studio_app.cli.console import print_json, remark, say
from studio_app.cli.documents import read_spec
from studio_app.machine_memory import main_memory
from studio_app.planning import Planned, Planner, machine_here

NAME = "plan"
HELP = "say whether a workflow fits a card, and how it would run"
DESCRIPTION = """\
Foresees the memory and the time of every sampling run of a workflow from the models' shapes alone, and says which way
of running it is the fastest that fits. No card is needed: --vram and --ram speak of any machine, --cards of all usual
ones. In place of a workflow a model family can be named, as flux, flux2/klein-4b or svd (a video).
"""
EPILOG = """\
examples:
  main.py plan portrait.json --vram 8GiB --ram 32GiB --json
  main.py plan qwen_image --vram 4GiB --ram 64GiB --size 1024x1024 --quality 8-bit
  main.py plan sdxl --vram 8 --size 8192x8192 --windows 1024
  main.py plan flux/dev --cards
"""
REFERENCE = 16  # GB of the card that is planned for where there is none


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("workflow", metavar="WORKFLOW|FAMILY", help="a workflow or job (JSON), a picture, or a family")
    parser.add_argument(
        "--vram", metavar="SIZE", default="",
        help=f"memory of the card, as 8GiB or 8 (default: this one's, without one {REFERENCE})",
    )  # fmt: skip
    parser.add_argument("--ram", metavar="SIZE", default="", help="main memory, as 32GiB (default: this machine's)")
    parser.add_argument("--leave", metavar="SIZE", default="", help="of the card, for other programs")
    parser.add_argument("--cards", action="store_true",
                        help=f"one line for each usual card: {', '.join(map(str, PRESETS))} GB")  # fmt: skip
    parser.add_argument("--quality", choices=QUALITIES, default="exact",
                        help="the fewest bits a weight may have; exact is 16 (default: exact)")  # fmt: skip
    parser.add_argument("--size", metavar="WxH", default="", help="with a family: the picture's size (1024x1024)")
    parser.add_argument("--steps", type=int, metavar="N", default=25, help="with a family: steps (default: 25)")
    parser.add_argument("--batch", type=int, metavar="N", default=1, help="with a family: pictures at once")
    parser.add_argument("--controls", type=int, metavar="N", default=0, help="with a family: ControlNets at once")
    parser.add_argument("--windows", type=int, metavar="N", default=0,
                        help="with a family: denoise in windows of N pixels, as the tiled sampler does")  # fmt: skip
    parser.add_argument("--frames", type=int, metavar="N", default=0, help="with svd: frames of the video (14)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    app = Application(args.data_dir)
    try:
        planner = Planner(app.models, app.paths.cache / "estimates.json")
        machines = _cards(args) if args.cards else [_machine(args, app)]
        spec = None
        if Path(args.workflow).exists() or re.search(r"\.\w+$", args.workflow):
            spec = read_spec(Path(args.workflow))
        found = []
        for machine in machines:
            if spec is not None:
                found.append(planner.workflow(spec.workflow, app.plugins.registry(), machine, args.quality))
            else:
                found.append([_family(planner, args, machine)])
    finally:
        app.close()
    if args.json:
        each = [
            {"machine": _described(machine), "quality": args.quality, "runs": [item.to_json() for item in runs]}
            for machine, runs in zip(machines, found, strict=True)
        ]
        print_json({"cards": each} if args.cards else each[0])
    elif args.cards:
        _compare(found, machines)
    else:
        _tell(found[0], machines[0])
    refused = [[item for item in runs if item.plan is None and not item.unknown] for runs in found]
    return EXIT_MEMORY if all(refused) else 0


def _machine(args: argparse.Namespace, app: Application) -> Machine:
    """The card asked about, else the one that is here, else the one that everything is measured by."""
    here = machine_here(app.settings)
    if here is not None and not args.vram:
        machine = replace(here, ram=_size(args.ram)) if args.ram else here
    else:
        if not args.vram:
            remark(f"No graphics card is used here, so this is for one of {REFERENCE} GB; another: --vram.")
        machine = preset(_size(args.vram or str(REFERENCE)), _size(args.ram) if args.ram else main_memory().total)
    return machine.leaving(_size(args.leave)) if args.leave else machine


def _size(text: str) -> int:
    """Bytes of a card, whose size is said in GB where nothing else is. Raises InvalidRequest."""
    return read_size(f"{text}GB" if re.fullmatch(r"\s*\d+(\.\d+)?\s*", text) else text)


def _cards(args: argparse.Namespace) -> list[Machine]:
    ram = _size(args.ram) if args.ram else main_memory().total
    leave = _size(args.leave) if args.leave else 0
    return [replace(machine, ram=ram).leaving(leave) for machine in PRESETS.values()]


def _family(planner: Planner, args: argparse.Namespace, machine: Machine) -> Planned:
    family, _, variant = args.workflow.partition("/")
    video = family == "svd"
    if not video:
        variants_of(family)
    usual = "1024x576" if video else "1024x1024"
    match = re.fullmatch(r"(\d{2,5})x(\d{2,5})", (args.size or usual).lower())
    if not match or not all(64 <= int(edge) <= 16384 and int(edge) % 8 == 0 for edge in match.groups()):
        raise InvalidRequest(f"“{clip(args.size)}” is no size", where="--size", fix="Write it like 1024x768, in eights")
    if not 1 <= args.steps <= 1000 or not 1 <= args.batch <= 64:
        raise InvalidRequest("steps can be 1 to 1000 and pictures at once 1 to 64", where="plan")
    if not 0 <= args.controls <= 8 or not 0 <= args.frames <= 200 or (args.frames and not video):
        raise InvalidRequest("ControlNets can be 0 to 8, and only svd makes frames, up to 200", where="plan")
    if args.windows and (args.windows % 16 or not 64 <= args.windows <= 4096):
        raise InvalidRequest("windows can have 64 to 4096 pixels, in sixteens", where="--windows")
    guidance = family not in ("flux", "flux2", "z_image")
    width, height = int(match[1]), int(match[2])
    window = args.windows if args.windows < max(width, height) else 0
    request = Request(
        width, height, args.batch, guidance, steps=args.steps, controls=args.controls, window=window,
        overlap=window // 4 if window else OVERLAP, frames=args.frames or (SVD_FRAMES if video else 1),
    )  # fmt: skip
    return planner.model(Blueprint(family, variant), request, machine, args.quality, name=args.workflow)


def _what(item: Planned) -> str:
    """A run and what it makes."""
    request, title = item.request, f"{item.node}: {item.model}" if item.node else item.model
    if request is None:
        return title
    more = [f"{request.batch} at once"] * (request.batch > 1)
    more += [f"{request.frames} frames"] * (request.frames > 1)
    more += [f"{request.controls} ControlNet{'s' * (request.controls > 1)}"] * bool(request.controls)
    more += [f"in {request.windows} windows of {request.window}"] * bool(request.window)
    return ", ".join([f"{title}, {request.width}×{request.height}", f"{request.steps} steps", *more])


def _tell(found: list[Planned], machine: Machine) -> None:
    say(f"For {machine.name}, {size(machine.ram)} of main memory:")
    if not found:
        say("Nothing is sampled here, so there is nothing to plan.")
    for item in found:
        say(_what(item))
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


def _compare(found: list[list[Planned]], machines: list[Machine]) -> None:
    """Each run over the cards: one line a card."""
    say(f"With {size(machines[0].ram)} of main memory:")
    if not found[0]:
        say("Nothing is sampled here, so there is nothing to plan.")
    for place, first in enumerate(found[0]):
        say(_what(first))
        if first.unknown:
            say(f"    not planned: {first.unknown}")
            continue
        say(f"    {'card':<32} {'of the card':>11} {'RAM':>9} {'time':>8}  how")
        for machine, runs in zip(machines, found, strict=True):
            item = runs[place]
            if item.plan is None:
                say(f"    {machine.name:<32} does not fit. {item.fix}.")
                continue
            plan = item.plan
            how = f"{plan.rung}: {in_short(plan)}"
            say(f"    {machine.name:<32} {size(plan.peak):>11} {size(plan.ram):>9} {time(plan.seconds):>8}  {how}")


def _described(machine: Machine) -> dict[str, object]:
    return {
        "name": machine.name, "vram_bytes": machine.vram, "usable_bytes": machine.usable, "ram_bytes": machine.ram,
        "bandwidth_bytes_per_second": machine.bandwidth, "flops_per_second": machine.flops,
        "vram_gib": round(machine.vram / GIB, 2),
    }  # fmt: skip
