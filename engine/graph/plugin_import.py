"""Importing a plugin: exactly the bytes that were hashed, under a module name that holds the hash.

Code that was not agreed to can't slip in between, no stale bytecode is read, and a job that runs keeps the version it
began with.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import io
import re
import sys
import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import CodeType, ModuleType

from engine.contracts.errors import BadPlugin, clip
from engine.graph.node import NodeDefinition
from engine.graph.plugins import Loaded, Plugin, is_of_plugin, place_of
from engine.graph.registry import NodeType

MODULE_PREFIX = "tessera_plugin_"
_TYPE_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9][a-z0-9_]*)+")


def load(plugin: Plugin) -> Loaded:
    """Import a plugin into this process and take its nodes. Raises BadPlugin, whatever its code does but hang or exit
    the process for real; so let a child process try it first (engine.graph.plugin_probe)."""
    said = _Said(plugin)
    with contextlib.redirect_stdout(said):
        try:
            module = _import(plugin)
            definitions = tuple(_owned(d, plugin) for d in _definitions(plugin, module))
        except KeyboardInterrupt:
            raise
        except BadPlugin:
            raise
        except BaseException as error:  # foreign code: SystemExit and GeneratorExit too are its failure
            raise _failure(plugin, error) from error
    if not definitions:
        raise BadPlugin("it defines no nodes", where=plugin.detail, fix="Decorate a function with @node")
    _check(plugin, definitions)
    return Loaded(plugin, definitions, said.remarks())


def _import(plugin: Plugin) -> ModuleType:
    if plugin.origin == "package":
        return importlib.import_module(plugin.module)
    slug = re.sub(r"\W", "_", plugin.name, flags=re.ASCII)[:40]
    place = hashlib.sha256(str(plugin.root).encode("utf-8", "surrogatepass")).hexdigest()[:6]
    name = f"{MODULE_PREFIX}{slug}_{place}{plugin.code_hash[:12]}"
    _SOURCES.add(name, plugin)
    try:
        return importlib.import_module(name)
    except BaseException:
        for loaded in [m for m in sys.modules if m == name or m.startswith(f"{name}.")]:
            del sys.modules[loaded]
        raise


class _Sources(importlib.abc.MetaPathFinder):
    """Finds the modules of plugins that were read, in memory. What was read stays, for imports inside functions."""

    def __init__(self) -> None:
        self._modules: dict[str, tuple[bytes, Path, bool]] = {}

    def add(self, name: str, plugin: Plugin) -> None:
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)
        for file, data in plugin.files.items():
            if plugin.path_of(file) == plugin.root:
                self._modules[name] = (data, plugin.root, False)
                continue
            parts = file.removesuffix(".py").split("/")
            package = parts[-1] == "__init__"
            full = ".".join([name, *(parts[:-1] if package else parts)])
            self._modules[full] = (data, plugin.path_of(file), package)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        found = self._modules.get(fullname)
        if found is None:
            return None
        data, file, package = found
        spec = importlib.machinery.ModuleSpec(fullname, _SourceLoader(data, file), origin=str(file), is_package=package)
        spec.has_location = True  # so that __file__ is set
        return spec


class _SourceLoader(importlib.abc.InspectLoader):
    """Runs a module from bytes in memory."""

    def __init__(self, data: bytes, file: Path) -> None:
        self._data, self._file = data, file

    def get_source(self, fullname: str) -> str:
        return importlib.util.decode_source(self._data)

    def get_code(self, fullname: str) -> CodeType:
        return compile(self._data, str(self._file), "exec", dont_inherit=True)


_SOURCES = _Sources()


def _definitions(plugin: Plugin, module: ModuleType) -> list[NodeDefinition]:
    """The nodes of a module and of its own modules that it imported, each once. Raises BadPlugin for two of a name."""
    name = module.__name__
    found: dict[str, NodeDefinition] = {}
    for full in [name, *sorted(m for m in sys.modules if m.startswith(f"{name}."))]:
        for value in list(vars(sys.modules[full]).values()):
            definition = getattr(value, "__node__", None)
            if not isinstance(definition, NodeDefinition) or not _is_of(definition, name):
                continue
            kind = definition.schema.type
            if found.setdefault(kind, definition) is not definition:
                raise BadPlugin(
                    f"two of its nodes are called “{clip(kind)}”", where=place_of(plugin, definition), fix="Rename one"
                )
    return list(found.values())


def _is_of(definition: NodeDefinition, module: str) -> bool:
    """Whether a node was written in this module or below it, not imported from elsewhere."""
    home = str(getattr(definition.run, "__module__", ""))
    return home == module or home.startswith(f"{module}.")


def _owned(definition: NodeDefinition, plugin: Plugin) -> NodeDefinition:
    """A plugin's definition with its origin and the hash of all its code; it never leaves this machine."""
    schema = definition.schema
    whole = f"{getattr(definition.run, '__qualname__', '')}\n{plugin.code_hash}"
    return replace(
        definition,
        schema=replace(
            schema,
            origin=plugin.origin,
            origin_detail=plugin.detail,
            code_hash=hashlib.sha256(whole.encode()).hexdigest()[:16],
            effects=replace(schema.effects, local_only=True),
        ),
    )


def _check(plugin: Plugin, definitions: Sequence[NodeDefinition]) -> None:
    for definition in definitions:
        kind, where = definition.schema.type, place_of(plugin, definition)
        if not _TYPE_NAME.fullmatch(kind):
            raise BadPlugin(
                f"“{clip(kind)}” can't be the name of a node", where=where,
                fix="Use small letters, digits and _ with a dot in between, such as mine.warmth",
            )  # fmt: skip
        try:
            NodeType(definition)
        except Exception as error:  # a default that does not fit its own input, and the like
            raise BadPlugin(f"its node “{kind}” is wrong: {clip(str(error), 200)}", where=where) from error


def _failure(plugin: Plugin, error: BaseException) -> BadPlugin:
    """Whatever a plugin's code raised, as one sentence with the file and line it came from."""
    if isinstance(error, SyntaxError) and error.filename:
        where, what = f"{Path(error.filename).name}, line {error.lineno}", f"it is no Python ({error.msg})"
        return BadPlugin(what, where=where)
    place = plugin.detail
    for frame in traceback.extract_tb(error.__traceback__):
        if is_of_plugin(plugin, frame.filename):
            place = f"{Path(frame.filename).name}, line {frame.lineno}"
    if isinstance(error, SystemExit):
        return BadPlugin("it tries to end the program while it is imported", where=place, fix="Take the exit out")
    text = clip(str(error), 200)
    what = f"it can't be imported ({type(error).__name__}{f': {text}' if text else ''})"
    lacking = str(error.name or "") if isinstance(error, ModuleNotFoundError) else ""
    own = not lacking or lacking.startswith(MODULE_PREFIX)
    return BadPlugin(what, where=place, fix="" if own else f"Install “{clip(lacking)}” into the studio's environment")


class _Said(io.TextIOBase):
    """Standard output while a plugin is imported: kept out of ours, and remembered with file and line."""

    def __init__(self, plugin: Plugin) -> None:
        self._plugin = plugin
        self._first: tuple[str, str] | None = None

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if self._first is None and text.strip():
            place = self._plugin.detail
            frame = sys._getframe(1)
            while frame is not None:
                if is_of_plugin(self._plugin, frame.f_code.co_filename):
                    place = f"{Path(frame.f_code.co_filename).name}, line {frame.f_lineno}"
                    break
                frame = frame.f_back  # type: ignore[assignment]  # None at the end, which the loop looks for
            self._first = (place, clip(text, 60))
        return len(text)

    def remarks(self) -> tuple[str, ...]:
        if self._first is None:
            return ()
        place, text = self._first
        return (f"{place}: it prints “{text}” while it is imported; print in a node with ctx.log.",)
