"""A support agent with two tools. It knows nothing of promptcache."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import openai

HANDBOOK = Path(__file__).with_name("handbook.md").read_text(encoding="utf-8")
TOOLS: list[Any] = [
    {
        "type": "function",
        "name": name,
        "description": description,
        "parameters": {
            "type": "object",
            "properties": {"number": {"type": "string"}},
            "required": ["number"],
            "additionalProperties": False,
        },
        "strict": True,
    }
    for name, description in (
        ("find_order", "Find an order by its number."),
        ("track_parcel", "Say where the parcel of an order is."),
    )
]
client = openai.OpenAI()


def instructions() -> str:
    """Return the system prompt."""
    return HANDBOOK


class SupportAgent:
    """One conversation."""

    def __init__(self) -> None:
        self.history: list[Any] = []

    def ask(self, text: str) -> str:
        """Return the answer to a question of the customer."""
        self.history.append({"role": "user", "content": text})
        while True:
            response = client.responses.create(
                model="gpt-5",
                instructions=instructions(),
                tools=TOOLS,
                input=self.history,
                prompt_cache_key="support",
            )
            calls = [item for item in response.output if item.type == "function_call"]
            if not calls:
                self.history.append({"role": "assistant", "content": response.output_text})
                return response.output_text
            for call in calls:
                self.history.append(call.model_dump(exclude_none=True))
                result = {"number": json.loads(call.arguments)["number"], "status": "sent"}
                output = json.dumps(result, sort_keys=True)
                self.history.append(
                    {"type": "function_call_output", "call_id": call.call_id, "output": output}
                )
