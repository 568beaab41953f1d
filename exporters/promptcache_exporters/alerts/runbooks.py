"""The runbooks, a page for each alert, for who has the package and not its repository."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from promptcache_exporters.alerts.definition import AlertDefinition

ALERTS_DIR: Final = Path(__file__).parent
RUNBOOK_DIRS: Final = (
    ALERTS_DIR / "generated" / "runbooks",
    ALERTS_DIR.parents[2] / "docs" / "runbooks",
)
"""Where the pages lie: in an installed package, in the repository."""


def files(definition: AlertDefinition) -> dict[str, str]:
    """The pages by their paths. They hold for any options, and say which one a figure comes from."""
    folder = next(place for place in RUNBOOK_DIRS if place.is_dir())
    return {
        f"runbooks/{page.name}": page.read_text(encoding="utf-8")
        for page in sorted(folder.glob("*.md"))
    }
