"""Take a break out of recorded traffic: what if the block that changes had stayed the same.

A break is named by its reason (`volatile_token`), by its place (`system[0]`) or by the line of the
application that made the call (`app.py:41`). In each family that broke so, the block at the place
of the break counts as the same in all calls. The blocks behind it are told apart by their sections
and sizes alone, since their links cover the changed block too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable
from dataclasses import replace
from typing import Final, NamedTuple

from promptcache_exporters.replay.traffic import RecordedCall, RecordedMiss, Traffic

_UNCHANGED: Final = "~"


class NamedBreak(NamedTuple):
    """A break of the record: where, why, in which line, and how many tokens it missed."""

    place: str
    reason: str
    call_site: str
    missed_tokens: int


def list_breaks(calls: Iterable[RecordedCall]) -> list[NamedBreak]:
    """Return the breaks of the record, the one that missed most tokens first."""
    missed: defaultdict[tuple[str, str, str], int] = defaultdict(int)
    for call in calls:
        if call.miss is not None and call.miss.place:
            key = (call.miss.place, call.miss.reason, call.miss.call_site)
            missed[key] += call.miss.tokens
    found = [NamedBreak(*key, tokens) for key, tokens in missed.items() if tokens]
    return sorted(found, key=lambda one: (-one.missed_tokens, one))


def remove_break(traffic: Traffic, name: str) -> Traffic:
    """Return the traffic as if the blocks of the named break had stayed the same.

    Raises ValueError if no call of the record has this break.
    """
    places: defaultdict[Hashable, set[tuple[str, int]]] = defaultdict(set)
    for call in traffic.calls:
        if call.miss is not None and call.miss.section and _is_named(call.miss, name):
            places[_family_of(call)].add((call.miss.section, call.miss.block_index))
    if not places:
        raise ValueError(f"no call of the record broke at, because of or in {name!r}")
    return Traffic(_keep_blocks(call, places.get(_family_of(call), ())) for call in traffic.calls)


def _is_named(miss: RecordedMiss, name: str) -> bool:
    site = miss.call_site
    return name in (miss.reason, miss.place, site) or site.endswith(f"/{name}")


def _family_of(call: RecordedCall) -> Hashable:
    return call.cache, call.family


def _keep_blocks(call: RecordedCall, places: Iterable[tuple[str, int]]) -> RecordedCall:
    """Return the call with links that do not depend on the blocks at `places`."""
    depths = sorted(call.depth_of_block(section, index) for section, index in places)
    depths = [depth for depth in depths if depth <= len(call.links)]
    if not depths:
        return call
    links: list[Hashable] = list(call.links[: depths[0] - 1])
    previous: Hashable = links[-1] if links else ""
    for depth in range(depths[0], len(call.links) + 1):
        is_kept = depth in depths
        block = _UNCHANGED if is_kept else (call.layer_at(depth), call.sizes[depth - 1])
        # A hash, since a chain of nested tuples would take longer with each block.
        previous = (_UNCHANGED, hash((previous, block)))
        links.append(previous)
    return replace(call, links=tuple(links))
