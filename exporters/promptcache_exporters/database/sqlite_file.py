"""The SQLite file of the local table: create it, migrate it, open it.

The file is in WAL mode, so that several processes can write while another one reads. SQLite's
application id marks it as a file of promptcache, and SQLite's user version holds the schema
version. A database of another application is never changed. The file has no prompt text, but it has
call sites, models and costs. It is therefore created with mode 0600, and SQLite gives its -wal and
-shm files the same mode.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

from promptcache_exporters.database import schema
from promptcache_exporters.database.errors import (
    EmptyDatabaseError,
    InvalidCallsFileError,
    MissingSQLiteFileError,
    NewerPromptcacheFileError,
)
from promptcache_exporters.database.file_safety import refuse_unsafe_files
from promptcache_exporters.database.lost_rows import LostRows, insert_lost_rows
from promptcache_exporters.database.row_validity import valid_row_condition

APPLICATION_ID: Final = 0x50436163
"""`PCac` in ASCII. The header of every file of promptcache has it."""
_READ_TIMEOUT_SECONDS: Final = 10.0


class OtherApplicationDatabaseError(sqlite3.DatabaseError):
    """The file is a database of another application."""


class NewerSchemaError(sqlite3.DatabaseError):
    """A newer promptcache wrote the file, with columns that this release does not know."""


def connect_to_existing_file(path: Path, timeout_seconds: float) -> sqlite3.Connection:
    """Open an existing file. The connection waits `timeout_seconds` for locks of other processes.

    Raises OSError if the path is not a regular file, and sqlite3.Error if SQLite cannot open it.
    """
    if not path.is_file():
        kind = "is a directory" if path.is_dir() else "is no regular file"
        raise OSError(f"{path} {kind if path.exists() else 'does not exist'}")
    uri = f"{path.as_uri()}?mode=rw"
    return sqlite3.connect(
        uri, uri=True, timeout=timeout_seconds, isolation_level=None, check_same_thread=False
    )


def open_or_create_for_writing(path: Path, timeout_seconds: float) -> sqlite3.Connection:
    """Open the file for an exporter. Create or migrate its tables first.

    Raises OSError, which includes UnsafeFileError, and sqlite3.Error.
    """
    refuse_unsafe_files(path)
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    connection = connect_to_existing_file(path, timeout_seconds)
    try:
        refuse_unsafe_files(path)  # again: somebody may have exchanged the file before it was open
        _create_or_migrate_tables(connection)
        _enable_wal_mode(connection, time.monotonic() + timeout_seconds)
        # In WAL mode, NORMAL loses nothing when the process is killed, and syncs at checkpoints
        # only.
        connection.execute("PRAGMA synchronous = NORMAL")
    except (sqlite3.Error, OSError):
        connection.close()
        raise
    return connection


def insert_rows(
    connection: sqlite3.Connection, rows: schema.TableRows, lost: Sequence[LostRows] = ()
) -> int:
    """Write rows in one transaction, and the counts of rows that earlier ones `lost`.

    A span that the table has already is ignored. Returns the number of new rows of spans.

    Raises sqlite3.Error.
    """
    count = 0
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        for table, new_rows in zip(schema.TABLES, rows, strict=True):
            cursor = connection.executemany(table.insert_or_ignore_statement, new_rows)
            count += max(0, cursor.rowcount)  # without the changes of the trigger
        insert_lost_rows(connection, lost)
    return count


def read_and_check_schema_version(connection: sqlite3.Connection) -> int:
    """Return the schema version of the file, or 0 if the file has no tables yet.

    Raises OtherApplicationDatabaseError, NewerSchemaError and other subclasses of sqlite3.Error.
    """
    # One snapshot for the three reads. Otherwise a file that another process is creating right now
    # could look like the database of another application.
    connection.execute("SAVEPOINT read_version")
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    connection.execute("RELEASE read_version")
    if application != APPLICATION_ID and (application or version or tables):
        raise OtherApplicationDatabaseError("it is a database of another application")
    if version > schema.SCHEMA_VERSION:
        raise NewerSchemaError(
            f"its schema {version} is newer than this promptcache,"
            f" which knows {schema.SCHEMA_VERSION}"
        )
    return int(version)


def read_table_columns(
    connection: sqlite3.Connection, table_name: str = schema.CALLS_TABLE.name
) -> frozenset[str]:
    """Return the columns of a table in the file. They are empty if there is no such table."""
    return frozenset(
        column for _, column, *_ in connection.execute(f"PRAGMA table_info({table_name})")
    )


def _create_or_migrate_tables(connection: sqlite3.Connection) -> None:
    version = read_and_check_schema_version(connection)
    if version == schema.SCHEMA_VERSION:
        return
    with connection:
        _begin_migration(connection, is_new=not version)
        read_and_check_schema_version(
            connection
        )  # again: the transaction now excludes other writers
        for table in schema.TABLES:
            connection.execute(table.create_statement)
            present = read_table_columns(connection, table.name)
            for column in table.columns:
                if column.name not in present:
                    connection.execute(
                        f"ALTER TABLE {table.name} ADD COLUMN {column.name} {column.type}"
                    )
            for index in table.indexes:
                connection.execute(index)
        for statement in schema.OTHER_STATEMENTS:
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {schema.SCHEMA_VERSION}")


def _begin_migration(connection: sqlite3.Connection, *, is_new: bool) -> None:
    """Begin a transaction that excludes other writers. In a new file it makes the first page.

    `auto_vacuum` belongs to that page, so it has an effect only before the page is there. It is set
    inside the transaction: a reader never sees a file with a page and without tables.
    """
    if not is_new:
        connection.execute("BEGIN IMMEDIATE")
        return
    connection.execute("BEGIN")
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA incremental_vacuum(1)").fetchall()  # takes the lock


def _enable_wal_mode(connection: sqlite3.Connection, deadline: float) -> None:
    # This statement ignores the busy timeout, so wait here. The file keeps the mode: it is enough
    # that one of several processes succeeds.
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


@contextmanager
def open_sqlite_read_only(
    path: Path, *, only_valid_rows: bool = False
) -> Generator[sqlite3.Connection]:
    """Open the file read-only, with the views `calls` and `storage_costs`.

    Each view has the column `id` and all columns of this release. A column that an older file does
    not have is NULL; a table that it does not have is empty. With `only_valid_rows` the views leave
    out rows that cannot be added up, and the view `invalid_calls` has those calls.

    Raises `CallsFileReadError` for any problem with the file, also during the block.
    """
    if not path.exists():
        raise MissingSQLiteFileError(path)
    if path.suffix == ".parquet":
        raise InvalidCallsFileError(
            f"{path} is an export, which only report, explain and whatif read."
        )
    try:
        with closing(connect_to_existing_file(path, _READ_TIMEOUT_SECONDS)) as connection:
            if not read_and_check_schema_version(connection):
                raise EmptyDatabaseError(path)
            for table in schema.TABLES:
                existing = read_table_columns(connection, table.name)
                for statement in _view_statements(table, existing, only_valid_rows):
                    connection.execute(statement)
            connection.execute("PRAGMA query_only = ON")
            yield connection
    except NewerSchemaError as error:
        raise NewerPromptcacheFileError(path, error) from error
    except (sqlite3.Error, OSError) as error:
        raise InvalidCallsFileError(_describe_unreadable_file(path, error)) from error


def _describe_unreadable_file(path: Path, error: Exception) -> str:
    if isinstance(error, OSError):  # its text names the path
        return f"{error}, and no table of promptcache."
    return (
        f"{path} cannot be read as a table of promptcache: {error}. "
        "Spans in OTLP JSON and Parquet files are read with promptcache report --from."
    )


def _view_statements(
    table: schema.TableSchema, existing: frozenset[str], only_valid_rows: bool
) -> list[str]:
    if not (only_valid_rows and existing):
        return [table.create_view_statement(existing)]
    condition = valid_row_condition(table.columns, existing)
    return [
        table.create_view_statement(existing, condition),
        table.create_view_statement(existing, f"NOT ({condition})", prefix="invalid_"),
    ]
