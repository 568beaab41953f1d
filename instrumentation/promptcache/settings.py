"""The user's settings: `OTEL_PROMPTCACHE_*` variables, or a `Settings` for `instrument`.

A value that cannot be parsed never stops the application: the default stays in force, and the log
names the allowed values. There are no launcher flags for the settings: the launcher would also
remove any argument of the application that is the beginning of such a flag.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from logging import getLogger
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

log = getLogger(__name__)

T = TypeVar("T")

OTEL_PROMPTCACHE_HASH_KEY: Final = "OTEL_PROMPTCACHE_HASH_KEY"
"""Secret key of the exported hashes.

Without it only static prefixes are hashed, under a fixed public key.
"""
OTEL_PROMPTCACHE_HASHES: Final = "OTEL_PROMPTCACHE_HASHES"
"""The parts of a prompt that are hashed for export: `none`, `static` or `all` (default `static`).

`static` covers tools and system, `all` also messages and free text. `all` needs the hash key.
"""
OTEL_PROMPTCACHE_CALLSITE: Final = "OTEL_PROMPTCACHE_CALLSITE"
"""Whether spans name the line of the application that made the call (default true)."""
OTEL_PROMPTCACHE_LEGACY_NAMES: Final = "OTEL_PROMPTCACHE_LEGACY_NAMES"
"""Whether cache-write tokens are also set under their older OpenTelemetry name (default true).

That name is `gen_ai.usage.cache_creation.input_tokens`.
"""
OTEL_PROMPTCACHE_BAGGAGE_KEYS: Final = "OTEL_PROMPTCACHE_BAGGAGE_KEYS"
"""Comma-separated baggage keys that are copied to spans."""
OTEL_PROMPTCACHE_METRIC_KEYS: Final = "OTEL_PROMPTCACHE_METRIC_KEYS"
"""Comma-separated keys, of baggage or of `promptcache.attributes`, for spans and metrics.

`tenant=acme|globex` is a key with the values that a metric takes; every other one becomes `_OTHER`.
Without such a list a metric takes the first 50 distinct values of the key. Baggage may come from
outside: then somebody can use up the 50, so list the values.
"""
OTEL_PROMPTCACHE_TARGET: Final = "OTEL_PROMPTCACHE_TARGET"
"""The target hit rate of `promptcache.shortfall_tokens`: above 0, at most 1 (default 0.5)."""
OTEL_PROMPTCACHE_PROVIDERS: Final = "OTEL_PROMPTCACHE_PROVIDERS"
"""Comma-separated `host=provider` pairs, for gateways and proxies.

A pair names the provider whose models the host serves. `host=gateway` means that the host serves
the models of many: then the name of the model decides.
"""
OTEL_PROMPTCACHE_PRICES: Final = "OTEL_PROMPTCACHE_PRICES"
"""Path of a price file (YAML or JSON), whose prices override the built-in ones."""
OTEL_PROMPTCACHE_MEMORY_NODES: Final = "OTEL_PROMPTCACHE_MEMORY_NODES"
"""Number of prefix nodes to remember (default 65536)."""
OTEL_PROMPTCACHE_MEMORY_CALLS: Final = "OTEL_PROMPTCACHE_MEMORY_CALLS"
"""Number of calls to remember (default 4096)."""
OTEL_PROMPTCACHE_DB: Final = "OTEL_PROMPTCACHE_DB"
"""Path of the database that the exporter `promptcache_sqlite` writes (default `promptcache.db`)."""
OTEL_PROMPTCACHE_KEEP: Final = "OTEL_PROMPTCACHE_KEEP"
"""How long the database keeps calls: `30d,2GB` is an age, a size or both (default: for ever)."""
OTEL_PROMPTCACHE_TABLE_KEYS: Final = "OTEL_PROMPTCACHE_TABLE_KEYS"
"""Comma-separated keys of `promptcache.attributes` that the database keeps, in one JSON column."""
OTEL_PROMPTCACHE_TRACE_URL: Final = "OTEL_PROMPTCACHE_TRACE_URL"
"""Address of a trace in your backend, with `{trace_id}`: the links of `promptcache open`."""
OTEL_PROMPTCACHE_KEY_FILE: Final = "OTEL_PROMPTCACHE_KEY_FILE"
"""Path of the key of a user's recordings (default `$XDG_STATE_HOME/promptcache/key`).

`promptcache run` and `promptcache.record` make the file. Its key is for the local table only.
"""
OTEL_PROMPTCACHE_PROVIDER_DIAGNOSTICS: Final = "OTEL_PROMPTCACHE_PROVIDER_DIAGNOSTICS"
"""Whether to request the provider's own diagnosis of a miss (default false).

This changes the request.
"""

OTEL_PROMPTCACHE_GENAI_METRICS: Final = "OTEL_PROMPTCACHE_GENAI_METRICS"
"""Whether to emit OpenTelemetry's own GenAI client metrics beside ours (default false).

Ready-made dashboards read `gen_ai.client.token.usage` and `gen_ai.client.operation.duration`.
Beside another instrumentation that emits them, every token would count twice.
"""

MetricKeys: TypeAlias = tuple[str, ...] | Mapping[str, tuple[str, ...]]
"""Keys, or keys with the values that a metric takes; an empty tuple stands for any value."""


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


def _parse_comma_separated_names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _parse_metric_keys(text: str) -> MetricKeys:
    pairs = [name.partition("=") for name in _parse_comma_separated_names(text)]
    values = {
        key.strip(): tuple(value.strip() for value in listed.split("|") if value.strip())
        for key, _, listed in pairs
    }
    if not all(key.strip() and (values[key.strip()] or not equals) for key, equals, _ in pairs):
        raise ValueError("allowed: keys, or key=value|value, separated by commas")
    return MappingProxyType(values) if any(values.values()) else tuple(values)


def _parse_host_providers(text: str) -> Mapping[str, str]:
    pairs = [name.partition("=") for name in _parse_comma_separated_names(text)]
    if not all(host.strip() and provider.strip() for host, _, provider in pairs):
        raise ValueError("allowed: host=provider pairs, separated by commas")
    return MappingProxyType({host.strip().lower(): provider.strip() for host, _, provider in pairs})


def _choice_parser(*allowed: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"allowed: {', '.join(allowed)}")
        return text

    return parse


def _parse_ratio(text: str) -> float:
    return _parse_number(text, float, lambda value: 0 < value <= 1, "a number above 0, at most 1")


def _parse_positive_int(text: str) -> int:
    return _parse_number(text, int, lambda value: value >= 1, "a whole number of at least 1")


def _parse_number(
    text: str, kind: Callable[[str], T], is_allowed: Callable[[T], bool], allowed: str
) -> T:
    try:
        value = kind(text)
    except ValueError:
        raise ValueError(f"allowed: {allowed}") from None  # Python's own text repeats the value
    if not is_allowed(value):
        raise ValueError(f"allowed: {allowed}")
    return value


_DEFAULT: Final = object()


def _declare_setting(
    variable: str, parse: Callable[[str], Any], default: Any, *, if_invalid: Any = _DEFAULT
) -> Any:
    """Declare a field. `if_invalid` replaces a value that cannot be parsed, else `default` does."""
    metadata = {
        "variable": variable,
        "parse": parse,
        "if_invalid": default if if_invalid is _DEFAULT else if_invalid,
    }
    # A factory, because Python 3.11 refuses every mapping as a default, also a read-only one.
    return field(default_factory=lambda: default, metadata=metadata)


_NO_HOST_PROVIDERS: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings. The docstring of each environment variable above describes its field."""

    hash_key: str | None = _declare_setting(OTEL_PROMPTCACHE_HASH_KEY, str, None)
    hashes: str = _declare_setting(
        OTEL_PROMPTCACHE_HASHES,
        _choice_parser("none", "static", "all"),
        "static",
        if_invalid="none",  # "non" must not export what the user wanted to keep
    )
    callsite: bool = _declare_setting(OTEL_PROMPTCACHE_CALLSITE, _parse_bool, True)
    legacy_names: bool = _declare_setting(OTEL_PROMPTCACHE_LEGACY_NAMES, _parse_bool, True)
    baggage_keys: tuple[str, ...] = _declare_setting(
        OTEL_PROMPTCACHE_BAGGAGE_KEYS, _parse_comma_separated_names, ()
    )
    metric_keys: tuple[str, ...] | Mapping[str, tuple[str, ...]] = _declare_setting(
        OTEL_PROMPTCACHE_METRIC_KEYS, _parse_metric_keys, ()
    )
    target: float = _declare_setting(OTEL_PROMPTCACHE_TARGET, _parse_ratio, 0.5)
    providers: Mapping[str, str] = _declare_setting(
        OTEL_PROMPTCACHE_PROVIDERS, _parse_host_providers, _NO_HOST_PROVIDERS
    )
    prices: str | None = _declare_setting(OTEL_PROMPTCACHE_PRICES, str, None)
    memory_nodes: int = _declare_setting(OTEL_PROMPTCACHE_MEMORY_NODES, _parse_positive_int, 65_536)
    memory_calls: int = _declare_setting(OTEL_PROMPTCACHE_MEMORY_CALLS, _parse_positive_int, 4_096)
    genai_metrics: bool = _declare_setting(OTEL_PROMPTCACHE_GENAI_METRICS, _parse_bool, False)
    provider_diagnostics: bool = _declare_setting(
        OTEL_PROMPTCACHE_PROVIDER_DIAGNOSTICS, _parse_bool, False
    )

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Return the settings of `environ`, by default of this process.

        Never raises: a value that cannot be parsed is logged, and its default stays in force. Only
        for the exported hashes it is `none`, which exports the least.
        """
        found, invalid = _parse_settings(os.environ if environ is None else environ)
        for setting in invalid:
            log.warning("%s cannot be parsed, %s; %s", *setting)
        return cls(**found)


class InvalidSetting(NamedTuple):
    """A variable whose value cannot be parsed: what is in force instead, and what is allowed."""

    variable: str
    consequence: str
    error: str


def list_invalid_settings(environ: Mapping[str, str]) -> list[InvalidSetting]:
    """Return the variables in `environ` whose values cannot be parsed."""
    return _parse_settings(environ)[1]


def list_setting_variables() -> list[str]:
    """Return the names of all variables that become fields of `Settings`."""
    return [item.metadata["variable"] for item in fields(Settings)]


def _parse_settings(environ: Mapping[str, str]) -> tuple[dict[str, Any], list[InvalidSetting]]:
    found: dict[str, Any] = {}
    invalid: list[InvalidSetting] = []
    for item in fields(Settings):
        variable, default = item.metadata["variable"], item.metadata["if_invalid"]
        text = environ.get(variable, "").strip()
        try:
            if text:
                found[item.name] = item.metadata["parse"](text)
        except ValueError as error:
            found[item.name] = default
            is_default = item.name != "hashes"
            consequence = "its default stays in force" if is_default else "no hash is exported"
            invalid.append(InvalidSetting(variable, consequence, str(error)))
    return found, invalid
