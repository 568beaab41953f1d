"""Compare two prompts: find where the later one departs from the earlier one, and classify the
change.

The earlier prompt is known by its fingerprints only. A difference is about structure; whether it
cost tokens is decided from the usage (missed_tokens.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, final

from promptcache.diagnosis.cache_params import LEVEL_ORDER
from promptcache.diagnosis.memory import Node
from promptcache.diagnosis.volatile_values import AMBIGUOUS_HINTS, find_volatile_value
from promptcache.model import Section
from promptcache.prefix.fingerprint import (
    DetailedFingerprint,
    block_text,
    changed_range,
    encode_utf8,
    first_difference,
    similarity,
)

FORM_HINT: Final = "form"
"""The hint for the same text in another wrapping, such as a string and one text part."""

_MIN_COMMON_SHARE: Final = 0.5
"""Two prompts are versions of one program if they share this part of the static blocks."""
_MIN_COMMON_BYTES: Final = 192
"""Two histories are the same from this many common bytes on, or from two common blocks on."""
_MAX_SLIGHT_RESIZE_BYTES: Final = 32
"""A volatile value may grow or shrink its block by this many bytes."""


@final
@dataclass(slots=True)
class Difference:
    """How a prompt relates to an earlier one. Not changed once made.

    `kind` is `extends` (this prompt continues the earlier one), `shortened` (it is a part of it),
    `branch` (a common beginning, then other content) or `break` (a change, and behind it content
    that both prompts have). `shared_blocks` counts the common leading blocks. `section`, `index`,
    `reason`, `hint` and `offset` (bytes) describe the change. `is_ambiguous` says that the change
    may be an edit or another program. `removed_bytes` are only in the earlier prompt, `added_bytes`
    are behind the change and only in the present prompt.
    """

    kind: Literal["extends", "shortened", "branch", "break"]
    shared_blocks: int
    section: Section | None = None
    index: int | None = None
    reason: str | None = None
    hint: str | None = None
    offset: int | None = None
    is_ambiguous: bool = False
    removed_bytes: int = 0
    added_bytes: int = 0
    is_same_conversation: bool = True


@final
class BlockLookup(NamedTuple):
    """Look-ups by prefix digest: a block's data (present call only) and its detailed
    fingerprint."""

    data: Callable[[int], object]
    detailed_fingerprint: Callable[[int], DetailedFingerprint | None]


@final
class _Change(NamedTuple):
    """What changed in the first block that differs."""

    reason: str
    hint: str | None = None
    offset: int | None = None
    is_ambiguous: bool = False


@final
class _Break(NamedTuple):
    """A change with the amounts of content behind it."""

    change: _Change
    removed_bytes: int
    added_bytes: int
    is_same_conversation: bool = True


def compare(new: Sequence[Node], old: Sequence[Node], lookup: BlockLookup) -> Difference:
    """Return how the prompt `new` relates to the earlier prompt `old`.

    Nodes of a common beginning must be the same objects, as `Memory.nodes` gives them.
    """
    shared = 0
    for here, there in zip(new, old, strict=False):
        if here is not there:
            break
        shared += 1
    now, then = new[shared:], old[shared:]
    if not then:
        return Difference("extends", shared)
    if not now:
        return Difference("shortened", shared)
    is_now_first = LEVEL_ORDER[now[0].section] <= LEVEL_ORDER[then[0].section]
    first = now[0] if is_now_first else then[0]
    section, index = first.section, first.index
    found = (
        _find_history_break(now, then, lookup)
        if section == "messages"
        else _compare_static(new, old, shared, section, lookup)
    )
    if found is None:
        return Difference("branch", shared, section, index, is_same_conversation=False)
    return Difference("break", shared, section, index, *found.change, *found[1:])


# Tools and system


def _compare_static(
    new: Sequence[Node], old: Sequence[Node], shared: int, section: Section, lookup: BlockLookup
) -> _Break | None:
    """Return the break in the tools or the system prompt; None between different programs."""
    if not _is_same_program(new, old, lookup):
        return None
    here = [node for node in new[shared:] if node.section == section]
    there = [node for node in old[shared:] if node.section == section]
    both = {node.block_digest for node in here} & {node.block_digest for node in there}
    added, removed = (
        [node for node in side if node.block_digest not in both] for side in (here, there)
    )
    new_rest, old_rest = ([node for node in side if node.section != section] for side in (new, old))
    if not (added or removed) and _block_counts(here) == _block_counts(there):
        reason = "tools_reordered" if section == "tools" else f"{section}_changed"
        change = _Change(reason, "reordered")
    else:
        change = _static_change(section, here, there, lookup)
    return _Break(
        change,
        removed_bytes=_bytes_only_in(old_rest, new) + _shrinkage_bytes(added, removed),
        added_bytes=_bytes_only_in(new_rest, old),
        is_same_conversation=_is_same_conversation(new, old),
    )


def _static_change(
    section: Section, here: Sequence[Node], there: Sequence[Node], lookup: BlockLookup
) -> _Change:
    if section == "tools" and _sorted_keys_hashes(here, lookup) == _sorted_keys_hashes(
        there, lookup
    ):
        return _Change("serialization_nondeterminism", "key_order", 0)
    reason = f"{section}_changed"
    if len(here) != len(there):
        hint = "added" if len(here) > len(there) else "removed"
        return _Change(reason, hint, is_ambiguous=True)
    return _block_change(reason, here[0], there[0], lookup, is_ambiguous=True)


def _block_counts(nodes: Sequence[Node]) -> Counter[int]:
    return Counter(node.block_digest for node in nodes)


def _sorted_keys_hashes(nodes: Sequence[Node], lookup: BlockLookup) -> Counter[int]:
    known = ((node, lookup.detailed_fingerprint(node.prefix_digest)) for node in nodes)
    return Counter(
        node.block_digest if detailed is None else detailed.sorted_keys_hash
        for node, detailed in known
    )


def _is_same_program(new: Sequence[Node], old: Sequence[Node], lookup: BlockLookup) -> bool:
    """Return whether the static parts are two versions of one: half of the larger one is common."""
    here = [node for node in new if node.section != "messages"]
    there = [node for node in old if node.section != "messages"]
    digests = {node.block_digest for node in there}
    at_location = {(node.section, node.index): node for node in there}
    common = 0.0
    for node in here:
        if node.block_digest in digests:
            common += node.size
        elif (other := at_location.get((node.section, node.index))) is not None:
            common += node.size * _block_similarity(node, other, lookup)
    larger = max(sum(node.size for node in here), sum(node.size for node in there))
    return larger > 0 and common >= _MIN_COMMON_SHARE * larger


def _block_similarity(node: Node, other: Node, lookup: BlockLookup) -> float:
    """Return the part of a block that the other one has too, in 0..1."""
    new = lookup.detailed_fingerprint(node.prefix_digest)
    old = lookup.detailed_fingerprint(other.prefix_digest)
    if new is None or old is None:
        start, _ = first_difference(node.fingerprint, other.fingerprint)
        return start / max(node.size, 1)
    if new.nfkc_hash == old.nfkc_hash:
        return 1.0
    return similarity(new, old, node.fingerprint.size)


def _is_same_conversation(new: Sequence[Node], old: Sequence[Node]) -> bool:
    """Return whether the messages of both prompts belong to one conversation."""
    digests = {node.block_digest for node in old if node.section == "messages"}
    both = [n for n in new if n.section == "messages" and n.block_digest in digests]
    return bool(both) and (len(both) > 1 or both[0].index == 0)


# Messages


def _find_history_break(
    now: Sequence[Node], then: Sequence[Node], lookup: BlockLookup
) -> _Break | None:
    """Return the break in the history; None if the histories are different ones.

    `now` and `then` are the blocks behind the common beginning.
    """
    inserted, removed = _first_common_block(now, then)
    if inserted is None:
        return _compare_edited_message(now, then, lookup)
    both = {node.block_digest for node in now} & {node.block_digest for node in then}
    kept = [node for node in then if node.block_digest in both]
    if len(kept) < 2 and sum(node.size for node in kept) < _MIN_COMMON_BYTES:
        return None
    if hint := _image_hint(now[:inserted], then[:removed]):
        change = _Change("image_changed", hint)
    elif inserted == removed:
        change = _block_change("history_rewritten", now[0], then[0], lookup)
    elif not inserted:
        change = _Change("history_rewritten", "truncated")
    else:
        change = _Change("history_rewritten", "compacted" if inserted < removed else "inserted")
    return _message_break(change, now, then, inserted, removed)


def _compare_edited_message(
    now: Sequence[Node], then: Sequence[Node], lookup: BlockLookup
) -> _Break | None:
    """Return the break if the first message is the earlier one edited, and no block follows in
    both."""
    node, other = now[0], then[0]
    has_same_text = node.fingerprint == other.fingerprint
    start, _ = first_difference(node.fingerprint, other.fingerprint)
    if not _is_edited_message(node, other, start):
        return None
    if len(now) <= len(then) and 2 * start >= node.size and not has_same_text:
        return None  # another question that begins alike, whatever its end is
    if has_same_text and (hint := _image_hint(now[:2], then[:2])):
        # Beside an image, an SDK sends a text part instead of a string.
        return _message_break(_Change("image_changed", hint), now, then, 1, 1)
    change = _block_change("history_rewritten", node, other, lookup)
    is_early = change.reason == "volatile_token" and 2 * (change.offset or 0) < node.size
    if not is_early and len(now) <= len(then):
        return None
    return _message_break(change, now, then, 1, 1)


def _message_break(
    change: _Change, now: Sequence[Node], then: Sequence[Node], inserted: int, removed: int
) -> _Break:
    """Return the break in which the first `inserted` blocks replace the first `removed` ones."""
    return _Break(
        change,
        _bytes_only_in(then[removed:], now) + _shrinkage_bytes(now[:inserted], then[:removed]),
        _bytes_only_in(now[inserted:], then),
    )


def _first_common_block(now: Sequence[Node], then: Sequence[Node]) -> tuple[int | None, int]:
    """Return how many blocks of each are before the first common one; None if there is none."""
    first: dict[int, int] = {}
    for position, node in enumerate(then):
        first.setdefault(node.block_digest, position)
    best: tuple[int, int] | None = None
    for position, node in enumerate(now):
        if best is not None and position >= sum(best):
            break
        if node.block_digest in first:
            other = first[node.block_digest]
            if best is None or position + other < sum(best):
                best = position, other
    return best or (None, 0)


def _image_hint(now: Sequence[Node], then: Sequence[Node]) -> str | None:
    """Return how the images changed where the blocks `now` replace the blocks `then`."""
    here, there = (sum("image" in node.kind for node in nodes) for nodes in (now, then))
    if here != there:
        return "image_added" if here > there else "image_removed"
    return "image_replaced" if here and len(now) == len(then) else None


def _is_edited_message(node: Node, other: Node, start: int) -> bool:
    """Return whether two messages are equal up to `start` bytes or at their ends."""
    if node.fingerprint == other.fingerprint:
        return True
    begins_alike = start >= _MIN_COMMON_SHARE * min(node.size, other.size) and start > 0
    ends_alike = node.fingerprint.tail_checksum == other.fingerprint.tail_checksum != 0
    return node.kind == other.kind and (begins_alike or ends_alike)


# One block


def _block_change(
    reason: str, node: Node, other: Node, lookup: BlockLookup, *, is_ambiguous: bool = False
) -> _Change:
    """Classify the change inside one block; `reason` is the result where the text shows no more."""
    if node.fingerprint == other.fingerprint:
        return _Change("serialization_nondeterminism", FORM_HINT, 0)
    new = lookup.detailed_fingerprint(node.prefix_digest)
    old = lookup.detailed_fingerprint(other.prefix_digest)
    start, end = first_difference(node.fingerprint, other.fingerprint)
    step = end - start
    if new is not None and old is not None:
        if new.step == old.step:
            start, end = changed_range(new, old, node.fingerprint.size)
            step = min(new.step, node.fingerprint.size - start)
        if (form := _form_hint(new, old)) is not None:
            offset = None if form == "key_order" else start + step // 2
            return _Change("serialization_nondeterminism", form, offset)
    text = block_text(lookup.data(node.prefix_digest))
    raw = encode_utf8(text)
    first, last = _character_count(raw, start), _character_count(raw, min(end, start + 2 * step))
    value = find_volatile_value(text, first, last, old.identifier_hashes if old else ())
    if value is not None:
        hint, position = value
        is_slight = (
            old is not None
            and end - start <= 3 * step
            and abs(node.size - other.size) <= _MAX_SLIGHT_RESIZE_BYTES
        )
        if is_slight or hint not in AMBIGUOUS_HINTS:
            offset = max(start, len(encode_utf8(text[:position])))
            return _Change("volatile_token", hint, offset, hint in AMBIGUOUS_HINTS)
    return _Change(reason, None, start + step // 2, is_ambiguous)


def _form_hint(new: DetailedFingerprint, old: DetailedFingerprint) -> str | None:
    """Return which part of a block's form changed, if its content did not."""
    if new.sorted_keys_hash == old.sorted_keys_hash:
        return "key_order"
    if new.no_whitespace_hash == old.no_whitespace_hash:
        return "whitespace"
    return "unicode" if new.nfkc_hash == old.nfkc_hash else None


def _character_count(raw: bytes, end: int) -> int:
    return len(raw[:end].decode("utf-8", "ignore"))


def _bytes_only_in(nodes: Sequence[Node], others: Sequence[Node]) -> int:
    """Return the bytes of the `nodes` that are not among the `others`."""
    digests = {node.block_digest for node in others}
    return sum(node.size for node in nodes if node.block_digest not in digests)


def _shrinkage_bytes(added: Sequence[Node], removed: Sequence[Node]) -> int:
    """Return by how many bytes the `removed` blocks are larger than the blocks that replace them.

    A block edited in place counts as present in both prompts.
    """
    before, after = sum(node.size for node in removed), sum(node.size for node in added)
    return before if len(removed) > len(added) else max(0, before - after)
