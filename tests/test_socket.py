"""Over WebSocket, each response of the Responses and Realtime APIs is one call."""

from __future__ import annotations

import json
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import openai
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from tests.support.call_shapes import MODEL, SYSTEM
from tests.support.telemetry import Telemetry

# openai 3.52 opens its connections in a way that websockets 17 deprecates.
pytestmark = pytest.mark.filterwarnings(
    "ignore:connect\\(\\) must be used as a context manager:DeprecationWarning"
)

USAGE = {
    "input_tokens": 2000,
    "output_tokens": 10,
    "total_tokens": 2010,
    "input_tokens_details": {"cached_tokens": 1920, "cache_write_tokens": 0},
    "output_tokens_details": {"reasoning_tokens": 0},
}
REALTIME_USAGE = {
    "input_tokens": 300,
    "output_tokens": 20,
    "total_tokens": 320,
    "input_token_details": {
        "text_tokens": 100,
        "audio_tokens": 200,
        "cached_tokens": 128,
        "cached_tokens_details": {"text_tokens": 64, "audio_tokens": 64},
    },
    "output_token_details": {"audio_tokens": 15, "text_tokens": 5},
}


def serve_responses(socket: ServerConnection) -> None:
    """Answer each request. A request on the stream `late` is answered after the next request."""
    late: list[str] = []
    for number, message in enumerate(socket):
        request = json.loads(message)
        stream = {"stream_id": request["stream_id"]} if "stream_id" in request else {}
        if request.get("input") == "refuse":
            socket.send(
                json.dumps({"type": "error", "code": "conversation_full", "message": "m", **stream})
            )
            continue
        response = {
            "id": f"resp_{number}",
            "object": "response",
            "model": MODEL,
            "status": "in_progress",
        }
        socket.send(json.dumps({"type": "response.created", "response": response, **stream}))
        if request.get("input") == "hang up":
            return
        delta = {
            "type": "response.output_text.delta",
            "delta": '"response":',
            "item_id": "i",
            **stream,
        }
        ended = json.dumps(
            {
                "type": "response.completed",
                "response": {**response, "status": "completed", "usage": USAGE},
                **stream,
            }
        )
        socket.send(json.dumps(delta))
        if request.get("stream_id") == "late":
            late.append(ended)
        else:
            socket.send(ended)
            for event in late:
                socket.send(event)


def serve_realtime(socket: ServerConnection) -> None:
    """Answer each `response.create` twice: the second response is unrequested, as with voice
    detection."""
    for number, message in enumerate(socket):
        kinds = (
            ["requested", "unrequested"] if json.loads(message)["type"] == "response.create" else []
        )
        for kind in kinds:
            response = {
                "id": f"{kind}_{number}",
                "object": "realtime.response",
                "status": "in_progress",
            }
            socket.send(
                json.dumps({"type": "response.created", "event_id": "e", "response": response})
            )
            delta = {
                "type": "response.output_text.delta",
                "response_id": response["id"],
                "delta": "hi",
                "event_id": "e",
            }
            socket.send(json.dumps(delta))
            done = {**response, "status": "completed", "usage": REALTIME_USAGE}
            socket.send(json.dumps({"type": "response.done", "event_id": "e", "response": done}))


@contextmanager
def running_server(handler: Any) -> Generator[str]:
    with serve(handler, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.socket.getsockname()[1]}/v1"
        server.shutdown()
        thread.join()


@pytest.fixture
def client() -> Iterator[openai.OpenAI]:
    with (
        running_server(serve_responses) as url,
        openai.OpenAI(base_url=url, api_key="secret-key") as client,
    ):
        yield client


def read_until(connection: Any, kind: str, times: int = 1) -> None:
    for event in connection:
        times -= event.type == kind
        if not times:
            return


def send_request(connection: Any, **more: Any) -> None:
    connection.send(
        {"type": "response.create", "model": MODEL, "instructions": SYSTEM, "input": "hi", **more}
    )


def test_each_response_on_a_connection_is_a_call(
    client: openai.OpenAI, telemetry: Telemetry
) -> None:
    with client.responses.connect() as connection:
        for _ in range(2):
            send_request(connection)
            read_until(connection, "response.completed")
    first, second = [span.attributes or {} for span in telemetry.spans]
    assert (first["gen_ai.response.id"], second["gen_ai.response.id"]) == ("resp_0", "resp_1")
    assert first["promptcache.read_tokens"] == 1920
    assert first["promptcache.prefix.hash"] == second["promptcache.prefix.hash"]
    assert first["server.address"] == "127.0.0.1"
    assert "gen_ai.response.time_to_first_chunk" in first
    assert telemetry.metric("promptcache.input.tokens") == 4000


def test_interleaved_responses_are_matched_to_their_requests(
    client: openai.OpenAI, telemetry: Telemetry
) -> None:
    with client.responses.connect() as connection:
        send_request(connection, stream_id="late", model="gpt-5.5")
        send_request(connection, stream_id="soon")
        read_until(connection, "response.completed", 2)
    soon, late = [span.attributes or {} for span in telemetry.spans]
    assert (soon["gen_ai.response.id"], soon["gen_ai.request.model"]) == ("resp_1", MODEL)
    assert (late["gen_ai.response.id"], late["gen_ai.request.model"]) == ("resp_0", "gpt-5.5")


def test_a_connection_that_breaks_ends_its_calls(
    client: openai.OpenAI, telemetry: Telemetry
) -> None:
    with client.responses.connect() as connection:
        send_request(connection, input="hang up")
        read_until(connection, "response.created")
        with pytest.raises(ConnectionClosed):
            connection.recv()
    assert telemetry.attributes["promptcache.outcome"] == "unreported"
    assert telemetry.attributes["promptcache.stream.completed"] is False


def test_a_refused_request_does_not_shift_later_responses(
    client: openai.OpenAI, telemetry: Telemetry
) -> None:
    with client.responses.connect() as connection:
        send_request(connection, input="refuse", model="gpt-5.5")
        read_until(connection, "error")
        send_request(connection)
        read_until(connection, "response.completed")
    refused, answered = [span.attributes or {} for span in telemetry.spans]
    assert (refused["gen_ai.request.model"], refused["error.type"]) == (
        "gpt-5.5",
        "conversation_full",
    )
    assert refused["promptcache.outcome"] == "error"
    assert (answered["gen_ai.request.model"], answered["promptcache.read_tokens"]) == (MODEL, 1920)


def test_closing_the_connection_ends_a_pending_call(
    client: openai.OpenAI, telemetry: Telemetry
) -> None:
    with client.responses.connect() as connection:
        send_request(connection)
    assert telemetry.metric("promptcache.calls") == 1


async def test_a_response_on_an_async_connection_is_a_call(
    client: openai.OpenAI, telemetry: Telemetry
) -> None:
    async with (
        openai.AsyncOpenAI(base_url=str(client.base_url), api_key="k") as other,
        other.responses.connect() as connection,
    ):
        await connection.send({"type": "response.create", "model": MODEL, "input": "hi"})
        async for event in connection:
            if event.type == "response.completed":
                break
    assert telemetry.attributes["promptcache.read_tokens"] == 1920


def test_realtime_counts_requested_and_unrequested_responses(telemetry: Telemetry) -> None:
    with (
        running_server(serve_realtime) as url,
        openai.OpenAI(
            base_url=url, websocket_base_url=url.replace("http", "ws"), api_key="k"
        ) as client,
        client.realtime.connect(model="gpt-realtime-2") as connection,
    ):
        connection.send({"type": "input_audio_buffer.commit"})
        connection.response.create()
        read_until(connection, "response.done", 2)
    requested, unrequested = [span.attributes or {} for span in telemetry.spans]
    assert [requested["gen_ai.response.id"], unrequested["gen_ai.response.id"]] == [
        "requested_1",
        "unrequested_1",
    ]
    assert requested["gen_ai.request.model"] == "gpt-realtime-2"
    assert (requested["promptcache.input_tokens"], requested["promptcache.read_tokens"]) == (
        300,
        128,
    )
