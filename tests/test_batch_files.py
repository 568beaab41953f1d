"""Results of batches that come as files or inside the job: OpenAI's and Gemini's.

They count once, at the batch price. Other files are downloaded as if we were not there.
"""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from threading import Event, current_thread
from threading import enumerate as enumerate_threads
from typing import Any, Final

import pytest

from promptcache.patching import event_decoder, response_reader
from promptcache.patching.event_decoder import RecognizingDecoder, make_event_decoder
from promptcache.providers.google import wire as google_wire
from promptcache.providers.openai import wire as openai_wire
from promptcache_emulator.engine import Emulator
from tests.support.call_shapes import CHAT, RESPONSES, enter, resolve
from tests.support.call_shapes_google import CLIENTS as GOOGLE_CLIENTS
from tests.support.call_shapes_google import GEMINI, LONG_SYSTEM, QUESTION
from tests.support.sdks import KITS
from tests.support.telemetry import Telemetry

# aiohttp 3.14 warns of a subclass that google-genai 3.4 makes.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Inheritance class AiohttpClientSession:DeprecationWarning"
)
OPENAI_CLIENTS: Final = {
    name: kit.clients[name] for kit in KITS if kit.name == "openai" for name in ("sync", "async")
}
ENDPOINTS: Final = {"/v1/chat/completions": CHAT, "/v1/responses": RESPONSES}
EMBEDDING: Final[dict[str, Any]] = {
    "object": "list",
    "usage": {"prompt_tokens": 9, "total_tokens": 9},
}


@pytest.fixture(params=OPENAI_CLIENTS)
async def client(request: pytest.FixtureRequest, emulator_url: str) -> AsyncIterator[Any]:
    async with OPENAI_CLIENTS[request.param](emulator_url) as client_instance:
        yield client_instance


@pytest.fixture(params=GOOGLE_CLIENTS)
async def google_client(request: pytest.FixtureRequest, emulator_url: str) -> AsyncIterator[Any]:
    async with GOOGLE_CLIENTS[request.param](emulator_url) as client_instance:
        yield client_instance


def to_json_lines(*values: Any) -> bytes:
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


async def upload(client: Any, content: bytes, purpose: str = "batch") -> str:
    file = await resolve(client.files.create(file=("in.jsonl", content), purpose=purpose))
    assert isinstance(file.id, str)
    return file.id


async def run_batch(client: Any, endpoint: str, *bodies: Any) -> Any:
    """Run a batch of requests with these bodies, and return the finished batch."""
    lines = [
        {"custom_id": f"c{number}", "method": "POST", "url": endpoint, "body": body}
        for number, body in enumerate(bodies)
    ]
    batch = await resolve(
        client.batches.create(
            input_file_id=await upload(client, to_json_lines(*lines)),
            endpoint=endpoint,
            completion_window="24h",
        )
    )
    return await resolve(client.batches.retrieve(batch.id))


def assert_two_results_at_the_batch_price(emulator: Emulator, telemetry: Telemetry) -> None:
    (span,) = telemetry.calls
    attributes: Any = span.attributes
    records = [record.result for record in emulator.records]
    assert attributes["promptcache.batch"] is True
    for name, field in (("input", "input_tokens"), ("read", "cache_read_tokens")):
        emulated = sum(getattr(record, field) for record in records)
        assert attributes[f"promptcache.{name}_tokens"] == emulated > 0
    assert telemetry.metric("promptcache.calls", promptcache__batch=True) == 2
    assert telemetry.metric("promptcache.calls") == 2
    costs = [json.loads(entry) for entry in attributes["promptcache.batch.results"]]
    assert len(costs) == 2
    assert attributes["promptcache.cost.amount"] > 0


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_an_output_file_counts_once_at_the_batch_price(
    client: Any, emulator: Emulator, telemetry: Telemetry, endpoint: str
) -> None:
    body = ENDPOINTS[endpoint]
    batch = await run_batch(client, endpoint, body, body)
    assert not telemetry.calls, "a batch is no call before its results are read"
    texts = [(await resolve(client.files.content(batch.output_file_id))).text for _ in range(2)]
    assert texts[0] == texts[1]
    assert [json.loads(line)["custom_id"] for line in texts[0].splitlines()] == ["c0", "c1"]
    assert_two_results_at_the_batch_price(emulator, telemetry)
    await resolve(
        client.chat.completions.create(**CHAT)
        if endpoint == "/v1/chat/completions"
        else client.responses.create(**RESPONSES)
    )
    batch_call, single = (call.attributes for call in telemetry.calls)
    assert batch_call is not None
    assert single is not None
    name = "promptcache.cost.without_cache"
    assert batch_call[name] == pytest.approx(single[name])


async def test_refused_requests_of_a_batch_make_no_call(client: Any, telemetry: Telemetry) -> None:
    batch = await run_batch(client, "/v1/chat/completions", {"model": "gpt-5.4"})
    assert batch.request_counts.failed == 1
    assert (await resolve(client.files.content(batch.error_file_id))).text
    assert not telemetry.calls


async def test_a_large_output_file_is_read_beside_the_application(
    client: Any, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = await run_batch(client, "/v1/chat/completions", CHAT, CHAT)
    monkeypatch.setattr(response_reader, "MAX_INLINE_BYTES", 9)
    may_read, threads = Event(), list[str]()

    def read_late(content: bytes) -> Any:
        threads.append(current_thread().name)
        may_read.wait(60)
        return json.loads(content)

    monkeypatch.setattr(event_decoder, "parse_json_object", read_late)
    await resolve(client.files.content(batch.output_file_id))
    assert not telemetry.calls, "the application has its file before we have read it"
    may_read.set()
    for thread in enumerate_threads():
        if thread.name == response_reader.THREAD_NAME:
            thread.join()
    assert threads == [response_reader.THREAD_NAME] * 2
    assert telemetry.metric("promptcache.calls") == 2


async def test_a_streamed_output_file_counts(
    client: Any, emulator: Emulator, telemetry: Telemetry
) -> None:
    batch = await run_batch(client, "/v1/chat/completions", CHAT, CHAT)
    manager = client.files.with_streaming_response.content(batch.output_file_id)
    async with enter(manager) as response:
        content = await resolve(response.read())
    assert len(content.splitlines()) == 2
    assert_two_results_at_the_batch_price(emulator, telemetry)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x89PNG" + bytes(5000),
        b'{"messages": []}\n' * 400,
        to_json_lines({"id": "1", "custom_id": "c", "response": None, "error": {"code": "x"}}),
        to_json_lines({"custom_id": "c", "response": {"status_code": 200, "body": EMBEDDING}}),
        to_json_lines({"custom_id": "c", "method": "POST", "url": "/v1/responses", "body": {}}),
        b'{"id": ' + b"[" * 5000,
    ],
)
async def test_a_file_without_results_makes_no_call(
    client: Any, telemetry: Telemetry, content: bytes
) -> None:
    file_id = await upload(client, content.decode("latin-1").encode())
    downloaded = await resolve(client.files.content(file_id))
    assert downloaded.content == content.decode("latin-1").encode()
    assert type(downloaded).__name__ == "HttpxBinaryResponseContent"
    assert not telemetry.calls
    assert telemetry.metric("promptcache.calls") == 0


async def test_a_missing_file_raises_the_error_of_the_sdk(
    client: Any, telemetry: Telemetry
) -> None:
    with pytest.raises(Exception, match="404"):
        await resolve(client.files.content("file-none"))
    assert not telemetry.calls


def google_item(text: str = QUESTION) -> dict[str, Any]:
    return {
        "contents": [{"role": "user", "parts": [{"text": text}]}],
        "config": {"system_instruction": LONG_SYSTEM},
    }


async def test_inlined_results_count_once_at_the_batch_price(
    google_client: Any, emulator: Emulator, telemetry: Telemetry
) -> None:
    job = await resolve(
        google_client.batches.create(model=GEMINI, src=[google_item(), google_item()])
    )
    assert not telemetry.calls, "a batch is no call before its results are read"
    jobs = [await resolve(google_client.batches.get(name=job.name)) for _ in range(2)]
    assert [len(finished.dest.inlined_responses) for finished in jobs] == [2, 2]
    assert_two_results_at_the_batch_price(emulator, telemetry)
    attributes: Any = telemetry.calls[0].attributes
    assert attributes["gen_ai.request.model"] == attributes["gen_ai.response.model"] == GEMINI


async def run_google_batch_of_file(google_client: Any) -> str:
    """Run a batch of two requests of a file, and return the name of the file with the results."""
    request = {
        "contents": [{"role": "user", "parts": [{"text": QUESTION}]}],
        "systemInstruction": {"parts": [{"text": LONG_SYSTEM}]},
    }
    lines = to_json_lines({"key": "a", "request": request}, {"key": "b", "request": request})
    file = await resolve(
        google_client.files.upload(file=io.BytesIO(lines), config={"mime_type": "jsonl"})
    )
    job = await resolve(google_client.batches.create(model=GEMINI, src=file.name))
    finished = await resolve(google_client.batches.get(name=job.name))
    assert isinstance(finished.dest.file_name, str)
    return finished.dest.file_name


async def test_a_downloaded_file_of_results_counts_once(
    google_client: Any, emulator: Emulator, telemetry: Telemetry
) -> None:
    name = await run_google_batch_of_file(google_client)
    assert not telemetry.calls
    contents = [await resolve(google_client.files.download(file=name)) for _ in range(2)]
    assert [json.loads(line)["key"] for line in contents[0].splitlines()] == ["a", "b"]
    assert_two_results_at_the_batch_price(emulator, telemetry)


async def test_results_that_are_written_to_a_file_count(
    google_client: Any, emulator: Emulator, telemetry: Telemetry, tmp_path: Path
) -> None:
    name, path = await run_google_batch_of_file(google_client), tmp_path / "out.jsonl"
    await resolve(google_client.files.download(file=name, destination=path))
    assert len(path.read_bytes().splitlines()) == 2
    assert_two_results_at_the_batch_price(emulator, telemetry)


async def test_another_downloaded_file_makes_no_call(
    google_client: Any, telemetry: Telemetry
) -> None:
    content = b"not a batch\n" * 500
    file = await resolve(
        google_client.files.upload(file=io.BytesIO(content), config={"mime_type": "text/plain"})
    )
    assert await resolve(google_client.files.download(file=file.name)) == content
    assert not telemetry.calls


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_the_beginning_is_recognised_in_pieces_of_any_size(step: int) -> None:
    line = {"id": "b", "custom_id": "c", "response": {"body": {"object": "chat.completion"}}}
    body = to_json_lines(line, line)
    decoder = make_event_decoder(
        "", is_json_lines=True, body_start=openai_wire.BATCH_RESULTS.body_start
    )
    events = [
        event
        for start in range(0, len(body), step)
        for event in decoder.feed(body[start : start + step], None)
    ]
    assert [*events, *decoder.flush()] == [line, line]


def test_of_another_file_only_the_beginning_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    start = google_wire.BATCH_RESULTS.body_start
    assert start is not None
    decoder = RecognizingDecoder(event_decoder.SeparatedEventDecoder(b"\n"), start)
    monkeypatch.setattr(event_decoder, "parse_json_object", None)
    for _ in range(300):
        assert decoder.feed(b"x", None) == []
    assert decoder.is_other_body
    assert decoder.feed(b'{"response": {"usageMetadata": {}}}\n', None) == decoder.flush() == []


async def test_results_with_the_same_response_id_count_each(
    client: Any, telemetry: Telemetry
) -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}
    body = {"id": "chatcmpl-1", "object": "chat.completion", "model": "gpt-5.4", "usage": usage}
    lines = to_json_lines(*[{"custom_id": one, "response": {"body": body}} for one in "abc"])
    file_id = await upload(client, lines)
    for _ in range(2):
        await resolve(client.files.content(file_id))
    assert telemetry.metric("promptcache.calls") == 3


async def test_no_text_or_id_of_a_batch_leaves_the_process(
    client: Any, telemetry: Telemetry
) -> None:
    message = {"index": 0, "message": {"content": "canary-text"}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}
    body = {"object": "chat.completion", "model": "gpt-5.4", "choices": [message], "usage": usage}
    line = {"custom_id": "canary-id", "response": {"body": body}}
    await resolve(client.files.content(await upload(client, to_json_lines(line))))
    (span,) = telemetry.calls
    assert "canary" not in span.to_json()
