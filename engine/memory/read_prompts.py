"""Reading a prompt: through the text encoders, or from what they said of it before, so that they need neither be run
nor loaded.

It is found by a hash of all that went into it: the encoders' files and what adapters and embeddings change in them, the
prompt with its weights, schedules and branches as it was parsed, the skipped layers, pictures that were shown with it,
and the arithmetic. Nothing in the hash can be read back. Torch-free at import.
"""

from __future__ import annotations

import dataclasses
import hashlib
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from engine.contracts.errors import TesseraError
from engine.contracts.references import ModelRef
from engine.graph.values import TextEncoderHandle

if TYPE_CHECKING:
    from engine.families.protocol import EncodedText
    from engine.prompts.grammar import ParsedPrompt

Identity = Callable[[ModelRef], str]


class Unknown(Exception):
    """Something went into the prompt that can't be told from others of its kind."""


def encoded(
    session: Any, clip: TextEncoderHandle, text: str | ParsedPrompt | Mapping[str, ParsedPrompt], **more: Any
) -> EncodedText:
    """`Family.encode_text` of the encoders of a handle; from the session's cache where it has one that knows it.

    more  what the family's own takes besides: pictures that are shown with the prompt
    """

    def encode() -> EncodedText:
        said: EncodedText = session.text(clip).encode_text(text, clip.clip_skip, clip.patches, **more)
        return said

    texts: Any = getattr(session, "texts", None)  # engine.memory.text_cache; sessions of tests may have none
    if texts is None:
        return encode()
    try:
        key = key_of(session.identity, clip, text, more, arithmetic(session, clip.family))
    except (Unknown, TesseraError):  # a file that is not there: the encoders say so better
        return encode()
    found: EncodedText = texts.get(key, encode)
    return found


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
