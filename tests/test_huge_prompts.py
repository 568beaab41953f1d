"""Huge prompts: the work on one call is bounded, and what is not examined is never called equal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from promptcache import Settings
from promptcache.diagnosis import candidates
from promptcache.diagnosis.diagnosis import Diagnosis
from promptcache.model import ParsedPrompt, PrefixHashes
from promptcache.prefix import examined_bytes, hashing
from promptcache.prefix.examined_bytes import (
    ExaminedBytes,
    count_bytes,
    describe_unexamined_block,
)
from promptcache.prefix.message_groups import GROUP_KIND, GroupedBlocks
from promptcache.semconv import PREFIX_HASH, PREFIX_OVERSIZED, PREFIX_SYSTEM_HASH
from tests.support.diagnosis_lab import FILLER, DiagnosisLab, build_prompt, claude_lab, tool_block
from tests.support.mock_calls import make_mock_call
from tests.support.telemetry import Telemetry

LIMIT = 50_000
SENTENCE = "In case {} the agent reads the order, checks the policy and answers in plain words. "
PAGE = "".join(SENTENCE.format(number) for number in range(90))
HUGE = "".join(SENTENCE.format(number) for number in range(700))
KEY = "0123456789abcdef0123456789abcdef"


@pytest.fixture(autouse=True)
def small_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a prompt of 60 KB a huge one."""
    monkeypatch.setattr(examined_bytes, "MAX_EXAMINED_BYTES", LIMIT)
    assert len(HUGE) > LIMIT > len(PAGE) * 3


def hashes_of(lab: DiagnosisLab, prompt: ParsedPrompt) -> PrefixHashes:
    prefix = lab.start_call(prompt).prefix
    assert prefix is not None
    return prefix


def exporting_lab() -> DiagnosisLab:
    return DiagnosisLab(diagnosis=Diagnosis(Settings(hashes="all", hash_key=KEY)))


def count_argument(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> list[int]:
    """Let a function note the sizes of its last argument, a text or an object."""
    sizes: list[int] = []
    function: Callable[..., Any] = getattr(module, name)

    def noting(*arguments: Any) -> Any:
        sizes.append(count_bytes(arguments[-1], 10**9))
        return function(*arguments)

    monkeypatch.setattr(module, name, noting)
    return sizes


@pytest.mark.parametrize(
    "prompt",
    [
        build_prompt(HUGE),
        build_prompt("Hi.", system=HUGE),
        build_prompt(*[f"{index}{PAGE}" for index in range(40)]),
        build_prompt(*[f"{index}{PAGE[:900]}" for index in range(400)]),
        build_prompt("Hi.", tools=tuple(tool_block(i, f"t{i}", more=PAGE) for i in range(40))),
    ],
    ids=["message", "system", "pages", "small messages", "tools"],
)
def test_one_call_examines_and_encodes_bounded_bytes(
    monkeypatch: pytest.MonkeyPatch, prompt: ParsedPrompt
) -> None:
    described = [
        count_argument(monkeypatch, candidates, name)
        for name in ("describe_message", "describe_static_block")
    ]
    encoded = count_argument(monkeypatch, hashing, "_encode_compact_json")
    prefix = hashes_of(exporting_lab(), prompt)
    assert prefix.is_oversized
    assert sum(map(sum, described)) <= LIMIT * 1.1
    assert sum(encoded) <= 2 * LIMIT * 1.1


def test_a_huge_static_prefix_has_no_hash_of_a_part() -> None:
    prefix = hashes_of(DiagnosisLab(), build_prompt("Hi.", system=HUGE))
    assert (prefix.hash, prefix.tools_hash, prefix.system_hash) == (None, None, None)
    assert prefix.is_oversized is True


def test_a_huge_message_leaves_the_hashes_of_the_static_prefix() -> None:
    usual = hashes_of(DiagnosisLab(), build_prompt("Hi."))
    huge = hashes_of(DiagnosisLab(), build_prompt(HUGE))
    assert (huge.hash, huge.is_oversized) == (usual.hash, True)
    assert usual.is_oversized is None


def test_the_chain_is_absent_until_its_blocks_are_known() -> None:
    lab = exporting_lab()
    prompt = build_prompt(*[f"{index}{PAGE}" for index in range(15)])
    found = [hashes_of(lab, prompt) for _ in range(4)]
    assert [bool(prefix.chain) for prefix in found] == [False, False, True, True]
    assert found[-1].chain == hashes_of(exporting_lab_without_limit(), prompt).chain


def exporting_lab_without_limit() -> DiagnosisLab:
    examined_bytes.MAX_EXAMINED_BYTES = 10**9  # type: ignore[misc]  # the fixture restores it
    return exporting_lab()


def test_an_equal_huge_prompt_is_known() -> None:
    lab = DiagnosisLab()
    lab.diagnose_call(build_prompt(HUGE))
    verdict = lab.diagnose_call(build_prompt(HUGE, "Thanks.", "And now?"), read=20_000)
    assert (verdict.outcome, verdict.reason) == ("hit", None)


def pages(changed: int | None = None) -> list[str]:
    return [f"{index}{'x' * (index == changed)}{PAGE}" for index in range(20)]


@pytest.mark.parametrize(
    ("first", "second", "place"),
    [
        (
            build_prompt("Hi.", system=f"Now 10:31:07. {HUGE}"),
            build_prompt("Hi.", "Yes.", system=f"Now 10:32:59. {HUGE}"),
            ("volatile_token", "system", 0, 4),
        ),
        (
            build_prompt("Hi.", system=HUGE),
            build_prompt("Hi.", "Yes.", system=f"{HUGE}x"),
            ("system_changed", "system", 0, None),
        ),
        (
            build_prompt(*pages()),
            build_prompt(*pages(15)),
            ("history_rewritten", "messages", 15, None),
        ),
    ],
    ids=["value in system", "end of system", "beyond the limit"],
)
def test_a_change_that_is_not_examined_is_named_by_its_block(
    first: ParsedPrompt, second: ParsedPrompt, place: tuple[str, str, int, int | None]
) -> None:
    lab = DiagnosisLab()
    lab.diagnose_call(first)
    verdict = lab.diagnose_call(second)
    assert (verdict.reason, verdict.section, verdict.index, verdict.offset) == place


def test_two_unexamined_blocks_differ_if_one_letter_differs() -> None:
    one, other = (
        describe_unexamined_block(build_prompt(HUGE + x).blocks[-1], ExaminedBytes()) for x in "ab"
    )
    assert one[0] != other[0]
    assert one[1].typography_hash != other[1].typography_hash


def test_the_span_tells_that_a_prompt_is_oversized(telemetry: Telemetry) -> None:
    call = make_mock_call()
    call(HUGE)
    call("Hi.")
    huge, usual = (dict(span.attributes or {}) for span in telemetry.spans)
    assert huge[PREFIX_OVERSIZED] is True
    assert PREFIX_OVERSIZED not in usual
    assert huge[PREFIX_HASH] == usual[PREFIX_HASH]
    assert PREFIX_SYSTEM_HASH not in huge


def test_counting_stops_above_the_limit() -> None:
    cycle: list[Any] = ["abc"]
    cycle.append(cycle)
    assert count_bytes(cycle, 100) < 20
    laughs: list[Any] = ["ha"]
    for _ in range(60):
        laughs = [laughs, laughs]
    assert 1000 < count_bytes(laughs, 1000) < 1100
    assert count_bytes({"a": ["bc", 1, None]}, 100) < 40
    budget = ExaminedBytes()
    assert not budget.take("x" * (LIMIT + 1))
    assert budget.take("x" * LIMIT)
    assert budget.has_run_out


MANY = [
    f"Message {number}: the agent reads the order and checks the policy." for number in range(3500)
]


def change(number: int) -> list[str]:
    return [*MANY[:number], f"Changed. {MANY[number]}", *MANY[number + 1 :]]


def test_many_messages_are_stored_as_bounded_blocks() -> None:
    lab = DiagnosisLab()
    pending = lab.start_call(build_prompt(*MANY))
    assert pending.tracked is not None
    assert pending.prefix is not None
    assert len(pending.tracked.new_nodes) < 2400
    assert (pending.prefix.block_count, pending.prefix.is_oversized) == (3501, True)
    assert sum(node.size for node in pending.tracked.new_nodes) == pytest.approx(
        sum(map(len, [FILLER, *MANY]))
    )


@pytest.mark.parametrize("earlier", [3500, 3000, 900])
def test_many_messages_extend_an_earlier_call_wherever_it_ended(earlier: int) -> None:
    lab = DiagnosisLab()
    lab.diagnose_call(build_prompt(*MANY[:earlier]))
    lab.now += 5
    pending = lab.start_call(build_prompt(*MANY, "Thanks.", "And now?"))
    assert pending.tracked is not None
    assert [item.difference.kind for item in pending.tracked.related_calls] == ["extends"]


@pytest.mark.parametrize(("number", "index"), [(900, 900), (3000, None), (3400, 3400)])
def test_a_change_among_many_messages_is_named_by_message_or_not_at_all(
    number: int, index: int | None
) -> None:
    lab = DiagnosisLab()
    lab.diagnose_call(build_prompt(*MANY))
    verdict = lab.diagnose_call(build_prompt(*change(number), "Thanks."))
    assert (verdict.reason, verdict.section, verdict.index) == (
        "history_rewritten",
        "messages",
        index,
    )


def test_a_moved_breakpoint_leaves_the_groups_and_its_lifetime() -> None:
    lab = claude_lab()
    marked = [
        prompt._replace(
            blocks=tuple(
                replace(block, breakpoint_ttl="1h") if block.index == at else block
                for block in prompt.blocks
            )
        )
        for at, prompt in ((3000, build_prompt(*MANY)), (3100, build_prompt(*MANY)))
    ]
    tracked = [lab.start_call(prompt).tracked for prompt in marked]
    first, second = (one for one in tracked if one is not None)
    assert first.call.prefix_digests == second.call.prefix_digests
    assert first.call.breakpoint_depths < second.call.breakpoint_depths
    place = first.call.breakpoint_depths[-1] - 1
    assert first.prompt.blocks[place].breakpoint_ttl == "1h"
    assert first.prompt.blocks[place].kind == GROUP_KIND


def test_the_place_of_a_group_is_that_of_its_block() -> None:
    tracked = DiagnosisLab().start_call(build_prompt(*map(str, range(3_000)))).tracked
    assert tracked is not None
    blocks = tracked.prompt.blocks
    assert isinstance(blocks, GroupedBlocks)
    places = [(block.section, block.index) for block in blocks]
    assert [blocks.place_of(at) for at in range(len(blocks))] == places
