"""The emulator against hostile input: it refuses, stays small, and answers the next request."""

from __future__ import annotations

import asyncio
import json
import math
import tracemalloc
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptcache_emulator import engine
from promptcache_emulator.app import build_app
from promptcache_emulator.clock import Clock
from promptcache_emulator.engine import Emulator
from tests.support.asgi import send_request

CHAT: Final = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}
MESSAGES: Final = {**CHAT, "model": "claude-sonnet-4-6", "max_tokens": 9}
MAX_BYTES: Final = 64 << 20


def post(emulator: Emulator, path: str, body: Any, **headers: str) -> tuple[int, Any]:
    """Post JSON or bytes through the ASGI application; return status and parsed answer."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    status, answer = asyncio.run(send_request(build_app(emulator), "POST", path, raw, named))
    return status, json.loads(answer)


def is_healthy(emulator: Emulator) -> bool:
    return post(emulator, "/v1/chat/completions", CHAT)[0] == 200


def nested(depth: int) -> bytes:
    return b'{"model": "gpt-4o", "messages": ' + b"[" * depth + b"]" * depth + b"}"


def schema_of_arrays(depth: int, length: int) -> dict[str, Any]:
    """Return a schema whose smallest example has `length ** depth` values."""
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema, "minItems": length}
    return schema


def schema_that_contains_itself() -> dict[str, Any]:
    return {"type": "object", "properties": {"a": {"$ref": "#"}, "b": {"$ref": "#"}}}


def chat_with_schema(schema: dict[str, Any]) -> dict[str, Any]:
    return CHAT | {"response_format": {"type": "json_schema", "json_schema": {"schema": schema}}}


HOSTILE_BODIES: Final[dict[str, Any]] = {
    "a billion choices": CHAT | {"n": 1_000_000_000},
    "choices below 1": CHAT | {"n": -1},
    "choices without end": b'{"n": 1e999, ' + json.dumps(CHAT).encode()[1:],
    "not a number": b'{"n": NaN, ' + json.dumps(CHAT).encode()[1:],
    "200,000 brackets": nested(200_000),
    "brackets within the recursion limit": nested(900),
    "a long integer": b'{"n": ' + b"9" * 5000 + b"}",
    "a list": [],
    "an array of a billion": chat_with_schema(schema_of_arrays(1, 1_000_000_000)),
    "arrays of arrays": chat_with_schema(schema_of_arrays(20, 20)),
    "a schema that contains itself": chat_with_schema(schema_that_contains_itself()),
    "a long model name": CHAT | {"model": "claude-" * 100_000},
}


@pytest.mark.parametrize("body", HOSTILE_BODIES.values(), ids=HOSTILE_BODIES)
def test_a_hostile_body_is_refused_in_little_memory(body: Any) -> None:
    emulator = Emulator(Clock())
    tracemalloc.start()
    try:
        status, _ = post(emulator, "/v1/chat/completions", body)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert status == 400
    assert peak < MAX_BYTES
    assert is_healthy(emulator)


HOSTILE_HEADERS: Final = [
    ("x_emulator_words", "99999999"),
    ("x_emulator_words", "-1"),
    ("x_emulator_words", "many"),
    ("x_emulator_fault", "slow=nan"),
    ("x_emulator_fault", "slow=1e9"),
    ("x_emulator_fault", "drop=-1"),
    ("x_emulator_fault", "000"),
    ("x_emulator_fault", "100"),
    ("x_emulator_fault", "204"),
    ("x_emulator_rules", "ttl=banana"),
    ("x_emulator_rules", "step=0"),
    ("x_emulator_rules", "minimum=-1"),
    ("x_emulator_rules", "age=nan"),
    ("x_emulator_rules", "stretch=1e308"),
]


@pytest.mark.parametrize(("name", "value"), HOSTILE_HEADERS)
def test_a_hostile_header_is_refused(name: str, value: str) -> None:
    emulator = Emulator(Clock())
    assert post(emulator, "/v1/chat/completions", CHAT, **{name: value})[0] == 400
    assert is_healthy(emulator)


HOSTILE_CONTROLS: Final[list[tuple[str, Any]]] = [
    ("clock", b'{"advance": NaN}'),
    ("clock", {"advance": -1e18}),
    ("clock", {"advance": 1e308}),
    ("clock", {"advance": "far"}),
    ("clock", [1]),
    ("clock", b"[" * 200_000),
    ("faults", {"fault": "429", "times": 1e99}),
    ("faults", {"fault": "429", "times": 1_000_000_000}),
    ("faults", {"fault": "429", "times": -1}),
    ("faults", {"fault": "999"}),
    ("rules", {"rules": "ttl=banana"}),
    ("rules", {"rules": "step=0"}),
]


@pytest.mark.parametrize(("control", "arguments"), HOSTILE_CONTROLS)
def test_a_hostile_control_is_refused_and_changes_nothing(control: str, arguments: Any) -> None:
    emulator = Emulator(Clock())
    assert post(emulator, f"/_emulator/{control}", arguments)[0] == 400
    assert is_healthy(emulator)
    assert post(emulator, "/v1/messages", MESSAGES)[0] == 200


@pytest.mark.parametrize("ttl", ["nan", "1e308s", "-5s", "banana"])
def test_a_refused_lifetime_leaves_no_named_cache(ttl: str) -> None:
    emulator = Emulator(Clock(), "minimum=1")
    body = {
        "model": "models/gemini-2.5-flash",
        "contents": [{"parts": [{"text": "hi"}]}],
        "ttl": ttl,
    }
    assert post(emulator, "/v1beta/cachedContents", body)[0] == 400
    app = build_app(emulator)
    status, answer = asyncio.run(send_request(app, "GET", "/v1beta/cachedContents"))
    assert (status, json.loads(answer)) == (200, {"cachedContents": []})


def test_a_body_beyond_the_limit_is_refused_unread() -> None:
    emulator = Emulator(Clock())
    headers = {"content-length": str(1 << 40)}
    app = build_app(emulator)
    status, _ = asyncio.run(send_request(app, "POST", "/v1/chat/completions", b"{}", headers))
    assert status == 413
    chunked = b" " * ((32 << 20) + 1)
    assert post(emulator, "/v1/chat/completions", chunked)[0] == 413


def test_paths_faults_and_resources_do_not_grow_without_end() -> None:
    emulator = Emulator(Clock())
    item = {"custom_id": "a", "params": MESSAGES}
    for number in range(5000):
        emulator.handle_request("GET", f"/{number}", b"", {}, {})
        emulator.handle_request(
            "POST", "/v1/chat/completions", b"%d" % number, {"x-emulator-fault": "429x1"}, {}
        )
        emulator.handle_request(
            "POST", "/v1/messages/batches", json.dumps({"requests": [item]}).encode(), {}, {}
        )
    assert len(emulator.requests_by_path) <= 1025
    assert emulator.requests_by_path.total() == 15_000
    assert len(emulator.resources) <= 1024
    assert emulator.faults.attempt_count <= 4096


def test_large_requests_leave_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "MAX_RETAINED_BYTES", 100_000)
    monkeypatch.setattr(engine, "_LARGE_BODY_BYTES", 5_000)
    emulator = Emulator(Clock(), "minimum=1")
    body = {"model": "gpt-5.6", "input": "x" * 10_000}
    cache = {"model": "gemini-2.5-pro", "contents": [{"parts": [{"text": "x" * 10_000}]}]}
    ids = [emulator.post_json("/v1/responses", body)["id"] for _ in range(40)]
    kept = [one for one in ids if emulator.stored_value(one)]
    assert kept == ids[-len(kept) :]
    assert 0 < len(kept) < 10
    assert len(emulator.records) <= 17
    statuses = [post(emulator, "/v1beta/cachedContents", cache)[0] for _ in range(40)]
    assert set(statuses) == {200, 429}
    assert statuses.count(200) == len(emulator.resources) < 10


ROUTES: Final = [
    "/v1/chat/completions",
    "/openrouter/v1/chat/completions",
    "/openai/deployments/gpt-4o/chat/completions",
    "/v1/responses",
    "/v1/responses/compact",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/v1/messages/batches",
    "/v1beta/models/gemini-3-pro:generateContent",
    "/v1beta/models/gemini-3-pro:streamGenerateContent",
    "/v1beta/models/gemini-3-pro:countTokens",
    "/v1beta/cachedContents",
    "/v1beta/interactions",
    "/model/amazon.nova-pro/converse",
    "/model/amazon.nova-pro/converse-stream",
    "/model/anthropic.claude-3/invoke",
    "/model/anthropic.claude-3/invoke-with-response-stream",
    "/_emulator/clock",
    "/_emulator/faults",
    "/_emulator/rules",
    "/_emulator/evict",
    "/_emulator/requests",
]
FIELDS: Final = (
    *("model", "messages", "input", "contents", "content", "parts", "text", "role", "system"),
    *("tools", "tool_choice", "toolConfig", "cache_control", "max_tokens", "stream", "n"),
    *("response_format", "reasoning", "requests", "type", "ttl", "schema", "json_schema"),
    *("minItems", "items", "$ref", "properties", "name", "function", "parameters"),
    *("advance", "fault", "times", "path", "rules", "params", "thinking", "cachedContent"),
    *("previous_response_id", "conversation", "instructions", "system_instruction"),
)
ODD_VALUES: Final = (
    *("", "text", "gpt-5.6", "claude-3", "user", "json_schema", "array", "object", "#", "\ud800"),
    *("ttl=1h", "step=0", "stretch=1e300", "slow=0", "incomplete", "x" * 5000, True, None),
    *(0, -1, 1, 3, 10**18, -(10**18), 1e308, -1e308, 0.5),
)
ANY_JSON = st.recursive(
    st.sampled_from(ODD_VALUES),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=6)
    ),
    max_leaves=10,
)
WORKING: Final = (
    CHAT
    | MESSAGES
    | {
        "input": "hi",
        "contents": [{"parts": [{"text": "hi"}]}],
        "model": "claude-3",
    }
)
BODIES = st.one_of(
    st.dictionaries(st.sampled_from(FIELDS), ANY_JSON, max_size=8),
    st.dictionaries(st.sampled_from(FIELDS), ANY_JSON, max_size=3).map(lambda odd: WORKING | odd),
).map(lambda body: json.dumps(body).encode()) | st.binary(max_size=40)
HEADERS = st.dictionaries(
    st.sampled_from(
        ["x-emulator-words", "x-emulator-rules", "x-emulator-polls", "x-emulator-usage"]
    ),
    st.sampled_from(["3", "-1", "1e9", "ttl=1h", "step=1", "minimum=0", "deepseek", "nan", "é"]),
    max_size=2,
)
REQUESTS = st.lists(st.tuples(st.sampled_from(ROUTES), BODIES, HEADERS), min_size=1, max_size=10)


async def send_all(emulator: Emulator, requests: list[Any]) -> list[int]:
    app = build_app(emulator)
    return [(await send_request(app, "POST", *request))[0] for request in requests]


@given(REQUESTS)
def test_no_sequence_of_requests_is_answered_with_500(requests: list[Any]) -> None:
    emulator = Emulator(Clock())
    tracemalloc.start()
    try:
        statuses = asyncio.run(send_all(emulator, requests))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    emulator.faults.clear()
    assert set(statuses) <= {200, 400, 403, 404}
    assert peak < MAX_BYTES
    assert math.isfinite(emulator.clock())
    emulator.overrides = {}
    assert is_healthy(emulator)
