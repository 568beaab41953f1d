"""The pytest plugin answers every HTTP library, however the client was made."""

from __future__ import annotations

from typing import Final

import pytest

from tests.support.plugin_runs import PROMPT, Suite

pytest_plugins = ["pytester"]


@pytest.fixture
def suite(pytester: pytest.Pytester) -> Suite:
    return Suite(pytester)


PROGRAM: Final = f"""
import asyncio, warnings
warnings.simplefilter("ignore")
import aiohttp, anthropic, boto3, groq, httpx, httpx2, openai, requests
import botocore.session
from aiobotocore.session import get_session
from botocore.config import Config
from google import genai

HANDBOOK = {PROMPT!r} * 120
GATEWAY = "https://llm.example.com/team"
MESSAGES = [{{"role": "system", "content": HANDBOOK}}, {{"role": "user", "content": "hi"}}]
CHAT = {{"model": "gpt-4.1", "messages": MESSAGES}}
CONVERSE = {{
    "modelId": "anthropic.claude-sonnet-4-5-20250929-v1:0",
    "system": [{{"text": HANDBOOK}}, {{"cachePoint": {{"type": "default"}}}}],
    "messages": [{{"role": "user", "content": [{{"text": "hi"}}]}}],
}}
GENERATE = {{"model": "gemini-2.5-flash", "contents": "hi",
             "config": {{"system_instruction": HANDBOOK}}}}
PATH = "/v1/chat/completions"


class OwnTransport(httpx.HTTPTransport):
    def handle_request(self, request):
        return super().handle_request(request)


class RetryingTransport(httpx2.AsyncBaseTransport):
    def __init__(self):
        self.inner = httpx2.AsyncHTTPTransport(retries=1)

    async def handle_async_request(self, request):
        return await self.inner.handle_async_request(request)


class OwnAdapter(requests.adapters.HTTPAdapter):
    def send(self, *args, **kwargs):
        return super().send(*args, **kwargs)


def chat(client):
    return lambda: client.chat.completions.create(**CHAT)

def async_chat(make_client):
    async def call():
        async with make_client() as client:
            return await client.chat.completions.create(**CHAT)
    return lambda: asyncio.run(call())

def kept_async_chat(client):
    return lambda: asyncio.run(client.chat.completions.create(**CHAT))

def converse(client):
    return lambda: client.converse(**CONVERSE)

def aiohttp_post(url, **options):
    async def call():
        connector = aiohttp.TCPConnector(**options)
        async with aiohttp.ClientSession(connector=connector) as session:
            async with session.post(url, json=CHAT) as response:
                assert (await response.json())["choices"]
    return lambda: asyncio.run(call())

def aio_converse(**options):
    async def call():
        async with get_session().create_client("bedrock-runtime", **options) as client:
            await client.converse(**CONVERSE)
    return lambda: asyncio.run(call())

def generate(client):
    return lambda: client.models.generate_content(**GENERATE)

def aio_generate(client):
    return lambda: asyncio.run(client.aio.models.generate_content(**GENERATE))

def post(session, url="https://api.openai.com" + PATH):
    def call():
        assert session.post(url, json=CHAT).json()["choices"]
    return call

own_session = requests.Session()
own_session.mount("https://", OwnAdapter(max_retries=2))
options = genai.types.HttpOptions(base_url=GATEWAY)
CALLS = {{
    # Every client here but those behind a lambda is made at import time.
    "httpx2": chat(openai.OpenAI()),
    "httpx2 base_url": chat(openai.OpenAI(base_url=GATEWAY + "/v1")),
    "httpx2 http_client": chat(openai.OpenAI(http_client=httpx2.Client(http2=False))),
    "httpx2 async": kept_async_chat(openai.AsyncOpenAI()),
    "httpx2 async base_url": async_chat(lambda: openai.AsyncOpenAI(base_url=GATEWAY + "/v1")),
    "httpx2 async http_client": async_chat(lambda: openai.AsyncOpenAI(
        http_client=httpx2.AsyncClient(transport=RetryingTransport()))),
    "httpx": chat(groq.Groq()),
    "httpx base_url": chat(groq.Groq(base_url=GATEWAY)),
    "httpx http_client": chat(groq.Groq(http_client=httpx.Client(transport=OwnTransport()))),
    "httpx async": kept_async_chat(groq.AsyncGroq()),
    "httpx async base_url": async_chat(lambda: groq.AsyncGroq(base_url=GATEWAY)),
    "httpx async http_client": async_chat(lambda: groq.AsyncGroq(
        http_client=httpx.AsyncClient(timeout=5))),
    "aiohttp": aio_generate(genai.Client()),
    "aiohttp base_url": aio_generate(genai.Client(http_options=options)),
    "aiohttp own connector": aiohttp_post("https://api.openai.com" + PATH, limit=1),
    "aiohttp own base": aiohttp_post(GATEWAY + PATH),
    "aiobotocore": aio_converse(),
    "aiobotocore endpoint_url": aio_converse(endpoint_url="https://bedrock.example.com"),
    "google-genai": generate(genai.Client()),
    "google-genai base_url": generate(genai.Client(http_options=options)),
    "botocore": converse(boto3.client("bedrock-runtime")),
    "botocore endpoint_url": converse(
        boto3.client("bedrock-runtime", endpoint_url="https://bedrock.example.com")),
    "botocore own session": converse(botocore.session.Session().create_client(
        "bedrock-runtime", config=Config(max_pool_connections=1))),
    "requests": post(requests),
    "requests own url": post(requests.Session(), GATEWAY + PATH),
    "requests own session": post(own_session),
}}
"""


def test_every_client_of_every_library_is_answered(suite: Suite) -> None:
    result = suite.run(
        PROGRAM
        + """
import pytest
@pytest.mark.parametrize("name", CALLS)
def test_it(prompt_cache, name):
    CALLS[name]()
    CALLS[name]()
    assert [call.is_answered for call in prompt_cache.calls] == [True, True]
    assert prompt_cache.calls[0].call_site.file == "test_suite.py"
    prompt_cache.check(hit_rate=0.8)
"""
    )
    assert result.ret == 0, result.stdout.str()
    assert result.parseoutcomes()["passed"] == 26


@pytest.mark.parametrize(
    "connect",
    [
        "asyncio.run(open_aiohttp('wss://api.openai.com/v1/realtime?model=secret'))",
        "asyncio.run(open_openai())",
        "asyncio.run(open_websockets('wss://api.openai.com/v1/realtime?model=secret'))",
    ],
)
def test_a_websocket_fails_by_name(suite: Suite, connect: str) -> None:
    result = suite.run(
        f"""
import asyncio, contextlib
import aiohttp, openai, pytest, websockets
async def open_aiohttp(url):
    async with aiohttp.ClientSession() as session:
        await session.ws_connect(url)
async def open_openai():
    async with openai.AsyncOpenAI().realtime.connect(model="secret"):
        pass
async def open_websockets(url):
    await websockets.connect(url)
@pytest.mark.promptcache(min_calls=0)
def test_it(prompt_cache):
    with contextlib.suppress(Exception):
        {connect}
"""
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*no request leaves the machine: *api.openai.com*"])
    assert "secret" not in result.stdout.str().partition("short test summary")[2]


@pytest.mark.parametrize("allow", ["marker", "method", "ini"], ids=lambda one: f"allowed by {one}")
def test_an_allowed_host_is_reached(suite: Suite, allow: str) -> None:
    """The request goes on to name resolution, which knows no such name."""
    marker = 'allow_hosts=["allowed.invalid"]' if allow == "marker" else ""
    call = 'prompt_cache.allow_hosts("allowed.invalid")' if allow == "method" else "pass"
    if allow == "ini":
        suite.pytester.makeini("[pytest]\npromptcache_allow_hosts =\n    allowed.invalid\n")
    suite.run(
        f"""
import asyncio, aiohttp, httpx, httpx2, pytest, requests
async def get(url):
    async with aiohttp.ClientSession() as session:
        await session.get(url)
@pytest.mark.promptcache(min_calls=0, {marker})
def test_it(prompt_cache):
    {call}
    url = "https://api.allowed.invalid/v1/chat/completions"
    with pytest.raises(httpx.ConnectError): httpx.get(url)
    with pytest.raises(httpx2.ConnectError): httpx2.get(url)
    with pytest.raises(requests.ConnectionError): requests.get(url)
    with pytest.raises(aiohttp.ClientConnectorDNSError): asyncio.run(get(url))
"""
    ).assert_outcomes(passed=1)
