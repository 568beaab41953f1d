"""The usage of a response, as the provider at the other end means it."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from promptcache.common.coerce import as_count
from promptcache.model import ResponseFacts, Usage
from promptcache.providers.hosts import is_host_in
from promptcache.providers.registry import PROVIDERS
from promptcache.providers.wire_format import WireFormat

_HOSTS_WITHOUT_ZEROS: Final = tuple(
    host for row in PROVIDERS if row.omits_zero_cached_count for host in row.hosts
)
_HOSTS_WITHOUT_REASONING: Final = tuple(
    host for row in PROVIDERS if row.omits_reasoning_count for host in row.hosts
)
_TTL_OF_OPENAI_ON_BEDROCK: Final = "30m"
"""Source: AWS's cards of these models: "Cache writes use the 30-minute TTL"."""
_REASONING: Final = "completion_tokens_details.reasoning_tokens"


def reported_usage(
    wire_format: WireFormat, host: str | None, facts: ResponseFacts, model: str | None = None
) -> Usage | None:
    """Return the usage of a response to `model`; None if it reported none.

    An absent count of cached tokens is unknown, except from hosts that leave out a 0. Output that
    only the total shows is uncertain, except from hosts whose total has the reasoning.
    """
    is_openai_wire = wire_format.name.startswith("openai.")
    if is_openai_wire and _is_at(host, _HOSTS_WITHOUT_REASONING):
        facts = _add_reasoning_of_total(facts)
    if wire_format.name == "bedrock.converse" and _is_openai_model_on_bedrock(model):
        facts = facts._replace(cache_write_ttl=_TTL_OF_OPENAI_ON_BEDROCK)
    usage = wire_format.parse_usage(facts)
    if usage is None or usage.cache_read_tokens is not None:
        return usage
    if is_openai_wire and _is_at(host, _HOSTS_WITHOUT_ZEROS):
        return usage._replace(cache_read_tokens=0)
    return usage


def _is_openai_model_on_bedrock(model: str | None) -> bool:
    return model is not None and "openai." in model


def _is_at(host: str | None, domains: tuple[str, ...]) -> bool:
    return host is not None and _is_below(host, domains)


@lru_cache(maxsize=1024)
def _is_below(host: str, domains: tuple[str, ...]) -> bool:
    return any(is_host_in(host.lower(), domain) for domain in domains)


def _add_reasoning_of_total(facts: ResponseFacts) -> ResponseFacts:
    """Return facts with the reasoning that only the total of Chat Completions has."""
    counts = facts.usage_counters
    names = ("total_tokens", "prompt_tokens", "completion_tokens")
    total, prompt, completion = (as_count(counts.get(name)) for name in names)
    if total is None or prompt is None or completion is None or _REASONING in counts:
        return facts
    reasoning = total - prompt - completion
    if reasoning <= 0:
        return facts
    return facts._replace(usage_counters={**counts, _REASONING: reasoning})
