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
START: Final = 1_795_000_000.0
PATHS: Final[Mapping[str, str]] = {
    "anthropic": "/v1/messages",
    "chat": "/v1/chat/completions",
    "responses": "/v1/responses",
}


def support_prompt(**more: Any) -> Prompt:
    options: dict[str, Any] = {"system": HANDBOOK, "tools": TOOLS, **more}
    return Prompt("support", **options)


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
        body = {**arguments, **more} | ({"max_tokens": 300} if wire == "anthropic" else {})
        raw = json.dumps(body).encode()
        response, _ = self.emulator.handle_request("POST", PATHS[wire], raw, {"x-api-key": "k"}, {})
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
