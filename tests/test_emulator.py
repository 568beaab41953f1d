"""The emulator's own promises: it is the oracle of the other tests, so its cache must obey the vendors' pages."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptcache_emulator import cache, tokens
from promptcache_emulator.clock import Clock
from promptcache_emulator.engine import Emulator
from promptcache_emulator.profile_overrides import parse_overrides
from promptcache_emulator.request_record import RequestRecord
from promptcache_emulator.schema_examples import example_for_schema

NOW = 1_795_132_800.0  # 2026-11-20
CHAT = "/v1/chat/completions"
TEXT = " ".join(f"Rule {number}: answer in {number % 7} words." for number in range(400))
OLD, NEW = "gpt-4o", "gpt-5.6"
NOTHING: dict[str, Any] = {}


@pytest.fixture
def engine() -> Emulator:
    return Emulator(Clock(NOW))


def chat(
    engine: Emulator,
    *texts: str,
    model: str = OLD,
    key: str = "a",
    headers: Any = None,
    **more: Any,
) -> RequestRecord:
    """Sends a system message and the rest in turns; what the emulator knows of the call."""
    roles = ["system", *(["user", "assistant"] * len(texts))]
    messages = [{"role": role, "content": text} for role, text in zip(roles, texts, strict=False)]
    engine.post(CHAT, {"model": model, "messages": messages} | more, key, headers)
    return engine.records[-1]


def read(record: RequestRecord) -> int:
    return record.result.cache_read_tokens


@given(st.text(max_size=200), st.text(max_size=50))
def test_tokens_cover_the_text_and_a_longer_text_never_has_fewer(text: str, more: str) -> None:
    ends = tokens.token_ends(text)
    assert (ends[-1] if ends else 0) == len(text)
    assert list(ends) == sorted(set(ends))
    assert tokens.count_tokens(text + more) >= tokens.count_tokens(text)


def test_tokens_are_no_constant_multiple_of_bytes() -> None:
    samples = (
        "a quiet harbour at noon",
        "0123456789" * 3,
        "{}[]()<>!?" * 3,
        "Größe und Länge",
        "日本語の文",
    )
    assert len(
        {round(len(text.encode()) / tokens.count_tokens(text), 1) for text in samples}
    ) == len(samples)


TURNS = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(1, 30), st.sampled_from("xy")),
    min_size=1,
    max_size=8,
)


@settings(max_examples=40, deadline=None)
@given(TURNS, st.sampled_from([OLD, "gpt-5.4", NEW, "gpt-6.1-sol"]))
def test_every_call_adds_up_and_old_models_read_in_steps(
    turns: list[tuple[str, int, str]], model: str
) -> None:
    engine = Emulator(Clock(NOW))
    for word, times, key in turns:
        outcome = chat(engine, TEXT, f"{word} " * times * 50, model=model, key=key).result
        assert (
            outcome.uncached_tokens + outcome.cache_read_tokens + outcome.cache_write_tokens
            == outcome.input_tokens
        )
        assert (
            min(outcome.uncached_tokens, outcome.cache_read_tokens, outcome.cache_write_tokens) >= 0
        )
        assert outcome.cache_read_tokens % (128 if model in {OLD, "gpt-5.4"} else 1) == 0
        assert model in {NEW, "gpt-6.1-sol"} or outcome.cache_write_tokens == 0


@pytest.mark.parametrize("model", [OLD, NEW])
def test_conversation_reads_what_was_there_before(engine: Emulator, model: str) -> None:
    first = chat(engine, TEXT, "hello", model=model)
    second = chat(engine, TEXT, "hello", "hi", "and now?", model=model)
    assert read(first) == 0
    assert first.result.input_tokens - 128 < read(second) <= first.result.input_tokens


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.text(min_size=1, max_size=80), min_size=1, max_size=12), st.sampled_from([OLD, NEW])
)
def test_a_conversation_that_only_grows_never_reads_less(turns: list[str], model: str) -> None:
    engine = Emulator(Clock(NOW))
    seen = [
        read(chat(engine, TEXT, *turns[:length], model=model))
        for length in range(1, len(turns) + 1)
    ]
    assert seen == sorted(seen)


def test_images_count_by_detail_and_are_told_apart(engine: Emulator) -> None:
    def send(data: str, detail: str) -> RequestRecord:
        image = {
            "type": "image_url",
            "image_url": {"url": f"data:image/png;base64,{data}", "detail": detail},
        }
        content = [image, {"type": "text", "text": TEXT}]
        engine.post(CHAT, {"model": OLD, "messages": [{"role": "user", "content": content}]})
        return engine.records[-1]

    first = send("AAAA", "high")
    assert read(send("BBBB", "high")) == 0
    assert read(send("AAAA", "high")) > 1024
    assert first.result.input_tokens - send("AAAA", "low").result.input_tokens == 680


def test_cache_is_bounded(engine: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_MAX_ENTRIES", 100)
    for number in range(50):
        chat(engine, f"{number} {TEXT}", "hello")
    assert read(chat(engine, f"49 {TEXT}", "hello")) > 0
    assert read(chat(engine, f"0 {TEXT}", "hello")) == 0


@pytest.mark.parametrize("model", [OLD, NEW])
def test_other_keys_and_models_share_nothing(engine: Emulator, model: str) -> None:
    chat(engine, TEXT, "hello", model=model)
    assert read(chat(engine, TEXT, "hello", model=model, key="b")) == 0
    assert read(chat(engine, TEXT, "hello", model=model + "-mini")) == 0
    assert read(chat(engine, TEXT, "hello", model=model)) > 0


@pytest.mark.parametrize(
    "change",
    [
        {"prompt_cache_key": "k"},
        {"service_tier": "flex"},
        {"parallel_tool_calls": False},
        {"verbosity": "low"},
        {"reasoning_effort": "high"},
        {"response_format": {"type": "json_object"}},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": NOTHING}}]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_parameters_that_invalidate(engine: Emulator, change: dict[str, Any]) -> None:
    chat(engine, TEXT, "hello", model=NEW)
    assert read(chat(engine, TEXT, "hello", model=NEW, **change)) == 0
    assert read(chat(engine, TEXT, "hello", model=NEW, tool_choice="none", temperature=0.5)) > 0


@pytest.mark.parametrize(
    ("model", "kept", "lapsed"), [("grok-4", 599, 601), (OLD, 86_399, 86_401), (NEW, 1799, 1801)]
)
def test_entries_expire_and_use_renews_them(
    engine: Emulator, model: str, kept: float, lapsed: float
) -> None:
    chat(engine, TEXT, "hello", model=model)
    for pause, hit in ((kept, True), (kept / 2, model != OLD), (lapsed, False)):
        assert isinstance(engine.clock, Clock)
        engine.clock.advance(pause)
        assert (read(chat(engine, TEXT, "hello", model=model)) > 0) is hit


def test_below_the_minimum_nothing_is_cached(engine: Emulator) -> None:
    for model in (OLD, OLD, NEW, NEW):
        outcome = chat(engine, TEXT[:2000], "hello", model=model).result
        assert outcome.input_tokens < 1024
        assert outcome.cache_read_tokens == outcome.cache_write_tokens == 0


def test_implicit_modes_differ_where_the_sources_conflict(engine: Emulator) -> None:
    seen: dict[str, list[tuple[int, int]]] = {}
    for mode in ("latest", "developer", "pinned"):
        engine.reset()
        headers = {"x-emulator-rules": f"implicit={mode}"}
        turns = [(TEXT, "one"), (TEXT, "two"), (TEXT, "two", "yes", "three" * 400)]
        outcomes = [chat(engine, *turn, model=NEW, headers=headers).result for turn in turns]
        seen[mode] = [
            (outcome.cache_read_tokens, outcome.cache_write_tokens) for outcome in outcomes
        ]
    system = seen["developer"][1][0]
    assert [reads for reads, _ in seen["latest"]][:2] == [0, 0], (
        "the trap: everything written, nothing read"
    )
    assert seen["latest"][1][1] == engine.records[1].result.input_tokens
    assert seen["latest"][2][0] == seen["developer"][2][0] > system > 1024
    assert [reads for reads, _ in seen["pinned"]] == [0, system, system]


def marked(text: str, **ttl: str) -> dict[str, Any]:
    return {"type": "text", "text": text, "prompt_cache_breakpoint": {"mode": "explicit", **ttl}}


def test_explicit_mode_writes_at_breakpoints_only(engine: Emulator) -> None:
    for question in ("one", "two"):
        content = [marked(TEXT, ttl="12h"), {"type": "text", "text": question}]
        body = {"model": NEW, "prompt_cache_options": {"mode": "explicit"}}
        engine.post(CHAT, body | {"messages": [{"role": "user", "content": content}]})
    first, second = (record.result for record in engine.records)
    assert first.cache_write_by_ttl == {"12h": first.cache_write_tokens}
    assert (second.cache_read_tokens, second.cache_write_tokens) == (first.cache_write_tokens, 0)
    assert 0 < first.uncached_tokens < 10
    chat(engine, TEXT, "one", model=NEW, prompt_cache_options={"mode": "explicit"})
    assert engine.records[-1].result.cache_write_tokens == 0, (
        "explicit mode without a breakpoint does not cache"
    )


def test_at_most_four_breakpoints_are_written(engine: Emulator) -> None:
    parts = [marked(f"{TEXT} part {number}") for number in range(6)]
    send = {
        "model": NEW,
        "prompt_cache_options": {"mode": "explicit"},
        "messages": [{"role": "user", "content": parts}],
    }
    engine.post(CHAT, send)
    assert len(engine.records[-1].plan.writes) == 4
    shorter = send | {"messages": [{"role": "user", "content": parts[:2]}]}
    engine.post(CHAT, shorter)
    assert engine.records[-1].result.cache_read_tokens == 0, (
        "the first two were not among the latest four"
    )


def test_the_first_two_breakpoints_are_always_looked_at(engine: Emulator) -> None:
    parts = [marked(f"{TEXT} part {number}") for number in range(6)]
    for count, hit in ((1, False), (6, True)):
        body = {"model": NEW, "messages": [{"role": "user", "content": parts[:count]}]}
        engine.post(
            CHAT,
            body | {"prompt_cache_options": {"mode": "explicit"}},
            headers={"x-emulator-rules": "lookback=1"},
        )
        assert (read(engine.records[-1]) > 0) is hit


def test_responses_split_what_is_written_by_lifetime(engine: Emulator) -> None:
    details = responses(engine, prompt_cache_options={"ttl": "12h"})["usage"][
        "input_tokens_details"
    ]
    split = {"ttl_30m_tokens": 0, "ttl_12h_tokens": details["cache_write_tokens"]}
    assert details["cache_write_tokens_details"] == split
    assert details["cache_write_tokens"] > 1024


def test_counterfactual_ignores_time_and_salts_but_not_text(engine: Emulator) -> None:
    whole = chat(engine, TEXT, "hello", model=NEW).result.cache_write_tokens
    assert (
        chat(
            engine, TEXT, "hello", model=NEW, key="b", reasoning_effort="high"
        ).result.reusable_tokens
        == whole
    )
    assert chat(engine, "!" + TEXT, "hello", model=NEW).result.reusable_tokens == 0


def test_fork_is_independent(engine: Emulator) -> None:
    twin = engine.copy()
    chat(twin, TEXT, "hello")
    assert read(chat(engine, TEXT, "hello")) == 0
    assert read(chat(engine.copy(), TEXT, "hello")) > 0


def test_race_of_cold_requests_writes_twice(engine: Emulator) -> None:
    commits = [
        engine.cache.look_up("t", chat(engine.copy(), TEXT, "x", model=NEW).plan) for _ in range(2)
    ]
    assert all(outcome.cache_read_tokens == 0 for outcome, _ in commits)
    commits[0][1]()
    assert (
        engine.cache.look_up("t", chat(engine.copy(), TEXT, "x", model=NEW).plan)[
            0
        ].cache_read_tokens
        > 0
    )


def responses(engine: Emulator, **body: Any) -> dict[str, Any]:
    answer: dict[str, Any] = engine.post(
        "/v1/responses", {"model": NEW, "instructions": TEXT, "input": "hi"} | body
    )
    return answer


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model": "gpt-6"}, "model_changed"),
        ({"prompt_cache_key": "other"}, "prompt_cache_key_changed"),
        ({"service_tier": "flex"}, "service_tier_changed"),
        ({"tools": [{"type": "function", "name": "f", "parameters": NOTHING}]}, "tools_changed"),
        (
            {"text": {"format": {"type": "json_schema", "name": "x", "schema": NOTHING}}},
            "text_format_changed",
        ),
        ({"reasoning": {"effort": "low"}}, "reasoning_effort_changed"),
        ({"text": {"verbosity": "low"}}, "verbosity_changed"),
        ({"context_management": [{"type": "compaction"}]}, "context_compacted"),
        ({"instructions": "Other. " + TEXT}, "input_changed"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_openai_diagnoses_the_first_change(
    engine: Emulator, change: dict[str, Any], reason: str
) -> None:
    parent = responses(engine)
    asked = responses(
        engine, **change, prompt_cache_options={"comparison_response_id": parent["id"]}
    )
    found = asked["prompt_cache_diagnostics"]
    assert (found["type"], found["reason"]) == ("cache_miss", reason)
    assert 0 < found["cache_missed_tokens"] <= engine.records[0].result.input_tokens


def test_openai_diagnosis_of_hits_expiry_and_strangers(engine: Emulator) -> None:
    options = {"comparison_response_id": responses(engine)["id"]}
    assert responses(engine, prompt_cache_options=options)["prompt_cache_diagnostics"] == {
        "type": "cache_hit"
    }
    assert isinstance(engine.clock, Clock)
    engine.clock.advance(7200)
    assert responses(engine, prompt_cache_options=options)["prompt_cache_diagnostics"] == {
        "type": "unavailable"
    }
    unknown = responses(engine, prompt_cache_options={"comparison_response_id": "resp_0"})
    assert unknown["prompt_cache_diagnostics"] == {"type": "comparison_response_not_found"}


def test_prewarm_writes_and_says_nothing(engine: Emulator) -> None:
    warmed = responses(engine, prompt_cache_options={"prewarm": True})
    assert (warmed["output"], warmed["usage"]["output_tokens"]) == ([], 0)
    assert responses(engine)["usage"]["input_tokens_details"]["cached_tokens"] > 1024


def test_held_input_is_read_again(engine: Emulator) -> None:
    parent = responses(engine)
    child = responses(engine, input="more", previous_response_id=parent["id"])
    assert (
        child["usage"]["input_tokens_details"]["cached_tokens"] == parent["usage"]["input_tokens"]
    )


def test_conversation_holds_what_was_said(engine: Emulator) -> None:
    first = responses(engine, conversation="conv_1")
    second = responses(engine, input="more", conversation={"id": "conv_1"})
    assert (
        second["usage"]["input_tokens_details"]["cached_tokens"] == first["usage"]["input_tokens"]
    )


def test_eviction_is_no_expiry(engine: Emulator) -> None:
    whole = chat(engine, TEXT, "hello", model=NEW).result.cache_write_tokens
    engine.cache.evict_all()
    outcome = chat(engine, TEXT, "hello", model=NEW).result
    assert (outcome.cache_read_tokens, outcome.reusable_tokens) == (0, whole)


def test_responses_are_forgotten_one_day(engine: Emulator) -> None:
    for number in range(5000):
        engine.store_value(f"resp_{number}", number)
    assert (engine.stored_value("resp_0"), engine.stored_value("resp_4999")) == (None, 4999)


PATHS = (
    CHAT,
    "/v1/responses",
    "/v1/responses/compact",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/v1/messages/batches",
    "/v1beta/models/gemini-3:generateContent",
    "/v1beta/cachedContents",
    "/v1beta/interactions",
    "/model/amazon.nova-pro/converse",
    "/model/anthropic.claude-3/invoke-with-response-stream",
)
FIELDS = (
    "model",
    "messages",
    "input",
    "contents",
    "content",
    "parts",
    "text",
    "role",
    "system",
    "tools",
    "tool_choice",
    "toolConfig",
    "cache_control",
    "max_tokens",
    "stream",
    "response_format",
    "reasoning",
    "n",
    "requests",
    "type",
)
JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-1, 3)
    | st.sampled_from(["", "text", "gpt-5.6", "user", "json_schema"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=6)
    ),
    max_leaves=12,
)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(PATHS), st.dictionaries(st.sampled_from(FIELDS), JUNK, max_size=8))
def test_no_request_can_make_it_fail(path: str, body: dict[str, Any]) -> None:
    answer, _ = Emulator(Clock(NOW)).handle("POST", path, json.dumps(body).encode(), {}, {})
    assert answer.status in {200, 400, 403, 404}
    assert answer.chunks()


DIALECTS = {
    "deepseek": {"prompt_cache_hit_tokens", "prompt_cache_miss_tokens"},
    "moonshot": {"cached_tokens"},
    "openrouter": {"cost", "cost_details", "is_byok", "completion_tokens_details"},
    "xai": {"cost_in_usd_ticks", "num_sources_used", "completion_tokens_details"},
    "groq": {"queue_time", "prompt_time", "completion_time", "total_time"},
    "vllm": set[str](),
    "vllm-details": set[str](),
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_compatible_servers_word_their_usage(engine: Emulator, dialect: str) -> None:
    body = {"model": "some-model", "messages": [{"role": "user", "content": TEXT}]}
    engine.post(f"/{dialect}/v1/chat/completions", body)
    usage = engine.post(f"/{dialect}/v1/chat/completions", body)["usage"]
    common = {"prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details"}
    assert set(usage) - common == DIALECTS[dialect]
    hit = read(engine.records[-1])
    shown = usage.get("prompt_cache_hit_tokens", usage.get("cached_tokens"))
    details = usage.get("prompt_tokens_details")
    assert hit > 0
    assert shown in {None, hit}
    assert details is None or details["cached_tokens"] == hit


def test_tools_and_schemas_are_honoured(engine: Emulator) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    }
    tool = {"type": "function", "function": {"name": "forecast", "parameters": schema}}
    ask: dict[str, Any] = {
        "model": OLD,
        "tools": [tool],
        "messages": [{"role": "user", "content": "please call forecast"}],
    }
    said = engine.post(CHAT, ask)["choices"][0]
    assert said["finish_reason"] == "tool_calls"
    assert said["message"]["tool_calls"][0]["function"] == {
        "name": "forecast",
        "arguments": '{"city": "text", "days": 1}',
    }
    result = {"role": "tool", "tool_call_id": "c", "content": "the forecast is sunny"}
    assert (
        engine.post(CHAT, ask | {"messages": [*ask["messages"], result]})["choices"][0][
            "finish_reason"
        ]
        == "stop"
    )
    assert engine.post(CHAT, ask | {"tool_choice": "none"})["choices"][0]["message"]["content"]


def test_instances_fit_schemas_with_references() -> None:
    schema = {
        "$defs": {"Leaf": {"type": "array", "items": {"enum": ["red", "blue"]}}},
        "properties": {
            "leaf": {"$ref": "#/$defs/Leaf"},
            "any": {"anyOf": [{"type": "null"}, {"type": "string"}]},
            "fixed": {"const": 7},
            "kind": {"type": ["boolean", "null"]},
        },
    }
    assert example_for_schema(schema, schema) == {
        "leaf": ["red"],
        "any": None,
        "fixed": 7,
        "kind": True,
    }


@pytest.mark.parametrize("text", ["minimum", "nonsense=1", "implicit=sideways", "minimum=many"])
def test_overrides_refuse_what_they_do_not_know(text: str) -> None:
    with pytest.raises(ValueError, match=r"allowed are|invalid literal"):
        parse_overrides(text)


def test_lifetimes_stretch(engine: Emulator) -> None:
    engine.overrides = parse_overrides("stretch=0.5")
    assert isinstance(engine.clock, Clock)
    chat(engine, TEXT, "hello", model=NEW)
    engine.clock.advance(901)
    assert read(chat(engine, TEXT, "hello", model=NEW)) == 0


def test_deferred_tools_are_no_part_of_the_prefix(engine: Emulator) -> None:
    chat(engine, TEXT, "hello", model=NEW)
    tool = {"type": "function", "function": {"name": "f", "parameters": NOTHING}}
    assert read(chat(engine, TEXT, "hello", model=NEW, tools=[tool | {"defer_loading": True}])) > 0
    assert read(chat(engine, TEXT, "hello", model=NEW, tools=[tool])) == 0


def test_overrides_change_the_profile_in_force(engine: Emulator) -> None:
    engine.overrides = parse_overrides("minimum=100000")
    chat(engine, TEXT, "hello", model=NEW)
    assert engine.records[-1].result.cache_write_tokens == 0
