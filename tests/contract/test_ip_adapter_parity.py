"""IP-Adapters: our pictures equal those of diffusers' pipelines with the same adapter, for each of its three kinds."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from engine.contracts.errors import BadInput, InvalidRequest
from engine.contracts.references import ModelRef
from engine.graph.values import ModelHandle, VisionHandle
from engine.models.ip_adapter import ip_adapter_of, read_ip_adapter
from engine.models.vision import load_vision
from engine.nodes.condition.vision import encode_vision
from engine.nodes.latent.empty import empty
from engine.nodes.latent.picture import decode_image
from engine.nodes.load.ip_adapter import ip_adapter
from engine.nodes.sample.k_sampler import k_sampler
from tests.benchmarks.tiny_models import write_tiny_sd15
from tests.families import room, sdxl
from tests.families.room import Ours, Picture, Tiny

WIDTH, SUMMARY, INNER = 32, 24, 64
SETTINGS = Ours(steps=3)
KINDS = ("plain", "plus", "full")
PIPELINES = {"sd15": "StableDiffusionPipeline", "sdxl": "StableDiffusionXLPipeline"}
Tensors = dict[str, torch.Tensor]
CPU = torch.device("cpu")


class Session(Tiny):
    """A tiny model with a vision encoder and an adapter beside it."""

    adapter = ""

    def other(self, ref: ModelRef) -> Any:
        key = (ref.kind, ref.name)
        if key not in self._others and ref.kind == "text_encoder":
            self._others[key] = load_vision(self.folder.parent / "eyes", CPU, torch.float32)
        if key not in self._others and ref.kind == "ip_adapter":
            self._others[key] = read_ip_adapter(self.folder.parent / f"{self.name}-{ref.name}.safetensors")
        return super().other(ref)


def rand(*shape: int, seed: int = 0) -> torch.Tensor:
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape)))
    return drawn / torch.tensor(float(shape[-1])).sqrt()


def adapter_tensors(kind: str, unet: Any) -> Tensors:
    """A random adapter in the original layout."""
    ctx = int(unet.config.cross_attention_dim)
    found: Tensors = {}
    layers = [module for name, module in unet.named_modules() if name.endswith("attn2")]
    for number, layer in enumerate(layers):
        for side in "kv":
            found[f"ip_adapter.{2 * number + 1}.to_{side}_ip.weight"] = rand(layer.inner_dim, ctx, seed=number)
    if kind == "plain":
        return found | {
            "image_proj.proj.weight": rand(4 * ctx, SUMMARY), "image_proj.proj.bias": rand(4 * ctx),
            "image_proj.norm.weight": rand(ctx) + 1, "image_proj.norm.bias": rand(ctx),
        }  # fmt: skip
    if kind == "full":
        return found | {
            "image_proj.proj.0.weight": rand(WIDTH, WIDTH), "image_proj.proj.0.bias": rand(WIDTH),
            "image_proj.proj.2.weight": rand(ctx, WIDTH), "image_proj.proj.2.bias": rand(ctx),
            "image_proj.proj.3.weight": rand(ctx) + 1, "image_proj.proj.3.bias": rand(ctx),
        }  # fmt: skip
    found |= {
        "image_proj.latents": rand(1, 6, INNER), "image_proj.proj_in.weight": rand(INNER, WIDTH),
        "image_proj.proj_in.bias": rand(INNER), "image_proj.proj_out.weight": rand(ctx, INNER),
        "image_proj.proj_out.bias": rand(ctx), "image_proj.norm_out.weight": rand(ctx) + 1,
        "image_proj.norm_out.bias": rand(ctx),
    }  # fmt: skip
    for block in range(4):
        at = f"image_proj.layers.{block}"
        found |= {f"{at}.0.{norm}.{what}": rand(INNER, seed=block) + (what == "weight")
                  for norm in ("norm1", "norm2") for what in ("weight", "bias")}  # fmt: skip
        found |= {
            f"{at}.0.to_q.weight": rand(INNER, INNER, seed=block), f"{at}.0.to_kv.weight": rand(2 * INNER, INNER),
            f"{at}.0.to_out.weight": rand(INNER, INNER, seed=block + 5),
            f"{at}.1.0.weight": rand(INNER) + 1, f"{at}.1.0.bias": rand(INNER, seed=3),
            f"{at}.1.1.weight": rand(4 * INNER, INNER), f"{at}.1.3.weight": rand(INNER, 4 * INNER),
        }  # fmt: skip
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    place = tmp_path_factory.mktemp("ip")
    write_tiny_sd15(place / "sd15")
    sdxl.write(place / "sdxl")
    config = CLIPVisionConfig(
        hidden_size=WIDTH, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4, image_size=32,
        patch_size=8, projection_dim=SUMMARY, hidden_act="gelu",
    )  # fmt: skip
    torch.manual_seed(1)
    CLIPVisionModelWithProjection(config).save_pretrained(place / "eyes")
    for family in PIPELINES:
        unet = Tiny(place / family, family).module("unet")
        for kind in KINDS:
            save_file(adapter_tensors(kind, unet), place / f"{family}-{kind}.safetensors")
    return place


@pytest.fixture(scope="module")
def sessions(folder: Path) -> Mapping[str, Session]:
    return {family: Session(folder / family, family) for family in PIPELINES}


def patched(session: Session, kind: str, image: Picture, weight: float = 0.7, **more: Any) -> ModelHandle:
    ref = ModelRef(kind="ip_adapter", name=kind, fingerprint="1")
    eyes = VisionHandle(ModelRef(kind="text_encoder", name="eyes"))
    return ip_adapter(session.ctx, session.handles()[0], ref, eyes, image, weight, **more)


def made(session: Session, model: ModelHandle) -> Picture:
    positive, negative = room.prompts(session, SETTINGS)
    latent = k_sampler(
        session.ctx, model, positive, negative, empty(session.ctx, room.EDGE, room.EDGE, 1), seed=room.seed(),
        steps=SETTINGS.steps, cfg=SETTINGS.cfg, sampler=SETTINGS.sampler, scheduler=SETTINGS.scheduler,
    )  # fmt: skip
    return decode_image(session.ctx, session.handles()[2], latent)


def reference(session: Session, kind: str, image: Picture, more: Mapping[str, Any] | None = None) -> Picture:
    """diffusers' pipeline with the adapter, given the picture as our encoder prepares it."""
    import diffusers

    tensors: dict[str, Tensors] = {"image_proj": {}, "ip_adapter": {}}
    from safetensors.torch import load_file

    for key, value in load_file(session.folder.parent / f"{session.name}-{kind}.safetensors").items():
        part, _, rest = key.partition(".")
        tensors[part][rest] = value
    unet = copy.deepcopy(session.module("unet"))
    unet._load_ip_adapter_weights([tensors], low_cpu_mem_usage=False)
    unet.requires_grad_(False)
    encoder = session.other(ModelRef(kind="text_encoder", name="eyes"))
    scheduler = diffusers.EulerDiscreteScheduler.from_config(
        room.read_json(session.folder / "scheduler" / "scheduler_config.json")
    )
    parts = {"unet": unet, "image_encoder": encoder.module, "scheduler": scheduler}
    pipeline = session.pipeline(PIPELINES[session.name], **parts)
    pipeline.set_ip_adapter_scale(0.7)
    arguments: dict[str, Any] = {
        "prompt": SETTINGS.prompt, "negative_prompt": SETTINGS.negative, "num_inference_steps": SETTINGS.steps,
        "guidance_scale": SETTINGS.cfg, "width": room.EDGE, "height": room.EDGE,
        "ip_adapter_image": [encoder.prepared(room.as_tensor(image))], **(more or {}),
    }  # fmt: skip
    found: Picture = room.called(pipeline, arguments)
    return found


@pytest.mark.parametrize(("family", "kind"), [*(("sd15", kind) for kind in KINDS), ("sdxl", "plain"), ("sdxl", "plus")])
def test_equal_to_diffusers(sessions: Mapping[str, Session], family: str, kind: str) -> None:
    session, image = sessions[family], room.picture(edge=48)
    ours = made(session, patched(session, kind, image))
    assert float(np.abs(ours - reference(session, kind, image)).max()) <= 1e-5
    assert float(np.abs(ours - made(session, session.handles()[0])).max()) > 1e-3  # it does something


def test_a_mask_keeps_it_to_its_place_as_in_diffusers(sessions: Mapping[str, Session]) -> None:
    session, image = sessions["sd15"], room.picture(edge=48)
    mask = np.zeros((1, room.EDGE, room.EDGE), np.float32)
    mask[:, :, : room.EDGE // 2] = 1
    ours = made(session, patched(session, "plain", image, mask=mask))
    shown = {"cross_attention_kwargs": {"ip_adapter_masks": [torch.from_numpy(mask)[:, None]]}}
    assert float(np.abs(ours - reference(session, "plain", image, shown)).max()) <= 1e-5


def test_weight_nought_is_the_model_itself_and_nothing_stays_behind(sessions: Mapping[str, Session]) -> None:
    session, image = sessions["sd15"], room.picture(edge=48)
    plain = session.handles()[0]
    assert patched(session, "plain", image, 0.0) == plain
    before = made(session, plain)
    made(session, patched(session, "plain", image))
    assert np.array_equal(made(session, plain), before)


def test_two_adapters_add_up_and_steps_bound_them(sessions: Mapping[str, Session]) -> None:
    session, image = sessions["sd15"], room.picture(edge=48)
    whole = made(session, patched(session, "plain", image))
    late = made(session, patched(session, "plain", image, start=0.3))
    never = made(session, patched(session, "plain", image, start=0.99))
    assert not np.allclose(whole, late, atol=1e-4)
    assert np.array_equal(never, made(session, session.handles()[0]))
    first = patched(session, "plain", image, 0.35)
    ref = ModelRef(kind="ip_adapter", name="plain", fingerprint="1")
    eyes = VisionHandle(ModelRef(kind="text_encoder", name="eyes"))
    twice = ip_adapter(session.ctx, first, ref, eyes, image, 0.35)
    np.testing.assert_allclose(made(session, twice), whole, atol=1e-5)


def test_one_for_another_model_is_refused_in_a_sentence(sessions: Mapping[str, Session], folder: Path) -> None:
    session = sessions["sd15"]
    wrong = read_ip_adapter(folder / "sdxl-plain.safetensors")
    session._others["ip_adapter", "wrong"] = wrong
    with pytest.raises(InvalidRequest, match="layers for words 72 wide, and this model has"):
        made(session, patched(session, "wrong", room.picture(edge=48)))
    with pytest.raises(BadInput, match="no whole IP-Adapter"):
        ip_adapter_of({"ip_adapter.1.to_k_ip.weight": rand(2, 2)}, "half")
    with pytest.raises(BadInput, match="FaceID"):
        ip_adapter_of({"image_proj.perceiver_resampler.proj_in.weight": rand(2, 2)}, "face")


@torch.no_grad()
def test_vision_encoder_node_says_what_transformers_says(sessions: Mapping[str, Session], folder: Path) -> None:
    from transformers import CLIPVisionModelWithProjection

    session, image = sessions["sd15"], room.picture(2, edge=48)
    seen = encode_vision(session.ctx, VisionHandle(ModelRef(kind="text_encoder", name="eyes")), image)
    module = CLIPVisionModelWithProjection.from_pretrained(folder / "eyes").eval()
    encoder = session.other(ModelRef(kind="text_encoder", name="eyes"))
    wanted = module(encoder.prepared(room.as_tensor(image)))
    assert torch.equal(seen.embedding, wanted.image_embeds)
    assert torch.equal(seen.hidden, wanted.last_hidden_state)


def test_pictures_are_prepared_as_clips_processor_does(sessions: Mapping[str, Session]) -> None:
    from PIL import Image
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    encoder = sessions["sd15"].other(ModelRef(kind="text_encoder", name="eyes"))
    image = np.asarray(Image.effect_mandelbrot((60, 44), (-2, -1.5, 1, 1.5), 90).convert("RGB"))
    processor = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    wanted = torch.as_tensor(np.asarray(processor(Image.fromarray(image), return_tensors="np").pixel_values))
    ours = encoder.prepared(room.as_tensor(image[None].astype(np.float32) / np.float32(255)))
    assert ours.shape == wanted.shape
    assert float((ours - wanted).abs().mean()) < 0.01  # Pillow rounds to whole levels between rows and columns
