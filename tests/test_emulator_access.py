"""The emulator refuses what a web page makes a browser send, and serves programs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from promptcache_emulator.app import build_app
from promptcache_emulator.engine import Emulator
from promptcache_emulator.server import running_server
from tests.support.asgi import send_request

CHAT = json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}).encode()


def status_of(path: str, host: str, headers: Mapping[str, str], *allowed_hosts: str) -> int:
    app = build_app(Emulator(), allowed_hosts=allowed_hosts)
    return asyncio.run(send_request(app, "POST", path, CHAT, headers, host))[0]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/_emulator/reset"])
@pytest.mark.parametrize(
    ("host", "headers"),
    [
        ("attacker.example", {}),
        ("attacker.example:8089", {}),
        ("localhost.attacker.example", {}),
        ("", {}),
        ("[", {}),
        ("127.0.0.1:8089", {"origin": "https://attacker.example"}),
        ("127.0.0.1:8089", {"origin": "http://127.0.0.1:3000"}),
        ("127.0.0.1:8089", {"origin": "null"}),
        ("127.0.0.1:8089", {"sec-fetch-site": "cross-site"}),
        ("127.0.0.1:8089", {"sec-fetch-site": "same-site"}),
    ],
)
def test_what_a_page_of_another_site_sends_is_refused(
    path: str, host: str, headers: dict[str, str]
) -> None:
    assert status_of(path, host, headers) == 403


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/_emulator/reset"])
@pytest.mark.parametrize(
    ("host", "headers"),
    [
        ("127.0.0.1:8089", {}),
        ("localhost", {}),
        ("LOCALHOST:80", {}),
        ("[::1]:8089", {}),
        ("192.168.1.7:8089", {}),
        ("127.0.0.1:8089", {"origin": "http://127.0.0.1:8089", "sec-fetch-site": "same-origin"}),
        ("127.0.0.1:8089", {"sec-fetch-site": "none"}),
    ],
)
def test_programs_and_pages_of_the_emulator_itself_are_served(
    path: str, host: str, headers: dict[str, str]
) -> None:
    assert status_of(path, host, headers) == 200


def test_an_allowed_name_is_served_and_no_other() -> None:
    path = "/v1/chat/completions"
    assert status_of(path, "emulator:8089", {}, "Emulator") == 200
    assert status_of(path, "emulator2:8089", {}, "Emulator") == 403
    assert (
        status_of(path, "emulator:8089", {"origin": "https://attacker.example"}, "emulator") == 403
    )


def test_a_multipart_upload_of_a_program_is_not_refused() -> None:
    headers = {"content-type": "multipart/form-data; boundary=x"}
    # 404: the emulator has no such path. 403 would mean that it took the program for a page.
    assert status_of("/v1/audio/edits", "127.0.0.1:8089", headers) == 404


@pytest.fixture
def websocket_url() -> Iterator[str]:
    with running_server() as url:
        yield url.replace("http", "ws", 1) + "/v1/responses"


def test_a_websocket_of_another_site_is_refused(websocket_url: str) -> None:
    with (
        pytest.raises(InvalidStatus) as caught,
        connect(websocket_url, origin=Origin("https://attacker.example")),
    ):
        pass
    assert caught.value.response.status_code == 403


@pytest.mark.parametrize("message", ["[" * 200_000, "no JSON", b"\xff", '{"model": NaN}'])
def test_a_websocket_survives_an_invalid_message(websocket_url: str, message: Any) -> None:
    with connect(websocket_url) as websocket:
        websocket.send(message)
        assert json.loads(websocket.recv())["type"] == "error"
        websocket.send(json.dumps({"model": "gpt-5.6", "input": "hi"}))
        assert json.loads(websocket.recv())["type"] == "response.created"
