"""Check that the requests of one conversation extend each other at the wire.

The diagnosis of production decides: it tells a break from a branch, a sub-agent, an auxiliary call
or a shortened history. It sees the usage of an ideal cache, so that only changed bytes count.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from hashlib import blake2b
from typing import Final, NamedTuple

from promptcache.diagnosis.diagnosis import Diagnosis
from promptcache.model import Block, ParsedPrompt, ResponseFacts, Verdict
from promptcache.prefix.fingerprint import block_text_or_json, encode_utf8_with_surrogates
from promptcache.settings import Settings
from promptcache_testing.ideal_cache import IdealCache
from promptcache_testing.json_place import key_at
from promptcache_testing.llm_request import LLMRequest

BREAKS: Final = frozenset(
    {
        "tools_changed",
        "tools_reordered",
        "serialization_nondeterminism",
        "system_changed",
        "volatile_token",
        "history_rewritten",
        "image_changed",
        "param_changed",
        "cache_key_changed",
        "per_user_key_or_prefix",
        "model_changed",
        "scope_changed",
        "batch_or_tier",
    }
)
"""The reasons of a miss that are a change of the request. No other reason fails a test."""


class TurnResult(NamedTuple):
    """How a call relates to the earlier ones.

    `changed_key` is the key of the wire in which a block of JSON changed. `is_first` is true if
    the call shares nothing with an earlier one.
    """

    verdict: Verdict
    changed_key: str | None = None
    is_first: bool = True


_REMEMBERED_TEXTS: Final = 16
_HINTS_WITHOUT_PLACE: Final = frozenset({"key_order", "form", "reordered"})


class TurnsCheck:
    """Compare each call with the earlier calls of the test.

    It keeps the text of the last blocks at each place, in memory, to name the exact byte.
    """

    def __init__(self) -> None:
        self._diagnosis = Diagnosis(Settings())
        self._cache = IdealCache()
        self._seconds = 0.0
        self._texts: dict[tuple[str, int], deque[bytes]] = {}

    def check_call(self, call: LLMRequest, facts: ResponseFacts) -> TurnResult:
        """Compare a call with the earlier ones, and remember it."""
        prompt = call.prompt
        if prompt is None:
            return TurnResult(Verdict("unreported"))
        automatic = _without_breakpoints(prompt)
        self._seconds += 1.0
        # No provider and no real model: the rules of either must not excuse a change.
        model = blake2b((call.request.model or "").encode(), digest_size=8).hexdigest()
        request = call.request._replace(provider="", model=model, started_at=self._seconds)
        usage = self._cache.read_and_write(call.request, automatic)
        pending = self._diagnosis.start(request, automatic)
        verdict = self._diagnosis.finish(
            pending,
            facts=facts,
            usage=usage,
            cost=None,
            has_failed=False,
            ended_at=self._seconds,
        )
        self._cache.keep_state(facts.id, usage)
        verdict, changed_key = self._place_exactly(verdict, prompt)
        is_first = not usage.cache_read_tokens and verdict.reason not in BREAKS
        return TurnResult(verdict, changed_key, is_first)

    def _place_exactly(self, verdict: Verdict, prompt: ParsedPrompt) -> tuple[Verdict, str | None]:
        """Return the verdict with the exact byte, and remember the texts of this prompt."""
        key = None
        for block in prompt.blocks:
            place = (block.section, block.index)
            text = encode_utf8_with_surrogates(block_text_or_json(block.data))
            earlier = self._texts.setdefault(place, deque(maxlen=_REMEMBERED_TEXTS))
            if place == (verdict.section, verdict.index) and verdict.reason in BREAKS:
                verdict, key = _with_exact_offset(verdict, block, text, earlier)
            if text not in earlier:
                earlier.append(text)
        return verdict, key


def _without_breakpoints(prompt: ParsedPrompt) -> ParsedPrompt:
    blocks = tuple(
        Block(one.section, one.index, one.kind, one.data) if one.breakpoint_ttl is not None else one
        for one in prompt.blocks
    )
    return prompt._replace(blocks=blocks, caching_mode="automatic", ttl=None, is_prewarm=False)


def _with_exact_offset(
    verdict: Verdict, block: Block, text: bytes, earlier: deque[bytes]
) -> tuple[Verdict, str | None]:
    """Return the verdict with the first byte that no earlier text at this place shares."""
    if not earlier or text in earlier or verdict.hint in _HINTS_WITHOUT_PLACE:
        return verdict, None
    offset = max(common_prefix_length(text, one) for one in earlier)
    key = None if isinstance(block.data, str) else key_at(text.decode("utf-8", "replace"), offset)
    return replace(verdict, offset=offset), key


def common_prefix_length(one: bytes, other: bytes) -> int:
    """Return the number of equal bytes at the beginning of both."""
    size = min(len(one), len(other))
    if one[:size] == other[:size]:
        return size
    low, high = 0, size
    while high - low > 1:
        middle = (low + high) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle
    return low
