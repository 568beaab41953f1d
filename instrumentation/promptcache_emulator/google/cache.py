"""Gemini's cache: a named cache if the request names one, else the implicit cache."""

from __future__ import annotations

from promptcache_emulator.cache import CacheResult, CommitWrites
from promptcache_emulator.cache_plan import CachePlan, plan_automatic_cache
from promptcache_emulator.context import EmulatorContext
from promptcache_emulator.errors import ProviderError
from promptcache_emulator.google.cached_contents import find_cached_content
from promptcache_emulator.google.prompt import select_gemini_profile
from promptcache_emulator.prompt_layout import SYSTEM, PromptBlock, PromptLayout
from promptcache_emulator.request import ProviderRequest


def use_named_or_implicit_cache(
    context: EmulatorContext,
    request: ProviderRequest,
    model: str,
    request_blocks: list[PromptBlock],
    output_tokens: int,
) -> tuple[CacheResult, CommitWrites]:
    """Return the tokens read, and the function that stores the cache entries.

    A named cache is read as a whole. Raise ProviderError if the request names a cache and also has
    a system instruction or tools.
    """
    profile = select_gemini_profile(context, request, model)
    salts = (model, "", "")
    name = request.body.get("cachedContent") or request.body.get("cached_content")
    if not name:
        plan = plan_automatic_cache(PromptLayout(tuple(request_blocks), salts), profile)
        return context.run_cache_plan(request, model, plan, output_tokens)
    has_tool_config = request.body.get("toolConfig") or request.body.get("tool_config")
    if has_tool_config or any(block.level == SYSTEM for block in request_blocks):
        raise ProviderError(
            400,
            # As users quote it: vercel/ai#3333.
            "CachedContent can not be used with GenerateContent request setting "
            "system_instruction, tools or tool_config. Proposed fix: move those values to "
            "CachedContent from GenerateContent request.",
        )
    cached_content = find_cached_content(context, request, str(name))
    prompt = PromptLayout((*cached_content.blocks, *request_blocks), salts)
    cached = PromptLayout(cached_content.blocks).total_tokens
    result = CacheResult(prompt.total_tokens, cached, reusable_tokens=cached)
    plan = CachePlan(prompt, (cached,), bills_writes=False)
    context.record_request(request, model, plan, output_tokens, result)
    return result, lambda: None
