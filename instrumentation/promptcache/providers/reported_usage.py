"""The usage of a response, as the provider at the other end means it."""

from __future__ import annotations

from typing import Final

from promptcache.model import ResponseFacts, Usage
from promptcache.providers.registry import PROVIDERS
from promptcache.providers.wire_format import WireFormat

_HOSTS_WITHOUT_ZEROS: Final = tuple(
    host for row in PROVIDERS if row.omits_zero_cached_count for host in row.hosts
)


def reported_usage(wire_format: WireFormat, host: str | None, facts: ResponseFacts) -> Usage | None:
    """Return the usage of a response; None if it reported none.

    An absent count of cached tokens is unknown, except from hosts that leave out a 0.
    """
    usage = wire_format.parse_usage(facts)
    if usage is None or usage.cache_read_tokens is not None or not host:
        return usage
    host = host.lower()
    if wire_format.name.startswith("openai.") and any(
        host == domain or host.endswith((f".{domain}", f"-{domain}"))
        for domain in _HOSTS_WITHOUT_ZEROS
    ):
        return usage._replace(cache_read_tokens=0)
    return usage
