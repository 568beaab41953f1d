"""`decode_events` reads the AWS event stream that the emulator encodes."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptcache.providers.bedrock.eventstream import decode_events
from promptcache_emulator.bedrock.eventstream import encode_message

START: Final[dict[str, Any]] = {"messageStart": {"role": "assistant"}}
USAGE: Final[dict[str, Any]] = {"metadata": {"usage": {"inputTokens": 7}}}
MODEL_EVENT: Final[dict[str, Any]] = {"type": "message_stop"}
CHUNK: Final[dict[str, Any]] = {
    "chunk": {"bytes": b64encode(json.dumps(MODEL_EVENT).encode()).decode()}
}


@given(st.lists(st.sampled_from([START, USAGE, CHUNK]), max_size=5), st.data())
def test_events_are_decoded_wherever_the_bytes_are_cut(
    events: list[dict[str, Any]], data: st.DataObject
) -> None:
    raw = b"".join(map(encode_message, events))
    cut = data.draw(st.integers(0, len(raw)))
    first_events, undecoded = decode_events(raw[:cut])
    later_events, rest = decode_events(undecoded + raw[cut:])
    assert [*first_events, *later_events] == [
        MODEL_EVENT if event is CHUNK else event for event in events
    ]
    assert rest == b""


def test_an_exception_message_becomes_an_error_event() -> None:
    events, _ = decode_events(encode_message({"throttlingException": {"message": "slow down"}}))
    assert events == [{"type": "error", "error": {"type": "throttlingException"}}]


@given(st.binary(max_size=200))
def test_arbitrary_bytes_raise_nothing(raw: bytes) -> None:
    events, rest = decode_events(raw)
    assert all(isinstance(event, dict) for event in events)
    assert len(rest) <= len(raw)


@pytest.mark.parametrize(
    "payload", [b"no JSON", b'{"bytes": 7}', b'{"bytes": "=="}', b'{"bytes": "WzFd"}', b"[1]"]
)
def test_a_broken_payload_is_empty_and_the_next_message_is_decoded(payload: bytes) -> None:
    message = encode_message({"chunk": {"bytes": "x" * 40}})
    prelude = message[: message.index(b'{"bytes"')]
    total = len(prelude) + len(payload) + 4
    events, rest = decode_events(
        total.to_bytes(4) + prelude[4:] + payload + bytes(4) + encode_message(START)
    )
    assert events[1:] == [START]
    assert not any(events[0].values())
    assert rest == b""
