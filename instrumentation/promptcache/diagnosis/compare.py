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
from promptcache.diagnosis.text_changes import TextChange, find_byte_of_word, find_text_change
from promptcache.model import Section
from promptcache.prefix.examined_bytes import SAMPLED_HEAD
from promptcache.prefix.fingerprint import (
    BlockDetails,
    block_text_or_json,
    encode_utf8_with_surrogates,
    first_changed_step_range,
    shared_fraction,
)
from promptcache.prefix.message_groups import GROUP_KIND
from promptcache.prefix.words import count_equal_words

FORM_HINT: Final = "form"
"""The hint for the same text in another wrapping, such as a string and one text part."""

_MIN_COMMON_SHARE: Final = 0.5
"""Two prompts are versions of one program if they share this part of the static blocks."""
_MIN_COMMON_BYTES: Final = 192
"""Two histories are the same from this many common bytes on, or from two common blocks on."""


_MAX_BYTES_OF_VALUE_BEFORE_CHANGE: Final = 64
"""A value may begin so many bytes before its first word that changed."""


@final
@dataclass(slots=True)
class PromptDifference:
    """How a prompt relates to an earlier one. Not changed once made.

    `kind` is `extends` (this prompt continues the earlier one), `shortened` (it is a part of it),
    `branch` (a common beginning, then other content) or `break` (a change, and behind it content
    that both prompts have). `shared_blocks` counts the common leading blocks. `section`, `index`,
    `fallback_reason`, `hint` and `offset` (bytes) describe the change. `is_ambiguous` says that the
    change may be an edit or another program. `removed` holds the depths of blocks that only the
    earlier prompt has, each with the share that is gone (0..1). Behind `kept_depth`, the earlier
    prompt has nothing that is in the present one. `added_bytes` are behind the change and only in
    the present prompt.
    """

    kind: Literal["extends", "shortened", "branch", "break"]
    shared_blocks: int
    section: Section | None = None
    index: int | None = None
    reason: str | None = None
    hint: str | None = None
    offset: int | None = None
    is_ambiguous: bool = False
    removed: tuple[tuple[int, float], ...] = ()
    kept_depth: int = 0
    added_bytes: int = 0
    is_same_conversation: bool = True


@final
class BlockLookup(NamedTuple):
    """Look-ups: a block's data by its prefix digest (present call only), and the details by its
    block digest."""

    block_data: Callable[[int], object]
    details: Callable[[int], BlockDetails | None]


@final
class _BlockChange(NamedTuple):
    """What changed in the first block that differs."""

    reason: str
    hint: str | None = None
    offset: int | None = None
    is_ambiguous: bool = False


def compare_prompts(
    new: Sequence[PrefixNode], old: Sequence[PrefixNode], lookup: BlockLookup
) -> PromptDifference:
    """Return how the prompt `new` relates to the earlier prompt `old`.

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
    is_in_group = GROUP_KIND in (new_tail[0].kind, old_tail[0].kind)
    section, index = first.section, None if is_in_group else first.index
    is_message = section == "messages"
    change = (
        _classify_history_change(new_tail, old_tail, lookup)
        if is_message
        else _classify_static_change(new, old, shared, section, lookup)
    )
    if change is None:
        return PromptDifference("branch", shared, section, index, is_same_conversation=False)
    is_same = is_message or _is_same_conversation(new, old)
    added = 0
    if not is_same:
        added = sum(node.size for node in new_tail if node.section == "messages")
        new_tail, old_tail = (
            [node for node in tail if node.section != "messages"] for tail in (new_tail, old_tail)
        )
    removed, kept_depth, more = _find_removed_and_added(new_tail, old_tail, shared, lookup)
    return PromptDifference(
        "break", shared, section, index, *change, removed, kept_depth, added + more, is_same
    )


# Tools and system


def _classify_static_change(
    new: Sequence[PrefixNode],
    old: Sequence[PrefixNode],
    shared: int,
    section: Section,
    lookup: BlockLookup,
) -> _BlockChange | None:
    """Return the change of the tools or the system prompt; None between different programs."""
    if not _are_versions_of_same_static_prefix(new, old, lookup):
        return None
    here, there = (
        [node for node in side[shared:] if node.section == section] for side in (new, old)
    )
    if sorted(node.block_digest for node in here) == sorted(node.block_digest for node in there):
        reason = "tools_reordered" if section == "tools" else f"{section}_changed"
        return _BlockChange(reason, "reordered")
    return _classify_changed_section(section, here, there, lookup)


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


def _count_blocks_ignoring_key_order(
    nodes: Sequence[PrefixNode], lookup: BlockLookup
) -> Counter[int]:
    known = ((node, lookup.details(node.block_digest)) for node in nodes)
    return Counter(
        details.sorted_keys_hash if details and details.sorted_keys_hash else node.block_digest
        for node, details in known
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
    """Return the part of the longer block that both have, in 0..1."""
    if new_node.fingerprint == old_node.fingerprint:
        return 1.0
    new, old = lookup.details(new_node.block_digest), lookup.details(old_node.block_digest)
    return 0.0 if new is None or old is None else shared_fraction(new, old)


def _is_same_conversation(new: Sequence[PrefixNode], old: Sequence[PrefixNode]) -> bool:
    """Return whether the messages of both prompts belong to one conversation.

    Many conversations begin alike, so one common message counts only if the prompt has grown.
    """
    here, there = ([n for n in side if n.section == "messages"] for side in (new, old))
    digests = {node.block_digest for node in there}
    both = [node for node in here if node.block_digest in digests]
    if len(both) > 1:
        return True
    return bool(both) and both[0].index == 0 and len(here) > len(there)


# Messages


def _classify_history_change(
    new_tail: Sequence[PrefixNode], old_tail: Sequence[PrefixNode], lookup: BlockLookup
) -> _BlockChange | None:
    """Return the change of the history; None if the histories are different ones.

    `new_tail` and `old_tail` are the blocks behind the common beginning.
    """
    inserted, removed = _counts_before_first_common_block(new_tail, old_tail)
    both = {node.block_digest for node in new_tail} & {node.block_digest for node in old_tail}
    kept = [node for node in old_tail if node.block_digest in both]
    if inserted is None or (len(kept) < 2 and sum(node.size for node in kept) < _MIN_COMMON_BYTES):
        return _classify_edited_first_message(new_tail, old_tail, lookup)
    if _is_reordered(new_tail, old_tail):
        return _BlockChange("history_rewritten", "reordered")
    if hint := _classify_image_change(new_tail[:inserted], old_tail[:removed]):
        return _BlockChange("image_changed", hint)
    if inserted == removed:
        return _classify_block_change("history_rewritten", new_tail[0], old_tail[0], lookup)
    hint = "truncated" if not inserted else "compacted" if inserted < removed else "inserted"
    return _BlockChange("history_rewritten", hint)


def _is_reordered(new_tail: Sequence[PrefixNode], old_tail: Sequence[PrefixNode]) -> bool:
    """Return whether both first blocks are elsewhere in the other prompt.

    Texts are compared, because the first part of a message carries the role.
    """
    new_first, old_first = new_tail[0].fingerprint, old_tail[0].fingerprint
    return any(node.fingerprint == new_first for node in old_tail[1:]) and any(
        node.fingerprint == old_first for node in new_tail[1:]
    )


def _classify_edited_first_message(
    new_tail: Sequence[PrefixNode], old_tail: Sequence[PrefixNode], lookup: BlockLookup
) -> _BlockChange | None:
    """Return the change if the first message is the earlier one edited, and no block follows in
    both.

    A prompt that has not grown may be another question that begins alike.
    """
    new_node, old_node = new_tail[0], old_tail[0]
    has_grown = len(new_tail) > len(old_tail)
    if new_node.fingerprint == old_node.fingerprint:
        # Beside an image, an SDK sends a text part instead of a string.
        if hint := _classify_image_change(new_tail[:2], old_tail[:2]):
            return _BlockChange("image_changed", hint)
    elif _is_image(new_node) and _is_image(old_node):
        return _BlockChange("image_changed", "image_replaced") if has_grown else None
    elif not (has_grown or _is_changed_early(new_node, old_node, lookup)):
        return None
    if new_node.fingerprint != old_node.fingerprint and not _is_edited_message(
        new_node, old_node, lookup
    ):
        return None
    change = _classify_block_change("history_rewritten", new_node, old_node, lookup)
    is_early = change.reason == "volatile_token" and 2 * (change.offset or 0) < new_node.size
    return change if is_early or has_grown else None


def _is_changed_early(new_node: PrefixNode, old_node: PrefixNode, lookup: BlockLookup) -> bool:
    """Return whether the first change may be a value in the first half of a message.

    This is quick, and most questions that begin alike change late.
    """
    new, old = lookup.details(new_node.block_digest), lookup.details(old_node.block_digest)
    if new is None or old is None or new_node.kind != old_node.kind:
        return False
    if not (new.is_examined and old.is_examined):
        return False
    equal = count_equal_words(new.words.head, old.words.head)
    text = block_text_or_json(lookup.block_data(new_node.prefix_digest))
    if new.is_sampled or old.is_sampled:
        text = text[:SAMPLED_HEAD]
    offset = find_byte_of_word(text, new, equal)
    return 2 * (offset - _MAX_BYTES_OF_VALUE_BEFORE_CHANGE) < new_node.size


def _find_removed_and_added(
    new_tail: Sequence[PrefixNode],
    old_tail: Sequence[PrefixNode],
    shared: int,
    lookup: BlockLookup,
) -> tuple[tuple[tuple[int, float], ...], int, int]:
    """Return `removed`, `kept_depth` and `added_bytes` of a `PromptDifference`.

    A block that replaces another one counts as present in both prompts, up to their sizes.
    """
    new_gaps = _group_by_common_blocks(new_tail, old_tail)
    old_gaps = _group_by_common_blocks(old_tail, new_tail)
    last_gap = max((*new_gaps, *old_gaps), default=0)
    gone: dict[int, float] = {}
    added = 0
    for gap in {*new_gaps, *old_gaps}:
        new_nodes = [new_tail[at] for at in new_gaps.get(gap, ())]
        old_positions = old_gaps.get(gap, ())
        is_in_place = gap < last_gap and len(new_nodes) >= len(old_positions)
        for at in old_positions:
            old_node = old_tail[at]
            size = _take_replacement_size(old_node, new_nodes, lookup, is_in_place=is_in_place)
            gone[shared + at + 1] = max(0.0, 1 - size / max(old_node.size, 1))
            added += max(0, size - old_node.size)
        added += sum([node.size for node in new_nodes])
    kept_depth = shared + len(old_tail)
    while kept_depth > shared and gone.get(kept_depth, 0.0) >= 1:
        kept_depth -= 1
    return tuple(sorted(pair for pair in gone.items() if pair[1])), kept_depth, added


def _group_by_common_blocks(
    nodes: Sequence[PrefixNode], others: Sequence[PrefixNode]
) -> dict[int, list[int]]:
    """Return the positions of the nodes that the others do not have.

    They are grouped by the number of common texts before them.
    """
    left = Counter([node.fingerprint for node in others])
    groups: dict[int, list[int]] = {}
    common = 0
    for at, node in enumerate(nodes):
        if count := left.get(node.fingerprint):
            left[node.fingerprint] = count - 1
            common += 1
        else:
            groups.setdefault(common, []).append(at)
    return groups


def _take_replacement_size(
    old_node: PrefixNode, new_nodes: list[PrefixNode], lookup: BlockLookup, *, is_in_place: bool
) -> int:
    """Take the block that replaces an old one from the new ones between the same common blocks.

    Return its size, 0 if there is none. Between two common blocks any block of the same kind
    replaces another one.
    """
    if not new_nodes or new_nodes[0].kind != old_node.kind:
        return 0
    first = new_nodes[0]
    if (
        is_in_place
        or (_is_image(first) and first.section == old_node.section)
        or _is_edited_message(first, old_node, lookup)
    ):
        return new_nodes.pop(0).size
    return 0


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
    """Return how the images changed where the blocks `new` replace the blocks `old`."""
    new_image_count, old_image_count = (sum(map(_is_image, nodes)) for nodes in (new, old))
    if new_image_count != old_image_count:
        return "image_added" if new_image_count > old_image_count else "image_removed"
    return "image_replaced" if new_image_count and len(new) == len(old) else None


def _is_image(node: PrefixNode) -> bool:
    return "image" in node.kind


def _is_edited_message(new_node: PrefixNode, old_node: PrefixNode, lookup: BlockLookup) -> bool:
    """Return whether half of the longer of two messages is in both."""
    if new_node.kind != old_node.kind:
        return False
    return _block_similarity(new_node, old_node, lookup) >= _MIN_COMMON_SHARE


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
    new, old = lookup.details(new_node.block_digest), lookup.details(old_node.block_digest)
    if new is None or old is None or not (new.is_examined and old.is_examined):
        return _BlockChange(fallback_reason, is_ambiguous=is_ambiguous)
    text = block_text_or_json(lookup.block_data(new_node.prefix_digest))
    if new.is_sampled or old.is_sampled:
        return _classify_change_near_beginning(fallback_reason, text[:SAMPLED_HEAD], new, old)
    sizes = new_node.fingerprint.size, old_node.fingerprint.size
    step = first_changed_step_range(new, old, *sizes)
    change: TextChange = find_text_change(text, new, old, step)
    if change.kind == "form":
        return _BlockChange("serialization_nondeterminism", change.hint, change.offset)
    if change.kind == "value":
        return _BlockChange("volatile_token", change.hint, change.offset, change.is_ambiguous)
    return _BlockChange(fallback_reason, change.hint, change.offset, is_ambiguous)


def _classify_change_near_beginning(
    fallback_reason: str, text: str, new: BlockDetails, old: BlockDetails
) -> _BlockChange:
    """Classify the change inside a block of which only the beginning `text` was examined."""
    change = find_text_change(text, new, old, None)
    if change.offset is None or change.offset >= len(encode_utf8_with_surrogates(text)):
        return _BlockChange(fallback_reason)
    if change.kind == "value":
        return _BlockChange("volatile_token", change.hint, change.offset, change.is_ambiguous)
    return _BlockChange(fallback_reason, None, change.offset)
