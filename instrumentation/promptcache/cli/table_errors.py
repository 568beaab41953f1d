"""Errors of reading the local table, as exit codes and messages of the command line."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Final

import typer

from promptcache.cli.console import make_stderr_console
from promptcache.cli.exit_codes import RECORD_COMMAND, ExitCode
from promptcache_exporters.database import errors

_EXIT_CODES: Final[Mapping[type[errors.CallsFileReadError], ExitCode]] = {
    errors.MissingSQLiteFileError: ExitCode.NO_FILE,
    errors.MissingParquetFileError: ExitCode.NO_FILE,
    errors.MissingSpansFileError: ExitCode.NO_FILE,
    errors.EmptyDatabaseError: ExitCode.NO_CALLS,
    errors.NewerPromptcacheFileError: ExitCode.NEWER_SCHEMA,
    errors.InvalidCallsFileError: ExitCode.NOT_A_TABLE,
    errors.InvalidRowValueError: ExitCode.NOT_A_TABLE,
}


@contextmanager
def exit_on_table_error() -> Generator[None]:
    """End the command with a message if the table cannot be read, or a file cannot be written."""
    try:
        yield
    except (errors.CallsFileReadError, OSError) as error:
        make_stderr_console().print(describe_table_error(error))
        raise typer.Exit(exit_code_of_table_error(error)) from None


def exit_code_of_table_error(error: Exception) -> ExitCode:
    """Return the exit code for an error of reading the table, or of writing a file."""
    if isinstance(error, errors.CallsFileReadError):
        return _EXIT_CODES.get(type(error), ExitCode.USAGE)
    return ExitCode.USAGE


def describe_table_error(error: Exception) -> str:
    """Return the message for the user. If there are no calls yet, it says how to record some."""
    if isinstance(error, errors.MissingSQLiteFileError | errors.EmptyDatabaseError):
        return (
            f"{error} Record some calls first: {RECORD_COMMAND}"
            "\nIf that leaves nothing: promptcache doctor -- python app.py"
        )
    return str(error)
