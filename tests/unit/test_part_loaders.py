"""Loading parts by themselves; what can't run yet says so in one sentence; latents in tiles and for video."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from engine.contracts.errors import BadInput, Cancelled, InvalidRequest, MissingModel, UnsafeModel
from engine.contracts.references import ModelRef
from engine.nodes.condition.edit import encode_edit
from engine.nodes.condition.flux import encode_text_flux
from engine.nodes.condition.sd3 import encode_text_sd3
from engine.nodes.condition.sdxl import encode_text_sdxl
from engine.nodes.condition.text import encode_text
from engine.nodes.condition.vision import encode_vision
from engine.nodes.image.upscale_with_model import upscale_with_model
from engine.nodes.latent.empty import empty
from engine.nodes.latent.inpaint import encode_for_inpaint
from engine.nodes.latent.picture import decode_image, encode_image
from engine.nodes.latent.tiled import decode_image_tiled, encode_image_tiled
from engine.nodes.latent.video import empty_video
from engine.nodes.load import parts
from engine.nodes.load.checkpoint import checkpoint
from engine.nodes.sample.k_sampler import k_sampler
from tests.benchmarks.tiny_models import STARTER
from tests.unit.sampling_room import Recorder, handles, make_latent


class Library(Recorder):
    """The starter as checkpoint; everything else by name in a folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(STARTER)
        self.library = folder

    def locate(self, ref: ModelRef) -> Path:
        if ref.kind == "checkpoint" and ref.name == "starter":
            return STARTER
        path = self.library / ref.name
        if not path.exists():
            raise MissingModel(f"the model “{ref.name}” is not on this machine")
        return path


def headers(path: Path, **shapes: tuple[int, ...]) -> None:
    save_file({name.replace("__", "."): torch.zeros(shape) for name, shape in shapes.items()}, path)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("models")
    headers(
        folder / "flux1.safetensors", double_blocks__0__img_attn__norm__key_norm__scale=(8,), img_in__weight=(8, 64)
    )
    headers(
        folder / "flux2.safetensors",
        double_blocks__0__img_attn__norm__key_norm__scale=(8,), single_stream_modulation__lin__weight=(8, 8),
        double_blocks__0__img_attn__qkv__weight=(24, 8),
    )  # fmt: skip
    headers(
        folder / "chroma.safetensors",
        double_blocks__0__img_attn__norm__key_norm__scale=(8,), distilled_guidance_layer__in_proj__bias=(8,),
    )  # fmt: skip
    key = "model__diffusion_model__input_blocks__{}__1__transformer_blocks__0__attn2__to_k__weight"
    first = {"model__diffusion_model__input_blocks__0__0__weight": (320, 4, 3, 3)}
    headers(folder / "sd15.safetensors", **{key.format(2): (320, 768)}, **first)
    label = {"model__diffusion_model__label_emb__0__0__weight": (8, 8)}
    headers(folder / "sdxl.safetensors", **{key.format(4): (640, 2048)}, **first, **label)
    headers(folder / "wan.safetensors", head__modulation=(1, 2, 8), patch_embedding__weight=(8, 16, 1, 2, 2),
            blocks__0__cross_attn__k__weight=(8, 8))  # fmt: skip
    headers(folder / "qwen.safetensors", transformer_blocks__0__img_mod__1__weight=(8, 8), txt_norm__weight=(8,))
    headers(folder / "lora.safetensors", lora_unet_x__lora_down__weight=(2, 2))
    headers(folder / "clip.safetensors", text_model__x=(2,))
    (folder / "vae").symlink_to(STARTER / "vae")
    return Library(folder)


def ref(kind: Any, name: str) -> ModelRef:
    return ModelRef(kind=kind, name=name)


@pytest.fixture(scope="module")
def edge(library: Any) -> int:
    return int(library.session.identify(checkpoint(library)[0].weights).defaults.width)


@pytest.mark.parametrize(
    ("name", "family"),
    [("flux1", "flux"), ("flux2", "flux2"), ("chroma", "chroma"), ("sd15", "sd15"), ("sdxl", "sdxl"), ("wan", "wan"),
     ("qwen", "qwen_image")],
)  # fmt: skip
def test_a_diffusion_models_family_is_read_from_its_header(library: Any, name: str, family: str) -> None:
    handle = parts.diffusion_model(library, ref("diffusion_model", f"{name}.safetensors"))
    assert handle.family == family
    assert handle.weights.fingerprint


def test_what_is_no_diffusion_model_is_refused(library: Any) -> None:
    with pytest.raises(BadInput, match="not a diffusion model known here"):
        parts.diffusion_model(library, ref("diffusion_model", "lora.safetensors"))
    (library.library / "cut.safetensors").write_bytes(b"\xff" * 20)
    with pytest.raises(UnsafeModel):
        parts.diffusion_model(library, ref("diffusion_model", "cut.safetensors"))
    with pytest.raises(MissingModel, match="“gone” is not on this machine"):
        parts.diffusion_model(library, ref("diffusion_model", "gone"))


def test_what_cant_run_says_so_in_one_sentence(library: Any) -> None:
    wan = parts.diffusion_model(library, ref("diffusion_model", "wan.safetensors"))
    pair = parts.text_encoder_pair(
        library, ref("text_encoder", "clip.safetensors"), ref("text_encoder", "clip.safetensors"), "flux"
    )
    assert len(pair.more) == 1
    vision = parts.clip_vision(library, ref("text_encoder", "clip.safetensors"))
    upscaler = parts.upscale_model(library, ref("upscaler", "clip.safetensors"))
    single = parts.image_checkpoint(library, ref("checkpoint", "wan.safetensors"))[0]
    _, _, positive, negative = handles(library)
    starter_clip = checkpoint(library)[1]
    picture = np.zeros((1, 64, 64, 3), np.float32)
    tries: list[tuple[Any, str]] = [
        (lambda: k_sampler(library, wan, positive, negative, empty(library)), "not a diffusion model that this studio"),
        (lambda: k_sampler(library, single, positive, negative, empty(library)), "not a checkpoint that this studio"),
        (lambda: encode_text(library, pair, "red"), "holds no CLIP-L text encoder and no T5-XXL text encoder"),
        (lambda: encode_text_flux(library, pair, "a", "b"), "holds no CLIP-L text encoder"),
        (lambda: encode_text_flux(library, starter_clip, "a", "b"), "the text encoder is Stable Diffusion 1"),
        (lambda: encode_text_sdxl(library, starter_clip), "is written for SDXL"),
        (lambda: encode_text_sd3(library, starter_clip), "is written for Stable Diffusion 3"),
        (lambda: encode_edit(library, starter_clip, "a hat"), "is written for Qwen-Image"),
        (lambda: encode_vision(library, vision, picture), "no vision encoder known here"),
        (lambda: upscale_with_model(library, upscaler, picture), "those of no upscaler that is known"),
    ]
    for call, sentence in tries:
        with pytest.raises(BadInput, match=sentence) as caught:
            call()
        assert str(caught.value).count("\n") == 0


def test_an_autoencoder_loaded_apart_is_the_checkpoints_own(library: Any, edge: int) -> None:
    own, apart = checkpoint(library)[2], parts.vae(library, ref("vae", "vae"))
    picture = np.random.default_rng(0).random((1, edge, edge, 3), dtype=np.float32)
    latent = encode_image(library, apart, picture)
    assert torch.equal(latent.samples, encode_image(library, own, picture).samples)
    np.testing.assert_array_equal(decode_image(library, apart, latent), decode_image(library, own, latent))
    with pytest.raises(BadInput, match="it is not a VAE that this studio runs"):
        encode_image(library, parts.vae(library, ref("vae", "clip.safetensors")), picture)


def test_one_tile_is_the_whole_picture(library: Any, edge: int) -> None:
    vae = checkpoint(library)[2]
    latent = make_latent(library, edge=edge, seed=7, steps=8, cfg=4.0, sampler="ddim", scheduler="normal")
    np.testing.assert_allclose(
        decode_image_tiled(library, vae, latent, 1024, 64), decode_image(library, vae, latent), atol=1e-6
    )
    picture = decode_image(library, vae, latent)
    np.testing.assert_allclose(
        encode_image_tiled(library, vae, picture, 1024, 64).samples,
        encode_image(library, vae, picture).samples, atol=1e-6,
    )  # fmt: skip


def test_tiles_come_near_the_whole_and_leave_no_seam(library: Any) -> None:
    vae = checkpoint(library)[2]
    latent = make_latent(library, edge=256, batch=2, seed=7, steps=6, cfg=4.0, sampler="ddim", scheduler="normal")
    library.steps.clear()
    whole, tiled = decode_image(library, vae, latent), decode_image_tiled(library, vae, latent, 192, 64)
    assert max(total for _, total in library.steps) == 2 * 2 * (2 * 2)  # pictures, passes and tiles
    assert tiled.shape == whole.shape == (2, 256, 256, 3)
    difference = np.abs(tiled - whole)
    assert difference.mean() < 0.002
    assert difference.max() < 0.1
    again = encode_image_tiled(library, vae, whole, 192, 64).samples
    plain = encode_image(library, vae, whole).samples
    assert float((again - plain).abs().mean()) < 0.1 * float(plain.std())


def test_blending_is_exact_where_tiles_agree(library: Any) -> None:
    from engine.nodes.latent.tiled import tiled

    source = torch.rand((2, 4, 23, 31), generator=torch.Generator().manual_seed(0))
    doubled: Any = lambda x: x.repeat_interleave(2, -1).repeat_interleave(2, -2)  # noqa: E731
    for tile, overlap in ((8, 4), (8, 0), (10, 3), (40, 8)):
        out = tiled(library, doubled, source, (23, 31), tile, overlap, 1, 2)
        np.testing.assert_allclose(out, doubled(source), atol=1e-6)


def test_tiles_can_be_cancelled_between(library: Any) -> None:
    vae = checkpoint(library)[2]
    latent = make_latent(library, edge=256, seed=7, steps=1)
    library.steps.clear()
    library.cancel_after = 2
    try:
        with pytest.raises(Cancelled):
            decode_image_tiled(library, vae, latent, 128, 32)
    finally:
        library.cancel_after = None
    assert max(done for done, _ in library.steps) == 2
    with pytest.raises(InvalidRequest, match="can't share 100"):
        decode_image_tiled(library, vae, latent, 128, 100)


def test_in_painting_latents_are_grey_under_the_mask(library: Any, edge: int) -> None:
    vae = checkpoint(library)[2]
    picture = np.random.default_rng(0).random((1, edge, edge, 3), dtype=np.float32)
    mask = np.zeros((1, edge, edge), np.float32)
    mask[:, 24:40, 24:40] = 1.0
    grey = picture.copy()
    grey[mask == 1] = 0.5
    latent = encode_for_inpaint(library, vae, picture, mask, 0)
    np.testing.assert_allclose(latent.samples, encode_image(library, vae, grey).samples, atol=1e-5)
    assert latent.noise_mask is not None
    assert float(latent.noise_mask.sum()) == 4.0  # 16 × 16 pixels are 2 × 2 cells
    grown = encode_for_inpaint(library, vae, picture, mask, 6)
    assert grown.noise_mask is not None
    assert float(grown.noise_mask.sum()) == 16.0  # three pixels more on each side touch the cells around


@pytest.mark.parametrize(("family", "shape"), [("hunyuan_video", (2, 16, 7, 60, 106)), ("wan", (2, 16, 7, 60, 106))])
def test_an_empty_video_has_the_shape_of_its_family(library: Any, family: str, shape: tuple[int, ...]) -> None:
    latent = empty_video(library, 848, 480, 25, 2, family)
    assert tuple(latent.samples.shape) == shape
    assert latent.space == family
    assert not bool(latent.samples.any())
    ltx = empty_video(library, 768, 512, 97, 1, "ltx")
    assert tuple(ltx.samples.shape) == (1, 128, 13, 16, 24)
    with pytest.raises(InvalidRequest, match="not a multiple of 32"):
        empty_video(library, 848, 480, 25, 1, "ltx")
    model, _, positive, negative = handles(library)
    with pytest.raises(InvalidRequest, match="belongs to “ltx”"):
        k_sampler(library, model, positive, negative, ltx)
