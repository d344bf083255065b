"""ControlNets on the loop give the picture of diffusers' StableDiffusionControlNetPipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.contracts.errors import InvalidRequest
from engine.contracts.references import ModelRef
from engine.nodes.control.apply import control, control_pair, control_type
from engine.nodes.latent.empty import empty
from engine.nodes.latent.picture import decode_image
from engine.nodes.load.parts import controlnet
from engine.nodes.sample.k_sampler import k_sampler
from tests.benchmarks.tiny_models import write_tiny_sd15
from tests.unit.sampling_room import Recorder, handles

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

SETTINGS: dict[str, Any] = {"seed": 42, "steps": 4, "cfg": 5.0, "sampler": "ddim", "scheduler": "normal"}


class Library(Recorder):
    def __init__(self, folder: Path, nets: Path) -> None:
        super().__init__(folder)
        self.nets = nets

    def locate(self, ref: ModelRef) -> Path:
        return self.nets / ref.name if ref.kind == "controlnet" else self.folder


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from diffusers import ControlNetModel

    nets = tmp_path_factory.mktemp("nets")
    ctx: Any = Library(write_tiny_sd15(tmp_path_factory.mktemp("tiny")), nets)
    family = ctx.session.family(handles(ctx)[0].weights)
    for seed, name in enumerate(("edges", "depth")):
        torch.manual_seed(seed)
        net = ControlNetModel.from_unet(family._parts("unet"), conditioning_embedding_out_channels=(4, 4, 8, 8))
        for name_, parameter in net.named_parameters():  # a trained one: its outputs are not zero
            if "controlnet_" in name_ or "conv_out" in name_:
                torch.nn.init.normal_(parameter, std=0.2)
        net.save_pretrained(nets / name)
    wide = ControlNetModel(
        block_out_channels=(16, 32), layers_per_block=1, cross_attention_dim=48, attention_head_dim=2,
        norm_num_groups=4, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        conditioning_embedding_out_channels=(4, 4, 8, 8),
    )  # fmt: skip
    wide.save_pretrained(nets / "wide")
    return ctx


def load(ctx: Any, name: str) -> Any:
    return controlnet(ctx, ModelRef(kind="controlnet", name=name))


def hint(ctx: Any, seed: int = 0) -> Any:
    return np.random.default_rng(seed).random((1, 64, 64, 3), dtype=np.float32)


def test_the_picture_is_diffusers_own(library: Any) -> None:
    from diffusers import DDIMScheduler, StableDiffusionControlNetPipeline

    from tests.benchmarks.tiny_models import SCHEDULER

    model, vae, positive, negative = handles(library)
    net, picture = load(library, "edges"), hint(library)
    steered = control_pair(library, positive, negative, net, picture, 0.8)
    ours = decode_image(library, vae, k_sampler(library, model, *steered, empty(library, 64, 64), **SETTINGS))
    family = library.session.family(model.weights)
    config = {k: SCHEDULER[k] for k in ("beta_start", "beta_end", "beta_schedule", "steps_offset", "timestep_spacing")}
    pipeline = StableDiffusionControlNetPipeline(
        vae=family._parts("vae"), text_encoder=family._parts("text_encoder"), tokenizer=family._parts("tokenizer"),
        unet=family._parts("unet"), controlnet=library.session.other(net.weights),
        scheduler=DDIMScheduler(**config, clip_sample=False, set_alpha_to_one=False), safety_checker=None,
        feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline(
        prompt_embeds=positive[0].embedding, negative_prompt_embeds=negative[0].embedding,
        image=torch.from_numpy(picture).permute(0, 3, 1, 2), width=64, height=64, num_inference_steps=4,
        guidance_scale=5.0, controlnet_conditioning_scale=0.8, generator=torch.Generator().manual_seed(42),
        output_type="np",
    ).images  # fmt: skip
    assert float(np.abs(ours - theirs).max()) <= 1e-6


def samples(ctx: Any, positive: Any, negative: Any) -> Any:
    return k_sampler(ctx, handles(ctx)[0], positive, negative, empty(ctx, 64, 64), **SETTINGS).samples


def test_no_strength_is_no_control_bit_for_bit(library: Any) -> None:
    _, _, positive, negative = handles(library)
    plain = samples(library, positive, negative)
    net = load(library, "edges")
    none = samples(library, *control_pair(library, positive, negative, net, hint(library), 0.0))
    assert torch.equal(none, plain)
    some = samples(library, *control_pair(library, positive, negative, net, hint(library), 1.0))
    assert not torch.equal(some, plain)
    assert torch.equal(samples(library, positive, negative), plain)


def test_controlling_a_prompt_steers_the_negative_side_too(library: Any) -> None:
    _, _, positive, negative = handles(library)
    net, picture = load(library, "edges"), hint(library)
    alone = samples(library, control(library, positive, net, picture, 0.7), negative)
    both = samples(library, *control_pair(library, positive, negative, net, picture, 0.7))
    assert torch.equal(alone, both)


def test_two_at_once_add_up_in_any_order_and_a_part_of_the_run_is_a_part(library: Any) -> None:
    _, _, positive, negative = handles(library)
    edges, depth = load(library, "edges"), load(library, "depth")
    one = control_pair(library, positive, negative, edges, hint(library, 0), 0.5)
    two = samples(library, *control_pair(library, *one, depth, hint(library, 1), 0.5))
    other = control_pair(library, positive, negative, depth, hint(library, 1), 0.5)
    swapped = samples(library, *control_pair(library, *other, edges, hint(library, 0), 0.5))
    np.testing.assert_allclose(two, swapped, atol=1e-4 * float(two.abs().max()))
    assert not torch.equal(two, samples(library, *one))
    never = control_pair(library, positive, negative, edges, hint(library), 1.0, 0.9, 0.95)  # between the last steps
    assert torch.equal(samples(library, *never), samples(library, positive, negative))


def test_what_does_not_fit_is_one_sentence(library: Any) -> None:
    _, _, positive, negative = handles(library)
    with pytest.raises(InvalidRequest, match="reads prompts 48 wide and this model 32"):
        samples(library, *control_pair(library, positive, negative, load(library, "wide"), hint(library)))
    typed = control_type(library, load(library, "edges"), "depth")
    with pytest.raises(InvalidRequest, match="knows one kind of picture only"):
        samples(library, *control_pair(library, positive, negative, typed, hint(library)))
    assert control_type(library, typed, "auto").kind == ""
    with pytest.raises(InvalidRequest, match="lies before the start"):
        control_pair(library, positive, negative, load(library, "edges"), hint(library), 1.0, 0.5, 0.2)
