"""A message of a role and a text costs little, and is compared by its content alone."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any, Final

import pytest

from promptcache import Settings
from promptcache.diagnosis.diagnosis import Diagnosis
from promptcache.model import Block, ParsedPrompt, PromptBlocks, Request, ResponseFacts, Usage
from promptcache.prefix.hashing import InProcessHasher
from promptcache.providers.anthropic.wire import MESSAGES
from promptcache.providers.google.wire import GENERATE_CONTENT
from promptcache.providers.openai.wire import CHAT
from promptcache.providers.wire_format import WireFormat

HASHER: Final = InProcessHasher(b"k")
RULES: Final = "Answer from the handbook and name the page. " * 200


def make_request(messages: list[Any], at: float = 0.0, wire_format: WireFormat = CHAT) -> Request:
    name = wire_format.name
    provider = name.split(".")[0]
    body = {"messages": messages}
    return Request(name, provider, "chat", "gpt-4.1", "h", 443, False, body, b"t", at)


def parse(messages: list[Any], wire_format: WireFormat = CHAT) -> ParsedPrompt:
    prompt = wire_format.parse_prompt(make_request(messages, wire_format=wire_format))
    assert prompt is not None
    return prompt


def talk(count: int) -> list[dict[str, Any]]:
    """Return a system prompt and `count` messages, as new objects."""
    roles = ("user", "assistant")
    said = [{"role": roles[n % 2], "content": f"{n}. {RULES[:900]}"} for n in range(count)]
    return [{"role": "system", "content": RULES}, *said]


def in_part(message: dict[str, Any]) -> dict[str, Any]:
    """Return the data of a message whose text is a part."""
    return {**message, "content": {"type": "text", "text": message["content"]}}


@pytest.mark.parametrize("wire_format", [CHAT, MESSAGES], ids=lambda wire: wire.name)
def test_plain_messages_have_the_blocks_and_digests_of_all_others(wire_format: WireFormat) -> None:
    messages = talk(3)[1:]
    blocks = parse(messages, wire_format).blocks
    assert isinstance(blocks, PromptBlocks)
    assert all(isinstance(entry, tuple) for entry in blocks.entries)
    expected = tuple(
        Block("messages", n, "text", one if wire_format is CHAT else in_part(one))
        for n, one in enumerate(messages)
    )
    assert tuple(blocks) == blocks[:] == expected
    assert HASHER.digest_prompt_blocks(ParsedPrompt(blocks)) == HASHER.digest_prompt_blocks(
        ParsedPrompt(expected)
    )


@pytest.mark.parametrize(
    ("wire_format", "body_field", "field", "part"),
    [
        (CHAT, "messages", "content", {"type": "text", "text": "Hi"}),
        (MESSAGES, "messages", "content", {"type": "text", "text": "Hi"}),
        (GENERATE_CONTENT, "contents", "parts", {"text": "Hi"}),
    ],
    ids=["chat", "messages", "gemini"],
)
def test_a_message_of_one_text_part_is_plain(
    wire_format: WireFormat, body_field: str, field: str, part: dict[str, str]
) -> None:
    role_last = {field: [part], "role": "user"}
    body = {body_field: [{"role": "user", field: [part]}, role_last]}
    request = Request(wire_format.name, "p", "chat", "m", "h", 443, False, body, b"t", 0.0)
    prompt = wire_format.parse_prompt(request)
    assert prompt is not None
    assert isinstance(prompt.blocks, PromptBlocks)
    assert all(isinstance(entry, tuple) for entry in prompt.blocks.entries)
    expected = tuple(Block("messages", n, "text", {"role": "user", field: part}) for n in (0, 1))
    assert tuple(prompt.blocks) == expected
    assert HASHER.digest_prompt_blocks(prompt) == HASHER.digest_prompt_blocks(
        prompt._replace(blocks=expected)
    )


def test_other_keys_types_and_order_make_other_digests() -> None:
    variants: list[Any] = [
        {"role": "user", "content": "Hi"},
        {"content": "Hi", "role": "user"},
        {"role": "user", "text": "Hi"},
        {"role": "user", "content": {"text": "Hi"}},
        {"role": "user", "content": {"type": "text", "text": "Hi"}},
        {"role": "user", "content": {"text": "Hi", "type": "text"}},
        {"role": "user", "content": None},
        {"role": "user", "content": ["Hi"]},
        {"role": "user", "content": "Hi", "name": "x"},
        "Hi",
        {"Hi": "role"},
        {},
    ]
    assert len({HASHER.hash_data(one) for one in variants}) == len(variants)


def test_plain_messages_between_others_keep_their_places() -> None:
    call = {"role": "assistant", "tool_calls": [{"id": "c1"}]}
    result = {"role": "tool", "tool_call_id": "c1", "content": "42"}
    blocks = parse([*talk(2), call, result, *talk(1)[1:]]).blocks
    places = [(block.section, block.index) for block in blocks]
    assert places == [("system", 0), *(("messages", index) for index in range(5))]
    assert blocks[3].data is call
    assert blocks[-1].data == {"role": "user", "content": talk(1)[1]["content"]}


class Conversation:
    """One process that sends conversations, a second apart."""

    def __init__(self) -> None:
        self.diagnosis = Diagnosis(Settings())
        self.now = 1e9

    def send(self, messages: list[Any], tokens: int, read: int) -> Any:
        self.now += 1
        request = make_request(messages, self.now)
        pending = self.diagnosis.start(request, CHAT.parse_prompt(request))
        return self.diagnosis.finish(
            pending,
            facts=ResponseFacts(),
            usage=Usage(tokens, tokens - read, read, None),
            cost=None,
            has_failed=False,
            ended_at=self.now,
        )


def test_a_nested_value_that_is_edited_in_place_breaks_the_prefix() -> None:
    app, part = Conversation(), {"type": "text", "text": f"8. {RULES[:900]}"}
    messages = [*talk(1), {"role": "assistant", "content": [part]}, *talk(3)[2:]]
    assert app.send(messages, 3000, 0).outcome == "cold"
    part["text"] = f"9. {RULES[:900]}"
    verdict = app.send(messages, 3000, 2176)
    assert (verdict.section, verdict.index, verdict.hint) == ("messages", 1, "counter")


def test_a_plain_message_that_is_edited_in_place_breaks_the_prefix() -> None:
    app, messages = Conversation(), talk(4)
    assert app.send(messages, 3000, 0).outcome == "cold"
    messages[2]["content"] = messages[2]["content"].replace("1.", "7.")
    verdict = app.send(messages, 3000, 2176)
    assert (verdict.section, verdict.index, verdict.hint) == ("messages", 1, "counter")


def test_a_list_with_the_id_of_a_freed_one_is_another_prompt() -> None:
    app = Conversation()
    seen: set[int] = set()
    outcomes: list[str] = []
    for number in range(50):
        messages = talk(2)
        messages[1]["content"] = f"{number} " + "Other words than before. " * number
        seen.add(id(messages))
        outcomes.append(app.send(messages, 2300, 2176 if number else 0).outcome)
        del messages
    assert len(seen) < 50  # else no id was used again
    assert outcomes == ["cold", *["hit"] * 49]


def test_a_fixed_key_of_python_is_not_the_only_key() -> None:
    """Under PYTHONHASHSEED=0, each process still has digests of its own."""
    code = (
        "from promptcache.prefix.hashing import *; from promptcache.model import *\n"
        "blocks = PromptBlocks([('role', 'user', 'content', 'Hi')], 0, ())\n"
        "built = ParsedPrompt(tuple(blocks))\n"
        "digest = lambda: InProcessHasher().digest_prompt_blocks(built).block_digests\n"
        "digests = [digest(), digest()]\n"
        "hasher = InProcessHasher()\n"
        "same = hasher.digest_prompt_blocks(ParsedPrompt(blocks)).block_digests\n"
        "assert same == hasher.digest_prompt_blocks(built).block_digests\n"
        "print(hasher.uses_text_hashes, digests[0] != digests[1])"
    )
    for seed, expected in (("0", "False True"), ("7", "False True"), ("random", "True True")):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        run = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert run.stdout.strip() == expected
