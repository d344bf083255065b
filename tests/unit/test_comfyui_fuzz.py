"""Whatever a file holds, an import gives a workflow or one sentence: mutated real files, hostile names, random JSON."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.contracts.errors import InvalidDocument
from engine.contracts.references import BlobRef
from engine.contracts.workflow import Workflow
from engine.graph.registry import Registry
from engine.graph.signatures import signatures
from engine.graph.validate import problems
from engine.interchange.comfyui.exporter import export_canvas, export_prompt
from engine.interchange.comfyui.importer import import_comfyui
from engine.interchange.read_file import import_bytes
from tests.unit.interchange_room import FILES, nowhere, read

SEEDS = [read(path) for path in FILES if path.stat().st_size < 30_000]
NASTY: list[Any] = [
    None, True, -1, 2**70, 1e308, float("nan"), float("inf"), "", "-10", "../../etc/passwd", "/etc/passwd", "CON",
    "\ud800", "a" * 5000, [], {}, [[[[]]]], {"value": 1}, {"link": ["1", "x"]}, {"0": 1}, ["1", 0], [1, True],
    "subgraph:x", "tessera.image.save", "comfyui.", "workflow/x", "Reroute", "PrimitiveNode", "Note",
]  # fmt: skip


def must_hold(data: Any) -> None:
    """Import, and everything that is done with what came of it."""
    try:
        found = import_comfyui(data, "fuzz")
    except InvalidDocument:
        return
    text = json.dumps(found.workflow.to_json(), allow_nan=False, ensure_ascii=False).encode()
    assert Workflow.from_json(json.loads(text)) == found.workflow
    registry = Registry.builtin()
    problems(found.workflow, registry)
    signatures(found.workflow, registry)
    json.dumps(found.report.to_json(nowhere), allow_nan=False, ensure_ascii=False).encode()
    for write in (export_canvas, export_prompt):
        try:
            json.dumps(write(found.workflow, registry)[0])
        except InvalidDocument:
            continue


def mutated(data: Any, chance: random.Random) -> Any:
    """A copy with a few places replaced, removed, doubled or exchanged."""
    data = copy.deepcopy(data)
    for _ in range(chance.randint(1, 6)):
        place = data
        for _ in range(chance.randint(1, 8)):
            keys = (
                list(place) if isinstance(place, dict) else list(range(len(place))) if isinstance(place, list) else []
            )
            if not keys:
                break
            key = chance.choice(keys)
            inner = place[key]
            if isinstance(inner, (dict, list)) and inner and chance.random() < 0.8:
                place = inner
                continue
            action = chance.randrange(4)
            if action == 0:
                place[key] = copy.deepcopy(chance.choice(NASTY))  # what is put in may be changed in turn
            elif action == 1:
                del place[key]
            elif action == 2 and isinstance(place, list):
                place.append(inner)
            else:
                other = chance.choice(keys)
                place[key], place[other] = place[other], place[key]
            break
    return data


@settings(max_examples=250)
@given(st.randoms(use_true_random=False))
def test_mutated_real_files(chance: random.Random) -> None:
    must_hold(mutated(chance.choice(SEEDS), chance))


json_values = st.recursive(
    st.sampled_from(NASTY) | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
NODE_KEYS = ["id", "type", "inputs", "outputs", "widgets_values", "properties", "mode", "pos", "flags", "title"]
nodes = st.dictionaries(st.sampled_from(NODE_KEYS), json_values) | json_values


@settings(max_examples=200)
@given(
    st.lists(nodes, max_size=4),
    st.lists(json_values, max_size=4),
    st.dictionaries(st.sampled_from(["subgraphs"]), json_values),
)
def test_random_canvases(found: list[Any], links: list[Any], definitions: dict[str, Any]) -> None:
    must_hold({"nodes": found, "links": links, "definitions": definitions, "extra": {"groupNodes": definitions}})


@settings(max_examples=100)
@given(
    st.dictionaries(st.text(max_size=4), st.dictionaries(st.just("inputs"), json_values), max_size=4),
    st.text(max_size=12),
)
def test_random_prompts(bodies: dict[str, Any], comfy: str) -> None:
    must_hold({key: {**body, "class_type": comfy} for key, body in bodies.items()})


@settings(max_examples=100)
@given(
    st.binary(max_size=60),
    st.sampled_from([b"", b"{", b"\x89PNG\r\n\x1a\n", b"\x1a\x45\xdf\xa3", b"\0\0\0\x18ftypmp42"]),
)
def test_random_bytes(tail: bytes, head: bytes) -> None:
    with pytest.raises(InvalidDocument):
        import_bytes(head + tail, "fuzz")


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"nodes":' * 5_000, '{"nodes":[' + "9" * 5000 + "]}", "{", "\x00", "nul"]
)
def test_texts_beyond_all_bounds(text: str) -> None:
    with pytest.raises(InvalidDocument):
        import_bytes(text.encode(), "fuzz")


@pytest.mark.parametrize("name", ["../../secret.png", "/etc/passwd", "C:\\boot.ini", "a/../../b", "CON", "nul.png"])
def test_no_path_survives_in_a_picture_and_names_of_outputs_stay_in_their_folder(name: str) -> None:
    prompt = {
        "1": {"class_type": "LoadImage", "inputs": {"image": name}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": name}},
    }
    found = import_comfyui(prompt, "test").workflow
    picture = found.node("1").inputs["image"]
    assert isinstance(picture, BlobRef)
    assert not {"/", "\\"} & set(picture.name)
    assert picture.sha256 == ""
