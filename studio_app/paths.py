"""Where the studio keeps things, by each system's own custom.

    data/     blobs, database, journal, settings      $TESSERA_DATA or --data-dir overrides
    cache/    what can be thrown away
    models/   folders searched for checkpoints

Nothing is created until something is written.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

APP_NAME = "tessera-studio"
DISPLAY_NAME = "Tessera Studio"
DATA_VARIABLE = "TESSERA_DATA"


def resources_dir() -> Path:
    """The folder of shipped data; inside a frozen bundle it lies beside the code."""
    bundle = getattr(sys, "_MEIPASS", None)
    root = Path(bundle) if bundle else Path(__file__).resolve().parents[1]
    return root / "resources"


@dataclass(frozen=True)
class Paths:
    """The studio's folders and files. `data` is the only root a person needs to back up."""

    data: Path
    cache: Path
    pictures: Path
    resources: Path

    @classmethod
    def find(
        cls,
        data_dir: Path | None = None,
        *,
        environ: Mapping[str, str] | None = None,
        platform: str = sys.platform,
        home: Path | None = None,
    ) -> Paths:
        """The folders for this person: `data_dir`, else $TESSERA_DATA, else the system's custom."""
        environ = os.environ if environ is None else environ
        home = home or Path.home()
        override = data_dir or (Path(environ[DATA_VARIABLE]) if environ.get(DATA_VARIABLE) else None)
        data, cache, pictures = _system_folders(environ, platform, home)
        if override is not None:
            data = override.expanduser().absolute()
            cache, pictures = data / "cache", data / "pictures"
        return cls(data, cache, pictures, resources_dir())

    @property
    def settings_file(self) -> Path:
        return self.data / "settings.json"

    @property
    def database(self) -> Path:
        return self.data / "studio.db"

    @property
    def blobs(self) -> Path:
        return self.data / "blobs"

    @property
    def journal(self) -> Path:
        return self.data / "journal.jsonl"

    @property
    def prompts_file(self) -> Path:
        return self.data / "prompts.json"

    @property
    def styles_file(self) -> Path:
        """Styles a person adds; the shipped ones lie in resources."""
        return self.data / "styles.json"

    @property
    def models(self) -> Path:
        return self.data / "models"

    @property
    def nodes(self) -> Path:
        """Nodes of the person's own."""
        return self.data / "nodes"

    @property
    def consent_file(self) -> Path:
        """Which of them may run."""
        return self.data / "plugins.json"

    @property
    def network_ledger(self) -> Path:
        """What left this machine and why."""
        return self.data / "network.jsonl"

    @property
    def wildcards(self) -> Path:
        """Files of choices that prompts name as __name__."""
        return self.data / "wildcards"

    @property
    def starter_model(self) -> Path:
        return self.resources / "starter_model"


def _system_folders(environ: Mapping[str, str], platform: str, home: Path) -> tuple[Path, Path, Path]:
    """(data, cache, pictures) where this system keeps such things."""
    if platform == "darwin":
        library = home / "Library"
        return library / "Application Support" / DISPLAY_NAME, library / "Caches" / DISPLAY_NAME, _pictures(home)
    if platform == "win32":
        local = Path(environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / DISPLAY_NAME
        return local, local / "Cache", _pictures(home)
    data = _xdg(environ, "XDG_DATA_HOME", home / ".local" / "share")
    cache = _xdg(environ, "XDG_CACHE_HOME", home / ".cache")
    pictures = environ.get("XDG_PICTURES_DIR", "")
    return data / APP_NAME, cache / APP_NAME, Path(pictures) / DISPLAY_NAME if pictures else _pictures(home)


def _xdg(environ: Mapping[str, str], name: str, fallback: Path) -> Path:
    # The XDG specification: relative paths in these variables are to be ignored.
    value = environ.get(name, "")
    return Path(value) if value and os.path.isabs(value) else fallback


def _pictures(home: Path) -> Path:
    return home / "Pictures" / DISPLAY_NAME
