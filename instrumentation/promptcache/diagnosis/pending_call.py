"""A call between `Diagnosis.start` and `Diagnosis.finish`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, final

from promptcache.diagnosis.evidence import RelatedCall
from promptcache.diagnosis.memory import PastCall, PrefixNode
from promptcache.model import ParsedPrompt, PrefixHashes, Request
from promptcache.prefix.fingerprint import BlockDetails
from promptcache.prefix.hashing import PromptDigests
from promptcache.providers.cache_rules import CacheRule


@final
class TrackedCall(NamedTuple):
    """A running call with a hashed prompt, and the earlier calls that it relates to.

    `cache_id` identifies the cache, and `rule` tells how it behaves. `number` names the call in
    `Memory`. `new_nodes` are the blocks that no earlier call had, and
    `block_details` belong to them, by block digest. `concurrent_calls` holds
    each running call with the same beginning and the number of common blocks.
    `call_in_other_cache` is a call of the same conversation to another cache.
    """

    prompt: ParsedPrompt
    chain: PromptDigests
    cache_id: int
    rule: CacheRule
    call: PastCall
    number: int
    new_nodes: Sequence[PrefixNode]
    block_details: Mapping[int, BlockDetails]
    related_calls: Sequence[RelatedCall]
    concurrent_calls: Sequence[tuple[PastCall, int]]
    call_in_other_cache: PastCall | None


@final
@dataclass(slots=True, eq=False)
class PendingCall:
    """One call between `Diagnosis.start` and `Diagnosis.finish`.

    `prefix` and `tracked` are None if the prompt could not be parsed. Callers may replace `prefix`;
    `tracked` is for `Diagnosis` alone. `links` is for the local table alone, and None without a
    recording.
    """

    request: Request
    prefix: PrefixHashes | None = None
    tracked: TrackedCall | None = None
    links: str | None = None
