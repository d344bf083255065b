"""Every real file of the corpus: it imports, both of its forms give one graph, and it comes back from an export."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.contracts.workflow import Workflow
from engine.graph.registry import Registry
from engine.graph.signatures import signatures
from engine.graph.validate import problems
from engine.interchange.comfyui.canvas import read_canvas
from engine.interchange.comfyui.exporter import export_canvas, export_prompt
from engine.interchange.comfyui.importer import import_comfyui
from engine.interchange.comfyui.mapping import PLACEHOLDER
from engine.interchange.comfyui.prompt import to_prompt
from tests.unit.interchange_room import CANVASES, FILES, PAIRS, differences, imported, nowhere, read


def by_name(path: Path) -> str:
    return path.name.removesuffix(".json")


def test_the_corpus_is_here_whole() -> None:
    assert (len(FILES), len(CANVASES), len(PAIRS)) == (227, 164, 63)


@pytest.mark.parametrize("path", FILES, ids=by_name)
def test_it_imports_keeps_every_node_and_validates_without_a_crash(path: Path) -> None:
    found = imported(path)
    again = Workflow.from_json(json.loads(json.dumps(found.workflow.to_json(), allow_nan=False)))
    assert again == found.workflow
    levels = [found.workflow.nodes, *(s.nodes for s in found.workflow.subgraphs)]
    assert sum(len(level) for level in levels) == found.report.nodes > 0
    placeholders = {
        n.type.removeprefix(PLACEHOLDER) for level in levels for n in level if n.type.startswith(PLACEHOLDER)
    }
    assert placeholders == set(found.report.unsupported)
    report = found.report.to_json(nowhere)
    assert list(report) == ["nodes", "unsupported", "missing_models", "warnings"]
    assert all(model["name"] and model["what_to_do"] for model in report["missing_models"])
    registry = Registry.builtin()
    named = {p.node for p in problems(found.workflow, registry) if p.code == "unknown_node"}
    signed = signatures(found.workflow, registry)
    assert not named & set(signed)


@pytest.mark.parametrize(("canvas", "prompt"), PAIRS, ids=[by_name(pair[0]) for pair in PAIRS])
def test_canvas_and_prompt_are_one_graph(canvas: Path, prompt: Path) -> None:
    assert differences(imported(canvas).workflow, imported(prompt).workflow) == {}
    flattened = to_prompt(read_canvas(read(canvas), canvas.name))
    assert differences(import_comfyui(flattened, canvas.name).workflow, imported(prompt).workflow) == {}


@pytest.mark.parametrize("path", CANVASES, ids=by_name)
def test_subgraphs_kept_and_subgraphs_opened_are_one_graph(path: Path) -> None:
    opened = import_comfyui(to_prompt(read_canvas(read(path), path.name)), path.name)
    assert differences(imported(path).workflow, opened.workflow) == {}


@pytest.mark.parametrize("path", FILES, ids=by_name)
def test_it_comes_back_from_an_export(path: Path) -> None:
    first, registry = imported(path).workflow, Registry.builtin()
    for write in (export_canvas, export_prompt):
        document, report = write(first, registry)
        assert report.unsupported == []
        text = json.dumps(document, allow_nan=False)
        assert differences(first, import_comfyui(json.loads(text), path.name).workflow) == {}, write.__name__


def test_a_difference_would_be_seen() -> None:
    path = PAIRS[0][0]
    data = read(path)
    sampler = next(node for node in data["nodes"] if node["type"] == "KSampler")
    sampler["widgets_values"][0] += 1
    found = differences(imported(path).workflow, import_comfyui(data, path.name).workflow)
    assert found["sample.k_sampler"] == 4  # it feeds the second sampler; each counts on both sides
    data = read(path)
    data["links"] = [link for link in data["links"] if link[5] != "LATENT"]
    assert differences(imported(path).workflow, import_comfyui(data, path.name).workflow)
