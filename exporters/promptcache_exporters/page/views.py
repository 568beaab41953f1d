"""The addresses of the served page, each made from one look at the table."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from promptcache.version import __version__
from promptcache_exporters.database.errors import CallsFileReadError, EmptyDatabaseError
from promptcache_exporters.database.source import find_calls_source
from promptcache_exporters.database.sqlite_file import open_sqlite_read_only
from promptcache_exporters.explain.query import compare_trace_calls
from promptcache_exporters.page.call_page import call_values
from promptcache_exporters.page.causes import collect_causes
from promptcache_exporters.page.change_counter import ChangeCounter
from promptcache_exporters.page.overview import (
    Overview,
    OverviewFilter,
    collect_latencies,
    collect_overview,
)
from promptcache_exporters.page.overview_page import (
    build_group_table,
    overview_values,
    report_group_table,
)
from promptcache_exporters.page.rendering import LIVE_SCRIPT, read_asset, render_template
from promptcache_exporters.report.call_field import GroupBy
from promptcache_exporters.report.call_filter import FieldCondition
from promptcache_exporters.report.format import format_name, format_path
from promptcache_exporters.report.lines import GROUP_COLUMNS, prefix_change_sentence, summary_lines
from promptcache_exporters.report.query import collect_prefix_changes, collect_report

WINDOWS: Final = {"1h": 3600, "24h": 86_400, "7d": 7 * 86_400, "30d": 30 * 86_400}
LINKS: Final = (
    ("Overview", "/"),
    ("Causes", "/causes"),
    ("Groups", "/groups"),
    ("Prefixes", "/groups?by=family"),
)
_MAX_CAUSES: Final = 20
_FIELDS: Final = tuple(one for one in GroupBy if one is not GroupBy.FAMILY)


class PageViews:
    """The views of the table at `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._changes = ChangeCounter(path)

    def routes(self) -> list[Route]:
        """Return the addresses of the page."""
        views: Mapping[str, Callable[[Mapping[str, str]], tuple[str, dict[str, Any]] | None]] = {
            "/": self.show_overview,
            "/causes": self.show_causes,
            "/groups": self.show_groups,
            "/call/{trace_id}/{span_id}": self.show_call,
        }
        pages = [Route(path, self._page(view), methods=["GET"]) for path, view in views.items()]
        return [
            *pages,
            Route("/changes", self._send_changes, methods=["GET"]),
            Route(f"/{LIVE_SCRIPT}", _send_script, methods=["GET"]),
        ]

    def _page(self, view: Callable[[Mapping[str, str]], Any]) -> Callable[[Request], Any]:
        """Return the endpoint of a view, which runs in a thread: it waits for the disk."""

        async def endpoint(request: Request) -> Response:
            asked = {**request.query_params, **request.path_params}
            found: tuple[str, dict[str, Any]] | None
            try:
                found = await run_in_threadpool(view, asked)
            except EmptyDatabaseError:
                found = ("overview", {"title": "Overview", **overview_values(None)})
            except CallsFileReadError as error:
                return PlainTextResponse(f"{error}\n", 503)
            if found is None:
                return PlainTextResponse("There is no such call.\n", 404)
            return self._render(*found)

        return endpoint

    def _render(self, template: str, values: dict[str, Any]) -> Response:
        nonce = secrets.token_urlsafe(16)
        text = render_template(
            template,
            place=format_path(self._path),
            nonce=nonce,
            links=LINKS,
            is_live=True,
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

    def show_overview(self, asked: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
        """Return the overview of the asked time, service and model."""
        chosen = {name: asked[name] for name in ("since", "service", "model") if asked.get(name)}
        since = _find_start(chosen.get("since"))
        wanted = OverviewFilter(since, chosen.get("service"), chosen.get("model"))
        with open_sqlite_read_only(self._path) as connection:
            found = collect_overview(connection, str(self._path), wanted)
            changes = collect_prefix_changes(connection, since) if found else ()
            latencies = collect_latencies(connection, wanted) if found else {}
        shown = found and _complete(found, changes, latencies, wanted)
        values = overview_values(shown)
        if shown:
            tables = shown.groups.items()
            values["groups"] = [build_group_table(one, groups, chosen) for one, groups in tables]
        if chosen and not shown:
            values |= {"hint": "No call fulfils these conditions.", "command": "promptcache report"}
        return "overview", {"title": "Overview", "filters": _overview_filters(chosen), **values}

    def show_causes(self, asked: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
        """Return what wasted money."""
        source = find_calls_source(self._path)
        causes, summary = collect_causes(source, _MAX_CAUSES, has_links=True)
        return "causes", {"title": "Causes", "causes": causes, "summary": summary}

    def show_call(self, asked: Mapping[str, str]) -> tuple[str, dict[str, Any]] | None:
        """Return one call, None if there is no such call."""
        source = find_calls_source(self._path)
        for one in compare_trace_calls(source, asked["trace_id"]):
            if one.call["span_id"] == asked["span_id"]:
                return "call", {"title": "A call", **call_values(one)}
        return None

    def show_groups(self, asked: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
        """Return the calls by one field, of a time and of other fields."""
        by = GroupBy(asked["by"]) if asked.get("by") in [*GroupBy] else GroupBy.SERVICE
        chosen = {name: value for name, value in asked.items() if name in [*GroupBy] and value}
        where = [FieldCondition(GroupBy(name), "=", value) for name, value in chosen.items()]
        since = _find_start(asked.get("since"))
        report = collect_report(self._path, by, since, where=where)
        table = report_group_table(report)
        other = {**chosen, **({"since": asked["since"]} if asked.get("since") else {})}
        for row, group in zip(table["rows"], report.groups, strict=False):
            if group.key and by in _FIELDS:
                row["address"] = _address("/groups", {**other, by: group.key, "by": GroupBy.REASON})
        values = {
            "title": "Prefixes" if by is GroupBy.FAMILY else "Groups",
            "heading": f"By {table['heading']}",
            "column": table["heading"],
            "columns": GROUP_COLUMNS,
            "rows": table["rows"],
            "hidden": table["hidden"],
            "summary": [f"{name}: {text}" for name, text in summary_lines(report)[:5]],
            "changes": [prefix_change_sentence(one) for one in report.prefix_changes],
            "filters": _group_filters(by, other),
        }
        return "groups", values


def _complete(found: Overview, changes: Any, latencies: Any, wanted: OverviewFilter) -> Overview:
    own = [one for one in changes if wanted.service in (None, one.service)]
    return replace(found, changes=tuple(own), latencies=latencies)


def _address(path: str, parameters: Mapping[str, str]) -> str:
    return f"{path}?{urlencode(parameters)}" if parameters else path


def _overview_filters(chosen: Mapping[str, str]) -> list[list[tuple[str, str, bool]]]:
    rest = {name: value for name, value in chosen.items() if name != "since"}
    windows = [("all time", _address("/", rest), "since" not in chosen)]
    windows += [
        (name, _address("/", {**rest, "since": name}), chosen.get("since") == name)
        for name in WINDOWS
    ]
    return [windows, *_removable(chosen, "/")]


def _removable(chosen: Mapping[str, str], path: str) -> list[list[tuple[str, str, bool]]]:
    """Return a link for each condition, which takes it away."""
    return [
        [
            (
                f"{name}: {format_name(value)} \N{MULTIPLICATION SIGN}",
                _address(path, {one: text for one, text in chosen.items() if one != name}),
                True,
            )
        ]
        for name, value in chosen.items()
        if name not in ("since", "by")
    ]


def _group_filters(by: GroupBy, other: Mapping[str, str]) -> list[list[tuple[str, str, bool]]]:
    fields = [
        (str(one), _address("/groups", {**other, "by": one.value}), one is by) for one in GroupBy
    ]
    return [fields, *_removable({**other, "by": by.value}, "/groups")]


async def _send_script(request: Request) -> Response:
    return Response(read_asset(LIVE_SCRIPT), media_type="text/javascript")


def build_page(path: Path) -> Starlette:
    """Return the page of the table at `path`, without its guard."""
    return Starlette(routes=PageViews(path).routes())


def _find_start(window: str | None) -> float:
    """Return the epoch seconds at which a window of `WINDOWS` begins; 0 for all time."""
    seconds = WINDOWS.get(window or "")
    return 0.0 if seconds is None else time.time() - seconds
