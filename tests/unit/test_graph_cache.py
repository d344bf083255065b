"""What is kept, for how long, and what the engine says about it: budget, disk, pins, explanations, migrations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.contracts.errors import InvalidWorkflow
from engine.contracts.job_events import JobEvent
from engine.contracts.job_spec import JobSpec, Sweep
from engine.contracts.node_schema import Effects
from engine.contracts.references import BlobRef, ModelRef
from engine.contracts.workflow import Link, Node, Workflow
from engine.graph.cache import ENTRY_BYTES, Kept, ValueCache
from engine.graph.disk import SUFFIX, DiskTier, pack, unpack
from engine.graph.execute import execute
from engine.graph.explain import explain
from engine.graph.node import NodeContext, node
from engine.graph.signatures import signatures
from engine.graph.values import Artifact, Image, LatentValue, ModelHandle, Patch
from tests.unit.graph_nodes import CALLS, Bench, n, registry, services

MEGABYTE = 1 << 20


def megabytes(count: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.zeros(count * MEGABYTE, np.uint8)


def kept(value: Any) -> Kept:
    return Kept((value,), None, ())


def key(number: int) -> bytes:
    return number.to_bytes(16, "big")


class TestValueCache:
    def test_the_least_recently_used_goes_first(self) -> None:
        cache = ValueCache(3 * MEGABYTE + 3 * ENTRY_BYTES)
        for i in range(3):
            cache.put(key(i), kept(megabytes(1)))
        assert cache.get(key(0)) is not None
        cache.put(key(3), kept(megabytes(1)))
        assert [key(i) in cache for i in range(4)] == [True, False, True, True]
        assert cache.used_bytes <= cache.budget_bytes

    def test_a_buffer_shared_by_results_counts_once(self) -> None:
        cache = ValueCache(10 * MEGABYTE)
        pixels = megabytes(2)
        cache.put(key(0), kept(pixels))
        cache.put(key(1), kept(pixels[: MEGABYTE // 2]))
        cache.put(key(2), kept((pixels, [pixels])))
        assert 2 * MEGABYTE < cache.used_bytes < 2 * MEGABYTE + 4 * ENTRY_BYTES
        for i in range(3):
            cache.put(key(i), kept(0))
        assert cache.used_bytes < 4 * ENTRY_BYTES

    def test_tensors_count_their_storage(self) -> None:
        torch = pytest.importorskip("torch")
        latent = LatentValue(torch.zeros(1, 4, 64, 64), "sd15")
        assert sum(kept(latent).buffers.values()) == 4 * 64 * 64 * 4

    def test_a_value_larger_than_the_budget_is_not_kept(self) -> None:
        cache = ValueCache(MEGABYTE)
        cache.put(key(0), kept(megabytes(2)))
        assert (len(cache), cache.used_bytes) == (0, 0)

    def test_pinned_results_stay(self) -> None:
        cache = ValueCache(2 * MEGABYTE)
        cache.put(key(0), kept(megabytes(1)))
        assert cache.pin(key(0))
        assert not cache.pin(key(9))
        cache.put(key(1), kept(megabytes(1)))
        cache.clear()
        assert key(0) in cache
        cache.unpin(key(0))
        cache.resize(0)
        assert len(cache) == 0

    def test_arrays_inside_anything_are_sealed(self) -> None:
        inner = np.ones(3)
        kept({"a": [(inner,)]})
        with pytest.raises(ValueError, match="read-only"):
            inner[0] = 2


VALUES: list[Any] = [
    None, True, 3, 2.5, -0.0, "text", b"bytes", (1, (2.0, "x")), [1, [2]], {"a": {"b": 1}},
    np.arange(6, dtype=np.float32).reshape(1, 2, 3), np.zeros((0, 3), np.uint8), np.array(5, np.int64),
    ModelHandle(ModelRef(name="m", sha256="0" * 64), "sd15", (Patch("lora", (("weight", 0.5),)),)),
    BlobRef(name="x", size=3), Artifact(b"png", "image/png", 0, "name", 4, 4, (("seed", 7),)),
]  # fmt: skip


class TestDiskTier:
    @pytest.mark.parametrize("value", VALUES, ids=lambda v: type(v).__name__)
    def test_what_is_written_is_what_is_read(self, value: Any) -> None:
        again = unpack(pack(Kept((value, 1), (False, True), (Artifact(b"a", "t", 0),))))
        if isinstance(value, np.ndarray):
            assert again.outputs[0].dtype == value.dtype
            np.testing.assert_array_equal(again.outputs[0], value)
        else:
            assert again.outputs[0] == value
            assert type(again.outputs[0]) is type(value)
        assert (again.many, again.artifacts) == ((False, True), (Artifact(b"a", "t", 0),))

    def test_tensors_of_every_kind_come_back_bit_for_bit(self) -> None:
        torch = pytest.importorskip("torch")
        for kind in (torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.bool):
            for shape in ((2, 3), (), (0, 4)):
                tensor = torch.ones(shape).to(kind)
                (again,) = unpack(pack(kept(tensor))).outputs
                assert again.dtype == kind
                assert torch.equal(again, tensor)

    def test_results_survive_a_restart(self, tmp_path: Path) -> None:
        bench = Bench(dear_picture)
        bench.cache.disk = DiskTier(tmp_path, 1 << 24)
        first = bench.run(n("p", "t.dear", size=4), targets=["p"])
        bench.cache = ValueCache(1 << 24, DiskTier(tmp_path, 1 << 24))
        again = bench.run(n("other", "t.dear", size=4), targets=["other"])
        assert not CALLS
        np.testing.assert_array_equal(again.outputs["other"]["image"], first.outputs["p"]["image"])

    def test_what_is_cheap_is_not_written(self, tmp_path: Path) -> None:
        bench = Bench()
        bench.cache.disk = DiskTier(tmp_path, 1 << 24)
        bench.run(n("p", "t.picture"), targets=["p"])
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("harm", [lambda d: d[:-3], lambda d: b"", lambda d: d[:40] + b"\xff" + d[41:]])
    def test_a_damaged_file_is_a_miss_and_removed(self, tmp_path: Path, harm: Callable[[bytes], bytes]) -> None:
        tier = DiskTier(tmp_path, 1 << 24)
        tier.put(key(1), kept(np.ones(30)))
        (path,) = tmp_path.iterdir()
        path.write_bytes(harm(path.read_bytes()))
        assert tier.get(key(1)) is None
        assert list(tmp_path.iterdir()) == []

    def test_the_budget_holds(self, tmp_path: Path) -> None:
        tier = DiskTier(tmp_path, 3 * MEGABYTE)
        for i in range(6):
            tier.put(key(i), kept(megabytes(1)))
        tier.put(key(99), kept(megabytes(4)))
        files = list(tmp_path.iterdir())
        assert sum(f.stat().st_size for f in files) <= 3 * MEGABYTE
        assert key(5) in tier
        assert key(99) not in tier
        assert all(f.name.endswith(SUFFIX) for f in files)

    def test_a_folder_that_can_not_be_written_harms_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("in the way")
        tier = DiskTier(tmp_path / "file", MEGABYTE)
        tier.put(key(0), kept(1))
        assert tier.get(key(0)) is None

    def test_a_value_without_a_form_on_disk_is_not_kept(self, tmp_path: Path) -> None:
        tier = DiskTier(tmp_path, MEGABYTE)
        tier.put(key(0), kept(object()))
        assert list(tmp_path.iterdir()) == []


@node("t.dear", category="Test", outputs=("image",), effects=Effects(dear=True))
def dear_picture(ctx: NodeContext, size: int = 4) -> Image:
    """Dear to make."""
    CALLS[ctx.node_id] += 1
    return np.random.default_rng(size).random((1, size, size, 3), np.float32)


class TestPins:
    def test_a_pinned_result_stands_whatever_its_inputs(self) -> None:
        bench = Bench()

        def graph(number: float) -> list[Node]:
            return [n("a", "t.add", a=number), n("b", "t.add", a="@a.sum"), n("s", "t.save", value="@b.sum")]

        bench.run(*graph(1))
        pin = bench.cache.pin_node("a")
        assert pin is not None
        result = bench.run(*graph(500), pins={"a": pin})
        assert result.artifacts[0][1].data == b"3.0"
        assert dict(CALLS) == {"s": 1}
        # What was made from the pinned result is never taken for what the new inputs give.
        assert bench.run(*graph(500)).artifacts[0][1].data == b"502.0"

    def test_a_pin_that_is_gone_lets_the_node_run(self) -> None:
        result = Bench().run(n("a", "t.add", a=1), targets=["a"], pins={"a": "00" * 16})
        assert result.outputs == {"a": {"sum": 2.0}}
        assert Bench().run(n("a", "t.add", a=1), targets=["a"], pins={"a": "no hex"}).succeeded == ["a"]


class TestExplain:
    def reasons(self, bench: Bench, *nodes: Node, **options: Any) -> dict[str, tuple[str, str]]:
        spec = JobSpec(workflow=Workflow(nodes=nodes), **options)
        return {e.node: (e.action, e.reason) for e in explain(spec, bench.registry, bench.cache)}

    def test_it_says_what_would_run_and_why(self) -> None:
        bench = Bench()
        graph = [n("a", "t.add", a=1), n("b", "t.add", a="@a.sum"), n("s", "t.save", value="@b.sum")]
        assert self.reasons(bench, *graph) == {
            "a": ("run", "it has not run yet"),
            "b": ("run", "it has not run yet"),
            "s": ("run", "it runs each time"),
        }
        bench.run(*graph)
        assert self.reasons(bench, *graph) == {
            "a": ("not_needed", "what follows it is kept already"),
            "b": ("cached", "nothing it depends on has changed"),
            "s": ("run", "it runs each time"),
        }
        edited = [n("a", "t.add", a=1, b=2.5), *graph[1:]]
        assert self.reasons(bench, *edited) == {
            "a": ("run", "its input “b” changed from 1.0 to 2.5"),
            "b": ("run", "what reaches its input “a” from node “a” has changed"),
            "s": ("run", "it runs each time"),
        }

    def test_it_runs_nothing_and_counts_no_use(self) -> None:
        bench = Bench()
        self.reasons(bench, n("a", "t.add", a=1), targets=("a",))
        assert not CALLS
        assert (bench.cache.hits, bench.cache.misses, len(bench.cache)) == (0, 0, 0)

    def test_it_tells_dropped_pinned_and_replaced_apart(self) -> None:
        bench = Bench()
        bench.run(n("a", "t.add", a=1), n("p", "t.picture"), targets=["a", "p"])
        pin = bench.cache.pin_node("p")
        assert pin is not None
        bench.cache.clear()
        told = self.reasons(
            bench, n("a", "t.add", a=1), n("p", "t.picture", size=9), targets=("a", "p"), pins={"p": pin}
        )
        assert told == {
            "a": ("run", "its kept result was dropped to make room"),
            "p": ("pinned", "its result is pinned"),
        }
        assert self.reasons(bench, n("a", "t.picture", size=5), targets=("a",)) == {
            "a": ("run", "another node had this place")
        }


# ---- signatures


def test_signatures_do_not_depend_on_ids_order_or_spelled_out_defaults() -> None:
    types = registry()
    one = signatures(Workflow(nodes=(n("a", "t.add", a=1), n("b", "t.add", a="@a.sum", b=2))), types)
    two = signatures(Workflow(nodes=(n("y", "t.add", b=2.0, a="@x.sum"), n("x", "t.add", b=1, a=1.0))), types)
    assert (one["a"], one["b"]) == (two["x"], two["y"])


def test_signatures_are_the_same_in_every_session() -> None:
    code = replace(n("a", "utility.integer", value=7))
    found = signatures(Workflow(nodes=(code,)), registry())["a"]
    assert len(found) == 32
    assert found == signatures(Workflow(nodes=(code,)), registry())["a"]


@pytest.mark.parametrize(
    "other",
    [
        {"a": 2},
        {"a": 1, "b": 1.0000001},
        {"a": "@x.sum"},
    ],
)
def test_different_inputs_have_different_signatures(other: dict[str, Any]) -> None:
    workflow = Workflow(nodes=(n("x", "t.add", a=0), n("a", "t.add", a=1), n("b", "t.add", **other)))
    signed = signatures(workflow, registry())
    assert signed["a"] != signed["b"]


def test_models_count_by_content_and_pictures_by_hash() -> None:
    @node("t.takes", category="Test", outputs=("value",))
    def takes(ctx: NodeContext, value: Any = None) -> float:
        """Takes anything."""
        return 1.0

    types = registry(takes)

    def sign(value: Any) -> str:
        return signatures(Workflow(nodes=(n("a", "t.takes", value=value),)), types)["a"]

    digest = "ab" * 32
    assert sign(ModelRef(name="one", sha256=digest)) == sign(ModelRef(name="two", sha256=digest, url="http://x"))
    assert sign(ModelRef(name="one")) != sign(ModelRef(name="two"))
    assert sign(BlobRef(sha256=digest, name="one")) == sign(BlobRef(sha256=digest, name="two"))
    assert sign(BlobRef(name=digest)) != sign(BlobRef(sha256=digest))
    assert sign("1") != sign(1)
    assert sign(True) != sign(1)


# ---- versions


@node(
    "t.grown",
    category="Test",
    outputs=("value",),
    version=3,
    migrations=(
        lambda old: {"amount": old.get("size", 1), **{k: v for k, v in old.items() if k != "size"}},
        lambda old: {**old, "amount": old["amount"] * 10},
    ),
)
def grown(ctx: NodeContext, amount: int = 0) -> float:
    """In version 1 the input was called size; in version 2 it counted in tens."""
    return float(amount)


@pytest.mark.parametrize(("version", "inputs"), [(1, {"size": 4}), (2, {"amount": 4}), (3, {"amount": 40})])
def test_an_old_node_opens_in_a_newer_studio(version: int, inputs: dict[str, Any]) -> None:
    item = Node(id="g", type="t.grown", type_version=version, inputs=inputs)
    assert Bench(grown).run(item, targets=["g"]).outputs == {"g": {"value": 40.0}}


def test_a_newer_node_asks_for_an_update_and_a_failed_migration_says_so() -> None:
    with pytest.raises(InvalidWorkflow, match=r"made with version 4 of “t\.grown”; this studio has version 3"):
        Bench(grown).run(Node(id="g", type="t.grown", type_version=4), targets=["g"])
    with pytest.raises(InvalidWorkflow, match="could not be brought from version 2 to 3"):
        Bench(grown).run(Node(id="g", type="t.grown", type_version=2), targets=["g"])


# ---- anew


def test_a_job_made_anew_runs_every_node_though_all_is_kept_and_leaves_the_cache_usable() -> None:
    bench = Bench()
    nodes = (
        n("one", "t.add", a=1),
        n("two", "t.add", a=Link("one", "sum")),
        n("see", "t.show", value=Link("two", "sum")),
    )
    bench.run(*nodes)
    bench.run(*nodes)
    assert (bench.kinds("node_finished"), bench.kinds("node_cached")) == ([], ["see"])
    bench.run(*nodes, anew=True)
    assert bench.kinds("node_finished") == ["one", "two", "see"]
    assert bench.kinds("node_cached") == []
    assert bench.events[1].data["nodes"] == ["see", "two", "one"]
    bench.run(*nodes)
    assert bench.kinds("node_finished") == []


def test_the_runs_of_a_sweep_made_anew_share_what_is_the_same_and_pins_stay() -> None:
    bench = Bench()
    nodes = (n("one", "t.add", a=1), n("two", "t.add", a=Link("one", "sum"), b=0.0))
    bench.run(*nodes, targets=["two"])
    bench.run(*nodes, targets=["two"], anew=True, bindings={"two.b": Sweep((5.0, 6.0))})
    assert bench.kinds("node_finished") == ["one", "two", "two"]
    assert bench.kinds("node_cached") == ["one"]
    pinned = bench.cache.pin_node("one")
    assert pinned is not None
    bench.run(*nodes, targets=["two"], anew=True, pins={"one": pinned})
    assert (bench.kinds("node_finished"), bench.kinds("node_cached")) == (["two"], ["one"])


def test_what_a_node_gave_can_be_looked_up_as_soon_as_its_event_is_heard() -> None:
    bench = Bench()
    seen: list[tuple[str, Any]] = []

    def hear(event: JobEvent) -> None:
        if event.kind in {"node_finished", "node_cached"}:
            found = bench.cache.get(bench.cache.history[event.node][1])
            seen.append((event.node, found.outputs[0] if found is not None else None))

    nodes = (n("one", "t.add", a=1), n("two", "t.add", a=Link("one", "sum")))
    spec = JobSpec(workflow=Workflow(nodes=nodes), targets=("two",))
    execute(spec, registry=bench.registry, services=services(), cache=bench.cache, on_event=hear, job_id="job")
    assert seen == [("one", 2.0), ("two", 3.0)]
