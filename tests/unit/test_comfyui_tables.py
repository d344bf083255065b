"""The tables of classes and mappings: names that exist, values in our spelling, and the models a file names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.contracts.errors import MissingModel
from engine.contracts.references import BlobRef, ModelRef
from engine.graph.registry import Registry
from engine.interchange.comfyui.classes import classes
from engine.interchange.comfyui.importer import import_comfyui
from engine.interchange.comfyui.mapping import mapping_of, mappings, to_comfy, to_ours
from engine.interchange.comfyui.report import missing_models
from tests.benchmarks.interchange_stand_ins import stand_in
from tests.unit.interchange_room import CORPUS, canvas, nowhere, read

BASIC = CORPUS / "comfyui_examples" / "inpaint__inpaint_example.png.workflow.json"


def node(number: Any, kind: str, inputs: list[Any] = [], outputs: list[Any] = [], **more: Any) -> dict[str, Any]:  # noqa: B006
    """Inputs and outputs are (name, type) or (name, type, widget)."""
    sockets = [
        {"name": i[0], "type": i[1], **({"widget": {"name": i[2]}} if len(i) > 2 else {})} for i in inputs
    ]  # fmt: skip
    ports = [{"name": o[0], "type": o[1]} for o in outputs]
    return {"id": number, "type": kind, "inputs": sockets, "outputs": ports, **more}


# --- the tables


# Types the table names and the studio lacks for now: classes of these import as placeholders. It only ever shrinks.
KNOWN_MISSING: frozenset[str] = frozenset()


def test_every_mapping_names_a_class_a_node_and_inputs_and_outputs_that_exist() -> None:
    registry = Registry.builtin()
    missing = {m.type for m in mappings().values() if registry.find(m.type) is None}
    assert missing <= KNOWN_MISSING
    for mapping in mappings().values():
        known = classes()[mapping.comfy]
        definition = registry.find(mapping.type)
        if definition is None:
            continue
        schema = definition.schema
        ours = [mapping.input(name).name for name in (*known.widget_names, *(s.name for s in known.sockets))]
        for name in (*filter(None, ours), *mapping.fixed):
            assert registry.types[mapping.type].port(name) is not None, (mapping.comfy, mapping.type, name)
        for name in mapping.outputs:
            assert name == "_" or schema.output(name) is not None, (mapping.comfy, mapping.type, name)
        assert len(mapping.outputs) <= len(known.outputs), mapping.comfy
        required = {i.name for i in schema.inputs if i.required and not i.variadic}
        assert required <= {*ours, *mapping.fixed}, (mapping.comfy, mapping.type)


def test_at_least_ninety_classes_map() -> None:
    assert sum(mapping_of(name) is not None for name in mappings()) >= 90


@pytest.mark.parametrize(
    ("form", "theirs", "ours"),
    [
        ("choice:axis", "x-axis: vertically", "vertical"),
        ("choice:axis", "y-axis: horizontally", "horizontal"),
        ("choice:sampler", "dpmpp_2m_sde", "dpmpp_2m_sde"),
        ("choice:sampler", "uni_pc_bh2", "uni_pc_bh2"),
        ("choice:side", "Left", "left"),
        ("onoff", "enable", True),
        ("skip", -2, 1),
        ("colour", 0xFF8000, "#ff8000"),
        ("model:lora", "styles/a.safetensors", ModelRef(kind="lora", name="styles/a.safetensors")),
        ("blob", "a.png", BlobRef(name="a.png")),
    ],
)
def test_values_are_spelled_our_way_and_back(form: str, theirs: Any, ours: Any) -> None:
    assert to_ours(form, theirs) == ours
    assert to_comfy(form, ours) == theirs


def test_one_solver_under_two_names_and_hostile_file_names() -> None:
    assert to_ours("choice:sampler", "dpmpp_2m_sde_gpu") == "dpmpp_2m_sde"
    assert to_ours("blob", "../../etc/passwd [input]") == BlobRef(name="passwd")
    assert to_ours("blob", "C:\\windows\\a.png") == BlobRef(name="a.png")
    assert to_ours("model:vae", 5) == 5
    assert to_ours("choice:sampler", ["a"]) == ["a"]


def test_the_refiners_prompt_a_style_model_and_text_come_over_with_their_values() -> None:
    found = import_comfyui(
        {
            "1": {"class_type": "CLIPTextEncodeSDXLRefiner",
                  "inputs": {"ascore": 2.5, "width": 512, "height": 768, "text": "a cat"}},
            "2": {"class_type": "StyleModelLoader", "inputs": {"style_model_name": "flux1-redux-dev.safetensors"}},
            "3": {"class_type": "StringReplace", "inputs": {"string": "a cat", "find": "cat", "replace": "dog"}},
            "4": {"class_type": "StringTrim", "inputs": {"string": " a ", "mode": "Left"}},
        },
        "test",
    )  # fmt: skip
    nodes = found.workflow
    assert nodes.node("1").inputs == {"aesthetic_score": 2.5, "width": 512, "height": 768, "text": "a cat"}
    assert nodes.node("2").inputs == {"style_model": ModelRef(kind="ip_adapter", name="flux1-redux-dev.safetensors")}
    assert nodes.node("3").inputs == {"text": "a cat", "find": "cat", "replacement": "dog"}
    assert nodes.node("4").inputs == {"text": " a ", "side": "left"}
    assert not found.report.unsupported


@pytest.mark.parametrize(
    ("kind", "name", "expected"),
    [
        ("checkpoint", "v1-5-pruned-emaonly.ckpt", "starter"),
        ("checkpoint", "sd_xl_turbo_1.0_fp16.safetensors", "sdxl/turbo"),
        ("diffusion_model", "flux-2-klein-4b-fp8.safetensors", "flux2"),
        ("diffusion_model", "flux1-fill-dev.safetensors", "flux-fill"), ("checkpoint", "aura_flow_0.2.safetensors", ""),
        ("diffusion_model", "something_new.safetensors", ""),
    ],
)  # fmt: skip
def test_the_bench_puts_a_model_of_the_right_family_in_place_of_a_file(kind: Any, name: str, expected: str) -> None:
    assert stand_in(ModelRef(kind=kind, name=name)) == expected


def test_a_choice_that_the_studio_lacks_is_kept_and_named() -> None:
    data = read(BASIC)
    sampler = next(n for n in data["nodes"] if n["type"] == "KSampler")
    sampler["widgets_values"][4] = "er_sde_of_tomorrow"
    found = import_comfyui(data, "test")
    assert found.workflow.node(str(sampler["id"])).inputs["sampler"] == "er_sde_of_tomorrow"
    (warning,) = found.report.warnings
    assert warning.startswith(
        f"node “{sampler['id']}” (KSampler), input “sampler”: there is no choice “er_sde_of_tomorrow”; kept as it is."
    )


# --- models


def test_missing_models_say_where_they_come_from() -> None:
    digest = "ab" * 32
    data = read(BASIC)
    loader = next(n for n in data["nodes"] if n["type"] == "CheckpointLoaderSimple")
    name = loader["widgets_values"][0]
    loader.setdefault("properties", {})["models"] = [
        {"name": name, "url": "https://example.org/m", "hash": digest.upper(), "hash_type": "SHA256",
         "directory": "checkpoints"}
    ]  # fmt: skip
    encoder = next(n for n in data["nodes"] if n["type"] == "CLIPTextEncode")
    encoder["widgets_values"] = ["a cat, embedding:easynegative"]
    found = import_comfyui(data, "test")
    assert found.workflow.node(str(loader["id"])).inputs["checkpoint"] == ModelRef(
        kind="checkpoint", name=name, url="https://example.org/m", sha256=digest
    )
    assert found.report.to_json(nowhere)["missing_models"] == [
        {"name": name, "kind": "checkpoint", "url": "https://example.org/m", "hash": digest.upper(),
         "hash_type": "SHA256", "directory": "checkpoints",
         "what_to_do": f"“{name}” (a checkpoint) is not among your models; get it from https://example.org/m, or "
         "choose another one in its place."},
        {"name": "easynegative", "kind": "embedding",
         "what_to_do": "“easynegative” (an embedding) is not among your models; the file does not say where it comes "
         "from, or choose another one in its place."},
    ]  # fmt: skip

    def only_checkpoints(ref: ModelRef) -> Path:
        if ref.kind == "checkpoint":
            return Path(ref.name)
        raise MissingModel("no")

    assert [hint.kind for hint in missing_models(found.report, only_checkpoints)] == ["embedding"]


def test_models_of_strangers_are_named_too() -> None:
    stranger = node(5, "SomebodysLoader", widgets_values=["x.safetensors"], properties={
        "models": [{"name": "x.safetensors", "url": "https://example.org/x", "directory": "loras"}]
    })  # fmt: skip
    stranger["inputs"] = [{"name": "file", "type": "COMBO", "widget": {"name": "file"}}]
    (found,) = missing_models(import_comfyui(canvas([stranger], []), "test").report, nowhere)
    assert (found.name, found.kind, found.url) == ("x.safetensors", "lora", "https://example.org/x")
