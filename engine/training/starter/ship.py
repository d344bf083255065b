"""Judges a snapshot and, if it is better than the shipped model, ships it: float16 weights, figures, sample sheet.

python -m engine.training.starter.ship SNAPSHOT [--force] [--cfg X] [--steps N] [--sampler NAME]
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.training.starter import model
from engine.training.starter.evaluate import Accuracy, evaluate
from engine.training.starter.painter import DiffusersPainter, Settings
from engine.training.starter.perception import Picture
from engine.training.starter.prompts import HeldOut, held_out_prompts
from engine.training.starter.scenes import Landscape, ShapesScene
from engine.training.starter.sheet import write_sheet

ROOT = Path(__file__).resolve().parents[3]
SHIPPED = ROOT / "resources" / "starter_model"
FIGURES_PAGE = ROOT / "docs" / "starter_model.md"
SAMPLES = ROOT / "docs" / "starter_samples.webp"
_BEGIN, _END = "<!-- figures: written by engine.training.starter.ship -->", "<!-- end of figures -->"


def ship(snapshot: Path, settings: Settings, *, shipped: Path = SHIPPED, force: bool = False) -> tuple[Accuracy, bool]:
    """Judge `snapshot` in the precision it would ship in, and replace `shipped` when its score is higher.

    Returns the snapshot's accuracy and whether it was shipped. The score of the shipped model stands in its
    `tessera.json`, so that it is not judged again.
    """
    card = json.loads((shipped / "tessera.json").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory(dir=shipped.parent) as room:
        fresh = Path(room) / "model"
        model.save(model.load(snapshot), fresh, half=True)
        accuracy, pictures = evaluate(DiffusersPainter(fresh, settings))
        better = accuracy.score() > float(card.get("judged", {}).get("score", 0.0))
        if not (better or force):
            return accuracy, False
        for name in model.EXTRA_FILES:
            shutil.copy2(shipped / name, fresh / name)
        (fresh / "tessera.json").write_text(_card(card, accuracy, settings), encoding="utf-8")
        model.replace_folder(fresh, shipped)
    if shipped == SHIPPED:
        write_samples(SAMPLES, held_out_prompts(), pictures)
        _write_figures(FIGURES_PAGE, accuracy, settings)
    return accuracy, True


def write_samples(path: Path, prompts: Sequence[HeldOut], pictures: Sequence[Picture]) -> None:
    """A sheet of 24: eight single figures, six pairs, ten landscapes; every seventh of its kind, not the prettiest."""
    chosen: list[int] = []
    kinds = [_kind(item) for item in prompts]
    for kind, count in (("single", 8), ("pair", 6), ("landscape", 10)):
        of_kind = [index for index, other in enumerate(kinds) if other == kind]
        chosen += [of_kind[(1 + number * 7) % len(of_kind)] for number in range(count)]
    write_sheet(path, [pictures[index] for index in chosen], columns=6, captions=[prompts[i].prompt for i in chosen])


def _kind(item: HeldOut) -> str:
    if isinstance(item.scene, Landscape):
        return "landscape"
    assert isinstance(item.scene, ShapesScene)
    return "single" if len(item.scene.figures) == 1 else "pair"


def _card(card: dict[str, Any], accuracy: Accuracy, settings: Settings) -> str:
    """tessera.json with the settings that the model was judged with, and what the judge found."""
    card["defaults"] |= {"steps": settings.steps, "cfg": settings.cfg, "sampler": settings.sampler}
    card["judged"] = {"score": round(accuracy.score(), 5)} | {
        name: [accuracy.right[name], accuracy.asked[name]] for name in accuracy.asked
    }
    text = json.dumps(card, indent=2, ensure_ascii=False)
    return re.sub(r"\[\s+(\d+),\s+(\d+)\s+\]", r"[\1, \2]", text) + "\n"


def _write_figures(page: Path, accuracy: Accuracy, settings: Settings) -> None:
    text = page.read_text(encoding="utf-8")
    how = f"{settings.sampler}, {settings.steps} steps, guidance {settings.cfg:g}; float16 weights, run in float32."
    table = f"{_BEGIN}\n{how}\n\n{accuracy.table()}\n{_END}"
    start, end = text.index(_BEGIN), text.index(_END) + len(_END)
    page.write_text(text[:start] + table + text[end:], encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m engine.training.starter.ship", description=__doc__)
    parser.add_argument("snapshot", type=Path, help="a model folder that training has written")
    parser.add_argument("--force", action="store_true", help="ship it even if it is not better")
    parser.add_argument("--sampler", default="ddim", choices=sorted(DiffusersPainter.SAMPLERS))
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--cfg", type=float, default=2.0)
    given = parser.parse_args(arguments)
    settings = Settings(given.steps, given.cfg, given.sampler)
    accuracy, shipped = ship(given.snapshot, settings, force=given.force)
    sys.stdout.write(f"{accuracy.table()}\nscore {accuracy.score():.5f}: {'shipped' if shipped else 'not better'}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
