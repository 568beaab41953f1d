"""Other names for the counters of OpenAI's wire formats, as gateways and other servers send them.

To add a spelling, add a row with the place where it is documented or built. A response that has
none of these names never reaches this table.
"""

from __future__ import annotations

from typing import Final, NamedTuple, final


@final
class CounterSpelling(NamedTuple):
    """One name of a counter, dotted below `usage`; `*` stands for the details object of the input.

    `counter` is `read`, `write`, the TTL of a write, or with `is_tool` a server tool.
    """

    counter: str
    name: str
    used_by: str
    source: str
    is_tool: bool = False


SPELLINGS: Final = (
    CounterSpelling(
        "read", "prompt_cache_hit_tokens", "DeepSeek", "api-docs.deepseek.com, context caching"
    ),
    CounterSpelling("read", "cached_tokens", "Moonshot", "platform.moonshot.ai, chat API"),
    CounterSpelling("read", "cache_read_input_tokens", "LiteLLM", "litellm types/utils.py, Usage"),
    CounterSpelling(
        "read", "cache_read_input_tokens", "Databricks", "docs.databricks.com, Foundation API"
    ),
    CounterSpelling(
        "read", "cache_read_input_tokens", "Portkey", "gateway anthropic/chatComplete.ts"
    ),
    CounterSpelling("read", "*.cached_read_tokens", "Bifrost", "schemas/chatcompletions.go"),
    CounterSpelling(
        "write", "*.cache_creation_input_tokens", "Qwen", "Model Studio, explicit cache"
    ),
    CounterSpelling(
        "write", "*.cache_creation_tokens", "LiteLLM", "types/utils.py, PromptTokensDetails"
    ),
    CounterSpelling(
        "write", "cache_creation_input_tokens", "LiteLLM", "litellm types/utils.py, Usage"
    ),
    CounterSpelling("write", "cache_creation_input_tokens", "Databricks", "docs.databricks.com"),
    CounterSpelling("write", "cache_creation_input_tokens", "Portkey", "anthropic/chatComplete.ts"),
    CounterSpelling(
        "write", "cache_creation_input_tokens", "Vercel", "AI Gateway, Chat Completions"
    ),
    CounterSpelling("write", "*.cached_write_tokens", "Bifrost", "schemas/chatcompletions.go"),
    CounterSpelling(
        "web_search",
        "server_tool_use.web_search_requests",
        "OpenRouter",
        "openrouter.ai/docs, usage accounting",
        is_tool=True,
    ),
    CounterSpelling(
        "web_search",
        "*.web_search_requests",
        "LiteLLM",
        "types/utils.py, PromptTokensDetails",
        is_tool=True,
    ),
    CounterSpelling(
        "google_maps",
        "*.google_maps_grounding_requests",
        "LiteLLM",
        "types/utils.py, PromptTokensDetails",
        is_tool=True,
    ),
    CounterSpelling(
        "live_search",
        "num_sources_used",
        "xAI",
        "docs.x.ai, live search: a fee per source",
        is_tool=True,
    ),
    CounterSpelling(
        "web_search", "plugins.search.count", "Qwen", "Model Studio, web search", is_tool=True
    ),
    CounterSpelling(
        "web_search", "num_search_queries", "Perplexity", "docs.perplexity.ai, Sonar", is_tool=True
    ),
    *(
        CounterSpelling(
            tool,
            f"server_side_tool_usage_details.{tool}_calls",
            "xAI",
            "docs.x.ai, tools: pricing",
            is_tool=True,
        )
        for tool in ("web_search", "x_search", "code_interpreter", "file_search", "document_search")
    ),
    *(
        CounterSpelling(ttl, name.format(ttl=ttl), used_by, source)
        for ttl in ("5m", "30m", "1h", "12h")
        for name, used_by, source in (
            (
                "*.cache_creation_token_details.ephemeral_{ttl}_input_tokens",
                "LiteLLM",
                "types/utils.py, CacheCreationTokenDetails",
            ),
            (
                "*.cache_creation.ephemeral_{ttl}_input_tokens",
                "Qwen",
                "Model Studio, explicit cache",
            ),
            (
                "cache_creation.ephemeral_{ttl}_input_tokens",
                "Vercel, Databricks",
                "Anthropic's own",
            ),
            (
                "*.cached_write_token_details.cached_write_tokens_{ttl}",
                "Bifrost",
                "schemas/chatcompletions.go, ChatCachedWriteTokenDetails",
            ),
            ("*.cache_write_details.write_{ttl}_tokens", "Helicone", "llm-mapper, usage.ts"),
        )
    ),
)
"""OpenRouter, Cloudflare, Kong and Envoy's AI Gateway send OpenAI's own names."""
