"""Custom nodes: the Python files and packages of a person's own, read whole and named by their content.

A plugin is a `.py` file or a folder with an `__init__.py` inside a nodes folder, or an installed package with an entry
point of the group "tessera.nodes". Files whose name begins with "_", "." or "test_" are none. Nothing here runs any
of their code; engine.graph.plugin_import does, once studio_app.plugins has the person's consent.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from engine.contracts.errors import BadPlugin, clip
from engine.graph.node import NodeDefinition
from engine.graph.registry import Registry

GROUP = "tessera.nodes"
MAX_FILES, MAX_BYTES = 2000, 32 * 2**20  # of one plugin's code; more is a whole environment, not a plugin
_SKIPPED = ("_", ".", "test_")


@dataclass(frozen=True)
class Plugin:
    """A plugin as it lies on disk, unread but for its bytes.

    name    what a person calls it: the file's or folder's name, or the entry point's
    root    the file or folder; for a package the folder (or file) of its top-level module
    files   path below `root` (the file's own name for a single file) → its bytes
    module  for a package, the module that its entry point names
    detail  shown as the origin of its nodes: "warmth.py", "nice-nodes 1.2"
    """

    name: str
    origin: Literal["folder", "package"]
    root: Path
    files: Mapping[str, bytes]
    module: str = ""
    detail: str = ""

    @property
    def code_hash(self) -> str:
        """sha256 over every code file, helper modules included; the same wherever the plugin lies."""
        total = hashlib.sha256()
        for path in sorted(self.files):
            name, data = path.encode("utf-8", "surrogatepass"), self.files[path]
            total.update(b"%d:%s%d:" % (len(name), name, len(data)))
            total.update(data)
        return total.hexdigest()

    def path_of(self, file: str) -> Path:
        return self.root if self.root.name == file and self.root.suffix == ".py" else self.root / file


# ---- finding


def plugins_in(folder: Path) -> tuple[list[Path], list[str]]:
    """(the plugins in a folder, by name; a sentence for whatever can't be read). Reads names only."""
    found: list[Path] = []
    try:
        entries = sorted(folder.iterdir())
    except FileNotFoundError:
        return [], []
    except OSError as error:
        return [], [f"The nodes folder {folder} can't be read ({error.strerror})."]
    for entry in entries:
        if entry.name.startswith(_SKIPPED):
            continue
        if (entry.suffix == ".py" and entry.is_file()) or (entry.is_dir() and (entry / "__init__.py").is_file()):
            found.append(entry)
    return found, []


def read_plugin(path: Path) -> Plugin:
    """The plugin that a file or folder is. Raises BadPlugin when it can't be read or is none."""
    if path.is_dir():
        if not (path / "__init__.py").is_file():
            raise BadPlugin("this folder has no __init__.py", where=str(path), fix="Give the file of a node")
        return Plugin(path.name, "folder", path, _code_files(path), detail=f"{path.name}/")
    if path.suffix != ".py":
        raise BadPlugin("nodes are written in a .py file or a folder with an __init__.py", where=str(path))
    return Plugin(path.stem, "folder", path, {path.name: _bytes(path)}, detail=path.name)


def installed_plugins() -> list[metadata.EntryPoint]:
    """The entry points of installed packages that offer nodes, by name. Imports none of them."""
    return sorted(metadata.entry_points(group=GROUP), key=lambda e: (e.name, e.value))


def read_installed(entry: metadata.EntryPoint) -> Plugin:
    """The plugin behind an entry point, by its package's files. Imports nothing. Raises BadPlugin."""
    top = entry.module.partition(".")[0]
    label = f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.name
    spec = importlib.util.find_spec(top)
    if spec is None:
        raise BadPlugin(f"its package has no module “{clip(top)}”", where=label, fix="Install it again")
    folders = list(spec.submodule_search_locations or ())
    if folders:
        root = Path(folders[0])
        return Plugin(entry.name, "package", root, _code_files(root), entry.module, label)
    if not spec.origin or not Path(spec.origin).is_file():
        raise BadPlugin(f"the module “{clip(top)}” has no file", where=label, fix="Install it again")
    root = Path(spec.origin)
    return Plugin(entry.name, "package", root, {root.name: _bytes(root)}, entry.module, label)


def _code_files(root: Path) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    size = 0
    for folder, names, inside in os.walk(root):
        names[:] = sorted(n for n in names if n != "__pycache__" and not n.startswith("."))
        for name in sorted(inside):
            if name.endswith(".py") and not name.startswith("."):
                path = Path(folder) / name
                data = files[path.relative_to(root).as_posix()] = _bytes(path)
                size += len(data)
                if len(files) > MAX_FILES or size > MAX_BYTES:
                    raise BadPlugin(
                        f"it has more than {MAX_FILES:,} files or {MAX_BYTES // 2**20} MB of code", where=str(root)
                    )
    return files


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise BadPlugin("there is no such file", where=str(path)) from None
    except OSError as error:
        raise BadPlugin(f"it can't be read ({error.strerror})", where=str(path)) from error


def is_of_plugin(plugin: Plugin, filename: str) -> bool:
    """Whether a frame's file is one of the plugin's own."""
    return filename == str(plugin.root) or filename.startswith(f"{plugin.root}{os.sep}")


@dataclass(frozen=True)
class Loaded:
    """A plugin's nodes, ready for a registry; `remarks` are sentences on what is odd but does no harm."""

    plugin: Plugin
    definitions: tuple[NodeDefinition, ...]
    remarks: tuple[str, ...] = ()


def place_of(plugin: Plugin, definition: NodeDefinition) -> str:
    code = getattr(definition.run, "__code__", None)
    line = f", line {code.co_firstlineno}" if code else ""
    return f"{Path(code.co_filename).name if code else plugin.detail}{line}"


# ---- into a registry


def combined(base: Registry, loaded: Iterable[Loaded]) -> tuple[Registry, dict[Path, BadPlugin]]:
    """(a new registry with the plugins' nodes added, plugin root → why it was refused whole).

    A node never takes the name of one of the studio's, nor of an earlier plugin's.
    """
    taken = dict.fromkeys(base.types, "")
    refused: dict[Path, BadPlugin] = {}
    definitions: list[NodeDefinition] = []
    for item in loaded:
        clash = next((d for d in item.definitions if d.schema.type in taken), None)
        if clash is not None:
            other = taken[clash.schema.type]
            whose = f"is in {other} too" if other else "is one of the studio's own"
            refused[item.plugin.root] = BadPlugin(
                f"its node “{clash.schema.type}” {whose}", where=place_of(item.plugin, clash), fix="Rename it"
            )
            continue
        taken.update(dict.fromkeys((d.schema.type for d in item.definitions), item.plugin.detail))
        definitions.extend(item.definitions)
    return base.with_definitions(definitions), refused
