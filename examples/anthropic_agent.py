"""A support agent on Claude: a cached handbook, a streamed conversation, and a batch.

    opentelemetry-instrument python examples/anthropic_agent.py

Set the key in `ANTHROPIC_API_KEY`. `ANTHROPIC_BASE_URL` selects another server, such as
`promptcache emulate`. The SDK opens a span for every call. promptcache adds to this span how many
tokens came from the cache, why tokens were missed, and what the call cost.
"""

from __future__ import annotations

import time

from anthropic import Anthropic
from anthropic.types import MessageParam, TextBlockParam
from anthropic.types.messages.batch_create_params import Request

MODEL = "claude-sonnet-5"
HANDBOOK = "\n".join(
    f"Rule {number}: a refund is possible within {10 + number % 20} days of delivery "
    "if the box is complete."
    for number in range(1, 301)
)
SYSTEM: list[TextBlockParam] = [
    {
        "type": "text",
        "text": f"Follow the handbook.\n\n{HANDBOOK}",
        "cache_control": {"type": "ephemeral", "ttl": "1h"},
    }
]
QUESTIONS = ["Can I return boots that I wore once?", "How long do I have?", "Do I need the box?"]


def hold_conversation(client: Anthropic) -> None:
    """Hold one conversation. An automatic breakpoint at its end caches the history."""
    history: list[MessageParam] = []
    for question in QUESTIONS:
        history.append({"role": "user", "content": question})
        with client.messages.stream(
            model=MODEL,
            max_tokens=200,
            system=SYSTEM,
            messages=history,
            cache_control={"type": "ephemeral"},
        ) as stream:
            answer = stream.get_final_text()
        print(f"> {question}\n{answer}")
        history.append({"role": "assistant", "content": answer})


def run_batch(client: Anthropic) -> None:
    """Ask the same questions in a batch, at half the price."""
    requests: list[Request] = [
        {
            "custom_id": f"question-{number}",
            "params": {
                "model": MODEL,
                "max_tokens": 200,
                "system": SYSTEM,
                "messages": [{"role": "user", "content": question}],
            },
        }
        for number, question in enumerate(QUESTIONS)
    ]
    batch = client.messages.batches.create(requests=requests)
    while client.messages.batches.retrieve(batch.id).processing_status != "ended":
        time.sleep(60)
    for line in client.messages.batches.results(batch.id):
        print(line.custom_id, line.result.type)


if __name__ == "__main__":
    with Anthropic() as anthropic:
        hold_conversation(anthropic)
        run_batch(anthropic)
