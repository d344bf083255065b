"""Who made a picture and how: this studio's own job and the metadata of other programs, from real file layouts."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Pillow
from PIL.PngImagePlugin import PngInfo

from engine.interchange.generation_settings import GenerationSettings
from engine.interchange.image_metadata import metadata_for, metadata_of, read_metadata
from engine.media.images import encode, strip
from tests.unit.media_room import a_spec, noise


def png(**texts: Any) -> bytes:
    """A PNG as Pillow writes it, which is what all those programs use."""
    info, out = PngInfo(), io.BytesIO()
    for key, value in texts.items():
        info.add_text(key, value if isinstance(value, str) else json.dumps(value))
    Pillow.new("RGB", (4, 4)).save(out, "PNG", pnginfo=info)
    return out.getvalue()


@pytest.mark.parametrize("file_format", ["png", "webp", "jpeg"])
def test_our_own_job_comes_back_whole(file_format: str) -> None:
    spec = a_spec(prompt="ein Fuchs – „Schnee“ 漢字 🦊")
    data = encode(noise(4, 4, 3), file_format, 90, metadata_for(spec, "p\nSteps: 1, Seed: 9, CFG scale: 2", 3))
    found = read_metadata(data)
    assert (found.kind, found.spec, found.item) == ("tessera", spec, 3)
    assert found.settings is not None
    assert found.settings.seed == 9
    assert read_metadata(strip(data)).kind == ""


def test_without_a_text_the_settings_come_from_the_job() -> None:
    found = read_metadata(encode(noise(4, 4, 3), "png", 90, metadata_for(a_spec(seed=5), "", 2)))
    assert found.settings is not None
    assert found.settings.seed == 7


def test_a_broken_job_leaves_the_parameters() -> None:
    found = read_metadata(png(tessera='{"format": "tessera.job"', parameters="p\nSteps: 1, Seed: 9, CFG scale: 2"))
    assert (found.kind, found.spec) == ("a1111", None)
    assert found.settings is not None
    assert found.settings.steps == 1


def test_a1111_jpeg_with_a_unicode_comment() -> None:
    out = io.BytesIO()
    exif = Pillow.Exif()
    text = "fox 漢\nSteps: 4, Seed: 9, CFG scale: 2"
    exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + text.encode("utf-16-le")
    Pillow.new("RGB", (8, 8)).save(out, "JPEG", exif=exif)
    found = read_metadata(out.getvalue())
    assert (found.kind, found.parameters) == ("a1111", text)


def test_comfyui_png_and_webp() -> None:
    prompt, workflow = {"3": {"class_type": "KSampler", "inputs": {"cfg": 8}}}, {"nodes": [], "version": 0.4}
    found = read_metadata(png(prompt=prompt, workflow=workflow))
    assert (found.kind, found.comfy_prompt, found.comfy_workflow) == ("comfyui", prompt, workflow)
    out = io.BytesIO()
    exif = Pillow.Exif()
    exif[0x0110] = "prompt:" + json.dumps(prompt)
    exif[0x010F] = "workflow:" + json.dumps(workflow)
    Pillow.new("RGB", (8, 8)).save(out, "WEBP", exif=exif)
    found = read_metadata(out.getvalue())
    assert (found.kind, found.comfy_prompt, found.comfy_workflow) == ("comfyui", prompt, workflow)


def test_comfyui_with_nan_and_with_broken_json() -> None:
    assert read_metadata(png(prompt='{"1": {"is_changed": NaN}}')).kind == "comfyui"
    assert read_metadata(png(prompt='{"1": ')).kind == ""
    assert read_metadata(png(prompt="[" * 100_000)).kind == ""
    assert read_metadata(png(prompt='{"a":' * 100_000)).kind == ""


def test_invokeai() -> None:
    data = {
        "generation_mode": "sdxl_txt2img", "positive_prompt": "a fox", "negative_prompt": "blur", "width": 1024,
        "height": 768, "seed": 3452345, "cfg_scale": 7.5, "steps": 30, "scheduler": "dpmpp_2m_k", "clip_skip": 0,
        "model": {"key": "k", "hash": "blake3:0123456789abcdef", "name": "juggernaut", "base": "sdxl", "type": "main"},
        "loras": [{"model": {"name": "snow"}, "weight": 0.75}], "app_version": "5.4.0",
    }  # fmt: skip
    found = read_metadata(png(invokeai_metadata=data))
    assert (found.kind, found.document) == ("invokeai", data)
    assert found.settings == GenerationSettings(
        "a fox", "blur", 30, "dpmpp_2m", "karras", 7.5, 3452345, 1024, 768, "juggernaut", "0123456789", None, 0,
        (("snow", 0.75),), {"generation_mode": "sdxl_txt2img", "app_version": "5.4.0"},
    )  # fmt: skip


def test_fooocus_png_and_jpeg() -> None:
    data = {
        "base_model": "juggernautXL_v8", "base_model_hash": "aeb7e9e689", "guidance_scale": 4,
        "loras": [["offset.safetensors", 0.1, "4852686128"]], "metadata_scheme": "fooocus", "negative_prompt": "",
        "performance": "Speed", "prompt": "a fox", "resolution": "(1152, 896)", "sampler": "dpmpp_2m_sde_gpu",
        "scheduler": "karras", "seed": "7418", "steps": 30, "styles": "['Fooocus V2']", "version": "Fooocus v2.5.0",
    }  # fmt: skip
    expected = GenerationSettings(
        "a fox", "", 30, "dpmpp_2m_sde", "karras", 4, 7418, 1152, 896, "juggernautXL_v8", "aeb7e9e689", None, 0,
        (("offset.safetensors", 0.1),),
        {"styles": "['Fooocus V2']", "performance": "Speed", "version": "Fooocus v2.5.0"},
    )  # fmt: skip
    found = read_metadata(png(parameters=data, fooocus_scheme="fooocus"))
    assert (found.kind, found.settings) == ("fooocus", expected)
    out = io.BytesIO()
    exif = Pillow.Exif()
    exif[0x9286], exif[0x0131], exif[0x927C] = json.dumps(data), "Fooocus v2.5.0", "fooocus"
    Pillow.new("RGB", (8, 8)).save(out, "JPEG", exif=exif)
    found = read_metadata(out.getvalue())
    assert (found.kind, found.settings) == ("fooocus", expected)


def test_novelai_3_and_4() -> None:
    comment = {
        "prompt": "a fox", "steps": 28, "height": 1216, "width": 832, "scale": 5.0, "uncond_scale": 0.0, "seed": 11,
        "sampler": "k_euler_ancestral", "noise_schedule": "native", "uc": "lowres",
    }  # fmt: skip
    found = read_metadata(
        png(Title="AI image", Description="a fox", Software="NovelAI", Source="SDXL", Comment=comment)
    )
    assert found.kind == "novelai"
    assert found.settings == GenerationSettings(
        "a fox", "lowres", 28, "euler_ancestral", "normal", 5.0, 11, 832, 1216, "SDXL", extra={"uncond_scale": "0.0"}
    )
    newer = {"v4_prompt": {"caption": {"base_caption": "two foxes"}}, "steps": 28, "sampler": "k_euler"}
    found = read_metadata(png(Software="NovelAI", Comment=newer))
    assert found.settings is not None
    assert found.settings.prompt == "two foxes"
    assert read_metadata(png(Software="GIMP", Comment=comment)).kind == ""


def test_swarmui() -> None:
    data = {
        "sui_image_params": {
            "prompt": "a fox", "negativeprompt": "", "model": "sd_xl_base", "seed": 5, "steps": 20, "cfgscale": 7,
            "width": 1024, "height": 1024, "sampler": "euler", "scheduler": "normal", "loras": ["snow"],
            "loraweights": ["0.5"], "swarm_version": "0.9.3",
        },
        "sui_models": [{"name": "sd_xl_base.safetensors", "param": "model", "hash": "0x31e35c80fc4829d1"}],
    }  # fmt: skip
    found = read_metadata(png(parameters=data))
    assert (found.kind, found.document) == ("swarmui", data)
    assert found.settings == GenerationSettings(
        "a fox", "", 20, "euler", "normal", 7, 5, 1024, 1024, "sd_xl_base", "31e35c80fc", None, 0, (("snow", 0.5),),
        {"swarm_version": "0.9.3"},
    )  # fmt: skip


@pytest.mark.parametrize(
    "raw",
    [
        {"invokeai_metadata": '{"model": 3, "loras": {"a": 1}, "seed": [], "steps": "x", "scheduler": null}'},
        {"parameters": '{"sui_image_params": {"loras": "x", "loraweights": 3, "seed": true}, "sui_models": [1]}'},
        {"parameters": '{"metadata_scheme": "fooocus", "loras": [1, [], [2, 3]], "resolution": 4, "seed": "--5"}'},
        {"Software": "NovelAI", "Comment": '{"v4_prompt": {"caption": []}, "scale": NaN, "seed": 1e400}'},
        {"tessera": '{"format": "tessera.job", "version": 99}', "tessera_item": "²"},
        {"prompt": '{"1": 2}', "workflow": "[]"},
    ],
)
def test_odd_values_are_left_out_and_never_raise(raw: dict[str, str]) -> None:
    settings = metadata_of(raw).settings
    assert settings is None or (settings.seed is None and settings.loras == ())


def test_no_metadata_and_no_picture() -> None:
    for data in (b"", b"hello", png(), encode(noise(4, 4, 3), "jpeg")):
        found = read_metadata(data)
        assert (found.kind, found.settings, found.parameters) == ("", None, "")


CORPUS = Path(__file__).parents[3] / "shared" / "corpus" / "comfyui_examples"


@pytest.mark.skipif(not CORPUS.exists(), reason="the corpus is not beside this checkout")
def test_real_comfyui_documents_survive_a_png() -> None:
    files = sorted(CORPUS.glob("*.workflow.json"))[:30]
    assert len(files) == 30
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert read_metadata(png(workflow=text)).comfy_workflow == json.loads(text)
