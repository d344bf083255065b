"""import, export and explain as a person meets them: in a process of their own, and with what runs afterwards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from studio_app.cli.main import main
from tests.unit.interchange_room import CORPUS, PAIRS, differences, imported, png

ROOT = Path(__file__).resolve().parents[2]
CANVAS, PROMPT = next(pair for pair in PAIRS if pair[0].name.startswith("inpaint__inpaint_example"))


@dataclass
class Said:
    stdout: str
    stderr: str


Call = Callable[..., Said]


@pytest.fixture
def call(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    """Runs a command in this process, in a folder of its own; the exit code must be the one expected."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object, code: int = 0) -> Said:
        capfd.readouterr()
        assert main([str(word) for word in words]) == code
        said = capfd.readouterr()
        return Said(said.out, said.err)

    return run


def test_processes_of_their_own_import_export_and_explain_without_torch(tmp_path: Path) -> None:
    """Import and explain ask the model index, which is kept in SQLite; export asks nothing."""
    heavy = "{'torch', 'diffusers', 'PySide6'}"
    commands = [
        (["import", str(CANVAS), "-o", "w.json"], heavy),
        (["export", "w.json", "--format", "comfyui-api", "-o", "p.json"], f"{heavy} | {{'sqlite3'}}"),
        (["explain", "w.json", "--json"], heavy),
    ]
    for command, unwanted in commands:
        program = (
            "import sys\nfrom studio_app.cli.main import main\n"
            f"assert main({command!r}) == 0\nassert not ({unwanted}) & set(sys.modules)\n"
        )
        said = subprocess.run(
            [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert (said.returncode, "Traceback" in said.stderr) == (0, False), (command, said.stderr)
    assert json.loads((tmp_path / "p.json").read_text(encoding="utf-8"))["3"]["class_type"] == "KSampler"


def test_import_writes_a_workflow_and_the_report_names_what_is_missing(call: Call, tmp_path: Path) -> None:
    said = call("import", CANVAS, "-o", "w.json")
    assert said.stdout == ""
    assert said.stderr == "Wrote w.json.\nIt has 1 model that is not here; --report names them.\n"
    report = json.loads(call("import", CANVAS, "--report", "--json").stdout)
    assert list(report) == ["nodes", "unsupported", "missing_models", "warnings"]
    assert report["nodes"] == len(imported(CANVAS).workflow.nodes)
    assert [model["kind"] for model in report["missing_models"]] == ["checkpoint"]
    text = call("import", CANVAS, "--report").stdout
    assert text.startswith(f"{report['nodes']} nodes.\n“{report['missing_models'][0]['name']}” (a checkpoint) is not")
    plain = json.loads(call("import", PROMPT).stdout)
    assert plain["format"] == "tessera.workflow"


def test_both_forms_have_the_same_signatures_in_validate(call: Call, tmp_path: Path) -> None:
    found = []
    for index, path in enumerate((CANVAS, PROMPT)):
        call("import", path, "-o", f"{index}.json")
        said = json.loads(call("validate", f"{index}.json", "--json").stdout)
        assert said["errors"] == []
        found.append(sorted(said["signatures"].values()))
    assert found[0] == found[1] != []


def test_validate_names_each_class_the_studio_lacks(call: Call, tmp_path: Path) -> None:
    prompt = {
        "1": {"class_type": "SomebodysLoader", "inputs": {}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
    }
    (tmp_path / "p.json").write_text(json.dumps(prompt), encoding="utf-8")
    call("import", "p.json", "-o", "w.json")
    said = call("validate", "w.json", code=2)
    assert said.stderr == (
        "node “1”: the studio has no node for ComfyUI's “SomebodysLoader”. Put one of the studio's nodes in its "
        "place, or bypass or mute it.\n"
    )


@pytest.mark.parametrize("form", ["comfyui", "comfyui-api"])
def test_export_and_import_give_the_same_graph(call: Call, tmp_path: Path, form: str) -> None:
    call("import", CANVAS, "-o", "w.json")
    said = call("export", "w.json", "--format", form, "-o", "c.json")
    assert said.stderr == "Wrote c.json.\n"
    assert differences(imported(CANVAS).workflow, imported(tmp_path / "c.json").workflow) == {}


def test_a_picture_of_a1111_becomes_a_workflow_and_an_infotext_again(call: Call, tmp_path: Path) -> None:
    text = "a red circle\nNegative prompt: grey\nSteps: 5, Sampler: Euler, Schedule type: Karras, CFG scale: 3, Seed: 9, Size: 64x96, Model: starter"  # noqa: E501
    (tmp_path / "a.png").write_bytes(png(parameters=text))
    call("import", "a.png", "-o", "w.json")
    assert call("export", "w.json", "--format", "infotext").stdout == text + "\n"


def test_an_imported_workflow_runs_and_explain_knows_what_was_kept(call: Call, tmp_path: Path) -> None:
    text = "a red circle\nSteps: 2, Sampler: Euler, CFG scale: 3, Seed: 9, Size: 64x64, Model: starter"
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    call("import", "a.txt", "-o", "w.json")
    before = {item["node"]: item for item in json.loads(call("explain", "w.json", "--json").stdout)}
    assert {item["action"] for item in before.values()} == {"run"}
    call("run", "w.json", "-o", "out")
    after = {item["node"]: item for item in json.loads(call("explain", "w.json", "--json").stdout)}
    assert (after["sampler"]["action"], after["prompt"]["action"], after["save"]["action"]) == (
        "cached", "not_needed", "run",
    )  # fmt: skip
    assert after["sampler"]["signature"] == before["sampler"]["signature"]
    lines = call("explain", "w.json").stdout.splitlines()
    assert next(line.split() for line in lines if line.startswith("sampler"))[:3] == [
        "sampler",
        "sample.k_sampler",
        "kept",
    ]
    changed = (tmp_path / "w.json").read_text(encoding="utf-8").replace('"seed": 9', '"seed": 10')
    (tmp_path / "w.json").write_text(changed, encoding="utf-8")
    again = {item["node"]: item for item in json.loads(call("explain", "w.json", "--json").stdout)}
    assert again["sampler"]["action"] == "run"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("import", "nope.json"), "nope.json: there is no such file.\n"),
        (("import", "."), ".: it is a folder, not a file.\n"),
        (("import", "a.json", "-o", "a.json"), "“a.json” is the file to import. Give another name with -o.\n"),
        (("import", "a.json", "-o", "."), "“.” is a folder. Give the name of a file with -o.\n"),
        (("import", "a.json"), "a.json: it is not valid JSON (expecting value at line 1, column 2).\n"),
        (("export", "e.json", "--format", "infotext"),
         "The workflow has no sampler whose settings an infotext could say. Use --format comfyui.\n"),
        (("export", "e.json", "--format", "comfyui", "-o", "e.json"),
         "“e.json” is the workflow to export. Give another name with -o.\n"),
        (("explain", "e.json"), "Workflow: nothing in it makes a picture or a file. Add a node that saves or shows its "
         "result, or choose nodes.\n"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_sentence(
    call: Call, tmp_path: Path, words: tuple[str, ...], sentence: str
) -> None:
    (tmp_path / "a.json").write_text("[", encoding="utf-8")
    (tmp_path / "e.json").write_text('{"format": "tessera.workflow"}', encoding="utf-8")
    said = call(*words, code=2)
    assert said.stderr == sentence
    assert said.stdout == ""


def test_a_file_of_comfyui_is_told_how_to_open(call: Call) -> None:
    for command in ("validate", "run", "explain"):
        assert call(command, PROMPT, code=2).stderr == (
            f"{PROMPT.name}: this is a file of ComfyUI. Turn it into a workflow first: main.py import {PROMPT.name} "
            "-o workflow.json.\n"
        )


def test_export_needs_a_format_it_knows(call: Call, tmp_path: Path) -> None:
    said = call("export", CORPUS / "README.md", "--format", "webui", code=2)
    assert "comfyui-api" in said.stderr
