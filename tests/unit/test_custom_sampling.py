"""Sampling taken apart gives what the sampler node gives; lists of noise levels are made and cut as ComfyUI does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from engine.contracts.errors import InvalidRequest
from engine.graph.values import LatentValue
from engine.nodes.latent.empty import empty
from engine.nodes.latent.picture import encode_image, set_noise_mask
from engine.nodes.sample import custom, sigmas
from engine.nodes.sample.k_sampler import k_sampler, k_sampler_advanced
from tests.benchmarks.tiny_models import write_tiny_sd15
from tests.unit.sampling_room import Recorder, handles

INNER = ("dpmpp_2m", "dpmpp_2m_sde", "uni_pc")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return Recorder(write_tiny_sd15(tmp_path_factory.mktemp("tiny")))


def levels(ctx: Any, scheduler: str, steps: int, sampler: str = "euler", denoise: float = 1.0) -> Any:
    laid_for = "DPM++ 2M and UniPC" if sampler in INNER else "any sampler"
    return sigmas.schedule(ctx, handles(ctx)[0], scheduler, steps, denoise, laid_for)


def both_ways(
    ctx: Any, sampler: str, scheduler: str, steps: int, latent: Any = None
) -> tuple[LatentValue, LatentValue]:
    model, _, positive, negative = handles(ctx)
    latent = latent or empty(ctx, 64, 64, 2)
    plain = k_sampler(ctx, model, positive, negative, latent, 5, steps, 4.0, sampler, scheduler)
    guide = custom.cfg_guider(ctx, model, positive, negative, 4.0)
    chosen = custom.select_sampler(ctx, sampler)
    found = levels(ctx, scheduler, steps, sampler)
    return plain, custom.custom_advanced(ctx, custom.noise(ctx, 5), guide, chosen, found, latent)[0]


@pytest.mark.parametrize("sampler", ["euler", "euler_ancestral", "heun", "dpmpp_sde", "ddim", "lms", *INNER])
def test_whole_timesteps_give_the_same_bytes(tiny: Any, sampler: str) -> None:
    plain, taken_apart = both_ways(tiny, sampler, "simple", 5)
    if sampler == "dpmpp_sde":  # its midpoints are told from sigmas in float64 there, in float32 here
        np.testing.assert_allclose(taken_apart.samples, plain.samples, rtol=0, atol=1e-4)
    else:
        assert torch.equal(taken_apart.samples, plain.samples)


# Not exponential and beta: diffusers cuts their timesteps off instead of rounding them.
@pytest.mark.parametrize("scheduler", ["normal", "karras"])
@pytest.mark.parametrize("sampler", ["dpmpp_2m", "uni_pc"])
def test_inner_schedules_give_the_same_bytes(tiny: Any, sampler: str, scheduler: str) -> None:
    plain, taken_apart = both_ways(tiny, sampler, scheduler, 6)
    assert torch.equal(taken_apart.samples, plain.samples)


@pytest.mark.parametrize("scheduler", ["normal", "karras", "exponential", "beta", "kl_optimal", "linear_quadratic"])
def test_fractional_timesteps_agree_to_rounding(tiny: Any, scheduler: str) -> None:
    plain, taken_apart = both_ways(tiny, "euler", scheduler, 6)
    scale = float(plain.samples.abs().max())
    assert float((plain.samples - taken_apart.samples).abs().max()) <= 1e-3 * scale


def test_a_noise_mask_holds_along_a_list(tiny: Any) -> None:
    _, vae, _, _ = handles(tiny)
    picture = np.random.default_rng(1).random((1, 64, 64, 3), dtype=np.float32)
    mask = np.zeros((1, 64, 64), np.float32)
    mask[:, :, 32:] = 1.0
    latent = set_noise_mask(tiny, encode_image(tiny, vae, picture), mask)
    plain, taken_apart = both_ways(tiny, "euler", "simple", 4, latent)
    assert torch.equal(plain.samples, taken_apart.samples)


@pytest.mark.parametrize("sampler", ["euler", "heun", "dpmpp_2m", "ddim", "lms", "dpm_2"])
def test_a_split_run_leaves_and_takes_up_noise_as_the_advanced_sampler(tiny: Any, sampler: str) -> None:
    model, _, positive, negative = handles(tiny)
    latent = empty(tiny, 64, 64, 1)
    high, low = sigmas.split_sigmas(tiny, levels(tiny, "simple", 8, sampler), 3)
    assert len(high) == 4
    assert len(low) == 6
    guide, chosen = custom.cfg_guider(tiny, model, positive, negative, 4.0), custom.select_sampler(tiny, sampler)
    first, seen = custom.custom_advanced(tiny, custom.noise(tiny, 5), guide, chosen, high, latent)
    settings: Any = {"seed": 5, "steps": 8, "cfg": 4.0, "sampler": sampler, "scheduler": "simple"}
    half = k_sampler_advanced(
        tiny, model, positive, negative, latent, end_step=3, return_with_leftover_noise=True, **settings
    )
    assert torch.equal(first.samples, half.samples)
    assert not torch.equal(seen.samples, first.samples)
    second, _ = custom.custom_advanced(tiny, custom.no_noise(tiny), guide, chosen, low, first)
    rest = k_sampler_advanced(tiny, model, positive, negative, half, add_noise=False, start_step=3, **settings)
    assert torch.equal(second.samples, rest.samples)


def test_the_denoised_output_is_where_the_last_step_headed(tiny: Any) -> None:
    model, _, positive, negative = handles(tiny)
    found = sigmas.manual_sigmas(tiny, "8, 4, 2, 0")
    latent, seen = custom.custom(
        tiny, model, positive, negative, custom.select_sampler(tiny, "euler"), found, empty(tiny, 64, 64, 1), cfg=3.0
    )
    # Euler's last step ends exactly at the picture it foresaw.
    np.testing.assert_allclose(latent.samples, seen.samples, atol=1e-5 * float(latent.samples.abs().max()))


def test_no_step_leaves_the_latent_alone(tiny: Any) -> None:
    model, _, positive, _ = handles(tiny)
    latent = empty(tiny, 64, 64, 1)
    none = levels(tiny, "normal", 4, denoise=0.0)
    guide = custom.guider(tiny, model, positive)
    out = custom.custom_advanced(tiny, custom.noise(tiny, 1), guide, custom.select_sampler(tiny, "euler"), none, latent)
    assert out == (latent, latent)


def test_a_guider_without_guidance_is_guidance_of_one(tiny: Any) -> None:
    model, _, positive, negative = handles(tiny)
    found, chosen = levels(tiny, "simple", 4), custom.select_sampler(tiny, "euler")
    seed = custom.noise(tiny, 2)
    alone = custom.custom_advanced(tiny, seed, custom.guider(tiny, model, positive), chosen, found, empty(tiny))
    one = custom.cfg_guider(tiny, model, positive, negative, 1.0)
    assert torch.equal(alone[0].samples, custom.custom_advanced(tiny, seed, one, chosen, found, empty(tiny))[0].samples)


def test_the_guider_of_two_prompts_follows_its_formula(tiny: Any) -> None:
    from engine.families.protocol import BindRequest

    model, _, first, negative = handles(tiny)
    second = handles(tiny, "a green square on a yellow background")[2]
    family = tiny.session.family(model.weights)
    x, t = torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(0)), torch.tensor(500.0)
    shape: Any = (1, 4, 8, 8)

    def answer(prompt: Any) -> Any:
        return family.bind(BindRequest(prompt, (), 1.0, shape)).predict(x, t, 0.0)

    def dual(style: str) -> Any:
        request = BindRequest(first, negative, 3.0, shape, style=style, middle=second, cfg_2=2.0)
        return family.bind(request).predict(x, t, 0.0)

    with torch.no_grad():
        p, m, n = answer(first), answer(second), answer(negative)
        np.testing.assert_allclose(dual("dual"), n + 2 * (m - n) + 3 * (p - m), atol=1e-5)
        np.testing.assert_allclose(dual("nested"), n + 2 * (m + 3 * (p - m) - n), atol=1e-5)
    guide = custom.dual_cfg_guider(tiny, model, first, second, negative, 3.0, 2.0)
    assert (guide.style, guide.cfg, guide.cfg_2, guide.middle) == ("dual", 3.0, 2.0, second)


def test_euler_ancestral_without_eta_is_euler(tiny: Any) -> None:
    model, _, positive, negative = handles(tiny)
    guide, found = custom.cfg_guider(tiny, model, positive, negative, 4.0), levels(tiny, "simple", 5)

    def run(sampler: Any) -> Any:
        return custom.custom_advanced(tiny, custom.noise(tiny, 3), guide, sampler, found, empty(tiny))[0].samples

    assert torch.equal(run(custom.euler_ancestral(tiny, 0.0, 1.0)), run(custom.select_sampler(tiny, "euler")))
    usual = run(custom.select_sampler(tiny, "euler_ancestral"))
    assert torch.equal(run(custom.euler_ancestral(tiny, 1.0, 1.0)), usual)
    assert not torch.equal(run(custom.euler_ancestral(tiny, 1.0, 0.5)), usual)


def test_exact_steps_runs_as_many_steps_as_asked(tiny: Any) -> None:
    model, vae, positive, negative = handles(tiny)
    latent = encode_image(tiny, vae, np.random.default_rng(1).random((1, 64, 64, 3), dtype=np.float32))
    args: Any = {"seed": 4, "steps": 4, "cfg": 4.0, "sampler": "euler", "scheduler": "simple", "denoise": 0.5}
    tiny.steps.clear()
    exact = k_sampler(tiny, model, positive, negative, latent, exact_steps=True, **args)
    assert max(total for _, total in tiny.steps) == 4
    tiny.steps.clear()
    k_sampler(tiny, model, positive, negative, latent, **args)
    assert max(total for _, total in tiny.steps) == 2
    # ComfyUI: the last 4 steps of int(4 / 0.5) = 8; what a schedule of 8 with start 4 does.
    whole = k_sampler(tiny, model, positive, negative, latent, **{**args, "steps": 8})
    assert torch.equal(exact.samples, whole.samples)
    none = k_sampler(tiny, model, positive, negative, latent, exact_steps=True, **{**args, "denoise": 0.0})
    assert torch.equal(none.samples, latent.samples)
    # And its schedule node, which always counts so.
    found = levels(tiny, "simple", 4, denoise=0.5)
    np.testing.assert_array_equal(found, levels(tiny, "simple", 8)[-5:])


def test_lists_are_made_by_their_formulas(tiny: Any) -> None:
    karras = sigmas.schedule_karras(tiny, 4, 10.0, 0.1, 7.0)
    ramp = np.linspace(0, 1, 4)
    np.testing.assert_allclose(karras[:-1], (10 ** (1 / 7) + ramp * (0.1 ** (1 / 7) - 10 ** (1 / 7))) ** 7, rtol=1e-6)
    np.testing.assert_allclose(sigmas.schedule_exponential(tiny, 3, 10.0, 0.1), [10, 1, 0.1, 0], rtol=1e-6)
    model = handles(tiny)[0]
    table = tiny.session.family(model.weights).noise_space.sigmas
    np.testing.assert_allclose(sigmas.schedule_turbo(tiny, model, 2, 1.0), [table[999], table[899], 0], rtol=1e-6)
    np.testing.assert_allclose(sigmas.schedule_turbo(tiny, model, 1, 0.5), [table[499], 0], rtol=1e-6)
    assert karras.dtype == np.float32


def test_the_beta_node_lays_comfyuis_timesteps(tiny: Any) -> None:
    stats = pytest.importorskip("scipy.stats")
    model = handles(tiny)[0]
    table = tiny.session.family(model.weights).noise_space.sigmas
    times = np.rint(stats.beta.ppf(1 - np.linspace(0, 1, 12, endpoint=False), 0.5, 0.7) * 999).astype(int)
    expected = [*table[times], 0.0]
    np.testing.assert_allclose(sigmas.schedule_beta(tiny, model, 12, 0.5, 0.7), expected, rtol=1e-6)


@pytest.mark.parametrize(("steps", "width", "height"), [(20, 1024, 1024), (4, 512, 768), (50, 2048, 1024)])
def test_the_flux2_list_is_that_of_diffusers(steps: int, width: int, height: int) -> None:
    from diffusers import FlowMatchEulerDiscreteScheduler
    from diffusers.pipelines.flux2.pipeline_flux2 import compute_empirical_mu

    mu = compute_empirical_mu(image_seq_len=round(width * height / 256), num_steps=steps)
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), mu=mu)
    ctx: Any = Recorder()
    ours = sigmas.schedule_flux2(ctx, steps, width, height)
    np.testing.assert_allclose(ours, scheduler.sigmas.numpy(), atol=1e-6)


def test_lists_are_cut_and_turned(tiny: Any) -> None:
    found = sigmas.manual_sigmas(tiny, "14.6; 7 and 3.5,1e0 .5 0")
    np.testing.assert_allclose(found, [14.6, 7, 3.5, 1, 0.5, 0], rtol=1e-6)
    found.setflags(write=False)  # as on a wire
    high, low = sigmas.split_sigmas_denoise(tiny, found, 0.4)
    assert [len(high), len(low)] == [4, 3]
    assert high[-1] == low[0] == 1.0
    whole, nothing = sigmas.split_sigmas_denoise(tiny, found, 0.0)
    assert [len(whole), len(nothing)] == [6, 1]
    np.testing.assert_allclose(sigmas.flip_sigmas(tiny, found), [1e-4, 0.5, 1, 3.5, 7, 14.6], rtol=1e-6)
    np.testing.assert_allclose(sigmas.set_first_sigma(tiny, found, 9.0)[:2], [9, 7])
    assert found[0] == np.float32(14.6)


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("0 1 2", "begins at 0"),
        ("5 0 1 0", "is before its end at 0"),
        ("5 -1 0", "numbers of 0 or more"),
        ("5 1e60 0", "numbers of 0 or more"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow")
def test_a_list_that_cant_be_run_is_one_sentence(tiny: Any, typed: str, sentence: str) -> None:
    model, _, positive, _ = handles(tiny)
    guide = custom.guider(tiny, model, positive)
    found = sigmas.manual_sigmas(tiny, typed)
    with pytest.raises(InvalidRequest, match=sentence):
        custom.custom_advanced(
            tiny, custom.noise(tiny, 1), guide, custom.select_sampler(tiny, "euler"), found, empty(tiny)
        )
