"""From a new prompt to its relatives: the earlier calls worth comparing with, found by what both have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from promptcache.diagnose.compare import Difference, Reader, compare
from promptcache.diagnose.judge import Relative
from promptcache.grain import Deep, body, deep, grain
from promptcache.memory import Memory, Node, Trace
from promptcache.model import Block
from promptcache.prefix import Chain

_RELATIVES: Final = 6
_PROBES: Final = 4
_RIVALS: Final = 32
_IMAGE_BYTES: Final = 4_000
"""What an image weighs beside text: it costs tokens by its area, not by its bytes."""


def grown(
    memory: Memory, chain: Chain, blocks: Sequence[Block], known: int, root: int
) -> tuple[list[Node], dict[int, Deep]]:
    """The nodes of the blocks behind the `known` ones, and finer fingerprints of those that ought to stay the same."""
    parent = memory.nodes.get(chain.links[known - 1]) if known else None
    link, end = (parent.link, parent.end) if parent else (root, 0)
    nodes: list[Node] = []
    fine: dict[int, Deep] = {}
    for block, own, here in zip(
        blocks[known:], chain.own[known:], chain.links[known:], strict=True
    ):
        twin = _twin(memory, own)
        text = "" if twin else body(block.data)
        prints = twin.grain if twin else grain(text)
        size = _IMAGE_BYTES if "image" in block.kind else prints.size
        end += size
        nodes.append(
            Node(here, link, own, block.section, block.index, block.kind, size, end, prints)
        )
        if block.section != "messages":
            fine[here] = (memory.deep.get(twin.link) if twin else None) or deep(
                block.data, text or body(block.data)
            )
        link = here
    return nodes, fine


def _twin(memory: Memory, own: int) -> Node | None:
    link = memory.where.get(own)
    return None if link is None else memory.nodes.get(link)


def relatives(
    memory: Memory,
    trace: Trace,
    known: int,
    new: Sequence[Node],
    fine: dict[int, Deep],
    blocks: Sequence[Block],
) -> list[Relative]:
    """The earlier calls that shared most with this one; the one that it extends in the same scope suffices alone."""
    if known:
        node = memory.nodes.get(trace.links[known - 1])
        for other in filter(None, map(memory.traces.get, node.traces if node else ())):
            if (
                node
                and other.leaf == node.link
                and other.scope is trace.scope
                and _finished(other, trace)
            ):
                return [Relative(other, Difference("extends", known), other.input, 0)]
    whole = [*filter(None, map(memory.nodes.get, trace.links[:known])), *new]
    reader = _reader(memory, dict(zip(trace.links, blocks, strict=True)), fine)
    found: list[Relative] = []
    for other in _candidates(memory, trace, whole, fine):
        path = memory.path(other)
        if path:
            difference = compare(whole, path, reader)
            found.append(
                _relative(
                    memory, trace, other, path, difference, max(whole[-1].end, 1) if whole else 1
                )
            )
    return found


def _reader(memory: Memory, places: Mapping[int, Block], fine: Mapping[int, Deep]) -> Reader:
    def data(link: int) -> object:
        return places[link].data

    def prints(link: int) -> Deep | None:
        return fine.get(link) or memory.deep.get(link)

    return Reader(data, prints)


def _finished(other: Trace, trace: Trace) -> bool:
    return other.at is not None and other.at <= trace.started


def _candidates(
    memory: Memory, trace: Trace, whole: Sequence[Node], fine: dict[int, Deep]
) -> Iterator[Trace]:
    seen: set[int] = set()
    asked: set[tuple[int, ...]] = set()
    for probes in (
        _along(memory, whole),
        _by_blocks(memory, trace, whole),
        _by_sentences(memory, fine),
    ):
        taken = 0
        for node in probes:
            if node.traces in asked:  # as most neighbours on a path
                continue
            asked.add(node.traces)
            for number, other in memory.through(node):
                if number not in seen and other.root == trace.root and _finished(other, trace):
                    seen.add(number)
                    taken += 1
                    yield other
            if taken >= _RELATIVES // 2:
                break


def _along(memory: Memory, whole: Sequence[Node]) -> Iterator[Node]:
    """The known part of the path, from its end."""
    return (node for node in reversed(whole) if node.traces)


def _by_blocks(memory: Memory, trace: Trace, whole: Sequence[Node]) -> Iterator[Node]:
    """Where the present blocks last stood: late messages first, for they lead to the latest call of a conversation."""
    messages = [node for node in whole[trace.static :] if not node.traces]
    probes = (*reversed(messages[-_PROBES - 1 :]), *messages[:1], *reversed(whole[: trace.static]))
    twins = (_twin(memory, node.own) for node in probes if not node.traces)
    return (node for node in twins if node is not None)


def _by_sentences(memory: Memory, fine: dict[int, Deep]) -> Iterator[Node]:
    """The blocks with most sentences in common with the new ones that ought to have stayed the same."""
    if not fine:
        return iter(())
    votes: Counter[int] = Counter()
    for prints in fine.values():
        votes.update(filter(None, map(memory.sketches.get, prints.sketch)))
    nodes = (memory.nodes.get(link) for link, _ in votes.most_common(_PROBES) if link not in fine)
    return (node for node in nodes if node is not None)


def _relative(
    memory: Memory,
    trace: Trace,
    other: Trace,
    path: Sequence[Node],
    difference: Difference,
    size: int,
) -> Relative:
    shared = difference.shared
    tokens = _tokens(path, other, shared)
    lost = round(difference.lost * other.input / max(path[-1].end, 1))
    found = Relative(other, difference, tokens, lost, difference.fresh / size)
    if shared and other.scope is not trace.scope:  # only a changed scope can blame the key
        keys = {key for _, one in memory.through(path[shared - 1]) for key in _keys(one)}
        found.keys = len(keys.union(_keys(trace)))
    return found


def _keys(trace: Trace) -> Iterable[int]:
    return (digest for name, digest, _ in trace.scope.params if name == "prompt_cache_key")


def _tokens(path: Sequence[Node], other: Trace, shared: int) -> int:
    """The size in tokens of the first `shared` blocks: between the nearest places where it is known, by bytes."""
    if not shared:
        return 0
    end = path[shared - 1].end
    low, high = (0, 0), (path[-1].end, other.input)
    for node in path[:-1]:
        if node.tokens is not None:
            point = (node.end, node.tokens)
            low, high = (max(low, point), high) if node.end <= end else (low, min(high, point))
    span = max(high[0] - low[0], 1)
    return low[1] + round((high[1] - low[1]) * (end - low[0]) / span)


def rivals(memory: Memory, trace: Trace) -> list[tuple[Trace, int]]:
    """Calls that are running with the same beginning, and how many blocks of it."""
    found: list[tuple[Trace, int]] = []
    for other in list(memory.pending.values())[-_RIVALS:]:
        if other is not trace and other.root == trace.root and other.started <= trace.started:
            shared = 0
            for here, there in zip(trace.links, other.links, strict=False):
                if here != there:
                    break
                shared += 1
            if shared:
                found.append((other, shared))
    return found
