"""Find the provider behind a gateway that serves the models of many: the model's name decides.

A name with a prefix (`anthropic/claude-sonnet-4-6`, as LiteLLM, OpenRouter and Vercel write it)
names its provider, if that provider's list has the model. A bare name belongs to the one maker
whose list has it, else to the one other seller. A name of two of them, or of none, stays unknown.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from promptcache.prices import table
from promptcache.prices.model_names import candidate_model_names, price_lists_of_provider
from promptcache.providers.registry import PROVIDERS, Provider, provider_of_prefix

_MAKERS: Final = tuple(row for row in PROVIDERS if row.own_models)
_SELLERS: Final = tuple(row for row in PROVIDERS if row.is_guessed_by_model and not row.own_models)


@lru_cache(maxsize=512)
def provider_of_model(model: str) -> str | None:
    """Return the provider of a model behind a gateway, None if the name does not tell."""
    prefix, _, name = model.strip().partition("/")
    provider = provider_of_prefix(prefix) if name else None
    if provider is not None and _is_listed(price_lists_of_provider(provider), name):
        return provider
    makers = (row for row in _MAKERS if re.match(row.own_models, model, re.IGNORECASE))
    return _only_seller(makers, model) or _only_seller(_SELLERS, model)


def _only_seller(rows: Iterable[Provider], model: str) -> str | None:
    found = [row.name for row in rows if _is_listed(price_lists_of_provider(row.name)[:1], model)]
    return found[0] if len(found) == 1 else None


def _is_listed(vendors: Iterable[str], model: str) -> bool:
    return any(
        table.find_price_row(vendor, candidate_model_names(vendor, model)) for vendor in vendors
    )
