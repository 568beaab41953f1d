"""Claude on Amazon Bedrock: a cache point after the handbook, and a conversation.

    opentelemetry-instrument python examples/bedrock_converse.py

boto3 reads credentials and region from the environment. `AWS_ENDPOINT_URL_BEDROCK_RUNTIME` selects
another server, such as `promptcache emulate`.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

boto3: Any = import_module("boto3")  # boto3 ships no types

MODEL = "us.anthropic.claude-sonnet-4-6"
HANDBOOK = "\n".join(
    f"Rule {number}: a refund is possible within {10 + number % 20} days of delivery "
    "if the box is complete."
    for number in range(1, 301)
)
SYSTEM = [
    {"text": f"Follow the handbook.\n\n{HANDBOOK}"},
    {"cachePoint": {"type": "default", "ttl": "5m"}},
]
QUESTIONS = ["Can I return boots that I wore once?", "How long do I have?", "Do I need the box?"]


def message_text(message: Any) -> str:
    """Return the text of a message."""
    return "".join(part.get("text", "") for part in message["content"])


def main() -> None:
    """Hold one conversation. The last answer is streamed."""
    client = boto3.client("bedrock-runtime")
    history: list[Any] = []
    for question in QUESTIONS:
        history.append({"role": "user", "content": [{"text": question}]})
        answer = client.converse(modelId=MODEL, system=SYSTEM, messages=history)["output"][
            "message"
        ]
        print(message_text(answer))
        history.append(answer)
    history.append({"role": "user", "content": [{"text": "Thank you!"}]})
    for event in client.converse_stream(modelId=MODEL, system=SYSTEM, messages=history)["stream"]:
        print(event.get("contentBlockDelta", {}).get("delta", {}).get("text", ""), end="")
    print()


if __name__ == "__main__":
    main()
