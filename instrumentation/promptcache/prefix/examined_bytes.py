"""Bound the work on one prompt: how much of it is examined word by word.

Every other block is hashed as a whole, which takes a part of the time of `json.dumps`. Equal blocks
stay equal, and changed blocks stay changed. The place of a change inside such a block is found only
near its beginning.
"""

from __future__ import annotations

from typing import Any, Final, cast, final

from promptcache.common.json_sanitize import marshal_or_sanitize
from promptcache.model import Block
from promptcache.prefix.fingerprint import (
    UNEXAMINED,
    BlockDetails,
    BlockFingerprint,
    encode_utf8_with_surrogates,
    plain_text,
    sentence_minhash,
)
from promptcache.prefix.words import WordSample, sample_words

MAX_EXAMINED_BYTES: Final = 2 * 2**20
"""So many bytes of new blocks are examined in one call: about half a million tokens. Examining a
byte takes four times as long as `json.dumps` (measured in November 2026), the rest of the work a
quarter: a prompt of 16 MB takes less time than `json.dumps`."""
SAMPLED_HEAD: Final = 16_384
_SAMPLED_TAIL: Final = 4_096
"""So many characters of the beginning and of the end of a larger block have word hashes."""
_MAX_SAMPLES: Final = 16
_BYTES_OF_NUMBER: Final = 8
_MAX_DEPTH: Final = 200


@final
class ExaminedBytes:
    """The bytes that one call may still examine."""

    __slots__ = ("_samples_left", "has_run_out", "left")

    def __init__(self) -> None:
        self.left = MAX_EXAMINED_BYTES
        self._samples_left = _MAX_SAMPLES
        self.has_run_out = False

    def take(self, data: object) -> bool:
        """Return whether `data` may be examined, and count its bytes if so."""
        size = count_bytes(data, self.left)
        if size > self.left:
            self.has_run_out = True
            return False
        self.left -= size
        return True

    def take_sample(self, size: int) -> bool:
        """Return whether a block of this size may be sampled, and count it if so."""
        if size < SAMPLED_HEAD + _SAMPLED_TAIL or not self._samples_left:
            return False
        self._samples_left -= 1
        return True


def count_bytes(data: object, limit: int) -> int:
    """Return about how many bytes of JSON the data has; any number above `limit` if it has more.

    A cycle and a great depth count as one value, as they are hashed.
    """
    return limit - _left_after(data, limit, [])


def _left_after(value: Any, left: int, path: list[Any]) -> int:
    """Return what is left of `left` bytes after a value; `path` holds the containers around it."""
    kind = cast("type[object]", type(value))
    if kind is str:
        return left - len(value)
    if kind not in (dict, list, tuple):
        return left - _BYTES_OF_NUMBER
    left -= len(value) + 1
    if len(path) >= _MAX_DEPTH or any(value is one for one in path):
        return left
    path.append(value)
    for child in (*value, *value.values()) if kind is dict else value:
        if left < 0:
            break
        left = _left_after(child, left, path)
    path.pop()
    return left


def describe_unexamined_block(
    block: Block, examined: ExaminedBytes
) -> tuple[BlockFingerprint, BlockDetails]:
    """Return fingerprint and details of a block that is not examined as a whole.

    The size is that of its text in characters, or of its data if it has other parts. The details
    hold the words of its beginning and its end, if the call may still examine so much. They say
    nothing of its form: no other text has the same.
    """
    text = plain_text(block.data)
    whole = text if text is not None else marshal_or_sanitize(block.data)
    fingerprint = BlockFingerprint(len(whole), hash(whole) & 0xFFFFFFFF)
    details = BlockDetails(UNEXAMINED, 0, hash(fingerprint))
    if text is None or not examined.take_sample(len(text)):
        return fingerprint, details
    head = sample_words(encode_utf8_with_surrogates(text[:SAMPLED_HEAD]), MAX_EXAMINED_BYTES, 0)
    tail = sample_words(encode_utf8_with_surrogates(text[-_SAMPLED_TAIL:]), MAX_EXAMINED_BYTES, 0)
    words = WordSample(head.head, tail.head, head.word_count + tail.word_count)
    if block.section != "messages":
        details = details._replace(sentence_minhash=sentence_minhash(text[:SAMPLED_HEAD]))
    return fingerprint, details._replace(words=words, is_sampled=True)
