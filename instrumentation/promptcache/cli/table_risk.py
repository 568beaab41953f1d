"""Warn that another user may have written the table that a command reads."""

from __future__ import annotations

from pathlib import Path

from promptcache.cli.console import make_stderr_console
from promptcache_exporters.database.file_safety import find_risk


def warn_of_unsafe_table_file(path: Path) -> None:
    """Print a warning if somebody else controls the file; reading it is still allowed."""
    if risk := find_risk(path):
        make_stderr_console().print(f"Warning: {risk}, so its rows may not be yours.")
