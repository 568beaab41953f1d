"""Start the command line, also where its extras are not installed."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Final, NoReturn

from promptcache.cli.close_names import suggest_names
from promptcache.cli.exit_codes import RECORD_COMMAND, ExitCode
from promptcache.version import __version__

BARE_COMMANDS: Final = ("cost", "prices", "doctor")
"""The commands that need no extra."""
EXTRAS: Final[Mapping[str, str]] = {
    "run": "run",
    "check": "check",
    "report": "report",
    "explain": "report",
    "open": "open",
    "whatif": "report",
    "export": "duckdb",
    "import": "report",
    "engine": "report",
    "backfill": "report",
    "prune": "report",
    "breakeven": "report",
    "plan": "report",
    "alerts": "report",
    "emulate": "emulator",
}
"""The extra of each other command."""
_BARE_HELP: Final = f"""\
Usage: promptcache COMMAND [OPTIONS]

Without an extra: {", ".join(BARE_COMMANDS)}, --version
"""


def main() -> None:
    """Run the command of `sys.argv` and end the process with an ExitCode."""
    if not (find_spec("typer") and find_spec("rich")):
        run_bare_command(sys.argv[1:])
    from promptcache.cli.commands import app  # typer and rich are an extra

    app()


def run_bare_command(arguments: Sequence[str]) -> NoReturn:
    """Run a command that needs no extra, or name the extra that is missing."""
    name = arguments[0] if arguments else "--help"
    if name == "--version":
        sys.stdout.write(f"promptcache {__version__}\n")
        sys.exit(ExitCode.OK)
    if name == "--help":
        lines = (f'{one}: pip install "promptcache[{extra}]"' for one, extra in EXTRAS.items())
        sys.stdout.write("\n".join((_BARE_HELP, *lines, "", f"First step: {RECORD_COMMAND}\n")))
        sys.exit(ExitCode.OK)
    if name in BARE_COMMANDS:
        from promptcache.cli import typer_subset

        sys.modules["typer"] = typer_subset
        app = import_module(f"promptcache.cli.{name}").app
        typer_subset.run_command(app, f"promptcache {name}", arguments[1:])
    if name in EXTRAS:
        sys.stderr.write(
            f'promptcache {name} needs an extra: pip install "promptcache[{EXTRAS[name]}]"\n'
        )
    else:
        guess = suggest_names(name, [*BARE_COMMANDS, *EXTRAS]) or "; see promptcache --help"
        sys.stderr.write(f"promptcache has no command {name}{guess}\n")
    sys.exit(ExitCode.USAGE)
