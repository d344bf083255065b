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


def started(folder: Path, **settings: object) -> Application:
    found = Application(folder)
    found.settings.set("engine.warm_up", False)
    for name, value in settings.items():
        found.settings.set(f"engine.{name}", value)
    found.start()
    assert found.wait_ready(30)
    return found


def test_a_fast_picture_that_comes_from_the_disk_still_says_so(tmp_path: Path) -> None:
    records, texts = [], []
    for _ in range(2):
        app = started(tmp_path)
        try:
            records += [made(app, replace(CIRCLE, fast=True)), made(app, CIRCLE)]
            if len(records) == 4:
                made(app, replace(CIRCLE, seed=8))  # another picture of the prompts that were read before the restart
            session = app.engine.lane._services.get_session()
            texts.append((session.texts.read, session.texts.found))
        finally:
            app.close()
    assert [record.numerics.quantisation for record in records] == ["int8", "none", "int8", "none"]
    assert records[0].artifact.sha256 == records[2].artifact.sha256
    assert records[0].parameters.endswith("Weights: int8")
    assert "Weights" not in records[1].parameters
    assert records[0].seconds > 0
    assert texts == [(2, 0), (0, 2)]


def test_going_fast_leaves_out_steps_where_the_settings_say_so_and_the_record_says_it(tmp_path: Path) -> None:
    many = replace(CIRCLE, steps=20)
    pictures = []
    for fast_cache in (False, True):
        app = started(tmp_path, fast_cache=fast_cache)
        try:
            record, exact = made(app, replace(many, fast=True)), made(app, many)
            assert exact.numerics.step_cache == ""
            assert record.numerics.quantisation == "int8"
            pictures.append((pixels(app, record), record.numerics.step_cache, record.parameters))
        finally:
            app.close()
    (plain, no, _), (cached, told, parameters) = pictures
    assert no == ""
    assert told.startswith("0.2 from 0.15 to 0.95, ")
    assert told.endswith(" of 20 calls left out")
    assert f'Step cache: "{told}"' in parameters
    error = float(np.mean((plain - cached) ** 2))
    assert error > 0  # the setting counts, though the other's picture is kept on the disk
    assert 10 * np.log10(255**2 / error) >= 30


def test_results_on_the_disk_have_a_budget_and_none_is_kept_with_none(tmp_path: Path) -> None:
    app = started(tmp_path, disk_cache_mib=0, text_cache_mib=0)
    try:
        made(app, CIRCLE)
        assert app.engine.lane._services.get_session().texts is None
        assert app.engine.lane.cache.disk is None
    finally:
        app.close()
    assert not list((app.paths.cache / "results").rglob("*.value"))
    old = app.paths.cache / "results" / "0.0.1-gone-cpu"
    old.mkdir(parents=True)
    (old / "a.value").write_bytes(b"x")
    app = started(tmp_path, disk_cache_mib=1, text_cache_mib=1)
    try:
        made(app, CIRCLE)
        assert app.engine.lane.cache.disk.budget_bytes == 2**20
    finally:
        app.close()
    kept = [path.relative_to(app.paths.cache / "results").parts[1] for path in app.paths.cache.rglob("*.value")]
    assert sorted(set(kept)) == ["auto", "prompts"]
    assert not old.exists()  # what another version kept is found by nobody


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
