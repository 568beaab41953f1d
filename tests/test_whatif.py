"""Recorded calls under another policy cost what a second run under that policy costs."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import openai
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased
from typer.testing import CliRunner

from promptcache import PromptCacheInstrumentor, Settings
from promptcache.cli.commands import app
from promptcache.cli.exit_codes import ExitCode
from promptcache_emulator.clock import Clock
from promptcache_emulator.engine import Emulator
from promptcache_exporters.database.parquet import export_calls_to_parquet
from promptcache_exporters.database.sqlite_exporter import SQLiteSpanExporter
from promptcache_exporters.recording.table_writer import RecordingProcessor, TableWriter
from promptcache_exporters.replay.block_positions import BlockPositions, PlacedCall
from promptcache_exporters.replay.placed_marks import PolicyError
from promptcache_exporters.replay.policy import Pings, Policy, TargetModel
from promptcache_exporters.replay.prefix_tree import ROOT, PrefixTree
from promptcache_exporters.replay.replay import Outcome, replay
from promptcache_exporters.replay.replay_all import replay_all
from promptcache_exporters.replay.traffic import Breakpoint, Traffic
from tests.support.otlp_json import encode_otlp_json_line
from tests.support.recorded_traffic import (
    HANDBOOK,
    MARKED_RULE,
    PRICES,
    make_call,
    run_whatif,
    send_anthropic_turns,
)
from tests.support.seeded_day import NOON, seeded_day


def send_long_turns(url: str, system_ttl: str, number: int, wait: Callable[[], None]) -> None:
    if number < 2:
        send_anthropic_turns(url, system_ttl, number, wait, turns=40)


def send_openai_turns(url: str, _: str, number: int, wait: Callable[[], None]) -> None:
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0)
    create: Any = client.chat.completions.create
    messages: list[Any] = [{"role": "system", "content": HANDBOOK}]
    for turn in range(6):
        question = f"Conversation {number}, question {turn}: " + "why? " * 50
        messages.append({"role": "user", "content": question})
        answer = create(model="gpt-5.4", messages=messages)
        messages.append({"role": "assistant", "content": answer.choices[0].message.content})
        wait()
    client.close()


def test_a_prediction_equals_a_second_run_under_the_other_policy(
    record: Callable[..., Path],
) -> None:
    short, long = record(send_anthropic_turns, "5m"), record(send_anthropic_turns, "1h")
    code, predicted = run_whatif(short, "--ttl", "system=1h")
    _, actual = run_whatif(long)
    assert code == ExitCode.OK
    assert predicted["check"]["exact_share"] == actual["check"]["exact_share"] == 1.0
    recorded, other = (policy["usd"] for policy in predicted["policies"])
    assert other == pytest.approx(actual["check"]["recorded_usd"], rel=0.005)
    assert other < 0.7 * recorded
    assert predicted["policies"][1]["saved_usd"] == pytest.approx(recorded - other)


def test_a_recording_is_replayed_without_a_key_of_the_user_and_beyond_64_blocks(
    emulator: Emulator, emulator_url: str, tmp_path: Path
) -> None:
    path, clock = tmp_path / "calls.db", cast("Clock", emulator.clock)
    provider, writer = TracerProvider(), TableWriter(path)
    provider.add_span_processor(RecordingProcessor(lambda: [writer], lambda: None))
    for key in (b"k" * 32, b"another key of the same length"):
        PromptCacheInstrumentor().instrument(
            tracer_provider=provider, settings=Settings(), clock=clock, recording_key=key
        )
        for number in range(2):
            send_long_turns(emulator_url, "5m", number, lambda: clock.advance(100))
        PromptCacheInstrumentor().uninstrument()
        emulator.reset()
    writer.shutdown()
    result = CliRunner().invoke(app, ["whatif", str(path)])
    assert result.exit_code == ExitCode.OK, result.output
    assert "Replayed 160 calls of" in result.output
    assert "As they were: 100.0% of reads exact" in result.output
    assert "recorded under 2 keys" in result.output
    code, found = run_whatif(path, "--ttl", "system=1h")
    assert (code, found["check"]["exact_share"], found["calls"]) == (ExitCode.OK, 1.0, 160)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE llm_calls SET prefix_links = NULL WHERE rowid < 156")
        connection.execute("UPDATE llm_calls SET prefix_links = 'spoilt' WHERE rowid = 160")
        connection.commit()
    result = CliRunner().invoke(app, ["whatif", str(path)])
    assert result.exit_code == ExitCode.NO_CALLS
    for reason in (
        "155 without the links of its blocks",
        "4 whose earlier blocks are in rows that are missing",
        "1 with values that no call has",
    ):
        assert reason in result.output


def test_an_automatic_cache_is_replayed_with_the_retention_of_the_record(
    record: Callable[..., Path],
) -> None:
    code, found = run_whatif(record(send_openai_turns))
    assert code == ExitCode.OK
    assert found["check"]["exact_share"] >= 0.95
    names = [policy["name"] for policy in found["policies"]]
    assert names == ["as recorded", "a cache without limits", "no cache"]
    usd = [policy["usd"] for policy in found["policies"]]
    assert usd[1] <= usd[0] < usd[2]


def test_files_and_exports_are_replayed_as_the_table_is(tmp_path: Path) -> None:
    table, lines, exported = (tmp_path / f"calls.{end}" for end in ("db", "jsonl", "parquet"))
    spans = list(seeded_day(400))
    SQLiteSpanExporter(table).export(spans)
    lines.write_text(encode_otlp_json_line(spans))
    export_calls_to_parquet(table, exported)
    found = run_whatif(table, "--since", NOON)
    assert found[1]["calls"]
    for place in (lines, exported):
        assert run_whatif("--from", place, "--since", NOON) == found
        assert run_whatif("--from", place)[0] == ExitCode.SAMPLED
    lines.write_text(lines.read_text().replace("ot=th:0", ""))
    assert run_whatif("--from", lines, "--since", NOON)[0] == ExitCode.SAMPLED
    assert run_whatif("--from", lines, "--since", NOON, "--unsampled") == found


def test_a_table_without_links_says_what_to_record(record: Callable[..., Path]) -> None:
    path = record(send_anthropic_turns, settings=Settings())
    result = CliRunner().invoke(app, ["whatif", str(path)])
    assert result.exit_code == ExitCode.NO_CALLS
    assert "OTEL_PROMPTCACHE_HASHES=all" in result.output


def test_a_sampled_table_is_refused(
    record: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.9")
    path = record(send_anthropic_turns, sampler=TraceIdRatioBased(0.9))
    result = CliRunner().invoke(app, ["whatif", str(path)])
    assert result.exit_code == ExitCode.SAMPLED
    assert "every call" in result.output


@pytest.mark.parametrize(
    "arguments", [["--ttl", "sytem=1h"], ["--ttl", "messages=1h"], ["--ping", "5"]]
)
def test_a_policy_that_no_provider_accepts_is_refused(
    record: Callable[..., Path], arguments: list[str]
) -> None:
    path = record(send_anthropic_turns)
    assert run_whatif(path, *arguments)[0] == ExitCode.USAGE


def test_a_read_keeps_an_entry_from_the_start_of_the_request() -> None:
    traffic = Traffic([make_call(0, "ab"), make_call(290, "abc"), make_call(580, "abcd")])
    outcome = replay(traffic, Policy())
    assert outcome.read_tokens == 2000 + 3000
    late = Traffic([make_call(0, "ab"), make_call(300, "abc")])
    assert replay(late, Policy()).read_tokens == 0


def test_an_entry_is_readable_only_after_the_first_event() -> None:
    racing = Traffic([make_call(0, "ab", visible_after=5), make_call(2, "ab", visible_after=5)])
    assert replay(racing, Policy()).read_tokens == 0


def test_a_breakpoint_looks_back_a_limited_number_of_blocks() -> None:
    rule = MARKED_RULE._replace(lookback=3)
    near = Traffic([make_call(0, "ab", rule=rule), make_call(10, "abcd", rule=rule)])
    far = Traffic([make_call(0, "ab", rule=rule), make_call(10, "abcde", rule=rule)])
    assert replay(near, Policy()).read_tokens == 2000
    assert replay(far, Policy()).read_tokens == 0


def test_pings_pay_until_the_next_call_and_count_from_its_predecessor() -> None:
    traffic = Traffic([make_call(0, "ab"), make_call(700, "abc")])
    cold, warm = (replay(traffic, Policy(pings=pings)) for pings in (None, Pings(280, 2)))
    assert (cold.read_tokens, cold.pings) == (0, 0)
    assert (warm.read_tokens, warm.pings) == (2000, 2)
    ping_usd = 2 * (2000 * 0.1 + 5.0)
    assert warm.usd == pytest.approx(cold.usd - 2000 * (1.25 - 0.1) + ping_usd)
    assert replay(traffic, Policy(pings=Pings(280, 1))).read_tokens == 0
    assert replay(traffic, Policy(pings=Pings(280, 2, min_tokens=2001))).pings == 0


def test_a_longer_ttl_after_a_shorter_one_is_refused() -> None:
    call = make_call(0, "ab", [Breakpoint(1, "5m"), Breakpoint(2, "5m")])
    with pytest.raises(PolicyError, match="longer TTL must come first"):
        replay(Traffic([call]), Policy(ttls={"messages": "1h"}))


def test_a_model_that_places_its_own_breakpoints_needs_none_of_the_record() -> None:
    rule = MARKED_RULE._replace(lookback=None, implicit_lookback=3)
    target = TargetModel(rule, PRICES._replace(writes={"30m": 1.25}))
    automatic = MARKED_RULE._replace(bills_writes=False)
    calls = [make_call(0, "ab", rule=automatic), make_call(10, "abcd", rule=automatic)]
    unmarked = Traffic(replace(call, breakpoints=()) for call in calls)
    outcome = replay(unmarked, Policy(target=target))
    assert outcome.read_tokens == 2000
    assert outcome.usd == pytest.approx(2000 * 1.25 + 2000 * 0.1 + 2000 * 1.25)


def test_a_ttl_without_a_price_is_refused() -> None:
    with pytest.raises(PolicyError, match="no price for writes of 30m"):
        replay(Traffic([make_call(0, "ab")]), Policy(ttls={"messages": "30m"}))


def test_a_malformed_row_is_left_out_and_counted(record: Callable[..., Path]) -> None:
    path = record(send_anthropic_turns)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "UPDATE llm_calls SET prefix_breakpoints = ? WHERE rowid = 48", ('["nowhere[x]"]',)
        )
        connection.execute("UPDATE llm_calls SET prefix_chain = ? WHERE rowid = 47", ("[",))
        connection.commit()
    _, found = run_whatif(path)
    assert found["skipped"] == {"with values that no call has": 2}
    assert found["calls"] == 46


def test_marks_at_the_static_end_save_what_a_moving_tail_loses() -> None:
    calls = [make_call(10 * n, f"s{letter}") for n, letter in enumerate("abcdefgh")]
    traffic = Traffic(calls)
    assert replay(traffic, Policy()).read_tokens == 0
    assert replay(traffic, Policy(marks="static,tail")).read_tokens == 7 * 1000


def test_a_breakpoint_that_nobody_could_read_in_time_is_below_the_minimum() -> None:
    """Its place is estimated from sizes, and may seem to be above."""
    tree = PrefixTree()
    static = tree.add_block(ROOT, 0, 1100)
    ends = [tree.add_block(static, 0, 900) for _ in range(2)]

    def place(second_at: float) -> list[int]:
        positions = BlockPositions(tree)
        for at, end in zip((0.0, second_at), ends, strict=True):
            positions.learn(
                PlacedCall(
                    at,
                    at + 1,
                    MARKED_RULE._replace(minimum_tokens=1024),
                    end,
                    [static, end],
                    ["5m", "5m"],
                    input_tokens=2000,
                    read_tokens=0,
                    write_tokens={"5m": 2000},
                )
            )
        positions.place_blocks(ends[1], MARKED_RULE._replace(minimum_tokens=1024))
        return [tree.tokens[static], tree.tokens[ends[1]]]

    assert place(10.0) == [1023, 2000]
    assert place(301.0) == [1100, 2000], "it had expired"


def test_two_processes_replay_what_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    traffic = Traffic([make_call(40 * n, "sab"[: n % 3 + 1]) for n in range(30)])
    policies = [
        Policy(),
        Policy(ttls={"messages": "30m"}),
        Policy("tail", marks="tail", target=TargetModel(MARKED_RULE, PRICES)),
        Policy(caching="off"),
    ]
    seen: list[tuple[int, int]] = []
    alone = replay_all(traffic, policies, lambda _number, _done: None)
    monkeypatch.setattr("promptcache_exporters.replay.replay_all.MIN_CALLS", 0)
    together = replay_all(traffic, policies, lambda number, done: seen.append((number, done)))
    assert isinstance(together[1], PolicyError)
    assert str(together[1]) == str(alone[1])
    assert [together[at] for at in (0, 2, 3)] == [alone[at] for at in (0, 2, 3)]
    assert isinstance(together[2], Outcome)
    assert together[2].policy.name == "tail"
    assert {number for number, done in seen if done == 30} == {0, 1, 2, 3}


def test_a_process_that_was_ended_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("promptcache_exporters.replay.replay_all.MIN_CALLS", 0)

    def end_process(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr("promptcache_exporters.replay.replay_all.replay", end_process)
    with pytest.raises(ChildProcessError, match="ended from outside"):
        replay_all(Traffic([make_call(0, "ab")]), [Policy()], lambda _number, _done: None)
