"""What this machine has, found without loading anything heavy."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from studio_app.application import Application
from studio_app.version import VERSION

PACKAGES = ("torch", "diffusers", "transformers", "numpy", "pillow", "opencv-python-headless", "PySide6-Essentials")
LOW_DISK = 2 * 2**30


@dataclass
class SystemReport:
    """`facts` in the order they are shown; `problems` are sentences with their remedy."""

    facts: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return {"facts": dict(self.facts), "problems": list(self.problems)}


def examine(app: Application, *, deep: bool = False) -> SystemReport:
    """Look at the machine. `deep` imports torch; nothing else does."""
    report = SystemReport()
    report.facts["Tessera Studio"] = VERSION
    report.facts["Python"] = f"{platform.python_version()} ({sys.executable})"
    report.facts["System"] = f"{platform.system()} {platform.release()} ({platform.machine()})"
    _packages(report)
    report.facts["Processor"] = f"{os.cpu_count() or 1} cores"
    _memory(report)
    _card(report)
    _attention(report, app)
    if deep:
        _torch(report)
    _folders(report, app)
    _models(report, app)
    _network(report, app)
    _key_store(report)
    _display(report)
    return report


def _packages(report: SystemReport) -> None:
    for name in PACKAGES:
        try:
            report.facts[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            report.facts[name] = "not installed"
            report.problems.append(
                f"The package {name} is missing. Start “python3 main.py” once: it sets everything up."
            )


def _memory(report: SystemReport) -> None:
    from studio_app.machine_memory import main_memory

    memory = main_memory()
    report.facts["Memory"] = f"{memory.total / 2**30:.1f} GiB, {(memory.total - memory.used) / 2**30:.1f} GiB free"


def _card(report: SystemReport) -> None:
    """The graphics card by its driver's own tool."""
    tool = shutil.which("nvidia-smi")
    if tool:
        query = [tool, "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
        try:
            answer = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True)
            report.facts["Graphics card"] = "; ".join(answer.stdout.strip().splitlines()) or "none answered"
        except (OSError, subprocess.SubprocessError):
            report.facts["Graphics card"] = "the NVIDIA driver does not answer"
            report.problems.append("nvidia-smi does not answer. Restart, or reinstall the NVIDIA driver.")
    elif Path("/dev/kfd").exists():
        report.facts["Graphics card"] = "AMD"
    elif sys.platform == "darwin" and platform.machine() == "arm64":
        report.facts["Graphics card"] = "Apple"
    else:
        report.facts["Graphics card"] = "none found; pictures are made on the processor"


def _attention(report: SystemReport, app: Application) -> None:
    """What can compute attention here, with the versions of what is installed for it, and what was asked for."""
    from engine.memory.attention import KERNELS, is_installed

    found = ["PyTorch’s own"]
    for name, kernel in KERNELS.items():
        if kernel.package:
            version = f" {_version(kernel.package)}" if is_installed(name) else " not installed"
            found.append(f"{kernel.title}{version}" + (f" ({kernel.lossy})" if kernel.lossy else ""))
    asked = app.settings.get("engine.attention")
    report.facts["Attention"] = "; ".join(found) + (f"; {KERNELS[asked].title} is used" if asked != "auto" else "")


def _version(package: str) -> str:
    """Of an installed package by the name it is imported by."""
    for name in metadata.packages_distributions().get(package, ()):
        return metadata.version(name)
    return "installed"


def _torch(report: SystemReport) -> None:
    import torch

    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append("Apple GPU")
    report.facts["torch uses"] = ", ".join(devices) or "the processor"
    if not devices and shutil.which("nvidia-smi"):
        report.problems.append("torch does not see the NVIDIA card. Delete .venv and start “python3 main.py” again.")


def _folders(report: SystemReport, app: Application) -> None:
    for title, folder in (("Data folder", app.paths.data), ("Pictures folder", app.output_folder())):
        existing = next((p for p in (folder, *folder.parents) if p.exists()), folder)
        if not existing.is_dir() or not os.access(existing, os.W_OK):
            report.facts[title] = f"{folder}, can't be written"
            report.problems.append(f"{folder} can't be written. Choose another folder in the preferences.")
            continue
        free = shutil.disk_usage(existing).free
        report.facts[title] = f"{folder}, {free / 2**30:.1f} GiB free"
        if free < LOW_DISK:
            report.problems.append(f"Only {free / 2**20:,.0f} MiB are free for {folder}. Free some space.")


def _models(report: SystemReport, app: Application) -> None:
    report.facts["Models folder"] = str(app.paths.models)
    report.facts["Models"] = ", ".join(entry.name for entry in app.models.list()) or "none"
    report.problems.extend(item.why for item in app.models.refused())
    if app.models.starter() is None:
        report.problems.append("The starter model is missing. Get the studio's files again.")


def _network(report: SystemReport, app: Application) -> None:
    """What left this machine, by the ledger."""
    from studio_app.network.ledger import Ledger

    calls = Ledger(app.paths.network_ledger).recent()
    state = "offline: nothing leaves this machine" if app.settings.get("network.offline") else "only what you ask for"
    if calls:
        last = time.strftime("%Y-%m-%d %H:%M", time.localtime(calls[0].time))
        hosts = ", ".join(dict.fromkeys(call.host for call in calls))
        count = "1 request" if len(calls) == 1 else f"{len(calls)} requests" if len(calls) < 100 else "100 and more"
        state += f"; {count}, the newest on {last}, to {hosts}"
    report.facts["Network"] = state


def _key_store(report: SystemReport) -> None:
    if importlib.util.find_spec("keyring") is None:
        report.facts["Key store"] = "not installed"
        return
    import keyring
    import keyring.errors

    try:
        backend = keyring.get_keyring()
        usable = getattr(backend, "priority", 0) >= 1
        report.facts["Key store"] = backend.name if usable else "none; sign-in would be kept in memory only"
    except (keyring.errors.KeyringError, RuntimeError):
        report.facts["Key store"] = "does not answer"


def _display(report: SystemReport) -> None:
    from installers import system_libraries
    from installers.environment import display_kind

    kind = display_kind()
    report.facts["Display"] = kind or "none; use “main.py generate” without a window"
    root = Path(__file__).resolve().parents[1]
    lacking = system_libraries.missing(system_libraries.read_libraries(root), kind) if kind else []
    if lacking:
        is_root = hasattr(os, "geteuid") and os.geteuid() == 0
        report.problems.append(system_libraries.sentence(lacking, root=is_root))
