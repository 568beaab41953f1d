"""The addresses of the served page, each made from one look at the table."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from promptcache.version import __version__
from promptcache_exporters.database.dimensions import list_dimension_keys
from promptcache_exporters.database.errors import CallsFileReadError, EmptyDatabaseError
from promptcache_exporters.database.row_ranges import OnProgress, ignore_progress
from promptcache_exporters.database.source import find_calls_source
from promptcache_exporters.database.sqlite_file import open_sqlite_read_only
from promptcache_exporters.explain.query import compare_trace_calls
from promptcache_exporters.page.call_page import call_values
from promptcache_exporters.page.causes import collect_causes
from promptcache_exporters.page.change_counter import ChangeCounter
from promptcache_exporters.page.charts import BarPart, draw_bar
from promptcache_exporters.page.filter_links import choice_links, make_address, removing_links
from promptcache_exporters.page.overview import (
    Overview,
    OverviewFilter,
    collect_latencies,
    collect_overview,
    overview_of_report,
)
from promptcache_exporters.page.overview_page import (
    build_group_table,
    overview_values,
    report_group_table,
)
from promptcache_exporters.page.prefixes import PREFIX_FIELDS, PrefixTrait, prefix_values
from promptcache_exporters.page.rendering import LIVE_SCRIPT, read_asset, render_template
from promptcache_exporters.page.scans import SECONDS_BEFORE_PROGRESS, Scans
from promptcache_exporters.page.time_steps import MAX_STEPS, SHORT_TREND_STEPS, choose_step
from promptcache_exporters.report.call_field import (
    CallField,
    Dimension,
    GroupBy,
    is_dimension_name,
)
from promptcache_exporters.report.call_filter import FieldCondition
from promptcache_exporters.report.format import format_path
from promptcache_exporters.report.lines import GROUP_COLUMNS, prefix_change_sentence, summary_lines
from promptcache_exporters.report.model import Report
from promptcache_exporters.report.query import collect_prefix_changes, collect_report
from promptcache_exporters.report.sql import TIME_RANGE_QUERY

WINDOWS: Final = {"1h": 3600, "24h": 86_400, "7d": 7 * 86_400, "30d": 30 * 86_400}
LINKS: Final = (
    ("Overview", "/"),
    ("Causes", "/causes"),
    ("Groups", "/groups"),
    ("Prefixes", "/prefixes"),
)
SLOW_SECONDS: Final = 2.0
"""A view that took longer is not read again with each new call."""
_MAX_CAUSES: Final = 20
_FEW_HOURS: Final = 6
_FEW_CALLS: Final = 100_000

Asked = Mapping[str, str]
"""The parameters of the address."""
Shown = tuple[str, dict[str, Any]]
"""A template and its values."""


class PageViews:
    """The views of the table at `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._changes = ChangeCounter(path)
        self._scans = Scans()

    def routes(self) -> list[Route]:
        """Return the addresses of the page."""
        scanning: Mapping[str, Callable[[Asked, OnProgress], Shown]] = {
            "/causes": self.show_causes,
            "/groups": self.show_groups,
            "/prefixes": self.show_prefixes,
        }
        return [
            Route("/", self._page(self.show_overview), methods=["GET"]),
            Route("/call/{trace_id}/{span_id}", self._page(self.show_call), methods=["GET"]),
            *(
                Route(path, self._scanning_page(view), methods=["GET"])
                for path, view in scanning.items()
            ),
            Route("/changes", self._send_changes, methods=["GET"]),
            Route(f"/{LIVE_SCRIPT}", _send_script, methods=["GET"]),
        ]

    def _page(self, view: Callable[[Asked], Shown | None]) -> Callable[[Request], Any]:
        """Return the endpoint of a view, which runs in a thread: it waits for the disk."""

        async def endpoint(request: Request) -> Response:
            asked = {**request.query_params, **request.path_params}
            return await self._answer(partial(view, asked))

        return endpoint

    def _scanning_page(
        self, view: Callable[[Asked, OnProgress], Shown]
    ) -> Callable[[Request], Any]:
        """Return the endpoint of a view that reads the whole table. It shows how far it is."""

        async def endpoint(request: Request) -> Response:
            asked, address = dict(request.query_params), str(request.url)
            scan = self._scans.find_or_start(address, partial(view, asked))
            if not await run_in_threadpool(scan.wait, SECONDS_BEFORE_PROGRESS):
                bar = draw_bar([BarPart(scan.share, "paid", "read")])
                values = {"title": "Reading", "share": f"{scan.share:.0%}", "bar": bar}
                return self._render("scan", values)
            self._scans.forget(address)
            return await self._answer(scan.result, is_live=scan.seconds < SLOW_SECONDS)

        return endpoint

    async def _answer(self, make: Callable[[], Shown | None], *, is_live: bool = True) -> Response:
        found: Shown | None
        try:
            found = await run_in_threadpool(make)
        except EmptyDatabaseError:
            found = ("overview", {"title": "Overview", **overview_values(None)})
        except CallsFileReadError as error:
            return PlainTextResponse(f"{error}\n", 503)
        if found is None:
            return PlainTextResponse("There is no such call.\n", 404)
        template, values = found
        return self._render(template, {"is_live": is_live, **values})

    def _render(self, template: str, values: dict[str, Any]) -> Response:
        nonce = secrets.token_urlsafe(16)
        text = render_template(
            template,
            place=format_path(self._path),
            nonce=nonce,
            links=LINKS,
            footer=f"promptcache {__version__}",
            **values,
        )
        policy = (
            f"default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}';"
            " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
        return HTMLResponse(text, headers={"content-security-policy": policy})

    async def _send_changes(self, request: Request) -> Response:
        return PlainTextResponse(await run_in_threadpool(self._changes.count))

    def show_overview(self, asked: Asked) -> Shown:
        """Return the overview of the asked time, service and model."""
        chosen = {name: asked[name] for name in ("since", "service", "model") if asked.get(name)}
        since = _find_start(chosen.get("since"))
        wanted = OverviewFilter(since, chosen.get("service"), chosen.get("model"))
        with open_sqlite_read_only(self._path) as connection:
            found = collect_overview(connection, str(self._path), wanted)
            changes = collect_prefix_changes(connection, since) if found else ()
            latencies = collect_latencies(connection, wanted) if found else {}
        shown = found and self._refine(_complete(found, changes, latencies, wanted), wanted)
        values = overview_values(shown)
        if shown:
            tables = shown.groups.items()
            values["groups"] = [build_group_table(one, groups, chosen) for one, groups in tables]
        if chosen and not shown:
            values |= {"hint": "No call fulfils these conditions.", "command": "promptcache report"}
        filters = [
            choice_links("/", chosen, "since", WINDOWS, "all time"),
            *removing_links("/", chosen, ("since",)),
        ]
        return "overview", {"title": "Overview", "filters": filters, **values}

    def _refine(self, found: Overview, wanted: OverviewFilter) -> Overview:
        """Return the overview with periods below an hour, if it has few hours and few calls."""
        if len(found.periods) >= _FEW_HOURS or found.totals.calls > _FEW_CALLS:
            return found
        names = {GroupBy.SERVICE: wanted.service, GroupBy.MODEL: wanted.model}
        where = [FieldCondition(field, "=", value) for field, value in names.items() if value]
        step = self._find_step(wanted.since, MAX_STEPS)
        report = collect_report(self._path, since=wanted.since, where=where, period_seconds=step)
        short = overview_of_report(report)
        return replace(
            found, start=short.start, step_seconds=short.step_seconds, periods=short.periods
        )

    def show_causes(self, asked: Asked, on_progress: OnProgress = ignore_progress) -> Shown:
        """Return what wasted money."""
        source = find_calls_source(self._path)
        causes, summary = collect_causes(
            source, _MAX_CAUSES, has_links=True, on_progress=on_progress
        )
        return "causes", {"title": "Causes", "causes": causes, "summary": summary}

    def show_call(self, asked: Asked) -> Shown | None:
        """Return one call, None if there is no such call."""
        source = find_calls_source(self._path)
        for one in compare_trace_calls(source, asked["trace_id"]):
            if one.call["span_id"] == asked["span_id"]:
                return "call", {"title": "A call", **call_values(one)}
        return None

    def show_groups(self, asked: Asked, on_progress: OnProgress = ignore_progress) -> Shown:
        """Return the calls by one field, of a time and of other fields."""
        fields = _list_fields()
        by = fields.get(asked.get("by", ""), GroupBy.SERVICE)
        chosen = _conditions(asked)
        report = collect_report(
            self._path,
            by,
            _find_start(asked.get("since")),
            where=_where(chosen),
            on_progress=on_progress,
        )
        table = report_group_table(report)
        for row, group in zip(table["rows"], report.groups, strict=False):
            if group.key:
                inner = {**chosen, str(by): group.key, "by": GroupBy.REASON}
                row["address"] = make_address("/groups", inner)
        shown = {**chosen, "by": str(by)}
        values = {
            "title": "Groups",
            "heading": f"By {table['heading']}",
            "column": table["heading"],
            "columns": GROUP_COLUMNS,
            "rows": table["rows"],
            "hidden": table["hidden"],
            "summary": _summary(report),
            "changes": [prefix_change_sentence(one) for one in report.prefix_changes],
            "filters": [
                choice_links("/groups", shown, "by", fields),
                *removing_links("/groups", shown, ("by", "since")),
            ],
        }
        return "groups", values

    def show_prefixes(self, asked: Asked, on_progress: OnProgress = ignore_progress) -> Shown:
        """Return the families of prefixes over time, perhaps only those with one trait."""
        chosen = _conditions(asked)
        trait = PrefixTrait(asked["show"]) if asked.get("show") in [*PrefixTrait] else None
        report = collect_report(
            self._path,
            PREFIX_FIELDS,
            _find_start(asked.get("since")),
            where=_where(chosen),
            period_seconds=self._find_step(_find_start(asked.get("since")), SHORT_TREND_STEPS),
            on_progress=on_progress,
        )
        families = {group.values[0] for group in report.groups if group.values[0]}
        addresses = {
            name: make_address("/groups", {GroupBy.FAMILY: name, "by": GroupBy.PREFIX})
            for name in families
        }
        shown = {**chosen, **({"show": trait.value} if trait else {})}
        values = {
            "title": "Prefixes",
            "summary": _summary(report),
            "changes": [prefix_change_sentence(one) for one in report.prefix_changes],
            "filters": [
                choice_links("/prefixes", shown, "show", PrefixTrait, "all"),
                *removing_links("/prefixes", shown, ("show", "since")),
            ],
            **prefix_values(report, trait, addresses),
        }
        return "prefixes", values

    def _find_step(self, since: float, max_steps: int) -> int:
        """Return the seconds of a period for a chart of the calls since then."""
        with open_sqlite_read_only(self._path) as connection:
            found = TIME_RANGE_QUERY.fetch_one(connection, since)
        return choose_step(
            (found.last_time or 0.0) - (found.first_time or 0.0), max_steps=max_steps
        )


def _list_fields() -> dict[str, CallField]:
    """Return the fields of a call by their names, those of the user's own last."""
    own = [Dimension(key) for key in list_dimension_keys() if is_dimension_name(key)]
    return {str(field): field for field in (*GroupBy, *own)}


def _conditions(asked: Asked) -> dict[str, str]:
    """Return the parameters that choose calls."""
    names = {*_list_fields(), "since"}
    return {name: value for name, value in asked.items() if name in names and value}


def _where(chosen: Mapping[str, str]) -> list[FieldCondition]:
    return [
        FieldCondition(field, "=", chosen[name])
        for name, field in _list_fields().items()
        if name in chosen
    ]


def _summary(report: Report) -> list[tuple[str, str]]:
    """Return the lines of the terminal, but for the file, which the page names already."""
    if not report.totals.calls:
        return []
    return [(name, text) for name, text in summary_lines(report) if name != "File"]


def _complete(found: Overview, changes: Any, latencies: Any, wanted: OverviewFilter) -> Overview:
    own = [one for one in changes if wanted.service in (None, one.service)]
    return replace(found, changes=tuple(own), latencies=latencies)


async def _send_script(request: Request) -> Response:
    return Response(read_asset(LIVE_SCRIPT), media_type="text/javascript")


def build_page(path: Path) -> Starlette:
    """Return the page of the table at `path`, without its guard."""
    return Starlette(routes=PageViews(path).routes())


def _find_start(window: str | None) -> float:
    """Return the epoch seconds at which a window of `WINDOWS` begins; 0 for all time."""
    seconds = WINDOWS.get(window or "")
    return 0.0 if seconds is None else time.time() - seconds
