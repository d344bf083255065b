"""Estimates kept in a file: the same request of the same model is walked once on a machine. Torch-free at import."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import astuple
from pathlib import Path
from typing import Any

from engine.memory.blueprint import Blueprint
from engine.memory.footprint import ModelFootprint
from engine.memory.request import Request


class Estimates:
    """`path` is the JSON file, which keeps the last `MOST`. Where it can't be read or written each estimate only takes
    its second again."""

    VERSION = 4
    MOST = 400

    def __init__(self, path: Path) -> None:
        self._path = path

    def of(self, model: Blueprint, request: Request) -> ModelFootprint:
        """The footprint of a model for a request. Raises UnknownChoice."""
        key = json.dumps([self.VERSION, *astuple(model), request.to_json()])
        known = self._read()
        if key in known:
            try:
                return ModelFootprint.from_json(known[key])
            except (KeyError, TypeError, ValueError):
                pass
        from engine.memory.estimate import estimate

        found = estimate(model, request)
        mine = {name: value for name, value in known.items() if name.startswith(f"[{self.VERSION},")}
        self._write({**dict(list(mine.items())[1 - self.MOST :]), key: found.to_json()})
        return found

    def _read(self) -> Mapping[str, Any]:
        try:
            data = json.loads(self._path.read_bytes())
        except (OSError, ValueError):
            return {}
        return data if isinstance(data, dict) else {}

    def _write(self, data: Mapping[str, Any]) -> None:
        temporary = self._path.with_name(f".{self._path.name}.{secrets.token_hex(4)}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(data), encoding="utf-8")
            os.replace(temporary, self._path)
        except OSError:
            temporary.unlink(missing_ok=True)
