"""What `models` says of a model: its tags, note and favourite mark, and its versions."""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

from engine.contracts.errors import InvalidRequest
from studio_app.application import Application
from studio_app.cli.console import print_json, say
from studio_app.models.library import Listed
from studio_app.models.table import Note
from studio_app.models.versions import History


def wanted(item: Listed, args: argparse.Namespace) -> bool:
    """Whether `list` shows it by --favourites, --tag and --base."""
    families = (*item.file.fits, item.file.family) if item.file else ()
    return (
        (not args.favourites or item.note.favourite)
        and (not args.tag or args.tag in item.note.tags)
        and (not args.base or args.base in families)
    )


def tag(app: Application, args: argparse.Namespace) -> int:
    item = _named(app, args, "a name, then words")
    words = [" ".join(word.split()) for word in args.rest[1:]]
    if not all(words):
        raise InvalidRequest("a tag has at least one letter", where="models tag")
    tags = [known for known in item.note.tags if known not in words] + ([] if args.off else words)
    return _keep(app, args, item, replace(item.note, tags=tuple(tags)), changed=bool(words))


def note(app: Application, args: argparse.Namespace) -> int:
    item = _named(app, args, "a name and a text")
    text = " ".join(args.rest[1:]).strip()
    return _keep(app, args, item, replace(item.note, text=text), changed=len(args.rest) > 1)


def favourite(app: Application, args: argparse.Namespace) -> int:
    item = _named(app, args, "a name", most=1)
    return _keep(app, args, item, replace(item.note, favourite=not args.off), changed=True)


def versions(app: Application, args: argparse.Namespace) -> int:
    item = _named(app, args, "a name", most=2)
    history = app.model_library.versions.of(item)
    if args.note:
        number = _number(args) if len(args.rest) > 1 else history.current if history else 1
        history = app.model_library.versions.note(item, number, args.note)
    return _show(args, item, history)


def rollback(app: Application, args: argparse.Namespace) -> int:
    item = _named(app, args, "a name and the number of a version", most=2)
    return _show(args, item, app.model_library.versions.use(item, _number(args)))


def _named(app: Application, args: argparse.Namespace, what: str, most: int = 1000) -> Listed:
    if not 1 <= len(args.rest) <= most:
        raise InvalidRequest(f"“models {args.action}” needs {what}", where="models")
    return app.model_library.find(args.rest[0])


def _number(args: argparse.Namespace) -> int:
    if len(args.rest) != 2 or not args.rest[1].isdecimal():
        raise InvalidRequest("which version? Give its number", where=f"models {args.action}")
    return int(args.rest[1])


def _keep(app: Application, args: argparse.Namespace, item: Listed, kept: Note, *, changed: bool) -> int:
    if changed:
        app.model_library.note(item, kept)
        kept = next((i.note for i in app.model_library.list(scan=False) if i.path == item.path), kept)
    if args.json:
        print_json({"name": item.name, "path": str(item.path), **kept.to_json()})
        return 0
    say(f"{'★ ' if kept.favourite else ''}{item.name}")
    say(f"    tags: {', '.join(kept.tags) or 'none'}")
    if kept.text:
        say(f"    note: {kept.text}")
    return 0


def _show(args: argparse.Namespace, item: Listed, history: History | None) -> int:
    if args.json:
        nothing = {"path": str(item.path), "current": 1, "versions": []}
        print_json({"name": item.name, **(history.to_json() if history else nothing)})
        return 0
    if history is None:
        say(f"“{item.name}” has one version. “models import FILE --version-of {item.name}” adds another.")
        return 0
    for version in reversed(history.versions):
        mark = "in force" if version.number == history.current else ""
        mark = "its file is gone" if version.number in history.lost else mark
        day = time.strftime("%Y-%m-%d %H:%M", time.localtime(version.added))
        size = f"{version.size_bytes / 2**20:,.1f} MB"
        say(f"{version.number}  {day}  {size}  {version.precision}  {mark}".rstrip())
        for words in (version.note, f"from {version.source}" if version.source else ""):
            if words:
                say(f"    {words}")
    return 0
