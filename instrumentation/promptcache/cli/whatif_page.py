"""The page of `promptcache whatif --html`, with the style and the charts of the other pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from promptcache.cli.whatif_output import WhatifResult, format_ttl, list_policy_rows
from promptcache.version import __version__
from promptcache_exporters.page.charts import draw_line_chart
from promptcache_exporters.page.hit_rate import rate_cell
from promptcache_exporters.page.rendering import render_template, style_policy
from promptcache_exporters.replay.ttl_curve import CurvePoint


def render_html(result: WhatifResult) -> str:
    """Return a page with the policies and the curve. It has no script and loads nothing."""
    (heading, *columns), *policies = list_policy_rows(result)
    return render_template(
        "whatif",
        title="whatif",
        place="what the recorded calls would have cost",
        policy=style_policy(),
        footer=f"promptcache {__version__}",
        heading=heading,
        columns=columns,
        policies=[_row(name, cells) for name, *cells in policies],
        charts=_draw_curve(result.curve),
        points=[
            _row(format_ttl(one.seconds), (_rate_cell(one), f"${one.usd:,.4f}"))
            for one in result.curve
        ],
    )


def _row(name: str, cells: Sequence[Any]) -> dict[str, Any]:
    return {"name": name, "address": "", "cells": cells}


def _rate_cell(point: CurvePoint) -> Markup:
    return rate_cell(point.hit_rate, f"{point.hit_rate:.1%}")  # as the terminal has it


def _draw_curve(curve: Sequence[CurvePoint]) -> list[dict[str, Any]]:
    """Return the charts of hit rate and cost. The TTLs are equally far apart."""
    if len(curve) < 2:
        return []
    titles = [
        f"{format_ttl(point.seconds)}: {point.hit_rate:.1%}, ${point.usd:,.4f}" for point in curve
    ]
    highest = max(point.usd for point in curve)
    axis = {"begin": format_ttl(curve[0].seconds), "end": format_ttl(curve[-1].seconds)}
    rates = draw_line_chart([point.hit_rate for point in curve], titles, 1.0, "good")
    costs = draw_line_chart([point.usd for point in curve], titles, highest, "paid")
    return [
        {"title": "Hit rate by TTL", "picture": rates, "highest": "100 %", "lowest": "0"} | axis,
        {"title": "Cost by TTL", "picture": costs, "highest": f"${highest:,.4f}", "lowest": "$0"}
        | axis,
    ]
