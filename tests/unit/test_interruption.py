"""A cancelled job stops before the next layer of a network, the next chunk of a file, the next node beside it."""

from __future__ import annotations

import copy
import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.contracts.errors import Cancelled
from engine.graph import interruption
from engine.graph.cache import ValueCache
from engine.graph.execute import JobResult, execute
from engine.graph.node import NodeContext, node
from engine.graph.registry import Registry
from engine.graph.services import CancelToken, Services
from engine.models.interruptible import watch_layers
from engine.sampling.session import Session
from tests.benchmarks.cache import _StarterOnly, picture
from tests.unit.graph_nodes import Bench, n


def network() -> torch.nn.Sequential:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Linear(4, 8), torch.nn.SiLU(), torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.LayerNorm(8))
    ).eval()


class CancelAt:
    """Cancels a token at the n-th call of a layer, counted from 1; afterwards `calls` says how many there were."""

    def __init__(self, token: CancelToken, at: int) -> None:
        self.token, self.at, self.calls = token, at, 0

    def __call__(self, module: Any, args: Any) -> None:
        if next(module.children(), None) is None:
            self.calls += 1
            if self.calls == self.at:
                self.token.cancel()


@pytest.fixture
def counting() -> Iterator[Callable[[CancelToken, int], CancelAt]]:
    from torch.nn.modules.module import register_module_forward_hook

    handles = []

    def count(token: CancelToken, at: int) -> CancelAt:
        counter = CancelAt(token, at)
        handles.append(register_module_forward_hook(lambda module, args, output: counter(module, args)))
        return counter

    yield count
    for handle in handles:
        handle.remove()


# --- the check


def test_nothing_is_asked_outside_of_a_job() -> None:
    interruption.check()
    token = CancelToken()
    token.cancel()
    with interruption.attending(token.check):
        with interruption.attending(lambda: None):
            interruption.check()
        with pytest.raises(Cancelled):
            interruption.check()
    interruption.check()


def test_each_thread_asks_for_its_own_job() -> None:
    token = CancelToken()
    token.cancel()
    raised: list[str] = []

    def other() -> None:
        interruption.check()
        raised.append("not here")

    with interruption.attending(token.check):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert raised == ["not here"]


def test_a_node_in_the_pool_can_be_left_too() -> None:
    """Slow safe nodes run on other threads; what they call asks for the same job."""
    token, entered = CancelToken(), threading.Barrier(2)

    @node("t.deep", category="Test", outputs=("value",))
    def deep(ctx: NodeContext, value: float = 0.0) -> float:
        """Works until it is left."""
        entered.wait(10)
        token.cancel()
        interruption.check()
        raise AssertionError("it was not left")

    bench = Bench(deep)
    bench.cache.traits_of("t.deep").seconds = 1.0
    nodes = (n("a", "t.deep", value=1.0), n("b", "t.deep", value=2.0))
    result = bench.run(*nodes, targets=("a", "b"), cancel=token)
    assert (result.outcome, result.failures) == ("cancelled", [])


# --- networks


def test_a_watched_network_computes_the_same() -> None:
    plain, watched = network(), network()
    watch_layers(watched)
    watch_layers(watched)
    x = torch.randn(3, 4)
    assert torch.equal(plain(x), watched(x))
    assert list(plain.state_dict()) == list(watched.state_dict())
    doubled = {name: value * 2 for name, value in watched.state_dict().items()}
    assert torch.equal(
        torch.func.functional_call(plain, doubled, (x,)), torch.func.functional_call(watched, doubled, (x,))
    )


def test_a_copy_computes_with_its_own_weights() -> None:
    watched = network()
    watch_layers(watched)
    other = copy.deepcopy(watched)
    with torch.no_grad():
        for weight in other.parameters():
            weight.zero_()
    x = torch.ones(1, 4)
    assert not other(x).any()
    assert watched(x).any()


def test_an_unloaded_network_is_freed_without_the_collector() -> None:
    watched = network()
    watch_layers(watched)
    weight = weakref.ref(watched[0].weight)
    gc.disable()
    try:
        del watched
        assert weight() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("at", [1, 2, 3])
def test_no_layer_begins_after_a_cancel(counting: Callable[[CancelToken, int], CancelAt], at: int) -> None:
    token, watched = CancelToken(), network()
    watch_layers(watched)
    counter = counting(token, at)
    with interruption.attending(token.check), pytest.raises(Cancelled):
        watched(torch.ones(1, 4))
    assert counter.calls == at


def starter(token: CancelToken, services: Services) -> JobResult:
    spec = picture(128, steps=2)
    return execute(spec, registry=Registry.builtin(), services=services, cache=ValueCache(1 << 28), cancel=token)


def test_cancelling_stops_the_starter_model_within_a_layer(
    counting: Callable[[CancelToken, int], CancelAt],
) -> None:
    """At any moment of encoding, sampling and decoding; the next run gives the same picture as one never cancelled."""
    parts = _StarterOnly()
    session = Session(parts)
    services = Services(blobs=parts, models=parts, session=lambda: session)
    counter = counting(CancelToken(), 0)
    expected = starter(CancelToken(), services)
    assert expected.outcome == "succeeded"
    total = counter.calls
    assert total > 300
    for at in (3, total // 4, total // 2, total - 20):
        token = CancelToken()
        counter.token, counter.at, counter.calls = token, at, 0
        assert starter(token, services).outcome == "cancelled"
        assert counter.calls == at
    counter.at = 0
    again = starter(CancelToken(), services)
    assert (again.outputs["scale"]["image"] == expected.outputs["scale"]["image"]).all()


# --- loading


def test_a_cancelled_job_loads_no_further_part() -> None:
    parts = _StarterOnly()
    session = Session(parts)
    token = CancelToken()
    services = Services(blobs=parts, models=parts, session=lambda: session)
    loads: list[str] = []

    def located(ref: Any) -> Path:
        loads.append(ref.name)
        return _StarterOnly.locate(parts, ref)

    parts.locate = located  # type: ignore[method-assign]
    token.cancel()
    assert starter(token, services).outcome == "cancelled"
    assert (loads, session.resident_bytes) == ([], 0)
    with interruption.attending(token.check), pytest.raises(Cancelled):
        session.warm(picture(64).workflow.node("load").inputs["checkpoint"])  # type: ignore[arg-type]
    assert session.resident_bytes == 0
