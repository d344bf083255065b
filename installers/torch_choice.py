"""Which build of PyTorch this machine gets: what card and driver there are, matched against torch_variants.toml."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

INDEX_VARIABLE = "TESSERA_TORCH_INDEX"
FORCE_VARIABLE = "TESSERA_TORCH"


class NoBuild(Exception):
    """PyTorch has no build for this machine, or not one of the name asked for; the text says which."""


@dataclass(frozen=True)
class Card:
    """A graphics card as far as choosing needs it. `vendor` is nvidia, amd, apple or empty for none.

    `driver` is NVIDIA's major driver version; `compute` the card's compute capability, 0 when not known.
    """

    vendor: str = ""
    name: str = ""
    driver: int = 0
    compute: float = 0.0

    def sentence(self) -> str:
        if not self.vendor:
            return "no graphics card found"
        named = self.name or {"nvidia": "an NVIDIA card", "amd": "an AMD card", "apple": "Apple graphics"}[self.vendor]
        return f"{named}, driver {self.driver}" if self.driver else named


@dataclass(frozen=True)
class TorchChoice:
    """What to install. `requirement` and `arguments` are pip's; `note` is a sentence when the choice is second best.

    `wants_index`: the card's own build is asked of an index that may not have it; better once INDEX_VARIABLE is set.
    """

    tag: str
    label: str
    requirement: str
    arguments: tuple[str, ...]
    disk_gib: float
    note: str = ""
    wants_index: bool = False


def choose(
    card: Card,
    table: Mapping[str, Any],
    *,
    system: str,
    machine: str,
    variables: Mapping[str, str] = os.environ,
) -> TorchChoice:
    """The build for `card` on `system` (linux, darwin, windows) and `machine` (x86_64, arm64…). Raises NoBuild."""
    version = str(table["torch"])
    variants: Sequence[Mapping[str, Any]] = table["variant"]
    possible = [row for row in variants if system in row["systems"] and machine in row.get("machines", [machine])]
    forced = variables.get(FORCE_VARIABLE, "")
    if forced:
        fitting = [row for row in possible if row["tag"] == forced]
        if not fitting:
            known = ", ".join(row["tag"] for row in possible) or "none"
            raise NoBuild(f"{FORCE_VARIABLE} asks for the build “{forced}”; for this machine there are: {known}.")
    else:
        fitting = [row for row in possible if _fits(row, card)]
    if not fitting:
        raise NoBuild(f"PyTorch {version} has no build for {platform_name(system)} on {machine}.")
    row = fitting[0]
    tag = str(row["tag"])
    plain = next((str(entry["tag"]) for entry in table["plain"] if entry["system"] == system), "")
    index = variables.get(INDEX_VARIABLE, "").rstrip("/")
    note = _outdated(card, row)
    requirement = f"torch=={version}"
    arguments: tuple[str, ...] = ()
    if index and tag != plain:
        requirement = f"torch=={version}+{tag}"
        arguments = ("--extra-index-url", f"{index}/{tag}")
    wants_index = not index and tag not in (plain, "cpu")
    if wants_index:
        note = (
            f"pip’s own index may not hold the build {tag} for this card: to be sure of it, set {INDEX_VARIABLE} "
            "to the wheel address that PyTorch’s “Get started” page names, without its last part, and start again."
        )
    return TorchChoice(tag, str(row["label"]), requirement, arguments, float(row["disk_gib"]), note, wants_index)


def _fits(row: Mapping[str, Any], card: Card) -> bool:
    if not row["vendor"]:
        return True
    if row["vendor"] != card.vendor or card.driver < row.get("driver_min", 0):
        return False
    # A card that did not say its compute capability is taken for a current one.
    return not card.compute or row.get("compute_min", 0.0) <= card.compute <= row.get("compute_max", 99.0)


def _outdated(card: Card, row: Mapping[str, Any]) -> str:
    """The sentence for a card that goes unused because of its driver or age."""
    if card.vendor != "nvidia" or row["vendor"] == "nvidia":
        return ""
    if card.compute and card.compute < 5.0:
        return f"{card.name or 'This NVIDIA card'} is older than PyTorch supports, so the processor is used."
    wanted = 580 if card.compute > 9.0 or not card.compute else 525
    return (
        f"the NVIDIA driver {card.driver or 'here'} is too old for PyTorch, so the processor is used: install driver "
        f"{wanted} or later and start again."
    )


def read_table(project: Path) -> dict[str, Any]:
    with open(project / "installers" / "torch_variants.toml", "rb") as file:
        return tomllib.load(file)


def this_system() -> tuple[str, str]:
    """(system, machine) in the table's spelling: linux, darwin or windows; x86_64, arm64 or aarch64."""
    machine = platform.machine().lower()
    return platform.system().lower(), {"amd64": "x86_64"}.get(machine, machine)


def platform_name(system: str) -> str:
    return {"linux": "Linux", "darwin": "macOS", "windows": "Windows"}.get(system, system)


def find_card(
    *,
    system: str,
    machine: str,
    root: Path = Path("/"),
    ask: Callable[[], str | None] | None = None,
) -> Card:
    """The card to compute on. Tests pretend another file system (`root`) and another nvidia-smi (`ask`)."""
    if system == "darwin":
        return Card("apple") if machine == "arm64" else Card()
    answer = (ask or ask_nvidia_smi)()
    if answer:
        cards = [card for card in map(_card_of_line, answer.splitlines()) if card]
        if cards:
            return max(cards, key=lambda card: card.compute)
    version = root / "proc/driver/nvidia/version"
    if version.is_file():
        return Card("nvidia", driver=_driver_of_proc(version.read_text(encoding="utf-8", errors="replace")))
    nodes = root / "sys/class/kfd/kfd/topology/nodes"
    if nodes.is_dir() and any(_has_gpu(node / "properties") for node in sorted(nodes.iterdir())):
        return Card("amd")
    return Card()


def ask_nvidia_smi() -> str | None:
    """`name, driver, compute capability` of each NVIDIA card, a line each; None where that can't be asked."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    try:
        done = subprocess.run(
            [program, "--query-gpu=name,driver_version,compute_cap", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _card_of_line(line: str) -> Card | None:
    parts = [part.strip() for part in line.split(",")]
    if len(parts) < 3 or not parts[-2][:1].isdigit():
        return None
    compute = float(parts[2]) if re.fullmatch(r"\d+\.\d+", parts[2]) else 0.0
    return Card("nvidia", ", ".join(parts[:-2]), int(parts[-2].split(".")[0]), compute)


def _driver_of_proc(text: str) -> int:
    found = re.search(r"\s(\d{3,4})\.\d+", text)
    return int(found.group(1)) if found else 0


def _has_gpu(properties: Path) -> bool:
    """Whether a node of AMD's compute driver is a GPU: the processor's own node has no SIMD units."""
    try:
        found = re.search(r"^simd_count (\d+)", properties.read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        return False
    return found is not None and int(found.group(1)) > 0
