"""Read from the local table how long prompts wait for their next use."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple, final

from promptcache_exporters.database.query import Query
from promptcache_exporters.database.sqlite_file import open_sqlite_read_only


@final
class RecordedGaps(NamedTuple):
    """The traffic of one prompt. Gaps are in seconds, from start to start.

    `gaps` are between two calls that could share a cache, `turn_gaps` between two turns of a
    conversation; a conversation that ended adds an infinite one. `is_named` tells whether the calls
    carry the prompt's name; otherwise they are all calls of the model. `without_conversation`
    counts the calls of which the conversation is not known. `is_sampled` is true if calls may be
    missing.
    """

    call_count: int
    gaps: Sequence[float]
    turn_gaps: Sequence[float]
    calls_per_hour: float
    is_named: bool
    without_conversation: int
    is_sampled: bool


class CallOfPrompt(NamedTuple):
    """The columns that the gaps need."""

    time: float
    prompt_name: str | None
    conversation_id: str | None
    scope_hash: str | None
    server_address: str | None
    prefix_chain: str | None
    prefix_chain_start: int | None
    prefix_section_counts: str | None
    sample_ratio: float | None


_CALLS_QUERY: Final = Query(
    CallOfPrompt,
    """
SELECT time, prompt_name, conversation_id, scope_hash, server_address, prefix_chain,
    prefix_chain_start, prefix_section_counts, sample_ratio
FROM calls
WHERE +time >= ? AND batch = 0 AND input_tokens > 0
    AND (response_model = ? OR request_model = ?)
ORDER BY time, id""",
)
_ENDED: Final = float("inf")


def load_recorded_gaps(
    path: Path, prompt_name: str, model: str, since: float, longest_ttl: float
) -> RecordedGaps:
    """Return the gaps of the calls of a prompt since then (epoch seconds).

    A conversation that was idle for `longest_ttl` seconds before the last recorded call has ended.
    The next use of a later one may still come, so it is not counted. Raise CallsFileReadError if
    the file cannot be read.
    """
    with open_sqlite_read_only(path) as connection:
        rows = _CALLS_QUERY.fetch_all(connection, since, model, model)
    end = rows[-1].time if rows else 0.0
    named = [row for row in rows if row.prompt_name == prompt_name]
    chosen = named or rows
    conversations = _group_by_conversation(chosen)
    span = chosen[-1].time - chosen[0].time if chosen else 0.0
    return RecordedGaps(
        len(chosen),
        _gaps_in_groups(_group_by_cache(chosen)),
        [
            *_gaps_in_groups(conversations),
            *(_ENDED for times in conversations if end - times[-1] > longest_ttl),
        ],
        (len(chosen) - 1) * 3600 / span if span > 0 else 0.0,
        bool(named),
        len(chosen) - sum(map(len, conversations)),
        any((row.sample_ratio or 0.0) != 1.0 for row in chosen),
    )


def _gaps_in_groups(groups: Iterable[Sequence[float]]) -> list[float]:
    return [later - earlier for times in groups for earlier, later in pairwise(times)]


def _group_by_cache(rows: Sequence[CallOfPrompt]) -> list[list[float]]:
    times: dict[tuple[str | None, ...], list[float]] = defaultdict(list)
    for row in rows:
        times[row.scope_hash, row.server_address].append(row.time)
    return [*times.values()]


def _group_by_conversation(rows: Sequence[CallOfPrompt]) -> list[list[float]]:
    times: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        if name := row.conversation_id or _first_message(row):
            times[name].append(row.time)
    return [*times.values()]


def _first_message(row: CallOfPrompt) -> str | None:
    """Return the hash of the prefix that ends with the first message, None if it is not recorded.

    A chat keeps it, and another conversation has another one.
    """
    try:
        links: list[str] = json.loads(row.prefix_chain or "[]")
        counts: list[int | None] = json.loads(row.prefix_section_counts or "[]")
        depth = (counts[0] or 0) + (counts[1] or 0)
        return None if row.prefix_chain_start else links[depth]
    except (ValueError, LookupError, TypeError):  # another program may have written the row
        return None
