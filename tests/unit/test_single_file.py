"""Checkpoints, diffusion models, text encoders and autoencoders in files of their own."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.contracts.errors import BadInput, InvalidDocument, InvalidRequest, MissingModel, UnsafeModel
from engine.contracts.references import ModelRef
from engine.graph.values import Patch
from engine.memory.shelf import held_by
from engine.models import fp8, layouts
from engine.models.single_file import CONFIGS
from engine.models.weights import open_weights
from engine.nodes.latent.picture import encode_image
from engine.nodes.load import parts
from engine.nodes.load.checkpoint import checkpoint
from tests.benchmarks.tiny_models import STARTER
from tests.unit.single_file_room import (
    At,
    Tensors,
    checkpoint_tensors,
    clip_l,
    drawn,
    ldm_unet,
    ldm_vae,
    open_clip,
    picture,
    prefixed,
    read_part,
    write_checkpoint,
    write_folder,
)

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("single")
    found = {}
    for family in ("sd15", "sdxl"):
        found[family] = write_folder(place / family, family)
        found[f"{family}_file"] = write_checkpoint(found[family], place / f"{family}.safetensors")
    return found


@pytest.fixture(autouse=True)
def _small_vocabulary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layouts, "tokenizer_folder", lambda kind: STARTER / "tokenizer")


def ref(kind: Any, name: str) -> ModelRef:
    return ModelRef(kind=kind, name=name)


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_one_file_draws_what_its_folder_draws_bit_for_bit(models: dict[str, Path], family: str) -> None:
    ctx = At(folder=models[family], file=models[f"{family}_file"])
    made = picture(ctx, "file")
    np.testing.assert_array_equal(made, picture(ctx, "folder"))
    assert made.std() > 0.05
    info = ctx.session.identify(ModelRef(name="file"))
    assert (info.family, info.variant, info.name) == (family, "normal", family)


def test_separate_files_draw_what_the_checkpoint_draws(models: dict[str, Path], tmp_path: Path) -> None:
    unet, unet_config = read_part(models["sdxl"], "unet")
    configs = {"unet": unet_config}
    for part in ("text_encoder", "text_encoder_2", "vae"):
        configs[part] = read_part(models["sdxl"], part)[1]
    said = {CONFIGS: json.dumps(configs)}
    bare = prefixed("model.diffusion_model.", ldm_unet(unet, unet_config))
    save_file(bare, tmp_path / "unet.safetensors", said)
    save_file(clip_l(read_part(models["sdxl"], "text_encoder")[0]), tmp_path / "l.safetensors", said)
    save_file(open_clip(read_part(models["sdxl"], "text_encoder_2")[0]), tmp_path / "g.safetensors", said)
    save_file(ldm_vae(*read_part(models["sdxl"], "vae")), tmp_path / "vae.safetensors", said)
    names = {name: tmp_path / f"{name}.safetensors" for name in ("unet", "l", "g", "vae")}
    ctx = At(whole=models["sdxl_file"], **names)
    model = parts.diffusion_model(ctx, ref("diffusion_model", "unet"))  # type: ignore[arg-type]
    # Which file is which is read from the files: the order does not matter.
    clip = parts.text_encoder_pair(ctx, ref("text_encoder", "g"), ref("text_encoder", "l"), "sdxl")  # type: ignore[arg-type]
    vae = parts.vae(ctx, ref("vae", "vae"), "sdxl")  # type: ignore[arg-type]
    assert model.family == clip.family == "sdxl"
    np.testing.assert_array_equal(drawn(ctx, model, clip, vae), picture(ctx, "whole"))
    # The VAE in the checkpoint is the one in the file, and so are the encoders: they are loaded once.
    kinds = [key[0] for key, _ in ctx.session.shelf.items()]
    assert len([kind for kind in kinds if "AutoencoderKL" in kind]) == 1
    assert len([kind for kind in kinds if "CLIPText" in kind]) == 2
    # Which family's a file of four channels is does not stand in it: the latent says, and before there is one nothing.
    unsaid = parts.vae(ctx, ref("vae", "vae"))  # type: ignore[arg-type]
    np.testing.assert_array_equal(drawn(ctx, model, clip, unsaid), drawn(ctx, model, clip, vae))
    with pytest.raises(InvalidRequest, match=r"could be that of Stable Diffusion 1\.5, Stable Diffusion 2, SDXL or"):
        encode_image(ctx, unsaid, np.zeros((1, 64, 64, 3), np.float32))  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="is not one for Flux"):
        encode_image(ctx, replace(vae, family="flux"), np.zeros((1, 64, 64, 3), np.float32))  # type: ignore[arg-type]


def test_what_is_missing_is_named_with_how_to_give_it(models: dict[str, Path], tmp_path: Path) -> None:
    tensors, configs = checkpoint_tensors(models["sdxl"])
    said = {CONFIGS: json.dumps(configs)}

    def without(*starts: str) -> Tensors:
        return {name: value for name, value in tensors.items() if not name.startswith(starts)}

    save_file(without("conditioner.", "first_stage_model."), tmp_path / "bare.safetensors", said)
    save_file(without("conditioner.embedders.1."), tmp_path / "no_g.safetensors", said)
    save_file(without("first_stage_model."), tmp_path / "no_vae.safetensors", said)
    ctx = At(**{name: tmp_path / f"{name}.safetensors" for name in ("bare", "no_g", "no_vae")})
    with pytest.raises(MissingModel, match=r"“bare” has no CLIP-L text encoder\. Connect “Load text encoder”"):
        picture(ctx, "bare")
    with pytest.raises(MissingModel, match="“no_g” has no OpenCLIP-G text encoder"):
        picture(ctx, "no_g")
    with pytest.raises(MissingModel, match=r"“no_vae” has no VAE\. Connect the VAE of another checkpoint"):
        picture(ctx, "no_vae")


def test_tensors_that_lack_or_are_too_many_are_named(models: dict[str, Path], tmp_path: Path) -> None:
    tensors, configs = checkpoint_tensors(models["sd15"])
    said = {CONFIGS: json.dumps(configs)}
    gone = "model.diffusion_model.middle_block.0.in_layers.2.weight"
    save_file({k: v for k, v in tensors.items() if k != gone}, tmp_path / "less.safetensors", said)
    more = tensors | {"model.diffusion_model.middle_block.0.brand_new.weight": torch.zeros(2)}
    save_file(more, tmp_path / "more.safetensors", said)
    wide = tensors | {gone: torch.zeros(320, 321, 3, 3)}
    save_file(wide, tmp_path / "wide.safetensors", said)
    ctx = At(**{name: tmp_path / f"{name}.safetensors" for name in ("less", "more", "wide")})
    tries = {
        "less": r"lacks 1 tensor, the first is “mid_block\.resnets\.0\.conv1\.weight”",
        "more": r"has 1 tensor that no UNet2DConditionModel has, the first is “model\.diffusion_model\.middle",
        "wide": r"is 320×321×3×3 and the diffusion model needs 64×64×3×3",
    }  # fmt: skip
    for name, sentence in tries.items():
        with pytest.raises(InvalidDocument, match=sentence) as caught:
            picture(ctx, name)
        assert f"{name}.safetensors" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_prediction_is_read_and_never_guessed(models: dict[str, Path], tmp_path: Path) -> None:
    tensors, configs = checkpoint_tensors(models["sd15"])
    said = {CONFIGS: json.dumps(configs)}
    save_file(tensors | {"v_pred": torch.zeros(1)}, tmp_path / "key.safetensors", said)
    save_file(tensors, tmp_path / "metadata.safetensors", said | {"modelspec.prediction_type": "v"})
    ctx = At(plain=models["sd15_file"], key=tmp_path / "key.safetensors", metadata=tmp_path / "metadata.safetensors")
    found = {name: ctx.session.family(ModelRef(name=name)).noise_space.prediction for name in ctx.paths}
    assert found == {"plain": "epsilon", "key": "v_prediction", "metadata": "v_prediction"}


@pytest.mark.parametrize("scaled", [False, True])
def test_eight_bit_files_stay_eight_bit_and_compute_as_their_rounded_weights(
    models: dict[str, Path], tmp_path: Path, scaled: bool
) -> None:
    tensors, configs = checkpoint_tensors(models["sd15"])
    said = {CONFIGS: json.dumps(configs)}
    small, rounded_to = dict(tensors), dict(tensors)
    start = "model.diffusion_model."
    for name, value in tensors.items():
        if name.startswith(start) and name.endswith(".weight") and value.ndim > 1:
            factor = (value.abs().max() / 448).float() if scaled else torch.tensor(1.0)
            small[name] = (value / factor).to(torch.float8_e4m3fn)
            rounded_to[name] = small[name].float() * factor
            if scaled:
                small[f"{name.removesuffix('.weight')}.scale_weight"] = factor.reshape(1)
                small[f"{name.removesuffix('.weight')}.scale_input"] = torch.ones(1)
    if scaled:
        small[f"{start}scaled_fp8"] = torch.zeros(2, dtype=torch.float8_e4m3fn)
    save_file(small, tmp_path / "small.safetensors", said)
    save_file(rounded_to, tmp_path / "rounded.safetensors", said)
    ctx = At(small=tmp_path / "small.safetensors", rounded=tmp_path / "rounded.safetensors", first=models["sd15_file"])
    made = picture(ctx, "small")
    np.testing.assert_array_equal(made, picture(ctx, "rounded"))
    unet = next(part for key, part in ctx.session.shelf.items() if key[1:2] == ("unet",))
    layer = unet.mid_block.resnets[0].conv1
    assert layer.weight.dtype == torch.float8_e4m3fn
    assert torch.equal(fp8.whole(layer, torch.float32), rounded_to[f"{start}middle_block.0.in_layers.2.weight"])
    assert np.abs(made - picture(ctx, "first")).max() > 0


def test_a_model_is_kept_in_eight_bits_where_that_is_asked_for(models: dict[str, Path]) -> None:
    ctx = At(file=models["sd15_file"])
    model, clip, vae = checkpoint(ctx, ModelRef(name="file"))  # type: ignore[arg-type]
    eight = replace(model, patches=(Patch("dtype", (("dtype", "fp8_e4m3fn"),)),))
    first = drawn(ctx, model, clip, vae)
    full = ctx.session.resident_bytes
    made = drawn(ctx, eight, clip, vae)
    assert 0 < np.abs(made - first).max() < 0.5
    assert ctx.session.resident_bytes - full < 0.4 * next(
        held_by(part).total for key, part in ctx.session.shelf.items() if key[1:2] == ("unet",) and key[-1] == "None"
    )
    np.testing.assert_array_equal(drawn(ctx, model, clip, vae), first)


def test_gguf_computes_as_its_dequantised_numbers(models: dict[str, Path], tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf", reason="the writer is in the test extra")
    unet, config = read_part(models["sd15"], "unet")
    ldm = ldm_unet(unet, config)
    path = tmp_path / "unet.gguf"
    writer = gguf.GGUFWriter(path, "sd1")
    numbers: Tensors = {}
    for name, value in ldm.items():
        data = value.numpy()
        if data.ndim == 2 and data.shape[-1] % 32 == 0:
            packed = gguf.quants.quantize(data, gguf.GGMLQuantizationType.Q8_0)
            writer.add_tensor(name, packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
            numbers[name] = torch.from_numpy(gguf.quants.dequantize(packed, gguf.GGMLQuantizationType.Q8_0))
        else:
            writer.add_tensor(name, data)
            numbers[name] = value
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found = open_weights(path)
    for name, value in numbers.items():
        assert torch.equal(found.numbers(name, torch.float32, CPU), value), name


def test_a_file_is_mapped_and_its_numbers_are_views(models: dict[str, Path]) -> None:
    weights = open_weights(models["sd15_file"])
    name = "model.diffusion_model.middle_block.0.in_layers.2.weight"
    first, again = weights.stored(name), weights.numbers(name, torch.float32, CPU)
    assert first.data_ptr() == again.data_ptr()
    halved = weights.numbers(name, torch.float16, CPU)
    assert torch.equal(halved, load_file(models["sd15_file"])[name].half())


def test_shards_are_read_by_their_index_and_nothing_outside_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "transformer"
    folder.mkdir()
    save_file({"a": torch.ones(2)}, folder / "diffusion_pytorch_model-00001-of-00002.safetensors")
    save_file({"b": torch.zeros(3)}, folder / "diffusion_pytorch_model-00002-of-00002.safetensors")
    index = folder / "diffusion_pytorch_model.safetensors.index.json"
    names = {key: f"diffusion_pytorch_model-0000{i}-of-00002.safetensors" for i, key in ((1, "a"), (2, "b"))}
    index.write_text(json.dumps({"weight_map": names}), encoding="utf-8")
    weights = open_weights(folder)
    assert dict(weights.shapes) == {"a": (2,), "b": (3,)}
    assert torch.equal(weights.numbers("a", torch.float32, CPU), torch.ones(2))
    index.write_text(json.dumps({"weight_map": {"a": "../../secret.safetensors"}}), encoding="utf-8")
    with pytest.raises(InvalidDocument, match="weight_map"):
        open_weights(folder)
    (folder / names["b"]).unlink()
    index.write_text(json.dumps({"weight_map": names}), encoding="utf-8")
    with pytest.raises(MissingModel, match=re.escape(names["b"])):
        open_weights(folder)


def test_what_is_not_read_says_so(tmp_path: Path) -> None:
    save_file(
        {"x.weight": torch.zeros(2, 2, dtype=torch.uint8), "x.weight.absmax": torch.zeros(1)},
        tmp_path / "n.safetensors",
    )
    with pytest.raises(BadInput, match="bitsandbytes"):
        open_weights(tmp_path / "n.safetensors")
    note = torch.frombuffer(bytearray(b'{"format": "nvfp4"}'), dtype=torch.uint8)
    save_file({"x.weight": torch.zeros(2, 2), "x.comfy_quant": note}, tmp_path / "q.safetensors")
    with pytest.raises(BadInput, match="“nvfp4”"):
        open_weights(tmp_path / "q.safetensors")
    (tmp_path / "m.ckpt").write_bytes(b"\x80\x04.")
    with pytest.raises(UnsafeModel, match="models import"):
        open_weights(tmp_path / "m.ckpt")
