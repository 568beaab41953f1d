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
_MAX_BYTES_AS_NUMBER: Final = 256
"""Longer bytes are compared half by half first."""


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
    hashes = array("I", list(map(crc32, separate_words(raw).split())))  # faster than an iterator
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
    one, other = one[start * HASH_BYTES :], other[other_start * HASH_BYTES :]
    low, high = 0, min(len(one), len(other))
    while high - low > _MAX_BYTES_AS_NUMBER:
        middle = (low + high) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle
    if not (differing := _differing_bits(one[low:high], other[low:high])):
        return high // HASH_BYTES
    lowest_bit = (differing & -differing).bit_length() - 1
    return (low + lowest_bit // 8) // HASH_BYTES


def count_equal_last_words(one: bytes, other: bytes) -> int:
    """Return how many of the last words are equal."""
    size = min(len(one), len(other))
    one, other = one[len(one) - size :], other[len(other) - size :]
    low, high = 0, size
    while high - low > _MAX_BYTES_AS_NUMBER:
        middle = (low + high) // 2
        if one[middle:high] == other[middle:high]:
            high = middle
        else:
            low = middle
    differing = _differing_bits(one[low:high], other[low:high])
    last_differing_byte = low + (differing.bit_length() + 7) // 8
    return (size - last_differing_byte) // HASH_BYTES


def _differing_bits(one: bytes, other: bytes) -> int:
    """Return the bits that differ as one number. The first byte has the lowest bits."""
    return int.from_bytes(one, "little") ^ int.from_bytes(other, "little")


def has_same_words(new: WordSample, old: WordSample) -> bool:
    """Return whether two whole texts have the same words, in any order."""
    if not (new.is_complete and old.is_complete) or len(new.head) != len(old.head):
        return False
    if sum(new.head) != sum(old.head):  # quick, and true of almost all other words
        return False
    return sorted(memoryview(new.head).cast("H")) == sorted(memoryview(old.head).cast("H"))
