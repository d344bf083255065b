"""`models`: what models are on this machine, what a file is, and bringing files in or putting them away."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from engine.contracts.errors import EXIT_BAD_INPUT, BadInput, InvalidRequest, MissingModel
from studio_app.application import Application
from studio_app.cli import model_notes as said
from studio_app.cli.console import print_json, remark, say
from studio_app.cli.merge import add_merge, merge
from studio_app.models.hashing import file_sha256
from studio_app.models.index import ModelEntry

NAME = "models"
HELP = "list, identify, import and remove models"
DESCRIPTION = """\
Without an action it lists the models: first those that the studio can run, then every other model file of the searched
folders with a word on what it is, then what is refused and why. Files are told by their header alone; one that could
run code is refused unread. Folders of ComfyUI, A1111, InvokeAI and the Hugging Face cache are used where they are.
"""
EPILOG = """\
actions:
  list [WORDS]           the models; with WORDS those whose name, kind, tags or trigger words hold them all
  identify FILE          what a file or diffusers folder is, wherever it lies
  import FILE|FOLDER|URL copy into the studio's model folder; .ckpt .pt .pth .bin are checked and become safetensors;
                         a URL (Hugging Face, Civitai, any https) is fetched, resumed where it was cut off, and its
                         sha256 checked against --sha256 or what the host says; with --version-of NAME it becomes
                         the newest version of that model, with --note TEXT on what changed
  token HOST             keep an access token for a host in the system's keyring (asked for, or from standard input)
  versions NAME          the versions of a model, with what changed in each; --note TEXT [NUMBER] writes that
  rollback NAME NUMBER   put another version of a model in force; none is lost
  tag NAME [WORD…]       add tags; “--off” takes them away; without words it shows them
  note NAME [TEXT]       keep a note on a model; an empty text forgets it
  favourite NAME         mark a model as a favourite; “--off” unmarks it
  remove NAME            move a file to the trash folder of the data folder; “remove --undo” brings the last one back
  folders [add|remove DIR]  the searched folders and whose layout they have
  merge A [B] -o NAME    write A mixed with B (--weight, --difference C) and with --lora FILE:STRENGTH baked in; LoRA
                         files are merged with each other, exactly or to --rank R
  verify                 read every file again, compare its sha256 with the known one, name files with equal content

examples:
  main.py models identify ~/Downloads/style.safetensors --json
  main.py models folders add ~/ComfyUI
  main.py models import ~/Downloads/style.safetensors --version-of style --note "trained twice as long"
  main.py models tag style portrait ink
"""

ACTIONS = (
    "list", "identify", "import", "versions", "rollback", "tag", "note", "favourite", "remove", "folders", "verify",
    "token", "merge",
)  # fmt: skip


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=ACTIONS, nargs="?", default="list", help="what to do (default: list)")
    parser.add_argument("rest", metavar="ARGUMENT", nargs="*", help="what the action needs")
    parser.add_argument("--kind", metavar="KIND", default="", help="list only files of a kind, such as lora")
    parser.add_argument("--undo", action="store_true", help="with remove: bring back what was removed last")
    parser.add_argument("--version-of", metavar="NAME", default="", help="with import: the model it is a version of")
    parser.add_argument("--note", metavar="TEXT", default="", help="with import, versions: what changed in the version")
    parser.add_argument("--off", action="store_true", help="with tag, favourite: take it away")
    parser.add_argument("--favourites", action="store_true", help="with list: only favourites")
    parser.add_argument("--tag", metavar="TAG", default="", help="with list: only files with this tag")
    parser.add_argument("--base", metavar="FAMILY", default="", help="with list: only files for a base, such as sdxl")
    parser.add_argument("--sha256", metavar="HEX", default="", help="with import URL: what the file must have")
    add_merge(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    app = Application(args.data_dir)
    try:
        actions = {
            "list": _list, "identify": _identify, "import": _import, "remove": _remove, "folders": _folders,
            "verify": _verify, "token": _token, "versions": said.versions, "rollback": said.rollback, "tag": said.tag,
            "note": said.note, "favourite": said.favourite, "merge": merge,
        }  # fmt: skip
        return actions[args.action](app, args)
    finally:
        app.close()


def _list(app: Application, args: argparse.Namespace) -> int:
    entries, refused = app.models.list(args.kind or "checkpoint"), app.models.refused()
    files = app.model_library.list(args.kind, " ".join(args.rest))
    files = [item for item in files if said.wanted(item, args)]
    if args.favourites or args.tag:
        entries = []
    if args.base:
        entries = [entry for entry in entries if entry.family == args.base]
    if args.rest or args.kind:
        entries = [e for e in entries if _chosen(e, args.kind, args.rest)]
    folders = {entry.path for entry in entries}
    others = [item for item in files if item.path not in folders]
    copies = {
        item.path: [str(other.path) for other in group if other is not item]
        for group in app.model_library.duplicates()
        for item in group
    }
    if args.json:
        print_json(
            {
                "models": [_json(entry) for entry in entries],
                "files": [{**item.to_json(), "duplicates": copies.get(item.path, [])} for item in files],
                "refused": [{"path": str(r.path), "why": r.why} for r in refused]
                + [{"path": str(item.path), "why": item.refused} for item in files if item.refused],
            }
        )
        return 0
    for entry in entries:
        d = entry.defaults
        say(f"{entry.name}  ({entry.family}, best at {d.width}×{d.height}, {entry.info.size_bytes / 2**20:,.0f} MB)")
        say(f"    {entry.path}")
        if entry.notice:
            say(f"    {entry.notice}")
    for item in (item for item in others if not item.refused):
        star = "★ " if item.note.favourite else ""
        tags = "".join(f" #{tag}" for tag in item.note.tags)
        say(f"{star}{item.name}  ({item.size_bytes / 2**20:,.0f} MB) {item.words()}{tags}")
        say(f"    {item.path}")
        if item.path in copies:
            say(f"    the same content as {', '.join(copies[item.path])}")
    for why in dict.fromkeys([r.why for r in refused] + [item.refused for item in others if item.refused]):
        say(f"not usable: {why}")
    if not entries and not files:
        say(f"There are no models. Put a diffusers folder into {app.paths.models}.")
    return 0


def _identify(app: Application, args: argparse.Namespace) -> int:
    from engine.models.identify import identify

    path = Path(_one(args, "a file")).expanduser()
    if not path.exists():
        raise MissingModel("there is no such file", where=str(path))
    about = identify(path)
    if args.json:
        print_json({"path": str(path), "words": about.words(), **about.to_json()})
        return 0
    say(f"{path.name}: {about.words()}")
    facts = {
        "parameters": f"{about.parameters:,}" if about.parameters else "",
        "size": f"{about.size_bytes / 2**20:,.1f} MB",
        "parts": ", ".join(about.parts), "prediction": about.prediction,
        "trigger words": ", ".join(about.trigger_words), "title": about.title, "licence": about.licence,
        "preview": about.preview, **about.details,
    }  # fmt: skip
    for name, value in facts.items():
        if value:
            say(f"    {name}: {value}")
    return 0


def _import(app: Application, args: argparse.Namespace) -> int:
    if _one(args, "a file, a folder or an address").lower().startswith(("https://", "http://")):
        return _fetch(app, args)
    source = Path(_one(args, "a file or folder")).expanduser()
    if not source.exists():
        raise MissingModel("there is no such file or folder", where=str(source))
    if args.version_of:
        listed = app.model_library.find(args.version_of)
        history = app.model_library.versions.bring_in(source, listed, note=args.note)
        if args.json:
            print_json({"imported": [str(history.path)], "left": [], **history.to_json()})
        else:
            say(f"imported as version {history.current} of “{listed.name}”: {history.path}")
        return 0
    left: list[str] = []
    if source.is_dir() and not (source / "model_index.json").is_file():
        done, left = app.model_library.bring_in_all(source)
        if not done and not left:
            raise BadInput("there is no model file in this folder", where=str(source))
    else:
        done = [app.model_library.bring_in(source)]
    if args.json:
        print_json({"imported": [str(path) for path in done], "left": left})
    else:
        for path in done:
            say(f"imported: {path}")
        for why in left:
            remark(f"left out: {why}")
    return EXIT_BAD_INPUT if left and not done else 0


def _fetch(app: Application, args: argparse.Namespace) -> int:
    from studio_app.models.downloads import Download

    said = 0

    def tell(now: Download) -> None:
        nonlocal said
        share = 20 * now.received // now.total if now.total else 0
        if now.state == "fetching" and share > said:
            said = share
            remark(f"{now.name}: {now.received / 2**20:,.0f} of {now.total / 2**20:,.0f} MB")

    path = app.downloads.fetch(args.rest[0], args.sha256, say=tell, version_of=args.version_of, note=args.note)
    print_json({"imported": [str(path)], "left": []}) if args.json else say(f"imported: {path}")
    return 0


def _token(app: Application, args: argparse.Namespace) -> int:
    import getpass
    import sys

    from studio_app.network.secrets import keep_token

    host = _one(args, "a host, such as huggingface.co").lower()
    token = getpass.getpass(f"Token for {host} (empty forgets it): ") if sys.stdin.isatty() else sys.stdin.readline()
    keep_token(host, token)
    if args.json:
        print_json({"host": host, "kept": bool(token.strip())})
    else:
        say(f"the token for {host} is {'kept in the keyring' if token.strip() else 'forgotten'}.")
    return 0


def _remove(app: Application, args: argparse.Namespace) -> int:
    library = app.model_library
    if args.undo:
        lying = library.trashed()
        if not lying:
            raise MissingModel("there is nothing in the trash")
        path = library.restore(lying[0])
        print_json({"restored": str(path)}) if args.json else say(f"brought back: {path}")
        return 0
    name = _one(args, "a name")
    item = library.find(name)
    trashed = library.remove(item)
    if args.json:
        print_json({"removed": str(item.path), "trash": str(trashed.room)})
    else:
        say(f"{item.path} was moved to {trashed.room}. “models remove --undo” brings it back.")
    return 0


def _folders(app: Application, args: argparse.Namespace) -> int:
    if args.rest:
        action, *more = args.rest
        if action not in ("add", "remove") or len(more) != 1:
            raise InvalidRequest("folders takes nothing, “add DIR” or “remove DIR”", where="models folders")
        folder = Path(more[0]).expanduser().absolute()
        known = [item for item in app.settings.get("models.folders") if isinstance(item, str)]
        there = [item for item in known if Path(item).expanduser().absolute() == folder]
        if action == "add":
            if not folder.is_dir():
                raise MissingModel("there is no such folder", where=str(folder))
            app.settings.set("models.folders", known if there else [*known, str(folder)])
        elif not there:
            raise MissingModel("it is not among the searched folders", where=str(folder))
        else:
            app.settings.set("models.folders", [item for item in known if item not in there])
    folders = app.model_library.folders()
    if args.json:
        print_json({"folders": [folder.to_json() for folder in folders]})
        return 0
    for item in folders:
        say(f"{item.path}  ({item.to_json()['layout_words']}{'' if item.there else ', not there'})")
    return 0


def _verify(app: Application, args: argparse.Namespace) -> int:
    library = app.model_library
    before = {item.path: item for item in library.list()}
    changed = [
        item.path for item in before.values()
        if item.sha256 and item.path.is_file() and file_sha256(item.path) != item.sha256
    ]  # fmt: skip
    hashed = library.hash_now()
    groups = [[str(item.path) for item in group] for group in library.duplicates()]
    refused = [item for item in before.values() if item.refused]
    if args.json:
        print_json(
            {
                "files": len(before), "hashed": hashed, "changed": [str(path) for path in changed],
                "duplicates": groups, "refused": [{"path": str(i.path), "why": i.refused} for i in refused],
            }
        )  # fmt: skip
    else:
        say(f"{len(before)} files, {hashed} hashed now.")
        for path in changed:
            remark(f"changed without a new date, so damaged or replaced: {path}")
        for group in groups:
            say(f"equal content: {', '.join(group)}")
        for item in refused:
            say(f"not usable: {item.refused}")
    return EXIT_BAD_INPUT if changed else 0


def _one(args: argparse.Namespace, what: str) -> str:
    if len(args.rest) != 1:
        raise InvalidRequest(f"“models {args.action}” needs {what}", where="models")
    return str(args.rest[0])


def _chosen(entry: ModelEntry, kind: str, words: list[str]) -> bool:
    text = f"{entry.name} {entry.family} {entry.path}".lower()
    return (not kind or entry.ref.kind == kind) and all(word.lower() in text for word in words)


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
