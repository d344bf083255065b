"""Large, deep and hostile documents: exact answers, no recursion, and no file outside the chosen folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.contracts.errors import InvalidWorkflow
from engine.contracts.workflow import Link, Node, Socket, Subgraph, Workflow
from engine.graph.shapes import shapes
from engine.graph.signatures import signatures
from engine.graph.validate import problems
from studio_app.cli.main import main
from tests.unit.graph_nodes import Bench, n, registry

REGISTRY = registry()


def test_a_graph_of_five_thousand_nodes_runs_and_its_one_fault_is_found() -> None:
    rows, columns = 100, 50
    nodes = [n(f"0.{c}", "t.add", a=float(c)) for c in range(columns)]
    nodes += [
        n(f"{r}.{c}", "t.add", a=f"@{r - 1}.{c}.sum", b=f"@{r - 1}.{(c + 1) % columns}.sum")
        for r in range(1, rows)
        for c in range(columns)
    ]
    # Two to the power of the rows would be beyond the range of the numbers: keep them small.
    nodes = [
        n(node.id, "t.add", a=node.inputs["a"], b=0.0) if isinstance(node.inputs["a"], float) else
        Node(id=node.id, type="t.add", inputs={"a": node.inputs["a"], "b": 0.5})
        for node in nodes
    ]  # fmt: skip
    assert len(nodes) == 5000
    result = Bench().run(*nodes, targets=tuple(f"{rows - 1}.{c}" for c in range(columns)))
    assert result.outcome == "succeeded"
    assert len(result.succeeded) == 5000
    assert result.outputs["99.7"] == {"sum": 7.0 + 99 * 0.5}
    nodes[2500] = Node(id=nodes[2500].id, type="t.add", inputs={"a": Link("nowhere", "sum")})
    (problem,) = problems(Workflow(nodes=tuple(nodes)), REGISTRY, ("99.7", "99.0"))
    assert (problem.code, problem.node, problem.input) == ("dangling_link", nodes[2500].id, "a")


def test_a_cycle_of_five_thousand_nodes_is_one_problem() -> None:
    nodes = tuple(n(str(i), "t.add", a=f"@{(i + 1) % 5000}.sum") for i in range(5000))
    (problem,) = problems(Workflow(nodes=nodes), REGISTRY, ("17",))
    assert problem.code == "cycle"
    assert len(problem.what) < 300
    assert signatures(Workflow(nodes=nodes), REGISTRY) == {}


def nested(depth: int, innermost: str) -> tuple[Node, tuple[Subgraph, ...]]:
    """A node whose subgraph holds a subgraph that holds …, `depth` levels, with `innermost` as the last one's type."""
    inner = [f"subgraph:{i + 1}" for i in range(depth - 1)] + [innermost]
    subgraphs = tuple(
        Subgraph(
            id=str(i), nodes=(Node(id="x", type=kind),), inputs=(Socket(name="a", node="x", socket="a"),),
            outputs=(Socket(name="sum", node="x", socket="sum"),),
        )
        for i, kind in enumerate(inner)
    )  # fmt: skip
    return n("top", "subgraph:0", a=2.0), subgraphs


def test_subgraphs_two_thousand_deep_run() -> None:
    top, subgraphs = nested(2000, "t.add")
    bench = Bench()
    result = bench.run(top, n("s", "t.add", a="@top.sum"), subgraphs=subgraphs, targets=("s",))
    assert result.outputs["s"] == {"sum": 4.0}
    (inner,) = [node for node in result.succeeded if node != "s"]
    assert inner == "top" + ":x" * 2000


@pytest.mark.parametrize("depth", [1, 2, 1500])
def test_a_subgraph_that_contains_itself_at_any_depth_is_refused(depth: int) -> None:
    top, subgraphs = nested(depth, "subgraph:0")
    found = problems(Workflow(nodes=(top,), subgraphs=subgraphs), REGISTRY, ("top",))
    assert "subgraph_cycle" in {p.code for p in found}
    (cycle,) = [p for p in found if p.code == "subgraph_cycle"]
    assert cycle.what.startswith("the subgraph contains itself (")
    assert shapes(Workflow(nodes=(top,), subgraphs=subgraphs), REGISTRY) == {}
    with pytest.raises(InvalidWorkflow, match="contains itself"):
        Bench().run(top, subgraphs=subgraphs, targets=("top",))


def test_subgraph_sockets_that_lead_nowhere_are_named() -> None:
    broken = Subgraph(
        id="g", nodes=(n("x", "t.add", a=1.0),), inputs=(Socket(name="a", node="gone", socket="a"),),
        outputs=(Socket(name="sum", node="gone", socket="sum"), Socket(name="other", node="x", socket="none")),
    )  # fmt: skip
    for output in ("sum", "other", "missing"):
        workflow = Workflow(nodes=(n("g", "subgraph:g", a=1.0), n("s", "t.show", value=f"@g.{output}")),
                            subgraphs=(broken,))  # fmt: skip
        found = problems(workflow, REGISTRY, ("s",))
        assert [p.code for p in found if p.node == "s"], output
        with pytest.raises(InvalidWorkflow):
            Bench().run(*workflow.nodes, subgraphs=(broken,), targets=("s",))


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (10**400, "out_of_range"), (-(10**400), "out_of_range"), (float("nan"), "not_finite"), (1e309, "not_finite"),
        (-float("inf"), "not_finite"), ("1", "wrong_type"), (True, "wrong_type"), ([1], "wrong_type"),
        ({"a": 1}, "wrong_type"),
        (2e6, "out_of_range"),
    ],
)  # fmt: skip
def test_numbers_beyond_all_bounds_are_refused(value: Any, code: str) -> None:
    (problem,) = problems(Workflow(nodes=(n("s", "t.add", a=value),)), REGISTRY, ("s",))
    assert (problem.code, problem.node, problem.input) == (code, "s", "a")


# --- names in file nodes

HOSTILE = (
    "../../escaped", "/tmp/escaped-{token}", "..\\..\\escaped", "C:\\escaped", "\\\\server\\share\\escaped", "CON",
    "nul.png",
    "a/../../escaped", "~/escaped", "%prompt%/../escaped", "escaped\x00.png", "....//....//escaped", "/", "..", ".",
    "aux:stream", "a" * 5000, "\u202egnp.exe", "$(touch escaped)", "`id`", "\r\n", "file:///etc/passwd", "-rf",
)  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_of_a_workflow_writes_outside_its_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Run through the command line: the picture lies in the output folder, whatever the workflow calls it."""
    name = name.replace("{token}", tmp_path.name)
    home, here = tmp_path / "home", tmp_path / "a" / "b" / "here"
    here.mkdir(parents=True)
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(here)
    workflow = {
        "format": "tessera.workflow", "version": 1,
        "nodes": [
            {"id": "p", "type": "image.solid", "inputs": {"width": 8, "height": 8}},
            {"id": "s", "type": "image.save", "inputs": {"image": {"link": ["p", "image"]}, "name_pattern": name}},
        ],
    }  # fmt: skip
    file = tmp_path / "w.json"
    file.write_text(json.dumps(workflow))
    data = tmp_path / "data"
    assert main(["run", str(file), "-o", "out", "--no-library", "--data-dir", str(data)]) == 0, capfd.readouterr().err
    written = [p for p in tmp_path.rglob("*") if p.is_file() and data not in p.parents and p != file]
    assert len(written) == 1
    assert written[0].parent == here / "out"
    assert written[0].suffix == ".png"
    assert written[0].stem.upper().split(".")[0] not in {"CON", "NUL", "AUX"}
    assert not Path(f"/tmp/escaped-{tmp_path.name}.png").exists()


@pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd", "a/../../secret.png", ""])
def test_a_workflow_cant_name_a_picture_outside_its_own_folder(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "secret.png").write_bytes(b"not for you")
    folder = tmp_path / "workflow"
    folder.mkdir()
    workflow = {
        "format": "tessera.workflow", "version": 1,
        "nodes": [
            {"id": "p", "type": "image.load", "inputs": {"image": {"blob": {"name": name}}}},
            {"id": "s", "type": "image.save", "inputs": {"image": {"link": ["p", "image"]}}},
        ],
    }  # fmt: skip
    (folder / "w.json").write_text(json.dumps(workflow))
    assert main(["run", str(folder / "w.json"), "-o", str(tmp_path / "out"), "--data-dir", str(tmp_path / "data")]) == 2
    assert "chosen" in capfd.readouterr().err
    assert not (tmp_path / "out").exists()
