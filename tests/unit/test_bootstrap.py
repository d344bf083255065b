"""Set-up from nothing, over and over, killed in the middle: with real environments and tiny wheels from a folder."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from installers import stamp as stamps
from installers.bootstrap import Project, SetupFailed, _SetUp, ensure
from installers.console import Console
from installers.environment import ROOT, venv_python
from installers.pip_run import Fetched, failure
from installers.repair import clear_broken, is_whole, site_packages
from installers.stamp import RUN, TEST

PACKAGES = {"torch": "2.13.0", "tessera-fake-a": "1.0", "tessera-fake-b": "2.0", "tessera-fake-check": "3.0"}


def make_wheel(folder: Path, name: str, version: str, *, files: int = 40) -> None:
    """A real wheel of a package that has `files` modules and nothing else."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    contents = {f"{module}/__init__.py": f"VERSION = {version!r}\n"}
    contents |= {f"{module}/part_{number}.py": f"NUMBER = {number}\n" * 50 for number in range(files)}
    contents[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    contents[f"{info}/WHEEL"] = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    record = io.StringIO()
    for path, text in contents.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record.write(f"{path},sha256={digest},{len(text.encode())}\n")
    record.write(f"{info}/RECORD,,\n")
    with zipfile.ZipFile(folder / f"{module}-{version}-py3-none-any.whl", "w") as wheel:
        for path, text in {**contents, f"{info}/RECORD": record.getvalue()}.items():
            wheel.writestr(path, text)


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    for name, version in PACKAGES.items():
        make_wheel(folder, name, version)
    return folder


@pytest.fixture(autouse=True)
def local_index(wheels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pip sees the folder of wheels and nothing else."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))


def lay_out(folder: Path) -> Project:
    """A project that asks for the fake packages, and otherwise uses the real tables."""
    installers = folder / "installers"
    installers.mkdir(parents=True)
    (folder / "pyproject.toml").write_text(
        '[project]\nname = "fake"\nversion = "0"\n'
        'dependencies = ["torch>=2.10", "tessera-fake-a>=1", "tessera-fake-b"]\n'
        '[project.optional-dependencies]\ntest = ["tessera-fake-check"]\n'
    )
    (installers / "constraints.txt").write_text("".join(f"{name}=={number}\n" for name, number in PACKAGES.items()))
    for name in ("torch_variants.toml", "system_libraries.toml"):
        shutil.copy(ROOT / "installers" / name, installers)
    return Project(folder, native_modules=("torch", "tessera_fake_a.part_7"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, wheels: Path) -> Iterator[Project]:
    """A project set up once, for the tests that only look at it or mend it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIP_CONFIG_FILE", os.devnull)
        patch.setenv("PIP_NO_INDEX", "1")
        patch.setenv("PIP_FIND_LINKS", str(wheels))
        project = lay_out(tmp_path_factory.mktemp("finished") / "studio")
        ensure(RUN, project=project, console=Console(io.StringIO()))
        yield project


def installed(project: Project) -> dict[str, str]:
    """The fake packages that are wholly there, with the version each says it is."""
    packages = site_packages(project.venv)
    assert packages is not None
    names = [name.replace("-", "_") for name in PACKAGES]
    whole = {path.name.split("-")[0] for path in packages.glob("*.dist-info") if is_whole(path)}
    return {
        name: (packages / name / "__init__.py").read_text().split("'")[1]
        for name in names
        if name in whole and (packages / name / "__init__.py").is_file()
    }


RUN_PACKAGES = {"torch": "2.13.0", "tessera_fake_a": "1.0", "tessera_fake_b": "2.0"}


def test_from_nothing_to_complete_and_then_nothing_more_to_do(finished: Project) -> None:
    assert installed(finished) == RUN_PACKAGES
    stamp = stamps.read_stamp(finished.venv, RUN)
    assert stamp is not None
    assert stamp.variant == "cpu"
    assert stamps.is_current(finished.venv, RUN, finished.folder)
    assert not stamps.is_current(finished.venv, TEST, finished.folder)
    output = io.StringIO()
    assert ensure(RUN, project=finished, console=Console(output)) == venv_python(finished.venv)
    assert output.getvalue() == ""


def test_every_step_is_a_plain_line_when_piped(finished: Project) -> None:
    stamps.stamp_path(finished.venv, RUN).unlink()
    output = io.StringIO()
    ensure(RUN, project=finished, console=Console(output))
    lines = output.getvalue().splitlines()
    assert "\r" not in output.getvalue()
    assert lines[0].startswith(f"Setting up Tessera Studio in {finished.venv}")
    assert [line.split(" (")[0] for line in lines[2:6]] == [
        "  Looking over what is there: in order",
        "  PyTorch 2.13.0: already there",
        "  Packages of the studio: already there",
        "  Trying it: all loads",
    ]
    assert lines[-1].startswith("Ready in ")
    assert "MiB on disk" in lines[-1]


def test_the_test_extras_have_a_stamp_of_their_own(finished: Project) -> None:
    ensure(TEST, project=finished, console=Console(io.StringIO()))
    assert installed(finished) == RUN_PACKAGES | {"tessera_fake_check": "3.0"}
    assert stamps.is_current(finished.venv, TEST, finished.folder)
    assert stamps.is_current(finished.venv, RUN, finished.folder)


def test_half_installed_packages_are_done_again(finished: Project) -> None:
    packages = site_packages(finished.venv)
    assert packages is not None
    (packages / "tessera_fake_a-1.0.dist-info" / "RECORD").unlink()  # killed before the records were written
    (packages / "tessera_fake_b" / "part_3.py").write_text("")  # a file that never reached the disk
    (packages / "~orch").mkdir()  # killed while replacing
    stamps.stamp_path(finished.venv, RUN).unlink()
    assert set(installed(finished)) & {"tessera_fake_a", "tessera_fake_b"} == set()
    output = io.StringIO()
    ensure(RUN, project=finished, console=Console(output))
    assert "2 half-installed, to be done again" in output.getvalue()
    assert RUN_PACKAGES.items() <= installed(finished).items()
    assert (packages / "tessera_fake_b" / "part_3.py").read_text().startswith("NUMBER = 3")
    assert not (packages / "~orch").exists()
    assert clear_broken(finished.venv) == []


def test_an_environment_with_half_a_pip_does_not_count_as_working(finished: Project) -> None:
    """Killed while Python copied pip into it: pip starts, and fails when it comes to a file that is not there."""
    set_up = _SetUp(finished, Console(io.StringIO()))
    packages = site_packages(finished.venv)
    assert packages is not None
    (record,) = packages.glob("pip-*.dist-info/RECORD")
    assert set_up._works()
    aside = record.rename(record.with_name("aside"))
    assert not set_up._works()
    aside.rename(record)
    assert set_up._works()


def test_an_environment_without_its_interpreter_is_made_anew(finished: Project) -> None:
    venv_python(finished.venv).unlink()
    assert not stamps.is_current(finished.venv, RUN, finished.folder)
    ensure(RUN, project=finished, console=Console(io.StringIO()))
    assert installed(finished) == RUN_PACKAGES
    assert stamps.is_current(finished.venv, RUN, finished.folder)


@pytest.mark.parametrize("change", ["constraints", "card", "interpreter", "garbage", "older stamp", "index"])
def test_what_makes_a_stamp_stale(finished: Project, change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = stamps.stamp_path(finished.venv, RUN)
    before = path.read_text()
    try:
        if change == "constraints":
            monkeypatch.setattr(stamps, "asked_for", lambda project: "tessera-fake-a==1.1\n")
        elif change == "card":
            monkeypatch.setenv("TESSERA_TORCH", "cu126")
        elif change == "interpreter":
            path.write_text(json.dumps(json.loads(before) | {"interpreter": "/usr/bin/python3.11 1 1"}))
        elif change == "index":  # the card's own build was not to be had, and now a person says where it is
            path.write_text(json.dumps(json.loads(before) | {"wants_index": True}))
            assert stamps.is_current(finished.venv, RUN, finished.folder)
            monkeypatch.setenv("TESSERA_TORCH_INDEX", "file:///wheels")
        elif change == "garbage":
            path.write_bytes(b"\x00\xff{")
        else:
            path.write_text(json.dumps({"asked_for": ""}))
        assert not stamps.is_current(finished.venv, RUN, finished.folder)
    finally:
        path.write_text(before)
    monkeypatch.undo()
    assert stamps.is_current(finished.venv, RUN, finished.folder)


def test_two_starts_at_once_set_up_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[str] = []
    project = lay_out(tmp_path / "studio")
    entered, go_on = threading.Event(), threading.Event()

    def pretend(self: object, part: str) -> None:
        runs.append(part)
        entered.set()
        assert go_on.wait(20)
        venv_python(project.venv).parent.mkdir(parents=True, exist_ok=True)
        venv_python(project.venv).touch()
        stamps.Stamp(
            stamps.asked_for(project.folder), stamps.interpreter_mark(project.venv), "3", stamps.card_mark(), "cpu"
        ).write(project.venv, part)

    monkeypatch.setattr("installers.bootstrap._SetUp.run", pretend)
    waiting = io.StringIO()
    first = threading.Thread(target=ensure, args=(RUN,), kwargs={"project": project, "console": Console(io.StringIO())})
    second = threading.Thread(target=ensure, args=(RUN,), kwargs={"project": project, "console": Console(waiting)})
    first.start()
    assert entered.wait(20)
    said = threading.Event()

    def say(self: Console, text: str) -> None:
        waiting.write(text)
        said.set()

    monkeypatch.setattr(Console, "say", say)
    second.start()
    assert said.wait(20)
    go_on.set()
    first.join(20)
    second.join(20)
    assert runs == [RUN]
    assert waiting.getvalue() == "Another start of the studio is setting up; waiting for it."


INTERRUPTED = """
import sys
from pathlib import Path
from installers.bootstrap import Project, SetupFailed, ensure
try:
    ensure("run", project=Project(Path(sys.argv[1]), native_modules=("torch",)))
except SetupFailed as error:
    sys.exit(str(error))
"""


def start(project: Project) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, str(project.folder)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def kill_during(project: Project, step: str, extra_lines: int) -> None:
    """Start set-up; kill all of it, pip too, after the line that ends `step` and so many lines of the log."""
    process = start(project)
    assert process.stderr is not None
    for line in process.stderr:
        if step in line:
            break
    log = project.venv / "tessera-setup.log"
    while process.poll() is None and extra_lines:
        if log.is_file() and len(log.read_text(encoding="utf-8").splitlines()) >= extra_lines:
            break
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stderr.close()


@pytest.mark.skipif(sys.platform == "win32", reason="kills a POSIX process group")
def test_killed_at_three_places_and_started_again(tmp_path: Path) -> None:
    project = lay_out(tmp_path / "studio")
    for step, lines in (("PyTorch for the processor", 0), ("Environment", 1), ("PyTorch 2.13.0", 4)):
        kill_during(project, step, lines)
        assert not stamps.is_current(project.venv, RUN, project.folder)
    with start(project) as process:
        assert process.stderr is not None
        said = process.stderr.read()
    assert process.returncode == 0, said
    assert "Ready in" in said
    assert installed(project) == RUN_PACKAGES
    assert clear_broken(project.venv) == []


@pytest.mark.full
@pytest.mark.skipif(sys.platform == "win32", reason="kills a POSIX process group")
def test_killed_at_twenty_random_times(tmp_path: Path) -> None:
    project = lay_out(tmp_path / "studio")
    dice = random.Random(2)
    for _ in range(20):
        process = start(project)
        try:
            process.wait(timeout=dice.uniform(0.05, 9))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if process.stderr is not None:
            process.stderr.close()
        if stamps.is_current(project.venv, RUN, project.folder):
            assert installed(project) == RUN_PACKAGES
            shutil.rmtree(project.venv)
    ensure(RUN, project=project, console=Console(io.StringIO()))
    assert installed(project) == RUN_PACKAGES


def test_a_full_disk_is_said_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = lay_out(tmp_path / "studio")
    usage = shutil.disk_usage(tmp_path)._replace(free=300 * 2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(SetupFailed, match=r"needs about 2\.5 GiB .* 300 MiB is free\. Make room") as caught:
        ensure(RUN, project=project, console=Console(io.StringIO()))
    assert caught.value.exit_code == 4
    assert not project.venv.exists()


def test_missing_libraries_stop_a_window_before_any_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = lay_out(tmp_path / "studio")
    monkeypatch.setattr("installers.system_libraries.loads", lambda file: file != "libEGL.so.1")
    with pytest.raises(SetupFailed, match=r"libraries that this system lacks \(libEGL\.so\.1\)") as caught:
        ensure(RUN, display="x11", project=project, console=Console(io.StringIO()))
    assert caught.value.exit_code == 3
    assert not project.venv.exists()


def test_a_display_is_remembered_once_its_libraries_load(finished: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_for: list[str] = []

    def loads(file: str) -> bool:
        looked_for.append(file)
        return True

    monkeypatch.setattr("installers.system_libraries.loads", loads)
    ensure(RUN, display="wayland", project=finished, console=Console(io.StringIO()))
    assert "libwayland-client.so.0" in looked_for
    stamp = stamps.read_stamp(finished.venv, RUN)
    assert stamp is not None
    assert stamp.screen == "wayland"


def test_a_package_that_is_not_in_the_index_is_named(finished: Project) -> None:
    folder = finished.folder
    constraints = (folder / "installers" / "constraints.txt").read_text()
    pyproject = (folder / "pyproject.toml").read_text()
    try:
        (folder / "pyproject.toml").write_text(pyproject.replace('"tessera-fake-b"', '"tessera-fake-absent"'))
        (folder / "installers" / "constraints.txt").write_text(constraints + "tessera-fake-absent==1\n")
        with pytest.raises(SetupFailed, match=r"index has no build of tessera-fake-absent.* for this Python"):
            ensure(RUN, project=finished, console=Console(io.StringIO()))
        assert not stamps.is_current(finished.venv, RUN, folder)
    finally:
        (folder / "pyproject.toml").write_text(pyproject)
        (folder / "installers" / "constraints.txt").write_text(constraints)


@pytest.mark.parametrize(
    ("output", "kind", "words"),
    [
        (
            "WARNING: Retrying ... NameResolutionError: Failed to resolve\nERROR: No matching",
            "network",
            "connect, then",
        ),
        (
            "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
            "space",
            "filled up",
        ),
        ("ERROR: No matching distribution found for torch==2.13.0", "match", "no build of torch==2.13.0"),
        ("ERROR: Cannot unpack file.", "other", "Cannot unpack file. The details are in setup.log."),
        ("", "other", "it gave no reason"),
    ],
)
def test_pips_failures_become_one_sentence(output: str, kind: str, words: str) -> None:
    error = failure(output, Path("setup.log"))
    assert error.kind == kind
    assert words in str(error)
    assert "\n" not in str(error)


def test_pips_progress_is_read() -> None:
    fetched = Fetched()
    assert fetched.read("  Downloading torch-2.13.0%2Bcpu-cp311-cp311-linux_x86_64.whl.metadata (29 kB)") == ""
    assert fetched.read("Downloading numpy-2.4.6-cp311-cp311-linux_x86_64.whl (16.9 MB)") == "numpy 2.4.6, 16.1 MiB"
    assert fetched.read("Progress 1048576 of 16900000") == "numpy 2.4.6, 1.0 MiB of 16.1 MiB"
    assert fetched.read("Processing /opt/wheels/torch-2.13.0+cpu-cp311-cp311-linux_x86_64.whl") == "torch 2.13.0+cpu"
    assert fetched.read("Installing collected packages: numpy, torch") == "unpacking"
    assert (fetched.files, fetched.total) == (2, 16_900_000)
