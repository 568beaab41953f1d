"""Fingerprints of a block's text, from which a later call can find where the block changed.

No text is kept of a block, only these fingerprints. Every block has its size and a checksum. Its
details hold a hash of each word, which bounds a change to words, and hashes that ignore parts of
the form. A block of tools or system also has a MinHash of its sentences, to find it under a
different first sentence.
"""

from __future__ import annotations

import json
import re
import unicodedata
from array import array
from itertools import takewhile
from operator import eq
from typing import Any, Final, NamedTuple, cast, final
from zlib import crc32

from promptcache.common.coerce import JSONObject
from promptcache.common.json_sanitize import sanitize_for_json
from promptcache.prefix.words import (
    WordSample,
    count_equal_last_words,
    count_equal_words,
    has_typography,
    sample_words,
)

_MINHASH_SIZE: Final = 16
_MIN_SENTENCE_CHARS: Final = 12
_WHITESPACE: Final = b" \t\r\n"
_JSON_SYNTAX: Final = b"{}[],:\\"
_ESCAPED_WHITESPACE: Final = re.compile(rb"\\+[nrt]")
_ESCAPED_QUOTE: Final = re.compile(rb'\\+"')
_ENVELOPE_KEYS: Final = frozenset(
    {"role", "type", "content", "parts", "text", "name", "id", "status"}
)
"""The keys of a message that has nothing but its text."""
_STATIC_SAMPLE: Final = (65_536, 32_768)
_MESSAGE_SAMPLE: Final = (768, 256)
"""So many bytes at the beginning and at the end of a block have word hashes: about a third of them
are kept."""
_FIXED_DETAIL_BYTES: Final = 320
_ESCAPED: Final = re.compile(r"\\+u([0-9a-fA-F]{4})")
_ASCII_OF_TYPOGRAPHY: Final = {
    **dict.fromkeys("\u201c\u201d\u201e\u201f\u00ab\u00bb", '"'),
    **dict.fromkeys("\u2018\u2019\u201a\u201b", "'"),
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2022\u2023\u00b7", "-"),
}
_TYPOGRAPHY: Final = re.compile("[" + "".join(_ASCII_OF_TYPOGRAPHY) + "]")
_NO_HASHES: Final = array("I")
UNEXAMINED: Final = WordSample(b"", b"", -1)
"""The words of a block that was not examined: nothing is known of them."""
_STEPS: Final = 16
_MIN_STEP_BYTES: Final = 64
_HAS_ESCAPES, _IS_NOT_COMPOSED, _IS_NOT_COMPATIBLE, _IS_TYPOGRAPHIC, _HAS_STARS = 1, 2, 4, 8, 16
UNICODE_FORMS: Final = _HAS_ESCAPES | _IS_NOT_COMPOSED | _IS_NOT_COMPATIBLE
"""The bits of `BlockDetails.form` about escapes of characters and Unicode's forms."""


@final
class BlockFingerprint(NamedTuple):
    """The fingerprint of any block; equal texts have equal ones. `size` is in bytes."""

    size: int
    checksum: int


@final
class BlockDetails(NamedTuple):
    """What is known of a block's text beside its fingerprint.

    `form` says whether the text has escapes of characters, which Unicode forms it does not have,
    and whether it has typographic characters. `typography_hash` ignores all of that and white
    space. `json_bag_hash` ignores the order of the strings and numbers of JSON; it is 0 unless the
    block is a message with JSON.
    `sorted_keys_hash` ignores the order of keys; it is 0 unless the block is JSON of tools or
    system. `sentence_minhash` holds the smallest 32-bit hashes of the sentences of such a block,
    and `checksums` those of the text up to each of 16 steps. `is_sampled` says that the words are
    those of the beginning and the end of a block that is too large to be examined.
    """

    words: WordSample
    form: int
    typography_hash: int
    json_bag_hash: int = 0
    sorted_keys_hash: int = 0
    sentence_minhash: array[int] = _NO_HASHES
    checksums: array[int] = _NO_HASHES
    is_sampled: bool = False

    @property
    def is_examined(self) -> bool:
        """Whether the words of the block are known."""
        return self.words.word_count >= 0

    @property
    def memory_bytes(self) -> int:
        """About how many bytes of memory these details take."""
        return _FIXED_DETAIL_BYTES + len(self.words.head) + len(self.words.tail)


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


def plain_text(data: Any) -> str | None:
    """Return the only text of a block, None for a block with other parts."""
    while isinstance(data, dict) and _ENVELOPE_KEYS.issuperset(fields := cast("JSONObject", data)):
        values: list[Any] = [fields.get(name) for name in ("content", "parts", "text")]
        data = next((value for value in values if type(value) in (str, dict)), None)
    return data if isinstance(data, str) else None


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


def fingerprint_block_text(text: str) -> BlockFingerprint:
    """Return the fingerprint of a block with this text."""
    raw = encode_utf8_with_surrogates(text)
    return BlockFingerprint(len(raw), crc32(raw))


def describe_message(text: str) -> BlockDetails:
    """Return the details of a message; `text` is its `block_text_or_json`."""
    if text.isascii() and "\\" not in text and "\n* " not in text:  # nearly all are
        raw, form = text.encode(), 0
        plain = raw.translate(None, _WHITESPACE)
    else:
        canonical, form = canonicalize(text)
        raw = encode_utf8_with_surrogates(canonical)
        plain, form = _without_typography(raw, form)
    bag = hash(frozenset(plain.translate(None, _JSON_SYNTAX).split(b'"'))) if b'":' in plain else 0
    return BlockDetails(sample_words(raw, *_MESSAGE_SAMPLE), form, hash(plain), bag)


def describe_static_block(data: object, text: str) -> BlockDetails:
    """Return the details of a block of tools or system; `text` is its `block_text_or_json`."""
    canonical, form = canonicalize(text)
    raw = encode_utf8_with_surrogates(canonical)
    plain, form = _without_typography(raw, form)
    sorted_keys = 0
    if text[:1] in "{[" and not isinstance(data, str):
        sorted_keys = hash(_encode_compact_json(data, sort_keys=True))
    return BlockDetails(
        sample_words(raw, *_STATIC_SAMPLE),
        form,
        hash(plain),
        0,
        sorted_keys,
        sentence_minhash(text),
        _cumulative_checksums(encode_utf8_with_surrogates(text)),
    )


def _cumulative_checksums(raw: bytes) -> array[int]:
    """Return checksums of the text up to the end of each step."""
    step, view, checksums, checksum = _step_of(len(raw)), memoryview(raw), array("I"), 0
    for start in range(0, len(raw), step):
        checksums.append(checksum := crc32(view[start : start + step], checksum))
    return checksums


def _step_of(size: int) -> int:
    """Return the smallest step of 64 * 2^k bytes that covers a text in 16 steps."""
    return _MIN_STEP_BYTES << max(0, (size - 1) // (_MIN_STEP_BYTES * _STEPS)).bit_length()


def first_changed_step_range(
    new: BlockDetails, old: BlockDetails, size: int, old_size: int
) -> tuple[int, int] | None:
    """Return start and end (bytes) of the first step of a text that differs from the old one.

    The sizes are those of the texts. The result is None where no checksums are known.
    """
    if not new.checksums or not old.checksums:
        return None
    step, old_step = _step_of(size), _step_of(old_size)
    common = max(step, old_step)
    here = new.checksums[common // step - 1 :: common // step]
    there = old.checksums[common // old_step - 1 :: common // old_step]
    equal = sum(takewhile(bool, map(eq, here, there)))
    start = min(equal * common, size)
    return start, min(start + common, size)


def canonicalize(text: str) -> tuple[str, int]:
    """Return a text without escapes of characters, in Unicode's form NFKC, and what it was not."""
    form = 0
    if "\\u" in text:
        has_pairs = "\\ud" in text or "\\uD" in text
        text, form = _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text), _HAS_ESCAPES
        if has_pairs:
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if not text.isascii() and not unicodedata.is_normalized("NFKC", text):
        is_composed = unicodedata.is_normalized("NFC", text)
        form |= _IS_NOT_COMPATIBLE if is_composed else _IS_NOT_COMPOSED
        text = unicodedata.normalize("NFKC", text)
    return text, form


def _without_typography(raw: bytes, form: int) -> tuple[bytes, int]:
    """Return a canonical text without white space and typographic characters, and its form."""
    if not raw.isascii() and has_typography(raw):
        text = raw.decode("utf-8", "surrogatepass")
        plain = _TYPOGRAPHY.sub(lambda found: _ASCII_OF_TYPOGRAPHY[found[0]], text)
        if plain != text:
            raw, form = encode_utf8_with_surrogates(plain), form | _IS_TYPOGRAPHIC
    if b"\\" in raw:
        raw = _ESCAPED_QUOTE.sub(b'"', _ESCAPED_WHITESPACE.sub(b"\n", raw))
    if b"\n* " in raw:
        raw, form = raw.replace(b"\n* ", b"\n- "), form | _HAS_STARS
    return raw.translate(None, _WHITESPACE), form


def sentence_minhash(text: str) -> array[int]:
    """Return the smallest hashes of the sentences of a text."""
    sentences = text.replace("\n", ".").split(".")
    hashes = {hash(part) & 0xFFFFFFFF for part in sentences if len(part) >= _MIN_SENTENCE_CHARS}
    return array("I", sorted(hashes)[:_MINHASH_SIZE])


def is_same_but_for_form(new: BlockDetails, old: BlockDetails) -> bool:
    """Return whether two texts differ in white space, typography or Unicode form only."""
    return new.typography_hash == old.typography_hash


def has_same_json(new: BlockDetails, old: BlockDetails) -> bool:
    """Return whether two messages with JSON have the same strings and numbers, in any order."""
    return new.json_bag_hash == old.json_bag_hash != 0


def shared_fraction(new: BlockDetails, old: BlockDetails) -> float:
    """Return which part of the longer text is in both texts (0..1).

    It is the part before the first and behind the last change, or that of the common sentences.
    """
    if is_same_but_for_form(new, old) or has_same_json(new, old):
        return 1.0
    if not (new.is_examined and old.is_examined):
        return 0.0
    here, there = new.words, old.words
    longer, shorter = max(here.word_count, there.word_count), min(here.word_count, there.word_count)
    equal = count_equal_words(here.head, there.head)
    equal += count_equal_last_words(here.tail or here.head, there.tail or there.head)
    if here.tail and there.tail:  # a value of the same length does not move the words behind it
        equal += count_equal_last_words(here.head, there.head)
    by_words = min(equal, shorter) / max(longer, 1)
    if not new.sentence_minhash or not old.sentence_minhash:
        return by_words
    common = set(new.sentence_minhash) & set(old.sentence_minhash)
    most = max(len(new.sentence_minhash), len(old.sentence_minhash), 2)
    return max(by_words, len(common) / most)
