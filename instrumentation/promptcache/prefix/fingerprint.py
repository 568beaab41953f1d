"""Fingerprints of a block's text, from which a later call can find where the block changed.

No text is kept of a block, only these fingerprints. Every block has checksums at up to 16 equal
steps. A block of tools or system has more: finer steps from both ends, which bound a change; three
hashes that ignore key order, then white space, then Unicode form; a MinHash of its sentences, to
find it under a different first sentence; hashes of identifier-like words, to tell a changed value
from an old one.
"""

from __future__ import annotations

import json
import sys
import unicodedata
from array import array
from collections.abc import Iterable
from itertools import takewhile
from operator import eq
from typing import Any, Final, NamedTuple, final
from zlib import crc32

from promptcache.common.json_sanitize import sanitize_for_json

_COARSE_STEPS: Final = 16
_FINE_STEPS: Final = 32
_MIN_STEP_BYTES: Final = 64
_TAIL_BYTES: Final = 128
_MINHASH_SIZE: Final = 16
_MIN_SENTENCE_CHARS: Final = 12
_PUNCTUATION: Final = ".,;:!?()\"'"
_WHITESPACE: Final = b" \t\r\n"
_IDENTIFIER_SEARCH_CHARS: Final = 4_096
_MAX_IDENTIFIERS: Final = 128
_ENVELOPE_KEYS: Final = frozenset(
    {"role", "type", "content", "parts", "text", "name", "id", "status"}
)
"""The keys of a message that has nothing but its text."""


@final
class BlockFingerprint(NamedTuple):
    """The fingerprint of any block; equal texts have equal ones.

    `size` and `step` are in bytes. `checksums` holds cumulative checksums (4 bytes each) after
    every step and at the end. `tail_checksum` covers the last 128 bytes of a larger block.
    """

    size: int
    step: int
    checksums: bytes
    tail_checksum: int = 0


@final
class StaticBlockFingerprint(NamedTuple):
    """The additional fingerprint of a block of tools or system.

    `front_checksums` and `back_checksums` cover each step (bytes) from the start and from the end.
    `sorted_keys_hash` ignores the order of keys, `no_whitespace_hash` also white space, `nfkc_hash`
    also the Unicode form. `sentence_minhash` and `identifier_hashes` hold the smallest 32-bit
    hashes of sentences and of identifier-like words.
    """

    step: int
    front_checksums: array[int]
    back_checksums: array[int]
    sorted_keys_hash: int
    no_whitespace_hash: int
    nfkc_hash: int
    sentence_minhash: array[int]
    identifier_hashes: array[int]


def block_text_or_json(data: object) -> str:
    """Return the text in which offsets of a block count: its only text, or else compact JSON."""
    if isinstance(data, str):
        return data
    fields: Any = data
    if isinstance(data, dict) and _ENVELOPE_KEYS.issuperset(fields):
        for name in ("content", "parts", "text"):
            value = fields.get(name)
            if isinstance(value, str):
                return value
            if isinstance(value, dict):
                return block_text_or_json(fields[name])
    return _encode_compact_json(fields)


def _encode_compact_json(data: object, *, sort_keys: bool = False) -> str:
    try:
        return json.dumps(data, separators=(",", ":"), ensure_ascii=False, sort_keys=sort_keys)
    except (TypeError, ValueError, RecursionError):
        return json.dumps(
            sanitize_for_json(data), separators=(",", ":"), ensure_ascii=False, sort_keys=sort_keys
        )


def encode_utf8_with_surrogates(text: str) -> bytes:
    """Return `text` in UTF-8, lone surrogates included."""
    return text.encode("utf-8", "surrogatepass")


def _choose_checksum_step(size: int, max_steps: int) -> int:
    """Return the smallest step that covers `size` bytes in at most `max_steps` steps: 64 * 2^k
    bytes."""
    step = _MIN_STEP_BYTES
    while step * max_steps < size:
        step *= 2
    return step


def fingerprint_block_text(text: str) -> BlockFingerprint:
    """Return the fingerprint of a block with this text."""
    raw = encode_utf8_with_surrogates(text)
    size, checksum = len(raw), 0
    step = _choose_checksum_step(size, _COARSE_STEPS)
    if size <= step:  # by far the most frequent case
        return BlockFingerprint(size, step, crc32(raw).to_bytes(4, sys.byteorder))
    view, checksums = memoryview(raw), array("I")
    for start in range(0, size, step):
        checksums.append(checksum := crc32(view[start : start + step], checksum))
    tail_checksum = crc32(view[-_TAIL_BYTES:]) if size > 2 * _TAIL_BYTES else 0
    return BlockFingerprint(size, step, checksums.tobytes(), tail_checksum)


def fingerprint_static_block(data: object, text: str) -> StaticBlockFingerprint:
    """Return the additional fingerprint of a block of tools or system; `text` is its
    `block_text_or_json`."""
    raw = memoryview(encode_utf8_with_surrogates(text))
    size = len(raw)
    step = _choose_checksum_step(size, _FINE_STEPS)
    front = array("I", [crc32(raw[end - step : end]) for end in range(step, size + 1, step)])
    back = array("I", [crc32(raw[end - step : end]) for end in range(size, step - 1, -step)])
    sorted_keys = _encode_compact_json(data, sort_keys=True) if text[:1] in "{[" else text
    no_whitespace_hash = nfkc_hash = _hash_without_whitespace(sorted_keys)
    if not sorted_keys.isascii():
        nfkc_hash = _hash_without_whitespace(unicodedata.normalize("NFKC", sorted_keys))
    return StaticBlockFingerprint(
        step,
        front,
        back,
        hash(sorted_keys),
        no_whitespace_hash,
        nfkc_hash,
        _sentence_minhash(text),
        identifier_hashes(text),
    )


def _hash_without_whitespace(text: str) -> int:
    return hash(encode_utf8_with_surrogates(text).translate(None, _WHITESPACE))


def _smallest_hashes(parts: Iterable[str], count: int) -> array[int]:
    return array("I", sorted({hash(part) & 0xFFFFFFFF for part in parts})[:count])


def _sentence_minhash(text: str) -> array[int]:
    sentences = text.replace("\n", ".").split(".")
    return _smallest_hashes(
        (sentence for sentence in sentences if len(sentence) >= _MIN_SENTENCE_CHARS), _MINHASH_SIZE
    )


def identifier_hashes(text: str) -> array[int]:
    """Return the 32-bit hashes of the identifier-like words near the start of `text`."""
    # This cheap test leaves few words for the exact one.
    candidates = [
        word
        for word in set(text[:_IDENTIFIER_SEARCH_CHARS].split())
        if not (word.isalpha() and word.islower())
    ]
    return _smallest_hashes(filter(looks_like_identifier, candidates), _MAX_IDENTIFIERS)


def looks_like_identifier(word: str) -> bool:
    """Return whether a word looks like a name, a number or an id.

    All other words consist of lower-case letters and punctuation around them.
    """
    return not (word.islower() and word.strip(_PUNCTUATION).isalpha())


def first_changed_step_range(new: BlockFingerprint, old: BlockFingerprint) -> tuple[int, int]:
    """Return start and end (bytes) of the first step of the new block that differs from the old
    one."""
    step = max(new.step, old.step)
    if new.step == old.step and new.checksums[:4] != old.checksums[:4]:
        return 0, min(step, new.size)
    here, there = (
        array("I", side.checksums)[step // side.step - 1 :: step // side.step]
        for side in (new, old)
    )
    start = min(_count_equal_leading_entries(here, there) * step, new.size)
    return start, min(start + step, new.size)


def changed_byte_range(
    new: StaticBlockFingerprint, old: StaticBlockFingerprint, size: int
) -> tuple[int, int]:
    """Return start and end of the bytes that changed in the new block of `size` bytes.

    It is the whole block if the steps of the two fingerprints differ.
    """
    if new.step != old.step:
        return 0, size
    start = _count_equal_leading_entries(new.front_checksums, old.front_checksums) * new.step
    end = size - _count_equal_leading_entries(new.back_checksums, old.back_checksums) * new.step
    return start, max(min(start + new.step, size), end)


def _count_equal_leading_entries(one: array[int], other: array[int]) -> int:
    """Return how many leading entries are equal."""
    return sum(takewhile(bool, map(eq, one, other)))


def shared_fraction_of_new_block(
    new: StaticBlockFingerprint, old: StaticBlockFingerprint, size: int
) -> float:
    """Return which part of the new block, of `size` bytes, is in both blocks (0..1)."""
    start, end = changed_byte_range(new, old, size)
    common = set(new.sentence_minhash) & set(old.sentence_minhash)
    most = max(len(new.sentence_minhash), len(old.sentence_minhash), 2)
    return max(1 - (end - start) / max(size, 1), len(common) / most)
