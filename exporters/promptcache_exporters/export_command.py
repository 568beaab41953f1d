"""The command `promptcache export`: the table as a Parquet file."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.progress import Progress

from promptcache.exits import Exit, described
from promptcache_exporters import parquet, store
from promptcache_exporters.command import Db

EPILOG: Final = "\n\n".join(
    (
        "Examples:",
        "promptcache export --out calls.parquet",
        "promptcache report calls.parquet --by prefix",
        described(
            Exit.OK, Exit.USAGE, Exit.NO_FILE, Exit.NO_CALLS, Exit.NEWER_SCHEMA, Exit.NOT_A_TABLE
        ),
    )
)


def export(
    out: Annotated[Path, typer.Option(help="The file to write; it must end in .parquet.")],
    db: Db = None,
) -> None:
    """Write the recorded calls to a Parquet file, which reports read faster and other tools read too."""
    errors = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    if not parquet.is_one(out):
        raise typer.BadParameter("--out must end in .parquet")
    try:
        with _told(errors) as tell:
            count = parquet.export(store.path_of(db), out.absolute(), tell)
    except (store.UnusableError, OSError) as trouble:
        errors.print(str(trouble))
        raise typer.Exit(getattr(trouble, "code", Exit.USAGE)) from None
    errors.print(f"{count:,} calls written to {out}")


@contextmanager
def _told(console: Console) -> Generator[parquet.Tell]:
    """How far it is, on a terminal; a file or a pipe gets none of it."""
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("reading calls", total=None)

        def tell(done: int, of: int) -> None:
            doing = (
                "reading calls" if done < of else "joining them"
            )  # which takes a fifth of the time
            progress.update(task, completed=done, total=of * 1.25, description=doing)

        yield tell
