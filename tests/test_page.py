"""The page: who may read it, what its figures are, and that no name gets out of its place."""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import pytest
from typer.testing import CliRunner

from promptcache.cli.commands import app
from promptcache.cli.exit_codes import ExitCode
from promptcache.semconv import (
    GEN_AI_REQUEST_MODEL,
    GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK,
    MISS_INDEX,
    MISS_REASON,
    MISS_SECTION,
    MISSED_TOKENS,
    OUTCOME,
    PREFIX_CHAIN,
    PREFIX_CHAIN_SIZES,
    PREFIX_CHAIN_START,
    PREFIX_FAMILY,
    PREFIX_HASH,
    PREFIX_SECTION_COUNTS,
    READ_TOKENS,
    WASTED_USD,
    WRITE_TOKENS,
    WRITE_TOKENS_BY_TTL,
)
from promptcache_exporters.database import row_ranges
from promptcache_exporters.database.source import find_calls_source
from promptcache_exporters.database.sqlite_file import (
    open_or_create_for_writing,
    open_sqlite_read_only,
)
from promptcache_exporters.explain.query import compare_costliest_misses, compare_trace_calls
from promptcache_exporters.page import scans, views
from promptcache_exporters.page.call_page import blocks_of, broken_at, find_trace_link
from promptcache_exporters.page.causes import collect_causes
from promptcache_exporters.page.change_counter import ChangeCounter
from promptcache_exporters.page.charts import BarPart, draw_bar, draw_line_chart
from promptcache_exporters.page.html_file import render_html
from promptcache_exporters.page.overview import (
    OverviewFilter,
    collect_latencies,
    collect_overview,
    summarize_latencies,
)
from promptcache_exporters.page.prefixes import PREFIX_FIELDS, list_prefix_families
from promptcache_exporters.page.rendering import LIVE_SCRIPT, read_asset
from promptcache_exporters.page.server import PageServer
from promptcache_exporters.page.time_steps import MAX_STEPS, choose_step
from promptcache_exporters.report.call_field import GroupBy
from promptcache_exporters.report.query import collect_report
from tests.support.report_text import UNPRICED
from tests.support.span_builders import START, read_rows, record_calls

HOSTILE = "</script><script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{7*7}}\x1b[31m\u202e"
HIT: dict[str, Any] = {PREFIX_FAMILY: "p1:f", PREFIX_HASH: "p1:old"}
MISS: dict[str, Any] = {
    **HIT,
    PREFIX_HASH: "p1:new",
    OUTCOME: "miss",
    READ_TOKENS: 0,
    MISS_REASON: "volatile_token",
    MISS_SECTION: "system",
    MISS_INDEX: 0,
    MISSED_TOKENS: 800,
    WASTED_USD: 0.005,
    PREFIX_CHAIN: ("k1:a", "k1:b", "k1:c"),
    PREFIX_CHAIN_START: 0,
    PREFIX_CHAIN_SIZES: (100, 300, 600),
    PREFIX_SECTION_COUNTS: (1, 1, 1),
}

TRAITS = ("shared", "too short", "never read")


class Answer(NamedTuple):
    """What the server said."""

    status: int
    headers: Mapping[str, str]
    text: str


class Browser:
    """Sends requests to the server as a browser does, with exactly the headers of the test."""

    def __init__(self, server: PageServer) -> None:
        self.port = server.port
        self.token_path = server.address.partition(str(server.port))[2]
        self.cookie = ""

    def get(self, path: str, method: str = "GET", **headers: str) -> Answer:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.putrequest(method, path, skip_host=True)
        sent = {"host": f"127.0.0.1:{self.port}"} | ({"cookie": self.cookie} if self.cookie else {})
        for name, value in (sent | headers).items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders()
        response = connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        answer = Answer(response.status, found, response.read().decode())
        connection.close()
        return answer

    def sign_in(self) -> Answer:
        answer = self.get(self.token_path)
        self.cookie = answer.headers.get("set-cookie", "").partition(";")[0]
        return answer


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "calls.db"


@pytest.fixture
def server(path: Path) -> Iterator[PageServer]:
    running = PageServer(path)
    thread = threading.Thread(target=running.run)
    thread.start()
    yield running
    running.stop()
    thread.join(10)


@pytest.fixture
def stranger(server: PageServer) -> Browser:
    """Return a browser without a cookie: another user of the machine."""
    return Browser(server)


@pytest.fixture
def browser(server: PageServer) -> Browser:
    signed_in = Browser(server)
    signed_in.sign_in()
    return signed_in


def record_problem(path: Path, service: str = "shop") -> None:
    record_calls(path, HIT, HIT, MISS, MISS, service=service)


def call_address(path: Path, number: int) -> str:
    row = read_rows(path)[number]
    return f"/call/{row['trace_id']}/{row['span_id']}"


# ---------------------------------------------------------------- who may read it


def test_the_token_is_exchanged_once_for_a_cookie(path: Path, stranger: Browser) -> None:
    record_problem(path)
    answer = stranger.sign_in()
    assert (answer.status, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    token = stranger.token_path.partition("token=")[2]
    assert len(token) == 32
    assert token not in cookie
    assert stranger.get("/").status == 200
    second_user = Browser.__new__(Browser)
    second_user.port, second_user.cookie = stranger.port, ""
    assert second_user.get(stranger.token_path).status == 403
    assert second_user.get("/").status == 403


@pytest.mark.parametrize(
    "address", ["/", "/causes", "/groups", "/changes", f"/{LIVE_SCRIPT}", "/call/1/2", "/nothing"]
)
@pytest.mark.parametrize("cookie", ["", "promptcache_page=1", "=;;", "promptcache_page"])
def test_without_the_cookie_nothing_is_shown(
    path: Path, stranger: Browser, address: str, cookie: str
) -> None:
    record_problem(path)
    stranger.cookie = cookie and cookie.replace("_page", f"_page_{stranger.port}")
    answer = stranger.get(address)
    assert (answer.status, "shop" in answer.text) == (403, False)


@pytest.mark.parametrize("token", ["", "0" * 32, "ü"])
def test_a_wrong_token_opens_nothing(path: Path, stranger: Browser, token: str) -> None:
    record_problem(path)
    assert stranger.get(f"/?token={quote(token)}").status == 403
    assert stranger.sign_in().status == 303, "the right token still works"


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "evil.example:{port}"},
        {"host": "127.0.0.1.evil.example:{port}"},
        {"host": "127.0.0.1"},
        {"host": "[::1]:{port}"},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "https://127.0.0.1:{port}"},
        {"origin": "http://127.0.0.1:1"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
    ],
)
def test_requests_of_other_sites_are_refused(
    path: Path, browser: Browser, headers: dict[str, str]
) -> None:
    record_problem(path)
    sent = {name: value.format(port=browser.port) for name, value in headers.items()}
    answer = browser.get("/", **sent)
    assert (answer.status, "shop" in answer.text) == (403, False)


def test_the_page_itself_may_ask(path: Path, browser: Browser) -> None:
    record_problem(path)
    own = f"http://127.0.0.1:{browser.port}"
    assert browser.get("/changes", origin=own, sec_fetch_site="same-origin").status == 200
    assert browser.get("/", host=f"localhost:{browser.port}").status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "OPTIONS"])
def test_only_get_is_answered(path: Path, browser: Browser, method: str) -> None:
    record_problem(path)
    assert browser.get("/", method).status == 405


@pytest.mark.parametrize("address", ["/", "/causes", "/groups", "/changes", "/nothing"])
def test_every_answer_is_private(path: Path, browser: Browser, address: str) -> None:
    record_problem(path)
    headers = browser.get(address).headers
    assert headers["cache-control"] == "no-store"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"].startswith("default-src 'none'")


def test_style_and_script_have_the_nonce_of_the_answer(path: Path, browser: Browser) -> None:
    record_problem(path)
    answers = [browser.get("/") for _ in range(2)]
    nonces = [
        re.findall(r"'nonce-([^']+)'", one.headers["content-security-policy"]) for one in answers
    ]
    assert nonces[0] != nonces[1]
    for answer, (first, second) in zip(answers, nonces, strict=True):
        assert first == second
        assert re.findall(r'<(?:style|script) nonce="([^"]+)"', answer.text) == [first, first]
        assert not re.search(r'\sstyle="|\son\w+="|javascript:', answer.text)


def test_the_table_is_not_changed(path: Path, browser: Browser) -> None:
    record_problem(path)
    before = read_rows(path)
    for address in ("/", "/causes", "/groups?by=model", call_address(path, 2)):
        assert browser.get(address).status == 200
    assert read_rows(path) == before
    with open_sqlite_read_only(path) as connection, pytest.raises(sqlite3.OperationalError):
        connection.execute("DELETE FROM main.llm_calls")


def test_the_script_is_small_and_asks_for_changes_only() -> None:
    script = read_asset(LIVE_SCRIPT)
    assert len(script.encode()) < 5_000
    assert "document.hidden" in script
    assert re.findall(r'fetch\("([^"]+)"', script) == ["/changes"]


# ---------------------------------------------------------------- names in every place


class Tags(HTMLParser):
    """All tags of a page, with the names of their attributes, and the addresses of its links."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.links: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(name for name, _ in attrs)))
        self.links += [value or "" for name, value in attrs if name == "href"]


def record_named(path: Path, name: str) -> None:
    names = {
        GEN_AI_REQUEST_MODEL: name,
        MISS_REASON: name,
        MISS_SECTION: name,
        PREFIX_FAMILY: name,
        PREFIX_CHAIN: None,
        "code.file.path": name,
        "code.function.name": name,
    }
    record_calls(
        path,
        *({**MISS, **names, PREFIX_HASH: f"{name}{number // 2}"} for number in range(4)),
        service=name,
    )


def test_hostile_names_are_text_in_every_view(
    path: Path, browser: Browser, tmp_path: Path, server: PageServer
) -> None:
    record_named(path, HOSTILE)
    addresses = ["/", "/causes", call_address(path, 1)]
    addresses += [f"/groups?by={by}" for by in GroupBy]
    addresses += [
        f"/?{urlencode({'service': HOSTILE})}",
        f"/groups?{urlencode({'model': HOSTILE})}",
    ]
    for address in addresses:
        answer = browser.get(address)
        assert answer.status == 200, address
        tags = Tags(answer.text)
        assert [tag for tag, _ in tags.tags].count("script") == 1, address
        assert "img" not in [tag for tag, _ in tags.tags]
        assert not [name for _, names in tags.tags for name in names if name.startswith("on")]
        assert not {"\x1b", "\u202e"} & set(answer.text)
        assert "49" not in re.findall(r"\{\{7\*7\}\}|\b49\b", answer.text)
        assert all(link.startswith("/") for link in tags.links)


def test_hostile_names_are_text_in_a_file(path: Path) -> None:
    record_named(path, HOSTILE)
    page = render_html(collect_report(path, GroupBy.MODEL, period_seconds=60))
    tags = [tag for tag, _ in Tags(page).tags]
    assert not {"script", "img"} & {*tags}
    assert "&lt;script&gt;" in page
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page


def test_hostile_parameters_are_no_error(path: Path, browser: Browser) -> None:
    record_problem(path)
    for query in ("by=%00", "by[]=x", "since=%27", "service=%ff", "outcome=%27%3B--", "x=1&x=2"):
        assert browser.get(f"/?{query}").status == 200
        assert browser.get(f"/groups?{query}").status == 200
    for address in ("/call/x/y", "/call/%27/%22", "/call/../../etc", "/%2e%2e/x"):
        assert browser.get(address).status == 404


# ---------------------------------------------------------------- what it shows


def test_the_overview_has_the_figures_of_the_report(path: Path) -> None:
    record_problem(path)
    record_calls(path, {}, UNPRICED, service="desk", at=START + 7200)
    report = collect_report(path)
    with open_sqlite_read_only(path) as connection:
        found = collect_overview(connection, "x", OverviewFilter())
    assert found
    totals = found.totals
    assert totals.calls == report.totals.calls == 6
    assert totals.hit_rate == report.totals.hit_rate
    assert totals.cost_usd == pytest.approx(report.totals.cost_usd)
    assert totals.saved_usd == pytest.approx(report.totals.saved_usd)
    assert totals.wasted_usd == pytest.approx(report.totals.wasted_usd)
    assert [one.calls for one in found.periods] == [4, 0, 2]
    assert {name: one.calls for name, one in found.groups["service"]} == {"shop": 4, "desk": 2}


def test_the_overview_reads_the_hourly_sums_and_no_call(path: Path) -> None:
    record_problem(path)
    queries: list[str] = []
    with open_sqlite_read_only(path) as connection:
        connection.set_trace_callback(queries.append)
        collect_overview(connection, "x", OverviewFilter())
    assert any("llm_hours" in query for query in queries)
    assert not [query for query in queries if "llm_calls" in query or "FROM calls" in query]


def test_a_file_without_hourly_sums_has_the_same_overview(path: Path) -> None:
    record_problem(path)
    with open_sqlite_read_only(path) as connection:
        expected = collect_overview(connection, "x", OverviewFilter())
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TRIGGER llm_hours_add")
        connection.execute("DROP TABLE llm_hours")
    connection.close()
    with open_sqlite_read_only(path) as connection:
        assert collect_overview(connection, "x", OverviewFilter()) == expected


def test_the_overview_can_be_of_a_service_a_model_or_a_time(path: Path) -> None:
    record_problem(path)
    record_calls(path, {GEN_AI_REQUEST_MODEL: "b"}, service="desk", at=START + 7200)
    wanted = {
        OverviewFilter(service="desk"): 1,
        OverviewFilter(model="gpt-5.5"): 4,
        OverviewFilter(service="desk", model="gpt-5.5"): None,
        OverviewFilter(since=START + 3600): 1,
        OverviewFilter(since=START + 86_400): None,
    }
    for one, calls in wanted.items():
        with open_sqlite_read_only(path) as connection:
            found = collect_overview(connection, "x", one)
        assert (found and found.totals.calls) == calls


def test_times_to_the_first_token_are_those_of_hits_and_misses(path: Path) -> None:
    seconds = GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK
    hits = [{seconds: number / 100} for number in range(1, 101)]
    record_calls(path, *hits, {seconds: 2.0, OUTCOME: "miss"}, {seconds: 9.0, OUTCOME: "error"})
    with open_sqlite_read_only(path) as connection:
        found = collect_latencies(connection, OverviewFilter())
    hit = found["hit"]
    assert (hit.calls, hit.median, hit.p95) == (100, 0.51, 0.96)
    assert (found["miss"].calls, found["miss"].median) == (1, 2.0)
    assert summarize_latencies([("hit", None), ("hit", "text")]) == {}


def test_a_change_of_the_prefix_is_marked(path: Path, browser: Browser) -> None:
    record_calls(path, HIT, HIT, at=START)
    record_calls(path, MISS, MISS, at=START + 7200)
    page = browser.get("/").text
    assert page.count('class="mark"') == 1
    assert "prefix p1:new replaced p1:old, hit rate 80.0 % -&gt; 0.0 %" in page


def test_a_short_time_has_periods_below_an_hour(path: Path, browser: Browser) -> None:
    record_calls(path, HIT, HIT, HIT, HIT)
    page = browser.get("/").text
    assert page.count('class="chart"') == 2
    assert page.count("80.0 % read, 1,000 input tokens, 1 calls") == 4
    assert browser.get("/?model=gpt-5.5").text.count('class="chart"') == 2


def test_causes_show_place_advice_sum_and_call(path: Path, browser: Browser) -> None:
    record_problem(path)
    page = browser.get("/causes").text
    for words in ("volatile_token", "in system[0]", "$0.0100 wasted", "2 of 4 calls"):
        assert words in page
    (address,) = [link for link in Tags(page).links if link.startswith("/call/")]
    assert browser.get(address).status == 200


def test_a_call_is_a_strip_that_is_broken_where_the_prefix_changed(path: Path) -> None:
    record_problem(path)
    row = read_rows(path)[2]
    (found,) = compare_trace_calls(path, row["trace_id"])
    blocks = blocks_of(found.call)
    assert [(one.name, one.share, one.start) for one in blocks] == [
        ("tools[0]", 0.1, 0.0),
        ("system[0]", 0.3, 0.1),
        ("messages[0]", 0.6, 0.4),
    ]
    assert broken_at(found) == 0.1


def test_a_chain_without_the_first_blocks_gives_no_strip() -> None:
    """The place of the break would be wrong: the blocks that are known would fill the strip."""
    call = {"prefix_chain_sizes": "[10, 30]", "prefix_section_counts": "[0, 1, 1]"}
    assert len(blocks_of({**call, "prefix_chain_start": 0})) == 2
    assert blocks_of({**call, "prefix_chain_start": 1}) == []


@pytest.mark.parametrize("text", ["{", "[-1]", '["x"]', "[1e9]", "{}", "[true]", None])
def test_damaged_sizes_give_no_blocks(text: str | None) -> None:
    call = {"prefix_chain_sizes": text, "prefix_section_counts": text, "prefix_chain_start": 0}
    assert blocks_of(call) == []


@pytest.mark.parametrize(
    ("template", "trace_id", "link"),
    [
        ("https://b.example/{trace_id}/{span_id}", "a1", "https://b.example/a1/b2"),
        ("http://b.example/{trace_id}", "a1", "http://b.example/a1"),
        ("javascript:alert({trace_id})", "a1", ""),
        ("data:text/html,{trace_id}", "a1", ""),
        ("https://b.example/{trace_id}", "a1/../x", ""),
        ("https://b.example/{trace_id}", "", ""),
        ("", "a1", ""),
    ],
)
def test_a_trace_link_is_http_with_hex_ids(template: str, trace_id: str, link: str) -> None:
    assert find_trace_link({"trace_id": trace_id, "span_id": "b2"}, template) == link


def test_groups_have_conditions_in_the_address(path: Path, browser: Browser) -> None:
    record_problem(path)
    record_calls(path, {GEN_AI_REQUEST_MODEL: "b"}, service="desk")
    page = browser.get("/groups?by=model&service=desk").text
    assert "gpt-5.5" not in page
    assert "<dt>Calls</dt><dd>1," in page
    assert "/groups?by=model" in Tags(page).links, "the condition can be taken away"


def test_groups_can_be_by_a_key_of_the_user(
    path: Path, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_PROMPTCACHE_TABLE_KEYS", "team, no name")
    record_calls(path, {"team": "search"}, {"team": "ads"}, {"team": "ads"})
    page = browser.get("/groups?by=team").text
    assert {"/groups?team=ads&by=reason", "/groups?by=model"} <= {*Tags(page).links}
    assert "<dd>2," in browser.get("/groups?by=model&team=ads").text


def test_a_call_shows_what_it_wrote_by_ttl(path: Path, browser: Browser) -> None:
    ttls = {WRITE_TOKENS_BY_TTL["5m"]: 200, WRITE_TOKENS_BY_TTL["1h"]: 700}
    record_calls(path, {**HIT, WRITE_TOKENS: 900, **ttls})
    assert "200 for 5m, 700 for 1h" in browser.get(call_address(path, 0)).text


def test_an_empty_table_says_how_to_record(path: Path, browser: Browser) -> None:
    open_or_create_for_writing(path, 5).close()
    for address in ("/", "/causes", "/groups"):
        assert browser.get(address).status == 200
    assert "promptcache run -- python app.py" in browser.get("/").text


def test_a_missing_table_is_an_answer(browser: Browser) -> None:
    assert browser.get("/").status == 503
    assert browser.get("/changes").text == "0"


def test_changes_are_counted(path: Path) -> None:
    counter = ChangeCounter(path)
    assert counter.count() == "0"
    record_problem(path)
    first = counter.count()
    assert counter.count() == first
    record_problem(path)
    assert counter.count() != first


def test_the_file_has_the_charts_and_causes_and_no_script(path: Path) -> None:
    record_calls(path, HIT, HIT, at=START)
    record_calls(path, MISS, MISS, at=START + 7200)
    out = path.with_name("page.html")
    result = CliRunner().invoke(app, ["report", str(path), "--html", str(out)])
    assert result.exit_code == ExitCode.OK, result.output
    page = out.read_text()
    assert page.count('class="chart"') == 3
    assert "volatile_token" in page
    assert "<script" not in page
    assert "/call/" not in page


@pytest.mark.parametrize(("seconds", "step"), [(0, 60), (3600, 60), (86_400, 900), (1e12, 2419200)])
def test_a_chart_has_few_steps(seconds: float, step: int) -> None:
    assert choose_step(seconds) == step
    assert seconds / step <= MAX_STEPS or seconds > 1e9


def test_a_line_has_a_gap_where_nothing_is_known() -> None:
    chart = draw_line_chart([0.5, None, 1.0], ["a", "b", "<c>"], 1.0, "good")
    assert chart.count("<polyline") == 2
    assert "&lt;c&gt;" in chart


def test_a_bar_has_the_width_of_its_share() -> None:
    bar = draw_bar([BarPart(0.25, "good", "x"), BarPart(0.5, "bad", "y")])
    assert re.findall(r'x="([\d.]+)" y="0" width="([\d.]+)"', bar) == [
        ("0.00", "250.00"),
        ("250.00", "500.00"),
    ]


def test_the_command_names_an_unreadable_table(path: Path) -> None:
    missing = CliRunner().invoke(app, ["open", str(path), "--no-browser"])
    assert missing.exit_code == ExitCode.NO_FILE
    text = CliRunner().invoke(app, ["open", "--help"]).stdout
    assert "OTEL_PROMPTCACHE_TRACE_URL" in text


# ---------------------------------------------------------------- prefixes


def test_prefixes_are_shared_too_short_or_never_read(path: Path, browser: Browser) -> None:
    record_calls(path, {PREFIX_FAMILY: "p1:both"}, service="shop")
    record_calls(path, {PREFIX_FAMILY: "p1:both"}, service="desk", at=START + 600)
    short = {PREFIX_FAMILY: "p1:short", OUTCOME: "below_minimum", READ_TOKENS: 0}
    written = {PREFIX_FAMILY: "p1:written", OUTCOME: "cold", READ_TOKENS: 0, WRITE_TOKENS: 900}
    record_calls(path, short, written, at=START + 1200)
    pages = {show: browser.get(f"/prefixes?{urlencode({'show': show})}").text for show in TRAITS}
    found = {show: re.findall(r">(p1:\w+)</a>", page) for show, page in pages.items()}
    assert found == {
        "shared": ["p1:both"],
        "too short": ["p1:short"],
        "never read": ["p1:written"],
    }
    assert "2 services" in pages["shared"]
    assert "1 calls too short" in pages["too short"]
    assert set(re.findall(r">(p1:\w+)</a>", browser.get("/prefixes").text)) == {
        *("p1:both", "p1:short", "p1:written")
    }


def test_a_family_is_a_line_with_a_gap_where_it_has_no_calls(path: Path, browser: Browser) -> None:
    record_calls(path, HIT, at=START)
    record_calls(path, MISS, at=START + 3600)
    page = browser.get("/prefixes").text
    (chart,) = re.findall(r'<span class="sparkline">(.*?)</span>', page)
    assert chart.count("<polyline") == 2
    assert ": 80.0 % read" in chart
    assert ": 0.0 % read" in chart


def test_lines_of_code_share_a_family(path: Path) -> None:
    lines = [{**HIT, "code.file.path": "app.py", "code.line.number": line} for line in (1, 1, 2)]
    record_calls(path, *lines)
    (family,) = list_prefix_families(collect_report(path, PREFIX_FIELDS))
    assert (family.sums.calls, len(family.sites)) == (3, 2)
    assert family.traits == ["shared"]


# ---------------------------------------------------------------- scans


def test_causes_are_those_of_explain_in_every_range_of_rows(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_problem(path)
    record_calls(path, {**MISS, WASTED_USD: 0.5, MISS_INDEX: 1}, MISS, at=START + 9000)
    monkeypatch.setattr(row_ranges, "ROWS_PER_RANGE", 2)
    shares: list[float] = []
    source = find_calls_source(path)
    causes, _ = collect_causes(source, 9, has_links=True, on_progress=shares.append)
    expected = compare_costliest_misses(path, 9)
    assert [one.address.rpartition("/")[2] for one in causes] == [
        one.call["span_id"] for one in expected
    ]
    assert [one.often.partition(" calls")[0] for one in causes] == [
        f"{one.repeated_breaks} of {one.family_calls}" for one in expected
    ]
    assert shares == sorted(shares)
    assert (len(shares), shares[-1]) == (6, 1.0)


def test_a_long_scan_shows_how_far_it_is(path: Path, browser: Browser) -> None:
    record_problem(path)
    may_go_on = threading.Event()

    def read_slowly(*arguments: Any, on_progress: Any, **options: Any) -> Any:
        on_progress(0.37)
        may_go_on.wait(20)
        return collect_report(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(views, "collect_report", read_slowly)
        waiting = browser.get("/groups").text
        assert "Reading the table: 37%" in waiting
        assert '<meta http-equiv="refresh" content="1">' in waiting
        may_go_on.set()
        assert "By service" in browser.get("/groups").text


def test_an_error_of_a_scan_is_an_answer(path: Path, browser: Browser) -> None:
    path.write_text("no table")
    assert browser.get("/groups").status == 503


def test_equal_requests_share_a_scan_and_nobody_waits_for_an_abandoned_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    may_go_on = threading.Event()

    def read(on_progress: Any) -> str:
        may_go_on.wait(20)
        on_progress(0.5)
        return "found"

    all_scans = scans.Scans()
    first = all_scans.find_or_start("/groups", read)
    assert all_scans.find_or_start("/groups", read) is first
    monkeypatch.setattr(scans, "_SECONDS_UNTIL_ABANDONED", -1.0)
    may_go_on.set()
    assert first.wait(20)
    with pytest.raises(scans.AbandonedScanError):
        first.result()
    monkeypatch.setattr(scans, "_SECONDS_UNTIL_ABANDONED", 60.0)
    second = all_scans.find_or_start("/groups", read)
    assert second.wait(20)
    assert (second.result(), second.share) == ("found", 0.5)
    all_scans.forget("/groups")
    assert all_scans.find_or_start("/groups", read) is not second
