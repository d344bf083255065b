"""Schedules without a counterpart in diffusers, against formulas written down again here."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from engine.contracts.errors import InvalidDocument, InvalidRequest, UnknownChoice
from engine.sampling import schedules
from engine.sampling.beta import beta_quantile
from engine.sampling.names import SAMPLERS, SCHEDULES
from engine.sampling.noise_space import NoiseSpace
from engine.sampling.solvers import SOLVERS
from tests.benchmarks.tiny_models import SCHEDULER


@pytest.fixture(scope="module")
def space() -> NoiseSpace:
    return NoiseSpace.from_config(SCHEDULER)


def model_sigmas() -> np.ndarray:
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    alphas = np.cumprod(1 - betas)
    return np.sqrt((1 - alphas) / alphas)


def test_sigmas_of_stable_diffusion(space: NoiseSpace) -> None:
    assert space.sigmas[0] == pytest.approx(0.0292, abs=1e-4)
    assert space.sigmas[-1] == pytest.approx(14.6146, abs=1e-3)
    np.testing.assert_allclose(space.sigmas, model_sigmas(), rtol=1e-4)


def test_beta_quantiles_are_scipys() -> None:
    # scipy.stats.beta.ppf(p, 0.6, 0.6), scipy 1.17.1
    table = {
        0.01: 0.0008612388215429059, 0.05: 0.012554456873611399, 0.25: 0.17568037865269498, 0.5: 0.5,
        0.9: 0.9604155944112192, 0.999: 0.9999814412614826, 0.0: 0.0, 1.0: 1.0,
    }  # fmt: skip
    for probability, quantile in table.items():
        assert beta_quantile(probability, 0.6, 0.6) == pytest.approx(quantile, abs=1e-12)


def test_karras_is_the_papers_formula() -> None:
    laid = schedules.karras(0.03, 14.6, 10)
    for i, sigma in enumerate(laid):
        expected = (14.6 ** (1 / 7) + i / 9 * (0.03 ** (1 / 7) - 14.6 ** (1 / 7))) ** 7
        assert sigma == pytest.approx(expected, rel=1e-12)


def test_sgm_uniform_is_comfyuis(space: NoiseSpace) -> None:
    # comfy: timesteps = linspace(t(σmax), t(σmin), n + 1)[:-1]; σ by interpolation in log σ
    laid = schedules.build("sgm_uniform", 7, space, "ends")
    logs = np.log(model_sigmas())
    for i in range(7):
        t = 999 - i * 999 / 7
        low, share = math.floor(t), t - math.floor(t)
        expected = math.exp((1 - share) * logs[low] + share * logs[min(low + 1, 999)])
        assert float(laid.sigmas[i]) == pytest.approx(expected, rel=1e-4)
        assert float(laid.timesteps[i]) == pytest.approx(t, abs=1e-3)


def test_simple_is_comfyuis(space: NoiseSpace) -> None:
    # comfy: sigmas[-(1 + int(i * len / n))]
    laid = schedules.build("simple", 7, space, "ends")
    sigmas = model_sigmas()
    expected = [sigmas[-(1 + int(i * 1000 / 7))] for i in range(7)]
    np.testing.assert_allclose(laid.sigmas[:-1].numpy(), expected, rtol=1e-4)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("steps", [1, 2, 3, 20, 31, 150, 500])
def test_every_schedule_falls_to_nothing(space: NoiseSpace, name: str, steps: int) -> None:
    for solver in SOLVERS.values():
        laid = schedules.build(name, steps, space, solver.grid)
        assert laid.steps == steps
        assert laid.sigmas.shape == (steps + 1,)
        assert float(laid.sigmas[-1]) == 0.0
        assert bool((laid.sigmas[1:] <= laid.sigmas[:-1]).all()), (name, solver.grid)
        assert bool(torch.isfinite(laid.sigmas).all())
        assert laid.sigmas.device.type == "cpu"
        assert float(laid.timesteps.min()) >= 0
        assert float(laid.timesteps.max()) <= 999


def test_leftover_noise_is_cut_off_at_the_end_step(space: NoiseSpace) -> None:
    whole = schedules.build("karras", 10, space, "inner")
    cut = whole.ending_at(4)
    assert cut.steps == 4
    assert torch.equal(cut.sigmas[:4], whole.sigmas[:4])
    assert float(cut.sigmas[4]) == 0.0


def test_names_and_solvers_are_the_same_list() -> None:
    assert tuple(SOLVERS) == SAMPLERS


def test_unknown_names_and_absurd_steps_are_one_sentence(space: NoiseSpace) -> None:
    with pytest.raises(UnknownChoice, match=r"There is no scheduler “karas”. Did you mean “karras”"):
        schedules.build("karas", 10, space)
    for steps in (0, -3, 501):
        with pytest.raises(InvalidRequest, match="it can be 1 to 500"):
            schedules.build("normal", steps, space)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"beta_schedule": "secret"}, "beta_schedule"),
        ({"prediction_type": 3}, "prediction_type"),
        ({"timestep_spacing": "sideways"}, "timestep_spacing"),
        ({"beta_start": -1}, "beta_start"),
        ({"num_train_timesteps": "many"}, "num_train_timesteps"),
        ({"trained_betas": [0.1]}, "trained_betas"),
    ],
)
def test_a_wrong_scheduler_config_names_its_field(change: dict[str, object], sentence: str) -> None:
    with pytest.raises(InvalidDocument, match=sentence):
        NoiseSpace.from_config({**SCHEDULER, **change})


def test_zero_terminal_snr_ends_in_almost_nothing() -> None:
    rescaled = NoiseSpace.from_config({**SCHEDULER, "rescale_betas_zero_snr": True})
    assert float(rescaled.alphas_cumprod[-1]) == 2**-24
    assert np.isfinite(rescaled.sigmas).all()
