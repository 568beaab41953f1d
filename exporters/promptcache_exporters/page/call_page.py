"""One call beside its previous one: its prompt as a strip of blocks, and its cost by part."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from promptcache.common.coerce import as_list
from promptcache.semconv import WRITE_TOKENS_BY_TTL
from promptcache.settings import OTEL_PROMPTCACHE_TRACE_URL
from promptcache_exporters.explain.query import COMPARED_COLUMNS, CallComparison, CallRow
from promptcache_exporters.page.charts import BarPart, StripBlock, draw_strip
from promptcache_exporters.page.hit_rate import rate_kind
from promptcache_exporters.page.overview_page import format_seconds
from promptcache_exporters.report.format import (
    NO_VALUE,
    format_call_site,
    format_count,
    format_local_time,
    format_name,
    format_percent_rounded_down,
    format_prompt_location,
    format_usd,
)

_SECTIONS: Final = ("tools", "system", "messages")
_HEX: Final = re.compile(r"[0-9a-f]{1,32}")
_COST_PARTS: Final = (
    ("input", "cost_input"),
    ("read", "cost_read"),
    ("written", "cost_write"),
    ("output", "cost_output"),
)


def call_values(comparison: CallComparison) -> dict[str, Any]:
    """Return the values of the template."""
    call, previous = comparison.call, comparison.previous_call
    strips = [_strip("this call", call, broken_at(comparison))]
    if previous is not None:
        idle = call["time"] - previous["time"]
        strips.insert(0, _strip(f"previous call, {idle:,.1f} s earlier", previous, None))
    return {
        "heading": f"{format_name(call['outcome'])}: {format_name(call['request_model'])}",
        "when": f"{format_local_time(call['time'])} · {format_name(call['service'])}",
        "site": format_call_site(call["code_file"], call["code_line"], call["code_function"]),
        "trace_link": find_trace_link(call, os.environ.get(OTEL_PROMPTCACHE_TRACE_URL, "")),
        "cards": _cards(call),
        "strips": strips,
        "is_broken": broken_at(comparison) is not None,
        "advice": _advice(comparison),
        "rows": list(_rows(comparison)),
    }


def find_trace_link(call: CallRow, template: str) -> str:
    """Return the address of a call's trace, '' without one.

    `template` is the address with `{trace_id}` and perhaps `{span_id}`. Only http and https are
    allowed, and only ids that are hex digits.
    """
    trace_id, span_id = str(call["trace_id"] or ""), str(call["span_id"] or "")
    if urlsplit(template).scheme not in ("http", "https") or not _HEX.fullmatch(trace_id):
        return ""
    link = template.replace("{trace_id}", trace_id)
    return link.replace("{span_id}", span_id if _HEX.fullmatch(span_id) else "")


def broken_at(comparison: CallComparison) -> float | None:
    """Return where the prefix broke, from 0 to 1 of the prompt; None if it is not known."""
    call = comparison.call
    if not call["miss_reason"] or call["miss_section"] is None:
        return None
    name = format_prompt_location(call["miss_section"], call["miss_index"])
    blocks = blocks_of(call)
    return next((block.start for block in blocks if block.name == name), None)


def blocks_of(call: CallRow) -> list[StripBlock]:
    """Return the blocks of a prompt, by the sizes of its chain.

    There are none without a hash key, or if the chain lacks the first blocks of the prompt.
    """
    sizes, counts = (
        _read_counts(call["prefix_chain_sizes"]),
        _read_counts(call["prefix_section_counts"]),
    )
    total = sum(sizes)
    if not total or len(counts) != len(_SECTIONS) or call["prefix_chain_start"]:
        return []
    names = [
        f"{section}[{index}]"
        for section, count in zip(_SECTIONS, counts, strict=True)
        for index in range(min(count, 100_000))
    ]
    blocks: list[StripBlock] = []
    start = 0.0
    for name, size in zip(names, sizes, strict=False):
        blocks.append(StripBlock(name, size / total, start / total))
        start += size
    return blocks


def _read_counts(text: str | None) -> list[int]:
    values = _read_list(text)
    return values if all(type(one) is int and one >= 0 for one in values) else []


def _read_list(text: str | None) -> list[Any]:
    try:
        return as_list(json.loads(text or "[]"))
    except ValueError:
        return []


def _strip(title: str, call: CallRow, broken: float | None) -> dict[str, Any]:
    total = call["input_tokens"] or 0
    read, written = call["read_tokens"] or 0, call["write_tokens"] or 0
    tokens = [
        BarPart(count / total, kind, f"{format_count(count)} tokens {name}")
        for count, kind, name in (
            (read, "good", "read"),
            (written, "fair", "written"),
            (max(0, total - read - written), "plain", "neither read nor written"),
        )
        if total
    ]
    picture = draw_strip(tokens, blocks_of(call), broken)
    return {"title": title, "picture": picture, "sections": _describe_sections(call)}


def _describe_sections(call: CallRow) -> str:
    counts = _read_counts(call["prefix_section_counts"])
    parts = [
        f"{count} {section}" for section, count in zip(_SECTIONS, counts, strict=False) if count
    ]
    blocks = f"blocks: {', '.join(parts)}" if parts else "its blocks are known with a hash key only"
    breakpoints = map(str, _read_list(call["prefix_breakpoints"]))
    names = ", ".join(map(format_name, breakpoints))
    marks = f" · breakpoints: {names}" if names else ""
    return f"{format_count(call['input_tokens'])} tokens · {blocks}{marks}"


def _cards(call: CallRow) -> Sequence[tuple[str, str, str, str]]:
    parts = ", ".join(
        f"{name} {format_usd(call[column])}"
        for name, column in _COST_PARTS
        if call[column] is not None
    )
    read, total = call["read_tokens"], call["input_tokens"]
    share = read / total if total and read is not None else None
    rate = format_percent_rounded_down(share)
    return [
        ("Read from the cache", rate, f"{format_count(read)} tokens", rate_kind(share)),
        ("Cost", format_usd(call["cost_amount"]), parts or "its parts are unknown", "paid"),
        (
            "Wasted",
            format_usd(call["wasted_usd"]),
            f"{format_count(call['missed_tokens'])} tokens missed",
            "bad",
        ),
        (
            "First token",
            format_seconds(call["first_chunk"]),
            f"of {format_seconds(call['duration'])} in all" if call["duration"] is not None else "",
            "plain",
        ),
    ]


def _advice(comparison: CallComparison) -> str:
    call = comparison.call
    if not call["miss_reason"]:
        return ""
    place = format_prompt_location(call["miss_section"], call["miss_index"])
    where = f" in {place}" if place else ""
    return f"{format_name(call['miss_reason'])}{where}. {comparison.advice}"


def _describe_writes(call: CallRow) -> str:
    """Return the written tokens by their TTL: `4,000 for 5m, 200 for 1h`."""
    by_ttl = ((ttl, call.get(f"write_{ttl}_tokens")) for ttl in WRITE_TOKENS_BY_TTL)
    parts = [f"{format_count(tokens)} for {ttl}" for ttl, tokens in by_ttl if tokens]
    return ", ".join(parts) or format_count(call.get("write_tokens"))


def _shown_part(value: str | None) -> str:
    return NO_VALUE if value == "[]" else format_name(value)  # no breakpoints


def _rows(comparison: CallComparison) -> Iterator[dict[str, Any]]:
    previous = comparison.previous_call or {}
    words = {True: "same", False: "changed", None: NO_VALUE}
    for name, column in COMPARED_COLUMNS.items():
        values = [_shown_part(row.get(column)) for row in (previous, comparison.call)]
        yield {
            "name": name,
            "address": "",
            "cells": [*values, words[comparison.unchanged_parts[name]]],
        }
    writes = [_describe_writes(row) for row in (previous, comparison.call)]
    yield {"name": "written tokens", "address": "", "cells": [*writes, ""]}
    for name, column in (("input tokens", "input_tokens"), ("read tokens", "read_tokens")):
        values = [format_count(row.get(column)) for row in (previous, comparison.call)]
        yield {"name": name, "address": "", "cells": [*values, ""]}
