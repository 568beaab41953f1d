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

from promptcache.plain import plain

_COARSE: Final = 16
_FINE: Final = 32
_FINEST: Final = 64
_TAIL: Final = 128
_SKETCH: Final = 16
_SENTENCE: Final = 12
_MARKS: Final = ".,;:!?()\"'"
_SPACE: Final = b" \t\r\n"
_TELLING_LIMIT: Final = 4_096
_WORDS: Final = 128
_ENVELOPE: Final = frozenset({"role", "type", "content", "parts", "text", "name", "id", "status"})


@final
class Grain(NamedTuple):
    """A block of `size` bytes: cumulative checksums (4 bytes each) after every `step` bytes and at its end, one of its
    last bytes alone. Equal ones stand for equal texts.
    """

    size: int
    step: int
    front: bytes
    tail: int = 0


@final
class Deep(NamedTuple):
    """What is known beyond its `Grain` of a block that ought to stay the same.

    `front` and `back` are checksums of steps from the start and from the end. `canonical` ignores the order of keys,
    `bare` white space too, `loose` also the form of Unicode; `sketch` and `words` hash sentences and telling words.
    """

    step: int
    front: array[int]
    back: array[int]
    canonical: int
    bare: int
    loose: int
    sketch: array[int]
    words: array[int]


def body(data: object) -> str:
    """The text of a block in which offsets count: its one text if it is little else, or else compact JSON."""
    if isinstance(data, str):
        return data
    fields: Any = data
    if isinstance(data, dict) and _ENVELOPE.issuperset(fields):
        for name in ("content", "parts", "text"):
            value = fields.get(name)
            if isinstance(value, str):
                return value
            if isinstance(value, dict):
                return body(fields[name])
    return _json(fields)


def _json(data: object, *, ordered: bool = False) -> str:
    try:
        return json.dumps(data, separators=(",", ":"), ensure_ascii=False, sort_keys=ordered)
    except (TypeError, ValueError, RecursionError):
        return json.dumps(plain(data), separators=(",", ":"), ensure_ascii=False, sort_keys=ordered)


def encoded(text: str) -> bytes:
    """UTF-8, lone surrogates included."""
    return text.encode("utf-8", "surrogatepass")


def _step(size: int, steps: int) -> int:
    step = _FINEST
    while step * steps < size:
        step *= 2
    return step


def grain(text: str) -> Grain:
    """The fingerprints of any block."""
    raw = encoded(text)
    size, check = len(raw), 0
    step = _step(size, _COARSE)
    if size <= step:  # the most frequent by far
        return Grain(size, step, crc32(raw).to_bytes(4, sys.byteorder))
    view, front = memoryview(raw), array("I")
    for start in range(0, size, step):
        front.append(check := crc32(view[start : start + step], check))
    return Grain(size, step, front.tobytes(), crc32(view[-_TAIL:]) if size > 2 * _TAIL else 0)


def deep(data: object, text: str) -> Deep:
    """The fingerprints of a block that ought to stay the same."""
    raw = memoryview(encoded(text))
    size = len(raw)
    step = _step(size, _FINE)
    front = array("I", [crc32(raw[end - step : end]) for end in range(step, size + 1, step)])
    back = array("I", [crc32(raw[end - step : end]) for end in range(size, step - 1, -step)])
    ordered = _json(data, ordered=True) if text[:1] in "{[" else text
    bare = hash(encoded(ordered).translate(None, _SPACE))
    loose = (
        bare
        if ordered.isascii()
        else hash(encoded(unicodedata.normalize("NFKC", ordered)).translate(None, _SPACE))
    )
    return Deep(step, front, back, hash(ordered), bare, loose, _sketch(text), words(text))


def _hashes(parts: Iterable[str], most: int) -> array[int]:
    return array("I", sorted({hash(part) & 0xFFFFFFFF for part in parts})[:most])


def _sketch(text: str) -> array[int]:
    return _hashes(
        (part for part in text.replace("\n", ".").split(".") if len(part) >= _SENTENCE), _SKETCH
    )


def words(text: str) -> array[int]:
    """Hashes (32 bits) of the telling words."""
    odd = [
        word
        for word in set(text[:_TELLING_LIMIT].split())
        if not (word.isalpha() and word.islower())
    ]
    return _hashes(filter(telling, odd), _WORDS)


def telling(word: str) -> bool:
    """Whether a word looks like a name, a number or an id: more than lower-case letters and what ends a sentence."""
    return not (word.islower() and word.strip(_MARKS).isalpha())


def parted(new: Grain, old: Grain) -> tuple[int, int]:
    """The first step of the new block, as start and end in bytes, in which it departs from the old one."""
    step = max(new.step, old.step)
    if new.step == old.step and new.front[:4] != old.front[:4]:
        return 0, min(step, new.size)
    here, there = (
        array("I", side.front)[step // side.step - 1 :: step // side.step] for side in (new, old)
    )
    start = min(_equal(here, there) * step, new.size)
    return start, min(start + step, new.size)


def boxed(new: Deep, old: Deep, size: int) -> tuple[int, int]:
    """The bytes of the new block, of `size`, in which it departs from the old one: all, if the steps differ."""
    if new.step != old.step:
        return 0, size
    start = _equal(new.front, old.front) * new.step
    return start, max(min(start + new.step, size), size - _equal(new.back, old.back) * new.step)


def _equal(one: array[int], other: array[int]) -> int:
    """How many leading entries are equal."""
    return sum(takewhile(bool, map(eq, one, other)))


def similarity(new: Deep, old: Deep, size: int) -> float:
    """How much of the new block both have in common, in 0..1."""
    start, end = boxed(new, old, size)
    shared = len(set(new.sketch) & set(old.sketch)) / max(len(new.sketch), len(old.sketch), 2)
    return max(1 - (end - start) / max(size, 1), shared)
