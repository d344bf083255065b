"""Every template of the gallery is what its drawing says, has a form and a picture, and runs on the starter model."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.contracts.errors import MissingModel
from engine.contracts.job_spec import JobSpec
from engine.contracts.references import BlobRef, ModelRef
from engine.contracts.workflow import Node, Workflow
from engine.graph.cache import ValueCache
from engine.graph.execute import execute
from engine.graph.registry import Registry
from engine.graph.services import Services
from engine.sampling.session import Session
from studio_app.documents.form_fields import check_value, form_fields
from studio_app.paths import resources_dir
from studio_app.store.blobs import Blobs
from studio_app.workflows.gallery import TEMPLATES
from studio_app.workflows.gallery.write import MAX_PICTURE_BYTES, drawn, text_of
from studio_app.workflows.library import WorkflowLibrary

FOLDER = resources_dir() / "workflows"
IDS = [make.__name__ for make in TEMPLATES]
STEPS = 2  # enough to see that a picture comes; the pictures of the gallery show what more make
SHIPPED = {"checkpoint": "starter_model", "controlnet": "starter_controlnet", "lora": "starter_lora"}


class Models:
    """The models that ship."""

    def locate(self, ref: ModelRef) -> Path:
        found = resources_dir() / SHIPPED.get(ref.kind, "none")
        if not found.exists():
            raise MissingModel(f"there is no model {ref.name}")
        return found

    def list(self, kind: str) -> list[ModelRef]:
        return []


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[WorkflowLibrary, Services, ValueCache]]:
    folder = tmp_path_factory.mktemp("gallery")
    blobs = Blobs(folder / "blobs")
    session = Session(Models())
    library = WorkflowLibrary(folder, folder, FOLDER, blobs)
    yield library, Services(blobs=blobs, models=Models(), session=session), ValueCache(1 << 27)
    session.free()


def quick(workflow: Workflow) -> Workflow:
    """The same graph with few steps and few pictures."""

    def node(item: Node) -> Node:
        inputs = dict(item.inputs)
        if isinstance(inputs.get("steps"), int):
            inputs["steps"] = STEPS
        if item.title == "Steps":
            inputs["value"] = STEPS
        count = inputs.get("count")
        if isinstance(count, int):
            inputs["count"] = min(count, 4)
        return replace(item, inputs=inputs)

    subgraphs = tuple(replace(s, nodes=tuple(map(node, s.nodes))) for s in workflow.subgraphs)
    return replace(workflow, nodes=tuple(map(node, workflow.nodes)), subgraphs=subgraphs)


def test_there_are_at_least_twenty_in_the_order_of_the_gallery_each_with_words(
    room: tuple[WorkflowLibrary, Services, ValueCache],
) -> None:
    found = room[0].templates()
    assert [template.id for template in found] == IDS
    assert len(found) >= 20
    assert all(template.title and len(template.explanation) > 40 and template.group for template in found)
    assert len({template.title for template in found}) == len(found)


def test_the_files_are_what_the_drawings_say() -> None:
    for template_id, workflow in drawn(FOLDER / "pictures").items():
        assert (FOLDER / f"{template_id}.json").read_text(encoding="utf-8") == text_of(workflow), template_id


@pytest.mark.parametrize("template_id", IDS)
def test_its_picture_is_small_and_not_flat(template_id: str) -> None:
    path = FOLDER / f"{template_id}.webp"
    assert path.stat().st_size <= MAX_PICTURE_BYTES
    with Image.open(path) as picture:
        assert picture.format == "WEBP"
        assert np.asarray(picture).std() > 8


@pytest.mark.parametrize("template_id", IDS)
def test_its_form_shows_fields_whose_values_fit(
    template_id: str, room: tuple[WorkflowLibrary, Services, ValueCache]
) -> None:
    fields = [f for group in form_fields(room[0].template(template_id), Registry.builtin()) for f in group.fields]
    assert fields
    assert [f.problem for f in fields if f.problem] == []
    assert [(f.key, check_value(f.schema, f.value)) for f in fields if check_value(f.schema, f.value)] == []
    assert all(f.label and not f.linked for f in fields)


@pytest.mark.parametrize("template_id", IDS)
def test_it_runs_on_the_starter_model_and_its_pictures_are_not_flat(
    template_id: str, room: tuple[WorkflowLibrary, Services, ValueCache]
) -> None:
    library, services, cache = room
    spec = JobSpec(workflow=quick(library.template(template_id)))
    result = execute(spec, registry=Registry.builtin(), services=services, cache=cache, on_event=lambda event: None)
    assert result.outcome == "succeeded", [str(failure) for failure in result.failures]
    saved = [artifact for node, artifact in result.artifacts if node == "save"]
    assert saved
    for artifact in saved:
        with Image.open(io.BytesIO(artifact.data)) as picture:
            pixels = np.asarray(picture.convert("RGB")).astype(np.float32)
        assert pixels.std() > 4
        assert np.abs(np.diff(pixels, axis=0)).max() > 8


def test_a_template_brings_its_pictures_into_the_store(
    room: tuple[WorkflowLibrary, Services, ValueCache],
) -> None:
    workflow = room[0].template("picture_to_picture")
    ref = workflow.node("picture").inputs["image"]
    assert isinstance(ref, BlobRef)
    assert room[1].blobs.read(ref)[:4] == b"\x89PNG"
    assert "template" not in workflow.extra
