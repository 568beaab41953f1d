"""Run pytest with the plugin on a small suite, in this process or in one of its own."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module

import pytest

_SDKS = ("openai", "anthropic", "groq", "google.genai", "boto3", "aiobotocore.session")
for _name in (*_SDKS, "httpcore", "httpcore2"):
    import_module(_name)
"""pytester forgets what its runs import. SDKs take seconds, and httpx keeps what it imported."""

PLUGIN = ("-p", "no:promptcache", "-p", "promptcache_testing.plugin", "-p", "no:cacheprovider")
"""The plugin by its module, whether or not this checkout is installed with its entry point."""

PROMPT = "You are the support agent of a web shop, and you follow the handbook to the letter. "

AGENT = f'''
"""An agent with tools over Chat Completions. It knows nothing of promptcache."""
import openai

HANDBOOK = {PROMPT!r} * 120
TOOLS = [
    {{"type": "function", "function": {{"name": name, "description": "Find " + name + " by id.",
     "parameters": {{"type": "object", "properties": {{"id": {{"type": "string"}}}}}}}}}}
    for name in ("order", "parcel", "invoice", "refund")
]
client = openai.OpenAI(max_retries=0)


class Agent:
    def __init__(self, handbook=HANDBOOK, tools=TOOLS, model="gpt-4.1", **options):
        self.history = [{{"role": "system", "content": handbook}}]
        self.tools, self.model, self.options = tools, model, options

    def run(self, text):
        self.history.append({{"role": "user", "content": text}})
        answer = client.chat.completions.create(
            model=self.model, messages=self.history, tools=self.tools, **self.options
        )
        message = answer.choices[0].message
        self.history.append({{"role": "assistant", "content": message.content or ""}})
        return message
'''


LIGHT_AGENT = (
    AGENT.replace("import openai", "import httpx").partition("client = ")[0]
    + """
client = httpx.Client()


class Agent:
    def __init__(self, handbook=HANDBOOK, tools=TOOLS, **options):
        self.history = [{"role": "system", "content": handbook}]
        self.tools, self.options = tools, options

    def run(self, text):
        self.history.append({"role": "user", "content": text})
        body = {"model": "gpt-4.1", "messages": self.history, "tools": self.tools, **self.options}
        url = "https://api.openai.com/v1/chat/completions"
        answer = client.post(url, json=body, headers={"authorization": "Bearer x"}).json()
        self.history.append(answer["choices"][0]["message"])
"""
)
"""The same agent without an SDK: a process of its own starts a second earlier."""


@contextmanager
def unchanged_environ() -> Generator[None]:
    """Restore the environment, in which the plugin sets placeholder keys."""
    before = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


class Suite:
    """A folder with an agent and tests."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester = pytester
        self.path = pytester.path
        pytester.makepyfile(agent=AGENT)
        pytester.makeini(
            "[pytest]\npromptcache = true\nasyncio_mode = auto\n"
            "asyncio_default_fixture_loop_scope = function\n"
        )
        pytester.syspathinsert()

    def run(self, code: str, *options: str) -> pytest.RunResult:
        """Write `code` as the tests, and run them."""
        self.pytester.makepyfile(test_suite=code)
        return self.rerun(*options)

    def run_process(self, code: str, *options: str) -> pytest.RunResult:
        """Write `code` as the tests of the light agent, and run them in a process of its own."""
        self.pytester.makepyfile(agent=LIGHT_AGENT, test_suite=code)
        return self.pytester.runpytest_subprocess(*PLUGIN, *options)

    def rerun(self, *options: str) -> pytest.RunResult:
        """Run the tests that are there."""
        with unchanged_environ():
            return self.pytester.runpytest_inprocess(*PLUGIN, *options)
