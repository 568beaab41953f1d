"""The consoles that the commands print to, and a table without borders."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def make_stdout_console() -> Console:
    """Return a console for standard output. It never interprets what a name contains."""
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False)


def make_stderr_table_console() -> Console:
    """Return a console for tables on standard error, where standard output is the program's."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, markup=False, emoji=False)


def make_stderr_console() -> Console:
    """Return a console for standard error. It does not break lines, so that they can be
    searched."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)


def print_grid(rows: Iterable[tuple[str, ...]], *, indent: int = 0) -> None:
    """Print rows in aligned columns. Long cells are folded, so that a pipe loses nothing."""
    if find_spec("rich") is None:
        _print_plain_grid(list(rows), indent)
        return
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2, 0, 0))
    for row in rows:
        grid.add_row(*(Text(cell, overflow="fold") for cell in row))
    make_stdout_console().print(Padding(grid, (0, 0, 0, indent), expand=False))


def _print_plain_grid(rows: Sequence[tuple[str, ...]], indent: int) -> None:
    """Print rows in aligned columns without rich, in lines as long as they are."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print(" " * indent + "  ".join(cells).rstrip())  # noqa: T201  # the command's output
