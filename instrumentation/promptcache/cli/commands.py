"""The commands of `promptcache`. The module of each is imported when it is asked for: a report needs no server."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from promptcache.cli.exit_codes import RECORD_COMMAND, ExitCode, exit_code_help
from promptcache.version import __version__

COMMANDS: Final[Mapping[str, str]] = {
    "report": "promptcache.cli.report:report",
    "explain": "promptcache.cli.explain:explain",
    "export": "promptcache.cli.export:export",
    "prices": "promptcache.cli.prices:register",
    "cost": "promptcache.cli.prices:register",
    "breakeven": "promptcache.cli.prices:register",
    "alerts": "promptcache.cli.alerts:alerts",
    "emulate": "promptcache.cli.emulate:emulate",
}
"""Where each command is. A function called `register` adds it, and others, to an app by itself."""


class LazyGroup(TyperGroup):
    """A group that knows the names of its commands, and imports only the one that runs."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The names, in the order of the table."""
        return [*COMMANDS]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command called `cmd_name`, None where there is none."""
        return _load_command(cmd_name, COMMANDS[cmd_name]) if cmd_name in COMMANDS else None


def _load_command(name: str, where: str) -> Any:
    path, _, function = where.partition(":")
    module = import_module(path)
    some = typer.Typer()
    some.callback()(_empty_callback)  # a lone command would not be a member of a group
    if function == "register":
        module.register(some)
    else:
        some.command(name, epilog=getattr(module, "EPILOG", None))(getattr(module, function))
    return typer.main.get_group(some).commands[name]


def _empty_callback() -> None:
    """Nothing happens before a command."""


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"promptcache {__version__}")
        raise typer.Exit


app = typer.Typer(
    cls=LazyGroup, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)


_FIRST_STEPS: Final = (
    "Begin with:",
    RECORD_COMMAND,
    "promptcache report",
)


@app.callback(epilog="\n\n".join((*_FIRST_STEPS, exit_code_help(*ExitCode))))
def promptcache(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """What LLM prompt caching really does: hit rate, cost, savings, waste, and why it missed."""
