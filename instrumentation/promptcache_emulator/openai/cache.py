"""OpenAI's cache: where a request reads and writes."""

from __future__ import annotations

from dataclasses import replace

from promptcache_emulator.cache_plan import CachePlan, CacheWrite, plan_automatic_cache
from promptcache_emulator.context import EmulatorContext
from promptcache_emulator.errors import ProviderError
from promptcache_emulator.json_util import JSONObject, as_json_object
from promptcache_emulator.profiles import OPENAI_PROFILES, CacheProfile
from promptcache_emulator.prompt_layout import SYSTEM, TOOLS, PromptLayout
from promptcache_emulator.request import ProviderRequest


def plan_cache(
    context: EmulatorContext, request: ProviderRequest, model: str, prompt: PromptLayout
) -> tuple[CachePlan, CacheProfile]:
    """Return the plan of this request, and the profile in force."""
    profile = context.profile_for(OPENAI_PROFILES, model, request)
    if profile.implicit_mode != "none":
        _check_ttls(request, prompt)
        return _plan_breakpoints(prompt, profile, request.body), profile
    in_memory = request.body.get("prompt_cache_retention") == "in_memory"
    effective = replace(profile, ttl="10m", max_age_seconds=3600.0) if in_memory else profile
    return plan_automatic_cache(prompt, effective), profile


def _check_ttls(request: ProviderRequest, prompt: PromptLayout) -> None:
    """Raise ProviderError for a TTL that the API does not offer: 12h is for the Responses API.

    Source: the types of openai-python 3.57.0; the words are those of OpenAI's other enumerations.
    """
    allowed = ("30m",) if request.path.endswith("/chat/completions") else ("30m", "12h")
    options = as_json_object(request.body.get("prompt_cache_options"))
    asked = [str(options.get("ttl") or "30m")]
    asked += [block.breakpoint_ttl or "30m" for block in prompt.blocks if block.breakpoint_ttl]
    for ttl in asked:
        if ttl not in allowed:
            values = " and ".join(f"'{value}'" for value in allowed)
            message = f"Invalid value: '{ttl[:20]}'. Supported values are: {values}."
            raise ProviderError(400, message)


def _plan_breakpoints(prompt: PromptLayout, profile: CacheProfile, body: JSONObject) -> CachePlan:
    """Return the plan of GPT-5.6 and later.

    A request reads and writes at its explicit breakpoints. In implicit mode it also does so at the
    breakpoints that the provider sets by itself.
    """
    options = as_json_object(body.get("prompt_cache_options"))
    default_ttl = str(options.get("ttl") or profile.ttl)
    explicit = {
        end: block.breakpoint_ttl or default_ttl
        for block, end in zip(prompt.blocks, prompt.end_offsets, strict=True)
        if block.breakpoint_ttl is not None
    }
    implicit: tuple[int, ...] = ()
    offsets = list(explicit)
    reads = set(offsets[:2]) | set(offsets[-profile.lookback_blocks :])
    if options.get("mode", "implicit") == "implicit":
        implicit, earlier = _implicit_cache_offsets(prompt, profile)
        reads |= {*implicit, *earlier}
    newest = list(explicit.items())[-(profile.max_breakpoints - bool(implicit)) :]
    written = dict(newest) | {offset: explicit.get(offset, default_ttl) for offset in implicit}
    minimum = profile.min_tokens
    writes = [
        CacheWrite(offset, ttl, profile.ttl_seconds(ttl))
        for offset, ttl in sorted(written.items())
        if offset >= minimum
    ]
    return CachePlan(prompt, tuple(at for at in reads if at >= minimum), tuple(writes))


def _implicit_cache_offsets(
    prompt: PromptLayout, profile: CacheProfile
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the token offsets that implicit mode reads and writes, and those it only reads."""
    ends = [
        (block.level, end)
        for block, end in zip(prompt.blocks, prompt.end_offsets, strict=True)
        if block.ends_message
    ]
    message_ends = [end for level, end in ends if level != TOOLS]
    developer_end = [end for level, end in ends if level == SYSTEM][-1:]
    latest_end = message_ends[-1:]
    earlier_ends = tuple(message_ends[-1 - profile.implicit_lookback :])
    if profile.implicit_mode == "latest":
        return tuple(latest_end), earlier_ends
    if profile.implicit_mode == "pinned":
        return (*developer_end, *latest_end), ()
    return (*developer_end, *latest_end), earlier_ends
