"""What the user may set: `OTEL_PROMPTCACHE_*` variables, keyword arguments over them, one frozen `Settings`.

Every constant here whose name begins with `OTEL_` is also a flag of `opentelemetry-instrument`. A value that cannot be
understood never stops the application: the default stays in force and the log says what is allowed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from logging import getLogger
from types import MappingProxyType
from typing import Any, Final

log = getLogger(__name__)

OTEL_PROMPTCACHE_HASH_KEY: Final = "OTEL_PROMPTCACHE_HASH_KEY"
"""Secret that keys the exported hashes; without it only static prefixes are hashed, under a fixed public key."""
OTEL_PROMPTCACHE_HASHES: Final = "OTEL_PROMPTCACHE_HASHES"
"""`none`, `static` (tools and system; the default) or `all` (messages and free text too; needs the hash key)."""
OTEL_PROMPTCACHE_CALLSITE: Final = "OTEL_PROMPTCACHE_CALLSITE"
"""Whether spans name the application's line that made the call (default true)."""
OTEL_PROMPTCACHE_LEGACY_NAMES: Final = "OTEL_PROMPTCACHE_LEGACY_NAMES"
"""Whether written tokens also appear under their older OpenTelemetry name (default true)."""
OTEL_PROMPTCACHE_BAGGAGE_KEYS: Final = "OTEL_PROMPTCACHE_BAGGAGE_KEYS"
"""Comma-separated baggage keys to copy to spans."""
OTEL_PROMPTCACHE_METRIC_KEYS: Final = "OTEL_PROMPTCACHE_METRIC_KEYS"
"""Comma-separated keys (of baggage or `promptcache.attributes`) for spans and metrics: 50 values, then `_OTHER`."""
OTEL_PROMPTCACHE_TARGET: Final = "OTEL_PROMPTCACHE_TARGET"
"""The hit rate that `promptcache.shortfall_tokens` is measured against, in 0..1 (default 0.5)."""
OTEL_PROMPTCACHE_PROVIDERS: Final = "OTEL_PROMPTCACHE_PROVIDERS"
"""Comma-separated `host=provider` pairs: whose models a gateway's or proxy's host serves."""
OTEL_PROMPTCACHE_PRICES: Final = "OTEL_PROMPTCACHE_PRICES"
"""Path of a price file (YAML or JSON) that wins over the built-in prices."""
OTEL_PROMPTCACHE_MEMORY_NODES: Final = "OTEL_PROMPTCACHE_MEMORY_NODES"
"""How many prefix nodes to remember (default 65536)."""
OTEL_PROMPTCACHE_MEMORY_CALLS: Final = "OTEL_PROMPTCACHE_MEMORY_CALLS"
"""How many calls to remember (default 4096)."""
OTEL_PROMPTCACHE_DB: Final = "OTEL_PROMPTCACHE_DB"
"""Path of the local table that the exporter `promptcache_sqlite` writes (default `promptcache.db`)."""
OTEL_PROMPTCACHE_PROVIDER_DIAGNOSTICS: Final = "OTEL_PROMPTCACHE_PROVIDER_DIAGNOSTICS"
"""Whether to ask providers for their own miss diagnosis, which changes the request (default false)."""


def _parse_bool(text: str) -> bool:
    if text.lower() not in _BOOL_WORDS:
        raise ValueError("allowed: true, false")
    return _BOOL_WORDS[text.lower()]


_BOOL_WORDS: Final[Mapping[str, bool]] = {
    "true": True,
    "1": True,
    "yes": True,
    "on": True,
    "false": False,
    "0": False,
    "no": False,
    "off": False,
}


def _parse_names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _parse_host_providers(text: str) -> Mapping[str, str]:
    pairs = [name.partition("=") for name in _parse_names(text)]
    if not all(host.strip() and provider.strip() for host, _, provider in pairs):
        raise ValueError("allowed: host=provider pairs, separated by commas")
    return MappingProxyType({host.strip().lower(): provider.strip() for host, _, provider in pairs})


def _choice_parser(*allowed: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"allowed: {', '.join(allowed)}")
        return text

    return read


def _parse_ratio(text: str) -> float:
    if not 0 < (value := float(text)) <= 1:
        raise ValueError("allowed: a number above 0, at most 1")
    return value


def _parse_count(text: str) -> int:
    if (value := int(text)) < 1:
        raise ValueError("allowed: a whole number of at least 1")
    return value


def _setting_field(variable: str, read: Callable[[str], Any], default: Any) -> Any:
    # By a factory, since Python 3.11 takes a mapping for a mutable default, read-only or not.
    return field(default_factory=lambda: default, metadata={"variable": variable, "read": read})


_NO_HOST_PROVIDERS: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings in force. Each field is documented at its environment variable above."""

    hash_key: str | None = _setting_field(OTEL_PROMPTCACHE_HASH_KEY, str, None)
    hashes: str = _setting_field(
        OTEL_PROMPTCACHE_HASHES, _choice_parser("none", "static", "all"), "static"
    )
    callsite: bool = _setting_field(OTEL_PROMPTCACHE_CALLSITE, _parse_bool, True)
    legacy_names: bool = _setting_field(OTEL_PROMPTCACHE_LEGACY_NAMES, _parse_bool, True)
    baggage_keys: tuple[str, ...] = _setting_field(OTEL_PROMPTCACHE_BAGGAGE_KEYS, _parse_names, ())
    metric_keys: tuple[str, ...] = _setting_field(OTEL_PROMPTCACHE_METRIC_KEYS, _parse_names, ())
    target: float = _setting_field(OTEL_PROMPTCACHE_TARGET, _parse_ratio, 0.5)
    providers: Mapping[str, str] = _setting_field(
        OTEL_PROMPTCACHE_PROVIDERS, _parse_host_providers, _NO_HOST_PROVIDERS
    )
    prices: str | None = _setting_field(OTEL_PROMPTCACHE_PRICES, str, None)
    memory_nodes: int = _setting_field(OTEL_PROMPTCACHE_MEMORY_NODES, _parse_count, 65_536)
    memory_calls: int = _setting_field(OTEL_PROMPTCACHE_MEMORY_CALLS, _parse_count, 4_096)
    provider_diagnostics: bool = _setting_field(
        OTEL_PROMPTCACHE_PROVIDER_DIAGNOSTICS, _parse_bool, False
    )

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Settings from `environ` (by default the process's). Never raises: bad values are logged and left out."""
        environ = os.environ if environ is None else environ
        found: dict[str, Any] = {}
        for item in fields(cls):
            text = environ.get(item.metadata["variable"], "").strip()
            try:
                if text:
                    found[item.name] = item.metadata["read"](text)
            except ValueError as error:
                log.warning(
                    "%s is not understood and left at its default; %s",
                    item.metadata["variable"],
                    error,
                )
        return cls(**found)
