"""Prompts that were read before: what the text encoders said of them, so that they need neither be run nor loaded.

In main memory, the least recently used going first, and on the disk beside it, where a later session finds them. What
comes back is bit for bit what the encoders said. It is found by a hash of all that went into it: the encoders' files
and what adapters and embeddings change in them, the prompt with its weights, schedules and branches as it was read, the
skipped layers, pictures that were shown with it, and the arithmetic. Nothing in the hash can be read back; the values
themselves are numbers. Torch-free at import.
"""

from __future__ import annotations

import dataclasses
import hashlib
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from engine.contracts.errors import TesseraError
from engine.contracts.references import ModelRef
from engine.graph.cache import Kept, ValueCache
from engine.graph.values import TextEncoderHandle

if TYPE_CHECKING:
    from engine.families.protocol import EncodedText
    from engine.prompts.grammar import ParsedPrompt

Identity = Callable[[ModelRef], str]


class Unknown(Exception):
    """Something went into the prompt that can't be told from others of its kind."""


class TextCache:
    """`values` says how much is kept, and where besides main memory. `found` and `read` count prompts."""

    def __init__(self, values: ValueCache) -> None:
        self._values = values
        self.found = self.read = 0

    @property
    def held(self) -> int:
        """Bytes in main memory."""
        return self._values.used_bytes

    def get(self, key: bytes, encode: Callable[[], EncodedText]) -> EncodedText:
        """What is kept under `key`, else what `encode` says."""
        from engine.families.protocol import EncodedText

        kept = self._values.get(key) or self._values.get_dear(key)
        if kept is not None:
            self.found += 1
            return EncodedText(*kept.outputs)
        self.read += 1
        said = encode()
        kept = Kept((said.entries, said.tokens, said.limit, said.ignored, said.notes), None, ())
        self._values.put(key, kept)
        if self._values.disk is not None:
            self._values.disk.put(key, kept)
        return said

    def clear(self) -> None:
        """Let go of what is in main memory; what is on the disk stays."""
        self._values.clear()


def encoded(
    session: Any, clip: TextEncoderHandle, text: str | ParsedPrompt | Mapping[str, ParsedPrompt], **more: Any
) -> EncodedText:
    """`Family.encode_text` of the encoders of a handle; from the session's cache where it has one that knows it.

    more  what the family's own takes besides: pictures that are shown with the prompt
    """

    def encode() -> EncodedText:
        said: EncodedText = session.text(clip).encode_text(text, clip.clip_skip, clip.patches, **more)
        return said

    texts: TextCache | None = getattr(session, "texts", None)  # sessions of tests may have none
    if texts is None:
        return encode()
    try:
        key = key_of(session.identity, clip, text, more, arithmetic(session, clip.family))
    except (Unknown, TesseraError):  # a file that is not there: the encoders say so better
        return encode()
    return texts.get(key, encode)


def arithmetic(session: Any, family: str) -> tuple[str, ...]:
    """What the same encoders' answers to the same prompt can differ by: types, kernels, threads and bits."""
    torch: Any = sys.modules["torch"]
    memory = session.memory
    plan = memory.plan if memory is not None else None
    bits = plan.bits if plan is not None else 16
    threads = torch.get_num_threads() if session.device.type == "cpu" else 0
    return str(session.device.type), str(session.dtype_for(family)), str(bits), torch.__version__, str(threads)


def key_of(
    identity: Identity, clip: TextEncoderHandle, text: Any, more: Mapping[str, Any], arithmetic: tuple[str, ...]
) -> bytes:
    """The hash that a prompt is kept under. `identity` tells a model's file from others and from itself as it was.

    Raises Unknown for what can't be told apart, and what `identity` raises.
    """
    digest = hashlib.sha256()
    refs = tuple(identity(ref) for ref in (clip.weights, *clip.more))
    for part in (clip.family, refs, clip.clip_skip, clip.patches, _settled(text), dict(more), arithmetic):
        _feed(digest.update, part, identity)
    return digest.digest()


def _settled(text: Any) -> Any:
    """A prompt that stays as it is through the run is the same whatever the number of steps."""
    from engine.prompts.grammar import ParsedPrompt

    if isinstance(text, Mapping):
        return {name: _settled(words) for name, words in text.items()}
    if not isinstance(text, ParsedPrompt) or any(len(branch.schedule) != 1 for branch in text.branches):
        return text
    branches = tuple(
        dataclasses.replace(branch, schedule=(dataclasses.replace(branch.schedule[0], until=1),))
        for branch in text.branches
    )
    return dataclasses.replace(text, branches=branches, steps=1)


def _feed(put: Callable[[bytes], object], value: Any, identity: Identity) -> None:
    """Bytes that differ where values do: each says its kind and its length before itself."""
    if value is None or isinstance(value, (bool, int, str, bytes)):
        plain = value if isinstance(value, bytes) else str(value).encode()
        put(f"{type(value).__name__}:{len(plain)}:".encode() + plain)
    elif isinstance(value, float):
        put(f"float:{value.hex()}:".encode())
    elif isinstance(value, ModelRef):
        _feed(put, identity(value), identity)
    elif isinstance(value, (tuple, list, frozenset)):
        items = sorted(value, key=repr) if isinstance(value, frozenset) else value
        put(f"{type(value).__name__}:{len(items)}:".encode())
        for item in items:
            _feed(put, item, identity)
    elif isinstance(value, Mapping):
        put(f"map:{len(value)}:".encode())
        for name in sorted(value):
            _feed(put, name, identity)
            _feed(put, value[name], identity)
    elif dataclasses.is_dataclass(value):
        put(f"{type(value).__name__}:".encode())
        for field in dataclasses.fields(value):
            _feed(put, getattr(value, field.name), identity)
    elif hasattr(value, "untyped_storage"):
        plain = value.detach().cpu().contiguous()
        put(f"tensor:{plain.dtype}:{tuple(plain.shape)}:".encode())
        put(plain.reshape(-1).view(sys.modules["torch"].uint8).numpy().tobytes())
    else:
        raise Unknown(type(value).__name__)
