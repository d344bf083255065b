"""“Go fast”: eight-bit weights for one job, really used, told in the record, never mistaken for exact ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from engine.contracts.results import ResultRecord
from engine.interchange.image_metadata import read_metadata
from engine.memory.fast import in_eight_bits
from engine.recipes.build import request_of
from engine.recipes.request import ImageRequest
from studio_app.application import Application
from studio_app.cli.main import main

CIRCLE = ImageRequest(prompt="a red circle on a blue background", seed=7, steps=8, width=64, height=64)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    found = Application(tmp_path_factory.mktemp("studio"))
    found.settings.set("engine.warm_up", False)
    found.start()
    assert found.wait_ready(30)
    yield found
    found.close()


def made(app: Application, request: ImageRequest) -> ResultRecord:
    row = app.jobs.wait(app.jobs.submit_request(request), 60)
    assert row.status == "succeeded", row.error
    return app.library.of_job(row.id)[0]


def pixels(app: Application, record: ResultRecord) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(app.library.read(record))).convert("RGB"), np.float64)


def test_a_fast_picture_is_near_the_exact_one_and_says_what_it_was_made_with(app: Application) -> None:
    exact = made(app, CIRCLE)
    fast = made(app, replace(CIRCLE, fast=True))
    assert (exact.numerics.quantisation, fast.numerics.quantisation) == ("none", "int8")
    assert exact.numerics.device == "cpu"
    one, other = pixels(app, exact), pixels(app, fast)
    error = float(np.mean((one - other) ** 2))
    assert error > 0, "the weights were not quantised"
    assert 10 * np.log10(255**2 / error) >= 30
    # Back again, from the cache or not: the masters were never touched, and the two are told apart.
    again = made(app, CIRCLE)
    assert again.artifact.sha256 != fast.artifact.sha256
    assert np.array_equal(pixels(app, again), one)
    assert again.numerics.quantisation == "none"
    request = request_of(fast.spec)
    assert request is not None
    assert request.fast
    assert fast.spec.allowed_loss == "quantised"
    assert exact.spec.allowed_loss == "none"


def test_a_job_that_allows_it_is_signed_apart_without_the_nodes_own_switch(app: Application) -> None:
    exact = app.jobs.spec_of(replace(CIRCLE, seed=8))
    loose = replace(exact, allowed_loss="quantised")
    found = []
    for spec in (exact, loose):
        row = app.jobs.wait(app.jobs.submit(spec), 60)
        found.append(app.library.of_job(row.id)[0])
    assert [record.numerics.quantisation for record in found] == ["none", "int8"]
    assert not np.array_equal(pixels(app, found[0]), pixels(app, found[1]))


def test_what_an_adapter_merged_is_what_gets_eight_bits() -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(32, 32), torch.nn.Linear(32, 8)).requires_grad_(False)
    x = torch.randn(4, 32)
    plain = network(x)
    merged = {"0.weight": torch.randn(32, 32)}
    wanted = torch.func.functional_call(network, merged, (x,))
    with in_eight_bits(network):
        near = network(x)
        found = torch.func.functional_call(network, merged, (x,))
    assert 0 < float((near - plain).abs().max()) < 0.05
    assert 0 < float((found - wanted).abs().max()) < 0.3 < float((found - plain).abs().max())
    assert torch.equal(network(x), plain)
    assert all("forward" not in vars(layer) for layer in network.modules())


def test_the_command_line_makes_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TESSERA_DATA", str(tmp_path / "data"))
    out = tmp_path / "fast.png"
    words = ["generate", CIRCLE.prompt, "--seed", "7", "--steps", "2", "--size", "64x64", "--fast", "--json"]
    assert main([*words, "-o", str(out)]) == 0
    assert json.loads(capsys.readouterr().out)["files"][0]["seed"] == 7
    job = read_metadata(out.read_bytes()).spec
    assert job is not None
    assert job.allowed_loss == "quantised"
