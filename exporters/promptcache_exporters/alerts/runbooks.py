"""The runbooks, a page for each alert, for users of the package who do not have the repository."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from promptcache_exporters.alerts.definition import AlertDefinition

ALERTS_DIR: Final = Path(__file__).parent
RUNBOOK_DIRS: Final = (
    ALERTS_DIR / "generated" / "runbooks",
    ALERTS_DIR.parents[2] / "docs" / "runbooks",
)
"""The folders of the pages: in an installed package, and in the repository."""


def render_files_by_path(definition: AlertDefinition) -> dict[str, str]:
    """Return the pages, text by path. They are the same for every definition."""
    folder = next(path for path in RUNBOOK_DIRS if path.is_dir())
    return {
        f"runbooks/{page.name}": page.read_text(encoding="utf-8")
        for page in sorted(folder.glob("*.md"))
    }
