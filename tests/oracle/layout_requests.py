"""Write the requests of a policy in the form of each API, without the harness."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tests.oracle.api_variants import Variant
from tests.oracle.layout_workloads import HANDBOOK, Call, question_parts

Blocks = list[dict[str, Any]]


def build_request(
    variant: Variant,
    call: Call,
    history: list[tuple[str, list[str]]],
    marks: Mapping[str, str],
    *,
    is_implicit: bool,
) -> dict[str, Any]:
    """Return the body of a request. `marks` are the TTLs of breakpoints by place."""
    form = variant.form
    system = _blocks(form, "system", [HANDBOOK], marks.get("static"))
    if call.shared:
        system += _blocks(form, "system", [call.shared], marks.get("shared"))
    messages: list[dict[str, Any]] = []
    for number, (role, texts) in enumerate(history):
        is_previous = number == len(history) - 2
        ttl = marks.get("previous") if is_previous else None
        messages.append(_message(form, role, _blocks(form, role, texts, ttl)))
    texts = [*([call.context] if call.context else []), *question_parts(call)]
    turn = _blocks(form, "user", texts, marks.get("latest"))
    if call.now:
        turn += _blocks(form, "user", [call.now], None)
    messages.append(_message(form, "user", turn))
    return _body(variant, variant.models[call.model], system, messages, is_implicit=is_implicit)


def _blocks(form: str, role: str, texts: Iterable[str], ttl: str | None) -> Blocks:
    """Return the blocks of texts, with a breakpoint at the end if there is a TTL."""
    blocks: Blocks = [_block(form, role, text) for text in texts]
    if ttl and form == "converse":
        blocks.append({"cachePoint": {"type": "default", "ttl": ttl}})
    elif ttl and form == "messages":
        blocks[-1]["cache_control"] = {"type": "ephemeral", "ttl": ttl}
    elif ttl:
        blocks[-1]["prompt_cache_breakpoint"] = {"mode": "explicit", "ttl": ttl}
    return blocks


def _block(form: str, role: str, text: str) -> dict[str, Any]:
    if form in ("converse", "gemini"):
        return {"text": text}
    if form == "responses":
        return {"type": "output_text" if role == "assistant" else "input_text", "text": text}
    return {"type": "text", "text": text}


def _message(form: str, role: str, blocks: Blocks) -> dict[str, Any]:
    if form == "gemini":
        return {"role": "model" if role == "assistant" else "user", "parts": blocks}
    return {"role": role, "content": blocks}


def _body(
    variant: Variant, model: str, system: Blocks, messages: Blocks, *, is_implicit: bool
) -> dict[str, Any]:
    if variant.form == "converse":
        return {"system": system, "messages": messages}
    if variant.form == "gemini":
        return {"systemInstruction": {"parts": system}, "contents": messages}
    if variant.form == "messages":
        body: dict[str, Any] = {"system": system, "messages": messages, "max_tokens": 50}
        if variant.wire == "invoke_model":
            return {"anthropic_version": "bedrock-2023-05-31", **body}
        return {"model": model, **body}
    first = {"role": "developer" if variant.form == "responses" else "system", "content": system}
    items = "input" if variant.form == "responses" else "messages"
    is_explicit = variant.marks and not is_implicit
    mode = {"prompt_cache_options": {"mode": "explicit"}} if is_explicit else {}
    return {"model": model, items: [first, *messages], **mode}
