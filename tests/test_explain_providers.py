"""Gemini and Bedrock from their SDKs to the words of `promptcache explain`: the section, the block, the place in it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from google import genai
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from typer.testing import CliRunner

from promptcache.cli.commands import app
from promptcache_exporters.database.sqlite_exporter import SQLiteSpanExporter
from tests.support import call_shapes_bedrock, call_shapes_google
from tests.support.telemetry import Telemetry

pytestmark = pytest.mark.filterwarnings(
    "ignore:Inheritance class AiohttpClientSession:DeprecationWarning"
)

HANDBOOK: Final = "The agent reads the order, checks the policy and answers in plain words. " * 300
ASKED: Final = ["Where is my tent? " * 60, "It left the warehouse. " * 60, "And the pegs? " * 60]
TOOLS: Final = ["find_orders", "list_parcels"]

Say = Callable[[str, list[str], list[str]], Any]


def converse(url: str) -> Say:
    client = call_shapes_bedrock.boto3.client(
        "bedrock-runtime",
        endpoint_url=url,
        config=call_shapes_bedrock.NO_RETRIES,
        **call_shapes_bedrock.CREDENTIALS,
    )

    def say(system: str, messages: list[str], tools: list[str]) -> None:
        specs = [
            {"toolSpec": {"name": name, "inputSchema": {"json": {"type": "object"}}}}
            for name in tools
        ]
        parts: list[list[Any]] = [[{"text": text}] for text in messages]
        parts[-1].append(call_shapes_bedrock.CACHE_POINT)
        said = [
            {"role": ("user", "assistant")[at % 2], "content": content}
            for at, content in enumerate(parts)
        ]
        client.converse(
            modelId=call_shapes_bedrock.CLAUDE,
            system=[{"text": system}, call_shapes_bedrock.CACHE_POINT],
            messages=said,
            toolConfig={"tools": specs},
        )

    return say


def generate(url: str) -> Say:
    client: Any = genai.Client(**call_shapes_google.client_options(url))

    def say(system: str, messages: list[str], tools: list[str]) -> None:
        said = [
            {"role": ("user", "model")[at % 2], "parts": [{"text": text}]}
            for at, text in enumerate(messages)
        ]
        declared = [
            {"function_declarations": [{"name": name, "description": name} for name in tools]}
        ]
        config: Any = {"system_instruction": system, "tools": declared}
        client.models.generate_content(
            model=call_shapes_google.GEMINI, contents=said, config=config
        )

    return say


@pytest.fixture(params=[converse, generate])
def say(
    request: pytest.FixtureRequest,
    emulator_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    instrumented: Callable[..., Telemetry],
) -> Say:
    monkeypatch.chdir(tmp_path)
    telemetry = instrumented()
    telemetry.tracers.add_span_processor(SimpleSpanProcessor(SQLiteSpanExporter("promptcache.db")))
    made: Say = request.param(emulator_url)
    return made


def explained() -> str:
    return " ".join(CliRunner().invoke(app, ["explain", "--worst", "1"]).stdout.split())


def offset(text: str) -> int:
    found = re.search(r"at about byte ([\d,]+)", text)
    assert found
    return int(found[1].replace(",", ""))


def test_a_time_in_the_system_prompt(say: Say) -> None:
    for minute in (10, 11):
        say(f"{HANDBOOK[:9000]}It is 2026-11-20 09:{minute}. {HANDBOOK[9000:]}", ASKED[:1], TOOLS)
    text = explained()
    assert "volatile_token in system[0] at about byte" in text
    assert "looks like timestamp" in text
    assert abs(offset(text) - 9006) <= 64
    assert "system p1:" in text
    assert (
        "Move this value into the last message: all tokens behind it are paid again (system[0])."
        in text
    )


def test_the_other_order_of_tools(say: Say) -> None:
    say(HANDBOOK, ASKED, TOOLS)
    say(HANDBOOK, ASKED, TOOLS[::-1])
    text = explained()
    assert "tools_reordered in tools[0], change reordered" in text
    assert "Send the tools in one fixed order, sorted by name (tools[0])." in text


def test_an_edited_message(say: Say) -> None:
    say(HANDBOOK, ASKED, TOOLS)
    say(
        HANDBOOK,
        [ASKED[0], ASKED[1][:700] + "Or has it not? " + ASKED[1][700:], *ASKED[2:], "Yes.", "No."],
        TOOLS,
    )
    text = explained()
    assert "history_rewritten in messages[1] at about byte" in text
    assert abs(offset(text) - 700) <= 128


def test_a_first_call_has_a_reason_and_no_break(say: Say) -> None:
    say(HANDBOOK, ASKED, TOOLS)
    text = explained()
    assert "Reason cold_start" in text
    assert "Broke" not in text
    assert "tokens missed" not in text
