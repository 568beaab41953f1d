"""The command `promptcache`. Says what to install where its extra is missing."""

from __future__ import annotations

import sys
from importlib.util import find_spec

from promptcache.cli.exit_codes import ExitCode


def main() -> None:
    """Runs the command line and ends the process with one of the codes of `exits`."""
    if not (find_spec("typer") and find_spec("rich")):
        sys.stderr.write('The command line needs an extra: pip install "promptcache[report]"\n')
        sys.exit(ExitCode.USAGE)
    from promptcache.cli.commands import app

    app()
