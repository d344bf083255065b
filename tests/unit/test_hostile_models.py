"""A corpus of hostile model files, one for each trick: every one is refused, and none gets to run.

Each file that could run code would write a canary; the canary must not be there, neither after looking at the file nor
after asking for its conversion, nor after giving it straight to the child process, past the check.
"""

from __future__ import annotations

import builtins
import io
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.contracts.errors import StorageError, TesseraError, UnsafeModel
from engine.models import convert
from engine.models.convert import convert_pickle
from engine.models.identify import identify
from engine.models.safetensors_header import read_header
from tests.unit import model_headers as h

Make = Callable[[Path, Path], Path]


class Calls:
    """Pickles to a call of any function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self._call = (function, arguments)

    def __reduce__(self) -> Any:
        return self._call


def call_opcodes(module: str, name: str, argument: str) -> bytes:
    """A pickle by hand: module.name(argument)."""
    return (
        b"\x80\x02c"
        + f"{module}\n{name}\n".encode()
        + b"(X"
        + struct.pack("<I", len(argument))
        + argument.encode()
        + b"tR."
    )


def touch(canary: Path) -> str:
    return f"touch {canary}"


def archive(path: Path, pickled: bytes, more: dict[str, bytes] | None = None) -> Path:
    """A zip as torch.save makes it, around any pickle."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("m/data.pkl", pickled)
        file.writestr("m/version", "3\n")
        for name, data in (more or {}).items():
            file.writestr(name, data)
    return path


def good_bytes() -> bytes:
    buffer = io.BytesIO()
    torch.save({"w": torch.zeros(4)}, buffer)
    return buffer.getvalue()


def good_pickle() -> bytes:
    with zipfile.ZipFile(io.BytesIO(good_bytes())) as file:
        return next(file.read(name) for name in file.namelist() if name.endswith("data.pkl"))


def edited(change: Callable[[zipfile.ZipFile], None]) -> Callable[[Path, Path], Path]:
    """A good checkpoint with something added to its archive."""

    def make(folder: Path, canary: Path) -> Path:
        path = folder / "m.pt"
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("m/data.pkl", good_pickle())
            file.writestr("m/data/0", b"\0" * 16)
            change(file)
        return path

    return make


def by_opcodes(module: str, name: str) -> Callable[[Path, Path], Path]:
    return lambda folder, canary: archive(folder / "m.ckpt", call_opcodes(module, name, touch(canary)))


def pickled(make: Callable[[Path], Any]) -> Callable[[Path, Path], Path]:
    """torch.save of something that acts when it is opened, hidden beside good weights."""

    def write(folder: Path, canary: Path) -> Path:
        path = folder / "m.ckpt"
        torch.save({"state_dict": {"w": torch.zeros(4)}, "callbacks": make(canary)}, path)
        return path

    return write


def plain(data: Callable[[Path], bytes], name: str = "m.bin") -> Callable[[Path, Path], Path]:
    def write(folder: Path, canary: Path) -> Path:
        (folder / name).write_bytes(data(canary))
        return folder / name

    return write


def scripted(folder: Path, canary: Path) -> Path:
    class Small(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + 1

    import warnings

    path = folder / "m.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trace: Any = torch.jit.trace
        trace(Small(), torch.zeros(1)).save(str(path))
    return path


def legacy(folder: Path, canary: Path) -> Path:
    path = folder / "m.pth"
    torch.save({"w": torch.zeros(2), "x": Calls(os.system, touch(canary))}, path, _use_new_zipfile_serialization=False)
    return path


def safetensors_in_name_only(folder: Path, canary: Path) -> Path:
    path = folder / "m.safetensors"
    torch.save({"w": torch.zeros(2), "x": Calls(os.system, touch(canary))}, path)
    return path


def polyglot(folder: Path, canary: Path) -> Path:
    """safetensors in front, a zip with a pickle behind."""
    path = h.write_safetensors(folder / "m.safetensors", {"w": (4,)})
    inner = archive(folder / "inner.zip", call_opcodes("os", "system", touch(canary)))
    path.write_bytes(path.read_bytes() + inner.read_bytes())
    return path


def linked(file: zipfile.ZipFile) -> None:
    info = zipfile.ZipInfo("m/data/1")
    info.external_attr = 0o120777 << 16
    file.writestr(info, "/etc/passwd")


def twice(file: zipfile.ZipFile) -> None:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file.writestr("m/data.pkl", b"other")


def renamed(old: bytes, new: bytes, count: int = -1) -> Callable[[Path, Path], Path]:
    """A good checkpoint with bytes of its archive replaced, for names that zipfile itself would not write."""

    def write(folder: Path, canary: Path) -> Path:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as file:
            file.writestr("m/data.pkl", good_pickle())
            file.writestr("m/data/0", b"\0" * 16)
        path = folder / "m.pt"
        path.write_bytes(buffer.getvalue().replace(old, new, count))
        return path

    return write


def crowded(file: zipfile.ZipFile) -> None:
    for i in range(50_001):
        file.writestr(f"m/data/x{i}", b"")


def overlapping(folder: Path, canary: Path) -> Path:
    """Two entries of the directory that point at the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("m/data.pkl", good_pickle())
        file.writestr("m/data/0", b"\0" * 16)
        file.writestr("m/data/1", b"\0" * 16)
        file.infolist()[2].header_offset = file.infolist()[1].header_offset
    (folder / "m.pt").write_bytes(buffer.getvalue())
    return folder / "m.pt"


def grown(folder: Path, canary: Path) -> Path:
    """A tensor of 10^12 numbers made of one, by a stride of 0."""
    path = folder / "m.pt"
    torch.save({"w": torch.zeros(1).expand(10**12)}, path)
    return path


def beyond(folder: Path, canary: Path) -> Path:
    """A tensor of 9 numbers over a storage of 4."""
    return archive(folder / "m.pt", good_pickle().replace(b"K\x04\x85", b"K\x09\x85"), {"m/data/0": b"\0" * 16})


def tensor_proto(*, location: bool) -> bytes:
    entry = b"\x0a\x08location\x12\x0b/etc/passwd"
    inside = b"\x70\x01" if location else b"\x6a" + bytes([len(entry)]) + entry
    graph = b"\x2a" + bytes([len(inside)]) + inside
    return b"\x08\x08\x3a" + bytes([len(graph)]) + graph


def gguf(change: Callable[[bytes], bytes]) -> Callable[[Path, Path], Path]:
    def write(folder: Path, canary: Path) -> Path:
        path = h.write_gguf(folder / "m.gguf", {"w": (2, 32)}, {"general.architecture": "flux"})
        path.write_bytes(change(path.read_bytes()))
        return path

    return write


def type_and_offset(kind: int, offset: int) -> Make:
    """A GGUF whose one tensor says another type and offset than it has."""
    return gguf(lambda data: data.replace(struct.pack("<IQ", 8, 0), struct.pack("<IQ", kind, offset)))


def folder_with(name: str, content: str) -> Callable[[Path, Path], Path]:
    def write(folder: Path, canary: Path) -> Path:
        model = folder / "model"
        (model / "unet").mkdir(parents=True)
        (model / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
        (model / name).write_text(content)
        return model

    return write


def folder_linking_out(folder: Path, canary: Path) -> Path:
    model = folder / "model"
    model.mkdir()
    (model / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    (model / "weights.safetensors").symlink_to("/etc/passwd")
    return model


CORPUS: dict[str, tuple[Make, str]] = {
    "os.system": (pickled(lambda c: Calls(os.system, touch(c))), "would call “posix.system”"),
    "subprocess.Popen": (pickled(lambda c: Calls(subprocess.Popen, ["touch", str(c)])),
                         r"would call “(subprocess|commands)\.Popen”"),
    "eval": (pickled(lambda c: Calls(eval, f"open({str(c)!r}, 'w')")), r"would call “(builtins|__builtin__)\.eval”"),
    "exec": (pickled(lambda c: Calls(exec, f"open({str(c)!r}, 'w')")), r"would call “(builtins|__builtin__)\.exec”"),
    "open": (pickled(lambda c: Calls(open, str(c), "w")), "would call “(_?io).open”"),
    "getattr chain": (pickled(lambda c: Calls(getattr, Calls(__import__, "os"), "system")), "would call"),
    "torch.hub.load": (by_opcodes("torch.hub", "load"), "would call “torch.hub.load”"),
    "os.spawnvp": (by_opcodes("os", "spawnvp"), "would call “os.spawnvp”"),
    "multiprocessing spawnv_passfds": (by_opcodes("multiprocessing.util", "spawnv_passfds"), "would call"),
    "pty.spawn": (by_opcodes("pty", "spawn"), "would call “pty.spawn”"),
    "runpy": (by_opcodes("runpy", "run_path"), "would call “runpy.run_path”"),
    "pip": (by_opcodes("pip._internal.cli.main", "main"), "would call"),
    "numpy exec_command": (by_opcodes("numpy.testing._private.utils", "runstring"), "would call"),
    "nested torch.load": (by_opcodes("torch.storage", "_load_from_bytes"),
                          "would call “torch.storage._load_from_bytes”"),
    "nested pickle.loads": (by_opcodes("_pickle", "loads"), "would call “_pickle.loads”"),
    "dotted name": (by_opcodes("torch", "_utils.os.system"), "would call “torch._utils.os.system”"),
    "hidden name": (plain(lambda c: b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x01xR."), "would call “os.system”"),
    "computed name": (plain(lambda c: b"\x80\x04K\x01K\x02\x93."), "hides the name"),
    "old INST opcode": (plain(lambda c: b"\x80\x02(S'" + touch(c).encode() + b"'\nios\nsystem\n."), "instruction INST"),
    "old OBJ opcode": (plain(lambda c: b"\x80\x02(cos\nsystem\nX\x01\0\0\0xo."), "would call “os.system”"),
    "extension registry": (plain(lambda c: b"\x80\x02\x82\x01."), "instruction EXT1"),
    "text persistent id": (plain(lambda c: b"\x80\x02Pstorage\n."), "instruction PERSID"),
    "build on an object": (plain(lambda c: b"\x80\x02K\x01}b."), "changes the inside"),
    "memo of nothing": (plain(lambda c: b"\x80\x02h\x07."), "damaged"),
    "no end": (plain(lambda c: b"\x80\x02}"), "damaged"),
    "huge text": (plain(lambda c: b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b"x."), "damaged"),
    "plain pickle": (plain(lambda c: pickle.dumps({"w": 1}, protocol=2)), "plain pickle"),
    "legacy torch file": (legacy, "would call “posix.system”"),
    "pickle named safetensors": (safetensors_in_name_only, "would call “posix.system”"),
    "zip behind safetensors": (polyglot, "bytes that belong to no tensor"),
    "TorchScript": (scripted, "TorchScript"),
    "exported program": (edited(lambda f: f.writestr("m/serialized_exported_program.json", "{}")), "exported program"),
    "code in the archive": (edited(lambda f: f.writestr("m/extra/run.py", "import os")), "program code"),
    "two pickles": (edited(lambda f: f.writestr("m/other.pkl", b"\x80\x02N.")), "not one that torch.save writes"),
    "second pickle behind": (lambda d, c: archive(d / "m.pt", good_pickle() + call_opcodes("os", "system", touch(c)),
                                                  {"m/data/0": b"\0" * 16}), "stands behind its pickle"),
    "numbers missing": (lambda d, c: archive(d / "m.pt", good_pickle()), "are not in its archive"),
    "big-endian": (edited(lambda f: f.writestr("m/byteorder", "big")), "big-endian"),
    "zip slip": (edited(lambda f: f.writestr("m/../../evil", b"x")), "leads out of it"),
    "absolute name": (edited(lambda f: f.writestr("/etc/cron.d/evil", b"x")), "absolute path"),
    "drive letter": (edited(lambda f: f.writestr("C:/evil", b"x")), "could mislead"),
    "backslash": (renamed(b"m/data/0", b"m\\data\\0"), "could mislead"),
    "zero in a name": (renamed(b"m/data/0", b"m/dat\0/0"), "could mislead"),
    "symbolic link": (edited(linked), "a link or a device"),
    "twice the same name": (edited(twice), "stands twice"),
    "same name but for case": (edited(lambda f: f.writestr("M/DATA.PKL", b"x")), "stands twice"),
    "zip bomb": (edited(lambda f: f.writestr("m/data/1", b"\0" * 10_000_000, zipfile.ZIP_DEFLATED)), "20-fold"),
    "packed pickle": (lambda d, c: _packed(d), "packed, which torch never does"),
    "50,001 files": (edited(crowded), "is the most that is read"),
    "overlapping files": (overlapping, "(share bytes|two names)"),
    "one file, two names": (renamed(b"m/data/0", b"m/data/7", 1), "two names"),
    "something before the zip": (lambda d, c: _joined(d, b"PK\x03\x04" + b"\0" * 60 + good_bytes()),
                                 "before its zip archive"),
    "something behind the zip": (lambda d, c: _joined(d, good_bytes() + b"#!/bin/sh"), "behind its zip archive"),
    "cut zip": (lambda d, c: _joined(d, good_bytes()[:-60]), "(cut short|damaged)"),
    "tensor of a trillion from one": (grown, "grows out of a few numbers"),
    "tensor beyond its storage": (beyond, "beyond its storage"),
    "external ONNX data": (plain(lambda c: tensor_proto(location=False), "m.onnx"), "lie in other files"),
    "external ONNX location": (plain(lambda c: tensor_proto(location=True), "m.onnx"), "lie in other files"),
    "damaged ONNX": (plain(lambda c: b"\x08\x08\x3a\x7f\x01", "m.onnx"), "not a whole ONNX file"),
    "gguf of version 99": (gguf(lambda b: b[:4] + struct.pack("<I", 99) + b[8:]), "version 99"),
    "gguf with 2^60 tensors": (gguf(lambda b: b[:8] + struct.pack("<Q", 2**60) + b[16:]), "more than are read"),
    "gguf with 2^60 keys": (gguf(lambda b: b[:16] + struct.pack("<Q", 2**60) + b[24:]), "more than are read"),
    "gguf with an endless text": (gguf(lambda b: b[:24] + struct.pack("<Q", 2**62) + b[32:]), "bytes stands where"),
    "gguf cut short": (gguf(lambda b: b[:60]), "cut short"),
    "gguf without its data": (gguf(lambda b: b[:-40]), "outside the file"),
    "gguf offset far outside": (type_and_offset(8, 2**60), "outside the file"),
    "gguf of an unknown type": (type_and_offset(77, 0), "unknown type"),
    "gguf off its alignment": (type_and_offset(8, 7), "not aligned"),
    "folder with Python": (folder_with("pipeline.py", "import os"), "program code"),
    "folder with a pickle": (folder_with("unet/diffusion_pytorch_model.bin", "x"), "is a pickle"),
    "folder with auto_map": (folder_with("unet/config.json", '{"auto_map": {"AutoModel": "x.Y"}}'), "remote code"),
    "folder with a custom pipeline": (folder_with("config.json", '{"custom_pipeline": "evil/x"}'), "remote code"),
    "class name as a list": (folder_with("unet/config.json", '{"_class_name": ["evil", "X"]}'), "other than text"),
    "folder linking out": (folder_linking_out, "leads out of the folder"),
}  # fmt: skip


def _packed(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "m.pt", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("m/data.pkl", good_pickle())
        file.writestr("m/data/0", os.urandom(16))
    return folder / "m.pt"


def _joined(folder: Path, data: bytes) -> Path:
    (folder / "m.pt").write_bytes(data)
    return folder / "m.pt"


def test_the_corpus_is_large_enough() -> None:
    assert len(CORPUS) >= 60


@pytest.mark.parametrize("name", CORPUS)
def test_every_hostile_file_is_refused_and_none_runs(name: str, tmp_path: Path) -> None:
    make, reason = CORPUS[name]
    canary = tmp_path / "canary"
    path = make(tmp_path, canary)
    with pytest.raises(UnsafeModel, match=reason):
        identify(path)
    if path.suffix in (".pt", ".pth", ".ckpt", ".bin"):
        with pytest.raises(UnsafeModel, match=reason):
            convert_pickle(path, tmp_path / "out.safetensors")
    assert not canary.exists()
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize("name", ["os.system", "TorchScript", "legacy torch file"])
def test_past_the_check_the_child_itself_runs_nothing(name: str, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    path = CORPUS[name][0](tmp_path, canary)
    with pytest.raises(UnsafeModel, match="could not be converted"):
        convert._run_child(path, tmp_path / "out", 2**20, 60)
    assert not canary.exists()


ATTEMPTS = """
import os, runpy, sys
room = runpy.run_path(sys.argv[1])
import torch, _socket
canary = sys.argv[2]
attempts = {
    "file": lambda: open(canary, "w"),
    "descriptor": lambda: os.open(canary, os.O_CREAT | os.O_WRONLY),
    "process": lambda: os.system("touch " + canary),
    "fork": lambda: os.fork(),
    "socket": lambda: _socket.socket(),
    "import": lambda: __import__("wave"),
}
room["_close_the_door"]()
for name, attempt in attempts.items():
    try:
        attempt()
        print("did", name)
    except Exception:
        print("stopped", name)
"""


def test_code_that_did_run_in_the_child_could_do_nothing(tmp_path: Path) -> None:
    """The room on its own: what a hole in torch's unpickler could reach after the door is closed."""
    canary = tmp_path / "canary"
    done = subprocess.run(
        [sys.executable, "-I", "-c", ATTEMPTS, str(convert.CHILD), str(canary)],
        capture_output=True, text=True, check=False, env={"OMP_NUM_THREADS": "1"}, timeout=120,
    )  # fmt: skip
    names = ("file", "descriptor", "process", "fork", "socket", "import")
    assert done.stdout.split("\n")[:-1] == [f"stopped {name}" for name in names], done.stderr
    assert not canary.exists()


@pytest.mark.parametrize("new_format", [True, False])
def test_a_good_pickle_becomes_the_same_tensors(new_format: bool, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    weights = {
        "emb.weight": torch.randn(5, 3), "half": torch.randn(2, 2).half(), "count": torch.arange(3),
        "brain": torch.randn(4).bfloat16(), "turned": torch.randn(3, 4).t(), "one": torch.tensor(1.5),
        "learned": torch.nn.Parameter(torch.randn(2)),
    }  # fmt: skip
    path = tmp_path / "a.ckpt"
    torch.save({"state_dict": weights, "epoch": 3}, path, _use_new_zipfile_serialization=new_format)
    before = identify(path)
    target = convert_pickle(path, tmp_path / "deep" / "a.safetensors")
    loaded = load_file(target)
    assert set(loaded) == set(weights)
    for name, tensor in weights.items():
        assert loaded[name].dtype == tensor.dtype
        assert torch.equal(loaded[name], tensor.detach())
    after = identify(target)
    assert (after.kind, after.parameters) == (before.kind, before.parameters)
    assert dict(read_header(target).metadata) == {"format": "pt"}
    assert sorted(p.name for p in target.parent.iterdir()) == ["a.safetensors"]
    with pytest.raises(StorageError, match="is there already"):
        convert_pickle(path, target)


def test_old_wrappings_are_unwrapped(tmp_path: Path) -> None:
    torch.save({"string_to_param": {"*": torch.randn(4, 768)}, "name": "cat", "step": 1}, tmp_path / "cat.pt")
    assert (identify(tmp_path / "cat.pt").kind, identify(tmp_path / "cat.pt").family) == ("embedding", "sd15")
    torch.save({"params_ema": {"a": torch.zeros(1)}, "params": {"b": torch.zeros(1)}}, tmp_path / "up.pth")
    target = convert_pickle(tmp_path / "up.pth", tmp_path / "up.safetensors")
    assert set(read_header(target).tensors) == {"a"}
    inside: dict[str, Any] = {"image_proj": {"norm.weight": torch.zeros(768)}}
    inside["ip_adapter"] = {"1.to_k_ip.weight": torch.zeros(320, 768)}
    torch.save(inside, tmp_path / "ip.bin")
    assert (identify(tmp_path / "ip.bin").kind, identify(tmp_path / "ip.bin").family) == ("ip_adapter", "sd15")


def test_a_table_that_holds_itself_ends(tmp_path: Path) -> None:
    table: dict[str, Any] = {"w": torch.zeros(2)}
    for i in range(200):
        table[f"again{i}"] = table
    torch.save(table, tmp_path / "loop.pt")
    try:
        identify(tmp_path / "loop.pt")
    except TesseraError as error:
        assert isinstance(error, UnsafeModel)  # noqa: PT017


def test_what_was_written_is_compared_with_what_was_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.pt"
    torch.save({"w": torch.zeros(4)}, path)
    monkeypatch.setattr(convert, "_run_child", lambda s, t, b, n: h.write_safetensors(t, {"other": (4,)}))
    with pytest.raises(UnsafeModel, match="other tensors than it shows"):
        convert_pickle(path, tmp_path / "a.safetensors")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.pt"]


def test_looking_at_a_pickle_looks_nothing_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.pt"
    torch.save({"w": torch.zeros(4)}, path)

    def never(*arguments: Any, **options: Any) -> Any:
        raise AssertionError("an unpickler was made")

    for owner, name in (
        (pickle, "Unpickler"),
        (pickle, "load"),
        (pickle, "loads"),
        (torch, "load"),
        (builtins, "eval"),
    ):
        monkeypatch.setattr(owner, name, never)
    assert identify(path).parameters == 4
