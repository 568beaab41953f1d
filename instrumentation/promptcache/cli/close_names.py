"""Names that are close to a mistyped one."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def suggest_names(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean a or b?` for the known names that are close to `name`, else ''."""
    by_folded = {one.casefold(): one for one in known}
    close = get_close_matches(name.casefold(), list(by_folded), n=2)
    return f"; did you mean {' or '.join(by_folded[one] for one in close)}?" if close else ""
