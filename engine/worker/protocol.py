"""What an engine in a process of its own says and hears: one JSON line for each message, with bytes after it where a
picture goes along ("bytes" in the line says how many). No pickles cross the pipe.

    to the child     job {id, spec} · cancel {id}
    from the child   ready {} · event {event} · preview {shape} + uint8 pixels · artifact {node, …} + file · done {…}
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import IO, Any

from engine.contracts.errors import NodeFailed, TesseraError
from engine.graph.execute import JobResult
from engine.graph.values import Artifact

MAX_LINE = 128 * 2**20  # a document with all its subgraphs
MAX_BODY = 2**31


class Broken(Exception):
    """The other side ended, or what it says can't be read."""


class Channel:
    """Messages over two pipes. Any thread may send; one reads."""

    def __init__(self, incoming: IO[bytes], outgoing: IO[bytes]) -> None:
        self._incoming, self._outgoing = incoming, outgoing
        self._lock = threading.Lock()

    def send(self, kind: str, body: bytes = b"", **fields: Any) -> None:
        """Raises Broken when nobody listens any more."""
        line = json.dumps({"kind": kind, **fields, **({"bytes": len(body)} if body else {})}).encode() + b"\n"
        with self._lock:
            try:
                self._outgoing.write(line + body)
                self._outgoing.flush()
            except (OSError, ValueError) as error:  # ValueError: the pipe was closed here
                raise Broken("the other side is gone") from error

    def receive(self) -> tuple[str, dict[str, Any], bytes]:
        """(kind, fields, body) of the next message; waits for it. Raises Broken."""
        try:
            line = self._incoming.readline(MAX_LINE)
            message = json.loads(line)
            size = int(message.pop("bytes", 0))
            kind = str(message.pop("kind"))
            if not 0 <= size <= MAX_BODY:
                raise ValueError("a message is too large")
            body = self._incoming.read(size) if size else b""
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise Broken("the other side is gone") from error
        if len(body) < size:
            raise Broken("the other side ended amid a message")
        return kind, message, body


def artifact_fields(node: str, artifact: Artifact) -> dict[str, Any]:
    return {
        "node": node, "media_type": artifact.media_type, "index": artifact.index, "name": artifact.name,
        "width": artifact.width, "height": artifact.height, "facts": [list(fact) for fact in artifact.facts],
    }  # fmt: skip


def read_artifact(fields: Mapping[str, Any], data: bytes) -> tuple[str, Artifact]:
    facts = tuple((str(name), value) for name, value in fields["facts"])
    return fields["node"], Artifact(
        data, fields["media_type"], fields["index"], fields["name"], fields["width"], fields["height"], facts
    )


def result_fields(result: JobResult) -> dict[str, Any]:
    """A result without its values, which stay where they were made."""
    failures = [[f.node_id, f.node_type, f.inputs, f.cause, f.hint] for f in result.failures]
    error = result.error
    return {
        "outcome": result.outcome, "succeeded": result.succeeded, "cached": result.cached, "blocked": result.blocked,
        "seconds": result.seconds, "failures": failures,
        "error": None if error is None else [error.what, error.where, error.fix, error.exit_code],
    }  # fmt: skip


def read_result(fields: Mapping[str, Any], artifacts: list[tuple[str, Artifact]]) -> JobResult:
    failures = [NodeFailed(*failure) for failure in fields["failures"]]
    error: TesseraError | None = None
    if failures and fields["error"] is not None and failures[0].what == fields["error"][0]:
        error = failures[0]
    elif fields["error"] is not None:
        what, where, fix, exit_code = fields["error"]
        error = TesseraError(what, where=where, fix=fix)
        error.exit_code = exit_code
    return JobResult(
        outcome=fields["outcome"], artifacts=artifacts, failures=failures, blocked=fields["blocked"],
        seconds=fields["seconds"], succeeded=fields["succeeded"], cached=fields["cached"], error=error,
    )  # fmt: skip
