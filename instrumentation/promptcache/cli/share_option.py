"""The option --fail-below."""

from __future__ import annotations

from typing import Annotated

import typer

FailBelowOption = Annotated[
    float | None,
    typer.Option(help="Exit with 1 if the hit rate is below this share, such as 0.9."),
]


def parse_share(share: float | None) -> float | None:
    """Return a share from 0 to 1. Raises BadParameter; for 50 it suggests 0.5."""
    if share is None or 0 <= share <= 1:
        return share
    hint = f": did you mean {share / 100:g}?" if 1 < share <= 100 else ""
    raise typer.BadParameter(f"{share:g} is no share from 0 to 1{hint}", param_hint="--fail-below")
