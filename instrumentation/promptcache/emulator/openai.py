"""OpenAI's cache: a request as the cache reads it, where it looks and writes, and the usage that it reports."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from promptcache.emulator import tokens
from promptcache.emulator.cache import (
    MESSAGES,
    SYSTEM,
    TOOLS,
    Outcome,
    Piece,
    Plan,
    Prompt,
    Write,
    stepped,
)
from promptcache.emulator.plain import JSON, compact, is_array, obj, rows
from promptcache.emulator.profiles import OPENAI, Rules
from promptcache.emulator.wire import Host, Incoming, Refused

MARK: Final = "prompt_cache_breakpoint"
_HEAVY: Final = ("image_url", "input_image", "input_audio", "file", "input_file")
_UNREAD: Final = frozenset({"id", "status", MARK, "phase"})
_SNAPSHOTS: Final = {
    "gpt-4o": "gpt-4o-2024-08-06",
    "gpt-4o-mini": "gpt-4o-mini-2024-07-18",
    "gpt-4.1": "gpt-4.1-2025-04-14",
    "gpt-4.1-mini": "gpt-4.1-mini-2025-04-14",
    "gpt-5": "gpt-5-2025-08-07",
    "gpt-5-mini": "gpt-5-mini-2025-08-07",
    "o3": "o3-2025-04-16",
    "o4-mini": "o4-mini-2025-04-16",
}
_TIERS: Final = {"auto": "default", "fast": "priority"}
_THOUGHT: Final = {"none": 0, "minimal": 0, "low": 16, "medium": 32, "high": 64, "xhigh": 128}


def model_of(incoming: Incoming) -> str:
    """The model asked for, by body or by Azure deployment; a deployment's name may contain the model's."""
    name = str(incoming.body.get("model") or incoming.params.get("deployment") or "")
    if not name:
        raise Refused(400, "you must provide a model parameter")
    known = re.search(r"(ft:)?(gpt-\d[\w.:-]*|o\d[\w.:-]*)", name)
    return known[0] if known and "deployment" in incoming.params else name


def snapshot(model: str) -> str:
    """The dated name under which the response reports the model."""
    return _SNAPSHOTS.get(model, model)


def tier_of(body: JSON) -> str:
    """The service tier that the response reports."""
    asked = str(body.get("service_tier") or "auto")
    return _TIERS.get(asked, asked)


def reasoning(model: str, body: JSON) -> int:
    """Reasoning tokens of the reply: by effort, none on models that do not reason."""
    effort = body.get("reasoning_effort") or obj(body.get("reasoning")).get("effort") or "medium"
    return _THOUGHT.get(str(effort), 32) if re.match(r"(ft:)?(gpt-[5-9]|o\d)", model) else 0


def salts(incoming: Incoming, model: str) -> dict[str, str]:
    """What makes a prefix another one without being text of it, by name, in the order of OpenAI's diagnosis.

    Guide and diagnostics page of autumn 2026; `prompt_cache_key` separates reuse on GPT-5.6+ and routes before.
    """
    body = incoming.body
    text, thought = obj(body.get("text")), obj(body.get("reasoning"))
    named = {
        "model_changed": model,
        "prompt_cache_key_changed": body.get("prompt_cache_key"),
        "service_tier_changed": tier_of(body),
        "tools_changed": body.get("parallel_tool_calls"),
        "text_format_changed": body.get("response_format") or text.get("format"),
        "reasoning_effort_changed": body.get("reasoning_effort") or thought.get("effort"),
        "verbosity_changed": body.get("verbosity") or text.get("verbosity"),
        "context_compacted": body.get("context_management"),
    }
    return {name: compact(value) for name, value in named.items()}


def prompt(incoming: Incoming, model: str, items: list[Any], instructions: Any = None) -> Prompt:
    """The request as the cache reads it: schema, tools, instructions, then messages or input items in order."""
    body = incoming.body
    pieces = [Piece(compact(form), TOOLS) for form in _schemas(body)]
    listed = [*(rows(body.get("tools"))), *(rows(body.get("functions")))]
    pieces += [Piece(compact(tool), TOOLS) for tool in listed if not tool.get("defer_loading")]
    if instructions:
        pieces.append(Piece(f"developer\n{_flat(instructions)}", SYSTEM))
    leading = True
    for item in items:
        leading = leading and item.get("role") in {"system", "developer"}
        pieces += _item(item, SYSTEM if leading else MESSAGES)
    if not pieces:
        raise Refused(400, "nothing to answer: the request holds no message")
    return Prompt(tuple(pieces), (compact(salts(incoming, model)), "", ""))


def _schemas(body: JSON) -> Iterator[Any]:
    for form in (body.get("response_format"), obj(body.get("text")).get("format")):
        if obj(form).get("type") == "json_schema":
            yield form


def _item(item: JSON, level: int) -> list[Piece]:
    """One message or input item: its own fields, then each part of its content."""
    own = {key: value for key, value in item.items() if key not in {*_UNREAD, "content", "role"}}
    head = str(item.get("role", "")) + (compact(own) if set(own) - {"type"} else "") + "\n"
    content = item.get("content")
    if not is_array(content) or not content:
        return [Piece(head + (content if isinstance(content, str) else ""), level)]
    parts = rows(content)
    pieces: list[Piece] = []
    for index, part in enumerate(parts):
        mark = part.get(MARK)
        text, weight = _part(part)
        pieces.append(
            Piece(
                (head if index == 0 else "\n") + text,
                level,
                None if mark is None else str(mark.get("ttl") or ""),
                index == len(parts) - 1,
                weight,
            )
        )
    return pieces


def _part(part: JSON) -> tuple[str, int | None]:
    kind = str(part.get("type"))
    if kind in _HEAVY:
        detail = part.get("detail") or obj(part.get("image_url")).get("detail")
        return compact(
            {key: value for key, value in part.items() if key != MARK}
        ), 85 if detail == "low" else 765
    return str(part.get("text", part.get("refusal", ""))), None


def _flat(value: Any) -> str:
    return value if isinstance(value, str) else compact(value)


def plan(host: Host, incoming: Incoming, model: str, prompt: Prompt) -> tuple[Plan, Rules]:
    """Where this request looks and writes, by the profile in force."""
    rules = host.rules(OPENAI, model, incoming)
    if rules.implicit != "none":
        return _breakpoints(prompt, rules, incoming.body), rules
    brief = incoming.body.get("prompt_cache_retention") == "in_memory"
    return stepped(prompt, replace(rules, ttl="10m", age=3600.0) if brief else rules), rules


def _breakpoints(prompt: Prompt, rules: Rules, body: JSON) -> Plan:
    """GPT-5.6 and later: explicit breakpoints, and in implicit mode those that the provider sets by itself."""
    options = obj(body.get("prompt_cache_options"))
    default = str(options.get("ttl") or rules.ttl)
    marked = {
        end: piece.mark or default
        for piece, end in zip(prompt.pieces, prompt.ends, strict=True)
        if piece.mark is not None
    }
    own: tuple[int, ...] = ()
    reads = set(list(marked)[:2]) | set(list(marked)[-rules.lookback :])
    if options.get("mode", "implicit") == "implicit":
        own, earlier = _implicit(prompt, rules)
        reads |= {*own, *earlier}
    chosen = dict(list(marked.items())[-(rules.marks - bool(own)) :]) | {
        cut: marked.get(cut, default) for cut in own
    }
    writes = [
        Write(cut, ttl, rules.seconds(ttl))
        for cut, ttl in sorted(chosen.items())
        if cut >= rules.minimum
    ]
    return Plan(prompt, tuple(cut for cut in reads if cut >= rules.minimum), tuple(writes))


def _implicit(prompt: Prompt, rules: Rules) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Token offsets that implicit mode writes (and reads), and those that it only reads."""
    row = list(zip(prompt.pieces, prompt.ends, strict=True))
    closing = [end for piece, end in row if piece.ends and piece.level != TOOLS]
    developer = [end for piece, end in row if piece.ends and piece.level == SYSTEM][-1:]
    latest = closing[-1:]
    if rules.implicit == "latest":
        return tuple(latest), tuple(closing[-1 - rules.endings :])
    if rules.implicit == "pinned":
        return (*developer, *latest), ()
    return (*developer, *latest), tuple(closing[-1 - rules.endings :])


def chat_usage(outcome: Outcome, rules: Rules, output: int, thought: int) -> JSON:
    """`usage` of a chat completion. Models that do not bill writes do not report them."""
    details: JSON = {"cached_tokens": outcome.read, "audio_tokens": 0}
    if rules.bills:
        details["cache_write_tokens"] = outcome.write
    return {
        "prompt_tokens": outcome.input,
        "completion_tokens": output,
        "total_tokens": outcome.input + output,
        "prompt_tokens_details": details,
        "completion_tokens_details": {
            "reasoning_tokens": thought,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def responses_usage(outcome: Outcome, rules: Rules, output: int, thought: int) -> JSON:
    """`usage` of a response (openai 3.52.0, types/responses/response_usage.py)."""
    details: JSON = {"cached_tokens": outcome.read, "cache_write_tokens": outcome.write}
    if rules.bills:
        details["cache_write_tokens_details"] = {
            f"ttl_{ttl}_tokens": outcome.written.get(ttl, 0) for ttl in ("30m", "12h")
        }
    return {
        "input_tokens": outcome.input,
        "input_tokens_details": details,
        "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": thought},
        "total_tokens": outcome.input + output,
    }


def refuse(refused: Refused) -> JSON:
    """The body of an HTTP error."""
    return {
        "error": {"message": refused.message, "type": refused.kind, "param": None, "code": None}
    }


def spoken(reply_tokens: int, thought: int) -> int:
    """Output tokens: what was said and what was thought, and the end of the turn."""
    return reply_tokens + thought + tokens.count("\n")
