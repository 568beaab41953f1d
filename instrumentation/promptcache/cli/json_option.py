"""The option --json, which stands beside every table."""

from __future__ import annotations

from typing import Annotated

import typer

JsonOption = Annotated[
    bool, typer.Option("--json", help="Print JSON only. Its keys are a stable interface.")
]
