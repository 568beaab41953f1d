"""A comparison of calls as JSON and on a terminal."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from promptcache_exporters.explain.query import COMPARED_COLUMNS, CallComparison, CallRow
from promptcache_exporters.report.format import (
    NO_VALUE,
    format_call_site,
    format_count,
    format_local_time,
    format_name,
    format_prompt_location,
    format_usd,
)
from promptcache_exporters.report.json import SCHEMA

_UNCHANGED_TEXTS: Final = {
    True: ("same", "green"),
    False: ("changed", "red"),
    None: (NO_VALUE, ""),
}

_SURE_CONFIDENCE: Final = 0.75
"""Below this confidence a reason is called probable."""

_JSON_COLUMNS: Final = (
    "time",
    "outcome",
    "trace_id",
    "span_id",
    "response_id",
    "duration",
    "first_chunk",
    "error_type",
    "service",
    "request_model",
    "response_model",
    "code_file",
    "code_line",
    "code_function",
    "input_tokens",
    "read_tokens",
    "write_tokens",
    "uncached_tokens",
    "output_tokens",
    "missed_tokens",
    "cost_amount",
    "without_cache",
    "wasted_usd",
    "cost_unknown",
    "prefix_hash",
    "prefix_family",
    *COMPARED_COLUMNS.values(),
    "prefix_blocks",
    "miss_reason",
    "miss_section",
    "miss_index",
    "miss_offset",
    "miss_hint",
    "miss_confidence",
    "miss_source",
    "miss_provider_reason",
    "miss_parameter",
    "miss_layer",
    "prompt_name",
    "prompt_version",
)
"""The columns of a call in the JSON, in their order."""

_TABLE_LINES: Final[tuple[tuple[str, str, Callable[[Any], str]], ...]] = (
    *((name, column, format_name) for name, column in COMPARED_COLUMNS.items()),
    ("prompt", "prompt_name", format_name),
    ("version", "prompt_version", format_name),
    ("blocks", "prefix_blocks", format_count),
    ("input", "input_tokens", format_count),
    ("read", "read_tokens", format_count),
    ("cost", "cost_amount", format_usd),
)
"""Title, column and format of each line of the table."""
_SHOWN_IF_KNOWN: Final = frozenset({"prompt_name", "prompt_version"})


def render_comparisons_json(comparisons: list[CallComparison], path: object = None) -> str:
    """Return the comparisons as JSON, a stable interface: a list under the key `calls`."""
    document = {
        "schema": SCHEMA,
        "file": None if path is None else str(path),
        "calls": list(map(_comparison_to_json_dict, comparisons)),
    }
    return json.dumps(document, indent=2)


def _comparison_to_json_dict(comparison: CallComparison) -> dict[str, Any]:
    previous_call = comparison.previous_call
    return {
        "call": _call_to_json_dict(comparison.call),
        "relative": None if previous_call is None else _call_to_json_dict(previous_call),
        "equal": comparison.unchanged_parts,
        "equal_blocks": comparison.shared_blocks,
        "repeated": comparison.repeated_breaks,
        "of": comparison.family_calls,
        "wasted_usd": comparison.repeated_wasted_usd,
        "advice": comparison.advice,
    }


def _call_to_json_dict(call: CallRow) -> dict[str, Any]:
    return {name: call[name] for name in _JSON_COLUMNS}


def print_comparisons(comparisons: list[CallComparison], console: Console) -> None:
    """Print one comparison after the other."""
    for number, comparison in enumerate(comparisons):
        if number:
            console.print()
        console.print(Text(_format_call_title(comparison.call), "bold"))
        console.print(_build_comparison_table(comparison))
        lines = list(_explanation_lines(comparison))
        title_width = max(len(title) for title, _ in lines) + 2
        for title, text in lines:
            console.print(Text.assemble((f"{title:<{title_width}}", "bold"), text))


def _format_call_title(call: CallRow) -> str:
    names = (call["service"], call["request_model"], f"trace {call['trace_id']}")
    known = "  ".join(format_name(name) for name in names if name)
    return f"{format_local_time(call['time'])}  {known}"


def _build_comparison_table(comparison: CallComparison) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("", "previous call", "this call", ""):
        table.add_column(heading, overflow="fold")
    previous_call = comparison.previous_call or {}
    for name, column, to_text in _TABLE_LINES:
        mark = Text("")
        if name in COMPARED_COLUMNS:
            mark = Text(*_UNCHANGED_TEXTS[comparison.unchanged_parts[name]])
        previous_value, value = previous_call.get(column), comparison.call[column]
        if column in _SHOWN_IF_KNOWN and previous_value is None and value is None:
            continue
        table.add_row(Text(name), Text(to_text(previous_value)), Text(to_text(value)), mark)
    return table


def _explanation_lines(comparison: CallComparison) -> Iterator[tuple[str, str]]:
    """Yield pairs of a title and a text."""
    call, previous_call = comparison.call, comparison.previous_call
    outcome = format_name(call["outcome"])
    if previous_call is None:
        yield "Outcome", f"{outcome}, no earlier call of this prefix family"
    else:
        yield "Outcome", outcome
        seconds = call["time"] - previous_call["time"]
        yield "Previous call", f"{seconds:.1f} s earlier, trace {previous_call['trace_id']}"
    if comparison.shared_blocks is not None:
        blocks = format_count(call["prefix_blocks"])
        yield "Unchanged", f"the first {comparison.shared_blocks} of {blocks} blocks"
    if site := format_call_site(call["code_file"], call["code_line"], call["code_function"]):
        yield "Code", site
    if call["miss_reason"]:
        yield from _miss_explanation_lines(comparison)


def _miss_explanation_lines(comparison: CallComparison) -> Iterator[tuple[str, str]]:
    call = comparison.call
    yield "Miss reason", _format_miss_reason_details(call)
    if call["missed_tokens"] is not None:
        missed, wasted = format_count(call["missed_tokens"]), format_usd(call["wasted_usd"])
        yield "Cost", f"{missed} tokens missed, {wasted} wasted"
    if comparison.repeated_breaks > 1:
        wasted = format_usd(comparison.repeated_wasted_usd)
        yield (
            "Repeated",
            (
                f"{comparison.repeated_breaks} of {comparison.family_calls} calls"
                " of this prefix family"
                f" missed for this reason there, {wasted} wasted in total"
            ),
        )
    yield "Advice", comparison.advice or "None known."


def _format_miss_reason_details(call: CallRow) -> str:
    location = format_prompt_location(call["miss_section"], call["miss_index"])
    offset = f" at about byte {call['miss_offset']:,}" if call["miss_offset"] is not None else ""
    details = {
        "looks like" if call["miss_reason"] == "volatile_token" else "change": call["miss_hint"],
        "source": call["miss_source"],
        "confidence": call["miss_confidence"],
        "the provider calls it": call["miss_provider_reason"],
        "parameter": call["miss_parameter"],
        "layer": call["miss_layer"],
    }
    known = "".join(
        f", {name} {format_name(str(value))}"
        for name, value in details.items()
        if value is not None
    )
    confidence = call["miss_confidence"]
    doubt = "probably " if confidence is not None and confidence < _SURE_CONFIDENCE else ""
    reason = f"{doubt}{format_name(call['miss_reason'])}"
    return f"{reason}{location and f' in {location}'}{offset}{known}"
