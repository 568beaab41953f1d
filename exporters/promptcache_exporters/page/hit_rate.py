"""How a hit rate looks: its colour, and its cell in a table."""

from __future__ import annotations

from typing import Final

from markupsafe import Markup

from promptcache_exporters.page.charts import BarPart, draw_bar
from promptcache_exporters.report.format import format_percent_rounded_down

_GOOD_RATE: Final = 0.8
_FAIR_RATE: Final = 0.5


def rate_kind(rate: float | None) -> str:
    """Return the class of the colour of a hit rate from 0 to 1; None is unknown."""
    if rate is None:
        return "plain"
    return "good" if rate >= _GOOD_RATE else "fair" if rate >= _FAIR_RATE else "bad"


def rate_cell(rate: float | None, text: str = "") -> Markup:
    """Return a hit rate as a bar and a text, by default as everywhere on the page."""
    text = text or format_percent_rounded_down(rate)
    bar = draw_bar([] if rate is None else [BarPart(rate, rate_kind(rate), text)])
    return Markup('<span class="rate">{}<span>{}</span></span>').format(bar, text)
