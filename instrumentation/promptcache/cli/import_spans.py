"""The command `promptcache import`: write the spans of a file into the local table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from promptcache.cli.console import make_stderr_console
from promptcache.cli.exit_codes import CALLS_READER_CODES, ExitCode, exit_code_help
from promptcache.cli.table_errors import exit_on_table_error
from promptcache.cli.table_options import DatabaseArgument, UnsampledOption
from promptcache_exporters.database.file_path import resolve_database_path
from promptcache_exporters.database.otlp_import import ImportResult, import_otlp_json

EPILOG: Final = "\n\n".join(
    (
        "Examples:",
        "promptcache import spans.jsonl calls.db",
        "promptcache import spans.jsonl.gz --unsampled",
        "A second import of the same spans adds nothing.",
        exit_code_help(*CALLS_READER_CODES),
    )
)

app = typer.Typer(add_completion=False)


@app.command("import", epilog=EPILOG)
def import_spans(
    spans: Annotated[
        Path,
        typer.Argument(
            help="The file that the Collector's file exporter wrote: OTLP JSON, also with gzip."
        ),
    ],
    db: DatabaseArgument = None,
    unsampled: UnsampledOption = False,
) -> None:
    """Write the LLM calls of a file of spans into the local table."""
    path = resolve_database_path(db)
    with exit_on_table_error():
        result = import_otlp_json(spans, path, 1.0 if unsampled else None)
    make_stderr_console().print(describe_import(result))
    raise typer.Exit(ExitCode.OK if result.read.spans else ExitCode.NO_CALLS)


def describe_import(result: ImportResult) -> str:
    """Return in sentences what was read, what was written, and what could not be read."""
    read = result.read
    text = f"{result.new_rows:,} new rows from {read.spans:,} spans in {read.lines:,} lines."
    if read.bad_lines or read.bad_spans:
        text += f" Not readable: {read.bad_lines:,} lines, {read.bad_spans:,} spans."
    return text
