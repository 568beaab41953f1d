"""Two prompts side by side: where the later one departs from the earlier one, and what that looks like.

The earlier one is known by fingerprints alone. What is found is about structure only; whether it cost anything, the
usage decides elsewhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, final

from promptcache.diagnosis.memory import Node
from promptcache.diagnosis.volatile_values import AMBIGUOUS_HINTS, find_volatile_value
from promptcache.prefix.fingerprint import (
    DetailedFingerprint,
    block_text,
    changed_range,
    encode_utf8,
    first_difference,
    similarity,
)

SECTION_ORDER: Final = {"tools": 0, "system": 1, "messages": 2}
_MIN_COMMON_SHARE: Final = 0.5
"""How much of the static part two prompts must share to be versions of one program."""
_MIN_COMMON_BYTES: Final = 192
"""A history counts as the same one from this many common bytes on, or from two common blocks on."""
FORM_HINT: Final = "form"
"""The hint of the same text in another wrapping, such as a string and one text part."""
_MAX_SLIGHT_RESIZE_BYTES: Final = 32
"""How many bytes a value that merely changes may grow or shrink by."""


@final
@dataclass(slots=True)
class Difference:
    """How a prompt relates to an earlier one.

    `kind`: it `extends` it, was `shortened` to a part of it, is another `branch` from a common beginning, or there is
    a `break`: content that both have stands behind something that changed. `shared_blocks` counts the common leading
    blocks, `removed_bytes` the bytes that only the earlier prompt has, `added_bytes` those behind the change that only the present one
    has. `is_same_conversation` says that both are one conversation, `is_ambiguous`
    that the change alone does not tell an accident from another program. Filled in while two prompts are compared,
    and not changed after.
    """

    kind: Literal["extends", "shortened", "branch", "break"]
    shared_blocks: int
    reason: str | None = None
    section: str | None = None
    index: int | None = None
    offset: int | None = None
    hint: str | None = None
    removed_bytes: int = 0
    added_bytes: int = 0
    is_same_conversation: bool = True
    is_ambiguous: bool = False

    def but(self, **found: Any) -> Difference:
        """Itself, with what was found; `replace` would take a third of the whole comparison."""
        for name, value in found.items():
            setattr(self, name, value)
        return self


@final
class BlockLookup(NamedTuple):
    """What comparing needs beyond nodes: the present call's data by link, and the finer fingerprints by link."""

    data: Callable[[int], object]
    detailed_fingerprint: Callable[[int], DetailedFingerprint | None]


def compare(new: Sequence[Node], old: Sequence[Node], reader: BlockLookup) -> Difference:
    """How the prompt `new` relates to the earlier `old`; nodes of a common beginning are the same objects."""
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
    section = min(now[0].section, then[0].section, key=SECTION_ORDER.__getitem__)
    sides = (now, then) if section == "messages" else (new, old)
    found = (_compare_messages if section == "messages" else _compare_static)(
        *sides, shared, reader
    )
    place = now[0] if now[0].section == section else then[0]
    return found.but(section=section, index=place.index)


# Tools and system


def _compare_static(
    new: Sequence[Node], old: Sequence[Node], shared: int, reader: BlockLookup
) -> Difference:
    branch = Difference("branch", shared, is_same_conversation=False)
    if not _is_same_program(new, old, reader):
        return branch
    section = min(new[shared].section, old[shared].section, key=SECTION_ORDER.__getitem__)
    continues = _is_same_conversation(new, old)
    here = [node for node in new[shared:] if node.section == section]
    there = [node for node in old[shared:] if node.section == section]
    both = {n.block_digest for n in here} & {n.block_digest for n in there}
    fresh, gone = ([n for n in side if n.block_digest not in both] for side in (here, there))
    rest, past = ([n for n in side if n.section != section] for side in (new, old))
    found = branch.but(
        kind="break",
        reason=f"{section}_changed",
        is_same_conversation=continues,
        is_ambiguous=True,
        removed_bytes=_bytes_only_in(past, new) + _shrinkage_bytes(fresh, gone),
        added_bytes=_bytes_only_in(rest, old),
    )
    if not (fresh or gone) and Counter(n.block_digest for n in here) == Counter(
        n.block_digest for n in there
    ):
        cause = "tools_reordered" if section == "tools" else found.reason
        return found.but(reason=cause, hint="reordered", is_ambiguous=False)
    if section == "tools" and _sorted_keys_hashes(here, reader) == _sorted_keys_hashes(
        there, reader
    ):
        return found.but(
            reason="serialization_nondeterminism", hint="key_order", is_ambiguous=False, offset=0
        )
    if len(here) != len(there):
        return found.but(hint="added" if len(here) > len(there) else "removed")
    return _describe_block_change(found, here[0], there[0], reader)


def _sorted_keys_hashes(nodes: Sequence[Node], reader: BlockLookup) -> Counter[object]:
    known = ((node, reader.detailed_fingerprint(node.prefix_digest)) for node in nodes)
    return Counter(
        node.block_digest if deep is None else deep.sorted_keys_hash for node, deep in known
    )


def _is_same_program(new: Sequence[Node], old: Sequence[Node], reader: BlockLookup) -> bool:
    """Whether the static parts are two versions of one: at least half of the larger one is in both."""
    here = [node for node in new if node.section != "messages"]
    there = [node for node in old if node.section != "messages"]
    owns = {node.block_digest for node in there}
    places = {(node.section, node.index): node for node in there}
    common = 0.0
    for node in here:
        if node.block_digest in owns:
            common += node.size
        elif (other := places.get((node.section, node.index))) is not None:
            common += node.size * _block_similarity(node, other, reader)
    larger = max(sum(n.size for n in here), sum(n.size for n in there))
    return larger > 0 and common >= _MIN_COMMON_SHARE * larger


def _block_similarity(node: Node, other: Node, reader: BlockLookup) -> float:
    new, old = (
        reader.detailed_fingerprint(node.prefix_digest),
        reader.detailed_fingerprint(other.prefix_digest),
    )
    if new is None or old is None:
        start, _ = first_difference(node.fingerprint, other.fingerprint)
        return start / max(node.size, 1)
    if new.nfkc_hash == old.nfkc_hash:
        return 1.0
    return similarity(new, old, node.fingerprint.size)


def _is_same_conversation(new: Sequence[Node], old: Sequence[Node]) -> bool:
    """Whether the messages of both belong to one conversation."""
    owns = {node.block_digest for node in old if node.section == "messages"}
    both = [node for node in new if node.section == "messages" and node.block_digest in owns]
    return bool(both) and (len(both) > 1 or both[0].index == 0)


# Messages


def _compare_messages(
    now: Sequence[Node], then: Sequence[Node], shared: int, reader: BlockLookup
) -> Difference:
    inserted, removed = _first_common_block(now, then)
    branch = Difference("branch", shared, is_same_conversation=False)
    rewritten = Difference("break", shared, "history_rewritten")
    if inserted is None:
        start, _ = first_difference(now[0].fingerprint, then[0].fingerprint)
        if not _is_edited_message(now[0], then[0], start):
            return branch
        if (
            len(now) <= len(then)
            and 2 * start >= now[0].size
            and now[0].fingerprint != then[0].fingerprint
        ):
            return branch  # another question that begins alike, whatever it departs in
        found = _with_byte_counts(rewritten, now, then, 1, 1)
        if now[0].fingerprint == then[0].fingerprint and (hint := _image_hint(now[:2], then[:2])):
            return found.but(
                reason="image_changed", hint=hint
            )  # beside an image a string becomes a text part
        found = _describe_block_change(found, now[0], then[0], reader)
        early = 2 * (found.offset or 0) < now[0].size and found.reason == "volatile_token"
        return found if early or len(now) > len(then) else branch
    both = {node.block_digest for node in now} & {node.block_digest for node in then}
    kept = [node for node in then if node.block_digest in both]
    if len(kept) < 2 and sum(node.size for node in kept) < _MIN_COMMON_BYTES:
        return branch
    found = _with_byte_counts(rewritten, now, then, inserted, removed)
    if hint := _image_hint(now[:inserted], then[:removed]):
        return found.but(reason="image_changed", hint=hint)
    if inserted == removed:
        return _describe_block_change(found, now[0], then[0], reader)
    if not inserted:
        return found.but(hint="truncated")
    return found.but(hint="compacted" if inserted < removed else "inserted")


def _first_common_block(now: Sequence[Node], then: Sequence[Node]) -> tuple[int | None, int]:
    """How many blocks of both stand before the first common one; None where there is none."""
    first: dict[int, int] = {}
    for position, node in enumerate(then):
        first.setdefault(node.block_digest, position)
    best: tuple[int, int] | None = None
    for position, node in enumerate(now):
        if best is not None and position >= sum(best):
            break
        if node.block_digest in first and (
            best is None or position + first[node.block_digest] < sum(best)
        ):
            best = position, first[node.block_digest]
    return best or (None, 0)


def _image_hint(now: Sequence[Node], then: Sequence[Node]) -> str | None:
    """What became of the images, where these blocks stand for those."""
    here, there = (sum("image" in node.kind for node in nodes) for nodes in (now, then))
    if here != there:
        return "image_added" if here > there else "image_removed"
    return "image_replaced" if here and len(now) == len(then) else None


def _is_edited_message(node: Node, other: Node, start: int) -> bool:
    """Whether a message is the earlier one changed: they begin alike, up to `start`, or end alike."""
    alike = start >= _MIN_COMMON_SHARE * min(node.size, other.size) and start > 0
    same = node.fingerprint == other.fingerprint
    return same or (
        node.kind == other.kind
        and (alike or node.fingerprint.tail_checksum == other.fingerprint.tail_checksum != 0)
    )


# One block


def _describe_block_change(
    found: Difference, node: Node, other: Node, reader: BlockLookup
) -> Difference:
    """`found`, with what the change inside one block shows."""
    if node.fingerprint == other.fingerprint:
        return found.but(
            reason="serialization_nondeterminism", hint=FORM_HINT, is_ambiguous=False, offset=0
        )
    text = block_text(reader.data(node.prefix_digest))
    new, old = (
        reader.detailed_fingerprint(node.prefix_digest),
        reader.detailed_fingerprint(other.prefix_digest),
    )
    start, end = first_difference(node.fingerprint, other.fingerprint)
    step = end - start
    if new is not None and old is not None:
        form = _form_hint(new, old)
        if new.step == old.step:
            start, end = changed_range(new, old, node.fingerprint.size)
            step = min(new.step, node.fingerprint.size - start)
        if form is not None:
            where = None if form == "key_order" else start + step // 2
            return found.but(
                reason="serialization_nondeterminism", hint=form, is_ambiguous=False, offset=where
            )
    found = found.but(offset=start + step // 2)
    raw = encode_utf8(text)
    first, last = _character_count(raw, start), _character_count(raw, min(end, start + 2 * step))
    value = find_volatile_value(text, first, last, old.identifier_hashes if old else ())
    if value is None:
        return found
    hint, position = value
    slight = (
        end - start <= 3 * step
        and abs(node.size - other.size) <= _MAX_SLIGHT_RESIZE_BYTES
        and old is not None
    )
    if hint in AMBIGUOUS_HINTS and not slight:
        return found
    offset = max(start, len(encode_utf8(text[:position])))
    return found.but(
        reason="volatile_token", hint=hint, offset=offset, is_ambiguous=hint in AMBIGUOUS_HINTS
    )


def _form_hint(new: DetailedFingerprint, old: DetailedFingerprint) -> str | None:
    """What only the form of a block changed in, if it is only that."""
    if new.sorted_keys_hash == old.sorted_keys_hash:
        return "key_order"
    if new.no_whitespace_hash == old.no_whitespace_hash:
        return "whitespace"
    return "unicode" if new.nfkc_hash == old.nfkc_hash else None


def _character_count(raw: bytes, end: int) -> int:
    return len(raw[:end].decode("utf-8", "ignore"))


def _with_byte_counts(
    found: Difference, now: Sequence[Node], then: Sequence[Node], inserted: int, removed: int
) -> Difference:
    """`found`, with what came and went beside the `inserted` blocks that stand for the `removed` ones."""
    lost = _bytes_only_in(then[removed:], now) + _shrinkage_bytes(now[:inserted], then[:removed])
    return found.but(removed_bytes=lost, added_bytes=_bytes_only_in(now[inserted:], then))


def _bytes_only_in(nodes: Sequence[Node], others: Sequence[Node]) -> int:
    """The bytes of those `nodes` that the `others` do not have."""
    owns = {node.block_digest for node in others}
    return sum(node.size for node in nodes if node.block_digest not in owns)


def _shrinkage_bytes(fresh: Sequence[Node], gone: Sequence[Node]) -> int:
    """The bytes of `gone` that nothing stands for. A block that was changed in place still counts as had by both."""
    before, after = sum(node.size for node in gone), sum(node.size for node in fresh)
    return before if len(gone) > len(fresh) else max(0, before - after)
