"""T2I-Adapters give the picture of diffusers' own pipeline; union ControlNets read their kind; masks hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.contracts.errors import InvalidRequest
from engine.contracts.references import ModelRef
from engine.families.controls import BoundControl, residuals
from engine.nodes.control.apply import control, control_pair, control_type
from engine.nodes.latent.empty import empty
from engine.nodes.latent.picture import decode_image
from engine.nodes.load.parts import controlnet
from engine.nodes.sample.k_sampler import k_sampler
from tests.benchmarks.tiny_models import SCHEDULER, write_tiny_sd15
from tests.unit.sampling_room import Recorder, handles

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
SETTINGS: dict[str, Any] = {"seed": 42, "steps": 4, "cfg": 5.0, "sampler": "ddim", "scheduler": "normal"}
SMALL: dict[str, Any] = {
    "block_out_channels": (16, 32), "layers_per_block": 1, "cross_attention_dim": 32, "attention_head_dim": 2,
    "norm_num_groups": 4, "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "conditioning_embedding_out_channels": (4, 4, 8, 8),
}  # fmt: skip


class Library(Recorder):
    def __init__(self, folder: Path, nets: Path) -> None:
        super().__init__(folder)
        self.nets = nets

    def locate(self, ref: ModelRef) -> Path:
        return self.nets / ref.name if ref.kind == "controlnet" else self.folder


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from diffusers import ControlNetModel, ControlNetUnionModel, T2IAdapter, UNet2DConditionModel

    nets = tmp_path_factory.mktemp("nets")
    torch.manual_seed(1)
    union = {"num_trans_channel": 16, "num_trans_head": 2, "num_proj_channel": 16, "num_control_type": 6}
    union |= {"addition_time_embed_dim": 8, "projection_class_embeddings_input_dim": 48}
    made = {
        "edges": ControlNetModel(**SMALL),
        "union": ControlNetUnionModel(**SMALL, **union),
        "colour": T2IAdapter(in_channels=3, channels=[16, 32], num_res_blocks=1, downscale_factor=8),
        "sketch": T2IAdapter(in_channels=1, channels=[16, 32], num_res_blocks=1, downscale_factor=8),
        "large": T2IAdapter(in_channels=3, channels=[32, 64], num_res_blocks=1, downscale_factor=8),
    }  # fmt: skip
    for name, net in made.items():
        for part, parameter in net.named_parameters():  # trained ones: their outputs are not zero
            if "controlnet_" in part or "conv_out" in part or "task_embedding" in part:
                torch.nn.init.normal_(parameter, std=0.2)
        net.save_pretrained(nets / name)
    folder = write_tiny_sd15(tmp_path_factory.mktemp("tiny"))
    unet = UNet2DConditionModel(  # T2I-Adapters add where Stable Diffusion attends: in all levels but the last
        sample_size=8, in_channels=4, out_channels=4, up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        **{key: value for key, value in SMALL.items() if key != "conditioning_embedding_out_channels"},
    )  # fmt: skip
    unet.save_pretrained(folder / "unet")
    return Library(folder, nets)


def load(ctx: Any, name: str) -> Any:
    return controlnet(ctx, ModelRef(kind="controlnet", name=name))


def hint(seed: int = 0) -> Any:
    return np.random.default_rng(seed).random((1, 64, 64, 3), dtype=np.float32)


def samples(ctx: Any, positive: Any, negative: Any) -> torch.Tensor:
    made: torch.Tensor = k_sampler(ctx, handles(ctx)[0], positive, negative, empty(ctx, 64, 64), **SETTINGS).samples
    return made


def test_an_adapter_gives_the_picture_of_diffusers_own(library: Any) -> None:
    from diffusers import DDIMScheduler, StableDiffusionAdapterPipeline

    model, vae, positive, negative = handles(library)
    net, picture = load(library, "colour"), hint()
    steered = control_pair(library, positive, negative, net, picture, 0.8)
    ours = decode_image(library, vae, k_sampler(library, model, *steered, empty(library, 64, 64), **SETTINGS))
    family = library.session.family(model.weights)
    config = {k: SCHEDULER[k] for k in ("beta_start", "beta_end", "beta_schedule", "steps_offset", "timestep_spacing")}
    pipeline = StableDiffusionAdapterPipeline(
        vae=family._parts("vae"), text_encoder=family._parts("text_encoder"), tokenizer=family._parts("tokenizer"),
        unet=family._parts("unet"), adapter=library.session.other(net.weights),
        scheduler=DDIMScheduler(**config, clip_sample=False, set_alpha_to_one=False), safety_checker=None,
        feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline(
        prompt_embeds=positive[0].embedding, negative_prompt_embeds=negative[0].embedding,
        image=torch.from_numpy(picture).permute(0, 3, 1, 2), width=64, height=64, num_inference_steps=4,
        guidance_scale=5.0, adapter_conditioning_scale=0.8, generator=torch.Generator().manual_seed(42),
        output_type="np",
    ).images  # fmt: skip
    assert float(np.abs(ours - theirs).max()) <= 1e-6


def test_adapters_and_controlnets_work_at_once_and_each_counts(library: Any) -> None:
    _, _, positive, negative = handles(library)
    plain = samples(library, positive, negative)
    steered, made = positive, []
    for seed, name in enumerate(("edges", "colour", "sketch")):
        steered = control(library, steered, load(library, name), hint(seed), 0.6)
        made.append(samples(library, steered, negative))
    assert not any(torch.equal(a, b) for a, b in zip([plain, *made], [*made, plain], strict=True))
    off = control(library, positive, load(library, "colour"), hint(), 0.0)
    assert torch.equal(samples(library, off, negative), plain)


def test_a_union_controlnet_reads_its_picture_as_the_kind_it_is_told(library: Any) -> None:
    _, _, positive, negative = handles(library)
    net = load(library, "union")

    def made(kind: str) -> torch.Tensor:
        return samples(library, control(library, positive, control_type(library, net, kind), hint()), negative)

    assert not torch.equal(made("depth"), made("openpose"))
    assert torch.equal(made("depth"), made("depth"))
    with pytest.raises(InvalidRequest, match="“union” knows several kinds of picture and was told none"):
        made("auto")
    with pytest.raises(InvalidRequest, match=r"“union” does not know “tile”.*openpose, depth"):
        made("tile")


def test_the_unions_answer_is_the_networks_own(library: Any) -> None:
    module = library.session.other(load(library, "union").weights)
    x, words, time = torch.randn(1, 4, 8, 8), torch.randn(1, 40, 32), torch.tensor(500)
    picture = torch.rand(1, 3, 64, 64)
    steered = residuals(x, time, words, [BoundControl(module, picture, 0.5, (0.0, 1.0), kind=1)], 0.0)
    types = torch.tensor([[0.0, 1, 0, 0, 0, 0]])
    down, middle = module(x, time, words, [picture], types, [1], 0.5, return_dict=False)
    assert torch.equal(steered["mid_block_additional_residual"], middle)
    assert all(map(torch.equal, steered["down_block_additional_residuals"], down))


@pytest.mark.parametrize("name", ["edges", "colour"])
def test_a_mask_holds_a_control_to_its_place(library: Any, name: str) -> None:
    module = library.session.other(load(library, name).weights)
    x, words, time = torch.randn(1, 4, 8, 8), torch.randn(1, 40, 32), torch.tensor(500)
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., :32] = 1.0
    picture = torch.rand(1, 3, 64, 64)
    features = tuple(module(picture)) if name == "colour" else None

    def parts(mask: torch.Tensor | None) -> list[torch.Tensor]:
        bound = BoundControl(module, picture, 1.0, (0.0, 1.0), mask, features=features)
        steered = residuals(x, time, words, [bound], 0.0)
        if features is not None:
            return list(steered["down_intrablock_additional_residuals"])
        return [*steered["down_block_additional_residuals"], steered["mid_block_additional_residual"]]

    for whole, part in zip(parts(None), parts(mask), strict=True):
        half = whole.shape[-1] // 2
        assert torch.equal(part[..., :half], whole[..., :half])
        assert not part[..., half:].any()


def test_a_white_mask_changes_nothing_and_a_black_one_is_no_control(library: Any) -> None:
    _, _, positive, negative = handles(library)
    net = load(library, "edges")

    def made(mask: Any) -> torch.Tensor:
        return samples(library, *control_pair(library, positive, negative, net, hint(), 0.8, mask=mask))

    everywhere, left = np.ones((1, 64, 64), np.float32), np.zeros((1, 64, 64), np.float32)
    left[..., :32] = 1
    assert torch.equal(made(everywhere), made(None))
    assert torch.equal(made(np.zeros((64, 64), np.float32)), samples(library, positive, negative))
    assert not torch.equal(made(left), made(None))


def test_an_adapter_of_another_family_is_refused_in_a_sentence(library: Any) -> None:
    _, _, positive, negative = handles(library)
    steered = control(library, positive, load(library, "large"), hint())
    with pytest.raises(InvalidRequest, match="“large” is 32 to 64 channels wide and this model 16 to 32"):
        samples(library, steered, negative)


def test_a_model_without_the_blocks_an_adapter_adds_to_says_so(library: Any, tmp_path: Path) -> None:
    other: Any = Library(write_tiny_sd15(tmp_path), library.nets)
    _, _, positive, negative = handles(other)
    with pytest.raises(InvalidRequest, match="“colour” adds to attention blocks that this model does not have"):
        samples(other, control(other, positive, load(other, "colour"), hint()), negative)
