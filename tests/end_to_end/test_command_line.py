"""The command line as a person meets it: pictures, bad input, cancelling, and what is loaded for it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.contracts.references import ModelRef
from engine.interchange.image_metadata import read_metadata
from engine.media.images import decode, encode
from engine.recipes.build import build, request_of
from engine.recipes.recommended import Recommended
from engine.recipes.request import ImageRequest
from studio_app.application import Application
from studio_app.cli.main import EXIT_CODES, main, parser

ROOT = Path(__file__).resolve().parents[2]
CIRCLE = "a red circle on a blue background"
START = [sys.executable, "-c", "import sys; from studio_app.cli.main import main; sys.exit(main(sys.argv[1:]))"]


@dataclass
class Said:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def cli(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Said]:
    """Runs a command in this process, in a folder and with a data folder of its own."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("TESSERA_DATA", str(tmp_path / "data"))

    def call(*words: object) -> Said:
        capfd.readouterr()
        code = main([str(word) for word in words])
        said = capfd.readouterr()
        return Said(code, said.out, said.err)

    return call


def pixels(path: str | Path) -> np.ndarray[Any, np.dtype[np.float32]]:
    return decode(Path(path).read_bytes(), str(path))


def here() -> list[str]:
    return sorted(p.name for p in Path().iterdir())


# --- pictures


def test_a_prompt_and_a_seed_give_the_same_picture_each_time(cli: Callable[..., Said]) -> None:
    first = cli("generate", CIRCLE, "--seed", 7, "-o", "a.png")
    assert first.code == 0, first.err
    assert first.out == "a.png  (128×128, seed 7)\n"
    assert "small starter model" in first.err
    second = cli("generate", CIRCLE, "--seed", 7, "-o", "b.png", "--json", "--no-library")
    assert second.err == ""
    (file,) = second.json["files"]
    assert (file["path"], file["seed"], file["width"]) == ("b.png", 7, 128)
    assert np.array_equal(pixels("a.png"), pixels("b.png"))
    centre, corner = pixels("a.png")[54:74, 54:74].mean((0, 1)), pixels("a.png")[4:16, 4:16].mean((0, 1))
    assert corner[2] > corner[0] + 0.2, f"the background {corner} is not blue"
    assert centre[0] > centre[2] + 0.3, f"the circle {centre} is not red"
    metadata = read_metadata(Path("a.png").read_bytes())
    assert metadata.spec is not None
    request = request_of(metadata.spec)
    assert request is not None
    assert (request.prompt, request.seed) == (CIRCLE, 7)
    assert metadata.parameters.startswith(f"{CIRCLE}\n")
    app = Application()
    app.start()
    assert app.wait_ready(30)
    assert [(r.seed, r.artifact.media_type) for r in app.library.recent()] == [(7, "image/png")]  # not b.png
    app.close()


def test_several_pictures_are_numbered_and_each_has_its_own_seed(cli: Callable[..., Said]) -> None:
    said = cli("generate", CIRCLE, "--seed", 3, "--count", 2, "--steps", 2, "-o", "c.webp")
    assert said.code == 0, said.err
    assert said.out == "c-1.webp  (128×128, seed 3)\nc-2.webp  (128×128, seed 4)\n"
    assert here() == ["c-1.webp", "c-2.webp"]
    alone = cli("generate", CIRCLE, "--seed", 4, "--steps", 2, "-o", "d.png")
    assert alone.code == 0
    assert np.abs(pixels("d.png") - pixels("c-2.webp")).mean() < 0.02  # WebP is lossy; the picture is the same


def test_a_picture_is_extended_and_its_own_pixels_stay(cli: Callable[..., Said]) -> None:
    photo = np.round(np.random.default_rng(0).random((72, 96, 3)) * 255).astype(np.float32) / np.float32(255)
    Path("photo.png").write_bytes(encode(photo))
    said = cli("generate", "a green circle", "--init", "photo.png", "--outpaint", "left=32,top=8,feather=0", "--seed",
               1, "--steps", 2, "-o", "wide.png")  # fmt: skip
    assert said.code == 0, said.err
    made = pixels("wide.png")
    assert made.shape == (80, 128, 3)
    np.testing.assert_array_equal(made[8:, 32:], pixels("photo.png"))


def test_only_the_white_of_the_mask_is_redrawn(cli: Callable[..., Said]) -> None:
    photo = np.random.default_rng(0).random((100, 150, 3), dtype=np.float32)
    Path("photo.png").write_bytes(encode(photo))
    mask = np.zeros((100, 150, 3), np.float32)
    mask[40:60, 50:100] = 1
    Path("mask.png").write_bytes(encode(mask))
    said = cli("generate", "a green circle", "--init", "photo.png", "--mask", "mask.png", "--seed", 1, "--steps", 2,
               "-o", "in.png")  # fmt: skip
    assert said.code == 0, said.err
    unchanged = cli("generate", "a red star", "--init", "photo.png", "--mask", "mask.png", "--seed", 9, "--steps", 2,
                    "-o", "in2.png")  # fmt: skip
    assert unchanged.code == 0
    one, two = pixels("in.png"), pixels("in2.png")
    assert one.shape == (104, 152, 3)  # its own shape, divisible by 8, at the model's area
    differs = np.abs(one - two).max(-1) > 0
    assert differs[50, 76]
    rows, columns = np.nonzero(differs)
    assert (rows.min(), rows.max()) >= (40, 60)
    assert rows.max() <= 63
    assert columns.min() >= 49
    assert columns.max() <= 103


def test_words_and_styles_the_starter_cannot_honour_are_said(cli: Callable[..., Said]) -> None:
    said = cli("generate", "a dragon", "--style", "realistic", "--seed", 1, "--steps", 1, "-o", "a.png", "--json")
    assert said.code == 0
    text = " ".join(said.json["remarks"])
    assert "“dragon”" in text
    assert "“Realistic”" in text
    assert "photorealistic" not in said.json["files"][0]["parameters"]


def test_a_workflow_runs_with_other_values_once_for_each(cli: Callable[..., Said]) -> None:
    spec = build(ImageRequest(prompt=CIRCLE, seed=3, steps=1, model=ModelRef(name="starter")), Recommended(128, 128))
    Path("flow.json").write_text(json.dumps(spec.workflow.to_json()))
    said = cli("run", "flow.json", "-o", "out", "--set", "sampler.seed=[5, 9]", "--set", "prompt.text=a blue star",
               "--json")  # fmt: skip
    assert said.code == 0, said.err
    files = [Path(p) for p in said.json["files"]]
    assert [p.parent.name for p in files] == ["out", "out"]
    texts = [read_metadata(p.read_bytes()).parameters for p in files]
    assert ["Seed: 5" in texts[0], "Seed: 9" in texts[1]] == [True, True]
    assert all(text.startswith("a blue star") for text in texts)
    again = cli("run", files[1], "-o", "again", "--events")
    events = [json.loads(line) for line in again.out.splitlines()]
    assert [e["sequence"] for e in events] == list(range(len(events)))
    assert (events[0]["kind"], events[-1]["kind"]) == ("accepted", "finished")
    (made,) = [e["data"]["path"] for e in events if e["kind"] == "artifact"]
    assert np.array_equal(pixels(made), pixels(files[1]))
    kept = [e["node"] for e in events if e["kind"] == "node_cached"]
    assert "sampler" in kept
    anew = cli("run", files[1], "-o", "anew", "--events", "--anew")
    events = [json.loads(line) for line in anew.out.splitlines()]
    assert not [e for e in events if e["kind"] == "node_cached"]
    ran = [e["node"] for e in events if e["kind"] == "node_finished"]
    assert sorted(ran) == sorted(node.id for node in spec.workflow.nodes)
    (made,) = [e["data"]["path"] for e in events if e["kind"] == "artifact"]
    assert np.array_equal(pixels(made), pixels(files[1]))


# --- what is wrong is said in one sentence


def broken_files() -> dict[str, bytes]:
    whole = encode(np.zeros((16, 16, 3), np.float32))
    return {"cut.png": whole[:40], "text.png": b"hello", "empty.png": b""}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["", "-o", "x.png"], "The prompt is empty."),
        (["word " * 10_000, "-o", "x.png"], "The prompt has 10,000 words."),
        (["a", "-o", "x.gif"], "Pictures can't be saved as “.gif”."),
        (["a", "-o", "x"], "Pictures can't be saved as a file without an extension."),
        (["a", "-o", "x.png", "--size", "130x128"], "The width 130 is not divisible by 8. Use 128 or 136"),
        (["a", "-o", "x.png", "--size", "99999x128"], "The width 99999 is out of range."),
        (["a", "-o", "x.png", "--size", "big"], "Argument --size: “big” is not a size; write it as 512x768."),
        (["a", "-o", "x.png", "--steps", "0"], "The number of steps 0 is out of range."),
        (["a", "-o", "x.png", "--cfg", "nan"], "Argument --cfg: “nan” is not a finite number."),
        (["a", "-o", "x.png", "--sampler", "eulr"], "There is no sampler “eulr”. Did you mean “euler”"),
        (["a", "-o", "x.png", "--scheduler", "x"], "There is no scheduler “x”."),
        (["a", "-o", "x.png", "--style", "realism"], "There is no style “realism”. Did you mean “realistic”"),
        (["a", "-o", "x.png", "--mask", "m.png"], "--mask needs --init."),
        (["a", "-o", "x.png", "--outpaint", "left=8"], "--outpaint needs --init."),
        (["a", "-o", "x.png", "--outpaint", "left"], "Argument --outpaint: “left” is not a side with its pixels"),
        (["a", "-o", "x.png", "--seed", "-4"], "The seed -4 is out of range."),
        (["a", "-o", "x.png", "--count", "65"], "The number of pictures 65 is out of range."),
        (["a", "-o", "x.png", "--init", "none.png"], "none.png: there is no such file."),
        (["a", "-o", "x.png", "--init", "cut.png"], "“cut.png”: "),
        (["a", "-o", "x.png", "--init", "text.png"], "“text.png”: it is a text file, not a picture."),
        (["a", "-o", "x.png", "--init", "empty.png"], "“empty.png”: the file is empty."),
        (["a"], "The following arguments are required: -o/--output."),
    ],
)
def test_bad_requests_are_one_sentence_and_leave_nothing(
    cli: Callable[..., Said], words: list[str], sentence: str
) -> None:
    files = broken_files()
    for name, data in files.items():
        Path(name).write_bytes(data)
    said = cli("generate", *words)
    assert said.code == 2
    lines = [line for line in said.err.splitlines() if "small starter model" not in line and "luck" not in line]
    assert len(lines) == 1
    assert lines[0].startswith(sentence)
    assert said.out == ""
    assert here() == sorted(files)


def flow(*nodes: dict[str, Any], **more: Any) -> str:
    return json.dumps({"format": "tessera.workflow", "version": 1, "nodes": list(nodes), **more})


A = {"id": "a", "type": "image.invert", "inputs": {"image": {"link": ["b", "image"]}}}
B = {"id": "b", "type": "image.invert", "inputs": {"image": {"link": ["a", "image"]}}}
SAVE = {"id": "s", "type": "image.save", "inputs": {"image": {"link": ["b", "image"]}}}


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        (flow(A, B, SAVE), "cycle", "circle"),
        (flow({"id": "s", "type": "image.save"}), "", "image"),
        (flow({"id": "s", "type": "image.savv"}), "unknown_node", "image.savv"),
        (flow({"id": "s", "type": "image.save", "inputs": {"image": 5}}), "", "image"),
        (flow(SAVE, SAVE), "", "s"),
        (flow(), "no_output", "nothing in it makes"),
        ('{"nodes": [{"id": "a", "type": "x", "inputs": {"v": NaN}}]}', "document", "NaN"),
        ("[" * 5_000_000 + "]" * 5_000_000, "document", "nested more than 200 levels"),
        ('{"nodes": 5}', "document", "expected a list"),
        ("{", "document", "not valid JSON"),
        ("[]", "document", "expected an object"),
    ],
)
def test_bad_workflows_are_named_exactly_by_validate_and_refused_by_run(
    cli: Callable[..., Said], text: str, code: str, words: str
) -> None:
    Path("flow.json").write_text(text)
    said = cli("validate", "flow.json", "--json")
    assert said.code == 2
    first = said.json["errors"][0]
    assert code in ("", first["code"])
    assert words in f"{first['what']} {first['node']} {first['input']}"
    plain = cli("validate", "flow.json")
    assert (plain.code, plain.out) == (2, "")
    assert words in plain.err
    run = cli("run", "flow.json", "-o", "out")
    assert run.code == 2
    assert len(run.err.splitlines()) == 1
    assert here() == ["flow.json"]


def test_an_unused_node_is_warned_of_and_does_not_make_a_workflow_wrong(cli: Callable[..., Said]) -> None:
    document = build(ImageRequest(prompt=CIRCLE, steps=1), Recommended(128, 128)).workflow.to_json()
    document["nodes"].append({"id": "alone", "type": "image.scale", "inputs": {}})
    Path("flow.json").write_text(json.dumps(document))
    said = cli("validate", "flow.json", "--json")
    assert (said.code, said.json["errors"]) == (0, [])
    assert {(p["node"], p["code"]) for p in said.json["warnings"]} == {("alone", "missing_input")}
    plain = cli("validate", "flow.json")
    assert plain.code == 0
    assert plain.err.startswith("unused: node “alone”, input “image”: it has no value")


@pytest.mark.parametrize("setting", ["sampler.seed", "seed=5", "nothing.seed=5", "sampler.sed=5", "sampler.seed=NaN"])
def test_a_wrong_setting_is_refused(cli: Callable[..., Said], setting: str) -> None:
    spec = build(ImageRequest(prompt=CIRCLE, steps=1), Recommended(128, 128))
    Path("flow.json").write_text(json.dumps(spec.workflow.to_json()))
    said = cli("run", "flow.json", "-o", "out", "--set", setting)
    assert (said.code, len(said.err.splitlines())) == (2, 1)
    assert here() == ["flow.json"]


def test_a_missing_model_is_exit_code_three(cli: Callable[..., Said]) -> None:
    said = cli("generate", "a", "-o", "x.png", "--model", "sd_xl", "--json")
    assert said.code == 3
    assert said.err.startswith("The model “sd_xl” is not on this machine.")
    assert said.json == {"error": said.err.strip(), "exit_code": 3}


def test_an_output_that_cannot_be_written_is_exit_code_four(cli: Callable[..., Said]) -> None:
    Path("file").write_text("")
    said = cli("generate", CIRCLE, "--steps", 1, "-o", "file/a.png")
    assert said.code == 4
    assert said.err.splitlines()[-1] == "“file” is a file, not a folder. Choose another folder."
    assert here() == ["file"]


# --- lists


def test_lists_are_json_that_programs_can_use(cli: Callable[..., Said]) -> None:
    schemas = {s["type"]: s for s in cli("nodes", "--json").json}
    assert {i["name"] for i in schemas["sample.k_sampler"]["inputs"]} >= {"model", "seed", "steps", "cfg"}
    models = cli("models", "list", "--json").json["models"]
    assert (models[0]["name"], models[0]["starter"]) == ("starter", True)
    assert "circle" in models[0]["vocabulary"]
    facts = cli("doctor", "--json").json["facts"]
    assert facts["Models"].startswith("starter")
    assert {"starter", "graph"} <= {b["name"] for b in cli("bench", "--json").json}
    assert cli("bench", "no_such").code == 2
    assert "one of" in cli("nodes", "sample.k_sampler").out


def test_a_valid_workflow_has_signatures_that_follow_its_values(cli: Callable[..., Said]) -> None:
    for seed in (3, 4):
        spec = build(ImageRequest(prompt=CIRCLE, seed=seed), Recommended(128, 128))
        Path(f"{seed}.json").write_text(json.dumps(spec.workflow.to_json()))
    three, four = (cli("validate", f"{seed}.json", "--json").json for seed in (3, 4))
    assert three["errors"] == []
    assert three["signatures"]["prompt"] == four["signatures"]["prompt"]
    assert three["signatures"]["sampler"] != four["signatures"]["sampler"]


def test_a_prompt_is_read_with_its_grammar_and_warns_once(cli: Callable[..., Said]) -> None:
    text = "a {red|red} circle on a [white:blue:0.3] background"
    said = cli("generate", text, "--negative", "<lora:ink:1>", "--steps", 2, "-o", "a.png")
    assert said.code == 0
    assert said.err.count("asks for the LoRA “ink”") == 1
    assert read_metadata(Path("a.png").read_bytes()).parameters.startswith(
        "a red circle on a [white:blue:0.3] background\n"
    )


def test_a_lora_that_is_not_here_is_named_before_a_picture_is_made(cli: Callable[..., Said]) -> None:
    said = cli("generate", "a circle <lora:inc:1>", "--steps", 2, "-o", "b.png")
    assert said.code != 0
    assert "asks for the LoRA “inc”, which is not on this machine" in said.err
    assert not Path("b.png").exists()


def test_a_prompt_is_shown_as_it_is_read(cli: Callable[..., Said], tmp_path: Path) -> None:
    text = "a (red:1.2) [fog:snow:0.5] <lora:ink:0.5>"
    assert cli("prompt", "parse", text, "--steps", 10, "--json").json == {
        "branches": [
            {
                "weight": 1.0,
                "schedule": [
                    {"until": 5, "text": "a (red:1.2) fog", "pieces": [["a ", 1.0], ["red", 1.2], [" fog", 1.0]]},
                    {"until": 10, "text": "a (red:1.2) snow", "pieces": [["a ", 1.0], ["red", 1.2], [" snow", 1.0]]},
                ],
            }
        ],
        "loras": [{"name": "ink", "te": 0.5, "unet": 0.5}],
    }
    with_model = cli("prompt", "parse", text, "--model", "starter", "--json").json
    assert with_model["tokens"] == {"tokenizer": {"tokens": 4, "limit": 38}}
    told = cli("prompt", "parse", text + " AND sky :0.5").out
    assert "weight 0.5" in told
    assert "steps 11 to 20" in told
    assert "LoRA ink" in told
    (tmp_path / "data" / "wildcards").mkdir(parents=True)
    (tmp_path / "data" / "wildcards" / "colours.txt").write_text("ochre")
    chosen = cli("prompt", "parse", "a __colours__ {cat|cat}", "--seed", 1, "--json").json
    assert chosen["branches"][0]["schedule"][0]["text"] == "a ochre cat"
    assert cli("prompt", "parse", "a", "--steps", 0).code == 2
    assert cli("prompt", "parse", "a", "--model", "none").code == 3


def test_every_command_explains_itself_and_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--help"], ["generate", "--help"], ["run", "--help"]):
        assert main(words) == 0
        assert EXIT_CODES in capsys.readouterr().out
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == "Tessera Studio 0.1.0\n"


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="argparse lays out its help otherwise from 3.13 on")
def test_the_page_in_the_docs_is_the_help() -> None:
    from studio_app.cli.page import command_line_page

    assert (ROOT / "docs" / "cli.md").read_text(encoding="utf-8") == command_line_page()
    assert parser().prog == "main.py"


# --- what is loaded, and stopping


_HEAVY = ("torch", "diffusers", "transformers", "PySide6", "httpx")


@pytest.mark.parametrize(
    "code",
    [
        "import studio_app.application",
        "from studio_app.application import Application; Application()",
        "from studio_app.cli.main import main; main(['validate', 'flow.json'])",
        "from studio_app.cli.main import main; main(['nodes', '--json'])",
        "from studio_app.cli.main import main; main(['doctor'])",
        "from studio_app.cli.main import main; main(['models'])",
        "from studio_app.cli.main import main; main(['generate', 'a', '-o', 'x.gif'])",
    ],
)
def test_light_commands_load_nothing_heavy(tmp_path: Path, code: str) -> None:
    spec = build(ImageRequest(prompt=CIRCLE), Recommended(128, 128))
    (tmp_path / "flow.json").write_text(json.dumps(spec.workflow.to_json()))
    forbidden = [*_HEAVY, *(["sqlite3", "numpy", "cv2"] if "Application" in code or "import studio" in code else [])]
    report = f"import sys; sys.stderr.write(repr([m for m in {forbidden!r} if m in sys.modules]))"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {code}; {report}"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stderr.endswith("[]"), done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.full)])
def test_stopping_leaves_nothing_partial(tmp_path: Path, number: signal.Signals) -> None:
    spec = build(ImageRequest(prompt=CIRCLE, steps=150, count=2), Recommended(128, 128))  # seconds of steps to stop in
    (tmp_path / "flow.json").write_text(json.dumps(spec.workflow.to_json()))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TESSERA_DATA": str(tmp_path / "data")}
    process = subprocess.Popen(
        [*START, "run", "flow.json", "-o", "out", "--events"],
        cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line)["kind"] == "node_progress":
            process.send_signal(number)
            break
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert err == "Stopped by you.\n"
    assert json.loads(out.splitlines()[-1])["data"]["outcome"] == "cancelled"
    assert not (tmp_path / "out").exists()
