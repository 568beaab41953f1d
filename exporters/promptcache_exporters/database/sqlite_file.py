"""The file that holds the local table: how it comes to be, how it grows up, and how it is opened.

SQLite in WAL mode, so that several processes write while one reads. The file is ours by its application id and of a
version by its user version; one that belongs to somebody else is never touched. Prompt text is not in it, but call
sites, models and spending are: it is created with mode 0600, and SQLite gives its -wal and -shm files the same mode.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Generator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Protocol

from promptcache.cli.exit_codes import RECORD_COMMAND, ExitCode
from promptcache.settings import OTEL_PROMPTCACHE_DB
from promptcache_exporters.database import schema

APPLICATION_ID: Final = 0x50436163
"""`PCac` in ASCII: what SQLite's header says of a file of ours."""
DEFAULT_PATH: Final = "promptcache.db"


class ForeignDatabaseError(sqlite3.DatabaseError):
    """The file is a database, but not one of ours."""


class NewerSchemaError(sqlite3.DatabaseError):
    """The file was written by a newer promptcache, whose columns this one does not know."""


def database_path(path: str | os.PathLike[str] | None = None) -> Path:
    """The table's absolute path: `path`, else `OTEL_PROMPTCACHE_DB`, else `promptcache.db` in the current folder."""
    chosen = path or os.environ.get(OTEL_PROMPTCACHE_DB, "").strip() or DEFAULT_PATH
    return Path(os.path.abspath(os.path.expanduser(chosen)))


def connect(path: Path, timeout_seconds: float) -> sqlite3.Connection:
    """A connection to a file that exists, waiting `timeout_seconds` seconds for locks of others.

    Raises OSError where it is no regular file, sqlite3.Error where SQLite cannot open it.
    """
    if not path.is_file():
        raise OSError(f"{path} is no regular file" if path.exists() else f"{path} does not exist")
    uri = f"{path.as_uri()}?mode=rw"
    return sqlite3.connect(
        uri, uri=True, timeout=timeout_seconds, isolation_level=None, check_same_thread=False
    )


def open_for_writing(path: Path, timeout_seconds: float) -> sqlite3.Connection:
    """A connection to the table, which is created or brought up to date first. Raises OSError and sqlite3.Error."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    connection = connect(path, timeout_seconds)
    try:
        _migrate(connection)
        _enable_wal_mode(connection, time.monotonic() + timeout_seconds)
        # In WAL mode this loses nothing when the process is killed, and syncs only at checkpoints.
        connection.execute("PRAGMA synchronous = NORMAL")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def read_schema_version(connection: sqlite3.Connection) -> int:
    """The schema's version, 0 where the file has no table yet. Raises Foreign, Newer and other sqlite3.Error."""
    # One snapshot, or a file that another process is just creating would look like somebody else's.
    connection.execute("SAVEPOINT looking")
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    connection.execute("RELEASE looking")
    if application != APPLICATION_ID and (application or version or tables):
        raise ForeignDatabaseError("it is a database of another application")
    if version > schema.SCHEMA_VERSION:
        raise NewerSchemaError(
            f"its schema {version} is newer than this promptcache, which knows {schema.SCHEMA_VERSION}"
        )
    return int(version)


def existing_columns(
    connection: sqlite3.Connection, table_name: str = schema.CALLS_TABLE.name
) -> frozenset[str]:
    """The columns that a table of the file has, none where there is no such table."""
    return frozenset(
        column for _, column, *_ in connection.execute(f"PRAGMA table_info({table_name})")
    )


def _migrate(connection: sqlite3.Connection) -> None:
    if read_schema_version(connection) == schema.SCHEMA_VERSION:
        return
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        read_schema_version(connection)  # once more, now that nobody else can change it
        for table in schema.TABLES:
            connection.execute(table.create_statement)
            present = existing_columns(connection, table.name)
            for column in table.columns:
                if column.name not in present:
                    connection.execute(
                        f"ALTER TABLE {table.name} ADD COLUMN {column.name} {column.type}"
                    )
            for index in table.indexes:
                connection.execute(index)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {schema.SCHEMA_VERSION}")


def _enable_wal_mode(connection: sqlite3.Connection, deadline: float) -> None:
    # SQLite does not wait for others by itself here. The mode is kept in the file, so one of many succeeding is enough.
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


class UnreadableTableError(Exception):
    """The table cannot be read. The text says why and what to do, `code` is the command's exit code."""

    def __init__(self, code: ExitCode, text: str) -> None:
        super().__init__(text)
        self.code = code


class QueryConnection(Protocol):
    """What the figures need of a connection, SQLite's or DuckDB's."""

    def execute(self, sql: str, parameters: Any = ..., /) -> Any:
        """A cursor over the answer."""
        ...


@contextmanager
def open_for_reading(path: Path) -> Generator[sqlite3.Connection]:
    """A connection that cannot change anything, with the views `calls` and `rents`: `id` and all columns.

    A column or a table that the file is too old to have is NULL or empty.

    Raises `UnreadableTableError` for whatever is wrong with the file, also while it is being read.
    """
    if not path.exists():
        raise UnreadableTableError(ExitCode.NO_FILE, _MISSING_FILE_MESSAGE.format(path=path))
    if path.suffix == ".parquet":
        raise UnreadableTableError(ExitCode.NOT_A_TABLE, _PARQUET_FILE_MESSAGE.format(path=path))
    try:
        with closing(connect(path, _READ_TIMEOUT_SECONDS)) as connection:
            if not read_schema_version(connection):
                raise UnreadableTableError(ExitCode.NO_CALLS, f"{path} has no calls yet.")
            for table in schema.TABLES:
                connection.execute(table.view_statement(existing_columns(connection, table.name)))
            connection.execute("PRAGMA query_only = ON")
            yield connection
    except NewerSchemaError as error:
        raise UnreadableTableError(
            ExitCode.NEWER_SCHEMA, f"{path}: {error}. Upgrade: pip install --upgrade promptcache"
        ) from error
    except (sqlite3.Error, OSError) as error:
        raise UnreadableTableError(
            ExitCode.NOT_A_TABLE, f"{path} cannot be read as a table of promptcache's: {error}."
        ) from error


INVALID_ROW_MESSAGE: Final = (
    "{path} cannot be read as a table of promptcache's: a row holds text where a number belongs."
)
_PARQUET_FILE_MESSAGE: Final = (
    "{path} is an export: explain and export need the SQLite table (report reads Parquet)."
)
_READ_TIMEOUT_SECONDS: Final = 10.0
_MISSING_FILE_MESSAGE: Final = f"{{path}} does not exist. Record some calls first: {RECORD_COMMAND}"
