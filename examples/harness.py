"""One support conversation through five SDKs, laid out by the harness.

    python examples/harness.py            # all of them: Anthropic, OpenAI, Groq, Gemini and Bedrock
    python examples/harness.py anthropic responses

The keys are in ANTHROPIC_API_KEY, OPENAI_API_KEY, GROQ_API_KEY and GOOGLE_API_KEY; boto3 reads its
credentials. `ANTHROPIC_BASE_URL`, `OPENAI_BASE_URL`, `GROQ_BASE_URL`, `GOOGLE_GEMINI_BASE_URL` and
`AWS_ENDPOINT_URL_BEDROCK_RUNTIME` select another server, such as `promptcache emulate`. The clock
changes with every call and stands behind the last breakpoint, so it breaks no prefix. No
OpenTelemetry is involved.
"""

from __future__ import annotations

import sys
import time
from importlib import import_module
from typing import Any, assert_type

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


def ask_groq() -> CacheTracker:
    """Hold it on a server that speaks Chat Completions and caches by itself."""
    client: Any = import_module("groq").Groq()
    chat = SUPPORT.chat(wire="chat", model="openai/gpt-oss-120b")
    for question in QUESTIONS:
        arguments = chat.ask(question, now=tell_time(), params={"tool_choice": "none"})
        chat.add(client.chat.completions.create(**arguments))
    return chat.stats


def ask_gemini() -> CacheTracker:
    """Hold it over Gemini's generateContent."""
    client: Any = import_module("google.genai").Client()  # some of its types may be absent
    chat = SUPPORT.chat(wire="gemini", model="gemini-2.5-flash")
    off = {"tool_config": {"function_calling_config": {"mode": "NONE"}}}
    for question in QUESTIONS:
        chat.add(client.models.generate_content(**chat.ask(question, now=tell_time(), params=off)))
    return chat.stats


def ask_bedrock() -> CacheTracker:
    """Hold it over Bedrock's Converse."""
    client: Any = import_module("boto3").client("bedrock-runtime")  # boto3 ships no types
    chat = SUPPORT.chat(wire="converse", model="us.anthropic.claude-sonnet-4-6")
    for question in QUESTIONS:
        answer = client.converse(**chat.ask(question, now=tell_time()))
        chat.add(answer)
        content = answer["output"]["message"]["content"]
        calls = [block["toolUse"] for block in content if "toolUse" in block]
        if calls:
            chat.tool_results({call["toolUseId"]: "The order was delivered." for call in calls})
            chat.add(client.converse(**chat.ask(now=tell_time())))
    return chat.stats


if __name__ == "__main__":
    conversations = {
        "anthropic": ask_anthropic,
        "anthropic, streamed": stream_anthropic,
        "chat": ask_chat_completions,
        "responses": ask_responses,
        "groq": ask_groq,
        "gemini": ask_gemini,
        "bedrock": ask_bedrock,
    }
    for name in sys.argv[1:] or conversations:
        stats = conversations[name]()
        print(f"{name}: {stats.hit_rate or 0:.0%} of the input read from the cache")
