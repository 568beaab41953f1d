"""One support conversation through the SDKs of Anthropic and OpenAI, laid out by the harness.

    python examples/harness.py            # needs keys in ANTHROPIC_API_KEY and OPENAI_API_KEY

`ANTHROPIC_BASE_URL` and `OPENAI_BASE_URL` select another server, such as `promptcache emulate`. The
clock changes with every call and stands behind the last breakpoint, so it breaks no prefix. No
OpenTelemetry is involved.
"""

from __future__ import annotations

import time
from typing import assert_type

from anthropic import Anthropic
from anthropic.types import Message
from openai import OpenAI
from openai.types.chat import ChatCompletion
from openai.types.responses import Response

from promptcache import CacheTracker, Prompt

HANDBOOK = "\n".join(
    f"Rule {number}: a refund is possible within {10 + number % 20} days of delivery "
    "if the box is complete."
    for number in range(1, 301)
)
SUPPORT = Prompt(
    "support",
    system=f"Follow the handbook.\n\n{HANDBOOK}",
    tools=[
        {
            "name": "find_order",
            "description": "Find an order by its number.",
            "schema": {
                "type": "object",
                "properties": {"number": {"type": "string"}},
                "required": ["number"],
            },
        }
    ],
    examples=[("Can I return a gift?", "Yes, with the number of the order.")],
)
QUESTIONS = ["Can I return boots that I wore once?", "How long do I have?", "Do I need the box?"]


def tell_time() -> str:
    return f"It is {time.strftime('%H:%M:%S')}."


def ask_anthropic() -> CacheTracker:
    """Hold the conversation over Anthropic's Messages."""
    client = Anthropic()
    chat = SUPPORT.chat(wire="anthropic", model="claude-sonnet-5")
    for question in QUESTIONS:
        arguments = chat.ask(question, now=tell_time(), params={"tool_choice": {"type": "none"}})
        answer = client.messages.create(**arguments, max_tokens=200)
        assert_type(answer, Message)
        chat.add(answer)
    return chat.stats


def stream_anthropic() -> CacheTracker:
    """Hold it again, streamed."""
    client = Anthropic()
    chat = SUPPORT.chat(wire="anthropic", model="claude-sonnet-5")
    for question in QUESTIONS:
        arguments = chat.ask(question, now=tell_time(), params={"tool_choice": {"type": "none"}})
        with client.messages.stream(**arguments, max_tokens=200) as stream:
            chat.add(stream.get_final_message())
    return chat.stats


def ask_chat_completions() -> CacheTracker:
    """Hold the conversation over OpenAI's Chat Completions."""
    client = OpenAI()
    chat = SUPPORT.chat(wire="chat", model="gpt-6-sol")
    for question in QUESTIONS:
        arguments = chat.ask(question, now=tell_time(), params={"tool_choice": "none"})
        answer = client.chat.completions.create(**arguments)
        assert_type(answer, ChatCompletion)
        chat.add(answer)
    return chat.stats


def ask_responses() -> CacheTracker:
    """Hold the conversation over OpenAI's Responses."""
    client = OpenAI()
    chat = SUPPORT.chat(wire="responses", model="gpt-6-sol")
    for question in QUESTIONS:
        arguments = chat.ask(question, now=tell_time(), params={"tool_choice": "none"})
        answer = client.responses.create(**arguments, store=False)
        assert_type(answer, Response)
        chat.add(answer)
    return chat.stats


if __name__ == "__main__":
    for ask in (ask_anthropic, stream_anthropic, ask_chat_completions, ask_responses):
        stats = ask()
        print(f"{ask.__name__}: {stats.hit_rate or 0:.0%} of the input read from the cache")
