"""Look into a zip archive without extracting anything, and refuse every trick known of them. Torch-free.

torch.save has written zip archives since 1.6: `<name>/data.pkl` beside `<name>/data/0`, `<name>/data/1`…, all stored
uncompressed. Whatever differs from that in a way that could mislead a reader is refused with its reason.
"""

from __future__ import annotations

import itertools
import stat
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from engine.contracts.errors import MissingModel, UnsafeModel, clip

MAX_ENTRIES = 50_000
MAX_RATIO = 20
MAX_DIRECTORY_BYTES = 16 * 1024 * 1024
_LOCAL_HEADER = struct.Struct("<4s5HIIIHH")
_ENCRYPTED = 0x1


@dataclass(frozen=True)
class Member:
    """One file of an archive. `begin` counts bytes from the archive's start to the file's first byte."""

    name: str
    size: int
    stored: bool
    begin: int


def members(path: Path) -> dict[str, Member]:
    """The files of a zip archive by name. Raises UnsafeModel on the first trick and MissingModel when unreadable."""
    try:
        with path.open("rb") as file:
            _check_directory_size(path, file)
            with zipfile.ZipFile(file) as archive:
                return _checked(path, file, archive)
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error, EOFError) as error:
        raise refused(path, f"its zip archive is damaged ({clip(str(error))})") from error
    except OSError as error:
        raise MissingModel("it can't be read", where=str(path), fix="Check the file and its permissions") from error


def _check_directory_size(path: Path, file: BinaryIO) -> None:
    # zipfile reads the whole directory into memory: look at its size first.
    size = file.seek(0, 2)
    tail = min(size, 65_557)
    file.seek(size - tail)
    data = file.read(tail)
    at = data.rfind(b"PK\x05\x06")
    if at < 0 or len(data) - at < 22:
        raise refused(path, "its zip archive is cut short")
    count, directory = struct.unpack_from("<HI", data, at + 10)
    comment = struct.unpack_from("<H", data, at + 20)[0]
    if directory != 0xFFFFFFFF and directory > MAX_DIRECTORY_BYTES:
        raise refused(path, f"its zip directory is {directory // 2**20} MB long; 16 MB is the most that is read")
    if comment or at + 22 != len(data):
        raise refused(path, "something stands behind its zip archive")
    if count != 0xFFFF and count > MAX_ENTRIES:
        raise refused(path, f"its zip archive has {count} files; {MAX_ENTRIES} is the most that is read")


def _checked(path: Path, file: BinaryIO, archive: zipfile.ZipFile) -> dict[str, Member]:
    infos = archive.infolist()
    if len(infos) > MAX_ENTRIES:
        raise refused(path, f"its zip archive has {len(infos)} files; {MAX_ENTRIES} is the most that is read")
    if min((info.header_offset for info in infos), default=0) != 0:
        raise refused(path, "something stands before its zip archive")
    found: dict[str, Member] = {}
    folded: set[str] = set()
    for info in infos:
        _check_name(path, info)
        if info.orig_filename.casefold() in folded:
            raise refused(path, f"“{clip(info.filename)}” stands twice in its zip archive")
        folded.add(info.orig_filename.casefold())
        if info.flag_bits & _ENCRYPTED:
            raise refused(path, f"“{clip(info.filename)}” in its zip archive is encrypted")
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise refused(path, f"“{clip(info.filename)}” in its zip archive is a link or a device")
        if info.file_size > MAX_RATIO * max(info.compress_size, 64):
            raise refused(path, f"“{clip(info.filename)}” grows {MAX_RATIO}-fold or more when it is unpacked")
        found[info.filename] = Member(
            info.filename, info.file_size, info.compress_type == zipfile.ZIP_STORED, _begin(path, file, info)
        )
    spans = sorted((found[info.filename].begin, info.compress_size, info.header_offset) for info in infos)
    for (begin, length, _), (_, _, following) in itertools.pairwise(spans):
        if begin + length > following:
            raise refused(path, "two files of its zip archive share bytes")
    return found


def _check_name(path: Path, info: zipfile.ZipInfo) -> None:
    name = info.orig_filename
    pure = PurePosixPath(name)
    if "\0" in name or "\\" in name or (len(name) > 1 and name[1] == ":"):
        raise refused(path, f"a name in its zip archive could mislead (“{clip(name)}”)")
    if pure.is_absolute() or not name:
        raise refused(path, f"“{clip(name)}” in its zip archive is an absolute path")
    if ".." in pure.parts:
        raise refused(path, f"“{clip(name)}” in its zip archive leads out of it")


def _begin(path: Path, file: BinaryIO, info: zipfile.ZipInfo) -> int:
    """Where the member's bytes begin; its local header must tell the same as the directory."""
    file.seek(info.header_offset)
    data = file.read(_LOCAL_HEADER.size)
    if len(data) < _LOCAL_HEADER.size or data[:4] != b"PK\x03\x04":
        raise refused(path, f"“{clip(info.filename)}” is not where its zip archive says")
    fields = _LOCAL_HEADER.unpack(data)
    method, name_length, extra_length = int(fields[3]), int(fields[9]), int(fields[10])
    name = file.read(name_length)
    if name != info.orig_filename.encode("utf-8" if info.flag_bits & 0x800 else "cp437", "replace"):
        raise refused(path, "its zip archive gives one file two names")
    if method != info.compress_type:
        raise refused(path, f"“{clip(info.filename)}” is packed otherwise than its zip archive says")
    return info.header_offset + _LOCAL_HEADER.size + name_length + extra_length


def read_member(path: Path, member: Member, limit: int) -> bytes:
    """The bytes of a stored member. Raises UnsafeModel when it is packed or longer than `limit`."""
    if not member.stored:
        raise refused(path, f"“{clip(member.name)}” is packed, which torch never does")
    if member.size > limit:
        raise refused(path, f"“{clip(member.name)}” is {member.size // 2**20} MB long; more than is read")
    with path.open("rb") as file:
        file.seek(member.begin)
        data = file.read(member.size)
    if len(data) != member.size:
        raise refused(path, f"“{clip(member.name)}” is cut short")
    return data


def refused(path: Path, why: str, fix: str = "Get the file again from its source, best as safetensors") -> UnsafeModel:
    return UnsafeModel(f"{path.name} is refused: {why}", where=str(path.parent), fix=fix)
