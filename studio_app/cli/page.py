"""docs/cli.md from the commands' own help: `python -m studio_app.cli.page > docs/cli.md`."""

from __future__ import annotations

import argparse
import os
import sys

from studio_app.cli.main import COMMANDS, EXIT_CODES, parser


def command_line_page() -> str:
    """The page as Markdown; a test compares it with the file."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "110"  # argparse wraps to the terminal
    try:
        top = parser()
        sections = [
            "# Command line\n\n`python3 main.py` opens the window; with a command it works without one. Results go to "
            "standard output, everything else to standard error. With `--json` a command prints one JSON value and "
            'nothing else; when it fails, `{"error": …, "exit_code": …}`. `main.py test` sets up and runs the tests.\n',
            f"```\n{top.format_help()}```\n",
        ]
        (commands,) = (a for a in top._actions if isinstance(a, argparse._SubParsersAction))
        for module in COMMANDS:
            text = commands.choices[module.NAME].format_help().replace(EXIT_CODES, "").rstrip()
            sections.append(f"## {module.NAME}\n\n```\n{text}\n```\n")
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before
    return "\n".join(sections)


if __name__ == "__main__":
    sys.stdout.write(command_line_page())
