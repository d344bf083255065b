"""Merging: the arithmetic tensor by tensor, LoRAs baked in as they would be laid on, and what the files say of it."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from engine.contracts.errors import InvalidRequest, StorageError
from engine.contracts.references import ModelRef
from engine.graph.values import ModelHandle
from engine.models.adapters.apply import Applied, adapted
from engine.models.adapters.read import adapter_of, read_adapter
from engine.models.file_info import identify_checkpoint
from engine.models.merging import PROVENANCE, Recipe, merge
from engine.models.merging_loras import merge_loras
from engine.models.weights import open_weights
from engine.nodes.load.checkpoint import checkpoint
from engine.nodes.load.merge import merge_clips, merge_models
from studio_app.cli.main import main
from tests.families.room import load_module
from tests.unit.single_file_room import At, Tensors, drawn, write_checkpoint, write_folder

CPU = torch.device("cpu")
RANK = 2


def family_of(path: Path) -> str:
    return identify_checkpoint(path).family


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """a, b, c: sd15 models with other weights, as folders; a_file, …: the same in one file; x: an SDXL."""
    place = tmp_path_factory.mktemp("merging")
    found = {}
    plain = write_folder(place / "plain", "sd15")
    for seed, name in enumerate("abc"):
        shutil.copytree(plain, place / name)
        found[name] = shaken(place / name, seed)
        found[f"{name}_file"] = write_checkpoint(found[name], place / f"{name}.safetensors")
    found["x"] = write_folder(place / "x", "sdxl")
    found["x_file"] = write_checkpoint(found["x"], place / "x.safetensors")
    return found


def shaken(folder: Path, seed: int) -> Path:
    """The model with other weights."""
    draw = torch.Generator().manual_seed(seed)
    for file in folder.glob("*/*.safetensors"):
        table = load_file(file)
        moved = {key: value + torch.randn(value.shape, generator=draw).to(value) * 0.02 for key, value in table.items()}
        save_file(moved, file, {"format": "pt"})
    return folder


def lora_for(folder: Path, seed: int = 0, rank: int = RANK) -> Tensors:
    """A kohya LoRA on some layers of a model's denoiser and text encoders."""
    draw = torch.Generator().manual_seed(seed)
    found: Tensors = {}
    several = (folder / "text_encoder_2").is_dir()
    prefixes = {"unet": "lora_unet_", "text_encoder": "lora_te1_" if several else "lora_te_",
                "text_encoder_2": "lora_te2_"}  # fmt: skip
    for part, prefix in prefixes.items():
        if not (folder / part).is_dir():
            continue
        for key, shape in open_weights(folder / part).shapes.items():
            if not key.endswith(("to_q.weight", "to_v.weight", "conv1.weight", "fc1.weight", "q_proj.weight")):
                continue
            name = key.removesuffix(".weight")
            if part != "unet" and not name.startswith("text_model."):
                name = f"text_model.{name}"
            layer = prefix + name.replace(".", "_")
            found[f"{layer}.lora_down.weight"] = torch.randn(rank, *shape[1:], generator=draw) * 0.2
            found[f"{layer}.lora_up.weight"] = (
                torch.randn(shape[0], rank, *[1] * (len(shape) - 2), generator=draw) * 0.2
            )
            found[f"{layer}.alpha"] = torch.tensor(1.0)
    return found


def write_lora(path: Path, tensors: Tensors) -> Path:
    save_file(tensors, path)
    return path


def tensors_of(path: Path) -> Tensors:
    files = sorted(path.glob("*/*.safetensors")) if path.is_dir() else [path]
    found: Tensors = {}
    for file in files:
        found |= {f"{file.parent.name}/{key}" if path.is_dir() else key: v for key, v in load_file(file).items()}
    return found


def f64(tensor: torch.Tensor) -> Any:
    return tensor.double().numpy()


@pytest.mark.parametrize("form", ["", "_file"])
def test_a_weighted_sum_is_that_of_each_tensor(models: dict[str, Path], tmp_path: Path, form: str) -> None:
    a, b = models[f"a{form}"], models[f"b{form}"]
    target = tmp_path / ("m.safetensors" if form else "m")
    done = merge(Recipe(a, b, 0.3), target, family_of, "9.9")
    mine, theirs, made = tensors_of(a), tensors_of(b), tensors_of(target)
    assert made.keys() == mine.keys()
    assert done.mixed == len([v for v in mine.values() if v.is_floating_point()])
    for key, value in made.items():
        assert value.dtype == mine[key].dtype
        expected = 0.7 * f64(mine[key]) + 0.3 * f64(theirs[key])
        np.testing.assert_allclose(f64(value), expected, atol=2e-6 if value.dtype == torch.float32 else 2e-3)
    assert family_of(target) == "sd15"


def test_an_added_difference(models: dict[str, Path], tmp_path: Path) -> None:
    paths = [models[name] for name in ("a_file", "b_file", "c_file")]
    merge(Recipe(paths[0], paths[1], 0.8, paths[2]), tmp_path / "m.safetensors", family_of)
    a, b, c = (tensors_of(path) for path in paths)
    for key, value in tensors_of(tmp_path / "m.safetensors").items():
        if value.is_floating_point():
            tolerance = 4e-6 if value.dtype == torch.float32 else 2e-3
            np.testing.assert_allclose(f64(value), f64(a[key]) + 0.8 * (f64(b[key]) - f64(c[key])), atol=tolerance)


def test_half_precision_is_rounded_once(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tables = [{"model.diffusion_model.x": torch.randn(64, 64).half(), "n": torch.arange(5)} for _ in range(2)]
    for name, table in zip("ab", tables, strict=True):
        save_file(table, tmp_path / f"{name}.safetensors")
    recipe = Recipe(tmp_path / "a.safetensors", tmp_path / "b.safetensors", 0.25)
    merge(recipe, tmp_path / "m.safetensors", lambda path: "sd15")
    made = load_file(tmp_path / "m.safetensors")
    a, b = (table["model.diffusion_model.x"].float() for table in tables)
    assert torch.equal(made["model.diffusion_model.x"], a.lerp(b, 0.25).half())
    assert torch.equal(made["n"], torch.arange(5))


@pytest.mark.parametrize("family", ["a", "x"])
def test_a_baked_lora_is_what_the_laid_one_would_be(models: dict[str, Path], tmp_path: Path, family: str) -> None:
    """In a folder, and in one file by the original names; SDXL's second encoder keeps its q, k and v in one matrix."""
    folder = models[family]
    lora = write_lora(tmp_path / "l.safetensors", lora_for(folder))
    name = identify_checkpoint(folder).family
    stack = (Applied(read_adapter(lora), 0.7),)
    wanted = tmp_path / "wanted"
    shutil.copytree(folder, wanted)
    for part in ("unet", "text_encoder", "text_encoder_2"):
        if not (folder / part).is_dir():
            continue
        config = json.loads((folder / part / "config.json").read_text(encoding="utf-8"))
        library = "diffusers" if part == "unet" else "transformers"
        class_name = config.get("_class_name") or config["architectures"][0]
        kind = torch.float32 if part == "unet" else torch.float16  # as the files are
        module = load_module(folder / part, library, class_name, kind)
        changed = adapted(module, part, stack, name)
        assert changed
        with torch.no_grad():
            for key, value in changed.items():
                module.get_parameter(key).copy_(value)
        module.save_pretrained(wanted / part)
    baked = tmp_path / "baked"
    done = merge(Recipe(folder, loras=stack, lora_files=(lora,)), baked, family_of)
    assert done.baked > 10
    expected = tensors_of(wanted)
    for key, value in tensors_of(baked).items():
        torch.testing.assert_close(value, expected[key], rtol=0, atol=1e-6)

    one = tmp_path / "one.safetensors"
    merge(Recipe(models[f"{family}_file"], loras=stack, lora_files=(lora,)), one, family_of)
    expected = tensors_of(write_checkpoint(wanted, tmp_path / "wanted.safetensors"))
    made = tensors_of(one)
    assert made.keys() == expected.keys()
    for key, value in made.items():
        torch.testing.assert_close(value, expected[key].to(value.dtype), rtol=0, atol=1e-6)
    plain = tensors_of(models[f"{family}_file"])
    assert sum(not torch.equal(made[key], plain[key]) for key in made) > 10


def test_the_file_says_what_it_was_made_of(models: dict[str, Path], tmp_path: Path) -> None:
    lora = write_lora(tmp_path / "l.safetensors", lora_for(models["a"]))
    target = tmp_path / "m.safetensors"
    stack = (Applied(read_adapter(lora), 0.5),)
    merge(Recipe(models["a_file"], models["b_file"], 0.25, None, stack, (lora,)), target, family_of, "9.9")
    with safe_open(target, "pt") as file:
        about = json.loads(file.metadata()[PROVENANCE])
    assert about["method"] == "weighted sum"
    assert about["weight"] == 0.25
    assert about["studio"] == "9.9"
    hashes = [hashlib.sha256(models[name].read_bytes()).hexdigest() for name in ("a_file", "b_file")]
    assert [source["sha256"] for source in about["sources"]] == hashes
    assert about["loras"][0]["strength"] == 0.5
    assert about["loras"][0]["sha256"] == hashlib.sha256(lora.read_bytes()).hexdigest()


def test_what_does_not_fit_is_refused_and_nothing_is_written(models: dict[str, Path], tmp_path: Path) -> None:
    target = tmp_path / "m.safetensors"
    tries = [
        (Recipe(models["a_file"]), "nothing to merge it with"),
        (Recipe(models["a_file"], models["b"]), "a single file and a diffusers folder can't be merged"),
        (
            Recipe(models["a_file"], models["x_file"]),
            "“x.safetensors” is of the family sdxl and “a.safetensors” of sd15",
        ),
    ]
    for recipe, sentence in tries:
        with pytest.raises(InvalidRequest, match=sentence):
            merge(recipe, target, family_of)
    with pytest.raises(InvalidRequest, match=r"has another shape|share less than half"):
        merge(Recipe(models["a_file"], models["x_file"]), target, lambda path: "sd15")
    target.write_bytes(b"mine")
    with pytest.raises(StorageError, match="is there already"):
        merge(Recipe(models["a_file"], models["b_file"]), target, family_of)
    assert [path.name for path in tmp_path.iterdir()] == ["m.safetensors"]
    assert target.read_bytes() == b"mine"


def test_the_nodes_draw_what_the_merged_file_draws(models: dict[str, Path], tmp_path: Path) -> None:
    merge(Recipe(models["a"], models["b"], 0.25), tmp_path / "m", family_of)
    ctx: Any = At(a=models["a"], b=models["b"], m=tmp_path / "m")
    (a, clip_a, vae), (b, clip_b, _), (m, clip_m, vae_m) = (
        checkpoint(ctx, ModelRef(kind="checkpoint", name=name)) for name in "abm"
    )
    before = drawn(ctx, a, clip_a, vae)
    wanted = drawn(ctx, m, clip_m, vae_m)
    np.testing.assert_allclose(drawn(ctx, merge_models(ctx, a, b, 0.75), clip_m, vae_m), wanted, atol=1e-5)
    # The file's text encoder is float16, the node's is mixed in float32.
    clip = merge_clips(ctx, clip_a, clip_b, 0.75)
    np.testing.assert_allclose(drawn(ctx, merge_models(ctx, a, b, 0.75), clip, vae_m), wanted, atol=2e-3)
    assert np.abs(wanted - before).max() > 1e-2
    np.testing.assert_array_equal(drawn(ctx, a, clip_a, vae), before)
    assert merge_models(ctx, a, b, 1.0) is a
    with pytest.raises(InvalidRequest, match=r"the first model is Stable Diffusion 1\.5 and the second SDXL"):
        merge_models(ctx, a, ModelHandle(a.weights, "sdxl"), 0.5)


def test_loras_side_by_side_are_exact(models: dict[str, Path], tmp_path: Path) -> None:
    files = [write_lora(tmp_path / f"{seed}.safetensors", lora_for(models["a"], seed)) for seed in (0, 1)]
    rank = merge_loras([(files[0], 0.6), (files[1], -0.4)], tmp_path / "m.safetensors", dtype=torch.float32)
    assert rank == 2 * RANK
    module = load_module(models["a"] / "unet", "diffusers", "UNet2DConditionModel", torch.float32)
    stack = [Applied(read_adapter(files[0]), 0.6), Applied(read_adapter(files[1]), -0.4)]
    wanted = adapted(module, "unet", stack)
    made = adapted(module, "unet", [Applied(read_adapter(tmp_path / "m.safetensors"), 1.0)])
    assert made.keys() == wanted.keys()
    for key, value in made.items():
        torch.testing.assert_close(value, wanted[key], rtol=0, atol=1e-6)
    assert any(key.startswith("lora_te_") for key in load_file(tmp_path / "m.safetensors"))


def test_a_rank_is_the_best_approximation(tmp_path: Path) -> None:
    layer = "lora_unet_mid_block_resnets_0_conv1"
    draw = torch.Generator().manual_seed(0)
    whole = torch.randn(12, 6, 3, 3, generator=draw)
    write_lora(tmp_path / "w.safetensors", {f"{layer}.diff": whole})
    assert merge_loras([(tmp_path / "w.safetensors", 2.0)], tmp_path / "m.safetensors", 3, torch.float32) == 3
    change = adapter_of(load_file(tmp_path / "m.safetensors"), "m").sections["denoiser"][layer[10:]].weight
    assert change is not None
    u, s, v = np.linalg.svd(2 * f64(whole).reshape(12, -1), full_matrices=False)
    np.testing.assert_allclose(f64(change.change()).reshape(12, -1), (u[:, :3] * s[:3]) @ v[:3], atol=1e-4)
    with pytest.raises(InvalidRequest, match="no plain LoRA"):
        merge_loras([(tmp_path / "w.safetensors", 1.0)], tmp_path / "n.safetensors")


def test_the_command_line_writes_into_the_model_folder(
    models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    common = ["--data-dir", str(data), "models", "merge"]
    paths = [str(models["a_file"]), str(models["b_file"])]
    assert main([*common, *paths, "--weight", "0.3", "-o", "blend", "--json"]) == 0
    written = Path(json.loads(capsys.readouterr().out)["written"])
    assert written.parent == data / "models" / "checkpoints"
    assert written.name == "blend.safetensors"
    lora = write_lora(tmp_path / "l.safetensors", lora_for(models["a"]))
    assert main([*common, str(written), "--lora", f"{lora}:0.5", "-o", "baked", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["baked"] > 10
    assert main([*common, str(lora), str(lora), "-o", "two", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rank"] == 2 * RANK
    assert main([*common, *paths]) == 2
    assert "needs the new model's name" in capsys.readouterr().err
