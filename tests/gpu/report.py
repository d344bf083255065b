"""`python -m tests.gpu.report`: measure on the card that is here and write docs/gpu_report.md.

Each model is measured in a process of its own, with a limit of its own; what fails or takes too long is written down,
and the next one is measured. Results are kept as JSON with `--results`, so that a page can be made in several goes.
Without a card the page says what was not run, and why.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias

import torch

from engine.memory.device import Card
from tests.gpu.trial import SUBJECTS

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "gpu_report.md"
MINUTES = 25.0  # for everything
SHARE = {"qwen_image": 8.0, "flux": 6.0, "z_image": 5.0, "sdxl": 4.0, "svd": 4.0}  # minutes at most
CHECKS = (
    "Pictures from prompt to pixels within a plan: every phase measured ≤ predicted, ≤ 1.15 × measured of the fullest, "
    "no uncaught out-of-memory in loading, reading, stepping and decoding, at 4, 6, 8, 12 and 16 GB",
    "The denoiser alone within a plan, the same way",
    "Streaming: share of the measured bandwidth of locked memory (goal ≥ 80 %), beside diffusers' group offloading",
    "Everything resident beside bare diffusers: time of a step (goal ≤ 1.01)",
    "Compiled beside bare: time of a step (goal ≤ 0.70)",
)
_TABLES = (
    ("whole", "Whole pictures on imitated cards",
     "Of the card, in GiB: predicted / measured (ratio). The first picture is planned by arithmetic, the second as the "
     "first was measured.",
     ("model", "GB", "plan by", "kept", "text", "denoise", "decode", "seconds", "what happened")),
    ("alone", "Denoisers alone on imitated cards", "",
     ("network", "GB", "kept", "predicted / measured GiB (ratio)", "what happened")),
    ("speed", "Speed of denoisers", "", ("network", "way", "seconds a step", "beside")),
)  # fmt: skip

Result: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What became of one model: `found` is as tests.gpu.measure writes it; `missing` says why it is not all."""

    found: Result | None
    missing: str = ""


Run: TypeAlias = Callable[[str, Path, float], str]


def in_process(name: str, to: Path, minutes: float) -> str:
    """Measure a model in a process of its own; why it is not whole, "" when it is."""
    command = [sys.executable, "-m", "tests.gpu.measure", name, "--to", str(to)]
    try:
        done = subprocess.run(command, cwd=ROOT, timeout=60 * minutes, capture_output=True, text=True, check=False)
    except subprocess.TimeoutExpired:
        return f"stopped after {minutes:.0f} minutes"
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        return f"ended with {done.returncode}: {said[-1].strip() if said else 'nothing said'}"
    return ""


def outcomes(names: Sequence[str], results: Path, run: Run, minutes: float = MINUTES) -> dict[str, Outcome]:
    """Every model, those of `names` measured now as far as the time goes, the others as they were before."""
    found: dict[str, Outcome] = {}
    ends = time.monotonic() + 60 * minutes
    for name in SUBJECTS:
        path = results / f"{name}.json"
        missing = ""
        if name in names:
            left = (ends - time.monotonic()) / 60
            if left < 0.5:
                missing = f"not begun: {minutes:.0f} minutes were over"
            else:
                path.unlink(missing_ok=True)
                missing = run(name, path, min(SHARE[name], left))
        elif not path.is_file():
            missing = "not asked for in this run"
        found[name] = Outcome(_read(path), missing)
    return found


def _read(path: Path) -> Result | None:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) else None


def page(card: Card | None, found: Mapping[str, Outcome]) -> str:
    """The whole page. Without a card, what has not been run."""
    lines = [
        "# Measured on a card", "",
        "Written by `python -m tests.gpu.report`. Models have their real size and random weights.", "",
        f"- Date: {datetime.datetime.now(datetime.UTC).date().isoformat()}",
        f"- Device: {card.name if card else 'none: this machine has no CUDA card'}",
        f"- System: {platform.system()} {platform.release()}, Python {platform.python_version()}",
        f"- torch {torch.__version__}, diffusers {version('diffusers')}, transformers {version('transformers')}",
    ]  # fmt: skip
    if card is None:
        return "\n".join([
            *lines, "", "## Not run yet", "",
            "Nothing below has been measured on a card. What is known of the plans comes from arithmetic "
            "(docs/memory.md), and of their execution from a simulated card on the processor "
            "(tests/unit/test_memory_residency.py, test_memory_recovery.py). The programs that measure it run on the "
            "processor with small models (tests/gpu/test_paths.py).", "",
            *(f"- {check}, for {', '.join(SUBJECTS)}" for check in CHECKS), "",
        ])  # fmt: skip
    lines += [f"- Line from locked memory: {card.bandwidth() / 1e9:.1f} GB/s", ""]
    for key, title, note, head in _TABLES:
        rows = [row for outcome in found.values() if outcome.found for row in outcome.found.get(key, ())]
        if rows:
            lines += [f"## {title}", "", *([note, ""] if note else []), _row(head), _row(["---"] * len(head))]
            lines += [*(_row([*row, *[""] * (len(head) - len(row))]) for row in rows), ""]
    bad = [f"- {name}: {o.found['bad']} rows above say what failed" for name, o in found.items()
           if o.found and o.found.get("bad")]  # fmt: skip
    left = [f"- {name}: {outcome.missing}" for name, outcome in found.items() if outcome.missing]
    lines += ["## Failed", "", *(bad or ["- Nothing."]), ""]
    lines += ["## Not run yet", "", *(left or ["- Nothing of what the page lists."]), ""]
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(str(cell).replace("|", "/").replace("\n", " ") for cell in cells) + " |"


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.gpu.report", description=__doc__)
    parser.add_argument("--only", nargs="*", choices=sorted(SUBJECTS), default=list(SUBJECTS),
                        help="measure these; with none the page is made of what --results has")  # fmt: skip
    parser.add_argument("--to", type=Path, default=PAGE, help="the page (default: docs/gpu_report.md)")
    parser.add_argument("--results", type=Path, help="a folder that keeps what was measured")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="for everything (default: 25)")
    given = parser.parse_args(argv)
    card = Card("cuda") if torch.cuda.is_available() else None
    found: dict[str, Outcome] = {}
    if card is not None:
        with tempfile.TemporaryDirectory() as spare:
            results = given.results or Path(spare)
            results.mkdir(parents=True, exist_ok=True)
            card.bandwidth()
            found = outcomes(given.only, results, in_process, given.minutes)
    given.to.write_text(page(card, found), encoding="utf-8")
    sys.stdout.write(f"Wrote {given.to}.\n")


if __name__ == "__main__":
    main()
