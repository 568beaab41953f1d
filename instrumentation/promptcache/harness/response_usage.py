"""Read the usage of any provider's response, recognised by its shape."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from types import MappingProxyType
from typing import Final, NamedTuple, cast, final

from promptcache.common.coerce import JSONObject, as_list, as_mapping
from promptcache.harness.json_guards import is_array
from promptcache.model import ResponseFacts, Usage
from promptcache.providers.response_facts import NO_FACTS, merge_facts
from promptcache.providers.wire_format import WireFormat


@final
class ResponseUsage(NamedTuple):
    """What a response says of its cost. `usage` is None if it reported none."""

    facts: ResponseFacts
    usage: Usage | None
    provider: str
    wire_format_name: str


@final
class _Shape(NamedTuple):
    """A wire format, its usual provider, and how a response and a bare usage are recognised.

    A bare usage is read as a response that has it under `usage_key`, beside `envelope`.
    """

    module: str
    wire_format: str
    provider: str
    is_response: Callable[[JSONObject], bool]
    is_usage: Callable[[JSONObject], bool]
    envelope: JSONObject = MappingProxyType({})
    usage_key: str = "usage"


def _is_openai_response(data: JSONObject) -> bool:
    kind = str(data.get("type", ""))
    return kind.startswith("response.") or data.get("object") == "response"


def _is_anthropic_message(data: JSONObject) -> bool:
    return str(data.get("type", "")).startswith(("message", "content_block"))


def _has_any(*keys: str) -> Callable[[JSONObject], bool]:
    def test(data: JSONObject) -> bool:
        return not data.keys().isdisjoint(keys)

    return test


def _has_openai_usage(data: JSONObject) -> bool:
    return "input_tokens" in data and "total_tokens" in data


_SHAPES: Final = (
    _Shape("openai.wire", "RESPONSES", "openai", _is_openai_response, _has_openai_usage),
    _Shape(
        "anthropic.wire",
        "MESSAGES",
        "anthropic",
        _is_anthropic_message,
        _has_any("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"),
        {"type": "message"},
    ),
    _Shape(
        "google.wire",
        "GENERATE_CONTENT",
        "gcp.gemini",
        _has_any("usageMetadata", "candidates"),
        _has_any("promptTokenCount"),
        usage_key="usageMetadata",
    ),
    _Shape(
        "bedrock.wire",
        "CONVERSE",
        "aws.bedrock",
        _has_any("metadata", "messageStart", "messageStop", "contentBlockDelta", "stopReason"),
        _has_any("inputTokens"),
    ),
    _Shape("openai.wire", "CHAT", "openai", _has_any("choices"), _has_any("prompt_tokens")),
)
"""In the order of the search: a usage with a total is OpenAI's, one without is Anthropic's."""


def read_response_usage(data: object) -> ResponseUsage | None:
    """Return the usage of a plain response, a list of a stream's events, or a bare usage.

    None if the shape is of no known provider.
    """
    if is_array(data):
        return _read_events(as_list(cast("object", data)))
    fields = as_mapping(data)
    for shape in _SHAPES:
        if shape.is_response(fields):
            return _read(shape, [fields])
    for shape in _SHAPES:
        if shape.is_usage(fields):
            return _read(shape, [{**shape.envelope, shape.usage_key: fields}])
    return None


def _read_events(events: Iterable[object]) -> ResponseUsage | None:
    plain = [fields for event in events if (fields := as_mapping(event))]
    for shape in _SHAPES:
        if any(map(shape.is_response, plain)):
            return _read(shape, plain)
    return None


def _read(shape: _Shape, events: Iterable[JSONObject]) -> ResponseUsage:
    module = import_module(f"promptcache.providers.{shape.module}")
    wire_format = cast("WireFormat", getattr(module, shape.wire_format))
    facts = NO_FACTS
    for event in events:
        found = wire_format.parse_event(event)
        facts = merge_facts(facts, found) if found else facts
    usage = wire_format.parse_usage(facts)
    return ResponseUsage(facts, usage, shape.provider, wire_format.name)
