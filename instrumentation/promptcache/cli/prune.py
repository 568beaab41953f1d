"""The command `promptcache prune`: delete calls that are too old, or too many."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Annotated, Final

import typer

from promptcache.cli.console import make_stderr_console
from promptcache.cli.exit_codes import CALLS_READER_CODES, ExitCode, exit_code_help
from promptcache.cli.table_errors import exit_on_table_error
from promptcache.cli.table_options import DatabaseArgument
from promptcache.settings import OTEL_PROMPTCACHE_KEEP
from promptcache_exporters.database import retention, sqlite_file
from promptcache_exporters.database.file_path import resolve_database_path
from promptcache_exporters.database.retention import Retention

EPILOG: Final = "\n\n".join(
    (
        "Examples:",
        "promptcache prune --keep 30d --dry-run",
        "promptcache prune --keep 90d,500MB /srv/app/promptcache.db",
        "The sums per hour (the table llm_hours) stay. So does the newest call.",
        exit_code_help(*CALLS_READER_CODES),
    )
)
_LOCK_TIMEOUT_SECONDS: Final = 10.0

KeepOption = Annotated[
    str | None,
    typer.Option(
        help="What to keep: an age, a size or both, such as 30d,2GB (h, d, w; KB, MB, GB, TB). "
        f"Default: {OTEL_PROMPTCACHE_KEEP}."
    ),
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Only say how many calls would be deleted.")
]

app = typer.Typer(add_completion=False)


@app.command("prune", epilog=EPILOG)
def prune(
    db: DatabaseArgument = None, keep: KeepOption = None, dry_run: DryRunOption = False
) -> None:
    """Delete the calls of the local table that are too old, oldest first."""
    path, wanted = resolve_database_path(db), parse_keep_option(keep)
    with exit_on_table_error():
        try:
            with sqlite_file.open_sqlite_read_only(path) as connection:
                count = retention.count_prunable(connection, wanted, time.time())
            if not dry_run:
                count = delete_calls(path, wanted)
        except sqlite3.Error as error:
            make_stderr_console().print(f"{path} cannot be pruned: {error}.")
            raise typer.Exit(ExitCode.NOT_A_TABLE) from None
    typer.echo(f"{count:,} calls {'would be' if dry_run else 'were'} deleted from {path}")


def parse_keep_option(text: str | None) -> Retention:
    """Return the retention of `--keep` or of the environment. Raises BadParameter."""
    chosen = os.environ.get(OTEL_PROMPTCACHE_KEEP, "") if text is None else text
    try:
        wanted = retention.parse_retention(chosen)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--keep") from error
    if wanted.keeps_everything:
        raise typer.BadParameter(
            f"say what to keep, such as --keep 30d,2GB, or set {OTEL_PROMPTCACHE_KEEP}",
            param_hint="--keep",
        )
    return wanted


def delete_calls(path: Path, wanted: Retention) -> int:
    """Delete what is not kept, and return the number of calls. Raises OSError, sqlite3.Error."""
    with closing(sqlite_file.open_or_create_for_writing(path, _LOCK_TIMEOUT_SECONDS)) as connection:
        connection.execute(f"PRAGMA busy_timeout = {_LOCK_TIMEOUT_SECONDS * 1000:.0f}")
        return sum(retention.prune_steps(connection, wanted, time.time()))
