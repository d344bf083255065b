"""What a pickled checkpoint would do if it were opened, found out without opening it. Torch-free; nothing is executed.

The opcodes are read by pickletools and played on a machine that only knows plain values: a global is a name, a call is
a record of a call. A checkpoint may name nothing but what tensors are made of (ALLOWED); anything else, and every
opcode that checkpoints do not need, refuses the file. What remains gives the tensors' names, types and shapes, so a
pickle is identified like any other file before it is converted.
"""

from __future__ import annotations

import io
import math
import pickletools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from engine.contracts.errors import MissingModel, UnsafeModel, clip
from engine.models.archives import members, read_member, refused
from engine.models.state_dict import plain_table

MAX_PICKLE_BYTES = 64 * 1024 * 1024
MAX_OPCODES = 20_000_000
MAX_TENSORS = 100_000
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C

_STORAGES: Mapping[str, tuple[str, int]] = MappingProxyType(
    {
        "FloatStorage": ("F32", 4), "HalfStorage": ("F16", 2), "BFloat16Storage": ("BF16", 2),
        "DoubleStorage": ("F64", 8), "LongStorage": ("I64", 8), "IntStorage": ("I32", 4), "ShortStorage": ("I16", 2),
        "CharStorage": ("I8", 1), "ByteStorage": ("U8", 1), "BoolStorage": ("BOOL", 1),
    }
)  # fmt: skip

# Every global a checkpoint may name. The child's unpickler (torch's weights_only) allows more; the shorter list counts.
ALLOWED: frozenset[str] = frozenset(
    {
        "collections.OrderedDict",
        "torch._utils._rebuild_tensor",
        "torch._utils._rebuild_tensor_v2",
        "torch._utils._rebuild_parameter",
        "torch.Size",
        *(f"torch.{name}" for name in _STORAGES),
    }
)

# Values that hold no reference are pushed as they are.
_LITERALS = frozenset(
    {
        "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "UNICODE", "BINUNICODE",
        "SHORT_BINUNICODE", "BINUNICODE8", "STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES",
        "BINBYTES8",
    }
)  # fmt: skip


@dataclass(frozen=True)
class PickledTensor:
    """One tensor of a pickle: `dtype` in safetensors' spelling, `storage` the key of the bytes it looks at."""

    dtype: str
    shape: tuple[int, ...]
    storage: str


@dataclass(frozen=True)
class Checkpoint:
    """A pickle that passed: its tensors by the names they get as safetensors, and whether it is of the old format."""

    tensors: Mapping[str, PickledTensor]
    legacy: bool


class _Global(str):
    """The name of a class or function; never looked up."""


@dataclass(frozen=True)
class _Storage:
    dtype: str
    key: str
    count: int


class _NotAllowed(Exception):
    pass


_MARK = object()


def looks_pickled(head: bytes) -> bool:
    """Whether a file's first bytes are those of a pickle or of a zip archive, whatever its name says."""
    if head[5:9] == b"\0\0\0{":  # a safetensors header of 640, 896… bytes: its length alone looks like a pickle's start
        return False
    return head[:4] == b"PK\x03\x04" or (head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"))


def inspect(path: Path) -> Checkpoint:
    """Check a pickled file and list its tensors; nothing in it is executed.

    Raises UnsafeModel with the reason (a global that is not allowed, TorchScript, a zip trick…) and MissingModel when
    the file can't be read.
    """
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise MissingModel("it can't be read", where=str(path), fix="Check the file and its permissions") from error
    if head[:4] == b"PK\x03\x04":
        return Checkpoint(_from_archive(path), legacy=False)
    if not looks_pickled(head):
        raise refused(path, "it is neither a zip archive nor a pickle that torch wrote")
    return Checkpoint(_from_legacy(path), legacy=True)


def _from_archive(path: Path) -> Mapping[str, PickledTensor]:
    files = members(path)
    names = {name.partition("/")[2] for name in files}
    if "constants.pkl" in names or any(name.startswith("code/") for name in names):
        raise refused(path, "it is TorchScript, which is a program and not only weights")
    if any(name.endswith((".py", ".so", ".dll", ".pyc")) for name in names):
        raise refused(path, "its archive holds program code")
    if any(name.startswith(("models/", "serialized_", "aotinductor")) for name in names):
        raise refused(path, "it is an exported program and not only weights")
    pickles = [name for name in files if name.endswith(".pkl")]
    roots = [name for name in pickles if name.count("/") <= 1 and name.rpartition("/")[2] == "data.pkl"]
    if len(roots) != 1 or len(pickles) != 1:
        raise refused(path, "its archive is not one that torch.save writes")
    order = next((name for name in files if name.rpartition("/")[2] == "byteorder"), None)
    if order and read_member(path, files[order], 16) != b"little":
        raise refused(path, "its numbers are big-endian")
    data = read_member(path, files[roots[0]], MAX_PICKLE_BYTES)
    stream = io.BytesIO(data)
    tensors = _tensors(path, _play(path, stream))
    if stream.tell() != len(data):
        raise refused(path, "something stands behind its pickle")
    folder = roots[0].removesuffix("data.pkl")
    for name, tensor in tensors.items():
        if f"{folder}data/{tensor.storage}" not in files:
            raise refused(path, f"the numbers of “{clip(name)}” are not in its archive")
    return tensors


def _from_legacy(path: Path) -> Mapping[str, PickledTensor]:
    """torch.save before 1.6: magic number, version, system, the object, the list of storages; then raw bytes."""
    with path.open("rb") as file:
        stream = io.BytesIO(file.read(MAX_PICKLE_BYTES))
    if _play(path, stream) != LEGACY_MAGIC:
        raise refused(path, "it is a plain pickle, not a checkpoint that torch wrote")
    if not isinstance(_play(path, stream), int) or not isinstance(_play(path, stream), dict):
        raise refused(path, "its beginning is not that of a checkpoint")
    found = _tensors(path, _play(path, stream))
    _play(path, stream)
    return found


def _tensors(path: Path, value: Any) -> Mapping[str, PickledTensor]:
    table = plain_table(value, lambda item: isinstance(item, PickledTensor))
    if not table:
        raise refused(path, "it holds no tensors by name")
    if len(table) > MAX_TENSORS:
        raise refused(path, f"it names {len(table)} tensors; {MAX_TENSORS} is the most that is read")
    return MappingProxyType(table)


def _play(path: Path, stream: io.BytesIO) -> Any:
    """The value of the next pickle of the stream, on a machine that can do nothing."""
    machine = _Machine()
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
            if count > MAX_OPCODES:
                raise _NotAllowed("it has more instructions than are read")
            machine.step(opcode.name, argument)
        return machine.result()
    except _NotAllowed as why:
        raise refused(path, str(why)) from None
    except RecursionError:
        raise refused(path, "its pickle is nested too deeply") from None
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, UnicodeDecodeError, MemoryError) as error:
        raise refused(path, f"its pickle is damaged ({clip(str(error)) or type(error).__name__})") from error


class _Machine:
    """The pickle machine without its power: stack, memo and plain containers."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def result(self) -> Any:
        if len(self._stack) != 1:
            raise _NotAllowed("its pickle does not end as one that torch wrote")
        return self._stack.pop()

    def step(self, name: str, argument: Any) -> None:
        if name in _LITERALS:
            self._stack.append(argument)
            return
        action = getattr(self, f"_{name.lower()}", None)
        if action is None:
            raise _NotAllowed(f"its pickle uses the instruction {name}, which a checkpoint does not need")
        action(argument)

    def _to_mark(self) -> list[Any]:
        for index in range(len(self._stack) - 1, -1, -1):
            if self._stack[index] is _MARK:
                items = self._stack[index + 1 :]
                del self._stack[index:]
                return items
        raise ValueError("a mark is missing")

    # --- instructions, by their names in pickletools

    def _proto(self, argument: int) -> None:
        if argument > 5:
            raise _NotAllowed(f"it is of pickle protocol {argument}")

    def _frame(self, argument: int) -> None:
        pass

    def _stop(self, argument: None) -> None:
        pass

    def _mark(self, argument: None) -> None:
        self._stack.append(_MARK)

    def _none(self, argument: None) -> None:
        self._stack.append(None)

    def _newtrue(self, argument: None) -> None:
        self._stack.append(True)

    def _newfalse(self, argument: None) -> None:
        self._stack.append(False)

    def _empty_dict(self, argument: None) -> None:
        self._stack.append({})

    def _empty_list(self, argument: None) -> None:
        self._stack.append([])

    def _empty_tuple(self, argument: None) -> None:
        self._stack.append(())

    def _tuple(self, argument: None) -> None:
        self._stack.append(tuple(self._to_mark()))

    def _tuple1(self, argument: None) -> None:
        self._join(1)

    def _tuple2(self, argument: None) -> None:
        self._join(2)

    def _tuple3(self, argument: None) -> None:
        self._join(3)

    def _join(self, count: int) -> None:
        if len(self._stack) < count:
            raise ValueError("the stack is empty")
        items = tuple(self._stack[-count:])
        del self._stack[-count:]
        self._stack.append(items)

    def _list(self, argument: None) -> None:
        self._stack.append(self._to_mark())

    def _dict(self, argument: None) -> None:
        items = self._to_mark()
        made: dict[Any, Any] = {}
        self._stack.append(made)
        _fill(made, items)

    def _append(self, argument: None) -> None:
        item = self._stack.pop()
        _list_of(self._stack[-1]).append(item)

    def _appends(self, argument: None) -> None:
        items = self._to_mark()
        _list_of(self._stack[-1]).extend(items)

    def _setitem(self, argument: None) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        _fill(self._stack[-1], [key, value])

    def _setitems(self, argument: None) -> None:
        items = self._to_mark()
        _fill(self._stack[-1], items)

    def _pop(self, argument: None) -> None:
        self._stack.pop()

    def _pop_mark(self, argument: None) -> None:
        self._to_mark()

    def _dup(self, argument: None) -> None:
        self._stack.append(self._stack[-1])

    def _put(self, argument: int) -> None:
        self._memo[int(argument)] = self._stack[-1]

    _binput = _long_binput = _put

    def _memoize(self, argument: None) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def _get(self, argument: int) -> None:
        self._stack.append(self._memo[int(argument)])

    _binget = _long_binget = _get

    def _global(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self._stack.append(_allowed(module, name))

    def _stack_global(self, argument: None) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        if type(name) is not str or type(module) is not str:
            raise _NotAllowed("it hides the name of what it calls")
        self._stack.append(_allowed(module, name))

    def _binpersid(self, argument: None) -> None:
        value = self._stack.pop()
        if (
            not isinstance(value, tuple) or len(value) < 5 or value[0] != "storage" or not isinstance(value[1], _Global)
            or value[1].rpartition(".")[2] not in _STORAGES or type(value[2]) is not str or type(value[4]) is not int
        ):  # fmt: skip
            raise _NotAllowed("it asks for something that is no tensor's storage")
        dtype, _ = _STORAGES[value[1].rpartition(".")[2]]
        self._stack.append(_Storage(dtype, value[2], value[4]))

    def _reduce(self, argument: None) -> None:
        arguments, function = self._stack.pop(), self._stack.pop()
        if not isinstance(function, _Global) or not isinstance(arguments, tuple):
            raise _NotAllowed("it calls something that is no function")
        self._stack.append(_called(function, arguments))

    def _build(self, argument: None) -> None:
        # A state dict carries its `_metadata` this way; it changes no tensor.
        self._stack.pop()
        if not isinstance(self._stack[-1], dict):
            raise _NotAllowed("it changes the inside of something that is no table")


def _allowed(module: str, name: str) -> _Global:
    full = f"{module}.{name}"
    if full not in ALLOWED:
        raise _NotAllowed(f"it would call “{clip(full)}”, which a checkpoint must not")
    return _Global(full)


def _called(function: _Global, arguments: tuple[Any, ...]) -> Any:
    if function == "collections.OrderedDict":
        made: dict[Any, Any] = {}
        for pair in arguments[0] if arguments else ():
            _fill(made, list(pair))
        return made
    if function == "torch.Size":
        return arguments[0] if arguments else ()
    if function == "torch._utils._rebuild_parameter" and arguments and isinstance(arguments[0], PickledTensor):
        return arguments[0]
    if function in ("torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2") and len(arguments) >= 4:
        return _tensor(*arguments[:4])
    raise _NotAllowed(f"it calls “{clip(function)}” in a way that makes no tensor")


def _tensor(storage: Any, offset: Any, shape: Any, stride: Any) -> PickledTensor:
    naturals = [offset, *shape, *stride] if isinstance(shape, tuple) and isinstance(stride, tuple) else [None]
    if (
        not isinstance(storage, _Storage) or len(shape) != len(stride) or len(shape) > 8
        or not all(type(n) is int and 0 <= n < 2**48 for n in naturals)
    ):  # fmt: skip
        raise _NotAllowed("one of its tensors is malformed")
    if math.prod(shape) and offset + sum((n - 1) * s for n, s in zip(shape, stride, strict=True)) >= storage.count:
        raise _NotAllowed("one of its tensors reaches beyond its storage")
    if math.prod(shape) > 64 * max(storage.count, 1):
        raise _NotAllowed("one of its tensors grows out of a few numbers")  # a stride of 0 makes terabytes of one
    return PickledTensor(storage.dtype, shape, storage.key)


def _fill(table: Any, items: list[Any]) -> None:
    if not isinstance(table, dict):
        raise _NotAllowed("it writes into something that is no table")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if type(key) not in (str, int, float, bool, type(None)):
            raise _NotAllowed("one of its tables has a key that is no text")
        table[key] = value


def _list_of(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise _NotAllowed("it writes into something that is no list")
    return value


__all__ = ["ALLOWED", "Checkpoint", "PickledTensor", "UnsafeModel", "inspect", "looks_pickled"]
