"""Infotext by Forge's rules: known texts parse as there, and what is written reads back."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.contracts.job_spec import JobSpec, Sweep
from engine.contracts.workflow import Link, Node, Socket, Subgraph, Workflow
from engine.interchange import infotext
from engine.interchange.generation_settings import GenerationSettings, settings_of
from engine.sampling.names import SAMPLERS, SCHEDULERS
from tests.unit.media_room import a_spec

FORGE = """portrait of a (fox:1.2), <lora:snow:0.8>
second line
Negative prompt: blurry, low quality
more of it
Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 965400086, Size: 512x768, Model hash: \
d8722b4a4d, Model: "my, model: v2", Denoising strength: 0.55, Clip skip: 2, Hires upscale: 2, \
Lora hashes: "snow: 0123456789ab, ice: ba9876543210", Version: f2.0.1v1.10.1"""


def test_a_forge_text_parses_as_forge_parses_it() -> None:
    found = infotext.parse(FORGE)
    assert found.prompt == "portrait of a (fox:1.2), <lora:snow:0.8>\nsecond line"
    assert found.negative == "blurry, low quality\nmore of it"
    assert found.fields["Size-1"] == "512"
    assert found.fields["Size-2"] == "768"
    assert found.fields["Model"] == "my, model: v2"
    assert found.fields["Lora hashes"] == "snow: 0123456789ab, ice: ba9876543210"
    assert found.settings() == GenerationSettings(
        prompt=found.prompt,
        negative=found.negative,
        steps=20,
        sampler="dpmpp_2m",
        scheduler="karras",
        cfg=7.0,
        seed=965400086,
        width=512,
        height=768,
        model="my, model: v2",
        model_hash="d8722b4a4d",
        denoise=0.55,
        clip_skip=1,
        extra={
            "Hires upscale": "2",
            "Lora hashes": "snow: 0123456789ab, ice: ba9876543210",
            "Version": "f2.0.1v1.10.1",
        },
    )


@pytest.mark.parametrize(
    ("text", "prompt", "negative", "fields"),
    [
        ("", "", "", {}),
        ("just a prompt", "just a prompt", "", {}),
        ("a fox\nSteps: 1, Seed: 2", "a fox\nSteps: 1, Seed: 2", "", {}),  # two are not enough
        ("a fox\nSteps: 1, Seed: 2, CFG scale: 3", "a fox", "", {"Steps": "1", "Seed": "2", "CFG scale": "3"}),
        ("Steps: 1, Seed: 2, CFG scale: 3", "", "", {"Steps": "1", "Seed": "2", "CFG scale": "3"}),
        ("  a \n\n b  \nNegative prompt:\nc", "a\n\nb", "c", {}),
        ("Negative prompt: x\nNegative prompt: y", "", "x\ny", {}),
        ('p\nA b: "x\\"y, z", C d: , E-f: "open, G/h: 1', "p", "", {"A b": 'x"y, z', "E-f": '"open', "G/h": "1"}),
        ("p\nSize: 10x20, Hires resize: 30x40, Seed: x", "p", "",
         {"Size-1": "10", "Size-2": "20", "Hires resize-1": "30", "Hires resize-2": "40", "Seed": "x"}),
    ],
)  # fmt: skip
def test_the_rules_one_by_one(text: str, prompt: str, negative: str, fields: dict[str, str]) -> None:
    found = infotext.parse(text)
    assert (found.prompt, found.negative, dict(found.fields)) == (prompt, negative, fields)


def test_the_text_of_a_job() -> None:
    assert infotext.write(a_spec(seed=7), target="save") == (
        "a red circle\nNegative prompt: blurry\nSteps: 25, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 4, "
        "Seed: 7, Size: 128x96, Model hash: ababababab, Model: starter, Clip skip: 2"
    )


def test_settings_come_from_the_sampler_above_the_target_alone() -> None:
    spec = a_spec()
    other = Node(id="z", type="sample.k_sampler", inputs={"seed": 99, "latent": Link("decode", "image")})
    save = Node(id="save2", type="image.save", inputs={"image": Link("z", "latent")})
    two = replace(spec, workflow=Workflow(nodes=(*spec.workflow.nodes, other, save)))
    assert settings_of(two, "save").seed == 7
    assert settings_of(two, "save2").seed == 99
    assert settings_of(two, "load") == GenerationSettings()
    assert settings_of(JobSpec(workflow=Workflow())) == GenerationSettings()


def test_of_a_sweep_the_first_value_counts() -> None:
    assert settings_of(replace(a_spec(), bindings={"sampler.seed": Sweep((5, 6))})).seed == 5


def test_denoise_is_named_only_when_it_is_not_all() -> None:
    half = replace(a_spec(), bindings={"sampler.denoise": 0.5})
    assert "Denoising strength: 0.5" in infotext.write(half)
    assert "Denoising" not in infotext.write(a_spec())


def test_a_loop_in_the_graph_ends() -> None:
    nodes = tuple(Node(id=a, type="sample.k_sampler" if a == "a" else "x", inputs={"model": Link(b, "m")})
                  for a, b in (("a", "b"), ("b", "c"), ("c", "b")))  # fmt: skip
    looped = Node(id="t", type="utility.text", inputs={"value": Link("t", "value")})
    seeded = replace(nodes[0], inputs={**nodes[0].inputs, "seed": Link("t", "value")})
    assert settings_of(JobSpec(workflow=Workflow(nodes=(seeded, *nodes[1:], looped)))).seed is None


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_every_sampler_and_schedule_comes_back(sampler: str, scheduler: str) -> None:
    written = infotext.write(GenerationSettings(prompt="x", sampler=sampler, scheduler=scheduler, seed=1, steps=2))
    found = infotext.parse(written).settings()
    assert (found.sampler, found.scheduler) == (sampler, scheduler)


def test_older_sampler_labels() -> None:
    assert infotext.sampler_of("DPM++ 2M SDE Karras") == ("dpmpp_2m_sde", "karras")
    assert infotext.sampler_of("Euler a", "Automatic") == ("euler_ancestral", "normal")
    assert infotext.sampler_of("Restart") == ("Restart", "")


lines = st.text(st.characters(exclude_categories=("C", "Z"), include_characters=" "), max_size=60)
prompts = lines.map(str.strip).filter(lambda t: not t.startswith("Negative prompt:"))


@settings(max_examples=200, deadline=None, database=None)
@given(
    st.builds(
        GenerationSettings,
        prompt=prompts,
        negative=prompts,
        steps=st.integers(1, 150),
        sampler=st.sampled_from(SAMPLERS),
        scheduler=st.sampled_from(SCHEDULERS),
        cfg=st.integers(2, 60).map(lambda n: n / 2),
        seed=st.integers(0, 2**63 - 1),
        width=st.integers(8, 9999),
        height=st.integers(8, 9999),
        model=lines.map(str.strip),
        denoise=st.none() | st.sampled_from([0.25, 0.5, 0.75]),
        clip_skip=st.integers(0, 11),
    )
)
def test_what_is_written_reads_back(settings_: GenerationSettings) -> None:
    assert infotext.parse(infotext.write(settings_)).settings() == settings_


@settings(max_examples=200, deadline=None, database=None)
@given(st.text(max_size=300) | st.lists(st.sampled_from(['"', ":", ",", "a b", "\\", "\n", "x: 1,", " "])).map("".join))
def test_parsing_is_total(text: str) -> None:
    infotext.parse(text).settings()


def test_long_texts_without_a_parameter_are_read_in_linear_time() -> None:
    for text in ("a" * 200_000, " " * 200_000 + "x", 'a b:"' * 40_000, "word, " * 40_000, "a b: " * 50_000):
        assert infotext.parse("prompt\n" + text).prompt.startswith("prompt")


def test_a_sampler_inside_a_subgraph_is_found() -> None:
    spec = a_spec()
    inner = tuple(n for n in spec.workflow.nodes if n.id != "save")
    graph = Subgraph(id="g", nodes=inner, outputs=(Socket(name="image", node="decode", socket="image"),))
    outer = (
        Node(id="made", type="subgraph:g"),
        Node(id="save", type="image.save", inputs={"image": Link("made", "image")}),
    )
    nested = JobSpec(workflow=Workflow(nodes=outer, subgraphs=(graph,)), bindings={"made:sampler.seed": 77})
    found = settings_of(nested, "save")
    assert (found.prompt, found.seed, found.width, found.model) == ("a red circle", 77, 128, "starter")
