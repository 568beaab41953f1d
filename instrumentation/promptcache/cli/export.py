"""The command `promptcache export`: the table as a Parquet file."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.progress import Progress

from promptcache.cli.exit_codes import ExitCode, exit_code_help
from promptcache.cli.report import DatabaseArgument
from promptcache.cli.table_errors import table_error_exit_code, table_error_text
from promptcache_exporters.database import parquet
from promptcache_exporters.database.errors import UnreadableTableError
from promptcache_exporters.database.sqlite_file import database_path

EPILOG: Final = "\n\n".join(
    (
        "Examples:",
        "promptcache export --out calls.parquet",
        "promptcache report calls.parquet --by prefix",
        exit_code_help(
            ExitCode.OK,
            ExitCode.USAGE,
            ExitCode.NO_FILE,
            ExitCode.NO_CALLS,
            ExitCode.NEWER_SCHEMA,
            ExitCode.NOT_A_TABLE,
        ),
    )
)


app = typer.Typer(add_completion=False)


@app.command("export", epilog=EPILOG)
def export(
    out: Annotated[Path, typer.Option(help="The file to write; it must end in .parquet.")],
    db: DatabaseArgument = None,
) -> None:
    """Write the recorded calls to a Parquet file, which reports read faster and other tools read too."""
    errors = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    if not parquet.is_parquet_file(out):
        raise typer.BadParameter("--out must end in .parquet")
    try:
        with _progress_reporter(errors) as tell:
            count = parquet.export_calls(database_path(db), out.absolute(), tell)
    except (UnreadableTableError, OSError) as trouble:
        errors.print(table_error_text(trouble))
        raise typer.Exit(table_error_exit_code(trouble)) from None
    errors.print(f"{count:,} calls written to {out}")


@contextmanager
def _progress_reporter(console: Console) -> Generator[parquet.ProgressCallback]:
    """How far it is, on a terminal; a file or a pipe gets none of it."""
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("reading calls", total=None)

        def tell(done: int, of: int) -> None:
            doing = (
                "reading calls" if done < of else "joining them"
            )  # which takes a fifth of the time
            progress.update(task, completed=done, total=of * 1.25, description=doing)

        yield tell
