"""`promptcache explain` locates a change in prompts that the Gemini and Bedrock SDKs sent."""

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
from tests.support.span_builders import read_rows
from tests.support.telemetry import Telemetry

pytestmark = pytest.mark.filterwarnings(
    "ignore:Inheritance class AiohttpClientSession:DeprecationWarning"
)

HANDBOOK: Final = "The agent reads the order, checks the policy and answers in plain words. " * 300
MESSAGES: Final = ["Where is my tent? " * 60, "It left the warehouse. " * 60, "And the pegs? " * 60]
TOOLS: Final = ["find_orders", "list_parcels"]

SendPrompt = Callable[[str, list[str], list[str]], Any]


def converse_sender(url: str) -> SendPrompt:
    client = call_shapes_bedrock.boto3.client(
        "bedrock-runtime",
        endpoint_url=url,
        config=call_shapes_bedrock.NO_RETRIES,
        **call_shapes_bedrock.CREDENTIALS,
    )

    def send_prompt(system: str, messages: list[str], tools: list[str]) -> None:
        specs = [
            {"toolSpec": {"name": name, "inputSchema": {"json": {"type": "object"}}}}
            for name in tools
        ]
        parts: list[list[Any]] = [[{"text": text}] for text in messages]
        parts[-1].append(call_shapes_bedrock.CACHE_POINT)
        contents = [
            {"role": ("user", "assistant")[at % 2], "content": content}
            for at, content in enumerate(parts)
        ]
        client.converse(
            modelId=call_shapes_bedrock.CLAUDE,
            system=[{"text": system}, call_shapes_bedrock.CACHE_POINT],
            messages=contents,
            toolConfig={"tools": specs},
        )

    return send_prompt


def generate_sender(url: str) -> SendPrompt:
    client: Any = genai.Client(**call_shapes_google.client_options(url))

    def send_prompt(system: str, messages: list[str], tools: list[str]) -> None:
        contents = [
            {"role": ("user", "model")[at % 2], "parts": [{"text": text}]}
            for at, text in enumerate(messages)
        ]
        declarations = [
            {"function_declarations": [{"name": name, "description": name} for name in tools]}
        ]
        config: Any = {"system_instruction": system, "tools": declarations}
        client.models.generate_content(
            model=call_shapes_google.GEMINI, contents=contents, config=config
        )

    return send_prompt


@pytest.fixture(params=[converse_sender, generate_sender])
def send_prompt(
    request: pytest.FixtureRequest,
    emulator_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    instrumented: Callable[..., Telemetry],
) -> SendPrompt:
    monkeypatch.chdir(tmp_path)
    telemetry = instrumented()
    telemetry.tracers.add_span_processor(SimpleSpanProcessor(SQLiteSpanExporter("promptcache.db")))
    send: SendPrompt = request.param(emulator_url)
    return send


def explain_worst_miss() -> str:
    return " ".join(CliRunner().invoke(app, ["explain", "--worst", "1"]).stdout.split())


def reported_offset(text: str) -> int:
    match = re.search(r"at about byte ([\d,]+)", text)
    assert match
    return int(match[1].replace(",", ""))


def test_a_timestamp_in_the_system_prompt_is_located(send_prompt: SendPrompt) -> None:
    for minute in (10, 11):
        send_prompt(
            f"{HANDBOOK[:9000]}It is 2026-11-20 09:{minute}. {HANDBOOK[9000:]}", MESSAGES[:1], TOOLS
        )
    text = explain_worst_miss()
    assert "volatile_token in system[0] at about byte" in text
    assert "looks like timestamp" in text
    assert abs(reported_offset(text) - 9006) <= 64
    assert "system p1:" in text
    assert (
        "Move this value into the last message: all tokens behind it are paid again (system[0])."
        in text
    )


def test_reordered_tools_are_recognized(send_prompt: SendPrompt) -> None:
    send_prompt(HANDBOOK, MESSAGES, TOOLS)
    send_prompt(HANDBOOK, MESSAGES, TOOLS[::-1])
    text = explain_worst_miss()
    assert "tools_reordered in tools[0], change reordered" in text
    assert "Send the tools in one fixed order, sorted by name (tools[0])." in text


def test_an_edited_message_is_located(send_prompt: SendPrompt) -> None:
    send_prompt(HANDBOOK, MESSAGES, TOOLS)
    send_prompt(
        HANDBOOK,
        [
            MESSAGES[0],
            MESSAGES[1][:700] + "Or has it not? " + MESSAGES[1][700:],
            *MESSAGES[2:],
            "Yes.",
            "No.",
        ],
        TOOLS,
    )
    text = explain_worst_miss()
    assert "history_rewritten in messages[1] at about byte" in text
    assert abs(reported_offset(text) - 700) <= 128


def test_a_first_call_has_a_reason_and_no_location(send_prompt: SendPrompt) -> None:
    send_prompt(HANDBOOK, MESSAGES, TOOLS)
    (row,) = read_rows(Path("promptcache.db"))
    result = CliRunner().invoke(app, ["explain", str(row["trace_id"])])
    text = " ".join(result.stdout.split())
    assert "Miss reason probably cold_start" in text
    assert "cold_start in " not in text, "a first call has no place where its prefix changed"
    assert "tokens missed" not in text
