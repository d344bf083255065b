"""Writes the gallery: resources/workflows/<id>.json, and with --pictures what each makes as <id>.webp.

python -m studio_app.workflows.gallery.write [--pictures] [ID …]
"""

from __future__ import annotations

import argparse
import hashlib
import io
import sys
import tempfile
from pathlib import Path

from engine.contracts.codec import dump_json
from engine.contracts.job_spec import JobSpec
from engine.contracts.references import BlobRef
from engine.contracts.workflow import Workflow
from studio_app.paths import resources_dir
from studio_app.store.blobs import Blobs
from studio_app.workflows.gallery import TEMPLATES
from studio_app.workflows.library import WorkflowLibrary

MAX_PICTURE_BYTES = 20 * 1024
EDGE = 320  # pixels of a picture's longer side, at most


def drawn(pictures: Path) -> dict[str, Workflow]:
    """Every template by its id, as its file holds it."""
    blobs = {path.name: _blob(path) for path in sorted(pictures.glob("*.png"))}
    return {make.__name__: make().workflow(order, blobs) for order, make in enumerate(TEMPLATES)}


def text_of(workflow: Workflow) -> str:
    return dump_json(workflow.to_json()) + "\n"


def _blob(path: Path) -> BlobRef:
    data = path.read_bytes()
    return BlobRef(sha256=hashlib.sha256(data).hexdigest(), media_type="image/png", size=len(data), name=path.name)


def make_pictures(workflows: dict[Path, Workflow], data: Path) -> None:
    """Run templates in a studio of their own and keep what each saves first. Raises RuntimeError when one fails."""
    from studio_app.application import Application

    app = Application(data)
    app.start()
    try:
        app.wait_ready(120)
        for path, workflow in workflows.items():
            job = app.jobs.wait(app.jobs.submit(JobSpec(workflow=workflow)))
            saved = [record for record in app.library.of_job(job.id) if record.node == "save"]
            if job.status != "succeeded" or not saved:
                raise RuntimeError(f"{workflow.name}: {job.error or 'it saved no picture'}")
            path.write_bytes(_small(app.library.read(saved[0])))
    finally:
        app.close()


def _small(data: bytes) -> bytes:
    """A picture as WebP within the size that the gallery allows."""
    from PIL import Image

    with Image.open(io.BytesIO(data)) as opened:
        picture = opened.convert("RGB")
    picture.thumbnail((EDGE, EDGE))
    for quality in (88, 80, 70, 60, 45):
        out = io.BytesIO()
        picture.save(out, "WEBP", quality=quality, method=6)
        if out.tell() <= MAX_PICTURE_BYTES:
            break
    return out.getvalue()


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Write the gallery of templates.")
    parser.add_argument("ids", nargs="*", metavar="ID", help="which; without any, all")
    parser.add_argument("--pictures", action="store_true", help="run them and write their pictures too")
    chosen = parser.parse_args(arguments)
    folder = resources_dir() / "workflows"
    found = drawn(folder / "pictures")
    for template_id, workflow in found.items():
        (folder / f"{template_id}.json").write_text(text_of(workflow), encoding="utf-8")
    if chosen.pictures:
        with tempfile.TemporaryDirectory() as temporary:
            data = Path(temporary)
            library = WorkflowLibrary(data, data, folder, Blobs(data / "blobs"))
            make_pictures({folder / f"{name}.webp": library.template(name) for name in chosen.ids or found}, data)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
