"""Every spelling of a model name finds the price row of that model, and of no other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

import pytest
from genai_prices.data import providers

from promptcache.prices import model_names as names
from promptcache.prices import table
from promptcache.prices.build import overrides as own

ROW_BY_NAME = [
    # provider, name, row; AWS: docs.aws.amazon.com/bedrock, inference profiles and ARNs
    (
        "aws.bedrock",
        "us.anthropic.claude-opus-4-5-20251101-v1:0",
        "regional.anthropic.claude-opus-4-5-v1:0",
    ),
    (
        "aws.bedrock",
        "global.anthropic.claude-opus-4-5-20251101-v1:0",
        "global.anthropic.claude-opus-4-5-v1:0",
    ),
    ("aws.bedrock", "anthropic.claude-opus-5-5", "regional.anthropic.claude-opus-5-5"),
    (
        "aws.bedrock",
        "anthropic.claude-3-haiku-20240307-v1:0:200k",
        "regional.anthropic.claude-3-haiku-20240307-v1:0",
    ),
    (
        "aws.bedrock",
        "arn:aws:bedrock:us-east-1:123456789012:inference-profile/eu.anthropic.claude-opus-5-5",
        "regional.anthropic.claude-opus-5-5",
    ),
    (
        "aws.bedrock",
        "arn:aws-us-gov:bedrock:us-gov-west-1::foundation-model/amazon.nova-pro-v1:0",
        "amazon.nova-pro-v1:0",
    ),
    ("aws.bedrock", "arn:aws:bedrock:us-east-1:1:application-inference-profile/a1b2", None),
    ("aws.bedrock", "arn:aws:bedrock:us-east-1:1:provisioned-model/a1b2", None),
    ("aws.bedrock", "mars.anthropic.claude-opus-5-5", None),
    ("aws.bedrock", "us.amazon.nova-lite-v1:0", "amazon.nova-lite-v1:0"),
    (
        "aws.bedrock",
        "eu.anthropic.claude-3-7-sonnet-20250219-v1:0",
        "regional.anthropic.claude-3-7-sonnet-20250219-v1:0",
    ),
    ("aws.bedrock", "global.anthropic.claude-3-7-sonnet-20250219-v1:0", None),
    ("aws.bedrock", "eu.amazon.nova-lite-v1:0", None),  # it costs more than in the US
    ("aws.bedrock", "us-gov.anthropic.claude-opus-5-5", None),  # GovCloud has prices of its own
    ("aws.bedrock", "us.openai.gpt-6-sol", "regional.openai.gpt-6-sol"),
    # Google: ai.google.dev and Vertex model ids
    ("gcp.gemini", "models/gemini-2.5-pro", "gemini-2.5-pro"),
    ("gcp.gemini", "gemini-2.5-flash-001", "gemini-2.5-flash"),
    ("gcp.gemini", "gemini-2.5-pro-preview-06-05", "gemini-2.5-pro"),
    ("gcp.gemini", "gemini-flash-latest", "gemini-3.8-flash"),
    ("gcp.gemini", "gemini-3.8-flash-lite", None),
    ("gcp.gemini", "tunedModels/mine", None),
    (
        "gcp.vertex_ai",
        "projects/p/locations/l/publishers/google/models/gemini-2.5-flash",
        "gemini-2.5-flash",
    ),
    ("gcp.vertex_ai", "publishers/anthropic/models/claude-opus-4-8@default", "claude-opus-4-8"),
    ("gcp.vertex_ai", "claude-sonnet-4-5@20250929", "claude-sonnet-4-5"),
    ("gcp.vertex_ai", "claude-sonnet-5", "claude-sonnet-5"),
    ("gcp.vertex_ai", "projects/p/locations/l/endpoints/123", None),
    # OpenAI and Azure
    ("openai", "GPT-4o", "gpt-4o"),
    ("openai", "gpt-4o-2024-05-13", "gpt-4o-2024-05-13"),
    ("openai", "gpt-4o-2024-11-20", "gpt-4o"),
    ("openai", "gpt-6-sol-2026-09-22", "gpt-6-sol"),
    ("openai", "gpt-6-sol-2026-13-22", None),
    ("openai", "gpt-6-sol-pro", None),
    ("openai", "ft:gpt-4o-2024-08-06:acme:support:9Xy", "ft:gpt-4o"),
    ("openai", "ft:gpt-4.1-mini-2025-04-14:acme::9Xy", "ft:gpt-4.1-mini"),
    ("openai", "ft:gpt-9:acme::9Xy", None),
    ("azure.ai.openai", "gpt-35-turbo", "gpt-3.5-turbo"),
    ("azure.ai.openai", "claude-opus-5-5", "claude-opus-5-5"),
    # Anthropic
    ("anthropic", "claude-3-5-haiku-latest", "claude-3-5-haiku-latest"),
    ("anthropic", "claude-opus-5-5-20260921", "claude-opus-5-5"),
    ("anthropic", "claude-opus-5", "claude-opus-5"),
    ("anthropic", "claude-opus-5-6", None),
    # OpenRouter: openrouter.ai/docs, model variants
    ("openrouter", "openrouter/anthropic/claude-sonnet-4.5", "anthropic/claude-sonnet-4.5"),
    ("openrouter", "anthropic/claude-sonnet-4.5:nitro", "anthropic/claude-sonnet-4.5"),
    ("openrouter", "anthropic/claude-opus-4.8:batch", "anthropic/claude-opus-4.8:batch"),
    ("openrouter", "anthropic/claude-opus-4.8:online", None),
    ("openrouter", "deepseek/deepseek-v4-pro:floor", None),
    ("openrouter", "openrouter/auto", None),
    # others
    ("x_ai", "grok-4.3-latest", "grok-4.3"),
    ("mistral_ai", "", None),
    ("mistral_ai", "mistral-large-2512", "mistral-large-2512"),
    ("mistral_ai", "mistral-large-latest", None),  # an alias that moved to models of another price
    ("mistral_ai", "magistral-medium-latest", None),
    ("mistral_ai", "mistral-medium-latest", "mistral-medium-latest"),
    ("moonshotai", "kimi-k3", "kimi-k3"),
    ("someone.else", "gpt-4o", None),
]


def find_row_id(provider: str, name: str) -> str | None:
    for vendor in names.price_lists_of_provider(provider):
        row = table.find_price_row(vendor, names.candidate_model_names(vendor, name))
        if row:
            return row.id
    return None


@pytest.mark.parametrize(("provider", "name", "row"), ROW_BY_NAME)
def test_a_model_name_resolves_to_its_price_row(provider: str, name: str, row: str | None) -> None:
    assert find_row_id(provider, name) == row


def names_matched_by(match: Any) -> Iterator[str]:
    """Yield names that a match clause of genai-prices matches, with dated snapshots."""
    for part in getattr(match, "or_", ()):
        yield from names_matched_by(part)
    if hasattr(match, "equals"):
        yield match.equals
    if hasattr(match, "starts_with"):
        yield match.starts_with.rstrip("-@.")
        yield match.starts_with.rstrip("-@.") + "-20260101"
    if hasattr(match, "contains"):
        yield match.contains.strip("@")
    if hasattr(match, "regex") and re.fullmatch(r"[\w^$.\\{}/[\]@-]+", match.regex):
        dated = match.regex.replace(r"\d{8}", "20260101").replace(
            r"\d{4}-\d{2}-\d{2}", "2026-01-01"
        )
        yield dated.strip("^$").replace("[-@]", "-").replace(r"\d", "001").replace("\\.", ".")


NAMES_WITHOUT_A_ROW = {
    # Left out on purpose: genai-prices has their prices from the page of another vendor.
    "gemma-2-27b-it",
    "minimax-01",
    "minimax-m1",
    "mistral-small-3.1-24b-instruct",
    "sonar-pro-search",
    # Names that DeepSeek's own API never had.
    "deepseek-chat-v3-0324",
    "deepseek-r1",
    "deepseek-r1-20260101",
    "deepseek-r1-0528",
    # A parameter in the name.
    *(
        f"{name}[fast={word}]"
        for name in ("composer-2.5", "grok-4.5", "grok-4.6", "grok-4.7")
        for word in ("true", "false")
    ),
}


def is_dropped(vendor: str, name: str) -> bool:
    """Return whether our override rules drop a name."""
    for rule in own.OVERRIDE_RULES:
        patterns = (
            rule.models
            if isinstance(rule, own.DropModels)
            else rule.names
            if isinstance(rule, own.DropModelNames)
            else ()
        )
        if rule.vendor == vendor and any(fnmatchcase(name, pattern) for pattern in patterns):
            return True
    return name.replace("\\", "") in NAMES_WITHOUT_A_ROW


@pytest.mark.parametrize("provider", providers, ids=lambda provider: provider.id)
def test_each_model_name_of_genai_prices_resolves_to_the_same_model(provider: Any) -> None:
    wrong: dict[str, tuple[str | None, str | None]] = {}
    for model in provider.models:
        for name in names_matched_by(model.match):
            their_model = provider.find_model(name)
            our_row = table.find_price_row(
                provider.id, names.candidate_model_names(provider.id, name)
            )
            is_same_model = (
                our_row
                and their_model
                and (
                    our_row.id == their_model.id.lower()
                    or provider.find_model(our_row.id) is their_model
                )
            )
            if their_model and not is_same_model and not is_dropped(provider.id, name):
                wrong[name] = (their_model.id, our_row.id if our_row else None)
    assert wrong == {}
