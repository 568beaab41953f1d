"""Write a file that an option names."""

from __future__ import annotations

from pathlib import Path

import typer


def write_text_file(path: Path, text: str, option: str) -> None:
    """Write `text` to `path`, which `option` gave.

    Raises BadParameter with the name of the option if the file cannot be written.
    """
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise unwritable_file(path, option, error) from error


def unwritable_file(path: Path, option: str, error: OSError) -> typer.BadParameter:
    """Return the usage error for a path that cannot be written."""
    return typer.BadParameter(f"cannot write {path}: {error.strerror}", param_hint=option)
