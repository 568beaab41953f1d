"""The group of all commands. It imports a command's module only when that command is used."""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from promptcache.cli.close_names import suggest_names
from promptcache.cli.exit_codes import RECORD_COMMAND, ExitCode, exit_code_help
from promptcache.version import __version__

COMMANDS: Final = (
    "run",
    "check",
    "doctor",
    "report",
    "explain",
    "open",
    "whatif",
    "export",
    "import",
    "engine",
    "backfill",
    "prune",
    "prices",
    "cost",
    "breakeven",
    "plan",
    "alerts",
    "emulate",
)
"""The modules of this package whose `app` holds the command of the same name."""
_MODULES: Final = {"import": "import_spans", "open": "open_page"}
"""The modules of commands whose name is one of Python's own."""


class LazyGroup(TyperGroup):
    """The lazy group of click's documentation ("Lazily Loading Subcommands"), for typer.

    `ctx` is Any because newer releases of typer bring their own copy of click.
    """

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all commands, in the order of the help page."""
        return [*COMMANDS]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import and return a command, None for an unknown name."""
        if cmd_name not in COMMANDS:
            return None
        module = _MODULES.get(cmd_name, cmd_name)
        return typer.main.get_command(import_module(f"promptcache.cli.{module}").app)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command of the arguments. An unknown name is an error that names close
        ones."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            guess = suggest_names(args[0], [*COMMANDS])
            ctx.fail(f"No such command {args[0]!r}{guess or '.'}")
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=LazyGroup, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)

_FIRST_STEPS: Final = ("First steps:", RECORD_COMMAND, "promptcache report")


def _print_version_if_requested(is_wanted: bool) -> None:
    if is_wanted:
        typer.echo(f"promptcache {__version__}")
        raise typer.Exit


@app.callback(epilog="\n\n".join((*_FIRST_STEPS, exit_code_help(*ExitCode))))
def promptcache(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_print_version_if_requested,
            is_eager=True,
            help="Show the version and exit.",
        ),
    ] = False,
) -> None:
    """Show how well LLM prompt caching works: hit rate, cost, savings, waste, and causes of
    misses."""
