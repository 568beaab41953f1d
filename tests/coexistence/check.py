"""Beside another LLM instrumentation each call has one LLM span, and their spans are unchanged.

    python -m tests.coexistence.check [OTHER ...]

`make coexistence` creates the environment with the others. Each call is made with theirs alone, and
with both in either order of instrumentation. Then each is made under the launcher, beside theirs
with a tracer provider of its own, and leaves one row in our table. This program prints a table, and
exits with 1 if anything is wrong.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from ast import literal_eval
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from itertools import chain
from multiprocessing import get_context
from typing import Any, Final, NamedTuple, cast

from promptcache.semconv import (
    INPUT_TOKENS,
    LEGACY_ATTRIBUTES,
    OUTCOME,
    OUTPUT_TOKENS,
    READ_TOKENS,
    STANDARD_ATTRIBUTES,
    WRITE_TOKENS,
)
from tests.coexistence.launched import check_rows
from tests.coexistence.observation import CALLS, Case, ExportedSpan, Observation, observe
from tests.coexistence.others import OTHERS, Other

ORDERS: Final[Mapping[str, str]] = {"ours theirs": "ours first", "theirs ours": "theirs first"}
METRICS: Final[Mapping[str, str]] = {
    INPUT_TOKENS: "promptcache.input.tokens",
    READ_TOKENS: "promptcache.read.tokens",
    WRITE_TOKENS: "promptcache.write.tokens",
    OUTPUT_TOKENS: "promptcache.output.tokens",
}
ADDED: Final = frozenset(row.name for row in (*STANDARD_ATTRIBUTES, *LEGACY_ATTRIBUTES))
"""Standard attributes that promptcache may add to their spans."""

LEGEND: Final = """
call, client  how the application calls (tests/support/call_shapes*.py), and the client of the SDK
order         which instrumentation was first; "either" if both orders give the same result
LLM spans     number of LLM spans of the call: with theirs alone -> with both
values on     whose span has the promptcache.* attributes
tokens        input, read, written and output tokens of promptcache, compared with the emulator
metrics       increase of our counters, compared with the emulator; theirs, compared with alone
theirs        their spans compared with theirs alone: names, status, events and all attributes that
              do not differ from run to run; standard attributes and our own may be added
app           the result of the call for the application, compared with theirs alone
they say      input/read tokens of their span when alone, and the true tokens
"""


class Row(NamedTuple):
    """The printed result of one case."""

    spans: str
    carrier: str
    tokens: str
    metrics: str
    theirs: str
    app: str
    say: str
    note: str


HEAD: Final = Row(
    "LLM spans", "values on", "tokens", "metrics", "theirs", "app", "they say (truth)", ""
)


def known_reason(other: Other, call: str) -> str:
    """Return why this call has a second span, or an empty text."""
    return next(
        (
            reason
            for pattern, reason in other.known_second_spans.items()
            if re.search(pattern, call)
        ),
        "",
    )


def compare_tokens(both: Observation) -> list[str]:
    """Return the differences between our attributes and the emulator."""
    enriched = [span for span in both.llm if OUTCOME in span.attributes]
    if len(enriched) != len(both.truth):
        return [f"{len(enriched)} spans have them, of {len(both.truth)} calls"]
    return [
        f"{name} {span.tokens.get(name)}, not {truth[name]}"
        for span, truth in zip(enriched, both.truth, strict=True)
        for name in truth
        if span.tokens.get(name, 0 if name == WRITE_TOKENS else None) != truth[name]
    ]


def compare_metrics(alone: Observation, again: Observation, both: Observation) -> list[str]:
    """Return the counters with a wrong increase. Theirs must grow as they do alone."""
    expected = {
        metric: sum(truth[name] for truth in both.truth) for name, metric in METRICS.items()
    }
    expected["promptcache.calls"] = len(both.truth)
    expected |= {
        name: value for name, value in alone.metrics.items() if again.metrics.get(name) == value
    }
    return [
        f"{name} {both.metrics.get(name, 0):g}, not {value:g}"
        for name, value in expected.items()
        if both.metrics.get(name, 0) != value
    ]


def compare_their_spans(alone: Observation, again: Observation, both: Observation) -> list[str]:
    """Return the differences of their spans from those without promptcache."""
    if len(alone.theirs) != len(both.theirs):
        return [f"{len(both.theirs)} spans, not {len(alone.theirs)}"]
    return [
        change
        for spans in zip(alone.theirs, again.theirs, both.theirs, strict=True)
        for change in compare_spans(*spans)
    ]


def compare_spans(alone: ExportedSpan, again: ExportedSpan, both: ExportedSpan) -> Iterator[str]:
    if alone.identity != both.identity:
        yield f"{alone.identity} is {both.identity}"
    for name, value in alone.attributes.items():
        if again.attributes.get(name) == value != both.attributes.get(name):
            yield f"{name} {value[:40]} is {both.attributes.get(name, 'missing')[:40]}"
    for name in both.attributes.keys() - alone.attributes.keys():
        if not name.startswith("promptcache.") and name not in ADDED:
            yield f"{name} added"


_TOKEN_ATTRIBUTES: Final = (
    ("gen_ai.usage.input_tokens", "llm.token_count.prompt", "prompt_tokens", "input_tokens"),
    (
        "gen_ai.usage.cache_read.input_tokens",
        "gen_ai.usage.cache_read_input_tokens",
        "llm.token_count.prompt_details.cache_read",
        "cache_read_input_tokens",
        "cached_tokens",
    ),
)
_JSON_ATTRIBUTES: Final = ("langfuse.observation.usage_details", "gen_ai.usage.raw")


def describe_their_tokens(alone: Observation) -> str:
    """Return the input and read tokens of their span, and the true tokens."""
    attributes: dict[str, object] = {}
    for span in alone.llm:
        attributes |= span.attributes
        for name in _JSON_ATTRIBUTES:
            attributes |= flatten(json.loads(literal_eval(span.attributes.get(name, "'{}'"))))
    theirs = [
        next((str(attributes[name]) for name in names if name in attributes), "-")
        for names in _TOKEN_ATTRIBUTES
    ]
    truth = [str(alone.truth[0][name]) for name in (INPUT_TOKENS, READ_TOKENS)]
    return f"{'/'.join(theirs)} ({'/'.join(truth)})"


def flatten(usage: Mapping[str, Any]) -> dict[str, object]:
    """Return the innermost values by their own names."""
    values: dict[str, object] = {}
    for name, value in usage.items():
        values |= (
            flatten(cast("Mapping[str, Any]", value)) if isinstance(value, dict) else {name: value}
        )
    return values


def judge_case(
    other: Other, call: str, alone: Observation, again: Observation, both: Observation
) -> tuple[Row, bool]:
    """Return the row of a case, and whether it is right."""
    reason, before, after = known_reason(other, call), len(alone.llm), len(both.llm)
    expected = before + 1 if reason else max(before, len(both.truth))
    carriers = {
        "ours" if span.ours else "theirs" for span in both.llm if OUTCOME in span.attributes
    }
    differences = (
        [] if after == expected else [f"{after} LLM spans, not {expected}"],
        compare_tokens(both),
        compare_metrics(alone, again, both),
        compare_their_spans(alone, again, both),
        []
        if both.notes == alone.notes or again.notes != alone.notes
        else [f"{both.notes}, not {alone.notes}"],
    )
    row = Row(
        spans=f"{before} -> {after}",
        carrier=" ".join(sorted(carriers)) or "nothing",
        tokens="WRONG" if differences[1] else "right",
        metrics="WRONG" if differences[2] else "right",
        theirs="CHANGED" if differences[3] else "same",
        app="CHANGED" if differences[4] else "same",
        say=describe_their_tokens(alone),
        note="; ".join([*([f"known: {reason}"] if reason else []), *chain(*differences)]),
    )
    return row, not any(differences)


def observe_cases(name: str) -> tuple[Mapping[Row, list[tuple[Case, str]]], bool]:
    """Return the cases beside one instrumentation by their row, and whether all are right."""
    other, cases_by_row = OTHERS[name], dict[Row, list[tuple[Case, str]]]()
    is_right, has_llm_span = True, False
    first = observe_in_process(name, "theirs")
    for order, order_label in ORDERS.items():
        for case, (both,) in observe_in_process(name, order).items():
            alone, again = first[case]
            row, row_is_right = judge_case(other, case[0], alone, again, both)
            cases_by_row.setdefault(row, []).append((case, order_label))
            is_right, has_llm_span = is_right and row_is_right, has_llm_span or bool(alone.llm)
    if not has_llm_span:
        print(f"{name} made no LLM span: it does not work with this SDK")
    return cases_by_row, is_right and has_llm_span


def observe_in_process(name: str, order: str) -> Mapping[Case, tuple[Observation, ...]]:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(observe, name, order).result()


def table_lines(
    calls: tuple[str, ...], cases_by_row: Mapping[Row, list[tuple[Case, str]]]
) -> Iterator[tuple[str, ...]]:
    """Yield one line for all clients and orders of a call that have the same row."""
    for call in calls:
        for row, cases in cases_by_row.items():
            clients_and_orders = [
                (client, order) for (case_call, client), order in cases if case_call == call
            ]
            clients, orders = (
                (list(dict.fromkeys(column)) for column in zip(*clients_and_orders, strict=True))
                if clients_and_orders
                else ([], [])
            )
            if clients_and_orders:
                yield call, " ".join(clients), "either" if len(orders) > 1 else orders[0], *row


def print_table(name: str, cases_by_row: Mapping[Row, list[tuple[Case, str]]]) -> None:
    other = OTHERS[name]
    lines = [("call", "client", "order", *HEAD), *table_lines(CALLS[other.sdk], cases_by_row)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    theirs = f"{other.package} {version(other.package)}"
    print(f"\n{name}: {theirs} on {other.sdk_package} {version(other.sdk_package)}")
    for line in lines:
        print(
            "  "
            + "  ".join(
                cell.ljust(width) for cell, width in zip(line, widths, strict=True)
            ).rstrip(),
            flush=True,
        )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("others", choices=OTHERS, nargs="+")
    names: list[str] = parser.parse_args().others
    started, wrong, cases, exceptions = time.monotonic(), list[str](), 0, 0
    print(LEGEND.strip(), flush=True)
    for name in names:
        cases_by_row, is_right = observe_cases(name)
        print_table(name, cases_by_row)
        cases += sum(map(len, cases_by_row.values()))
        exceptions += sum(
            len(row_cases)
            for row, row_cases in cases_by_row.items()
            if row.note.startswith("known")
        )
        problem = check_rows(name)
        wrong += [] if is_right and not problem else [name]
        print(problem, end="\n" if problem else "", flush=True)
    seconds = time.monotonic() - started
    print(f"\n{cases} cases beside {len(names)} instrumentations in {seconds:.0f} s: ", end="")
    print(
        f"wrong beside {', '.join(wrong)}"
        if wrong
        else f"all right; {exceptions} have a second span, as noted"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
