"""Show on standard error how much of a large table a command has read."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress

from promptcache_exporters.database.row_ranges import OnProgress


@contextmanager
def show_scan_progress(console: Console) -> Generator[OnProgress]:
    """Yield a function that takes the share of the table that was read.

    The bar appears only on a terminal, and only for a long scan.
    """
    progress = Progress(console=console, transient=True, disable=not console.is_terminal)
    scan = progress.add_task("Reading the table", total=1.0)

    def on_progress(share: float) -> None:
        if share < 1.0:  # a small table is read at once
            progress.start()
        progress.update(scan, completed=share)

    try:
        yield on_progress
    finally:
        progress.stop()
