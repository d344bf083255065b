"""What is really loaded: `sys.modules` of a fresh interpreter, which no arrangement of files can talk round."""

from __future__ import annotations

import ast
import json
import pkgutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

QT = {"PySide6", "shiboken6", "qasync"}
TORCH = {"torch", "diffusers", "transformers", "accelerate", "tokenizers"}
NETWORK = {"httpx", "requests", "urllib3", "huggingface_hub"}
DATABASE = {"sqlite3", "sqlite_utils"}

# What a Python may load by itself at its start, before any of ours.
SITE = {"sitecustomize", "usercustomize", "_distutils_hack"}

TORCH_FREE = (
    "engine.contracts",
    "engine.graph",
    "engine.nodes",
    "engine.prompts",
    "engine.recipes",
    "engine.interchange",
    "engine.media",
    "engine.models.fingerprint",
    "engine.families.defaults",
    "engine.memory.estimates",
    "engine.memory.measured",
    "engine.memory.planner",
    "engine.memory.words",
    "engine.memory.workload",
    "engine.sampling.names",
    "studio_app.planning",
)


def modules_of(*packages: str) -> list[str]:
    """Every module in and below the named packages or modules of this project."""
    found: list[str] = []
    for package in packages:
        folder = ROOT / package.replace(".", "/")
        found.append(package)
        if folder.is_dir():
            found += [module.name for module in pkgutil.walk_packages([str(folder)], f"{package}.")]
    return found


def loaded_by(code: str) -> set[str]:
    """The top-level modules that are loaded after `code` ran in a fresh interpreter."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"{code}\nimport sys, json\nprint(json.dumps(sorted(sys.modules)), file=sys.__stdout__)",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    names: list[str] = json.loads(done.stdout.splitlines()[-1])
    return {name.partition(".")[0] for name in names}


def importing(names: Iterable[str]) -> str:
    return "import importlib\n" + "\n".join(f"importlib.import_module({name!r})" for name in names)


def command(arguments: list[str]) -> str:
    """The command line run inside the interpreter, its output thrown away."""
    return (
        "import contextlib, io\nfrom studio_app.cli.main import main\n"
        f"with contextlib.redirect_stdout(io.StringIO()):\n    code = main({arguments!r})\nassert code in (0, 2), code"
    )


def test_the_window_loads_no_torch_no_network_no_database() -> None:
    assert loaded_by("import ui.main_window") & (TORCH | NETWORK | DATABASE) == set()


def test_what_says_it_is_torch_free_is() -> None:
    assert loaded_by(importing(modules_of(*TORCH_FREE))) & (TORCH | QT | NETWORK | DATABASE) == set()


def test_the_documents_load_nothing_but_python() -> None:
    loaded = loaded_by(importing(modules_of("engine.contracts")))
    assert loaded - set(sys.stdlib_module_names) - {"engine", "__main__"} - SITE == set()


def test_the_registry_of_nodes_needs_no_torch() -> None:
    code = "from engine.graph.registry import Registry\nassert len(Registry.builtin().schemas()) > 20"
    assert loaded_by(code) & (TORCH | QT) == set()


def test_constructing_the_application_is_cheap() -> None:
    code = "from studio_app.application import Application\nApplication()"
    assert loaded_by(code) & (TORCH | QT | NETWORK | DATABASE) == set()


@pytest.mark.parametrize(
    "arguments", [["nodes", "--json"], ["doctor"], ["prompt", "parse", "a (red:1.2) circle", "--json"]]
)
def test_commands_that_only_tell_load_neither_torch_nor_qt(arguments: list[str]) -> None:
    assert loaded_by(command(arguments)) & (TORCH | QT) == set()


def test_refusing_a_workflow_loads_neither_torch_nor_qt(tmp_path: Path) -> None:
    """What is wrong with a document is found before anything heavy is loaded to run it."""
    workflow = tmp_path / "wrong.json"
    workflow.write_text('{"nodes": [{"id": "1", "type": "no.such_node"}]}', encoding="utf-8")
    assert loaded_by(command(["run", str(workflow)])) & (TORCH | QT) == set()


def test_the_engine_and_the_application_never_load_qt() -> None:
    assert loaded_by(importing(modules_of("engine", "studio_app", "cloud_client"))) & QT == set()


def test_every_module_imports() -> None:
    """In one interpreter, so that modules that collide or depend on the order of imports show."""
    loaded_by(importing(modules_of("engine", "studio_app", "cloud_client", "ui", "installers")))


def test_nothing_reads_pickles() -> None:
    """A pickle can run code: models are safetensors, documents JSON. Training reads its own checkpoints through torch's
    reader of tensors, which must be told so."""
    files = [
        file for package in ("engine", "studio_app", "cloud_client", "ui") for file in (ROOT / package).rglob("*.py")
    ]
    found = [
        f"{file.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
        for file in files
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if _names(node) & UNSAFE or _is_careless_load(node)
    ]
    assert found == []


UNSAFE = {"pickle", "cPickle", "dill", "joblib", "shelve", "marshal"}


def _is_careless_load(node: ast.AST) -> bool:
    """A torch.load that does not say weights_only=True, or a numpy load that allows pickles."""
    if not isinstance(node, ast.Call):
        return False
    said = {word.arg: getattr(word.value, "value", None) for word in node.keywords}
    if _names(node.func) & {"torch.load"}:
        return said.get("weights_only") is not True
    return bool(_names(node.func) & {"np.load", "numpy.load"}) and bool(said.get("allow_pickle"))


def _names(node: ast.AST) -> set[str]:
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    if isinstance(node, ast.ImportFrom):
        return {node.module or ""}
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return {f"{node.value.id}.{node.attr}"}
    return set()
