"""Mocks of others win, decided for each call: the real packages, installed before and after us."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Final
from unittest import mock

import pytest

boto3: Any = import_module("boto3")
httpx: Any = import_module("httpx")
httpx2: Any = import_module("httpx2")
moto: Any = import_module("moto")
requests: Any = import_module("requests")
respx: Any = import_module("respx")
stub: Any = import_module("botocore.stub")
vcr: Any = import_module("vcr")

HANDBOOK: Final = (
    "You are the support agent of a web shop, and you follow the handbook to the letter. " * 120
)
URL: Final = "https://api.openai.com/v1/chat/completions"
MODEL: Final = "anthropic.claude-sonnet-4-5-20250929-v1:0"
MESSAGE: Final = {"role": "assistant", "content": "mine"}
ANSWER: Final = {
    "id": "x",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "finish_reason": "stop", "message": MESSAGE}],
}
CONVERSE_ANSWER: Final = {
    "output": {"message": {"role": "assistant", "content": [{"text": "mine"}]}},
    "stopReason": "end_turn",
    "metrics": {"latencyMs": 1},
    "usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2},
}
CLIENTS: Final = {"httpx": httpx.Client(), "httpx2": httpx2.Client(), "requests": requests}
"""Made at import time, before any mock or fixture."""


def chat(client: Any) -> list[str]:
    """Make two turns of Chat Completions, and return the texts of the answers."""
    texts: list[str] = []
    for text in ("one", "two"):
        messages = [{"role": "system", "content": HANDBOOK}, {"role": "user", "content": text}]
        body = {"model": "gpt-4.1", "messages": messages}
        answer = client.post(URL, json=body, headers={"authorization": "Bearer x"})
        texts.append(answer.json()["choices"][0]["message"]["content"])
    return texts


def bedrock() -> Any:
    return boto3.client("bedrock-runtime", region_name="us-east-1")


def converse(client: Any) -> list[str]:
    system = [{"text": HANDBOOK}, {"cachePoint": {"type": "default"}}]
    answers = [
        client.converse(
            modelId=MODEL, system=system, messages=[{"role": "user", "content": [{"text": text}]}]
        )
        for text in ("one", "two")
    ]
    return [answer["output"]["message"]["content"][0]["text"] for answer in answers]


def invoke(client: Any) -> None:
    for text in ("one", "two"):
        block = {"type": "text", "text": HANDBOOK, "cache_control": {"type": "ephemeral"}}
        body = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 9, "system": [block]}
        messages = {"messages": [{"role": "user", "content": text}]}
        client.invoke_model(modelId=MODEL, body=json.dumps(body | messages))


# The mocks


@contextmanager
def respx_in_the_pool() -> Generator[None]:
    with respx.mock(using="httpcore") as router:
        router.post(URL).respond(json=ANSWER)
        yield


@contextmanager
def respx_in_the_client() -> Generator[None]:
    with respx.mock as router:
        router.post(URL).respond(json=ANSWER)
        yield


def write_tape(path: Path) -> str:
    response = {
        "status": {"code": 200, "message": "OK"},
        "headers": {"content-type": ["application/json"]},
        "body": {"string": json.dumps(ANSWER)},
    }
    request: dict[str, Any] = {"method": "POST", "uri": URL, "body": "", "headers": {}}
    interactions: list[Any] = [{"request": request, "response": response}] * 2
    path.write_text(json.dumps({"version": 1, "interactions": interactions}))
    return str(path)


ORDERS: Final = pytest.mark.parametrize("is_mock_first", [True, False])


@contextmanager
def both(
    request: pytest.FixtureRequest, context: AbstractContextManager[Any], *, is_mock_first: bool
) -> Generator[tuple[Any, Any]]:
    """Enter the mock and the fixture in the order of the test."""
    fixture = None if is_mock_first else request.getfixturevalue("prompt_cache")
    with context as entered:
        yield fixture or request.getfixturevalue("prompt_cache"), entered


def assert_seen(fixture: Any, *, is_answered: bool) -> None:
    """Check that both bodies were recorded, and who answered them."""
    assert [call.is_answered for call in fixture.calls] == [is_answered] * 2
    fixture.check(hit_rate=0.8)


@ORDERS
@pytest.mark.parametrize("context", [respx_in_the_pool, respx_in_the_client])
def test_respx_answers_httpx(
    request: pytest.FixtureRequest,
    context: Callable[[], AbstractContextManager[None]],
    is_mock_first: bool,
) -> None:
    with both(request, context(), is_mock_first=is_mock_first) as (fixture, _):
        assert chat(CLIENTS["httpx"]) == ["mine", "mine"]
        assert_seen(fixture, is_answered=False)


@ORDERS
def test_what_respx_does_not_mock_is_ours(
    request: pytest.FixtureRequest, is_mock_first: bool
) -> None:
    router = respx.mock(using="httpcore", assert_all_called=False)
    with both(request, router, is_mock_first=is_mock_first) as (fixture, _):
        assert chat(CLIENTS["httpx2"]) != ["mine", "mine"]
        assert_seen(fixture, is_answered=True)


def _answer_by_pytest_httpx(httpx_mock: Any, fixture: Any) -> None:
    httpx_mock.add_response(url=URL, json=ANSWER, is_reusable=True)
    assert chat(CLIENTS["httpx"]) == ["mine", "mine"]
    assert_seen(fixture, is_answered=False)


def test_pytest_httpx_answers_first(httpx_mock: Any, prompt_cache: Any) -> None:
    _answer_by_pytest_httpx(httpx_mock, prompt_cache)


def test_pytest_httpx_answers_second(prompt_cache: Any, httpx_mock: Any) -> None:
    _answer_by_pytest_httpx(httpx_mock, prompt_cache)


def is_put(request: Any) -> bool:
    return bool(request.method == "PUT")


UNMOCKED: Final = pytest.mark.httpx_mock(should_mock=is_put)


@UNMOCKED
def test_what_pytest_httpx_does_not_mock_is_ours_first(httpx_mock: Any, prompt_cache: Any) -> None:
    assert chat(CLIENTS["httpx"]) != ["mine", "mine"]
    assert_seen(prompt_cache, is_answered=True)


@UNMOCKED
def test_what_pytest_httpx_does_not_mock_is_ours_second(prompt_cache: Any, httpx_mock: Any) -> None:
    assert chat(CLIENTS["httpx"]) != ["mine", "mine"]
    assert_seen(prompt_cache, is_answered=True)


@ORDERS
@pytest.mark.parametrize("client", CLIENTS)
def test_vcr_answers_from_its_tape(
    request: pytest.FixtureRequest, tmp_path: Path, client: str, is_mock_first: bool
) -> None:
    tape = vcr.VCR(record_mode="none").use_cassette(write_tape(tmp_path / "tape.yaml"))
    with both(request, tape, is_mock_first=is_mock_first) as (fixture, _):
        assert chat(CLIENTS[client]) == ["mine", "mine"]
        assert_seen(fixture, is_answered=False)


@ORDERS
def test_the_stubber_answers(request: pytest.FixtureRequest, is_mock_first: bool) -> None:
    client = bedrock()
    with both(request, stub.Stubber(client), is_mock_first=is_mock_first) as (fixture, stubber):
        for _ in range(2):
            stubber.add_response("converse", CONVERSE_ANSWER)
        assert converse(client) == ["mine", "mine"]
        assert_seen(fixture, is_answered=False)


@ORDERS
def test_moto_answers(request: pytest.FixtureRequest, is_mock_first: bool) -> None:
    with both(request, moto.mock_aws(), is_mock_first=is_mock_first) as (fixture, _):
        storage = boto3.client("s3", region_name="us-east-1")
        storage.create_bucket(Bucket="bucket-1")
        assert storage.list_buckets()["Buckets"]
        invoke(bedrock())
        assert_seen(fixture, is_answered=False)


@ORDERS
def test_what_moto_lets_pass_is_ours(request: pytest.FixtureRequest, is_mock_first: bool) -> None:
    passed = {"core": {"passthrough": {"urls": ["https?://bedrock-runtime.*"]}}}
    with both(request, moto.mock_aws(config=passed), is_mock_first=is_mock_first) as (fixture, _):
        assert len(converse(bedrock())) == 2
        assert_seen(fixture, is_answered=True)


@ORDERS
@pytest.mark.promptcache(min_calls=0)
def test_functions_that_a_mock_replaced_stay_replaced(
    request: pytest.FixtureRequest, is_mock_first: bool
) -> None:
    owner = "botocore.client.BaseClient._make_api_call"
    with both(request, mock.patch(owner, return_value={"x": 1}), is_mock_first=is_mock_first) as (
        fixture,
        _,
    ):
        with mock.patch.object(httpx.Client, "send", return_value="sent"):
            assert CLIENTS["httpx"].get("https://api.example.com") == "sent"
        assert boto3.client("s3", region_name="us-east-1").list_buckets() == {"x": 1}
        assert not fixture.calls
