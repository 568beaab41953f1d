"""The emulated cache behaves as the vendors' pages say, because other tests compare with it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptcache_emulator import cache, tokens
from promptcache_emulator.clock import Clock
from promptcache_emulator.engine import Emulator
from promptcache_emulator.profile_overrides import parse_profile_overrides
from promptcache_emulator.request_record import RequestRecord
from promptcache_emulator.schema_examples import example_for_schema

NOW = 1_795_132_800.0  # 2026-11-20
CHAT = "/v1/chat/completions"
TEXT = " ".join(f"Rule {number}: answer in {number % 7} words." for number in range(400))
OLD_MODEL, NEW_MODEL = "gpt-4o", "gpt-5.6"
EMPTY_SCHEMA: dict[str, Any] = {}


@pytest.fixture
def engine() -> Emulator:
    return Emulator(Clock(NOW))


def send_chat(
    engine: Emulator,
    *texts: str,
    model: str = OLD_MODEL,
    key: str = "a",
    headers: Any = None,
    **more: Any,
) -> RequestRecord:
    """Send a system message and turns of a conversation, and return the emulator's record."""
    roles = ["system", *(["user", "assistant"] * len(texts))]
    messages = [{"role": role, "content": text} for role, text in zip(roles, texts, strict=False)]
    engine.post_json(CHAT, {"model": model, "messages": messages} | more, key, headers)
    return engine.records[-1]


def cache_read_tokens(record: RequestRecord) -> int:
    return record.result.cache_read_tokens


@given(st.text(max_size=200), st.text(max_size=50))
def test_tokens_cover_the_text_and_a_longer_text_never_has_fewer(text: str, more: str) -> None:
    ends = tokens.token_ends(text)
    assert (ends[-1] if ends else 0) == len(text)
    assert list(ends) == sorted(set(ends))
    assert tokens.count_tokens(text + more) >= tokens.count_tokens(text)


def test_token_counts_are_not_a_constant_multiple_of_byte_counts() -> None:
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
@given(TURNS, st.sampled_from([OLD_MODEL, "gpt-5.4", NEW_MODEL, "gpt-6.1-sol"]))
def test_token_classes_add_up_and_older_models_read_in_steps_of_128(
    turns: list[tuple[str, int, str]], model: str
) -> None:
    engine = Emulator(Clock(NOW))
    for word, times, key in turns:
        outcome = send_chat(engine, TEXT, f"{word} " * times * 50, model=model, key=key).result
        assert (
            outcome.uncached_tokens + outcome.cache_read_tokens + outcome.cache_write_tokens
            == outcome.input_tokens
        )
        assert (
            min(outcome.uncached_tokens, outcome.cache_read_tokens, outcome.cache_write_tokens) >= 0
        )
        assert outcome.cache_read_tokens % (128 if model in {OLD_MODEL, "gpt-5.4"} else 1) == 0
        assert model in {NEW_MODEL, "gpt-6.1-sol"} or outcome.cache_write_tokens == 0


@pytest.mark.parametrize("model", [OLD_MODEL, NEW_MODEL])
def test_the_second_turn_reads_the_whole_first_turn(engine: Emulator, model: str) -> None:
    first = send_chat(engine, TEXT, "hello", model=model)
    second = send_chat(engine, TEXT, "hello", "hi", "and now?", model=model)
    assert cache_read_tokens(first) == 0
    assert first.result.input_tokens - 128 < cache_read_tokens(second) <= first.result.input_tokens


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.text(min_size=1, max_size=80), min_size=1, max_size=12),
    st.sampled_from([OLD_MODEL, NEW_MODEL]),
)
def test_a_conversation_that_only_grows_never_reads_less(turns: list[str], model: str) -> None:
    engine = Emulator(Clock(NOW))
    read_tokens = [
        cache_read_tokens(send_chat(engine, TEXT, *turns[:length], model=model))
        for length in range(1, len(turns) + 1)
    ]
    assert read_tokens == sorted(read_tokens)


def test_images_are_counted_by_detail_and_distinguished_by_data(engine: Emulator) -> None:
    def send(data: str, detail: str) -> RequestRecord:
        image = {
            "type": "image_url",
            "image_url": {"url": f"data:image/png;base64,{data}", "detail": detail},
        }
        content = [image, {"type": "text", "text": TEXT}]
        engine.post_json(
            CHAT, {"model": OLD_MODEL, "messages": [{"role": "user", "content": content}]}
        )
        return engine.records[-1]

    first = send("AAAA", "high")
    assert cache_read_tokens(send("BBBB", "high")) == 0
    assert cache_read_tokens(send("AAAA", "high")) > 1024
    assert first.result.input_tokens - send("AAAA", "low").result.input_tokens == 680


def test_the_oldest_entries_of_a_full_cache_are_evicted(
    engine: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "_MAX_ENTRIES", 100)
    for number in range(50):
        send_chat(engine, f"{number} {TEXT}", "hello")
    assert cache_read_tokens(send_chat(engine, f"49 {TEXT}", "hello")) > 0
    assert cache_read_tokens(send_chat(engine, f"0 {TEXT}", "hello")) == 0


@pytest.mark.parametrize("model", [OLD_MODEL, NEW_MODEL])
def test_other_keys_and_models_share_no_cache(engine: Emulator, model: str) -> None:
    send_chat(engine, TEXT, "hello", model=model)
    assert cache_read_tokens(send_chat(engine, TEXT, "hello", model=model, key="b")) == 0
    assert cache_read_tokens(send_chat(engine, TEXT, "hello", model=model + "-mini")) == 0
    assert cache_read_tokens(send_chat(engine, TEXT, "hello", model=model)) > 0


@pytest.mark.parametrize(
    "change",
    [
        {"prompt_cache_key": "k"},
        {"service_tier": "flex"},
        {"parallel_tool_calls": False},
        {"verbosity": "low"},
        {"reasoning_effort": "high"},
        {"response_format": {"type": "json_object"}},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": EMPTY_SCHEMA}}]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_changed_parameter_invalidates_the_prefix(
    engine: Emulator, change: dict[str, Any]
) -> None:
    send_chat(engine, TEXT, "hello", model=NEW_MODEL)
    assert cache_read_tokens(send_chat(engine, TEXT, "hello", model=NEW_MODEL, **change)) == 0
    assert (
        cache_read_tokens(
            send_chat(engine, TEXT, "hello", model=NEW_MODEL, tool_choice="none", temperature=0.5)
        )
        > 0
    )


@pytest.mark.parametrize(
    ("model", "shorter_than_ttl", "longer_than_ttl"),
    [("grok-4", 599, 601), (OLD_MODEL, 86_399, 86_401), (NEW_MODEL, 1799, 1801)],
)
def test_an_entry_expires_and_a_read_renews_it(
    engine: Emulator, model: str, shorter_than_ttl: float, longer_than_ttl: float
) -> None:
    send_chat(engine, TEXT, "hello", model=model)
    for pause, is_hit in (
        (shorter_than_ttl, True),
        (shorter_than_ttl / 2, model != OLD_MODEL),
        (longer_than_ttl, False),
    ):
        assert isinstance(engine.clock, Clock)
        engine.clock.advance(pause)
        assert (cache_read_tokens(send_chat(engine, TEXT, "hello", model=model)) > 0) is is_hit


def test_a_prompt_below_the_minimum_is_not_cached(engine: Emulator) -> None:
    for model in (OLD_MODEL, OLD_MODEL, NEW_MODEL, NEW_MODEL):
        outcome = send_chat(engine, TEXT[:2000], "hello", model=model).result
        assert outcome.input_tokens < 1024
        assert outcome.cache_read_tokens == outcome.cache_write_tokens == 0


def test_the_three_readings_of_implicit_mode_write_at_different_places(engine: Emulator) -> None:
    tokens_by_mode: dict[str, list[tuple[int, int]]] = {}
    for mode in ("latest", "developer", "pinned"):
        engine.reset()
        headers = {"x-emulator-rules": f"implicit={mode}"}
        turns = [(TEXT, "one"), (TEXT, "two"), (TEXT, "two", "yes", "three" * 400)]
        outcomes = [
            send_chat(engine, *turn, model=NEW_MODEL, headers=headers).result for turn in turns
        ]
        tokens_by_mode[mode] = [
            (outcome.cache_read_tokens, outcome.cache_write_tokens) for outcome in outcomes
        ]
    system = tokens_by_mode["developer"][1][0]
    assert [reads for reads, _ in tokens_by_mode["latest"]][:2] == [0, 0], (
        "the latest rules write the whole prompt and read nothing of it"
    )
    assert tokens_by_mode["latest"][1][1] == engine.records[1].result.input_tokens
    assert tokens_by_mode["latest"][2][0] == tokens_by_mode["developer"][2][0] > system > 1024
    assert [reads for reads, _ in tokens_by_mode["pinned"]] == [0, system, system]


def text_with_breakpoint(text: str, **ttl: str) -> dict[str, Any]:
    return {"type": "text", "text": text, "prompt_cache_breakpoint": {"mode": "explicit", **ttl}}


def test_explicit_mode_writes_at_breakpoints_only(engine: Emulator) -> None:
    for question in ("one", "two"):
        content = [text_with_breakpoint(TEXT, ttl="30m"), {"type": "text", "text": question}]
        body = {"model": NEW_MODEL, "prompt_cache_options": {"mode": "explicit"}}
        engine.post_json(CHAT, body | {"messages": [{"role": "user", "content": content}]})
    first, second = (record.result for record in engine.records)
    assert first.cache_write_by_ttl == {"30m": first.cache_write_tokens}
    assert (second.cache_read_tokens, second.cache_write_tokens) == (first.cache_write_tokens, 0)
    assert 0 < first.uncached_tokens < 10
    send_chat(engine, TEXT, "one", model=NEW_MODEL, prompt_cache_options={"mode": "explicit"})
    assert engine.records[-1].result.cache_write_tokens == 0, (
        "explicit mode without a breakpoint does not cache"
    )


def test_at_most_four_breakpoints_are_written(engine: Emulator) -> None:
    parts = [text_with_breakpoint(f"{TEXT} part {number}") for number in range(6)]
    request = {
        "model": NEW_MODEL,
        "prompt_cache_options": {"mode": "explicit"},
        "messages": [{"role": "user", "content": parts}],
    }
    engine.post_json(CHAT, request)
    assert len(engine.records[-1].plan.writes) == 4
    shorter = request | {"messages": [{"role": "user", "content": parts[:2]}]}
    engine.post_json(CHAT, shorter)
    assert engine.records[-1].result.cache_read_tokens == 0, (
        "only the latest four breakpoints are written"
    )


def test_lookback_always_includes_the_first_two_breakpoints(engine: Emulator) -> None:
    parts = [text_with_breakpoint(f"{TEXT} part {number}") for number in range(6)]
    for count, is_hit in ((1, False), (6, True)):
        body = {"model": NEW_MODEL, "messages": [{"role": "user", "content": parts[:count]}]}
        engine.post_json(
            CHAT,
            body | {"prompt_cache_options": {"mode": "explicit"}},
            headers={"x-emulator-rules": "lookback=1"},
        )
        assert (cache_read_tokens(engine.records[-1]) > 0) is is_hit


def test_responses_report_cache_writes_by_ttl(engine: Emulator) -> None:
    details = create_response(engine, prompt_cache_options={"ttl": "12h"})["usage"][
        "input_tokens_details"
    ]
    split = {"ttl_30m_tokens": 0, "ttl_12h_tokens": details["cache_write_tokens"]}
    assert details["cache_write_tokens_details"] == split
    assert details["cache_write_tokens"] > 1024


def test_reusable_tokens_ignore_keys_and_parameters_but_not_text(engine: Emulator) -> None:
    whole = send_chat(engine, TEXT, "hello", model=NEW_MODEL).result.cache_write_tokens
    assert (
        send_chat(
            engine, TEXT, "hello", model=NEW_MODEL, key="b", reasoning_effort="high"
        ).result.reusable_tokens
        == whole
    )
    assert send_chat(engine, "!" + TEXT, "hello", model=NEW_MODEL).result.reusable_tokens == 0


def test_a_copy_of_the_emulator_is_independent(engine: Emulator) -> None:
    twin = engine.copy()
    send_chat(twin, TEXT, "hello")
    assert cache_read_tokens(send_chat(engine, TEXT, "hello")) == 0
    assert cache_read_tokens(send_chat(engine.copy(), TEXT, "hello")) > 0


def test_two_concurrent_cold_requests_both_write(engine: Emulator) -> None:
    commits = [
        engine.cache.plan_request("t", send_chat(engine.copy(), TEXT, "x", model=NEW_MODEL).plan)
        for _ in range(2)
    ]
    assert all(outcome.cache_read_tokens == 0 for outcome, _ in commits)
    commits[0][1]()
    assert (
        engine.cache.plan_request("t", send_chat(engine.copy(), TEXT, "x", model=NEW_MODEL).plan)[
            0
        ].cache_read_tokens
        > 0
    )


def create_response(engine: Emulator, **body: Any) -> dict[str, Any]:
    response: dict[str, Any] = engine.post_json(
        "/v1/responses", {"model": NEW_MODEL, "instructions": TEXT, "input": "hi"} | body
    )
    return response


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model": "gpt-6"}, "model_changed"),
        ({"prompt_cache_key": "other"}, "prompt_cache_key_changed"),
        ({"service_tier": "flex"}, "service_tier_changed"),
        (
            {"tools": [{"type": "function", "name": "f", "parameters": EMPTY_SCHEMA}]},
            "tools_changed",
        ),
        (
            {"text": {"format": {"type": "json_schema", "name": "x", "schema": EMPTY_SCHEMA}}},
            "text_format_changed",
        ),
        ({"reasoning": {"effort": "low"}}, "reasoning_effort_changed"),
        ({"text": {"verbosity": "low"}}, "verbosity_changed"),
        ({"context_management": [{"type": "compaction"}]}, "context_compacted"),
        ({"instructions": "Other. " + TEXT}, "input_changed"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_openai_diagnostics_name_the_first_change(
    engine: Emulator, change: dict[str, Any], reason: str
) -> None:
    parent = create_response(engine)
    response = create_response(
        engine, **change, prompt_cache_options={"comparison_response_id": parent["id"]}
    )
    diagnostics = response["prompt_cache_diagnostics"]
    assert (diagnostics["type"], diagnostics["reason"]) == ("cache_miss", reason)
    assert 0 < diagnostics["cache_missed_tokens"] <= engine.records[0].result.input_tokens


def test_openai_diagnostics_report_hits_expiry_and_unknown_responses(engine: Emulator) -> None:
    options = {"comparison_response_id": create_response(engine)["id"]}
    assert create_response(engine, prompt_cache_options=options)["prompt_cache_diagnostics"] == {
        "type": "cache_hit"
    }
    assert isinstance(engine.clock, Clock)
    engine.clock.advance(7200)
    assert create_response(engine, prompt_cache_options=options)["prompt_cache_diagnostics"] == {
        "type": "unavailable"
    }
    unknown = create_response(engine, prompt_cache_options={"comparison_response_id": "resp_0"})
    assert unknown["prompt_cache_diagnostics"] == {"type": "comparison_response_not_found"}


def test_a_prewarm_request_writes_the_cache_and_has_no_output(engine: Emulator) -> None:
    response = create_response(engine, prompt_cache_options={"prewarm": True})
    assert (response["output"], response["usage"]["output_tokens"]) == ([], 0)
    assert create_response(engine)["usage"]["input_tokens_details"]["cached_tokens"] > 1024


def test_the_input_of_the_previous_response_is_read_from_the_cache(engine: Emulator) -> None:
    parent = create_response(engine)
    child = create_response(engine, input="more", previous_response_id=parent["id"])
    assert (
        child["usage"]["input_tokens_details"]["cached_tokens"] == parent["usage"]["input_tokens"]
    )


def test_the_input_of_a_conversation_is_read_from_the_cache(engine: Emulator) -> None:
    first = create_response(engine, conversation="conv_1")
    second = create_response(engine, input="more", conversation={"id": "conv_1"})
    assert (
        second["usage"]["input_tokens_details"]["cached_tokens"] == first["usage"]["input_tokens"]
    )


def test_evicted_tokens_are_still_reported_as_reusable(engine: Emulator) -> None:
    whole = send_chat(engine, TEXT, "hello", model=NEW_MODEL).result.cache_write_tokens
    engine.cache.evict_all()
    outcome = send_chat(engine, TEXT, "hello", model=NEW_MODEL).result
    assert (outcome.cache_read_tokens, outcome.reusable_tokens) == (0, whole)


def test_the_oldest_stored_responses_are_dropped(engine: Emulator) -> None:
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
ARBITRARY_JSON = st.recursive(
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
@given(st.sampled_from(PATHS), st.dictionaries(st.sampled_from(FIELDS), ARBITRARY_JSON, max_size=8))
def test_an_arbitrary_request_gets_a_valid_response(path: str, body: dict[str, Any]) -> None:
    response, _ = Emulator(Clock(NOW)).handle_request(
        "POST", path, json.dumps(body).encode(), {}, {}
    )
    assert response.status in {200, 400, 403, 404}
    assert response.chunks()


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
def test_each_compatible_server_reports_usage_in_its_own_fields(
    engine: Emulator, dialect: str
) -> None:
    body = {"model": "some-model", "messages": [{"role": "user", "content": TEXT}]}
    engine.post_json(f"/{dialect}/v1/chat/completions", body)
    usage = engine.post_json(f"/{dialect}/v1/chat/completions", body)["usage"]
    common = {"prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details"}
    assert set(usage) - common == DIALECTS[dialect]
    read_tokens = cache_read_tokens(engine.records[-1])
    reported_tokens = usage.get("prompt_cache_hit_tokens", usage.get("cached_tokens"))
    details = usage.get("prompt_tokens_details")
    assert read_tokens > 0
    assert reported_tokens in {None, read_tokens}
    assert details is None or details["cached_tokens"] == read_tokens


def test_a_requested_tool_is_called_with_arguments_of_its_schema(engine: Emulator) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    }
    tool = {"type": "function", "function": {"name": "forecast", "parameters": schema}}
    request: dict[str, Any] = {
        "model": OLD_MODEL,
        "tools": [tool],
        "messages": [{"role": "user", "content": "please call forecast"}],
    }
    choice = engine.post_json(CHAT, request)["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["tool_calls"][0]["function"] == {
        "name": "forecast",
        "arguments": '{"city": "text", "days": 1}',
    }
    result = {"role": "tool", "tool_call_id": "c", "content": "the forecast is sunny"}
    assert (
        engine.post_json(CHAT, request | {"messages": [*request["messages"], result]})["choices"][
            0
        ]["finish_reason"]
        == "stop"
    )
    assert engine.post_json(CHAT, request | {"tool_choice": "none"})["choices"][0]["message"][
        "content"
    ]


def test_an_example_matches_a_schema_with_references() -> None:
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
def test_an_unknown_override_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"allowed are|expected a whole number"):
        parse_profile_overrides(text)


def test_the_stretch_override_scales_the_ttl(engine: Emulator) -> None:
    engine.overrides = parse_profile_overrides("stretch=0.5")
    assert isinstance(engine.clock, Clock)
    send_chat(engine, TEXT, "hello", model=NEW_MODEL)
    engine.clock.advance(901)
    assert cache_read_tokens(send_chat(engine, TEXT, "hello", model=NEW_MODEL)) == 0


def test_deferred_tools_are_not_part_of_the_prefix(engine: Emulator) -> None:
    send_chat(engine, TEXT, "hello", model=NEW_MODEL)
    tool = {"type": "function", "function": {"name": "f", "parameters": EMPTY_SCHEMA}}
    assert (
        cache_read_tokens(
            send_chat(
                engine, TEXT, "hello", model=NEW_MODEL, tools=[tool | {"defer_loading": True}]
            )
        )
        > 0
    )
    assert cache_read_tokens(send_chat(engine, TEXT, "hello", model=NEW_MODEL, tools=[tool])) == 0


def test_an_override_changes_the_profile_in_use(engine: Emulator) -> None:
    engine.overrides = parse_profile_overrides("minimum=100000")
    send_chat(engine, TEXT, "hello", model=NEW_MODEL)
    assert engine.records[-1].result.cache_write_tokens == 0
