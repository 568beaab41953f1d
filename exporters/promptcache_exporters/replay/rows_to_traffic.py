"""Build the traffic of a replay from the rows of calls."""

from __future__ import annotations

import json
from array import array
from collections.abc import Hashable, Iterator
from functools import lru_cache
from typing import Final, NamedTuple

from promptcache.model import SECTIONS, Request, ResponseFacts
from promptcache.prices import PriceBook
from promptcache.prices.rates import Rates
from promptcache.prices.table import PricePeriod, latest_period_in_force
from promptcache.providers.cache_rules import CacheRule, cache_rule_for
from promptcache_exporters.replay.block_positions import BlockPositions, PlacedCall
from promptcache_exporters.replay.call_rows import CacheOfCall, CallRows, PackedRow
from promptcache_exporters.replay.node_table import NO_NODE
from promptcache_exporters.replay.prefix_tree import ROOT, PrefixTree
from promptcache_exporters.replay.recorded_links import LinkTree
from promptcache_exporters.replay.traffic import (
    Breakpoint,
    CallKind,
    CallNodes,
    CallUsage,
    LayerMark,
    TokenPrices,
    Traffic,
    layer_at,
)

_STATIC_LAYERS: Final = SECTIONS.index("messages")
_DEFAULT_TTL: Final = "5m"


def build_traffic(rows: CallRows, book: PriceBook) -> Traffic:
    """Return the calls of `rows`, and count those that cannot be replayed there."""
    builder = _TrafficBuilder(rows, book)
    builder.add_calls()
    builder.place_blocks()
    return builder.traffic


class _Place(NamedTuple):
    """Where the prompt of a call is in the tree, with the numbers of its blocks."""

    end: int
    static: int
    tools_depth: int
    static_depth: int
    depth: int


class _TrafficBuilder:
    def __init__(self, rows: CallRows, book: PriceBook) -> None:
        self.traffic: Final = Traffic()
        self._rows = rows
        self._prices = _Prices(book)
        self._prefixes = _ScopedPrefixes(rows.links, self.traffic.tree)
        self._kinds: dict[Hashable, int] = {}
        self._was_added: Final = bytearray()

    def add_calls(self) -> None:
        """Add the calls, without the tokens of their blocks."""
        for row in self._rows:
            reason = self._add_call(row)
            self._was_added.append(not reason)
            if reason:
                self._rows.skipped[reason] += 1

    def _add_call(self, row: PackedRow) -> str:
        """Add a call, or return why it cannot be replayed."""
        rows, traffic = self._rows, self.traffic
        if rows.links.depth_of(row.node) != row.depth:
            return "whose earlier blocks are in rows that are missing"
        cache = rows.caches.values[row.cache]
        prices = self._prices.find(cache, row.started_at, row.input_tokens)
        if prices is None:
            return "without a price"
        rule = cache_rule_for(cache.provider, cache.model)
        place = self._prefixes.place(row.node, row.cache, rows.params.values[row.params])
        try:
            breakpoints = _find_breakpoints(
                rows.breakpoints.values[row.breakpoints], row, rule, place
            )
        except (ValueError, LookupError, TypeError):  # another program may have written the row
            return "with values that no call has"
        # A conversation is known by its first message, if the application names none.
        name = rows.conversations.values[row.conversation]
        traffic.add_times(
            row.started_at, row.visible_at, name or self._prefixes.first_messages[place.end]
        )
        traffic.add_family(row.cache, rows.families.values[row.family])
        traffic.add_miss(rows.misses.values[row.miss], row.missed_tokens)
        marks = [self._prefixes.prefix_at(place, mark.depth) for mark in breakpoints]
        traffic.add_nodes(
            self._number_of_kind(row, prices, place, breakpoints),
            CallNodes(place.end, place.static, place.tools_depth, marks),
        )
        writes = _write_tokens(row, rule)
        usage = CallUsage(row.input_tokens, row.output_tokens, row.read_tokens, writes)
        traffic.add_usage(usage, prices)
        return ""

    def _number_of_kind(
        self,
        row: PackedRow,
        prices: TokenPrices,
        place: _Place,
        breakpoints: tuple[Breakpoint, ...],
    ) -> int:
        depth = min(place.depth, place.static_depth + 1)  # the layer of all deeper ends is equal
        layers = _find_layers(breakpoints, place.tools_depth, place.static_depth, depth)
        key = (row.cache, id(prices), layers)
        if key not in self._kinds:
            cache = self._rows.caches.values[row.cache]
            rule = cache_rule_for(cache.provider, cache.model)
            kind = CallKind(cache.provider, rule, prices, *layers)
            self._kinds[key] = self.traffic.number_of_kind(kind)
        return self._kinds[key]

    def place_blocks(self) -> None:
        """Find the tokens of all prefixes."""
        traffic, positions = self.traffic, BlockPositions(self.traffic.tree)
        for number, row in enumerate(self._added_rows()):
            kind, nodes = traffic.kinds[traffic.kind[number]], traffic.nodes_of(number)
            positions.learn(
                PlacedCall(
                    row.started_at,
                    row.visible_at,
                    kind.rule,
                    nodes.end,
                    nodes.marks,
                    [mark.ttl for mark in kind.marks],
                    row.input_tokens,
                    row.read_tokens,
                    _write_tokens(row, kind.rule),
                )
            )
        for of_call, end in zip(traffic.kind, traffic.end_nodes, strict=True):
            positions.place_blocks(end, traffic.kinds[of_call].rule)

    def _added_rows(self) -> Iterator[PackedRow]:
        for row, was_added in zip(self._rows, self._was_added, strict=True):
            if was_added:
                yield row


class _ScopedPrefixes:
    """The prefixes of the tree of links, once for each cache and parameters under which they are.

    Most have one alone, so it stands in columns beside the tree of links.
    """

    def __init__(self, links: LinkTree, tree: PrefixTree) -> None:
        self.first_messages: Final = array("i", [ROOT])
        """The prefix that ends with the first message; a prompt without messages itself."""
        self._links, self._tree = links, tree
        self._first_scope = array("i", [-1]) * len(links)
        self._first_node = array("i", [NO_NODE]) * len(links)
        self._others: dict[tuple[int, int], int] = {}
        self._scopes: dict[tuple[int, str], int] = {}
        self._scopes_by_params: dict[tuple[int, tuple[str, ...]], list[int]] = {}
        self._static_nodes = array("i", [ROOT])
        self._tools_depths: dict[int, int] = {ROOT: 0}

    def place(self, link_node: int, cache: int, params: tuple[str, ...]) -> _Place:
        """Return the place of a prompt in the tree, and add its prefixes."""
        scopes = self._scopes_of_sections(cache, params)
        path, found = list[int](), ROOT
        while link_node:
            found = self._find(scopes[self._links.layers[link_node]], link_node)
            if found != NO_NODE:
                break
            path.append(link_node)
            link_node = self._links.parents[link_node]
        found = max(found, ROOT)
        for one in reversed(path):
            found = self._add(scopes[self._links.layers[one]], one, found)
        static, depths = self._static_nodes[found], self._tree.depths
        return _Place(found, static, self._tools_depths[static], depths[static], depths[found])

    def prefix_at(self, place: _Place, depth: int) -> int:
        """Return the first blocks of a prompt."""
        end = place.static if depth <= place.static_depth else place.end
        return self._tree.ancestor_at(end, depth)

    def _scopes_of_sections(self, cache: int, params: tuple[str, ...]) -> list[int]:
        found = self._scopes_by_params.get((cache, params))
        if found is None:
            keys = [(cache, of_section) for of_section in params]
            found = [self._scopes.setdefault(key, len(self._scopes)) for key in keys]
            self._scopes_by_params[cache, params] = found
        return found

    def _find(self, scope: int, link_node: int) -> int:
        if self._first_scope[link_node] == scope:
            return self._first_node[link_node]
        return self._others.get((scope, link_node), NO_NODE) if self._others else NO_NODE

    def _add(self, scope: int, link_node: int, parent: int) -> int:
        node = self._tree.add_block(parent, 0, self._links.sizes[link_node])
        layer = self._links.layers[link_node]
        if layer < _STATIC_LAYERS:
            tools_depth = self._tools_depths[self._static_nodes[parent]]
            self._tools_depths[node] = tools_depth + (layer == 0)
            self._static_nodes.append(node)
        else:
            self._static_nodes.append(self._static_nodes[parent])
        is_first = self._static_nodes[parent] == parent or layer < _STATIC_LAYERS
        self.first_messages.append(node if is_first else self.first_messages[parent])
        if self._first_scope[link_node] < 0:
            self._first_scope[link_node], self._first_node[link_node] = scope, node
        else:
            self._others[scope, link_node] = node
        return node


class _Prices:
    """List prices, of which equal ones are one object."""

    def __init__(self, book: PriceBook) -> None:
        self._book = book
        self._periods: dict[CacheOfCall, tuple[PricePeriod, ...]] = {}
        self._by_rates: dict[int, TokenPrices | None] = {}

    def find(self, cache: CacheOfCall, at: float, input_tokens: int) -> TokenPrices | None:
        """Return the prices of the call's own day and context band; None if one is not known."""
        periods = self._periods.get(cache)
        if periods is None:
            periods = _find_periods(self._book, cache.provider, cache.model)
            self._periods[cache] = periods
        period = latest_period_in_force(periods, at)
        if period is None:
            return None
        rates = period.rates_for_input(input_tokens)
        if id(rates) not in self._by_rates:
            self._by_rates[id(rates)] = _token_prices(rates)
        return self._by_rates[id(rates)]


def find_token_prices(
    book: PriceBook, provider: str, model: str, at: float, input_tokens: int
) -> TokenPrices | None:
    """Return the list prices per token at a time (epoch seconds), None if one is not known."""
    period = latest_period_in_force(_find_periods(book, provider, model), at)
    return None if period is None else _token_prices(period.rates_for_input(input_tokens))


def _find_periods(book: PriceBook, provider: str, model: str) -> tuple[PricePeriod, ...]:
    request = Request("", provider, "chat", model, None, None, False, {}, b"", 0.0)
    return book.find_plan(request, ResponseFacts(model=model)).periods


def _token_prices(rates: Rates) -> TokenPrices | None:
    if rates.input_price is None or rates.output_price is None:
        return None
    read = rates.cache_read_price
    return TokenPrices(
        rates.input_price,
        rates.input_price if read is None else read,
        rates.cache_write_prices,
        rates.output_price,
    )


def _find_breakpoints(
    text: str, row: PackedRow, rule: CacheRule, place: _Place
) -> tuple[Breakpoint, ...]:
    found = _parse_breakpoints(text, place.tools_depth, place.static_depth, rule.max_breakpoints)
    if rule.bills_writes and not found and (row.write_tokens or row.read_tokens):
        return (Breakpoint(place.depth, _ttl_of_writes(row)),)
    return found


@lru_cache(maxsize=4096)
def _parse_breakpoints(
    text: str, tools_depth: int, static_depth: int, most: int
) -> tuple[Breakpoint, ...]:
    """Return the breakpoints of `["system[0] 1h", "messages[3]"]`, by depth."""
    starts = {"tools": 0, "system": tools_depth, "messages": static_depth}
    found: list[Breakpoint] = []
    for mark in json.loads(text):
        place, _, ttl = str(mark).partition(" ")
        section, _, index = place.rstrip("]").partition("[")
        found.append(Breakpoint(starts[section] + int(index) + 1, ttl or _DEFAULT_TTL))
    return tuple(sorted(found)[-most:])


@lru_cache(maxsize=4096)
def _find_layers(
    breakpoints: tuple[Breakpoint, ...], tools_depth: int, static_depth: int, depth: int
) -> tuple[tuple[LayerMark, ...], str, str]:
    """Return the layers of the breakpoints, of the static end and of the end of a prompt."""

    def layer_of(place: int) -> str:
        return layer_at(place, tools_depth, static_depth)

    marks = tuple([LayerMark(layer_of(it.depth), it.ttl) for it in breakpoints])
    return marks, layer_of(static_depth) if static_depth else "", layer_of(depth)


def _ttl_of_writes(row: PackedRow) -> str:
    return next(iter(_tokens_by_ttl(row)), _DEFAULT_TTL)


def _tokens_by_ttl(row: PackedRow) -> dict[str, int]:
    """Return the writes whose TTL is told, the longest TTL first."""
    found: dict[str, int] = {}
    if row.write_1h_tokens:
        found["1h"] = row.write_1h_tokens
    if row.write_30m_tokens:
        found["30m"] = row.write_30m_tokens
    if row.write_5m_tokens:
        found["5m"] = row.write_5m_tokens
    return found


def _write_tokens(row: PackedRow, rule: CacheRule) -> dict[str, int]:
    known = _tokens_by_ttl(row)
    if known or not row.write_tokens or not rule.bills_writes:
        return known
    return {_DEFAULT_TTL: row.write_tokens}
