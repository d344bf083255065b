"""The command line: one parser, one file for each command, one door for errors."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from engine.contracts.errors import EXIT_CANCELLED, EXIT_FAILED, TesseraError
from studio_app.cli import (
    bench,
    doctor,
    explain,
    export,
    generate,
    import_file,
    models,
    nodes,
    plan,
    prompt,
    run,
    validate,
)
from studio_app.cli.console import PROGRAM, Parser, print_json, remark
from studio_app.version import VERSION

COMMANDS = (generate, run, validate, explain, import_file, export, plan, nodes, models, prompt, doctor, bench)

EXIT_CODES = """\
exit codes:
  0  done
  1  it failed while running
  2  something in the request, a file or the arguments is wrong
  3  a model, or a part of one, is not on this machine
  4  a disk is full or a folder can't be written
  5  there is not enough memory
  6  there is no display for the window
  7  a host can't be reached or refuses, or the studio is offline
  130  stopped by you
"""


def parser() -> Parser:
    """The whole command line."""
    top = Parser(
        prog=PROGRAM,
        description="Tessera Studio makes pictures with diffusion models on this machine. Without a command it opens "
        "the window.",
        epilog="“main.py COMMAND --help” says more about a command; “main.py test” runs the tests.\n\n" + EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"Tessera Studio {VERSION}")
    _add_data_dir(top, None)
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=Parser)
    for module in COMMANDS:
        sub = commands.add_parser(
            module.NAME,
            help=module.HELP,
            description=module.DESCRIPTION,
            epilog=getattr(module, "EPILOG", "") + ("\n" if hasattr(module, "EPILOG") else "") + EXIT_CODES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add(sub)
        _add_data_dir(sub, argparse.SUPPRESS)
        sub.set_defaults(run=module.run)
    return top


def _add_data_dir(to: argparse.ArgumentParser, default: object) -> None:
    to.add_argument(
        "--data-dir", metavar="DIR", type=Path, default=default,
        help="the studio's data folder (else $TESSERA_DATA, else the system's usual place)",
    )  # fmt: skip


def main(argv: Sequence[str]) -> int:
    """Run one command; returns its exit code. Whatever goes wrong becomes one sentence on standard error."""
    os.environ.setdefault("TQDM_DISABLE", "1")  # libraries' own bars would write over ours
    as_json = "--json" in argv
    try:
        args = parser().parse_args(list(argv))
        return int(args.run(args))
    except TesseraError as error:
        remark(str(error))
        if as_json:
            print_json({"error": str(error), "exit_code": error.exit_code})
        return error.exit_code
    except KeyboardInterrupt:
        remark("Stopped by you.")
        return EXIT_CANCELLED
    except BrokenPipeError:
        # The reader of our output went away, as `| head` does: nothing to say, and nobody to say it to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + getattr(signal, "SIGPIPE", 13)
    except SystemExit as stop:  # --help and --version
        return stop.code if isinstance(stop.code, int) else 0
    except Exception as error:  # the last door: a fault of ours, in one sentence
        logging.getLogger(__name__).debug("a command failed", exc_info=True)
        remark(f"The studio met an error of its own: {type(error).__name__}: {error}. Please report it.")
        if os.environ.get("TESSERA_TRACEBACK"):
            raise
        return EXIT_FAILED
