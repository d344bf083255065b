"""Making the environment: from a machine with nothing but Python to one where every command runs.

Every step may be cut off at any point, by Ctrl-C, a kill or a power cut: the stamp that says "complete" is taken away
first and written last, so the next start comes here again, keeps what is whole, and does the rest. Standard library
only; nothing here is imported when the stamp is current.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from installers import stamp as stamps
from installers import system_libraries, torch_choice
from installers.console import Console, duration, size
from installers.environment import ROOT, is_root, venv_folder, venv_python
from installers.lock import only_one
from installers.pip_run import PipFailed, install
from installers.repair import clear_broken, has_record
from installers.stamp import RUN, TEST, Stamp

# As engine.contracts.errors has them; these files run before the rest may be imported.
EXIT_FAILED = 1
EXIT_MISSING = 3
EXIT_STORAGE = 4
EXIT_CANCELLED = 130

# What the check at the end imports: the packages whose native libraries can fail on a machine.
NATIVE_MODULES = ("torch", "numpy", "cv2", "PIL.Image", "safetensors", "PySide6.QtCore")


class SetupFailed(Exception):
    """Set-up stopped; the text is a sentence for a person."""

    def __init__(self, text: str, exit_code: int = EXIT_FAILED) -> None:
        self.exit_code = exit_code
        super().__init__(text)


ALONE = "alone"


@dataclass(frozen=True)
class Project:
    """What to set up, and where. `native_modules` are imported once at the end, to see that they load here."""

    folder: Path = ROOT
    native_modules: Sequence[str] = NATIVE_MODULES

    @property
    def venv(self) -> Path:
        return venv_folder(self.folder)

    @property
    def constraints(self) -> Path:
        return self.folder / "installers" / "constraints.txt"

    def requirements(self, part: str) -> list[str]:
        """What pyproject.toml asks for: the studio's packages without torch, which is chosen; those installed ALONE,
        since what they name brings another torch; or the test extras."""
        with open(self.folder / "pyproject.toml", "rb") as file:
            declared = tomllib.load(file)["project"]
        if part == TEST:
            return list(declared["optional-dependencies"]["test"])
        if part == ALONE:
            return list(declared.get("optional-dependencies", {}).get("alone", ()))
        return [line for line in declared["dependencies"] if not re.match(r"torch\b(?!-)", line)]

    def pip_requirement(self) -> str:
        """The pip to install with, where the constraints name one."""
        found = re.search(r"^pip==\S+", self.constraints.read_text(encoding="utf-8"), re.MULTILINE)
        return found.group(0) if found else ""


def ensure(part: str, *, display: str = "", project: Project | None = None, console: Console | None = None) -> Path:
    """Make `part` (RUN or TEST) of the environment complete, and give its interpreter.

    `display` is the kind of display a window is to open on; its system libraries are looked for before anything is
    downloaded. Raises SetupFailed.
    """
    project = project or Project()
    console = console or Console()
    _check_display(display, project)
    if stamps.is_current(project.venv, part, project.folder):
        with contextlib.suppress(OSError):  # an installation that is not ours to write to is looked over each time
            _remember_display(display, project)
        return venv_python(project.venv)
    try:
        with only_one(
            project.folder / ".venv.lock",
            lambda: console.say("Another start of the studio is setting up; waiting for it."),
        ):
            if not stamps.is_current(project.venv, part, project.folder):
                _SetUp(project, console).run(part)
            _remember_display(display, project)
    except KeyboardInterrupt:
        raise SetupFailed("Set-up was stopped. Start again and it goes on from there.", EXIT_CANCELLED) from None
    except PermissionError as error:
        raise SetupFailed(
            f"The folder {project.folder} can’t be written to ({error.strerror}). Move the studio to a folder of "
            "yours and start again.",
            EXIT_STORAGE,
        ) from None
    except OSError as error:
        raise SetupFailed(f"Set-up failed: {error.strerror or error} ({error.filename}).", EXIT_STORAGE) from None
    return venv_python(project.venv)


def _check_display(display: str, project: Project) -> None:
    if not display:
        return
    lacking = system_libraries.missing(system_libraries.read_libraries(project.folder), display)
    if lacking:
        raise SetupFailed(system_libraries.sentence(lacking, root=is_root()), EXIT_MISSING)


def _remember_display(display: str, project: Project) -> None:
    stamp = stamps.read_stamp(project.venv, RUN)
    if display and stamp is not None and stamp.screen != display:
        replace(stamp, screen=display).write(project.venv, RUN)


class _SetUp:
    """One run of set-up, under the lock."""

    def __init__(self, project: Project, console: Console) -> None:
        self.project = project
        self.venv = project.venv
        self.python = venv_python(project.venv)
        self.console = console
        self.log = project.venv / "tessera-setup.log"
        self.raw_progress = False

    def run(self, part: str) -> None:
        began = time.monotonic()
        self.console.say(f"Setting up Tessera Studio in {self.venv}: needed once, and again only after an update.")
        choice = self._choose_torch()
        self._check_room(choice)
        run_is_current = stamps.is_current(self.venv, RUN, self.project.folder)
        before = stamps.read_stamp(self.venv, RUN)
        for known in (RUN, TEST):
            stamps.stamp_path(self.venv, known).unlink(missing_ok=True)
        self._make_venv()
        self._upgrade_pip()
        if not run_is_current:
            if before is not None and before.variant != choice.tag:
                self._remove_torch()
            label = choice.requirement.replace("==", " ").replace("torch", "PyTorch")
            self._install(label, [choice.requirement], choice.arguments)
            self._install("Packages of the studio", self.project.requirements(RUN))
            alone = self.project.requirements(ALONE)
            if alone:
                self._install("Upscalers", alone, ["--no-deps"])
        if part == TEST:
            self._install("Packages of the tests", self.project.requirements(TEST))
        if not run_is_current:
            self._check_modules()
        self._stamp(part, choice, before.screen if before else "")
        taken = size(_folder_size(self.venv))
        self.console.say(f"Ready in {duration(time.monotonic() - began)}; {taken} on disk. Later starts skip all this.")

    def _choose_torch(self) -> torch_choice.TorchChoice:
        system, machine = torch_choice.this_system()
        card = torch_choice.find_card(system=system, machine=machine)
        try:
            choice = torch_choice.choose(
                card, torch_choice.read_table(self.project.folder), system=system, machine=machine
            )
        except torch_choice.NoBuild as error:
            raise SetupFailed(str(error), EXIT_MISSING) from None
        where = f"Python {platform.python_version()}, {torch_choice.platform_name(system)} {machine}"
        self.console.say(f"  {where}, {card.sentence()}: {choice.label} ({choice.tag})")
        if choice.note:
            self.console.say(f"  {choice.note[0].upper()}{choice.note[1:]}")
        return choice

    def _check_room(self, choice: torch_choice.TorchChoice) -> None:
        needed = choice.disk_gib * 2**30 - (_folder_size(self.venv) if self.venv.is_dir() else 0)
        free = shutil.disk_usage(self.project.folder).free
        if free < needed:
            raise SetupFailed(
                f"Set-up needs about {size(needed)} on the disk of {self.project.folder}, and {size(free)} is free. "
                "Make room, or move the studio to a larger disk.",
                EXIT_STORAGE,
            )

    def _make_venv(self) -> None:
        """Keep an environment that works, minus what is half installed in it; otherwise make it from nothing."""
        if self.venv.is_dir():
            self.console.start("Looking over what is there")
            cleared = clear_broken(self.venv)
            if self._works():
                again = f"{len(cleared)} half-installed, to be done again" if cleared else "in order"
                self.console.done(again)
                return
            self.console.done("not usable, made anew")
        if importlib.util.find_spec("ensurepip") is None:
            name = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
            raise SetupFailed(
                "This Python can’t make environments: its ensurepip is missing. On Debian and Ubuntu, install it with: "
                f"{'' if is_root() else 'sudo '}apt-get install -y {name}",
                EXIT_MISSING,
            )
        self.console.start("Environment")
        # From the Python beneath: the running one may be the environment that is about to be replaced.
        beneath = getattr(sys, "_base_executable", sys.executable)
        done = subprocess.run(
            [beneath, "-m", "venv", "--clear", "--prompt", "tessera", str(self.venv)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SetupFailed(f"Python could not make the environment: {_last_line(done.stdout + done.stderr)}")
        self.console.done()

    def _works(self) -> bool:
        """Whether the environment's interpreter starts, is one of ours, and has a pip that is wholly there.

        A half-copied pip may start and fail later, so its record is asked for, which is written last.
        """
        if not has_record(self.venv, "pip"):
            return False
        code = "import sys, pip._internal; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))"
        try:
            done = subprocess.run([self.python, "-c", code], capture_output=True, check=False, timeout=120)
        except (OSError, subprocess.TimeoutExpired):
            return False
        return done.returncode == 0

    def _upgrade_pip(self) -> None:
        """A pip that tells its progress. Without one the studio installs all the same, only more quietly."""
        requirement = self.project.pip_requirement()
        if not requirement:
            return
        self.console.start(requirement.replace("==", " "))
        try:
            install(self.python, [requirement], on_progress=self.console.progress, log=self.log)
        except PipFailed as error:
            self.console.done(f"kept the one that is there ({error.kind})")
        else:
            self.raw_progress = True
            self.console.done()

    def _remove_torch(self) -> None:
        """pip takes any build of a version for that version, so the build for another card has to go first."""
        self.console.start("Removing PyTorch for the former card")
        command = [str(self.python), "-m", "pip", "uninstall", "--yes", "--quiet", "torch"]
        subprocess.run(command, capture_output=True, check=False)
        self.console.done()

    def _install(self, label: str, requirements: Sequence[str], arguments: Sequence[str] = ()) -> None:
        self.console.start(label)
        try:
            fetched = install(
                self.python,
                requirements,
                arguments=["--constraint", str(self.project.constraints), *arguments],
                on_progress=self.console.progress,
                log=self.log,
                raw_progress=self.raw_progress,
            )
        except PipFailed as error:
            raise SetupFailed(str(error), EXIT_STORAGE if error.kind == "space" else EXIT_FAILED) from None
        amount = f"{fetched.files} package{'s' if fetched.files != 1 else ''}"
        if fetched.total:
            amount += f", {size(fetched.total)} downloaded"
        self.console.done(amount if fetched.files else "already there")

    def _check_modules(self) -> None:
        """Import what has native libraries once: better a sentence now than a failure in the middle of work."""
        if not self.project.native_modules:
            return
        self.console.start("Trying it")
        code = f"import {', '.join(self.project.native_modules)}"
        done = subprocess.run([self.python, "-I", "-c", code], capture_output=True, text=True, check=False)
        if done.returncode:
            raise SetupFailed(f"The packages are there but do not load on this machine: {_last_line(done.stderr)}")
        self.console.done("all loads")

    def _stamp(self, part: str, choice: torch_choice.TorchChoice, screen: str) -> None:
        if hasattr(os, "sync"):
            os.sync()  # so that after a power cut there is no stamp for packages that are not there
        stamp = Stamp(
            asked_for=stamps.asked_for(self.project.folder),
            interpreter=stamps.interpreter_mark(self.venv),
            python=platform.python_version(),
            card=stamps.card_mark(),
            variant=choice.tag,
            screen=screen,
            wants_index=choice.wants_index,
        )
        for name in dict.fromkeys((RUN, part)):
            stamp.write(self.venv, name)


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it gave no reason"


def _folder_size(folder: Path) -> int:
    """Bytes of the files below `folder`, not following links."""
    total = 0
    for base, _folders, files in os.walk(folder):
        for name in files:
            try:
                total += os.lstat(os.path.join(base, name)).st_size
            except OSError:
                continue  # gone between listing and looking
    return total
