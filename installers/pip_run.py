"""Running pip: its progress read, its failures turned into a sentence."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from installers.console import size

_DOWNLOADING = re.compile(r"^\s*(?:Downloading|Using cached) (\S+?)(?: \(([\d.]+) (bytes|[kMG]B)\))?\s*$")
_PROCESSING = re.compile(r"^\s*Processing (\S+\.whl)")
_PROGRESS = re.compile(r"^Progress (\d+) of (\d+)$")
_UNITS = {"bytes": 1, "kB": 1000, "MB": 1000**2, "GB": 1000**3}

_NO_NETWORK = re.compile(
    "NewConnectionError|NameResolutionError|Temporary failure in name resolution|Network is unreachable|"
    "ConnectTimeoutError|ReadTimeoutError|Connection refused|ConnectionResetError|ProxyError|Max retries exceeded|"
    "getaddrinfo failed|No route to host"
)
_NO_SPACE = re.compile(r"No space left on device|\[Errno 28\]|not enough space on the disk|Disk quota exceeded")
_NO_MATCH = re.compile(r"No matching distribution found for (\S+)|Cannot install (.+?) because these package versions")


class PipFailed(Exception):
    """pip did not succeed; the text is one sentence for a person. `kind` is network, space, match or other."""

    def __init__(self, kind: str, text: str) -> None:
        self.kind = kind
        super().__init__(text)


@dataclass
class Fetched:
    """What one run of pip brought: bytes downloaded or taken from the cache, as far as pip says; files in all."""

    total: float = 0.0
    files: int = 0
    current: str = ""
    lines: list[str] = field(default_factory=list)

    def read(self, line: str) -> str:
        """Take one line of pip's output; what to show of the progress, or nothing."""
        self.lines.append(line)
        if found := _DOWNLOADING.match(line):
            if found.group(1).endswith(".metadata"):
                return ""
            self.current = _package(found.group(1))
            self.files += 1
            length = float(found.group(2)) * _UNITS[found.group(3)] if found.group(2) else 0.0
            self.total += length
            return f"{self.current}, {size(length)}" if length else self.current
        if found := _PROCESSING.match(line):
            self.current = _package(found.group(1))
            self.files += 1
            return self.current
        if found := _PROGRESS.match(line):
            return f"{self.current}, {size(float(found.group(1)))} of {size(float(found.group(2)))}"
        return "unpacking" if line.startswith("Installing collected packages") else ""


def install(
    python: Path,
    requirements: Sequence[str],
    *,
    arguments: Iterable[str] = (),
    on_progress: Callable[[str], None],
    log: Path,
    raw_progress: bool = False,
) -> Fetched:
    """`python -m pip install requirements`, as wheels only: nothing is compiled and no set-up script runs.

    `raw_progress` asks for machine-readable progress, which pip has from 24.1 on. Everything pip prints is appended
    to `log`. Raises PipFailed.
    """
    command = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    command += ["--only-binary", ":all:", "--progress-bar", "raw" if raw_progress else "off"]
    command += [*arguments, *requirements]
    fetched = Fetched()
    with (
        open(log, "a", encoding="utf-8") as file,
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
        ) as process,
    ):
        assert process.stdout is not None
        try:
            for line in process.stdout:
                file.write(line)
                if shown := fetched.read(line.rstrip()):
                    on_progress(shown)
        except KeyboardInterrupt:
            process.terminate()
            raise
    if process.returncode:
        raise failure("\n".join(fetched.lines), log)
    return fetched


def failure(output: str, log: Path) -> PipFailed:
    """Why pip failed, from what it printed."""
    if _NO_SPACE.search(output):
        return PipFailed(
            "space", "The disk filled up during set-up. Make room, then start again; it goes on from there."
        )
    if _NO_NETWORK.search(output):
        return PipFailed(
            "network",
            "The package index could not be reached. Set-up needs the network once: connect, then start again; what "
            "was downloaded is kept.",
        )
    if found := _NO_MATCH.search(output):
        package = found.group(1) or found.group(2)
        text = f"pip’s index has no build of {package} for this Python and system. The details are in {log}."
        return PipFailed("match", text)
    errors = [line.strip() for line in output.splitlines() if line.strip().startswith("ERROR:")]
    reason = errors[-1].removeprefix("ERROR:").strip().rstrip(".") if errors else "it gave no reason"
    return PipFailed("other", f"pip could not install the packages: {reason}. The details are in {log}.")


def _package(file: str) -> str:
    """The package and version in a wheel's file name or address."""
    name = file.rsplit("/", 1)[-1].split("-")
    return f"{name[0]} {name[1].replace('%2B', '+')}" if len(name) > 2 else name[0]
