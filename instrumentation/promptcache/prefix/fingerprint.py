"""Inside a block: small fingerprints that later tell where it changed and whether only its form did.

All that is kept of a block is what is written here. Every block has checksums at up to 16 equal steps. A block that
ought to stay the same (tools, system) has finer steps from both its ends, so that a change is boxed in, three digests
that forgive ever more, the smallest hashes of its sentences, by which it is recognised under another beginning, and
hashes of its telling words, by which a value that changes is told from one that always stood there.
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

from promptcache.common.json_sanitize import to_plain_json

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


@final
class BlockFingerprint(NamedTuple):
    """A block of `size` bytes: cumulative checksums (4 bytes each) after every `step` bytes and at its end, one of its
    last bytes alone. Equal ones stand for equal texts.
    """

    size: int
    step: int
    checksums: bytes
    tail_checksum: int = 0


@final
class DetailedFingerprint(NamedTuple):
    """What is known beyond its `BlockFingerprint` of a block that ought to stay the same.

    `checksums` and `back_checksums` are checksums of steps from the start and from the end. `sorted_keys_hash` ignores the order of keys,
    `no_whitespace_hash` white space too, `nfkc_hash` also the form of Unicode; `sentence_minhash` and `identifier_hashes` hash sentences and telling words.
    """

    step: int
    front_checksums: array[int]
    back_checksums: array[int]
    sorted_keys_hash: int
    no_whitespace_hash: int
    nfkc_hash: int
    sentence_minhash: array[int]
    identifier_hashes: array[int]


def block_text(data: object) -> str:
    """The text of a block in which offsets count: its one text if it is little else, or else compact JSON."""
    if isinstance(data, str):
        return data
    fields: Any = data
    if isinstance(data, dict) and _ENVELOPE_KEYS.issuperset(fields):
        for name in ("content", "parts", "text"):
            value = fields.get(name)
            if isinstance(value, str):
                return value
            if isinstance(value, dict):
                return block_text(fields[name])
    return _compact_json(fields)


def _compact_json(data: object, *, ordered: bool = False) -> str:
    try:
        return json.dumps(data, separators=(",", ":"), ensure_ascii=False, sort_keys=ordered)
    except (TypeError, ValueError, RecursionError):
        return json.dumps(
            to_plain_json(data), separators=(",", ":"), ensure_ascii=False, sort_keys=ordered
        )


def encode_utf8(text: str) -> bytes:
    """UTF-8, lone surrogates included."""
    return text.encode("utf-8", "surrogatepass")


def _choose_step(size: int, steps: int) -> int:
    step = _MIN_STEP_BYTES
    while step * steps < size:
        step *= 2
    return step


def fingerprint(text: str) -> BlockFingerprint:
    """The fingerprints of any block."""
    raw = encode_utf8(text)
    size, check = len(raw), 0
    step = _choose_step(size, _COARSE_STEPS)
    if size <= step:  # the most frequent by far
        return BlockFingerprint(size, step, crc32(raw).to_bytes(4, sys.byteorder))
    view, front = memoryview(raw), array("I")
    for start in range(0, size, step):
        front.append(check := crc32(view[start : start + step], check))
    return BlockFingerprint(
        size, step, front.tobytes(), crc32(view[-_TAIL_BYTES:]) if size > 2 * _TAIL_BYTES else 0
    )


def detailed_fingerprint(data: object, text: str) -> DetailedFingerprint:
    """The fingerprints of a block that ought to stay the same."""
    raw = memoryview(encode_utf8(text))
    size = len(raw)
    step = _choose_step(size, _FINE_STEPS)
    front = array("I", [crc32(raw[end - step : end]) for end in range(step, size + 1, step)])
    back = array("I", [crc32(raw[end - step : end]) for end in range(size, step - 1, -step)])
    ordered = _compact_json(data, ordered=True) if text[:1] in "{[" else text
    bare = hash(encode_utf8(ordered).translate(None, _WHITESPACE))
    loose = (
        bare
        if ordered.isascii()
        else hash(encode_utf8(unicodedata.normalize("NFKC", ordered)).translate(None, _WHITESPACE))
    )
    return DetailedFingerprint(
        step,
        front,
        back,
        hash(ordered),
        bare,
        loose,
        _sentence_minhash(text),
        identifier_hashes(text),
    )


def _smallest_hashes(parts: Iterable[str], most: int) -> array[int]:
    return array("I", sorted({hash(part) & 0xFFFFFFFF for part in parts})[:most])


def _sentence_minhash(text: str) -> array[int]:
    return _smallest_hashes(
        (part for part in text.replace("\n", ".").split(".") if len(part) >= _MIN_SENTENCE_CHARS),
        _MINHASH_SIZE,
    )


def identifier_hashes(text: str) -> array[int]:
    """Hashes (32 bits) of the telling words."""
    odd = [
        word
        for word in set(text[:_IDENTIFIER_SEARCH_CHARS].split())
        if not (word.isalpha() and word.islower())
    ]
    return _smallest_hashes(filter(looks_like_identifier, odd), _MAX_IDENTIFIERS)


def looks_like_identifier(word: str) -> bool:
    """Whether a word looks like a name, a number or an id: more than lower-case letters and what ends a sentence."""
    return not (word.islower() and word.strip(_PUNCTUATION).isalpha())


def first_difference(new: BlockFingerprint, old: BlockFingerprint) -> tuple[int, int]:
    """The first step of the new block, as start and end in bytes, in which it departs from the old one."""
    step = max(new.step, old.step)
    if new.step == old.step and new.checksums[:4] != old.checksums[:4]:
        return 0, min(step, new.size)
    here, there = (
        array("I", side.checksums)[step // side.step - 1 :: step // side.step]
        for side in (new, old)
    )
    start = min(_count_equal(here, there) * step, new.size)
    return start, min(start + step, new.size)


def changed_range(new: DetailedFingerprint, old: DetailedFingerprint, size: int) -> tuple[int, int]:
    """The bytes of the new block, of `size`, in which it departs from the old one: all, if the steps differ."""
    if new.step != old.step:
        return 0, size
    start = _count_equal(new.front_checksums, old.front_checksums) * new.step
    return start, max(
        min(start + new.step, size),
        size - _count_equal(new.back_checksums, old.back_checksums) * new.step,
    )


def _count_equal(one: array[int], other: array[int]) -> int:
    """How many leading entries are equal."""
    return sum(takewhile(bool, map(eq, one, other)))


def similarity(new: DetailedFingerprint, old: DetailedFingerprint, size: int) -> float:
    """How much of the new block both have in common, in 0..1."""
    start, end = changed_range(new, old, size)
    shared = len(set(new.sentence_minhash) & set(old.sentence_minhash)) / max(
        len(new.sentence_minhash), len(old.sentence_minhash), 2
    )
    return max(1 - (end - start) / max(size, 1), shared)
