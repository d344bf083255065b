"""The values of the settings: checked against the table, saved as one small JSON file, watched by whoever cares."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.contracts.codec import dump_json, parse_json
from engine.contracts.errors import BadInput, InvalidDocument, StorageError
from studio_app.events import Signal, Unsubscribe
from studio_app.files import set_aside, write_atomically
from studio_app.settings.table import BY_KEY, setting

_FORMAT = "tessera.settings"


class Settings:
    """Reading is lazy, so that constructing costs nothing. `complaints` holds a sentence for whatever was wrong.

    Only values that differ from their default are written; keys this version does not know are kept for the one that
    does. Any thread may read and set.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._values: dict[str, Any] | None = None
        self._unknown: dict[str, Any] = {}
        self._signals: dict[str, Signal[Any]] = {}
        self.complaints: list[str] = []

    def get(self, key: str) -> Any:
        """The value, or the table's default. Raises UnknownChoice for an unknown key."""
        entry = setting(key)
        with self._lock:
            value = self._loaded().get(key, entry.default)
        return entry.check(value) if entry.kind == "json" else value  # a copy: nobody changes ours

    def set(self, key: str, value: Any) -> None:
        """Check, save, then tell the subscribers when the value changed.

        Raises InvalidRequest or UnknownChoice for a bad value, StorageError when the file can't be written; the new
        value holds for this session even then.
        """
        entry = setting(key)
        checked = entry.check(value)
        with self._lock:
            values = self._loaded()
            changed = values.get(key, entry.default) != checked
            if checked == entry.default:
                values.pop(key, None)
            else:
                values[key] = checked
            signal = self._signals.get(key)
        if not changed:
            return
        try:
            self._save()
        finally:
            if signal:
                signal.emit(checked)

    def reset(self, key: str) -> None:
        """Back to the default."""
        self.set(key, setting(key).default)

    def subscribe(self, key: str, subscriber: Callable[[Any], object]) -> Unsubscribe:
        """`subscriber(value)` is called after each change, on the thread that set it."""
        setting(key)
        with self._lock:
            signal = self._signals.setdefault(key, Signal())
        return signal.subscribe(subscriber)

    def changed(self) -> dict[str, Any]:
        """The settings that differ from their defaults."""
        with self._lock:
            return dict(self._loaded())

    def _loaded(self) -> dict[str, Any]:
        if self._values is None:
            self._values = self._load()
        return self._values

    def _load(self) -> dict[str, Any]:
        try:
            text = self._path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as error:
            self.complaints.append(f"The settings file {self._path} can't be read ({error.strerror}): defaults hold.")
            return {}
        try:
            data = parse_json(text, self._path.name)
            if not isinstance(data, dict) or not isinstance(data.get("values", {}), dict):
                raise InvalidDocument("it does not hold settings", where=self._path.name)
        except InvalidDocument as error:
            kept = set_aside(self._path)
            tail = f" It was kept as {kept.name}." if kept else ""
            self.complaints.append(f"{error} The defaults hold.{tail}")
            return {}
        return self._checked(data.get("values", {}))

    def _checked(self, raw: dict[str, Any]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key, value in raw.items():
            entry = BY_KEY.get(key)
            if entry is None:
                self._unknown[key] = value
                continue
            try:
                values[key] = entry.check(value)
            except BadInput as error:
                self.complaints.append(f"{error} Its default holds.")
        return values

    def _save(self) -> None:
        with self._lock:
            values = {**self._unknown, **self._loaded()}
            text = dump_json({"format": _FORMAT, "version": 1, "values": dict(sorted(values.items()))}) + "\n"
            try:
                write_atomically(self._path, text.encode())
            except StorageError as error:
                raise StorageError(f"settings can't be saved: {error.what}", fix=error.fix) from error
