"""Find the provider that serves a host, or that a class of client calls.

An OpenAI-compatible server is named after its own provider and not after the SDK that calls it. A
host that no row of the registry lists keeps the SDK's provider, as OpenTelemetry asks. The user's
table (`OTEL_PROMPTCACHE_PROVIDERS`) wins over the registry.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Final

from promptcache.providers.registry import PROVIDERS

_PROVIDERS_BY_DOMAIN: Final = tuple((host, row.name) for row in PROVIDERS for host in row.hosts)

_CLIENT_CLASSES: Final = tuple((part, row.name) for row in PROVIDERS for part in row.client_classes)


def provider_of_client(client: object) -> str | None:
    """Return the provider whose row names the client's class or a base of it, None for others."""
    return _provider_of_class_names(" ".join([base.__name__ for base in type(client).__mro__]))


@lru_cache(maxsize=256)
def _provider_of_class_names(class_names: str) -> str | None:
    return next((provider for part, provider in _CLIENT_CLASSES if part in class_names), None)


def provider_for_host(
    host: str | None,
    default: str,
    user_hosts: Mapping[str, str],
    *,
    ignore_registered_hosts: bool = False,
) -> str:
    """Return the provider that serves `host`.

    `user_hosts` is searched first, then the registry, else the result is `default`. With
    `ignore_registered_hosts` the registry is skipped: the class of the client determines the
    provider more reliably than the host (Anthropic's clients for other platforms).
    """
    if host is None:
        return default
    host = host.lower()
    found = _provider_of_first_matching_domain(host, user_hosts.items()) if user_hosts else None
    if found is None and not ignore_registered_hosts:
        found = _registered_provider_of_host(host)
    return found or default


@lru_cache(maxsize=1024)
def _registered_provider_of_host(host: str) -> str | None:
    return _provider_of_first_matching_domain(host, _PROVIDERS_BY_DOMAIN)


def _provider_of_first_matching_domain(
    host: str, domain_providers: Iterable[tuple[str, str]]
) -> str | None:
    """Return the provider of the first domain that includes `host`."""
    return next((name for domain, name in domain_providers if is_host_in(host, domain)), None)


def is_host_in(host: str, domain: str) -> bool:
    """Return whether a domain includes `host`, or a pattern with `*` matches it.

    A leading dot of a domain is ignored.
    """
    if "*" in domain:
        return fnmatchcase(host, domain)
    domain = domain.removeprefix(".")
    return host == domain or host.endswith(f".{domain}")
