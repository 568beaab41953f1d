"""An explanation as JSON and on a terminal."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from promptcache_exporters.explain.query import COMPARED_COLUMNS, CallComparison, CallRow
from promptcache_exporters.report import format as wording

_UNCHANGED_TEXTS: Final = {
    True: ("same", "green"),
    False: ("changed", "red"),
    None: (wording.NO_VALUE, ""),
}

_JSON_COLUMNS: Final = {
    "call": (
        "time",
        "outcome",
        "trace_id",
        "span_id",
        "response_id",
        "duration",
        "first_chunk",
        "error_type",
    ),
    "place": (
        "service",
        "request_model",
        "response_model",
        "code_file",
        "code_line",
        "code_function",
    ),
    "tokens": (
        "input_tokens",
        "read_tokens",
        "write_tokens",
        "uncached_tokens",
        "output_tokens",
        "missed_tokens",
    ),
    "cost": ("cost_amount", "without_cache", "wasted_usd", "cost_unknown"),
    "prefix": ("prefix_hash", "prefix_family", *COMPARED_COLUMNS.values(), "prefix_blocks"),
    "miss": (
        "miss_reason",
        "miss_section",
        "miss_index",
        "miss_offset",
        "miss_hint",
        "miss_confidence",
        "miss_source",
        "miss_provider_reason",
    ),
}

_TABLE_LINES: Final[tuple[tuple[str, str, Callable[[Any], str]], ...]] = (
    *((name, column, wording.escape_unprintable) for name, column in COMPARED_COLUMNS.items()),
    ("blocks", "prefix_blocks", wording.format_count),
    ("input", "input_tokens", wording.format_count),
    ("read", "read_tokens", wording.format_count),
    ("cost", "cost_amount", wording.format_usd),
)


def render_json(found: list[CallComparison]) -> str:
    """`calls`, each with itself, its relative (or null), the parts that stayed, and how often the same break came."""
    return json.dumps({"calls": [_comparison_data(it) for it in found]}, indent=2)


def _comparison_data(it: CallComparison) -> dict[str, Any]:
    return {
        "call": _row_data(it.call),
        "relative": _row_data(it.related_call),
        "equal": it.unchanged_parts,
        "equal_blocks": it.shared_blocks,
        "repeated": it.repeated_breaks,
        "of": it.family_calls,
        "wasted_usd": it.repeated_wasted_usd,
        "advice": it.advice,
    }


def _row_data(row: CallRow | None) -> Any:
    return row and {name: row[name] for names in _JSON_COLUMNS.values() for name in names}


def print_comparisons(found: list[CallComparison], console: Console) -> None:
    """Prints one explanation after the other."""
    for number, it in enumerate(found):
        if number:
            console.print()
        console.print(Text(_format_title(it), "bold"))
        console.print(_build_table(it))
        for title, text in _verdict_lines(it):
            console.print(Text.assemble((f"{title:<10}", "bold"), text))


def _format_title(it: CallComparison) -> str:
    names = (it.call["service"], it.call["request_model"], f"trace {it.call['trace_id']}")
    return f"{wording.format_time(it.call['time'])}  " + "  ".join(
        wording.escape_unprintable(name) for name in names if name
    )


def _build_table(it: CallComparison) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("", "relative", "this call", ""):
        table.add_column(name, overflow="fold")
    for name, relative, call, same in _table_lines(it):
        word, style = _UNCHANGED_TEXTS[same]
        mark = Text(word, style) if name in COMPARED_COLUMNS else Text("")
        table.add_row(Text(name), Text(relative), Text(call), mark)
    return table


def _table_lines(it: CallComparison) -> Iterator[tuple[str, str, str, bool | None]]:
    other = it.related_call or {}
    for name, column, worded in _TABLE_LINES:
        yield name, worded(other.get(column)), worded(it.call[column]), it.unchanged_parts.get(name)


def _verdict_lines(it: CallComparison) -> Iterator[tuple[str, str]]:
    call = it.call
    yield (
        "Outcome",
        wording.escape_unprintable(call["outcome"])
        + ("" if it.related_call else ", no earlier call of its family"),
    )
    if it.related_call:
        yield (
            "Relative",
            f"{call['time'] - it.related_call['time']:.1f} s earlier, trace {it.related_call['trace_id']}",
        )
    if it.shared_blocks is not None:
        yield (
            "Equal",
            f"the first {it.shared_blocks} of {wording.format_count(call['prefix_blocks'])} blocks",
        )
    if call["miss_reason"]:
        yield "Broke" if call["miss_section"] else "Reason", _format_break(call)
        if call["missed_tokens"] is not None:
            missed, wasted = (
                wording.format_count(call["missed_tokens"]),
                wording.format_usd(call["wasted_usd"]),
            )
            yield "Cost", f"{missed} tokens missed, {wasted} wasted"
        if it.repeated_breaks > 1:
            wasted = wording.format_usd(it.repeated_wasted_usd)
            yield (
                "Again",
                f"{it.repeated_breaks} of {it.family_calls} calls of this family broke there, {wasted} wasted in all",
            )
        yield "Advice", it.advice or "None known."


def _format_break(call: CallRow) -> str:
    place = wording.format_location(call["miss_section"], call["miss_index"])
    offset = f" at about byte {call['miss_offset']:,}" if call["miss_offset"] is not None else ""
    details = {
        "looks like" if call["miss_reason"] == "volatile_token" else "change": call["miss_hint"],
        "source": call["miss_source"],
        "confidence": call["miss_confidence"],
        "the provider calls it": call["miss_provider_reason"],
    }
    known = "".join(
        f", {name} {wording.escape_unprintable(str(value))}"
        for name, value in details.items()
        if value is not None
    )
    return f"{wording.escape_unprintable(call['miss_reason'])}{place and f' in {place}'}{offset}{known}"
