"""The emulator over HTTP: the real SDKs and their helpers work as with the vendor."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import openai
import pytest
from openai import AzureOpenAI, OpenAI
from pydantic import BaseModel

from promptcache_emulator.clock import Clock
from promptcache_emulator.engine import Emulator
from promptcache_emulator.server import running_server

TEXT = " ".join(f"Rule {number}: answer in {number % 7} words." for number in range(400))
CHAT: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "system", "content": TEXT}]}
RESPONSE: dict[str, Any] = {"model": "gpt-5.6", "instructions": TEXT, "input": "hello"}


class Weather(BaseModel):
    city: str
    degrees: int


@pytest.fixture(scope="module")
def engine() -> Emulator:
    return Emulator(Clock())


@pytest.fixture(scope="module")
def url(engine: Emulator) -> Iterator[str]:
    with running_server(engine) as base:
        yield base


@pytest.fixture
def client(engine: Emulator, url: str) -> Iterator[Any]:
    engine.reset()
    with OpenAI(base_url=url + "/v1", api_key="a", max_retries=2) as client:
        yield client


def fault_header(text: str) -> dict[str, str]:
    return {"x-emulator-fault": text}


def test_chat_plain_and_streamed_report_the_same_usage(client: Any) -> None:
    client.chat.completions.create(**CHAT)
    plain = client.chat.completions.create(**CHAT)
    chunks = list(
        client.chat.completions.create(**CHAT, stream=True, stream_options={"include_usage": True})
    )
    assert chunks[-1].usage == plain.usage
    assert plain.usage
    assert plain.usage.prompt_tokens_details
    assert (plain.usage.prompt_tokens_details.cached_tokens or 0) > 1024
    assert (
        "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1])
        == plain.choices[0].message.content
    )
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None for chunk in client.chat.completions.create(**CHAT, stream=True))


def test_the_chat_helpers_parse_structured_output(client: Any) -> None:
    request = CHAT | {"response_format": Weather}
    assert client.chat.completions.parse(**request).choices[0].message.parsed == Weather(
        city="text", degrees=1
    )
    with client.chat.completions.stream(**request) as stream:
        stream.until_done()
    assert stream.get_final_completion().choices[0].message.parsed == Weather(
        city="text", degrees=1
    )


def test_the_responses_helpers_parse_output_and_tool_calls(client: Any) -> None:
    assert client.responses.parse(**RESPONSE, text_format=Weather).output_parsed == Weather(
        city="text", degrees=1
    )
    with client.responses.stream(**RESPONSE, text_format=Weather) as stream:
        assert stream.get_final_response().output_parsed == Weather(city="text", degrees=1)
    tool: Any = {
        "type": "function",
        "name": "forecast",
        "parameters": Weather.model_json_schema(),
        "strict": False,
    }
    with client.responses.stream(**RESPONSE, tools=[tool], tool_choice="required") as stream:
        called: Any = stream.get_final_response().output[0]
    assert (called.type, called.name) == ("function_call", "forecast")


def test_a_background_response_reports_usage_once_it_is_completed(client: Any) -> None:
    queued = client.responses.create(
        **RESPONSE, background=True, extra_headers={"x-emulator-polls": "2"}
    )
    assert (queued.status, queued.usage) == ("queued", None)
    assert client.responses.retrieve(queued.id).usage is None
    done = client.responses.retrieve(queued.id)
    assert done.status == "completed"
    assert done.usage
    events = list(client.responses.retrieve(queued.id, stream=True, starting_after=2))
    assert events[0].sequence_number == 3
    assert events[-1].type == "response.completed"
    assert events[-1].response.usage == done.usage


def test_a_compaction_reports_its_own_usage(client: Any) -> None:
    compacted = client.responses.compact(model="gpt-5.6", input=TEXT)
    assert compacted.usage.input_tokens > 1024
    assert compacted.output[-1].type == "compaction"
    follow: Any = [{"role": "user", "content": "hello"}, compacted.output[-1].to_dict()]
    assert client.responses.create(model="gpt-5.6", input=follow).usage


@pytest.mark.filterwarnings(
    "ignore:connect\\(\\) must be used:DeprecationWarning"
)  # the SDK's use of websockets 17
def test_a_websocket_connection_serves_several_requests(client: Any) -> None:
    def last(connection: Any) -> Any:
        connection.response.create(**RESPONSE)
        return next(event for event in connection if event.type == "response.completed")

    with client.responses.connect() as connection:
        assert last(connection).response.id != (again := last(connection)).response.id
    assert again.response.usage.input_tokens_details.cached_tokens > 1024


def test_azure_deployments_and_keys_are_recognized(client: Any, engine: Emulator, url: str) -> None:
    azure: Any = AzureOpenAI(azure_endpoint=url, api_key="z", api_version="2024-10-21")
    with azure:
        completion = azure.chat.completions.create(**CHAT | {"model": "our-gpt-5.6"})
        assert azure.responses.create(**RESPONSE).usage
    assert completion.model == "gpt-5.6"
    assert engine.records[0].cache_scope == "z"


@pytest.mark.parametrize(
    ("spec", "raised"),
    [
        ("429", openai.RateLimitError),
        ("500", openai.InternalServerError),
        ("529", openai.APIStatusError),
        ("reset", openai.APIConnectionError),
        ("drop=0", openai.APIConnectionError),
    ],
)
def test_a_fault_raises_the_exception_of_the_sdk(
    client: Any, spec: str, raised: type[Exception]
) -> None:
    with pytest.raises(raised):
        client.with_options(max_retries=0).chat.completions.create(
            **CHAT, extra_headers=fault_header(spec)
        )
    assert client.chat.completions.create(**CHAT, extra_headers=fault_header(f"{spec}x1")).usage


def test_stream_faults_drop_fail_or_end_the_stream(client: Any) -> None:
    def kinds(spec: str) -> list[str]:
        return [
            event.type
            for event in client.responses.create(
                **RESPONSE, stream=True, extra_headers=fault_header(spec)
            )
        ]

    broken = client.responses.create(**RESPONSE, stream=True, extra_headers=fault_header("drop=2"))
    assert [next(broken).type, next(broken).type] == ["response.created", "response.in_progress"]
    with pytest.raises(openai.APIConnectionError):
        next(broken)
    assert kinds("error-event=2")[-1] == "error"
    assert kinds("failed")[-1] == "response.failed"
    assert kinds("incomplete")[-1] == "response.incomplete"
    with pytest.raises(openai.APIError, match="had an error"):
        list(
            client.chat.completions.create(
                **CHAT, stream=True, extra_headers=fault_header("error-event=1")
            )
        )


def test_concurrent_cold_requests_read_nothing_and_slow_streams_take_time(
    url: str, engine: Emulator
) -> None:
    engine.reset()
    with running_server(engine, latency=0.2) as slow, ThreadPoolExecutor(2) as pool:
        body = RESPONSE | {"stream": True}
        sent = [pool.submit(httpx2.post, slow + "/v1/responses", json=body) for _ in range(2)]
    assert [answer.result().status_code for answer in sent] == [200, 200]
    assert [record.result.cache_read_tokens for record in engine.records] == [0, 0]
    started = time.monotonic()
    httpx2.post(
        url + "/v1/chat/completions",
        json=CHAT | {"stream": True},
        headers=fault_header("slow=0.01"),
    )
    assert time.monotonic() - started > 0.1


def test_unknown_faults_and_rules_are_refused(url: str) -> None:
    for headers in (fault_header("nonsense"), {"x-emulator-rules": "nonsense=1"}):
        refused = httpx2.post(url + "/v1/chat/completions", json=CHAT, headers=headers)
        assert refused.status_code == 400
        assert "allowed are" in refused.json()["error"]["message"]


def test_malformed_usage_has_the_requested_shape(client: Any) -> None:
    def usage(shape: str) -> Any:
        headers = fault_header(f"malformed-usage={shape}")
        return client.chat.completions.with_raw_response.create(
            **CHAT, extra_headers=headers
        ).http_response.json()

    assert "usage" not in usage("missing")
    assert usage("null")["usage"] is None
    assert usage("negative")["usage"]["prompt_tokens"] < 0
    assert isinstance(usage("string")["usage"]["prompt_tokens"], str)
    assert usage("nan")["usage"]["prompt_tokens"] != usage("nan")["usage"]["prompt_tokens"]


def test_the_control_routes_change_and_report_the_state(
    client: Any, engine: Emulator, url: str
) -> None:
    def control(name: str, **body: Any) -> httpx2.Response:
        return httpx2.post(f"{url}/_emulator/{name}", json=body)

    before = engine.clock()
    control("clock", advance=3600)
    assert engine.clock() - before > 3599
    control("faults", fault="429", path="/responses")
    client.chat.completions.create(**CHAT)
    with pytest.raises(openai.RateLimitError):
        client.with_options(max_retries=0).responses.create(**RESPONSE)
    summary = httpx2.get(f"{url}/_emulator/requests").json()
    assert summary["paths"] == {"POST /v1/chat/completions": 1, "POST /v1/responses": 1}
    assert summary["totals"]["input"] == engine.records[0].result.input_tokens
    assert control("rules", rules="minimum=9").status_code == 200
    assert engine.overrides == {"min_tokens": 9}
    assert control("rules", rules="").status_code == 200
    assert [control("faults", fault="nonsense").status_code, control("nothing").status_code] == [
        400,
        404,
    ]
    assert control("evict").status_code == 200
    control("reset")
    assert not engine.records


def test_refusals_have_the_shape_of_the_vendor(client: Any, url: str) -> None:
    with pytest.raises(openai.BadRequestError, match="at least one message"):
        client.chat.completions.create(model="gpt-4o", messages=[])
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve("resp_unknown")
    assert httpx2.post(url + "/v1/chat/completions", content=b"{").status_code == 400
    assert httpx2.get(url + "/nowhere").status_code == 404


def test_the_command_prints_its_url_and_refuses_other_addresses() -> None:
    script = "import typer\nfrom promptcache.cli.emulate import emulate\ntyper.run(emulate)"
    run = [sys.executable, "-c", script]
    public = [*run, "--host", "0.0.0.0"]
    without = "import sys\nsys.modules['uvicorn'] = None\n" + script
    missing = subprocess.run([sys.executable, "-c", without], capture_output=True, check=False)
    assert b'"promptcache[emulator]"' in missing.stderr.replace(b"\n", b"")
    refused = subprocess.run(public, capture_output=True, check=False)
    assert refused.returncode == 2
    assert b"not loopback" in refused.stderr
    named = [*run, "--port", "0", "--allow-host", "model", "--allow-host", "model.test"]
    with subprocess.Popen(named, stdout=subprocess.PIPE) as served:
        assert served.stdout
        base = served.stdout.readline().decode().strip()
        try:
            clock = base + "/_emulator/clock"
            assert httpx2.get(clock).status_code == 200
            statuses = [
                httpx2.get(clock, headers={"host": host}).status_code
                for host in ("model:8080", "model.test", "attacker.example")
            ]
            assert statuses == [200, 200, 403]
        finally:
            served.terminate()
