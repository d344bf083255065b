"""From the first line of a start to the command's own code: environment, process-wide variables, dispatch.

A second start costs one small file's reading and one `exec`; set-up is imported only when there is something to do.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from installers import stamp
from installers.environment import (
    ROOT,
    display_kind,
    frozen,
    hand_over,
    is_root,
    runs_in,
    set_process_variables,
    venv_folder,
    venv_python,
)

EXIT_BAD_INPUT = 2
EXIT_MISSING = 3
EXIT_NO_DISPLAY = 6

NO_DISPLAY = (
    "There is no display here, so the window can’t open. From the command line use: "
    'main.py generate "a red circle on a blue background" -o picture.png'
)

# The command line's own help needs the packages; before they are there, this is it. A test compares the names.
COMMANDS = (
    "generate", "run", "validate", "explain", "import", "export",
    "plan", "nodes", "models", "prompt", "doctor", "bench", "test",
)  # fmt: skip
HELP = f"""Tessera Studio makes pictures with diffusion models on this machine.

  main.py                     opens the window
  main.py COMMAND --help      says more about one of: {", ".join(COMMANDS)}
  main.py --version

The first start sets up what the studio needs, in the folder .venv here; that takes some minutes and about 2 GiB, and
needs the network. After that nothing leaves this machine."""

# Set where something else provides the packages (a container, a packager): the running Python is used as it is.
NO_SETUP_VARIABLE = "TESSERA_NO_SETUP"


def main(arguments: Sequence[str]) -> int:
    """Run the studio with `arguments` (without the program's name); the exit code."""
    set_process_variables()
    if arguments[:1] in (["--version"], ["-V"]):
        from studio_app.version import VERSION

        print(f"Tessera Studio {VERSION}")
        return 0
    display = ""
    if opens_window(arguments):
        display = display_kind()
        if not display:
            print(NO_DISPLAY, file=sys.stderr)
            return EXIT_NO_DISPLAY
    if frozen() or os.environ.get(NO_SETUP_VARIABLE):
        return dispatch(arguments)
    return _in_the_environment(arguments, display)


def opens_window(arguments: Sequence[str]) -> bool:
    """Whether there is no command: nothing, or nothing but where the data are."""
    if not arguments:
        return True
    if len(arguments) == 2:
        return arguments[0] == "--data-dir"
    return len(arguments) == 1 and arguments[0].startswith("--data-dir=")


def _in_the_environment(arguments: Sequence[str], display: str) -> int:
    venv = venv_folder()
    part = stamp.TEST if arguments[:1] == ["test"] else stamp.RUN
    if not is_ready(part, display):
        if runs_in(venv):  # it may have to be replaced, which it can't do to itself
            hand_over_to_base(arguments)
        if {"-h", "--help"} & set(arguments):
            print(HELP)
            return 0
        if arguments and arguments[0] not in (*COMMANDS, "--data-dir") and not arguments[0].startswith("--data-dir="):
            print(f"There is no command “{arguments[0]}”. Use one of: {', '.join(COMMANDS)}.", file=sys.stderr)
            return EXIT_BAD_INPUT
        from installers.bootstrap import SetupFailed, ensure

        # The suite opens its windows offscreen, and needs for that what every window needs.
        try:
            ensure(part, display=display or ("offscreen" if part == stamp.TEST and sys.platform == "linux" else ""))
        except SetupFailed as error:
            print(error, file=sys.stderr)
            return error.exit_code
    if not runs_in(venv):
        hand_over(venv_python(venv), [str(ROOT / "main.py"), *arguments])
    return dispatch(arguments)


def is_ready(part: str, display: str) -> bool:
    """Whether a start has nothing to set up: the stamp is current and the display's libraries were seen before."""
    venv = venv_folder()
    if not stamp.is_current(venv, part, ROOT):
        return False
    if not display:
        return True
    found = stamp.read_stamp(venv, stamp.RUN)
    return found is not None and found.screen == display


def hand_over_to_base(arguments: Sequence[str]) -> None:
    """Go on in the Python that the environment was made from."""
    base = getattr(sys, "_base_executable", "")
    if base and os.path.realpath(base) and base != sys.executable:
        from pathlib import Path

        hand_over(Path(base), [str(ROOT / "main.py"), *arguments])


def dispatch(arguments: Sequence[str]) -> int:
    """Run the command in this interpreter."""
    if opens_window(arguments):
        return _window(arguments)
    if arguments[0] == "test":
        from installers.suite import main as suite

        return suite(arguments[1:])
    from studio_app.cli.main import main as command_line

    return command_line(list(arguments))


def _window(arguments: Sequence[str]) -> int:
    try:
        from ui.main_window import run
    except ImportError:
        # A library of the system that went away since set-up; anything else is a fault of ours and says so.
        from installers import system_libraries

        lacking = system_libraries.missing(system_libraries.read_libraries(ROOT), display_kind())
        if not lacking:
            raise
        print(system_libraries.sentence(lacking, root=is_root()), file=sys.stderr)
        return EXIT_MISSING
    return run(list(arguments))
