"""`generate`: a prompt → a picture file."""

from __future__ import annotations

import argparse
import secrets
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.contracts.errors import InvalidRequest
from engine.contracts.references import STARTER_NAME, BlobRef, ModelRef
from engine.contracts.results import ResultRecord
from engine.recipes.checks import MAX_COUNT, MAX_SEED, check_request
from engine.recipes.enlarge import HOWS, Enlarge
from engine.recipes.margins import Margins
from engine.recipes.request import ImageRequest
from engine.recipes.shapes import fit_size
from engine.recipes.vocabulary import unknown_words, unknown_words_sentence
from engine.sampling.names import SAMPLERS, SCHEDULERS
from studio_app.application import Application
from studio_app.cli.console import (
    Progress,
    enlarged,
    margins,
    number,
    print_json,
    remark,
    require,
    say,
    size,
    whole_number,
)
from studio_app.cli.watch import finish, running
from studio_app.files import write_atomically
from studio_app.library.formats import format_of
from studio_app.models.index import ModelEntry

NAME = "generate"
HELP = "make a picture from a prompt"
DESCRIPTION = """\
Makes one or more pictures from a prompt and writes them to FILE (.png, .webp or .jpg by its extension), with the
prompt and every setting kept inside the file. With --init it starts from a picture, with --mask as well it redraws
only the white part of the mask, and with --outpaint it extends the picture. With --enlarge the picture is made larger
once it is there, and with --start one of yours is, as it is. What you leave out is taken from what the model
recommends.
"""
EPILOG = """\
examples:
  main.py generate "a red circle on a blue background" --seed 7 -o a.png
  main.py generate "snowy mountains under a starry sky" --size 192x128 --count 4 -o mountains.png
  main.py generate "a green circle" --init a.png --strength 0.7 -o b.png
  main.py generate "a wide beach" --init a.png --outpaint left=64,right=64 -o wide.png
  main.py generate "an autumn tree in a field at dawn" --seed 7 --enlarge 2 -o large.png
  main.py generate --start a.png --enlarge 4 --enlarge-how tiles -o larger.png
"""


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "prompt",
        metavar="PROMPT",
        nargs="?",
        default="",
        help="what the picture should show; with --start it may be left out",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        type=Path,
        required=True,
        help="the file to write, over what is there; with --count above 1, FILE-1, FILE-2 and so on",
    )
    parser.add_argument(
        "--model",
        metavar="NAME",
        default=STARTER_NAME,
        help="a model by name, or the path of a model folder (see “models list”; default: %(default)s)",
    )
    parser.add_argument("--negative", metavar="TEXT", default="", help="what the picture should not show")
    parser.add_argument("--style", metavar="ID", default="", help="a style laid over the prompt, such as realistic")
    parser.add_argument("--size", metavar="WxH", type=size, help="width and height in pixels, such as 128x192")
    parser.add_argument("--steps", metavar="N", type=whole_number, help="sampling steps, 1 to 150")
    parser.add_argument("--cfg", metavar="X", type=number, help="how strongly the prompt is followed, 1 to 30")
    parser.add_argument("--sampler", metavar="NAME", help=f"one of {', '.join(SAMPLERS)}")
    parser.add_argument("--scheduler", metavar="NAME", help=f"one of {', '.join(SCHEDULERS)}")
    parser.add_argument(
        "--seed",
        metavar="N",
        type=whole_number,
        help="the same seed gives the same picture; a new one is drawn when left out",
    )
    parser.add_argument(
        "--count",
        metavar="N",
        type=whole_number,
        default=1,
        help=f"how many pictures, 1 to {MAX_COUNT}; picture i has the seed plus i",
    )
    parser.add_argument("--init", metavar="IMAGE", type=Path, help="start from this picture")
    parser.add_argument(
        "--mask", metavar="IMAGE", type=Path, help="redraw only where this picture is white; it is fitted to the size"
    )
    parser.add_argument(
        "--outpaint",
        metavar="SIDES",
        type=margins,
        help="extend --init by pixels, such as left=64,top=0,right=64,bottom=0 (and feather=16: how far the new part "
        "fades into the old one); --size is then that of the old picture, by default its own",
    )
    parser.add_argument(
        "--strength",
        metavar="X",
        type=number,
        default=0.75,
        help="how much of --init is redrawn, 0 to 1 (default: %(default)s)",
    )
    _add_enlarging(parser)
    parser.add_argument(
        "--fast", action="store_true",
        help="let the model's weights have eight bits: less memory, often less time, the picture a little different; "
        "with the setting engine.fast_cache steps are left out as well",
    )  # fmt: skip
    parser.add_argument("--no-library", action="store_true", help="write FILE only, nothing into your library")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")


def _add_enlarging(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("larger pictures")
    group.add_argument(
        "--enlarge", metavar="TIMES|WxH", type=enlarged,
        help="how much larger: 1 to 8 times as wide, or a size in pixels, such as 1024x1024",
    )  # fmt: skip
    group.add_argument(
        "--hires",
        metavar="TIMES|WxH",
        type=enlarged,
        help="short for --enlarge … --enlarge-how second-pass (hires fix)",
    )
    group.add_argument(
        "--enlarge-how", metavar="HOW", default=None,
        help=f"one of {', '.join(HOWS)}: redraw the enlarged picture in one go where the model can, else window by "
        "window; always window by window; or an upscaler alone (default: second-pass)",
    )  # fmt: skip
    group.add_argument(
        "--enlarge-strength", metavar="X", type=number,
        help="how much of the enlarged picture is redrawn, 0 to 1 (default: what the model recommends)",
    )  # fmt: skip
    group.add_argument("--enlarge-steps", metavar="N", type=whole_number, help="steps of that redrawing, 1 to 150")
    group.add_argument(
        "--enlarge-prompt", action=argparse.BooleanOptionalAction,
        help="whether that redrawing is told the prompt again (default: what the model recommends)",
    )  # fmt: skip
    group.add_argument(
        "--upscaler", metavar="NAME", help="enlarge with this network first (see “models list --kind upscaler”)"
    )
    group.add_argument("--start", metavar="IMAGE", type=Path, help="enlarge this picture, as it is")


def _enlarging(app: Application, args: argparse.Namespace) -> Enlarge:
    """What --enlarge and what belongs to it ask for. Raises InvalidRequest for what makes no sense together."""
    asked = args.enlarge or args.hires
    require(not (args.enlarge and args.hires), "--enlarge and --hires say the same", "Leave one of them out")
    require(
        not args.hires or args.enlarge_how in (None, "second-pass"), f"--hires is not “{args.enlarge_how}”",
        "Use --enlarge with --enlarge-how",
    )  # fmt: skip
    more = {
        "--enlarge-how": args.enlarge_how, "--enlarge-strength": args.enlarge_strength, "--start": args.start,
        "--enlarge-steps": args.enlarge_steps, "--upscaler": args.upscaler, "--enlarge-prompt": args.enlarge_prompt,
    }  # fmt: skip
    for name, value in more.items():
        require(value is None or asked is not None, f"{name} needs --enlarge", "Say how much larger, as --enlarge 2")
    require(args.start is None or args.init is None, "--start and --init exclude each other",
            "--start enlarges a picture as it is, --init draws from it first")  # fmt: skip
    require(args.start is None or not args.size, "--start brings its own size", "Leave --size out")
    if asked is None:
        return Enlarge()
    upscaler = app.models.entry(ModelRef(kind="upscaler", name=args.upscaler)).ref if args.upscaler else None
    return Enlarge(
        **asked, how=args.enlarge_how or HOWS[0], strength=args.enlarge_strength, steps=args.enlarge_steps,
        prompt=args.enlarge_prompt, upscaler=upscaler, as_is=args.start is not None,
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    file_format = format_of(args.output.suffix)
    require(not args.output.is_dir(), f"{args.output} is a folder", "Give the name of a file")
    require(args.mask is None or args.init is not None, "--mask needs --init", "Give the picture to redraw a part of")
    require(args.outpaint is None or args.init is not None, "--outpaint needs --init", "Give the picture to extend")
    require(not (args.outpaint and args.mask), "--outpaint and --mask exclude each other", "Leave one of them out")
    began = time.monotonic()
    seed = secrets.randbelow(2**32) if args.seed is None else args.seed
    require(0 <= seed <= MAX_SEED, f"the seed {seed} is out of range", f"Use 0 to {MAX_SEED}")
    request = ImageRequest(
        prompt=args.prompt, negative=args.negative, style=args.style, steps=args.steps, cfg=args.cfg,
        sampler=args.sampler, scheduler=args.scheduler, seed=seed, count=args.count, strength=args.strength,
        file_format=file_format, fast=args.fast,
    )  # fmt: skip
    preview = Application(args.data_dir)  # nothing is opened: only models and styles are asked
    request = replace(request, enlarge=_enlarging(preview, args))
    model, remarks = _checked(preview, request, args)
    if not args.json:
        for line in remarks:
            remark(line)
    with running(args.data_dir, keep=not args.no_library) as app:
        model = app.models.add(model.path) if _is_folder(args.model) else model
        request = replace(_with_pictures(app, request, args, model), model=model.ref)
        row = finish(app, lambda: app.jobs.submit_request(request), Progress(quiet=args.json))
        records = app.library.of_job(row.id)
        paths = _write(app, records, args.output)
    seconds = round(time.monotonic() - began, 2)
    if args.json:
        print_json(_summary(row.id, model, records, paths, seconds, remarks))
        return 0
    for path, record in zip(paths, records, strict=True):
        say(f"{path}  ({record.width}×{record.height}, seed {record.seed})")
    return 0


def _checked(app: Application, request: ImageRequest, args: argparse.Namespace) -> tuple[ModelEntry, list[str]]:
    """The model, and what to say beforehand. Raises for whatever is wrong, before anything is opened or loaded."""
    model = app.models.find(args.model)
    style = app.styles.get(args.style) if args.style else None
    sized = replace(request, width=args.size[0], height=args.size[1]) if args.size else request
    if args.start is not None:  # its size is known when it is opened
        sized = replace(sized, init=BlobRef(name=args.start.name))
    check_request(sized, model.defaults)
    remarks = [model.notice, style.support_sentence(model) if style else ""]
    remarks.append(unknown_words_sentence(unknown_words(args.prompt, model.vocabulary)))
    if args.negative and not model.supports_negative:
        remarks.append("This model has no negative prompt: --negative is left out.")
    return model, [line for line in remarks if line]


def _is_folder(name: str) -> bool:
    return (Path(name) / "model_index.json").is_file()


def _with_pictures(
    app: Application, request: ImageRequest, args: argparse.Namespace, model: ModelEntry
) -> ImageRequest:
    """The request with its pictures brought in and its size settled: asked for, or the input's own shape."""
    if args.size:
        request = replace(request, width=args.size[0], height=args.size[1])
    if args.start is not None:
        start, width, height = _picture(app, args.start)
        return replace(request, init=start, width=width, height=height)
    if args.init is None:
        return request
    init, width, height = _picture(app, args.init)
    mask = _picture(app, args.mask)[0] if args.mask else None
    if args.outpaint and not args.size:
        return replace(request, init=init, margins=args.outpaint, width=width, height=height)
    if not args.size:
        limits = model.defaults
        width, height = fit_size(width, height, limits.area, limits.multiple, limits.minimum, limits.maximum)
        request = replace(request, width=width, height=height)
    return replace(request, init=init, mask=mask, margins=args.outpaint or Margins())


def _picture(app: Application, path: Path) -> tuple[BlobRef, int, int]:
    from engine.media.images import probe

    ref = app.library.import_picture(path)
    info = probe(app.library.read(ref), path.name)
    return ref, info.width, info.height


def _write(app: Application, records: list[ResultRecord], output: Path) -> list[Path]:
    """Every picture under its name, each whole or not at all."""
    if not records:
        raise InvalidRequest("nothing was made")
    if len(records) == 1:
        return [write_atomically(output, app.library.read(records[0]))]
    names = [output.with_name(f"{output.stem}-{i + 1}{output.suffix}") for i in range(len(records))]
    return [write_atomically(name, app.library.read(record)) for name, record in zip(names, records, strict=True)]


def _summary(
    job: str, model: ModelEntry, records: list[ResultRecord], paths: list[Path], seconds: float, remarks: list[str]
) -> dict[str, Any]:
    files = [
        {
            "path": str(path), "seed": r.seed, "width": r.width, "height": r.height, "record": r.id,
            "sha256": r.artifact.sha256, "parameters": r.parameters,
        }
        for path, r in zip(paths, records, strict=True)
    ]  # fmt: skip
    return {"job": job, "model": model.name, "files": files, "seconds": seconds, "remarks": remarks}
