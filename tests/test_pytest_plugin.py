"""The pytest plugin: who answers a test's requests, what is checked, and what is listed."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
import tomllib
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import httpx
import httpx2
import pytest

from promptcache_exporters.sqlite import SQLiteSpanExporter
from promptcache_testing.json_place import key_at
from promptcache_testing.placeholders import PLACEHOLDER, set_placeholders
from promptcache_testing.turns import common_prefix_length
from tests.support.plugin_runs import PLUGIN, Suite
from tests.support.seeded_day import seeded_day

pytest_plugins = ["pytester"]

ROOT: Final = Path(__file__).parent.parent


@pytest.fixture
def suite(pytester: pytest.Pytester) -> Suite:
    return Suite(pytester)


# Unused


def test_the_plugin_alone_loads_nothing_of_promptcache() -> None:
    program = (
        "import sys, pytest, promptcache_testing.plugin\n"
        "print(*[name for name in sys.modules if name.startswith(('promptcache.', "
        "'promptcache_emulator', 'opentelemetry', 'httpx', 'aiohttp'))])"
    )
    environ = os.environ | {"PYTHONPATH": str(ROOT / "instrumentation")}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environ
    )
    assert done.stdout.strip() == ""


def test_a_suite_that_does_not_use_it_is_left_alone(suite: Suite) -> None:
    suite.pytester.makeini("[pytest]\n")
    result = suite.run(
        """
        import os, socket, httpx
        def test_plain():
            assert httpx.HTTPTransport.handle_request.__module__ == "httpx._transports.default"
            assert socket.getaddrinfo.__module__ == "socket"
            assert "GROQ_API_KEY" not in os.environ
        """
    )
    result.assert_outcomes(passed=1)
    assert "promptcache: " not in result.stdout.str()


def test_everything_is_restored_after_each_test(suite: Suite) -> None:
    before = (httpx.HTTPTransport.handle_request, httpx.AsyncClient.send)
    suite.run(
        """
        import httpx
        from agent import Agent
        def test_a(prompt_cache):
            assert httpx.HTTPTransport.handle_request.__module__.startswith("promptcache_testing")
            agent = Agent(); agent.run("one"); agent.run("two")
        """
    ).assert_outcomes(passed=1)
    assert (httpx.HTTPTransport.handle_request, httpx.AsyncClient.send) == before


# Answers without a port

CLIENTS: Final = {
    "openai at import": "run = Agent().run",
    "openai with base_url": """
client = openai.OpenAI(base_url="https://llm.example.com/team/v1")
run = lambda text: client.responses.create(model="gpt-5", instructions=HANDBOOK, input=text)""",
    "openai with http_client": """
client = openai.OpenAI(http_client=openai.DefaultHttpxClient(timeout=5))
run = lambda text: list(client.chat.completions.create(model="gpt-4.1", stream=True,
    messages=[{"role": "system", "content": HANDBOOK}, {"role": "user", "content": text}]))""",
    "openai async": """
async def call(text):
    async with openai.AsyncOpenAI() as client:
        return await client.responses.create(model="gpt-5", instructions=HANDBOOK, input=text)
run = lambda text: asyncio.run(call(text))""",
    "anthropic": """
client = anthropic.Anthropic()
run = lambda text: client.messages.create(model="claude-sonnet-4-6", max_tokens=9, system=[
    {"type": "text", "text": HANDBOOK, "cache_control": {"type": "ephemeral"}}],
    messages=[{"role": "user", "content": text}])""",
    "anthropic stream": """
async def call(text):
    async with anthropic.AsyncAnthropic() as client:
        async with client.messages.stream(model="claude-sonnet-4-6", max_tokens=9, system=[
                {"type": "text", "text": HANDBOOK, "cache_control": {"type": "ephemeral"}}],
                messages=[{"role": "user", "content": text}]) as stream:
            return await stream.get_final_message()
run = lambda text: asyncio.run(call(text))""",
    "google-genai": """
client = genai.Client()
run = lambda text: client.models.generate_content(model="gemini-2.5-flash", contents=text,
    config={"system_instruction": HANDBOOK})""",
    "google-genai async": """
async def call(text):
    client = genai.Client()
    return await client.aio.models.generate_content(model="gemini-2.5-flash", contents=text,
        config={"system_instruction": HANDBOOK})
run = lambda text: asyncio.run(call(text))""",
    "groq": """
client = groq.Groq()
run = lambda text: client.chat.completions.create(model="openai/gpt-oss-20b",
    messages=[{"role": "system", "content": HANDBOOK}, {"role": "user", "content": text}])""",
    "botocore": """
client = boto3.client("bedrock-runtime")
run = lambda text: client.converse(modelId="anthropic.claude-sonnet-4-5-20250929-v1:0",
    system=[{"text": HANDBOOK}, {"cachePoint": {"type": "default"}}],
    messages=[{"role": "user", "content": [{"text": text}]}])""",
    "botocore stream": """
client = boto3.client("bedrock-runtime")
run = lambda text: list(client.converse_stream(
    modelId="anthropic.claude-sonnet-4-5-20250929-v1:0",
    system=[{"text": HANDBOOK}, {"cachePoint": {"type": "default"}}],
    messages=[{"role": "user", "content": [{"text": text}]}])["stream"])""",
    "aiobotocore": """
async def call(text):
    async with get_session().create_client("bedrock-runtime") as client:
        answer = await client.converse_stream(
            modelId="anthropic.claude-sonnet-4-5-20250929-v1:0",
            system=[{"text": HANDBOOK}, {"cachePoint": {"type": "default"}}],
            messages=[{"role": "user", "content": [{"text": text}]}])
        return [event async for event in answer["stream"]]
run = lambda text: asyncio.run(call(text))""",
}


@pytest.mark.parametrize("client", CLIENTS)
def test_every_client_is_answered_in_the_process(suite: Suite, client: str) -> None:
    code = f"""
import asyncio, warnings
warnings.simplefilter("ignore")
import anthropic, boto3, groq, openai
from aiobotocore.session import get_session
from google import genai
from agent import Agent, HANDBOOK
{CLIENTS[client]}
def test_it(prompt_cache):
    run("Where is my parcel?")
    run("And the other one?")
    assert [call.is_answered for call in prompt_cache.calls] == [True, True]
    assert prompt_cache.calls[0].call_site.file in ("test_suite.py", "agent.py")
    prompt_cache.check(hit_rate=0.8)
"""
    result = suite.run(code)
    result.assert_outcomes(passed=1)


def test_a_request_of_requests_and_a_token_of_google_are_answered(suite: Suite) -> None:
    suite.run(
        """
        import pytest, requests
        @pytest.mark.promptcache(min_calls=1)
        def test_it(prompt_cache):
            token = requests.post("https://oauth2.googleapis.com/token").json()
            assert token["token_type"] == "Bearer"
            body = {"model": "gpt-4.1", "messages": [{"role": "user", "content": "hi"}]}
            answer = requests.post("https://api.openai.com/v1/chat/completions", json=body)
            assert answer.json()["choices"]
        """
    ).assert_outcomes(passed=1)


# Mocks of others win

MOCKS: Final = {
    "the pool, as respx does": (
        "httpcore2.ConnectionPool",
        "handle_request",
        "httpcore2.Response(200, headers=[(b'content-type', b'application/json')], content=BODY)",
    ),
    "the transport's method, as pytest-httpx does": (
        "httpx2.HTTPTransport",
        "handle_request",
        "httpx2.Response(200, headers={'content-type': 'application/json'}, content=BODY)",
    ),
    "the client's method, as VCR does": (
        "httpx2.Client",
        "_send_single_request",
        "httpx2.Response(200, json=json.loads(BODY), request=args[1])",
    ),
}


@pytest.mark.parametrize("order", ["prompt_cache, mock", "mock, prompt_cache"])
@pytest.mark.parametrize("mock", MOCKS)
def test_a_mock_of_httpx_wins_and_its_bodies_are_checked(
    suite: Suite, mock: str, order: str
) -> None:
    owner, name, response = MOCKS[mock]
    result = suite.run(
        f"""
import json, httpcore2, httpx2, pytest
from agent import Agent
BODY = json.dumps({{"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [
    {{"index": 0, "finish_reason": "stop", "message": {{"role": "assistant", "content": "mine"}}}}
]}}).encode()
@pytest.fixture
def mock(monkeypatch):
    monkeypatch.setattr({owner}, {name!r}, lambda *args, **kwargs: {response})
def test_it({order}):
    agent = Agent()
    assert agent.run("one").content == agent.run("two").content == "mine"
    assert [call.is_answered for call in prompt_cache.calls] == [False, False]
    prompt_cache.check(hit_rate=0.9)
"""
    )
    result.assert_outcomes(passed=1)
    assert httpx2.HTTPTransport.handle_request.__module__ == "httpx2._transports.default"


def test_the_stubber_of_botocore_wins_and_its_bodies_are_checked(suite: Suite) -> None:
    suite.run(
        """
        import boto3
        from botocore.stub import Stubber
        from agent import HANDBOOK
        def test_it(prompt_cache):
            client = boto3.client("bedrock-runtime")
            answer = {"output": {"message": {"role": "assistant", "content": [{"text": "mine"}]}},
                      "stopReason": "end_turn", "metrics": {"latencyMs": 1},
                      "usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2}}
            with Stubber(client) as stubber:
                for text in ("one", "two"):
                    stubber.add_response("converse", answer)
                    given = client.converse(
                        modelId="anthropic.claude-sonnet-4-5-20250929-v1:0",
                        system=[{"text": HANDBOOK}, {"cachePoint": {"type": "default"}}],
                        messages=[{"role": "user", "content": [{"text": text}]}])
                    assert given["output"]["message"]["content"][0]["text"] == "mine"
            assert [call.is_answered for call in prompt_cache.calls] == [False, False]
            prompt_cache.check(hit_rate=0.8)
        """
    ).assert_outcomes(passed=1)


def test_the_stubber_of_aiobotocore_wins_and_its_bodies_are_checked(suite: Suite) -> None:
    suite.run(
        """
        from aiobotocore.session import get_session
        from aiobotocore.stub import AioStubber
        from agent import HANDBOOK
        async def converse(client, text):
            given = await client.converse(
                modelId="anthropic.claude-sonnet-4-5-20250929-v1:0",
                system=[{"text": HANDBOOK}, {"cachePoint": {"type": "default"}}],
                messages=[{"role": "user", "content": [{"text": text}]}])
            return given["output"]["message"]["content"][0]["text"]
        async def test_it(prompt_cache):
            answer = {"output": {"message": {"role": "assistant", "content": [{"text": "mine"}]}},
                      "stopReason": "end_turn", "metrics": {"latencyMs": 1},
                      "usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2}}
            async with get_session().create_client("bedrock-runtime") as client:
                with AioStubber(client) as stubber:
                    for text in ("one", "two"):
                        stubber.add_response("converse", answer)
                        assert await converse(client, text) == "mine"
                assert await converse(client, "three") != "mine"
            given = [call.is_answered for call in prompt_cache.calls]
            assert given == [False, False, True]
            assert {call.call_site.file for call in prompt_cache.calls} == {"test_suite.py"}
            prompt_cache.check(hit_rate=0.8)
        """
    ).assert_outcomes(passed=1)


# Nothing leaves the machine

REQUESTS: Final = {
    "httpx": "httpx.get('https://telemetry.example.com/v1/traces?key=secret')",
    "requests": "requests.get('https://telemetry.example.com/v1/traces?key=secret')",
    "urllib": "urllib.request.urlopen('http://telemetry.example.com/v1/traces?key=secret')",
    "aiohttp": "asyncio.run(fetch('https://telemetry.example.com/v1/traces?key=secret'))",
    "websockets": "connect('wss://telemetry.example.com/v1/traces?key=secret')",
    "an endpoint without an answer": "httpx.get('https://api.openai.com/v1/telemetry?key=secret')",
}


@pytest.mark.parametrize("library", REQUESTS)
def test_a_request_that_would_leave_fails_by_name(suite: Suite, library: str) -> None:
    result = suite.run(
        f"""
import asyncio, contextlib, urllib.request
import aiohttp, httpx, pytest, requests
from websockets.sync.client import connect
async def fetch(url):
    async with aiohttp.ClientSession() as session, session.get(url):
        pass
@pytest.mark.promptcache(min_calls=0)
def test_it(prompt_cache):
    with contextlib.suppress(Exception):
        {REQUESTS[library]}
"""
    )
    result.assert_outcomes(failed=1)
    output = result.stdout.str()
    assert "no request leaves the machine" in output
    assert "secret" not in output.partition("short test summary")[2]
    assert "telemetry" in output


def test_loopback_and_allowed_hosts_pass(suite: Suite) -> None:
    suite.run(
        """
        import contextlib, http.server, socket, threading, pytest, httpx
        @pytest.mark.promptcache(min_calls=0, allow_hosts=["allowed.invalid"])
        def test_it(prompt_cache):
            server = http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
            threading.Thread(target=server.handle_request).start()
            assert httpx.get(f"http://localhost:{server.server_port}/").status_code == 200
            server.server_close()
            with pytest.raises(socket.gaierror):
                socket.getaddrinfo("db.allowed.invalid", 80)
        """
    ).assert_outcomes(passed=1)


# Placeholders


def test_placeholders_fill_gaps_only() -> None:
    environ = {"OPENAI_API_KEY": "mine", "GEMINI_API_KEY": "mine", "AWS_REGION": "eu-west-1"}
    set_placeholders(environ)
    assert environ["OPENAI_API_KEY"] == environ["GEMINI_API_KEY"] == "mine"
    assert "GOOGLE_API_KEY" not in environ
    assert "AWS_DEFAULT_REGION" not in environ
    assert environ["ANTHROPIC_API_KEY"] == environ["AWS_ACCESS_KEY_ID"] == PLACEHOLDER


@pytest.mark.parametrize("place", ["module", "test"])
def test_a_client_without_a_key_names_the_setting(
    suite: Suite, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY"):
        monkeypatch.delenv(name, raising=False)
    suite.pytester.makeini("[pytest]\n")
    lines = ["import openai", "def test_it(prompt_cache):", "    openai.OpenAI()"]
    if place == "module":
        lines.insert(1, "openai.OpenAI()")
    output = suite.run("\n".join(lines)).stdout.str()
    assert "`promptcache = true`" in output


# What the model answers


def test_answers_are_given_in_order(suite: Suite) -> None:
    suite.run(
        """
        import openai, pytest
        from agent import Agent
        from promptcache_testing import ToolCall
        def test_it(prompt_cache):
            prompt_cache.answers([
                "a text", ToolCall("order", {"id": "12"}), [ToolCall("order"), ToolCall("parcel")],
                429, KeyError("mine"), lambda request: request.body["messages"][-1]["content"]])
            agent = Agent()
            assert agent.run("one").content == "a text"
            assert agent.run("two").tool_calls[0].function.arguments == '{"id": "12"}'
            calls = agent.run("three").tool_calls
            assert [call.function.name for call in calls] == ["order", "parcel"]
            with pytest.raises(openai.RateLimitError):
                agent.run("four")
            with pytest.raises(KeyError, match="mine"):
                agent.run("five")
            assert agent.run("six").content == "six"
        """
    ).assert_outcomes(passed=1)


def test_an_invented_answer_fits_the_schema_or_is_refused_by_name(suite: Suite) -> None:
    result = suite.run(
        """
        import contextlib
        from typing import Annotated
        from pydantic import BaseModel, Field
        from agent import client
        class Order(BaseModel):
            number: Annotated[str, Field(pattern=r"^[0-9]{8}$")]
        class Odd(BaseModel):
            code: Annotated[str, Field(pattern="^q{3}z{5}$")]
        def parse(kind):
            return client.responses.parse(model="gpt-5", input="hi", text_format=kind).output_parsed
        def test_fits(prompt_cache):
            assert isinstance(parse(Order), Order)
            assert isinstance(parse(Order), Order)
        def test_refused(prompt_cache):
            with contextlib.suppress(Exception):
                parse(Odd)
            prompt_cache.answers(['{"code": "qqqzzzzz"}'])
            assert isinstance(parse(Odd), Odd)
        """
    )
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*knows no value for pattern * prompt_cache.answers*"])


def test_running_out_of_answers_fails_the_test_even_if_the_agent_swallows_it(suite: Suite) -> None:
    result = suite.run(
        """
        import contextlib
        from agent import Agent
        def test_it(prompt_cache):
            prompt_cache.answers(["one", "two"])
            agent = Agent(); agent.run("a"); agent.run("b")
            with contextlib.suppress(Exception):
                agent.run("c")
        """
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*had 2 answers; this request needs one more*"])


# The checks


def test_a_volatile_value_fails_with_place_and_line(suite: Suite) -> None:
    result = suite.run(
        """
        from agent import Agent, HANDBOOK
        def test_it(prompt_cache):
            for day in (1, 2, 3):
                handbook = f"Today is 2026-11-0{day}. " + HANDBOOK
                Agent(handbook).run("Where is my parcel?")
        """
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*call 2 (agent.py:*): volatile_token: `system*` (byte 18, looks like a `date`)*"]
    )


def test_a_changed_tool_fails_with_its_key_and_byte(suite: Suite) -> None:
    result = suite.run(
        """
        import copy
        from agent import Agent, TOOLS
        def test_it(prompt_cache):
            agent = Agent(); agent.run("one"); agent.run("two")
            agent.tools = copy.deepcopy(TOOLS)
            agent.tools[3]["function"]["description"] = "Find refund by number."
            agent.run("three")
        """
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*tools_changed: `tools*3*` (`description`, byte *"])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("agent.model = 'gpt-5-mini'", "model_changed"),
        ("agent.options['reasoning_effort'] = 'high'", "param_changed"),
        ("agent.options['prompt_cache_key'] = 'b'", "cache_key_changed"),
        ("agent.history[1]['content'] = 'Once more: ' + agent.history[1]['content']", "history"),
    ],
)
def test_a_changed_model_parameter_key_or_history_fails(
    suite: Suite, change: str, reason: str
) -> None:
    result = suite.run(
        f"""
        from agent import Agent
        def test_it(prompt_cache):
            agent = Agent(reasoning_effort="low", prompt_cache_key="a")
            for text in ("one", "two", "three"):
                agent.run(text + " more words about an order that was never delivered" * 9)
            {change}
            agent.run("four")
        """
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"*call 4 (agent.py:*{reason}*"])


def test_a_short_prompt_is_checked_too(suite: Suite) -> None:
    """It is below the provider's minimum, so the usage would show nothing."""
    suite.run(
        """
        from agent import Agent, TOOLS
        def test_it(prompt_cache):
            agent = Agent(tools=TOOLS[:1])
            for day in (1, 2, 3):
                rules = "You are brief and polite. Say what you know, and ask for the rest."
                agent.history[0]["content"] = f"{rules} Today is 2026-11-0{day}."
                agent.run("Where is the parcel of my order from last week?")
        """
    ).assert_outcomes(failed=1)


def test_stable_agents_pass(suite: Suite) -> None:
    """Branches, sub-agents, an auxiliary call, a shortened history, a retry, parallel calls."""
    suite.run(
        """
        import copy
        from agent import Agent, HANDBOOK
        from promptcache_testing import ToolCall
        def test_it(prompt_cache):
            agent = Agent()
            for text in ("one", "two", "three"):
                agent.run(text)
                Agent("Give the conversation a title of at most five words.", []).run(text)
            branch = copy.deepcopy(agent); branch.run("left"); agent.run("right")
            agent.history = agent.history[:3]; agent.run("back")
            Agent(HANDBOOK + "Your role: a researcher.").run("find")
            Agent(HANDBOOK + "Your role: a writer.").run("write")
            again = Agent(); again.run("one"); again = Agent(); again.run("one")
            prompt_cache.answers([[ToolCall("order"), ToolCall("parcel")], "done"])
            again.run("both"); again.run("thanks")
            prompt_cache.check(hit_rate=0.6)
        """
    ).assert_outcomes(passed=1)


def test_the_clock_of_the_emulator_expires_entries(suite: Suite) -> None:
    result = suite.run(
        """
        from agent import Agent
        def test_it(prompt_cache):
            agent = Agent(); agent.run("one")
            prompt_cache.wait(minutes=3); agent.run("two")
            prompt_cache.check(hit_rate=0.9)
            prompt_cache.wait(minutes=60 * 25); agent.run("three")
            prompt_cache.check(hit_rate=0.9)
        """
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*call 3 (agent.py:*): read 0 of * tokens: ttl_expired*"])


@pytest.mark.parametrize("calls", [0, 1])
def test_fewer_than_two_calls_check_nothing(suite: Suite, calls: int) -> None:
    result = suite.run(
        f"""
        from agent import Agent
        def test_it(prompt_cache):
            for _ in range({calls}):
                Agent().run("hi")
        """
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"*checked nothing: {calls} of at least 2 calls*"])


def test_a_failure_of_ours_is_inconclusive_and_not_green(
    suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("promptcache_testing.turns.TurnsCheck.check_call", None)
    result = suite.run(
        """
        from agent import Agent
        def test_it(prompt_cache):
            agent = Agent(); agent.run("one"); agent.run("two")
        """
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*the check is inconclusive*"])


# Every kind of test

KINDS: Final = """
import asyncio, unittest
import anyio, pytest
from agent import Agent

class TestClass:
    def test_method(self, prompt_cache):
        agent = Agent(); agent.run("one"); agent.run("two")

class TestUnit(unittest.TestCase):
    @pytest.fixture(autouse=True)
    def use(self, prompt_cache):
        self.prompt_cache = prompt_cache
    def test_unit(self):
        agent = Agent(); agent.run("one"); agent.run("two")
        assert self.prompt_cache.hit_rate > 0.8
    def test_unit_fails(self):
        Agent().run("one")

async def test_asyncio(prompt_cache):
    agent = Agent()
    await asyncio.to_thread(agent.run, "one")
    await asyncio.to_thread(agent.run, "two")

def test_anyio(prompt_cache):
    async def main():
        agent = Agent(); agent.run("one"); agent.run("two")
    anyio.run(main)
"""


@pytest.mark.parametrize("options", [(), ("-n", "2")], ids=["one process", "xdist"])
def test_every_kind_of_test_is_checked_and_listed(suite: Suite, options: tuple[str, ...]) -> None:
    result = suite.run(KINDS, *options, "--promptcache-json", "out.json")
    result.assert_outcomes(passed=4, failed=1)
    listed = json.loads((suite.path / "out.json").read_text())
    assert [
        (test["nodeid"].rpartition("::")[2], len(test["calls"])) for test in listed["tests"]
    ] == [
        ("test_method", 2),
        ("test_unit", 2),
        ("test_unit_fails", 1),
        ("test_anyio", 2),
        ("test_asyncio", 2),
    ]


def test_every_backend_of_anyio_is_checked(suite: Suite) -> None:
    backends = ["asyncio", *(["trio"] if find_spec("trio") else [])]
    result = suite.run(
        f"""
        import httpx, pytest
        from agent import HANDBOOK
        @pytest.fixture(params={backends})
        def anyio_backend(request):
            return request.param
        @pytest.fixture
        async def client():
            async with httpx.AsyncClient(base_url="https://api.openai.com/v1") as client:
                yield client
        @pytest.mark.anyio
        @pytest.mark.parametrize("number", [1, 2])
        async def test_anyio(client, prompt_cache, number):
            for text in ("one", "two")[:number]:
                messages = [{{"role": "system", "content": HANDBOOK}},
                            {{"role": "user", "content": text}}]
                body = {{"model": "gpt-4.1", "messages": messages}}
                assert (await client.post("/chat/completions", json=body)).json()["choices"]
        """,
        *("-p", "no:asyncio", "-W", "ignore::pytest.PytestConfigWarning"),
    )
    result.assert_outcomes(passed=len(backends), failed=len(backends))
    for backend in backends:
        result.stdout.fnmatch_lines([f"FAILED *test_anyio*{backend}*"])


# The list of a suite that knows nothing of us

PLAIN: Final = """
from agent import Agent, HANDBOOK
def test_plain():
    for day in (1, 2):
        Agent(f"Today is 2026-11-0{day}. " + HANDBOOK).run("Where is my parcel?")
def test_without_calls():
    pass
def test_fails_by_itself():
    assert not Agent().run("hi")
"""


def test_the_option_lists_calls_and_fails_nothing(
    suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = suite.path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    result = suite.run(PLAIN, "--promptcache", "--promptcache-json=out.json")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.re_match_lines(
        [
            r"promptcache: LLM calls by test",
            r".*calls +hit rate +input tokens +volatile bytes +test",
            r" +1 +- +\d,\d{3} +0 +test_suite.py::test_fails_by_itself",
            r" +2 +0.0% +\d,\d{3} +\d+,\d{3} +test_suite.py::test_plain",
            r" +volatile_token: `system\[0\]` \(byte 18, looks like a `date`\) at agent.py:\d+",
        ]
    )
    (plain,) = (
        test
        for test in json.loads((suite.path / "out.json").read_text())["tests"]
        if test["nodeid"].endswith("test_plain")
    )
    assert [call["turn"] for call in plain["calls"]] == ["cold_start", "volatile_token"]
    assert "| `test_suite.py::test_plain` | 2 | 0.0% |" in summary.read_text()


def test_a_call_with_a_real_key_passes_while_calls_are_listed(suite: Suite) -> None:
    """The suite's own assertions about a model's answers must not change."""
    result = suite.run(
        """
        import openai, pytest
        def test_it(monkeypatch):
            class Reached(Exception): pass
            def handle_request(pool, request):
                raise Reached
            monkeypatch.setattr("httpcore2.ConnectionPool.handle_request", handle_request)
            client = openai.OpenAI(api_key="a real key", max_retries=0)
            with pytest.raises(Reached):
                client.responses.create(model="gpt-5", input="hi")
        """
    )
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*1 *test_suite.py::test_it"])


CANARIES: Final = """
import os, openai, pytest
ODD = "canary | `canary` </td> \\n## canary \\u202e \\"canary\\" \\\\canary "
TAIL = ODD * 200 + os.getcwd()
def call(n, key="sk-canary"):
    properties = {{"canary_key": {{"type": "string", "description": ODD}}}}
    tool = {{"type": "function", "function": {{
        "name": "canary_name", "description": f"{{ODD}} {{os.getcwd()}}",
        "parameters": {{"type": "object", "properties": properties}}}}}}
    query = {{"key": "canary"}}
    client = openai.OpenAI(api_key=key, default_query=query, max_retries=0)
    client.chat.completions.create(
        model="gpt-4.1", tools=[tool], user="canary", metadata={{"canary": "canary"}},
        prompt_cache_key="canary", extra_headers={{"x-canary": "canary"}},
        messages=[{{"role": "system", "content": f"{{ODD}} 2026-11-0{{n}} {{TAIL}}"}},
                  {{"role": "user", "content": ODD}}])
def test_checked(prompt_cache):
    for n in {numbers}:
        call(n)
def test_listed():
    for n in (1, 2, 3):
        call(n, key=None)
def test_error(prompt_cache):
    prompt_cache.answers([KeyError("canary")])
    call(1)
"""


def test_nothing_of_the_user_is_in_the_files(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    """No text, tool name, key, path or message is in lock, JSON and summary, if checks fail too."""
    summary, lock = suite.path / "summary.md", suite.path / "tests" / "promptcache.lock"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    options = ("--promptcache", "--promptcache-json=out.json")
    accepted = suite.run(CANARIES.format(numbers=(1, 1)), *options, "--promptcache-update")
    accepted.assert_outcomes(passed=2, failed=1)
    failed = suite.run(CANARIES.format(numbers=(1, 1, 2)), *options)
    failed.assert_outcomes(passed=1, failed=2)
    failed.stdout.fnmatch_lines(["*call 3 (test_suite.py:*): *looks like a `date`*", "  Move *"])
    listed = failed.stdout.str().partition("promptcache: LLM calls by test")[2]
    texts = [path.read_text() for path in (summary, lock, suite.path / "out.json")]
    for text in (*texts, listed.partition("short test summary")[0]):
        assert "test_suite.py::test_checked" in text
        assert "canary" not in text.lower()
        assert str(suite.path) not in text


def test_breaks_have_a_price_at_the_volume_of_a_table(suite: Suite) -> None:
    table = suite.path / "promptcache.db"
    exporter = SQLiteSpanExporter(str(table))
    exporter.export([*seeded_day(40)])
    exporter.shutdown()
    with closing(sqlite3.connect(table)) as connection, connection:
        connection.execute("UPDATE llm_calls SET request_model = 'gpt-4.1'")
        month = 86_400 * 40
        connection.execute("UPDATE llm_calls SET time = time - ? WHERE rowid <= 10", (month,))
        ((count,),) = connection.execute("SELECT COUNT(*) FROM llm_calls").fetchall()
    options = ("--promptcache", "--promptcache-volume", str(table), "--promptcache-json=out.json")
    result = suite.run(PLAIN, *options)
    price = rf"0\.\d+ USD a call .* {count - 10} calls of gpt-4\.1 in 30 days"
    result.stdout.re_match_lines([rf"promptcache: .*test_plain: {price}"])
    assert "test_fails_by_itself: 0" not in result.stdout.str()
    listed = json.loads((suite.path / "out.json").read_text())["tests"]
    (call,) = (one for test in listed for one in test["calls"] if one["turn"] == "volatile_token")
    assert call["wasted_usd"] == pytest.approx(call["input_tokens"] * 1.5e-6, rel=0.05)
    result = suite.rerun("--promptcache", "--promptcache-volume", "missing.db")
    result.stdout.fnmatch_lines(["promptcache: missing.db cannot be read: *"])


# The lock

LOCKED: Final = """
import pytest
from agent import Agent, HANDBOOK, TOOLS
@pytest.mark.parametrize("name", ["a", "b"])
def test_it(prompt_cache, name):
    agent = Agent(HANDBOOK{edit}, TOOLS)
    agent.run("one")
    agent.run("two")
"""


def test_the_lock_is_written_compared_and_accepted(suite: Suite) -> None:
    lock = suite.path / "tests" / "promptcache.lock"
    result = suite.run(LOCKED.format(edit=""), "--promptcache-update")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*test_suite.py::test_it*a*: new"])
    text = lock.read_text()
    assert set(tomllib.loads(text)["tests"]) == {
        "test_suite.py::test_it[a]",
        "test_suite.py::test_it[b]",
    }
    assert "support agent" not in text
    suite.rerun().assert_outcomes(passed=2)

    result = suite.run(LOCKED.format(edit=' + "Be brief. "'))
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["*differs from promptcache.lock: prompt 0: system changed (*"])
    assert lock.read_text() == text

    result = suite.rerun("--promptcache-update", "-k", "a]")
    result.assert_outcomes(passed=1, deselected=1)
    accepted = tomllib.loads(lock.read_text())["tests"]
    before = tomllib.loads(text)["tests"]
    assert accepted["test_suite.py::test_it[b]"] == before["test_suite.py::test_it[b]"]
    assert accepted["test_suite.py::test_it[a]"] != before["test_suite.py::test_it[a]"]


def test_the_controller_writes_the_same_lock(suite: Suite) -> None:
    lock = suite.path / "tests" / "promptcache.lock"
    suite.run(LOCKED.format(edit=""), "--promptcache-update").assert_outcomes(passed=2)
    alone = lock.read_text()
    lock.unlink()
    suite.rerun("--promptcache-update", "-n", "2").assert_outcomes(passed=2)
    assert lock.read_text() == alone


def test_another_version_of_python_does_not_judge(suite: Suite) -> None:
    lock = suite.path / "tests" / "promptcache.lock"
    suite.run(LOCKED.format(edit=""), "--promptcache-update")
    lock.write_text(re.sub(r'python = ".*"', 'python = "3.9"', lock.read_text()))
    result = suite.run(LOCKED.format(edit=' + "Be brief. "'))
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*not judged: other rules or another version of Python*"])


def test_entries_that_no_test_used_are_reported_and_kept(suite: Suite) -> None:
    lock = suite.path / "tests" / "promptcache.lock"
    suite.run(LOCKED.format(edit=""), "--promptcache-update")
    text = lock.read_text()
    result = suite.rerun("-k", "a]")
    result.stdout.fnmatch_lines(["*has entries that no test used:", "test_suite.py::test_it*b*"])
    assert lock.read_text() == text


# Small parts


@pytest.mark.parametrize(
    ("text", "place", "key"),
    [
        ('{"name":"a","description":"one two"}', "two", "description"),
        ('{"type":"function","function":{"name":"a","description":"b c"}}', "c", "description"),
        (
            '{"name":"a","parameters":{"properties":{"secret":{"type":"string"}}}}',
            "str",
            "parameters",
        ),
        ('{"secret":"value"}', "value", None),
        ('{"name":"a","input":[1,{"x":"\\"y\\" z"}]}', "z", "input"),
    ],
)
def test_a_byte_is_named_by_the_keys_of_the_wire(text: str, place: str, key: str | None) -> None:
    assert key_at(text, text.rindex(place)) == key


@pytest.mark.parametrize(
    ("one", "other", "length"), [("", "a", 0), ("abc", "abd", 2), ("a", "ab", 1), ("x", "y", 0)]
)
def test_the_length_of_a_common_prefix(one: str, other: str, length: int) -> None:
    assert common_prefix_length(one.encode(), other.encode()) == length


def test_the_options_are_described(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_inprocess(*PLUGIN, "--help")
    result.stdout.fnmatch_lines(["*--promptcache *list the LLM calls*", "*promptcache (bool)*"])
