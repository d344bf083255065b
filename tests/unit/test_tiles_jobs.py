"""Tiles in whole jobs, on the starter's session: upscalers and autoencoders, stopped between tiles, short of memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.contracts.job_events import JobEvent
from engine.contracts.job_spec import JobSpec
from engine.contracts.references import ModelRef
from engine.contracts.workflow import Link, Node, Workflow
from engine.enhance.tiled import reach, upscaled
from engine.enhance.upscalers import Upscaler
from engine.graph.cache import ValueCache
from engine.graph.execute import JobResult, execute
from engine.graph.registry import Registry
from engine.graph.services import CancelToken, Services
from tests.benchmarks.tiny_models import STARTER
from tests.failure_room import write_upscaler
from tests.memory_room import Room, SimulatedCard

REGISTRY = Registry.builtin()
SEEN: dict[str, Any] = {"width": 160, "height": 96, "kind": "radial", "start": "#204080", "end": "#ffd0a0"}
UPSCALE = JobSpec(
    workflow=Workflow(
        nodes=(
            Node(id="seen", type="image.gradient", inputs=SEEN),
            Node(
                id="net",
                type="load.upscale_model",
                inputs={"upscaler": ModelRef(kind="upscaler", name="compact")},
            ),
            Node(
                id="end",
                type="image.upscale_with_model",
                inputs={
                    "upscale_model": Link("net", "upscale_model"), "image": Link("seen", "image"), "tile_size": 128,
                },
            ),
        )
    ),
    targets=("end",),
)  # fmt: skip
THERE_AND_BACK = JobSpec(
    workflow=Workflow(
        nodes=(
            Node(id="load", type="load.checkpoint", inputs={"checkpoint": ModelRef(name="starter")}),
            Node(id="seen", type="image.gradient", inputs={**SEEN, "width": 160, "height": 160}),
            Node(
                id="encoded",
                type="latent.encode_image_tiled",
                inputs={"vae": Link("load", "vae"), "image": Link("seen", "image"), "tile_size": 128, "overlap": 32},
            ),
            Node(
                id="end",
                type="latent.decode_image_tiled",
                inputs={
                    "vae": Link("load", "vae"), "latent": Link("encoded", "latent"), "tile_size": 128, "overlap": 32,
                },
            ),
        )
    ),
    targets=("end",),
)  # fmt: skip


class Studio(Room):
    """The starter model, with a small upscaler beside it."""

    def __init__(self, folder: Path, card: SimulatedCard | None = None) -> None:
        super().__init__(STARTER, "sd15", card)
        self._beside = folder

    def locate(self, ref: ModelRef) -> Path:
        return self._beside / "upscalers" / f"{ref.name}.safetensors" if ref.kind == "upscaler" else STARTER

    def done(self, job: JobSpec, events: list[JobEvent], cancel: CancelToken | None = None) -> JobResult:
        services: Any = Services(blobs=self, models=self, session=self.session)  # type: ignore[arg-type]
        return execute(
            job, registry=REGISTRY, services=services, cache=ValueCache(1 << 26), on_event=events.append, cancel=cancel
        )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("beside")
    write_upscaler(found)
    return found


def _picture(result: JobResult) -> np.ndarray[Any, np.dtype[np.float32]]:
    assert result.outcome == "succeeded", result.failures
    return np.array(result.outputs["end"]["image"])


def _said(events: list[JobEvent]) -> list[str]:
    return [str(event.data["text"]) for event in events if event.kind == "log"]


def test_a_job_upscales_as_the_network_does_whole(folder: Path) -> None:
    studio = Studio(folder)
    events: list[JobEvent] = []
    made = _picture(studio.done(UPSCALE, events))
    assert made.shape == (1, 192, 320, 3)
    assert float(made.std()) > 0.02
    small: Any = Studio(folder).done(
        JobSpec(workflow=UPSCALE.workflow, targets=("seen",)), []
    ).outputs["seen"]["image"]  # fmt: skip
    upscaler: Upscaler = studio.session.other(ModelRef(kind="upscaler", name="compact"))
    whole = upscaler(torch.from_numpy(np.array(small)).permute(0, 3, 1, 2)).clamp(0, 1).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(made, whole, atol=1e-5)
    shares = [float(e.data["done"]) / float(e.data["total"]) for e in events if e.kind == "node_progress"]
    assert shares == sorted(shares)


@pytest.mark.parametrize("way", ["upscale", "encode", "decode"])
def test_a_job_stops_between_tiles(folder: Path, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    studio, token, calls = Studio(folder), CancelToken(), [0]
    job, size = (UPSCALE, 64) if way == "upscale" else (THERE_AND_BACK, 96)
    owner: Any = Upscaler if way == "upscale" else type(studio.session.family(ModelRef(name="starter")))
    name = "forward" if way == "upscale" else way
    own = getattr(owner, name)

    def counted(*args: Any) -> Any:
        calls[0] += 1
        if calls[0] == 3:
            token.cancel()
        return own(*args)

    studio.session.other(ModelRef(kind="upscaler", name="compact"))  # its probes are not counted
    monkeypatch.setattr(owner, name, counted)
    nodes = tuple(
        replace(node, inputs={**node.inputs, "tile_size": size, **({} if way == "upscale" else {"overlap": 32})})
        if "tile_size" in node.inputs
        else node
        for node in job.workflow.nodes
    )
    result = studio.done(JobSpec(workflow=Workflow(nodes=nodes), targets=("end",)), [], token)
    assert result.outcome == "cancelled"
    assert calls[0] == 3


def _short(folder: Path, job: JobSpec, above: int) -> tuple[JobResult, list[str]]:
    """The job on a card on which nothing above a size can be had, which is bare again at its end."""
    card = SimulatedCard(above=above)
    studio = Studio(folder, card)
    events: list[JobEvent] = []
    with card.watching():
        result = studio.done(job, events)
    studio.session.free()
    assert card.settled() == 0
    return result, _said(events)


def _roomy(folder: Path, job: JobSpec) -> tuple[np.ndarray[Any, np.dtype[np.float32]], int]:
    """The picture where there is room, and the largest that was asked for in bytes."""
    card = SimulatedCard()
    with card.watching():
        made = _picture(Studio(folder, card).done(job, []))
    return made, max(card.sizes)


def test_an_upscale_short_of_memory_ends_with_the_same_pixels_in_smaller_tiles(folder: Path) -> None:
    whole, largest = _roomy(folder, UPSCALE)
    result, said = _short(folder, UPSCALE, largest - 1)
    np.testing.assert_allclose(_picture(result), whole, atol=1e-5)
    assert said[-1] == "Memory ran out; the picture is enlarged in tiles of 64 pixels."
    assert "Memory ran out; the picture is enlarged with nothing else on the card." in said
    assert result.numerics["end"]["upscale_tile"] == 64


def test_an_upscale_that_fails_once_is_bit_for_bit_the_same(folder: Path) -> None:
    card = SimulatedCard()
    studio = Studio(folder, card)
    events: list[JobEvent] = []
    with card.watching():
        whole = _picture(studio.done(UPSCALE, []))
        card.again()
        studio.done(UPSCALE, [])
        card.again(failing=(card.allocations // 2,))
        result = studio.done(UPSCALE, events)
    np.testing.assert_array_equal(_picture(result), whole)
    assert _said(events)
    assert "upscale_tile" not in result.numerics.get("end", {})


def test_nothing_fits_and_it_is_refused_with_a_remedy(folder: Path) -> None:
    result, said = _short(folder, UPSCALE, 4096)
    assert result.outcome == "failed"
    assert result.failures[0].hint
    assert "memory" in result.failures[0].cause
    assert all(line.count("\n") == 0 for line in said)


def test_an_autoencoder_short_of_memory_goes_down_in_tile_size(folder: Path) -> None:
    """The picture stays near, and the record says in what tiles it was decoded."""
    whole, largest = _roomy(folder, THERE_AND_BACK)
    result, said = _short(folder, THERE_AND_BACK, largest // 3)
    assert result.numerics["end"]["vae_tile"] == 64
    assert "Memory ran out; the picture is decoded in tiles of 64 pixels." in said
    apart = np.abs(_picture(result) - whole)
    assert float(apart.mean()) < 0.5 / 255
    assert float(apart.max()) < 8 / 255


def test_a_far_sighted_upscaler_sees_less_only_where_memory_asks_for_it() -> None:
    class Far(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.along = torch.nn.Conv2d(3, 3, (1, 81), padding=(0, 40), groups=3, bias=False)
            self.down = torch.nn.Conv2d(3, 3, (81, 1), padding=(40, 0), groups=3, bias=False)
            for one in (self.along, self.down):
                one.weight.data.fill_(1 / 81)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            made: torch.Tensor = self.down(self.along(x)).repeat_interleave(2, -1).repeat_interleave(2, -2)
            return made

    upscaler = Upscaler(Far().requires_grad_(False), 2, "far")
    assert upscaler.context == 40
    assert reach(upscaler, 64) == (160, 40, True)
    assert reach(upscaler, 64, exact=False) == (64, 16, False)
    rng = np.random.default_rng(0)
    picture = rng.random((1, 200, 200, 3), dtype=np.float32)
    whole = upscaled(upscaler, picture, 512)
    assert float(np.abs(upscaled(upscaler, picture, 64) - whole).max()) < 1e-5
    less = np.abs(upscaled(upscaler, picture, 64, exact=False) - whole)[:, 80:-80, 80:-80]
    assert 1e-3 < float(less.max()) < 0.3
