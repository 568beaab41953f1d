"""Whether somebody else controls the file of the local table.

In a folder that others can write to, another user may have put a file or a link where the table
shall be. SQLite would follow the link, and the other user could read call sites, models and costs.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

_SUFFIXES: Final = ("", "-wal", "-shm", "-journal")
"""Of the table and of the files that SQLite keeps beside it."""


class UnsafeFileError(OSError):
    """The table, or a file beside it, is under the control of another user."""


def refuse_unsafe_files(path: Path) -> None:
    """Raise UnsafeFileError if `find_risk` finds one."""
    if risk := find_risk(path):
        raise UnsafeFileError(f"{risk}. Set OTEL_PROMPTCACHE_DB to a file of your own")


def find_risk(path: Path) -> str | None:
    """Return in a sentence who else controls the table or a file beside it, or None.

    Links, files that every user can write, and files of other users are risks; root may use the
    files of all users. A group may share a table. Windows has neither modes nor owners.
    """
    if os.name == "nt":
        return None
    files = (path.with_name(path.name + suffix) for suffix in _SUFFIXES)
    return next(filter(None, map(_find_risk_of_file, files)), None)


def _find_risk_of_file(file: Path) -> str | None:
    try:
        status = os.lstat(file)
    except OSError:  # SQLite reports what is wrong with a path, if anything is
        return None
    if stat.S_ISLNK(status.st_mode):
        return f"{file} is a symbolic link"
    if stat.S_ISREG(status.st_mode) and status.st_mode & stat.S_IWOTH:
        return f"every user can write {file}"
    if os.geteuid() not in (0, status.st_uid):
        return f"{file} belongs to another user"
    return None
