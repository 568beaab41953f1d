"""Warn that another user may have written the table that a command reads."""

from __future__ import annotations

from pathlib import Path

from promptcache.cli.console import error_console
from promptcache_exporters.database.file_safety import find_risk


def warn_of_table_risk(path: Path) -> None:
    """Print a warning if somebody else controls the file; reading it is still allowed."""
    if risk := find_risk(path):
        error_console().print(f"Warning: {risk}, so its rows may not be yours.")
