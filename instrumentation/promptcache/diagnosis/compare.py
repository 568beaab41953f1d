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
from promptcache.diagnosis.memory import PrefixNode
from promptcache.diagnosis.volatile_values import AMBIGUOUS_HINTS, find_volatile_value
from promptcache.model import Section
from promptcache.prefix.fingerprint import (
    StaticBlockFingerprint,
    block_text_or_json,
    changed_byte_range,
    encode_utf8_with_surrogates,
    first_changed_step_range,
    shared_fraction_of_new_block,
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
class PromptDifference:
    """How a prompt relates to an earlier one. Not changed once made.

    `kind` is `extends` (this prompt continues the earlier one), `shortened` (it is a part of it),
    `branch` (a common beginning, then other content) or `break` (a change, and behind it content
    that both prompts have). `shared_blocks` counts the common leading blocks. `section`, `index`,
    `fallback_reason`, `hint` and `offset` (bytes) describe the change. `is_ambiguous` says that the
    change may be an edit or another program. `removed_bytes` are only in the earlier prompt,
    `added_bytes` are behind the change and only in the present prompt.
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

    block_data: Callable[[int], object]
    detailed_fingerprint: Callable[[int], StaticBlockFingerprint | None]


@final
class _BlockChange(NamedTuple):
    """What changed in the first block that differs."""

    reason: str
    hint: str | None = None
    offset: int | None = None
    is_ambiguous: bool = False


@final
class _PrefixBreak(NamedTuple):
    """A change with the amounts of content behind it."""

    change: _BlockChange
    removed_bytes: int
    added_bytes: int
    is_same_conversation: bool = True


def compare_prompts(
    new: Sequence[PrefixNode], old: Sequence[PrefixNode], lookup: BlockLookup
) -> PromptDifference:
    """Return how the prompt `new_detailed` relates to the earlier prompt `old_detailed`.

    Nodes of a common beginning must be the same objects, as `Memory.nodes` gives them.
    """
    shared = 0
    for new_node, old_node in zip(new, old, strict=False):
        if new_node is not old_node:
            break
        shared += 1
    new_tail, old_tail = new[shared:], old[shared:]
    if not old_tail:
        return PromptDifference("extends", shared)
    if not new_tail:
        return PromptDifference("shortened", shared)
    is_new_first = LEVEL_ORDER[new_tail[0].section] <= LEVEL_ORDER[old_tail[0].section]
    first = new_tail[0] if is_new_first else old_tail[0]
    section, index = first.section, first.index
    found = (
        _classify_history_change(new_tail, old_tail, lookup)
        if section == "messages"
        else _classify_static_change(new, old, shared, section, lookup)
    )
    if found is None:
        return PromptDifference("branch", shared, section, index, is_same_conversation=False)
    return PromptDifference("break", shared, section, index, *found.change, *found[1:])


# Tools and system


def _classify_static_change(
    new: Sequence[PrefixNode],
    old: Sequence[PrefixNode],
    shared: int,
    section: Section,
    lookup: BlockLookup,
) -> _PrefixBreak | None:
    """Return the break in the tools or the system prompt; None between different programs."""
    if not _are_versions_of_same_static_prefix(new, old, lookup):
        return None
    new_in_section = [node for node in new[shared:] if node.section == section]
    old_in_section = [node for node in old[shared:] if node.section == section]
    both = {node.block_digest for node in new_in_section} & {
        node.block_digest for node in old_in_section
    }
    added, removed = (
        [node for node in side if node.block_digest not in both]
        for side in (new_in_section, old_in_section)
    )
    new_rest, old_rest = ([node for node in side if node.section != section] for side in (new, old))
    if not (added or removed) and _count_block_digests(new_in_section) == _count_block_digests(
        old_in_section
    ):
        reason = "tools_reordered" if section == "tools" else f"{section}_changed"
        change = _BlockChange(reason, "reordered")
    else:
        change = _classify_changed_section(section, new_in_section, old_in_section, lookup)
    return _PrefixBreak(
        change,
        removed_bytes=_bytes_only_in(old_rest, new) + _bytes_lost_by_replacement(added, removed),
        added_bytes=_bytes_only_in(new_rest, old),
        is_same_conversation=_is_same_conversation(new, old),
    )


def _classify_changed_section(
    section: Section, new: Sequence[PrefixNode], old: Sequence[PrefixNode], lookup: BlockLookup
) -> _BlockChange:
    if section == "tools" and _count_blocks_ignoring_key_order(
        new, lookup
    ) == _count_blocks_ignoring_key_order(old, lookup):
        return _BlockChange("serialization_nondeterminism", "key_order", 0)
    reason = f"{section}_changed"
    if len(new) != len(old):
        hint = "added" if len(new) > len(old) else "removed"
        return _BlockChange(reason, hint, is_ambiguous=True)
    return _classify_block_change(reason, new[0], old[0], lookup, is_ambiguous=True)


def _count_block_digests(nodes: Sequence[PrefixNode]) -> Counter[int]:
    return Counter(node.block_digest for node in nodes)


def _count_blocks_ignoring_key_order(
    nodes: Sequence[PrefixNode], lookup: BlockLookup
) -> Counter[int]:
    known = ((node, lookup.detailed_fingerprint(node.prefix_digest)) for node in nodes)
    return Counter(
        node.block_digest if detailed is None else detailed.sorted_keys_hash
        for node, detailed in known
    )


def _are_versions_of_same_static_prefix(
    new: Sequence[PrefixNode], old: Sequence[PrefixNode], lookup: BlockLookup
) -> bool:
    """Return whether the static parts are two versions of one: half of the larger one is common."""
    new_static = [node for node in new if node.section != "messages"]
    old_static = [node for node in old if node.section != "messages"]
    digests = {node.block_digest for node in old_static}
    at_location = {(node.section, node.index): node for node in old_static}
    common = 0.0
    for node in new_static:
        if node.block_digest in digests:
            common += node.size
        elif (other := at_location.get((node.section, node.index))) is not None:
            common += node.size * _block_similarity(node, other, lookup)
    larger = max(sum(node.size for node in new_static), sum(node.size for node in old_static))
    return larger > 0 and common >= _MIN_COMMON_SHARE * larger


def _block_similarity(new_node: PrefixNode, old_node: PrefixNode, lookup: BlockLookup) -> float:
    """Return the part of a block that the other one has too, in 0..1."""
    new_detailed = lookup.detailed_fingerprint(new_node.prefix_digest)
    old_detailed = lookup.detailed_fingerprint(old_node.prefix_digest)
    if new_detailed is None or old_detailed is None:
        start, _ = first_changed_step_range(new_node.fingerprint, old_node.fingerprint)
        return start / max(new_node.size, 1)
    if new_detailed.nfkc_hash == old_detailed.nfkc_hash:
        return 1.0
    return shared_fraction_of_new_block(new_detailed, old_detailed, new_node.fingerprint.size)


def _is_same_conversation(new: Sequence[PrefixNode], old: Sequence[PrefixNode]) -> bool:
    """Return whether the messages of both prompts belong to one conversation."""
    digests = {node.block_digest for node in old if node.section == "messages"}
    both = [n for n in new if n.section == "messages" and n.block_digest in digests]
    return bool(both) and (len(both) > 1 or both[0].index == 0)


# Messages


def _classify_history_change(
    new_tail: Sequence[PrefixNode], old_tail: Sequence[PrefixNode], lookup: BlockLookup
) -> _PrefixBreak | None:
    """Return the break in the history; None if the histories are different ones.

    `new_tail` and `old_tail` are the blocks behind the common beginning.
    """
    inserted, removed = _counts_before_first_common_block(new_tail, old_tail)
    if inserted is None:
        return _classify_edited_first_message(new_tail, old_tail, lookup)
    both = {node.block_digest for node in new_tail} & {node.block_digest for node in old_tail}
    kept = [node for node in old_tail if node.block_digest in both]
    if len(kept) < 2 and sum(node.size for node in kept) < _MIN_COMMON_BYTES:
        return None
    if hint := _classify_image_change(new_tail[:inserted], old_tail[:removed]):
        change = _BlockChange("image_changed", hint)
    elif inserted == removed:
        change = _classify_block_change("history_rewritten", new_tail[0], old_tail[0], lookup)
    elif not inserted:
        change = _BlockChange("history_rewritten", "truncated")
    else:
        change = _BlockChange(
            "history_rewritten", "compacted" if inserted < removed else "inserted"
        )
    return _build_message_break(change, new_tail, old_tail, inserted, removed)


def _classify_edited_first_message(
    new_tail: Sequence[PrefixNode], old_tail: Sequence[PrefixNode], lookup: BlockLookup
) -> _PrefixBreak | None:
    """Return the break if the first message is the earlier one edited, and no block follows in
    both."""
    new_node, old_node = new_tail[0], old_tail[0]
    has_same_text = new_node.fingerprint == old_node.fingerprint
    start, _ = first_changed_step_range(new_node.fingerprint, old_node.fingerprint)
    if not _looks_like_edited_message(new_node, old_node, start):
        return None
    if len(new_tail) <= len(old_tail) and 2 * start >= new_node.size and not has_same_text:
        return None  # another question that begins alike, whatever its end is
    if has_same_text and (hint := _classify_image_change(new_tail[:2], old_tail[:2])):
        # Beside an image, an SDK sends a text part instead of a string.
        return _build_message_break(_BlockChange("image_changed", hint), new_tail, old_tail, 1, 1)
    change = _classify_block_change("history_rewritten", new_node, old_node, lookup)
    is_early = change.reason == "volatile_token" and 2 * (change.offset or 0) < new_node.size
    if not is_early and len(new_tail) <= len(old_tail):
        return None
    return _build_message_break(change, new_tail, old_tail, 1, 1)


def _build_message_break(
    change: _BlockChange,
    new_tail: Sequence[PrefixNode],
    old_tail: Sequence[PrefixNode],
    inserted_count: int,
    removed_count: int,
) -> _PrefixBreak:
    """Return the break in which the first `inserted_count` blocks replace the first `removed_count`
    ones."""
    return _PrefixBreak(
        change,
        _bytes_only_in(old_tail[removed_count:], new_tail)
        + _bytes_lost_by_replacement(new_tail[:inserted_count], old_tail[:removed_count]),
        _bytes_only_in(new_tail[inserted_count:], old_tail),
    )


def _counts_before_first_common_block(
    new_tail: Sequence[PrefixNode], old_tail: Sequence[PrefixNode]
) -> tuple[int | None, int]:
    """Return how many blocks of each are before the first common one; None if there is none."""
    first: dict[int, int] = {}
    for position, node in enumerate(old_tail):
        first.setdefault(node.block_digest, position)
    best: tuple[int, int] | None = None
    for position, node in enumerate(new_tail):
        if best is not None and position >= sum(best):
            break
        if node.block_digest in first:
            other = first[node.block_digest]
            if best is None or position + other < sum(best):
                best = position, other
    return best or (None, 0)


def _classify_image_change(new: Sequence[PrefixNode], old: Sequence[PrefixNode]) -> str | None:
    """Return how the images changed where the blocks `new_tail` replace the blocks `old_tail`."""
    new_image_count, old_image_count = (
        sum("image" in node.kind for node in nodes) for nodes in (new, old)
    )
    if new_image_count != old_image_count:
        return "image_added" if new_image_count > old_image_count else "image_removed"
    return "image_replaced" if new_image_count and len(new) == len(old) else None


def _looks_like_edited_message(
    new_node: PrefixNode, old_node: PrefixNode, common_bytes: int
) -> bool:
    """Return whether two messages are equal up to `common_bytes` bytes or at their ends."""
    if new_node.fingerprint == old_node.fingerprint:
        return True
    begins_alike = (
        common_bytes >= _MIN_COMMON_SHARE * min(new_node.size, old_node.size) and common_bytes > 0
    )
    ends_alike = new_node.fingerprint.tail_checksum == old_node.fingerprint.tail_checksum != 0
    return new_node.kind == old_node.kind and (begins_alike or ends_alike)


# One block


def _classify_block_change(
    fallback_reason: str,
    new_node: PrefixNode,
    old_node: PrefixNode,
    lookup: BlockLookup,
    *,
    is_ambiguous: bool = False,
) -> _BlockChange:
    """Classify the change inside one block; `fallback_reason` is the result where the text shows no
    more."""
    if new_node.fingerprint == old_node.fingerprint:
        return _BlockChange("serialization_nondeterminism", FORM_HINT, 0)
    new_detailed = lookup.detailed_fingerprint(new_node.prefix_digest)
    old_detailed = lookup.detailed_fingerprint(old_node.prefix_digest)
    start, end = first_changed_step_range(new_node.fingerprint, old_node.fingerprint)
    step = end - start
    if new_detailed is not None and old_detailed is not None:
        if new_detailed.step == old_detailed.step:
            start, end = changed_byte_range(new_detailed, old_detailed, new_node.fingerprint.size)
            step = min(new_detailed.step, new_node.fingerprint.size - start)
        if (form := _classify_form_change(new_detailed, old_detailed)) is not None:
            offset = None if form == "key_order" else start + step // 2
            return _BlockChange("serialization_nondeterminism", form, offset)
    text = block_text_or_json(lookup.block_data(new_node.prefix_digest))
    raw = encode_utf8_with_surrogates(text)
    first = _count_utf8_characters(raw, start)
    last = _count_utf8_characters(raw, min(end, start + 2 * step))
    known_words = old_detailed.identifier_hashes if old_detailed else ()
    value = find_volatile_value(text, first, last, known_words)
    if value is not None:
        hint, position = value
        is_slight = (
            old_detailed is not None
            and end - start <= 3 * step
            and abs(new_node.size - old_node.size) <= _MAX_SLIGHT_RESIZE_BYTES
        )
        if is_slight or hint not in AMBIGUOUS_HINTS:
            offset = max(start, len(encode_utf8_with_surrogates(text[:position])))
            return _BlockChange("volatile_token", hint, offset, hint in AMBIGUOUS_HINTS)
    return _BlockChange(fallback_reason, None, start + step // 2, is_ambiguous)


def _classify_form_change(new: StaticBlockFingerprint, old: StaticBlockFingerprint) -> str | None:
    """Return which part of a block's form changed, if its content did not."""
    if new.sorted_keys_hash == old.sorted_keys_hash:
        return "key_order"
    if new.no_whitespace_hash == old.no_whitespace_hash:
        return "whitespace"
    return "unicode" if new.nfkc_hash == old.nfkc_hash else None


def _count_utf8_characters(utf8_bytes: bytes, byte_end: int) -> int:
    return len(utf8_bytes[:byte_end].decode("utf-8", "ignore"))


def _bytes_only_in(nodes: Sequence[PrefixNode], others: Sequence[PrefixNode]) -> int:
    """Return the bytes of the `nodes` that are not among the `others`."""
    digests = {node.block_digest for node in others}
    return sum(node.size for node in nodes if node.block_digest not in digests)


def _bytes_lost_by_replacement(
    replacements: Sequence[PrefixNode], replaced: Sequence[PrefixNode]
) -> int:
    """Return by how many bytes the `removed_count` blocks are larger than the blocks that replace
    them.

    A block edited in place counts as present in both prompts.
    """
    before, after = sum(node.size for node in replaced), sum(node.size for node in replacements)
    return before if len(replaced) > len(replacements) else max(0, before - after)
