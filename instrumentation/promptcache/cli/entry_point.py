"""Start the command line, or say which extra it needs."""

from __future__ import annotations

import sys
from importlib.util import find_spec

from promptcache.cli.exit_codes import ExitCode


def main() -> None:
    """Run the command of `sys.argv` and end the process with an ExitCode."""
    if not (find_spec("typer") and find_spec("rich")):
        sys.stderr.write('The command line needs an extra: pip install "promptcache[report]"\n')
        sys.exit(ExitCode.USAGE)
    from promptcache.cli.commands import app  # typer and rich are an extra

    app()
