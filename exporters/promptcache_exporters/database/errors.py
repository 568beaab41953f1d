"""Errors of reading the local table. Each text says what is wrong with the file and what to do."""

from __future__ import annotations

from pathlib import Path


class CallsFileReadError(Exception):
    """The table cannot be read. The subclass says why; the command line maps it to an exit code."""


class MissingSQLiteFileError(CallsFileReadError):
    """There is no SQLite file at this path."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} does not exist.")


class MissingParquetFileError(CallsFileReadError):
    """There is no Parquet file at this path."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} does not exist. Make it: promptcache export --out {path}")


class MissingSpansFileError(CallsFileReadError):
    """There is no file of spans at this path."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} does not exist.")


class EmptyDatabaseError(CallsFileReadError):
    """The file is an empty database: no exporter has created its tables yet."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} has no calls yet.")


class NewerPromptcacheFileError(CallsFileReadError):
    """A newer release of promptcache wrote the file."""

    def __init__(self, path: Path, detail: object) -> None:
        super().__init__(f"{path}: {detail}. Upgrade: pip install --upgrade promptcache")


class InvalidCallsFileError(CallsFileReadError):
    """The file is not a table of promptcache, or its rows hold values that no exporter writes."""


class InvalidRowValueError(InvalidCallsFileError):
    """A row holds a value of a type that no exporter writes: somebody edited the table."""

    def __init__(self, path: Path | str) -> None:
        super().__init__(
            f"{path} cannot be read as a table of promptcache:"
            " a row holds text instead of a number."
        )


class MissingOptionalPackageError(CallsFileReadError):
    """An optional package is not installed."""


class EngineError(CallsFileReadError):
    """An engine over the network cannot be read. The text says what to do."""
