"""The option --fail-below."""

from __future__ import annotations

import typer


def parse_share(share: float | None) -> float | None:
    """Return a share from 0 to 1. Raises BadParameter; for 50 it suggests 0.5."""
    if share is None or 0 <= share <= 1:
        return share
    hint = f": did you mean {share / 100:g}?" if 1 < share <= 100 else ""
    raise typer.BadParameter(f"{share:g} is no share from 0 to 1{hint}", param_hint="--fail-below")
