"""Find what changed inside a block: its form, one value, or its content.

Of the earlier text only the details are known (prefix/fingerprint.py). The change is found word by
word, so a value counts as changed only if its own words changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, Literal, NamedTuple, final

from promptcache.diagnosis.volatile_values import AMBIGUOUS_HINTS, name_value
from promptcache.prefix.fingerprint import (
    UNICODE_FORMS,
    BlockDetails,
    canonicalize,
    encode_utf8_with_surrogates,
    has_same_json,
    is_same_but_for_form,
)
from promptcache.prefix.words import (
    HASH_BYTES,
    WordSample,
    count_equal_last_words,
    count_equal_words,
    has_same_words,
    locate_words,
    separate_words,
)

_MAX_HUNK_WORDS: Final = 24
"""A longer change is content, and no value."""
_MAX_VALUE_WORDS: Final = 12
"""A value and a neighbour that changed with it have at most so many words."""
_MAX_RESIZED_WORDS: Final = 4
"""A value may have so many words more or less than before."""
_SYNC_WORDS: Final = 2
"""So many equal words end a change."""
_NEIGHBOUR_WORDS: Final = 40
"""Content that changed within so many words of a value shows that the text was rewritten."""
_MAX_HUNKS: Final = 8
_BYTES_BEFORE_VALUE: Final = 64
_BYTES_BEHIND_VALUE: Final = 48
_MAX_CONTEXT_BYTES: Final = 200
"""The text that is searched for a value reaches at least `_BYTES_BEFORE_VALUE` before the changed
words and `_BYTES_BEHIND_VALUE` behind them, from there to the next space, and at most
`_MAX_CONTEXT_BYTES`."""
_BRACE: Final = re.compile(rb"[{}]")
_JSON_KEY: Final = re.compile(rb'"\w+\\*"\s*:')


@final
class TextChange(NamedTuple):
    """What changed in a text, from byte `offset` on. `hint` is None where nothing is recognised."""

    kind: Literal["form", "value", "content"]
    offset: int | None
    hint: str | None = None
    is_ambiguous: bool = False


@final
class _Hunk(NamedTuple):
    """Words that replace others: `first` and `word_count` in the new text, the other in the old."""

    first: int
    word_count: int
    old_word_count: int


def find_text_change(
    text: str, new: BlockDetails, old: BlockDetails, step: tuple[int, int] | None
) -> TextChange:
    """Return the first change of a text with the details `new`, which had the details `old`.

    `step` is start and end (bytes) of the step with the change, where it is known.
    """
    hunks = list(_iter_hunks(new.words, old.words))
    raw = _same_words_in_bytes(text)
    first = hunks[0] if hunks else None
    offset = _byte_of_word(raw, new.words, first.first) if first else None
    if step and (offset is None or not step[0] <= offset <= step[1]):
        offset = (step[0] + step[1]) // 2
    has_equal_words = has_same_words(new.words, old.words)
    form = _find_changed_form(new, old, raw, has_equal_words=has_equal_words)
    if form is not None:
        return TextChange("form", offset, form)
    if first is None:
        return TextChange("content", offset)
    if has_equal_words:
        return TextChange("content", offset, "reordered")
    value = _find_changed_value(raw, hunks)
    if value is None:
        return TextChange("content", offset)
    hint, start = value
    return TextChange("value", start, hint, hint in AMBIGUOUS_HINTS)


def find_byte_of_word(text: str, details: BlockDetails, index: int) -> int:
    """Return the byte at which word `index` of a text with these details begins."""
    return _byte_of_word(_same_words_in_bytes(text), details.words, index)


def _same_words_in_bytes(text: str) -> bytes:
    """Return the text in UTF-8, with the words of its canonical form."""
    if "\\u" in text or not text.isascii():
        text = canonicalize(text)[0]
    return encode_utf8_with_surrogates(text)


def _byte_of_word(raw: bytes, words: WordSample, index: int) -> int:
    found = (
        locate_words(raw, index, 1)
        if words.is_complete or index * HASH_BYTES < len(words.head)
        else []
    )
    return found[0][0] if found else len(raw)


def _find_changed_form(
    new: BlockDetails, old: BlockDetails, raw: bytes, *, has_equal_words: bool
) -> str | None:
    """Return which part of a text's form changed, if its content did not."""
    if new.sorted_keys_hash and new.sorted_keys_hash == old.sorted_keys_hash:
        return "key_order"
    if is_same_but_for_form(new, old):
        changed = new.form ^ old.form
        return "unicode" if changed & UNICODE_FORMS else "typography" if changed else "whitespace"
    if has_same_json(new, old):
        return "key_order"
    if new.sorted_keys_hash and old.sorted_keys_hash:
        return None
    if has_equal_words and _has_other_key_order(new.words, old.words, raw):
        return "key_order"
    return None


def _has_other_key_order(new: WordSample, old: WordSample, raw: bytes) -> bool:
    """Return whether the order of these words differs only inside of JSON objects."""
    if new.head == old.head:
        return False
    one, other = (memoryview(side.head).cast("H") for side in (new, old))
    end = 0
    for first, last in _word_ranges_of_objects(raw):
        if one[end:first] != other[end:first] or sorted(one[first:last]) != sorted(
            other[first:last]
        ):
            return False
        end = last
    return end > 0 and one[end:] == other[end:]


def _word_ranges_of_objects(raw: bytes) -> Iterator[tuple[int, int]]:
    """Yield the first word and the end of each outermost JSON object in a text."""
    separated, depth, start = separate_words(raw), 0, 0
    for brace in _BRACE.finditer(raw):
        depth += 1 if brace[0] == b"{" else -1
        if depth == 1 and brace[0] == b"{":
            start = brace.start()
        elif depth <= 0:
            depth = 0
            if _JSON_KEY.search(raw, start, brace.start()):
                before = len(separated[:start].split())
                yield before, before + len(separated[start : brace.start()].split())


# Words


def _iter_hunks(new: WordSample, old: WordSample) -> Iterator[_Hunk]:
    """Yield the first changes. The last one may reach to the end of both texts."""
    here, there = new.head, old.head
    at = other = 0
    for _ in range(_MAX_HUNKS):
        equal = count_equal_words(here, there, at, other)
        at, other = at + equal, other + equal
        left, other_left = len(here) // HASH_BYTES - at, len(there) // HASH_BYTES - other
        if not left and not other_left:
            return
        is_whole = new.is_complete and old.is_complete
        count, old_count = _count_changed_words(here, there, at, other, is_whole=is_whole)
        yield _Hunk(at, count, old_count)
        if count == left and old_count == other_left:
            return
        at, other = at + count, other + old_count


def _count_changed_words(
    here: bytes, there: bytes, at: int, other: int, *, is_whole: bool
) -> tuple[int, int]:
    """Return how many words differ in both before they are equal again, or up to their ends."""
    rest, other_rest = here[at * HASH_BYTES :], there[other * HASH_BYTES :]
    left, other_left = len(rest) // HASH_BYTES, len(other_rest) // HASH_BYTES
    size = _SYNC_WORDS * HASH_BYTES
    for total in range(1, 2 * _MAX_HUNK_WORDS + 1):
        for count in range(max(0, total - _MAX_HUNK_WORDS), min(total, _MAX_HUNK_WORDS) + 1):
            old_count = total - count
            if count > left or old_count > other_left:
                continue
            start, other_start = count * HASH_BYTES, old_count * HASH_BYTES
            sync = rest[start : start + size]
            if sync == other_rest[other_start : other_start + size] and (len(sync) == size):
                return count, old_count
    if is_whole:
        equal = min(count_equal_last_words(rest, other_rest), left, other_left)
        return left - equal, other_left - equal
    return left, other_left


# Values


def _find_changed_value(raw: bytes, hunks: list[_Hunk]) -> tuple[str, int] | None:
    """Return hint and byte of the value that changed first; None if content changed with it."""
    first = hunks[0]
    found = _name_hunk(raw, first)
    if found is None:
        return None
    for hunk in hunks[1:]:
        if hunk.first - first.first - first.word_count > _NEIGHBOUR_WORDS:
            break
        if _name_hunk(raw, hunk) is None:
            return None
    return found


def _name_hunk(raw: bytes, hunk: _Hunk) -> tuple[str, int] | None:
    """Return hint and byte of the value that takes the place of another one; None if other words
    changed, too."""
    if not 0 < hunk.word_count <= _MAX_VALUE_WORDS or not hunk.old_word_count:
        return None
    if abs(hunk.word_count - hunk.old_word_count) > _MAX_RESIZED_WORDS:
        return None
    spans = locate_words(raw, hunk.first, hunk.word_count)
    if not spans:
        return None
    start, end = _find_context(raw, spans[0][0], spans[-1][1])
    context = raw[start:end].decode("utf-8", "replace")
    before = [len(raw[start:edge].decode("utf-8", "replace")) for span in spans for edge in span]
    pairs = list(zip(before[::2], before[1::2], strict=True))
    value = name_value(context, pairs)
    if value is None:
        return None
    hint, position = value
    return hint, start + len(context[:position].encode("utf-8", "replace"))


def _find_context(raw: bytes, start: int, end: int) -> tuple[int, int]:
    """Return start and end of the text around `raw[start:end]` in which a value may lie."""
    first, last = max(0, start - _MAX_CONTEXT_BYTES), end + _MAX_CONTEXT_BYTES
    before = raw.rfind(b" ", first, max(0, start - _BYTES_BEFORE_VALUE))
    behind = raw.find(b" ", end + _BYTES_BEHIND_VALUE, last)
    return first if before < 0 else before, last if behind < 0 else behind
