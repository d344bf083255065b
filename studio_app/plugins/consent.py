"""Which plugins the person lets run: a JSON file, each plugin by its place with the hash of the code agreed to."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.contracts.codec import dump_json, parse_json
from engine.contracts.errors import InvalidDocument
from studio_app.files import set_aside, write_atomically

_FORMAT = "tessera.plugins"


@dataclass(frozen=True)
class Agreement:
    """`development`: later changes of this plugin run without asking again."""

    code_hash: str
    development: bool = False


class Consent:
    """Reading is lazy; what is damaged counts as no consent, and is set aside. `complaints` holds a sentence for it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._agreed: dict[str, Agreement] | None = None
        self.complaints: list[str] = []

    def of(self, key: str) -> Agreement | None:
        with self._lock:
            return self._loaded().get(key)

    def agree(self, key: str, agreement: Agreement) -> None:
        """Raises StorageError when it can't be written; then nothing is agreed."""
        with self._lock:
            self._write({**self._loaded(), key: agreement})

    def withdraw(self, key: str) -> None:
        """Raises StorageError when it can't be written."""
        with self._lock:
            self._write({k: v for k, v in self._loaded().items() if k != key})

    def _loaded(self) -> dict[str, Agreement]:
        if self._agreed is None:
            self._agreed = self._load()
        return self._agreed

    def _load(self) -> dict[str, Agreement]:
        try:
            data = self._path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as error:
            self.complaints.append(f"{self._path} can't be read ({error.strerror}): custom nodes stay off.")
            return {}
        try:
            return _read(parse_json(data, self._path.name), self._path.name)
        except InvalidDocument as error:
            kept = set_aside(self._path)
            tail = f" It was kept as {kept.name}." if kept else ""
            self.complaints.append(f"{error} Custom nodes stay off until you enable them again.{tail}")
            return {}

    def _write(self, agreed: dict[str, Agreement]) -> None:
        enabled = {
            key: {"code_hash": a.code_hash, **({"development": True} if a.development else {})}
            for key, a in sorted(agreed.items())
        }
        text = dump_json({"format": _FORMAT, "version": 1, "enabled": enabled}) + "\n"
        write_atomically(self._path, text.encode())
        self._agreed = agreed


def _read(data: Any, where: str) -> dict[str, Agreement]:
    """Raises InvalidDocument for anything that this class did not write."""
    if not isinstance(data, dict) or data.get("format") != _FORMAT or not isinstance(data.get("enabled"), dict):
        raise InvalidDocument("it is not the studio's list of custom nodes", where=where)
    agreed: dict[str, Agreement] = {}
    for key, value in data["enabled"].items():
        if not isinstance(value, dict) or not isinstance(value.get("code_hash"), str):
            raise InvalidDocument("an entry has no code_hash", where=where)
        agreed[key] = Agreement(value["code_hash"], value.get("development") is True)
    return agreed
