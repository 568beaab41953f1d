"""The surfaces of the exam: an API of a provider under one way of caching, and its JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from promptcache.providers.anthropic import wire as anthropic
from promptcache.providers.bedrock import wire as bedrock
from promptcache.providers.google import wire as gemini
from promptcache.providers.openai import wire as openai
from promptcache.providers.wire_format import WireFormat
from promptcache_emulator.engine import Emulator
from promptcache_emulator.response import ProviderResponse
from tests.breaks.exam import gateways, writers
from tests.breaks.exam.prompts import Prompt
from tests.breaks.exam.sent_request import SentRequest
from tests.breaks.exam.writers import JSON

DAY_SECONDS = 86_400.0


@dataclass(frozen=True)
class Surface:
    """One API of a provider under one way of caching, with the facts of the provider's documents.

    `models` are two models that share no cache. `writes` tells whether written tokens are reported.
    `ttl` is in seconds. `minimum` is the shortest cached prefix, `step` the granularity of reads
    where writes are not reported, both in tokens. `marked` tells whether requests carry
    breakpoints, `tail` whether only the end of a request is written, `lookback` whether a
    breakpoint looks back a limited number of blocks. `params` maps a parameter to its path in the
    body; `harmless` are those that invalidate nothing. `sdk` names the SDK that calls it, if one
    can do so on loopback. `answer` asks the emulator where it has no route for the surface.
    """

    name: str
    path: str
    wire: WireFormat
    provider: str
    models: tuple[str, str]
    write: Callable[[Prompt], JSON]
    params: Mapping[str, str] = field(default_factory=dict[str, str])
    writes: bool = False
    ttl: float = DAY_SECONDS
    minimum: int = 1024
    step: int = 128
    marked: bool = False
    tail: bool = False
    lookback: bool = False
    harmless: frozenset[str] = frozenset()
    sdk: str = ""
    host: str = "host"
    answer: Callable[[Emulator, SentRequest], ProviderResponse] | None = None

    def url(self, prompt: Prompt) -> str:
        return self.path.replace("{model}", self.models[prompt.model])

    def body(self, prompt: Prompt) -> JSON:
        model = {} if "{model}" in self.path else {"model": self.models[prompt.model]}
        body: JSON = model | self.write(prompt)
        for name, value in prompt.params.items():
            *outer, last = self.params[name].split(".")
            target: JSON = body
            for step in outer:
                target = target.setdefault(step, {})
            target[last] = value
        return body

    @property
    def smallest_base(self) -> int:
        """Bytes of a handbook that is cached together with some tools."""
        return max(self.minimum, 512) * 4

    @property
    def smallest_handbook(self) -> int:
        """Bytes of a handbook that is surely cached."""
        return max(self.minimum, 512) * 7


_CHAT_PARAMS = {
    "effort": "reasoning_effort",
    "format": "response_format",
    "verbosity": "verbosity",
    "cache_key": "prompt_cache_key",
    "tier": "service_tier",
    "tool_choice": "tool_choice",
    "parallel": "parallel_tool_calls",
    "user": "metadata.user",
}
_RESPONSES_PARAMS = _CHAT_PARAMS | {
    "effort": "reasoning.effort",
    "format": "text.format",
    "verbosity": "text.verbosity",
}
_CLAUDE_PARAMS = {
    "effort": "output_config.effort",
    "tool_choice": "tool_choice",
    "thinking": "thinking",
    "user": "metadata.user_id",
}
_GEMINI_PARAMS = {"effort": "generationConfig.thinkingConfig.thinkingLevel"}
_CONVERSE_PARAMS = {
    "thinking": "additionalModelRequestFields.thinking",
    "tier": "serviceTier.type",
}
_OPENAI_HARMLESS = frozenset({"tool_choice", "user"})
_CLAUDE = ("claude-sonnet-4-6", "claude-opus-4-1")
_BEDROCK = (
    "anthropic.claude-sonnet-4-6",
    "anthropic.claude-opus-4-1-20250805-v1:0",
)
_NEW_GPT = ("gpt-6-sol", "gpt-5.6")
_CHAT_PATH, _RESPONSES_PATH = "/v1/chat/completions", "/v1/responses"
_GEMINI = ("gemini-2.5-flash", "gemini-2.5-pro")


def _chat(name: str, models: tuple[str, str], **more: Any) -> Surface:
    facts: JSON = {"params": _CHAT_PARAMS, "harmless": _OPENAI_HARMLESS, "sdk": "chat"} | more
    return Surface(name, _CHAT_PATH, openai.CHAT, "openai", models, writers.write_chat, **facts)


def _responses(name: str, models: tuple[str, str], **more: Any) -> Surface:
    facts: JSON = {
        "params": _RESPONSES_PARAMS,
        "harmless": _OPENAI_HARMLESS,
        "sdk": "responses",
    } | more
    write = writers.write_responses
    return Surface(name, _RESPONSES_PATH, openai.RESPONSES, "openai", models, write, **facts)


def _claude(name: str, write: Callable[[Prompt], JSON], **more: Any) -> Surface:
    facts: JSON = {"params": _CLAUDE_PARAMS, "sdk": "messages"} | _CLAUDE_CACHE | more
    return Surface(name, "/v1/messages", anthropic.MESSAGES, "anthropic", _CLAUDE, write, **facts)


def _bedrock(name: str, wire: WireFormat, write: Callable[[Prompt], JSON], **more: Any) -> Surface:
    facts: JSON = {"sdk": name, "marked": True} | _CLAUDE_CACHE | more
    return Surface(name, "/model/{model}/" + name, wire, "aws.bedrock", _BEDROCK, write, **facts)


def _gemini(name: str, write: Callable[[Prompt], JSON], **more: Any) -> Surface:
    facts: JSON = (
        {"params": _GEMINI_PARAMS, "harmless": frozenset(_GEMINI_PARAMS)} | _GEMINI_CACHE | more
    )
    path = "/v1beta/models/{model}:generateContent"
    wire = gemini.GENERATE_CONTENT
    return Surface(name, path, wire, "gcp.gemini", _GEMINI, write, **facts)


_CLAUDE_CACHE: JSON = {"writes": True, "ttl": 300.0, "lookback": True}
_NEW_GPT_CACHE: JSON = {"writes": True, "ttl": 1800.0}
_GEMINI_CACHE: JSON = {"ttl": 600.0, "minimum": 2048, "step": 256}

_GATEWAY = Surface(
    "gateway chat",
    _CHAT_PATH,
    openai.CHAT,
    "openrouter",
    ("anthropic/claude-sonnet-4.6", "anthropic/claude-opus-4.1"),
    gateways.write_claude_as_chat,
    writes=True,
    ttl=300.0,
    lookback=True,
    marked=True,
    host="openrouter.ai",
    answer=gateways.answer_claude_as_chat,
)
_DEEPSEEK = Surface(
    "deepseek messages",
    "/anthropic/v1/messages",
    anthropic.MESSAGES,
    "deepseek",
    ("deepseek-chat", "deepseek-reasoner"),
    gateways.write_deepseek,
    minimum=64,
    step=64,
    host="api.deepseek.com",
    answer=gateways.answer_deepseek,
)

SURFACES = (
    _chat("chat", ("gpt-4.1", "gpt-5-mini")),
    _chat("chat 6", _NEW_GPT, **_NEW_GPT_CACHE),
    _responses("responses", ("gpt-5", "gpt-5-mini")),
    _responses("responses 6", _NEW_GPT, **_NEW_GPT_CACHE),
    _claude("messages", writers.write_claude, marked=True),
    _claude("messages automatic", writers.write_claude_automatic, tail=True),
    _bedrock("converse", bedrock.CONVERSE, writers.write_converse, params=_CONVERSE_PARAMS),
    _bedrock("invoke", anthropic.MESSAGES, writers.write_invoke, params=_CLAUDE_PARAMS),
    _GATEWAY,
    _DEEPSEEK,
    _gemini("gemini", writers.write_gemini, sdk="gemini"),
    _gemini("gemini dict", writers.write_gemini_dict, sdk="gemini"),
)
