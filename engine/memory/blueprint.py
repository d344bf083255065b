"""Which model a plan is for, and the configurations of its parts. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.memory.video import SVD_CONFIGS
from engine.models.fingerprint import read_config
from engine.models.layouts.configs import config_of, default_variant, variants_of


@dataclass(frozen=True)
class Blueprint:
    """Which model: a family's variant at its usual size, or with `folder` a diffusers folder of any size."""

    family: str
    variant: str = ""
    folder: str = ""

    def config(self, part: str) -> dict[str, Any]:
        """The configuration of a part. Raises UnknownChoice."""
        own = Path(self.folder) / part / "config.json"
        if self.folder and own.is_file():
            return read_config(own)
        if self.family == "svd":
            return dict(SVD_CONFIGS[part])
        return config_of(self.family, self.variant or default_variant(self.family), part)

    @classmethod
    def of_file(cls, family: str, edition: str) -> Blueprint:
        """Of a single file, by what `engine.models.identify` calls its variant. One that has no configurations of its
        own is a kind of the family's usual one."""
        known = variants_of(family) if edition else ()
        return cls(family, edition if edition.lower().replace(" ", "-") in known else "")

    def has(self, part: str) -> bool:
        return not self.folder or (Path(self.folder) / part).is_dir()
