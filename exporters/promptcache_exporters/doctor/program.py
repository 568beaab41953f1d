"""Check a program that ran below the doctor: did its calls reach the table?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from promptcache_exporters.database.errors import CallsFileReadError
from promptcache_exporters.database.sampling import sample_ratio_from_sampler_description
from promptcache_exporters.database.sqlite_file import open_sqlite_read_only
from promptcache_exporters.doctor.finding import Finding, fault, ok, warning
from promptcache_exporters.report.sql import STREAMS_WITHOUT_USAGE_QUERY
from promptcache_exporters.report.stream_usage import stream_usage_advice

_OBSERVED = "observed"
_UNKNOWN = "unknown"


def check_program(facts: Sequence[Mapping[str, Any]], database: Path) -> Iterator[Finding]:
    """Yield what there is to say about a program, from its processes' facts and its rows."""
    if not facts:
        yield fault(
            "not-reached",
            "no Python process of the program loaded promptcache",
            "start it with a Python in whose environment promptcache is installed, and without"
            " the options -I, -E and -S of Python",
        )
        return
    if not any(one["has_sdk"] for one in facts):
        yield fault(
            "no-opentelemetry-sdk",
            f"the environment of {facts[0]['python']} has no opentelemetry-sdk",
            'pip install "promptcache[run]" there',
        )
        return
    if not all(one["is_at_end"] for one in facts):
        yield warning(
            "ended-abruptly",
            "a process of the program ended without its exit functions: the calls of its last"
            " half second are lost, and nothing is known of the rest",
            "let it end in order: SIGKILL and os._exit leave no time to write",
        )
        return
    yield from _check_sdks(facts)
    yield from _check_providers(facts)
    yield from _check_calls(facts, *_read_table(database))


def _check_sdks(facts: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    states = {(name, state) for one in facts for name, state in one["sdks"].items()}
    observed = sorted(name for name, state in states if state == _OBSERVED)
    unknown = sorted(name for name, state in states if state == _UNKNOWN)
    if observed:
        yield ok("sdks", f"observed: {', '.join(observed)}")
    for name in unknown:
        yield fault(
            "sdk-unpatched",
            f"{name} was imported, but this release of it is not known: its calls are not seen",
            "pip install --upgrade promptcache, or install an older release of it",
        )
    if not observed and not unknown:
        yield fault(
            "no-sdk-imported",
            "the program imported none of the supported SDKs",
            "calls over plain HTTP, or over an SDK that is not in the README's list, are not seen",
        )


def _check_calls(
    facts: Sequence[Mapping[str, Any]], rows: int, streams_without_usage: int
) -> Iterator[Finding]:
    calls = sum(one["observed_calls"] for one in facts)
    suppressed = sum(one["suppressed_calls"] for one in facts)
    if suppressed:
        yield fault(
            "calls-suppressed",
            f"{suppressed} calls ran where telemetry is suppressed",
            "look for suppress_instrumentation() around the calls, in your code or a framework's",
        )
    if streams_without_usage:
        yield warning(
            "streams-without-usage",
            f"{streams_without_usage} streams asked for no usage: they have no tokens and no cost",
            stream_usage_advice(),
        )
    if rows < calls:
        yield fault(
            "rows-missing",
            f"{calls} calls were seen, but the table has {rows} of them",
            "a sampler, or a table that cannot be written, loses rows: see above, and the log",
        )
    elif calls:
        yield ok("program", f"{calls} calls were seen, and all of them are in the table")
    elif not suppressed and any(_OBSERVED in one["sdks"].values() for one in facts):
        yield fault("no-calls", "the program made no call that was seen", "let it make a call")


def _check_providers(facts: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    for one in facts:
        if not one["takes_processors"] and not one["provider"].startswith("opentelemetry.trace."):
            yield warning(
                "foreign-provider",
                f"the tracer provider {one['provider']} takes no span processor, so that spans"
                " of other instrumentations are not recorded",
                "use a tracer provider of opentelemetry-sdk",
            )
        if one["sampler"] and sample_ratio_from_sampler_description(one["sampler"]) != 1.0:
            yield warning(
                "sampled",
                f"the program's sampler ({one['sampler']}) drops spans, and the rows with them",
                "record with a sampler that keeps all spans",
            )


def _read_table(path: Path) -> tuple[int, int]:
    try:
        with open_sqlite_read_only(path) as connection:
            (rows,) = connection.execute("SELECT count(*) FROM calls").fetchone()
            streams = STREAMS_WITHOUT_USAGE_QUERY.fetch_one(connection, 0.0).calls
    except CallsFileReadError:
        return 0, 0
    return rows, streams
