"""The facts that a provider reports in a response or in one event of a stream."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple, final

MAX_CHOICES: Final = 128
"""Finish reasons kept per call: each choice has one, and no provider returns more choices."""

_EMPTY: Final[Mapping[str, Any]] = MappingProxyType({})


@final
class ResponseFacts(NamedTuple):
    """The facts of one response or one stream event. On a merge the later non-null value wins.

    `usage_counters` holds the provider's own counters by their dotted wire names, unchecked.
    `provider_diagnostics` is the provider's own statement about the cache, `billed_usd` the amount
    that it says it charged. `cache_write_ttl` is the TTL of the cache entries that the call wrote.
    `has_content` marks an event that carries output, `is_terminal` the last event of a response.
    `error_code` is the provider's own error code. `is_batch` marks a result of a batch.
    `tool_uses` counts the uses of server tools, by keys as `providers/tool_uses.py` defines them.
    """

    model: str | None = None
    id: str | None = None
    finish_reasons: tuple[str, ...] = ()
    service_tier: str | None = None
    speed: str | None = None
    inference_geo: str | None = None
    usage_counters: Mapping[str, Any] = _EMPTY
    provider_diagnostics: Mapping[str, Any] | None = None
    billed_usd: float | None = None
    cache_write_ttl: str | None = None
    has_content: bool = False
    is_terminal: bool = False
    error_code: str | None = None
    is_batch: bool = False
    tool_uses: Mapping[str, Any] = _EMPTY
