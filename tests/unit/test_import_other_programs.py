"""Settings of other programs → a workflow that runs, and a report of what had no place in it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engine.contracts.errors import InvalidDocument
from engine.contracts.job_spec import JobSpec, Sweep
from engine.contracts.references import ModelRef
from engine.contracts.workflow import Link, Workflow
from engine.graph.registry import Registry
from engine.graph.validate import problems
from engine.interchange.infotext import write
from engine.interchange.read_file import import_bytes
from engine.media.images import encode
from engine.recipes.build import request_of
from tests.unit.interchange_room import nowhere, png
from tests.unit.media_room import a_spec, noise

A1111 = (
    "a red fox in snow\nNegative prompt: blurry\nSteps: 25, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 4.5, "
    "Seed: 7, Size: 512x768, Model hash: 6ce0161689, Model: sd15, Clip skip: 2, Hires upscale: 2, Version: v1.10.1"
)
INVOKE = {
    "generation_mode": "txt2img", "positive_prompt": "a fox", "negative_prompt": "blur", "width": 640, "height": 512,
    "seed": 34, "cfg_scale": 7.5, "steps": 30, "scheduler": "dpmpp_2m_k", "app_version": "5.4.0",
    "model": {"name": "juggernaut", "hash": "blake3:0123456789abcdef"},
    "loras": [{"model": {"name": "snow"}, "weight": 0.75}],
}  # fmt: skip
FOOOCUS = {
    "base_model": "juggernautXL_v8", "base_model_hash": "aeb7e9e689", "guidance_scale": 4, "metadata_scheme": "fooocus",
    "negative_prompt": "", "prompt": "a fox", "resolution": "(1152, 896)", "sampler": "dpmpp_2m_sde_gpu",
    "scheduler": "karras", "seed": "7418", "steps": 30, "version": "Fooocus v2.5.0",
}  # fmt: skip
SWARM = {"sui_image_params": {
    "prompt": "a fox", "negativeprompt": "", "model": "sdxl", "seed": 5, "steps": 20, "cfgscale": 7.0, "width": 1024,
    "height": 768, "sampler": "euler", "scheduler": "normal", "swarm_version": "0.9.2",
}}  # fmt: skip
NOVEL = {
    "prompt": "a fox", "uc": "blur", "steps": 28, "scale": 5.0, "seed": 99, "width": 832, "height": 1216,
    "sampler": "k_euler_ancestral", "noise_schedule": "karras",
}  # fmt: skip


def inputs(data: bytes, node: str, name: str = "file") -> dict[str, Any]:
    return dict(import_bytes(data, name).workflow.node(node).inputs)


@pytest.mark.parametrize(
    "data",
    [
        A1111.encode(),
        png(parameters=A1111),
        encode(noise(4, 4, 3), "webp", 90, {"parameters": A1111}),
        encode(noise(4, 4, 3), "jpeg", 90, {"parameters": A1111}),
    ],
)
def test_infotext_from_text_png_webp_and_jpeg(data: bytes) -> None:
    found = import_bytes(data, "file")
    nodes = {n.id: n.inputs for n in found.workflow.nodes}
    assert nodes["prompt"]["text"] == "a red fox in snow"
    assert nodes["negative"]["text"] == "blurry"
    assert nodes["checkpoint"]["checkpoint"] == ModelRef(kind="checkpoint", name="sd15")
    assert (nodes["latent"]["width"], nodes["latent"]["height"]) == (512, 768)
    sampler = nodes["sampler"]
    assert [sampler[k] for k in ("seed", "steps", "cfg", "sampler", "scheduler")] == [7, 25, 4.5, "dpmpp_2m", "karras"]
    assert nodes["clip_skip"]["skip"] == 1
    assert found.workflow.extra["parameters"] == A1111
    assert problems(found.workflow, Registry.builtin()) == []
    report = found.report.to_json(nowhere)
    assert report["missing_models"][0] | {"what_to_do": ""} == {
        "name": "sd15", "kind": "checkpoint", "hash": "6ce0161689", "hash_type": "AutoV2", "what_to_do": "",
    }  # fmt: skip
    assert report["warnings"] == [
        "A1111 also says, and the workflow has no place for it: Hires upscale: 2, Version: v1.10.1."
    ]


@pytest.mark.parametrize(
    ("text", "raw", "program", "seed", "size", "sampler"),
    [
        (INVOKE, {"invokeai_metadata": INVOKE}, "InvokeAI", 34, (640, 512), "dpmpp_2m"),
        (FOOOCUS, {"parameters": FOOOCUS, "fooocus_scheme": "fooocus"}, "Fooocus", 7418, (1152, 896), "dpmpp_2m_sde"),
        (SWARM, {"parameters": SWARM}, "SwarmUI", 5, (1024, 768), "euler"),
        (NOVEL, {"Comment": NOVEL, "Software": "NovelAI"}, "NovelAI", 99, (832, 1216), "euler_ancestral"),
    ],
)
def test_each_program_from_its_picture_and_from_json_alone(
    text: Any, raw: Any, program: str, seed: int, size: tuple[int, int], sampler: str
) -> None:
    for data in (png(**raw), json.dumps(text).encode()):
        found = import_bytes(data, "file").workflow
        latent, sample = found.node("latent").inputs, found.node("sampler").inputs
        assert found.node("prompt").inputs["text"] == "a fox"
        assert (sample["seed"], (latent["width"], latent["height"]), sample["sampler"]) == (seed, size, sampler)
        assert found.extra["imported_from"] == program


def test_loras_stand_between_the_checkpoint_and_what_uses_it() -> None:
    data = json.dumps(INVOKE | {"positive_prompt": "a fox <lora:ink:0.5> in snow"}).encode()
    found = import_bytes(data, "file").workflow
    first, second = found.node("lora_1"), found.node("lora_2")
    assert found.node("prompt").inputs["text"] == "a fox  in snow"
    assert first.inputs["model"] == Link("checkpoint", "model")
    assert second.inputs["model"].node == "lora_1"  # type: ignore[union-attr]
    for node, name, slot in (("sampler", "model", 0), ("prompt", "clip", 1), ("negative", "clip", 1)):
        link = found.node(node).inputs[name]
        assert isinstance(link, Link)
        assert (link.node, link.output) in (("lora_2", ("model", "clip")[slot]), ("lora_2", f"output_{slot}"))
    assert (0.75 in first.inputs.values(), 0.5 in second.inputs.values()) == (True, True)
    names = {m["name"] for m in import_bytes(data, "file").report.to_json(nowhere)["missing_models"]}
    assert "juggernaut" in names


def test_what_does_not_fit_is_held_and_said() -> None:
    text = "a fox\nSteps: 500, Sampler: DPM fast, CFG scale: 0.5, Seed: -1, Size: 513x9999, Denoising strength: 0.4"
    found = import_bytes(text.encode(), "file")
    assert problems(found.workflow, Registry.builtin()) == []
    sample = found.workflow.node("sampler").inputs
    assert (sample["steps"], sample["cfg"], sample["seed"], sample["denoise"]) == (150, 1.0, 0, 1.0)
    assert found.report.warnings == [
        "It names no model; the starter model stands in its place.",
        "It was made from another picture (strength 0.4), which the file does not hold; the workflow makes a new "
        "picture.",
        "The seed -1 is not one; 0 stands in its place.",
        "The width 513 became 512: sizes here are multiples of 8.",
        "The height 9999 became 8192: sizes here are multiples of 8.",
        "The number of steps 500 is out of range; 150 stands in its place.",
        "The guidance (cfg) 0.5 is out of range; 1 stands in its place.",
        "The studio has no sampler “DPM fast”; “euler” stands in its place.",
    ]


def test_an_empty_prompt_stays_empty() -> None:
    found = import_bytes(b"Steps: 5, Sampler: Euler, CFG scale: 2, Seed: 3", "file").workflow
    assert found.node("prompt").inputs["text"] == ""


def test_our_own_files_come_back_with_their_values() -> None:
    spec = a_spec(seed=5)
    key = f"{next(n.id for n in spec.workflow.nodes if n.type == 'sample.k_sampler')}.seed"
    swept = JobSpec(workflow=spec.workflow, bindings={key: Sweep((8, 9))})
    found = import_bytes(json.dumps(swept.to_json()).encode(), "file")
    assert found.workflow.node(key.partition(".")[0]).inputs[key.partition(".")[2]] == 8
    assert found.report.warnings == [f"“{key}” runs through 2 values; the first one stands here."]
    plain = import_bytes(json.dumps(spec.workflow.to_json()).encode(), "file")
    assert plain.workflow == spec.workflow


def test_infotext_there_and_back() -> None:
    found = import_bytes(A1111.encode(), "file").workflow
    again = import_bytes(write(JobSpec(workflow=found)).encode(), "file").workflow
    assert {n.id: n.inputs for n in again.nodes} == {n.id: n.inputs for n in found.nodes}
    assert request_of(JobSpec(workflow=again)) is not None  # it opens in Create


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"hello", "file: it is neither JSON nor the settings of a picture. It takes workflows and prompts of ComfyUI, "
         "and pictures and videos that say how they were made."),
        (b"{}", "file: it is JSON of no kind that can be imported. It takes workflows and prompts of ComfyUI, and "
         "pictures and videos that say how they were made."),
        (b"{", "file: it is not valid JSON (expecting property name enclosed in double quotes at line 1, column 2)."),
        (b"\xff\xfe\x00", "file: it is of no kind that can be imported. It takes workflows and prompts of ComfyUI, and "
         "pictures and videos that say how they were made."),
        (png(), "file: this picture does not say how it was made. It takes workflows and prompts of ComfyUI, and "
         "pictures and videos that say how they were made."),
    ],
)  # fmt: skip
def test_what_can_t_be_read_says_so(data: bytes, sentence: str) -> None:
    with pytest.raises(InvalidDocument) as caught:
        import_bytes(data, "file")
    assert str(caught.value) == sentence


def test_a_picture_of_ours_gives_the_workflow_it_was_made_by() -> None:
    spec = a_spec(seed=5)
    data = encode(noise(4, 4, 3), "png", 90, {"tessera": json.dumps(spec.to_json())})
    found = import_bytes(data, "file").workflow
    assert isinstance(found, Workflow)
    assert [n.id for n in found.nodes] == [n.id for n in spec.workflow.nodes]
