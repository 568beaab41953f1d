"""The command `promptcache export`: write the recorded calls to a Parquet file."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.progress import Progress

from promptcache.cli.console import make_stderr_console
from promptcache.cli.exit_codes import CALLS_READER_CODES, exit_code_help
from promptcache.cli.output_file import unwritable_file
from promptcache.cli.table_errors import exit_on_table_error
from promptcache.cli.table_options import DatabaseArgument
from promptcache.cli.table_risk import warn_of_unsafe_table_file
from promptcache_exporters.database import parquet
from promptcache_exporters.database.file_path import resolve_database_path

EPILOG: Final = "\n\n".join(
    (
        "Examples:",
        "promptcache export --out calls.parquet",
        "promptcache report calls.parquet --by prefix",
        exit_code_help(*CALLS_READER_CODES),
    )
)

app = typer.Typer(add_completion=False)


@app.command("export", epilog=EPILOG)
def export(
    out: Annotated[Path, typer.Option(help="The file to write. Its name must end in .parquet.")],
    db: DatabaseArgument = None,
) -> None:
    """Write the recorded calls to a Parquet file, for other tools and for faster reports."""
    errors = make_stderr_console()
    if not parquet.has_parquet_suffix(out):
        raise typer.BadParameter("--out must end in .parquet")
    path = resolve_database_path(db)
    warn_of_unsafe_table_file(path)
    with exit_on_table_error(), _show_export_progress(errors) as report_progress:
        try:
            count = parquet.export_calls_to_parquet(path, out.absolute(), report_progress)
        except OSError as error:
            raise unwritable_file(out, "--out", error) from error
    errors.print(f"{count:,} calls written to {out}")


@contextmanager
def _show_export_progress(console: Console) -> Generator[parquet.ProgressCallback]:
    """Show the progress on a terminal. A file or a pipe gets no output."""
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("reading calls", total=None)

        def report_progress(done: int, total: int) -> None:
            # Joining the parts takes a fifth of the whole time.
            step = "reading calls" if done < total else "joining parts"
            progress.update(task, completed=done, total=total * 1.25, description=step)

        yield report_progress
