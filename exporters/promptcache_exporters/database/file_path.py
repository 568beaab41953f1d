"""Where the local table is. This module loads neither SQLite nor the OpenTelemetry SDK."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from promptcache.settings import OTEL_PROMPTCACHE_DB

DEFAULT_PATH: Final = "promptcache.db"


def resolve_database_path(path: str | os.PathLike[str] | None = None) -> Path:
    """Return the absolute path of the database file.

    It is `path`, else `OTEL_PROMPTCACHE_DB`, else `promptcache.db` in the current folder.
    """
    chosen = path or os.environ.get(OTEL_PROMPTCACHE_DB, "").strip() or DEFAULT_PATH
    return Path(os.path.abspath(os.path.expanduser(chosen)))
