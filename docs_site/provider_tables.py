"""The page of the providers, from their rows in the registry and their cache rules."""

from __future__ import annotations

from typing import Final

from promptcache.providers.cache_rules import CacheRule, load_cache_rules
from promptcache.providers.registry import PROVIDERS, Provider

_HEAD: Final = """\
# Providers

promptcache knows a provider by the host of a request, by the class of the SDK's client, or by
`OTEL_PROMPTCACHE_PROVIDERS`. For a host that is not in the table it assumes the SDK's own provider.
The name is the value of `gen_ai.provider.name`; `--provider` also takes the other names.

Observed are the SDKs `{sdks}`, and LiteLLM where it sends requests without an SDK. A provider
without an SDK of its own is called through OpenAI's, or through LiteLLM.

| provider | other names | hosts |
|---|---|---|
"""
_RULES: Final = """
## How their caches behave

These rules explain what the usage shows; they prove nothing alone ([how](specs/diagnosis.md)).
From general to special: the last row that matches provider and model is in force. Providers and
models are regular expressions.

- *written*: written tokens are reported and billed.
- *marked*: only what the request marks is cached.
- *safe for*: so long after its last use a prefix is kept, where the request asks for no other TTL.

| provider | models | least tokens | step | safe for | written | marked | documented |
|---|---|--:|--:|--:|---|---|---|
"""


def render_providers_page() -> str:
    """Return the page, in Markdown."""
    sdks = ", ".join(
        dict.fromkeys(name for row in PROVIDERS if row.sdk for name in row.sdk.trigger_modules)
    )
    return "".join(
        (
            _HEAD.format(sdks=sdks),
            *map(_provider_row, PROVIDERS),
            _RULES,
            *map(_rule_row, load_cache_rules()),
        )
    )


def _provider_row(provider: Provider) -> str:
    others = dict.fromkeys((*provider.aliases, *provider.litellm_names))
    cells = (
        _code(provider.name),
        *(", ".join(map(_code, names)) for names in (others, provider.hosts)),
    )
    return f"| {' | '.join(cells)} |\n"


def _rule_row(rule: CacheRule) -> str:
    cells = (
        _code(rule.provider_pattern),
        _code(rule.model_pattern),
        f"{rule.minimum_tokens:,}",
        str(rule.granularity),
        f"{rule.ttl_seconds / 60:,.0f} min",
        "yes" if rule.bills_writes else "",
        "yes" if rule.caches_on_request else "",
        f"{rule.source}, {rule.documented_on}",
    )
    return f"| {' | '.join(cells)} |\n"


def _code(text: str) -> str:
    return f"`{text.replace('|', chr(92) + '|')}`"
