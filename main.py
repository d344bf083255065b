#!/usr/bin/env python3
"""Tessera Studio: `python3 main.py` opens the window, `python3 main.py --help` lists the commands.

This file keeps to syntax that Pythons too old for the studio can read, so that they are told so in a sentence.
"""

import sys

OLDEST = (3, 11)
NEWEST = (3, 13)


def unfit_python():
    # type: () -> str
    """What is wrong with the running Python, or nothing."""
    if OLDEST <= sys.version_info[:2] <= NEWEST and sys.maxsize > 2**32:
        return ""
    import shutil

    running = "%d.%d" % sys.version_info[:2] + ("" if sys.maxsize > 2**32 else " (32-bit)")
    others = ["python3.%d" % minor for minor in range(NEWEST[1], OLDEST[1] - 1, -1)]
    which = getattr(shutil, "which", lambda name: None)  # Python 2 lacks it
    found = [name for name in others if which(name) and name != "python" + running]
    remedy = "Start it with: %s main.py" % found[0] if found else "Install one of those and start it with that."
    return "Tessera Studio needs Python 3.11, 3.12 or 3.13 (64-bit), and this is Python %s. %s" % (running, remedy)


def main():
    # type: () -> int
    unfit = unfit_python()
    if unfit:
        sys.stderr.write(unfit + "\n")
        return 3
    from installers.start import main as start

    return start(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
