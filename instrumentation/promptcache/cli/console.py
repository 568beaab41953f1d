"""The consoles that the commands print to, and a table without borders."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text


def make_stdout_console() -> Console:
    """Return a console for standard output. It never interprets what a name contains."""
    return Console(highlight=False, markup=False, emoji=False)


def make_stderr_table_console() -> Console:
    """Return a console for tables on standard error, where standard output is the program's."""
    return Console(stderr=True, highlight=False, markup=False, emoji=False)


def make_stderr_console() -> Console:
    """Return a console for standard error. It does not break lines, so that they can be
    searched."""
    return Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)


def print_grid(rows: Iterable[tuple[str, ...]], *, indent: int = 0) -> None:
    """Print rows in aligned columns. Long cells are folded, so that a pipe loses nothing."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    for row in rows:
        grid.add_row(*(Text(cell, overflow="fold") for cell in row))
    make_stdout_console().print(Padding(grid, (0, 0, 0, indent), expand=False))
