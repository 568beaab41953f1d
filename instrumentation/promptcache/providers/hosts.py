"""Whose models a host serves, so that an OpenAI-compatible server is called by its own name.

Names are OpenTelemetry's `gen_ai.provider.name` values where it has one. A host that no row knows keeps the SDK's own
provider, as OpenTelemetry asks for; the user's table (`OTEL_PROMPTCACHE_PROVIDERS`) wins over these rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

HOST_SUFFIXES: Final[tuple[tuple[str, str], ...]] = (
    ("api.openai.com", "openai"),
    (".openai.azure.com", "azure.ai.openai"),
    (".services.ai.azure.com", "azure.ai.openai"),
    (".cognitiveservices.azure.com", "azure.ai.openai"),
    ("api.anthropic.com", "anthropic"),
    (".deepseek.com", "deepseek"),
    ("openrouter.ai", "openrouter"),
    (".groq.com", "groq"),
    (".x.ai", "x_ai"),
    (".moonshot.ai", "moonshot_ai"),
    (".moonshot.cn", "moonshot_ai"),
    (".together.xyz", "together"),
    (".together.ai", "together"),
    (".fireworks.ai", "fireworks"),
    (".mistral.ai", "mistral_ai"),
    (".perplexity.ai", "perplexity"),
    ("dashscope.aliyuncs.com", "alibaba"),
    ("dashscope-intl.aliyuncs.com", "alibaba"),
    (".amazonaws.com", "aws.bedrock"),
    ("aiplatform.googleapis.com", "gcp.vertex_ai"),
    ("generativelanguage.googleapis.com", "gcp.gemini"),
)


def provider_for_host(
    host: str | None, default: str, user_hosts: Mapping[str, str], *, client_decides: bool = False
) -> str:
    """The provider that serves `host`, by the user's table, then by the rows above (unless `client_decides`), else `default`."""
    if host is None:
        return default
    host = host.lower()
    return (
        (_provider_by_suffix(host, user_hosts.items()) if user_hosts else None)
        or (not client_decides and _builtin_provider(host))
        or default
    )


@lru_cache(maxsize=1024)
def _builtin_provider(host: str) -> str | None:
    return _provider_by_suffix(host, HOST_SUFFIXES)


def _provider_by_suffix(host: str, rows: Iterable[tuple[str, str]]) -> str | None:
    for suffix, name in rows:
        if host == suffix.lstrip(".") or host.endswith(
            suffix if suffix.startswith(".") else f".{suffix}"
        ):
            return name
    return None
