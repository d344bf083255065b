"""The first milliseconds: what is said before anything is set up, and that a second start only looks at the stamp."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from installers import start
from installers.environment import ROOT, set_process_variables
from studio_app.cli.main import COMMANDS
from studio_app.version import VERSION

START = "runpy.run_path('main.py', None, '__main__')"


def run_main(*arguments: str, code: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """`main.py arguments` as a process, without a display unless `variables` give one; `code` runs before it."""
    environment = {name: value for name, value in os.environ.items() if name != "QT_QPA_PLATFORM"}
    lines = ["import sys, runpy", f"sys.argv = ['main.py', *{arguments!r}]", code, START]
    prepared = "\n".join(lines)
    return subprocess.run(
        [sys.executable, "-c", prepared],
        cwd=ROOT,
        env=environment | variables,
        capture_output=True,
        text=True,
        check=False,
    )


NOTHING_SET_UP = "import installers.start\ninstallers.start.is_ready = installers.start.runs_in = lambda *_: False\n"
NO_SET_UP = NOTHING_SET_UP + "sys.modules['installers.bootstrap'] = None\n"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has machines without a display")
def test_without_a_display_one_sentence_names_generate_before_any_set_up() -> None:
    done = run_main(code=NO_SET_UP)
    assert done.returncode == 6
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "main.py generate" in done.stderr


def test_the_version_needs_no_set_up() -> None:
    done = run_main("--version", code=NO_SET_UP)
    assert (done.returncode, done.stdout) == (0, f"Tessera Studio {VERSION}\n")
    assert tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"] == VERSION


def test_help_and_a_mistyped_command_do_not_start_a_download() -> None:
    helped = run_main("generate", "--help", code=NO_SET_UP)
    assert helped.returncode == 0
    assert "The first start sets up" in helped.stdout
    mistyped = run_main("generat", code=NO_SET_UP)
    assert mistyped.returncode == 2
    assert mistyped.stderr.startswith("There is no command “generat”. Use one of: generate, run,")


def test_the_short_help_names_every_command() -> None:
    assert set(start.COMMANDS) == {module.NAME for module in COMMANDS} | {"test"}


def test_a_python_out_of_range_is_told_which_to_use() -> None:
    for version in ((3, 10), (3, 14)):
        done = run_main("nodes", code=f"sys.version_info = ({version[0]}, {version[1]}, 0, 'final', 0)")
        assert done.returncode == 3
        assert done.stderr.startswith(
            f"Tessera Studio needs Python 3.11, 3.12 or 3.13 (64-bit), and this is Python {version[0]}.{version[1]}. "
        )


def test_main_parses_on_old_pythons() -> None:
    import ast

    ast.parse((ROOT / "main.py").read_text(encoding="utf-8"), feature_version=(3, 4))


def test_a_ready_start_imports_nothing_of_set_up() -> None:
    code = (
        "from installers import start\n"
        "start.is_ready = lambda *_: True\nstart.runs_in = lambda *_: True\nstart.dispatch = lambda arguments: 0\n"
        "start.main(['nodes'])\n"
        "import sys, json\nprint(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout))
    assert {"installers.stamp"} <= loaded
    assert loaded & {"installers.bootstrap", "tomllib", "hashlib", "ctypes", "venv"} == set()


@pytest.mark.parametrize(
    ("arguments", "window"),
    [([], True), (["--data-dir", "x"], True), (["--data-dir=x"], True), (["nodes"], False), (["--help"], False)],
)
def test_what_opens_the_window(arguments: list[str], window: bool) -> None:
    assert start.opens_window(arguments) is window


def test_process_variables_keep_a_persons_tuning_but_not_a_way_to_the_network() -> None:
    variables = {"OMP_NUM_THREADS": "7", "HF_HUB_OFFLINE": "0"}
    set_process_variables(variables)
    assert variables["OMP_NUM_THREADS"] == "7"
    assert variables["HF_HUB_OFFLINE"] == "1"
    assert variables["TOKENIZERS_PARALLELISM"] == "false"
    fresh: dict[str, str] = {}
    set_process_variables(fresh)
    assert 1 <= int(fresh["OMP_NUM_THREADS"]) <= max(1, (os.cpu_count() or 1) - 1)


@pytest.mark.skipif(sys.platform == "win32", reason="on Windows a child runs instead")
def test_handing_over_keeps_the_process_and_its_variables(tmp_path: Path) -> None:
    child = tmp_path / "child.py"
    child.write_text("import os, sys\nprint(os.getpid(), os.environ['MARK'], *sys.argv[1:])\nsys.exit(41)\n")
    code = (
        "import os\nfrom pathlib import Path\nimport sys\nfrom installers.environment import hand_over\n"
        "os.environ['MARK'] = 'kept'\nprint(os.getpid())\n"
        f"hand_over(Path(sys.executable), [{str(child)!r}, 'a b', 'ü'])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    before, after = done.stdout.splitlines()
    assert after == f"{before} kept a b ü"
    assert done.returncode == 41
