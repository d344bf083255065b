"""Whose an autoencoder file is, from the models beside it: on import of a workflow, and before a job runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.contracts.job_spec import JobSpec
from engine.contracts.references import ModelRef
from engine.contracts.workflow import Node, Subgraph, Workflow
from engine.graph.registry import Registry
from engine.interchange.comfyui.exporter import export_prompt
from engine.interchange.comfyui.importer import import_comfyui
from engine.models.vae_families import with_families
from studio_app.application import Application
from tests.unit import model_headers as h

VAE = {"class_type": "VAELoader", "inputs": {"vae_name": "ae.safetensors"}}


def pair(kind: str) -> dict[str, Any]:
    inputs = {"clip_name1": "a.safetensors", "clip_name2": "b.safetensors", "type": kind}
    return {"class_type": "DualCLIPLoader", "inputs": inputs}


def single(kind: str) -> dict[str, Any]:
    return {"class_type": "CLIPLoader", "inputs": {"clip_name": "a.safetensors", "type": kind}}


TRIPLE = {"class_type": "TripleCLIPLoader", "inputs": {f"clip_name{i}": "a.safetensors" for i in (1, 2, 3)}}
UNET = {"class_type": "UNETLoader", "inputs": {"unet_name": "u.safetensors", "weight_dtype": "default"}}
CHECKPOINT = {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "c.safetensors"}}


def imported(**nodes: dict[str, Any]) -> Workflow:
    return import_comfyui(nodes, "test").workflow


def family_of(workflow: Workflow, node: str = "vae") -> object:
    return workflow.node(node).inputs.get("family", "auto")


@pytest.mark.parametrize(
    ("encoders", "family"),
    [
        (pair("flux"), "flux"), (pair("sd3"), "sd3"), (TRIPLE, "sd3"), (single("chroma"), "flux"),
        (single("lumina2"), "flux"), (pair("sdxl"), "sdxl"), (single("stable_diffusion"), "auto"),
        (single("qwen_image"), "auto"), (single("wan"), "auto"),
    ],
)  # fmt: skip
def test_an_import_tells_by_the_text_encoders(encoders: dict[str, Any], family: str) -> None:
    """Chroma's and Z-Image's files are Flux.1's, whose name does for them."""
    assert family_of(imported(vae=VAE, unet=UNET, clip=encoders)) == family


def test_nothing_is_guessed_where_models_differ_or_are_not_known() -> None:
    assert family_of(imported(vae=VAE, clip=pair("flux"), other=TRIPLE)) == "auto"
    assert family_of(imported(vae=VAE, clip=pair("flux"), model=CHECKPOINT)) == "auto"
    assert family_of(imported(vae=VAE)) == "auto"


def test_a_choice_stays_and_a_muted_model_does_not_count() -> None:
    flow = imported(vae=VAE, clip=pair("flux"), other=TRIPLE)
    muted = replace(flow, nodes=tuple(replace(n, mode="mute") if n.id == "other" else n for n in flow.nodes))
    assert family_of(with_families(muted)) == "flux"
    chosen = replace(
        muted,
        nodes=tuple(replace(n, inputs={**n.inputs, "family": "sd3"}) if n.id == "vae" else n for n in muted.nodes),
    )
    assert with_families(chosen) == chosen


def test_a_loader_in_a_subgraph_is_told_too() -> None:
    inner = Subgraph(id="g", nodes=(Node(id="v", type="load.vae", inputs={"vae": ModelRef(kind="vae", name="ae")}),))
    outer = Workflow(nodes=(Node(id="c", type="load.text_encoder_triple"), Node(id="i", type="subgraph:g")),
                     subgraphs=(inner,))  # fmt: skip
    assert with_families(outer).subgraphs[0].nodes[0].inputs["family"] == "sd3"


def test_it_goes_out_and_comes_in_again_the_same() -> None:
    flow = imported(vae=VAE, clip=pair("flux"), unet=UNET)
    again = import_comfyui(json.loads(json.dumps(export_prompt(flow, Registry.builtin())[0])), "test").workflow
    (loader,) = (node for node in again.nodes if node.type == "load.vae")
    assert loader.inputs["family"] == "flux"


# --- before a job runs, when the files are there


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Application]:
    made = Application(tmp_path / "data")
    made.start()
    yield made
    made.close()


def flow(denoiser: ModelRef, vae: str = "ae", **more: Any) -> JobSpec:
    kind = "load.checkpoint" if denoiser.kind == "checkpoint" else "load.diffusion_model"
    nodes = (
        Node(id="model", type=kind, inputs={denoiser.kind: denoiser}),
        Node(id="vae", type="load.vae", inputs={"vae": ModelRef(kind="vae", name=vae), **more}),
    )
    return JobSpec(workflow=Workflow(nodes=nodes))


def test_a_job_tells_by_the_denoisers_of_its_workflow(app: Application) -> None:
    models = app.paths.models
    models.mkdir(parents=True, exist_ok=True)
    for name, shapes in (("ae", h.ldm_vae(16)), ("small", h.ldm_vae(4))):
        h.write_safetensors(models / f"{name}.safetensors", shapes)
    h.write_safetensors(models / "medium.safetensors", h.sd3(24, 1536))
    h.write_safetensors(models / "dev.safetensors", h.flux())
    app.model_library.scan()
    app.models.refresh()
    sd3, flux = (ModelRef(kind="diffusion_model", name=name) for name in ("medium", "dev"))
    starter = ModelRef(kind="checkpoint", name="starter")

    def told(spec: JobSpec) -> object:
        return family_of(app.jobs.resolved(spec).workflow)

    assert told(flow(sd3)) == "sd3"
    assert told(flow(flux)) == "flux"
    assert told(flow(flux, family="sd3")) == "sd3"  # chosen
    assert told(flow(starter)) == "auto"  # the file can't be its
    assert told(flow(starter, "small")) == "sd15"
    mixed = flow(flux).workflow
    both = replace(mixed, nodes=(*mixed.nodes, replace(flow(sd3).workflow.node("model"), id="other")))
    assert told(JobSpec(workflow=both)) == "auto"
