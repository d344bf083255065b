"""The versions of a workflow: each a blob by its content, listed with time and note in a file of the workflow's id."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path

from engine.contracts.codec import dump_json, parse_json
from engine.contracts.errors import InvalidDocument, InvalidRequest
from engine.contracts.references import BlobRef
from engine.contracts.workflow import Workflow
from studio_app.store.blobs import Blobs
from studio_app.store.journal import Journal

MEDIA_TYPE = "application/json"
_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")


@dataclass(frozen=True)
class Version:
    """One state of a workflow. `time` in Unix seconds."""

    blob: BlobRef
    time: float
    note: str
    name: str
    nodes: int


class Versions:
    """The version lists in `folder`, the versions themselves in `blobs`. Any thread may use it."""

    def __init__(self, folder: Path, blobs: Blobs) -> None:
        self._folder, self._blobs = folder, blobs

    def add(self, workflow: Workflow, note: str = "") -> Version | None:
        """Keep a state; None where it is the newest one already and no note is given. Raises StorageError."""
        data = dump_json(workflow.to_json(), indent=None).encode("utf-8", "surrogatepass")
        blob = self._blobs.write(data, MEDIA_TYPE, workflow.name)
        newest = next(iter(self.list(workflow.id)), None)
        if newest is not None and newest.blob.sha256 == blob.sha256 and not note:
            return None
        nodes = len(workflow.nodes) + sum(len(s.nodes) for s in workflow.subgraphs)
        version = Version(blob, time.time(), note, workflow.name, nodes)
        line = {
            "sha256": blob.sha256, "size": blob.size, "time": round(version.time, 3), "note": note,
            "name": workflow.name, "nodes": nodes,
        }  # fmt: skip
        self._journal(workflow.id).append([line])
        return version

    def list(self, workflow_id: str) -> list[Version]:
        """The versions of a workflow whose content is still here, newest first."""
        if not workflow_id:
            return []
        found = []
        for line in self._journal(workflow_id).read():
            try:
                blob = BlobRef(sha256=str(line["sha256"]), media_type=MEDIA_TYPE, size=int(line["size"]))
                version = Version(
                    blob, float(line["time"]), str(line.get("note", "")), str(line.get("name", "")),
                    int(line.get("nodes", 0)),
                )  # fmt: skip
            except (KeyError, TypeError, ValueError, InvalidDocument):
                continue
            if self._blobs.has(blob):
                found.append(version)
        return found[::-1]

    def read(self, version: Version) -> Workflow:
        """The workflow as it was. Raises MissingModel, StorageError or InvalidDocument."""
        return Workflow.from_json(parse_json(self._blobs.read(version.blob), "version"), "version")

    def _journal(self, workflow_id: str) -> Journal:
        if not _ID.fullmatch(workflow_id):
            raise InvalidRequest(
                "this workflow has an id that no version can be kept under", fix="Save it as a new one"
            )
        return Journal(self._folder / f"{workflow_id}.jsonl")
