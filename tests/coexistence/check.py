"""Beside another LLM instrumentation: one LLM span a call, ours where theirs is missing, theirs
left untouched.

    python -m tests.coexistence.check [OTHER ...]

Runs in an environment where the others are installed (`make coexistence` makes them). Each call is
made with theirs alone, and with both in either order of instrumentation. Prints a table, and exits
with 1 where anything is wrong.
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
from tests.coexistence.others import OTHERS, Other
from tests.coexistence.seen import CALLS, Case, Seen, Written, observe

ORDERS: Final[Mapping[str, str]] = {"ours theirs": "ours first", "theirs ours": "theirs first"}
METRICS: Final[Mapping[str, str]] = {
    INPUT_TOKENS: "promptcache.input.tokens",
    READ_TOKENS: "promptcache.read.tokens",
    WRITE_TOKENS: "promptcache.write.tokens",
    OUTPUT_TOKENS: "promptcache.output.tokens",
}
ADDED: Final = frozenset(row.name for row in (*STANDARD_ATTRIBUTES, *LEGACY_ATTRIBUTES))
"""Standard names that we may add to a span of theirs which lacks them."""

LEGEND: Final = """
call, client  how the application calls (tests/calls*.py), and with which of the SDK's clients
order         which instrumentation was switched on first; "either" where both orders show the same
LLM spans     how many spans stand for the one call: with theirs alone -> with both
values on     whose span carries our promptcache.* attributes
tokens        our input, read, written and output tokens on it, against the ledger of the emulator
metrics       what our counters grew by, against that ledger, and theirs, against theirs alone
theirs        their spans against those with theirs alone: names, status, events, all attributes that do not differ
              from run to run anyway; standard attributes that they lack, and our own, may have been added
app           what the application sees of its call, against theirs alone
they say      input/read tokens as their span has them when alone, and what they truly were
"""


class Row(NamedTuple):
    """What one case shows, as it is printed."""

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


def known(other: Other, call: str) -> str:
    """Why this call cannot have one span, if it cannot."""
    return next((why for pattern, why in other.known.items() if re.search(pattern, call)), "")


def tokens(both: Seen) -> list[str]:
    """Where our attributes are not as the ledger has it."""
    marked = [span for span in both.llm if OUTCOME in span.attributes]
    if len(marked) != len(both.truth):
        return [f"{len(marked)} spans carry them, of {len(both.truth)} calls"]
    return [
        f"{name} {span.tokens.get(name)}, not {truth[name]}"
        for span, truth in zip(marked, both.truth, strict=True)
        for name in truth
        if span.tokens.get(name, 0 if name == WRITE_TOKENS else None) != truth[name]
    ]


def metrics(alone: Seen, again: Seen, both: Seen) -> list[str]:
    """Which counters grew by something else than they should: ours by what is true, theirs by what
    they do alone."""
    should = {metric: sum(truth[name] for truth in both.truth) for name, metric in METRICS.items()}
    should["promptcache.calls"] = len(both.truth)
    should |= {
        name: value for name, value in alone.metrics.items() if again.metrics.get(name) == value
    }
    return [
        f"{name} {both.metrics.get(name, 0):g}, not {value:g}"
        for name, value in should.items()
        if both.metrics.get(name, 0) != value
    ]


def theirs(alone: Seen, again: Seen, both: Seen) -> list[str]:
    """What of their spans is not as it is without us."""
    if len(alone.theirs) != len(both.theirs):
        return [f"{len(both.theirs)} spans, not {len(alone.theirs)}"]
    return [
        change
        for three in zip(alone.theirs, again.theirs, both.theirs, strict=True)
        for change in changes(*three)
    ]


def changes(alone: Written, again: Written, both: Written) -> Iterator[str]:
    if alone.said != both.said:
        yield f"{alone.said} is {both.said}"
    for name, value in alone.attributes.items():
        if again.attributes.get(name) == value != both.attributes.get(name):
            yield f"{name} {value[:40]} is {both.attributes.get(name, 'missing')[:40]}"
    for name in both.attributes.keys() - alone.attributes.keys():
        if not name.startswith("promptcache.") and name not in ADDED:
            yield f"{name} added"


_SAY: Final = (
    ("gen_ai.usage.input_tokens", "llm.token_count.prompt", "prompt_tokens", "input_tokens"),
    (
        "gen_ai.usage.cache_read.input_tokens",
        "gen_ai.usage.cache_read_input_tokens",
        "llm.token_count.prompt_details.cache_read",
        "cache_read_input_tokens",
        "cached_tokens",
    ),
)
_IN_JSON: Final = ("langfuse.observation.usage_details", "gen_ai.usage.raw")


def say(alone: Seen) -> str:
    """Input and read tokens as theirs has them, and as they were."""
    said: dict[str, object] = {}
    for span in alone.llm:
        said |= span.attributes
        for name in _IN_JSON:
            said |= flat(json.loads(literal_eval(span.attributes.get(name, "'{}'"))))
    shown = [next((str(said[name]) for name in names if name in said), "-") for names in _SAY]
    truth = [str(alone.truth[0][name]) for name in (INPUT_TOKENS, READ_TOKENS)]
    return f"{'/'.join(shown)} ({'/'.join(truth)})"


def flat(usage: Mapping[str, Any]) -> dict[str, object]:
    """The innermost values, by their own names."""
    found: dict[str, object] = {}
    for name, value in usage.items():
        found |= (
            flat(cast("Mapping[str, Any]", value)) if isinstance(value, dict) else {name: value}
        )
    return found


def judged(other: Other, call: str, alone: Seen, again: Seen, both: Seen) -> tuple[Row, bool]:
    """What the case shows, and whether all of it is as it should be."""
    why, before, after = known(other, call), len(alone.llm), len(both.llm)
    wanted = before + 1 if why else max(before, len(both.truth))
    carriers = {
        "ours" if span.ours else "theirs" for span in both.llm if OUTCOME in span.attributes
    }
    found = (
        [] if after == wanted else [f"{after} LLM spans, not {wanted}"],
        tokens(both),
        metrics(alone, again, both),
        theirs(alone, again, both),
        []
        if both.notes == alone.notes or again.notes != alone.notes
        else [f"{both.notes}, not {alone.notes}"],
    )
    row = Row(
        spans=f"{before} -> {after}",
        carrier=" ".join(sorted(carriers)) or "nothing",
        tokens="WRONG" if found[1] else "right",
        metrics="WRONG" if found[2] else "right",
        theirs="CHANGED" if found[3] else "same",
        app="CHANGED" if found[4] else "same",
        say=say(alone),
        note="; ".join([*([f"known: {why}"] if why else []), *chain(*found)]),
    )
    return row, not any(found)


def rows(name: str) -> tuple[Mapping[Row, list[tuple[Case, str]]], bool]:
    """What the cases beside one other instrumentation show, alike ones together, and whether all is
    well."""
    other, shown, fine, there = OTHERS[name], dict[Row, list[tuple[Case, str]]](), True, False
    first = apart(name, "theirs")
    for order, said in ORDERS.items():
        for case, (both,) in apart(name, order).items():
            alone, again = first[case]
            row, right = judged(other, case[0], alone, again, both)
            shown.setdefault(row, []).append((case, said))
            fine, there = fine and right, there or bool(alone.llm)
    if not there:
        print(f"{name} made no LLM span at all: it does not work with this SDK")
    return shown, fine and there


def apart(name: str, order: str) -> Mapping[Case, tuple[Seen, ...]]:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(observe, name, order).result()


def lines(
    calls: tuple[str, ...], shown: Mapping[Row, list[tuple[Case, str]]]
) -> Iterator[tuple[str, ...]]:
    """The rows of the table: one for all clients and orders of a call that show the same."""
    for call in calls:
        for row, cases in shown.items():
            mine = [(client, order) for (made, client), order in cases if made == call]
            clients, orders = (
                (list(dict.fromkeys(column)) for column in zip(*mine, strict=True))
                if mine
                else ([], [])
            )
            if mine:
                yield call, " ".join(clients), "either" if len(orders) > 1 else orders[0], *row


def table(name: str, shown: Mapping[Row, list[tuple[Case, str]]]) -> None:
    other = OTHERS[name]
    told = [("call", "client", "order", *HEAD), *lines(CALLS[other.sdk], shown)]
    widths = [max(map(len, column)) for column in zip(*told, strict=True)]
    print(
        f"\n{name}: {other.package} {version(other.package)} on {other.sdk_package} {version(other.sdk_package)}"
    )
    for line in told:
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
        shown, fine = rows(name)
        table(name, shown)
        cases += sum(map(len, shown.values()))
        exceptions += sum(
            len(found) for row, found in shown.items() if row.note.startswith("known")
        )
        wrong += [] if fine else [name]
    print(
        f"\n{cases} cases beside {len(names)} instrumentations in {time.monotonic() - started:.0f} s: ",
        end="",
    )
    print(
        f"wrong beside {', '.join(wrong)}"
        if wrong
        else f"all right; {exceptions} have a second span, as noted"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
