"""Check the local table: where it is, whose it is, and what is in it."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from promptcache.prefix.link_text import KEY_ID_LENGTH
from promptcache.settings import OTEL_PROMPTCACHE_DB, OTEL_PROMPTCACHE_KEY_FILE
from promptcache_exporters.database.errors import (
    CallsFileReadError,
    EmptyDatabaseError,
    MissingSQLiteFileError,
)
from promptcache_exporters.database.file_safety import find_risk
from promptcache_exporters.database.lost_rows import count_lost_rows
from promptcache_exporters.database.retention import can_shrink, read_retention
from promptcache_exporters.database.sqlite_file import open_sqlite_read_only
from promptcache_exporters.doctor.finding import Finding, fault, ok, warning

MIN_FREE_BYTES: Final = 100 * 2**20
_KEYS_QUERY: Final = (
    "SELECT DISTINCT substr(prefix_links, 1, ?) FROM calls WHERE prefix_links IS NOT NULL"
)
_OTHER_FILE: Final = f"set {OTEL_PROMPTCACHE_DB} to a file of your own"


def check_table(path: Path) -> Iterator[Finding]:
    """Yield what there is to say about the table at `path`, which may not exist yet."""
    yield from _check_folder(path)
    if risk := find_risk(path):
        yield fault("table-unsafe", f"{risk}: no row is written", _OTHER_FILE)
        return
    try:
        with open_sqlite_read_only(path) as connection:
            rows, last = connection.execute("SELECT count(*), max(time) FROM calls").fetchone()
            lost, is_shrinkable = count_lost_rows(connection), can_shrink(connection)
            keys = [key for (key,) in connection.execute(_KEYS_QUERY, (KEY_ID_LENGTH,))]
    except (MissingSQLiteFileError, EmptyDatabaseError) as error:
        yield ok("table", f"{error} The first call makes it.")
        return
    except CallsFileReadError as error:
        yield fault("table-unreadable", str(error), f"move the file away, or {_OTHER_FILE}")
        return
    yield ok("table", f"{path} has {rows:,} calls{_describe_last(last)}")
    if lost:
        yield warning(
            "lost-rows",
            f"{lost:,} rows could not be written at the time",
            "look for the warning in the application's log: a full disk, a lock, or a broken file",
        )
    if len(keys) > 1:
        yield warning(
            "mixed-keys",
            f"recordings under {len(keys)} keys are in {path}: calls of different keys share no"
            " links, as if nobody shared a cache",
            f"set {OTEL_PROMPTCACHE_KEY_FILE} to one file for all processes that write the table",
        )
    if not is_shrinkable and not read_retention().keeps_everything:
        yield warning(
            "cannot-shrink",
            f"an older release made {path}: pruning makes room in it, but no smaller file",
            f'sqlite3 {path} "PRAGMA auto_vacuum = 2; VACUUM" while nobody writes it',
        )
    yield from _check_mode(path)


def _describe_last(last: object) -> str:
    try:
        at = datetime.fromtimestamp(float(last), UTC)  # type: ignore[arg-type]  # any SQL value
    except (TypeError, ValueError, OverflowError, OSError):
        return ""
    return f", the last at {at:%Y-%m-%d %H:%M:%S} UTC"


def _check_folder(path: Path) -> Iterator[Finding]:
    folder = path.parent
    if not folder.is_dir():
        yield fault("table-folder", f"the folder {folder} does not exist", f"mkdir -p {folder}")
        return
    file_or_folder = path if path.exists() else folder
    if not os.access(file_or_folder, os.W_OK):
        yield fault("table-read-only", f"{file_or_folder} cannot be written", _OTHER_FILE)
    free = shutil.disk_usage(folder).free
    if free < MIN_FREE_BYTES:
        yield fault(
            "disk-full",
            f"the disk of {folder} has {free / 2**20:.0f} MiB left",
            f"free some space, or {_OTHER_FILE}",
        )


def _check_mode(path: Path) -> Iterator[Finding]:
    if os.name != "nt" and (mode := stat.S_IMODE(path.stat().st_mode)) & stat.S_IROTH:
        yield warning(
            "table-readable",
            f"every user can read {path} (mode {mode:04o}): it has call sites, models and costs",
            f"chmod 600 {path}",
        )
