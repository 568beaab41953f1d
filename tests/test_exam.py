"""The mechanics of the exam: texts, labels, time and truth. The score itself is no assertion here.

`make diagnosis-score` runs the exam.
"""

from __future__ import annotations

import json
import random
import re

import pytest

from promptcache.diagnosis.miss_reasons import MISS_REASONS
from promptcache_emulator.clock import Clock
from tests.breaks.exam import corpus
from tests.breaks.exam.__main__ import main
from tests.breaks.exam.gate import open_gate
from tests.breaks.exam.pending import count_pending
from tests.breaks.exam.prompts import continue_conversation, make_base
from tests.breaks.exam.pure import PureDriver
from tests.breaks.exam.report import Figures
from tests.breaks.exam.run import make_rng, play_pure, play_sdk
from tests.breaks.exam.scenario import FAMILIES, Step, label, mark
from tests.breaks.exam.score import Tally
from tests.breaks.exam.simulate import START, World
from tests.breaks.exam.surfaces import SURFACES, Surface
from tests.support.telemetry import Telemetry

_BY_NAME = {surface.name: surface for surface in SURFACES}
_SECTIONS = (None, "tools", "system", "messages", "params", "model")
_FAST = ("--unbroken", "0", "--pending", "0", "--path", "pure")
_PATTERNS = (
    r"\d{4}-\d\d-\d\d",
    r"€\d+",
    r"^## ",
    "```json",
    r"\d+\.\d+\.\d+",
    "für|à",
    "日",
)
"""Dates, prices, headings, JSON, versions, and three languages besides English."""

_SMALL = random.Random(3)


def _world(surface: Surface) -> World:
    clock = Clock(START)
    return World(surface, PureDriver(surface, clock), clock)


def test_a_handbook_has_what_real_ones_have() -> None:
    text = "".join(corpus.make_handbook(random.Random(seed), 30_000) for seed in range(4))
    for pattern in (
        r"\d{4}-\d\d-\d\d",
        r"€\d+",
        r"^## ",
        "```json",
        r"\d+\.\d+\.\d+",
        "für|à",
        "日",
    ):
        assert re.search(pattern, text, re.MULTILINE), pattern


def test_the_same_seed_gives_the_same_text() -> None:
    first, second = (corpus.make_handbook(random.Random(5), 9_000) for _ in range(2))
    assert first == second
    assert 9_000 <= len(first.encode()) < 16_000


def test_some_tools_have_definitions_enums_and_required_fields() -> None:
    schemas = json.dumps([corpus.make_tool(random.Random(n), n) for n in range(9)])
    assert all(word in schemas for word in ('"$defs"', '"enum"', '"required"', '"$ref"'))


@pytest.mark.parametrize("name", FAMILIES)
def test_labels_name_reasons_of_the_contract_and_twins_differ(name: str) -> None:
    """Steps are not played here: this checks the labels alone."""
    surface = _BY_NAME["messages"]
    for step in FAMILIES[name].play(make_rng(FAMILIES[name], surface, 1), surface):
        if step.label is None:
            continue
        assert step.label.reasons <= MISS_REASONS.keys()
        assert step.label.section in _SECTIONS
        assert step.label.offset is None or step.label.offset <= step.label.size
        if step.twin is not None:
            # Not `!=`: dicts in another order are equal, and other bytes.
            assert repr(step.twin) != repr(step.prompt) or step.twin_key


def test_neutral_families_have_no_labels() -> None:
    for info in FAMILIES.values():
        if info.kind == "neutral":
            surface = _BY_NAME["chat"]
            assert not [
                step for step in info.play(make_rng(info, surface, 1), surface) if step.label
            ]


def test_a_cache_looks_up_at_the_request_and_stores_at_the_answer() -> None:
    """Of two requests at once neither reads; a third one after the answers reads.

    Anthropic's page on prompt caching says so of concurrent requests: an entry can be used once the
    first answer has begun.
    """
    surface = _BY_NAME["messages"]
    prompt = mark(surface, continue_conversation(_SMALL, make_base(_SMALL, 9000), 1)[0])
    steps = [Step(prompt), Step(prompt, wait=0.5, overlaps=True), Step(prompt)]
    reads = [call.truth.read for call in _world(surface).play(iter(steps))]
    assert reads[:2] == [0, 0]
    assert reads[2] > 1024


def test_calls_end_in_the_order_of_their_answers() -> None:
    surface = _BY_NAME["chat"]
    prompt = continue_conversation(_SMALL, make_base(_SMALL, 9000), 1)[0]
    steps = [Step(prompt, lasts=4), Step(prompt, wait=1, lasts=1, overlaps=True)]
    ended = [call.step.lasts for call in _world(surface).play(iter(steps))]
    assert ended == [1, 4]


def test_missed_tokens_are_what_the_twin_would_have_read() -> None:
    surface = _BY_NAME["messages"]
    states = continue_conversation(_SMALL, make_base(_SMALL, 9000), 2)
    first, second = (mark(surface, state) for state in states)
    broken = mark(surface, states[1].map_system(lambda text: f"New. {text}"))
    truth = label("system_changed")
    calls = list(_world(surface).play(iter([Step(first), Step(broken, truth, twin=second)])))
    assert calls[1].truth.read < 1024 * 3
    missed = calls[1].truth.missed
    assert missed is not None
    assert missed + calls[1].truth.read == calls[0].truth.written


def test_an_expired_prefix_is_missed() -> None:
    """The TTL of Anthropic's default cache is five minutes (prompt caching page)."""
    calls = list(play_pure(FAMILIES["TTL lapse"], _BY_NAME["messages"], 1))
    (late,) = [call for call in calls if call.step.label]
    assert late.truth.read == 0
    assert late.truth.missed


def test_a_failed_request_writes_nothing() -> None:
    surface = _BY_NAME["chat"]
    prompt = continue_conversation(_SMALL, make_base(_SMALL, 9000), 1)[0]
    calls = list(_world(surface).play(iter([Step(prompt, fails=529), Step(prompt)])))
    assert calls[0].observed.outcome == "error"
    assert calls[1].truth.read == 0


def test_a_tally_below_a_threshold_fails() -> None:
    name = "message edited"
    assert not list(Figures("pure", {name: Tally(cause=[20, 20], region=[20, 20])}).failures())
    assert list(Figures("pure", {name: Tally(cause=[18, 20])}).failures())
    assert list(Figures("pure", {name: Tally(region=[9, 10])}).failures())
    assert list(Figures("pure", {name: Tally(hints=[8, 10])}).failures())
    assert list(Figures("pure", {name: Tally(waste=[9, 10])}).failures())
    assert list(Figures("pure", {name: Tally(blamed=1)}).failures())


def test_the_command_prints_each_family_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["--only", "tool added", *_FAST])
    table = capsys.readouterr().out
    assert "tool added" in table
    assert code == int("below its threshold" in table)
    assert main(["--only", "tool added", *_FAST, "--json"]) == code
    (figures,) = json.loads(capsys.readouterr().out)["paths"]
    assert figures["families"]["tool added"]["cause"]["asked"] >= 8
    assert code == int(bool(figures["failures"]))


@pytest.mark.filterwarnings("ignore:The model:DeprecationWarning")
@pytest.mark.parametrize("name", ["chat", "responses", "messages", "converse", "invoke", "gemini"])
@pytest.mark.parametrize("seed", [1, 2])
def test_an_sdk_sends_what_the_truth_assumes(name: str, seed: int) -> None:
    """The usage in the telemetry is the simulated cache's, for plain calls and for streams."""
    info = FAMILIES["race that ends out of order"]
    telemetry = Telemetry()
    with open_gate() as gate:
        calls = list(play_sdk(info, _BY_NAME[name], seed, gate, telemetry))
    assert len(calls) == 6
    for call in calls:
        assert call.observed.input_tokens == call.truth.total
        assert (call.observed.read_tokens or 0) == call.truth.read


def test_no_call_stays_pending_however_it_ends() -> None:
    assert count_pending(12) == 0


@pytest.mark.parametrize("name", ["gateway chat", "deepseek messages"])
def test_a_cache_behind_another_wire_is_read_by_the_next_call(name: str) -> None:
    """Usage by OpenRouter's and DeepSeek's pages on prompt caching."""
    surface = _BY_NAME[name]
    states = continue_conversation(random.Random(4), make_base(random.Random(4), 9000), 2)
    steps = [Step(mark(surface, state)) for state in states]
    first, second = _world(surface).play(iter(steps))
    assert first.truth.read == 0
    assert second.truth.read > first.truth.total - 64
    assert second.observed.read_tokens == second.truth.read
