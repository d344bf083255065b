"""A node is one decorated, typed function; its schema comes from its signature and docstring.

    @node("image.invert", category="Image", outputs=("image",))
    def invert(ctx: NodeContext, image: Image) -> Image:
        '''Invert the colours; alpha is kept.

        image: the picture to invert
        '''
        ...

The first line of the docstring is the node's description; lines "name: text" after it are the inputs' tooltips.
Socket types come from `Socket` marks in the annotations (engine.graph.values) or from int, float, str, bool. An
`In(...)` mark in an Annotated type gives range, choices and widgets. A parameter with a default is optional; one whose
annotation admits None is an optional socket. `async def` nodes run on the lane's event loop beside each other.
"""

from __future__ import annotations

import hashlib
import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol, TypeAlias, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np
import numpy.typing as npt

from engine.contracts.job_spec import JobSpec
from engine.contracts.node_schema import ANY, Effects, InputSchema, NodeSchema, OutputSchema
from engine.contracts.references import BlobRef, ModelRef
from engine.graph.values import Artifact, ShapeInfo, Socket

F = TypeVar("F", bound=Callable[..., Any])


class BlobStore(Protocol):
    """Content-addressed bytes, as nodes see them."""

    def read(self, ref: BlobRef) -> bytes:
        """The bytes of a blob. Raises MissingModel/StorageError with one sentence when it is not here."""
        ...

    def write(self, data: bytes, media_type: str, name: str = "") -> BlobRef: ...


class NodeContext(Protocol):
    """What a running node may touch. It knows nothing of the graph."""

    node_id: str

    @property
    def spec(self) -> JobSpec: ...

    @property
    def blobs(self) -> BlobStore: ...

    @property
    def session(self) -> Any:
        """engine.sampling.session.Session: the loaded models; created on first use. For nodes that run on the lane."""
        ...

    def progress(self, done: float, total: float, text: str = "") -> None: ...
    def preview(self, frame: npt.NDArray[np.uint8]) -> None:
        """Offer a uint8 [H, W, 3] frame of the work in progress; only the newest is shown."""
        ...

    @property
    def wants_preview(self) -> bool:
        """True when somebody is looking and the last frame was taken; making a frame otherwise is waste."""
        ...

    def check_cancelled(self) -> None:
        """Raises Cancelled when the person asked to stop. Call between steps, tiles, blocks and read chunks."""
        ...

    def emit(self, artifact: Artifact) -> None: ...
    def log(self, text: str, level: str = "info") -> None: ...


@dataclass(frozen=True)
class In:
    """How an input shows itself: Annotated[int, In(minimum=1, maximum=150)]."""

    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    choices: Sequence[str] = ()
    label: str = ""
    multiline: bool = False
    seed: bool = False
    lazy: bool = False
    list: bool = False
    variadic: bool = False
    link_only: bool = False
    model_kind: str = ""
    advanced: bool = False
    type: str = ""


# What `shapes` returns: the only output's size, or sizes by output; None where only the run can tell.
Shapes: TypeAlias = "ShapeInfo | Mapping[str, ShapeInfo | None] | None"


@dataclass(frozen=True)
class NodeDefinition:
    """A node type: its schema and the function that runs it."""

    schema: NodeSchema
    run: Callable[..., Any]
    is_async: bool = False
    changed: Callable[..., object] | None = None  # a value that, when it differs, makes the node run again
    needs: Callable[..., Sequence[str]] | None = None  # which lazy inputs, given the inputs computed so far
    migrations: tuple[Callable[[dict[str, Any]], dict[str, Any]], ...] = ()  # [0] takes inputs of version 1 to 2, …
    passes: str = ""  # the input that the only output is, unchanged: signatures see through the node
    shapes: Callable[..., Shapes] | None = None  # the sizes of the outputs, before a run


def node(
    type_name: str,
    *,
    category: str,
    outputs: Sequence[str] = (),
    title: str = "",
    version: int = 1,
    effects: Effects = Effects(),
    search: Sequence[str] = (),
    list_outputs: Sequence[str] = (),
    changed: Callable[..., object] | None = None,
    needs: Callable[..., Sequence[str]] | None = None,
    migrations: Sequence[Callable[[dict[str, Any]], dict[str, Any]]] = (),
    passes: str = "",
    shapes: Callable[..., Shapes] | None = None,
) -> Callable[[F], F]:
    """Mark a function as a node. The registry finds marked functions by their `__node__` attribute.

    list_outputs  outputs that give a list whose elements the next nodes take one by one
    changed       called with the literal inputs by name; the node runs again when what it returns differs
    needs         called with the inputs by name, None for lazy ones not computed yet; names those still needed.
                  Without it every lazy input is computed
    migrations    [0] turns the inputs of version 1 into those of version 2, and so on
    passes        the input that its only output gives unchanged, for constants and reroutes
    shapes        called with the inputs by name: values where they are known, a ShapeInfo for a picture or latent whose
                  size is known, else None; gives the size of the output (or of each, by name), None if not known yet
    """

    def mark(function: F) -> F:
        schema = schema_of(function, type_name, category, outputs, title, version, effects, search, list_outputs)
        definition = NodeDefinition(
            schema, function, inspect.iscoroutinefunction(function), changed, needs, tuple(migrations), passes, shapes
        )
        function.__node__ = definition  # type: ignore[attr-defined]
        return function

    return mark


def schema_of(
    function: Callable[..., Any],
    type_name: str,
    category: str,
    outputs: Sequence[str],
    title: str,
    version: int,
    effects: Effects,
    search: Sequence[str] = (),
    list_outputs: Sequence[str] = (),
) -> NodeSchema:
    """The schema of a node function. Raises TypeError when an annotation has no socket type."""
    hints = get_type_hints(function, include_extras=True)
    doc, tooltips = _split_doc(inspect.getdoc(function) or "")
    parameters = _parameters(function, hints)
    inputs = tuple(_input_schema(p, hints[p.name], tooltips.get(p.name, "")) for p in parameters)
    return NodeSchema(
        type=type_name,
        title=title or type_name.rpartition(".")[2].replace("_", " ").capitalize(),
        category=category,
        node_version=version,
        doc=doc,
        inputs=inputs,
        outputs=_output_schemas(hints.get("return"), outputs, list_outputs),
        effects=effects,
        code_hash=_code_hash(function),
        search_terms=tuple(search),
    )


def _parameters(function: Callable[..., Any], hints: dict[str, Any]) -> list[inspect.Parameter]:
    """The parameters that are inputs: all but the first, which is the context. Raises TypeError."""
    given = list(inspect.signature(function).parameters.values())
    if not given or given[0].kind not in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD):
        raise TypeError(f"the first parameter of {function.__name__} must be its context: ctx: NodeContext")
    for parameter in given[1:]:
        if parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
            raise TypeError(f"“{parameter}” of {function.__name__} can't be an input; name each input")
        if parameter.name not in hints:
            raise TypeError(f"the input “{parameter.name}” of {function.__name__} has no type; write what it takes")
    return given[1:]


def _input_schema(parameter: inspect.Parameter, hint: Any, tooltip: str) -> InputSchema:
    socket, mark, optional = _read_hint(hint)
    has_default = parameter.default is not inspect.Parameter.empty
    if mark.type:
        socket = mark.type
    elif mark.choices and socket == "STRING":
        socket = "COMBO"
    return InputSchema(
        name=parameter.name,
        type=socket,
        label=mark.label or parameter.name.replace("_", " ").capitalize(),
        tooltip=tooltip,
        required=not has_default and not optional,
        default=_json_default(parameter.default) if has_default else None,
        minimum=mark.minimum,
        maximum=mark.maximum,
        step=mark.step,
        choices=tuple(mark.choices),
        multiline=mark.multiline,
        seed=mark.seed,
        lazy=mark.lazy,
        list=mark.list,
        variadic=mark.variadic,
        link_only=mark.link_only,
        model_kind=mark.model_kind,
        advanced=mark.advanced,
    )


def _json_default(value: Any) -> Any:
    if isinstance(value, ModelRef):
        return {"model": value.to_json()}
    return value


def _read_hint(hint: Any) -> tuple[str, In, bool]:
    """(socket type, In mark, may be None) of an annotation."""
    mark, optional, sockets = In(), False, []
    pending = [hint]
    while pending:
        item = pending.pop(0)
        origin, args = get_origin(item), get_args(item)
        if item is type(None):
            optional = True
        elif origin is Annotated:
            found = [m for m in args[1:] if isinstance(m, Socket)]
            mark = next((m for m in args[1:] if isinstance(m, In)), mark)
            if found:
                sockets.append(found[-1].type)
            else:
                pending.append(args[0])
        elif origin in (Union, types.UnionType):
            pending.extend(args)
        elif item in _PYTHON_SOCKETS:
            sockets.append(_PYTHON_SOCKETS[item])
        elif origin in (list, tuple):
            pending.append(args[0])
        elif mark.type or item is Any:
            sockets.append(mark.type or ANY)
        else:
            raise TypeError(f"{item!r} has no socket type; annotate it with Socket(…) or In(type=…)")
    return "|".join(dict.fromkeys(sockets)), mark, optional


_PYTHON_SOCKETS: dict[Any, str] = {int: "INT", float: "FLOAT", str: "STRING", bool: "BOOLEAN"}


def _output_schemas(hint: Any, names: Sequence[str], lists: Sequence[str]) -> tuple[OutputSchema, ...]:
    if not names:
        return ()
    hints = list(get_args(hint)) if len(names) > 1 and get_origin(hint) is tuple else [hint]
    if len(hints) != len(names):
        raise TypeError(f"{len(names)} outputs are named and {len(hints)} returned")
    return tuple(
        OutputSchema(name=name, type=_read_hint(h)[0], list=name in lists) for name, h in zip(names, hints, strict=True)
    )


def _split_doc(text: str) -> tuple[str, dict[str, str]]:
    doc: list[str] = []
    tooltips: dict[str, str] = {}
    for line in text.splitlines():
        name, colon, rest = line.strip().partition(":")
        if doc and colon and name.isidentifier() and rest:
            tooltips[name] = rest.strip()
        elif not tooltips:
            doc.append(line)
    return "\n".join(doc).strip(), tooltips


def _code_hash(function: Callable[..., Any]) -> str:
    # The whole file, so that what stands beside the node counts too. inspect.getsource would take 3 ms for each node.
    code = inspect.unwrap(function).__code__
    try:
        source = Path(code.co_filename).read_bytes()
    except OSError:  # made in memory, or in a bundle without sources
        constants = [item for item in code.co_consts if isinstance(item, (str, int, float, bytes))]
        source = repr((code.co_code, code.co_names, constants)).encode()
    return hashlib.sha256(function.__qualname__.encode() + b"\n" + source).hexdigest()[:16]
