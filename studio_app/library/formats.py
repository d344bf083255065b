"""A picture of the library as a file of another format, with what it says of itself kept inside."""

from __future__ import annotations

from engine.contracts.errors import InvalidRequest

FORMATS = {".png": "png", ".webp": "webp", ".jpg": "jpeg", ".jpeg": "jpeg"}
QUALITY = 95


def format_of(suffix: str) -> str:
    """ "png", "webp" or "jpeg" for a file name's extension. Raises InvalidRequest."""
    found = FORMATS.get(suffix.lower())
    if found is None:
        listed = ", ".join(FORMATS)
        kind = f"“{suffix}”" if suffix else "a file without an extension"
        raise InvalidRequest(f"pictures can't be saved as {kind}", fix=f"Use {listed}")
    return found


def convert(data: bytes, media_type: str, suffix: str, name: str = "") -> bytes:
    """The picture in the format of `suffix`: the very same bytes when it is in that format already.

    Raises InvalidRequest for an extension that is no picture format.
    """
    wanted = format_of(suffix)
    if media_type == f"image/{wanted}":
        return data
    from engine.media.embedded_text import read_texts
    from engine.media.images import decode, encode

    return encode(decode(data, name), wanted, QUALITY, read_texts(data))
