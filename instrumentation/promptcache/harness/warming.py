"""Fill the cache with a prompt's static and shared layers before the first user comes.

Anthropic has `max_tokens: 0` for it, OpenAI's Responses have `prewarm`; elsewhere one request with
the least output does it. Sources: Anthropic's prompt caching page and OpenAI's guide, autumn 2026.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast, final

from promptcache.common.coerce import as_mapping
from promptcache.harness.cache_tracker import CacheTracker
from promptcache.harness.chat import Chat
from promptcache.harness.names import Wire
from promptcache.harness.recent_uses import RecentUses
from promptcache.harness.warmed import Warmed

_QUESTION: Final = "."
"""The request needs a turn of the user. It stands behind the breakpoint."""
_LEAST_OUTPUT: Final[Mapping[Wire, Mapping[str, Any]]] = {
    "anthropic": {"max_tokens": 0},
    "chat": {"max_completion_tokens": 16},
    "responses": {},
    "converse": {"inferenceConfig": {"maxTokens": 1}},
    "litellm": {"max_tokens": 1},
}
"""GPT models with reasoning need a few tokens; Bedrock and LiteLLM take no 0."""
_REFUSED: Final = ("output_format", "output_config", "mcp_servers", "container")
"""Parameters that change the cached prefix, and with which Anthropic refuses `max_tokens: 0`."""
_FUNCTIONS: Final[Mapping[Wire, str]] = {
    "anthropic": "messages.create",
    "chat": "chat.completions.create",
    "responses": "responses.create",
    "converse": "converse",
    "invoke_model": "invoke_model",
    "litellm": "completion",
}
"""The function of the SDK's client; of the module `litellm` for LiteLLM."""


@final
@dataclass(slots=True)
class WarmRequest:
    """The request that fills the cache for a chat's head, or the reason why there is none."""

    chat: Chat[Any]
    uses: RecentUses
    reason: str = ""
    arguments: dict[str, Any] = field(default_factory=dict[str, Any])

    @classmethod
    def build(cls, chat: Chat[Any], uses: RecentUses, params: Mapping[str, Any]) -> WarmRequest:
        """Return the request. `params` are the frozen parameters of the prompt."""
        request = cls(chat, uses)
        if chat.style.breakpoints == "automatic":
            request.reason = "the provider caches by itself, so the first call warms it"
            return request
        kept = _params_of_prefix(chat, params)
        if chat.wire == "anthropic" and (refused := [one for one in _REFUSED if one in kept]):
            request.reason = f"the provider refuses to prewarm with {refused[0]}"
            return request
        arguments = dict(chat.lay_out_head(_QUESTION, kept))
        if not chat.breakpoints:
            request.reason = "; ".join(chat.notes) or "no block may carry a breakpoint"
            return request
        arguments |= _LEAST_OUTPUT.get(chat.wire, {})
        if chat.wire == "responses":
            options = as_mapping(arguments.get("prompt_cache_options"))
            arguments["prompt_cache_options"] = {**options, "prewarm": True}
        request.arguments = arguments
        return request

    def run(self, client: Any, if_idle: float) -> Warmed:
        """Send the request through a client of the wire's SDK."""
        if reason := self._claim_prefix(if_idle):
            return Warmed(False, reason)
        with self.uses.warming(self.chat.prefix_key):
            return self._read(self._function(client)(**self.arguments))

    async def run_async(self, client: Any, if_idle: float) -> Warmed:
        """Send the request through an asynchronous client."""
        if reason := self._claim_prefix(if_idle):
            return Warmed(False, reason)
        with self.uses.warming(self.chat.prefix_key):
            return self._read(await self._function(client)(**self.arguments))

    def _claim_prefix(self, if_idle: float) -> str | None:
        """Claim the prefix. Return None, or the reason why nothing is sent."""
        return self.reason or self.uses.start_warming(self.chat.prefix_key, if_idle)

    def _function(self, client: Any) -> Callable[..., Any]:
        function = client
        for name in _FUNCTIONS[self.chat.wire].split("."):
            function = getattr(function, name)
        return cast("Callable[..., Any]", function)

    def _read(self, answer: Any) -> Warmed:
        if self.chat.wire == "invoke_model":
            answer = json.loads(answer["body"].read())
        tracker = CacheTracker(provider=self.chat.style.provider, model=self.chat.base_model)
        tracker.record(answer)
        cost = tracker.cost_usd if tracker.priced_calls else None
        if tracker.read_tokens and not tracker.write_tokens:
            return Warmed(True, "it was in the cache, and its lifetime starts anew", cost)
        return Warmed(True, "the provider keeps it now", cost)


def _params_of_prefix(chat: Chat[Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that decide on the cached head: the others may stay away.

    `tool_choice` and `thinking` concern the messages only, and `max_tokens: 0` is refused with them
    on Anthropic.
    """
    names = chat.names_of_head_params()
    kept = {name: value for name, value in params.items() if name in names}
    return kept | ({"max_tokens": 1} if chat.wire == "invoke_model" else {})
