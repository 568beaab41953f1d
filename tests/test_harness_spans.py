"""Spans of calls that the harness laid out have the prompt's name, version and layer of a break."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from typer.testing import CliRunner

import promptcache
from promptcache import Prompt, Settings
from promptcache.cli.commands import app
from promptcache.prefix.known_prompts import forget_prompts
from promptcache.semconv import (
    GEN_AI_PROMPT_NAME,
    GEN_AI_PROMPT_VERSION,
    MISS_LAYER,
    MISS_SECTION,
    OUTCOME,
)
from promptcache_exporters.database.sqlite_exporter import SQLiteSpanExporter
from tests.support.harness_world import GPT, HANDBOOK, TOOLS
from tests.support.telemetry import Telemetry

SONNET = "claude-sonnet-4-6"


@pytest.fixture(autouse=True)
def _without_other_prompts() -> None:  # pyright: ignore[reportUnusedFunction]
    forget_prompts()


def send(url: str, prompt: Prompt, wire: str, text: str = "Hi", **options: Any) -> None:
    start: Any = prompt.chat
    if wire == "anthropic":
        with anthropic.Anthropic(base_url=url, api_key="k", max_retries=0) as client:
            arguments = start(wire=wire, model=SONNET, **options).ask(text)
            client.messages.create(**arguments, max_tokens=50)
        return
    with openai.OpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0) as gpt:
        arguments = start(wire=wire, model=GPT, **options).ask(text)
        create: Any = gpt.responses.create if wire == "responses" else gpt.chat.completions.create
        create(**arguments)


def names(telemetry: Telemetry) -> list[tuple[Any, Any]]:
    found = [span.attributes or {} for span in telemetry.calls]
    return [(one.get(GEN_AI_PROMPT_NAME), one.get(GEN_AI_PROMPT_VERSION)) for one in found]


@pytest.mark.parametrize("wire", ["anthropic", "chat", "responses"])
def test_a_span_has_name_and_version_of_the_prompt(
    wire: str, telemetry: Telemetry, emulator_url: str
) -> None:
    examples = [("May I?", "Yes.")]
    old = Prompt("support", system=HANDBOOK, tools=TOOLS[:2])
    new = Prompt("support", system=HANDBOOK, tools=TOOLS)
    other = Prompt("support", system=HANDBOOK, tools=TOOLS, examples=examples)
    for prompt in (old, new, other):
        send(emulator_url, prompt, wire)
    for prompt in (old, new, other):
        send(emulator_url, prompt, wire, shared="The tenant's rules.")
    expected = [("support", one.version) for one in (old, new, other)]
    assert names(telemetry) == [*expected, *expected]


def test_a_call_of_no_prompt_has_no_name(telemetry: Telemetry, emulator_url: str) -> None:
    Prompt("support", system=HANDBOOK).chat(wire="anthropic", model=SONNET)
    send(emulator_url, Prompt("other", system=HANDBOOK[:-1]), "anthropic")
    with anthropic.Anthropic(base_url=emulator_url, api_key="k") as client:
        client.messages.create(
            model=SONNET, max_tokens=50, messages=[{"role": "user", "content": "Hi"}]
        )
    assert [name for name, _ in names(telemetry)] == ["other", None]


def test_two_prompts_with_the_same_texts_are_not_told_apart(
    telemetry: Telemetry, emulator_url: str
) -> None:
    for name in ("one", "two"):
        send(emulator_url, Prompt(name, system=HANDBOOK), "anthropic")
    assert names(telemetry)[1] == (None, None)


def test_the_application_s_own_name_wins(telemetry: Telemetry, emulator_url: str) -> None:
    with promptcache.attributes({GEN_AI_PROMPT_NAME: "mine"}):
        send(emulator_url, Prompt("support", system=HANDBOOK), "anthropic")
    assert names(telemetry) == [("mine", None)]


def test_without_hashes_there_is_no_version(
    instrumented: Callable[..., Telemetry], emulator_url: str
) -> None:
    telemetry = instrumented(Settings(hashes="none"))
    send(emulator_url, Prompt("support", system=HANDBOOK), "anthropic")
    assert names(telemetry) == [("support", None)]


@pytest.mark.parametrize(
    ("wire", "layer"), [("anthropic", "static"), ("anthropic", "shared"), ("responses", "shared")]
)
def test_a_break_has_its_layer(
    wire: str, layer: str, telemetry: Telemetry, emulator_url: str
) -> None:
    for minute in range(3):
        clock = f" It is 12:0{minute}:00."
        system = HANDBOOK + clock if layer == "static" else HANDBOOK
        shared = clock + HANDBOOK if layer == "shared" else None
        options = {} if shared is None else {"shared": shared}
        send(emulator_url, Prompt("support", system=system), wire, **options)
    found = [dict(span.attributes or {}) for span in telemetry.calls]
    layers = [one.get(MISS_LAYER) for one in found if MISS_SECTION in one]
    assert layers == [layer] * 2, [one[OUTCOME] for one in found]
    assert MISS_LAYER not in found[0]


def test_the_table_and_explain_have_name_version_and_layer(
    telemetry: Telemetry, emulator_url: str, tmp_path: Path
) -> None:
    db = tmp_path / "calls.db"
    telemetry.tracers.add_span_processor(SimpleSpanProcessor(SQLiteSpanExporter(db)))
    clocks = [f"{HANDBOOK} It is 12:0{minute}:00." for minute in range(2)]
    before, prompt = (Prompt("support", system=text) for text in clocks)
    send(emulator_url, before, "anthropic")
    send(emulator_url, prompt, "anthropic")
    telemetry.tracers.shutdown()
    with closing(sqlite3.connect(db)) as connection:
        query = "SELECT prompt_name, prompt_version, miss_layer FROM llm_calls ORDER BY rowid"
        rows = connection.execute(query).fetchall()
    assert rows[-1] == ("support", prompt.version, "static")
    shown = CliRunner().invoke(app, ["explain", "--worst", "1", str(db)])
    assert "layer static" in shown.stdout, shown.stdout
    assert prompt.version in shown.stdout
    printed = json.loads(
        CliRunner().invoke(app, ["explain", "--worst", "1", str(db), "--json"]).stdout
    )
    call = printed["calls"][0]["call"]
    assert (call["prompt_name"], call["miss_layer"]) == ("support", "static")
