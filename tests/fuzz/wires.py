"""Valid requests and responses of each wire format, with all fields that promptcache reads.

A function stands for one of many values.
"""

from __future__ import annotations

from typing import Any, Final

from tests.fuzz.odd import make_count, make_text, one_of

Tree = dict[str, Any]

TTL: Final = one_of("5m", "30m", "1h", "12h", "24h", "2w")
TIER: Final = one_of("default", "standard", "flex", "priority", "batch", "scale", "auto")
EFFORT: Final = one_of("low", "high")
FLAG: Final = one_of(True, False)
ID: Final = one_of("one", "two", "three", "resp_1", "msg_2")
SCHEMA: Final = {"type": "object", "properties": {"order": {"type": "string"}}}

# OpenAI

_BREAKPOINT: Final = {"mode": "explicit", "ttl": TTL}
_TOOL: Final[Tree] = {
    "type": "function",
    "name": ID,
    "function": {"name": ID, "parameters": SCHEMA},
    "strict": FLAG,
}
_PART: Final[Tree] = {
    "type": one_of("text", "input_text", "image_url"),
    "text": make_text,
    "prompt_cache_breakpoint": _BREAKPOINT,
}
_COMMON: Final[Tree] = {
    "model": one_of("gpt-5.4", "gpt-5.6", "gpt-4o", "gpt-6-sol", "unknown"),
    "prompt_cache_key": ID,
    "prompt_cache_retention": TTL,
    "service_tier": TIER,
    "tool_choice": "auto",
    "prompt_cache_options": {"mode": one_of("implicit", "explicit"), "ttl": TTL, "prewarm": FLAG},
    "parallel_tool_calls": FLAG,
    "stream": True,
}
CHAT_BODY: Final[Tree] = {
    **_COMMON,
    "tools": [_TOOL],
    "functions": [_TOOL],
    "response_format": {"type": "json_schema"},
    "reasoning_effort": EFFORT,
    "messages": [
        {"role": one_of("system", "developer"), "content": one_of(make_text, [_PART])},
        {"role": one_of("user", "assistant"), "content": one_of(make_text, [_PART]), "name": ID},
    ],
}
CHAT_USAGE: Final[Tree] = {
    "prompt_tokens": make_count,
    "completion_tokens": make_count,
    "total_tokens": make_count,
    "cached_tokens": make_count,
    "prompt_cache_hit_tokens": make_count,
    "cost": one_of(0.5, 0, 1e-9),
    "cost_in_usd_ticks": make_count,
    "prompt_tokens_details": {
        "cached_tokens": make_count,
        "audio_tokens": make_count,
        "cache_write_tokens": make_count,
    },
    "completion_tokens_details": {"reasoning_tokens": make_count, "audio_tokens": make_count},
}
CHAT_EVENT: Final[Tree] = {
    "id": ID,
    "model": _COMMON["model"],
    "service_tier": TIER,
    "usage": CHAT_USAGE,
    "x_groq": {"usage": CHAT_USAGE},
    "choices": [
        {
            "delta": {"role": "assistant", "content": make_text},
            "finish_reason": one_of("stop", None),
            "index": 0,
        }
    ],
    "error": one_of(
        None, None, {"code": "overloaded", "type": "server_error", "message": "canary"}
    ),
}
RESPONSES_BODY: Final[Tree] = {
    **_COMMON,
    "instructions": make_text,
    "tools": [_TOOL],
    "input": one_of(make_text, [{"role": "user", "content": one_of(make_text, [_PART])}]),
    "previous_response_id": one_of(None, "resp_1", "resp_2"),
    "conversation": one_of(None, {"id": "c"}),
    "prompt": one_of(None, {"id": "p"}),
    "text": {"format": {"type": "text"}, "verbosity": EFFORT},
    "reasoning": {"effort": EFFORT},
    "background": FLAG,
    "truncation": "auto",
}
RESPONSES_USAGE: Final[Tree] = {
    "input_tokens": make_count,
    "output_tokens": make_count,
    "output_tokens_details": {"reasoning_tokens": make_count},
    "input_tokens_details": {
        "cached_tokens": make_count,
        "cache_write_tokens": make_count,
        "cache_write_tokens_details": {"ttl_30m_tokens": make_count, "ttl_12h_tokens": make_count},
    },
    "input_token_details": {
        "cached_tokens": make_count,
        "audio_tokens": make_count,
        "cached_tokens_details": {"audio_tokens": make_count},
    },
}
RESPONSE: Final = {
    "id": ID,
    "object": one_of("response", "response.compaction"),
    "model": _COMMON["model"],
    "usage": RESPONSES_USAGE,
    "status": one_of("completed", "incomplete", "failed", "in_progress"),
    "service_tier": TIER,
    "error": one_of(None, {"code": "server_error"}),
    "prompt_cache_options": {"ttl": TTL},
    "prompt_cache_diagnostics": {
        "type": "cache_miss",
        "reason": "prefix_changed",
        "cache_miss_reason": {"type": ID},
    },
}
RESPONSES_EVENT: Final[Tree] = {
    "type": one_of(
        "response.created",
        "response.output_text.delta",
        "response.completed",
        "error",
        "response.failed",
    ),
    "response": RESPONSE,
    "code": one_of(None, "rate_limit_exceeded"),
    "delta": make_text,
}

# Anthropic

_MARK: Final = one_of(None, {"type": "ephemeral", "ttl": TTL}, {"type": "ephemeral"})
_CLAUDE_PART: Final[Tree] = {
    "type": one_of("text", "image", "tool_result", "document"),
    "text": make_text,
    "cache_control": _MARK,
    "citations": {"enabled": FLAG},
    "content": one_of(make_text, [{"type": "text", "text": make_text, "cache_control": _MARK}]),
}
MESSAGES_BODY: Final[Tree] = {
    "model": one_of("claude-sonnet-5", "claude-opus-5-5", "claude-haiku-4-5", "other"),
    "max_tokens": one_of(0, 99),
    "tools": [
        {
            "type": one_of("custom", "web_search_20250305"),
            "name": ID,
            "input_schema": SCHEMA,
            "cache_control": _MARK,
        }
    ],
    "system": one_of(make_text, [_CLAUDE_PART]),
    "thinking": {"type": "enabled", "budget_tokens": make_count},
    "messages": [
        {"role": one_of("user", "assistant"), "content": one_of(make_text, [_CLAUDE_PART])}
    ],
    "cache_control": _MARK,
    "service_tier": TIER,
    "anthropic_beta": ["one"],
    "diagnostics": one_of(None, {}),
    "thread": one_of(None, {"previous_message_id": "msg_2"}),
    "output_config": {"effort": EFFORT, "format": SCHEMA},
}
MESSAGES_USAGE: Final[Tree] = {
    "input_tokens": make_count,
    "output_tokens": make_count,
    "cache_read_input_tokens": make_count,
    "cache_creation_input_tokens": make_count,
    "cache_creation": {
        "ephemeral_5m_input_tokens": make_count,
        "ephemeral_1h_input_tokens": make_count,
    },
    "service_tier": TIER,
    "speed": one_of("standard", "fast"),
    "inference_geo": one_of("us", "global", "eu"),
    "server_tool_use": {"web_search_requests": make_count},
    "output_tokens_details": {"thinking_tokens": make_count},
    "iterations": [
        {
            "type": one_of("compaction", "message", "advisor_message"),
            "input_tokens": make_count,
            "output_tokens": make_count,
        }
    ],
}
MESSAGE: Final = {
    "id": ID,
    "type": "message",
    "model": MESSAGES_BODY["model"],
    "stop_reason": one_of("end_turn", None),
    "usage": MESSAGES_USAGE,
    "diagnostics": {"cache_miss_reason": {"type": one_of("system_changed", "tools_changed")}},
}
MESSAGES_EVENT: Final[Tree] = {
    "type": one_of(
        "message_start",
        "message_delta",
        "content_block_delta",
        "message_stop",
        "message",
        "error",
        "ping",
    ),
    "message": MESSAGE,
    "usage": MESSAGES_USAGE,
    "delta": {"stop_reason": "end_turn", "text": make_text},
    "error": {"type": "overloaded_error", "message": "canary"},
    "index": 0,
}

# Gemini

_GEMINI_PART: Final = one_of(
    {"text": make_text},
    {"inlineData": {"mimeType": one_of("image/png", "text/plain"), "data": "aGk="}},
    {"fileData": {"fileUri": "gs://a"}},
    {"functionCall": {"name": ID, "args": {}}},
)
CONTENT_BODY: Final[Tree] = {
    "model": one_of("gemini-2.5-flash", "models/gemini-3-pro", "other"),
    "systemInstruction": one_of(make_text, {"parts": [_GEMINI_PART]}),
    "cachedContent": one_of(None, "cachedContents/x"),
    "tools": [
        one_of({"functionDeclarations": [{"name": ID, "parameters": SCHEMA}]}, {"googleSearch": {}})
    ],
    "contents": [{"role": one_of("user", "model"), "parts": [_GEMINI_PART]}],
    "serviceTier": TIER,
    "toolConfig": {},
    "generationConfig": {
        "mediaResolution": ID,
        "responseSchema": SCHEMA,
        "thinkingConfig": {"thinkingBudget": make_count},
    },
}
_TOKENS_BY_MODALITY: Final = [
    {
        "modality": one_of("TEXT", "AUDIO", "IMAGE", "VIDEO", "DOCUMENT"),
        "tokenCount": make_count,
        "tokens": make_count,
    }
]
CONTENT_EVENT: Final[Tree] = {
    "responseId": ID,
    "modelVersion": CONTENT_BODY["model"],
    "x-gemini-service-tier": TIER,
    "candidates": [
        {"content": {"parts": [{"text": make_text}]}, "finishReason": one_of("STOP", None)}
    ],
    "promptFeedback": one_of(None, {"blockReason": "SAFETY"}),
    "usageMetadata": {
        "promptTokenCount": make_count,
        "cachedContentTokenCount": make_count,
        "candidatesTokenCount": make_count,
        "thoughtsTokenCount": make_count,
        "toolUsePromptTokenCount": make_count,
        "trafficType": one_of("ON_DEMAND", "ON_DEMAND_FLEX"),
        "promptTokensDetails": _TOKENS_BY_MODALITY,
        "cacheTokensDetails": _TOKENS_BY_MODALITY,
        "candidatesTokensDetails": _TOKENS_BY_MODALITY,
    },
}
INTERACTION_BODY: Final[Tree] = {
    "model": CONTENT_BODY["model"],
    "system_instruction": make_text,
    "tools": [{"type": "function", "name": ID}],
    "input": one_of(
        make_text,
        [{"type": "text", "content": one_of(make_text, [{"type": "text", "text": make_text}])}],
    ),
    "previous_interaction_id": one_of(None, "one"),
    "cached_content": one_of(None, "cachedContents/x"),
    "generation_config": {"temperature": 1},
    "response_format": SCHEMA,
    "service_tier": TIER,
    "stream": FLAG,
}
INTERACTION_EVENT: Final[Tree] = {
    "id": ID,
    "model": INTERACTION_BODY["model"],
    "status": one_of("completed", "failed", "in_progress"),
    "service_tier": TIER,
    "errors": one_of([], [{"code": "internal"}]),
    "usage": {
        "total_input_tokens": make_count,
        "total_cached_tokens": make_count,
        "total_output_tokens": make_count,
        "total_thought_tokens": make_count,
        "total_tool_use_tokens": make_count,
        "input_tokens_by_modality": _TOKENS_BY_MODALITY,
        "cached_tokens_by_modality": _TOKENS_BY_MODALITY,
        "output_tokens_by_modality": _TOKENS_BY_MODALITY,
    },
}

# Bedrock

_POINT: Final = {"cachePoint": {"type": "default", "ttl": TTL}}
_NOVA_PART: Final = one_of({"text": make_text}, {"image": {"format": "png"}}, _POINT)
CONVERSE_BODY: Final[Tree] = {
    "modelId": one_of(
        "us.anthropic.claude-sonnet-4-6", "amazon.nova-pro-v1:0", "arn:aws:bedrock:x"
    ),
    "system": [_NOVA_PART],
    "messages": [{"role": one_of("user", "assistant"), "content": [_NOVA_PART]}],
    "toolConfig": {
        "tools": [one_of({"toolSpec": {"name": ID}}, _POINT)],
        "toolChoice": {"auto": {}},
    },
    "additionalModelRequestFields": {"thinking": {}},
    "performanceConfig": {"latency": "optimized"},
    "serviceTier": {"type": TIER},
    "guardrailConfig": {"guardrailIdentifier": "g"},
}
CONVERSE_USAGE: Final[Tree] = {
    "inputTokens": make_count,
    "outputTokens": make_count,
    "cacheReadInputTokens": make_count,
    "cacheWriteInputTokens": make_count,
    "cacheReadInputTokenCount": make_count,
    "cacheDetails": [{"ttl": one_of("5m", "1h"), "inputTokens": make_count}],
}
CONVERSE_METADATA: Final[Tree] = {
    "usage": CONVERSE_USAGE,
    "serviceTier": {"type": TIER},
    "performanceConfig": {"latency": one_of("standard", "fast")},
    "trace": {"promptRouter": {"invokedModelId": "amazon.nova-lite-v1:0"}},
}
CONVERSE_RESPONSE: Final[Tree] = {
    **CONVERSE_METADATA,
    "output": {"message": {"content": [{"text": make_text}]}},
    "stopReason": "end_turn",
}
CONVERSE_EVENT: Final = one_of(
    {"metadata": CONVERSE_METADATA},
    {"messageStop": {"stopReason": "end_turn"}},
    {"contentBlockDelta": {"delta": {"text": make_text}}},
    {"messageStart": {"role": "assistant"}},
)
