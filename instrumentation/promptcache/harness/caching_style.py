"""How the model behind a wire caches, as far as the layout of a prompt depends on it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple, final

from promptcache.harness.names import TTL, Wire
from promptcache.harness.prompt_error import PromptError
from promptcache.providers.cache_rules import CacheRule, cache_rule_for

_OPENAI_NAME: Final = re.compile(r"(?:ft:)?(?:gpt-|o\d|chatgpt-|codex-)")
_OPENAI_DEFAULT_TTL: Final[TTL] = "30m"
_BLOCKS_LOOKED_BACK: Final = 20
"""Anthropic's lookback, also where other vendors serve the Messages API."""


@final
class CachingStyle(NamedTuple):
    """The rules of one model on one wire.

    `breakpoints` says who sets them: `looked_back` (the application; the provider searches blocks
    before each), `exact` (the application; the provider reads only at breakpoints of the request)
    or `automatic` (the provider). `ttls` are the lifetimes that a breakpoint may ask for, the
    default first. `takes_key` tells whether the provider knows `prompt_cache_key`. A prefix is safe
    for `ttl_seconds`. Above `requests_per_minute` one key spreads over several machines.
    `takes_marked_tools` tells whether a breakpoint may stand behind tools. The multipliers are
    documented prices of reads and of writes (by TTL), as shares of plain input.
    """

    breakpoints: Literal["looked_back", "exact", "automatic"]
    provider: str
    minimum_tokens: int
    lookback: int
    max_breakpoints: int
    ttls: tuple[TTL, ...]
    takes_key: bool
    takes_marked_tools: bool
    ttl_seconds: float
    requests_per_minute: int | None
    read_multiplier: float | None
    write_multipliers: Mapping[str, float]
    source: str


def caching_style_of(wire: Wire, model: str) -> CachingStyle:
    """Return the rules for a model on a wire. `model` is the model's own name, no deployment's."""
    if wire in ("anthropic", "invoke_model"):
        provider = "anthropic" if wire == "anthropic" else "aws.bedrock"
        return _claude_style(provider, model)
    if wire == "gemini":
        rule = cache_rule_for("gcp.gemini", model)
        return _style(rule, "automatic", "gcp.gemini", (), takes_key=False)
    if wire == "converse":
        return _converse_style(model)
    if wire == "litellm":
        if "claude" in model:
            return _claude_style("aws.bedrock" if "bedrock/" in model else "anthropic", model)
        model = model.rpartition("/")[2]
    return _openai_style(wire, model)


def _claude_style(provider: str, model: str) -> CachingStyle:
    rule = cache_rule_for(provider, model)
    offered = dict(rule.write_multipliers)
    ttls: tuple[TTL, ...] = ("5m", "1h") if "1h" in offered else ("5m",)
    return _style(rule, "looked_back", provider, ttls, takes_key=False)


def _converse_style(model: str) -> CachingStyle:
    if "nova" in model:
        # AWS prompt caching page: Nova keeps what is marked for five minutes, and takes cache
        # points in system and messages.
        rule = cache_rule_for("aws.bedrock", model)
        style = _style(rule, "looked_back", "aws.bedrock", ("5m",), takes_key=False)
        return style._replace(takes_marked_tools=False)
    if "claude" in model:
        return _claude_style("aws.bedrock", model)
    rule = cache_rule_for("aws.bedrock", model)
    return _style(rule, "automatic", "aws.bedrock", (), takes_key=False)


def _openai_style(wire: Wire, model: str) -> CachingStyle:
    is_openai = _OPENAI_NAME.match(model) is not None
    rule = cache_rule_for("openai", model)
    if is_openai and rule.bills_writes:
        # The SDK's types: 12h is for the Responses API (openai-python 3.57.0).
        ttls: tuple[TTL, ...] = (_OPENAI_DEFAULT_TTL,)
        ttls += ("12h",) if wire == "responses" else ()
        return _style(rule, "exact", "openai", ttls, takes_key=True)
    return _style(rule, "automatic", "openai", (), takes_key=is_openai)


def _style(
    rule: CacheRule,
    breakpoints: Literal["looked_back", "exact", "automatic"],
    provider: str,
    ttls: tuple[TTL, ...],
    *,
    takes_key: bool,
) -> CachingStyle:
    return CachingStyle(
        breakpoints,
        provider,
        rule.minimum_tokens,
        rule.lookback or _BLOCKS_LOOKED_BACK,
        rule.max_breakpoints,
        ttls,
        takes_key,
        True,
        rule.ttl_seconds,
        rule.overflow_rpm if takes_key else None,
        rule.read_multiplier,
        dict(rule.write_multipliers),
        f"{rule.source} ({rule.documented_on})",
    )


def check_ttl(style: CachingStyle, ttl: str, path: str, model: str) -> TTL:
    """Return the TTL. Raise PromptError if the model does not offer it."""
    for offered in style.ttls:
        if offered == ttl:
            return offered
    allowed = ", ".join(style.ttls) or "none, since the provider sets the breakpoints"
    raise PromptError(path, f"is {ttl!r}; {model} offers {allowed}")
