"""A support agent's prompt, and an emulator with a clock that answers its calls in this process."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from promptcache import Chat, Prompt
from promptcache_emulator.clock import Clock
from promptcache_emulator.engine import Emulator

HANDBOOK: Final = " ".join(
    f"Rule {number}: read the order, look at the policy, and answer in plain words."
    for number in range(300)
)
"""About 5,000 tokens: above the minimum of each model."""
TOOLS: Final[list[dict[str, Any]]] = [
    {
        "name": name,
        "description": f"{name} an order of the customer.",
        "schema": {
            "type": "object",
            "properties": {"order": {"type": "string"}, "reason": {"type": "string"}},
            "required": ["order"],
        },
    }
    for name in ("track", "cancel", "refund")
]
CLAUDE: Final = "claude-opus-4-8"
GPT: Final = "gpt-6-sol"
OLD_GPT: Final = "gpt-4.1"
GEMINI: Final = "gemini-2.5-flash"
BEDROCK_CLAUDE: Final = "us.anthropic.claude-opus-4-8-v1:0"
NOVA: Final = "us.amazon.nova-pro-v1:0"
START: Final = 1_795_000_000.0
PATHS: Final[Mapping[str, str]] = {
    "anthropic": "/v1/messages",
    "chat": "/v1/chat/completions",
    "responses": "/v1/responses",
    "litellm": "/v1/chat/completions",
    "gemini": "/v1beta/models/{model}:generateContent",
    "converse": "/model/{model}/converse",
    "invoke_model": "/model/{model}/invoke",
}


def support_prompt(**more: Any) -> Prompt:
    options: dict[str, Any] = {"system": HANDBOOK, "tools": TOOLS, **more}
    return Prompt("support", **options)


def wire_prompt(wire: str, **more: Any) -> Prompt:
    """Return the support agent's prompt with the parameters that a wire needs."""
    params = {"params": {"max_tokens": 300}} if wire == "invoke_model" else {}
    return support_prompt(**params, **more)


@dataclass
class World:
    """Emulator and clock. `rules` are overrides of the emulator's profiles."""

    rules: str = ""
    emulator: Emulator = field(init=False)
    clock: Clock = field(init=False)

    def __post_init__(self) -> None:
        self.clock = Clock(START)
        self.emulator = Emulator(self.clock, self.rules)

    def call(self, wire: str, arguments: Mapping[str, object], **more: Any) -> Any:
        """Return the answer. Fail if the provider refuses the request."""
        status, answer = self.try_call(wire, arguments, **more)
        assert status == 200, answer
        return answer

    def try_call(self, wire: str, arguments: Mapping[str, object], **more: Any) -> tuple[int, Any]:
        """Return status and answer."""
        body = {**arguments, **more}
        model = str(body.pop("modelId", None) or body.get("model"))
        if wire == "anthropic":
            body["max_tokens"] = 300
        if wire == "gemini":
            body = _gemini_body(body)
        raw = body["body"] if wire == "invoke_model" else json.dumps(body)
        path = PATHS[wire].format(model=model)
        headers = {"x-api-key": "k"}
        response, _ = self.emulator.handle_request("POST", path, str(raw).encode(), headers, {})
        response.commit()
        return response.status, response.body if response.events is None else response.events

    def turn(self, chat: Chat[Any], text: str, **more: Any) -> Any:
        """Run one turn of a chat, and return the answer."""
        answer = self.call(chat.wire, chat.ask(text, **more))
        chat.add(answer)
        return answer

    def relative_cost(self, *, read: float = 0.1, write: float = 1.25) -> float:
        """Return the cost of all input so far, as a share of the cost without caching."""
        totals = self.emulator.totals
        cost = totals["uncached"] + read * totals["read"] + write * totals["write"]
        return cost / totals["input"]


def _gemini_body(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the body that google-genai makes of its keyword arguments."""
    config: dict[str, Any] = arguments["config"]
    return {"contents": arguments["contents"], **config}
