"""`models merge`: a checkpoint or a LoRA made of others."""

from __future__ import annotations

import argparse
from pathlib import Path

from engine.contracts.errors import BadInput, InvalidRequest, MissingModel
from engine.contracts.references import ModelKind, ModelRef
from studio_app.application import Application
from studio_app.cli.console import print_json, say
from studio_app.version import VERSION


def add_merge(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--weight", type=float, default=0.5, metavar="W", help="with merge: the share of B (0.5)")
    parser.add_argument("--difference", metavar="C", default="", help="with merge: add W times (B minus C) to A")
    parser.add_argument("--lora", action="append", default=[], metavar="FILE:S", help="with merge: a LoRA to bake in")
    parser.add_argument("--rank", type=int, default=0, metavar="R", help="with merge of LoRAs: bring the sum to a rank")
    parser.add_argument("-o", "--output", metavar="NAME", default="", help="with merge: the new model's name or path")


def merge(app: Application, args: argparse.Namespace) -> int:
    """Write the merged model into the model folder (or where NAME's folders say)."""
    if not args.output:
        raise InvalidRequest("“models merge” needs the new model's name", where="models", fix="Give it with -o NAME")
    if not 1 <= len(args.rest) <= 2:
        raise InvalidRequest("“models merge” needs one or two models", where="models")
    if not -10 <= args.weight <= 10:
        raise InvalidRequest(f"the weight is {args.weight:g}", where="--weight", fix="Use a number from -10 to 10")
    if _kind(_located(app, args.rest[0])) == "lora":
        return _loras(app, args)
    return _checkpoints(app, args)


def _checkpoints(app: Application, args: argparse.Namespace) -> int:
    from engine.models.adapters.apply import Applied
    from engine.models.adapters.read import read_adapter
    from engine.models.file_info import identify_checkpoint
    from engine.models.merging import Recipe
    from engine.models.merging import merge as write

    first, *more = [_located(app, name) for name in args.rest]
    loras = [_with_strength(app, text) for text in args.lora]
    recipe = Recipe(
        first, more[0] if more else None, args.weight,
        _located(app, args.difference) if args.difference else None,
        tuple(Applied(read_adapter(path), strength) for path, strength in loras), tuple(path for path, _ in loras),
    )  # fmt: skip
    if recipe.difference is not None and recipe.second is None:
        raise InvalidRequest("a difference needs a second model to subtract it from", where="--difference")
    target = _target(app, args.output, "" if first.is_dir() else "checkpoints")
    done = write(recipe, target, lambda path: identify_checkpoint(path).family, VERSION)
    if args.json:
        print_json({"written": str(done.path), "method": recipe.method, "mixed": done.mixed, "kept": done.kept,
                    "baked": done.baked})  # fmt: skip
        return 0
    say(f"written: {done.path} ({done.mixed} tensors mixed, {done.baked} with LoRAs, {done.kept} as they were)")
    return 0


def _loras(app: Application, args: argparse.Namespace) -> int:
    from engine.models.merging_loras import merge_loras

    files = [(_located(app, name, "lora"), 1.0) for name in args.rest]
    if len(files) == 2:
        files = [(files[0][0], 1.0 - args.weight), (files[1][0], args.weight)]
    files += [_with_strength(app, text) for text in args.lora]
    target = _target(app, args.output, "loras")
    rank = merge_loras(files, target, args.rank, studio=VERSION)
    if args.json:
        print_json({"written": str(target), "rank": rank})
    else:
        say(f"written: {target} (rank {rank})")
    return 0


def _located(app: Application, name: str, kind: ModelKind = "checkpoint") -> Path:
    """A model by its path, or by its name in the library."""
    path = Path(name).expanduser()
    if path.exists():
        return path.absolute()
    try:
        return app.models.locate(ModelRef(kind=kind, name=name))
    except MissingModel:
        if kind == "checkpoint":
            return app.models.locate(ModelRef(kind="lora", name=name))
        raise


def _kind(path: Path) -> str:
    from engine.models.identify import identify

    return identify(path).kind


def _with_strength(app: Application, text: str) -> tuple[Path, float]:
    """“FILE:0.8” → (file, 0.8); without a number 1."""
    name, colon, number = text.rpartition(":")
    try:
        return (_located(app, name, "lora"), float(number)) if colon else (_located(app, text, "lora"), 1.0)
    except ValueError:
        if Path(text).exists():
            return _located(app, text, "lora"), 1.0
        raise BadInput(f"“{text}” is no LoRA with a strength", where="--lora", fix="Write FILE:0.8") from None


def _target(app: Application, name: str, folder: str) -> Path:
    """Where the new model goes: a path as it is, a bare name into the model folder."""
    path = Path(name).expanduser()
    if len(path.parts) == 1:
        path = app.paths.models / folder / path if folder else app.paths.models / path
    if folder and path.suffix != ".safetensors":
        path = path.with_name(path.name + ".safetensors")
    return path.absolute()
