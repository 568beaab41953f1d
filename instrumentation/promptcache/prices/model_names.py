"""The names under which a price list may have a model. Pure. See `docs/specs/cost.md`, section 7.

A name is looked up as it is, then without the parts that name a snapshot or an endpoint of the same
model. It is never shortened to another model: `gpt-6-sol-mini` is not `gpt-6-sol`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from promptcache.providers.registry import PROVIDERS_BY_NAME, provider_of_prefix

# The patterns are plain texts, so that an import compiles none. `re` caches those that are used.
_SNAPSHOT_PATTERN: Final = (
    r"(?:[-@]20\d\d(-?)(?:0[1-9]|1[0-2])\1(?:0[1-9]|[12]\d|3[01])|@default|@latest)$"
)
_LATEST_PATTERN: Final = r"-latest$"
_VENDORS_WITH_MOVING_LATEST: Final = frozenset({"mistral"})
"""Vendors whose `-latest` moves to models of another price. It is looked up, never cut off."""
_PREVIEW_PATTERN: Final = r"-(?:preview|exp|experimental)(?:-[\d-]+)?$"
_BEDROCK_VERSION_PATTERN: Final = r"(?:-v\d+)?(?::\d+)?(?::(?:\d+k|mm))?$"
_SAME_PRICE_GEOGRAPHY_PATTERN: Final = r"^(?:us|(?:eu|apac|au|jp|in)(?=\.anthropic\.))\."
"""Geographies of inference profiles with the listed price: the US, for Claude all commercial
ones."""
_BEDROCK_ARN_PATTERN: Final = (
    r"arn:aws[\w-]*:bedrock:[^:]*:\d*:(?:inference-profile|foundation-model)/([^/]+)$"
)
_GEMINI_VERSION_PATTERN: Final = r"-\d{3}$"
_GOOGLE_TUNED_PATTERN: Final = r"(?:^|/)(?:tunedmodels|endpoints)/"
_OPENROUTER_ROUTE_PATTERN: Final = r":(?:nitro|floor|exacto)$"
_OPENROUTER_SAME_PRICE_PATTERN: Final = r":(?:thinking|beta)$"
_MAKERS_WITH_ONE_PRICE: Final = ("anthropic/", "openai/", "google/", "x-ai/")
"""Makers whose models cost the same on every route of OpenRouter."""


def price_lists_of_provider(provider: str) -> tuple[str, ...]:
    """Return the price lists to search for a provider's models, in this order.

    `provider` is OpenTelemetry's name or the name of a price list. Without an entry in the
    registry, the provider has the list of its own name.
    """
    row = PROVIDERS_BY_NAME.get(provider)
    own_list = re.sub(r"[^a-z0-9-]", "-", provider.lower())
    return (row.price_vendors if row else ()) or (own_list,)


def _normalize_google_model_name(name: str) -> str:
    return "" if re.search(_GOOGLE_TUNED_PATTERN, name) else name.rpartition("models/")[2]


def _normalize_bedrock_model_name(name: str) -> str:
    if name.startswith("arn:"):
        found = re.match(_BEDROCK_ARN_PATTERN, name)
        return found[1] if found else ""
    return name


def _normalize_openai_model_name(name: str) -> str:
    return ":".join(name.split(":")[:2]) if name.startswith("ft:") else name


def _normalize_openrouter_model_name(name: str) -> str:
    return name.removeprefix("openrouter/") if name.count("/") > 1 else name


def _strip_openrouter_suffix(name: str) -> str:
    name = re.sub(_OPENROUTER_SAME_PRICE_PATTERN, "", name)
    return (
        re.sub(_OPENROUTER_ROUTE_PATTERN, "", name)
        if name.startswith(_MAKERS_WITH_ONE_PRICE)
        else name
    )


def _without_own_prefix(vendor: str, name: str) -> str:
    """Return `claude-opus-4-5` for `anthropic/claude-opus-4-5` in the list of Anthropic.

    Gateways write such names.
    """
    prefix, _, bare = name.partition("/")
    provider = provider_of_prefix(prefix) if bare else None
    return bare if provider and price_lists_of_provider(provider)[0] == vendor else name


_NORMALIZERS: Final[Mapping[str, Callable[[str], str]]] = {
    "google": _normalize_google_model_name,
    "aws": _normalize_bedrock_model_name,
    "openai": _normalize_openai_model_name,
    "azure": _normalize_openai_model_name,
    "openrouter": _normalize_openrouter_model_name,
}


def _shorter_bedrock_names(name: str) -> tuple[str, ...]:
    """Return a Bedrock id without its version, then also without its geography and its maker."""
    base = re.sub(_BEDROCK_VERSION_PATTERN, "", name, count=1)
    local = re.sub(_SAME_PRICE_GEOGRAPHY_PATTERN, "", base)
    return base, local, local.removeprefix("anthropic.")


_SHORTENERS: Final[Mapping[str, Callable[[str], tuple[str, ...]]]] = {
    "google": lambda name: (re.sub(_GEMINI_VERSION_PATTERN, "", name),),
    "aws": _shorter_bedrock_names,
    "openrouter": lambda name: (_strip_openrouter_suffix(name),),
}


def candidate_model_names(vendor: str, model: str) -> Iterator[str]:
    """Yield the names under which `vendor` may list `model`, the most exact name first.

    A name that ends in `*` finds only rows that also stand for the previews of a model.
    """
    name = _NORMALIZERS.get(vendor, str)(model.strip().lower())
    if not name:
        return
    yield from _forms_of_name(vendor, name)
    if (bare := _without_own_prefix(vendor, name)) != name:
        yield from candidate_model_names(vendor, bare)


def _forms_of_name(vendor: str, name: str) -> Iterator[str]:
    """Yield the name as it is, then without the parts that name a snapshot or an endpoint."""
    yield name
    yield name + "*"
    shorter = _SHORTENERS[vendor](name) if vendor in _SHORTENERS else (name,)
    cuts = (
        (_SNAPSHOT_PATTERN,)
        if vendor in _VENDORS_WITH_MOVING_LATEST
        else (_SNAPSHOT_PATTERN, _LATEST_PATTERN)
    )
    forms = dict.fromkeys(
        form for short in shorter for form in (short, *(re.sub(cut, "", short) for cut in cuts))
    )
    for form in forms:
        if form != name:
            yield form
            yield form + "*"
    for form in forms:
        if (family := re.sub(_PREVIEW_PATTERN, "", form)) != form:
            yield family + "*"
