"""Fuzz all parsers of requests and responses, guided by coverage.

Run it in an environment with `atheris` and this package: `python tests/fuzz/parsers.py
-atheris_runs=1000000`. Half of the inputs are raw bytes, the other half are JSON with the names of
the fixtures.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Final

atheris: Final[Any] = import_module("atheris")  # not typed, and in an environment of its own

with atheris.instrument_imports(include=["promptcache"]):
    from promptcache.common.coerce import JSONObject, as_list, as_mapping
    from promptcache.model import Request
    from promptcache.patching.event_decoder import parse_json_object
    from promptcache.prefix.hashing import InProcessHasher
    from promptcache.providers.anthropic import wire as anthropic
    from promptcache.providers.bedrock import eventstream
    from promptcache.providers.bedrock import wire as bedrock
    from promptcache.providers.google import cached_contents as gemini_caches
    from promptcache.providers.google import wire as gemini
    from promptcache.providers.openai import wire as openai
    from promptcache.providers.wire_format import WireFormat

WIRES: Final[list[WireFormat]] = [
    openai.CHAT,
    openai.RESPONSES,
    openai.COMPLETIONS,
    openai.BATCH_RESULTS,
    anthropic.MESSAGES,
    anthropic.BATCH_RESULTS,
    gemini.GENERATE_CONTENT,
    gemini.INTERACTIONS,
    gemini.BATCH_RESULTS,
    bedrock.CONVERSE,
]
HASHER: Final = InProcessHasher(b"k")


def _names(node: Any) -> Iterator[str]:
    """Yield all keys and short strings."""
    if isinstance(node, str) and len(node) < 40:
        yield node
    for entry in (*as_list(node), *as_mapping(node), *as_mapping(node).values()):
        yield from _names(entry)


_FIXTURES: Final = Path(__file__).parents[1] / "fixtures"
NAMES: Final = sorted(
    {
        "tools",
        "system",
        "messages",
        "content",
        "cache_control",
        "type",
        "text",
        "role",
        "instructions",
        "input",
        "ttl",
        "parts",
        "contents",
        "systemInstruction",
        "cachePoint",
        "toolConfig",
        "prompt_cache_options",
        "iterations",
        "error",
        *(
            name
            for path in _FIXTURES.rglob("*.json")
            for name in _names(json.loads(path.read_text()))
        ),
    }
)


def build_json(data: Any, depth: int = 0) -> Any:
    """Build a JSON value."""
    kind = data.ConsumeIntInRange(0, 11 if depth < 6 else 6)
    if kind == 0:
        return data.PickValueInList([None, True, False, 0, "", [], {}])
    if kind <= 2:
        return data.PickValueInList(NAMES)
    if kind == 3:
        return data.ConsumeUnicode(12)
    if kind <= 5:
        return data.ConsumeInt(9)
    if kind == 6:
        return data.ConsumeFloat()
    entries = range(data.ConsumeIntInRange(0, 4))
    if kind <= 8:
        return [build_json(data, depth + 1) for _ in entries]
    return {data.PickValueInList(NAMES): build_json(data, depth + 1) for _ in entries}


def parse_input(raw: bytes) -> None:
    """Parse one input as a response or event, and as a request."""
    data = atheris.FuzzedDataProvider(raw)
    wire: WireFormat = data.PickValueInList(WIRES)
    if data.ConsumeBool():
        received = data.ConsumeBytes(len(raw))
        event: JSONObject = parse_json_object(received)
        eventstream.decode_events(received)
    else:
        event = as_mapping(build_json(data))
    facts = wire.parse_event(event)
    usage = wire.parse_usage(facts) if facts is not None else None
    if usage is not None:
        assert (
            usage.uncached_tokens + (usage.cache_read_tokens or 0) + (usage.cache_write_tokens or 0)
            == usage.input_tokens
        )
        assert (
            min(
                usage.uncached_tokens,
                usage.cache_read_tokens or 0,
                usage.cache_write_tokens or 0,
                usage.output_tokens or 0,
            )
            >= 0
        )
        assert sum(usage.cache_write_by_ttl.values()) == (usage.cache_write_tokens or 0)
    wire.is_last_event(event)
    gemini_caches.parse_cached_content(event)
    prompt = wire.parse_prompt(
        Request(wire.name, "p", "chat", "amazon.nova", None, None, False, event, b"", 0.0)
    )
    if prompt is not None:
        HASHER.digest_prompt_blocks(prompt)
    opening = wire.conversation_key(event)
    wire.with_diagnostics(
        "openai" if wire.name.startswith("openai") else "anthropic",
        event,
        "one" if opening else None,
    )


if __name__ == "__main__":
    atheris.Setup(sys.argv, parse_input)
    atheris.Fuzz()
