"""A customer support agent: a plain OpenAI program that does not import promptcache.

    opentelemetry-instrument python examples/support_agent.py [--clock]

With `--clock` the system prompt begins with the current time, as many prompts do. Then nothing
after it can come from the cache. Set the server in `OPENAI_BASE_URL`, the key in `OPENAI_API_KEY`.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime

from openai import OpenAI
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam

MODEL = "gpt-5.4"

POLICIES = [
    (
        "Refunds are possible within 30 days of delivery when the item is unused "
        "and its box is complete."
    ),
    (
        "A parcel that is more than five working days late may be sent again at no charge, "
        "once per order."
    ),
    (
        "Never ask for a card number; payment questions go to the payment page "
        "of the customer's account."
    ),
    "Addresses can be changed until the order is packed; after that offer to redirect the parcel.",
    "A customer who writes in anger gets a short apology first, then the next concrete step.",
    "Warranty claims need the order number, the date of purchase and a sentence on what fails.",
    "Gift cards are valid for three years and are neither exchanged for money nor combined.",
    "Business customers have their own price list; their questions go to the business desk.",
]
HANDBOOK = "\n".join(
    f"Rule {chapter}.{number}: {policy}"
    for chapter in range(1, 16)
    for number, policy in enumerate(POLICIES, 1)
)
SYSTEM = (
    "You are the support agent of a shop for outdoor gear. Follow the handbook to the letter.\n\n"
    f"{HANDBOOK}"
)

TOOLS: list[ChatCompletionToolParam] = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": description,
            "parameters": {
                "type": "object",
                "properties": {"order": {"type": "string"}},
                "required": ["order"],
            },
        },
    }
    for name, description in (
        ("order_status", "Where an order is, and when it will arrive."),
        ("start_return", "Begins the return of an order and gives the label."),
        ("send_again", "Sends a lost parcel again."),
    )
]

CONVERSATIONS = [
    ["My tent has not arrived.", "It was order 1042.", "Could you send it again?", "Thank you!"],
    [
        "Can I return boots that I wore once?",
        "And if they had been unused?",
        "How long do I have?",
        "Good to know.",
    ],
    [
        "The stove that I bought in March leaks.",
        "Order 2077, March 3.",
        "It leaks at the valve.",
        "What happens next?",
    ],
    ["I typed the wrong street.", "Order 3120.", "Number 12, not 21.", "Great."],
    ["Do gift cards expire?", "Can I use two at once?", "Can you pay one out?", "All right then."],
]


def system_prompt(clock: bool) -> str:
    """Return the handbook; with `clock`, the current time comes before it."""
    return f"Current time: {datetime.now(UTC).isoformat()}\n{SYSTEM}" if clock else SYSTEM


def ask_model(client: OpenAI, messages: list[ChatCompletionMessageParam], *, stream: bool) -> str:
    """Ask one question, streamed or not, and return the answer."""
    if not stream:
        reply = client.chat.completions.create(model=MODEL, messages=messages, tools=TOOLS)
        return reply.choices[0].message.content or ""
    chunks = client.chat.completions.create(
        model=MODEL,
        messages=messages,
        tools=TOOLS,
        stream=True,
        stream_options={"include_usage": True},
    )
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def main(clock: bool) -> None:
    """Hold all conversations, one after the other."""
    client = OpenAI()
    for number, questions in enumerate(CONVERSATIONS):
        history: list[ChatCompletionMessageParam] = []
        for question in questions:
            history.append({"role": "user", "content": question})
            head: ChatCompletionMessageParam = {"role": "system", "content": system_prompt(clock)}
            text = ask_model(client, [head, *history], stream=number % 2 == 1)
            history.append({"role": "assistant", "content": text})


if __name__ == "__main__":
    main(clock="--clock" in sys.argv[1:])
