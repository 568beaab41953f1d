"""A plan takes the cheapest option in the worst documented case, and says why."""

from __future__ import annotations

import json
import random
from dataclasses import FrozenInstanceError, asdict
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from promptcache import Plan, Prompt, PromptError
from promptcache.cli.commands import app
from promptcache.cli.exit_codes import ExitCode
from promptcache.harness.names import TTL, Wire
from promptcache.semconv import GEN_AI_CONVERSATION_ID, GEN_AI_PROMPT_NAME, GEN_AI_REQUEST_MODEL
from promptcache_exporters.database.sqlite_exporter import SQLiteSpanExporter
from tests.support.harness_world import CLAUDE, GPT, HANDBOOK, TOOLS, World, support_prompt
from tests.support.span_builders import HIT, START, end_span, make_tracer_provider

SONNET = "claude-sonnet-4-6"
"""Reads cost 0.1 of plain input, writes 1.25 (5m) and 2 (1h)."""
DAY = 1_795_737_600.0


def plan(model: str = SONNET, calls_per_hour: float | None = 12.0, **more: Any) -> Plan:
    prompt: Prompt = more.pop("prompt", None) or support_prompt()
    return prompt.plan(model=model, calls_per_hour=calls_per_hour, at=DAY, **more)


def test_a_plan_is_frozen_and_deterministic() -> None:
    one = plan()
    assert one == plan()
    with pytest.raises(FrozenInstanceError):
        one.model = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("calls_per_hour", "ttl"), [(0.0, None), (0.7, None), (0.8, "1h"), (12, "1h"), (1000, "5m")]
)
def test_the_rate_decides_between_an_hour_five_minutes_and_nothing(
    calls_per_hour: float, ttl: str | None
) -> None:
    """An hour pays from -ln(1 - 0.526) = 0.747 calls an hour on."""
    static = plan(calls_per_hour=calls_per_hour).layers[0]
    assert static.ttl == ttl
    if ttl is None:
        assert "rare or unique" in static.reason
        assert "a breakpoint pays from 0.75 calls an hour" in static.reason


def test_recorded_gaps_win_over_the_assumption() -> None:
    steady = plan(calls_per_hour=2, gaps=[290.0] * 100)
    assert steady.layers[0].ttl == "5m"
    assert steady.assumption == "100 recorded gaps"
    assert "Poisson" in plan(calls_per_hour=2).assumption
    assert plan(calls_per_hour=500, gaps=[4000.0] * 9).layers[0].ttl is None


def test_each_decision_has_a_reason_and_a_source() -> None:
    for model in (SONNET, GPT, "gpt-4.1", "gemini-2.5-flash", "us.amazon.nova-pro-v1:0"):
        for layer in plan(model, 5, turn_gaps=[60.0]).layers:
            assert layer.reason
            assert "202" in layer.source


def test_a_prompt_that_is_too_short_is_not_cached() -> None:
    short = plan(prompt=Prompt("p", system="Be kind."), calls_per_hour=1000)
    assert not short.should_cache
    assert short.layers[0].reason == "too short: the model caches from 1024 tokens"
    assert short.keep_warm.startswith("no")


def test_gpt_gets_the_option_that_is_best_under_the_worst_reading() -> None:
    static = plan(GPT, 60).layers[0]
    assert static.ttl in ("30m", "12h")
    (implicit,) = (one for one in static.options if "own breakpoint" in one.name)
    assert implicit.relative_cost == pytest.approx(1.25)
    assert implicit.best_cost < 0.3
    assert all(static.relative_cost <= option.relative_cost for option in static.options)


@pytest.mark.parametrize(
    ("model", "gap", "ttl"),
    [
        ("claude-of-tomorrow", 60, "5m"),
        ("us.anthropic.claude-sonnet-4-5-v1:0", 2400, "1h"),
        ("us.amazon.nova-of-tomorrow", 60, "5m"),
        ("us.amazon.nova-of-tomorrow", 2400, None),
        ("gpt-77", 7200, "12h"),
        ("claude-of-tomorrow", 90_000, None),
    ],
)
def test_a_model_without_a_price_has_a_plan_by_the_documented_multipliers(
    model: str, gap: float, ttl: str | None
) -> None:
    unknown = plan(model, gaps=[gap] * 9)
    assert unknown.layers[0].ttl == ttl
    assert any("no list price is known" in note for note in unknown.notes)
    assert (unknown.usd_per_call, unknown.price_source) == (None, None)


def test_where_no_multiplier_is_documented_the_plan_is_the_default() -> None:
    unknown = plan("model-of-tomorrow", wire="anthropic")
    assert unknown.layers[0].ttl == "5m"
    assert "no price is known" in unknown.layers[0].reason


@pytest.mark.parametrize(
    ("model", "ttl"),
    [
        ("us.anthropic.claude-3-5-haiku-20241022-v1:0", None),
        ("us.anthropic.claude-sonnet-4-20250514-v1:0", None),
        ("us.anthropic.claude-opus-4-1-20250805-v1:0", None),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "1h"),
    ],
)
def test_bedrock_gives_an_hour_from_claude_4_5_on(model: str, ttl: str | None) -> None:
    assert plan(model, gaps=[2400.0] * 9).layers[0].ttl == ttl


def test_a_history_with_long_pauses_takes_an_hour_and_lifts_the_layers_before_it() -> None:
    paused = plan(calls_per_hour=1000, turn_gaps=[700.0, 2400.0] * 10)
    assert dict(paused.ttls) == {"static": "1h", "history": "1h"}
    assert "a later layer needs it" in paused.layers[0].reason
    quick = plan(calls_per_hour=1000, turn_gaps=[30.0] * 10)
    assert dict(quick.ttls) == {"static": "5m", "history": "5m"}
    chat = support_prompt().chat(wire="anthropic", model=CLAUDE, ttl=paused.ttls)
    chat.ask("Hi")
    assert dict(chat.breakpoints) == {"static": "1h"}


@pytest.mark.parametrize("model", [CLAUDE, GPT])
def test_a_chat_follows_a_plan_that_does_not_cache(model: str) -> None:
    """Without the plan the chat would write for 25 % more what nobody reads."""
    wire: Wire = "anthropic" if model == CLAUDE else "responses"
    rare = plan(model, gaps=[90_000.0] * 9, turn_gaps=[90_000.0] * 9)
    assert dict(rare.ttls) == {"static": None, "history": None}
    world = World()
    chat = support_prompt().chat(wire=wire, model=model, ttl=rare.ttls)
    for _ in range(3):
        world.turn(chat, "Where is it?")
        world.clock.advance(90_000)
        assert not chat.breakpoints
    assert world.relative_cost() == 1.0


def test_a_shared_layer_has_the_rate_of_its_group() -> None:
    both = plan(shared=HANDBOOK, shared_calls_per_hour=0.1, calls_per_hour=100)
    assert [layer.ttl is None for layer in both.layers] == [False, True]


def test_older_models_of_openai_need_shards_above_fifteen_calls_a_minute() -> None:
    assert plan("gpt-4.1", 900).key_shards == 1
    assert plan("gpt-4.1", 901).key_shards == 2
    assert plan(GPT, 5000).key_shards == 1
    assert plan("gpt-4.1", 12).cache_key == support_prompt().cache_key
    assert plan(SONNET).cache_key is None


@pytest.mark.parametrize("number", [-1.0, float("nan"), float("inf")])
def test_what_is_no_traffic_is_refused(number: float) -> None:
    with pytest.raises(PromptError, match="calls_per_hour"):
        plan(calls_per_hour=number)


@pytest.mark.parametrize("gaps", [[], [-1.0], [5.0, float("nan")]])
def test_what_are_no_gaps_is_refused(gaps: list[float]) -> None:
    with pytest.raises(PromptError, match="gaps"):
        plan(gaps=gaps)


def measured_cost(ttl: TTL | None, calls_per_hour: float, calls: int = 600) -> float:
    """Return what independent calls cost on the emulator, as a share of plain input."""
    randomness = random.Random(7)
    world = World()
    wire: Wire = "anthropic"
    prompt = support_prompt()
    for _ in range(calls):
        world.clock.advance(randomness.expovariate(calls_per_hour / 3600))
        chat = prompt.chat(wire=wire, model=SONNET, ttl=ttl)
        request: Any = dict(chat.ask("?"))
        if ttl is None:
            request["system"] = [{"type": "text", "text": HANDBOOK}]
        world.call(wire, request)
    return world.relative_cost(write=2.0 if ttl == "1h" else 1.25)


@pytest.mark.parametrize("calls_per_hour", [0.3, 3.0, 30.0])
def test_the_expected_cost_is_what_the_emulator_bills(calls_per_hour: float) -> None:
    expected = plan(calls_per_hour=calls_per_hour).layers[0]
    measured = {ttl: measured_cost(ttl, calls_per_hour) for ttl in (None, "5m", "1h")}
    for option in expected.options:
        assert measured[option.ttl] == pytest.approx(option.relative_cost, rel=0.06)
    assert measured[expected.ttl] == min(measured.values())


def test_pings_are_judged_by_their_cost() -> None:
    """Calls 20 minutes apart: an hour reads all, so pings are of no use."""
    assert plan(gaps=[1200.0] * 50).keep_warm.startswith("no; up to 1 after a use")
    assert plan(gaps=[5000.0] * 50).keep_warm.startswith("yes; up to 1 after a use, with 1h")


def run_command(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["plan", *arguments])


def test_the_command_prints_the_same_plan(tmp_path: Path) -> None:
    system, tools = tmp_path / "system.txt", tmp_path / "tools.json"
    system.write_text(HANDBOOK)
    tools.write_text(json.dumps(TOOLS))
    options = ["--system", str(system), "--tools", str(tools), "--per-hour", "12"]
    options += ["--name", "support", "--at", "2026-11-27", "--turn-gap", "700"]
    result = run_command(SONNET, *options)
    expected = plan(turn_gaps=[700.0])
    assert (result.exit_code, result.stdout) == (0, f"{expected}\n")
    printed = json.loads(run_command(SONNET, *options, "--json").stdout)
    assert printed == json.loads(json.dumps({**asdict(expected), "ttls": dict(expected.ttls)}))


@pytest.mark.parametrize(
    ("content", "words"),
    [("{", "no JSON"), ("{}", "no list"), ('[{"name": "a"}, {"name": "a"}]', "'a'")],
)
def test_the_command_refuses_unusable_tools(tmp_path: Path, content: str, words: str) -> None:
    tools = tmp_path / "tools.json"
    tools.write_text(content)
    result = run_command(SONNET, "--tools", str(tools))
    assert result.exit_code == 2
    assert words in " ".join(result.stderr.split())


def test_an_unknown_wire_is_refused(tmp_path: Path) -> None:
    system = tmp_path / "system.txt"
    system.write_text("Text.")
    result = run_command(SONNET, "--system", str(system), "--wire", "carrier")
    assert result.exit_code == 2
    assert "wire: is 'carrier'; known are anthropic, chat" in result.stderr


def test_the_command_needs_a_prompt() -> None:
    result = run_command(SONNET)
    assert result.exit_code == 2
    assert "give --system, --tools or both" in result.stderr


def record_traffic(path: Path, times: dict[str, list[float]], prompt_name: str | None) -> None:
    """Write calls of Sonnet: conversation -> seconds of its turns."""
    exporter = SQLiteSpanExporter(path)
    provider = make_tracer_provider(exporter)
    common = {GEN_AI_REQUEST_MODEL: SONNET, GEN_AI_PROMPT_NAME: prompt_name}
    for conversation, seconds in times.items():
        for at in seconds:
            attributes = {**HIT, **common, GEN_AI_CONVERSATION_ID: conversation}
            end_span(provider, attributes, START + at)
    provider.shutdown()


def test_a_plan_reads_the_gaps_of_the_recorded_table(tmp_path: Path) -> None:
    """Two conversations at once: turns 700 s apart, and a call every 350 s. One has ended."""
    db = tmp_path / "calls.db"
    turns = {"a": [0.0, 700, 1400, 2100], "b": [350.0, 1050, 1750], "last": [9000.0]}
    record_traffic(db, turns, "support")
    recorded = plan(calls_per_hour=None, db=db)
    by_hand = plan(
        gaps=[350.0] * 6 + [6900.0], turn_gaps=[700.0] * 5 + [float("inf")] * 2, calls_per_hour=2.8
    )
    assert recorded == by_hand
    assert recorded.layers[0].ttl == "1h"
    assert recorded.assumption == "7 recorded gaps"


def test_a_conversation_that_may_go_on_has_no_last_gap(tmp_path: Path) -> None:
    db = tmp_path / "calls.db"
    record_traffic(db, {"a": [0.0, 100, 200]}, "support")
    assert plan(db=db) == plan(gaps=[100.0] * 2, turn_gaps=[100.0] * 2)


def test_without_the_prompts_name_the_gaps_are_those_of_the_model(tmp_path: Path) -> None:
    db = tmp_path / "calls.db"
    record_traffic(db, {"a": [0.0, 100, 200]}, None)
    (note,) = (note for note in plan(db=db).notes if "no recorded call" in note)
    assert "all 3 calls of claude-sonnet-4-6" in note
    record_traffic(db, {"b": [50.0, 90.0]}, "support")
    assert plan(db=db).assumption == "1 recorded gaps"


def test_the_table_is_read_from_the_time_of_since_on(tmp_path: Path) -> None:
    db = tmp_path / "calls.db"
    record_traffic(db, {"a": [0.0, 10, 500, 1000]}, "support")
    assert plan(db=db, since=START + 400) == plan(gaps=[500.0], turn_gaps=[500.0])


def test_a_table_without_two_calls_and_no_traffic_at_all_are_refused(tmp_path: Path) -> None:
    db = tmp_path / "calls.db"
    record_traffic(db, {"a": [0.0]}, "support")
    with pytest.raises(PromptError, match="db: has 1 calls of claude-sonnet-4-6"):
        plan(db=db)
    with pytest.raises(PromptError, match="does not exist"):
        plan(db=tmp_path / "none.db")
    with pytest.raises(PromptError, match="calls_per_hour: is needed"):
        plan(calls_per_hour=None)


def test_the_command_reads_the_table(tmp_path: Path) -> None:
    system, db = tmp_path / "system.txt", tmp_path / "calls.db"
    system.write_text(HANDBOOK)
    options = ["--system", str(system), "--name", "support", "--db", str(db)]
    assert run_command(SONNET, *options).exit_code == ExitCode.NO_FILE
    record_traffic(db, {"a": [0.0]}, "support")
    assert run_command(SONNET, *options).exit_code == ExitCode.NO_CALLS
    record_traffic(db, {"b": [10.0, 20.0]}, "support")
    result = run_command(SONNET, *options)
    assert result.exit_code == 0
    assert "2 recorded gaps" in result.stdout
