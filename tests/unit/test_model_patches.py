"""Patches on a model: each by its formula, in order, and without a trace once taken off."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from engine.contracts.errors import InvalidRequest
from engine.families.freeu import FreeU, freeu
from engine.graph.values import Patch
from engine.nodes.latent.empty import empty
from engine.nodes.latent.picture import encode_image, set_noise_mask
from engine.nodes.model import patches as nodes
from engine.nodes.sample.k_sampler import k_sampler
from engine.sampling.noise_space import NoiseSpace
from engine.sampling.patches import combined, from_clean, patched_space, rules_of, to_clean
from tests.benchmarks.tiny_models import SCHEDULER, write_tiny_sd15
from tests.unit.sampling_room import Recorder, handles

SHAPE = (2, 4, 6, 6)
SETTINGS: dict[str, Any] = {"seed": 3, "steps": 4, "cfg": 5.0, "sampler": "euler", "scheduler": "normal"}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return Recorder(write_tiny_sd15(tmp_path_factory.mktemp("tiny")))


def noise(seed: int) -> torch.Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


U, C, X, SIGMA = noise(1), noise(2), noise(3), torch.tensor(1.7)


def guided(prediction: Any, *patches: Patch) -> torch.Tensor:
    return combined(U, C, 6.0, rules_of(patches), X, SIGMA, prediction)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_to_the_clean_picture_and_back(prediction: Any) -> None:
    latent = X * (SIGMA**2 + 1) ** 0.5
    back = from_clean(to_clean(U, latent, SIGMA, prediction), latent, SIGMA, prediction)
    np.testing.assert_allclose(back, U, atol=1e-5)
    np.testing.assert_allclose(guided(prediction), U + 6.0 * (C - U), atol=2e-5)  # without rules: plain guidance


def test_rescaled_guidance_is_diffusers_for_v() -> None:
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import rescale_noise_cfg

    plain = U + 6.0 * (C - U)
    expected = rescale_noise_cfg(plain, C, guidance_rescale=0.7)
    found = guided("v_prediction", Patch("rescale_cfg", (("multiplier", 0.7),)))
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_rescaling_an_epsilon_model_is_done_in_v() -> None:
    alpha, sigma = 1 / (SIGMA**2 + 1) ** 0.5, SIGMA / (SIGMA**2 + 1) ** 0.5
    u, c = ((side - sigma * X) / alpha for side in (U, C))  # v = (ε − σ·x)/α
    v = u + 6.0 * (c - u)
    ratio = c.std((1, 2, 3), keepdim=True) / v.std((1, 2, 3), keepdim=True)
    expected = alpha * (0.7 * v * ratio + 0.3 * v) + sigma * X
    np.testing.assert_allclose(guided("epsilon", Patch("rescale_cfg", (("multiplier", 0.7),))), expected, atol=2e-5)


def clean_sides() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    latent = X * (SIGMA**2 + 1) ** 0.5
    return latent, latent - SIGMA * U, latent - SIGMA * C


def test_the_norm_is_held_to_the_conditional_one() -> None:
    latent, u, c = clean_sides()
    out = u + 6.0 * (c - u)
    scale = (c.norm(dim=1, keepdim=True) / out.norm(dim=1, keepdim=True)).clamp(max=1.0)
    found = latent - SIGMA * guided("epsilon", Patch("cfg_norm", (("strength", 0.9),)))
    np.testing.assert_allclose(found, out * scale * 0.9, atol=5e-5)


def test_zero_star_is_guidance_from_the_projected_side() -> None:
    latent, u, c = clean_sides()
    p, n = (latent - c).flatten(1), (latent - u).flatten(1)
    share = ((p * n).sum(1) / (n * n).sum(1)).reshape(-1, 1, 1, 1)
    # The paper's form: s*·u + ω (c − s*·u).
    expected = share * u + 6.0 * (c - share * u)
    found = latent - SIGMA * guided("epsilon", Patch("cfg_zero_star"))
    np.testing.assert_allclose(found, expected, atol=5e-5)


def test_rules_hold_in_the_order_of_the_patches() -> None:
    norm, star = Patch("cfg_norm", (("strength", 0.5),)), Patch("cfg_zero_star")
    assert not torch.equal(guided("epsilon", norm, star), guided("epsilon", star, norm))


def test_freeu_is_diffusers_own_hook_with_version_2(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """diffusers' enable_freeu around the same network, its version 1 backbone replaced by the paper's version 2."""
    from diffusers import UNet2DConditionModel
    from diffusers.models.unets import unet_2d_blocks
    from diffusers.utils.torch_utils import fourier_filter

    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=16, block_out_channels=(16, 32, 64), layers_per_block=1, cross_attention_dim=8,
        attention_head_dim=4, norm_num_groups=4,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    ).eval()  # fmt: skip

    def version_2(index: int, hidden: Any, skip: Any, **kwargs: float) -> Any:
        found = {64: ("b1", "s1"), 32: ("b2", "s2")}.get(hidden.shape[1])
        if found is None:
            return hidden, skip
        mean = hidden.mean(1).unsqueeze(1)
        flat = mean.view(mean.shape[0], -1)
        low, high = (flat.min(-1)[0].view(-1, 1, 1, 1), flat.max(-1)[0].view(-1, 1, 1, 1))
        hidden = hidden.clone()
        half = hidden.shape[1] // 2
        hidden[:, :half] *= (kwargs[found[0]] - 1) * (mean - low) / (high - low) + 1
        return hidden, fourier_filter(skip, threshold=1, scale=kwargs[found[1]])

    x, t, words = torch.randn(2, 4, 16, 16), torch.tensor(300), torch.randn(2, 5, 8)
    with torch.no_grad():
        plain = unet(x, t, words).sample
        with freeu(unet, FreeU(1.3, 1.4, 0.9, 0.2)):
            ours = unet(x, t, words).sample
        assert torch.equal(unet(x, t, words).sample, plain)  # no trace
        monkeypatch.setattr(unet_2d_blocks, "apply_freeu", version_2)
        unet.enable_freeu(s1=0.9, s2=0.2, b1=1.3, b2=1.4)
        # Every decoder block asks; diffusers asks only where it is enabled, which is all of them.
        expected = unet(x, t, words).sample
    assert float((ours - plain).abs().max()) > 1e-3
    np.testing.assert_allclose(ours, expected, atol=1e-5)


@pytest.mark.parametrize("prediction", ["eps", "v_prediction", "x0"])
@pytest.mark.parametrize("zero_snr", [False, True])
def test_prediction_is_what_the_models_own_file_would_say(prediction: str, zero_snr: bool) -> None:
    names = {"eps": "epsilon", "v_prediction": "v_prediction", "x0": "sample"}
    told = NoiseSpace.from_config(
        {**SCHEDULER, "prediction_type": names[prediction], "rescale_betas_zero_snr": zero_snr}
    )
    patch = Patch("prediction", (("prediction", prediction), ("zero_snr", zero_snr)))
    found = patched_space(NoiseSpace.from_config(SCHEDULER), [patch])
    assert isinstance(found, NoiseSpace)
    assert found.prediction == told.prediction
    np.testing.assert_allclose(found.alphas_cumprod, told.alphas_cumprod, atol=1e-6)


def test_an_lcm_keeps_to_its_fifty_timesteps() -> None:
    from engine.sampling import schedules

    patch = Patch("prediction", (("prediction", "lcm"), ("zero_snr", False)))
    space = patched_space(NoiseSpace.from_config(SCHEDULER), [patch])
    for name in ("normal", "simple", "sgm_uniform", "karras"):
        times = schedules.build(name, 8, space, "ends").timesteps
        assert bool(((times + 1) % 20 == 0).all()), (name, times)


@pytest.mark.parametrize("kind", ["shift", "shift_flux"])
def test_a_discrete_model_refuses_a_shift_in_one_sentence(tiny: Any, kind: str) -> None:
    model, _, positive, negative = handles(tiny)
    node: Any = getattr(nodes, kind)
    with pytest.raises(InvalidRequest, match="was trained on discrete noise levels and has no shift"):
        k_sampler(tiny, node(tiny, model), positive, negative, empty(tiny), **SETTINGS)


def test_fluxs_shift_grows_with_the_picture(tiny: Any) -> None:
    model = handles(tiny)[0]
    for edge, mu in ((1024, 1.15), (256, 0.5)):
        assert nodes.shift_flux(tiny, model, 1.15, 0.5, edge, edge).patches[-1].settings == (("mu", pytest.approx(mu)),)


ALL: dict[str, Any] = {
    "rescale_cfg": {"multiplier": 0.8}, "cfg_norm": {}, "cfg_zero_star": {}, "freeu": {},
    "prediction": {"prediction": "v_prediction"},
}  # fmt: skip


@pytest.mark.parametrize("kind", list(ALL))
def test_a_patch_changes_the_run_and_leaves_nothing_behind(tiny: Any, kind: str) -> None:
    model, _, positive, negative = handles(tiny)

    def run(handle: Any) -> Any:
        return k_sampler(tiny, handle, positive, negative, empty(tiny, 64, 64), **SETTINGS).samples

    before = run(model)
    patched = getattr(nodes, kind)(tiny, model, **ALL[kind])
    during = run(patched)
    assert torch.isfinite(during).all()
    assert torch.equal(run(model), before)
    if kind != "freeu":  # the tiny model has no features four times as wide as its first
        assert not torch.equal(during, before)


def test_the_last_setting_of_a_kind_counts_and_rules_add_up(tiny: Any) -> None:
    model = handles(tiny)[0]
    twice = nodes.freeu(tiny, nodes.freeu(tiny, model, b1=1.1), b1=1.2)
    assert [dict(p.settings)["b1"] for p in twice.patches] == [1.2]
    both = nodes.cfg_norm(tiny, nodes.rescale_cfg(tiny, model))
    assert [p.kind for p in both.patches] == ["rescale_cfg", "cfg_norm"]


def test_grey_places_join_the_run_when_their_turn_comes(tiny: Any) -> None:
    model, vae, positive, negative = handles(tiny)
    picture = np.random.default_rng(1).random((1, 64, 64, 3), dtype=np.float32)
    latent = encode_image(tiny, vae, picture)
    mask = np.zeros((1, 64, 64), np.float32)
    for column, grey in enumerate((0.0, 0.3, 0.7, 1.0)):
        mask[:, :, column * 16 : (column + 1) * 16] = grey
    masked = set_noise_mask(tiny, latent, mask)
    differential = nodes.differential_diffusion(tiny, model)
    out = k_sampler(tiny, differential, positive, negative, masked, **{**SETTINGS, "steps": 10})
    moved = (out.samples - latent.samples).abs().amax(dim=(0, 1, 2)).reshape(4, 2).amax(1)
    assert float(moved[0]) == 0.0  # black never joins
    assert bool((moved[1:] > 0).all())
    # A grey of 0.3 may be drawn in the last 30 % only: until then it is the original at its noise.
    late = k_sampler(
        tiny, differential, positive, negative, replace(masked, noise_mask=torch.full((1, 1, 8, 8), 0.3)),
        **{**SETTINGS, "steps": 10},
    )  # fmt: skip
    whole = k_sampler(tiny, model, positive, negative, latent, **{**SETTINGS, "steps": 10})
    assert float((late.samples - latent.samples).abs().mean()) < float((whole.samples - latent.samples).abs().mean())
    # Strength 0 reads the mask as it is.
    plain = nodes.differential_diffusion(tiny, model, 0.0)
    assert torch.equal(
        k_sampler(tiny, plain, positive, negative, masked, **SETTINGS).samples,
        k_sampler(tiny, model, positive, negative, masked, **SETTINGS).samples,
    )


def test_the_threshold_of_each_step_is_comfyuis() -> None:
    from engine.sampling import schedules
    from engine.sampling.loop import _Grey

    space = NoiseSpace.from_config(SCHEDULER)
    laid = schedules.build("simple", 5, space)
    mask = torch.linspace(0, 1, 101)
    for index in range(1, 6):
        time = float(laid.timesteps[index - 1])
        threshold = time / float(laid.timesteps[0])
        free = _Grey(1.0, 0, 5).at(mask, laid, index)
        assert torch.equal(free, (mask >= threshold).float())
    half = _Grey(0.5, 0, 5).at(mask, laid, 1)
    np.testing.assert_allclose(half, 0.5 * (mask >= 1.0).float() + 0.5 * mask)
