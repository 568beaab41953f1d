"""Other names for the counters of OpenAI's wire formats, as gateways and other servers send them.

To add a spelling, add a row with the place where it is documented or built. A response that has
none of these names never reaches this table.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple, final

from promptcache.providers.usage import UsageCounters


@final
class Spelling(NamedTuple):
    """One name of a counter, dotted below `usage`; `*` stands for the details object of the input.

    `counter` is `read`, `write`, or the TTL of a write.
    """

    counter: str
    name: str
    used_by: str
    source: str


SPELLINGS: Final = (
    Spelling(
        "read", "prompt_cache_hit_tokens", "DeepSeek", "api-docs.deepseek.com, context caching"
    ),
    Spelling("read", "cached_tokens", "Moonshot", "platform.moonshot.ai, chat API"),
    Spelling("read", "cache_read_input_tokens", "LiteLLM", "litellm types/utils.py, Usage"),
    Spelling(
        "read", "cache_read_input_tokens", "Databricks", "docs.databricks.com, Foundation API"
    ),
    Spelling("read", "cache_read_input_tokens", "Portkey", "gateway anthropic/chatComplete.ts"),
    Spelling("read", "*.cached_read_tokens", "Bifrost", "schemas/chatcompletions.go"),
    Spelling("write", "*.cache_creation_input_tokens", "Qwen", "Model Studio, explicit cache"),
    Spelling("write", "*.cache_creation_tokens", "LiteLLM", "types/utils.py, PromptTokensDetails"),
    Spelling("write", "cache_creation_input_tokens", "LiteLLM", "litellm types/utils.py, Usage"),
    Spelling("write", "cache_creation_input_tokens", "Databricks", "docs.databricks.com"),
    Spelling("write", "cache_creation_input_tokens", "Portkey", "anthropic/chatComplete.ts"),
    Spelling("write", "cache_creation_input_tokens", "Vercel", "AI Gateway, Chat Completions"),
    Spelling("write", "*.cached_write_tokens", "Bifrost", "schemas/chatcompletions.go"),
    *(
        Spelling(ttl, name.format(ttl=ttl), used_by, source)
        for ttl in ("5m", "1h")
        for name, used_by, source in (
            (
                "*.cache_creation_token_details.ephemeral_{ttl}_input_tokens",
                "LiteLLM",
                "types/utils.py, CacheCreationTokenDetails",
            ),
            (
                "*.cache_creation.ephemeral_{ttl}_input_tokens",
                "Qwen",
                "Model Studio, explicit cache",
            ),
            (
                "cache_creation.ephemeral_{ttl}_input_tokens",
                "Vercel, Databricks",
                "Anthropic's own",
            ),
            (
                "*.cached_write_token_details.cached_write_tokens_{ttl}",
                "Bifrost",
                "schemas/chatcompletions.go, ChatCachedWriteTokenDetails",
            ),
            ("*.cache_write_details.write_{ttl}_tokens", "Helicone", "llm-mapper, usage.ts"),
        )
    ),
)
"""OpenRouter, Cloudflare, Kong and Envoy's AI Gateway send OpenAI's own names."""


def other_names(details: str) -> frozenset[str]:
    """Return all other names; `details` is the wire format's details object of the input."""
    return frozenset(name for row in SPELLINGS for name in _names_of((row,), details))


def with_other_names(counters: UsageCounters, details: str) -> UsageCounters:
    """Return counters that also read the other names, after the wire format's own."""

    def names(counter: str) -> tuple[str, ...]:
        rows = (row for row in SPELLINGS if row.counter == counter)
        return tuple(dict.fromkeys(_names_of(rows, details)))

    return counters._replace(
        cache_read_tokens=(*counters.cache_read_tokens, *names("read")),
        cache_write_tokens=(*counters.cache_write_tokens, *names("write")),
        cache_write_by_ttl={**counters.cache_write_by_ttl, "5m": names("5m"), "1h": names("1h")},
    )


def _names_of(rows: Iterable[Spelling], details: str) -> Iterable[str]:
    return (row.name.replace("*", details) for row in rows)
