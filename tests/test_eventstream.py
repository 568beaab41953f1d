"""AWS's binary framing, as the emulator writes it, against what we read of it."""

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
MAKERS: Final[dict[str, Any]] = {"type": "message_stop"}
CHUNK: Final[dict[str, Any]] = {"chunk": {"bytes": b64encode(json.dumps(MAKERS).encode()).decode()}}


@given(st.lists(st.sampled_from([START, USAGE, CHUNK]), max_size=5), st.data())
def test_events_wherever_the_bytes_are_cut(sent: list[dict[str, Any]], data: st.DataObject) -> None:
    raw = b"".join(map(encode_message, sent))
    cut = data.draw(st.integers(0, len(raw)))
    early, left = decode_events(raw[:cut])
    late, rest = decode_events(left + raw[cut:])
    assert [*early, *late] == [MAKERS if event is CHUNK else event for event in sent]
    assert rest == b""


def test_an_exception_is_told_as_an_error() -> None:
    found, _ = decode_events(encode_message({"throttlingException": {"message": "slow down"}}))
    assert found == [{"type": "error", "error": {"type": "throttlingException"}}]


@given(st.binary(max_size=200))
def test_any_bytes_do_no_harm(raw: bytes) -> None:
    found, rest = decode_events(raw)
    assert all(isinstance(event, dict) for event in found)
    assert len(rest) <= len(raw)


@pytest.mark.parametrize(
    "payload", [b"no JSON", b'{"bytes": 7}', b'{"bytes": "=="}', b'{"bytes": "WzFd"}', b"[1]"]
)
def test_a_broken_payload_says_nothing_and_hides_no_other(payload: bytes) -> None:
    whole = encode_message({"chunk": {"bytes": "x" * 40}})
    kept = whole[: whole.index(b'{"bytes"')]
    total = len(kept) + len(payload) + 4
    found, rest = decode_events(
        total.to_bytes(4) + kept[4:] + payload + bytes(4) + encode_message(START)
    )
    assert found[1:] == [START]
    assert not any(found[0].values())
    assert rest == b""
