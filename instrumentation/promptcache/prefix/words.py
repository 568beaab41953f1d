"""Cut a text into words, and keep a hash of each, so that a later call can find what changed.

A word is a run of letters, digits and `_`. Everything between words is left out: white space,
punctuation, quotation marks and the escapes that JSON writes for white space.
"""

from __future__ import annotations

import re
from array import array
from itertools import islice
from typing import Final, NamedTuple, final
from zlib import crc32

HASH_BYTES: Final = 2
"""Each word keeps this many bytes."""

_SEPARATORS: Final = bytes(
    byte if byte >= 128 or chr(byte).isalnum() or byte == ord("_") else ord(" ")
    for byte in range(256)
)
_TYPOGRAPHIC: Final = re.compile(rb"\xe2\x80[\x80-\xbf]|\xc2[\xa0\xab\xb7\xbb]|\xe3\x80[\x80-\x9f]")
"""Spaces, quotation marks, dashes, bullets and full stops beyond ASCII, in UTF-8."""
_SPACE_ESCAPES: Final = (b"\\n", b"\\r", b"\\t")


@final
class WordSample(NamedTuple):
    """The hashes of the words of a text, in order.

    `head` covers the text from its beginning, `tail` its end. `tail` is empty if `head` covers the
    whole text, of `word_count` words.
    """

    head: bytes
    tail: bytes
    word_count: int

    @property
    def is_complete(self) -> bool:
        """Whether the hashes cover the whole text."""
        return not self.tail


def sample_words(raw: bytes, head_bytes: int, tail_bytes: int) -> WordSample:
    """Return the hashes of the words in the first and last bytes of a text in UTF-8."""
    if len(raw) <= head_bytes + tail_bytes:
        head = _hash_words(raw)
        return WordSample(head, b"", len(head) // HASH_BYTES)
    head, tail = _hash_words(raw[:head_bytes]), _hash_words(raw[-tail_bytes:])
    return WordSample(head, tail, (len(head) + len(tail)) // HASH_BYTES)


def _hash_words(raw: bytes) -> bytes:
    hashes = array("I", map(crc32, separate_words(raw).split()))
    return memoryview(hashes).cast("B").cast("H")[::2].tobytes()


def has_typography(raw: bytes) -> bool:
    """Return whether a text may have typographic characters."""
    return (
        b"\xe2\x80" in raw
        or b"\xe3\x80" in raw
        or b"\xc2\xa0" in raw
        or b"\xc2\xab" in raw
        or b"\xc2\xb7" in raw
        or b"\xc2\xbb" in raw
    )


def separate_words(raw: bytes) -> bytes:
    """Return the text with a space for each byte that belongs to no word. The length is kept."""
    if not raw.isascii() and has_typography(raw):
        raw = _TYPOGRAPHIC.sub(lambda found: b"   "[: len(found[0])], raw)
    if b"\\" in raw:
        for escape in _SPACE_ESCAPES:
            if escape in raw:
                raw = raw.replace(escape, b"  ")
    return raw.translate(_SEPARATORS)


def locate_words(raw: bytes, first: int, count: int) -> list[tuple[int, int]]:
    """Return start and end (bytes) of up to `count` words of a text, from word `first` on."""
    separated = separate_words(raw)
    parts = separated.split(None, first)
    start = len(separated) - len(parts[first]) if first < len(parts) else len(separated)
    found = islice(re.compile(rb"[^ ]+").finditer(separated, start), count)
    return [match.span() for match in found]


def count_equal_words(one: bytes, other: bytes, start: int = 0, other_start: int = 0) -> int:
    """Return how many words are equal from word `start` of one and `other_start` of the other on.

    Both are hashes as in `WordSample.head`.
    """
    here, there = start * HASH_BYTES, other_start * HASH_BYTES
    if one[here : here + HASH_BYTES] != other[there : there + HASH_BYTES]:
        return 0
    limit = min(len(one) - here, len(other) - there)
    equal, step = 0, 64
    while equal < limit:
        size = min(step, limit - equal)
        if one[here + equal : here + equal + size] == other[there + equal : there + equal + size]:
            equal += size
            step *= 2
        elif size <= HASH_BYTES:
            break
        else:
            step = max(HASH_BYTES, size // 4 * HASH_BYTES)
    return max(0, equal) // HASH_BYTES


def count_equal_last_words(one: bytes, other: bytes) -> int:
    """Return how many of the last words are equal."""
    limit = min(len(one), len(other))
    equal, step = 0, 64
    while equal < limit:
        size = min(step, limit - equal)
        end, other_end = len(one) - equal, len(other) - equal
        if one[end - size : end] == other[other_end - size : other_end]:
            equal += size
            step *= 2
        elif size <= HASH_BYTES:
            break
        else:
            step = max(HASH_BYTES, size // 4 * HASH_BYTES)
    return equal // HASH_BYTES


def has_same_words(new: WordSample, old: WordSample) -> bool:
    """Return whether two whole texts have the same words, in any order."""
    if not (new.is_complete and old.is_complete) or len(new.head) != len(old.head):
        return False
    if sum(new.head) != sum(old.head):  # quick, and true of almost all other words
        return False
    return sorted(memoryview(new.head).cast("H")) == sorted(memoryview(old.head).cast("H"))
