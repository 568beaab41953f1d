"""Find what differs between the static prefixes of a test in two processes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from promptcache.diagnosis.volatile_values import name_value
from promptcache.model import Verdict
from promptcache.prefix.fingerprint import encode_utf8_with_surrogates
from promptcache_testing.json_place import key_at
from promptcache_testing.second_run.static_prefix import (
    BlockDigest,
    PrefixDigester,
    StaticPrefix,
    TextDigests,
)

_MIN_COMMON_SHARE: Final = 0.5
"""Two prefixes are versions of one if so much of the larger one is common, as in the diagnosis."""
_CONTEXT: Final = 120


@dataclass(frozen=True, slots=True)
class PrefixDifference:
    """One place at which the second process sent other bytes. `key` is a key of the wire."""

    prefix: StaticPrefix
    verdict: Verdict
    key: str | None = None

    @property
    def volatile_bytes(self) -> int:
        """How many bytes of tools and system come behind this place, and lose the cache."""
        place = (self.verdict.section, self.verdict.index)
        blocks = self.prefix.blocks
        found = [number for number, one in enumerate(blocks) if (one.section, one.index) == place]
        first = found[0] if found else 0
        return sum(one.size for one in blocks[first:]) - (self.verdict.offset or 0)


@dataclass(frozen=True, slots=True)
class PrefixComparison:
    """What differs. `unmatched_calls` are the first calls of prefixes that only one side has."""

    differences: tuple[PrefixDifference, ...]
    unmatched_calls: tuple[int, ...]


class PrefixComparer:
    """Compare the prefixes of this process with those of the other one."""

    def __init__(self, digester: PrefixDigester, other_texts: Mapping[str, TextDigests]) -> None:
        self._digester, self._others = digester, other_texts
        self._here: dict[str, TextDigests] = {}

    def compare(
        self, here: Sequence[StaticPrefix], there: Sequence[StaticPrefix]
    ) -> PrefixComparison:
        """Compare all prefixes of one test. Their order and number do not matter."""
        known = {one.identity for one in here}
        candidates = [one for one in there if one.identity not in known]
        known = {one.identity for one in there}
        differences: list[PrefixDifference] = []
        unmatched: list[int] = []
        for prefix in here:
            if prefix.identity in known:
                continue
            other = self._most_similar(prefix, candidates)
            if other is None:
                unmatched.append(prefix.call)
            else:
                differences += self._differences(prefix, other)
        return PrefixComparison(tuple(differences), tuple(unmatched))

    # Which prefix of the other process is the same one

    def _most_similar(
        self, prefix: StaticPrefix, candidates: Sequence[StaticPrefix]
    ) -> StaticPrefix | None:
        shares = [self._common_share(prefix, one) for one in candidates]
        best = max(shares, default=0.0)
        return candidates[shares.index(best)] if best >= _MIN_COMMON_SHARE else None

    def _common_share(self, prefix: StaticPrefix, other: StaticPrefix) -> float:
        """Return which part (0 to 1) of the larger prefix both have."""
        digests = {one.digest for one in other.blocks} | {one.sorted_digest for one in other.blocks}
        at_place = {(one.section, one.index): one for one in other.blocks}
        common = 0.0
        for block in prefix.blocks:
            if block.digest in digests or block.sorted_digest in digests:
                common += block.size
            elif (there := at_place.get((block.section, block.index))) is not None:
                common += min(block.size, there.size) * self._share_of_words(block, there)
        larger = max(sum(one.size for one in side.blocks) for side in (prefix, other))
        return common / larger if larger else float(prefix.model == other.model)

    def _share_of_words(self, block: BlockDigest, other: BlockDigest) -> float:
        there = self._others.get(other.digest)
        if there is None:
            return 0.0
        if block.digest not in self._here:
            text = self._digester.texts[block.digest]
            self._here[block.digest] = self._digester.digest_text(text)
        here, words = set(self._here[block.digest].words), set(there.words)
        return len(here & words) / max(len(here), len(words), 1)

    # What differs

    def _differences(self, prefix: StaticPrefix, other: StaticPrefix) -> Iterator[PrefixDifference]:
        if prefix.model != other.model:
            yield PrefixDifference(prefix, Verdict("miss", "model_changed", hint="model"))
        for name in sorted({name for name, _ in {*prefix.params} ^ {*other.params}}):
            yield PrefixDifference(prefix, Verdict("miss", "param_changed", hint=name))
        for section in ("tools", "system"):
            here, there = (
                [one for one in side.blocks if one.section == section] for side in (prefix, other)
            )
            for verdict, key in self._compare_section(section, here, there):
                yield PrefixDifference(prefix, verdict, key)

    def _compare_section(
        self, section: str, here: Sequence[BlockDigest], there: Sequence[BlockDigest]
    ) -> list[tuple[Verdict, str | None]]:
        first = _first_difference(here, there, _digest_of)
        if first is None:
            return []
        if _count(here, _digest_of) == _count(there, _digest_of):
            reason = "tools_reordered" if section == "tools" else "system_changed"
            return [(Verdict("miss", reason, section, first, hint="reordered"), None)]
        if _count(here, _sorted_digest_of) == _count(there, _sorted_digest_of):
            reason = "serialization_nondeterminism"
            return [(Verdict("miss", reason, section, first, hint="key_order"), None)]
        if len(here) != len(there):
            hint = "added" if len(here) > len(there) else "removed"
            return [(Verdict("miss", f"{section}_changed", section, first, hint=hint), None)]
        pairs = zip(here, there, strict=True)
        return [self._place(one, other) for one, other in pairs if one.digest != other.digest]

    def _place(self, block: BlockDigest, other: BlockDigest) -> tuple[Verdict, str | None]:
        """Return the exact byte at which a block differs, and what kind of value is there."""
        verdict = Verdict("miss", "volatile_token", block.section, block.index)
        there = self._others.get(other.digest)
        if there is None:
            return verdict, None
        text = self._digester.texts[block.digest]
        verdict.offset = self._digester.common_size(text, there)
        raw = encode_utf8_with_surrogates(text)
        character = len(raw[: verdict.offset].decode("utf-8", "ignore"))
        verdict.hint = name_value_at(text, character)
        return verdict, key_at(text, character) if text[:1] == "{" else None


def name_value_at(text: str, place: int) -> str | None:
    """Return the kind of value (`date`, `uuid`, ...) that has the character `place`."""
    start = max(0, place - _CONTEXT)
    value = name_value(text[start : place + _CONTEXT], [(place - start, place - start + 1)])
    return None if value is None or value[0] == "name_like" else value[0]


def _digest_of(block: BlockDigest) -> str:
    return block.digest


def _sorted_digest_of(block: BlockDigest) -> str:
    return block.sorted_digest


def _count(blocks: Sequence[BlockDigest], digest_of: Callable[[BlockDigest], str]) -> Counter[str]:
    return Counter(digest_of(one) for one in blocks)


def _first_difference(
    here: Sequence[BlockDigest],
    there: Sequence[BlockDigest],
    digest_of: Callable[[BlockDigest], str],
) -> int | None:
    """Return the index of the first block that differs; None if all are equal."""
    for index, (one, other) in enumerate(zip(here, there, strict=False)):
        if digest_of(one) != digest_of(other):
            return index
    return None if len(here) == len(there) else min(len(here), len(there))
