"""Policies of what-if beyond TTLs: mended breaks, marks of hindsight, files, the curve."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import anthropic
import pytest
from typer.testing import CliRunner

from promptcache.cli.commands import app
from promptcache.cli.exit_codes import ExitCode
from promptcache_exporters.replay.placed_marks import PolicyError
from promptcache_exporters.replay.policy import LAYERS, Policy
from promptcache_exporters.replay.replay import replay
from promptcache_exporters.replay.traffic import Breakpoint, RecordedCall, RecordedMiss, Traffic
from promptcache_exporters.replay.ttl_curve import compute_ttl_curve
from promptcache_exporters.replay.without_break import list_breaks
from tests.support.recorded_traffic import (
    HANDBOOK,
    MARKED_RULE,
    RecordCalls,
    make_call,
    run_whatif,
    send_anthropic_turns,
)

MISS: Final = RecordedMiss("volatile_token", "system", 0, "shop/app.py:41", 900)


def make_broken_calls() -> list[RecordedCall]:
    """Return calls whose first block differs in each of them."""
    return [
        replace(
            make_call(10 * number, f"{number}{prompt}"),
            conversation=prompt[0],
            family="p1:a",
            miss=MISS if number else None,
            sizes=(4000, *(len(prompt) * [100])),
        )
        for number, prompt in enumerate(("ab", "abc", "abcd"))
    ]


@pytest.mark.parametrize("name", ["volatile_token", "system[0]", "shop/app.py:41", "app.py:41"])
def test_without_a_break_the_block_counts_as_the_same(name: str) -> None:
    traffic = Traffic(make_broken_calls())
    assert replay(traffic, Policy()).read_tokens == 0
    mended = replay(traffic, Policy(without=name))
    assert mended.read_tokens == 3000 + 4000
    assert mended.calls == 3


def test_a_break_that_the_record_does_not_have_is_refused() -> None:
    with pytest.raises(PolicyError, match="no call of the record broke"):
        replay(Traffic(make_broken_calls()), Policy(without="py:41"))


def test_other_families_and_other_blocks_stay_as_they_are() -> None:
    calls = make_broken_calls()
    other = [replace(call, family="p1:b", cache="two", miss=None) for call in calls]
    both = Traffic([*calls, *other])
    assert replay(both, Policy(without="system[0]")).read_tokens == 3000 + 4000
    longer = [
        replace(call, sizes=(4000, *(100 * number + 1 for number in range(len(call.links) - 1))))
        for call in calls
    ]
    different = [longer[0], replace(longer[1], sizes=(4000, 7, 8, 9)), longer[2]]
    read = replay(Traffic(different), Policy(without="system[0]")).read_tokens
    assert read == 3000, "the call between has blocks of other sizes, so it shares nothing"


def test_breaks_are_listed_by_what_they_missed() -> None:
    calls = make_broken_calls()
    small = replace(calls[1], miss=MISS._replace(section="tools", tokens=10))
    found = list_breaks(Traffic([*calls, small]))
    assert [(one.place, one.missed_tokens) for one in found] == [
        ("system[0]", 1800),
        ("tools[0]", 10),
    ]


def send_clock_turns(url: str, clock: str, number: int, wait: Callable[[], None]) -> None:
    """Send six turns whose system prompt begins with a clock, which stands still or not."""
    mark = {"type": "ephemeral"}
    with anthropic.Anthropic(base_url=url, api_key="k", max_retries=0) as client:
        create: Any = client.messages.create
        messages: list[Any] = []
        for turn in range(6):
            now = f"It is 10:{number:02}:{turn:02}. " if clock == "clock" else "It is 10:00:00. "
            text = {"type": "text", "text": f"Conversation {number}, {turn}: " + "why? " * 50}
            answer = create(
                model="claude-sonnet-5",
                max_tokens=50,
                system=[{"type": "text", "text": now + HANDBOOK, "cache_control": mark}],
                messages=[*messages, {"role": "user", "content": [text | {"cache_control": mark}]}],
            )
            messages.append({"role": "user", "content": [text]})
            messages.append({"role": "assistant", "content": answer.content[0].text})
            wait()


def test_a_mended_break_costs_what_a_run_without_it_costs(record: RecordCalls) -> None:
    broken, healthy = (record(send_clock_turns, kind) for kind in ("clock", "none"))
    code, predicted = run_whatif(broken, "--without", "volatile_token")
    assert code == ExitCode.OK
    actual = run_whatif(healthy)[1]["check"]["recorded_usd"]
    recorded, mended = (policy["usd"] for policy in predicted["policies"])
    assert mended == pytest.approx(actual, rel=0.005)
    assert mended < 0.8 * recorded
    assert predicted["recommended"] == "without volatile_token"
    names = [policy["name"] for policy in run_whatif(broken)[1]["policies"]]
    start = "without the break at system[0] (volatile_token, "
    assert len([name for name in names if name.startswith(start)]) == 1
    result = CliRunner().invoke(app, ["whatif", str(broken)])
    last = result.output.strip().splitlines()[-1]
    assert last.startswith("Largest saving: without the break at system[0] (volatile_token")


def test_marks_of_hindsight_write_only_what_is_shared() -> None:
    calls = [make_call(10 * number, f"s{letter}") for number, letter in enumerate("abcd")]
    traffic = Traffic(calls)
    reused = replay(traffic, Policy(marks="reused"))
    assert reused.read_tokens == 3 * 1000
    assert reused.usd == pytest.approx(1000 * (1.25 + 0.3) + 4 * 1000)
    far = Traffic([make_call(1000 * number, "sa") for number in range(3)])
    assert replay(far, Policy(marks="reused")).usd == 6000, "nobody comes in time"


def test_the_curve_agrees_with_a_replay_under_each_ttl() -> None:
    gaps = (0, 100, 500, 1300, 1400, 6000)
    marks = [Breakpoint(1, "5m"), Breakpoint(2, "5m")]
    traffic = Traffic(
        [make_call(at, f"s{'ab'[number % 2]}", marks) for number, at in enumerate(gaps)]
    )
    short, long = compute_ttl_curve(traffic, (300, 3600))
    assert (short.is_offered, long.is_offered) == (True, True)
    for point, ttl in ((short, "5m"), (long, "1h")):
        outcome = replay(traffic, Policy(ttls=dict.fromkeys(LAYERS, ttl)))
        assert point.usd == pytest.approx(outcome.usd)
        assert point.hit_rate == pytest.approx(outcome.hit_rate)
    assert short.hit_rate < long.hit_rate


def test_a_file_names_many_policies(record: RecordCalls, tmp_path: Path) -> None:
    path = record(send_anthropic_turns)
    policies, page = tmp_path / "policies.toml", tmp_path / "whatif.html"
    policies.write_text(
        '[[policy]]\nname = "longer"\nttl = {"tools+system" = "1h"}\n'
        '[[policy]]\nping = "280x2"\nping_from = 100\n[[policy]]\ncaching = "off"\n'
    )
    code, found = run_whatif(path, "--policy", policies, "--html", page)
    assert code == ExitCode.OK
    names = [policy["name"] for policy in found["policies"]]
    assert names == ["as recorded", "longer", "pings 280x2", "caching off"]
    assert found["recommended"] == "longer"
    assert found["policies"][2]["pings"] > 0
    shown = page.read_text()
    assert shown.count('class="chart"') == 2
    assert "longer" in shown
    assert "default-src 'none'" in shown
    assert "<script" not in shown
    assert [point["seconds"] for point in found["curve"]][:3] == [60, 120, 300]
    missing = tmp_path / "no folder" / "whatif.html"
    assert run_whatif(path, "--policy", policies, "--html", missing)[0] == ExitCode.USAGE


@pytest.mark.parametrize(
    "text",
    ["", "policy = 1", "[[policy]]\ntll = 1", "[[policy]]\nmarks = 'x'", "[[", "[[policy]]\nttl=3"],
)
def test_a_file_that_is_not_understood_is_refused(
    record: RecordCalls, tmp_path: Path, text: str
) -> None:
    path, policies = record(send_anthropic_turns), tmp_path / "policies.toml"
    policies.write_text(text)
    assert run_whatif(path, "--policy", policies)[0] == ExitCode.USAGE


def test_another_provider_counts_other_tokens(record: RecordCalls) -> None:
    path = record(send_anthropic_turns)
    _, found = run_whatif(path, "--model", "gpt-5.4", "--provider", "openai")
    other = found["policies"][1]
    assert other["usd_range"] == pytest.approx([other["usd"] * 0.93, other["usd"] * 1.04])
    assert json.dumps(found["policies"][0]["usd_range"]) == json.dumps(
        [found["policies"][0]["usd"]] * 2
    )
    assert MARKED_RULE.bills_writes
