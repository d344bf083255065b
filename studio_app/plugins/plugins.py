"""The person's own nodes: where they are looked for, which may run, and the registry that holds them.

Code of a plugin runs only after the person has enabled it: until then its bytes are read and hashed, nothing more.
An enabled one is first imported in a child process, then here. `registry()` looks whether a file has changed, and
gives a new snapshot when one has; jobs that run keep theirs.
"""

from __future__ import annotations

import ast
import json
import logging
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from engine.contracts.errors import BadPlugin, InvalidDocument, InvalidRequest, StorageError, UnknownChoice
from studio_app.events import Signal
from studio_app.files import write_atomically
from studio_app.plugins.consent import Agreement, Consent
from studio_app.version import VERSION

if TYPE_CHECKING:
    from engine.graph.plugin_probe import Findings
    from engine.graph.plugins import Loaded, Plugin
    from engine.graph.registry import Registry

State = Literal["enabled", "off", "changed", "broken"]
Stamp = tuple[tuple[str, int, int], ...]  # (path, modified ns, bytes) of each file

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PluginEntry:
    """One plugin as it is shown. "changed": it was enabled, and its code is another now; it stays off until enabled
    again. "broken": it may run and can't, `complaints` say why.

    key    what consent is kept by: the path of a file or folder, "package:<name>" for an installed one
    types  its node types; for one that is off, those that its text names
    files  how many code files it has, and `size` how many bytes they are; both 0 where it can't be read
    """

    key: str
    name: str
    origin: Literal["folder", "package"]
    place: str
    state: State
    types: tuple[str, ...] = ()
    complaints: tuple[str, ...] = ()
    development: bool = False
    code_hash: str = ""
    files: int = 0
    size: int = 0


@dataclass
class _Known:
    """What was found at one place when its files had this stamp."""

    stamp: Stamp
    plugin: Plugin | None
    unreadable: str = ""


@dataclass
class _Tried:
    """What came of importing one version of a plugin."""

    code_hash: str
    loaded: Loaded | None
    complaints: tuple[str, ...]


class Plugins:
    """Any thread may call; calls wait for each other. Constructing reads nothing.

    folders    where plugins are looked for, asked each time
    cache_dir  keeps what the child process found, by the code's hash, so that starting again needs no child
    packages   whether installed packages with entry points are looked for too
    """

    def __init__(
        self, folders: Callable[[], list[Path]], consent: Consent, cache_dir: Path, *, packages: bool = True
    ) -> None:
        self.changed: Signal[Registry] = Signal()  # a new snapshot, on the thread that asked for it
        self._folders, self._consent, self._cache_dir, self._packages = folders, consent, cache_dir, packages
        self._lock = threading.RLock()
        self._trusted: list[Path] = []
        self._known: dict[str, _Known] = {}
        self._tried: dict[str, _Tried] = {}
        self._good: dict[str, Loaded] = {}
        self._registry: Registry | None = None
        self._refused: dict[Path, BadPlugin] = {}
        self._made_of: tuple[tuple[str, str], ...] = ()
        self._entries: tuple[PluginEntry, ...] = ()
        self._folder_complaints: list[str] = []

    @property
    def folders(self) -> list[Path]:
        """Where plugins are looked for."""
        return [*self._folders(), *self._trusted]

    @property
    def complaints(self) -> list[str]:
        """A sentence for whatever is wrong with the folders, the consent file and the plugins that may run."""
        own = [sentence for entry in self._entries for sentence in entry.complaints]
        return [*self._folder_complaints, *self._consent.complaints, *own]

    def trust(self, folder: Path) -> None:
        """Let everything in `folder` run in this session, changes too. Raises InvalidRequest if it is no folder."""
        if not folder.is_dir():
            raise InvalidRequest(f"{folder} is not a folder", fix="Give the folder with your nodes")
        with self._lock:
            self._trusted.append(folder.absolute())

    def registry(self) -> Registry:
        """The studio's nodes and those of enabled plugins, as their files are now."""
        return self._look()[0]

    def entries(self) -> tuple[PluginEntry, ...]:
        """Every plugin, as its files are now."""
        return self._look()[1]

    def enable(self, name: str, *, development: bool = False, seen: str = "") -> PluginEntry:
        """The person's consent to the code as it is now; with `development`, to what it becomes too. `seen` is the hash
        of the code that the person was shown: other code than that is not enabled.

        `name` is a plugin's name or its path. Raises UnknownChoice, InvalidRequest when two have the name,
        BadPlugin when its files can't be read, and StorageError when the consent can't be kept.
        """
        with self._lock:
            entry = self._find(name)
            if not entry.code_hash:
                raise BadPlugin(entry.complaints[0].rstrip(".") if entry.complaints else "it can't be read")
            if seen and seen != entry.code_hash:
                raise BadPlugin("its code has changed since it was shown", where=entry.name, fix="Look at it again")
            self._consent.agree(entry.key, Agreement(entry.code_hash, development))
            return self._find(entry.key)

    def disable(self, name: str) -> PluginEntry:
        """Take the consent back. Raises as enable does."""
        with self._lock:
            entry = self._find(name)
            self._consent.withdraw(entry.key)
            return self._find(entry.key)

    def check(self, path: Path) -> Findings:
        """Try one file or folder in a child process, wherever it lies. Raises BadPlugin saying what is wrong."""
        from engine.graph.plugin_probe import probe
        from engine.graph.plugins import read_plugin
        from engine.graph.registry import Registry

        found = probe(read_plugin(path.absolute()))
        for schema in found.schemas:
            if schema.type in Registry.builtin().types:
                raise BadPlugin(
                    f"its node “{schema.type}” is one of the studio's own", where=path.name, fix="Rename it"
                )
        return found

    # ---- looking, with the lock held

    def _find(self, name: str) -> PluginEntry:
        entries = self.entries()
        path = str(Path(name).absolute())
        exact = [e for e in entries if e.key in (name, path)]
        found = exact or [e for e in entries if e.name == name]
        if not found:
            raise UnknownChoice("plugin", name, [e.name for e in entries])
        if len(found) > 1:
            places = " or ".join(e.place for e in found)
            raise InvalidRequest(f"two plugins are called “{name}”", fix=f"Give its path: {places}")
        return found[0]

    def _look(self) -> tuple[Registry, tuple[PluginEntry, ...]]:
        from engine.graph.plugins import combined
        from engine.graph.registry import Registry

        with self._lock:
            entries: dict[str, PluginEntry] = {}
            running: dict[str, Loaded] = {}
            for key, known in self._scan().items():
                entry, loaded = self._examine(key, known)
                entries[key] = entry
                if loaded is not None:
                    running[key] = loaded
            made_of = tuple((key, loaded.plugin.code_hash) for key, loaded in running.items())
            fresh = self._registry is None or made_of != self._made_of
            if fresh or self._registry is None:
                self._registry, self._refused = combined(Registry.builtin(), running.values())
                self._made_of = made_of
            for key, loaded in running.items():
                why = self._refused.get(loaded.plugin.root)
                if why is not None:
                    entries[key] = _with(entries[key], "broken", (str(why), *entries[key].complaints))
            self._entries = tuple(entries.values())
            current = self._registry
        if fresh:
            self.changed.emit(current)
        return current, self._entries

    def _scan(self) -> dict[str, _Known]:
        """Every plugin by its key; those whose files are as they were are not read again."""
        from engine.graph.plugins import installed_plugins, plugins_in, read_installed, read_plugin

        found: dict[str, _Known] = {}
        self._folder_complaints = []
        for folder in dict.fromkeys(f.absolute() for f in self.folders):
            paths, complaints = plugins_in(folder)
            self._folder_complaints += complaints
            for path in paths:
                found[str(path)] = self._read(str(path), _stamp(path), lambda path=path: read_plugin(path))  # type: ignore[misc]
        if self._packages:
            for entry in installed_plugins():
                key = f"package:{entry.name}={entry.value}"
                # Once imported, a package stays as it is until the next start: so it is read once.
                found[key] = self._read(key, (), lambda entry=entry: read_installed(entry))  # type: ignore[misc]
        self._known = found
        return found

    def _read(self, key: str, stamp: Stamp, read: Callable[[], Plugin]) -> _Known:
        known = self._known.get(key)
        if known is not None and known.stamp == stamp:
            return known
        try:
            return _Known(stamp, read())
        except BadPlugin as error:
            return _Known(stamp, None, str(error))

    def _examine(self, key: str, known: _Known) -> tuple[PluginEntry, Loaded | None]:
        plugin = known.plugin
        if plugin is None:
            name = Path(key).stem if not key.startswith("package:") else key.removeprefix("package:").partition("=")[0]
            origin: Literal["folder", "package"] = "package" if key.startswith("package:") else "folder"
            return PluginEntry(key, name, origin, key, "broken", complaints=(known.unreadable,)), None
        agreement = self._consent.of(key)
        trusted = any(plugin.root.parent == folder for folder in self._trusted)
        development = trusted or (agreement is not None and agreement.development)
        place = str(plugin.root) if plugin.origin == "folder" else plugin.detail
        entry = PluginEntry(
            key, plugin.name, plugin.origin, place, "off", development=development, code_hash=plugin.code_hash,
            files=len(plugin.files), size=sum(len(data) for data in plugin.files.values()),
        )  # fmt: skip
        if agreement is None and not trusted:
            return _with(entry, "off", (), _types_written(plugin)), None
        if not development and agreement is not None and agreement.code_hash != plugin.code_hash:
            return _with(entry, "changed", (), _types_written(plugin)), None
        tried = self._try(key, plugin)
        loaded = tried.loaded or self._good.get(key)
        if loaded is None:
            return _with(entry, "broken", tried.complaints, _types_written(plugin)), None
        complaints = tried.complaints
        if tried.loaded is None:  # while a file is being edited it is broken now and then
            complaints = (*complaints, f"{plugin.detail}: the version before is used until that is mended.")
        types = tuple(d.schema.type for d in loaded.definitions)
        return _with(entry, "enabled" if tried.loaded else "broken", complaints, types), loaded

    def _try(self, key: str, plugin: Plugin) -> _Tried:
        from engine.graph.plugin_import import load

        tried = self._tried.get(key)
        if tried is not None and tried.code_hash == plugin.code_hash:
            return tried
        try:
            findings = self._findings(plugin)
            loaded = load(plugin)
            self._good[key] = loaded
            tried = _Tried(plugin.code_hash, loaded, findings.remarks)
        except BadPlugin as error:
            tried = _Tried(plugin.code_hash, None, (str(error),))
        self._tried[key] = tried
        return tried

    def _findings(self, plugin: Plugin) -> Findings:
        """What the child process finds in a plugin, from the cache where this very code was tried before."""
        from engine.graph.plugin_probe import Findings, probe

        python = f"{sys.version_info.major}.{sys.version_info.minor}"
        kept = self._cache_dir / f"{plugin.code_hash[:32]}-{VERSION}-{python}.json"
        try:
            return Findings.from_json(json.loads(kept.read_bytes()))
        except (OSError, ValueError, KeyError, TypeError, InvalidDocument):
            found = probe(plugin)
        try:
            write_atomically(kept, json.dumps(found.to_json()).encode(), durable=False)
        except StorageError as error:
            log.info("what was found in a plugin is not kept: %s", error)
        return found


def _with(
    entry: PluginEntry, state: State, complaints: tuple[str, ...], types: tuple[str, ...] | None = None
) -> PluginEntry:
    return replace(entry, state=state, complaints=complaints, types=entry.types if types is None else types)


def _stamp(path: Path) -> Stamp:
    """Changes when a file of the plugin is written, added or removed."""
    files = [path] if path.is_file() else sorted(f for f in path.rglob("*.py") if "__pycache__" not in f.parts)
    stamps = []
    for file in files:
        try:
            found = file.stat()
        except OSError:
            continue
        stamps.append((str(file), found.st_mtime_ns, found.st_size))
    return tuple(stamps)


def _types_written(plugin: Plugin) -> tuple[str, ...]:
    """The node types that a plugin's text names in @node("…"), found without running any of it."""
    found: list[str] = []
    for data in plugin.files.values():
        try:
            tree = ast.parse(data)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        for item in ast.walk(tree):
            if not isinstance(item, ast.Call) or not item.args:
                continue
            called = item.func.attr if isinstance(item.func, ast.Attribute) else getattr(item.func, "id", "")
            first = item.args[0]
            if called == "node" and isinstance(first, ast.Constant) and isinstance(first.value, str):
                found.append(first.value)
    return tuple(found)
