"""An explanation as JSON and on a terminal."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from promptcache_exporters import wording
from promptcache_exporters.explain import PARTS, Explanation, Row

_SAME: Final = {True: ("same", "green"), False: ("changed", "red"), None: (wording.UNKNOWN, "")}

_FACTS: Final = {
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
    "prefix": ("prefix_hash", "prefix_family", *PARTS.values(), "prefix_blocks"),
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

_LINES: Final[tuple[tuple[str, str, Callable[[Any], str]], ...]] = (
    *((name, column, wording.printable) for name, column in PARTS.items()),
    ("blocks", "prefix_blocks", wording.count),
    ("input", "input_tokens", wording.count),
    ("read", "read_tokens", wording.count),
    ("cost", "cost_amount", wording.dollars),
)


def as_json(found: list[Explanation]) -> str:
    """`calls`, each with itself, its relative (or null), the parts that stayed, and how often the same break came."""
    return json.dumps({"calls": [_data(it) for it in found]}, indent=2)


def _data(it: Explanation) -> dict[str, Any]:
    return {
        "call": _facts(it.call),
        "relative": _facts(it.relative),
        "equal": it.equal,
        "equal_blocks": it.equal_blocks,
        "repeated": it.repeated,
        "of": it.calls,
        "wasted_usd": it.wasted_usd,
        "advice": it.advice,
    }


def _facts(row: Row | None) -> Any:
    return row and {name: row[name] for names in _FACTS.values() for name in names}


def show(found: list[Explanation], console: Console) -> None:
    """Prints one explanation after the other."""
    for number, it in enumerate(found):
        if number:
            console.print()
        console.print(Text(_title(it), "bold"))
        console.print(_table(it))
        for title, text in _verdict(it):
            console.print(Text.assemble((f"{title:<10}", "bold"), text))


def _title(it: Explanation) -> str:
    names = (it.call["service"], it.call["request_model"], f"trace {it.call['trace_id']}")
    return f"{wording.moment(it.call['time'])}  " + "  ".join(
        wording.printable(name) for name in names if name
    )


def _table(it: Explanation) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("", "relative", "this call", ""):
        table.add_column(name, overflow="fold")
    for name, relative, call, same in _lines(it):
        word, style = _SAME[same]
        mark = Text(word, style) if name in PARTS else Text("")
        table.add_row(Text(name), Text(relative), Text(call), mark)
    return table


def _lines(it: Explanation) -> Iterator[tuple[str, str, str, bool | None]]:
    other = it.relative or {}
    for name, column, worded in _LINES:
        yield name, worded(other.get(column)), worded(it.call[column]), it.equal.get(name)


def _verdict(it: Explanation) -> Iterator[tuple[str, str]]:
    call = it.call
    yield (
        "Outcome",
        wording.printable(call["outcome"])
        + ("" if it.relative else ", no earlier call of its family"),
    )
    if it.relative:
        yield (
            "Relative",
            f"{call['time'] - it.relative['time']:.1f} s earlier, trace {it.relative['trace_id']}",
        )
    if it.equal_blocks is not None:
        yield (
            "Equal",
            f"the first {it.equal_blocks} of {wording.count(call['prefix_blocks'])} blocks",
        )
    if call["miss_reason"]:
        yield "Broke" if call["miss_section"] else "Reason", _break(call)
        if call["missed_tokens"] is not None:
            missed, wasted = (
                wording.count(call["missed_tokens"]),
                wording.dollars(call["wasted_usd"]),
            )
            yield "Cost", f"{missed} tokens missed, {wasted} wasted"
        if it.repeated > 1:
            wasted = wording.dollars(it.wasted_usd)
            yield (
                "Again",
                f"{it.repeated} of {it.calls} calls of this family broke there, {wasted} wasted in all",
            )
        yield "Advice", it.advice or "None known."


def _break(call: Row) -> str:
    place = wording.place(call["miss_section"], call["miss_index"])
    offset = f" at about byte {call['miss_offset']:,}" if call["miss_offset"] is not None else ""
    details = {
        "looks like" if call["miss_reason"] == "volatile_token" else "change": call["miss_hint"],
        "source": call["miss_source"],
        "confidence": call["miss_confidence"],
        "the provider calls it": call["miss_provider_reason"],
    }
    known = "".join(
        f", {name} {wording.printable(str(value))}"
        for name, value in details.items()
        if value is not None
    )
    return f"{wording.printable(call['miss_reason'])}{place and f' in {place}'}{offset}{known}"
