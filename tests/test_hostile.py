"""Hostile servers and names do no harm: very long texts, SQL, HTML and terminal commands."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Final

import pytest
from typer.testing import CliRunner

from promptcache.cli.commands import app
from promptcache.cli.exit_codes import ExitCode
from promptcache.common.coerce import as_list, as_mapping, as_str
from promptcache.model import MAX_CHOICES, ResponseFacts
from promptcache.providers.response_facts import merge_facts
from promptcache.semconv import (
    CODE_FILE_PATH,
    CODE_FUNCTION_NAME,
    COST_AMOUNT,
    COST_UNKNOWN,
    GEN_AI_AGENT_NAME,
    GEN_AI_PROVIDER_NAME,
    GEN_AI_REQUEST_MODEL,
    GEN_AI_RESPONSE_MODEL,
    INPUT_TOKENS,
    MISS_HINT,
    MISS_REASON,
    MISS_SECTION,
    OUTCOME,
    PREFIX_FAMILY,
    PREFIX_HASH,
    READ_TOKENS,
    WASTED_USD,
)
from promptcache_emulator.engine import Emulator
from promptcache_emulator.request import ProviderRequest
from promptcache_emulator.response import ProviderResponse
from promptcache_emulator.server import running_server
from promptcache_exporters.database.column import MAX_TEXT_LENGTH
from promptcache_exporters.page.html_file import render_html
from promptcache_exporters.report.call_field import GroupBy
from promptcache_exporters.report.query import collect_report
from tests.support.call_shapes import Shape
from tests.support.sdks import KITS, Kit
from tests.support.span_builders import read_rows, record_calls
from tests.support.telemetry import Telemetry

TEXT_FIELDS: Final = frozenset(
    {
        "model",
        "id",
        "finish_reason",
        "service_tier",
        "stop_reason",
        "stopReason",
        "finishReason",
        "modelVersion",
        "responseId",
        "trafficType",
        "speed",
        "inference_geo",
        "latency",
        "invokedModelId",
        "system_fingerprint",
    }
)
"""Fields of responses whose text the server chooses."""
CASES: Final = [
    pytest.param(kit, shape, id=f"{kit.name}-{shape.name}")
    for kit in KITS
    for shape in kit.shapes
    if shape.name
    in {
        "chat",
        "chat_stream",
        "responses",
        "responses_stream",
        "create",
        "stream_create",
        "generate",
        "generate_stream",
        "converse",
        "converse_stream",
        "invoke",
        "invoke_claude_stream",
    }
]


class InflatingEmulator(Emulator):
    """An emulator that makes the text of each of `TEXT_FIELDS` very long."""

    def handle(self, *args: Any, **kwargs: Any) -> tuple[ProviderResponse, ProviderRequest]:
        response, request = super().handle_request(*args, **kwargs)
        response.body, response.events = inflate(response.body), inflate(response.events)
        return response, request


def inflate(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        return {key: inflate(inner, key) for key, inner in as_mapping(value).items()}  # pyright: ignore[reportUnknownArgumentType]  # JSON
    if isinstance(value, list):
        return [inflate(inner, name) for inner in as_list(value)]  # pyright: ignore[reportUnknownArgumentType]  # JSON
    return f"{value}-{'x' * 2**18}" if name in TEXT_FIELDS and isinstance(value, str) else value


@pytest.fixture(scope="module")
def inflating_url() -> Iterator[str]:
    with running_server(InflatingEmulator()) as url:
        yield url


def iter_texts(value: Any) -> Iterator[str]:
    """Yield every text in a JSON value, keys included."""
    if isinstance(value, str):
        yield value
    for inner in (*as_mapping(value), *as_mapping(value).values(), *as_list(value)):
        yield from iter_texts(inner)


@pytest.mark.filterwarnings("ignore:.*is not a valid FinishReason:UserWarning")  # google-genai's
@pytest.mark.parametrize(("kit", "shape"), CASES)
async def test_text_of_a_megabyte_is_never_exported(
    kit: Kit, shape: Shape, inflating_url: str, telemetry: Telemetry
) -> None:
    async with kit.clients["sync"](inflating_url) as client:
        await shape.use(client)
    span = telemetry.span
    assert (span.attributes or {})[INPUT_TOKENS]
    is_own = (
        span.instrumentation_scope is not None and span.instrumentation_scope.name == "promptcache"
    )
    exported = json.loads(span.to_json())
    if not is_own:  # other attributes belong to the owner of the span
        exported = {
            key: value
            for key, value in exported["attributes"].items()
            if key.startswith("promptcache.")
        }
    metrics: Any = telemetry.reader.get_metrics_data()
    texts = [*iter_texts(exported), *iter_texts(json.loads(metrics.to_json()))]
    assert max(map(len, texts)) <= MAX_TEXT_LENGTH


def test_text_beyond_the_limit_is_dropped_and_not_cut() -> None:
    assert as_str("x" * MAX_TEXT_LENGTH) == "x" * MAX_TEXT_LENGTH
    assert as_str("x" * (MAX_TEXT_LENGTH + 1)) is None


def test_merged_finish_reasons_are_bounded() -> None:
    many = ResponseFacts(finish_reasons=("stop",) * MAX_CHOICES)
    assert merge_facts(merge_facts(many, many), many).finish_reasons == many.finish_reasons


INJECTIONS: Final = {
    "html": (
        "</td></table><script>alert('x')</script><img src=x onerror=alert(1)>&amp;\"'>"
        "<style>*{}</style>"
    ),
    "sql": "x'; DROP TABLE llm_calls; --\" UNION SELECT * FROM sqlite_master /* ? :x",
    "markup": "[red]red[/red][link=https://x.example]here[/link][/]:smile:{0}%s",
    "escapes": "\x1b[31mred\x1b]0;title\x07\x1b]8;;https://x.example\x1b\\\x9b31m\r\b\x00\x7f",
    "lines": "one\ntwo\u2028three\x0b\u202eturned\u2066around\ufeff",
    "half a letter": "\ud800 and \udfff",
    "a megabyte": "m" * 2**20,
}
TEXT_ATTRIBUTES: Final = (
    GEN_AI_AGENT_NAME,
    CODE_FILE_PATH,
    CODE_FUNCTION_NAME,
    COST_UNKNOWN,
    MISS_HINT,
    MISS_REASON,
    MISS_SECTION,
    PREFIX_FAMILY,
    PREFIX_HASH,
    GEN_AI_PROVIDER_NAME,
    GEN_AI_REQUEST_MODEL,
    GEN_AI_RESPONSE_MODEL,
)
CONTROL_CHARACTERS: Final = {
    chr(number) for number in (*range(32), *range(127, 160), 0x2028, 0x202E, 0x2066, 0xFEFF)
} - {"\n"}


class TagCollector(HTMLParser):
    """Collect the elements of a page with the names of their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, frozenset[str]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, frozenset(name for name, _ in attrs)))


@pytest.fixture(params=INJECTIONS)
def name(request: pytest.FixtureRequest) -> str:
    return INJECTIONS[request.param]


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the terminal wide, so that rich does not wrap names."""
    monkeypatch.setenv("COLUMNS", "3000")


def write_calls(path: Path, name: str) -> Path:
    """Record calls of two alternating prefixes, with `name` in every text attribute."""
    hostile: dict[str, Any] = dict.fromkeys(TEXT_ATTRIBUTES, name)
    missed = hostile | {OUTCOME: "miss", READ_TOKENS: 0, COST_AMOUNT: None, WASTED_USD: 0.01}
    call_after_call = [missed | {PREFIX_HASH: f"{'ab'[number > 1]}{name}"} for number in range(4)]
    record_calls(path, *call_after_call, service=name)
    return path


def run_command(*arguments: object) -> str:
    result = CliRunner().invoke(app, [*map(str, arguments)])
    assert result.exit_code == ExitCode.OK, result.output
    return result.output


def test_no_name_sends_control_characters_to_the_terminal(tmp_path: Path, name: str) -> None:
    path = write_calls(tmp_path / "calls.db", name)
    outputs = [run_command("report", path, "--by", by) for by in GroupBy] + [
        run_command("explain", "--worst", 4, path)
    ]
    for text in outputs:
        assert not CONTROL_CHARACTERS & set(text)
    if name == INJECTIONS["markup"]:
        assert all(name in text for text in outputs)


def test_names_are_escaped_in_html(tmp_path: Path, name: str) -> None:
    hostile, plain = (
        write_calls(tmp_path / "hostile.db", name),
        write_calls(tmp_path / "plain.db", "p"),
    )
    for by in GroupBy:
        page, plain_page = (render_html(collect_report(path, by)) for path in (hostile, plain))
        assert TagCollector(page).elements == TagCollector(plain_page).elements
        assert not CONTROL_CHARACTERS & set(page)


def test_names_are_data_in_sql_and_json(tmp_path: Path, name: str) -> None:
    path = write_calls(tmp_path / "calls.db", name)
    before = read_rows(path)
    stored_name = before[0]["request_model"]
    for by in GroupBy:
        assert (
            sum(
                group["calls"]
                for group in json.loads(run_command("report", path, "--json", "--by", by))["groups"]
            )
            == 4
        )
    (group,) = json.loads(run_command("report", path, "--json", "--by", GroupBy.MODEL))["groups"]
    assert (
        group["key"]
        == stored_name
        == name[:MAX_TEXT_LENGTH].encode(errors="replace").decode().replace("\0", "?")
    )
    calls = json.loads(run_command("explain", "--worst", 4, "--json", path))["calls"]
    assert [call["call"]["request_model"] for call in calls] == [stored_name]
    assert read_rows(path) == before
